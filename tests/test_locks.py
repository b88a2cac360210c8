from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tykbridge
from tykbridge import locks
from tykbridge.errors import LoadError

# A thread has the lock while another forks. The child ends by SIGALRM where it waits for it.
FORK = """
import os, signal, threading, warnings
import tykbridge
from tykbridge import locks
warnings.simplefilter("ignore")
lock = locks.{}
held, over = threading.Event(), threading.Event()

def hold():
    with lock:
        held.set()
        over.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    signal.alarm(10)
    with lock:
        os._exit(0)
over.set()
thread.join()
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize("kind", ["lock", "reentrant", "Turn"])
def test_a_forked_child_finds_locks_open(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK.format("Turn('it')" if kind == "Turn" else f"{kind}()")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_locks_are_those_of_threading() -> None:
    with locks.lock() as taken:
        assert taken is True
    again = locks.reentrant()
    with again, again:
        pass


def test_a_thread_that_has_its_turn_is_refused_another() -> None:
    turn = locks.Turn("a loading")
    with turn, pytest.raises(LoadError, match="a loading cannot begin in the middle of another one"), turn:
        pass
    with turn:
        pass


@pytest.mark.once
def test_regression_every_lock_that_is_kept_comes_from_here() -> None:
    package = Path(tykbridge.__file__).parent
    sources = [path for path in package.rglob("*.p*") if path.suffix in (".py", ".pyx", ".pxi")]
    assert len(sources) > 50
    made = re.compile(r"threading\.R?Lock\(")
    assert [path.name for path in sources if made.search(path.read_text())] == ["locks.py"]
