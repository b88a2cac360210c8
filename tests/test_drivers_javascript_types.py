"""tykjs.d.ts: what TypeScript's compiler thinks of plugins that use it."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from tykbridge.drivers.javascript.host import FUNCTIONS

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
TYPES = ROOT / "tykbridge/drivers/javascript/tykjs.d.ts"
OPTIONS = {
    "allowJs": True,
    "checkJs": True,
    "noEmit": True,
    "strict": True,
    "noImplicitAny": False,
    "target": "es2023",
    "lib": ["es2023"],
    "types": [],
}


@pytest.fixture(scope="session")
def compiler():
    """tsc, pinned as what the build takes."""
    node = shutil.which("node")
    assert node, "node is missing: make test installs it"
    return [node, str(runpy.run_path(str(ROOT / "tools" / "vendored.py"))["typescript"]() / "lib" / "tsc.js")]


@pytest.fixture
def found(compiler, tmp_path):
    """Checks files, and gives what is wrong: line and number of each error."""

    def check(*files, **options):
        settings = {"compilerOptions": {**OPTIONS, **options}, "files": [str(file) for file in files]}
        (tmp_path / "tsconfig.json").write_text(json.dumps(settings))
        done = subprocess.run([*compiler, "-p", tmp_path], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, 2), done.stdout + done.stderr
        errors = re.findall(r"\((\d+),\d+\): error (TS\d+)", done.stdout)
        assert bool(errors) == (done.returncode == 2), done.stdout
        return [(int(line), number) for line, number in errors]

    return check


# A folder with a package.json is a program of Node's.
PLUGINS = sorted(
    {file.parent for file in (ROOT / "examples").rglob("*.js") if not (file.parent / "package.json").exists()}
)


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_plugins_of_the_examples_are_right(found, folder):
    assert found(TYPES, *sorted(folder.glob("*.js"))) == []


def test_the_types_are_right_by_themselves(found):
    assert found(TYPES) == []


WRONG = """\
/// <reference path="tykjs.d.ts" />
var m = new TykJS.TykMiddleware.NewMiddleware({});
m.NewProcessRequest(function (request, session, config) {
  request.SetHeaders["A"] = 1;
  request.Header;
  request.ReturnOverrides.ResponseCode = "200";
  request.Headers["A"].push(config.APIID.nothing);
  return request;
});
m.NewProcessResponse(function (response) { return m.ReturnData(response); });
TykMakeHttpRequest({ Url: "x" });
TykStorageGet();
TykJsResponse({ Body: "no code" });
JSON.parse(TykMakeHttpRequest("{}"));
nothing();
"""


def test_a_wrong_plugin_is_not(found, tmp_path):
    (tmp_path / "wrong.js").write_text(WRONG)
    shutil.copy(TYPES, tmp_path)
    errors = found(tmp_path / "wrong.js")
    assert [line for line, _ in errors] == [3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]


def test_what_there_is_is_declared_and_no_more():
    declared = set(re.findall(r"^declare function (\w+)", TYPES.read_text(), flags=re.MULTILINE))
    assert {name for name in FUNCTIONS if not name.startswith("tykbridge_")} | {"TykJsResponse"} == declared
