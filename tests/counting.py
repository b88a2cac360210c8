"""Counts in one store from several processes: `count_together`, and the program that each of them runs.

The program reads a line when all are ready, so that they start together.
"""

from __future__ import annotations

import subprocess
import sys
import threading
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


def main() -> None:
    what, threads, times, limit, storage = sys.argv[1:]
    stores = open_stores(msgspec.json.decode(storage, type=Storage))
    print("ready", flush=True)
    sys.stdin.readline()
    print(count(stores, what, int(threads), int(times), int(limit)))
    stores.store.close()


if __name__ == "__main__":
    main()
