"""The module `gateway`: what a plugin may ask of the gateway that runs it."""

from __future__ import annotations

from tykbridge import _bridge, fired

__all__ = ["TykGateway"]

_LEVELS = ("debug", "info", "warning", "error")


class TykGateway:
    """The gateway. Plugins import it as `tyk` and call its functions on the class."""

    @staticmethod
    def log(msg: str, level: str) -> None:
        """Writes a line to the gateway's log.

        Args:
            msg: the line.
            level: debug, info, warning or error; anything else counts as info.

        Raises:
            TypeError: `msg` is not a str.
        """
        _bridge.log(_text("msg", msg), level if level in _LEVELS else "info")

    @staticmethod
    def log_error(msg: str) -> None:
        """Writes a line of level error to the gateway's log."""
        TykGateway.log(msg, "error")

    @staticmethod
    def store_data(key: str, value: str | bytes, ttl: int) -> None:
        """Keeps `value` under `key` for `ttl` seconds; 0 or less: for good.

        Raises:
            tykbridge.stores.StoreError: it could not be stored, or nobody can tell whether it was. A hook that lets it
                go up fails: 500, and 503 for an auth_check.
        """
        if not isinstance(value, bytes):
            _text("value", value)
        _bridge.store_data(_text("key", key), value, ttl)

    @staticmethod
    def get_data(key: str) -> bytes:
        """Returns what was stored under `key`, or b"" when there is nothing.

        Raises:
            tykbridge.stores.StoreError: it could not be read, as in `store_data`.
        """
        data: bytes = _bridge.get_data(_text("key", key))
        return data

    @staticmethod
    def trigger_event(name: str, payload: str) -> None:
        """Fires an event; `payload` becomes its message."""
        fired.fire(_text("name", name), _text("payload", payload))


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"{name} must be a str, not {type(value).__name__}")
