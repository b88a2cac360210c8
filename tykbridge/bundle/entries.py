"""Reads one entry of a bundle's archive, and refuses what is no file or folder below the bundle's own."""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zipfile
from dataclasses import dataclass

from tykbridge.errors import LoadError

MAX_NAME, MAX_PATH = 255, 1024
"""Bytes of a part of a name, and of a name: NAME_MAX, and PATH_MAX with room for the folder."""

# APPNOTE.TXT 6.3.10, PKWARE's description of the format: sections 4.4.4 (flags), 4.5 and 4.6 (extra fields).
DEFERRED = 0x0008
"""The flag of an entry whose sizes and CRC follow its data."""

_ENCRYPTED, _UTF8 = 0x2041, 0x0800
_FLAGS = 0x0006 | DEFERRED | _UTF8  # 6: how hard deflate tried
_ZIP64, _UNIX, _UNICODE_PATH, _ASI_UNIX = 0x0001, 0x000D, 0x7075, 0x756E
_MSDOS_FOLDER = 0x10

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True)
class Entry:
    """One entry of an archive.

    Attributes:
        info: what the list says.
        raw: its name there.
        name: where it goes, below the bundle's folder.
        shown: its name, as messages have it.
        is_folder: a folder, otherwise a file.
    """

    info: zipfile.ZipInfo
    raw: bytes
    name: str
    shown: str
    is_folder: bool


def read_entry(info: zipfile.ZipInfo) -> Entry:
    """Reads what the list says of one entry.

    Raises:
        LoadError: a bundle may not have such an entry.
    """
    # zipfile reads names without the UTF-8 flag as cp437; what they were stays in orig_filename.
    raw = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
    shown = quoted(raw)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise LoadError(f"{shown}: the entry's name is not UTF-8") from error
    entry = Entry(info, raw, _plain_name(text, shown), shown, text.endswith("/"))
    _check_kind(entry)
    check_extra(entry, info.extra)
    if info.flag_bits & _ENCRYPTED:
        raise LoadError(f"{shown} is encrypted, and a bundle's files must be readable")
    if info.flag_bits & ~_FLAGS:
        raise LoadError(f"{shown} needs features of zip (flags {info.flag_bits:#06x}) that a bundle may not use")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise LoadError(f"{shown} is compressed with method {info.compress_type}; use deflate (8), or store it (0)")
    if info.volume:
        raise LoadError(f"{shown} lies on another disk ({info.volume}): build the archive as one file")
    return entry


def _plain_name(text: str, shown: str) -> str:
    """Gives the path below the folder, without "./" before it and the "/" of a folder behind it."""
    text = text.removeprefix("./")
    if not text:
        raise LoadError(f"{shown}: an entry needs a name")
    if any(unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") for char in text):
        raise LoadError(f"{shown}: the entry's name holds a control character")
    if "\\" in text:
        raise LoadError(f"{shown}: the entry's name holds a backslash; folders are separated with /")
    if text.startswith("/"):
        raise LoadError(f"{shown}: the entry's name is an absolute path; it must be relative to the bundle's folder")
    if re.match("[A-Za-z]:", text):
        raise LoadError(f"{shown}: the entry's name starts with a drive; it must be relative to the bundle's folder")
    segments = text.removesuffix("/").split("/")
    if ".." in segments:
        raise LoadError(f"{shown}: the entry's name has \"..\", which could leave the bundle's folder")
    if "" in segments or "." in segments:
        raise LoadError(f'{shown}: the entry\'s name has an empty part, or "." for one')
    if len(text.encode()) > MAX_PATH or any(len(segment.encode()) > MAX_NAME for segment in segments):
        allowed = f"{MAX_NAME} bytes a part, {MAX_PATH} in all are allowed"
        raise LoadError(f"{shown}: the entry's name is too long: {allowed}")
    return "/".join(segments)


def _check_kind(entry: Entry) -> None:
    mode, info = entry.info.external_attr >> 16, entry.info
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise LoadError(f"{entry.shown} is {_KINDS.get(kind, 'no file')}; a bundle has files and folders only")
    says_folder = kind == stat.S_IFDIR or bool(info.external_attr & _MSDOS_FOLDER)
    if (says_folder and not entry.is_folder) or (kind == stat.S_IFREG and entry.is_folder):
        raise LoadError(f"{entry.shown}: its name and its mode do not agree whether it is a folder")
    if entry.is_folder and (info.file_size or info.compress_size > 2):  # what deflate makes of nothing has 2 bytes
        raise LoadError(f"{entry.shown} is a folder, and has contents")


def check_extra(entry: Entry, extra: bytes) -> None:
    """Checks the extra fields that an entry has in the list, or before its data.

    Raises:
        LoadError: they say something else than the header does, or make a link of it.
    """
    at = 0
    while at < len(extra):
        if len(extra) - at < 4:
            raise LoadError(f"{entry.shown}: its extra fields are cut off")
        kind, length = struct.unpack_from("<2H", extra, at)
        data = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if at > len(extra):
            raise LoadError(f"{entry.shown}: its extra fields are cut off")
        if kind == _ZIP64:
            raise LoadError(f"{entry.shown} is in the zip64 form, which a bundle is too small to need")
        if kind == _UNICODE_PATH and data[5:] != entry.raw:
            raise LoadError(f"{entry.shown} has a second name, {quoted(data[5:])}")
        # The name of what is linked to, and a device's numbers, follow the times and the owner.
        if (kind == _UNIX and length > 12) or (kind == _ASI_UNIX and (length > 14 or any(data[6:10]))):
            raise LoadError(f"{entry.shown} is a link or a device; a bundle has files and folders only")


def quoted(name: str | bytes) -> str:
    """Writes a name from outside so that it stays one short piece of a line, whatever it holds."""
    text = name if isinstance(name, str) else name.decode(errors="surrogateescape")
    return repr(text if len(text) <= 200 else f"{text[:200]}...")
