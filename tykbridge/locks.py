"""Makes locks that a forked child finds open.

A hook may fork, and only the forking thread lives on in the child: what another thread held at that moment would stay
locked there for good, and with it every later call that needs it.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

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


def event() -> threading.Event:
    """Returns a new event, which is as it was in the child."""
    made = threading.Event()
    _locks.add(made)
    return made


def _open_all() -> None:
    for held in list(_locks):
        held._at_fork_reinit()  # as logging and concurrent.futures do


os.register_at_fork(after_in_child=_open_all)
