"""docs/grpc-servers.md: its servers are started, and answer."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import grpc
import pytest

from tests.grpc_servers import Client, Server
from tests.oracle import PB
from tests.test_grpc import certificates, credentials  # noqa: F401
from tests.test_readme import blocks
from tykbridge import Bridge
from tykbridge.outcome import Continue, Request

pytestmark = pytest.mark.once

PORT = "127.0.0.1:5555"


@pytest.fixture(scope="module")
def page(root: Path) -> dict[str, list[str]]:
    return blocks(root / "docs/grpc-servers.md")


def start(folder: Path, text: str) -> Server:
    assert text.count(":5555") == 1
    (folder / "server.py").write_text(text.replace(":5555", ":0"))
    return Server(sys.executable, "server.py", folder=folder)


def test_these_are_all_of_them(page: dict[str, list[str]]) -> None:
    assert {language: len(found) for language, found in page.items()} == {"python": 3, "json": 1}


def test_ten_lines_and_the_definition_that_uses_them(page: dict[str, list[str]], tmp_path: Path) -> None:
    assert len(page["python"][0].split("\n\n")) == 3
    assert len([line for line in page["python"][0].splitlines() if line]) < 10
    [section] = page["json"]
    with start(tmp_path, page["python"][0]) as server:
        definition = json.loads(section.replace(PORT, f"127.0.0.1:{server.port}"))
        bridge = Bridge()
        api = {"api_id": "a", "use_keyless": True, "proxy": {"listen_path": "/a/"}, **definition}
        assert bridge.load(json.dumps(api)).not_loaded == ()
        for headers, greeting in (((("X-Name", "Ada"),), "Hello, Ada"), ((), "Hello, stranger")):
            outcome = bridge.request(Request("GET", "/a/", headers))
            assert isinstance(outcome, Continue)
            assert dict(outcome.request.headers)["X-Greeting"] == greeting


def test_many_wait_at_a_time(page: dict[str, list[str]], tmp_path: Path) -> None:
    with start(tmp_path, page["python"][1]) as server, Client(server.target) as client:
        sent = PB["Object"](hook_name="lookup").SerializeToString()
        for reply in client.dispatch_all([sent] * 500):
            assert PB["Object"].FromString(reply).request.set_headers == {"X-Found": "yes"}


def test_with_certificates(page: dict[str, list[str]], tmp_path: Path, certificates: Path) -> None:  # noqa: F811
    for name, file in (("server.pem", "server.pem"), ("server.key", "server.key"), ("gateways.pem", "client.pem")):
        shutil.copy(certificates / file, tmp_path / name)
    sent = PB["Object"](hook_name="hello").SerializeToString()
    with start(tmp_path, page["python"][2]) as server:
        target = f"localhost:{server.port}"
        with Client(target, credentials(certificates, "server", "client")) as client:
            assert PB["Object"].FromString(client.dispatch(sent)).request.set_headers == {"X-Greeting": "Hello"}
        with Client(target, credentials(certificates, "server")) as client, pytest.raises(grpc.RpcError):
            client.dispatch(sent, wait=False)
        assert server.end() == 0
        assert "give it a certificate" not in "".join(server.errors)
