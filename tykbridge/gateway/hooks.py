"""Runs the hooks of requests outside of the event loop (docs/decisions/0019)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from tykbridge import waiting
from tykbridge._bridge import Baton
from tykbridge.errors import GoneError
from tykbridge.gateway import visit

_Result = TypeVar("_Result")


_PATIENCE = 1000  # microseconds that the event loop waits for hooks that are always over by then
_MOST = 1024  # requests of a lane, at the most, that are not waited for after one that took longer


class Lane:
    """The hooks of one API.

    Waiting for a thread costs much less than hearing of it through the event loop. So the loop waits, for no longer
    than a millisecond, as long as these hooks are quick; after one that was not, the next ones are not waited for.

    Args:
        name: see `waiting.start`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._skip = 0  # so many are not waited for
        self._skips = 8  # after the next one that takes longer

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """Call a function on one of the threads of `tykbridge.waiting`; `visit.current` there is what it is here.

        Given up before it began, it does not run; later, it runs to its end all the same, and nobody hears of it.

        Raises:
            GoneError: the interpreter is ending.
        """
        call = _Call(function, visit.current.get())
        del function  # the call's alone, which gives it up in time
        if self._skip:
            self._skip -= 1
            waiting.start(call, self._name)
        elif waiting.start_and_wait(call, self._name, call.over, _PATIENCE):
            self._skips = 8
            return call.result()
        else:
            self._skip = self._skips
            self._skips = min(_MOST, 2 * self._skips)
        try:
            await call.wait()
        except asyncio.CancelledError:
            call.give_up()
            raise
        return call.result()


class _Call(Generic[_Result]):
    """A `waiting.Task` that an event loop waits for."""

    __slots__ = ("_failed", "_function", "_is_over", "_loop", "_result", "_visit", "_waiter", "over")

    def __init__(self, function: Callable[[], _Result], of: visit.Visit | None) -> None:
        # None once it began or was given up: what a request holds does not wait for its turn with it.
        self._function: Callable[[], _Result] | None = function
        self._visit = of
        self._result: _Result | None = None
        self._failed: BaseException | None = None
        self._is_over = False
        self.over = Baton()  # given when it is
        # Written by the event loop; the thread looks there after `_is_over`, the loop here after `_waiter`. So one of
        # the two sees what the other did.
        self._waiter: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> None:
        function, self._function = self._function, None
        if function is None:
            return
        before = visit.current.set(self._visit)
        try:
            self._result = function()
        except BaseException as error:
            self._failed = error
        finally:
            del function  # with what the request holds
            visit.current.reset(before)  # without greenlets, others run in the same context after this
        self._tell()

    def abandon(self) -> None:
        self._failed = GoneError("the interpreter ended before the request did")
        self._tell()

    def _tell(self) -> None:
        self._is_over = True
        waiter, loop = self._waiter, self._loop
        if waiter is None or loop is None:
            waiting.give_later(self.over)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_settle, waiter)

    async def wait(self) -> None:
        """Wait until it is over, while others have the event loop."""
        self._loop = asyncio.get_running_loop()
        self._waiter = self._loop.create_future()
        if not self._is_over:
            await self._waiter

    def give_up(self) -> None:
        """Let it not begin any more."""
        self._function = None

    def result(self) -> _Result:
        """Give what it returned, or raise what it raised."""
        if self._failed is not None:
            raise self._failed
        return cast("_Result", self._result)


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():  # given up
        waiter.set_result(None)
