"""Runs the hooks of requests outside of the event loop (docs/decisions/0019)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tykbridge import waiting
from tykbridge.errors import GoneError
from tykbridge.gateway import visit

_Result = TypeVar("_Result")


async def run(function: Callable[[], _Result], lane: str) -> _Result:
    """Call a function on one of the threads of `tykbridge.waiting`; `visit.current` there is what it is here.

    Given up, it runs to its end all the same, and nobody hears of it.

    Args:
        function: what to call.
        lane: whose it is; see `waiting.start`.

    Raises:
        GoneError: the interpreter is ending.
    """
    call = _Call(function, visit.current.get())
    waiting.start(call, lane)
    return await call.future


class _Call(Generic[_Result]):
    """A `waiting.Task` whose result an event loop waits for. Cheaper than a Future of threads, which has locks."""

    __slots__ = ("_function", "_loop", "_visit", "future")

    def __init__(self, function: Callable[[], _Result], of: visit.Visit | None) -> None:
        self._function, self._visit = function, of
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[_Result] = self._loop.create_future()

    def run(self) -> None:
        before = visit.current.set(self._visit)
        result: _Result | None = None
        failed: BaseException | None = None
        try:
            result = self._function()
        except BaseException as error:
            failed = error
        finally:
            visit.current.reset(before)  # without greenlets, others run in the same context after this
        self._tell(result, failed)

    def abandon(self) -> None:
        self._tell(None, GoneError("the interpreter ended before the request did"))

    def _tell(self, result: Any, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(_settle, self.future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # given up
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
