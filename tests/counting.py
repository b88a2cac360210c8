"""Counts in one store from several processes: `count_together`, and the program that each of them runs.

The program reads a line when all are ready, so that they start together.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import msgspec

from tykbridge.stores.opening import Storage, open_stores

KEY = "quota-shared"


def count(stores: Any, what: str, threads: int, times: int, limit: int) -> int:
    """Counts so often in each of the threads; returns how often it passed, or what the highest sum was."""
    start, results = threading.Barrier(threads), [0] * threads

    def work(number: int) -> None:
        start.wait()
        if what == "hit":
            results[number] = sum(stores.counters.hit(KEY, limit, 3600.0).allowed for _ in range(times))
        else:
            results[number] = max(stores.store.incr(KEY) for _ in range(times))

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(results) if what == "hit" else max(results)


def count_together(storage: Storage, what: str, processes: int, threads: int, times: int, limit: int = 0) -> int:
    """Runs `count` in so many processes; returns what it came to in all of them."""
    command = [sys.executable, "-m", "tests.counting", what, str(threads), str(times), str(limit)]
    running = [
        subprocess.Popen([*command, msgspec.json.encode(storage).decode()], stdin=-1, stdout=-1, text=True)
        for _ in range(processes)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        results = []
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in running:
            said = process.communicate()[0]
            assert process.returncode == 0
            results.append(int(said))
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return sum(results) if what == "hit" else max(results)


def soak(kind: str, total: int) -> str:
    """Lets 64 threads try a few times more than `total` on a store of its own; exactly so many pass."""
    processes, threads = (1, 64) if kind == "memory" else (8, 8)
    times = total // 64 + 100
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        if kind == "memory":
            passed = count(open_stores(Storage()), "hit", threads, times, total)
        elif kind == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            storage = Storage(type="sqlite", path=f"{folder}/data")
            passed = count_together(storage, "hit", processes, threads, times, total)
        else:
            from tests.servers import RedisServer

            # Without appendfsync: a disk's speed is not what is tested.
            server = stack.enter_context(contextlib.closing(RedisServer("--appendonly", "no")))
            passed = count_together(server.storage(timeout=30.0), "hit", processes, threads, times, total)
    assert passed == total, f"{kind}: {passed} of {64 * times} passed, and {total} may"
    tried, seconds = 64 * times, time.monotonic() - began
    return f"{processes} processes of {threads} threads tried {tried} times, {passed} passed, in {seconds:.0f} s"


def main() -> None:
    if sys.argv[1] == "soak":
        print(soak(sys.argv[2], int(sys.argv[3])))
        return
    what, threads, times, limit, storage = sys.argv[1:]
    stores = open_stores(msgspec.json.decode(storage, type=Storage))
    print("ready", flush=True)
    sys.stdin.readline()
    print(count(stores, what, int(threads), int(times), int(limit)))
    stores.store.close()


if __name__ == "__main__":
    main()
