"""A store in an SQLite file, which the processes of one machine share.

Every call is one statement, and SQLite's lock is held while SQLite runs it alone: never while Python waits for its own
lock. What waits for another process tries again after a nap of its own, because SQLite's waiting naps up to 100 ms and
is unfair (docs/stores.md has what was measured).

A write is in the operating system's hands when its call returns (WAL, synchronous=NORMAL): ending the process loses
nothing of it. A power cut may lose the last writes, never the file.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from tykbridge import locks
from tykbridge._bridge import unix_time
from tykbridge.counters import Hit
from tykbridge.stores import CLOSED, StoreError, shown, whole_number, wire

TIMEOUT = 5.0
"""Seconds that a call waits at most, where nothing else is said; Tyk's own for its storage."""

_OURS = 0x74796B62  # "tykb", the application_id of our files
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_ends ON entries (ends) WHERE ends > 0;
CREATE TABLE IF NOT EXISTS windows (key BLOB PRIMARY KEY, passed INTEGER NOT NULL, resets REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS windows_resets ON windows (resets) WHERE resets > 0;
PRAGMA application_id = {_OURS};
COMMIT;
"""
# `ends` and `resets` are unix seconds; 0: never.

_GET = "SELECT value, ends FROM entries WHERE key = :key AND (ends = 0 OR ends > :now)"
_SET = "INSERT OR REPLACE INTO entries VALUES (:key, :value, :ends)"
_DELETE = "DELETE FROM entries WHERE key = :key RETURNING ends = 0 OR ends > :now"
_ADD = """INSERT INTO entries VALUES (:key, :value, :ends) ON CONFLICT (key) DO UPDATE
SET value = :value, ends = :ends WHERE ends > 0 AND ends <= :now RETURNING 1"""

_NAMES = """SELECT key FROM entries
WHERE substr(key, 1, length(:key)) = :key AND (ends = 0 OR ends > :now)"""

_OVER = "(ends > 0 AND ends <= :now)"
_NUMBER = "CAST(CAST(value AS TEXT) AS INTEGER)"  # a number only where it is written as the value is
_INCR = f"""INSERT INTO entries VALUES (:key, CAST(CAST(:by AS TEXT) AS BLOB), 0.0) ON CONFLICT (key) DO UPDATE
SET value = CAST(CAST(CASE WHEN {_OVER} THEN :by ELSE {_NUMBER} + :by END AS TEXT) AS BLOB),
ends = CASE WHEN {_OVER} THEN 0.0 ELSE ends END
WHERE {_OVER} OR (CAST({_NUMBER} AS TEXT) = CAST(value AS TEXT) AND typeof({_NUMBER} + :by) = 'integer')
RETURNING value"""

_ENDED = "(CASE WHEN resets > 0 THEN resets <= :now ELSE :resets > 0 END)"
_HIT = f"""INSERT INTO windows VALUES (:key, 1, :resets) ON CONFLICT (key) DO UPDATE
SET passed = CASE WHEN {_ENDED} THEN 1 ELSE passed + 1 END,
resets = CASE WHEN {_ENDED} THEN :resets ELSE resets END
WHERE {_ENDED} OR passed < :limit RETURNING passed, resets"""
_FULL = "SELECT passed, resets FROM windows WHERE key = :key"
_RESET = "DELETE FROM windows WHERE key = :key"

_SWEEP = (
    "DELETE FROM entries WHERE key IN (SELECT key FROM entries WHERE ends > 0 AND ends <= :now LIMIT 500)",
    "DELETE FROM windows WHERE key IN (SELECT key FROM windows WHERE resets > 0 AND resets <= :now LIMIT 500)",
)
_WRITES = 200
"""Writes after which a process takes out what is over: more than it can have put in since."""
_LOG_LIMIT = 8 << 20
"""Bytes of write-ahead log from which on it is emptied. SQLite does so where nobody reads, which may be never."""

_NAPS = (0.0001, 0.0002, 0.0005, 0.001, 0.002)
"""Seconds between tries to write, each on the average; the last one stays."""


class _Connection:
    """A connection to the file. It never crosses a fork: SQLite's locks, and what it knows of them, would be wrong."""

    def __init__(self) -> None:
        # Reentrant: a finalizer that runs while a call is at work may call the store on the same thread.
        self.lock = locks.reentrant()
        self.link: sqlite3.Connection | None = None  # under the lock; None: not opened yet, or closed before a fork
        self.pid = 0  # of the process that opened it
        self.file: tuple[int, int] | None = None  # what was opened: device and number

    def close(self) -> None:
        if self.link is not None and self.pid == os.getpid():
            self.link.close()
            self.link = None

    def __del__(self) -> None:
        self.close()  # sqlite3's own is in a cycle: its files would stay open until the collector comes


class SqliteStore:
    """Data and counters in a file. Safe to use from any thread, and by any number of processes of one machine.

    A file that is made here has mode 0600, because sessions are secrets. It must not lie on a network's file system,
    whose locks SQLite cannot trust. Where the file is deleted or another takes its place, that one is used from the
    next call on, as every process does that starts then.

    Args:
        path: the file; its folder must be there.
        timeout: seconds that a call waits at most for others; then it raises `StoreError`.
        clock: unix seconds, the same for all processes.

    Raises:
        StoreError: the file cannot be opened or written, or is not one of ours.
    """

    def __init__(
        self, path: str | os.PathLike[str], timeout: float = TIMEOUT, clock: Callable[[], float] = unix_time
    ) -> None:
        self.path = os.path.realpath(path)  # SQLite's log lies beside the file itself
        self._timeout, self._clock = timeout, clock
        self._writer, self._reader = _Connection(), _Connection()  # two, so that no reader waits for a writer
        self._writes = 0  # under the writer's lock
        self._closed = False
        try:
            with self._held(self._writer) as (link, _):
                self._sweep(link)
        except BaseException:
            self.close()
            raise
        _stores.add(self)

    def __repr__(self) -> str:
        return f"SqliteStore({self.path!r})"

    def get(self, key: str) -> bytes | None:
        """Returns the value of `key`, or None when there is none or its time is over."""
        found = self._run(self._reader, _GET, key)
        return found[0][0] if found else None

    def set(self, key: str, value: bytes, ttl: float = 0) -> None:
        """Sets the value of `key` for `ttl` seconds; 0 or less: for good."""
        self._run(self._writer, _SET, key, value=value, ends=self._end(ttl))

    def add(self, key: str, value: bytes, ttl: float = 0) -> bool:
        """Sets `key` only where it has no value; returns whether it did. Of several at once one does."""
        return bool(self._run(self._writer, _ADD, key, value=value, ends=self._end(ttl)))

    def delete(self, key: str) -> bool:
        """Removes `key`; returns whether it was there."""
        found = self._run(self._writer, _DELETE, key)
        return bool(found and found[0][0])

    def incr(self, key: str, by: int = 1) -> int:
        """Adds to the number at `key`, atomically; a missing one is 0. Returns the sum; its time to live stays."""
        whole_number(key, None, by)
        found = self._run(self._writer, _INCR, key, by=by)
        if found:
            return int(found[0][0])
        whole_number(key, self.get(key), by)
        raise StoreError(f"{shown(key)} was no whole number when it was added to")

    def ttl(self, key: str) -> float | None:
        """Returns the seconds that `key` has left: 0.0 for good, None when there is no such key."""
        found = self._run(self._reader, _GET, key)
        if not found:
            return None
        ends: float = found[0][1]
        return max(ends - self._clock(), 0.001) if ends else 0.0

    def names(self, start: str) -> list[str]:
        """Returns all keys that begin so. Reads the whole file."""
        rows = self._run(self._reader, _NAMES, start)
        return [bytes(key).decode("utf-8", "surrogateescape") for (key,) in rows]

    def hit(self, key: str, limit: int, window: float) -> Hit:
        """Counts one request; see `Counters.hit`."""
        resets = self._end(window)
        found = self._run(self._writer, _HIT, key, limit=limit, resets=resets)
        if found:
            return Hit(True, *found[0])
        found = self._run(self._reader, _FULL, key)
        return Hit(False, *found[0]) if found else Hit(False, limit, resets)

    def reset(self, key: str) -> None:
        """Forgets what was counted on `key`."""
        self._run(self._writer, _RESET, key)

    def close(self) -> None:
        """Closes the file. Calls that follow raise `StoreError`."""
        self._closed = True
        for connection in (self._writer, self._reader):
            with connection.lock:
                connection.close()

    # ---- Statements

    def _end(self, seconds: float) -> float:
        return self._clock() + seconds if seconds > 0 else 0.0

    def _run(self, connection: _Connection, statement: str, key: str, **given: Any) -> list[Any]:
        given |= {"key": wire(key), "now": self._clock()}
        with self._held(connection) as (link, deadline):
            rows: list[Any] = _tried(lambda: link.execute(statement, given).fetchall(), deadline)
            if connection is self._writer:
                self._writes += 1
                if self._writes % _WRITES == 0:
                    self._sweep(link)
        return rows

    @contextlib.contextmanager
    def _held(self, connection: _Connection) -> Iterator[tuple[sqlite3.Connection, float]]:
        """Gives a connection, and the time by which to be done (of `time.monotonic`)."""
        deadline = time.monotonic() + self._timeout
        try:
            if not connection.lock.acquire(timeout=self._timeout):
                raise _BusyError
            try:
                yield self._opened(connection, deadline), deadline
            finally:
                connection.lock.release()
        except _BusyError:
            raise StoreError(f"{self.path}: busy for {self._timeout:g} s with what others write") from None
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {CLOSED if self._closed else error}") from error

    def _opened(self, connection: _Connection, deadline: float) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"{self.path}: {CLOSED}")
        if connection.link is not None and connection.pid != os.getpid():
            words = "this process was forked while the store was at work; open a store in each process"
            raise StoreError(f"{self.path}: {words}")
        if connection.link is not None and connection.file != _file(self.path):
            connection.close()
        if connection.link is None:
            connection.link, connection.file = _open(self.path, deadline)
            connection.pid = os.getpid()
        return connection.link

    def _sweep(self, link: sqlite3.Connection) -> None:
        """Takes out what is over, and bounds the log. Where others write meanwhile, the next sweep will do."""
        with contextlib.suppress(_BusyError):
            for statement in _SWEEP:
                _tried(lambda statement=statement: link.execute(statement, {"now": self._clock()}), 0)  # type: ignore[misc]
            with contextlib.suppress(FileNotFoundError):
                if os.path.getsize(f"{self.path}-wal") > _LOG_LIMIT:
                    link.execute("PRAGMA busy_timeout = 100")  # for those who read, a moment each
                    try:
                        link.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                    finally:
                        link.execute("PRAGMA busy_timeout = 0")


class _BusyError(Exception):
    """Others hold what is needed, and the time is over."""


def _tried(work: Callable[[], Any], deadline: float) -> Any:
    """Does the work as soon as others let it, or raises `_BusyError`."""
    turn = 0
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
        if time.monotonic() >= deadline:
            raise _BusyError
        time.sleep(2 * random.random() * _NAPS[min(turn, len(_NAPS) - 1)])
        turn += 1


def _file(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open(path: str, deadline: float) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
    with _opening:
        try:
            # Only where there is none: closing a file gives up all locks that this process has on it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreError(f"{path}: cannot be made: {error.strerror}") from error
        file = _file(path)  # before: one that comes meanwhile is noticed by the next call
        link = sqlite3.connect(
            f"file:{quote(path)}?mode=rw", timeout=0, isolation_level=None, check_same_thread=False, uri=True
        )
        try:
            _tried(lambda: _prepare(link, path), deadline)
        except BaseException:
            link.close()
            raise
    return link, file


def _prepare(link: sqlite3.Connection, path: str) -> None:
    (tables,) = link.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (number,) = link.execute("PRAGMA application_id").fetchone()  # after them: another process may make both now
    if number != _OURS and (number or tables):
        raise StoreError(f"{path}: this is a database of another program")
    if link.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise StoreError(f"{path}: this file system cannot hold a file that processes share")
    link.execute("PRAGMA synchronous = NORMAL")
    link.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
    if number != _OURS:
        try:
            link.executescript(_TABLES)
        finally:
            if link.in_transaction:
                link.rollback()


_opening = locks.reentrant()  # as the locks of connections
_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()


class _Frozen(threading.local):
    """What a thread holds while it forks; another may fork at the same moment."""

    def __init__(self) -> None:
        self.connections: list[_Connection] = []


_frozen = _Frozen()


def _before_fork() -> None:
    """Closes all files: the child finds them closed, and both open them again when they need them."""
    for store in list(_stores):
        for connection in (store._writer, store._reader):
            if connection.lock.acquire(timeout=store._timeout):  # held until the fork is done, so that it stays closed
                _frozen.connections.append(connection)
                connection.close()


def _after_fork() -> None:
    while _frozen.connections:
        _frozen.connections.pop().lock.release()


# In the child, `locks` opens them.
os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=lambda: _frozen.connections.clear()
)
