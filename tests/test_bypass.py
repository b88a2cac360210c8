"""Nothing that authentication did not let through goes on to the upstream of a protected API.

Random definitions, hooks, stores and clients; tests/bypass says who may pass, without asking the chain. Random examples
that never pass would prove nothing, so their share is asserted too.
"""

import collections
import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests import bypass
from tests.bypass import Call, World
from tykbridge import Bridge, idextractor
from tykbridge.errors import NotFoundError
from tykbridge.outcome import Continue, Request, Respond
from tykbridge.policies import read_policies_text
from tykbridge.services import Mode, Services

MIDDLEWARE = bypass.__file__.replace("__init__", "middleware")
POLICIES = read_policies_text(json.dumps(bypass.POLICIES)).policies

BENIGN = ["nothing", "edit", "present_key", "present_id", "drop_credentials", "trigger"]
TAMPER = ["free_session", "other_session", "other_metadata"]
FAIL = ["fail", "exit", "return_none"]
END = ["bad_header", "answer"]

GRANTS = ["grant", "grant", "grant", "token in session", "new session"]
REFUSALS = [
    *["no session", "no token", "raise", "exit", "interrupt", "recurse", "none", "true", "texts", "too few", "swapped"],
    *["no metadata", "token is no text", "empty token", "refuse", "answer", "bad status", "bad header"],
]

EXTRACTORS = [
    ("header", "value", {"header_name": "X-Id"}),
    ("form", "value", {"param_name": "id"}),
    ("body", "value", {}),
    ("header", "regex", {"header_name": "X-Id", "regex_expression": "[a-z]+", "regex_match_index": 0}),
    ("form", "regex", {"param_name": "id", "regex_expression": "^.*$"}),
    ("body", "regex", {"regex_expression": "(?s).+"}),
    ("body", "xpath", {"xpath_expression": "//id"}),
]

hooks = st.builds(
    lambda name, disabled, is_open: {"name": name, "disabled": disabled, "on_failure": "open" if is_open else "closed"},
    st.sampled_from(BENIGN) | st.sampled_from([*TAMPER, *FAIL, *END]),
    st.sampled_from([True, False, False, False]),
    st.booleans(),
)
few_hooks = st.just([]) | st.lists(hooks, max_size=2)


@st.composite
def definitions(draw):
    section = {"driver": "python", "pre": draw(few_hooks), "post_key_auth": draw(few_hooks), "post": draw(few_hooks)}
    method = draw(st.sampled_from(["custom", "custom", "both", "both", "standard", "standard", "keyless"]))
    api = {
        "name": "api",
        "api_id": bypass.API,
        "org_id": bypass.ORG,
        "use_keyless": method == "keyless",
        "enable_coprocess_auth": method in ("custom", "both"),
        "use_standard_auth": method in ("standard", "both"),
        "auth": {"auth_header_name": "Authorization"},
        "proxy": {"listen_path": "/", "target_url": "http://upstream.test/"},
        "strip_auth_data": draw(st.booleans()),
    }
    section["auth_check"] = {"name": "check", "disabled": draw(st.integers(0, 9)) == 0}
    if method in ("custom", "both") and draw(st.booleans()):
        source, way, config = draw(st.sampled_from(EXTRACTORS))
        section["id_extractor"] = {"extract_from": source, "extract_with": way, "extractor_config": config}
    if method == "both":
        api["base_identity_provided_by"] = draw(st.sampled_from(["", "custom_auth", "auth_token"]))
    for hook in [*section["pre"], *section["post_key_auth"], *section["post"], section["auth_check"]]:
        hook["path"] = MIDDLEWARE
    return {**api, "custom_middleware": section}


KEYS = [*bypass.SESSIONS, "of another organisation", "of an extractor", "corrupt", "unknown", "\udcff", "", None]
IDS = [
    "cached too long",
    "cached elsewhere",
    "cached for another",
    "cached key",
    "cached inactive",
    "corrupt",
    "other",
    None,
]

XML = "<r><id>{}</id></r>"
calls = st.builds(
    dict,
    act=st.sampled_from(GRANTS) | st.sampled_from(REFUSALS),
    grant=st.sampled_from(["good", "once", "open paths"]) | st.sampled_from(list(bypass.SESSIONS)),
    token=st.just("token") | st.sampled_from(["token", "good", "inactive", "once"]),
    deadline=st.sampled_from([0, -60, 60]),
    key=st.sampled_from(["good", "good", "once", "open paths"]) | st.sampled_from(KEYS),
    id=st.just("cached") | st.sampled_from(IDS),
    url=st.sampled_from(["/open", "/shut?to=/open"]),
    xml=st.just(XML) | st.sampled_from(["{}", "<r><id>{}", "<r><id>{}</id><id/></r>", f"<!DOCTYPE r>{XML}"]),
)


def seed(world, corrupt):
    """Store a key of each kind, and sessions as extractors leave them behind."""
    for name, session in bypass.SESSIONS.items():
        put(world, name, session)
    put(world, "of another organisation", {"org_id": "other-org"})
    cached = {
        "tykbridge_origin": "extractor",
        "tykbridge_api": bypass.API,
        "id_extractor_deadline": int(bypass.NOW) + 9,
    }
    for value, changes in {
        "cached": {},
        "cached too long": {"id_extractor_deadline": int(bypass.NOW)},
        "cached elsewhere": {"tykbridge_api": "other-api"},
        "cached for another": {"tykbridge_id": bypass.extractor_id("cached")},
        "cached key": {"tykbridge_origin": ""},
        "cached inactive": {"is_inactive": True},
    }.items():
        name = bypass.extractor_id(value)
        put(world, name, {**cached, "tykbridge_id": name, **changes})
    put(world, "of an extractor", cached)
    world.stored["apikey-corrupt"] = world.stored[f"apikey-{bypass.extractor_id('corrupt')}"] = corrupt


def put(world, key, session):
    world.stored[f"apikey-{key}"] = json.dumps({"org_id": bypass.ORG, **session}).encode()


def request_of(api, item):
    """Make a request, which shows the item's key, and its id where the API's extractor looks; and its `Call`."""
    extractor = api["custom_middleware"].get("id_extractor", {"extract_from": ""})
    place, shown = extractor["extract_from"], item["id"]
    headers, url, body = [("X-First", "1")], item["url"], b""
    if item["key"] is not None:
        headers.append(("Authorization", item["key"]))
    if shown is not None and place == "header":
        headers.append(("X-Id", shown))
    elif shown is not None and place == "form":
        url += ("&" if "?" in url else "?") + "id=" + shown.replace(" ", "+")
    elif shown is not None and place == "body":
        body = (item["xml"] if extractor["extract_with"] == "xpath" else "{}").format(shown).encode()
    call = Call(**{name: item[name] for name in ("act", "grant", "token", "deadline", "url")})
    call.keys = {item["key"]} - {None, ""}
    call.ids = {shown} - {None}
    if shown is not None and extractor.get("extractor_config", {}).get("regex_expression") == "[a-z]+":
        call.ids = {shown.split()[0]}
    return Request("POST" if body else "GET", url, tuple(headers), body), call


def objections(api, strict, world):
    """Say why a request must not go on; empty: it may."""
    section, call = api["custom_middleware"], world.call
    run = [*section["pre"], *section["post"], *([] if api["use_keyless"] else section["post_key_auth"])]
    for hook in run:
        closed = hook["on_failure"] == "closed"
        if not hook["disabled"] and (
            hook["name"] in END or (hook["name"] in FAIL and closed) or (hook["name"] in TAMPER and strict)
        ):
            yield f"the hook {hook['name']}"
    if call.broken:
        yield "what may fail did"
    if api["use_keyless"]:
        return
    if api["enable_coprocess_auth"] and not world.passes_by_hook() and not world.passes_by_cache():
        yield "auth_check"
    if api["use_standard_auth"] and not world.passes_by_key():
        yield "the key"


def ways_of(api, world):
    """Name what let a request through, for the count of what the examples reached."""
    if api["use_keyless"]:
        return []
    ways = ["key"] if api["use_standard_auth"] else []
    if api["enable_coprocess_auth"]:
        ways.append("auth_check" if world.call.granted is not None else "cache")
    return ways


@pytest.fixture
def world(monkeypatch):
    """Puts an example's world where the hooks look for it, and lets it fail extractors."""
    whole, xpath = idextractor._whole, idextractor._xpath

    def failing(find):
        def found(value):
            bypass.world.may_fail()
            return find(value)

        return found

    def start(made):
        bypass.world = made
        return made

    monkeypatch.setattr(idextractor, "_whole", failing(whole))
    monkeypatch.setattr(idextractor, "_xpath", lambda expression: failing(xpath(expression)))
    yield start
    bypass.world = World()


def limit_of(api, call):
    """Name what a request that passed took from a quota of one; "" where it took nothing that can be named here."""
    custom, standard = api["enable_coprocess_auth"], api["use_standard_auth"]
    if standard and not custom and call.keys == {"once"}:
        return "the key"
    if custom and not standard and "id_extractor" not in api["custom_middleware"] and call.grant == "once":
        return f"the token {call.token}"
    return ""


def bridge_of(world, strict):
    return Bridge(
        Services(
            sessions=world,
            counters=world,
            events=world,
            policies=POLICIES,
            clock=lambda: bypass.NOW,
            mode=Mode.STRICT if strict else Mode.COMPATIBLE,
            log=lambda words, level: None,
        )
    )


def test_nothing_gets_past_authentication(world):
    seen = collections.Counter()

    @settings(max_examples=max(600, settings.default.max_examples))
    @given(
        api=definitions(),
        strict=st.booleans(),
        failing=st.just([]) | st.lists(st.integers(1, 12), max_size=3),
        corrupt=st.sampled_from(bypass.CORRUPT),
        items=st.lists(calls, min_size=1, max_size=6),
    )
    def drive(api, strict, failing, corrupt, items):
        here = world(World(failing))
        seed(here, corrupt)
        bridge = bridge_of(here, strict)
        bridge.load(json.dumps(api))
        taken = collections.Counter()
        for item in items:
            request, call = request_of(api, item)
            here.begin(call)
            try:
                outcome = bridge.request(request, bypass.API)
            except NotFoundError:
                assert api["custom_middleware"]["auth_check"]["disabled"]
                assert api["enable_coprocess_auth"]
                return
            if isinstance(outcome, Continue):
                against = list(objections(api, strict, here))
                assert not against, against
                assert b"tampered" not in outcome.session
                assert not call.tampered
                if limit := limit_of(api, call):
                    taken[limit] += 1
                    assert taken[limit] == 1
                seen.update(ways_of(api, here))
                seen["passed"] += not api["use_keyless"]
            else:
                assert isinstance(outcome, Respond)
                if call.broken:
                    assert outcome.response.status == 503
                seen["refused"] += not api["use_keyless"]
                seen["refused by a failure"] += call.broken

    drive()
    assert seen["passed"] > seen["refused"] / 10, seen
    assert all(seen[what] for what in ("auth_check", "cache", "key", "refused by a failure")), seen
