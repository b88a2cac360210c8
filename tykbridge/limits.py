"""Counts requests against the rate limit and the quota of a session."""

from __future__ import annotations

import math

from tykbridge.counters import Counters, Hit, MemoryCounters
from tykbridge.session import Denied, Limit, Session

_MOST = 2**63 - 1  # what stores count to
_QUOTA = "quota-"  # before a quota's name


class Window:
    """What a request is counted in.

    Attributes:
        key: its name in the counters.
        limit: requests that pass in it.
        seconds: its length; 0 or less: it never ends.
        is_quota: a quota, otherwise a rate limit.
        is_own: the limit is the session's own, not that of an API in it.
    """

    def __init__(self, key: str, limit: int, seconds: float, is_quota: bool, is_own: bool) -> None:
        self.key, self.limit, self.seconds = key, limit, seconds
        self.is_quota, self.is_own = is_quota, is_own

    def denied(self, hit: Hit) -> Denied:
        """What the client is told of a request that did not pass."""
        if self.is_quota:
            return Denied(403, "Quota exceeded", "QuotaExceeded", hit.resets)
        return Denied(429, "Rate limit exceeded", "RatelimitExceeded", hit.resets)


def limit_of(session: Session, api_id: str) -> tuple[Limit | Session, str]:
    """Give what limits the use of an API, its own limit or the session, and the scope of its counters."""
    access = session.access_rights.get(api_id)
    if access is None:
        return session, ""
    return session if access.limit.empty else access.limit, access.allowance_scope


def windows(session: Session, key: str, api_id: str, *, rate: bool = True, quota: bool = True) -> tuple[Window, ...]:
    """Give what a request to an API is counted in: the session's rate limit, then its quota.

    `key` names the session in the counters (the stored key, hashed where keys are); `rate` and `quota` are off where
    the API turned them off.
    """
    limit, scope = limit_of(session, api_id)
    name, own = _name(scope, key), limit is session
    found = []
    if rate and limit.rate > 0 and limit.per > 0:
        # Less than one request in `per` seconds is one request in a longer window.
        most, seconds = (int(limit.rate), limit.per) if limit.rate >= 1 else (1, limit.per / limit.rate)
        most = min(most, _MOST)
        found.append(Window(f"rate-limit-{name}", most, seconds, False, own))
    if quota and limit.quota_max > 0:
        found.append(Window(f"{_QUOTA}{name}", limit.quota_max, limit.quota_renewal_rate, True, own))
    return tuple(found)


def quota_keys(session: Session, key: str) -> set[str]:
    """Give the names of all quotas of a session in the counters; `key` as in `windows`."""
    scopes = {"", *(access.allowance_scope for access in session.access_rights.values())}
    return {_QUOTA + _name(scope, key) for scope in scopes}


def _name(scope: str, key: str) -> str:
    return f"{scope}-{key}" if scope else key


def triggers(session: Session, counted: tuple[Window, ...]) -> dict[int, float]:
    """Give the requests of a quota at which the session's monitor wants to be told, with the percentage of each."""
    if not counted or not counted[-1].is_quota:
        return {}
    limit = counted[-1].limit
    wanted = [percent for percent in session.monitor.trigger_limits if 0 < percent <= 100]
    return {math.ceil(limit * percent / 100 - 1e-9): percent for percent in sorted(wanted)}


def count(limits: tuple[Window, ...], counters: Counters) -> Denied | Hit | None:
    """Count a request in each window, in this order, up to the first that is full.

    Returns what the quota came to, None without one. What the store raises goes up: a request that was not counted must
    not pass.
    """
    left = None
    memory = counters if isinstance(counters, MemoryCounters) else None  # compiled, its method is called as one of C
    for window in limits:
        key, limit, seconds = window.key, window.limit, window.seconds
        hit = counters.hit(key, limit, seconds) if memory is None else memory.hit(key, limit, seconds)
        if hit is None:  # of counters that are not ours
            raise TypeError(f"{type(counters).__name__}.hit gave None")
        if not hit.allowed:
            return window.denied(hit)
        if window.is_quota:
            left = hit
    return left
