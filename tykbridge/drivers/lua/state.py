"""One Lua state: loads code into it, calls its functions within their limits, and answers what they ask."""

from __future__ import annotations

import functools
import itertools
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lupa import lua54

from tykbridge import failures
from tykbridge.compat.gateway import TykGateway
from tykbridge.drivers.lua import changes
from tykbridge.drivers.lua.changes import LAYOUT, ChangeError, Target
from tykbridge.errors import DeadlineError
from tykbridge.failures import ScriptError
from tykbridge.stores import StoreError

MEMORY = 32 << 20
"""Bytes that a state may hold."""

_LOAD_MS = 5_000
_ROOM = 64 << 10  # bytes that are free whenever something is put into a state: there nobody can answer for a failure
_CALLABLE = 2 << 20  # bytes that must be free when a call starts
_SLOT = 64  # bytes, at most, that a value takes on a growing stack
_TOKENS = 2_000  # values that are handed over at once
_NONE: Iterator[Any] = iter(())
_NO_MEMORY = "not enough memory"


Modules = dict[bytes, bytes]
"""Code by the file of a module. The states of one version share it, so that they all run the same."""


class Failed(Exception):
    """A call failed; `error` says it to others, without this call's frames, which hold the message."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class ScriptStoreError(StoreError, ScriptError):
    """A hook ended with what a store failed to do."""


class LateError(DeadlineError, ScriptError):
    """A hook ended at its time limit."""


class State:
    """A Lua state. One thread at a time.

    The limit of memory is in force only while Lua code runs: where values are converted, a failed allocation would end
    the process. What is asked from there therefore makes room for its answer first.

    Attributes:
        functions: the global functions of the code: how many parameters they take (-1: any number), "file:line".
        is_usable: nothing happened that leaves it in doubt.
        root: the bundle's folder.
        told: what a handler of events gets.
    """

    def __init__(self, root: str, trusted: bool, modules: Modules) -> None:
        self.root = root
        self._modules = modules
        self.functions: Mapping[str, tuple[int, str]] = {}
        self.is_usable = True
        self._target: Target | None = None
        self._tokens: Iterator[Any] = _NONE
        self._held: list[Any] = []  # tokens that there was no room for
        self.told: Any = None
        self._store_error: StoreError | None = None
        self._lua = lua = lua54.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_nothing,
            max_memory=0,
        )
        # What Lua holds is not to hold the state: it would go by the collector alone.
        me = weakref.proxy(self)
        host = lua.table_from({name.encode(): _guarded(me, asked) for name, asked in _asked(me).items()})
        host[b"more"] = lambda: me.more()
        limits = self._part("limits", trusted, time.monotonic, MEMORY)
        json = self._part("json", limits, host)
        messages = self._part("message", limits, host, json, LAYOUT.encode())
        self._load, self.name_, self._call, self._call_event, self._collect = self._part(
            "entry", limits, host, json, messages
        )

    def _part(self, name: str, *arguments: Any) -> Any:
        return self._lua.compile(_source(name), name=b"=tykbridge")(*arguments)

    # ---- What is called

    def load(self, name: str, text: bytes) -> None:
        """Run a file. Raises Failed."""
        if len(text) + len(name) + _CALLABLE > MEMORY:  # it would be handed over where nobody can answer for a failure
            raise Failed(ScriptError(_limit(_NO_MEMORY), f"{os.path.join(self.root, name)}:1"))
        found = self._run(_LOAD_MS, self._load, name.encode("utf-8", "surrogateescape"), text)
        functions = dict(self.functions)
        for at in range(0, len(found), 4):
            function, count, file, line = found[at : at + 4]
            functions[function.decode("utf-8", "surrogateescape")] = count, f"{file.decode(errors='replace')}:{line}"
        self.functions = functions

    def name(self, number: int, name: str) -> None:
        """Give a global function a number."""
        self.name_(number, name.encode())

    def call(self, number: int, forms: int, timeout_ms: int, message: Any) -> None:
        """Call a hook with so many parameters, and apply what it changed. Raises Failed."""
        self._target = target = Target(message)
        try:
            made = self._run(timeout_ms, self._call, number, forms)
            if made:
                target.apply(made)
        except ChangeError as error:
            raise Failed(ScriptError(str(error))) from None
        finally:
            self._target = None

    def event(self, number: int, timeout_ms: int, both: Mapping[str, Any]) -> None:
        """Call a handler of events. Raises Failed."""
        self.told = both
        try:
            self._run(timeout_ms, self._call_event, number)
        finally:
            self.told = None

    @property
    def is_full(self) -> bool:
        """Whether what its globals hold leaves no room to start another call."""
        if self._lua.get_memory_used() > MEMORY - _CALLABLE:
            self._collect()
        return bool(self._lua.get_memory_used() > MEMORY - _CALLABLE)

    def _run(self, timeout_ms: int, function: Callable[..., Any], *arguments: Any) -> Any:
        lua = self._lua
        self._store_error = None
        deadline = time.monotonic() + timeout_ms / 1000
        lua.set_max_memory(MEMORY)
        try:
            answer = function(*arguments, deadline, timeout_ms)
        except lua54.LuaError as error:  # outside of everything that catches errors: there is little left
            self.is_usable = False
            if time.monotonic() > deadline:
                raise Failed(LateError(f"it ran longer than {timeout_ms} ms")) from None
            is_full = isinstance(error, MemoryError) or _NO_MEMORY in str(error)
            raise Failed(ScriptError(_limit(_NO_MEMORY) if is_full else str(error))) from None
        finally:
            lua.set_max_memory(0)
            self._tokens, self._held = _NONE, []  # which may hold much
        if answer is True:
            return ()
        if answer[0]:
            return answer[1:]
        raise Failed(self._error(*answer[1:]))

    def _error(self, exceeded: bytes | bool, words: bytes, file: bytes, line: bytes, trace: bytes) -> ScriptError:
        said = _text(exceeded or words)
        is_full = said.endswith(_NO_MEMORY)
        if exceeded or is_full:
            self.is_usable = False
            said = _limit(said)
        place = f"{os.path.join(self.root, _text(file))}:{_text(line)}" if file else ""
        if exceeded and not is_full:
            return LateError(said, place, _trace(trace))
        if self._store_error is not None and str(self._store_error) in said:
            return ScriptStoreError(said, place, _trace(trace))
        return ScriptError(said, place, _trace(trace))

    # ---- What is asked

    @property
    def message(self) -> Target:
        """The message of the hook that runs. Raises ChangeError."""
        if self._target is None:
            raise ChangeError("there is no message: no hook runs")
        return self._target

    def give(self, value: Any) -> None:
        """Get a value ready, of JSON's types, for `more`."""
        self._tokens, self._held = changes.tokens(value), []

    def more(self) -> tuple[Any, ...] | None:
        """Answer with the next tokens, after True; None where there is no room for them."""
        try:
            if not self._held:
                self._held = list(itertools.islice(self._tokens, _TOKENS))
            size = sum(len(token) if type(token) is bytes else 0 for token in self._held)
            if not self.has_room(size + _SLOT * len(self._held)):
                return None
            given, self._held = self._held, []
            return (True, *given)
        except BaseException as error:
            return self.failed(error)

    def has_room(self, size: int) -> bool:
        """Make room for a value of so many bytes."""
        used = int(self._lua.get_memory_used())
        if used + size + _ROOM < MEMORY:
            self._lua.set_max_memory(MEMORY)
            return True
        self._lua.set_max_memory(max(MEMORY, used + _ROOM))  # for what says that there is none
        return False

    def failed(self, error: BaseException) -> tuple[bool, bytes] | None:
        """Answer with what went wrong."""
        if isinstance(error, MemoryError):
            return None
        if isinstance(error, StoreError):
            self._store_error = error
        words = failures.one_line(str(error) or type(error).__name__).encode("utf-8", "replace")
        return (False, words) if self.has_room(len(words)) else None

    def find_module(self, name: bytes) -> bytes | None:
        """Find a module's file, below the bundle's folder, links followed; None where there is none."""
        parts = _strict(name, "the module's name").replace(".", "/")
        for candidate in (f"{parts}.lua", f"{parts}/init.lua"):
            place = os.path.realpath(os.path.join(self.root, candidate))
            if not place.startswith(self.root + os.sep):
                continue
            file = os.path.relpath(place, self.root).encode("utf-8", "surrogateescape")
            if file not in self._modules:
                if not os.path.isfile(place):
                    continue
                if os.path.getsize(place) > MEMORY:
                    raise MemoryError
                self._modules.setdefault(file, Path(place).read_bytes())
            return file
        return None

    def read_module(self, file: bytes) -> bytes:
        """Give the code of a module's file, which `find_module` has found."""
        return self._modules[file]


def _asked(state: State) -> dict[str, Callable[..., Any]]:
    """Give what Lua may ask of a state, by name."""
    return {
        "get": lambda node, name: state.message.get(node, _text(name)),
        "get_entry": lambda node, name, key: state.message.get_entry(node, _text(name), key),
        "get_all": lambda node, name: state.give(state.message.get_all(node, _text(name))),
        "event": lambda: state.give(state.told),
        "decode": lambda text: state.give(changes.decode(text, MEMORY)),
        "find_module": lambda name: state.find_module(name),
        "read_module": lambda file: state.read_module(file),
        "log": lambda words, level: TykGateway.log(_text(words), _text(level)),
        "get_data": lambda key: TykGateway.get_data(_strict(key, "the key")),
        "store_data": lambda key, value, ttl: TykGateway.store_data(_strict(key, "the key"), value, ttl),
        "trigger_event": lambda name, payload: TykGateway.trigger_event(
            _strict(name, "the event's name"), _strict(payload, "the payload")
        ),
    }


def _guarded(state: State, asked: Callable[..., Any]) -> Callable[..., Any]:
    """Make something that Lua asks answer always: no exception may come where it is converted."""

    def answer(*arguments: Any) -> Any:
        try:
            value = asked(*arguments)
        except BaseException as error:  # as of a hook in Python, none of them ends its host
            return state.failed(error)
        size = len(value) if type(value) is bytes else 0
        return (True, value) if state.has_room(size) else None

    return answer


def _nothing(thing: object, name: object, is_setting: bool) -> object:
    raise AttributeError("there is nothing of Python for Lua")


def _limit(words: str) -> str:
    return f"it needs more than {MEMORY >> 20} MiB of memory" if words.endswith(_NO_MEMORY) else words


def _text(text: bytes | str | bool) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _trace(trace: bytes) -> str:
    """Give a traceback without the driver's own frames."""
    ours = ("\ttykbridge:", "\t[C]: in upvalue 'xpcall'", "\t[C]: in upvalue 'native'", "\t(...tail calls...)")
    lines = [line for line in _text(trace).split("\n") if not line.startswith(ours)]
    return "\n".join(lines).replace("\t", "    ")


def _strict(text: bytes, what: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise ChangeError(f"{what} is not UTF-8") from None


@functools.cache
def _source(name: str) -> bytes:
    return Path(__file__).with_name(f"{name}.lua").read_bytes()
