from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tykbridge.bundle import held

pytestmark = pytest.mark.once


def test_many_share_a_folder_and_nobody_owns_it_meanwhile(tmp_path: Path) -> None:
    first, second = held.share(tmp_path), held.share(tmp_path)
    assert first is not None
    assert second is not None
    assert held.own(tmp_path) is None
    first.close()
    assert held.own(tmp_path) is None
    del second
    assert held.own(tmp_path) is not None


def test_who_shares_waits_for_who_owns(tmp_path: Path) -> None:
    owner = held.own(tmp_path)
    assert owner is not None
    assert held.own(tmp_path) is None
    shared: list[held.Hold | None] = []
    thread = threading.Thread(target=lambda: shared.append(held.share(tmp_path)))
    thread.start()
    owner.close()
    thread.join()
    assert shared[0] is not None


def test_what_was_taken_away_meanwhile_is_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    owner = held.own(folder)
    assert owner is not None
    shared: list[held.Hold | None] = []
    thread = threading.Thread(target=lambda: shared.append(held.share(folder)))
    thread.start()
    folder.rename(tmp_path / "gone")
    folder.mkdir()
    owner.close()
    thread.join()
    # Whichever came first: what is held is the folder that has the name now, or nothing is.
    assert shared[0] is None or held.own(folder) is None
    assert held.own(tmp_path / "gone") is not None


def test_what_is_no_folder_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link", "none"):
        assert held.share(tmp_path / name) is None
        assert held.own(tmp_path / name) is None


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        assert held.share(tmp_path) is not None
        held.share(tmp_path / "none")
    assert os.listdir("/proc/self/fd") == before
