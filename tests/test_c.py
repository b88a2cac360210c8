"""Runs the C tests of tests/c, each in a process of its own."""

import os
import subprocess
from pathlib import Path

import pytest

NAMES = sorted(path.stem for path in (Path(__file__).parent / "c").glob("test_*.c"))


def test_there_are_c_tests():
    assert NAMES


@pytest.mark.once
@pytest.mark.parametrize("name", NAMES)
def test_c(name, root):
    # Sanitizers have their own run of these, without a preloaded runtime in the compiler.
    env = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "TYKB_SANITIZE")}
    done = subprocess.run([root / "tools/ctests", name], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout
