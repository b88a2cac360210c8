"""Makes locks that a forked child finds open.

A hook may fork, and only the forking thread lives on in the child: what another thread held at that moment would stay
locked there for good, and with it every later call that needs it.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from tykbridge.errors import LoadError

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def lock() -> threading.Lock:
    """Returns a new lock."""
    made = threading.Lock()
    _locks.add(made)
    return made


def reentrant() -> threading.RLock:
    """Returns a new lock that a thread may take again while it has it."""
    made = threading.RLock()
    _locks.add(made)
    return made


class Turn:
    """One thread at a time; a thread that has its turn and asks again is refused, for it would wait for itself.

    A signal handler, a finalizer and what a host does with a log line may come in the middle of a thread's own work.
    """

    def __init__(self, what: str) -> None:
        self._what, self._lock = what, lock()
        # The process and thread, written by who has the lock; any other sees one that is not itself. A forked child may
        # have a thread of the same number.
        self._owner: tuple[int, int] | None = None

    def __enter__(self) -> None:
        me = os.getpid(), threading.get_ident()
        if self._owner == me:
            raise LoadError(f"{self._what} cannot begin in the middle of another one on the same thread")
        self._lock.acquire()
        self._owner = me

    def __exit__(self, *_: object) -> None:
        self._owner = None
        self._lock.release()


def event() -> threading.Event:
    """Returns a new event, which is as it was in the child."""
    made = threading.Event()
    _locks.add(made)
    return made


def _open_all() -> None:
    for held in list(_locks):
        held._at_fork_reinit()  # as logging and concurrent.futures do


os.register_at_fork(after_in_child=_open_all)
