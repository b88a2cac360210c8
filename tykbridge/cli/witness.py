"""Notes what plugins do beside replying: what they print, log and fire."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator

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
        """Note what happens from now on, until the block ends; what is printed goes nowhere else."""
        self._seen = seen = Seen()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                yield seen
            finally:
                seen.printed += printed.getvalue().splitlines()

    def _on_log(self, message: str, level: str) -> None:
        self._seen.logged.append((level, message))

    def fired(self, name: str, payload: str) -> None:
        """Note an event: it came by way of the host, or of a chain's sink."""
        self._seen.events.append((name, payload))
