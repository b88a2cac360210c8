"""A store in this process's memory."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable

from tykbridge import locks

_SLACK = 64  # outdated deadlines that are not worth a clean-up


class MemoryStore:
    """Keeps data until its time is over or the process ends.

    What has expired is dropped by the next `set`, so that a key which nobody asks for again takes no room.

    Args:
        clock: seconds from a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[str, tuple[bytes, float | None]] = {}
        self._deadlines: list[tuple[float, str]] = []  # a heap; holds outdated ones too, which are skipped
        # Reentrant: a finalizer that runs while a method is at work may call the store on the same thread.
        self._lock = locks.reentrant()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> bytes | None:
        """Returns the value of `key`, or None when there is none or its time is over."""
        found = self._values.get(key)
        if found is None:
            return None
        value, deadline = found
        # What is over stays for the next `set`: a reader needs no lock.
        return value if deadline is None or deadline > self._clock() else None

    def set(self, key: str, value: bytes, ttl: float = 0) -> None:
        """Sets the value of `key` for `ttl` seconds; 0 or less: for good."""
        with self._lock:
            now = self._clock()
            self._sweep(now)
            deadline = now + ttl if ttl > 0 else None
            self._values[key] = (value, deadline)
            if deadline is not None:
                heapq.heappush(self._deadlines, (deadline, key))

    def delete(self, key: str) -> bool:
        """Removes `key`; returns whether it was there."""
        with self._lock:
            found = self.get(key) is not None
            self._values.pop(key, None)
            return found

    def _sweep(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, key = heapq.heappop(self._deadlines)
            if self._values.get(key, (b"", None))[1] == deadline:
                del self._values[key]
        # One key set over and over leaves a deadline behind each time.
        if len(self._deadlines) > 2 * len(self._values) + _SLACK:
            self._deadlines = [(end, key) for key, (_, end) in self._values.items() if end is not None]
            heapq.heapify(self._deadlines)
