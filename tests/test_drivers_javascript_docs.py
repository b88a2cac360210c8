"""What docs/javascript.md says: its plugins run, and its definitions are loaded."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import trees
from tests.test_readme import blocks
from tests.webserver import serving
from tykbridge import Bridge, _bridge
from tykbridge.events.queue import EventQueue
from tykbridge.outcome import Continue, Request
from tykbridge.services import Services
from tykbridge.session import Session, encode

pytestmark = pytest.mark.once

PAGE = Path(__file__).resolve().parent.parent / "docs" / "javascript.md"
BLOCKS = blocks(PAGE)
HELLO, LOOKUP, STOCK, REFUSED, RENEW, REFERENCE = BLOCKS["js"]
CLASSIC_ENDPOINT, OAS_ENDPOINT, CLASSIC_HANDLER = map(json.loads, BLOCKS["json"])
CLASSIC = {"api_id": "api", "org_id": "org", "proxy": {"listen_path": "/"}}
OAS = {"info": {"id": "api", "orgId": "org"}, "server": {"listenPath": {"value": "/"}}}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads a definition with files beside it; gives the bridge, and what is logged."""
    lines = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: lines.append((level, words)))

    def make(definition, **files):
        document = {**CLASSIC, **definition}
        if "x-tyk-api-gateway" in definition:
            extension = {**OAS, **definition["x-tyk-api-gateway"]}
            document = {"openapi": "3.0.3", "info": {}, **definition, "x-tyk-api-gateway": extension}
        trees.write(
            tmp_path, {"api.json": json.dumps(document), **{f"{name}.js": text for name, text in files.items()}}
        )
        queue = EventQueue()
        bridge = Bridge(Services(queue=queue, log=lambda words, level: lines.append((level, words))))
        assert bridge.load(tmp_path).not_loaded == ()
        return bridge, lines

    return make


def hook(name, **keys):
    return {"use_keyless": True, "custom_middleware": {"pre": [{"name": name, "path": f"{name}.js"}]}, **keys}


def test_hello(load):
    bridge, lines = load(hook("hello"), hello=HELLO)
    sent = bridge.request(Request("GET", "/", (("X-Name", "Ada"),)), "api").request
    assert dict(sent.headers)["X-Greeting"] == "Hello, Ada"
    assert dict(bridge.request(Request("GET", "/"), "api").request.headers) == {"X-Greeting": "Hello, stranger"}
    assert lines == [("info", "greeted Ada"), ("info", "greeted stranger")]


def test_a_request(load):
    def answer(handler):
        body = json.dumps({"name": f"user {handler.path}"}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with serving(answer) as server:
        bridge, _ = load(hook("lookup", config_data={"users": server.url}), lookup=LOOKUP)
        request = Request("GET", "/", (("X-User", "a b"),))
        sent = bridge.request(request, "api").request
    assert dict(sent.headers)["X-User-Name"] == "user /users/a%20b"
    assert bridge.request(request, "api").response.status == 503  # it is gone


@pytest.mark.parametrize("definition", [CLASSIC_ENDPOINT, OAS_ENDPOINT], ids=["classic", "oas"])
def test_a_virtual_endpoint(load, definition):
    bridge, _ = load({"use_keyless": True, **definition}, stock=STOCK)
    answer = bridge.request(Request("GET", "/stock?shelf=poetry"), "api").response
    assert (answer.status, json.loads(answer.body)) == (200, {"shelf": "poetry"})
    assert bridge.request(Request("GET", "/v2/stock/7"), "api").response.body == b'{"shelf":"all"}'


def test_a_handler_of_events(load):
    bridge, lines = load({"use_standard_auth": True, **CLASSIC_HANDLER}, refused=REFUSED)
    bridge.request(Request("GET", "/orders/7"), "api")
    assert bridge.services.queue.close(10)
    assert ("info", "api: AuthFailure at /orders/7") in lines


def test_a_handler_that_renews_keys(load):
    handler = {"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "renew", "path": "renew.js"}}
    definition = {"use_standard_auth": True, "event_handlers": {"events": {"KeyExpired": [handler]}}}
    bridge, lines = load(definition, renew=RENEW)
    bridge.services.sessions.set("apikey-key", encode(Session(org_id="org", expires=1)))
    request = Request("GET", "/", (("Authorization", "key"),))
    assert bridge.request(request, "api").response.status == 401
    assert bridge.services.queue.close(10)
    assert isinstance(bridge.request(request, "api"), Continue)
    assert [words for level, words in lines if level == "error"] == []


def test_an_error(load):
    code = HELLO.replace('request.SetHeaders["X-Greeting"]', "request.Nothing.x")
    bridge, lines = load(hook("hello"), hello=code)
    assert bridge.request(Request("GET", "/"), "api").response.status == 500
    (said,) = [words for level, words in lines if level == "error"]
    (page,) = BLOCKS["text"]
    assert re.sub('bundle ".*?"', 'bundle "greetings"', said.splitlines()[0]) == page.rstrip("\n")


def test_where_the_types_are(tmp_path, monkeypatch):
    (shell,) = BLOCKS["sh"]
    command = shell.replace("python -c", f"{sys.executable} -c")
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / REFERENCE.split('"')[1]).read_text().startswith("// What a plugin in JavaScript finds")
