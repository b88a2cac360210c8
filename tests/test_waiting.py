"""Requests that are put aside while they wait."""

import asyncio
import contextlib
import json
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import CancelledError

import pytest

from tests.definitions import smallest
from tests.servers import until
from tykbridge import Bridge, waiting
from tykbridge.errors import GoneError, NotFoundError
from tykbridge.outcome import Continue, Request, Response

TIMEOUT = 60  # seconds; for what hangs


class Outside:
    """Something to wait for."""

    def __init__(self):
        self.waiting = []
        self._changed = threading.Condition()

    def begin(self, resume):
        with self._changed:
            self.waiting.append(resume)
            self._changed.notify_all()

    def wait_for(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.waiting) >= count, TIMEOUT)

    def happen(self):
        with self._changed:
            waiting, self.waiting = self.waiting, []
        for resume in waiting:
            resume()


@pytest.fixture
def outside():
    return Outside()


def test_a_thousand_wait_on_a_few_threads(outside):
    before = threading.active_count()
    futures = [waiting.call(lambda n=n: (n, waiting.suspend(outside.begin))) for n in range(1000)]
    outside.wait_for(1000)
    assert threading.active_count() - before <= waiting.MOST + 1
    outside.happen()
    assert [future.result(TIMEOUT) for future in futures] == [(n, True) for n in range(1000)]


def test_there_is_no_room_where_all_threads_are_stuck():
    go_on = threading.Event()
    assert waiting.has_room()
    futures = [waiting.call(lambda: go_on.wait(TIMEOUT), lane) for lane in "ab" for _ in range(waiting.SHARE)]
    until(lambda: not waiting.has_room())
    go_on.set()
    assert all(future.result(TIMEOUT) for future in futures)
    until(waiting.has_room)


def test_one_waits_several_times_on_one_thread(outside):
    seen = []

    def function():
        for _ in range(3):
            seen.append(threading.get_ident())
            assert waiting.suspend(outside.begin)
        return "over"

    future = waiting.call(function)
    for _ in range(3):
        outside.wait_for(1)
        outside.happen()
    assert (future.result(TIMEOUT), len(set(seen))) == ("over", 1)


def test_what_happened_already_is_not_waited_for():
    assert waiting.call(lambda: waiting.suspend(lambda resume: resume())).result(TIMEOUT)


def test_a_thread_of_the_hosts_waits_in_its_own_way():
    def begin(resume):
        raise AssertionError("begun")

    assert not waiting.suspend(begin)


def test_a_loop_that_a_hook_runs_is_nobody_elses(outside):
    """A thread has one running loop: what is put aside in it would leave it running for the next."""

    async def within():
        return waiting.suspend(outside.begin)

    futures = [waiting.call(lambda: asyncio.run(within())) for _ in range(3 * waiting.THREADS)]
    assert not any(future.result(TIMEOUT) for future in futures)


def test_what_cannot_begin_raises():
    def begin(resume):
        raise ValueError("no")

    with pytest.raises(ValueError, match=r"^no$"):
        waiting.call(lambda: waiting.suspend(begin)).result(TIMEOUT)


def test_a_blocked_thread_leaves_others_their_turn():
    blocked, release = threading.Semaphore(0), threading.Event()

    def block():
        blocked.release()
        return release.wait(TIMEOUT)

    futures = [waiting.call(block) for _ in range(waiting.THREADS - 1)]
    for _ in futures:
        assert blocked.acquire(timeout=TIMEOUT)
    assert [waiting.call(lambda n=n: n).result(TIMEOUT) for n in range(100)] == list(range(100))
    release.set()
    assert all(future.result(TIMEOUT) for future in futures)


def test_threads_that_are_stuck_do_not_count():
    blocked, release = threading.Semaphore(0), threading.Event()

    def block():
        blocked.release()
        return release.wait(TIMEOUT)

    futures = [waiting.call(block) for _ in range(3 * waiting.THREADS)]
    for _ in futures:
        assert blocked.acquire(timeout=TIMEOUT)
    assert [waiting.call(lambda n=n: n).result(TIMEOUT) for n in range(100)] == list(range(100))
    release.set()
    assert all(future.result(TIMEOUT) for future in futures)


@pytest.fixture
def pool(monkeypatch):
    """Threads that no other test has left busy."""
    pool = waiting._Pool()
    monkeypatch.setattr(waiting, "_pool", pool)
    return pool


def test_a_lane_leaves_threads_to_others(pool):
    release, blocked = threading.Event(), threading.Semaphore(0)

    def block():
        blocked.release()
        return release.wait(TIMEOUT)

    futures = [waiting.call(block, "slow") for _ in range(waiting.SHARE + 5)]
    for _ in range(waiting.SHARE):
        assert blocked.acquire(timeout=TIMEOUT)
    assert [waiting.call(lambda n=n: n, "fast").result(TIMEOUT) for n in range(100)] == list(range(100))
    assert not blocked.acquire(blocking=False)  # the rest of the lane waits
    release.set()
    assert all(future.result(TIMEOUT) for future in futures)
    until(lambda: not pool._lanes)  # nothing is kept of what is over


def test_lanes_take_turns(pool, monkeypatch):
    monkeypatch.setattr(waiting, "THREADS", 1)
    monkeypatch.setattr(waiting, "MOST", 1)
    release, order = threading.Event(), []
    first = waiting.call(lambda: release.wait(TIMEOUT))
    futures = [waiting.call(lambda n=n: order.append(f"many {n}"), "many") for n in range(3)]
    futures += [waiting.call(lambda: order.append("one"), "one")]
    release.set()
    for future in [first, *futures]:
        future.result(TIMEOUT)
    assert order == ["many 0", "one", "many 1", "many 2"]


def test_more_than_there_are_threads_take_turns():
    release = threading.Event()
    futures = [waiting.call(lambda: release.wait(TIMEOUT)) for _ in range(3 * waiting.MOST)]
    release.set()
    assert all(future.result(TIMEOUT) for future in futures)


def test_what_begins_just_as_a_thread_goes_on_with_another_finds_a_free_one(outside, pool):
    """The thread that is idle when it is chosen has, by then, one to go on with that will block it."""
    release, blocked = threading.Event(), threading.Event()

    def block():
        waiting.suspend(outside.begin)
        blocked.set()
        return release.wait(TIMEOUT)

    first = waiting.call(block)
    outside.wait_for(1)
    until(lambda: pool._idle)

    class Late:
        """The pool's lock: as soon as it is taken, what the idle thread put aside may go on."""

        def __init__(self, lock):
            self._lock = lock

        def __enter__(self):
            self._lock.acquire()
            pool._lock = self._lock
            outside.happen()

        def __exit__(self, *_):
            self._lock.release()

    pool._lock = Late(pool._lock)
    second = waiting.call(lambda: 2)
    assert blocked.wait(TIMEOUT)
    assert second.result(TIMEOUT) == 2
    release.set()
    assert first.result(TIMEOUT)


def test_exceptions_reach_who_waits():
    def fail():
        raise SystemExit("a hook's")

    with pytest.raises(SystemExit):
        waiting.call(fail).result(TIMEOUT)
    assert waiting.call(lambda: 1).result(TIMEOUT) == 1


def test_one_that_was_given_up_before_it_began_does_not_run():
    release, ran = threading.Event(), []
    futures = [waiting.call(lambda: release.wait(TIMEOUT)) for _ in range(waiting.THREADS)]
    late = waiting.call(lambda: ran.append(1))
    cancelled = late.cancel()
    release.set()
    for future in futures:
        future.result(TIMEOUT)
    with contextlib.suppress(CancelledError):
        late.result(TIMEOUT)
    assert ran == ([] if cancelled else [1])


HOOKS = """\
from tyk.decorators import *
from tykbridge import waiting
from tests import test_waiting

@Hook
def Waits(request, session, spec):
    assert waiting.suspend(test_waiting.shared.begin)
    request.add_header("X-Path", request.object.url)
    return request, session

@Hook
def Answers(request, response, session, metadata, spec):
    assert waiting.suspend(test_waiting.shared.begin)
    response.headers["X-Path"] = request.object.url
    return response
"""
shared = Outside()


@pytest.fixture
def bridge(tmp_path):
    (tmp_path / "middleware.py").write_text(HOOKS)
    hook = {"path": "middleware.py"}
    middleware = {
        "driver": "python",
        "pre": [{"name": "Waits", **hook}],
        "post": [{"name": "Waits", **hook}],
        "response": [{"name": "Answers", **hook}],
    }
    bridge = Bridge(middleware_path=tmp_path)
    loaded = bridge.load(json.dumps(smallest(use_keyless=True, custom_middleware=middleware)))
    assert loaded.not_loaded == ()
    return bridge


def test_requests_of_an_event_loop(bridge):
    """Each waits in two hooks, with its own message, among others that do."""

    async def one(number):
        request = Request("GET", f"/api/{number}", (), b"")
        outcome = await bridge.request_async(request, "api")
        assert isinstance(outcome, Continue)
        answer = await bridge.response_async(request, Response(200, (), b""), outcome.session, "api")
        return dict(outcome.request.headers)["X-Path"], dict(answer.response.headers)["X-Path"]

    async def everything():
        requests = asyncio.gather(*(one(number) for number in range(200)))
        for _ in range(3):
            await asyncio.to_thread(shared.wait_for, 200)
            shared.happen()
        return await requests

    assert asyncio.run(everything()) == [(f"/api/{n}", f"/api/{n}") for n in range(200)]


def test_an_api_that_is_not_there(bridge):
    with pytest.raises(NotFoundError, match='no API "other"'):
        asyncio.run(bridge.request_async(Request("GET", "/", (), b""), "other"))


def test_the_interpreters_end_gives_up_what_waits():
    program = """
        import atexit, ctypes, threading
        from tests.host.by_ctypes import CtypesHost
        from tykbridge import waiting
        begun = threading.Event()
        future = waiting.call(lambda: waiting.suspend(lambda resume: begun.set()))
        begun.wait()
        def end():
            print(repr(future.exception(0)))
            try:
                waiting.call(print)
            except waiting.GoneError as error:
                print(error)
        atexit._run_exitfuncs()
        end()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=TIMEOUT, check=True
    )
    assert done.stdout.splitlines() == [
        "GoneError('the interpreter ended before the request did')",
        "the interpreter is ending: nothing can be started any more",
    ]
    assert issubclass(GoneError, Exception)


def test_the_interpreters_end_in_the_middle_of_requests_is_no_crash():
    """Their threads want the GIL once more: Python ends them, in the middle of greenlets."""
    program = """
        import threading
        from tykbridge import waiting
        begun = threading.Semaphore(0)
        def work():
            waiting.suspend(lambda resume: resume())
            begun.release()
            while True:
                pass
        for _ in range(waiting.THREADS):
            waiting.call(work)
        for _ in range(waiting.THREADS):
            begun.acquire()
        print("over")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=TIMEOUT
    )
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr


def test_a_child_begins_with_threads_of_its_own():
    program = """
        import os
        from tykbridge import waiting
        assert waiting.call(lambda: 1).result(60) == 1
        child = os.fork()
        if not child:
            os._exit(waiting.call(lambda: 42).result(60))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout == "42\n"


def test_without_greenlet_nothing_is_put_aside():
    program = """
        import sys
        sys.modules["greenlet"] = None
        from tykbridge import waiting
        print(waiting.call(lambda: waiting.suspend(lambda resume: resume())).result(60))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=TIMEOUT, check=True
    )
    assert done.stdout == "False\n"
