"""Tells the contents of folders apart."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator


def digest(place: str | os.PathLike[str]) -> str:
    """Returns a sha256 over names and contents: of a file, or of all below a folder but what Python writes there.

    Two places with the same files have the same one, wherever they are. Links are followed.

    Raises:
        OSError: something cannot be read, or went away meanwhile.
    """
    if not os.path.isdir(place):
        return _of_file(place)
    total = hashlib.sha256()
    for path, info in walk(place, lambda name: name == "__pycache__"):
        if info is None or not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
            # A pipe is not opened: it would wait for a writer. A link that is not followed counts by its words.
            what = f"?{os.readlink(path) if os.path.islink(path) else ''}"
        else:
            what = "/" if stat.S_ISDIR(info.st_mode) else _of_file(path)
        total.update(f"{os.path.relpath(path, place)}\0{what}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def known(place: str | os.PathLike[str]) -> str:
    """Returns the digest, or "" where something cannot be read: content that is not known equals no other."""
    try:
        return digest(place)
    except OSError:
        return ""


def walk(folder: str | os.PathLike[str], skipped: Callable[[str], bool]) -> Iterator[tuple[str, os.stat_result | None]]:
    """Gives every path below a folder, always in one order, and its status; `skipped` says which names do not count.

    Links are followed, but no folder is entered twice. The status of a link that leads nowhere, or to a folder that
    another path has led to, is None.

    Raises:
        OSError: a folder cannot be read.
    """
    entered = {_identity(os.stat(folder))}
    waiting = [os.fspath(folder)]
    while waiting:
        here = waiting.pop()
        for name in sorted(os.listdir(here)):
            if skipped(name):
                continue
            path = os.path.join(here, name)
            info: os.stat_result | None
            try:
                info = os.stat(path)
            except OSError:
                info = None
            if info is not None and stat.S_ISDIR(info.st_mode):
                if _identity(info) in entered:
                    info = None
                else:
                    entered.add(_identity(info))
                    waiting.append(path)
            yield path, info


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


def _of_file(path: str | os.PathLike[str]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
