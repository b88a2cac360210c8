"""Runs requests on a few threads of its own, where one that waits for an answer leaves its thread to the others.

A request that a host starts, rather than runs on a thread of the host's, has a greenlet of its own on one of these
threads. A driver whose hook waits for something outside calls `suspend`: the greenlet is put aside, and goes on, on
the same thread, when what it waits for is there. So a thousand requests may wait at once, for any hook of their
chains, and chains know nothing of it. What blocks in any other way, `time.sleep` in a hook of Python say, blocks one
thread, and new requests go to the others. Threads that are blocked do not count: others take their place, up to a limit
of which no lane (an API, say) gets all.

Without the package greenlet nothing is put aside: a hook that waits keeps its thread.
"""

from __future__ import annotations

import asyncio
import atexit
import collections
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from tykbridge import _bridge, locks
from tykbridge.errors import GoneError

try:
    from greenlet import getcurrent, greenlet
except ImportError:
    greenlet = None

THREADS = 8
"""Threads at work at the most. More of them would fight for one GIL; one that is stuck does not count."""

MOST = 64
"""Threads at the most, those that are stuck included."""

SHARE = 48
"""Threads that one lane may occupy: a plugin that blocks, asked often enough, leaves the rest to others."""

_PATIENCE = 0.01
"""Seconds after which a thread that is still with the same request is taken to be stuck."""

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
        self.inbox: collections.deque[Any] = collections.deque()  # greenlets that go on, and _ROUSED
        self.baton = _bridge.Baton()  # given when something was put there
        self.owed: _bridge.Baton | None = None  # to be given once the thread waits, or has something else to do
        self.hub: Any = None  # the thread's own greenlet; written once, by itself
        # A task given to it while it was idle; written under the pool's lock then, and by itself once it is roused.
        self.assigned: Task | None = None
        # The next two are guarded by the pool's lock.
        self.since = 0.0  # when it was given what it does now, by time.monotonic
        self.lane: _Lane | None = None  # of the task that it began last and is with still; None: with another one

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

    def put(self, item: Any) -> None:
        """Have the thread go on with something. From any thread."""
        self.inbox.append(item)
        self.baton.give()

    def wait(self) -> Any:
        """Wait for something in the inbox."""
        while not self.inbox:
            owed, self.owed = self.owed, None
            if owed is None:
                self.baton.take()
            else:
                self.baton.give_and_take(owed)
        self.settle()
        return self.inbox.popleft()

    def settle(self) -> None:
        """Give what is owed."""
        owed, self.owed = self.owed, None
        if owed is not None:
            owed.give()

    def _run(self, task: Task) -> None:
        try:
            task.run()
        except BaseException as error:
            _bridge.log(f"internal error: a request was lost: {error!r}", "error")
        finally:
            self._pool.over(task)


class _Lane:
    """Tasks of one kind, and how many threads are with such. Under the pool's lock."""

    __slots__ = ("name", "occupied", "waiting")

    def __init__(self, name: str) -> None:
        self.name, self.occupied = name, 0
        self.waiting: collections.deque[Task] = collections.deque()


class _Pool:
    """The threads of this process. They are daemons: they never keep a process alive."""

    def __init__(self) -> None:
        # Held for a few steps that call nobody. Guards everything below.
        self._lock = locks.lock()
        self._idle: list[_Worker] = []  # the last to finish is the first to be asked: its memory is warm
        self._working: set[_Worker] = set()  # neither idle nor stuck
        self._count = 0
        self._lanes: dict[str, _Lane] = {}  # those that have tasks or threads
        self._ready: collections.deque[_Lane] = collections.deque()  # those with tasks that may begin, in turn
        self._tasks: set[Task] = set()  # all that have begun, or will
        self._watcher: _Watcher | None = None
        self._closed = False

    def start(self, task: Task, lane: str = "") -> _bridge.Baton | None:
        """Let a task run; gives what its thread still waits for, None for nothing.

        Raises GoneError at the interpreter's end, and where there can be no thread.
        """
        with self._lock:
            if self._closed:
                raise GoneError("the interpreter is ending: nothing can be started any more")
            self._tasks.add(task)
            into = self._lanes.get(lane)
            if into is None:
                into = self._lanes[lane] = _Lane(lane)
            if self._idle and not self._ready and into.occupied < SHARE and len(self._working) < THREADS:
                worker = self._idle.pop()  # the common case: it need not look for the task
                worker.assigned, worker.lane, worker.since = task, into, time.monotonic()
                into.occupied += 1
                self._working.add(worker)
                worker.inbox.append(_ROUSED)
                return worker.baton
            into.waiting.append(task)
            if len(into.waiting) == 1 and into.occupied < SHARE:
                self._ready.append(into)
            starts = self._rouse(1)
        if starts:
            self._start_threads(starts, task, into)
        return None

    def _rouse(self, most: int) -> list[_Worker | _Watcher]:
        """Have threads come to tasks that may begin; gives those to be started first. Under the lock.

        Where enough of them are at work, it is left to the watcher to find out that these are stuck.
        """
        starts: list[_Worker | _Watcher] = []
        now = time.monotonic()
        for _ in range(most):
            if not self._ready:
                break
            if len(self._working) >= THREADS:
                self._working -= {worker for worker in self._working if now - worker.since > _PATIENCE}
            if len(self._working) >= THREADS:
                if self._watcher is None:
                    self._watcher = _Watcher(self)
                    starts.append(self._watcher)
                self._watcher.alarm.set()
                break
            if self._idle:
                worker = self._idle.pop()
                worker.put(_ROUSED)
            elif self._count < MOST:
                worker = _Worker(self)
                self._count += 1
                starts.append(worker)
            else:
                break
            worker.since = now
            self._working.add(worker)
        return starts

    def _start_threads(
        self, starts: Iterable[_Worker | _Watcher], task: Task | None = None, lane: _Lane | None = None
    ) -> None:
        for item in starts:
            try:
                threading.Thread(target=item.loop, name="tykbridge-requests", daemon=True).start()
            except RuntimeError as error:  # the interpreter ends, or the process may have no more threads
                with self._lock:
                    if isinstance(item, _Watcher):
                        self._watcher = None
                        continue
                    self._count -= 1
                    self._working.discard(item)
                    if self._count or task is None or lane is None or task not in lane.waiting:
                        continue  # others will come to it, or have
                    lane.waiting.remove(task)
                    self._tasks.discard(task)
                    if not lane.waiting and lane in self._ready:
                        self._ready.remove(lane)
                raise GoneError(f"no thread could be started: {error}") from error

    def look(self) -> bool:
        """Set threads that are stuck aside, and others to work; tells whether to look again."""
        with self._lock:
            if self is not _pool or self._closed:
                return False
            starts = self._rouse(sum(len(lane.waiting) for lane in self._ready))
        self._start_threads(starts)
        return True

    def next(self, worker: _Worker) -> Any:
        """Wait for what a worker does next; None: the thread has nothing to do in this process any more."""
        while True:
            if not worker.inbox:
                with self._lock:
                    if self is not _pool:  # a child that a hook forked: the requests are the parent's
                        return None
                    self._leave(worker)
                    if self._ready:
                        worker.settle()
                        return self._take(worker)
                    self._working.discard(worker)
                    self._idle.append(worker)
            item = worker.wait()
            if item is not _ROUSED:
                break
            task, worker.assigned = worker.assigned, None
            if task is not None:
                return task
        # One that goes on may block: nobody may think any more that this thread is free, or will come to what waits.
        with self._lock:
            if worker.assigned is not None and worker.lane is not None:
                worker.lane.waiting.appendleft(worker.assigned)
                if worker.lane not in self._ready and worker.lane.occupied < SHARE:
                    self._ready.append(worker.lane)
                worker.assigned = None
            self._leave(worker)
            with contextlib.suppress(ValueError):
                self._idle.remove(worker)
            worker.since = time.monotonic()
            self._working.add(worker)
            starts = self._rouse(1)
        if starts:
            self._start_threads(starts)
        return item

    def _take(self, worker: _Worker) -> Task:
        """Give the next task, each lane having its turn. Under the lock."""
        lane = self._ready.popleft()
        task = lane.waiting.popleft()
        lane.occupied += 1
        if lane.waiting and lane.occupied < SHARE:
            self._ready.append(lane)
        worker.lane, worker.since = lane, time.monotonic()
        self._working.add(worker)
        return task

    def _leave(self, worker: _Worker) -> None:
        """Hear that a worker is not with its task any more: that is over, or was put aside. Under the lock."""
        lane = worker.lane
        if lane is None:
            return
        worker.lane = None
        lane.occupied -= 1
        if lane.waiting:
            if lane.occupied == SHARE - 1:
                self._ready.append(lane)
        elif not lane.occupied:
            self._lanes.pop(lane.name, None)

    def over(self, task: Task) -> None:
        """Hear that a task is over."""
        with self._lock:
            self._tasks.discard(task)

    def close(self) -> None:
        """Start nothing any more, and give up what is not over."""
        with self._lock:
            self._closed = True
            left = list(self._tasks)
            self._ready.clear()
            self._lanes.clear()
        for task in left:
            task.abandon()


class _Watcher:
    """Looks after tasks that wait although threads are at work: these may be stuck."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self.alarm = locks.event()  # set when there is something to look after

    def loop(self) -> None:
        """Do so, for ever."""
        while True:
            self.alarm.wait()
            self.alarm.clear()
            time.sleep(_PATIENCE)
            if not self._pool.look():
                return


class _Here(threading.local):
    """Which of the threads this one is; None of them: it is a host's."""

    worker: _Worker | None = None


_here = _Here()
_pool = _Pool()


def start(task: Task, lane: str = "") -> None:
    """Let a task run on one of the threads. Never waits.

    Args:
        task: what to run.
        lane: whose it is, an API's say. Lanes take turns, and none gets all the threads.

    Raises:
        GoneError: the interpreter ends, or no thread can be had; the task will not run.
    """
    baton = _pool.start(task, lane)
    if baton is not None:
        baton.give()


def start_and_wait(task: Task, lane: str, over: _bridge.Baton, microseconds: int) -> bool:
    """Let a task run, and wait for so long until it has given `over`; tells whether it has.

    With `give_later`, the two threads hand each other their turn: that costs half of what two threads do that wake each
    other while they have the GIL.

    Raises:
        GoneError: as `start`.
    """
    baton = _pool.start(task, lane)
    return over.take(microseconds) if baton is None else over.give_and_take(baton, microseconds)


def give_later(baton: _bridge.Baton) -> None:
    """Give a baton once this thread has nothing more to do: as the last thing that a task does."""
    worker = _here.worker
    if worker is None:  # a task is given up on the thread that ends the interpreter
        baton.give()
    else:
        worker.owed = baton


def has_room() -> bool:
    """Tell whether what is started now would begin soon: a moment ago not all threads were with something."""
    return bool(_pool._idle) or _pool._count < MOST


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
    begin(lambda: worker.put(me))
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


def call(function: Callable[[], Result], lane: str = "") -> Future[Result]:
    """Call a function on one of the threads; the future has what it returned or raised. `lane` is as for `start`.

    Raises:
        GoneError: as `start`.
    """
    task = _Call(function)
    start(task, lane)
    return task.future


def apart(function: Callable[[], Result]) -> Future[Result]:
    """Call a function on a thread of its own, which keeps no process alive: loading runs code that may never return.

    An executor's threads would: the interpreter waits for them when it ends. One that is given up runs on.
    """
    task = _Call(function)
    threading.Thread(target=task.run, name="tykbridge-apart", daemon=True).start()
    return task.future


def _begin_again() -> None:
    global _pool
    _pool = _Pool()


atexit.register(lambda: _pool.close())
os.register_at_fork(after_in_child=_begin_again)
