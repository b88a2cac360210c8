"""Runs requests on a few threads of its own, where one that waits for an answer leaves its thread to the others.

A request that a host starts, rather than runs on a thread of the host's, has a greenlet of its own on one of these
threads. A driver whose hook waits for something outside calls `suspend`: the greenlet is put aside, and goes on, on
the same thread, when what it waits for is there. So a thousand requests may wait at once, for any hook of their
chains, and chains know nothing of it. What blocks in any other way, `time.sleep` in a hook of Python say, blocks one
thread, and new requests go to the others.

Without the package greenlet nothing is put aside: a hook that waits keeps its thread.
"""

from __future__ import annotations

import asyncio
import atexit
import collections
import contextlib
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from tykbridge import _bridge, locks
from tykbridge.errors import GoneError

try:
    from greenlet import getcurrent, greenlet
except ImportError:
    greenlet = None

THREADS = 8
"""Threads at the most. More of them would fight for one GIL; fewer would let a handful of slow hooks stop the rest."""

_ROUSED = object()
"""In the inbox of a thread: there is, or was, a task that waits."""

Result = TypeVar("Result")


class Task(Protocol):
    """What runs on one of the threads."""

    def run(self) -> None:
        """Do it. Must not raise."""

    def abandon(self) -> None:
        """Hear that the interpreter ends, and `run` may not come to its end. Must not raise."""


class _Worker:
    """One of the threads: it runs tasks, and those that were put aside, until each of them is over."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()  # greenlets that go on, and _ROUSED
        self.hub: Any = None  # the thread's own greenlet; written once, by itself

    def loop(self) -> None:
        """Do what the pool and the inbox have, for ever."""
        _here.worker = self
        if greenlet is not None:
            self.hub = getcurrent()
        while (item := self._pool.next(self)) is not None:
            if greenlet is None:
                self._run(item)
            elif isinstance(item, greenlet):
                item.switch()
            else:
                greenlet(_bridge.to_its_end).switch(self._run, item)
            del item  # nothing of a request stays here while the thread waits

    def _run(self, task: Task) -> None:
        try:
            task.run()
        except BaseException as error:
            _bridge.log(f"internal error: a request was lost: {error!r}", "error")
        finally:
            self._pool.over(task)


class _Pool:
    """The threads of this process. They are daemons: they never keep a process alive."""

    def __init__(self) -> None:
        # Held for a few steps that call nobody. Guards everything below.
        self._lock = locks.lock()
        self._idle: list[_Worker] = []  # the last to finish is the first to be asked: its memory is warm
        self._count = 0
        self._backlog: collections.deque[Task] = collections.deque()
        self._tasks: set[Task] = set()  # all that have begun, or will
        self._closed = False

    def start(self, task: Task) -> None:
        """Let a task run. Raises GoneError at the interpreter's end, and where there can be no thread."""
        starts = False
        with self._lock:
            if self._closed:
                raise GoneError("the interpreter is ending: nothing can be started any more")
            self._tasks.add(task)
            self._backlog.append(task)
            starts = self._rouse()
        if starts:
            self._start_thread(task)

    def _rouse(self) -> bool:
        """Have a thread come to the backlog; tells whether it must be started first. Under the lock."""
        if self._idle:
            self._idle.pop().inbox.put(_ROUSED)
            return False
        starts = self._count < THREADS
        self._count += starts
        return starts

    def _start_thread(self, task: Task | None = None) -> None:
        thread = threading.Thread(target=_Worker(self).loop, name="tykbridge-requests", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter ends, or the process may have no more threads
            with self._lock:
                self._count -= 1
                if self._count or task is None or task not in self._backlog:
                    return  # others will come to it, or have
                self._backlog.remove(task)
                self._tasks.discard(task)
            raise GoneError(f"no thread could be started: {error}") from error

    def next(self, worker: _Worker) -> Any:
        """Wait for what a worker does next; None: the thread has nothing to do in this process any more."""
        while True:
            try:
                item = worker.inbox.get_nowait()
            except queue.Empty:
                with self._lock:
                    if self is not _pool:  # a child that a hook forked: the requests are the parent's
                        return None
                    if self._backlog:
                        return self._backlog.popleft()
                    self._idle.append(worker)
                item = worker.inbox.get()
            if item is not _ROUSED:
                break
        # One that goes on may block: nobody may think any more that this thread is free, or will come to the backlog.
        starts = False
        with self._lock:
            with contextlib.suppress(ValueError):
                self._idle.remove(worker)
            if self._backlog:
                starts = self._rouse()
        if starts:
            self._start_thread()
        return item

    def over(self, task: Task) -> None:
        """Hear that a task is over."""
        with self._lock:
            self._tasks.discard(task)

    def close(self) -> None:
        """Start nothing any more, and give up what is not over."""
        with self._lock:
            self._closed = True
            left = list(self._tasks)
            self._backlog.clear()
        for task in left:
            task.abandon()


class _Here(threading.local):
    """Which of the threads this one is; None of them: it is a host's."""

    worker: _Worker | None = None


_here = _Here()
_pool = _Pool()


def start(task: Task) -> None:
    """Let a task run on one of the threads. Never waits.

    Raises:
        GoneError: the interpreter ends, or no thread can be had; the task will not run.
    """
    _pool.start(task)


def can_suspend() -> bool:
    """Tell whether `suspend` would put aside what runs here, for who would do something else first."""
    worker = _here.worker
    return worker is not None and greenlet is not None and getcurrent() is not worker.hub


def suspend(begin: Callable[[Callable[[], None]], None]) -> bool:
    """Put the request that runs here aside until something outside has happened.

    Args:
        begin: begins it, and sees to it that what it is given is called once, from any thread, when it has happened.

    Returns:
        Whether that is so. False: this is a thread of the host's, there is no greenlet, or asyncio runs here: `begin`
        was not called, and the caller waits in its own way.
    """
    worker = _here.worker
    if worker is None or greenlet is None:
        return False
    me = getcurrent()
    # A loop of asyncio's that a hook runs here would be running for the other requests of this thread, too.
    if me is worker.hub or asyncio._get_running_loop() is not None:
        return False
    begin(lambda: worker.inbox.put(me))
    worker.hub.switch()
    return True


class _Call:
    """A function whose result somebody waits for."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function: Callable[[], Any] | None = function
        self.future: Future[Any] = Future()

    def run(self) -> None:
        function, self._function = self._function, None
        if not self.future.set_running_or_notify_cancel():
            return
        assert function is not None
        try:
            result = function()
        except BaseException as error:
            self._tell(error=error)
        else:
            self._tell(result)

    def abandon(self) -> None:
        self._tell(error=GoneError("the interpreter ended before the request did"))

    def _tell(self, result: Any = None, error: BaseException | None = None) -> None:
        with contextlib.suppress(Exception):  # it was given up
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)


def call(function: Callable[[], Result]) -> Future[Result]:
    """Call a function on one of the threads; the future has what it returned or raised.

    Raises:
        GoneError: as `start`.
    """
    task = _Call(function)
    start(task)
    return task.future


def _begin_again() -> None:
    global _pool
    _pool = _Pool()


atexit.register(lambda: _pool.close())
os.register_at_fork(after_in_child=_begin_again)
