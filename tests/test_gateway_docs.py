"""What docs/gateway.md says: its Python runs, and its tables are true."""

import json
import re
from pathlib import Path

import pytest

from tests.rawhttp import exchange, request, upstream
from tests.test_readme import blocks
from tykbridge.cli.serve import command
from tykbridge.gateway import server
from tykbridge.gateway.proxy import Limits

pytestmark = pytest.mark.once

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gateway.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_its_python_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "apis").mkdir()
    with upstream() as made:
        api = {"api_id": "a", "use_keyless": True, "proxy": {"listen_path": "/a/", "target_url": made.url}}
        (tmp_path / "apis" / "a.json").write_text(json.dumps(api))
        monkeypatch.chdir(tmp_path)
        [python] = blocks(PAGE)["python"]
        asked = []
        print_ = f"{python}\n    ask(gateway.port)\n"
        exec(print_, {"ask": lambda port: asked.append(exchange(port, request(b"GET /a/")).status)})
    assert asked == [200]
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")


def test_it_names_the_options_of_the_command():
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    assert set(re.findall(r"`(--[a-z-]+)`", TEXT)) <= options
    assert {"--port", "--host", "--conf", "--middleware-path", "--policies", "--watch", "--strict"} <= options


def test_its_limits_are_those_of_the_code():
    limits = Limits()
    assert (limits.body, limits.receive, limits.connect, limits.answer) == (10 << 20, 60, 10, 30)
    assert (server._HEADERS, server._FIELDS, server._IDLE, server._LEAVE) == (64 << 10, 256, 75, 10)
    for words in (
        "10 MiB",
        "for a minute",
        "within 10 s",
        "(30 s)",
        "64 KiB",
        "256 headers",
        "75 s",
        "have 10 s to end",
    ):
        assert words in TEXT
