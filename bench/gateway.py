"""Measures `tykbridge serve` on loopback: processes of their own for the load, the gateway and the upstream.

    .venv/bin/python bench/gateway.py [--rounds N] [--requests N]

Each round asks everybody in turn, so that what else the machine does meets all of them; sleeping hooks are there in
every fifth. Figures are medians over the rounds; those of other measurements in bench/results.json stay there.

    gateway.vs_plain          requests per second through an API without hooks, over those of plain_proxy.py
    gateway.cpu_vs_plain      CPU of a request (user and system) over that of plain_proxy.py
    gateway.one_us            CPU that one Python pre hook adds to a request of the gateway, microseconds
    gateway.four_us           the same of pre, auth_check, post_key_auth and post
    gateway.slow.p99_ratio    p99 of requests through a hook while 20 others sleep in theirs, over that alone
    gateway.many.threads      threads of the gateway with 1,000 idle and 200 busy connections
    gateway.many.rss_mb       what its memory grew by for them, megabytes
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOOKS = """
import time
from tyk.decorators import *

@Hook
def One(request, session, spec):
    request.add_header("X-One", "1")
    return request, session

@Hook
def Two(request, session, spec):
    request.add_header("X-Two", session.metadata["token"])
    return request, session

@Hook
def Three(request, session, spec):
    request.add_header("X-Three", "3")
    return request, session

@Hook
def Auth(request, session, metadata, spec):
    session.rate, session.per, session.org_id = 1000000.0, 1.0, "org"
    metadata["token"] = request.get_header("Authorization")
    return request, session, metadata

@Hook
def Slow(request, session, spec):
    time.sleep(1)
    return request, session
"""
REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: api.test\r\nUser-Agent: bench\r\nAccept: application/json\r\n"
    "Accept-Encoding: gzip\r\nAuthorization: key\r\nX-Request-Id: 1\r\nCookie: a=1; b=2\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    b"Server: bench\r\nContent-Length: 256\r\n\r\n" + b"x" * 256
)
CONNECTIONS = 8


class _Upstream(asyncio.Protocol):
    """Answers each request, of which none has a body, with the same."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        self._transport.write(ANSWER * len(heads))  # type: ignore[attr-defined]


class _Load(asyncio.Protocol):
    """One connection that asks as soon as it has the answer, and remembers how long each took."""

    def __init__(self, request: bytes, load: Load) -> None:
        self._request, self._load, self._rest = request, load, b""
        self.seconds: list[float] = []
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.ask()

    def ask(self) -> None:
        self._load.left -= 1
        if self._load.left < 0:
            self._transport.close()
            return
        self._asked = time.perf_counter()
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._rest += data
        head, mark, body = self._rest.partition(b"\r\n\r\n")
        if not mark:
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self.over.set_exception(RuntimeError(f"the answer was {head!r}"))
            self._transport.abort()  # type: ignore[attr-defined]
            return
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if length is None and not body.endswith(b"\r\n0\r\n\r\n"):
            return
        if length is not None and len(body) < int(length[1]):
            return
        self._rest = b""
        self.seconds.append(time.perf_counter() - self._asked)
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)


class Load:
    """Requests, from several connections at once. `left`: those that are not sent yet."""

    def __init__(self, requests: int) -> None:
        self.left = requests

    async def run(self, port: int, path: str, connections: int) -> tuple[float, list[float]]:
        """Send them. Gives the seconds that it took, and those of each."""
        loop = asyncio.get_running_loop()
        request = REQUEST.format(path=path).encode()
        began = time.perf_counter()
        made = [
            (await loop.create_connection(lambda: _Load(request, self), "127.0.0.1", port))[1]
            for _ in range(connections)
        ]
        await asyncio.gather(*(connection.over for connection in made))
        seconds = [each for connection in made for each in connection.seconds]
        return time.perf_counter() - began, seconds


def _load(port: int, path: str, requests: int, connections: int) -> None:
    """Print requests per second, and the p99 in seconds."""
    total, seconds = asyncio.run(Load(requests).run(port, path, connections))
    print(requests / total, statistics.quantiles(seconds, n=100)[98])


async def _hold(port: int, count: int) -> None:
    """Keep connections that ask once and then nothing, until standard input ends."""
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    for reader, writer in streams:
        writer.write(REQUEST.format(path="/none/").encode())
        await reader.readuntil(b"\r\n\r\n")
    print("held", flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _answer(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# ---- The other side


@contextlib.contextmanager
def _running(*command: object, mark: str, **options: object) -> Iterator[tuple[subprocess.Popen[str], re.Match[str]]]:
    """Run a command until the block is over; gives what its output says first that matches."""
    words = [sys.executable, *map(str, command)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    try:
        for line in process.stdout:
            if found := re.search(mark, line):
                break
        else:
            raise SystemExit(f"bench: {' '.join(words)} ended with {process.wait()}")
        yield process, found
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _asked(port: int, path: str, requests: int, connections: int = CONNECTIONS) -> tuple[float, float]:
    words = [sys.executable, __file__, "load", str(port), path, str(requests), str(connections)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"bench: {path} could not be measured")
    rate, late = done.stdout.split()
    return float(rate), float(late)


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, on all its threads."""
    return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid(3) makes it; /proc counts in hundredths


def _status(pid: int, name: str) -> int:
    return int(re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])  # type: ignore[index]


def write(folder: Path, upstream: int) -> None:
    """Write the APIs: none, one, four and slow, by how many hooks they have."""
    (folder / "hooks.py").write_text(HOOKS)
    phases: dict[str, dict[str, object]] = {
        "none": {},
        "one": {"pre": ["One"]},
        "four": {"pre": ["One"], "auth_check": "Auth", "post_key_auth": ["Two"], "post": ["Three"]},
        "slow": {"pre": ["Slow"]},
    }
    for name, section in phases.items():
        hooks: dict[str, object] = {"driver": "python"}
        for phase, names in section.items():
            made = [{"name": hook, "path": "hooks.py"} for hook in ([names] if isinstance(names, str) else names)]  # type: ignore[attr-defined]
            hooks[phase] = made[0] if phase == "auth_check" else made
        definition = {
            "api_id": name,
            "org_id": "org",
            "use_keyless": "auth_check" not in section,
            "enable_coprocess_auth": "auth_check" in section,
            "proxy": {"listen_path": f"/{name}/", "target_url": f"http://127.0.0.1:{upstream}/"},
            "custom_middleware": hooks,
        }
        (folder / f"{name}.json").write_text(json.dumps(definition))


def measure(rounds: int, requests: int) -> dict[str, float]:
    """Give the figures that the module's docstring tells of."""
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, found = stack.enter_context(_running(__file__, "upstream", 0, mark=r"(\d+)"))
        upstream = int(found[1])
        write(folder, upstream)
        serve = ("-m", "tykbridge", "serve", folder, "--port", 0)
        gateway, found = stack.enter_context(_running(*serve, mark=r"listens on http://\S+:(\d+)"))
        port = int(found[1])
        plain_port = _free_port()
        plain = subprocess.Popen(
            [sys.executable, HERE / "plain_proxy.py", str(plain_port), f"http://127.0.0.1:{upstream}"]
        )
        stack.callback(plain.wait)
        stack.callback(plain.kill)
        contenders = {
            "plain": (plain.pid, plain_port, "/none/"),
            **{name: (gateway.pid, port, f"/{name}/") for name in ("none", "one", "four")},
        }
        _wait_for(plain_port)
        for _, at, path in contenders.values():
            _asked(at, path, 200)
        for number in range(rounds):
            cost, rate = {}, {}
            for name, (pid, at, path) in contenders.items():
                before = _cpu(pid)
                rate[name], _ = _asked(at, path, requests)
                cost[name] = (_cpu(pid) - before) / requests * 1e6
                note(f"{name}.cpu_us", cost[name])
                note(f"{name}.per_second", rate[name])
            note("vs_plain", rate["none"] / rate["plain"])
            note("cpu_vs_plain", cost["none"] / cost["plain"])
            note("one_us", cost["one"] - cost["none"])
            note("four_us", cost["four"] - cost["none"])
            if number % 5:
                continue
            _, alone = _asked(port, "/one/", 2 * requests, 4)
            slow = subprocess.Popen(
                [sys.executable, __file__, "load", str(port), "/slow/", "1000000", "20"], stdout=subprocess.DEVNULL
            )
            time.sleep(1.5)  # all of them sleep by now, and threads are there for them
            _, beside = _asked(port, "/one/", 2 * requests, 4)
            slow.kill()
            slow.wait()
            note("slow.p99_ms", beside * 1e3)
            note("slow.alone_p99_ms", alone * 1e3)
            note("slow.p99_ratio", beside / alone)
        before = _status(gateway.pid, "VmRSS")
        holding = (__file__, "hold", port, 1000)
        with _running(*holding, mark="held", stdin=subprocess.PIPE):
            note("many.idle_rss_mb", (_status(gateway.pid, "VmRSS") - before) / 1024)
            _asked(port, "/four/", requests, 200)
            note("many.rss_mb", (_status(gateway.pid, "VmRSS") - before) / 1024)
            note("many.threads", _status(gateway.pid, "Threads"))
    return {f"gateway.{name}": round(statistics.median(values), 3) for name, values in figures.items()}


def _free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_for(port: int) -> None:
    import socket

    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def main() -> None:
    """Run a side of it, or all."""
    match sys.argv[1:]:
        case ["upstream", port]:
            asyncio.run(_answer(int(port)))
        case ["load", port, path, requests, connections]:
            _load(int(port), path, int(requests), int(connections))
        case ["hold", port, count]:
            asyncio.run(_hold(int(port), int(count)))
        case _:
            parser = argparse.ArgumentParser(description="Measures tykbridge serve on loopback.")
            parser.add_argument("--rounds", type=int, default=25)
            parser.add_argument("--requests", type=int, default=1000, help="of each contender in each round")
            options = parser.parse_args()
            figures = measure(options.rounds, options.requests)
            for name, value in figures.items():
                print(f"{name:28}{value:12,.3f}")
            results = HERE / "results.json"
            before = json.loads(results.read_text()) if results.exists() else {}
            results.write_text(json.dumps(dict(sorted({**before, **figures}.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
