"""Keeps a plugin in a process of its own running: starts it, replaces it when it ends, and says how it ended.

A process is for one library, whoever calls it, as a library in this process would be: what the plugin keeps between
calls is there for all of them. Calls in one process do not wait for each other; its end ends them all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import itertools
import mmap
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tykbridge import _bridge, locks
from tykbridge.definition.model import NONE, PROCESS
from tykbridge.drivers.goplugin import _plugin, elf
from tykbridge.drivers.goplugin.host import Host
from tykbridge.errors import DeadlineError, LoadError, UnavailableError
from tykbridge.failures import ScriptError

PROGRAM = Path(__file__).with_name("tykbridge-plugin")

TIMEOUT_MS = 30_000
"""What a hook may take where nobody says it: an endless loop has to end some time."""

_STEADY = 10.0  # seconds; a process that lived as long did not end because of its start
_SHORTEST, _LONGEST = 0.1, 5.0  # seconds between starts of a plugin that does not stay
_REPORT = 5.0  # seconds that a call waits for how its process ended
_LINES = 40  # of what a process printed last
_MFD_EXEC = 0x10  # of linux/memfd.h

_MANIFEST, _START, _LOOKUP, _DEFINE, _RELEASE = 1, 2, 3, 4, 5
"""enum tykb_frame_kind."""


class LateError(DeadlineError, ScriptError):
    """A hook took longer than it may."""


class DownError(UnavailableError, ScriptError):
    """A plugin does not stay, and is not started again yet."""


class Isolated(_plugin.Isolated):
    """A plugin in a process of its own, and the next when that ends. Safe to use from any thread.

    Args:
        data: the library.
        label: what the log calls it.
        host: whom the plugin asks.
        settings: the gateway's, as JSON; None: there are none.
    """

    def __new__(cls, data: bytes, label: str, host: Host, settings: bytes | None) -> Isolated:
        """Make one; the library's path is nobody's business."""
        return super().__new__(cls, None, host)  # type: ignore[call-arg]

    def __init__(self, data: bytes, label: str, host: Host, settings: bytes | None) -> None:
        self.label, self._settings = label, settings
        self._library = _held(data, label)
        # Held while a process is started. What may be called by a collection in the middle of that does without.
        self._lock = locks.lock()
        self._numbers = itertools.count(1)
        self._hooks: list[tuple[bytes, int]] = [(b"", 0)]  # by our numbers, which begin with 1
        self._documents: dict[int, bytes] = {}  # of APIs, by our numbers
        self._manifest = b""
        self._failures, self._started, self._not_before = 0, 0.0, 0.0  # a number, and times of time.monotonic
        self._how = ""
        self._is_closed = False  # written by whoever counts the users

    def __del__(self) -> None:
        """End the process. What is left of it holds nothing of this."""
        if hasattr(self, "_library"):
            self.close()
            os.close(self._library)

    def manifest(self) -> bytes:
        """Give what is in it, as JSON. Starts it."""
        self.running(None)
        return self._manifest

    def start(self, settings: bytes | None) -> None:
        """Let it begin: done when its process starts."""

    def lookup(self, name: bytes, kind: int) -> int | None:
        """Give our number of a hook, None where there is none."""
        with self._lock:
            hook = name, kind
            if hook in self._hooks:
                return self._hooks.index(hook)
            process = self._running(None)
            number = _asked(process, _LOOKUP, name, kind)
            if number <= 0:
                return None
            self._hooks.append(hook)
            process.hooks.append(number)
            return len(self._hooks) - 1

    def define(self, json: bytes) -> int:
        """Make an API known; gives our number."""
        with self._lock:
            process = self._running(None)
            number = _checked(process, _DEFINE, json)
            made = next(self._numbers)
            self._documents[made], process.definitions[made] = json, number
            return made

    def release(self, number: int) -> None:
        """Forget an API."""
        self._documents.pop(number, None)
        process = self.current
        if process is not None and (known := process.definitions.pop(number, None)):
            _release(process, known)

    def open(self) -> None:
        """Let it stay: somebody uses it."""
        self._is_closed = False

    def close(self) -> None:
        """Let the process end with its last call. One that is called yet starts another, for that call."""
        self._is_closed = True
        process, self.current = self.current, None
        if process is not None:
            process.retire()

    def running(self, over: _plugin.Process | None) -> _plugin.Process:
        """Give the process that is to be called, another one than `over`. Starts one where none runs.

        Raises:
            DownError: it ends again and again, and it is not time yet to try once more.
            ScriptError: it cannot be started.
        """
        with self._lock:
            return self._running(over)

    def failed(self, process: _plugin.Process, error: Exception, timeout_ms: int) -> ScriptError:
        """Give the error of a call that did not come back."""
        if isinstance(error, _plugin.OverdueError):
            return LateError(f"it ran longer than {timeout_ms} ms: its process is ended")
        end = process.end(_REPORT)
        if end is None:  # it closed the sockets of its calls, and lives on
            process.abandon()
        return ScriptError(f"its process ended during the call: {_how(end)}")

    def _running(self, over: _plugin.Process | None) -> _plugin.Process:
        """As `running`, under the lock."""
        process = self.current
        if process is not None and process is not over and not process.is_over:
            return process
        now = time.monotonic()
        if process is not None:
            self.current = None
            was_over = process.is_over
            end = process.end(0 if was_over else _REPORT)
            is_deaf = end is None and not was_over
            if is_deaf:  # it closed the sockets of its calls, and lives on
                process.abandon()
            # One that was late has taken its time: no request finds it ended at once, and again and again. One that is
            # called yet was retired for what it sent, or did not.
            if is_deaf or (end is not None and end[0] in ("died", "wanted")):
                self._how = _how(end)
                self._account(now)
        if now < self._not_before:
            words = f"the process of {self.label} ended {self._failures} times in a row, at last: {self._how}"
            raise DownError(f"{words}; it is started again in {self._not_before - now:.1f} s")
        try:
            process = self._launched()
        except ScriptError as error:
            self._how = str(error)
            self._account(now)
            raise
        self._started = time.monotonic()
        if self._is_closed:
            process.retire_after_one()
        else:
            self.current = process
        return process

    def _account(self, now: float) -> None:
        """Count a process that did not stay, and put the next start off. Under the lock."""
        if now - self._started >= _STEADY:
            self._failures = 0
        self._failures += 1
        if self._failures > 1:  # one that ended once is started again at once
            self._not_before = now + min(_SHORTEST * 2 ** (self._failures - 2), _LONGEST)

    def _launched(self) -> _plugin.Process:
        """Start a process, and tell it all that the one before knew. Under the lock."""
        try:
            label, program = os.fsencode(self.label), os.fsencode(PROGRAM)
            process = _plugin.Process(program, label, self._library, self.host, _hear_of(self.label))
        except OSError as error:
            raise ScriptError(f"its process cannot be started: {error.strerror}: {error.filename}") from error
        try:
            self._manifest = _manifest(process)
            _checked(process, _START, self._settings or b"", self._settings is not None)
            process.hooks.extend(_asked(process, _LOOKUP, name, kind) if name else 0 for name, kind in self._hooks)
            for number, document in list(self._documents.items()):
                process.definitions[number] = _checked(process, _DEFINE, document)
        except BaseException:
            process.kill()
            raise
        for number in process.definitions.keys() - self._documents.keys():  # released meanwhile
            _release(process, process.definitions.pop(number))
        return process


def _asked(process: _plugin.Process, kind: int, data: bytes = b"", flags: int = 0) -> int:
    """Ask what has a number for an answer. Raises ScriptError: there is none, for the process has ended."""
    return _answered(process, kind, data, flags)[0]


def _checked(process: _plugin.Process, kind: int, data: bytes, flags: int = 0) -> int:
    """Ask as `_asked`; negative numbers are errors, too."""
    number, reply = _answered(process, kind, data, flags)
    if number < 0:
        raise _plugin.error_of(reply, number)
    return number


def _manifest(process: _plugin.Process) -> bytes:
    status, reply = _answered(process, _MANIFEST)
    if status < 0:
        raise _plugin.error_of(reply, status)
    return reply


def _answered(process: _plugin.Process, kind: int, data: bytes = b"", flags: int = 0) -> tuple[int, bytes]:
    try:
        return process.ask(kind, data, flags)
    except (_plugin.EndedError, _plugin.GoneError):
        raise ScriptError(f"its process ended: {_how(process.end(_REPORT))}") from None
    except _plugin.OverdueError:
        raise ScriptError("it does not answer: its process is ended") from None


def _release(process: _plugin.Process, number: int) -> None:
    ended = _plugin.EndedError, _plugin.GoneError, _plugin.OverdueError
    with contextlib.suppress(ScriptError, *ended):  # then it knows nothing any more
        process.ask(_RELEASE, number=number)


def _how(end: tuple[str, int | None] | None) -> str:
    """Say how a process ended."""
    if end is None:
        return "it does not answer any more"
    what, status = end
    if what == "late":
        return "it was killed, because a call in it took too long"
    if status is None:
        return "how is not known, this process waits for all of its children"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"signal {number} ({signal.Signals(number).name})"
        except ValueError:
            return f"signal {number}"
    return f"exit status {os.WEXITSTATUS(status)}"


def _hear_of(label: str) -> Callable[[_plugin.Process], None]:
    """Make what hears of a process's end. It holds nothing of the plugin, which the process would outlive."""

    def ended(process: _plugin.Process) -> None:
        end = process.end(0)
        if end is None or end[0] == "wanted":
            return
        words = f"the process {process.number} of {label} ended: {_how(end)}"
        if printed := _excerpt(process.printed()):
            words += f"; it printed last:\n{printed}"
        _bridge.log(words, "error")

    return ended


def _excerpt(printed: bytes) -> str:
    """Give the lines that tell most of what a process printed last."""
    lines = printed.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}").rstrip().splitlines()
    is_crash = len(lines) > 0 and lines[0].startswith(("panic: ", "fatal error: ", "SIGSEGV: ", "====="))
    return "\n".join(lines[:_LINES] if is_crash else lines[-_LINES:])


def _held(data: bytes, label: str) -> int:
    """Give a descriptor of a library's bytes that nobody can change, and that is nowhere on disk."""
    descriptor = -1
    try:
        descriptor = _anonymous(label)
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(data)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise LoadError(f"{label} cannot be put into memory for its process: {error.strerror}") from error
    return descriptor


def _anonymous(label: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(label[:200], flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a kernel before 6.3, where all such files may be run
            raise
        return os.memfd_create(label[:200], flags)


@functools.cache
def is_go_host() -> bool:
    """Whether the program that runs here is written in Go: a second Go runtime is better kept out of it."""
    try:
        with open("/proc/self/exe", "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as program:
            return elf.is_go(program)
    except (OSError, ValueError):
        return False


def default() -> str:
    """Give where plugins run when nobody says it."""
    return PROCESS if is_go_host() else NONE
