"""An event loop that runs hooks between its turns; where one holds it up, it goes on in another thread."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from tykbridge import locks
from tykbridge._bridge import Watch
from tykbridge.errors import GoneError

PATIENCE = 2000
"""Microseconds that a job may hold up the loop; where a `Loop` looks after them, twice that at the most."""

TOGETHER = 16
"""Jobs between two turns, at the most."""

_forks = 0  # of this process's ancestors: a loop of one of them is not ours


class Job(Protocol):
    """What is to be done between two turns of the loop. Nothing of it may raise."""

    @property
    def should_move(self) -> bool:
        """It should not be done here: `move` is called instead. Asked on the loop's thread, as everything but `do`."""

    def move(self) -> None:
        """Let it be done by another thread, which is somebody else's."""

    def do(self) -> None:
        """Do it, on a thread in which no event loop runs."""

    def late(self) -> None:
        """Hear that it takes long: the loop does not wait for it."""

    def over(self) -> None:
        """Hear that it is done."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop on threads of its own: one leads, and runs it; another one follows, and watches what that does.

    To have a function called on another thread costs more than a quick hook does. So the thread that leads leaves the
    loop's `run_forever`, does what was gathered, and goes on. What it has not done in time stays with it, the thread
    that follows leads from then on, and another one follows. So at most as many threads are there as jobs that hold
    up theirs, and two more.

    All of its state is that of the thread that leads, as a loop's always is. Who leads is settled by the watch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._gathered: collections.deque[Job] = collections.deque()
        self._watch = Watch()
        self._is_watched = False
        self._job: Job | None = None  # what the watch watches
        self._main: asyncio.Task[Any] | None = None
        self._failure: BaseException | None = None
        self._over = locks.event()
        self._forks = _forks

    def begin(self, main: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine, and the loop until that is over; then close the loop. Once.

        Raises:
            GoneError: no thread can be started.
        """
        self._main = self.create_task(main)
        self._main.add_done_callback(lambda _: self.stop())
        try:
            self._start(self._lead)
        except RuntimeError as error:
            raise GoneError(f"no thread could be started: {error}") from error

    def join(self) -> Any:
        """Wait until the loop is closed; gives what the coroutine returned, or raises what it raised."""
        while not self._over.wait(1):
            pass  # a signal that came just before this thread waited did not wake it, and is handled now
        if self._failure is not None:
            raise self._failure
        assert self._main is not None
        return self._main.result()

    def between(self, job: Job) -> None:
        """Let a job be done before the next turn. From the loop."""
        if self._main is None or self._main.done():  # whoever runs the loop now does not look
            job.move()
            return
        if not self._gathered:
            self.stop()
        self._gathered.append(job)

    def _start(self, function: Callable[[], None]) -> None:
        threading.Thread(target=function, name="tykbridge-loop", daemon=True).start()

    def _lead(self) -> None:
        assert self._main is not None
        try:
            while not self._main.done():
                if self._gathered:
                    self.stop()  # after one turn
                self.run_forever()
                if not self._do_gathered():
                    return
        except BaseException as error:
            self._failure = error
        try:
            self._watch.close()
            with asyncio.Runner(loop_factory=lambda: self):
                pass  # it closes the loop as `asyncio.run` does
        except BaseException as error:
            self._failure = self._failure or error
        self._over.set()

    def _do_gathered(self) -> bool:
        """Do what was gathered; tells whether this thread leads still."""
        if self._gathered and not self._is_watched:
            with contextlib.suppress(RuntimeError):  # there can be no more threads
                self._start(self._follow)
                self._is_watched = True
        for _ in range(min(TOGETHER, len(self._gathered))):
            job = self._gathered.popleft()
            if job.should_move or not self._is_watched:
                job.move()
                continue
            self._job = job
            number = self._watch.begin()
            job.do()
            if self._forks != _forks:  # the job forked, and this is the child: the loop is the parent's
                return False
            if not self._watch.end(number):
                with contextlib.suppress(RuntimeError):  # it is closed
                    self.call_soon_threadsafe(job.over)
                return False
            asyncio._set_running_loop(None)  # a hook may have left one that runs, in a greenlet
            self._job = None
            job.over()
        return True

    def _follow(self) -> None:
        if not self._watch.wait(PATIENCE):
            return
        job, self._job, self._is_watched = self._job, None, False
        if job is not None:
            job.late()
        del job  # it is the other thread's, which may be with it for long
        self._lead()


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)
