"""Finds native code in the files of a bundle: by what they hold, by their names, and inside of wheels."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from tykbridge.bundle.entries import quoted

_HEAD = 4096  # bytes, in which a PE file tells what it is
_NAME = re.compile(r"\.(so(\.\d+)*|pyd|dylib|dll)$", re.IGNORECASE)
_MACH_O = (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")
_MACH_O_FAT = (b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf")


def find(file: Path, name: str) -> str:
    """Says what of a file is native code, or may hide it; "" for nothing. `name` is what the file is called.

    Raises:
        OSError: it cannot be read.
    """
    with open(file, "rb") as stream:
        what = _what(name, stream.read(_HEAD))
    if what:
        return f"{quoted(name)} ({what})"
    inside = _inside(file) if zipfile.is_zipfile(file) else ""
    return f"{quoted(name)} ({inside})" if inside else ""


def _inside(file: Path) -> str:
    # What is in an archive inside of this one can be neither imported nor loaded from there.
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            for entry in entries:
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # as zipimport
                    return f"{quoted(entry.filename)} in it cannot be looked into"
                with archive.open(entry) as stream:
                    what = _what(entry.filename, stream.read(_HEAD))
                if what:
                    return f"{what}: {quoted(entry.filename)} in it"
    except Exception:  # zipfile raises almost anything: OSError, RuntimeError, ValueError, zlib.error, struct.error ...
        return "an archive that cannot be looked into"
    return ""


def _what(name: str, head: bytes) -> str:
    if head.startswith(b"\x7fELF"):
        return "ELF"
    # A Java class starts as a fat Mach-O file does; what counts the parts of that is its version, 45 or more.
    if head.startswith(_MACH_O) or (head.startswith(_MACH_O_FAT) and 0 < int.from_bytes(head[4:8], "big") < 45):
        return "Mach-O"
    if head.startswith(b"MZ") and len(head) >= 64:
        at = int.from_bytes(head[60:64], "little")
        if head[at : at + 4] == b"PE\0\0":
            return "PE"
    return "by its name" if _NAME.search(name) else ""
