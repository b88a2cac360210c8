from typing import Literal

class TykGateway:
    """The gateway that runs the plugin."""

    @staticmethod
    def log(msg: str, level: Literal["debug", "info", "warning", "error"]) -> None:
        """Writes a line to the gateway's log."""
    @staticmethod
    def log_error(msg: str) -> None:
        """Writes a line of level error to the gateway's log."""
    @staticmethod
    def store_data(key: str, value: str | bytes, ttl: int) -> None:
        """Keeps `value` under `key` for `ttl` seconds; 0 or less: for good."""
    @staticmethod
    def get_data(key: str) -> bytes:
        """What was stored under `key`, b"" when there is nothing."""
    @staticmethod
    def trigger_event(name: str, payload: str) -> None:
        """Fires an event; `payload` becomes its message."""
