"""Holds one kind of plugin under load while what runs it goes and comes: JavaScript, a gRPC server, Go in a process.

    .venv/bin/python bench/soak_drivers.py javascript|grpc|go SECONDS FOLDER

FOLDER is empty. Four threads send requests through tykbridge.Bridge and check every answer. None may fail, but for
those that were on their way where a server or a plugin's process was killed. Ends with 0, or with 1 and what was wrong.

    javascript   another version every 100 ms; hooks that throw, and that never end, stand between
    grpc         every two seconds the server ends in good order, or is killed, and is started again
    go           another version every 250 ms, and every second the process is killed
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import steady

from tykbridge import Bridge, _bridge
from tykbridge.outcome import Continue, Request, Response
from tykbridge.services import Services

HERE = Path(__file__).resolve().parent
PLUGINS = HERE / "soak_plugins"


def put(template: Path, file: Path, version: int) -> None:
    """Write a version of a plugin where another one stands, in one step."""
    fresh = file.with_suffix(".new")
    data = template.read_bytes()
    for mark in (b'"%06d"', b"@%06d@"):  # in sources, and in what Go built
        data = data.replace(mark % 0, mark % version)
    fresh.write_bytes(data)
    fresh.replace(file)


def write_api(folder: Path, api_id: str, section: dict[str, Any], **keys: Any) -> None:
    """Write the definition of an API."""
    proxy = {"listen_path": f"/{api_id}/", "target_url": "http://upstream.test/"}
    definition = {"api_id": api_id, "org_id": "org", "use_keyless": True, "proxy": proxy, "custom_middleware": section}
    (folder / f"{api_id}.json").write_text(json.dumps({**definition, **keys}))


class Load(steady.Load):
    """Requests through a bridge.

    Args:
        bridge: has the APIs.
        header: what the hooks before write: "VERSION ID".

    Attributes:
        least: every answer is of this version or of a later one.
        one_version: its request and its response have the same.
        statuses: of answers that a hook did not let through.
        versions: of the answers.
    """

    def __init__(self, bridge: Bridge, header: str) -> None:
        super().__init__()
        self.least, self.one_version = 0, True
        self.statuses: Counter[int] = Counter()
        self.versions: set[str] = set()
        self._bridge, self._header, self._lock = bridge, header, threading.Lock()

    def send(self, thread: int, number: int) -> None:
        """Send one; its id is in what each hook wrote, and they are of one version."""
        self.through("soak", f"{thread}-{number}")

    def through(self, api_id: str, request_id: str) -> int:
        """Send one through an API; gives the status that a hook answered with, 0 where none did."""
        least = self.least
        request = Request("GET", f"/{api_id}/x", (("X-Id", request_id),))
        chain = self._bridge.chain(request)  # of one version for request and response
        outcome = chain.request(request)
        if not isinstance(outcome, Continue):
            return self.refused(outcome.response.status)
        answer = chain.response(outcome.request, Response(200, (), b""), outcome.session)
        said = [dict(outcome.request.headers).get(self._header), dict(answer.response.headers).get("X-Answer")]
        if said[1] is None:
            return self.refused(answer.response.status)
        (version, one), (later, two) = (str(words).split(" ") for words in said)
        if {one, two} != {request_id} or (version != later and self.one_version) or int(version) < least:
            raise AssertionError(f"{request_id} at version {least}: {said}")
        self.versions.add(version)
        return 0

    def refused(self, status: int) -> int:
        """Note an answer that is not the upstream's."""
        with self._lock:
            self.statuses[status] += 1
        return status


class Script(Load):
    """Some hooks throw, and a few never end."""

    def send(self, thread: int, number: int) -> None:
        """Send one."""
        api_id = "loops" if number % 300 == 50 else "fails" if number % 10 == 5 else "soak"
        status = self.through(api_id, f"{thread}-{number}")
        if status != {"soak": 0, "fails": 500, "loops": 504}[api_id]:
            raise AssertionError(f"{api_id} answered {status}")


def javascript(seconds: float, folder: Path) -> str:
    """Another version every 100 ms."""
    log = Log()
    bridge = bridge_for(log)
    file = folder / "plugin.js"
    for api_id, hook in (("soak", "before"), ("fails", "fails"), ("loops", "loops")):
        phases = {"pre": [{"name": hook, "path": "plugin.js"}], "response": [{"name": "answer", "path": "plugin.js"}]}
        if api_id == "loops":
            phases["pre"][0]["timeout_ms"] = 20  # type: ignore[assignment]
        write_api(folder, api_id, {"driver": "javascript", **phases})
    put(PLUGINS / "plugin.js", file, 1)
    bridge.load(folder)
    load = Script(bridge, "X-JavaScript")

    def act(number: int) -> None:
        put(PLUGINS / "plugin.js", file, number + 1)
        reload(bridge, 3)
        load.least = number + 1

    series = steady.under(load, seconds, 0.1, act)
    if log.errors != load.statuses.total():
        sys.exit(f"{load.statuses.total()} hooks failed, and {log.errors} error lines: {log.last}")
    return (
        f"{len(load.versions)} versions, {load.count} requests: none failed but {load.statuses[500]} whose hook throws "
        f"and {load.statuses[504]} whose hook never ends, each answer of one version\n{steady.steady(series)}"
    )


class Log:
    """Counts error lines: kept, they would look like a leak.

    Attributes:
        errors: how many.
        last: the last one.
    """

    def __init__(self) -> None:
        self.errors, self.last = 0, ""
        self._lock = threading.Lock()

    def __call__(self, words: str, level: str) -> None:
        """Hear a line."""
        if level == "error":
            with self._lock:
                self.errors, self.last = self.errors + 1, words


def bridge_for(log: Log) -> Bridge:
    """Make a bridge whose lines go there, and those of its hooks."""
    _bridge.log = log
    return Bridge(Services(log=log))


def reload(bridge: Bridge, apis: int) -> None:
    """Reload. SystemExit: something is not loaded."""
    loaded = bridge.reload()
    if len(loaded.apis) != apis or loaded.not_loaded:
        sys.exit(f"the reload: {loaded}")


class Server:
    """The gRPC server of soak_plugins, in a process of its own, on one port."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.address = f"tcp://127.0.0.1:{sock.getsockname()[1]}"
        self.start()

    def start(self) -> None:
        """Start it; calls find out by themselves when it listens."""
        self._process = subprocess.Popen(
            [sys.executable, PLUGINS / "server.py", self.address], stdout=subprocess.DEVNULL
        )

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it, by a signal."""
        self._process.send_signal(number)
        if (status := self._process.wait()) not in (0, -number):
            sys.exit(f"the server ended with {status}")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def grpc(seconds: float, folder: Path) -> str:
    """Every two seconds the server ends, in turn in good order and at once, and is started again."""
    with Server() as server:
        # Calls wait for the next server, as they do where a server is replaced on purpose.
        target = {"address": server.address, "wait_for_ready": True, "health_check": "", "breaker_failures": 0}
        target["timeout_ms"] = 30_000
        hooks = {"pre": [{"name": "stamp"}, {"name": "waits"}], "response": [{"name": "answer"}]}
        write_api(folder, "soak", {"driver": "grpc", "grpc": {"targets": {"soak": target}}, **hooks})
        bridge = bridge_for(Log())
        bridge.load(folder)
        load = Calls(bridge, "X-Server")
        load.one_version = False  # the server may be another one by then

        def act(number: int) -> None:
            load.check()
            is_killed = number % 2
            # A call more than one on each thread: gRPC may see late that the connection is gone.
            load.may_fail = 2 * load.threads * is_killed
            load.kills += is_killed
            server.end(signal.SIGKILL if is_killed else signal.SIGTERM)
            server.start()

        series = steady.under(load, seconds, 2, act)
        load.check()
    if set(load.statuses) - {503}:
        sys.exit(f"failures: {load.statuses}")
    return (
        f"{len(load.versions)} servers, {load.kills} of them killed, {load.count} requests: "
        f"{load.statuses.total()} failed, each on its way to one that was killed\n{steady.steady(series)}"
    )


class Calls(Load):
    """Requests some of which may fail.

    Attributes:
        may_fail: how many, from one check to the next.
        kills: how many processes were killed.
    """

    may_fail = kills = _failed = 0

    def check(self) -> None:
        """See how many failed since the last check. SystemExit: too many."""
        failed = self.statuses.total()
        if failed > self._failed + self.may_fail:
            sys.exit(f"{failed - self._failed} requests failed, where {self.may_fail} may: {self.statuses}")
        self._failed, self.may_fail = failed, 0


def go(seconds: float, folder: Path) -> str:
    """Another version every 250 ms, and every second its process is killed."""
    build, plugin, apis = build_go(folder), folder / "plugin.so", folder / "apis"
    apis.mkdir()
    hooks = {"pre": [{"name": "Before", "path": str(plugin)}], "response": [{"name": "Answer", "path": str(plugin)}]}
    write_api(apis, "soak", {"driver": "goplugin", "goplugin": {"isolation": "process"}, **hooks})
    put(build, plugin, 1)
    bridge = bridge_for(Log())
    bridge.load(apis)
    load = Calls(bridge, "X-Go")

    def act(number: int) -> None:
        if number % 4:
            put(build, plugin, number + 1)
            reload(bridge, 1)
            load.least = number + 1
            return
        load.check()
        load.may_fail = load.threads  # an end that is the content's only one: the next call finds another process
        for child in list(children()):  # not those that take their place
            os.kill(child, signal.SIGKILL)
        load.kills += 1

    series = steady.under(load, seconds, 0.25, act)
    load.check()
    if set(load.statuses) - {500} or len(list(children())) > 2:
        sys.exit(f"failures: {load.statuses}; processes: {list(children())}")
    return (
        f"{len(load.versions)} versions, {load.kills} processes killed, {load.count} requests: {load.statuses.total()} "
        f"failed, each in a process that was killed, each answer of one version\n{steady.steady(series)}"
    )


def build_go(folder: Path) -> Path:
    """Build the plugin in Go; gives the file."""
    words = [sys.executable, "-m", "tykbridge", "plugin", "build", folder / "built.so", "--source", PLUGINS / "go"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return Path(done.stdout.partition(": ")[0])


def children() -> Iterable[int]:
    """Give the processes that this one has started."""
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended meanwhile
            yield from map(int, (task / "children").read_text().split())


if __name__ == "__main__":
    kinds = {"javascript": javascript, "grpc": grpc, "go": go}
    print(kinds[sys.argv[1]](float(sys.argv[2]), Path(sys.argv[3])))
