"""Tells log and metrics what becomes of each request, and of each hook."""

from __future__ import annotations

from urllib.parse import urlsplit

from tykbridge import flow
from tykbridge.failures import one_line
from tykbridge.gateway.logs import Log
from tykbridge.gateway.metrics import Metrics
from tykbridge.gateway.visit import Visit, current

GONE = 499
"""The status in log and metrics of a request whose client left before it was answered, as nginx has it."""

_PATH = 1_000  # characters of a path in the log
_PHASES = {number: str(phase) for phase, number in flow.TYPES.items()}


class Recorder:
    """A `visit.Observer`, and `Services.timed`.

    Args:
        log: where a line goes for each request, and, at level debug, for each hook.
        metrics: what counts them.
    """

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics

    def begin(self, visit: Visit) -> None:
        """Hear of a request that has come."""
        self._metrics.begin_request()

    def end(self, visit: Visit) -> None:
        """Hear that it is over. Its query, in which there may be a token, is told nobody."""
        seconds, status = visit.ended - visit.began, visit.status or GONE
        self._metrics.end_request(visit.api_id, status, seconds)
        if self._log.tells("info"):
            path = path_of(visit.target)
            self._log.write(
                f"{visit.method} {path} {status}",
                "info",
                prefix="access",
                api_id=visit.api_id,
                method=visit.method,
                path=path,
                status=status,
                seconds=seconds,
                hooks_seconds=visit.hooks,
                client=visit.client,
                why=one_line(visit.failure, _PATH) if status < 500 else "",  # the proxy has written a line of its own
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
