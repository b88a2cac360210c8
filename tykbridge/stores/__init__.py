"""What a place for sessions, counters and plugin data must offer."""

from __future__ import annotations

from typing import Protocol


class StoreError(Exception):
    """The store did not do what it was asked: it cannot be reached, is too slow, or holds something else there.

    The words name the store and what happened, and never hold a secret. Whoever gets this cannot tell whether a write
    was done.
    """


class Store(Protocol):
    """Bytes by key, each for a while or for good. Every method may be called from any thread, and raises `StoreError`.

    A number that `incr` made reads as its decimal digits, as in Redis.
    """

    def get(self, key: str) -> bytes | None:
        """Returns the value of `key`, or None when there is none or its time is over."""

    def set(self, key: str, value: bytes, ttl: float = 0) -> None:
        """Sets the value of `key` for `ttl` seconds; 0 or less: for good."""

    def add(self, key: str, value: bytes, ttl: float = 0) -> bool:
        """Sets `key` only where it has no value; returns whether it did. Of several at once one does."""

    def delete(self, key: str) -> bool:
        """Removes `key`; returns whether it was there."""

    def incr(self, key: str, by: int = 1) -> int:
        """Adds to the number at `key`, atomically; a missing one is 0. Returns the sum; its time to live stays.

        The value must be a whole number of 64 bits, before and after.
        """

    def ttl(self, key: str) -> float | None:
        """Returns the seconds that `key` has left: 0.0 for good, None when there is no such key."""

    def close(self) -> None:
        """Lets go of files and connections. Calls that follow raise `StoreError`."""
