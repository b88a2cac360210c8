"""Runs the hooks of requests so that none holds up other requests (docs/decisions/0019)."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import time
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from tykbridge import drivers, waiting
from tykbridge.definition import Definition
from tykbridge.errors import GoneError
from tykbridge.gateway import visit
from tykbridge.gateway.hop import Hop
from tykbridge.gateway.loop import Loop

_Result = TypeVar("_Result")

_QUICK = 0.00025  # seconds: what takes longer costs others more, on their event loop, than the way to a thread does
_MOST = 1024  # requests of a lane, at the most, that go to threads after one that took longer


class Lane:
    """The hooks of one API, on one event loop.

    As long as they are quick, they run between two turns of the loop, which a `loop.Loop` does itself, and a `hop.Hop`
    for others. After one that was not, the next request goes to a thread of `tykbridge.waiting` at once; after another
    one, the next 2, and so on. The loop does not even wait for the end of one that takes a few milliseconds: until
    it is over, all of them go to threads.

    Args:
        name: see `waiting.start`.
        waits: hooks wait in a way that leaves their thread to others (`waiting.suspend`): all of them go to threads.
    """

    def __init__(self, name: str, waits: bool = False) -> None:
        self.name, self._waits = name, waits
        self._skip = 0  # so many requests go to threads
        self._skips = 1  # after the next one that is not quick
        self._left_behind = 0  # of those that took long, so many are not over
        self._hop = Hop(name)

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """Call a function; `visit.current` there is what it is here, and no event loop runs there.

        Given up before it began, it does not run; later, it runs to its end all the same, and nobody hears of it.

        Raises:
            GoneError: the interpreter is ending, or no thread can be had.
        """
        loop = asyncio.get_running_loop()
        call = _Call(self, function, loop)
        del function  # the call's alone, which gives it up in time
        if self._waits or self.moves:
            call.move()
        else:
            place = loop if isinstance(loop, Loop) else self._hop
            place.between(call)
        try:
            await call.waiter
        except asyncio.CancelledError:
            call.give_up()
            raise
        return call.result()

    @property
    def moves(self) -> bool:
        """The next request goes to a thread. Where all threads are stuck, those that may be quick do not wait there."""
        return self._left_behind > 0 or (self._skip > 0 and waiting.has_room())

    def moved(self) -> None:
        """Hear that one went to a thread."""
        self._skip = max(0, self._skip - 1)

    def took(self, seconds: float) -> None:
        """Hear how long one took that did not."""
        if seconds > _QUICK:
            self._skip, self._skips = self._skips, min(_MOST, 2 * self._skips)
        else:
            self._skips = 1

    def leave(self) -> None:
        """Hear that one takes long, and the loop goes on without it."""
        self._left_behind += 1
        self.took(math.inf)

    def came_back(self) -> None:
        """Hear that such a one is over."""
        self._left_behind -= 1


def lane_of(definition: Definition) -> Lane:
    """Make a lane for the hooks of an API."""
    return Lane(definition.api_id, waits=drivers.wait(definition))


class _Call(Generic[_Result]):
    """A `hop.Job`.

    Attributes:
        waiter: gets its result, None, when the call is over.
    """

    __slots__ = ("_failed", "_function", "_is_late", "_lane", "_loop", "_result", "_seconds", "_visit", "waiter")

    def __init__(self, lane: Lane, function: Callable[[], _Result], loop: asyncio.AbstractEventLoop) -> None:
        self._lane, self._loop = lane, loop
        # None once it began or was given up: what a request holds does not wait for its turn with it.
        self._function: Callable[[], _Result] | None = function
        self._visit = visit.current.get()
        self.waiter: asyncio.Future[None] = loop.create_future()
        self._result: _Result | None = None
        self._failed: BaseException | None = None
        self._is_late, self._seconds = False, 0.0

    def do(self) -> None:
        function, self._function = self._function, None
        if function is None:
            return
        began = time.perf_counter()
        try:
            # One of its own, as a greenlet has: what plugins keep in context variables is not the next request's.
            self._result = contextvars.Context().run(_inside, self._visit, function)
        except BaseException as error:
            self._failed = error
        self._seconds = time.perf_counter() - began

    # ---- On the event loop

    @property
    def should_move(self) -> bool:
        return self._lane.moves

    def move(self) -> None:
        self._lane.moved()
        try:
            waiting.start(self, self._lane.name)
        except GoneError as error:
            self._fail(error)

    def late(self) -> None:
        self._is_late = True
        self._lane.leave()

    def over(self) -> None:
        if self._is_late:
            self._lane.came_back()
        else:
            self._lane.took(self._seconds)
        self._settle()

    def give_up(self) -> None:
        """Let it not begin any more."""
        self._function = None

    def result(self) -> _Result:
        """Give what it returned, or raise what it raised."""
        if self._failed is not None:
            raise self._failed
        return cast("_Result", self._result)

    # ---- On a thread of `waiting`

    def run(self) -> None:
        self.do()
        self._tell()

    def abandon(self) -> None:
        self._fail(GoneError("the interpreter ended before the request did"))

    def _fail(self, error: GoneError) -> None:
        self._failed = error
        self._tell()

    def _tell(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if not self.waiter.done():  # given up
            self.waiter.set_result(None)


def _inside(of: visit.Visit | None, function: Callable[[], _Result]) -> _Result:
    visit.current.set(of)
    return function()
