"""The store in an SQLite file: what the file must bear."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tykbridge.stores import StoreError, sqlite
from tykbridge.stores.sqlite import _WRITES, SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(program: str, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


WRITER = """
import sys
from tykbridge.stores.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
for number in range(1_000_000):
    store.set(f"{sys.argv[2]}-{number}", b"%d" % number)
    store.incr("sum")
    store.hit("hits", 10**9, 0)
    print(number, flush=True)
"""


@pytest.mark.once
def test_a_process_that_is_killed_loses_nothing_that_it_acknowledged(path: Path) -> None:
    store = SqliteStore(path)
    acknowledged = 0
    for round_ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, path, str(round_)], stdout=-1, text=True) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                last = int(line)
                if last >= 150:
                    break
            writer.send_signal(signal.SIGKILL)
            last = max([last, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        acknowledged += last + 1
        assert all(store.get(f"{round_}-{number}") == b"%d" % number for number in range(last + 1))
        sums = int(store.get("sum") or 0)
        # A write may be done whose acknowledgement was never said: one for each process.
        assert acknowledged <= sums <= acknowledged + round_ + 1
        assert acknowledged + 1 <= store.hit("hits", 10**9, 0).passed <= acknowledged + 2 * (round_ + 1)
        acknowledged = sums
    store.close()
    with sqlite3.connect(path) as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    link.close()


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteStore(path)
        store.set("a", b"1")
    finally:
        os.umask(before)
    files = [path, path.with_name("data-wal"), path.with_name("data-shm")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    store.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_stored_is_there_again(path: Path) -> None:
    clock = Clock()
    store = SqliteStore(path, clock=clock)
    store.set("a", b"1")
    store.set("b", b"1", 10)
    store.hit("k", 1, 10)
    store.close()
    store = SqliteStore(path, clock=clock)
    assert store.get("a") == b"1"
    assert not store.hit("k", 1, 10).allowed
    clock.now += 10
    assert store.get("b") is None
    assert store.hit("k", 1, 10).allowed
    store.close()


def rows(path: Path, table: str) -> int:
    link = sqlite3.connect(path)
    try:
        return int(link.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        link.close()


def test_what_is_over_takes_no_room(path: Path) -> None:
    clock = Clock()
    store = SqliteStore(path, clock=clock)
    for number in range(3000):
        clock.now += 1
        store.set(f"key-{number}", b"", 10)
        store.hit(f"key-{number}", 1, 10)
    assert rows(path, "entries") < 500
    assert rows(path, "windows") < 500
    clock.now += 1000
    store.set("for good", b"")
    store.hit("for good", 1, 0)
    store.close()
    SqliteStore(path, clock=clock).close()  # opening takes out what is over as well
    assert (rows(path, "entries"), rows(path, "windows")) == (1, 1)


def test_the_log_is_emptied_after_a_reader_let_it_grow(path: Path) -> None:
    store = SqliteStore(path)
    log = path.with_name("data-wal")
    link = sqlite3.connect(path, isolation_level=None)
    link.execute("BEGIN")
    link.execute("SELECT * FROM entries").fetchall()
    for _ in range(_WRITES - 1):
        store.set("a", b"x" * 100_000)
    assert log.stat().st_size > 10_000_000
    link.close()
    store.set("a", b"")
    assert log.stat().st_size < 1_000_000
    store.close()


# ---- What goes wrong


def test_waiting_for_others_ends_in_time(path: Path) -> None:
    store = SqliteStore(path, timeout=0.05)
    store.set("a", b"1")
    link = sqlite3.connect(path, isolation_level=None)
    link.execute("BEGIN IMMEDIATE")
    for write in (lambda: store.set("a", b"2"), lambda: store.incr("n"), lambda: store.hit("k", 1, 0)):
        with pytest.raises(StoreError, match=r"busy for 0.05 s"):
            write()
    assert store.get("a") == b"1"  # who reads does not wait
    link.execute("ROLLBACK")
    link.close()
    store.set("a", b"2")
    store.close()


def test_waiting_for_a_thread_of_this_process_ends_in_time(path: Path) -> None:
    store = SqliteStore(path, timeout=0.05)
    with store._writer.lock:
        failures: list[StoreError] = []

        def work() -> None:
            try:
                store.set("a", b"1")
            except StoreError as error:
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert "busy" in str(failures[0])
    store.close()


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"this is a text, and no database" * 100)
    with pytest.raises(StoreError, match=rf"{path}: file is not a database"):
        SqliteStore(path)
    assert path.read_bytes().startswith(b"this is a text")


def test_a_database_of_somebody_else_is_refused(path: Path) -> None:
    link = sqlite3.connect(path)
    link.execute("CREATE TABLE theirs (x)")
    link.close()
    with pytest.raises(StoreError, match="another program"):
        SqliteStore(path)
    assert rows(path, "theirs") == 0


class Slow:
    """A connection to a new file, whose program is held up after its first question: another one makes the tables."""

    def __init__(self, link: sqlite3.Connection, path: Path) -> None:
        self.link, self.path = link, path

    def execute(self, command: str) -> Any:
        row = self.link.execute(command).fetchone()
        if self.path.stat().st_size == 0:
            SqliteStore(self.path).close()
        return SimpleNamespace(fetchone=lambda: row)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.link, name)


def test_a_file_that_several_programs_make_at_once_is_ours(path: Path) -> None:
    link = sqlite3.connect(path, isolation_level=None)
    sqlite._prepare(Slow(link, path), str(path))  # type: ignore[arg-type]
    assert rows(path, "entries") == 0
    link.close()


@pytest.mark.parametrize("where", ["no/such/folder/data", "."])
def test_a_place_for_no_file_is_refused(tmp_path: Path, where: str) -> None:
    with pytest.raises(StoreError) as caught:
        SqliteStore(tmp_path / where)
    assert str(tmp_path) in str(caught.value)


def test_a_disk_that_takes_no_files_is_refused() -> None:
    with pytest.raises(StoreError, match=r"/proc/tykbridge-data: cannot be made"):
        SqliteStore("/proc/tykbridge-data")


READ_ONLY = """
import os, sys
from tykbridge.stores import StoreError, sqlite
from tykbridge.stores.sqlite import SqliteStore
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    SqliteStore(sys.argv[1])
except StoreError as error:
    print(error)
"""


@pytest.mark.once
def test_a_file_that_cannot_be_written_is_refused(path: Path) -> None:
    SqliteStore(path).close()
    path.chmod(0o444)
    for folder in (path.parent, *path.parent.parents):
        if folder.owner() == path.owner() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o555)
    done = run(READ_ONLY, path)
    assert str(path) in done.stdout, done.stderr
    assert "readonly" in done.stdout or "unable to open" in done.stdout


FULL = """
import resource, sys
from tykbridge.stores import StoreError, sqlite
from tykbridge.stores.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
store.set("a", b"1")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    store.set("b", b"x" * 1_000_000)
except StoreError as error:
    print(error)
print(store.get("a"), store.get("b"))
"""


@pytest.mark.once
def test_a_full_disk_is_told_and_nothing_is_half_written(path: Path) -> None:
    done = run(FULL, path)
    first, second = done.stdout.splitlines()
    assert str(path) in first, done.stderr
    assert second == "b'1' None"


FORKED = """
import ctypes, os, sys
from tykbridge.stores import StoreError, sqlite
from tykbridge.stores.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
child = ctypes.PyDLL(None).fork()  # by C, of which Python learns nothing
if child == 0:
    try:
        store.set("a", b"1")
    except StoreError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
store.set("a", b"2")
"""


@pytest.mark.once
def test_a_connection_never_crosses_a_fork(path: Path) -> None:
    done = run(FORKED, path)
    assert "was forked" in done.stdout, done.stderr
    assert done.returncode == 0


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_waits_for_a_write_and_finds_the_file_closed(path: Path) -> None:
    store = SqliteStore(path)
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            store.incr("n")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                try:
                    os._exit(0 if store.incr("forks") and store._writer.pid == os.getpid() else 1)
                except BaseException:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        over.set()
        thread.join()
    assert store.get("forks") == b"10"
    store.close()


def test_regression_threads_that_fork_at_one_moment_release_what_is_their_own(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "first", timeout=0.05)
    others: list[SqliteStore] = []
    failures: list[BaseException] = []

    def fork() -> None:
        sqlite._before_fork()
        steps.wait()
        steps.wait()
        try:
            sqlite._after_fork()
        except RuntimeError as error:
            failures.append(error)

    steps = threading.Barrier(2)
    thread = threading.Thread(target=fork)
    thread.start()
    steps.wait()  # the thread holds the first store
    others.append(SqliteStore(tmp_path / "second"))
    sqlite._before_fork()  # and this one the second alone
    steps.wait()
    thread.join()
    sqlite._after_fork()
    assert not failures
    for store in (first, *others):
        store.set("a", b"1")
        store.close()


# ---- The file


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_regression_a_file_that_is_not_there_any_more_is_left_by_all(path: Path, how: str) -> None:
    store = SqliteStore(path)
    store.set("a", b"1")
    if how == "deleted":
        path.unlink()
    else:
        fresh = SqliteStore(path.with_name("fresh"))
        fresh.close()
        store.close()
        store = SqliteStore(path)
        os.rename(fresh.path, path)
    other = SqliteStore(path)
    assert store.get("a") is other.get("a") is None
    for number in range(1, 6):
        assert store.hit("n", 10, 0).passed == 2 * number - 1
        assert other.hit("n", 10, 0).passed == 2 * number
    store.set("a", b"2")
    assert other.get("a") == b"2"
    store.close()
    other.close()
    again = SqliteStore(path)
    assert again.get("a") == b"2"
    again.close()
    with sqlite3.connect(path) as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    link.close()


def test_a_folder_that_is_gone_is_told_and_may_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    store = SqliteStore(folder / "data")
    store.set("a", b"1")
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot be made"):
        store.get("a")
    (tmp_path / "elsewhere").rename(folder)
    assert store.get("a") == b"1"
    store.close()


def test_regression_the_log_of_a_file_behind_a_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk" / "real")
    store = SqliteStore(tmp_path / "data")
    store.set("a", b"1")
    assert os.path.exists(f"{store.path}-wal")
    assert stat.S_IMODE((tmp_path / "disk" / "real").stat().st_mode) == 0o600
    store.close()


def test_regression_a_finalizer_may_ask_while_a_file_is_opened(path: Path) -> None:
    store = SqliteStore(path)
    store.set("a", b"1")
    found = []

    def ask() -> None:
        with sqlite._opening:  # where a collection may run it, on the thread that holds this
            found.append(store.get("a"))  # opens what reads

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(10)
    assert found == [b"1"]
    store.close()
