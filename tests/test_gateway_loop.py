"""Jobs between the turns of an event loop, which goes on without those that hold it up."""

import asyncio
import os
import threading

import pytest

from tests.rawhttp import TIMEOUT
from tests.servers import until
from tykbridge._bridge import Watch
from tykbridge.gateway import loop as loops
from tykbridge.gateway.hop import Hop
from tykbridge.gateway.loop import Loop


class Job:
    """Calls a function, and remembers what it heard."""

    def __init__(self, function, should_move=False):
        self.function, self.should_move = function, should_move
        self.heard, self.thread = [], None
        self.ended = asyncio.Event()

    def move(self):
        self._hear("move")

    def do(self):
        self.thread = threading.get_ident()
        self.function()

    def late(self):
        self.heard.append("late")

    def over(self):
        self._hear("over")

    def _hear(self, what):
        assert threading.get_ident() != self.thread or self.heard != ["late"]
        self.heard.append(what)
        self.ended.set()


def _threads():
    return [thread for thread in threading.enumerate() if thread.name == "tykbridge-loop"]


@pytest.fixture
def led():
    """Gives a function that runs a coroutine, which gets its loop, to its end; no thread stays."""
    before = set(_threads())

    def run(main):
        loop = Loop()
        loop.begin(main(loop))
        return loop.join()

    yield run
    until(lambda: set(_threads()) <= before)


def test_jobs_are_done_on_the_loops_own_thread_while_it_does_not_run(led):
    running, thread = [], []

    async def main(loop):
        thread.append(threading.get_ident())
        jobs = [Job(lambda: running.append(asyncio._get_running_loop())) for _ in range(3 * loops.TOGETHER)]
        for job in jobs:
            loop.between(job)
        assert running == []  # after this turn
        await asyncio.gather(*(job.ended.wait() for job in jobs))
        return {(job.thread, *job.heard) for job in jobs}

    done = led(main)
    if len(done) > 1:  # a busy machine made some of them late
        done.discard(next(each for each in done if "late" in each))
    assert {heard[1:] for heard in done} == {("over",)}
    assert running == [None] * 3 * loops.TOGETHER


def test_another_thread_goes_on_with_the_loop_when_a_job_holds_it_up(led):
    go_on = threading.Event()

    async def main(loop):
        job = Job(lambda: go_on.wait(TIMEOUT))
        loop.between(job)
        for _ in range(3):
            await asyncio.sleep(0.001)
        assert job.heard == ["late"]
        assert job.thread != threading.get_ident()
        quick = Job(lambda: None)
        loop.between(quick)
        await quick.ended.wait()
        assert job.heard == ["late"]
        go_on.set()
        await job.ended.wait()
        return job.heard

    assert led(main) == ["late", "over"]


def test_a_thread_that_comes_back_while_another_one_leads_does_not_lead_any_more(led, monkeypatch):
    go_on, is_back = threading.Event(), []

    async def main(loop):
        first = Job(lambda: (first.threads.append(threading.current_thread()), go_on.wait(TIMEOUT)))
        first.threads = []
        loop.between(first)
        while not first.heard:
            await asyncio.sleep(0)
        monkeypatch.setattr(loops, "PATIENCE", 1_000_000 * TIMEOUT)  # nobody takes what comes now

        def while_it_comes_back():
            go_on.set()
            first.threads[0].join(5)
            is_back.append(not first.threads[0].is_alive())

        loop.between(Job(while_it_comes_back))
        await first.ended.wait()
        return first.heard

    assert led(main) == ["late", "over"]
    assert is_back == [True]


def test_each_of_many_that_hold_it_up_keeps_one_thread(led):
    go_on, count = threading.Event(), 20

    async def main(loop):
        jobs = [Job(lambda: go_on.wait(TIMEOUT)) for _ in range(count)]
        for job in jobs:
            loop.between(job)
        while not all(job.heard for job in jobs):
            await asyncio.sleep(0.001)
        assert len(_threads()) <= count + 2
        go_on.set()
        await asyncio.gather(*(job.ended.wait() for job in jobs))
        return {tuple(job.heard) for job in jobs}

    assert led(main) == {("late", "over")}


def test_what_waits_behind_one_that_holds_it_up_is_asked_again_whether_to_move(led):
    go_on = threading.Event()

    async def main(loop):
        first, behind = Job(lambda: go_on.wait(TIMEOUT)), Job(lambda: None)
        first.late = lambda: setattr(behind, "should_move", True)
        loop.between(first)
        loop.between(behind)
        await behind.ended.wait()
        go_on.set()
        await first.ended.wait()
        return behind.heard, behind.thread

    assert led(main) == (["move"], None)


def test_a_job_that_computes_is_late_as_well(led):
    def compute():
        while not job.heard:
            pass

    async def main(loop):
        job.ended = asyncio.Event()
        loop.between(job)
        await job.ended.wait()
        return job.heard

    job = Job(compute)
    assert led(main) == ["late", "over"]


def test_a_loop_that_a_job_leaves_running_stops_nothing(led):
    other = asyncio.new_event_loop()

    async def main(loop):
        job = Job(lambda: asyncio._set_running_loop(other))
        behind = Job(lambda: found.append(asyncio._get_running_loop()))
        loop.between(job)
        loop.between(behind)
        await behind.ended.wait()

    found = []
    led(main)
    other.close()
    assert found == [None]


def test_it_ends_while_a_job_holds_a_thread():
    go_on = threading.Event()

    async def main(loop):
        loop.between(Job(lambda: go_on.wait(TIMEOUT)))
        await asyncio.sleep(0.001)
        return "over"

    loop = Loop()
    loop.begin(main(loop))
    assert loop.join() == "over"
    assert loop.is_closed()
    go_on.set()
    until(lambda: not _threads())


def test_without_another_thread_jobs_move(led, monkeypatch):
    async def main(loop):
        def refuse(function):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(loop, "_start", refuse)
        job = Job(lambda: None)
        loop.between(job)
        await job.ended.wait()
        monkeypatch.undo()
        later = Job(lambda: None)
        loop.between(later)
        await later.ended.wait()
        return job.heard, later.heard[-1]

    assert led(main) == (["move"], "over")


def test_what_comes_when_it_ends_moves(led):
    late = Job(lambda: None)

    async def lingering(loop):
        try:
            await asyncio.sleep(TIMEOUT)
        finally:
            loop.between(late)

    async def main(loop):
        main.task = asyncio.ensure_future(lingering(loop))
        await asyncio.sleep(0)

    led(main)
    assert late.heard == ["move"]


@pytest.mark.parametrize("error", [LookupError("one"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_ends_it_is_raised_where_it_is_waited_for(led, error):
    async def main(loop):
        raise error

    with pytest.raises(type(error)) as caught:
        led(main)
    assert caught.value is error


def test_what_a_callback_ends_it_with_is_raised_too(led):
    def leave():
        raise SystemExit(3)

    async def main(loop):
        loop.call_soon(leave)
        await asyncio.sleep(TIMEOUT)

    with pytest.raises(SystemExit):
        led(main)


def test_a_child_that_a_job_forks_does_not_go_on_with_the_loop(led):
    children = []

    async def main(loop):
        job = Job(lambda: children.append(os.fork()))
        loop.between(job)
        await job.ended.wait()
        if children == [0]:
            os._exit(1)  # the child
        return os.waitpid(children[0], 0)[1]

    assert led(main) == 0


# ---- On the loop of somebody else


def test_another_loop_waits_for_a_thread_that_does_what_came_in_one_turn():
    async def main():
        hop, jobs = Hop("quick"), [Job(lambda: None) for _ in range(3 * loops.TOGETHER)]
        for job in jobs:
            hop.between(job)
        await asyncio.gather(*(job.ended.wait() for job in jobs))
        return jobs

    for _ in range(50):  # a busy machine may make some of them late
        jobs = asyncio.run(main())
        if all(job.heard == ["over"] for job in jobs):
            break
    assert {tuple(job.heard) for job in jobs} == {("over",)}
    assert threading.get_ident() not in {job.thread for job in jobs}
    assert len({job.thread for job in jobs}) <= 3


def test_another_loop_goes_on_without_one_that_holds_it_up():
    go_on = threading.Event()

    async def main():
        hop = Hop("late")
        first, behind, moves = Job(lambda: go_on.wait(TIMEOUT)), Job(lambda: None), Job(lambda: None, True)
        for job in (first, behind, moves):
            hop.between(job)
        await behind.ended.wait()
        heard = first.heard[:], behind.heard, moves.heard
        go_on.set()
        await first.ended.wait()
        return *heard, first.heard

    assert asyncio.run(main()) == (["late"], ["move"], ["move"], ["late", "over"])


# ---- The watch


def _watching(watch):
    taken = []
    thread = threading.Thread(target=lambda: taken.append(watch.wait(1000)))
    thread.start()
    return thread, taken


def test_a_watch_takes_what_does_not_end():
    watch = Watch()
    thread, taken = _watching(watch)
    watch.begin()
    thread.join(TIMEOUT)
    assert taken == [True]


def test_what_was_taken_ends_nothing_that_has_begun_since():
    watch = Watch()
    thread, taken = _watching(watch)
    first = watch.begin()
    thread.join(TIMEOUT)
    assert taken == [True]
    second = watch.begin()
    assert not watch.end(first)
    assert watch.end(second)


def test_a_watch_that_sleeps_wakes_when_something_begins():
    for _ in range(20):  # at different times after it was left alone
        watch = Watch()
        thread, taken = _watching(watch)
        for _ in range(50):
            assert watch.end(watch.begin()) or taken
        thread.join(0.01)
        watch.begin()
        thread.join(TIMEOUT)
        assert taken == [True]


def test_a_watch_takes_nothing_that_ends_and_can_be_closed():
    watch = Watch()
    thread, taken = _watching(watch)
    ended = 0
    while ended < 100_000 and thread.is_alive():
        ended += watch.end(watch.begin())
    if thread.is_alive():  # a busy machine may hold this thread up between the two
        watch.close()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert taken == [ended < 100_000]
    assert watch.wait(1000) is False or taken == [True]


def test_a_closed_watch_wakes_whoever_sleeps():
    watch = Watch()
    thread, taken = _watching(watch)
    thread.join(0.05)  # it sleeps by now
    watch.close()
    thread.join(TIMEOUT)
    assert taken == [False]
