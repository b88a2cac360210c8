"""Counts requests and hooks, and tells Prometheus.

prometheus_client writes what was counted. Its own counters take two to three times as long, which each hook and each
request would pay, and keep what a configuration says no more.

Labels are bounded: APIs and hooks are those of the configuration in use, and what it says no more is dropped when
somebody asks next; a status has three digits.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from tykbridge import flow, locks
from tykbridge._version import __version__
from tykbridge.bridge import Bridge

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BOUNDS = (*map(str, _SECONDS), "+Inf")
_PHASES = {number: str(phase) for phase, number in flow.TYPES.items()}
_HOOK = ("api_id", "phase", "hook")

Hook = tuple[str, str, str]
"""API id, phase, and name."""


class _Times:
    """How often something happened, how long it took, and how often it failed."""

    __slots__ = ("_counts", "_lock", "failures", "total")

    def __init__(self) -> None:
        self._lock = locks.lock()  # held for a few steps that call nobody; guards the rest
        self._counts = [0] * len(_BOUNDS)  # by the bound that the seconds do not exceed
        self.total, self.failures = 0.0, 0

    def add(self, seconds: float, failed: bool = False) -> None:
        at = bisect_left(_SECONDS, seconds)
        with self._lock:
            self._counts[at] += 1
            self.total += seconds
            self.failures += failed

    def buckets(self) -> list[tuple[str, float]]:
        """Give how often it took no longer than each bound, as Prometheus has it."""
        return list(zip(_BOUNDS, accumulate(self._counts), strict=True))


class Metrics(Collector):
    """What is counted of a bridge's requests. Its methods may be called from any thread, but for those of requests.

    Attributes:
        earlier: is called before it is told: whoever holds something back counts it now.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self.earlier: Callable[[], None] = lambda: None
        # By the event loop alone.
        self._begun = self._ended = 0
        self._statuses: dict[tuple[str, int], int] = {}
        self._requests: dict[str, _Times] = {}
        # By any thread: an entry is made in one step, and counts for itself.
        self._hooks: dict[Hook, _Times] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def begin_request(self) -> None:
        """Count a request that has come. On the event loop."""
        self._begun += 1

    def end_request(self, api_id: str, status: int, seconds: float) -> None:
        """Count one that is over; `api_id` is "" where no API is for it. On the event loop."""
        self._ended += 1
        key = (api_id, status)
        self._statuses[key] = self._statuses.get(key, 0) + 1
        times = self._requests.get(api_id)
        if times is None:
            times = self._requests[api_id] = _Times()
        times.add(seconds)

    def observe_hook(self, api_id: str, phase: str, hook: str, seconds: float, failed: bool) -> None:
        """Count a hook that ran."""
        key = (api_id, phase, hook)
        times = self._hooks.get(key)
        if times is None:
            times = self._hooks.setdefault(key, _Times())
        times.add(seconds, failed)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Give all of it in Prometheus' format, and the type of that. On the event loop.

        `accept` is what the client can read.
        """
        self.earlier()
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind

    def describe(self) -> list[Metric]:
        """Nothing is known before it is counted."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give what was counted."""
        self._forget()
        requests = CounterMetricFamily(
            "tykbridge_requests", "Requests by API and status; 499: the client left", labels=("api_id", "status")
        )
        for (api_id, status), count in self._statuses.items():
            requests.add_metric((api_id, str(status)), count)
        yield requests
        durations = HistogramMetricFamily(
            "tykbridge_request_seconds",
            "Seconds from a request to the end of its response, upstream and hooks included",
            labels=("api_id",),
        )
        for api_id, times in self._requests.items():
            durations.add_metric((api_id,), times.buckets(), times.total)
        yield durations
        under_way = self._begun - self._ended
        yield GaugeMetricFamily("tykbridge_requests_in_progress", "Requests that are being answered", value=under_way)
        yield from self._of_hooks()
        yield from self._state()

    def _of_hooks(self) -> Iterator[Metric]:
        hooks = HistogramMetricFamily(
            "tykbridge_hook_seconds", "Seconds that a hook took, waiting included", labels=_HOOK
        )
        failures = CounterMetricFamily(
            "tykbridge_hook_failures", "Hooks that failed, or wrote what no hook may write", labels=_HOOK
        )
        for hook, times in list(self._hooks.items()):
            hooks.add_metric(hook, times.buckets(), times.total)
            failures.add_metric(hook, times.failures)
        yield hooks
        yield failures

    def _state(self) -> Iterator[Metric]:
        """Ask others how things are at this moment."""
        yield InfoMetricFamily(
            "tykbridge_build", "What runs", value={"version": __version__, "python": platform.python_version()}
        )
        yield GaugeMetricFamily("tykbridge_apis", "APIs that run", value=len(self._bridge.chains))
        queue = self._bridge.services.queue
        if queue is None:
            return
        waiting = GaugeMetricFamily("tykbridge_events_waiting", "Events that wait for a handler", labels=("kind",))
        events = CounterMetricFamily("tykbridge_events", "Events for handlers, by outcome", labels=("kind", "outcome"))
        for kind, counts in queue.counts().items():
            waiting.add_metric((kind,), counts.waiting)
            for outcome in ("delivered", "failed", "held", "dropped"):
                events.add_metric((kind, outcome), getattr(counts, outcome))
        yield waiting
        yield events

    def _forget(self) -> None:
        """Drop what the configuration in use says nothing of."""
        chains = self._bridge.chains
        hooks = {
            (api_id, _PHASES[step.hook_type], step.name)
            for api_id, chain in chains.items()
            for steps in chain.steps.values()
            for step in steps
        }
        for hook in [hook for hook in list(self._hooks) if hook not in hooks]:
            self._hooks.pop(hook, None)
        for key in [key for key in self._statuses if key[0] and key[0] not in chains]:
            del self._statuses[key]
        for api_id in [api_id for api_id in self._requests if api_id and api_id not in chains]:
            del self._requests[api_id]
