"""`tykbridge serve`, as people run it: a process of its own, asked through real sockets."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

TIMEOUT = 60  # seconds; for what hangs


class Serve:
    """The process.

    Attributes:
        port: where it listens.
        output: what it wrote to standard output until it said how it ends.
        errors: what it wrote to standard error so far: its log.
    """

    def __init__(self, *arguments: object, cwd: Path | None = None, **environment: str) -> None:
        env = {key: value for key, value in os.environ.items() if not key.startswith("TYK_GW_")} | environment
        words = [sys.executable, "-m", "tykbridge", "serve", *map(str, arguments)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd)
        self.output = self.errors = ""
        self._changed = threading.Condition()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line.decode()
            if "Ctrl-C ends it" in self.output:
                break
        else:
            self.process.wait(TIMEOUT)
            self._reading.join(TIMEOUT)
            raise AssertionError(f"it did not start: {self.errors}")
        found = re.search(r"listens on http://\S+:(\d+)", self.output)
        assert found is not None, self.output
        self.port = int(found[1])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.errors += line.decode(errors="replace")
                self._changed.notify_all()

    def wait_for(self, words: str, start: int = 0) -> None:
        """Wait until these words are in the log, behind its first `start` characters."""
        with self._changed:
            assert self._changed.wait_for(lambda: words in self.errors[start:], TIMEOUT), (words, self.errors[start:])

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; gives the status."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    def close(self) -> None:
        """End it, if it has not ended, and read what is left of its log."""
        self.process.kill()
        self.process.wait(TIMEOUT)
        self._reading.join(TIMEOUT)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@contextlib.contextmanager
def serving(*arguments: object, **options: object) -> Iterator[Serve]:
    """Run it until the block is over."""
    serve = Serve(*arguments, **options)  # type: ignore[arg-type]
    try:
        yield serve
    finally:
        serve.close()
