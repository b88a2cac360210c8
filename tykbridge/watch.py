"""Loads a configuration again when its files change.

    with watch.watching(bridge):
        ...

The operating system says that something happened, by way of watchfiles (the extra "watch"); whether it counts is then
told by looking at the files. So nothing is lost between two watches, and what does not count loads nothing: temporary
files of editors, logs, `__pycache__`, names that begin with a dot.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tykbridge import locks
from tykbridge.bundle import content
from tykbridge.errors import LoadError

if TYPE_CHECKING:
    from tykbridge.bridge import Bridge

_QUIET = 50  # milliseconds without a change, after which a deployment is taken to be over
_LONGEST = 1000  # milliseconds, after which what changes all the time is loaded in between
_POLL = 300  # milliseconds between two looks of watchfiles' own, where it is told to poll
_PAUSE = 5.0  # seconds between two looks where the system cannot watch
_TEMPORARY = ("~", ".swp", ".swx", ".tmp", ".bak", ".pyc", ".log")  # a log has a line of each reload, as well
_MOST_LINKS = 40  # on the way to a file, as Linux has it


def require() -> Any:
    """Give what watches: a function that makes a watch of folders.

    Raises:
        LoadError: watchfiles is not installed.
    """
    try:
        # Documented, although its name is private. `watchfiles.watch` makes its watch when it is asked for changes, and
        # does not say when: a look at the files between the two, without which changes are lost, has no place there.
        from watchfiles._rust_notify import RustNotify
    except ImportError as error:
        raise LoadError("files can be watched with watchfiles only: pip install 'tykbridge[watch]'") from error
    return RustNotify


@contextlib.contextmanager
def watching(bridge: Bridge) -> Iterator[Watcher]:
    """Reload a bridge whenever files of what it has loaded change, until the block is over.

    Each reload is a line in the bridge's log: what is in use now, or why nothing changed.

    Raises:
        LoadError: watchfiles is not installed.
    """

    def reload() -> tuple[str, int]:
        loaded = bridge.reload()
        return f"APIs {', '.join(loaded.apis)}" if loaded.apis else "", len(loaded.not_loaded)

    watcher = Watcher(lambda: bridge.places, reload, bridge.services.log, lambda: bridge.managed)
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()


@dataclass(frozen=True)
class _Look:
    """What there was at one moment.

    Attributes:
        folders: those whose files count.
        names: the places themselves, and all that leads to them: links that may be turned, folders that may be renamed.
        marks: what each path that counts is told apart by; None for one that is not there.
    """

    folders: frozenset[str]
    names: frozenset[str]
    marks: dict[str, object]

    @property
    def watched(self) -> list[str]:
        """The folders to watch; each is watched without those below it, so that ignored ones cost nothing."""
        known = self.folders | {os.path.dirname(name) for name in self.names}
        return sorted(folder for folder in known if os.path.isdir(folder))

    def concerns(self, path: str) -> bool:
        """Whether a path that the system names may be one that counts."""
        return path in self.names or path in self.folders or os.path.dirname(path) in self.folders


class Watcher:
    """Watches files on a thread of its own, a daemon; in a forked child there is none.

    Args:
        places: gives the files and folders to watch; asked again after each reload.
        reload: loads; gives words for what is in use then, and how much is not, or is as it was before.
        log: takes a line and its level.
        managed: gives the folders below these places whose files do not count.
    """

    def __init__(
        self,
        places: Callable[[], Iterable[str]],
        reload: Callable[[], tuple[str, int]],
        log: Callable[[str, str], None],
        managed: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._places, self._reload, self._log, self._managed = places, reload, log, managed
        self._trouble = ""  # why the system could not watch, told once
        self._stop = locks.event()
        self._inside = locks.lock()  # held by the thread while it is inside of watchfiles
        self._ready = locks.event()  # set once the first watch is in place, or cannot be
        self._thread = threading.Thread(target=self._run, name="tykbridge-watch", daemon=True)

    def start(self) -> None:
        """Begin. What changes after this is seen.

        Raises:
            LoadError: watchfiles is not installed.
        """
        self._notify = require()
        self._seen = self._look()
        atexit.register(self._leave)
        self._thread.start()
        self._ready.wait()

    def stop(self, wait: bool = True) -> None:
        """End; `wait` for a reload that is at work, unless it is that which calls this."""
        atexit.unregister(self._leave)
        self._stop.set()
        if wait and self._thread is not threading.current_thread():
            self._thread.join()

    def _leave(self) -> None:
        """Hear that the interpreter ends. A thread inside of watchfiles would be unwound through Rust then.

        A reload is not waited for: it runs plugins' modules, which may never come to their end.
        """
        self._stop.set()
        with self._inside:
            pass

    def _run(self) -> None:
        while self._changed():
            seen = self._look()  # before files are read: what changes from here on is for the next time
            if seen.marks != self._seen.marks:
                self._load()
            self._seen = seen

    def _changed(self) -> bool:
        """Wait until something may have changed; False when it is time to stop."""
        seen = self._seen
        try:
            with self._inside:
                if not self._stop.is_set():
                    self._wait_inside(seen)
        except Exception as error:  # too many folders for the system, one that has just gone, a name that is no UTF-8
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._log(f"files cannot be watched, and are looked at every {_PAUSE:g} s instead: {error}", "warning")
            self._ready.set()
            self._stop.wait(_PAUSE)
        return not self._stop.is_set()

    def _wait_inside(self, seen: _Look) -> None:
        with self._notify(seen.watched, False, _polls(), _POLL, False, True) as watch:
            self._ready.set()
            # What happened before this watch was in place; and what the last reload has brought in, it may have read
            # before that was watched.
            happened = self._look().marks != seen.marks
            while not happened and not self._stop.is_set():
                found = watch.watch(_LONGEST, _QUIET, 0, self._stop)
                happened = isinstance(found, set) and any(seen.concerns(path) for _, path in found)

    def _look(self) -> _Look:
        return _look(self._places(), self._managed())

    def _load(self) -> None:
        try:
            words, missing = self._reload()
        except BaseException as error:  # also SystemExit of a plugin's module: this thread goes on
            self._log(f"files changed, but nothing was loaded again: {error}", "error")
            return
        line, level = summary(words, missing)
        self._log(f"files changed: {line}", level)


def summary(words: str, missing: int) -> tuple[str, str]:
    """Give what is told of a reload, and the level.

    Args:
        words: what is in use, "" for nothing.
        missing: how many things are not, or as they were before.
    """
    line = f"loaded again; in use: {words or 'nothing'}"
    if not missing:
        return line, "info"
    return f"{line}; not in use or as before: {missing}, for the reasons above", "warning"


def _polls() -> bool:
    """Whether files are to be polled, as watchfiles has it: some network file systems tell of no change."""
    return os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() not in ("", "0", "false", "disable", "disabled")


def _ignored(name: str) -> bool:
    return name.startswith((".", "#")) or name.endswith(_TEMPORARY) or name in ("__pycache__", "4913")


def _look(places: Iterable[str], managed: Iterable[str] = ()) -> _Look:
    managed = [os.path.join(folder, "") for folder in managed]
    written = _written()
    folders: set[str] = set()
    names: set[str] = set()
    marks: dict[str, object] = {}
    for place in map(os.path.abspath, places):  # the system names what changes by its whole path
        names |= _way(place)
        marks[place] = _mark(_status(place))
        if os.path.isdir(place):
            hidden = tuple(folder for folder in managed if not os.path.join(place, "").startswith(folder))
            folders.add(place)
            # A folder that goes away meanwhile: the system tells of that, too.
            with contextlib.suppress(OSError):
                for path, info in content.walk(place, _ignored):
                    if os.path.join(path, "").startswith(hidden):
                        continue
                    if info is not None and (info.st_dev, info.st_ino) in written:
                        continue
                    marks[path] = _mark(info)
                    if info is not None and stat.S_ISDIR(info.st_mode):
                        folders.add(path)
    return _Look(frozenset(folders), frozenset(names), marks)


def _way(place: str) -> set[str]:
    """Give a path, the folders above it, and, where one of them is a link, the way to where that leads."""
    found: set[str] = set()
    waiting = [place]
    for _ in range(_MOST_LINKS):
        if not waiting:
            break
        path = waiting.pop()
        while path not in found and path != os.path.dirname(path):
            found.add(path)
            if os.path.islink(path):
                with contextlib.suppress(OSError):
                    waiting.append(os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))))
            path = os.path.dirname(path)
    return found


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _written() -> set[tuple[int, int]]:
    """Give the files that this process's output goes to: a reload is told there, which is no reason for another one."""
    found = set()
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # it is closed
            info = os.fstat(descriptor)
            found.add((info.st_dev, info.st_ino))
    return found


def _mark(info: os.stat_result | None) -> object:
    """Tell two states of a file apart; a folder's time does not count, since ignored files change it too."""
    if info is None:
        return None
    if stat.S_ISDIR(info.st_mode):
        return info.st_dev, info.st_ino
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns
