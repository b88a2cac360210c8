"""What a session's requests are counted in, and what becomes of them."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tykbridge.counters import Hit, MemoryCounters
from tykbridge.limits import count, limit_of, triggers, windows
from tykbridge.session import AccessDefinition, Denied, Limit, Monitor, Session


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def ask(session, counters, api_id="a", key="key", **options):
    return count(windows(session, key, api_id, **options), counters)


def passing(session, counters, times, api_id="a", key="key", **options):
    return sum(not isinstance(ask(session, counters, api_id, key, **options), Denied) for _ in range(times))


@pytest.mark.parametrize(
    "session",
    [
        Session(),
        Session(rate=0, per=1),
        Session(rate=-1, per=1),
        Session(rate=5, per=0),
        Session(quota_max=0),
        Session(quota_max=-1),
    ],
)
def test_no_limit(session):
    counters = MemoryCounters(Clock())
    assert ask(session, counters) is None
    assert passing(session, counters, 100) == 100
    assert len(counters) == 0


def test_rate():
    clock = Clock()
    counters = MemoryCounters(clock)
    session = Session(rate=2, per=10)
    assert ask(session, counters) is None
    assert ask(session, counters) is None
    denied = Denied(429, "Rate limit exceeded", "RatelimitExceeded", 1010.0)
    assert ask(session, counters) == denied
    assert passing(session, counters, 2, key="other") == 2
    clock.now = 1010.0
    assert passing(session, counters, 5) == 2
    assert passing(session, counters, 5, rate=False) == 5


def test_a_rate_below_one_is_a_longer_window():
    clock = Clock()
    counters = MemoryCounters(clock)
    session = Session(rate=0.5, per=1)
    assert passing(session, counters, 2) == 1
    clock.now = 1001.9
    assert passing(session, counters, 1) == 0
    clock.now = 1002.0
    assert passing(session, counters, 2) == 1


def test_a_rate_beyond_what_stores_count_is_the_most_they_count():
    (window,) = windows(Session(rate=2**63 - 1, per=1), "key", "a")
    assert window.limit == 2**63 - 1
    assert passing(Session(rate=1e300, per=1), MemoryCounters(Clock()), 5) == 5


def test_counters_that_give_nothing_let_nothing_pass():
    class Silent:
        def hit(self, key, limit, window):
            return None

    with pytest.raises(TypeError, match="gave None"):
        ask(Session(rate=1, per=1), Silent())


def test_quota():
    clock = Clock()
    counters = MemoryCounters(clock)
    session = Session(quota_max=2, quota_renewal_rate=60)
    assert ask(session, counters) == Hit(allowed=True, passed=1, resets=1060.0)
    assert passing(session, counters, 1) == 1
    assert ask(session, counters) == Denied(403, "Quota exceeded", "QuotaExceeded", 1060.0)
    assert passing(session, counters, 3, quota=False) == 3
    clock.now = 1060.0
    assert passing(session, counters, 5) == 2


def test_a_quota_that_never_renews():
    clock = Clock()
    counters = MemoryCounters(clock)
    session = Session(quota_max=2, quota_renewal_rate=-1)
    assert passing(session, counters, 3) == 2
    clock.now = 1e12
    assert ask(session, counters) == Denied(403, "Quota exceeded", "QuotaExceeded", 0.0)


def test_the_limit_of_an_api_counts_before_the_sessions():
    limits = {"a": AccessDefinition(limit=Limit(quota_max=1), allowance_scope="a"), "b": AccessDefinition()}
    session = Session(quota_max=3, access_rights=limits)
    counters = MemoryCounters(Clock())
    assert passing(session, counters, 5, "a") == 1
    assert passing(session, counters, 5, "b") == 3
    assert limit_of(session, "a") == (Limit(quota_max=1), "a")
    assert limit_of(session, "c") == limit_of(session, "b") == (session, "")


def test_apis_of_one_scope_share_their_counters():
    limit = Limit(quota_max=3)
    rights = {name: AccessDefinition(limit=limit, allowance_scope="policy") for name in "ab"}
    counters = MemoryCounters(Clock())
    session = Session(access_rights=rights)
    assert passing(session, counters, 2, "a") + passing(session, counters, 2, "b") == 3


def test_what_is_left_of_a_quota_is_no_limit():
    rights = {"a": AccessDefinition(limit=Limit(quota_remaining=5, quota_renews=9))}
    session = Session(quota_max=1, access_rights=rights)
    assert passing(session, MemoryCounters(Clock()), 5) == 1


def test_a_store_that_fails_lets_nothing_pass():
    class Broken:
        def hit(self, key, limit, window):
            raise ConnectionError(key)

        def reset(self, key):
            raise ConnectionError(key)

    with pytest.raises(ConnectionError, match="rate-limit-key"):
        ask(Session(rate=1, per=1), Broken())
    rights = {"a": AccessDefinition(allowance_scope="scope")}
    with pytest.raises(ConnectionError, match="quota-scope-key"):
        ask(Session(quota_max=1, access_rights=rights), Broken())


def test_threads_pass_exactly_what_the_session_allows():
    session = Session(rate=600, per=1, quota_max=5_000)
    clock = Clock()
    counters = MemoryCounters(clock)
    total = []
    for _ in range(10):
        threads = [threading.Thread(target=lambda: total.append(passing(session, counters, 250))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        clock.now += 1
    assert sum(total) == 5_000


def test_whose_limit_a_quota_is():
    rights = {"a": AccessDefinition(limit=Limit(quota_max=2)), "b": AccessDefinition()}
    session = Session(quota_max=5, rate=1, per=1, access_rights=rights)
    assert [(w.limit, w.is_quota, w.is_own) for w in windows(session, "key", "a")] == [(2, True, False)]
    assert [(w.limit, w.is_quota, w.is_own) for w in windows(session, "key", "b")] == [
        (1, False, True),
        (5, True, True),
    ]


@settings(max_examples=200)
@given(
    st.builds(
        Session,
        rate=st.floats(-1, 5),
        per=st.floats(-1, 5),
        quota_max=st.integers(-1, 5),
        quota_renewal_rate=st.integers(-1, 5),
    ),
    st.lists(st.floats(0, 3), max_size=30),
)
def test_never_more_than_the_quota(session, waits):
    clock = Clock()
    counters = MemoryCounters(clock)
    passed = 0
    for wait in waits:
        clock.now += wait
        passed += passing(session, counters, 1)
    if session.quota_max > 0 and session.quota_renewal_rate <= 0:
        assert passed <= session.quota_max
    elif session.quota_max <= 0 and (session.rate <= 0 or session.per <= 0):
        assert passed == len(waits)


def test_where_a_quotas_monitor_wants_to_be_told():
    wanted = [80.0, 55.5, 100.0, 0.0, -1.0, 100.5, float("inf"), float("nan")]  # a plugin's session may hold any
    session = Session(quota_max=10, rate=1, per=1, monitor=Monitor(wanted))
    assert triggers(session, windows(session, "key", "a")) == {6: 55.5, 8: 80.0, 10: 100.0}
    assert triggers(session, windows(session, "key", "a", quota=False)) == {}
    assert triggers(session, ()) == {}
