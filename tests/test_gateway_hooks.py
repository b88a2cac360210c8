"""Where the gateway's hooks run, and what becomes of those whose client has gone."""

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest

from tests.definitions import read, smallest
from tests.rawhttp import TIMEOUT
from tykbridge import waiting
from tykbridge.errors import GoneError
from tykbridge.gateway import hooks
from tykbridge.gateway.hooks import Lane, lane_of
from tykbridge.gateway.hop import Hop
from tykbridge.gateway.loop import Loop

pytestmark = pytest.mark.once


def _led(main):
    loop = Loop()
    loop.begin(main)
    return loop.join()


@pytest.fixture(params=[_led, asyncio.run], ids=["own loop", "another's loop"])
def run(request):
    """Runs a coroutine on an event loop."""
    return request.param


class Body:
    """What a request holds."""


def test_what_is_given_up_before_its_turn_does_not_run_and_holds_nothing(run):
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

    run(scenario())
    assert ran == []


def test_one_that_blocks_among_those_that_came_together_holds_up_none_of_them(run):
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

    run(scenario())
    assert threading.get_ident() not in threads


def test_quick_ones_that_came_together_share_a_thread_and_fail_alone(run):
    lane = Lane("quick")

    def called(n):
        if n == 3:
            raise LookupError(n)
        return n, threading.get_ident()

    async def scenario():
        return await asyncio.gather(*(lane.run(lambda n=n: called(n)) for n in range(8)), return_exceptions=True)

    for _ in range(50):  # a busy machine may make some of them late, which then run apart
        results = run(scenario())
        assert isinstance(results.pop(3), LookupError)
        assert [n for n, _ in results] == [0, 1, 2, 4, 5, 6, 7]
        if len({thread for _, thread in results}) == 1:
            return
    raise AssertionError("they never ran together")


def test_what_one_keeps_in_a_context_variable_is_not_the_next_ones(run):
    kept, lane = contextvars.ContextVar("kept", default=""), Lane("kept")

    def called():
        seen = kept.get()
        kept.set("of another request")
        return seen

    async def scenario():
        return await asyncio.gather(*[lane.run(called) for _ in range(16)])

    assert run(scenario()) == [""] * 16


def test_what_no_thread_can_be_had_for_says_so(run, monkeypatch):
    def refuse(task, lane):
        raise GoneError("no thread could be started")

    monkeypatch.setattr(waiting, "start", refuse)
    with pytest.raises(GoneError, match="no thread could be started"):
        run(Lane("refused", waits=True).run(lambda: None))


# ---- Which ones the loop waits for


@pytest.fixture
def waited_for(monkeypatch):
    """Gets what the loop is to wait for, in place of the loop."""
    jobs = []
    monkeypatch.setattr(Hop, "between", lambda self, job: jobs.append(job))
    return jobs


async def _begun(lane, waited_for):
    """Begin a call that the loop waits for."""
    call = asyncio.ensure_future(lane.run(lambda: None))
    await asyncio.sleep(0)
    return call, waited_for.pop()


async def _be_late(lane, waited_for):
    call, job = await _begun(lane, waited_for)
    job.late()
    job.do()
    job.over()
    await call


async def _moved(lane, waited_for):
    """Call until the loop is to wait; gives how many calls it was not to wait for."""
    for count in range(2000):
        call = asyncio.ensure_future(lane.run(lambda: None))
        await asyncio.sleep(0)
        if waited_for:
            job = waited_for.pop()
            job.do()
            job.over()
            await call
            return count
        await call
    raise AssertionError("it never waits again")


def test_the_loop_waits_for_no_other_as_long_as_one_is_late(waited_for):
    lane = Lane("late")

    async def scenario():
        call, job = await _begun(lane, waited_for)
        _, behind = await _begun(lane, waited_for)
        assert not behind.should_move
        job.late()
        assert behind.should_move
        for _ in range(20):
            await lane.run(lambda: None)
        assert not waited_for
        job.do()
        job.over()
        await call
        assert not behind.should_move
        behind.over()
        assert await _moved(lane, waited_for) == 0

    asyncio.run(scenario())


def test_after_one_that_was_late_the_loop_does_not_wait_for_the_next_ones(waited_for):
    lane = Lane("late")

    async def scenario():
        counts = []
        for _ in range(2):
            await _be_late(lane, waited_for)
            await lane.run(lambda: None)
            await _be_late(lane, waited_for)
            counts.append(await _moved(lane, waited_for))  # the last one is quick
        for _ in range(10):
            await _be_late(lane, waited_for)
            lane._skip = 0
        await _be_late(lane, waited_for)
        counts.append(await _moved(lane, waited_for))
        return counts

    assert asyncio.run(scenario()) == [2, 2, 1024]


def test_one_that_is_not_quick_is_not_waited_for_either(waited_for, monkeypatch):
    lane = Lane("not quick")

    async def scenario():
        counts = []
        for seconds in (0.0, 1.0):  # all are slow, none is
            monkeypatch.setattr(hooks, "_QUICK", seconds)
            call, job = await _begun(lane, waited_for)
            _, behind = await _begun(lane, waited_for)
            job.do()
            job.over()
            await call
            counts += [behind.should_move, await _moved(lane, waited_for)]
            lane._skip, lane._skips = 0, 1
        return counts

    assert asyncio.run(scenario()) == [True, 1, False, 0]


def test_where_all_threads_are_stuck_only_a_lane_of_which_one_is_late_waits_there(waited_for, monkeypatch):
    lane = Lane("quick mostly")

    async def scenario():
        await _be_late(lane, waited_for)
        monkeypatch.setattr(waiting, "has_room", lambda: False)
        for _ in range(3):
            assert await _moved(lane, waited_for) == 0
            await _be_late(lane, waited_for)
        call, job = await _begun(lane, waited_for)
        job.late()
        assert lane.moves
        job.do()
        job.over()
        await call

    asyncio.run(scenario())


@pytest.mark.parametrize("driver", ["grpc", "lua"])
def test_hooks_that_wait_for_a_server_leave_their_thread_to_others(waited_for, driver):
    definition = read(
        smallest(custom_middleware={"driver": driver, "pre": [{"name": "Hook", "path": "hook.lua"}]})
    ).definition

    async def scenario():
        call = asyncio.ensure_future(lane_of(definition).run(lambda: threading.current_thread().name))
        await asyncio.sleep(0)
        for job in waited_for:
            job.do()
            job.over()
        return await call

    assert (asyncio.run(scenario()) == "tykbridge-requests") is (driver == "grpc")
