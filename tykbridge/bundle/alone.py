"""Unpacks an archive that a host names by its path, into a folder of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path

from tykbridge.bundle import archive, held
from tykbridge.bundle.signing import Trust
from tykbridge.errors import LoadError, NotFoundError


class Unpacked:
    """An archive that is unpacked into a folder of its own, which is there as long as this is.

    Attributes:
        folder: the folder.
        digest: sha256 of the archive in hexadecimal.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder, self.digest = folder, digest
        self._hold = held.share(folder)  # who cleans up temporary files leaves alone what is locked (tmpfiles.d(5))
        self.close = weakref.finalize(self, remove_own, folder, os.getpid())


def unpack_alone(file: str | os.PathLike[str], trust: Trust | None = None) -> Unpacked:
    """Unpacks an archive that belongs to no depot, checked as others are.

    Raises:
        NotFoundError: there is no such file.
        LoadError: it is refused, or cannot be unpacked.
    """
    path = Path(file)
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        unpacked = Unpacked(Path(tempfile.mkdtemp(prefix="tykbridge-")), digest)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}") from error
    except OSError as error:
        raise LoadError(f"{path} cannot be unpacked: {error.strerror}") from error
    try:
        archive.unpack(path, unpacked.folder)
        (trust or Trust()).check(unpacked.folder)
    except LoadError as error:
        unpacked.close()
        raise LoadError(f"{path} is refused: {archive.without_folder(str(error), unpacked.folder)}") from error
    return unpacked


def remove_own(folder: str | os.PathLike[str], process: int) -> None:
    """Removes a folder in the process that made it."""
    if os.getpid() == process:  # a forked child ends, and its parent goes on
        shutil.rmtree(folder, ignore_errors=True)
