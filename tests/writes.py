"""Watches what this process writes to the file system, by Python's audit events."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Each event's arguments that are paths, and where the file descriptors of their folders stand.
_PATHS: dict[str, list[tuple[int, int | None]]] = {
    "os.mkdir": [(0, 2)],
    "os.rmdir": [(0, 1)],
    "os.remove": [(0, 1)],
    "os.rename": [(0, 2), (1, 3)],
    "os.link": [(0, 2), (1, 3)],
    "os.symlink": [(1, 2)],
    "os.chmod": [(0, 2)],
    "os.chown": [(0, 3)],
    "os.utime": [(0, 3)],
    "os.truncate": [(0, None)],
    "os.setxattr": [(0, None)],
}

_watching: list[tuple[Path, list[str]]] = []  # the folder that may be written to, and what was written elsewhere
_is_installed = False


@contextlib.contextmanager
def only_in(folder: Path) -> Iterator[list[str]]:
    """Collects what is written outside of `folder` meanwhile; whoever asks wants the list to stay empty."""
    global _is_installed
    if not _is_installed:
        sys.addaudithook(_hear)  # for good: hooks cannot be removed
        _is_installed = True
    outside: list[str] = []
    _watching.append((folder.resolve(), outside))
    try:
        yield outside
    finally:
        _watching.pop()


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event == "open":
        path, _, flags = arguments
        if not isinstance(path, int) and flags & _WRITES:
            _judge(event, path, None)
    for at, folder_at in _PATHS.get(event, []):
        _judge(event, arguments[at], None if folder_at is None else arguments[folder_at])


def _judge(event: str, path: Any, folder: int | None) -> None:
    allowed, outside = _watching[-1]
    if isinstance(path, int):
        path = os.readlink(f"/proc/self/fd/{path}")
    where = "." if folder in (None, -1) else os.readlink(f"/proc/self/fd/{folder}")
    place = Path(os.path.realpath(os.path.join(where, os.fsdecode(path))))
    if not place.is_relative_to(allowed):
        outside.append(f"{event} {place}")


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Gives mode, time of the last change and contents of everything below a folder."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        about = path.lstat()
        contents = b""
        if path.is_symlink():
            contents = os.readlink(path).encode()
        elif path.is_file():
            contents = path.read_bytes()
        found[str(path)] = (about.st_mode, about.st_mtime_ns, contents)
    return found
