"""TykGetKeyData and TykSetKeyData: whose sessions a plugin reads and writes, and what authentication makes of them."""

import json

import pytest

from tests import trees
from tests.scripts import fails, javascript_of
from tykbridge import Bridge, _bridge
from tykbridge.counters import MemoryCounters
from tykbridge.events.queue import EventQueue
from tykbridge.keys import Keys
from tykbridge.outcome import Continue, Request, Respond, Response
from tykbridge.policies import read_policies_text
from tykbridge.services import Services
from tykbridge.session import Origin, Session, decode, encode
from tykbridge.stores import StoreError
from tykbridge.stores.memory import MemoryStore
from tykbridge.stores.opening import Storage, open_stores

pytestmark = pytest.mark.once

NOT_FOUND = {"status": "error", "message": "Key not found"}
RIGHTS = {"closed": {"api_id": "closed", "api_name": "Closed", "versions": ["Default"]}}

CODE = """
function ask(words) {
  var call = JSON.parse(words);
  var got = globalThis[call[0]].apply(null, call.slice(1));
  return typeof got == "string" ? got : String(got);
}
var J = new TykJS.TykMiddleware.NewMiddleware({});
J.NewProcessRequest(function (request, session, config) {
  if (request.Headers.Call) request.SetHeaders.X = ask(request.Headers.Call[0]);
  return J.ReturnData(request, {});
});
var A = new TykJS.TykMiddleware.NewMiddleware({});
A.NewProcessRequest(function (request, session, config) {
  if (request.Headers.Call) ask(request.Headers.Call[0]);
  return A.ReturnAuthData(request, {org_id: "org", rate: 5, per: 1, id_extractor_deadline: 2e9,
    meta_data: {token: request.Headers.Authorization[0]}});
});
var R = new TykJS.TykMiddleware.NewMiddleware({});
R.NewProcessResponse(function (response, request, session, config) {
  response.SetHeaders.X = ask(request.Headers.Call[0]);
  return R.ReturnResponseData(response, {});
});
function V(request, session, config) { return TykJsResponse({Code: 200, Body: ask(request.Headers.Call[0])}); }
var H = new TykJS.TykEventHandlers.NewEventHandler({});
H.NewHandler(function (event, context) {
  var session = JSON.parse(TykGetKeyData(event.Meta.Key, context.APIID));
  session.meta_data.told = event.Type;
  TykSetKeyData(event.Meta.Key, JSON.stringify(session), 1);
});
"""


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: lines.append((level, words)))
    return lines


def hook(name):
    return {"name": name, "path": "keys.js"}


def api(api_id, section=None, **keys):
    return {
        "name": api_id,
        "api_id": api_id,
        "org_id": "org",
        "active": True,
        "use_keyless": False,
        "auth": {"auth_header_name": "Authorization"},
        "proxy": {"listen_path": f"/{api_id}/", "target_url": "http://upstream.test/"},
        "custom_middleware": {"driver": "javascript", **(section or {})},
        **keys,
    }


OPEN = api("open", {"pre": [hook("J")]}, use_keyless=True)
CLOSED = api("closed", use_standard_auth=True)


class Gateway:
    """A bridge of APIs, and what hooks may be told to do in it."""

    def __init__(self, folder, *apis, **services):
        trees.write(folder, {"keys.js": CODE})
        for each in apis:
            (folder / f"{each['api_id']}.json").write_text(json.dumps(each))
        self.bridge = Bridge(Services(**{"log": lambda words, level: None, **services}))
        self.sessions = self.bridge.services.sessions
        self.loaded = self.bridge.load(folder)
        assert self.loaded.not_loaded == ()

    def send(self, api_id, key="", call=None):
        headers = [("Authorization", key)] if key else []
        headers += [("Call", json.dumps(call))] if call else []
        return self.bridge.request(Request("GET", f"/{api_id}/", tuple(headers)))

    def call(self, *call, api_id="open"):
        outcome = self.send(api_id, call=call)
        assert isinstance(outcome, Continue), outcome
        return dict(outcome.request.headers)["X"]

    def get(self, key, api_id="closed", **options):
        return json.loads(self.call("TykGetKeyData", key, api_id, **options))

    def set(self, key, session, *suppress, **options):
        text = session if isinstance(session, str) else json.dumps(session)
        assert self.call("TykSetKeyData", key, text, *suppress, **options) == "undefined"

    def passes(self, key, api_id="closed"):
        outcome = self.send(api_id, key)
        return outcome if isinstance(outcome, Continue) else None


@pytest.fixture
def gateway(tmp_path):
    """Makes gateways of these APIs, or of one that everybody may use, whose hook obeys, and one that takes keys."""
    count = 0

    def make(*apis, **services):
        nonlocal count
        count += 1
        return Gateway(tmp_path / f"apis{count}", *(apis or (OPEN, CLOSED)), **services)

    return make


# ---- What is stored


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
def test_authentication_takes_what_a_hook_wrote(gateway, redis_server, tmp_path, kind, hashed):
    storage = redis_server.storage() if kind == "redis" else Storage(type=kind, path=str(tmp_path / "data"))
    stores, keys = open_stores(storage), Keys(hashed, "sha256")
    own = gateway(sessions=stores.store, counters=stores.counters, keys=keys)
    try:
        assert own.get("kéy") == NOT_FOUND
        assert own.passes("kéy") is None
        written = {"rate": 7, "per": 1, "quota_max": 2, "quota_renewal_rate": 60, "access_rights": RIGHTS}
        own.set("kéy", {**written, "meta_data": {"deep": [1]}, "of_tomorrow": 1})
        seen = _bridge.message("SessionState", own.passes("kéy").session)
        assert (seen.rate, seen.quota_max, seen.quota_remaining, seen.metadata["deep"]) == (7, 2, 1, "[1]")
        assert stores.store.get("apikey-" + keys.hashed("kéy")) is not None
        assert (keys.hashed("kéy") == "kéy") is not hashed
        read = own.get("kéy")
        assert read.items() >= {"org_id": "org", "of_tomorrow": 1, "meta_data": {"deep": [1]}, "rate": 7}.items()
        own.set("kéy", {**read, "is_inactive": True}, 1)
        assert own.passes("kéy") is None
    finally:
        stores.store.close()


def test_what_is_read_has_what_is_empty_too(gateway):
    own = gateway()
    own.sessions.set("apikey-key", encode(Session(org_id="org", quota_max=-1, origin=Origin.KEY)))
    read = own.get("key")
    assert read["meta_data"] == {}
    assert (read["tags"], read["access_rights"], read["expires"], read["alias"], read["quota_max"]) == (
        [],
        {},
        0,
        "",
        -1,
    )
    assert read["basic_auth_data"] == {"password": "", "hash_type": ""}
    assert not {name for name in read if name.startswith("tykbridge")} | {"key_id"} & read.keys()
    own.set("key", read, 1)
    assert decode(own.sessions.get("apikey-key")) == Session(org_id="org", quota_max=-1)


POLICIES = {
    "p": {
        "org_id": "org",
        "access_rights": RIGHTS,
        "quota_max": 1,
        "meta_data": {"of": "policy"},
        "partitions": {"per_api": True},
    },
    "other": {"org_id": "elsewhere", "access_rights": RIGHTS},
}


def test_policies_are_applied_to_what_is_read(gateway):
    own = gateway(policies=read_policies_text(json.dumps(POLICIES)).policies)
    own.set("key", {"apply_policies": ["p"]})
    read = own.get("key")
    assert read["meta_data"] == {"of": "policy"}
    assert read["access_rights"]["closed"].items() >= {"api_name": "Closed", "allowance_scope": "p"}.items()
    assert read["access_rights"]["closed"]["limit"]["quota_max"] == 1
    own.set("bad", {"apply_policies": ["other"], "alias": "refused"})
    assert own.get("bad")["alias"] == "refused"
    assert own.passes("key")
    assert own.passes("bad") is None


@pytest.mark.parametrize(
    ("session", "lifetime", "left"),
    [
        ({}, 0, 0),
        ({"session_lifetime": 50}, 0, 50),
        ({}, 70, 70),
        ({"expires": 1030}, 70, 30),
        ({"expires": 900}, 0, 1),
    ],
)
def test_a_session_is_stored_for_its_lifetime(gateway, session, lifetime, left):
    now = [1000.0]
    opened = {**OPEN, "session_lifetime": lifetime}
    own = gateway(opened, CLOSED, clock=lambda: 1000.0, sessions=MemoryStore(lambda: now[0]))
    own.set("key", {"access_rights": RIGHTS, **session})
    assert own.sessions.ttl("apikey-key") == left


# ---- Quotas


@pytest.mark.parametrize("policies", [[], ["p"]])
@pytest.mark.parametrize(
    ("suppress", "kept"), [(("1",), True), ((1,), True), ((), False), (("0",), False), ((True,), False)]
)
def test_a_quota_begins_anew_unless_that_is_suppressed(gateway, policies, suppress, kept):
    own = gateway(
        policies=read_policies_text(json.dumps(POLICIES)).policies,
        clock=lambda: 1000.5,
        counters=MemoryCounters(lambda: 1000.5),
        keys=Keys(True, "sha256"),
    )
    session = {"quota_max": 1, "quota_renewal_rate": 60, "access_rights": RIGHTS, "apply_policies": policies}
    session |= {"last_updated": "7", "quota_renews": 8}
    own.set("key", session, "1")
    before = own.get("key")
    assert (before["last_updated"], before["quota_renews"]) == ("7", 8)
    assert own.passes("key")
    assert own.passes("key") is None
    own.set("key", session, *suppress)
    assert bool(own.passes("key")) is not kept
    after = own.get("key")
    assert (after["last_updated"], after["quota_renews"]) == (("7", 8) if kept else ("1000", 1060))


# ---- What no plugin gets


def refused(own, said, key, session, words):
    """Asserts that a session is not stored, and that the log says why."""
    before = own.sessions.get(f"apikey-{key}")
    own.set(key, session)
    assert own.sessions.get(f"apikey-{key}") == before
    assert said.pop() == ("error", f"TykSetKeyData: the session was not stored: {words}")


def test_a_session_of_another_organisation(gateway, said):
    own = gateway()
    own.sessions.set("apikey-theirs", encode(Session(org_id="else")))
    assert own.get("theirs") == NOT_FOUND
    taken = "the key is taken, by another organisation or an ID extractor"
    refused(own, said, "theirs", {"access_rights": RIGHTS}, taken)
    words = 'it is of organisation "else", the API of "org"'
    refused(own, said, "new", {"org_id": "else", "access_rights": RIGHTS}, words)
    own.sessions.set("apikey-all", encode(Session(quota_max=-1)))  # of no organisation: everybody's, and stays so
    own.set("all", {**own.get("all"), "alias": "ours"})
    assert (decode(own.sessions.get("apikey-all")).alias, own.get("all")["org_id"]) == ("ours", "")


def test_a_session_of_an_id_extractor_is_no_key(gateway, said):
    extractor = {
        "extract_from": "header",
        "extract_with": "value",
        "extractor_config": {"header_name": "Authorization"},
    }
    custom = api("custom", {"auth_check": hook("A"), "id_extractor": extractor}, enable_coprocess_auth=True)
    written = []

    class Store(MemoryStore):
        def set(self, key, value, ttl=0):
            written.append(key)
            super().set(key, value, ttl)

    own = gateway(OPEN, CLOSED, custom, sessions=Store())
    assert own.passes("key", "custom")
    (place,) = written
    assert decode(own.sessions.get(place)).origin is Origin.EXTRACTOR
    name = place.removeprefix("apikey-")
    assert own.get(name) == NOT_FOUND
    taken = "the key is taken, by another organisation or an ID extractor"
    refused(own, said, name, {"access_rights": RIGHTS}, taken)
    own.sessions.delete(place)
    claimed = {"tykbridge_origin": "extractor", "tykbridge_api": "custom", "tykbridge_id": name}
    own.set(name, {"access_rights": RIGHTS, "id_extractor_deadline": 2**40, **claimed})
    stored = decode(own.sessions.get(place))
    assert (stored.origin, stored.origin_api, stored.origin_id) == (Origin.KEY, "", "")
    assert own.passes(name)


def test_a_key_for_every_api_is_not_made(gateway, said):
    own = gateway()
    words = "without access_rights and policies it would open every API"
    refused(own, said, "new", {"rate": 1}, words)
    refused(own, said, "new", {**own.get("new"), "expires": None}, words)  # as upstream's own example does
    own.set("bounded", {"access_rights": RIGHTS})
    refused(own, said, "bounded", {}, words)
    own.sessions.set("apikey-master", encode(Session(org_id="org")))
    own.set("master", {"alias": "still one"})
    assert own.get("master")["alias"] == "still one"


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("key", "not json", "a session that is no JSON: JSON is malformed: "),
        ("key", "[]", "a session that is no JSON object"),
        ("key", '{"rate": "1"}', "a session that cannot be read: Expected `float`, got `str` - at `$.rate`"),
        ("key", "[" * 100_000, "a session that is no JSON: "),
        ("", '{"access_rights": {"closed": {}}}', "the key is empty"),
    ],
)
def test_what_is_no_session_is_a_line_in_the_log(gateway, said, key, text, words):
    own = gateway()
    assert own.call("TykSetKeyData", key, text) == "undefined"
    ((level, line),) = said
    assert level == "error"
    assert line.startswith(f"TykSetKeyData: the session was not stored: {words}")
    assert len(own.sessions) == 0


# ---- Stores that fail


class Away(MemoryStore):
    def get(self, key):
        raise StoreError("the store is away")


@pytest.mark.parametrize("call", [("TykGetKeyData", "k", "closed"), ("TykSetKeyData", "k", '{"tags": []}')])
def test_a_store_that_fails_is_a_503(gateway, said, call):
    custom = api("custom", {"auth_check": hook("A")}, enable_coprocess_auth=True)
    own = gateway(OPEN, custom, sessions=Away())
    outcome = own.send("custom", "key", call)
    assert (outcome.response.status, outcome.event) == (503, "")
    assert any("the store is away (keys.js:4:" in words for _, words in said)
    assert own.send("open", call=call).response.status == 500


def test_a_stored_session_that_cannot_be_read_is_none(gateway, said):
    own = gateway()
    own.sessions.set("apikey-secret", b"[]")
    for call in (("TykGetKeyData", "secret", ""), ("TykSetKeyData", "secret", json.dumps({"access_rights": RIGHTS}))):
        assert own.send("open", call=call).response.status == 500
        _, words = said.pop()
        assert 'a key "apikey-..." holds a session that is no JSON object' in words
        assert "secret" not in words.partition("\n")[0]
    assert own.sessions.get("apikey-secret") == b"[]"


# ---- Whose sessions


@pytest.mark.parametrize("function", ["TykGetKeyData", "TykSetKeyData"])
def test_without_an_api_there_are_none(tmp_path, function):
    words = "there are no keys here: this runs for no API, but in a dispatch by itself or as code loads"
    bundle = javascript_of(tmp_path / "b", f"{function}('key', '{{}}');")
    try:
        fails(bundle, words)
    finally:
        bundle.script.close()
    with pytest.raises(Exception, match=words):
        javascript_of(tmp_path / "c", code=f"{function}('key', '{{}}');")


def test_bridges_that_share_code_have_their_own(gateway):
    one, two = gateway(), gateway()
    one.set("key", {"access_rights": RIGHTS, "alias": "one"})
    two.set("key", {"access_rights": RIGHTS, "alias": "two"})
    assert (one.get("key")["alias"], two.get("key")["alias"]) == ("one", "two")
    assert one.get("key", api_id="open")["alias"] == "one"  # another API of the organisation


def test_functions_of_every_kind_have_them(gateway):
    call = ("TykGetKeyData", "key", "closed")
    endpoint = {"path": "/v", "method": "GET", "response_function_name": "V"}
    endpoint |= {"function_source_type": "file", "function_source_uri": "keys.js"}
    paths = {"use_extended_paths": True, "extended_paths": {"virtual": [endpoint]}}
    everywhere = api(
        "open",
        {"response": [hook("R")]},
        use_keyless=True,
        version_data={"not_versioned": True, "versions": {"Default": paths}},
    )
    own = gateway(everywhere)
    own.sessions.set("apikey-key", encode(Session(org_id="org", alias="mine")))
    request = Request("GET", "/open/", (("Call", json.dumps(call)),))
    answer = own.bridge.response(request, Response(200))
    assert json.loads(dict(answer.response.headers)["X"])["alias"] == "mine"
    virtual = own.bridge.request(Request("GET", "/open/v", request.headers))
    assert isinstance(virtual, Respond)
    assert json.loads(virtual.response.body)["alias"] == "mine"


def test_a_handler_of_events_has_them(gateway):
    handler = {"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "H", "path": "keys.js"}}
    heard = {**CLOSED, "event_handlers": {"events": {"KeyExpired": [handler]}}}
    queue = EventQueue()
    own = gateway(heard, queue=queue)
    own.sessions.set("apikey-key", encode(Session(org_id="org", is_inactive=True)))
    assert own.passes("key") is None
    assert queue.close(60)
    assert decode(own.sessions.get("apikey-key")).metadata == {"told": "KeyExpired"}


def test_events_of_such_an_api_reach_the_host_as_they_are(gateway, monkeypatch):
    fired = []
    monkeypatch.setattr(_bridge, "trigger_event", lambda name, payload: fired.append((name, payload)))
    assert gateway().call("TykTriggerEvent", "Bought", "payload") == "undefined"
    assert fired == [("Bought", "payload")]
