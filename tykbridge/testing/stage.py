"""What surrounds the APIs of one test: stores, a clock, events, and the host that hears what plugins do."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tykbridge import runtime
from tykbridge._bridge import unix_time
from tykbridge.cli.runner import Runner
from tykbridge.cli.witness import Witness
from tykbridge.counters import MemoryCounters
from tykbridge.events.queue import EventQueue, Fired, Handler
from tykbridge.policies import Policy
from tykbridge.services import Services
from tykbridge.steps import Seen
from tykbridge.stores.memory import MemoryStore
from tykbridge.testing.messages import Event


class Clock:
    """The time of gateway and stores, which a test may set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0  # seconds

    def unix(self) -> float:
        """Give unix seconds."""
        return unix_time() + self.ahead

    def monotonic(self) -> float:
        """Give seconds that never go back."""
        return time.monotonic() + self.ahead


class Later(EventQueue):
    """Keeps events for handlers until the request is over; then they are called, on the test's own thread.

    What a handler does is seen by the test that way, and nothing is left for the next. Webhooks are not sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[Handler, Fired]] = []

    def put(self, handler: Handler, event: Fired) -> None:
        """Keep an event."""
        self._waiting.append((handler, event))

    def deliver(self) -> None:
        """Call those who wait for events."""
        waiting, self._waiting = self._waiting, []
        for handler, event in waiting:
            if handler.kind != "webhook":
                handler.deliver(event)


class Surroundings:
    """What the APIs of one test share. Takes the place of the process's own until it is closed.

    Attributes:
        clock: the time here.
        sessions: the store of sessions.
        counters: those of rate limits and quotas.
        data: the store of what plugins keep.
        witness: the host that hears of everything.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.sessions, self.data = MemoryStore(self.clock.monotonic), MemoryStore(self.clock.monotonic)
        self.counters = MemoryCounters(self.clock.unix)
        self.witness = _witness()
        self.witness.host.attach()
        self._before = runtime.use_store(self.data)

    def close(self) -> None:
        """Put back what was there before, and forget the rest."""
        self.witness.host.detach()
        runtime.use_store(self._before)
        self.data.close()
        self.sessions.close()


@functools.cache
def _witness() -> Witness:
    """Make the one host of this process: the library never forgets any."""
    return Witness()


class Stage(Runner):
    """Runs the requests of one API.

    Attributes:
        events: all that were fired so far.
    """

    def __init__(self, around: Surroundings, policies: Mapping[str, Policy], strict: bool) -> None:
        super().__init__(around.witness, policies, strict)
        self.events: list[Event] = []
        self._queue = Later()
        self.services: Services = replace(
            self.services,
            sessions=around.sessions,
            counters=around.counters,
            queue=self._queue,
            clock=around.clock.unix,
        )

    def fire(self, event: str, api_id: str, org_id: str, meta: Mapping[str, Any]) -> None:
        """Take an event, a hook's or a chain's own."""
        super().fire(event, api_id, org_id, meta)
        self.events.append(Event(event, str(meta.get("Message", "")), dict(meta), api_id))

    def aside(self, call: Callable[[], Any]) -> Seen:
        """Call something that is no request, and tell what plugins and the gateway had to say meanwhile."""
        self._notes = Seen()
        with self._witness.watching() as seen:
            call()
        seen.logged += self._notes.logged
        return seen

    def handle_events(self) -> Seen:
        """Call the handlers of what was fired, and tell what they did."""
        return self.aside(self._queue.deliver)
