"""Counts requests against limits, atomically: the one thing that rate limits and quotas need of a store.

A window begins with its first request and ends `window` seconds later, as upstream's leaky bucket and its quota keys
do. What is refused is not counted, so that a client which keeps knocking does not keep itself out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from tykbridge import locks


class Hit(msgspec.Struct, frozen=True, gc=False):
    """What counting one request came to."""

    allowed: bool
    passed: int
    """Requests that passed in this window, this one included when it was allowed."""
    resets: float
    """Unix seconds at which the window ends; 0.0 when it never does."""


class Counters(Protocol):
    """A store's atomic counters. Any number of threads and processes may count on one key."""

    def hit(self, key: str, limit: int, window: float) -> Hit:
        """Count one request on `key`, unless `limit` (1 or more) of them passed in this window.

        `window` is in seconds; 0 or less: it never ends. Raises what the store raises when it cannot count: a request
        that was not counted must not pass.
        """

    def reset(self, key: str) -> None:
        """Forget what was counted on `key`."""


class _Window(msgspec.Struct, gc=False):
    passed: int
    resets: float


class MemoryCounters:
    """Counters in this process's memory."""

    _ROOM = 10_000
    """Keys that are kept without looking for those whose window is over."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Make counters whose time is `clock`, in unix seconds."""
        self._clock = clock
        # Reentrant: a finalizer that runs while a request is counted may send one on the same thread.
        self._lock = locks.reentrant()
        self._windows: dict[str, _Window] = {}
        self._room = self._ROOM

    def __len__(self) -> int:
        return len(self._windows)

    def hit(self, key: str, limit: int, window: float) -> Hit:
        """Count one request; see `Counters.hit`."""
        now = self._clock()
        with self._lock:
            counted = self._windows.get(key)
            # A window that never ended ends when its limit learns to renew.
            if counted is None or (now >= counted.resets if counted.resets else window > 0):
                counted = self._windows[key] = _Window(0, now + window if window > 0 else 0.0)
                if len(self._windows) > self._room:
                    self._sweep(now)
            if counted.passed >= limit:
                return Hit(False, counted.passed, counted.resets)
            counted.passed += 1
            return Hit(True, counted.passed, counted.resets)

    def reset(self, key: str) -> None:
        """Forget what was counted on `key`."""
        with self._lock:
            self._windows.pop(key, None)

    def _sweep(self, now: float) -> None:
        self._windows = {key: item for key, item in self._windows.items() if not item.resets or now < item.resets}
        self._room = max(self._ROOM, 2 * len(self._windows))
