"""Counts requests against limits, atomically: the one thing that rate limits and quotas need of a store.

A window begins with its first request and ends `window` seconds later, as upstream's leaky bucket and its quota keys
do. What is refused is not counted, so that a client which keeps knocking does not keep itself out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tykbridge._bridge import unix_time


class Hit:
    """What counting one request came to.

    Attributes:
        allowed: the request passes.
        passed: requests that passed in this window, this one included when it was allowed.
        resets: unix seconds at which the window ends; 0.0 when it never does.
    """

    def __init__(self, allowed: bool, passed: int, resets: float) -> None:
        self.allowed, self.passed, self.resets = allowed, passed, resets

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hit):
            return NotImplemented
        return (self.allowed, self.passed, self.resets) == (other.allowed, other.passed, other.resets)

    def __repr__(self) -> str:
        return f"Hit(allowed={self.allowed}, passed={self.passed}, resets={self.resets})"


class Counters(Protocol):
    """A store's atomic counters. Any number of threads and processes may count on one key."""

    def hit(self, key: str, limit: int, window: float) -> Hit:
        """Count one request on `key`, unless `limit` (1 or more) of them passed in this window.

        `window` is in seconds; 0 or less: it never ends. Raises what the store raises when it cannot count: a request
        that was not counted must not pass.
        """

    def reset(self, key: str) -> None:
        """Forget what was counted on `key`."""


class _Window:
    def __init__(self, resets: float) -> None:
        self.passed, self.resets = 0, resets


_ROOM = 10_000
"""Keys that are kept without looking for those whose window is over."""


class MemoryCounters:
    """Counters in this process's memory.

    This module is compiled, and Python's lock is the only one: between looking at a window and counting in it nothing
    is called that could let another thread, or a finalizer on this one, come in between.
    """

    def __init__(self, clock: Callable[[], float] = unix_time) -> None:
        """Make counters whose time is `clock`, in unix seconds."""
        self._clock = None if clock is unix_time else clock
        self._windows: dict[str, _Window] = {}
        self._room = _ROOM

    def __len__(self) -> int:
        return len(self._windows)

    def hit(self, key: str, limit: int, window: float) -> Hit:
        """Count one request; see `Counters.hit`."""
        now = unix_time() if self._clock is None else self._clock()
        resets = now + window if window > 0 else 0.0
        counted = self._windows.get(key)
        if counted is None:
            counted = self._windows.setdefault(key, _Window(resets))
        elif now >= counted.resets if counted.resets else window > 0:
            # A window that never ended ends when its limit learns to renew.
            counted.passed, counted.resets = 0, resets
        allowed = counted.passed < limit
        if allowed:
            counted.passed += 1
        hit = Hit(allowed, counted.passed, counted.resets)
        if len(self._windows) > self._room:
            self._sweep(now)
        return hit

    def reset(self, key: str) -> None:
        """Forget what was counted on `key`."""
        self._windows.pop(key, None)

    def _sweep(self, now: float) -> None:
        for key in list(self._windows):  # the keys alone: nothing is made meanwhile that a collection could follow on
            counted = self._windows.get(key)
            if counted is not None and 0 < counted.resets <= now:
                self._windows.pop(key, None)
        self._room = max(_ROOM, 2 * len(self._windows))
