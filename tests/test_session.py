"""Sessions: Tyk's JSON, SessionState, and what a session may do."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tykbridge import _bridge
from tykbridge.compat import pb2
from tykbridge.session import (
    AccessDefinition,
    AccessSpec,
    BasicAuthData,
    Denied,
    Limit,
    Origin,
    Session,
    SessionError,
    _path_regex,
    check_access,
    check_path,
    check_state,
    decode,
    encode,
    is_extracted,
    is_key,
    keep_quota,
    read_message,
    write_message,
)

# Every key of Tyk's JSON that SessionState has a field for, each with a value of its own.
TYK = {
    "last_check": 1,
    "allowance": 2.5,
    "rate": 3,
    "per": 4,
    "expires": 5,
    "quota_max": 6,
    "quota_renews": 7,
    "quota_remaining": 8,
    "quota_renewal_rate": 9,
    "access_rights": {
        "api": {
            "api_name": "Name",
            "api_id": "api",
            "versions": ["Default"],
            "allowed_urls": [{"url": "/get", "methods": ["GET"]}],
            "limit": {"rate": 1, "per": 2, "quota_max": 3},
            "allowance_scope": "api",
            "disable_introspection": True,
        }
    },
    "org_id": "org",
    "oauth_client_id": "client",
    "oauth_keys": {"k": "v"},
    "basic_auth_data": {"password": "pw", "hash_type": "bcrypt"},
    "jwt_data": {"secret": "jwt"},
    "hmac_enabled": True,
    "hmac_string": "hmac",
    "is_inactive": True,
    "apply_policy_id": "old",
    "data_expires": 10,
    "monitor": {"trigger_limits": [80.5, 90]},
    "enable_detailed_recording": True,
    "meta_data": {"text": "t", "number": 1, "nested": {"a": [None]}},
    "tags": ["tag"],
    "alias": "alias",
    "last_updated": "123",
    "id_extractor_deadline": 11,
    "session_lifetime": 12,
    "apply_policies": ["p1", "p2"],
    "certificate": "cert",
    "max_query_depth": 13,
    "post_expiry_action": "delete",
    "post_expiry_grace_period": 14,
    "date_created": "2020-01-01T00:00:00Z",
    "smoothing": {"enabled": False},
}


# --- Tyk's JSON -----------------------------------------------------------------------------------------------------


def test_every_key_is_read_and_written():
    session = decode(json.dumps(TYK))
    assert session.rate == 3
    assert session.hmac_secret == "hmac"
    assert session.metadata["nested"] == {"a": [None]}
    assert session.basic_auth_data == BasicAuthData(password="pw", hash="bcrypt")
    assert session.access_rights["api"].limit == Limit(rate=1, per=2, quota_max=3)
    assert session.extra == {"date_created": "2020-01-01T00:00:00Z", "smoothing": {"enabled": False}}
    assert session.access_rights["api"].extra == {"disable_introspection": True}
    assert json.loads(encode(session)) == TYK


def test_null_is_the_default_as_go_writes_it():
    rights = {"a": None, "b": {"versions": None, "limit": None, "allowed_urls": [{"url": "/", "methods": None}]}}
    session = decode(json.dumps({"tags": None, "meta_data": None, "access_rights": rights, "rate": None}))
    assert session == Session(
        access_rights={"a": AccessDefinition(), "b": AccessDefinition(allowed_urls=[AccessSpec("/")])}
    )


def test_the_older_name_of_detailed_recording():
    assert decode('{"enable_detail_recording": true}').enable_detailed_recording


def test_the_key_itself_is_not_stored():
    assert encode(Session(key_id="secret")) == b"{}"


def test_an_unknown_key_named_extra_is_no_trap():
    data = '{"extra":{"rate":1},"access_rights":{"a":{"extra":1}}}'
    session = decode(data)
    assert session.rate == 0
    assert json.loads(encode(session)) == json.loads(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "a session that is no JSON"),
        (b"\xff", "a session that is no JSON"),
        ("[" * 100_000, "a session that is no JSON"),
        ("[]", "a session that is no JSON object"),
        ('{"rate": "1"}', "$.rate"),
        ('{"expires": 1.5}', "$.expires"),
        ('{"expires": 9223372036854775808}', "$.expires"),
        ('{"access_rights": []}', "$.access_rights"),
        ('{"access_rights": {"a": 1}}', "$.access_rights"),
        ('{"access_rights": {"a": {"allowed_urls": [1]}}}', "$.access_rights"),
        ('{"tags": [1]}', "$.tags[0]"),
        ('{"tykbridge_origin": "nobody"}', "$.tykbridge_origin"),
    ],
)
def test_what_is_no_session_is_refused(data, words):
    with pytest.raises(SessionError) as caught:
        decode(data)
    assert words in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*TYK, "unknown", "extra"]), json_values))
def test_any_json_object_is_a_session_or_refused(tree):
    try:
        session = decode(json.dumps(tree))
    except SessionError:
        return
    assert decode(encode(session)) == session


# --- SessionState ---------------------------------------------------------------------------------------------------

MESSAGES = [
    pytest.param(lambda: pb2.message_class("SessionState")(), id="protobuf"),
    pytest.param(lambda: _bridge.message("SessionState"), id="view"),
]


@pytest.mark.parametrize("make", MESSAGES)
def test_every_field_goes_through_the_message(make):
    session = decode(json.dumps({**TYK, "tykbridge_origin": "extractor", "tykbridge_api": "api"}))
    session.key_id = "key"
    message = make()
    write_message(session, message)
    assert {field.name for field, _ in message.ListFields()} == {
        field.name for field in pb2.descriptor("SessionState").fields
    }
    assert read_message(message, session) == session


@pytest.mark.parametrize("make", MESSAGES)
def test_an_empty_session_is_an_empty_message(make):
    message = make()
    write_message(Session(), message)
    assert message.SerializeToString() == b""
    assert read_message(message) == Session()


def test_metadata_that_is_no_text_goes_in_as_json():
    message = pb2.message_class("SessionState")()
    before = Session(metadata={"text": "t", "number": 1, "list": ["ü", None]})
    write_message(before, message)
    assert dict(message.metadata) == {"text": "t", "number": "1", "list": '["ü",null]'}
    message.metadata["number"] = "2"
    message.metadata["new"] = "n"
    after = read_message(message, before)
    assert after.metadata == {"text": "t", "number": "2", "list": ["ü", None], "new": "n"}
    assert read_message(message).metadata["list"] == '["ü",null]'


def test_a_new_session_has_nothing_of_another():
    message = pb2.message_class("SessionState")(rate=1)
    message.access_rights["api"].api_id = "api"
    assert read_message(message) == Session(rate=1, access_rights={"api": AccessDefinition(api_id="api")})


def test_limits_that_the_message_cannot_hold_are_kept_for_the_apis_that_stay():
    before = decode(json.dumps(TYK))
    message = pb2.message_class("SessionState")()
    write_message(before, message)
    message.access_rights["other"].api_id = "other"
    after = read_message(message, before)
    assert after.access_rights["api"] == before.access_rights["api"]
    assert after.access_rights["other"] == AccessDefinition(api_id="other")
    assert after.extra == before.extra


# --- state and access -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("session", "denied"),
    [
        (Session(), None),
        (Session(expires=-1), None),
        (Session(expires=1000), None),
        (Session(expires=1001), None),
        (Session(expires=999), Denied(401, "Key has expired, please renew", "KeyExpired")),
        (Session(is_inactive=True), Denied(403, "Key is inactive, please renew", "KeyExpired")),
        (Session(is_inactive=True, expires=1), Denied(403, "Key is inactive, please renew", "KeyExpired")),
    ],
)
def test_state(session, denied):
    assert check_state(session, 1000.0) == denied


def test_access():
    one = Session(access_rights={"a": AccessDefinition()})
    assert check_access(Session(), "a") is None
    assert check_access(one, "a") is None
    assert check_access(one, "b") == Denied(403, "Access to this API has been disallowed", "AuthFailure")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/widgets", True),
        ("GET", "/v1/widgets/7", True),
        ("POST", "/widgets", False),
        ("GET", "/users/7/orders", True),
        ("GET", "/users/7/8/orders", False),
        ("GET", "/broken", False),
        ("DELETE", "/", False),
        ("PUT", "/any", True),
    ],
)
def test_paths(method, path, allowed):
    urls = [
        AccessSpec("(", ["GET"]),
        AccessSpec("/widgets", ["GET"]),
        AccessSpec("^/users/{user_id}/orders$", ["GET"]),
        AccessSpec("", ["PUT"]),
    ]
    session = Session(access_rights={"a": AccessDefinition(allowed_urls=urls)})
    denied = check_path(session, "a", method, path)
    assert denied == (None if allowed else Denied(403, "Access to this resource has been disallowed", "AuthFailure"))


def test_a_session_without_paths_may_go_anywhere():
    assert check_path(Session(), "a", "GET", "/") is None
    assert check_path(Session(access_rights={"a": AccessDefinition()}), "a", "GET", "/") is None


def test_a_quantifier_is_no_parameter():
    urls = [AccessSpec("^/a{2}$", ["GET"])]
    session = Session(access_rights={"a": AccessDefinition(allowed_urls=urls)})
    assert check_path(session, "a", "GET", "/aa") is None
    assert check_path(session, "a", "GET", "/ab") is not None


def test_paths_without_the_engine_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "re2", None)
    _path_regex.cache_clear()
    session = Session(access_rights={"a": AccessDefinition(allowed_urls=[AccessSpec("/", ["GET"])])})
    assert check_path(session, "a", "GET", "/") == Denied(503, "Access rights cannot be checked")
    _path_regex.cache_clear()


# --- whose session it is --------------------------------------------------------------------------------------------


def test_a_plugin_that_answers_again_is_no_refill():
    stored = Session(
        quota_renews=1, quota_remaining=2, access_rights={"a": AccessDefinition(limit=Limit(quota_remaining=3))}
    )
    fresh = Session(quota_remaining=100, access_rights={"a": AccessDefinition(), "b": AccessDefinition()})
    keep_quota(fresh, stored)
    assert (fresh.quota_renews, fresh.quota_remaining) == (1, 2)
    assert fresh.access_rights["a"].limit.quota_remaining == 3
    assert fresh.access_rights["b"].limit.quota_remaining == 0


def cached(**changes):
    fields = {"origin": Origin.EXTRACTOR, "origin_api": "a", "origin_id": "orgid", "org_id": "org"}
    return Session(**{**fields, "id_extractor_deadline": 1001, **changes})


def test_an_extractors_session_is_no_key():
    assert is_key(Session())
    assert not is_key(cached())
    assert decode(encode(cached())) == cached()


@pytest.mark.parametrize(
    ("session", "stands"),
    [
        (cached(), True),
        (cached(origin=Origin.KEY), False),
        (cached(origin_api="b"), False),
        (cached(org_id="other"), False),
        (cached(origin_id="orgother"), False),
        (cached(origin_id=""), False),
    ],
)
def test_a_stored_session_may_stand_for_the_plugin(session, stands):
    assert is_extracted(session, "orgid", "a", "org") is stands


def test_regression_null_within_an_object_of_a_session_is_its_default():
    session = decode('{"monitor": {"trigger_limits": null}, "jwt_data": {"secret": null}, "rate": 5}')
    assert (session.monitor.trigger_limits, session.jwt_data.secret, session.rate) == ([], "", 5)


FIRST = """
import sys, threading
sys.setswitchinterval(1e-5)
from tykbridge import session
barrier = threading.Barrier(8)
def first():
    barrier.wait()
    session.decode(b'{"access_rights": {"a": {}}}')
threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.once
def test_threads_that_read_a_session_first_at_the_same_time():
    """Msgspec's knowledge of a type is not made safely by several threads; three of eight processes crashed."""
    running = [subprocess.Popen([sys.executable, "-c", FIRST]) for _ in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6
