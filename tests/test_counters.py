"""Counting in memory; tests/test_stores.py has what all counters have in common."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from tykbridge.counters import Hit, MemoryCounters


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def test_a_window_ends_to_the_second():
    clock = Clock()
    counters = MemoryCounters(clock)
    assert counters.hit("k", 2, 10) == Hit(allowed=True, passed=1, resets=1010.0)
    clock.now = 1005.0
    assert counters.hit("k", 2, 10) == Hit(allowed=True, passed=2, resets=1010.0)
    assert counters.hit("k", 2, 10) == Hit(allowed=False, passed=2, resets=1010.0)
    clock.now = 1009.9
    assert not counters.hit("k", 2, 10).allowed
    clock.now = 1010.0
    assert counters.hit("k", 2, 10) == Hit(allowed=True, passed=1, resets=1020.0)


def test_windows_that_are_over_take_no_room(monkeypatch):
    monkeypatch.setattr("tykbridge.counters._ROOM", 10)
    clock = Clock()
    counters = MemoryCounters(clock)
    for number in range(1000):
        clock.now += 1
        assert counters.hit(f"k{number}", 1, 2).allowed
    assert len(counters) <= 20
    for number in range(100):
        assert counters.hit(f"quota{number}", 1, 0).allowed
    assert not any(counters.hit(f"quota{number}", 1, 0).allowed for number in range(100))


def run(threads, work):
    """Run `work(number)` in so many threads, all started together, and give what they return."""
    start, results = threading.Barrier(threads), [None] * threads

    def body(number):
        start.wait()
        results[number] = work(number)

    running = [threading.Thread(target=body, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return results


def test_eight_threads_pass_exactly_the_quota():
    counters = MemoryCounters(Clock())
    passed = run(8, lambda _: sum(counters.hit("k", 40_000, 0).allowed for _ in range(12_500)))
    assert sum(passed) == 40_000


def test_eight_threads_pass_exactly_the_rate_under_a_held_clock():
    clock = Clock()
    counters = MemoryCounters(clock)
    total = 0
    for _ in range(10):
        total += sum(run(8, lambda _: sum(counters.hit("k", 777, 1).allowed for _ in range(1_250))))
        clock.now += 1
    assert total == 10 * 777


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 4), st.sampled_from([0.0, 1.0, 2.5]), st.integers(0, 2))),
)
def test_never_more_than_the_limit_in_a_window(steps):
    clock = Clock(0.0)
    counters = MemoryCounters(clock)
    for key, limit, window, wait in steps:
        clock.now += wait
        hit = counters.hit(key, limit, window)
        assert 1 <= hit.passed <= limit if hit.allowed else hit.passed >= limit
        assert hit.resets == 0.0 or hit.resets > clock.now
