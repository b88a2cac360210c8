"""Gateways for tests: in this process, or as the program ``tykbridge serve``; and a client that speaks plain HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.serving import Serve
from tykbridge import Bridge
from tykbridge.gateway.control import Control
from tykbridge.gateway.logs import Log
from tykbridge.gateway.metrics import Metrics
from tykbridge.gateway.recorder import Recorder
from tykbridge.gateway.server import Gateway, running
from tykbridge.operating import prepare
from tykbridge.policies import read_policies_text
from tykbridge.services import Services
from tykbridge.settings import read_settings

SECRET = "a-secret-of-the-tests-alone"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, method: str = "GET", body: Any = None, headers: Any = (), path: str | None = None) -> Answer:
    """Asks a server at `http://host:port/path`, or at `unix:/file` for a `path`. Headers may repeat."""
    if url.startswith("unix:"):
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(url.removeprefix("unix:"))
        target = path or "/"
    else:
        host, slash, rest = url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(host, timeout=30)
        target = slash + rest or "/"
    data = json.dumps(body).encode() if isinstance(body, dict | list) else body
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
    with contextlib.closing(connection):
        connection.putrequest(method, target, skip_host=any(name.lower() == "host" for name, _ in pairs))
        if data is not None:
            connection.putheader("Content-Length", str(len(data)))
        for name, value in pairs:
            connection.putheader(name, value)
        connection.endheaders(data)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def definition(api_id: str = "api", target: str = "http://127.0.0.1:9/", **more: Any) -> dict[str, Any]:
    """A classic definition, protected by tokens."""
    proxy = {"listen_path": f"/{api_id}/", "target_url": target, "strip_listen_path": True}
    return {"api_id": api_id, "org_id": "org", "auth": {"auth_header_name": "Authorization"}, "proxy": proxy, **more}


def write(folder: Path, *definitions: dict[str, Any]) -> Path:
    """Writes definitions, and nothing else, into a folder."""
    apis = folder / "apis"
    apis.mkdir(exist_ok=True)
    for old in apis.glob("*.json"):
        old.unlink()
    for item in definitions:
        (apis / f"{item['api_id']}.json").write_text(json.dumps(item))
    return apis


class Operated:
    """A gateway, and its control API."""

    def __init__(self, url: str, control: str, lines: list[str]) -> None:
        self.url, self.control_url, self.lines = url, control, lines

    def get(self, path: str, token: str = "", **headers: str) -> Answer:
        given = {"Authorization": token} if token else {}
        return ask(self.url + path, headers={**given, **headers})

    def control(self, path: str, method: str = "GET", body: Any = None, secret: str = SECRET, **more: str) -> Answer:
        headers = [("X-Tyk-Authorization", secret)] if secret else []
        headers += [(name.replace("_", "-"), value) for name, value in more.items()]
        at_path = self.control_url.startswith("unix:")
        url = self.control_url if at_path else self.control_url + path
        return ask(url, method, body, headers, path)


@contextlib.contextmanager
def operated(folder: Path, *definitions: dict[str, Any], policies: str = "{}", **conf: Any):
    """Runs a gateway in this process; `conf` is a tyk.conf, with a secret unless it says another.

    Yields an `Operated`, whose `lines` are those of the log, and which has the `bridge` and the `settings`, a list of
    one.
    """
    lines: list[str] = []

    class Stream:
        def isatty(self) -> bool:
            return False

        def write(self, text: str) -> None:
            lines.append(text)

        def flush(self) -> None:
            pass

    log = Log(Stream(), "json", "debug")  # type: ignore[arg-type]
    settings = [read_settings(json.dumps({"secret": SECRET, "control_api_port": 0, **conf}), {})[0]]
    made = prepare(settings[0], None, log)
    bridge = Bridge(middleware_path=folder)
    metrics = Metrics(bridge)
    recorder = Recorder(log, metrics)
    bridge.services = Services(
        sessions=made.stores.store,
        counters=made.stores.counters,
        keys=made.keys,
        policies=read_policies_text(policies).policies,
        log=log,
        timed=recorder.hook,
    )
    bridge.load(write(folder, *definitions))

    def reload() -> tuple[int, str]:
        left_out = bridge.reload().not_loaded
        return len(left_out), "\n".join(map(str, left_out))

    control = Control(bridge, lambda: settings[0], reload, metrics, log)
    started = Gateway(bridge, port=0, log=log, observers=[recorder], parts=[control, recorder])
    with contextlib.closing(made.stores.store), running(started) as gateway:
        found = Operated(gateway.url, control.url, lines)
        found.bridge, found.settings, found.made = bridge, settings, made  # type: ignore[attr-defined]
        yield found


class Served(Operated):
    """``tykbridge serve`` as a process, in `folder`, which has its definitions in apis/."""

    def __init__(self, folder: Path, *options: str, conf: dict[str, Any] | None = None, **env: str) -> None:
        if conf is not None:
            (folder / "tyk.conf").write_text(json.dumps(conf))
            options = (*options, "--conf", "tyk.conf")
        self.serve = Serve("apis", "--port", 0, *options, cwd=folder, **env)
        super().__init__(f"http://127.0.0.1:{self.serve.port}", "", [])

    def control(self, *arguments: Any, **options: Any) -> Answer:
        if not self.control_url:
            self.serve.wait_for("control API: ")
            found = re.search(r"control API: ([^\s\",]+)", self.log)
            assert found is not None, self.log
            self.control_url = found[1]
        return super().control(*arguments, **options)

    @property
    def log(self) -> str:
        """What it wrote to standard error so far."""
        return self.serve.errors

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.closing(self.serve):
            self.status = self.serve.end()
