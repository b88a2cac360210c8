"""Authentication, limits and what may not pass, through the Python class with stores of the test's own."""

import json
import threading

import pytest

from tests import cases
from tykbridge import Bridge, _bridge
from tykbridge.counters import MemoryCounters
from tykbridge.outcome import Continue, Request, Respond
from tykbridge.policies import read_policies_text
from tykbridge.services import Services
from tykbridge.session import Origin, Session, decode, encode
from tykbridge.stores.memory import MemoryStore

MIDDLEWARE = str(cases.HERE / "middleware.py")


def definition(**keys):
    hooks = keys.pop("hooks", {})
    section = {"driver": "python", **keys.pop("section", {})}
    for phase, value in hooks.items():
        made = [{"name": name, "path": MIDDLEWARE} for name in ([value] if isinstance(value, str) else value)]
        section[phase] = made[0] if phase == "auth_check" else made
    return {
        "name": "api",
        "api_id": "api",
        "org_id": "org",
        "active": True,
        "use_keyless": False,
        "enable_coprocess_auth": "auth_check" in hooks,
        "use_standard_auth": "auth_check" not in hooks,
        "auth": {"auth_header_name": "Authorization"},
        "proxy": {"listen_path": "/", "target_url": "http://upstream.test/"},
        "custom_middleware": section,
        **keys,
    }


class Events(list):
    def fire(self, event, api_id, org_id, meta):
        self.append((event, meta["Message"], meta["Key"]))


def start(api, **services):
    """A bridge of one API; gives it with its store."""
    store = services.setdefault("sessions", MemoryStore())
    services.setdefault("events", Events())
    services.setdefault("log", lambda words, level: None)
    bridge = Bridge(Services(**services))
    loaded = bridge.load(json.dumps(api))
    assert loaded.apis == ("api",), loaded
    return bridge, store


def ask(bridge, key=None, url="/", headers=()):
    pairs = (*headers, *((("Authorization", key),) if key is not None else ()))
    return bridge.request(Request("GET", url, pairs))


def refusal(outcome):
    assert isinstance(outcome, Respond), outcome
    return outcome.response.status, json.loads(outcome.response.body)["error"]


# ---- Standard auth tokens


@pytest.mark.parametrize("value", ["key", "Bearer key", "bearer  key"])
def test_standard_token(value):
    bridge, store = start(definition(hooks={"post": ["report_session"]}))
    store.set("apikey-key", encode(Session(org_id="org", alias="alice", rate=5, per=1)))
    outcome = ask(bridge, value)
    assert outcome.request.headers == (("Authorization", value), ("X-Report", "org alice None 5"))


@pytest.mark.parametrize(
    ("auth", "request_", "upstream"),
    [
        (
            {"auth_header_name": "X-Key", "use_param": True, "param_name": "key"},
            Request("GET", "/?a=1&key=k&b=2", (("A", "b"),)),
            Request("GET", "/?a=1&b=2", (("A", "b"),)),
        ),
        (
            {"auth_header_name": "X-Key", "use_cookie": True, "cookie_name": "sid"},
            Request("GET", "/", (("Cookie", "a=1; sid=k; b=2"),)),
            Request("GET", "/", (("Cookie", "a=1; b=2"),)),
        ),
        (
            {"auth_header_name": "X-Key"},
            Request("GET", "/", (("x-key", "k"), ("A", "b"))),
            Request("GET", "/", (("A", "b"),)),
        ),
    ],
    ids=["param", "cookie", "header"],
)
def test_token_is_found_and_stripped(auth, request_, upstream):
    for strip in (False, True):
        bridge, store = start(definition(auth=auth, strip_auth_data=strip))
        store.set("apikey-k", encode(Session(org_id="org")))
        assert bridge.request(request_).request == (upstream if strip else request_)


@pytest.mark.parametrize(
    ("session", "status", "text", "event"),
    [
        (Session(org_id="org", expires=99), 401, "Key has expired, please renew", "KeyExpired"),
        (Session(org_id="org", is_inactive=True), 403, "Key is inactive, please renew", "KeyExpired"),
        (Session(org_id="other"), 403, "Access to this API has been disallowed", "AuthFailure"),
        (
            Session(org_id="org", access_rights={"else": {}}),
            403,
            "Access to this API has been disallowed",
            "AuthFailure",
        ),
        (
            Session(org_id="org", origin=Origin.EXTRACTOR, origin_api="api"),
            403,
            "Access to this API has been disallowed",
            "AuthFailure",
        ),
        (Session(org_id="org", apply_policies=["none"]), 403, "Key not authorised", "AuthFailure"),
    ],
    ids=["expired", "inactive", "organisation", "rights", "extractor", "policy"],
)
def test_session_that_may_not(session, status, text, event):
    events = Events()
    bridge, store = start(definition(), events=events, clock=lambda: 100.0)
    store.set("apikey-key", encode(session))
    assert refusal(ask(bridge, "key")) == (status, text)
    assert [(name, message) for name, message, _ in events] == [(event, text)]


def test_policy_applies_at_use():
    policies = read_policies_text(
        json.dumps({"gold": {"org_id": "org", "rate": 1, "per": 60, "access_rights": {"api": {"api_id": "api"}}}})
    ).policies
    bridge, store = start(definition(), policies=policies)
    store.set("apikey-key", encode(Session(org_id="org", apply_policies=["gold"])))
    assert isinstance(ask(bridge, "key"), Continue)
    outcome = ask(bridge, "key")
    assert refusal(outcome) == (429, "Rate limit exceeded")
    assert int(dict(outcome.response.headers)["Retry-After"]) in range(1, 62)
    assert decode(store.get("apikey-key")).rate == 0


def test_changed_session_counts_at_once():
    bridge, store = start(definition())
    store.set("apikey-key", encode(Session(org_id="org")))
    assert isinstance(ask(bridge, "key"), Continue)
    store.set("apikey-key", encode(Session(org_id="org", is_inactive=True)))
    assert refusal(ask(bridge, "key"))[0] == 403
    store.delete("apikey-key")
    assert refusal(ask(bridge, "key"))[0] == 403


def test_paths_of_access_rights():
    rights = {"api": {"api_id": "api", "allowed_urls": [{"url": "^/open/", "methods": ["GET"]}]}}
    bridge, store = start(definition())
    store.set("apikey-key", json.dumps({"org_id": "org", "access_rights": rights}).encode())
    assert isinstance(ask(bridge, "key", "/open/a?x=/"), Continue)
    assert refusal(ask(bridge, "key", "/shut?x=/open/"))[0] == 403


# ---- Both methods


@pytest.mark.parametrize(("base", "alias"), [("custom_auth", "alice"), ("auth_token", "stored"), ("", "stored")])
def test_base_identity(base, alias):
    api = definition(
        hooks={"auth_check": "allow", "post": ["report_session"]},
        use_standard_auth=True,
        base_identity_provided_by=base,
        auth={"auth_header_name": "X-Key"},
    )
    bridge, store = start(api)
    store.set("apikey-k", encode(Session(org_id="org", alias="stored")))
    good = (("X-Key", "k"),)
    assert dict(ask(bridge, "t", headers=good).request.headers)["X-Report"].split()[1] == alias
    assert refusal(ask(bridge, "t"))[0] == 401
    assert refusal(ask(bridge, headers=good))[0] == 403
    store.set("apikey-k", encode(Session(org_id="org", is_inactive=True)))
    assert refusal(ask(bridge, "t", headers=good)) == (403, "Key is inactive, please renew")


@pytest.mark.parametrize("base", ["custom_auth", "auth_token"])
def test_regression_paths_of_the_session_that_is_not_the_base_were_not_held(base):
    api = definition(
        hooks={"auth_check": "allow"},
        use_standard_auth=True,
        base_identity_provided_by=base,
        auth={"auth_header_name": "X-Key"},
    )
    rights = {"api": {"api_id": "api", "allowed_urls": [{"url": "^/open/", "methods": ["GET"]}]}}
    bridge, store = start(api)
    store.set("apikey-k", json.dumps({"org_id": "org", "access_rights": rights}).encode())
    keys = (("X-Key", "k"), ("Authorization", "t"))
    assert isinstance(ask(bridge, url="/open/a", headers=keys), Continue)
    assert refusal(ask(bridge, url="/shut?x=/open/", headers=keys))[0] == 403


# ---- Custom authentication


def test_session_is_stored_under_the_token():
    bridge, store = start(definition(hooks={"auth_check": "allow"}, session_lifetime=60))
    ask(bridge, "key")
    stored = decode(store.get("apikey-key"))
    assert (stored.alias, stored.org_id, stored.metadata) == ("alice", "org", {"token": "key"})
    assert stored.origin is Origin.KEY


def test_extractors_session_is_no_key():
    extractor = {
        "extract_from": "header",
        "extract_with": "value",
        "extractor_config": {"header_name": "Authorization"},
    }
    bridge, store = start(definition(hooks={"auth_check": "allow_cached"}, section={"id_extractor": extractor}))
    assert isinstance(ask(bridge, "value"), Continue)
    (name,) = store._values
    plain, _ = start(definition(), sessions=store)
    assert refusal(ask(plain, name.removeprefix("apikey-")))[0] == 403


def test_token_as_a_variable_is_the_plugins_not_the_extractors_id():
    config = {"header_name": "Authorization"}
    extractor = {"extract_from": "header", "extract_with": "value", "extractor_config": config}
    hooks = {"auth_check": "allow_cached", "post": ["context_variables"]}
    bridge, _ = start(definition(hooks=hooks, section={"id_extractor": extractor}, enable_context_vars=True))
    for _ in range(2):  # by the plugin, then out of the store
        assert dict(ask(bridge, "value").request.headers)["X-Context"] == "/|any||"


class Broken:
    """A store, or counters, of which some operations fail."""

    def __init__(self, *operations):
        self._operations = operations
        self._store = MemoryStore()

    def _do(self, name):
        if name in self._operations:
            raise OSError("the store is gone")

    def get(self, key):
        self._do("get")
        return self._store.get(key)

    def set(self, key, value, ttl=0):
        self._do("set")
        self._store.set(key, value, ttl)

    def delete(self, key):
        return self._store.delete(key)

    def hit(self, key, limit, window):
        self._do("hit")

    def reset(self, key):
        pass


@pytest.mark.parametrize("operation", ["get", "set"])
def test_store_that_fails(operation):
    lines = []
    bridge, _ = start(
        definition(hooks={"auth_check": "allow"}),
        sessions=Broken(operation),
        log=lambda words, level: lines.append((level, words)),
    )
    assert refusal(ask(bridge, "key"))[0] == 503
    assert [(level, "the store is gone" in words) for level, words in lines] == [("error", True)]


def test_counters_that_fail():
    bridge, _ = start(definition(hooks={"auth_check": "allow"}), counters=Broken("hit"))
    assert refusal(ask(bridge, "key"))[0] == 503


def test_stored_session_that_is_none():
    bridge, store = start(definition())
    store.set("apikey-key", b"{")
    assert refusal(ask(bridge, "key"))[0] == 503


def test_event_sink_that_fails():
    class Sink:
        def fire(self, event, api_id, org_id, meta):
            raise OSError("nobody listens")

    lines = []
    bridge, _ = start(definition(), events=Sink(), log=lambda words, level: lines.append(words))
    assert refusal(ask(bridge))[0] == 401
    assert "nobody listens" in lines[-1]


# ---- Limits under threads


@pytest.mark.parametrize("limit", ["quota", "rate"])
def test_exactly_as_many_pass_as_are_allowed(limit):
    clock = [1000.0]
    allowed, rounds, requests = 2_000, 4, 25_000
    session = (
        Session(org_id="org", quota_max=allowed, quota_renewal_rate=60)
        if limit == "quota"
        else Session(org_id="org", rate=allowed, per=60)
    )
    bridge, store = start(definition(), clock=lambda: clock[0], counters=MemoryCounters(lambda: clock[0]))
    store.set("apikey-key", encode(session))
    for _ in range(rounds):
        passed = []

        def send(passed=passed):
            passed.append(sum(isinstance(ask(bridge, "key"), Continue) for _ in range(requests // 8)))

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(passed) == allowed
        clock[0] += 60


def test_a_session_that_a_pre_hook_kept_stays_the_empty_one(tmp_path):
    (tmp_path / "keep.py").write_text(
        "from tyk.decorators import Hook\n"
        "kept = []\n"
        "@Hook\n"
        "def keep(request, session, spec):\n"
        "    kept.append(session)\n"
        "    return request, session\n"
        "@Hook\n"
        "def report(request, session, spec):\n"
        "    request.add_header('X-Report', f'{kept[-1].org_id!r} {session.org_id!r}')\n"
        "    return request, session\n"
    )
    section = {"pre": [{"name": "keep", "path": "keep.py"}], "post": [{"name": "report", "path": "keep.py"}]}
    file = tmp_path / "api.json"
    file.write_text(json.dumps(definition(section=section)))
    store = MemoryStore()
    store.set("apikey-key", encode(Session(org_id="org", quota_max=5)))
    bridge = Bridge(Services(sessions=store, events=Events()))
    assert bridge.load(file).apis == ("api",)
    outcome = ask(bridge, "key")
    assert dict(outcome.request.headers)["X-Report"] == "'' 'org'"


def test_a_quota_that_renews_beyond_all_times_is_shown_as_far_as_a_message_can_tell():
    bridge, store = start(definition(), clock=lambda: 1000.0)
    store.set("apikey-key", encode(Session(org_id="org", quota_max=2**63 - 1, quota_renewal_rate=2**63 - 1)))
    shown = _bridge.message("SessionState", ask(bridge, "key").session)
    assert (shown.quota_remaining, shown.quota_renews) == (2**63 - 2, 2**62)
