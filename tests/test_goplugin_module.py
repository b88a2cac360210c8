"""tykbridge/goplugin/tyk: the Go module that plugins import, whose own tests run here, and its page."""

import os
import re
import shutil
import subprocess

import pytest

from tests.plugins import go_environment
from tykbridge import installation

# A Go program does not start with ASan's runtime loaded before it.
pytestmark = [pytest.mark.once, pytest.mark.plain]


@pytest.fixture
def go(root):
    """Run a command in one of the modules."""

    def run(*command, module="tyk"):
        env = os.environ | go_environment()
        # -mod=readonly: go.mod and go.sum are complete. The shim includes what a built project installs.
        env |= {
            "GOFLAGS": f"{env['GOFLAGS']} -buildvcs=false -mod=readonly",
            "CGO_CFLAGS": f"-I{installation.include()}",
        }
        folder = root / "tykbridge/goplugin" / module
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def stubs(root):
    """What storage_test.go calls."""
    text = (root / "tykbridge/goplugin/tyk/storage/storage_test.go").read_text(encoding="utf-8")
    [listed] = re.findall(r"^var stubs = \[\]string\{(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    return re.findall(r'"(\w+)"', listed)


def test_the_modules_tests(go):
    # Packages that hold tests, testdata/forms among them: what plugins for each gateway write compiles.
    assert re.findall(r"^ok +\t\S+/tyk(\S*)", go("go", "test", "-count=1", "./..."), re.MULTILINE) == [
        "",
        "/apidef",
        "/config",
        "/ctx",
        "/log",
        "/request",
        "/storage",
        "/user",
    ]
    assert "ok  \t" in go("go", "test", "-count=1", "./...", module="tyk-pump")


def test_without_openapi_documents(go):
    tag = "-tags=tyk_without_oas"
    go("go", "test", "-count=1", tag, "./ctx")
    assert "kin-openapi" in go("go", "list", "-deps", "./ctx")
    assert "kin-openapi" not in go("go", "list", "-deps", tag, "./ctx")


def test_hooks_do_not_race_for_what_they_share(go):
    # Of the two forms of a definition one will do: the modules of the other take long to compile once more.
    go("go", "test", "-count=1", "-race", "-tags=tyk_without_oas", "./ctx", "./storage", "./log", "./config")


def test_the_module_is_vetted_and_formatted(go):
    assert not go(shutil.which("gofmt"), "-l", ".", "../tyk-pump")
    go("go", "vet", "./...")
    go("go", "vet", "./...", module="tyk-pump")


def test_the_page_names_every_stub(root, stubs):
    module = root / "tykbridge/goplugin/tyk"
    page = (module / "README.md").read_text(encoding="utf-8")
    named = [
        name
        for row in re.findall(r"^\| `storage\.RedisCluster`: (.*?) \|", page, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    source = (module / "storage/unsupported.go").read_text(encoding="utf-8")
    written = re.findall(r"^func \(r \*RedisCluster\) (\w+)", source, re.MULTILINE)
    assert sorted(written) == sorted(stubs) == sorted(set(named) - {"IsCache", "IsAnalytics"})


def test_the_page_names_every_package(root):
    module = root / "tykbridge/goplugin/tyk"
    page = (module / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`[\w/]+`(?:, )?)+) \|", page, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w/]+)`", row)}
    files = [file.relative_to(module) for file in module.rglob("*.go")]
    hidden = {"internal", "testdata"}
    there = {file.parent.as_posix() for file in files if not hidden & set(file.parts)} - {"."}
    assert {name for name in there if not name.startswith("tykbridge/")} == named
