"""What a native plugin may ask of the host: the log, events, and the gateway's store. Called from any thread."""

from __future__ import annotations

import math

from tykbridge import _bridge, fired, runtime
from tykbridge.stores import Store

_DATA = "native-store:"  # before a plugin's key: they share data with each other, and with nobody else
_LEVELS = ("debug", "info", "warning", "error")

_settings: bytes | None = None


def use_settings(settings: bytes | None) -> None:
    """Let plugins that are opened from now on know the gateway's settings, as Tyk's JSON; None: there are none.

    Those that are open keep what they were told.
    """
    global _settings
    _settings = settings


def known_settings() -> bytes | None:
    """Give what plugins are told of the gateway's settings."""
    return _settings


class Host:
    """The host of all plugins. What a method raises is a line in the log, and to the plugin a refusal."""

    def log(self, words: str, level: str) -> None:
        """Write a line to the log."""
        _bridge.log(words.replace("\0", "\N{REPLACEMENT CHARACTER}"), level if level in _LEVELS else "info")

    def trigger_event(self, name: str, payload: str) -> None:
        """Fire an event: of the API whose hook runs on this thread, otherwise of none."""
        fired.fire(name, payload)

    def get(self, key: bytes) -> bytes | None:
        """Give a value."""
        return _store().get(_named(key))

    def set(self, key: bytes, value: bytes, ttl_ms: int, if_absent: bool) -> int:
        """Set a value for so long, 0: for good; with `if_absent` only where there is none. 1: it is set."""
        if if_absent:
            return int(_store().add(_named(key), value, ttl_ms / 1000))
        _store().set(_named(key), value, ttl_ms / 1000)
        return 1

    def delete(self, key: bytes) -> int:
        """Remove a value. 1: it was there."""
        return int(_store().delete(_named(key)))

    def increment(self, key: bytes, by: int, ttl_ms: int) -> int:
        """Add to a whole number, and give the sum. One that is not there is 0, and gets this time to live."""
        store, name = _store(), _named(key)
        # One whose time is over in between begins anew, for good: no store adds and sets a time in one step.
        return by if store.add(name, b"%d" % by, ttl_ms / 1000) else store.incr(name, by)

    def ttl(self, key: bytes) -> int | None:
        """Give the milliseconds that a value has left, 0: for good; None where there is none."""
        left = _store().ttl(_named(key))
        return left if left is None else math.ceil(left * 1000)


def _store() -> Store:
    return runtime.data_store()


def _named(key: bytes) -> str:
    return _DATA + key.decode("utf-8", "surrogateescape")
