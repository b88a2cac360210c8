"""What docs/events.md says: its definitions are loaded, and their handlers called."""

import json
from pathlib import Path

import pytest

from tests.test_readme import blocks
from tests.webserver import serving
from tykbridge import Bridge, _bridge
from tykbridge.events import own
from tykbridge.events.queue import EventQueue
from tykbridge.outcome import Request
from tykbridge.services import Services

PAGE = Path(__file__).resolve().parent.parent / "docs" / "events.md"
BLOCKS = blocks(PAGE)
JSON = [json.loads(text) for text in BLOCKS["json"]]
CLASSIC = {"api_id": "api", "org_id": "org", "proxy": {"listen_path": "/"}, "use_standard_auth": True}
OAS = {
    "info": {"id": "api", "orgId": "org"},
    "server": {"listenPath": {"value": "/"}, "authentication": {"enabled": True}},
}


def whole(block):
    """The page's part of a definition, in a definition."""
    extension = block.get("x-tyk-api-gateway")
    if extension is None:
        return {**CLASSIC, **block}
    server = {**OAS["server"], **extension["server"]}
    return {"openapi": "3.0.3", "info": {}, "paths": {}, "x-tyk-api-gateway": {**OAS, "server": server}}


@pytest.fixture
def run(tmp_path):
    """Loads a part of a definition, and lets an event happen; gives the log."""
    lines = []

    def load(block, event, meta):
        queue = EventQueue()
        services = Services(queue=queue, log=lambda words, level: lines.append((level, words)))
        bridge = Bridge(services, tmp_path)
        loaded = bridge.load(json.dumps(whole(block)))
        assert (loaded.not_loaded, loaded.notices) == ((), ())
        if meta is None:
            bridge.request(Request("GET", "/orders/7?a=b"), "api")
        else:
            bridge.chain_of("api").handlers.put(event, "api", "org", meta)
        assert queue.close(30)
        return lines

    return load


def test_every_form_is_there_twice():
    assert len(JSON) == 6


@pytest.mark.parametrize("block", JSON[:2], ids=["classic", "oas"])
def test_the_python_function(run, tmp_path, monkeypatch, block):
    said = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: said.append((level, words)))
    (tmp_path / "handlers.py").write_text(BLOCKS["python"][0])
    assert run(block, "Sold", {"Message": "a book", "OriginatingRequest": ""}) == []
    ((level, words),) = [line for line in said if line[1].startswith("api: ")]  # other tests' threads may say something
    assert level == "info"
    assert words.startswith("api: Sold at 20")
    assert words.endswith(": a book")


@pytest.mark.parametrize("block", JSON[2:4], ids=["classic", "oas"])
def test_the_webhook(run, tmp_path, block):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "quota.json").write_text('{{if eq .Type "QuotaExceeded"}}"{{.Meta.Key}}"{{end}}')
    with serving() as server:
        there = json.loads(json.dumps(block).replace("https://hooks.example.org", server.url))
        assert run(there, "QuotaExceeded", {"Message": "m", "Key": "k"}) == []
    (got,) = server.got
    assert (got.method, got.path, got.headers["x-token"], got.body) == ("POST", "/quota", "value", b'"k"')


@pytest.mark.parametrize("block", JSON[4:], ids=["classic", "oas"])
def test_the_log_line(run, block):
    lines = [words for level, words in run(block, "AuthFailure", None) if level == "warning"]
    assert lines == [BLOCKS["text"][0].rstrip("\n")]


def test_the_page_names_what_is_tykbridges_own():
    text = PAGE.read_text()
    for name in (own.BUNDLE_LOADED, own.BUNDLE_FAILED, own.CONFIGURATION_RELOADED, own.RELOAD_FAILED):
        assert f"`{name}`" in text
