"""Runs calls through a chain, or through one hook of it, and tells step by step what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tykbridge import _bridge, auth, messages
from tykbridge import flow as flows
from tykbridge import session as sessions
from tykbridge.chain import Chain
from tykbridge.cli.example import Call
from tykbridge.cli.source import Opened, Refusal
from tykbridge.cli.witness import Witness
from tykbridge.context_variables import ContextVariables
from tykbridge.definition import Phase
from tykbridge.fired import PluginMeta
from tykbridge.flow import EMPTY_SESSION, Flow, shown
from tykbridge.gateway import upstreams, wire
from tykbridge.keys import Keys
from tykbridge.outcome import Outcome, Request, Respond, Response
from tykbridge.policies import Policy
from tykbridge.services import Mode, Services
from tykbridge.session import Session
from tykbridge.steps import ClientStep, HookStep, NoteStep, Seen, Step, UpstreamStep, in_vain, watched

Upstream = Callable[[Request], Response]

_SEES_SESSION = (Phase.POST_KEY_AUTH, Phase.POST, Phase.RESPONSE)


@dataclass
class Run:
    """What became of a call.

    Attributes:
        steps: hooks, upstream and client, in order.
        failures: hooks that failed, what was refused of them, and faults of the chain; each in words.
    """

    call: Call
    steps: list[Step] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def hooks(self) -> list[HookStep]:
        """The hooks that ran."""
        return [step for step in self.steps if isinstance(step, HookStep)]


class Runner:
    """Looks on while the chains run that are made with its `services`. For one thread.

    Args:
        witness: the host whom plugins tell what they do.
        policies: by id.
        strict: a session that a hook may not change fails the request.
        keys: how keys are written in the store; None: as they come.
    """

    def __init__(
        self, witness: Witness, policies: Mapping[str, Policy], strict: bool, keys: Keys | None = None
    ) -> None:
        self._witness = witness
        self._strict = strict
        self._hooks: list[HookStep] = []
        self._notes = Seen()
        self.services = Services(
            events=self,
            queue=None,  # what a call fires is shown, and goes to nobody
            policies=policies,
            keys=keys or Keys(),
            mode=Mode.STRICT if strict else Mode.COMPATIBLE,
            log=lambda words, level: self._notes.logged.append((level, words)),
            watch=self._watch,
        )

    def fire(self, event: str, api_id: str, org_id: str, meta: Mapping[str, str]) -> None:
        """Take an event: a hook's is what the hook did; a chain's own is named by the response that goes with it."""
        if isinstance(meta, PluginMeta):
            self._witness.fired(event, meta["Message"])

    def store_session(self, chain: Chain, request: Request, session: Session) -> None:
        """Store a session under the token that a request carries.

        Raises Refusal: the API has no standard tokens, or the request has none.
        """
        source = chain.definition.auth.token
        if source is None:
            why = "is keyless" if chain.definition.auth.keyless else "makes its sessions by an auth_check hook"
            raise Refusal(
                f'the API "{chain.definition.api_id}" {why}: --session is for one hook, or for an API with auth tokens'
            )
        key = auth.find_token(Flow.of(self.services, self._strict, request, "", ""), source)
        if not key:
            places = {"header": source.header, "parameter": source.param, "cookie": source.cookie}
            where = " or ".join(f"{place} {name}" for place, name in places.items() if name)
            raise Refusal(f"the request carries no token (in the {where}) under which --session could be stored")
        self.services.sessions.set(auth.PREFIX + self.services.keys.hashed(key), sessions.encode(session), 0)

    def run(
        self, opened: Opened, call: Call, scheme: str, session: Session | None, upstream: Upstream | None = None
    ) -> Run:
        """Run a call through the hooks. `upstream` answers in place of what the call says; what it raises goes up."""
        run = Run(call)
        self._hooks, self._notes = [], Seen()  # what was said while definitions were loaded is not of this call
        # As a gateway shows it to hooks.
        request = replace(call.request, headers=wire.forwardable(call.request.headers))
        if opened.step is None:
            self._all(run, opened.chain, request, scheme, upstream)
        else:
            self._one(run, opened, request, scheme, session)
        run.failures[:0] = [words for hook in run.hooks for words in (hook.failure, hook.fault) if words]
        return run

    def _all(self, run: Run, chain: Chain, request: Request, scheme: str, upstream: Upstream | None) -> None:
        outcome = chain.request(request, scheme)
        self._take(run, outcome)
        if isinstance(outcome, Respond):
            run.steps.append(ClientStep(outcome.response, False, outcome.event))
            return
        answered = upstream is not None or run.call.answered or bool(chain.steps[Phase.RESPONSE])
        given = run.call.upstream if upstream is None else upstream(outcome.request)
        run.steps.append(UpstreamStep(_sent(run, chain, outcome.request), given if answered else None))
        if answered:
            answer = chain.response(outcome.request, given, outcome.session, scheme)
            self._take(run, answer)
            run.steps.append(ClientStep(answer.response, True))

    def _one(self, run: Run, opened: Opened, request: Request, scheme: str, session: Session | None) -> None:
        phase, step = opened.phase, opened.step
        assert step is not None
        if session is not None and phase not in _SEES_SESSION:
            why = "makes the session" if phase is Phase.AUTH_CHECK else "sees no session"
            raise Refusal(
                f"a hook in the phase {phase} {why}: --session is for {', '.join(_SEES_SESSION)}, see --phase"
            )
        answers = phase is Phase.RESPONSE
        flow = Flow.of(self.services, self._strict, request, scheme, request.url)
        if opened.chain.definition.context_vars:
            flow.variables = ContextVariables(request)
        alone = flows.runs([step])
        try:
            if session is not None:
                flow.show(shown(messages.session_message(session)), "")
            elif phase is Phase.POST_KEY_AUTH:
                flow.show(EMPTY_SESSION, "")
            if answers:
                flow.response = run.call.upstream
            end = flow.check(alone[0]) if phase is Phase.AUTH_CHECK else flow.run(alone)
            request = flow.request
        finally:
            flow.drop()
        if answers:
            run.steps.append(UpstreamStep(None, run.call.upstream))
        self._take(run, end)
        if answers:
            run.steps.append(ClientStep(run.call.upstream if end is None else end.response, True))
        elif end is None:
            run.steps.append(UpstreamStep(_sent(run, opened.chain, request), None))
        else:
            run.steps.append(ClientStep(end.response, False, end.event))

    def _take(self, run: Run, outcome: Outcome | None) -> None:
        """Move what was seen so far into a run."""
        hooks, notes = self._hooks, self._notes
        self._hooks, self._notes = [], Seen()
        fault = outcome.fault if isinstance(outcome, Respond) else ""
        if fault and hooks:
            hooks[-1] = replace(hooks[-1], fault=fault, warnings=())
        run.steps += hooks
        told = [words for hook in hooks for words in (hook.failure, hook.fault) if words]
        notes.logged = [line for line in notes.logged if not any(words in line[1] for words in told)]
        if notes:
            run.steps.append(NoteStep("chain", notes))
        run.failures += [words for level, words in notes.logged if level == "error"]

    def _watch(self, step: flows.Step, exchange: _bridge.Exchange) -> int:
        """Run a hook, and note what it got, left and did."""
        with self._witness.watching() as seen:
            return watched(step, exchange, seen, self._noted)

    def _noted(self, step: HookStep) -> None:
        self._hooks.append(step if self._strict else replace(step, warnings=in_vain(step)))


def _sent(run: Run, chain: Chain, request: Request) -> Request:
    return upstreams.Upstream(chain.definition).sent(run.call.request.headers, request)
