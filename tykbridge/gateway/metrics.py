"""Counts requests and hooks, and tells Prometheus.

Labels are bounded: APIs and hooks are those of the configuration in use, and what it says no more is dropped when
somebody asks next; a status has three digits.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tykbridge import flow
from tykbridge._version import __version__
from tykbridge.bridge import Bridge

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PHASES = {number: str(phase) for phase, number in flow.TYPES.items()}
_HOOK = ("api_id", "phase", "hook")

Hook = tuple[str, str, str]
"""API id, phase, and name."""


class Metrics:
    """What is counted of a bridge's requests. Safe to use from any thread."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "tykbridge_requests",
            "Requests by API and status; 499: the client left",
            ("api_id", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "tykbridge_request_seconds",
            "Seconds from a request to the end of its response, upstream and hooks included",
            ("api_id",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._under_way = Gauge("tykbridge_requests_in_progress", "Requests that are being answered", registry=registry)
        self._hook_seconds = Histogram(
            "tykbridge_hook_seconds",
            "Seconds that a hook took, waiting included",
            _HOOK,
            buckets=_SECONDS,
            registry=registry,
        )
        self._hook_failures = Counter(
            "tykbridge_hook_failures", "Hooks that failed, or wrote what no hook may write", _HOOK, registry=registry
        )
        # To ask a metric for its child costs more than to count on that. A child that is dropped by `_forget` on one
        # thread while another counts on it loses that count, and is not there any more.
        self._hooks: dict[Hook, tuple[Histogram, Counter]] = {}
        self._statuses: dict[tuple[str, int], Counter] = {}
        self._durations: dict[str, Histogram] = {}
        Info("tykbridge_build", "What runs", registry=registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        ProcessCollector(registry=registry)
        registry.register(_State(bridge))

    def begin_request(self) -> None:
        """Count a request that has come."""
        self._under_way.inc()

    def end_request(self, api_id: str, status: int, seconds: float) -> None:
        """Count one that is over; `api_id` is "" where no API is for it."""
        self._under_way.dec()
        counter = self._statuses.get((api_id, status))
        if counter is None:
            counter = self._statuses[api_id, status] = self._requests.labels(api_id, str(status))
        counter.inc()
        histogram = self._durations.get(api_id)
        if histogram is None:
            histogram = self._durations[api_id] = self._request_seconds.labels(api_id)
        histogram.observe(seconds)

    def observe_hook(self, api_id: str, phase: str, hook: str, seconds: float, failed: bool) -> None:
        """Count a hook that ran."""
        key = (api_id, phase, hook)
        counted = self._hooks.get(key)
        if counted is None:
            counted = self._hooks[key] = (self._hook_seconds.labels(*key), self._hook_failures.labels(*key))
        counted[0].observe(seconds)
        if failed:
            counted[1].inc()

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Give all of it in Prometheus' format, and the type of that; `accept` is what the client can read."""
        self._forget()
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind

    def _forget(self) -> None:
        """Drop what the configuration in use says nothing of."""
        chains = self._bridge.chains
        hooks = {
            (api_id, _PHASES[step.hook_type], step.name)
            for api_id, chain in chains.items()
            for steps in chain.steps.values()
            for step in steps
        }
        for key in [key for key in list(self._hooks) if key not in hooks]:
            self._hooks.pop(key, None)
            self._hook_seconds.remove(*key)
            self._hook_failures.remove(*key)
        for api_id, status in [key for key in list(self._statuses) if key[0] and key[0] not in chains]:
            self._statuses.pop((api_id, status), None)
            self._requests.remove(api_id, str(status))
        for api_id in [key for key in list(self._durations) if key and key not in chains]:
            self._durations.pop(api_id, None)
            self._request_seconds.remove(api_id)


class _State(Collector):
    """What is asked of others at the moment in which somebody wants to know."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def collect(self) -> Iterator[Metric]:
        """Ask them."""
        yield GaugeMetricFamily("tykbridge_apis", "APIs that run", value=len(self._bridge.chains))
        queue = self._bridge.services.queue
        if queue is None:
            return
        waiting = GaugeMetricFamily("tykbridge_events_waiting", "Events that wait for a handler", labels=["kind"])
        events = CounterMetricFamily("tykbridge_events", "Events for handlers, by outcome", labels=["kind", "outcome"])
        for kind, counts in queue.counts().items():
            waiting.add_metric([kind], counts.waiting)
            for outcome in ("delivered", "failed", "held", "dropped"):
                events.add_metric([kind, outcome], getattr(counts, outcome))
        yield waiting
        yield events
