"""Unpacks a bundle's archive, a zip, after checking that it is nothing but files and folders of its own.

An archive comes from outside: every number and name in it may be a lie. The list at its end is checked as a whole, then
against what stands before each entry's data; only then is anything written, and the data is counted while it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tykbridge.bundle import manifest
from tykbridge.bundle.entries import DEFERRED, MAX_PATH, Entry, check_extra, quoted, read_entry
from tykbridge.errors import LoadError

_MIB = 1 << 20
_BLOCK = 1 << 16
_SMALL = _MIB  # below that, how well a file is packed says nothing about it

# APPNOTE.TXT 6.3.10, PKWARE's description of the format: sections 4.3.7 (local header), 4.3.9 (data descriptor),
# 4.3.12 (list of entries), 4.3.15 (zip64 locator), 4.3.16 (end record).
_END = struct.Struct("<4s4H2LH")
_LISTED = struct.Struct("<28x3H12x")  # lengths of name, extra fields and comment
_LOCAL = struct.Struct("<4s2x2H4x3L2H")
_SIZES = struct.Struct("<3L")
_END_MARK, _LOCAL_MARK, _SIZES_MARK, _LOCATOR_MARK = b"PK\5\6", b"PK\3\4", b"PK\7\x08", b"PK\6\7"


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to.

    Attributes:
        total: bytes of all files together.
        file: bytes of one file.
        files: number of files and folders.
        ratio: bytes that a packed byte may become, in files of 1 MiB and more.
    """

    total: int = 256 * _MIB
    file: int = 64 * _MIB
    files: int = 10_000
    ratio: int = 200


def unpack(file: Path, folder: Path, limits: Limits = Limits()) -> None:
    """Checks a bundle's archive and unpacks it into the empty folder `folder`.

    Files get mode 0644 and folders 0755, less what the umask takes, whatever the archive says.

    Raises:
        LoadError: it is not what a bundle's archive may be, or cannot be read or written; the words say why. What was
            written is gone then.
    """
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise LoadError(f"{file} is not a file, and a bundle's archive is one")
        if os.listdir(folder):
            raise LoadError(f"{folder} must be empty for {file} to be unpacked there")
        with open(file, "rb") as stream:
            try:
                _unpack(stream, os.path.abspath(folder), limits)
            except LoadError as error:
                raise LoadError(f"{file}: {error}") from error
    except OSError as error:
        raise LoadError(f"{file} cannot be unpacked into {folder}: {error.strerror or error}") from error


def without_folder(words: str, folder: Path) -> str:
    """Gives an error's words without the folder that something was unpacked to, which says nothing to people."""
    for place, instead in ((f"{folder}/", ""), (f"{folder}: ", ""), (str(folder), "it")):
        words = words.replace(place, instead)
    return words


def _unpack(stream: IO[bytes], folder: str, limits: Limits) -> None:
    entries, end = _central(stream, limits)
    tree = _tree(entries, limits)
    _check_manifest(entries)
    starts = _layout(stream, entries, end)
    try:
        for name in sorted(name for name, is_folder in tree.items() if is_folder):
            os.mkdir(os.path.join(folder, name), 0o755)
        for entry in entries:
            if not entry.is_folder:
                _write(os.path.join(folder, entry.name), _contents(stream, entry, starts[entry.name]))
    except BaseException:
        _empty(folder)
        raise


# ---- The list at the end ----


def _central(stream: IO[bytes], limits: Limits) -> tuple[list[Entry], int]:
    """Reads the entries and what each says about itself; gives them, and where their data must end."""
    start, length, number = _end_record(stream, limits)
    stream.seek(start)
    _check_lengths(stream.read(length), number)
    try:
        infos = zipfile.ZipFile(stream).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError) as error:
        # UnicodeDecodeError is a ValueError.
        raise LoadError(f"its list of entries cannot be read: {_words(error)}") from error
    entries = [read_entry(info) for info in infos]
    for entry in entries:
        _check_sizes(entry, limits)
    total = sum(entry.info.file_size for entry in entries)
    if total > limits.total:
        raise LoadError(f"it unpacks to {total} bytes; {limits.total} are allowed")
    return entries, start


def _end_record(stream: IO[bytes], limits: Limits) -> tuple[int, int, int]:
    """Gives where the list of entries starts, its bytes, and the number of entries."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _END.size - 0xFFFF - 20))
    tail = stream.read()
    at = tail.rfind(_END_MARK)
    if at < 0 or len(tail) - at < _END.size:
        raise LoadError("it is not a zip archive, or its end is missing: fetch or build it again")
    record = _END.unpack_from(tail, at)
    _, disk, list_disk, here, number, length, start, comment = record
    after = len(tail) - at - _END.size - comment
    if after < 0:
        raise LoadError("its end is missing: fetch or build it again")
    if after > 0:
        raise LoadError(f"{after} bytes follow its end record, where nothing may be")
    if 0xFFFF in record[1:5] or 0xFFFFFFFF in (length, start) or tail[max(0, at - 20) : at].startswith(_LOCATOR_MARK):
        raise LoadError("it is in the zip64 form, which a bundle is too small to need: build it without")
    if disk or list_disk or here != number:
        raise LoadError("it is one part of an archive on several disks: build it as one file")
    if number > limits.files:
        raise LoadError(f"it has {number} entries; {limits.files} are allowed")
    where = size - len(tail) + at
    if start + length != where:
        raise LoadError(
            f"its list of entries ends at {start + length}, says its end record, which stands at {where}: "
            "something is missing, or was put into it"
        )
    if length > limits.files * (MAX_PATH * 2):
        raise LoadError(f"its list of entries has {length} bytes, too many for {limits.files} entries")
    return start, length, number


def _check_lengths(listed: bytes, number: int) -> None:
    """Checks that the list is as many entries and nothing else; zipfile does not mind one that is cut off."""
    at = found = 0
    while at < len(listed):
        found += 1
        at += _LISTED.size + sum(_LISTED.unpack(listed[at : at + _LISTED.size].ljust(_LISTED.size, b"\0")))
    if at > len(listed):
        raise LoadError(f"the last entry of its list is cut off: {at - len(listed)} bytes are missing")
    if found != number:
        raise LoadError(f"its end record tells of {number} entries, and its list has {found}")


def _check_sizes(entry: Entry, limits: Limits) -> None:
    info = entry.info
    if info.file_size > limits.file:
        raise LoadError(f"{entry.shown} unpacks to {info.file_size} bytes; {limits.file} are allowed")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        sizes = f"{info.compress_size} and {info.file_size}"
        raise LoadError(f"{entry.shown} is not compressed, and has two sizes: {sizes}")
    if info.file_size >= _SMALL and info.file_size > limits.ratio * info.compress_size:
        times = f"more than {limits.ratio} times as many"
        raise LoadError(f"{entry.shown} unpacks {info.compress_size} bytes to {info.file_size}, {times}")


# ---- Names among each other, places among each other ----


def _tree(entries: list[Entry], limits: Limits) -> dict[str, bool]:
    """Gives every path, and whether it is a folder; folders need no entry of their own."""
    tree: dict[str, bool] = {}
    spelled: dict[str, str] = {}
    listed: set[str] = set()
    for entry in entries:
        path, is_folder = entry.name, entry.is_folder
        while path and path not in tree:
            tree[path] = is_folder
            other = spelled.setdefault(_folded(path), path)
            if other != path:
                raise LoadError(f"{path!r} and {other!r} are the same name on some file systems: rename one")
            path, is_folder = path.rpartition("/")[0], True
        if path and tree[path] != is_folder:
            raise LoadError(f"{path!r} is a file and a folder")
        if entry.name in listed:
            raise LoadError(f"{entry.shown} is there twice")
        listed.add(entry.name)
        if len(tree) > limits.files:
            raise LoadError(f"it has more than {limits.files} files and folders")
    return tree


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _check_manifest(entries: list[Entry]) -> None:
    names = [entry.name for entry in entries if not entry.is_folder]
    if manifest.FILE_NAME in names:
        return
    like = [name for name in names if _folded(name.rpartition("/")[2]) == manifest.FILE_NAME]
    found = f"; it has {like[0]!r}: pack what is in the bundle's folder, not the folder" if like else ""
    raise LoadError(f"it has no {manifest.FILE_NAME} at its root{found}")


def _layout(stream: IO[bytes], entries: list[Entry], end: int) -> dict[str, int]:
    """Checks that entries stand one behind the other, as the list says; gives where the data of each starts."""
    starts = {}
    at, before = 0, ""
    for entry in sorted(entries, key=lambda entry: entry.info.header_offset):
        offset = entry.info.header_offset
        if offset < at:
            raise LoadError(f"{entry.shown} shares bytes with {before}")
        if offset > at:
            where = f"between {before} and {entry.shown}" if before else f"before {entry.shown}, its first entry"
            raise LoadError(f"{offset - at} bytes {where} belong to no entry")
        start = _local(stream, entry)
        starts[entry.name] = start
        at, before = start + entry.info.compress_size, entry.shown
        if at > end:
            raise LoadError(f"{entry.shown} reaches into the list of entries, or past the end")
        if entry.info.flag_bits & DEFERRED:
            at += _descriptor(stream, entry, at)
    if at != end:
        what = f"{end - at} bytes after {before} belong to no entry" if at < end else f"{before} is cut off"
        raise LoadError(what)
    return starts


def _local(stream: IO[bytes], entry: Entry) -> int:
    """Holds the header before an entry's data against the list; gives where the data starts."""
    info = entry.info
    stream.seek(info.header_offset)
    header = stream.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(_LOCAL_MARK):
        raise LoadError(f"{entry.shown}: there is no entry where the list says ({info.header_offset})")
    _, flags, method, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    name, extra = stream.read(name_length), stream.read(extra_length)
    if name != entry.raw:
        raise LoadError(f"{entry.shown} is called {quoted(name)} before its data")
    check_extra(entry, extra)
    pairs = [("flags", flags, info.flag_bits), ("method", method, info.compress_type)]
    known = [("CRC", crc, info.CRC), ("packed size", packed, info.compress_size), ("size", size, info.file_size)]
    # Written before the data was known: then the three may be 0, and follow it.
    pairs += [pair for pair in known if not (flags & DEFERRED and pair[1] == 0)]
    for what, here, listed in pairs:
        if here != listed:
            raise LoadError(f"{entry.shown}: its {what} before the data is {here:#x}, in the list {listed:#x}")
    start: int = info.header_offset + _LOCAL.size + name_length + extra_length
    return start


def _descriptor(stream: IO[bytes], entry: Entry, at: int) -> int:
    """Gives the length of the sizes that follow an entry's data; their mark is optional."""
    info = entry.info
    expected = _SIZES.pack(info.CRC, info.compress_size, info.file_size)
    stream.seek(at)
    found = stream.read(len(_SIZES_MARK) + len(expected))
    if found == _SIZES_MARK + expected:
        return len(found)
    if found.startswith(expected):
        return len(expected)
    raise LoadError(f"{entry.shown}: the sizes and CRC after its data are not those of the list")


# ---- Writing ----


def _contents(stream: IO[bytes], entry: Entry, start: int) -> Iterator[bytes]:
    """Gives a file's contents in blocks, which must be what the list says: not a block more is unpacked."""
    info = entry.info
    size, crc = 0, 0
    blocks = _packed(stream, entry, start)
    for block in blocks if info.compress_type == zipfile.ZIP_STORED else _inflated(entry, blocks):
        size += len(block)
        crc = zlib.crc32(block, crc)
        if size > info.file_size:
            raise LoadError(f"{entry.shown} unpacks to more than the {info.file_size} bytes that it tells of")
        yield block
    if size < info.file_size:
        raise LoadError(f"{entry.shown} unpacks to {size} bytes, and tells of {info.file_size}")
    if crc != info.CRC:
        raise LoadError(f"{entry.shown} is damaged: its CRC is {crc:08x}, and should be {info.CRC:08x}")


def _packed(stream: IO[bytes], entry: Entry, start: int) -> Iterator[bytes]:
    stream.seek(start)
    left = entry.info.compress_size
    while left:
        block = stream.read(min(left, _BLOCK))
        if not block:  # the file has become shorter meanwhile
            raise LoadError(f"{entry.shown} is cut off")
        left -= len(block)
        yield block


def _inflated(entry: Entry, blocks: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    for packed in blocks:
        if inflate.eof:
            raise LoadError(f"{entry.shown} has bytes after the end of its compressed data")
        while True:
            try:
                block = inflate.decompress(packed, _BLOCK)
            except zlib.error as error:
                raise LoadError(f"{entry.shown} is damaged: {error}") from error
            yield block
            packed = inflate.unconsumed_tail
            # A full block may have left something inside of zlib, also when all of the input is taken.
            if inflate.eof or (not packed and len(block) < _BLOCK):
                break
        if inflate.unused_data:
            raise LoadError(f"{entry.shown} has bytes after the end of its compressed data")
    if not inflate.eof:
        raise LoadError(f"{entry.shown} is damaged: its compressed data ends too early")


def _write(path: str, contents: Iterator[bytes]) -> None:
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(target, "wb") as file:
        file.writelines(contents)


def _empty(folder: str) -> None:
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def _words(error: Exception) -> str:
    return ascii(str(error))[1:-1][:200] or type(error).__name__
