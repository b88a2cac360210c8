"""Puts a program under load, and tells whether what its process uses stays what it was."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

SAMPLES = 20
BOUND_KB = 8192  # above the first half's peak
SLACK = 16  # descriptors, and threads, above it: those of one moment

_PAGE_KB = os.sysconf("SC_PAGESIZE") // 1024


class Usage(NamedTuple):
    """What a process uses at one moment."""

    memory: int  # KB
    descriptors: int
    threads: int


def usage(pid: int | str = "self") -> Usage:
    """Look at a process."""
    at = Path("/proc", str(pid))
    return Usage(resident_kb(pid), len(os.listdir(at / "fd")), len(os.listdir(at / "task")))


def resident_kb(pid: int | str = "self") -> int:
    """Memory of a process."""
    return int(Path("/proc", str(pid), "statm").read_text().split()[1]) * _PAGE_KB


def growth(series: Sequence[int]) -> int:
    """Give by how much the second half's peak is above the first one's, of which the very first is no part."""
    half = len(series) // 2
    return max(series[half:]) - max(series[1:half] or series[:1])


def held(series: Sequence[int]) -> str:
    """Tell the memory that a process used over time. SystemExit: it grew."""
    grown = growth(series)
    words = f"resident memory, KB: {' '.join(map(str, series))}\ngrowth: {grown} KB (bound: {BOUND_KB} KB)"
    if grown > BOUND_KB:
        sys.exit(words)
    return words


def steady(series: Sequence[Usage]) -> str:
    """Tell all that a process used over time. SystemExit: something of it grew."""
    words = held([each.memory for each in series])
    for name in ("descriptors", "threads"):
        counts = [getattr(each, name) for each in series]
        words += f"\n{name}: {counts[len(counts) // 2 - 1]} in the middle, {counts[-1]} at the end"
        if growth(counts) > SLACK:
            sys.exit(f"{words}; all: {counts}")
    return words


class Load:
    """Threads that send requests one after the other; `send` raises where an answer is wrong.

    Attributes:
        threads: how many.
        faults: what `send` raised; the first one ends all.
    """

    def __init__(self, threads: int = 4) -> None:
        self.threads = threads
        self.faults: list[str] = []
        self._counts = [0] * threads  # each written by one thread
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def send(self, thread: int, number: int) -> None:
        """Send the so-manieth request of a thread, and check the answer."""
        raise NotImplementedError

    @property
    def count(self) -> int:
        """How many requests were answered."""
        return sum(self._counts)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, thread: int) -> None:
        try:
            for number in itertools.count():
                if self._over.is_set() or self.faults:
                    return
                self.send(thread, number)
                self._counts[thread] += 1
        except BaseException as error:
            self.faults.append(repr(error))


def under(
    load: Load, seconds: float, period: float, act: Callable[[int], None], pid: int | str = "self"
) -> list[Usage]:
    """Let a load run for so long, call `act` with 1, 2 and so on each period, and look at a process meanwhile.

    SystemExit: the load found a fault.
    """
    series: list[Usage] = []
    began = time.monotonic()
    with load:
        for number in itertools.count(1):
            time.sleep(max(0.0, began + number * period - time.monotonic()))
            if load.faults or time.monotonic() > began + seconds:
                break
            act(number)
            if time.monotonic() > began + seconds / SAMPLES * (len(series) + 1):
                series.append(usage(pid))
    if load.faults:
        sys.exit(load.faults[0])
    return series
