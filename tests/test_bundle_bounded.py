from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tykbridge.bundle import bounded

pytestmark = pytest.mark.once


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_as_many_bytes_as_allowed_come_and_no_more(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    file = bounded.Socket(ours, time.monotonic() + 10, 10).makefile("rb")
    theirs.sendall(b"0123456789")
    assert file.read(10) == b"0123456789"
    theirs.sendall(b"x")
    with pytest.raises(bounded.TooLargeError):
        file.read(1)


def test_whoever_reads_to_the_end_is_bounded_too(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(b"x" * 100)
    with pytest.raises(bounded.TooLargeError):
        bounded.Socket(ours, time.monotonic() + 10, 10).makefile("rb").read()


def test_nothing_comes_when_the_time_is_over(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(b"x")
    with pytest.raises(bounded.OverLimitError, match="too slow"):
        bounded.Socket(ours, time.monotonic() - 1, 10).makefile("rb").read(1)
    with pytest.raises(bounded.OverLimitError, match="too slow"):
        bounded.left(time.monotonic())


def test_silence_is_a_time_out(pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "_SILENCE", 0.01)
    with pytest.raises(TimeoutError):
        bounded.Socket(pair[0], time.monotonic() + 10, 10).makefile("rb").read(1)
    with pytest.raises(bounded.OverLimitError, match="too slow"):
        bounded.Socket(pair[0], time.monotonic() + 0.005, 10).makefile("rb").read(1)
