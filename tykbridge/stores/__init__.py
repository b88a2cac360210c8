"""What a place for plugin data must offer."""

from __future__ import annotations

from typing import Protocol


class Store(Protocol):
    """Bytes by key, each for a while or for good. Every method may be called from any thread."""

    def get(self, key: str) -> bytes | None:
        """Returns the value of `key`, or None when there is none or its time is over."""

    def set(self, key: str, value: bytes, ttl: float = 0) -> None:
        """Sets the value of `key` for `ttl` seconds; 0 or less: for good."""

    def delete(self, key: str) -> bool:
        """Removes `key`; returns whether it was there."""
