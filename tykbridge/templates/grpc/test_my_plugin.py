"""What the plugin does, seen from both ends: the client, and the upstream that the tests put behind it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["tykbridge.testing"]

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Start the server, on a socket that nobody else has; the line that it writes says that it is there."""
    address = f"unix://{tmp_path_factory.mktemp('server')}/socket"
    command = [sys.executable, FOLDER / "plugin/server.py", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline(), "the server did not start: what it says is on standard error"
        yield address
        server.terminate()


@pytest.fixture
def api(tyk_api, address):
    definition = json.loads((FOLDER / "api.json").read_bytes())
    definition["custom_middleware"]["grpc"]["targets"]["my-plugin"]["address"] = address
    return tyk_api(definition)


def test_the_upstream_hears_who_calls(api):
    reply = api.get("/", headers={"X-Name": "Ada"})
    assert reply.status == 200
    assert reply.upstream.headers["X-Greeting"] == "Hello, Ada"


def test_strangers_are_greeted_too(api):
    assert api.get("/").upstream.headers["X-Greeting"] == "Hello, stranger"


def test_the_client_gets_a_signed_answer(api):
    api.upstream.answers("What the upstream says.")
    reply = api.get("/")
    assert reply.text == "What the upstream says."
    assert reply.headers["X-Signed-By"] == "my-plugin"
