"""Runs the hooks of one API in their order, and decides what becomes of a request (contract, sections 3 to 7 and 13).

Everything fails closed: only the end of `Chain._run` goes on to the upstream, and a protected API gets there with an
`Identity` alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

from tykbridge import auth, caller, drivers, messages
from tykbridge.auth import Authentication, Identity, Refused
from tykbridge.context_variables import ContextVariables
from tykbridge.counters import Hit
from tykbridge.crossing import Crossing
from tykbridge.definition import Definition, Hook, Phase
from tykbridge.events.handlers import ApiEvents, Handlers
from tykbridge.flow import TYPES, Flow, runs, shown, step
from tykbridge.keydata import KeySessions
from tykbridge.limits import count
from tykbridge.outcome import KEY_NOT_AUTHORISED, Continue, Outcome, Request, Respond, Response, after_failure
from tykbridge.services import HostEvents, Mode, Services
from tykbridge.session import Denied

_get_caller, _set_caller, _reset_caller = caller.current.get, caller.current.set, caller.current.reset


class Chain:
    """One API: its hooks, and its authentication. Safe to use from any thread.

    Attributes:
        steps: the hooks that run, by phase.
        part: the part of an Object that says which API it is.
        events: where its events go, its handlers included.
        handlers: those alone.
    """

    def __init__(
        self,
        definition: Definition,
        bundle_of: Callable[[Hook], str],
        services: Services,
        handlers: Handlers | None = None,
    ) -> None:
        """Put the hooks in order. `bundle_of` names the bundle under which a hook's code is loaded.

        `handlers` are those of its events, None for none.

        Raises what `Authentication` raises.
        """
        self.definition = definition
        self.services = services
        self._counters = services.counters
        self.part = messages.map_parts(messages.SPEC, {"APIID": definition.api_id})
        self.strict = services.mode is Mode.STRICT
        self.steps = steps = {
            phase: tuple(step(definition, hook, bundle_of(hook)) for hook in definition.hooks(phase)) for phase in Phase
        }
        self._pre, self._post = runs(steps[Phase.PRE]), runs(steps[Phase.POST])
        self._post_key_auth, self._response = runs(steps[Phase.POST_KEY_AUTH]), steps[Phase.RESPONSE]
        self._auth_check = runs(steps[Phase.AUTH_CHECK])
        self._keyless, self._has_variables = definition.auth.keyless, definition.context_vars
        self._strip = definition.auth.strip and definition.auth.token is not None
        self.handlers = handlers
        self.events = ApiEvents(services.events, handlers) if handlers else services.events
        # To say who calls costs each request, and is left out where nobody asks: what plugins fire reaches the host by
        # itself, without the sink that hands it over.
        alone = type(self.events) is HostEvents and not drivers.ask(definition)
        keys = KeySessions(definition, services)
        own = caller.Caller(self.events, keys, definition.api_id, definition.org_id, services.log)
        self._caller = None if alone else own
        self._crosses = drivers.cross(definition)
        self._auth = Authentication(
            definition, services.sessions, services.keys, services.policies, services.clock, services.log
        )

    def request(self, request: Request, scheme: str = "http") -> Outcome:
        """Run a request through all the phases before the upstream. Never raises for what hooks and stores do."""
        flow = Flow.of(self.services, self.strict, request, scheme, request.url)
        try:
            end = self.run(flow)
            return Continue(flow.request, end) if isinstance(end, bytes) else end
        finally:
            flow.drop()

    def run(self, flow: Flow) -> bytes | Respond:
        """Run a flow: gives the response that ends it or, where it goes on, the session as a serialised SessionState.

        Never raises.
        """
        before = None if self._caller is _get_caller() else _set_caller(self._caller)
        if self._crosses:
            flow.crossing = Crossing(flow.repeated)
        try:
            return self._run(flow)
        except Exception as error:  # a fault of tykbridge's own: it must not let anybody through
            self._fault(f"internal error: {error!r}")
            return after_failure(TYPES[Phase.PRE])
        finally:
            if flow.crossing is not None:
                flow.crossing.end()
                flow.crossing = None  # which has the flow: nobody collects such a ring
            if before is not None:
                _reset_caller(before)

    def response(self, request: Request, response: Response, session: bytes = b"", scheme: str = "http") -> Respond:
        """Run the upstream's response through the response hooks.

        `request` is the one that the upstream got, `session` what `Continue.session` said then. Never raises for what
        hooks do.
        """
        if not self._response:
            return Respond(response)
        flow = Flow.of(self.services, self.strict, request, scheme, request.url)
        before = _set_caller(self._caller)
        if self._crosses:
            flow.crossing = Crossing(flow.repeated)
        try:
            if session:
                flow.show(shown(session), "")
            return self._answer(flow, response)
        except Exception as error:
            self._fault(f"internal error: {error!r}")
            return after_failure(TYPES[Phase.RESPONSE])
        finally:
            flow.drop()
            if flow.crossing is not None:
                flow.crossing.end()
                flow.crossing = None  # which has the flow: nobody collects such a ring
            _reset_caller(before)

    # ---- The order

    def _run(self, flow: Flow) -> bytes | Respond:
        session = b""
        if self._has_variables:
            flow.variables = ContextVariables(flow.request)
        if self._pre and (end := flow.run(self._pre)) is not None:
            return self._ended(flow, end)
        if not self._keyless:
            try:
                admitted = self._admit(flow)
            except Refused as refusal:
                if str(refusal):
                    self._fault(str(refusal), "error" if refusal.denied.status >= 500 else "info")
                return self._ended(flow, auth.respond(refusal.denied, self.services.clock()))
            if not isinstance(admitted, bytes):
                return self._ended(flow, admitted)
            session = admitted
        if self._post and (end := flow.run(self._post)) is not None:
            return self._answer(flow, end.response) if flow.answered else self._ended(flow, end)
        return session

    def _admit(self, flow: Flow) -> bytes | Respond:
        """Authenticate, then run what comes between that and the post hooks; gives the session."""
        found = self._auth.check(flow, self._check)
        if not isinstance(found, Identity):
            return found
        identity = found
        flow.show(identity.shown, identity.key)
        if flow.variables is not None:
            flow.variables.token = identity.token
        if self._post_key_auth and (end := flow.run(self._post_key_auth)) is not None:
            return end
        if self._strip:
            flow.request = _stripped(flow.request, self.definition.auth.token)
        if identity.is_guarded or identity.expires > 0:
            auth.check_rights(identity.session, self.definition.api_id, flow, self.services.clock())
        return self._count(flow, identity)

    def _count(self, flow: Flow, identity: Identity) -> bytes:
        """Count the request; gives the session, with what is left of its quota."""
        message = identity.shown.message
        if not identity.windows:
            return message
        try:
            counted = count(identity.windows, self._counters)
        except Exception as error:
            raise Refused(Denied(503, auth.UNAVAILABLE), f"the counters failed: {error!r}") from error
        if counted is None:
            return message
        if not isinstance(counted, Hit):
            raise Refused(counted)
        hit, quota = counted, identity.windows[-1]
        if identity.triggers is not None and hit.passed in identity.triggers:
            self._trigger(identity, identity.triggers[hit.passed], 100 * hit.passed // quota.limit)
        if not quota.is_own:
            return message
        # One message behind the other is one message: what is left of the quota wins over what was stored.
        resets = min(2.0**62, hit.resets)  # the first is about the latest time that a message can tell
        return message + flow.show_quota(quota.limit - hit.passed, int(resets))

    def _check(self, flow: Flow) -> Any:
        """Run the auth_check hook; gives its reply, or the response that ends the request."""
        if not self._auth_check:
            raise Refused(Denied(403, KEY_NOT_AUTHORISED), "custom authentication is on, and no hook is loaded")
        end = flow.check(self._auth_check[0])
        return flow.reply if end is None else end

    def _answer(self, flow: Flow, response: Response) -> Respond:
        answer = Respond(response)
        for hook in self._response:
            flow.response = answer.response
            end = flow.run(runs([hook]))
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
            meta = {
                "Message": json.loads(end.response.body)["error"],  # only the error template fires events
                "OriginatingRequest": "",
                "Path": flow.request.url.partition("?")[0],
                "Origin": "",
                "Key": flow.key,
            }
            self._fire(end.event, meta)
        return end

    def _trigger(self, identity: Identity, limit: float, usage: int) -> None:
        """Fire the event of a quota of which so much is used up (percentages); upstream does from there on always."""
        meta = {
            "Message": "Quota trigger reached",
            "OriginatingRequest": "",
            "org_id": identity.session.org_id,
            "key": identity.key,
            "trigger_limit": int(limit),
            "usage_percentage": usage,
        }
        self._fire("TriggerExceeded", meta)

    def _fire(self, event: str, meta: dict[str, Any]) -> None:
        definition = self.definition
        try:
            self.events.fire(event, definition.api_id, definition.org_id, meta)
        except Exception as error:
            self._fault(f"the event {event} was lost: {error!r}")

    def _fault(self, words: str, level: str = "error") -> None:
        self.services.log(f'api "{self.definition.api_id}": {words}', level)


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
