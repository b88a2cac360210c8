"""Holds folders that processes share, so that none is removed while one of them uses it.

What holds is a lock of the kernel's (flock) on the folder itself: it ends with its process, however that ends, and it
needs no file of its own. Where a file system has no such locks, folders are used as well, and none is removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import weakref
from pathlib import Path


class Hold:
    """A folder that is in use. It is let go when this is closed, or gone.

    A forked child holds it as well, on its own.
    """

    __slots__ = ("__weakref__", "close")

    def __init__(self, descriptor: int) -> None:
        self.close = weakref.finalize(self, os.close, descriptor)
        self.close.atexit = False  # the process's end lets go of everything


def share(folder: Path) -> Hold | None:
    """Holds a folder beside others that do; None when there is none."""
    return _lock(folder, fcntl.LOCK_SH)


def own(folder: Path) -> Hold | None:
    """Holds a folder alone, as those do who remove it; None when somebody holds it, or there is none."""
    return _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock(folder: Path, operation: int) -> Hold | None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link
            return None
        raise
    hold = Hold(descriptor)
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        if operation != fcntl.LOCK_SH:
            hold.close()
            return None
    # Between the opening and the lock somebody may have taken it away.
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), os.stat(folder, follow_symlinks=False)):
            return hold
    hold.close()
    return None
