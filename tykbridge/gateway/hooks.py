"""Runs the hooks of requests outside of the event loop (docs/decisions/0019)."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, cast

from tykbridge import waiting
from tykbridge._bridge import Baton
from tykbridge.errors import GoneError
from tykbridge.gateway import visit

_Result = TypeVar("_Result")


_PATIENCE = 1000  # microseconds that the event loop waits for hooks that are always over by then
_TOGETHER = 16  # requests whose hooks it waits for at once, at the most
_MOST = 1024  # requests of a lane, at the most, that are not waited for after one that took longer


class Lane:
    """The hooks of one API.

    To wait for a thread costs much less than to hear of it through the event loop, and what costs in it is to wake each
    other. So requests that come in one turn of the loop go to one thread together, and the loop waits, for no longer
    than a millisecond, as long as these hooks are quick. After one that was not, those behind it go to threads of
    their own, and the next ones are not waited for. For one event loop.

    Args:
        name: see `waiting.start`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._gathered: collections.deque[_Call[Any]] = collections.deque()  # for the next turn of the loop
        self._skip = 0  # so many are not waited for
        self._skips = 8  # after the next one that takes longer

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """Call a function on one of the threads of `tykbridge.waiting`; `visit.current` there is what it is here.

        Given up before it began, it does not run; later, it runs to its end all the same, and nobody hears of it.

        Raises:
            GoneError: the interpreter is ending.
        """
        loop = asyncio.get_running_loop()
        call = _Call(function, visit.current.get(), loop.create_future())
        del function  # the call's alone, which gives it up in time
        if self._skip:
            self._skip -= 1
            self._start(call, loop)
        else:
            if not self._gathered:
                loop.call_soon(self._run_gathered, loop)
            self._gathered.append(call)
        try:
            await call.waiter
        except asyncio.CancelledError:
            call.give_up()
            raise
        return call.result()

    def _run_gathered(self, loop: asyncio.AbstractEventLoop) -> None:
        together = _Together([self._gathered.popleft() for _ in range(min(_TOGETHER, len(self._gathered)))])
        try:
            is_over = waiting.start_and_wait(together, self._name, together.over, _PATIENCE)
        except GoneError:
            together.abandon()
            is_over = True
        if is_over:
            self._skips = 8
            for call in together.calls:
                _settle(call.waiter)
            if self._gathered:
                loop.call_soon(self._run_gathered, loop)
            return
        self._skip = self._skips
        self._skips = min(_MOST, 2 * self._skips)
        behind = [*together.taken_back(), *self._gathered]
        self._gathered.clear()
        for call in behind:
            self._start(call, loop)
        for call in together.calls:
            call.is_heard(loop)

    def _start(self, call: _Call[Any], loop: asyncio.AbstractEventLoop) -> None:
        call.is_heard(loop)
        try:
            waiting.start(call, self._name)
        except GoneError:
            call.abandon()


class _Call(Generic[_Result]):
    """A `waiting.Task` that an event loop waits for.

    Attributes:
        waiter: gets its result, None, when the call is over.
    """

    __slots__ = ("_failed", "_function", "_is_over", "_loop", "_result", "_visit", "waiter")

    def __init__(self, function: Callable[[], _Result], of: visit.Visit | None, waiter: asyncio.Future[None]) -> None:
        # None once it began or was given up: what a request holds does not wait for its turn with it.
        self._function: Callable[[], _Result] | None = function
        self._visit, self.waiter = of, waiter
        self._result: _Result | None = None
        self._failed: BaseException | None = None
        # The thread writes the first and then reads the second, the event loop the other way round: so one of the two,
        # at least, sees what the other did.
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop | None = None  # None: the loop looks by itself

    def run(self) -> None:
        function, self._function = self._function, None
        if function is None:
            return
        try:
            # One of its own, as a greenlet has: what plugins keep in context variables is not the next request's.
            self._result = contextvars.Context().run(_inside, self._visit, function)
        except BaseException as error:
            self._failed = error
        finally:
            del function  # with what the request holds
        self._tell()

    def abandon(self) -> None:
        if not self._is_over:
            self._failed = GoneError("the interpreter ended before the request did")
            self._tell()

    def _tell(self) -> None:
        self._is_over = True
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(_settle, self.waiter)

    def is_heard(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the loop hear of it, which does not look by itself any more."""
        self._loop = loop
        if self._is_over:
            _settle(self.waiter)

    def give_up(self) -> None:
        """Let it not begin any more."""
        self._function = None

    def result(self) -> _Result:
        """Give what it returned, or raise what it raised."""
        if self._failed is not None:
            raise self._failed
        return cast("_Result", self._result)


class _Together:
    """Calls, as one `waiting.Task`: one after the other.

    Attributes:
        over: given when all of them are.
    """

    def __init__(self, calls: Iterable[_Call[Any]]) -> None:
        self.calls = tuple(calls)
        self.over = Baton()
        self._left = collections.deque(self.calls)  # who takes one from it, in one step, has it

    def run(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._left.popleft().run()
        waiting.give_later(self.over)

    def abandon(self) -> None:
        self._left.clear()
        for call in self.calls:
            call.abandon()
        waiting.give_later(self.over)

    def taken_back(self) -> list[_Call[Any]]:
        """Give those that have not begun, which are the caller's now."""
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._left.popleft())
        return taken


def _inside(of: visit.Visit | None, function: Callable[[], _Result]) -> _Result:
    visit.current.set(of)
    return function()


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():  # given up
        waiter.set_result(None)
