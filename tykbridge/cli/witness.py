"""Notes what plugins do beside replying: what they print, log and fire."""

from __future__ import annotations

import contextlib
import io
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tykbridge.cli.host import Host, Listener
from tykbridge.steps import Seen


class Witness:
    """The host whom plugins tell what they do."""

    def __init__(self, connect: Callable[[Listener, Listener], Host] = Host) -> None:
        """Start the library through `connect`, which gets the functions for log lines and for events."""
        self._seen = Seen()
        self.host = connect(self._on_log, self.fired)

    @contextlib.contextmanager
    def watching(self) -> Iterator[Seen]:
        """Note what happens from now on, until the block ends; what is printed goes nowhere else.

        Raises KeyboardInterrupt, or whatever else the process's own handler of Ctrl-C raises, also where a plugin was
        at work: of it that would be a hook that failed.
        """
        self._seen = seen = Seen()
        with _interruptible(), contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                yield seen
            finally:
                seen.printed += printed.getvalue().splitlines()

    def _on_log(self, message: str, level: str) -> None:
        self._seen.logged.append((level, message))

    def fired(self, name: str, payload: str) -> None:
        """Note an event: it came by way of the host, or of a chain's sink."""
        self._seen.events.append((name, payload))


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raise at the end what a signal raised meanwhile, wherever it ended; a plugin may raise the same and only fail."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # nothing is raised on this thread
        return
    raised: list[BaseException] = []

    def interrupt(*arguments: Any) -> None:
        __tracebackhide__ = True  # pytest tells where the plugin was
        try:
            before(*arguments)
        except BaseException as error:
            raised.append(error)
            raise

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:  # not what a plugin put there meanwhile
            signal.signal(signal.SIGINT, before)
        if raised:
            raise raised[0]
