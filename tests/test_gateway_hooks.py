"""Where the gateway's hooks run, and what becomes of those whose client has gone."""

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest

from tests.rawhttp import TIMEOUT
from tykbridge import waiting
from tykbridge.gateway.hooks import Lane

pytestmark = pytest.mark.once


class Body:
    """What a request holds."""


def test_what_is_given_up_before_its_turn_does_not_run_and_holds_nothing():
    lane, go_on, ran = Lane("full"), threading.Event(), []

    async def scenario():
        blocked = [asyncio.ensure_future(lane.run(lambda: go_on.wait(TIMEOUT))) for _ in range(waiting.SHARE)]
        body = Body()
        held = weakref.ref(body)
        waits = asyncio.ensure_future(lane.run(lambda body=body: ran.append(body)))
        del body
        await asyncio.sleep(0)  # all of them have begun to wait
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        del waits
        gc.collect()
        assert held() is None
        go_on.set()
        assert await asyncio.gather(*blocked) == [True] * waiting.SHARE
        assert await lane.run(lambda: "after") == "after"

    asyncio.run(scenario())
    assert ran == []


def test_one_that_blocks_among_those_that_came_together_holds_up_none_of_them():
    lane, go_on, threads = Lane("together"), threading.Event(), set()

    async def scenario():
        blocked = asyncio.ensure_future(lane.run(lambda: go_on.wait(TIMEOUT)))
        others = [
            asyncio.ensure_future(lane.run(lambda n=n: (n, threads.add(threading.get_ident())))) for n in range(40)
        ]
        assert [n for n, _ in await asyncio.gather(*others)] == list(range(40))
        assert not blocked.done()
        go_on.set()
        assert await blocked is True

    asyncio.run(scenario())
    assert threading.get_ident() not in threads


def test_quick_ones_that_came_together_share_a_thread_and_fail_alone():
    lane = Lane("quick")

    def called(n):
        if n == 3:
            raise LookupError(n)
        return n, threading.get_ident()

    async def scenario():
        return await asyncio.gather(*(lane.run(lambda n=n: called(n)) for n in range(8)), return_exceptions=True)

    for _ in range(50):  # a busy machine may make some of them late, which then run apart
        results = asyncio.run(scenario())
        assert isinstance(results.pop(3), LookupError)
        assert [n for n, _ in results] == [0, 1, 2, 4, 5, 6, 7]
        if len({thread for _, thread in results}) == 1:
            return
    raise AssertionError("they never ran together")


def test_what_one_keeps_in_a_context_variable_is_not_the_next_ones():
    kept, lane = contextvars.ContextVar("kept", default=""), Lane("kept")

    def run():
        seen = kept.get()
        kept.set("of another request")
        return seen

    async def scenario():
        return await asyncio.gather(*[lane.run(run) for _ in range(16)])

    assert asyncio.run(scenario()) == [""] * 16
