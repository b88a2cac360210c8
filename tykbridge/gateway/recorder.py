"""Tells log and metrics what becomes of each request, and of each hook."""

from __future__ import annotations

import asyncio
import collections
import contextvars
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
_LATER = 0.02  # seconds until the log has the line of a request: many are written at once for much less than one by one
_PHASES = {number: str(phase) for phase, number in flow.TYPES.items()}


class Recorder:
    """A `visit.Observer` and a `server.Part`, and `Services.timed`.

    Args:
        log: where a line goes for each request, and, at level debug, for each hook.
        metrics: what counts them.
    """

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics
        self._ended: collections.deque[Visit] = collections.deque()  # who takes one, in one step, writes its line
        log.earlier = self.tell

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
        if self._log.tells("info"):
            if not self._ended:
                # The context of one request would be that of all of them.
                asyncio.get_running_loop().call_later(_LATER, self.tell, context=contextvars.Context())
            self._ended.append(visit)

    def tell(self) -> None:
        """Write what the log has not yet. From any thread."""
        while self._ended:
            try:
                visit = self._ended.popleft()
            except IndexError:  # another thread has it
                return
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
        visit, phase = current.get(), _PHASES[step.hook_type]
        if visit is not None:
            visit.hooks += seconds
        self._metrics.observe_hook(step.api_id, phase, step.name, seconds, failed)
        if self._log.tells("debug"):
            words = f'{phase} hook "{step.name}" {"failed" if failed else "ran"}'
            self._log.write(words, "debug", prefix="hook", api_id=step.api_id, seconds=seconds)


def path_of(target: str) -> str:
    """Give the path of a request's target for the log: of a whole URL not what comes before it, and never a query."""
    path = target.partition("?")[0]
    if not path.startswith("/"):
        path = urlsplit(path).path or "/"
    return one_line(path, _PATH)
