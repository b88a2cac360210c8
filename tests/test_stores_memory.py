from __future__ import annotations

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
