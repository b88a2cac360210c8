"""What docs/embedding.md prints: its hosts in C and Python run as it says, those in Rust and Go are of their pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_readme import blocks

pytestmark = [pytest.mark.once, pytest.mark.plain]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "embedding.md"
FOUND = blocks(PAGE)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "apis").mkdir()
    (tmp_path / "apis" / "hello.json").write_text(FOUND["json"][0])
    (tmp_path / "apis" / "hello.py").write_text(FOUND["python"][0])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tykbridge").write_text(f'#!/bin/sh\nexec {sys.executable} -m tykbridge "$@"\n')
    (tmp_path / "bin" / "tykbridge").chmod(0o755)
    return tmp_path


def printed(folder, *command):
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "TYKBRIDGE_PYTHON": sys.executable,
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_host_in_c(folder):
    [host], [shell] = FOUND["c"], FOUND["sh"]
    (folder / "host.c").write_text(host)
    shell = shell.replace("cc ", "cc -Wall -Wextra -Werror ")
    assert printed(folder, "sh", "-ec", shell) == FOUND["text"][0]


@pytest.mark.parametrize("number", [1, 2])
def test_the_hosts_in_python(folder, number):
    (folder / "host.py").write_text(FOUND["python"][number])
    assert printed(folder, sys.executable, "host.py") == FOUND["text"][number]


def test_the_others_are_what_their_own_pages_build():
    for language, count in (("rust", 1), ("go", 2)):
        page = (ROOT / "hosts" / language / "README.md").read_text(encoding="utf-8")
        assert len(FOUND[language]) == count
        assert all(block in page for block in FOUND[language])
