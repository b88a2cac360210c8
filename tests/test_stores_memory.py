from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tykbridge.stores.memory import MemoryStore


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


def test_get_set_delete(store: MemoryStore) -> None:
    assert store.get("a") is None
    store.set("a", b"1")
    store.set("a", b"2")
    assert store.get("a") == b"2"
    assert store.delete("a")
    assert not store.delete("a")
    assert store.get("a") is None


@pytest.mark.parametrize("ttl", [0, -1])
def test_without_a_time_it_stays(store: MemoryStore, clock: Clock, ttl: int) -> None:
    store.set("a", b"1", ttl)
    clock.now += 1e9
    assert store.get("a") == b"1"


def test_time_is_over_after_ttl_seconds(store: MemoryStore, clock: Clock) -> None:
    store.set("a", b"1", 10)
    clock.now += 9.5
    assert store.get("a") == b"1"
    clock.now += 0.5
    assert store.get("a") is None
    assert not store.delete("a")


def test_setting_again_sets_the_time_again(store: MemoryStore, clock: Clock) -> None:
    store.set("a", b"1", 10)
    store.set("b", b"1", 10)
    store.set("a", b"2", 100)
    store.set("b", b"2")
    clock.now += 50
    store.set("c", b"3")
    assert (store.get("a"), store.get("b")) == (b"2", b"2")
    store.set("a", b"3", 1)
    clock.now += 2
    assert store.get("a") is None


def test_what_is_over_takes_no_room(store: MemoryStore, clock: Clock) -> None:
    for number in range(1000):
        store.set(f"key-{number}", b"", 10)
    assert len(store) == 1000
    clock.now += 10
    store.set("one more", b"")
    assert len(store) == 1


def test_one_key_over_and_over_takes_no_room(store: MemoryStore) -> None:
    for number in range(10_000):
        store.set("a", b"%d" % number, 1000 + number)
    assert len(store._deadlines) < 100
    assert store.get("a") == b"9999"


def test_deleted_keys_take_no_room(store: MemoryStore, clock: Clock) -> None:
    for number in range(10_000):
        store.set(f"key-{number}", b"", 1000)
        store.delete(f"key-{number}")
    assert len(store) == 0
    assert len(store._deadlines) < 100


def test_many_threads(store: MemoryStore) -> None:
    def work(thread: int) -> bool:
        for number in range(500):
            key = f"{thread}-{number % 7}"
            store.set(key, b"%d" % number, 1 + number % 3)
            if store.get(key) != b"%d" % number:
                return False
            store.delete(key)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert len(store) == 0
