"""Runs the hooks of one API in their order, and decides what becomes of a request (contract, sections 3 to 7 and 13).

Everything fails closed: only the end of `Chain._run` goes on to the upstream, and a protected API gets there with an
`Identity` alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, unquote_plus

from tykbridge import _bridge, auth, messages
from tykbridge import session as sessions
from tykbridge.auth import Authentication, Identity, Refused
from tykbridge.definition import Bundle, Definition, Hook, OnFailure, Phase
from tykbridge.errors import BridgeError, HookError
from tykbridge.outcome import (
    CUSTOM_KEY_CHECK,
    KEY_NOT_AUTHORISED,
    MIDDLEWARE_ERROR,
    Continue,
    Outcome,
    Request,
    Respond,
    Response,
    after_failure,
    after_request,
    after_response,
    refused,
)
from tykbridge.services import Mode, Services
from tykbridge.session import Denied

_TYPES = {
    Phase.PRE: 1,
    Phase.POST: 2,
    Phase.POST_KEY_AUTH: 3,
    Phase.AUTH_CHECK: CUSTOM_KEY_CHECK,
    Phase.RESPONSE: 5,
}
_REQUEST, _SESSION, _RESPONSE = 2, 4, 8  # what _bridge.Exchange.run says was changed
_EMPTY_SESSION = messages.part(messages.SESSION, b"")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A hook, ready to be called.

    Attributes:
        label: API and hook, for the log.
        name: the hook's name.
        bundle: the name under which its code is loaded.
        hook_type: number of coprocess.HookType.
        parts: what its message holds whoever asks: its spec, and overrides that override nothing.
        readable: it gets the body as text, too.
        is_open: when it fails, the request goes on without it.
    """

    label: str
    name: str
    bundle: str
    hook_type: int
    parts: bytes
    readable: bool
    is_open: bool
    key: tuple[bytes, bytes]


def step(definition: Definition, hook: Hook, bundle: str) -> Step:
    """Make a hook of a definition, whose code is loaded under the name `bundle`, ready to be called."""
    spec = definition.spec(Bundle(name=hook.bundle) if hook.bundle else None)
    return Step(
        label=f'api "{definition.api_id}": hook "{hook.name}"',
        name=hook.name,
        bundle=bundle,
        hook_type=_TYPES[hook.phase],
        parts=messages.NO_OVERRIDES + messages.map_parts(messages.SPEC, spec),
        readable=not hook.raw_body_only,
        is_open=hook.on_failure is OnFailure.OPEN and hook.phase is not Phase.AUTH_CHECK,
        key=(bundle.encode(), hook.name.encode()),
    )


class Chain:
    """One API: its hooks, and its authentication. Safe to use from any thread."""

    def __init__(self, definition: Definition, bundle_of: Callable[[Hook], str], services: Services) -> None:
        """Put the hooks in order. `bundle_of` names the bundle under which a hook's code is loaded.

        Raises what `Authentication` raises.
        """
        self.definition = definition
        self.services = services
        self.strict = services.mode is Mode.STRICT
        steps = {
            phase: tuple(step(definition, hook, bundle_of(hook)) for hook in definition.hooks(phase)) for phase in Phase
        }
        self._pre, self._post = steps[Phase.PRE], steps[Phase.POST]
        self._post_key_auth, self._response = steps[Phase.POST_KEY_AUTH], steps[Phase.RESPONSE]
        checks = steps[Phase.AUTH_CHECK]
        self._auth_check = checks[0] if checks else None
        self._keyless = definition.auth.keyless
        self._auth = Authentication(definition, services.sessions, services.policies, services.clock, services.log)

    def request(self, request: Request, scheme: str = "http") -> Outcome:
        """Run a request through all the phases before the upstream. Never raises for what hooks and stores do."""
        return self.run(Flow(self, request, scheme, request.url))

    def run(self, flow: Flow) -> Outcome:
        """Run a flow that was not run before, and close it."""
        try:
            return self._run(flow)
        except Exception as error:  # a fault of tykbridge's own: it must not let anybody through
            self._fault(f"internal error: {error!r}")
            return after_failure(_TYPES[Phase.PRE])
        finally:
            flow.close()

    def response(self, request: Request, response: Response, session: bytes = b"", scheme: str = "http") -> Respond:
        """Run the upstream's response through the response hooks.

        `request` is the one that the upstream got, `session` what `Continue.session` said then. Never raises for what
        hooks do.
        """
        if not self._response:
            return Respond(response)
        flow = Flow(self, request, scheme, request.url)
        try:
            if session:
                flow.parts = messages.session_parts(session)
            return self._answer(flow, response)
        except Exception as error:
            self._fault(f"internal error: {error!r}")
            return after_failure(_TYPES[Phase.RESPONSE])
        finally:
            flow.close()

    # ---- The order

    def _run(self, flow: Flow) -> Outcome:
        for pre in self._pre:
            if (end := flow.call(pre)) is not None:
                return self._ended(flow, end)
        message = b""
        if not self._keyless:
            try:
                identity = self._admit(flow)
            except Refused as refusal:
                if str(refusal):
                    self._fault(str(refusal), "error" if refusal.denied.status >= 500 else "info")
                return self._ended(flow, auth.respond(refusal.denied, self.services.clock()))
            if isinstance(identity, Respond):
                return self._ended(flow, identity)
            message = identity.message
        for post in self._post:
            if (end := flow.call(post)) is not None:
                return self._ended(flow, end)
        return Continue(flow.request, message)

    def _admit(self, flow: Flow) -> Identity | Respond:
        """Authenticate, then run what comes between that and the post hooks."""
        definition, services = self.definition, self.services
        identity = self._auth.check(flow.get_request, lambda: self._check(flow))
        if isinstance(identity, Respond):
            return identity
        flow.key, flow.parts = identity.key, identity.parts
        for after in self._post_key_auth:
            if (end := flow.call(after)) is not None:
                return end
        if definition.auth.strip and definition.auth.token is not None:
            flow.request = _stripped(flow.request, definition.auth.token)
        session, api_id = identity.session, definition.api_id
        denied = sessions.check_state(session, services.clock()) or sessions.check_access(session, api_id)
        if denied is None and session.access_rights:
            path = unquote(flow.request.url.partition("?")[0])
            denied = sessions.check_path(session, api_id, flow.request.method, path)
        if denied is not None:
            raise Refused(denied)
        return self._count(flow, identity)

    def _count(self, flow: Flow, identity: Identity) -> Identity:
        definition, session = self.definition, identity.session
        try:
            allowance = sessions.count(
                session,
                identity.key,
                definition.api_id,
                self.services.counters,
                rate=not definition.disable_rate_limit,
                quota=not definition.disable_quota,
            )
        except Exception as error:
            raise Refused(Denied(503, auth.UNAVAILABLE), f"the counters failed: {error!r}") from error
        if isinstance(allowance, Denied):
            raise Refused(allowance)
        if allowance.quota_remaining is None or sessions.limit_of(session, definition.api_id)[0] is not session:
            return identity
        left = _bridge.message(
            "SessionState", quota_remaining=allowance.quota_remaining, quota_renews=int(allowance.quota_renews)
        ).SerializeToString()
        # One message behind the other is one message: what is left of the quota wins over what was stored.
        flow.parts = identity.parts + messages.part(messages.SESSION, left)
        return Identity(identity.key, session, identity.message + left, flow.parts)

    def _check(self, flow: Flow) -> Any:
        """Run the auth_check hook; gives its reply, or the response that ends the request."""
        if self._auth_check is None:
            raise Refused(Denied(403, KEY_NOT_AUTHORISED), "custom authentication is on, and no hook is loaded")
        flow.parts = _EMPTY_SESSION
        end = flow.call(self._auth_check)
        return flow.reply if end is None else end

    def _answer(self, flow: Flow, response: Response) -> Respond:
        answer = Respond(response)
        for hook in self._response:
            flow.response = answer.response
            end = flow.call(hook)
            if end is not None:
                answer = end
                if answer.fault:
                    self._fault(answer.fault)
                    return answer
                if flow.failed:
                    return answer
        return answer

    # ---- What is heard of it

    def _ended(self, flow: Flow, end: Respond) -> Respond:
        if end.fault:
            self._fault(end.fault)
        if end.event:
            definition = self.definition
            meta = {
                "Message": json.loads(end.response.body)["error"],  # only the error template fires events
                "OriginatingRequest": "",
                "Path": flow.request.url.partition("?")[0],
                "Origin": "",
                "Key": flow.key,
            }
            try:
                self.services.events.fire(end.event, definition.api_id, definition.org_id, meta)
            except Exception as error:
                self._fault(f"the event {end.event} was lost: {error!r}")
        return end

    def _fault(self, words: str, level: str = "error") -> None:
        self.services.log(f'api "{self.definition.api_id}": {words}', level)


class _SentRequest:
    """What `after_request` must know of the request that a hook got."""

    __slots__ = ("body", "method", "raw_body", "url")

    def __init__(self, request: Request, readable: bool) -> None:
        self.url, self.method, self.raw_body = request.url, request.method, request.body
        self.body = messages.readable_body(request.body) if readable and request.body else ""


class _Sent:
    """The message that a hook got, as far as `outcome` reads it."""

    __slots__ = ("hook_name", "hook_type", "request", "response")

    def __init__(self, hook: Step, request: Any, response: Any = None) -> None:
        self.hook_type, self.hook_name = hook.hook_type, hook.name
        self.request, self.response = request, response


class Flow:
    """One request or response on its way through a chain.

    Hooks that change nothing share one message. What a hook changed is applied to the request; the next hook gets a
    message of that.

    Attributes:
        touched: lower-case names of the headers that were set or deleted, also to the first value that was there.
        parts: the session's part of a message.
        key: the key of whoever sends the request.
        reply: what auth_check left.
        failed: a hook failed, or may not do what it did.
        response: the response, in the response phase.
    """

    def __init__(
        self, chain: Chain, request: Request, scheme: str, request_uri: str, wire: bytes | None = None
    ) -> None:
        """Start with a request; `wire` is the part of an Object that shows it, where the caller has one."""
        self._chain = chain
        self._request = request
        self._scheme, self._request_uri = scheme, request_uri
        # The request's part of a message, with and without the body as text.
        self._wire: dict[bool, bytes] = {} if wire is None else {True: wire}
        self.touched: set[str] = set()
        self._exchange: _bridge.Exchange | None = None
        self._made: tuple[bytes, bytes, bool] | None = None  # what the exchange's message was made of
        self._response_wire = b""
        self.parts = b""  # the session's
        self.key = ""
        self.reply: Any = None
        self.failed = False
        self.response: Response | None = None

    @property
    def request(self) -> Request:
        """The request as the hooks so far made it."""
        return self._request

    @request.setter
    def request(self, request: Request) -> None:
        if request != self._request:
            self.touched.update(name.lower() for name, _ in {*self._request.headers} ^ {*request.headers})
            self._request = request
            self._wire.clear()
            self.close()

    def get_request(self) -> Request:
        """Give the request as the hooks so far made it."""
        return self._request

    def close(self) -> None:
        """Let the message go; the next hook gets a new one."""
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None

    def call(self, hook: Step) -> Respond | None:
        """Run a hook; None: the request goes on. For a response hook that changed something, the response."""
        try:
            exchange = self._prepare(hook)
            edits = exchange.run(*hook.key)
        except Exception as error:
            return self._fail(hook, error)
        if not edits and hook.hook_type != CUSTOM_KEY_CHECK:
            return None
        end = self._apply(hook, edits, exchange)
        self.close()
        return end

    def _apply(self, hook: Step, edits: int, exchange: _bridge.Exchange) -> Respond | None:
        """Apply what a hook changed. A method of its own, so that no view outlives it: the message is used again."""
        reply = exchange.object
        if hook.hook_type == CUSTOM_KEY_CHECK:
            self.reply = _bridge.message("Object", reply.SerializeToString())
        elif edits & _SESSION and self._chain.strict and (end := self._strict(hook, reply)):
            return end
        if hook.hook_type == _TYPES[Phase.RESPONSE]:
            if not edits & _RESPONSE or self.response is None:
                return None
            before = _bridge.message("ResponseObject", self._response_wire)
            return after_response(self.response, _Sent(hook, self._request, before), reply)
        if not edits & _REQUEST and hook.hook_type != CUSTOM_KEY_CHECK:
            return None
        outcome = after_request(self._request, _Sent(hook, _SentRequest(self._request, hook.readable)), reply)
        if isinstance(outcome, Respond):
            return outcome
        written, deleted = dict(reply.request.set_headers.items()), list(reply.request.delete_headers)
        self.touched.update(map(str.lower, written), map(str.lower, deleted))
        earlier, self._request = self._request, outcome.request
        if deleted or not self._amend(earlier, written):
            self._wire.clear()
        return None

    def _amend(self, before: Request, written: dict[str, str]) -> bool:
        """Put set headers into the request's message, where nothing else changed; False: it must be made anew.

        In protobuf a later entry of a map replaces an earlier one, so what is there can stay.
        """
        after = self._request
        if after.url != before.url or after.method != before.method or after.body is not before.body:
            return False
        entries = []
        keys = [name.lower() for name, _ in before.headers]
        for name, value in written.items():
            key = name.lower()
            if key in keys and before.headers[keys.index(key)][0] != name:
                return False  # the map would hold both spellings
            if key not in messages.FRAMING:
                entries.append(messages.part(1, messages.part(1, name.encode()) + messages.part(2, value.encode())))
        if len(written) > 1 and len({*map(str.lower, written)}) != len(written):
            return False
        amendment = messages.part(messages.REQUEST, b"".join(entries)) if entries else b""
        for readable, wire in self._wire.items():
            self._wire[readable] = wire + amendment
        return True

    def _prepare(self, hook: Step) -> _bridge.Exchange:
        """Give the message for a hook: the one that is there, where it would be the same."""
        if self._exchange is not None and self._made == (hook.parts, self.parts, hook.readable):
            return self._exchange
        self.close()
        request = self._wire.get(hook.readable)
        if request is None:
            request = self._wire[hook.readable] = messages.part(
                messages.REQUEST,
                messages.request_message(self._request, self._scheme, self._request_uri, readable=hook.readable),
            )
        data = request + hook.parts + self.parts
        if self.response is not None:
            self._response_wire = messages.response_message(self.response)
            data += messages.part(messages.RESPONSE, self._response_wire)
        self._made = (hook.parts, self.parts, hook.readable)
        self._exchange = _bridge.Exchange(data)
        return self._exchange

    def _fail(self, hook: Step, error: Exception) -> Respond | None:
        self.close()  # what it changed before it failed is not applied
        if not isinstance(error, HookError):  # a hook's own failure is in the log
            self._chain.services.log(
                f"{hook.label}: {error if isinstance(error, BridgeError) else repr(error)}", "error"
            )
        if hook.is_open:
            return None
        self.failed = True
        return after_failure(hook.hook_type)

    def _strict(self, hook: Step, left: Any) -> Respond | None:
        """Refuse a session that a hook changed without the right to."""
        sent = _bridge.message("Object", self.parts)
        name = _difference(sent.session, left.session)
        if not name and sent.HasField("session") == left.HasField("session"):
            return None
        self.failed = True
        words = f'hook "{hook.name}" changed session{"." if name else ""}{name}, which only auth_check may'
        refusal = refused(500, f"{MIDDLEWARE_ERROR}: {words}")
        return Respond(refusal.response, fault=words)


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


def _stripped(request: Request, source: Any) -> Request:
    """Take a standard auth token out of the request."""
    dropped = source.header.lower()
    headers = [pair for pair in request.headers if pair[0].lower() != dropped]
    if source.cookie:
        headers = [pair for pair in map(lambda pair: _without_cookie(pair, source.cookie), headers) if pair[1]]
    path, mark, query = request.url.partition("?")
    if source.param and query:
        kept = [item for item in query.split("&") if unquote_plus(item.partition("=")[0]) != source.param]
        query = "&".join(kept)
        mark = mark if kept else ""
    return Request(request.method, path + mark + query, tuple(headers), request.body)


def _without_cookie(pair: tuple[str, str], name: str) -> tuple[str, str]:
    if pair[0].lower() != "cookie":
        return pair
    kept = [item.strip() for item in pair[1].split(";") if item.partition("=")[0].strip() != name]
    return pair[0], "; ".join(kept)
