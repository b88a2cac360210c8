"""Has hooks called on a thread, for event loops of others (an ASGI server's), which wait for quick ones."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Sequence
from typing import Protocol

from tykbridge import locks, waiting
from tykbridge._bridge import Baton
from tykbridge.errors import GoneError
from tykbridge.gateway import loop


class Job(loop.Job, waiting.Task, Protocol):
    """What is to be done on a thread."""


class Hop:
    """Does jobs between turns of an event loop as a `loop.Loop` does, but on a thread of `waiting`.

    To wait for a thread costs less than to hear of it through the event loop, and what costs in it is to wake each
    other. So jobs that come in one turn of the loop go to one thread together, and the loop waits for them. For one
    event loop.

    Args:
        name: see `waiting.start`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._gathered: collections.deque[Job] = collections.deque()

    def between(self, job: Job) -> None:
        """Let a job be done before the next turn. From the loop."""
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._do_gathered)
        self._gathered.append(job)

    def _do_gathered(self) -> None:
        together: list[Job] = []
        while self._gathered and len(together) < loop.TOGETHER:
            job = self._gathered.popleft()
            if job.should_move or not waiting.has_room():
                job.move()
            else:
                together.append(job)
        on = asyncio.get_running_loop()
        if self._gathered:
            on.call_soon(self._do_gathered)
        if not together:
            return
        batch = _Batch(together, on)
        with contextlib.suppress(GoneError):
            waiting.start_and_wait(batch, self._name, batch.over, loop.PATIENCE)
        done, late, left = batch.close()
        for job in done:
            job.over()
        if late is not None:
            late.late()
        for job in left:
            job.move()


class _Batch:
    """Jobs, as one `waiting.Task`: one after the other, until the loop does not wait any more.

    Attributes:
        over: given when all of them are done.
    """

    def __init__(self, jobs: Sequence[Job], on: asyncio.AbstractEventLoop) -> None:
        self._loop, self.over = on, Baton()
        self._lock = locks.lock()  # held for a few steps that call nobody; guards the rest
        self._left, self._done = collections.deque(jobs), list[Job]()
        self._job: Job | None = None
        self._is_closed = False

    def run(self) -> None:
        while True:
            with self._lock:
                if not self._left:
                    break
                job = self._job = self._left.popleft()
            job.do()
            with self._lock:
                self._job = None
                if self._is_closed:
                    with contextlib.suppress(RuntimeError):  # the loop is closed
                        self._loop.call_soon_threadsafe(job.over)
                    return
                self._done.append(job)
        waiting.give_later(self.over)

    def abandon(self) -> None:
        done, late, left = self.close()
        for job in (*done, *left, *([late] if late is not None else ())):
            job.abandon()
        self.over.give()

    def close(self) -> tuple[list[Job], Job | None, list[Job]]:
        """Let nothing begin any more. Gives what is done, what is not, whose end the loop hears of, and the rest."""
        with self._lock:
            self._is_closed = True
            done, left, self._done, self._left = self._done, list(self._left), [], collections.deque()
            return done, self._job, left
