"""Brings events to their handlers off the request's path.

Each kind of handler has a lane of its own: waiting room, threads and counters. A web server that does not answer thus
holds back neither log lines nor Python handlers. A handler gets one event at a time, in the order in which they were
fired.
"""

from __future__ import annotations

import atexit
import collections
import enum
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import tykbridge._bridge  # noqa: F401 - first, so that what it does at exit comes after what is done here
from tykbridge import locks

LIMIT = 10_000
"""Events that wait in one lane, besides one for each handler."""

_ROOM = 32 * 1024 * 1024  # characters of the Meta of those that wait in one lane
_THREADS = {"log": 1, "python": 2, "webhook": 4}
_IDLE = 30.0  # seconds after which a thread without work ends
_AT_EXIT = 3.0  # seconds that the interpreter's end waits for what is queued
_TOLD_EVERY = 1.0  # seconds between two log lines about events that were dropped


class Result(enum.Enum):
    """What became of an event."""

    DELIVERED = enum.auto()
    FAILED = enum.auto()
    HELD = enum.auto()
    """Not sent: the same one was, not long ago."""


@dataclass(frozen=True, slots=True)
class Fired:
    """An event of an API.

    Attributes:
        type: its name.
        meta: what is told of it, by upstream's names. Shared between handlers: not to be changed.
        timestamp: when it was fired, as RFC 3339 has it.
        api_id: the API; its organisation is `org_id`.
    """

    type: str
    meta: Mapping[str, Any]
    timestamp: str
    api_id: str
    org_id: str

    @property
    def size(self) -> int:
        """Characters that it keeps in memory, roughly."""
        return sum(len(value) for value in self.meta.values() if isinstance(value, str))


class Handler(Protocol):
    """What a definition wants done at an event. Hashed by identity."""

    @property
    def kind(self) -> str:
        """Its lane: "log", "python" or "webhook"."""

    @property
    def log(self) -> Callable[[str, str], None]:
        """Writes a line: words, and a level."""

    def deliver(self, event: Fired) -> Result:
        """Do it. A failure is in the log when this returns."""


@dataclass(frozen=True)
class Counts:
    """What became of the events for one kind of handler, since the process began (or was forked).

    Attributes:
        queued: that were taken.
        delivered: that their handler has dealt with.
        failed: whose handler failed.
        held: that a cool-down held back.
        dropped: that were not taken because too many waited, or not delivered before the queue was closed.
        waiting: that wait, or are with their handler, now.
    """

    queued: int = 0
    delivered: int = 0
    failed: int = 0
    held: int = 0
    dropped: int = 0
    waiting: int = 0


class _Lane:
    """The events for one kind of handler. Everything is read and written under the queue's lock."""

    def __init__(self, kind: str, lock: threading.RLock) -> None:
        self.kind = kind
        self.work = threading.Condition(lock)
        # A handler that is at work, or whose turn comes, has an entry; its events wait there.
        self.waiting: dict[Handler, collections.deque[Fired]] = {}
        self.ready: collections.deque[Handler] = collections.deque()  # those that wait for a thread
        self.threads = self.idle = 0
        self.count = self.size = 0  # of all that wait
        self.queued = self.dropped = 0
        self.results = collections.Counter[Result]()
        self.untold = 0  # dropped since the log heard of it
        self.told_at = float("-inf")

    def next(self) -> tuple[Handler, Fired]:
        """Take the event whose turn it is."""
        handler = self.ready.popleft()
        event = self.waiting[handler].popleft()
        self.count -= 1
        self.size -= event.size
        return handler, event

    def over(self, handler: Handler, result: Result) -> None:
        """Note what became of the event that a handler got."""
        self.results[result] += 1
        if self.waiting[handler]:
            self.ready.append(handler)  # behind the others: a busy one leaves them their turn
        else:
            del self.waiting[handler]

    def drop_all(self) -> int:
        """Forget what waits; what is with its handler stays there."""
        dropped = self.count
        for handler in self.ready:
            del self.waiting[handler]
        for events in self.waiting.values():
            events.clear()
        self.ready.clear()
        self.count = self.size = 0
        self.dropped += dropped
        return dropped


class EventQueue:
    """Events on their way to handlers. Safe to use from any thread.

    Threads start with the first event of a lane, and end when there is nothing to do. They are daemons: they never keep
    a process alive. A forked child begins with an empty queue; what waits stays the parent's.

    Args:
        limit: events that may wait for one kind of handler, and one for each of these; more are dropped.
        room: characters of their Meta.
        clock: seconds from a clock that never goes back.
    """

    def __init__(self, limit: int = LIMIT, room: int = _ROOM, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._room, self._clock = limit, room, clock
        self._closed = False  # written under the lock; once set, it stays
        self._begin()
        _queues.add(self)

    def _begin(self) -> None:
        # Reentrant: a finalizer that runs while it is held may fire an event on the same thread.
        self._lock = locks.reentrant()
        self._over = threading.Condition(self._lock)  # told whenever a handler has nothing to do any more
        self._closing = threading.Event()
        self._lanes = {kind: _Lane(kind, self._lock) for kind in _THREADS}

    def put(self, handler: Handler, event: Fired) -> None:
        """Let a handler have an event. Never waits for a handler; where too many events wait already, it is dropped.

        One may wait for each handler all the same: what waits for one that hangs keeps nothing from the others.
        """
        lane, size, starts = self._lanes[handler.kind], event.size, False
        with self._lock:
            is_full = lane.count >= self._limit or lane.size + size > self._room
            if self._closed or (is_full and lane.waiting.get(handler)):
                lane.dropped += 1
                lane.untold += 1
            else:
                lane.queued += 1
                lane.count += 1
                lane.size += size
                if handler in lane.waiting:
                    lane.waiting[handler].append(event)
                else:
                    lane.waiting[handler] = collections.deque([event])
                    lane.ready.append(handler)
                    starts = len(lane.ready) > lane.idle and lane.threads < _THREADS[lane.kind]
                    lane.threads += starts
                    lane.work.notify()
        if starts:
            self._start(lane, handler)
        self._tell(lane, handler)

    def _start(self, lane: _Lane, handler: Handler) -> None:
        thread = threading.Thread(target=self._run, args=(lane,), name=f"tykbridge-events-{lane.kind}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter ends, or the process may have no more threads
            with self._lock:
                lane.threads -= 1
                dropped = 0 if lane.threads else lane.drop_all()
            handler.log(f"no thread for {lane.kind} handlers of events ({error}): {dropped} dropped", "error")

    def _run(self, lane: _Lane) -> None:
        while (found := self._next(lane)) is not None:
            handler, event = found
            try:
                result = handler.deliver(event)
            except Exception as error:  # a fault of tykbridge's own
                result = Result.FAILED
                handler.log(f'api "{event.api_id}": the event {event.type} was lost: {error!r}', "error")
            with self._lock:
                lane.over(handler, result)
                self._over.notify_all()
            self._tell(lane, handler)
            del handler, event, found  # nothing of a bundle that was replaced stays here

    def _next(self, lane: _Lane) -> tuple[Handler, Fired] | None:
        """Wait for an event; None: the thread is not needed any more."""
        with self._lock:
            if self._lanes[lane.kind] is not lane:  # a child that a handler forked: this is the parent's
                return None
            while not lane.ready:
                lane.idle += 1
                in_time = not self._closed and lane.work.wait(_IDLE)
                lane.idle -= 1
                if not lane.ready and not in_time:
                    lane.threads -= 1
                    return None
            return lane.next()

    def _tell(self, lane: _Lane, handler: Handler, at_once: bool = False) -> None:
        """Log what was dropped, once a second at most."""
        if not lane.untold:
            return
        with self._lock:
            now, dropped = self._clock(), lane.untold
            if not dropped or (now - lane.told_at < _TOLD_EVERY and not at_once):
                return
            lane.untold, lane.told_at = 0, now
        why = "the queue is closed" if self._closed else f"{lane.count} wait already"
        handler.log(f"{dropped} event{'s' if dropped > 1 else ''} for {lane.kind} handlers dropped: {why}", "warning")

    def pause(self, seconds: float) -> bool:
        """Wait in a handler; False at once when the queue is closed."""
        return not self._closing.wait(seconds)

    def counts(self) -> dict[str, Counts]:
        """What became of the events so far, by kind of handler."""
        with self._lock:
            return {kind: _counts(lane) for kind, lane in self._lanes.items()}

    def drain(self, timeout: float) -> bool:
        """Wait until every event has been with its handler, `timeout` seconds at most; returns whether it is so."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while any(lane.waiting for lane in self._lanes.values()):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._over.wait(left)
        return True

    def close(self, timeout: float) -> bool:
        """Take no more events, and deliver what waits; what is left after `timeout` seconds is dropped.

        Returns whether everything was delivered. A handler that is at work is left to itself.
        """
        with self._lock:
            self._closed = True
            self._closing.set()
        done = self.drain(timeout)
        for lane in self._lanes.values():
            with self._lock:
                handler = next(iter(lane.waiting), None)
                lane.untold += lane.drop_all()
                lane.work.notify_all()
            if handler is not None:
                self._tell(lane, handler, at_once=True)
        return done


def _counts(lane: _Lane) -> Counts:
    results = lane.results
    running = len(lane.waiting) - len(lane.ready)
    return Counts(
        lane.queued,
        results[Result.DELIVERED],
        results[Result.FAILED],
        results[Result.HELD],
        lane.dropped,
        lane.count + running,
    )


_queues: weakref.WeakSet[EventQueue] = weakref.WeakSet()


def _close_all() -> None:
    """Give what is queued a little time when the interpreter ends."""
    deadline = time.monotonic() + _AT_EXIT
    for queue in list(_queues):
        queue.close(max(0.0, deadline - time.monotonic()))


def _begin_all() -> None:
    for queue in list(_queues):
        queue._begin()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_begin_all)
