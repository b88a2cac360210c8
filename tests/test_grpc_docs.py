"""What docs/grpc.md says: its definition is read, its table has every key, its Python runs."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from tests.test_readme import blocks
from tykbridge.definition import Capabilities, Driver, Target, read_text

pytestmark = pytest.mark.once

PAGE = Path(__file__).resolve().parent.parent / "docs" / "grpc.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_its_definition_is_right():
    [text] = blocks(PAGE)["json"]
    able = Capabilities(drivers=frozenset({Driver.GRPC}), deadlines=frozenset({Driver.GRPC}))
    reading = read_text(text, capabilities=able)
    assert (reading.problems, reading.notices, reading.needs) == ((), (), ())
    section = reading.require().section
    assert [hook.target for hook in section.hooks] == ["", "partners"]
    assert set(section.targets) == {"plugins", "partners"}


def test_its_table_has_each_key_with_its_default():
    rows = re.findall(r"^\| (`[a-z_`, ]+) \|([^|]*)\| [^|]+ \|$", TEXT, flags=re.MULTILINE)
    said = {}
    for keys, values in rows:
        names = re.findall(r"`(\w+)`", keys)
        given = values.split(", ") if "," in values else [values] * len(names)
        said |= dict(zip(names, given, strict=True))
    fields = {field.name: field.default for field in msgspec.structs.fields(Target)}
    assert said.keys() == fields.keys()
    for name, value in said.items():
        shown = value.strip().strip("`")
        if shown and fields[name] not in ("", 0) and name not in ("server_name", "authority"):
            assert json.loads(shown) == fields[name], name


def test_its_python_runs(capsys):
    [python] = blocks(PAGE)["python"]
    exec(python, {})
