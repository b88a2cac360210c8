"""Records of what requests went through: what came, each hook, the upstream, what the client got.

Nothing here runs unless somebody looks on. What is kept is bounded: the last requests, with the beginnings of their
bodies, and no body that was streamed.

Threads: a record belongs to the event loop, but for `steps`, to which a hook's thread appends while the loop waits for
it. A hook whose client has gone goes on, and appends to a record that is over; nobody takes anything out of a list that
another thread may be reading.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import sys
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TextIO, cast
from urllib.parse import urlsplit

from tykbridge import _bridge
from tykbridge.bridge import Bridge
from tykbridge.changes import Change, Value
from tykbridge.definition import Definition
from tykbridge.flow import Step as Hook
from tykbridge.gateway import wire
from tykbridge.gateway.visit import Visit, current
from tykbridge.outcome import FRAMING, Outcome, Request, Respond, Response
from tykbridge.steps import ClientStep, HookStep, NoteStep, Seen, Step, UpstreamStep, in_vain, watched

if TYPE_CHECKING:
    from aiohttp import web

KEPT = 200
"""Requests that are kept."""
BODY = 64 << 10
"""Bytes of a body that are kept."""
_TEXT = 16 << 10  # characters of a line, and of what a hook changed
_LINES = 500  # of a hook: what it prints, logs and fires; steps of a record

STREAMED = "the body was streamed, and is not kept"
UNREAD = "the body was not read"


@dataclass(eq=False)
class Record:
    """One request: the notes of a `visit.Visit`.

    Attributes:
        number: from 1 on.
        visit: the request's; has its API, times, status and failure.
        definition: of its API; None: no API listens there.
        request: as it came, the body cut.
        remark: what is not kept of the request, "" where it is all there.
        steps: what it went through.
        resent: the number of the request that this one repeats, 0 for none.
    """

    number: int
    visit: Visit
    definition: Definition | None
    strict: bool
    expected: dict[int, tuple[int, asyncio.Future[Record]]]
    request: Request
    remark: str = ""
    steps: list[Step] = field(default_factory=list)
    resent: int = 0
    _asked: tuple[Request, float] | None = None
    _event: str = ""
    _past: str = ""  # what is said of a body that goes past, to upstream or to the client

    @property
    def whole(self) -> bool:
        """Whether the request's body is all there."""
        return not self.remark

    # ---- The proxy tells (visit.Notes)

    def came(self, incoming: web.BaseRequest) -> None:
        """The request, whose body is not read yet."""
        self.request = replace(self.request, headers=wire.text(incoming.raw_headers))
        self.remark = UNREAD if incoming.can_read_body else ""
        peer = incoming.transport.get_extra_info("peername") if incoming.transport is not None else None
        repeated = self.expected.pop(peer[1], None) if isinstance(peer, tuple) else None
        if repeated is not None:
            self.resent, future = repeated
            if not future.done():
                future.set_result(self)

    def read(self, body: bytes) -> None:
        """Its body."""
        kept, self.remark = _cut_body(body)
        self.request = replace(self.request, body=kept)

    def decided(self, outcome: Outcome) -> None:
        """What hooks came to."""
        if isinstance(outcome, Respond):
            self._event = outcome.event
            if outcome.fault:
                self._blame(outcome.fault)

    def asked(self, request: Request, keeps_host: bool) -> None:
        """What the upstream gets."""
        if self.remark == UNREAD:
            self.remark = STREAMED
        dropped = {"expect"} if self.remark == STREAMED else {"expect", *FRAMING}
        headers = [pair for pair in request.headers if pair[0].lower() not in dropped]
        if not keeps_host:
            own = "Host", urlsplit(request.url).netloc.rpartition("@")[2]
            headers = [own, *(pair for pair in headers if pair[0].lower() != "host")]
        if request.body:
            headers.append(("Content-Length", str(len(request.body))))
        body, _ = _cut_body(request.body)
        self._asked = replace(request, headers=tuple(headers), body=body), time.perf_counter()

    def answered(self, response: Response, streamed: bool) -> None:
        """What the upstream answers."""
        body, remark = _cut_body(response.body)
        self._past = STREAMED if streamed else ""
        self._upstream(replace(response, body=body), self._past or remark)

    def gave(self, response: Response) -> None:
        """What the client gets."""
        self._ask_failed()
        body, remark = _cut_body(response.body)
        asked = any(isinstance(step, UpstreamStep) for step in self.steps)
        self._add(ClientStep(replace(response, body=body), asked, self._event, self._past or remark))

    def ended(self) -> None:
        """Hear that it is over."""
        self._ask_failed()

    def _ask_failed(self) -> None:
        if self._asked is not None:
            self._upstream(None, "", self.visit.failure or "it gave no answer")

    def _upstream(self, response: Response | None, remark: str, failure: str = "") -> None:
        assert self._asked is not None
        (request, began), self._asked = self._asked, None
        self._add(UpstreamStep(request, response, remark, failure, time.perf_counter() - began, began))

    # ---- Hooks' threads tell

    def took(self, step: HookStep) -> None:
        """Hear of a hook."""
        if step.changes is not None:
            step = replace(step, changes=tuple(map(_cut_change, step.changes[:_LINES])))
        self._add(step if self.strict else replace(step, warnings=in_vain(step)))

    def noted(self, words: str, level: str) -> None:
        """Hear a line that belongs to no hook. What a failure says already is left out."""
        hooks = [step for step in self.steps if isinstance(step, HookStep)]
        if any(failure and failure in words for failure in (self.visit.failure, hooks[-1].failure if hooks else "")):
            return
        last = self.steps[-1] if self.steps else None
        if not isinstance(last, NoteStep):
            last = NoteStep("chain", Seen())
            self._add(last)
        _note(last.seen.logged, (level, words))

    def _blame(self, fault: str) -> None:
        """Say of the last hook that it did what no hook may do; the chain's own line says it, too."""
        for at in reversed(range(len(self.steps))):
            step = self.steps[at]
            if isinstance(step, HookStep):
                self.steps[at] = replace(step, fault=fault, warnings=())
                return
            if isinstance(step, NoteStep):
                step.seen.logged[:] = [line for line in step.seen.logged if fault not in line[1]]

    def _add(self, step: Step) -> None:
        if len(self.steps) < _LINES:
            self.steps.append(step)


_seen: ContextVar[Seen | None] = ContextVar("tykbridge_seen", default=None)  # of the hook that runs here

Listener = Callable[[str, Record | None], None]
"""Hears, in the event loop, "began" or "ended" and the record, or "cleared" and None."""


class Tracer:
    """Keeps the records, and tells of them: a `visit.Observer`. For one event loop; hooks tell from any thread.

    Args:
        bridge: the APIs.
        strict: a session that a hook may not change fails the request.
        told_once: what is said in a request's course need not be in the log, too.
        kept: requests that are kept.
    """

    def __init__(self, bridge: Bridge, strict: bool = False, told_once: bool = False, kept: int = KEPT) -> None:
        self._bridge, self._strict, self._told_once = bridge, strict, told_once
        self._numbers = itertools.count(1)
        self._records: collections.deque[Record] = collections.deque(maxlen=kept)
        self._expected: dict[int, tuple[int, asyncio.Future[Record]]] = {}  # by the port that it comes from
        self.listeners: list[Listener] = []

    @property
    def records(self) -> list[Record]:
        """What is kept, the oldest first."""
        return list(self._records)

    def find(self, number: int) -> Record | None:
        """Give a record by its number; None: it is not kept any more."""
        return next((record for record in self._records if record.number == number), None)

    def clear(self) -> None:
        """Forget what is kept."""
        self._records.clear()
        self._tell("cleared", None)

    def expect(self, port: int, number: int) -> asyncio.Future[Record]:
        """Say that the next request from a port of this machine repeats a record; the future is its own."""
        future = asyncio.get_running_loop().create_future()
        self._expected[port] = number, future
        future.add_done_callback(lambda _: self._expected.pop(port, None))
        return future

    def begin(self, visit: Visit) -> None:
        """A request has come."""
        chain = self._bridge.chains.get(visit.api_id)
        definition = chain.definition if chain is not None else None
        request = Request(visit.method, visit.target)
        record = Record(next(self._numbers), visit, definition, self._strict, self._expected, request)
        visit.notes = record
        self._records.append(record)
        self._tell("began", record)

    def end(self, visit: Visit) -> None:
        """It is over."""
        if isinstance(record := visit.notes, Record):
            record.ended()
            self._tell("ended", record)

    def _tell(self, what: str, record: Record | None) -> None:
        for listener in list(self.listeners):
            listener(what, record)

    # ---- From any thread

    def watch(self, step: Hook, exchange: _bridge.Exchange) -> int:
        """Look on while a hook runs (`Services.watch`)."""
        record = _here()
        if record is None:
            return exchange.run((step.key,), move=False)
        seen = Seen()
        token = _seen.set(seen)
        try:
            return watched(step, exchange, seen, record.took)
        finally:
            _seen.reset(token)
            if seen.printed and not seen.printed[-1]:
                seen.printed.pop()  # what stands behind the last line's end

    def logged(self, words: str, level: str) -> bool:
        """Hear a line of the log: a plugin's, or of tykbridge itself. Tells whether it need not be written, too."""
        seen, record = _seen.get(), _here()
        if seen is not None:
            _note(seen.logged, (level, words))
        elif record is not None:
            record.noted(_cut(words), level)
        return self._told_once and record is not None

    def fired(self, name: str, payload: str) -> bool:
        """Hear an event, as `logged`."""
        if (seen := _seen.get()) is not None:
            _note(seen.events, (name, payload))
        return self._told_once and seen is not None


def _here() -> Record | None:
    """Give the record of the request that is answered here, or whose hooks run here."""
    visit = current.get()
    return visit.notes if visit is not None and isinstance(visit.notes, Record) else None


def hear_prints(passing_on: bool) -> None:
    """Note what hooks print, from now on. `passing_on`: it goes to standard output all the same."""
    sys.stdout = cast("TextIO", _Heard(sys.stdout, passing_on))


class _Heard:
    """Standard output, which knows in whose hook it is written to."""

    def __init__(self, out: TextIO, passing_on: bool) -> None:
        self._out, self._passing_on = out, passing_on

    def write(self, text: str) -> int:
        seen = _seen.get()
        if seen is not None:
            _print(seen, text)
            if not self._passing_on:
                return len(text)
        return self._out.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


def _print(seen: Seen, text: str) -> None:
    """Add what is printed to lines: the last one is open until a line ends."""
    lines = seen.printed or [""]
    first, *rest = text.split("\n")
    lines[-1] = _cut(lines[-1] + first)
    seen.printed = (lines + list(map(_cut, rest)))[:_LINES]


def _note(lines: list[tuple[str, str]], line: tuple[str, str]) -> None:
    if len(lines) < _LINES:
        lines.append((line[0], _cut(line[1])))


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}... [{len(text) - _TEXT} characters more]"


def _cut_body(body: bytes) -> tuple[bytes, str]:
    if len(body) <= BODY:
        return body, ""
    return body[:BODY], f"the first {BODY} of {len(body)} bytes of the body"


def _cut_change(change: Change) -> Change:
    return replace(change, old=_cut_value(change.old), new=_cut_value(change.new))


def _cut_value(value: Value | None) -> Value | None:
    if isinstance(value, bytes):
        return value if len(value) <= _TEXT else value[:_TEXT] + b"..."
    if isinstance(value, str):
        return _cut(value)
    return value[:_LINES] if isinstance(value, list) else value
