"""Tells log and metrics what becomes of each request, and of each hook."""

from __future__ import annotations

import asyncio
import collections
import contextvars
from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import urlsplit

from tykbridge import flow
from tykbridge.failures import one_line
from tykbridge.gateway.logs import Log
from tykbridge.gateway.metrics import Metrics
from tykbridge.gateway.server import Gateway
from tykbridge.gateway.visit import Visit, current

GONE = 499
"""The status in log and metrics of a request whose client left before it was answered, as nginx has it."""

_PATH = 1_000  # characters of a path in the log
_LATER = 0.02  # seconds until a request is told of: to tell of many at once costs much less than one by one
_Item = TypeVar("_Item")
_PHASES = {number: str(phase) for phase, number in flow.TYPES.items()}


class Recorder:
    """A `visit.Observer` and a `server.Part`, and `Services.timed`.

    Args:
        log: where a line goes for each request, and, at level debug, for each hook.
        metrics: what counts them.
    """

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics
        # Not told yet. Who takes one, in one step, tells of it.
        self._ended: collections.deque[Visit] = collections.deque()
        self._ran: collections.deque[tuple[flow.Step, float, bool]] = collections.deque()
        self._is_due = False  # written by the event loop alone
        log.earlier = metrics.earlier = self.tell

    async def start(self, gateway: Gateway) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End: everything is in the log."""
        self.tell()

    def begin(self, visit: Visit) -> None:
        """Hear of a request that has come."""
        self._metrics.begin_request()

    def end(self, visit: Visit) -> None:
        """Hear that it is over. The log has it a little later, and before anything that is written there meanwhile."""
        self._metrics.end_request(visit.api_id, visit.status or GONE, visit.ended - visit.began)
        self._ended.append(visit)
        if not self._is_due:
            self._is_due = True
            # The context of one request would be that of all of them.
            asyncio.get_running_loop().call_later(_LATER, self._tell_due, context=contextvars.Context())

    def _tell_due(self) -> None:
        self._is_due = False
        self.tell()

    def tell(self) -> None:
        """Tell of what has not been told yet. From any thread."""
        for step, seconds, failed in _taken(self._ran):
            self._metrics.observe_hook(step.api_id, _PHASES[step.hook_type], step.name, seconds, failed)
        is_told = self._log.tells("info")
        for visit in _taken(self._ended):
            if is_told:
                self._tell_of(visit)

    def _tell_of(self, visit: Visit) -> None:
        # Its query, in which there may be a token, is told nobody.
        seconds, status, path = visit.ended - visit.began, visit.status or GONE, path_of(visit.target)
        self._log.line(
            visit.at + seconds,
            f"{visit.method} {path} {status}",
            "info",
            {
                "prefix": "access",
                "api_id": visit.api_id,
                "method": visit.method,
                "path": path,
                "status": status,
                "seconds": seconds,
                "hooks_seconds": visit.hooks,
                "client": visit.client,
                # The proxy has written a line of its own about a failure.
                "why": one_line(visit.failure, _PATH) if status < 500 else "",
                "request_id": visit.request_id,
            },
        )

    def hook(self, step: flow.Step, seconds: float, failed: bool) -> None:
        """Hear of a hook that ran, on its thread."""
        visit = current.get()
        if visit is not None:
            visit.hooks += seconds
        self._ran.append((step, seconds, failed))
        if self._log.tells("debug"):
            words = f'{_PHASES[step.hook_type]} hook "{step.name}" {"failed" if failed else "ran"}'
            self._log.write(words, "debug", prefix="hook", api_id=step.api_id, seconds=seconds)


def _taken(queue: collections.deque[_Item]) -> Iterator[_Item]:
    """Take what is in a queue, from which others may take as well."""
    while queue:
        try:
            yield queue.popleft()
        except IndexError:  # another thread has it
            return


def path_of(target: str) -> str:
    """Give the path of a request's target for the log: of a whole URL not what comes before it, and never a query."""
    path = target.partition("?")[0]
    if not path.startswith("/"):
        path = urlsplit(path).path or "/"
    return one_line(path, _PATH)
