"""Events on their way to handlers: order, limits, threads, forks, ends."""

import subprocess
import sys
import threading
import time

import pytest

from tykbridge.events import queue as queues
from tykbridge.events.queue import Counts, EventQueue, Fired, Result

TIMEOUT = 30


class Recorder:
    """A handler that remembers; with a gate, it waits there with every event."""

    def __init__(self, kind="log", gate=None):
        self.kind, self.gate = kind, gate
        self.got, self.lines, self.at_work, self.most = [], [], 0, 0
        self.entered = threading.Event()

    def log(self, words, level):
        self.lines.append((level, words))

    def deliver(self, event):
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(TIMEOUT)
        self.got.append(event.type)
        self.at_work -= 1
        return Result.DELIVERED


def event(name, **meta):
    return Fired(str(name), meta, "now", "api", "org")


@pytest.fixture
def queue():
    made = EventQueue()
    yield made
    assert made.close(TIMEOUT)


@pytest.fixture
def gate():
    made = threading.Event()
    yield made
    made.set()


def test_each_handler_gets_its_events_in_order_and_one_at_a_time(queue):
    handlers = [Recorder("webhook") for _ in range(6)]
    for number in range(200):
        for handler in handlers:
            queue.put(handler, event(number))
    assert queue.drain(TIMEOUT)
    for handler in handlers:
        assert handler.got == [str(number) for number in range(200)]
        assert handler.most == 1
    assert queue.counts()["webhook"] == Counts(queued=1200, delivered=1200)


def test_what_hangs_holds_back_neither_other_kinds_nor_other_handlers(queue, gate):
    slow = [Recorder("webhook", gate) for _ in range(3)]
    quick = [Recorder(kind) for kind in ("log", "python", "webhook")]
    for handler in (*slow, *slow, *quick):
        queue.put(handler, event("x"))
    deadline = time.monotonic() + TIMEOUT
    while not all(handler.got for handler in quick):
        assert time.monotonic() < deadline
    assert [handler.got for handler in slow] == [[], [], []]
    assert queue.counts()["webhook"].waiting == 6
    gate.set()
    assert queue.drain(TIMEOUT)
    assert [handler.got for handler in slow] == [["x", "x"]] * 3


def test_a_busy_handler_leaves_others_their_turn(queue, gate):
    busy, other = Recorder("log", gate), Recorder("log")
    order = []
    busy.deliver, deliver = lambda event: (order.append("busy"), deliver(event))[1], busy.deliver
    other.deliver = lambda event: (order.append("other"), Result.DELIVERED)[1]
    for _ in range(3):
        queue.put(busy, event("x"))
    queue.put(other, event("x"))
    gate.set()
    assert queue.drain(TIMEOUT)
    assert order.index("other") < 3


def test_events_beyond_the_limit_are_dropped_counted_and_told_once_a_second(gate):
    now = [100.0]
    queue = EventQueue(limit=3, clock=lambda: now[0])
    handler = Recorder("webhook", gate)
    queue.put(handler, event("first"))
    assert handler.entered.wait(TIMEOUT)
    for number in range(10):
        queue.put(handler, event(number))
    assert queue.counts()["webhook"] == Counts(queued=4, dropped=7, waiting=4)
    assert handler.lines == [("warning", "1 event for webhook handlers dropped: 3 wait already")]
    now[0] += 1
    queue.put(handler, event("more"))
    assert handler.lines[1:] == [("warning", "7 events for webhook handlers dropped: 3 wait already")]
    queue.put(Recorder("log"), event("x"))  # another lane has room
    gate.set()
    assert queue.close(TIMEOUT)
    assert handler.got == ["first", "0", "1", "2"]
    assert queue.counts()["webhook"] == Counts(queued=4, delivered=4, dropped=8)
    assert queue.counts()["log"] == Counts(queued=1, delivered=1)


def test_large_events_fill_the_queue_as_many_do(gate):
    queue, handler = EventQueue(room=1000), Recorder("log", gate)
    queue.put(handler, event("at work", Message="x" * 900))
    assert handler.entered.wait(TIMEOUT)
    for number in range(4):
        queue.put(handler, event(number, Message="x" * 400, Number=1))
    gate.set()
    assert queue.close(TIMEOUT)
    assert handler.got == ["at work", "0", "1"]
    assert queue.counts()["log"].dropped == 2


def test_a_handler_with_a_fault_is_a_log_line_and_the_next_event_comes(queue):
    handler = Recorder()
    deliver = handler.deliver

    def broken(event):
        if event.type == "1":
            raise RuntimeError("boom")
        return Result.FAILED if event.type == "2" else Result.HELD if event.type == "3" else deliver(event)

    handler.deliver = broken
    for number in range(5):
        queue.put(handler, event(number))
    assert queue.drain(TIMEOUT)
    assert handler.got == ["0", "4"]
    assert handler.lines == [("error", "api \"api\": the event 1 was lost: RuntimeError('boom')")]
    assert queue.counts()["log"] == Counts(queued=5, delivered=2, failed=2, held=1)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("tykbridge-events-")]


def test_threads_come_with_the_first_event_and_go_when_there_is_none(monkeypatch):
    monkeypatch.setattr(queues, "_IDLE", 0.01)
    before = set(threads())
    queue = EventQueue()
    assert set(threads()) == before
    for _ in range(2):  # they come again, too
        queue.put(handler := Recorder("python"), event("x"))
        assert queue.drain(TIMEOUT)
        assert handler.got == ["x"]
        deadline = time.monotonic() + TIMEOUT
        while set(threads()) - before:
            assert time.monotonic() < deadline
    assert all(thread.daemon for thread in threads())


def test_without_a_thread_events_are_dropped_and_nothing_raises(queue, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    handler = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        queue.put(handler, event("x"))
    assert queue.drain(TIMEOUT)
    assert handler.lines == [
        ("error", "no thread for log handlers of events (can't start new thread): 1 dropped"),
    ]
    queue.put(handler, event("y"))
    assert queue.drain(TIMEOUT)
    assert handler.got == ["y"]


def test_a_finalizer_may_fire_while_the_queue_is_locked(queue):
    handler = Recorder()
    with queue._lock:
        queue.put(handler, event("x"))
    assert queue.drain(TIMEOUT)
    assert handler.got == ["x"]


def test_regression_what_waits_for_a_handler_that_hangs_leaves_room_for_others(gate):
    queue, hangs, other = EventQueue(limit=3, room=1000), Recorder("webhook", gate), Recorder("webhook")
    for number in range(10):
        queue.put(hangs, event(number))
    for number in range(5):
        queue.put(other, event(number, Message="x" * 600))
        deadline = time.monotonic() + TIMEOUT
        while len(other.got) <= number:
            assert time.monotonic() < deadline
    assert queue.counts()["webhook"].waiting <= 5
    gate.set()
    assert queue.close(TIMEOUT)
    assert other.got == ["0", "1", "2", "3", "4"]


def test_close_drops_what_is_left_and_says_so(gate):
    queue, handler = EventQueue(), Recorder("webhook", gate)
    for number in range(4):
        queue.put(handler, event(number))
    assert handler.entered.wait(TIMEOUT)
    assert queue.pause(0)
    assert queue.close(0.01) is False
    assert not queue.pause(TIMEOUT)  # at once
    assert handler.lines == [("warning", "3 events for webhook handlers dropped: the queue is closed")]
    queue.put(handler, event("late"))
    assert queue.counts()["webhook"] == Counts(queued=4, dropped=4, waiting=1)
    gate.set()
    assert queue.drain(TIMEOUT)
    assert handler.got == ["0"]


def run(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


PROGRAM = """
import os, signal, sys, threading, warnings
from tykbridge.events import queue as queues
from tykbridge.events.queue import Counts, EventQueue, Fired, Result
warnings.simplefilter("ignore")

class Handler:
    kind = "webhook"
    def __init__(self, deliver):
        self.run = deliver
    def log(self, words, level):
        print(words, flush=True)
    def deliver(self, event):
        self.run(event.type)
        return Result.DELIVERED

def event(name):
    return Fired(name, {}, "now", "api", "org")

queue, gate = EventQueue(), threading.Event()
say = lambda name: print(name, flush=True)
"""


def test_the_end_of_the_interpreter_waits_for_what_is_queued():
    status, output = run(PROGRAM + "handler = Handler(say)\nfor n in range(50): queue.put(handler, event(str(n)))\n")
    assert (status, output.split()) == (0, [str(number) for number in range(50)])


def test_the_end_of_the_interpreter_waits_no_longer_than_it_may():
    status, output = run(
        PROGRAM
        + "queues._AT_EXIT = 0.05\nentered = threading.Event()\n"
        + "handler = Handler(lambda name: (entered.set(), gate.wait()))\n"
        + "queue.put(handler, event('1')); queue.put(handler, event('2')); entered.wait()\n"
    )
    assert (status, output) == (0, "1 event for webhook handlers dropped: the queue is closed\n")


def test_a_forked_child_begins_with_an_empty_queue():
    status, output = run(
        PROGRAM
        + """
entered = threading.Event()
slow = Handler(lambda name: (entered.set(), gate.wait(), say("parent " + name)))
queue.put(slow, event("1")); queue.put(slow, event("2"))
entered.wait()
queue._lock.acquire()  # as another thread might
child = os.fork()
if not child:
    signal.alarm(20)
    assert queue.counts()["webhook"] == Counts(), queue.counts()
    queue.put(Handler(lambda name: say("child " + name)), event("3"))
    assert queue.drain(10) and queue.close(1)
    os._exit(7)
queue._lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
gate.set()
assert queue.drain(10)
"""
    )
    assert (status, output) == (0, "child 3\nparent 1\nparent 2\n")


def test_a_handler_may_fork():
    status, output = run(
        PROGRAM
        + """
def forking(name):
    child = os.fork()
    if child:
        say(f"{name} {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
    else:
        signal.alarm(20)

queue.put(handler := Handler(forking), event("1")); queue.put(handler, event("2"))
assert queue.drain(10)
"""
    )
    assert (status, output) == (0, "1 0\n2 0\n")
