"""Bounds what a server may send, in bytes and in time, however it frames it."""

from __future__ import annotations

import io
import time
from typing import Any

_SILENCE = 10.0  # seconds without a byte


class OverLimitError(Exception):
    """An answer goes on for too long. No OSError: it passes through what makes these errors of its own."""


class TooLargeError(OverLimitError):
    """It has too many bytes."""


def left(end: float) -> float:
    """Gives the seconds until `end`, a time of time.monotonic.

    Raises:
        OverLimitError: there are none.
    """
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise OverLimitError("the server is too slow")
    return seconds


class Socket(io.RawIOBase):
    """A socket that gives no more than so many bytes, and none after a time: however slowly and oddly a server answers.

    The socket's own time-out begins anew with each byte, and what parses responses trusts the lengths in them.
    """

    def __init__(self, connected: Any, end: float, budget: int) -> None:
        self._socket, self._end, self._budget = connected, end, budget
        self.sendall, self.settimeout = connected.sendall, connected.settimeout

    def makefile(self, *_: Any) -> io.BufferedReader:
        """Gives what http.client reads from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Says that it is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Gives what comes next, within the bounds."""
        self._socket.settimeout(min(_SILENCE, left(self._end)))
        try:
            count: int = self._socket.recv_into(buffer)
        except TimeoutError:
            left(self._end)
            raise
        self._budget -= count
        if self._budget < 0:
            raise TooLargeError
        return count

    def close(self) -> None:
        """Leaves the socket open: http.client closes a connection as soon as it has the headers."""
