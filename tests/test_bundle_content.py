from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import trees
from tykbridge.bundle import content

pytestmark = pytest.mark.once

FILES = {"a.py": "1", "b/c.py": "2", "b/d": "3"}


def test_the_same_files_have_the_same_digest_wherever_they_are(tmp_path: Path) -> None:
    one, other = trees.write(tmp_path / "one", FILES), trees.write(tmp_path / "other", dict(reversed(FILES.items())))
    os.utime(other / "a.py", (1, 1))
    assert content.digest(one) == content.digest(other)
    (tmp_path / "link").symlink_to("one")
    assert content.digest(tmp_path / "link") == content.digest(one)
    assert content.digest(one / "a.py") != content.digest(one / "b" / "d")


@pytest.mark.parametrize(
    "changes",
    [{"a.py": "2"}, {"b/d": ""}, {"new": ""}, {".hidden": ""}, {"b/new/x": ""}, {"a.py ": "1"}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_file_or_content_shows(tmp_path: Path, changes: dict[str, str]) -> None:
    folder = trees.write(tmp_path / "x", FILES)
    before = content.digest(folder)
    assert content.digest(trees.write(folder, changes)) != before


def test_names_and_folders_show(tmp_path: Path) -> None:
    folder = trees.write(tmp_path / "x", FILES)
    seen = {content.digest(folder)}
    (folder / "b" / "d").rename(folder / "b" / "e")
    seen.add(content.digest(folder))
    (folder / "empty").mkdir()
    seen.add(content.digest(folder))
    (folder / "a.py").unlink()
    seen.add(content.digest(folder))
    assert len(seen) == 4


def test_what_python_writes_does_not_show(tmp_path: Path) -> None:
    folder = trees.write(tmp_path / "x", FILES)
    before = content.digest(folder)
    trees.write(folder, {"__pycache__/a.pyc": "", "b/__pycache__/c.pyc": ""})
    assert content.digest(folder) == before


def test_links_are_followed_and_end(tmp_path: Path) -> None:
    folder = trees.write(tmp_path / "x", FILES)
    trees.write(tmp_path, {"far/module.py": "1"})
    (folder / "vendor").symlink_to("../far")
    (folder / "loop").symlink_to(".")
    (folder / "nowhere").symlink_to("gone")
    before = content.digest(folder)
    assert len(list(content.walk(folder, lambda name: False))) == 8
    trees.write(tmp_path, {"far/module.py": "2"})
    assert content.digest(folder) != before
    after = content.digest(folder)
    (folder / "nowhere").unlink()
    (folder / "nowhere").symlink_to("elsewhere")
    assert content.digest(folder) != after


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    folder = trees.write(tmp_path / "x", FILES)
    before = content.digest(folder)
    os.mkfifo(folder / "pipe")  # opening it would wait for a writer
    assert content.digest(folder) != before


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    assert content.known(tmp_path / "nowhere") == ""
    with pytest.raises(FileNotFoundError):
        content.digest(tmp_path / "nowhere")
    assert content.known(tmp_path) == content.digest(tmp_path) != ""
