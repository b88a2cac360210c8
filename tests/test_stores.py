"""What all stores have to do: one suite, run on memory, an SQLite file and a real Redis."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.counting import KEY, count, count_together
from tests.servers import RedisServer, until
from tests.token_api import ask, start
from tykbridge.counters import Hit, MemoryCounters
from tykbridge.stores import Lister, StoreError
from tykbridge.stores.memory import MemoryStore
from tykbridge.stores.opening import Storage, Stores, open_stores
from tykbridge.stores.sqlite import SqliteStore

KINDS = ("memory", "sqlite", "redis")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Subject:
    """A store, its counters, and a way to let time pass."""

    kind: str
    store: Any
    counters: Any
    wait: Callable[[float], None]
    storage: Storage


def pass_time(server: RedisServer, seconds: float) -> None:
    """Brings every key so much nearer to its end, as time would."""
    with server.client() as client:
        for key in client.scan_iter():
            left = client.pttl(key)
            if left >= 0:
                client.pexpire(key, left - int(seconds * 1000))


@pytest.fixture(params=KINDS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    clock = Clock()

    def wait(seconds: float) -> None:
        clock.now += seconds

    if request.param == "memory":
        subject = Subject("memory", MemoryStore(clock), MemoryCounters(clock), wait, Storage())
    elif request.param == "sqlite":
        file = SqliteStore(tmp_path / "data", clock=clock)
        subject = Subject("sqlite", file, file, wait, Storage(type="sqlite", path=str(tmp_path / "data")))
    else:
        server = request.getfixturevalue("redis_server")
        opened = open_stores(server.storage())
        subject = Subject(
            "redis", opened.store, opened.counters, lambda seconds: pass_time(server, seconds), server.storage()
        )
    yield subject
    subject.store.close()


@pytest.fixture
def store(subject: Subject) -> Any:
    return subject.store


@pytest.fixture
def counters(subject: Subject) -> Any:
    return subject.counters


# ---- Data


def test_get_set_delete(store: Any) -> None:
    assert store.get("a") is None
    store.set("a", b"1")
    store.set("a", b"2")
    assert store.get("a") == b"2"
    assert store.delete("a") is True
    assert store.delete("a") is False
    assert store.get("a") is None


@pytest.mark.parametrize("value", [b"", b"\0\xff" * 1000, "ä".encode(), b"x" * 2_000_000])
def test_values_are_bytes_of_any_kind(store: Any, value: bytes) -> None:
    store.set("a", value)
    assert store.get("a") == value


@pytest.mark.parametrize("key", ["", "ä", "a\0b", "\udcff\udc80", "\ud800", "a" * 100_000])
def test_keys_are_text_of_any_kind(store: Any, key: str) -> None:
    assert store.get(key) is None
    store.set(key, b"1")
    store.set(key + "x", b"2")
    assert store.get(key) == b"1"
    assert store.incr(key) == 2
    assert store.delete(key)


@pytest.mark.parametrize("ttl", [0, -1])
def test_without_a_time_it_stays(subject: Subject, ttl: int) -> None:
    subject.store.set("a", b"1", ttl)
    subject.wait(1e9)
    assert subject.store.get("a") == b"1"
    assert subject.store.ttl("a") == 0.0


def test_time_is_over_after_ttl_seconds(subject: Subject) -> None:
    store = subject.store
    store.set("a", b"1", 10)
    assert store.ttl("a") == pytest.approx(10, abs=1)
    subject.wait(8)
    assert store.get("a") == b"1"
    assert store.ttl("a") == pytest.approx(2, abs=1)
    subject.wait(2)
    assert store.get("a") is None
    assert store.ttl("a") is None
    assert not store.delete("a")


def test_parts_of_seconds_count(subject: Subject) -> None:
    subject.store.set("a", b"1", 0.75)
    assert 0.0 < subject.store.ttl("a") <= 0.75
    subject.wait(0.75)
    assert subject.store.get("a") is None


def test_a_time_may_be_longer_than_anybody_lives(store: Any) -> None:
    store.set("a", b"1", 9.2e18)
    assert store.get("a") == b"1"
    assert store.ttl("a") > 1e9


def test_time_passes_by_itself(subject: Subject, tmp_path: Path) -> None:
    opened = open_stores(subject.storage)
    opened.store.set("a", b"1", 0.02)
    until(lambda: opened.store.get("a") is None)
    assert opened.counters.hit("k", 1, 0.02).allowed
    until(lambda: opened.counters.hit("k", 1, 0.02).allowed)
    opened.store.close()


def test_setting_again_sets_the_time_again(subject: Subject) -> None:
    store = subject.store
    store.set("a", b"1", 10)
    store.set("b", b"1", 10)
    store.set("a", b"2", 100)
    store.set("b", b"2")
    subject.wait(50)
    assert (store.get("a"), store.get("b")) == (b"2", b"2")
    store.set("a", b"3", 1)
    subject.wait(1)
    assert store.get("a") is None


def test_add_sets_only_what_is_not_there(subject: Subject) -> None:
    store = subject.store
    assert store.add("a", b"1", 10) is True
    assert store.add("a", b"2") is False
    assert store.get("a") == b"1"
    subject.wait(10)
    assert store.add("a", b"3") is True
    assert (store.get("a"), store.ttl("a")) == (b"3", 0.0)


def test_names_are_those_of_what_is_there(subject: Subject) -> None:
    store = subject.store
    assert isinstance(store, Lister)
    wanted = {"apikey-a", "apikey-*[b]?\\^-", "apikey-ü\udcff"}
    for key in (*wanted, "apikez", "quota-apikey-a", "apikey"):
        store.set(key, b"1")
    store.set("apikey-gone", b"1", 5)
    store.set("apikey-deleted", b"1")
    store.delete("apikey-deleted")
    subject.wait(6)
    assert set(store.names("apikey-")) == wanted
    assert store.names("apikey-*") == ["apikey-*[b]?\\^-"]
    assert store.names("nobody") == []
    for number in range(2500):  # more than a server gives at once
        store.set(f"many-{number}", b"1")
    assert sorted(store.names("many-")) == sorted(f"many-{number}" for number in range(2500))


def test_of_several_that_add_one_does(store: Any) -> None:
    for number in range(20):
        start = threading.Barrier(8)

        def add(_: int, number: int = number, start: threading.Barrier = start) -> bool:
            start.wait()
            return bool(store.add(f"key-{number}", b"1"))

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(add, range(8))) == 1


# ---- Numbers


def test_incr_begins_with_nothing_and_reads_as_digits(subject: Subject) -> None:
    store = subject.store
    assert [store.incr("a"), store.incr("a", 41), store.incr("a", -50)] == [1, 42, -8]
    assert store.get("a") == b"-8"
    assert store.ttl("a") == 0.0
    store.set("b", b"7", 10)
    assert store.incr("b") == 8
    assert store.ttl("b") == pytest.approx(10, abs=1)
    subject.wait(10)
    assert store.incr("b") == 1
    assert store.ttl("b") == 0.0


@pytest.mark.parametrize("value", [b"", b"x", b"1.5", b" 1", b"+1", b"01", b"-0", b"1\0", b"0x10", str(2**63).encode()])
def test_incr_refuses_what_is_no_whole_number(store: Any, value: bytes) -> None:
    store.set("apikey-secret", value)
    with pytest.raises(StoreError) as caught:
        store.incr("apikey-secret")
    assert "apikey-" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert store.get("apikey-secret") == value


@pytest.mark.parametrize(
    ("start", "by"), [(2**63 - 1, 1), (-(2**63), -1), (2**62, 2**62), (0, 2**63), (0, -(2**63) - 1)]
)
def test_incr_refuses_what_64_bits_do_not_hold(store: Any, start: int, by: int) -> None:
    store.set("a", b"%d" % start)
    with pytest.raises(StoreError):
        store.incr("a", by)
    assert store.get("a") == b"%d" % start


# ---- Counters


def near(hit: Hit, allowed: bool, passed: int, left: float, now: float) -> bool:
    return (hit.allowed, hit.passed) == (allowed, passed) and abs(hit.resets - now - left) < 2


def now_of(subject: Subject) -> float:
    return subject.counters.hit("clock", 1, 1000).resets - 1000


def test_a_window_begins_with_its_first_request(subject: Subject) -> None:
    counters, now = subject.counters, now_of(subject)
    assert near(counters.hit("k", 2, 10), True, 1, 10, now)
    subject.wait(5)
    second = counters.hit("k", 2, 10)
    assert second.allowed
    assert second.passed == 2
    third = counters.hit("k", 2, 10)
    assert (third.allowed, third.passed) == (False, 2)
    subject.wait(4)
    assert not counters.hit("k", 2, 10).allowed
    subject.wait(1)
    again = counters.hit("k", 2, 10)
    assert (again.allowed, again.passed) == (True, 1)


def test_a_window_ends_at_one_time_whoever_asks(counters: Any) -> None:
    assert len({round(counters.hit("k", 5, 1000).resets, 2) for _ in range(20)}) <= 2  # a store may count milliseconds


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_may_never_end(subject: Subject, window: int) -> None:
    counters = subject.counters
    assert counters.hit("k", 1, window) == Hit(allowed=True, passed=1, resets=0.0)
    subject.wait(1e9)
    assert counters.hit("k", 1, window) == Hit(allowed=False, passed=1, resets=0.0)
    renewed = counters.hit("k", 1, 5)  # it ends when its limit learns to renew
    assert (renewed.allowed, renewed.passed) == (True, 1)
    assert renewed.resets > 0
    subject.wait(5)
    assert counters.hit("k", 1, window) == Hit(allowed=True, passed=1, resets=0.0)


def test_keys_are_counted_apart_and_can_be_reset(counters: Any) -> None:
    assert counters.hit("a", 1, 0).allowed
    assert counters.hit("b", 1, 0).allowed
    assert not counters.hit("a", 1, 0).allowed
    counters.reset("a")
    counters.reset("unknown")
    assert counters.hit("a", 1, 0).allowed
    assert not counters.hit("b", 1, 0).allowed


def test_a_higher_limit_counts_at_once_and_a_lower_one(counters: Any) -> None:
    assert counters.hit("a", 1, 10).allowed
    assert not counters.hit("a", 1, 10).allowed
    assert counters.hit("a", 3, 10).passed == 2
    hit = counters.hit("a", 1, 10)
    assert (hit.allowed, hit.passed) == (False, 2)


def test_limits_and_windows_may_be_as_large_as_numbers_are(counters: Any) -> None:
    assert counters.hit("a", 2**63 - 1, 9.2e18).allowed
    assert counters.hit("b", 1, 1e-9).allowed


# ---- Many at once


@pytest.mark.parametrize("what", ["hit", "incr"])
def test_many_processes_and_threads_count_exactly(subject: Subject, what: str) -> None:
    """Memory belongs to one process, which has all the threads here. `make soak` counts to a million."""
    processes, times = (1, 1000) if subject.kind == "memory" else (8, 50)
    threads = 64 // processes
    if subject.kind == "memory":
        stores = Stores(subject.store, subject.counters)
        came_to = count(stores, what, threads, times, 40_000)
    else:
        came_to = count_together(subject.storage, what, processes, threads, times, 2_000)
    total = 64 * times
    assert came_to == (min(total, 40_000 if processes == 1 else 2_000) if what == "hit" else total)
    if what == "hit" and subject.kind != "memory":
        opened = open_stores(subject.storage)
        refused = opened.counters.hit(KEY, 2_000, 3600.0)
        assert (refused.allowed, refused.passed) == (False, 2_000)
        opened.store.close()


def test_many_threads_see_what_they_wrote(store: Any) -> None:
    def work(thread: int) -> bool:
        for number in range(100):
            key = f"{thread}-{number % 7}"
            store.set(key, b"%d" % number, 100 + number % 3)
            if store.get(key) != b"%d" % number:
                return False
            store.delete(key)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_and_its_parent_both_go_on(subject: Subject) -> None:
    subject.store.incr("a")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if subject.store.incr("a") == 2 and subject.counters.hit("k", 1, 0).allowed else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    shared = subject.kind != "memory"
    assert subject.store.incr("a") == (3 if shared else 2)
    assert subject.counters.hit("k", 1, 0).allowed is not shared


def test_a_closed_store_says_so(subject: Subject) -> None:
    store = subject.store
    store.set("a", b"1")
    store.close()
    store.close()
    for call in (
        lambda: store.get("a"),
        lambda: store.set("a", b""),
        lambda: store.add("a", b""),
        lambda: store.delete("a"),
        lambda: store.incr("a"),
        lambda: store.ttl("a"),
        lambda: store.names("a"),
    ):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_sessions_and_quotas_of_an_api(subject: Subject, tmp_path: Path) -> None:
    folder = tmp_path / "apis"
    folder.mkdir()
    bridge = start(folder, Stores(subject.store, subject.counters))
    subject.store.set("apikey-key", b'{"org_id": "org", "quota_max": 2, "quota_renewal_rate": 60}')
    assert [ask(bridge, "key") for _ in range(3)] == [200, 200, 403]
    subject.wait(60)
    assert [ask(bridge, "key") for _ in range(3)] == [200, 200, 403]
    assert ask(bridge, "other") == 403
    subject.store.delete("apikey-key")
    assert ask(bridge, "key") == 403
