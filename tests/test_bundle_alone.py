from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_bundle_depot import digest, packed, text
from tykbridge.bundle import held
from tykbridge.bundle.alone import unpack_alone
from tykbridge.errors import LoadError, NotFoundError

pytestmark = pytest.mark.once


def test_an_archive_by_itself_is_there_as_long_as_what_was_returned(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(packed())
    unpacked = unpack_alone(file)
    folder = unpacked.folder
    assert text(folder) == "one"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert unpacked.digest == digest(packed())
    assert held.own(folder) is None  # it is locked
    del unpacked
    assert not folder.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"no zip", "a.zip"), (packed(checksum="0" * 32), "a.zip is refused: manifest.json: checksum")],
)
def test_an_archive_by_itself_is_checked(tmp_path: Path, monkeypatch: Any, data: bytes, words: str) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    file = tmp_path / "a.zip"
    file.write_bytes(data)
    with pytest.raises(LoadError, match=words) as caught:
        unpack_alone(file)
    assert list(folder.iterdir()) == []  # although the traceback holds everything
    del caught
    with pytest.raises(NotFoundError, match="there is no file"):
        unpack_alone(tmp_path / "none.zip")
    with pytest.raises(LoadError, match="cannot be unpacked: Is a directory"):
        unpack_alone(folder)


FORK = """
import os, sys
from tykbridge.bundle.alone import unpack_alone
unpacked = unpack_alone(sys.argv[1])
child = os.fork()
if not child:
    sys.exit(0)
os.waitpid(child, 0)
print(unpacked.folder, unpacked.folder.exists())
"""


def test_a_forked_child_that_ends_leaves_its_parents_folder(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(packed())
    done = subprocess.run([sys.executable, "-c", FORK, str(file)], capture_output=True, text=True, check=True)
    folder, there = done.stdout.split()
    assert there == "True"
    assert not os.path.exists(folder)
