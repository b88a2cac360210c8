"""Plays a call of an example: the chain of its hooks through the library, with everything that can be seen of it.

The order is that of the contract's section 3. What follows from a reply is worked out by tykbridge.outcome. A session
is the one that the auth hook of the same call returned; storing sessions is not this module's.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from tykbridge import _bridge, outcome
from tykbridge.cli.example import Call, Example, Hook
from tykbridge.cli.host import CallError, Host, Listener
from tykbridge.outcome import Continue, Object, Request, Respond, Response

_RESPONSE = 5


@dataclass(slots=True)
class Seen:
    """What a hook or an event handler did beside replying."""

    printed: list[str] = field(default_factory=list)
    logged: list[tuple[str, str]] = field(default_factory=list)
    """Level and message."""
    events: list[tuple[str, str]] = field(default_factory=list)
    """Name and payload."""


@dataclass(frozen=True, slots=True)
class HookStep:
    """A hook's run. `reply` is None, and `failure` has the library's words, where it failed."""

    hook: Hook
    sent: Object
    reply: Object | None
    seconds: float
    seen: Seen
    failure: str = ""
    fault: str = ""
    token: str = ""

    @property
    def lacks_token(self) -> bool:
        """Whether this is an auth hook that let nobody in, and gave no answer of its own."""
        if self.reply is None or self.hook.hook_type != outcome.CUSTOM_KEY_CHECK or self.token:
            return False
        return bool(self.reply.request.return_overrides.response_code <= 0)


@dataclass(frozen=True, slots=True)
class EventStep:
    """An event that a hook fired, and the run of one of its handlers."""

    event: str
    handler: str
    seconds: float
    seen: Seen


@dataclass(frozen=True, slots=True)
class UpstreamStep:
    """What the upstream got and answered."""

    request: Request
    response: Response


@dataclass(frozen=True, slots=True)
class ClientStep:
    """What the client got at the end."""

    response: Response
    asked_upstream: bool
    event: str = ""


Step = HookStep | EventStep | UpstreamStep | ClientStep


class Player:
    """Plays examples on one host."""

    def __init__(self, connect: Callable[[Listener, Listener], Host] = Host) -> None:
        """Start the library through `connect`, which gets the functions for log lines and for events."""
        self._seen = Seen()
        self.host = connect(self._on_log, self._on_event)

    def load(self, example: Example) -> None:
        """Load an example's bundle.

        Raises CallError: it does not load.
        """
        self.host.load_bundle(example.folder, example.name)

    def play(self, example: Example, call: Call) -> Iterator[Step]:
        """Play a call, step by step."""
        request, session = call.request, b""
        for hook in example.hooks:
            if hook.hook_type == _RESPONSE:
                continue
            sent = _sent(example, hook, request, session)
            step, result = self._run(hook, sent, request)
            yield step
            yield from self._fired(example, step)
            if isinstance(result, Respond):
                yield ClientStep(result.response, False, result.event)
                return
            request = result.request
            if hook.hook_type == outcome.CUSTOM_KEY_CHECK and step.reply is not None:
                session = step.reply.session.SerializeToString()
        yield UpstreamStep(request, call.upstream)
        response = call.upstream
        for hook in example.hooks:
            if hook.hook_type != _RESPONSE:
                continue
            sent = _sent(example, hook, request, session, response)
            step, result = self._run(hook, sent, response)
            yield step
            yield from self._fired(example, step)
            assert isinstance(result, Respond)
            response = result.response
            if step.failure or step.fault:
                break
        yield ClientStep(response, True)

    def _run(self, hook: Hook, sent: Object, message: Request | Response) -> tuple[HookStep, outcome.Outcome]:
        data = sent.SerializeToString()
        with self._watching() as seen:
            start = time.perf_counter()
            try:
                reply_data, failure = self.host.dispatch(data), ""
            except CallError as error:
                reply_data, failure = b"", str(error)
            seconds = time.perf_counter() - start
        if failure:
            return HookStep(hook, sent, None, seconds, seen, failure), outcome.after_failure(hook.hook_type)
        reply = _bridge.message("Object", reply_data)
        result: Continue | Respond
        if isinstance(message, Request):
            result = outcome.after_request(message, sent, reply)
        else:
            result = outcome.after_response(message, sent, reply)
        token = outcome.token_of(reply) if hook.hook_type == outcome.CUSTOM_KEY_CHECK else ""
        fault = result.fault if isinstance(result, Respond) else ""
        return HookStep(hook, sent, reply, seconds, seen, fault=fault, token=token), result

    def _fired(self, example: Example, step: HookStep) -> Iterator[EventStep]:
        """Hand the events of a step to those who hear them, as the contract's section 12 has it."""
        for event, payload in step.seen.events:
            for handler in example.event_handlers.get(event, ()):
                message = {
                    "Type": event,
                    "Meta": {"Message": payload, "OriginatingRequest": ""},
                    "TimeStamp": datetime.now(UTC).isoformat(),
                }
                spec = {"APIID": example.api_id, "OrgID": example.org_id}
                with self._watching() as seen:
                    start = time.perf_counter()
                    self.host.dispatch_event(json.dumps({"message": message, "handler_name": handler, "spec": spec}))
                    seconds = time.perf_counter() - start
                yield EventStep(event, handler, seconds, seen)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[Seen]:
        self._seen = seen = Seen()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            yield seen
        seen.printed += printed.getvalue().splitlines()

    def _on_log(self, message: str, level: str) -> None:
        self._seen.logged.append((level, message))

    def _on_event(self, name: str, payload: str) -> None:
        self._seen.events.append((name, payload))


def _sent(example: Example, hook: Hook, request: Request, session: bytes, response: Response | None = None) -> Object:
    """Make the message that a gateway sends to this hook (section 4)."""
    sent = _bridge.message("Object")
    sent.hook_type, sent.hook_name = hook.hook_type, hook.name
    sent.spec["OrgID"], sent.spec["APIID"] = example.org_id, example.api_id
    sent.spec["bundle_hash"] = example.name
    if example.config_data:
        sent.spec["config_data"] = example.config_data
    message = sent.request
    for name, value in reversed(request.headers):  # the first value is the one that stays
        message.headers[name] = value
    for name, value in reversed(parse_qsl(request.url.partition("?")[2], keep_blank_values=True)):
        message.params[name] = value
    message.url = message.request_uri = request.url
    message.method, message.scheme = request.method, "http"
    message.raw_body = request.body
    if not hook.raw_body_only:
        message.body = _text(request.body)
    message.return_overrides.response_code = -1
    if session or hook.hook_type == outcome.CUSTOM_KEY_CHECK:
        sent.session.ParseFromString(session)
        sent.session.SetInParent()
        for name, value in sent.session.metadata.items():
            sent.metadata[name] = value
    if response is not None:
        sent.response.status_code, sent.response.raw_body = response.status, response.body
        sent.response.body = _text(response.body)
        several: dict[str, list[str]] = {}
        for name, value in response.headers:
            several.setdefault(name, []).append(value)
        for name, values in several.items():
            sent.response.headers[name] = values[0]
            sent.response.multivalue_headers.add(key=name, values=values)
    return sent


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return ""
