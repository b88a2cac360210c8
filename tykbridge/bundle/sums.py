"""Reads and writes SHA256SUMS, the list of a bundle's files in the format of the program sha256sum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tykbridge.bundle.entries import quoted
from tykbridge.errors import LoadError

FILE_NAME = "SHA256SUMS"
SIGNATURE_NAME = "SHA256SUMS.sig"

_BLOCK = 1 << 18
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def render(digests: Mapping[str, str]) -> bytes:
    """Writes the list out of hexadecimal digests by path."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def parse(data: bytes, file: Path) -> dict[str, str]:
    """Reads a list, strictly: "<64 hexadecimal digits>  <path>", each line ended. `file` is its name in messages.

    Raises:
        LoadError: a line is another one, or a path is there twice.
    """
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise LoadError(f"{file} is not UTF-8") from error
    if lines.pop():
        raise LoadError(f"{file}: its last line is not ended: it may be cut off")
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        parts = _LINE.fullmatch(line)
        if parts is None:
            what = quoted(line)
            raise LoadError(f'{file}:{number}: must be "<SHA-256, hexadecimal>  <path>", and is {what}')
        digest, name = parts.groups()
        if found.setdefault(name, digest) is not digest:
            raise LoadError(f"{file}:{number}: {quoted(name)} is there twice")
    return found


def check(folder: Path, listed: Mapping[str, str], names: Iterable[str]) -> None:
    """Holds the list against the files that are there, `names`: none missing, none more, all as they were.

    Raises:
        LoadError: they differ.
        OSError: a file cannot be read.
    """
    file = folder / FILE_NAME
    there = set(names) - {FILE_NAME, SIGNATURE_NAME}
    for name in sorted(listed.keys() - there):
        raise LoadError(f"{file} lists {quoted(name)}, which the bundle does not have")
    for name in sorted(there - listed.keys()):
        raise LoadError(f"{file} does not list {quoted(name)}, which the bundle has")
    for name, digest in listed.items():
        found = hashlib.sha256()
        update((folder / name,), found)
        if found.hexdigest() != digest:
            what = f"its SHA-256 is {found.hexdigest()}, and in {FILE_NAME} {digest}"
            raise LoadError(f"{folder}: {quoted(name)} was changed: {what}")


def update(paths: Iterable[Path], *digests: hashlib._Hash) -> None:
    """Puts the contents of files, one after the other, into digests.

    Raises:
        OSError: a file cannot be read.
    """
    for path in paths:
        with open(path, "rb") as stream:
            while block := stream.read(_BLOCK):
                for digest in digests:
                    digest.update(block)
