"""What docs/hooks.md says: each rule names a test that is there, its code runs, its table of limits is the drivers'."""

import json
import re
from pathlib import Path

import pytest

from tests import cases
from tests.test_readme import blocks
from tykbridge import Bridge, drivers
from tykbridge.outcome import Continue, Request, Response

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "hooks.md"
TEXT = PAGE.read_text(encoding="utf-8")
RULES = re.findall(r"^- (.+?)(?=^- |^\||^#|^$)", TEXT, flags=re.MULTILINE | re.DOTALL)
NAMES = {case["name"] for case in cases.load()}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule[:40])
def test_each_rule_names_what_holds_it(rule):
    named = [
        name.strip() for names in re.findall(r"<!-- (.*?) -->", rule, flags=re.DOTALL) for name in names.split(";")
    ]
    assert named
    for name in named:
        file, _, test = name.partition("::")
        if test:
            assert re.search(rf"^def {test}\(", (ROOT / file).read_text(encoding="utf-8"), flags=re.MULTILINE), name
        else:
            assert name in NAMES


def test_its_hooks_do_what_it_says(tmp_path):
    (tmp_path / "hooks.py").write_text("\n".join(blocks(PAGE)["python"]))
    hooks = {"auth_check": {"name": "check", "path": "hooks.py"}, "response": [{"name": "Sign", "path": "hooks.py"}]}
    api = {
        "api_id": "a",
        "org_id": "o",
        "custom_plugin_auth_enabled": True,
        "proxy": {"listen_path": "/a/", "target_url": "http://u/"},
        "custom_middleware": {"driver": "python", **hooks},
    }
    (tmp_path / "a.json").write_text(json.dumps(api))
    bridge = Bridge()
    assert bridge.load(tmp_path).apis == ("a",)
    key = ("Authorization", "47a0c79c427728b3df4af62b9228c8ae")
    passed = bridge.request(Request("GET", "/a/", (key,)), "a")
    assert isinstance(passed, Continue)
    assert bridge.request(Request("GET", "/a/"), "a").response.status == 403
    answer = bridge.response(passed.request, Response(200), passed.session, "a")
    assert dict(answer.response.headers)["X-Signed"] == "yes"


def test_the_drivers_that_keep_time_limits():
    [head] = re.findall(r"^\| \| (Python \|.*) \|$", TEXT, flags=re.MULTILINE)
    [row] = re.findall(r"^\| `timeout_ms` \| (.*) \|$", TEXT, flags=re.MULTILINE)
    names = [name.lower().replace("go", "goplugin") for name in head.split(" | ")]
    said = dict(zip(names, (word == "kept" for word in row.split(" | ")), strict=True))
    assert said == {name: drivers.engines()[name].deadlines for name in said}
