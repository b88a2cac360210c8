"""Real servers for tests, each in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tykbridge.stores.opening import Storage


def until(done: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for something to come true."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.002)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class RedisServer:
    """A redis-server on a socket in the file system, which keeps what it acknowledged; `port` is there on demand."""

    def __init__(self, *arguments: str, port: int = 0) -> None:
        # A path of a socket has 108 bytes at the most, and pytest's folders have long names.
        self._folder = tempfile.TemporaryDirectory(prefix="tykb-redis-")
        self.path = str(Path(self._folder.name) / "socket")
        self.port = port
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        folder, port = self._folder.name, str(self.port)
        options = ["--dir", folder, "--unixsocket", self.path, "--port", port, "--bind", "127.0.0.1"]
        durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(
            ["redis-server", *options, *durable, *self._arguments], stdout=subprocess.DEVNULL
        )
        until(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "redis-server did not start"
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def client(self) -> redis.Redis:
        """Returns a client of redis-py, to be closed."""
        return redis.Redis(unix_socket_path=self.path)

    def storage(self, **settings: object) -> Storage:
        return Storage(**{"type": "redis", "host": self.path, **settings})  # type: ignore[arg-type]

    def kill(self) -> None:
        """Ends it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Lets it hang: the system takes connections for it, and nobody answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()


@pytest.fixture(scope="session")
def _redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def redis_server(_redis_server: RedisServer) -> RedisServer:
    """A redis-server that all tests share, empty. Who ends it takes one of their own."""
    with _redis_server.client() as client:
        client.flushall()
    return _redis_server
