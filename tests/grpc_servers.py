"""The servers of examples/grpc, built as their pages say, and started for real; a client that sends them bytes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import grpc

from tests.test_embedding import environment
from tests.test_readme import blocks

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("python", "go", "node", "java", "ruby")
COPY = ROOT / "build/grpc"
MADE = {"bin", "coprocess", "lib", "node_modules", "target"}  # by the builds, of which a second one makes use
SECONDS = 120  # after which a build or a server hangs


def active() -> dict[str, str]:
    """Make the environment of a shell in which this Python's virtual environment is active."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return environment(PATH=path, TYKBRIDGE_PYTHON=None)


def page(language: str) -> list[str]:
    """Give the commands of a server's page; the last one starts it."""
    [shell] = blocks(ROOT / "examples/grpc" / language / "README.md")["sh"]
    return shell.splitlines()


@contextlib.contextmanager
def building() -> Iterator[dict[str, concurrent.futures.Future[Path]]]:
    """Build all the servers side by side; give their folders."""
    shutil.copytree(ROOT / "proto", COPY / "proto", dirs_exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(len(LANGUAGES)) as pool:
        yield {language: pool.submit(_build, language) for language in LANGUAGES}


def _build(language: str) -> Path:
    """Build a server in a checkout that has nothing else."""
    folder = COPY / "examples/grpc" / language
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.name not in MADE:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    source = ROOT / "examples/grpc" / language
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*MADE), dirs_exist_ok=True)
    for command in page(language)[:-1]:
        done = subprocess.run(
            ["sh", "-ec", command], cwd=folder, env=active(), capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{language}: {command}\n{done.stdout}{done.stderr}"
    return folder


class Server:
    """A server's process. `address` is what it says it serves; `lines` has what else it says."""

    def __init__(self, *command: str, folder: Path = ROOT) -> None:
        # exec: a signal is for the server, not for its shell.
        self._process = subprocess.Popen(
            command, cwd=folder, env=active(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        try:
            first = self.lines.get(timeout=SECONDS)
        except queue.Empty:
            self.kill()
            raise
        found = re.match(r"serving ((?:tcp|unix)://[^\s;]*[^\s:;])", first)
        if found is None:
            self.kill()
            raise AssertionError(f"{command}: {first}{''.join(self.errors)}")
        self.address, self.announced = found[1], first

    @classmethod
    def of(cls, language: str, folder: Path, port: int | str = 0) -> Self:
        return cls("sh", "-c", f"exec {page(language)[-1]} {port}", folder=folder)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.put(line)
        self.lines.put("")  # the end

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self.errors.extend(self._process.stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def port(self) -> str:
        return self.address.rpartition(":")[2]

    @property
    def target(self) -> str:
        """As gRPC writes it."""
        return self.address.removeprefix("tcp://")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; give its exit code, or the signal that ended it, as a negative number."""
        code = self._process.wait(SECONDS)
        for reader in self._readers:
            reader.join()
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdout.close()
        self._process.stderr.close()
        return code

    def end(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()


class Client:
    """A plain client of gRPC: bytes in, bytes out."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None = None, **options: int) -> None:
        given = [(f"grpc.{name}", value) for name, value in options.items()]
        self.channel = (
            grpc.insecure_channel(target, given)
            if credentials is None
            else grpc.secure_channel(target, credentials, given)
        )
        self._dispatch = self.channel.unary_unary("/coprocess.Dispatcher/Dispatch")
        self._event = self.channel.unary_unary("/coprocess.Dispatcher/DispatchEvent")

    def dispatch(self, data: bytes, wait: bool = True) -> bytes:
        return bytes(self._dispatch(data, timeout=SECONDS, wait_for_ready=wait))

    def dispatch_all(self, data: list[bytes]) -> Iterator[bytes]:
        """Send all at once."""
        return (bytes(call.result()) for call in [self._dispatch.future(one, timeout=SECONDS) for one in data])

    def event(self, handler: str, **message: Any) -> bytes:
        event = {"message": message, "handler_name": handler, "spec": {"APIID": "books", "OrgID": "town-library"}}
        payload = json.dumps(event).encode()
        size = len(payload)
        assert size < 1 << 14
        return bytes(self._event(b"\x0a" + bytes([size & 0x7F | 0x80, size >> 7]) + payload, timeout=SECONDS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
