"""A store in this process's memory."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable

from tykbridge import locks
from tykbridge.stores import CLOSED, StoreError, whole_number

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
        self._closed = False  # read without the lock, where no value was found: a closed store has none

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> bytes | None:
        """Returns the value of `key`, or None when there is none or its time is over."""
        found = self._values.get(key)
        if found is None:
            if self._closed:
                raise StoreError(CLOSED)
            return None
        value, deadline = found
        # What is over stays for the next `set`: a reader needs no lock.
        return value if deadline is None or deadline > self._clock() else None

    def set(self, key: str, value: bytes, ttl: float = 0) -> None:
        """Sets the value of `key` for `ttl` seconds; 0 or less: for good."""
        with self._lock:
            if self._closed:
                raise StoreError(CLOSED)
            now = self._clock()
            self._sweep(now)
            deadline = now + ttl if ttl > 0 else None
            self._values[key] = (value, deadline)
            if deadline is not None:
                heapq.heappush(self._deadlines, (deadline, key))

    def add(self, key: str, value: bytes, ttl: float = 0) -> bool:
        """Sets `key` only where it has no value; returns whether it did. Of several at once one does."""
        with self._lock:
            if self.get(key) is not None:
                return False
            self.set(key, value, ttl)
            return True

    def delete(self, key: str) -> bool:
        """Removes `key`; returns whether it was there."""
        with self._lock:
            found = self.get(key) is not None
            self._values.pop(key, None)
            return found

    def incr(self, key: str, by: int = 1) -> int:
        """Adds to the number at `key`, atomically; a missing one is 0. Returns the sum; its time to live stays."""
        with self._lock:
            value = self.get(key)
            total = whole_number(key, value, by)
            if value is None:
                self.set(key, b"%d" % total)
            else:
                self._values[key] = (b"%d" % total, self._values[key][1])
            return total

    def ttl(self, key: str) -> float | None:
        """Returns the seconds that `key` has left: 0.0 for good, None when there is no such key."""
        with self._lock:
            if self.get(key) is None:
                return None
            deadline = self._values[key][1]
            return 0.0 if deadline is None else deadline - self._clock()

    def names(self, start: str) -> list[str]:
        """Returns all keys that begin so."""
        with self._lock:
            if self._closed:
                raise StoreError(CLOSED)
            return [key for key in list(self._values) if key.startswith(start) and self.get(key) is not None]

    def close(self) -> None:
        """Forgets everything. Calls that follow raise `StoreError`."""
        with self._lock:
            self._closed = True
            self._values.clear()
            self._deadlines.clear()

    def _sweep(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, key = heapq.heappop(self._deadlines)
            if self._values.get(key, (b"", None))[1] == deadline:
                del self._values[key]
        # One key set over and over leaves a deadline behind each time.
        if len(self._deadlines) > 2 * len(self._values) + _SLACK:
            self._deadlines = [(end, key) for key, (_, end) in self._values.items() if end is not None]
            heapq.heapify(self._deadlines)
