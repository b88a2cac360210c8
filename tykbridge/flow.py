"""Carries one request or response past hooks: shows it to them, and applies what they change."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tykbridge import _bridge, messages
from tykbridge._bridge import Exchange, part, quota_message, text, with_text
from tykbridge.context_variables import LABEL, ContextVariables
from tykbridge.crossing import Crossing, Several
from tykbridge.definition import Bundle, Definition, Hook, OnFailure, Phase
from tykbridge.errors import BridgeError, DeadlineError, HookError, UnavailableError
from tykbridge.messages import request_message
from tykbridge.outcome import (
    AUTH_FAILURE,
    CUSTOM_KEY_CHECK,
    KEY_NOT_AUTHORISED,
    MIDDLEWARE_ERROR,
    Headers,
    HookOutputError,
    Request,
    Respond,
    Response,
    after_failure,
    after_request,
    after_response,
    faulty,
    refused,
    request_of,
    token_of,
    with_headers,
    with_several,
)
from tykbridge.stores import StoreError

if TYPE_CHECKING:
    from tykbridge.services import Services

TYPES = {
    Phase.PRE: 1,
    Phase.POST: 2,
    Phase.POST_KEY_AUTH: 3,
    Phase.AUTH_CHECK: CUSTOM_KEY_CHECK,
    Phase.RESPONSE: 5,
}
"""Numbers of coprocess.HookType."""

_REQUEST, _SESSION, _RESPONSE = 2, 4, 8  # what Exchange.run says was changed


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A hook, ready to be called.

    Attributes:
        label: API and hook, for the log.
        name: the hook's name.
        bundle: the name under which its code is loaded; a `runtime.Called` is to be kept.
        key: that and its own, as the table of hooks has them.
        hook_type: number of coprocess.HookType.
        parts: what its message holds whoever asks: its spec.
        readable: it gets the body as text, too.
        is_open: when it fails, the request goes on without it.
        answers: it stands for the upstream: its answer goes past the response hooks.
        driver: the language that it is written in.
        api_id: the API.
    """

    label: str
    name: str
    bundle: str
    key: tuple[bytes, bytes]
    hook_type: int
    parts: bytes
    readable: bool
    is_open: bool
    answers: bool = False
    driver: str = ""
    api_id: str = ""


def step(definition: Definition, hook: Hook, bundle: str) -> Step:
    """Make a hook of a definition, whose code is loaded under the name `bundle`, ready to be called."""
    spec = definition.spec(Bundle(name=hook.bundle) if hook.bundle else None)
    return Step(
        label=f'api "{definition.api_id}": hook "{hook.name}"',
        name=hook.name,
        bundle=bundle,
        key=(bundle.encode(), hook.name.encode()),
        hook_type=TYPES[hook.phase],
        parts=messages.map_parts(messages.SPEC, spec),
        readable=not hook.raw_body_only,
        is_open=hook.on_failure is OnFailure.OPEN and hook.phase is not Phase.AUTH_CHECK,
        answers=hook.endpoint is not None,
        driver=hook.driver or "",
        api_id=definition.api_id,
    )


class Run:
    """Hooks of one phase that follow each other and get the same message.

    Attributes:
        steps: the hooks.
        keys: their keys.
        alone: for each of them what `Exchange.run` gets to call it alone.
        parts: as in Step.
        readable: as in Step.
    """

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.steps = steps
        self.keys = tuple(step.key for step in steps)
        self.alone = tuple((step.key,) for step in steps)
        self.parts, self.readable = steps[0].parts, steps[0].readable


def runs(steps: Iterable[Step]) -> tuple[Run, ...]:
    """Put the hooks of a phase together, in their order."""
    groups = itertools.groupby(steps, lambda step: (step.parts, step.readable))
    return tuple(Run(tuple(together)) for _, together in groups)


class Shown:
    """A session as hooks see it.

    Attributes:
        message: a serialised SessionState.
        metadata: parts of an Object that hold its metadata once more.
        parts: parts of an Object that hold both.
    """

    def __init__(self, message: bytes, metadata: bytes) -> None:
        self.message, self.metadata = message, metadata
        self.parts = part(messages.SESSION, message) + metadata


def shown(message: bytes) -> Shown:
    """Make what shows a serialised SessionState to hooks."""
    return Shown(message, messages.map_parts(messages.METADATA, _bridge.message("SessionState", message).metadata))


EMPTY_SESSION = shown(b"")


class _SentRequest:
    """What `after_request` must know of the request that a hook got."""

    __slots__ = ("body", "method", "raw_body", "url")

    def __init__(self, request: Request, readable: bool) -> None:
        self.url, self.method, self.raw_body = text(request.url), text(request.method), request.body
        self.body = messages.readable_body(request.body) if readable and request.body else ""


class _Sent:
    """The message that a hook got, as far as `outcome` reads it."""

    __slots__ = ("hook_name", "hook_type", "request", "response")

    def __init__(self, hook: Step, request: Any, response: Any = None) -> None:
        self.hook_type, self.hook_name = hook.hook_type, hook.name
        self.request, self.response = request, response


class Flow:
    """One request or response on its way past the hooks of an API.

    All hooks share one message for as long as they set headers at the most. Whatever else one changes is applied to the
    request, and the next hook gets a message of that. Nothing of the request is decoded before somebody asks for it.

    Attributes:
        key: the key of whoever sends the request.
        reply: what auth_check left.
        failed: a hook failed, or may not do what it did.
        answered: the response that ended it is one of a hook which stands for the upstream.
        response: the response, in the response phase.
        variables: what hooks may name in headers and urls, where the API has that on.
        crossing: what hooks see beside the message, where some do.
    """

    def __init__(self, services: Services, strict: bool, wire: bytes, has_body: bool) -> None:
        """Start with what `_bridge.incoming` gave, a part of an Object that shows hooks a request; or see `of`."""
        self._services, self._strict, self._watch = services, strict, services.watch
        self._timed = services.timed
        self._seconds = 0.0  # that the hook which was called last took, where somebody wants to know
        self._sent = wire
        # The request's part of a message, with and without the body as text; empty: to be made.
        self._raw, self._readable = wire, b"" if has_body else wire
        self._first: Request | None = None
        self._request: Request | None = None
        self._scheme = self._request_uri = ""
        self._exchange: Exchange | None = None
        self._at = 0  # of a run's hooks, the one that is called or was called last
        self._open: Run | None = None  # what the exchange's message was made for
        self._session: Shown | None = None
        self._quota = b""  # a SessionState with what is left of it, which comes behind the session
        self._response_wire = b""
        self._touched: set[str] | None = None  # lower-case names of the headers that were set or deleted
        self.key = ""
        self.reply: Any = None
        self.failed = self.answered = False
        self.response: Response | None = None
        self.variables: ContextVariables | None = None
        self.crossing: Crossing | None = None

    @classmethod
    def of(cls, services: Services, strict: bool, request: Request, scheme: str, request_uri: str) -> Flow:
        """Start with a request."""
        flow = cls(services, strict, b"", False)
        flow._start(request, scheme, request_uri)
        return flow

    def _start(self, request: Request, scheme: str, request_uri: str) -> None:
        self._request = self._first = request
        self._scheme, self._request_uri = scheme, request_uri

    # ---- The request

    @property
    def request(self) -> Request:
        """The request as the hooks so far made it."""
        if self._request is None:
            sent = _bridge.message("Object", self._sent)
            message = sent.request
            self._start(request_of(sent), message.scheme, message.request_uri or message.url)
        self._settle()
        assert self._request is not None
        return self._request

    @request.setter
    def request(self, request: Request) -> None:
        before = self.request
        if request != before:
            self._touch(name for name, _ in {*before.headers} ^ {*request.headers})
            self.close()
            self._replace(request)

    def _replace(self, request: Request) -> None:
        self._request = request
        self._readable = self._raw = b""

    def _touch(self, names: Iterable[str]) -> None:
        if self._touched is None:
            self._touched = set()
        for name in names:
            self._touched.add(name.lower())

    def header(self, name: str) -> bytes | None:
        """The first value of a header, None without one. Its name's case does not count."""
        if self._request is None and self._exchange is not None:
            return self._exchange.header(name)
        wanted = name.lower()
        for key, value in self.request.headers:
            if key.lower() == wanted:
                return _bytes(value)
        return None

    def repeated(self) -> Headers | None:
        """Give the headers where one has several values, of which the message has the first; else None."""
        if self._request is None:  # there is nothing but the message
            return None
        headers = self.request.headers
        return headers if len({name.lower() for name, _ in headers}) < len(headers) else None

    @property
    def query(self) -> str:
        """The part of the url after "?", as it came."""
        return self.request.url.partition("?")[2]

    @property
    def body(self) -> bytes:
        """The request's body."""
        return self.request.body

    def continued(self, start: bytes, session: bytes) -> bytes:
        """Give an Object for a host whose request goes on: `start`, what became different, and a session, if any."""
        if self._request is None and self._exchange is not None:
            return self._exchange.continued(start, session)
        request = self.request
        assert self._first is not None
        changes = messages.request_changes(self._first, request, self._touched or ())
        middle = part(messages.REQUEST, changes) if changes else b""
        return start + middle + (part(messages.SESSION, session) if session else b"")

    # ---- The session

    def show(self, session: Shown, key: str) -> None:
        """Let hooks see a session from now on."""
        if self._exchange is not None:
            if self._session is None and not self._exchange.is_shared():
                self._exchange.show_session(session.message, session.metadata)
            else:
                self.close()
        self._session, self._quota, self.key = session, b"", key

    def show_quota(self, remaining: int, renews: int) -> bytes:
        """Let hooks see what is left of a quota, and when it renews (unix seconds); gives it as a SessionState."""
        self._quota = quota_message(remaining, renews)
        if self._exchange is not None:
            if self._exchange.is_shared():
                self.close()
            else:
                self._exchange.show_quota(remaining, renews)
        return self._quota

    # ---- Hooks

    def run(self, together: tuple[Run, ...]) -> Respond | None:
        """Call the hooks of a phase. None: the request goes on; otherwise the response that ends it."""
        for run in together:
            self._at = 0
            while self._at < len(run.keys):
                try:
                    edits = self._call(run)
                except Exception as error:
                    end = self._fail(run.steps[self._at], error)
                    self._tell(run.steps[self._at], True)
                else:
                    end = self._apply(run.steps[self._at], edits) if edits else None
                    if edits or not run.steps[self._at].answers:  # otherwise an endpoint that the request is not for
                        self._tell(run.steps[self._at], end is not None and bool(end.fault))
                if end is not None:
                    self.answered = run.steps[self._at].answers and not self.failed and not end.fault
                    return end
                self._at += 1
        return None

    def _call(self, run: Run) -> int:
        """Call the `_at`-th hook and those after it, up to one that changes something; gives what it changed."""
        exchange = self.prepare(run)
        # Variables are filled in before headers move; what a response hook does to the request does not count.
        move = self.variables is None and self.response is None
        if self._timed is None and self._watch is None:
            try:
                return exchange.run(run.keys, self._at, move)
            finally:
                self._at = exchange.at
        start = perf_counter()
        try:
            if self._watch is not None:
                return self._watch(run.steps[self._at], exchange)
            return exchange.run(run.alone[self._at], 0, move)
        finally:
            self._seconds = perf_counter() - start

    def _tell(self, hook: Step, failed: bool) -> None:
        if self._timed is not None:
            self._timed(hook, self._seconds, failed)

    def check(self, run: Run) -> Respond | None:
        """Call an auth_check hook; `reply` has what it left."""
        self.show(EMPTY_SESSION, "")
        self._at = 0
        try:
            edits = self._call(run)
        except Exception as error:
            self._tell(run.steps[0], True)
            return self._fail(run.steps[0], error)
        end = self._apply(run.steps[0], edits)
        self._tell(run.steps[0], end is not None and bool(end.fault))
        return end

    def _apply(self, hook: Step, edits: int) -> Respond | None:
        """Apply what a hook changed; for a response hook that changed something, give the response."""
        end = self._edited(hook, edits)
        self.drop()  # the headers that moved are in the request already, and may be gone from it again
        return end

    def _edited(self, hook: Step, edits: int) -> Respond | None:
        """Do so. A method of its own, so that no view outlives it: the message is used again."""
        request = self.request
        assert self._exchange is not None
        reply = self._exchange.object
        if hook.hook_type == CUSTOM_KEY_CHECK:
            self.reply = _bridge.message("Object", reply.SerializeToString())
        elif edits & _SESSION and self._strict and (end := self._forbidden(hook, reply)):
            return end
        if hook.hook_type == TYPES[Phase.RESPONSE]:
            if not edits & _RESPONSE or self.response is None:
                return None
            before = _bridge.message("ResponseObject", self._response_wire)
            return after_response(self.response, _Sent(hook, request, before), reply)
        if not edits & _REQUEST:
            is_refused = hook.hook_type == CUSTOM_KEY_CHECK and not token_of(self.reply)
            return refused(403, KEY_NOT_AUTHORISED, event=AUTH_FAILURE) if is_refused else None
        if self.variables is not None and (fault := self.variables.fill(reply.request, request.url)):
            return faulty(hook.name, fault)
        outcome = after_request(request, _Sent(hook, _SentRequest(request, hook.readable)), reply)
        if isinstance(outcome, Respond):
            return outcome
        self._touch([*reply.request.set_headers, *reply.request.delete_headers])
        left = outcome.request
        if self.crossing is not None and self.crossing.several:
            try:
                left = with_several(left, self._several())
            except HookOutputError as fault:
                return faulty(hook.name, fault)
        if left != request:
            self._replace(left)
        return None

    def _several(self) -> Several:
        """Take the headers that the hook gave several values, but for those with a variable, which are filled in."""
        assert self.crossing is not None
        several, self.crossing.several = self.crossing.several, {}
        if self.variables is None:
            return several
        return {name: pairs for name, pairs in several.items() if not any(LABEL in value for _, value in pairs)}

    def _settle(self) -> None:
        """Bring the request up to date with the headers that are in the message already."""
        if self._exchange is not None and (headers := self._exchange.headers):
            assert self._request is not None
            self._touch([name for name, _ in headers])
            request = with_headers(self._request, headers)
            if request != self._request:
                self._replace(request)

    def close(self) -> None:
        """Let the message go; the next hook gets a new one."""
        if self._exchange is not None:
            if self._exchange.headers:
                _ = self.request
            self._exchange.close()
            self._exchange = None

    def drop(self) -> None:
        """End the flow."""
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None

    def prepare(self, run: Run) -> Exchange:
        """Give the message for hooks: the one that is there, where it would be the same."""
        if self._exchange is not None:
            open_ = self._open
            same = open_ is run or (open_ is not None and open_.parts == run.parts and open_.readable == run.readable)
            if same and not self._exchange.is_shared():  # whoever keeps a view may write to it at any time
                return self._exchange
            self.close()
        data = ((self._readable if run.readable else self._raw) or self._make(run.readable)) + run.parts
        if self._session is not None:
            data += self._session.parts
            if self._quota:  # one message behind the other is one message: this one's fields win
                data += part(messages.SESSION, self._quota)
        if self.response is not None:
            self._response_wire = messages.response_message(self.response)
            data += part(messages.RESPONSE, self._response_wire)
        self._open = run
        self._exchange = Exchange(data)
        return self._exchange

    def _make(self, readable: bool) -> bytes:
        if self._request is None:
            self._readable = with_text(self._sent)
            return self._readable
        request = self.request
        message = request_message(request, self._scheme, self._request_uri, readable)
        wire = part(messages.REQUEST, message + messages.NO_OVERRIDES)
        if readable or not request.body:
            self._readable = wire
        if not (readable and request.body):
            self._raw = wire
        return wire

    def _fail(self, hook: Step, error: Exception) -> Respond | None:
        self.close()  # what it changed before it failed is not applied
        if self.crossing is not None:
            self.crossing.several = {}
        if not isinstance(error, HookError):  # a hook's own failure is in the log
            self._services.log(f"{hook.label}: {error if isinstance(error, BridgeError) else repr(error)}", "error")
        if hook.is_open:
            return None
        self.failed = True
        cause = error.__cause__
        return after_failure(
            hook.hook_type,
            by_store=isinstance(cause, StoreError),
            is_late=isinstance(cause, DeadlineError),
            is_unavailable=isinstance(cause, UnavailableError),
        )

    def _forbidden(self, hook: Step, left: Any) -> Respond | None:
        """Refuse a session that a hook changed without the right to."""
        parts = b"" if self._session is None else self._session.parts + part(messages.SESSION, self._quota)
        sent = _bridge.message("Object", parts)
        name = _difference(sent.session, left.session)
        if not name and sent.HasField("session") == left.HasField("session"):
            return None
        self.failed = True
        words = f'hook "{hook.name}" changed session{"." if name else ""}{name}, which only auth_check may'
        refusal = refused(500, f"{MIDDLEWARE_ERROR}: {words}")
        return Respond(refusal.response, fault=words)


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate, which no byte of a request becomes
        return text.encode("utf-8", "surrogatepass")


def _difference(before: Any, after: Any) -> str:
    """Name the first field in which two sessions differ, "" for none."""
    one, other = before.FromString(before.SerializeToString()), after.FromString(after.SerializeToString())
    for field in one.DESCRIPTOR.fields:
        first, second = one.FromString(b""), one.FromString(b"")
        _take(first, one, field.name)
        _take(second, other, field.name)
        if first != second:
            return str(field.name)
    return ""


def _take(place: Any, source: Any, name: str) -> None:
    """Copy `source` without all fields but one."""
    place.CopyFrom(source)
    for field in source.DESCRIPTOR.fields:
        if field.name != name:
            place.ClearField(field.name)
