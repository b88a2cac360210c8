"""What docs/settings.md says: every setting with its variable and default, and no other; its Python runs."""

import contextlib
import json
import re
from pathlib import Path

import msgspec
import pytest

from tests.test_readme import blocks
from tykbridge import runtime
from tykbridge.outcome import Request
from tykbridge.settings import Settings

pytestmark = pytest.mark.once

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
TEXT = PAGE.read_text(encoding="utf-8")


def settings(layout, key="", variable="TYK_GW"):
    """Each setting with its variable and default."""
    for field in msgspec.structs.fields(layout):
        value, name = getattr(layout, field.name), field.encode_name
        below = f"{key}{name}", f"{variable}_{name.replace('_', '').upper()}"
        if isinstance(value, msgspec.Struct):
            yield from settings(value, f"{below[0]}.", below[1])
        else:
            yield *below, value


def test_the_page_has_each_setting_with_its_variable_and_default_and_no_other():
    rows = re.findall(r"^\| `([a-z_.]+)` \| `(TYK_GW_\w+)` \| `(.+?)` \| (\S.*) \|$", TEXT, flags=re.MULTILINE)
    said = [(key, variable, json.loads(default)) for key, variable, default, _ in rows]
    assert sorted(said, key=str) == sorted(settings(Settings()), key=str)
    assert set(re.findall(r"TYK_GW_\w+", TEXT)) == {variable for _, variable, _ in said}


def test_its_python_runs(tmp_path, monkeypatch, process):
    file = {"storage": {"type": "sqlite", "path": "data.db"}, "hash_key_function": "sha256"}
    api = {"api_id": "a", "org_id": "o", "use_keyless": True, "proxy": {"listen_path": "/a/", "target_url": "http://u"}}
    (tmp_path / "apis").mkdir()
    (tmp_path / "apis" / "a.json").write_text(json.dumps(api))
    (tmp_path / "tyk.conf").write_text(json.dumps(file))
    monkeypatch.chdir(tmp_path)
    names = {}
    [python] = blocks(PAGE)["python"]
    exec(python, names)
    with contextlib.closing(names["made"].stores.store):
        assert names["bridge"].apis == ("a",)
        assert names["bridge"].request(Request("GET", "/a/"), "a").request.url == "/a/"
        runtime.store_data("key", b"value", 0)
    assert (tmp_path / "data.db").is_file()
