"""What a place for sessions, counters and plugin data must offer."""

from __future__ import annotations

import re
from typing import Protocol, runtime_checkable

CLOSED = "the store is closed"


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


@runtime_checkable
class Lister(Protocol):
    """A store that can say what it holds: for operators, not on the way of a request."""

    def names(self, start: str) -> list[str]:
        """Returns all keys that begin so. One that is set or removed meanwhile may be among them or not."""


_NAMES = ("apikey-", "quota-", "rate-limit-", "coprocess-data:")
_NUMBER = re.compile(rb"0|-?[1-9][0-9]{0,18}")  # as Redis reads them


def shown(key: str) -> str:
    """Returns what may be said of a key in an error: how it begins. The rest may be a client's secret."""
    return next((f'a key "{name}..."' for name in _NAMES if key.startswith(name)), "a key")


def wire(key: str) -> bytes:
    """Returns a key as stores outside of this process have it. A client's may hold bytes that are no UTF-8."""
    try:
        return key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate, which no byte of a request becomes
        return key.encode("utf-8", "surrogatepass")


def whole_number(key: str, value: bytes | None, by: int) -> int:
    """Returns `by` more than the number that is the value of `key`; raises `StoreError` where it is none of 64 bits."""
    if value is not None and not _NUMBER.fullmatch(value):
        raise StoreError(f"{shown(key)} holds something else than a whole number")
    total = by if value is None else int(value) + by
    if not -(2**63) <= total < 2**63 or not -(2**63) <= total - by < 2**63:
        raise StoreError(f"{shown(key)} would count beyond 64 bits")
    return total
