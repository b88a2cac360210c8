"""Holds `tykbridge serve` under load through real sockets, with hooks of all kinds, while it is told to load again.

    .venv/bin/python bench/soak_gateway.py SECONDS FOLDER

FOLDER is empty. Eight connections ask without a pause: mostly an API with one hook in Python, at times one with hooks
in Python, JavaScript, Lua, Go (in a process) and on a gRPC server. Others wait for slow hooks beside, and clients leave
before they have an answer. Twice a second another version of the plugins is put in place, and SIGHUP sent. None
may fail but those whose hook raises, every answer is of one version and of the request's own, and at the end memory,
descriptors and threads are what they were. Ends with 0, or with 1 and what was wrong.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import soak_drivers
import steady

HERE = Path(__file__).resolve().parent
PLUGINS = soak_drivers.PLUGINS
TIMEOUT = 60  # seconds; for what hangs
CONNECTIONS = 8
SLOW = 4  # of them are in slow hooks beside


def write(folder: Path, upstream: str, server: str, plugin: Path) -> None:
    """Write the APIs, by what their hooks do."""

    def api(api_id: str, section: dict[str, object], **keys: object) -> None:
        proxy = {"listen_path": f"/{api_id}/", "target_url": upstream}
        soak_drivers.write_api(folder, api_id, {"driver": "python", **section}, proxy=proxy, **keys)

    def python(name: str) -> dict[str, str]:
        return {"name": name, "path": "plugin.py"}

    for api_id, name in (("python", "Before"), ("fails", "Fails"), ("slow", "Slow")):
        api(api_id, {"pre": [python(name)], "response": [python("Answer")]})
    target = {"address": server, "wait_for_ready": True}
    hooks = {
        "pre": [python("Before"), {"name": "before", "path": "plugin.js", "driver": "javascript"}],
        "auth_check": python("Check"),
        "post_key_auth": [{"name": "tell", "path": "plugin.lua", "driver": "lua"}],
        "post": [
            {"name": "Before", "path": str(plugin), "driver": "goplugin"},
            {"name": "stamp", "driver": "grpc"},
        ],
        "response": [python("Answer")],
        "grpc": {"targets": {"soak": target}},
        "goplugin": {"isolation": "process"},
    }
    api("all", hooks, use_keyless=False, enable_coprocess_auth=True)


class Connection:
    """A connection that stays open, and what came on it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._file = self._socket.makefile("rb")

    def send(self, path: str, request_id: str, body: bytes) -> None:
        """Send a request, with a key of the connection's own."""
        key = request_id.partition("-")[0]
        head = f"POST {path} HTTP/1.1\r\nHost: api.test\r\nX-Id: {request_id}\r\nAuthorization: {key}\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def answer(self) -> tuple[int, dict[str, str]]:
        """Wait for an answer; gives status and headers, their names in lower case."""
        status = int(self._file.readline().split()[1])
        lines = iter(self._file.readline, b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.decode().partition(":") for line in lines)}
        self._file.read(int(headers["content-length"]))
        return status, headers

    def close(self) -> None:
        """Leave, whatever was asked."""
        self._file.close()
        self._socket.close()


class Load(steady.Load):
    """Requests through a gateway.

    Attributes:
        newest: the last version that answered.
        asked: how often each API was.
    """

    def __init__(self, port: int) -> None:
        super().__init__(CONNECTIONS + SLOW)
        self.newest, self.asked = 0, Counter[str]()
        self._port = port
        self._connections = [Connection(port) for _ in range(self.threads)]
        self._lock = threading.Lock()

    def send(self, thread: int, number: int) -> None:
        """Send one, and see that what each hook wrote is of this request and of one version."""
        api_id = "slow" if thread >= CONNECTIONS else {0: "all", 10: "fails"}.get(number % 20, "python")
        request_id = f"{thread}-{number}"
        connection = self._connections[thread]
        connection.send(f"/{api_id}/{number}", request_id, b"b" * (number * 37 % 3000))
        if number % 100 == 99:  # without waiting for the answer
            connection.close()
            self._connections[thread] = Connection(self._port)
            return
        status, headers = connection.answer()
        if status != (500 if api_id == "fails" else 200):
            raise AssertionError(f"{api_id} answered {status} to {request_id}: {headers}")
        if status == 200:
            self._check(api_id, request_id, headers)
        with self._lock:
            self.asked[api_id] += 1

    def _check(self, api_id: str, request_id: str, headers: dict[str, str]) -> None:
        said = {"x-answer": headers["x-answer"]}
        if api_id != "slow":
            said["x-python"] = headers["x-python"]
        version = said["x-answer"].partition(" ")[0]
        if any(words != f"{version} {request_id}" for words in said.values()):
            raise AssertionError(f"{request_id}: {said}")
        if api_id == "all":
            others = {
                name: headers.get(f"x-{name}", "").split(" ")[-1] for name in ("javascript", "lua", "go", "server")
            }
            if set(others.values()) != {request_id}:
                raise AssertionError(f"{request_id}: {others}")
        with self._lock:
            self.newest = max(self.newest, int(version))

    def leave(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()


# Otherwise the arena of each thread that ever loaded a plugin keeps as much memory as that took, for its next one.
STEADY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}


@contextlib.contextmanager
def running(*command: object, log: Path, mark: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command of Python's until the block is over; gives what of its output matches first."""
    words = [sys.executable, *map(str, command)]
    options = {"stdout": subprocess.PIPE, "text": True, "env": {**os.environ, **STEADY}}
    with log.open("w") as errors, subprocess.Popen(words, stderr=errors, **options) as process:
        assert process.stdout is not None
        try:
            found = next(filter(None, (re.search(mark, line) for line in process.stdout)), None)
            if found is None:
                sys.exit(f"{words} ended: {log.read_text()}")
            yield process, found[1]
        finally:
            process.kill()


def settled(pid: int, before: steady.Usage) -> steady.Usage:
    """Wait until a process has no more descriptors than before, as it has when its connections are gone."""
    deadline = time.monotonic() + TIMEOUT
    while (now := steady.usage(pid)).descriptors > before.descriptors + steady.SLACK:
        if time.monotonic() > deadline:
            sys.exit(f"descriptors stay: {before} before, {now} now")
        time.sleep(0.1)
    return now


def main(seconds: float, folder: Path) -> str:
    """Run it for so long; gives what was measured."""
    build, plugin = soak_drivers.build_go(folder), folder / "plugin.so"
    apis, log = folder / "apis", folder / "log"
    apis.mkdir()

    def deploy(version: int) -> None:
        for name in ("plugin.py", "plugin.js", "plugin.lua"):
            soak_drivers.put(PLUGINS / name, apis / name, version)
        if version % 4 == 1:
            soak_drivers.put(build, plugin, version)

    deploy(1)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(soak_drivers.Server())
        echo = running(HERE / "gateway.py", "upstream", 0, log=folder / "upstream", mark=r"(\d+)")
        _, port = stack.enter_context(echo)
        write(apis, f"http://127.0.0.1:{port}/", server.address, plugin)
        words = ("-m", "tykbridge", "serve", apis, "--port", 0)
        serve = running(*words, log=log, mark=r"listens on http://\S+:(\d+)")
        gateway, found = stack.enter_context(serve)
        pid = gateway.pid

        warm = Load(int(found))  # every thread, process and connection that it will have is there then
        steady.under(warm, min(2, seconds), 0.5, lambda number: None)
        warm.leave()
        before = settled(pid, steady.Usage(0, 1 << 20, 0))

        load = Load(int(found))

        def act(number: int) -> None:
            """Wait until the version before answers, so that no loading sees half of the next one."""
            deadline = time.monotonic() + TIMEOUT
            while load.newest < number and not load.faults:
                if time.monotonic() > deadline:
                    sys.exit(f"version {number} never answered: {log.read_text()[-2000:]}")
                time.sleep(0.01)
            deploy(number + 1)
            gateway.send_signal(signal.SIGHUP)

        series = steady.under(load, seconds, 0.5, act, pid)
        load.leave()
        after = settled(pid, before)
        gateway.send_signal(signal.SIGTERM)
        if status := gateway.wait(TIMEOUT):
            sys.exit(f"it ended with {status}: {log.read_text()[-2000:]}")
    if len(re.findall(r"ValueError: it fails for", log.read_text())) < load.asked["fails"]:
        sys.exit("not each failure is in the log")
    asked = ", ".join(f"{count} of {api_id}" for api_id, count in sorted(load.asked.items()))
    return (
        f"{load.newest} versions, {load.count} requests ({asked}): none failed but those whose hook raises, each "
        f"answer of one version\n{steady.steady(series)}\nwithout connections: "
        f"{before.descriptors} descriptors before, {after.descriptors} after"
    )


if __name__ == "__main__":
    print(main(float(sys.argv[1]), Path(sys.argv[2])))
