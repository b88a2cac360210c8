"""Plays a call of an example: the chain of its hooks through the library, with everything that can be seen of it.

The order is that of the contract's section 3. What follows from a reply is worked out by tykbridge.outcome. A session
is the one that the auth hook of the same call returned; storing sessions is not this module's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from tykbridge import _bridge, outcome
from tykbridge.cli.example import Call, Example, Hook
from tykbridge.cli.host import CallError, Host, Listener
from tykbridge.cli.witness import Witness
from tykbridge.endpoints import Endpoint
from tykbridge.outcome import Continue, Object, Request, Respond, Response
from tykbridge.steps import ClientStep, EventStep, HookStep, Step, UpstreamStep, replied

_POST, _RESPONSE = 2, 5
_VIRTUAL = "virtual"


class Player:
    """Plays examples on one host."""

    def __init__(self, connect: Callable[[Listener, Listener], Host] = Host) -> None:
        """Start the library through `connect`, which gets the functions for log lines and for events."""
        self._witness = Witness(connect)
        self.host = self._witness.host

    def load(self, example: Example) -> None:
        """Load an example's bundle.

        Raises CallError: it does not load.
        """
        self.host.load_bundle(example.folder, example.name)

    def play(self, example: Example, call: Call) -> Iterator[Step]:
        """Play a call, step by step."""
        request, session, response, is_answered = call.request, b"", call.upstream, False
        for hook in _before_the_upstream(example, request):
            sent = _sent(example, hook, request, session)
            step, result, reply = self._run(hook, sent, request)
            yield step
            yield from self._fired(example, step.seen.events)
            if isinstance(result, Respond):
                response, is_answered = result.response, hook.section == _VIRTUAL and not (step.failure or step.fault)
                if is_answered:
                    break
                yield ClientStep(response, False, result.event)
                message = json.loads(response.body)["error"] if result.event else ""
                meta = {"Path": request.url.partition("?")[0], "Origin": "", "Key": ""}
                yield from self._told(example, result.event, {"Message": message, "OriginatingRequest": "", **meta})
                return
            request = result.request
            if reply is not None and hook.hook_type == outcome.CUSTOM_KEY_CHECK:
                session = reply.session.SerializeToString()
        if not is_answered:
            yield UpstreamStep(request, response)
        for hook in example.hooks:
            if hook.hook_type != _RESPONSE:
                continue
            sent = _sent(example, hook, request, session, response)
            step, result, _ = self._run(hook, sent, response)
            yield step
            yield from self._fired(example, step.seen.events)
            assert isinstance(result, Respond)
            response = result.response
            if step.failure or step.fault:
                break
        yield ClientStep(response, not is_answered)

    def _run(
        self, hook: Hook, sent: Object, message: Request | Response
    ) -> tuple[HookStep, outcome.Outcome, Object | None]:
        data = sent.SerializeToString()
        with self._witness.watching() as seen:
            start = time.perf_counter()
            try:
                reply_data, failure = self.host.dispatch(data), ""
            except CallError as error:
                reply_data, failure = b"", str(error)
            seconds = time.perf_counter() - start
        if failure:
            step = HookStep(hook.section, hook.name, seconds, seen, None, failure)
            return step, outcome.after_failure(hook.hook_type), None
        reply = _bridge.message("Object", reply_data)
        result: Continue | Respond
        if isinstance(message, Request):
            result = outcome.after_request(message, sent, reply)
        else:
            result = outcome.after_response(message, sent, reply)
        step = replied(hook.section, hook.name, seconds, seen, sent, reply)
        return replace(step, fault=result.fault if isinstance(result, Respond) else ""), result, reply

    def _fired(self, example: Example, events: Iterable[tuple[str, str]]) -> Iterator[EventStep]:
        for event, payload in events:
            yield from self._told(example, event, {"Message": payload, "OriginatingRequest": ""})

    def _told(self, example: Example, event: str, meta: dict[str, str]) -> Iterator[EventStep]:
        """Hand an event to those who hear it, as the contract's section 12 has it."""
        for handler in example.event_handlers.get(event, ()):
            message = {"Type": event, "Meta": meta, "TimeStamp": datetime.now(UTC).isoformat()}
            spec = {"APIID": example.api_id, "OrgID": example.org_id}
            with self._witness.watching() as seen:
                start = time.perf_counter()
                self.host.dispatch_event(json.dumps({"message": message, "handler_name": handler, "spec": spec}))
                seconds = time.perf_counter() - start
            yield EventStep(event, handler, seconds, seen)


def _before_the_upstream(example: Example, request: Request) -> Iterator[Hook]:
    """Give the hooks before the upstream: virtual endpoints of this path, as it came, stand before the post hooks."""
    found = [hook for hook in example.hooks if hook.hook_type != _RESPONSE]
    places = [(item.function, Endpoint(item.method, item.path, "/").finder()) for item in example.endpoints]
    here = [Hook(_VIRTUAL, _POST, name) for name, is_for_it in places if is_for_it(request)]
    yield from (hook for hook in found if hook.hook_type != _POST)
    yield from here[:1]
    yield from (hook for hook in found if hook.hook_type == _POST)


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
