"""The crate in hosts/rust: its own tests, the table of cases among them, and what its README says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_embedding import environment
from tests.test_readme import blocks
from tykbridge import installation

# A plain host that links to the library; which Python it starts is what the other hosts' tests vary.
pytestmark = pytest.mark.once

TIMEOUT = 600  # seconds, after which a build hangs


def active(**changes):
    """Make the environment of a shell in which this Python's virtual environment is active."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    unset = {"TYKBRIDGE_PYTHON": None, "CARGO_TARGET_DIR": None}
    return environment(**{"PATH": path, "VIRTUAL_ENV": sys.prefix, **unset, **changes})


def run(folder, *command, **changes):
    return subprocess.run(command, cwd=folder, env=active(**changes), capture_output=True, text=True, timeout=TIMEOUT)


def succeed(folder, *command, **changes):
    done = run(folder, *command, **changes)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def crate(root):
    return root / "hosts" / "rust"


def test_the_crates_own_tests(crate):
    out = succeed(crate, "cargo", "test", "--frozen").stdout
    passed = [int(count) for count in re.findall(r"(?m)^test result: ok\. (\d+) passed; 0 failed; 0 ignored", out)]
    assert len(passed) >= len([*crate.glob("tests/*.rs")]) + 2, "unit tests, each file of tests, and those of the pages"
    assert all(passed)
    assert "test table_of_cases ... ok" in out


def test_the_benchmark_builds(crate):
    succeed(crate, "cargo", "build", "--frozen", "--benches")


def test_the_readmes_example_prints_what_it_says(crate):
    found = blocks(crate / "README.md")
    command, printed = found["sh"][0].splitlines()[-1], found["text"][0]
    assert command.startswith("cargo run -q ")
    done = succeed(crate, "sh", "-c", command)
    assert done.stdout == printed
    assert "Info: greeted Ada" in done.stderr


def test_the_readmes_host_builds_against_the_crate_and_runs(crate, tmp_path):
    host, script = re.findall(r"(?ms)^```rust,no_run\n(.*?)^```", (crate / "README.md").read_text())
    body = "\n".join(f"    {line}" for line in script.splitlines() if not line.startswith("//"))
    manifest = f"""\
[package]
name = "host"
version = "0.0.0"
edition = "2021"

[dependencies]
tykbridge = {{ path = {json.dumps(str(crate))} }}
"""
    definition = {
        "name": "api",
        "api_id": "api",
        "active": True,
        "use_keyless": True,
        "proxy": {"listen_path": "/", "target_url": "http://upstream.test/"},
    }
    files = {"Cargo.toml": manifest, "build.rs": f"fn main() {{\n{body}\n}}\n", "src/main.rs": host}
    for name, text in {**files, "apis/api.json": json.dumps(definition)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    # The library is named by its folder here, as for an installation that is no environment.
    folder = str(installation.library().parent)
    changes = {"TYKBRIDGE_LIB_DIR": folder, "TYKBRIDGE_PYTHON": sys.executable, "VIRTUAL_ENV": None}
    done = succeed(tmp_path, "cargo", "run", "--quiet", "--offline", **changes)
    assert done.stdout == "200\n", done.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"TYKBRIDGE_LIB_DIR": "/nowhere"}, "TYKBRIDGE_LIB_DIR says /nowhere"),
        ({"VIRTUAL_ENV": "/nowhere", "PATH": None}, "tykbridge: No such file"),
    ],
    ids=["a folder that is none", "no program to ask"],
)
def test_a_build_that_finds_no_library_says_where_it_looked(crate, tmp_path, changes, words):
    if "PATH" in changes:  # all of it but the folders that have a tykbridge
        paths = os.environ["PATH"].split(os.pathsep)
        changes = {**changes, "PATH": os.pathsep.join(p for p in paths if not (Path(p) / "tykbridge").exists())}
    done = run(crate, "cargo", "build", "--frozen", CARGO_TARGET_DIR=str(tmp_path), **changes)
    assert done.returncode != 0
    assert f"libtykbridge.so.1 was not found: {words}" in done.stderr
    assert "TYKBRIDGE_LIB_DIR=..." in done.stderr
