"""The module in Cython, as Python code sees it: views of messages, handlers, and what plugins say to the host.

Views behave as google.protobuf's messages, maps and repeated fields do. Fields are attributes; their types depend on
the message (stubs/ has them for plugins).
"""

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self, SupportsIndex

class Message:
    """A view of a message; `message` makes one, other than a dispatch."""

    DESCRIPTOR: Any
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...
    def __contains__(self, name: str) -> bool: ...
    def __bool__(self) -> bool: ...
    def SerializeToString(self, *, deterministic: bool | None = None) -> bytes: ...
    def ByteSize(self) -> int: ...
    def MergeFromString(self, data: bytes) -> int: ...
    def ParseFromString(self, data: bytes) -> int: ...
    def FromString(self, data: bytes) -> Message: ...
    def MergeFrom(self, other: Any) -> None: ...
    def CopyFrom(self, other: Any) -> None: ...
    def Clear(self) -> None: ...
    def ClearField(self, name: str) -> None: ...
    def HasField(self, name: str) -> bool: ...
    def WhichOneof(self, name: str) -> str | None: ...
    def ListFields(self) -> list[tuple[Any, Any]]: ...
    def SetInParent(self) -> None: ...
    def IsInitialized(self, errors: Any = None) -> bool: ...
    def FindInitializationErrors(self) -> list[str]: ...
    def DiscardUnknownFields(self) -> None: ...
    def UnknownFields(self) -> Any: ...

class Map:
    """A view of a map field: keys are str, values str or messages."""

    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: str) -> None: ...
    def __delitem__(self, key: str) -> None: ...
    def __contains__(self, key: object) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def keys(self) -> KeysView[str]: ...
    def values(self) -> ValuesView[Any]: ...
    def items(self) -> ItemsView[str, Any]: ...
    def pop(self, key: str, default: Any = None) -> Any: ...
    def popitem(self) -> tuple[str, Any]: ...
    def setdefault(self, key: str, value: Any = None) -> Any: ...
    def update(self, other: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: Any) -> None: ...
    def get_or_create(self, key: str) -> Message: ...
    def clear(self) -> None: ...
    def MergeFrom(self, other: Any) -> None: ...
    def GetEntryClass(self) -> Any: ...

class List:
    """A view of a repeated field."""

    def __getitem__(self, key: SupportsIndex | slice) -> Any: ...
    def __setitem__(self, key: SupportsIndex | slice, value: Any) -> None: ...
    def __delitem__(self, key: SupportsIndex | slice) -> None: ...
    def __contains__(self, value: object) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def append(self, value: Any) -> None: ...
    def extend(self, values: Iterable[Any]) -> None: ...
    def insert(self, index: int, value: Any) -> None: ...
    def add(self, *values: Any, **fields: Any) -> Any: ...
    def pop(self, index: int = -1) -> Any: ...
    def remove(self, value: Any) -> None: ...
    def sort(self, *args: Any, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None: ...
    def reverse(self) -> None: ...
    def clear(self) -> None: ...
    def MergeFrom(self, other: Any) -> None: ...

class Request:
    """What a hook gets as its request."""

    @property
    def object(self) -> Message: ...
    def add_header(self, key: str, value: str) -> None: ...
    def delete_header(self, key: str) -> None: ...
    def get_header(self, key: str) -> str | None: ...
    def add_param(self, key: str, value: str) -> None: ...
    def delete_param(self, key: str) -> None: ...

class Generation:
    """What was loaded together. `on_drained` is called once, when it is retired and no call uses it any more."""

    def __new__(cls, on_drained: Callable[[], None] | None = None) -> Self: ...
    def retire(self) -> None: ...

class Handler:
    """A function that a dispatch may call.

    `arity`: 3, 4 or 5, the forms of Python's hooks; or 1: the function gets the whole message, a coprocess.Object,
    which it changes in place. It is to keep no view of it.
    """

    function: Callable[..., Any]
    bundle: str
    name: str
    arity: int
    generation: Generation
    def __new__(
        cls, function: Callable[..., Any], bundle: str, name: str, arity: int, generation: Generation
    ) -> Self: ...

class Exchange:
    """A coprocess.Object on which hooks run, one after the other, each seeing what the ones before it left.

    `data` is read where it is needed, and nothing is written until the caller asks for it. One thread at a time.

    Raises ValueError, but for `close`, once it is closed.
    """

    at: int
    """Which of the hooks that `run` was given was called last."""
    def __new__(cls, data: bytes) -> Self: ...
    @property
    def object(self) -> Message:
        """The message, as the hooks left it."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers that hooks set and that the next hook sees already, each name once, whatever its case."""

    def continued(self, start: bytes, session: bytes) -> bytes:
        """A reply that goes on: `start`, `headers` as an Object's request, and a serialised SessionState or b""."""

    def header(self, name: str) -> bytes | None:
        """A header's value as hooks see it, of its first spelling; None without one."""

    def is_shared(self) -> bool:
        """Whether a hook kept a view, which would see what is put into the message from now on."""

    def show_session(self, session: bytes, metadata: bytes) -> None:
        """Puts a serialised SessionState into the message, and parts of an Object that hold its metadata."""

    def show_quota(self, remaining: int, renews: int) -> None:
        """Sets what is left of the session's quota, and when it renews (unix seconds)."""

    def run(self, hooks: tuple[tuple[bytes, bytes], ...], first: int = 0, move: bool = True) -> int:
        """Calls hooks, (bundle, name) each, from the first-th on, until one changes more than headers of the request.

        With `move`, headers that a hook sets are put where the next one sees them: see `headers`. Ends as well when a
        hook kept a view: see `is_shared`. Returns 0 when nothing else was changed, otherwise what the last one called
        changed, in which what was changed before it may be, too: a sum in which 1 is whatever was changed, 2 stands for
        the request, 4 for the session, 8 for the response.

        Raises:
            BridgeError: there is no such hook, or it failed; the log has it then.
        """

    def close(self) -> None:
        """Ends the exchange. Views that a hook or the caller still has stay valid."""

NO_OVERRIDES: bytes
"""The fields of a MiniRequestObject whose return_overrides.response_code is -1, as hooks find it."""

def incoming(data: bytes) -> tuple[str, bytes, bool] | None:
    """What a host's Object is about: the id of its API, the part that shows hooks the request, and if it has a body.

    None where hooks cannot be shown that as it is: the request comes in pieces or with edits, leaves out parameters or
    request_uri, has its body as text, or names no API. MalformedError where the fields of message or request cannot be
    told apart; what is in them is looked at when it is read.
    """

def with_text(shown: bytes) -> bytes:
    """What `incoming` gave, with the body as text, too; the same where the body is not UTF-8."""

def part(number: int, data: bytes) -> bytes:
    """The bytes of a field that holds a message, text or bytes; empty ones are written too. `number`: 1 to 15."""

def entries(number: int, pairs: list[tuple[str, str]]) -> bytes:
    """The bytes of a map from text to text, of its keys and values. `number`: 1 to 15."""

def text(value: str) -> str:
    """Text that a message can hold: a lone surrogate, from bytes that are not UTF-8, becomes "?"."""

def quota_message(remaining: int, renews: int) -> bytes:
    """A serialised SessionState with what is left of a quota, and when it renews (unix seconds)."""

def outgoing(message: Message, tail: bytes, names: tuple[bytes, ...]) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """What a server gets of an Object: its bytes and `tail`; the id of its API; and (name, value) of some headers.

    The headers are those of its request that are among `names`, whatever their case. One that is longer than what such
    headers hold, or has bytes that gRPC's metadata cannot, is left out.
    """

def answered(message: Message, sent: bytes, answer: bytes, hook_type: int) -> bool:
    """Makes an Object what a server made of it; False where the answer has not what the hook is about.

    That is the response for a response hook (hook_type 5), otherwise the request. What is as it was `sent` is left
    alone. A missing session says something where a hook authenticates (4) only, and metadata count there alone.
    Raises google.protobuf's DecodeError for an answer that is no Object.
    """

def message(type_name: str, data: bytes = b"", /, **fields: Any) -> Message:
    """A view of a message of its own: `type_name` such as "SessionState", serialised bytes and fields to start from.

    Raises KeyError for an unknown type and google.protobuf's DecodeError for bytes that are no such message.
    """

def unix_time() -> float:
    """Unix seconds, as of the system's last tick (4 ms at the most), at a fraction of time.time's cost."""

def publish(handlers: Iterable[Handler]) -> None:
    """Replaces the whole table of handlers in one step."""

def log(message: str, level: str) -> None:
    """Calls CoProcessLog."""

def store_data(key: str, value: str | bytes, ttl: int) -> None:
    """Calls TykStoreData; `ttl` in seconds, 0 or less for good."""

def get_data(key: str) -> bytes:
    """Calls TykGetData; b"" for what is not there."""

def to_its_end(function: Callable[[Any], object], argument: Any) -> object:
    """Calls a function in a greenlet, whose thread the interpreter's end may find in it: it stays there for ever."""

def trigger_event(name: str, payload: str) -> None:
    """Calls TykTriggerEvent."""

class Baton:
    """Is there or not. One thread waits for it, any may give it; to give what is there already may be lost."""

    def give(self) -> None:
        """Lets it be there."""

    def take(self, microseconds: int = -1) -> bool:
        """Waits until it is there, for so long at the most, and takes it; tells whether it was. -1: for ever."""

    def give_and_take(self, other: Baton, microseconds: int = -1) -> bool:
        """Gives another one, then takes this one as `take` does, without the GIL from the first to the last."""

class Watch:
    """Lets one thread look whether another one is with the same thing for too long, and take its place then."""

    def begin(self) -> int:
        """Begins something, and gives its number. By the thread that is watched."""

    def end(self, number: int) -> bool:
        """Ends it; tells whether it was not taken. By the thread that began it: another one may be watched by now."""

    def wait(self, microseconds: int) -> bool:
        """Waits until something has not ended for so long, twice that at the most, and takes it. False: closed."""

    def close(self) -> None:
        """Lets `wait` end. From any thread."""
