"""The steps of a request's way past hooks, as those see them who look on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tykbridge import _bridge, flow
from tykbridge.changes import Change, changes
from tykbridge.definition import Phase
from tykbridge.outcome import CUSTOM_KEY_CHECK, Object, Request, Response, token_of

_PHASES = {number: phase for phase, number in flow.TYPES.items()}


@dataclass(slots=True)
class Seen:
    """What a hook or an event handler did beside replying."""

    printed: list[str] = field(default_factory=list)
    logged: list[tuple[str, str]] = field(default_factory=list)
    """Level and message."""
    events: list[tuple[str, str]] = field(default_factory=list)
    """Name and payload."""

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.printed or self.logged or self.events)


@dataclass(frozen=True, slots=True)
class HookStep:
    """A hook's run.

    Attributes:
        phase: a name of Phase, or "virtual".
        name: the hook's.
        seconds: how long it took.
        seen: what it did beside replying.
        changes: what it changed; None where it failed.
        failure: the library's words where it failed, else "".
        fault: what it wrote that no hook may write, else "".
        token: under which an auth hook let somebody in.
        lacks_token: this is an auth hook that let nobody in, and gave no answer of its own.
        warnings: what it changed in vain.
        driver: the language that it is written in; "" where nobody asked.
        began: when, by time.perf_counter; 0 where nobody asked.
    """

    phase: str
    name: str
    seconds: float
    seen: Seen
    changes: tuple[Change, ...] | None
    failure: str = ""
    fault: str = ""
    token: str = ""
    lacks_token: bool = False
    warnings: tuple[str, ...] = ()
    driver: str = ""
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class EventStep:
    """An event that a hook fired, and the run of one of its handlers."""

    event: str
    handler: str
    seconds: float
    seen: Seen


@dataclass(frozen=True, slots=True)
class UpstreamStep:
    """What the upstream got and answered; None for what is not played.

    Attributes:
        remark: what is not shown of it, and why; "" where it is all there.
        failure: why there is no answer, else "".
        seconds, began: as in HookStep.
    """

    request: Request | None
    response: Response | None
    remark: str = ""
    failure: str = ""
    seconds: float | None = None
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class ClientStep:
    """What the client got at the end."""

    response: Response
    asked_upstream: bool
    event: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class NoteStep:
    """What is seen between hooks: while code is loaded, or of the chain itself."""

    about: str
    seen: Seen


Step = HookStep | EventStep | UpstreamStep | ClientStep | NoteStep


def replied(phase: str, name: str, seconds: float, seen: Seen, sent: Object, reply: Object) -> HookStep:
    """Make the step of a hook that gave a reply to the message that it was sent."""
    is_auth = sent.hook_type == CUSTOM_KEY_CHECK
    token = token_of(reply) if is_auth else ""
    return HookStep(
        phase,
        name,
        seconds,
        seen,
        tuple(changes(sent, reply)),
        token=token,
        lacks_token=is_auth and not token and bool(reply.request.return_overrides.response_code <= 0),
    )


def watched(step: flow.Step, exchange: _bridge.Exchange, seen: Seen, take: Callable[[HookStep], None]) -> int:
    """Run a hook, and hand its step to `take`, also when it fails; otherwise as a `services.Watch`."""
    phase = _PHASES[step.hook_type]
    sent = _object(step, exchange)
    began = time.perf_counter()
    try:
        edits = exchange.run((step.key,), move=False)
    except Exception as error:
        seconds = time.perf_counter() - began
        take(HookStep(phase, step.name, seconds, seen, None, str(error), driver=step.driver, began=began))
        raise
    seconds = time.perf_counter() - began
    if step.answers and not edits:  # an endpoint that the request is not for
        return edits
    made = replied(phase, step.name, seconds, seen, sent, _object(step, exchange))
    take(replace(made, driver=step.driver, began=began))
    return edits


def _object(step: flow.Step, exchange: _bridge.Exchange) -> Object:
    """Copy the message of an exchange, with the fields that only a host's messages have."""
    copy = _bridge.message("Object", exchange.object.SerializeToString())
    copy.hook_type, copy.hook_name = step.hook_type, step.name
    return copy


def in_vain(step: HookStep) -> tuple[str, ...]:
    """Name what a hook changed in a session without the right to."""
    if step.phase == Phase.AUTH_CHECK or step.changes is None:
        return ()
    fields = [change.path for change in step.changes if change.path.startswith("session")]
    if not fields:
        return ()
    words = f'hook "{step.name}" changed {", ".join(fields)}, which only auth_check may'
    return (f"{words}: dropped here, refused in strict mode",)
