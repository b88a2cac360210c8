"""Archives from anywhere: good ones are unpacked, hostile ones refused with a reason; nothing is written elsewhere."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import writes
from tests.hostile_bundles import HOSTILE, MANIFEST, deferred, sizes
from tests.zips import DEFERRED, FOLDER, STORED, UTF8, Entry, deflated, extra, make
from tykbridge.bundle.archive import Limits, unpack
from tykbridge.errors import LoadError

pytestmark = pytest.mark.once

MIB = 1 << 20


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder for a bundle, with neighbours that a way out would meet."""
    for name in ("evil", "around/evil", "around/victim.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("untouched")
    folder = tmp_path / "around" / "bundle"
    folder.mkdir()
    return folder


def put(place: Path, data: bytes) -> Path:
    file = place.parent.parent / "bundle.zip"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize(("made", "words"), [pytest.param(made, words, id=name) for name, made, words in HOSTILE])
def test_a_hostile_archive_is_refused_and_leaves_nothing(place: Path, made: Callable[[], bytes], words: str) -> None:
    file = put(place, made())
    before = writes.snapshot(place.parent.parent)
    with writes.only_in(place) as outside, pytest.raises(LoadError, match=words) as refusal:
        unpack(file, place)
    assert outside == []
    assert list(place.iterdir()) == []
    after = writes.snapshot(place.parent.parent)
    del before[str(place)], after[str(place)]  # its own time may have changed
    assert after == before
    text = str(refusal.value)
    assert text.startswith(f"{file}: ")
    assert text.isprintable()
    assert len(text) < 1000


def test_there_are_more_than_sixty_of_them() -> None:
    assert len({name for name, _, _ in HOSTILE}) == len(HOSTILE) > 60


def test_the_watch_sees_what_is_written_outside(place: Path) -> None:
    outer = place.parent
    with writes.only_in(place) as outside:
        (place / "in").write_text("")
        (place / "in").rename(place / "in2")
        assert outside == []
        (outer / "a").write_text("")
        (outer / "a").rename(outer / "b")
        (outer / "b").chmod(0o600)
        (outer / "l").symlink_to("b")
        os.link(outer / "b", outer / "h")
        (outer / "d").mkdir()
        os.truncate(outer / "b", 0)
        folder = os.open(outer, os.O_RDONLY)
        os.remove("l", dir_fd=folder)
        os.close(folder)
        (place / "way").symlink_to(outer)
        (place / "way" / "out").write_text("")
    events = [line.split()[0] for line in outside]
    assert events == [
        *("open", "os.rename", "os.rename", "os.chmod", "os.symlink", "os.link", "os.link", "os.mkdir"),
        *("os.truncate", "os.remove", "open"),
    ]


# ---- Good ones ----


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_and_folders_are_unpacked(place: Path) -> None:
    noise = os.urandom(300_000)
    data = make(
        MANIFEST,
        Entry("./lib/rules.py", b"rules = 1\n"),
        Entry("vendor/", b"", FOLDER),
        Entry("vendor/empty/", b"", FOLDER, method=STORED),
        Entry("vendor/noise", noise),
        Entry("vendor/stored", noise[:70_000], method=STORED),
        Entry("vendor/nothing", b""),
        Entry("grüße.txt", b"with the flag"),
        Entry("tschüß.txt".encode(), b"without"),
        Entry("MANIFEST.MF", b"other names are fine"),
        comment=b"made by hand",
    )
    file = put(place, data)
    with writes.only_in(place) as outside:
        unpack(file, place)
    assert outside == []
    assert contents(place) == {
        "manifest.json": b"{}",
        "lib/rules.py": b"rules = 1\n",
        "vendor/noise": noise,
        "vendor/stored": noise[:70_000],
        "vendor/nothing": b"",
        "grüße.txt": b"with the flag",
        "tschüß.txt": b"without",
        "MANIFEST.MF": b"other names are fine",
    }
    assert (place / "vendor" / "empty").is_dir()


def test_modes_of_the_archive_do_not_count(place: Path) -> None:
    data = make(
        MANIFEST,
        Entry("setuid", mode=0o104755),
        Entry("open", mode=0o100777),
        Entry("closed", mode=0o100000),
        Entry("sticky/", b"", mode=0o041777),
        Entry("shut/", b"", mode=0o040000),
        Entry("shut/inside"),
    )
    unmasked = os.umask(0o022)
    try:
        unpack(put(place, data), place)
    finally:
        os.umask(unmasked)
    modes = {path.relative_to(place).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in place.rglob("*")}
    assert modes == {
        **dict.fromkeys(["manifest.json", "setuid", "open", "closed", "shut/inside"], 0o644),
        **dict.fromkeys(["sticky", "shut"], 0o755),
    }


def test_sizes_after_the_data_as_go_writes_them(place: Path) -> None:
    unpack(put(place, deferred()), place)
    assert contents(place)["a"] == b"x" * 50


def test_sizes_after_the_data_may_lack_their_mark(place: Path) -> None:
    data = b"x" * 50
    after = sizes(zlib.crc32(data), len(deflated(data)), len(data), mark=b"")
    unpack(put(place, make(MANIFEST, Entry("a", data, both={"flags": DEFERRED}, after=after))), place)
    assert contents(place)["a"] == data


def test_times_and_owners_as_the_program_zip_writes_them(place: Path) -> None:
    times, owner = b"\3" + bytes(8), b"\1\4" + bytes(4) + b"\4" + bytes(4)
    local = {"extra": extra(0x5455, times) + extra(0x7875, owner)}
    listed = {"extra": extra(0x5455, times[:5]) + extra(0x7875, owner)}
    path = extra(0x7075, b"\1" + struct.pack("<L", zlib.crc32("ü".encode())) + "ü".encode())
    pkzip = extra(0x000D, bytes(12))
    data = make(
        MANIFEST,
        Entry("a", local=local, listed=listed),
        Entry("ü", both={"extra": path}),
        Entry("b", both={"extra": pkzip}),
    )
    unpack(put(place, data), place)
    assert contents(place).keys() == {"manifest.json", "a", "ü", "b"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_that_python_makes(place: Path, tmp_path: Path, method: int) -> None:
    files = {"manifest.json": b"{}", "vendor/grüße.txt": b"x" * 10_000, "e": b""}
    with zipfile.ZipFile(tmp_path / "made.zip", "w", method) as archive:
        archive.mkdir("vendor")
        for name, data in files.items():
            archive.writestr(name, data)
    unpack(tmp_path / "made.zip", place)
    assert contents(place) == files


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 131_072, 1_000_000])
def test_every_size_comes_out_whole(place: Path, size: int) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    unpack(put(place, make(MANIFEST, Entry("a", data), Entry("b", data, method=STORED))), place)
    assert contents(place) == {"manifest.json": b"{}", "a": data, "b": data}


# ---- Limits ----


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(total=1001), "it unpacks to 1002 bytes; 1001 are allowed"),
        (Limits(file=999), "'a/b' unpacks to 1000 bytes; 999 are allowed"),
        (Limits(files=2), "it has more than 2 files and folders"),
        (Limits(files=1), "it has 2 entries; 1 are allowed"),
    ],
)
def test_limits(place: Path, limits: Limits, words: str) -> None:
    file = put(place, make(MANIFEST, Entry("a/b", b"x" * 1000)))
    with pytest.raises(LoadError, match=words):
        unpack(file, place, limits)
    assert list(place.iterdir()) == []
    unpack(file, place, Limits(total=1002, file=1000, files=3))
    assert (place / "a" / "b").stat().st_size == 1000


def test_the_ratio_counts_for_large_files_only(place: Path) -> None:
    file = put(place, make(MANIFEST, Entry("small", b"\0" * (MIB - 1)), Entry("large", os.urandom(MIB))))
    unpack(file, place)
    large = place.parent / "large"
    large.mkdir()
    with pytest.raises(LoadError, match="more than 200 times as many"):
        unpack(put(place, make(MANIFEST, Entry("a", b"\0" * MIB))), large)


# ---- Where it is unpacked to ----


def test_a_folder_that_is_not_empty_stays_as_it_is(place: Path) -> None:
    (place / "mine").write_text("kept")
    with pytest.raises(LoadError, match="must be empty"):
        unpack(put(place, make(MANIFEST)), place)
    assert contents(place) == {"mine": b"kept"}


def test_a_folder_or_a_pipe_is_no_archive(place: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(LoadError, match="is not a file"):
            unpack(path, place)


def test_what_cannot_be_read_or_written_is_told(place: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"gone\.zip cannot be unpacked into .*: No such file"):
        unpack(tmp_path / "gone.zip", place)
    with pytest.raises(LoadError, match=r"cannot be unpacked into .*nowhere: No such file"):
        unpack(put(place, make(MANIFEST)), place / "nowhere")


def test_a_disk_that_fills_up_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def full(path: str, *arguments: int, **keys: int) -> int:
        if str(path).endswith("third"):
            raise OSError(28, "No space left on device", str(path))
        return opened(path, *arguments, **keys)

    file = put(place, make(MANIFEST, Entry("a/second"), Entry("a/third")))
    monkeypatch.setattr(os, "open", full)
    with pytest.raises(LoadError, match=r"cannot be unpacked into .*: No space left on device"):
        unpack(file, place)
    assert list(place.iterdir()) == []


# ---- Any bytes ----

X = b"x" * 50
GOOD = make(
    MANIFEST,
    Entry("lib/", b"", FOLDER, method=STORED),
    Entry("lib/rules.py", b"rules = [1, 2, 3]\n" * 20),
    Entry("notes.txt", b"as they are", method=STORED),
    Entry("grüße", X, both={"flags": DEFERRED | UTF8}, after=sizes(zlib.crc32(X), len(deflated(X)), len(X))),
)

EDITS = st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6)
CUTS = st.tuples(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))


def check_edited(data: bytes) -> None:
    """Either a refusal that leaves nothing, or exactly the files that the list tells of."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        file, folder = base / "bundle.zip", base / "bundle"
        file.write_bytes(data)
        folder.mkdir()
        with writes.only_in(folder) as outside:
            refusal = ""
            try:
                unpack(file, folder)
            except LoadError as error:
                refusal = str(error)
            assert refusal.isprintable()
            if refusal:
                assert list(folder.iterdir()) == []
            else:
                with zipfile.ZipFile(file) as archive:
                    told = {_name(info): info.CRC for info in archive.infolist() if not info.is_dir()}
                assert {path: zlib.crc32(content) for path, content in contents(folder).items()} == told
        assert outside == []
        assert sorted(path.name for path in base.iterdir()) == ["bundle", "bundle.zip"]


def _name(info: zipfile.ZipInfo) -> str:
    raw = info.orig_filename.encode("utf-8" if info.flag_bits & UTF8 else "cp437")
    return raw.decode().removeprefix("./")


@given(EDITS)
@example([])
def test_any_bytes_changed(edits: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for at, value in edits:
        data[at] = value
    check_edited(bytes(data))


@given(CUTS)
def test_any_part_moved_or_lost(cuts: tuple[int, int, int]) -> None:
    first, second, third = sorted(cuts)
    check_edited(GOOD[:first] + GOOD[second:third] + GOOD[first:second] + GOOD[third:])
    check_edited(GOOD[:first] + GOOD[second:])


def test_each_byte_of_the_headers_changed() -> None:
    for at in range(len(GOOD)):
        data = bytearray(GOOD)
        data[at] ^= 0xFF
        check_edited(bytes(data))
