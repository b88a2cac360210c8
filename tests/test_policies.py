"""Policies: read from a file, applied to sessions."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tykbridge.policies import Partitions, Policy, PolicyError, apply_policies, read_policies, read_policies_text
from tykbridge.session import AccessDefinition, AccessSpec, Limit, Session


def rights(*names, **fields):
    return {name: AccessDefinition(api_id=name, api_name=f"API {name}", **copy.deepcopy(fields)) for name in names}


def apply(session, *policies, org_id="org"):
    known = {policy.id: policy for policy in policies}
    session.apply_policies = [policy.id for policy in policies]
    result, notices = apply_policies(session, known, org_id)
    assert notices == []
    return result


def policy(name="p", *apis, **fields):
    return Policy(id=name, org_id="org", access_rights=rights(*apis) if apis else {}, **fields)


# --- the file -------------------------------------------------------------------------------------------------------

FILE = {
    "default": {
        "rate": 1000,
        "per": 1,
        "quota_max": 100,
        "quota_renewal_rate": 60,
        "org_id": "org",
        "access_rights": {
            "api": {
                "api_name": "Tyk Test API",
                "api_id": "api",
                "versions": ["Default"],
                "allowed_urls": [{"url": "/get", "methods": ["GET"]}],
                "limit": {"rate": 5, "per": 1},
                "field_access_rights": [],
            }
        },
        "active": True,
        "tags": ["t"],
        "meta_data": {"plan": "free"},
        "partitions": {"quota": False, "acl": True},
        "unknown": None,
    },
    "other": {"id": "named", "access_rights": None},
}


def test_a_file(tmp_path):
    file = tmp_path / "policies.json"
    file.write_text(json.dumps(FILE))
    read = read_policies(file)
    assert read.problems == ()
    default = read.policies["default"]
    assert (default.id, default.rate, default.quota_max, default.org_id) == ("default", 1000, 100, "org")
    assert default.partitions.parts == {"acl"}
    assert default.meta_data == {"plan": "free"}
    access = default.access_rights["api"]
    assert access.allowed_urls == [AccessSpec("/get", ["GET"])]
    assert access.limit == Limit(rate=5, per=1)
    assert access.extra == {"field_access_rights": []}
    assert read.policies["other"].id == "named"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ([], "$.bad: expected an object, found an empty list"),
        (None, "$.bad: expected an object, the policy, found null"),
        ({"rate": "1"}, '$.bad.rate: expected a number, found a string ("1")'),
        ({"quota_max": 1.5}, "$.bad.quota_max: expected a whole number, found a number (1.5)"),
        (
            {"quota_max": 2**63},
            "$.bad.quota_max: expected a whole number of 64 bits, found a number (9223372036854775808)",
        ),
        ({"access_rights": []}, "$.bad.access_rights: expected an object, found an empty list"),
        ({"access_rights": {"a": 1}}, "$.bad.access_rights.a: expected an object, found a number (1)"),
        (
            {"access_rights": {"a": {"versions": [1]}}},
            "$.bad.access_rights.a.versions[0]: expected a string, found a number",
        ),
        ({"access_rights": {"a": {"limit": 1}}}, "$.bad.access_rights.a.limit: expected an object, found a number (1)"),
        (
            {"partitions": {"per_api": True, "acl": True}},
            "$.bad.partitions: expected per_api alone, or without it, found per_api and a part",
        ),
    ],
)
def test_a_broken_policy_does_not_stop_the_others(item, words):
    read = read_policies_text(json.dumps({"bad": item, "good": {}}), "policies.json")
    assert list(read.policies) == ["good"]
    (problem,) = read.problems
    assert str(problem).startswith(f"policies.json: {words}")


def test_a_file_that_is_none(tmp_path):
    assert read_policies(tmp_path / "none.json").problems[0].expected == "a file that can be read"
    (problem,) = read_policies_text("[]").problems
    assert str(problem) == "<text>: $: expected an object, the policies by id, found a list"
    (problem,) = read_policies_text("{\n{").problems
    assert str(problem).startswith("<text>:2:1: $: expected JSON")


# --- applying -------------------------------------------------------------------------------------------------------


def test_a_session_without_policies_stays_as_it_is():
    session = Session(rate=1, access_rights=rights("a"))
    assert apply_policies(session, {}, "org") == (session, [])


def test_one_policy():
    session = Session(rate=1, per=1, quota_max=1, alias="x", metadata={"a": 1, "b": 1}, tags=["own"], last_updated="1")
    before = copy.deepcopy(session)
    one = policy(
        "p",
        "a",
        rate=10,
        per=60,
        quota_max=100,
        quota_renewal_rate=3600,
        max_query_depth=3,
        tags=["t", "own"],
        meta_data={"b": 2},
        last_updated="2",
        hmac_enabled=True,
    )
    session.apply_policies = ["p"]
    result, _ = apply_policies(session, {"p": one}, "org")
    session.apply_policies = []
    assert session == before
    right = result.access_rights["a"]
    assert right.limit == Limit(rate=10, per=60, quota_max=100, quota_renewal_rate=3600, max_query_depth=3)
    assert (right.api_name, right.allowance_scope) == ("API a", "")
    assert (result.rate, result.per, result.quota_max, result.quota_renewal_rate) == (10, 60, 100, 3600)
    assert (result.tags, result.metadata, result.last_updated) == (["own", "t"], {"a": 1, "b": 2}, "2")
    assert (result.alias, result.hmac_enabled) == ("x", True)


def test_the_older_single_policy():
    session = Session(apply_policy_id="p")
    assert list(apply_policies(session, {"p": policy("p", "a")}, "org")[0].access_rights) == ["a"]


def test_a_policys_lower_limits_count_before_the_sessions_own():
    result = apply(Session(rate=1000, per=1, quota_max=-1), policy("p", "a", rate=1, per=1, quota_max=5))
    assert (result.rate, result.quota_max) == (1, 5)


def test_the_most_generous_of_several_policies_wins():
    slow = policy("slow", "a", rate=10, per=60, quota_max=100, quota_renewal_rate=60, throttle_interval=1)
    fast = policy("fast", "a", rate=1, per=1, quota_max=50, quota_renewal_rate=3600, max_query_depth=2)
    for order in ([slow, fast], [fast, slow]):
        limit = apply(Session(), *order).access_rights["a"].limit
        assert (limit.rate, limit.per) == (1, 1)
        assert (limit.quota_max, limit.quota_renewal_rate) == (100, 3600)
        assert (limit.throttle_interval, limit.max_query_depth) == (1, 2)


def test_minus_one_is_no_limit():
    for order in ([-1, 50], [50, -1]):
        policies = [policy(f"p{most}", "a", quota_max=most, rate=most, per=60) for most in order]
        limit = apply(Session(), *policies).access_rights["a"].limit
        assert (limit.quota_max, limit.rate) == (-1, -1)


def test_paths_versions_and_tags_add_up():
    one = Policy(
        id="one",
        org_id="org",
        tags=["1"],
        access_rights=rights("a", versions=["v1"], allowed_urls=[AccessSpec("/x", ["GET"])]),
    )
    two = Policy(
        id="two",
        org_id="org",
        tags=["2"],
        access_rights=rights(
            "a", versions=["v1", "v2"], allowed_urls=[AccessSpec("/x", ["GET", "PUT"]), AccessSpec("/y", ["GET"])]
        ),
    )
    result = apply(Session(), one, two)
    right = result.access_rights["a"]
    assert right.versions == ["v1", "v2"]
    assert right.allowed_urls == [AccessSpec("/x", ["GET", "PUT"]), AccessSpec("/y", ["GET"])]
    assert result.tags == ["1", "2"]
    assert one.access_rights["a"].allowed_urls == [AccessSpec("/x", ["GET"])]


def test_a_policy_without_paths_does_not_open_those_of_another():
    closed = Policy(id="c", org_id="org", access_rights=rights("a", allowed_urls=[AccessSpec("/x", ["GET"])]))
    for order in ([closed, policy("o", "a")], [policy("o", "a"), closed]):
        assert apply(Session(), *order).access_rights["a"].allowed_urls == [AccessSpec("/x", ["GET"])]


def test_policies_for_different_apis_have_counters_of_their_own():
    result = apply(Session(), policy("one", "a", quota_max=1), policy("two", "b", quota_max=2))
    assert {name: right.allowance_scope for name, right in result.access_rights.items()} == {"a": "one", "b": "two"}
    assert {name: right.limit.quota_max for name, right in result.access_rights.items()} == {"a": 1, "b": 2}


def test_one_inactive_policy_makes_the_session_inactive():
    assert apply(Session(), policy("one", "a", is_inactive=True), policy("two", "a")).is_inactive
    assert apply(Session(is_inactive=True), policy("one", "a")).is_inactive
    assert not apply(Session(), policy("one", "a")).is_inactive


def test_what_is_left_of_a_quota_is_kept():
    old = rights("a", limit=Limit(quota_max=9, quota_remaining=3, quota_renews=77))
    limit = apply(Session(access_rights=old), policy("p", "a", quota_max=10)).access_rights["a"].limit
    assert (limit.quota_max, limit.quota_remaining, limit.quota_renews) == (10, 3, 77)


def test_rights_of_the_session_itself_do_not_count_beside_policies():
    assert list(apply(Session(access_rights=rights("a", "b")), policy("p", "a")).access_rights) == ["a"]


# --- partitions -----------------------------------------------------------------------------------------------------


def test_partitions_speak_of_their_part_alone():
    acl = policy("acl", "a", rate=1, per=1, quota_max=1, partitions=Partitions(acl=True))
    speed = policy("speed", "a", rate=50, per=1, quota_max=1, partitions=Partitions(rate_limit=True))
    result = apply(Session(quota_max=7, quota_renewal_rate=8, rate=9, per=1), acl, speed)
    limit = result.access_rights["a"].limit
    assert (limit.rate, limit.per) == (50, 1)
    assert (limit.quota_max, limit.quota_renewal_rate) == (7, 8)
    assert result.quota_max == 7


def test_a_policy_without_rights_gives_limits_to_the_session():
    acl = policy("acl", "a", partitions=Partitions(acl=True))
    limits = policy("limits", rate=5, per=1, quota_max=6, partitions=Partitions(rate_limit=True, quota=True))
    result = apply(Session(rate=100, per=1), acl, limits)
    assert (result.rate, result.per, result.quota_max) == (5, 1, 6)
    assert result.access_rights["a"].limit == Limit(rate=5, per=1, quota_max=6)


def test_per_api_policies():
    access = {**rights("own", limit=Limit(rate=2, per=1)), **rights("shared")}
    per_api = Policy(
        id="p", org_id="org", rate=9, per=1, quota_max=3, access_rights=access, partitions=Partitions(per_api=True)
    )
    result = apply(Session(), per_api)
    assert result.access_rights["own"].limit == Limit(rate=2, per=1)
    assert result.access_rights["shared"].limit == Limit(rate=9, per=1, quota_max=3)
    assert {name: right.allowance_scope for name, right in result.access_rights.items()} == {
        "own": "own",
        "shared": "p",
    }


# --- refusals -------------------------------------------------------------------------------------------------------


def test_an_unknown_policy_beside_a_known_one_is_noted():
    session = Session(apply_policies=["p", "gone"])
    result, notices = apply_policies(session, {"p": policy("p", "a")}, "org")
    assert list(result.access_rights) == ["a"]
    assert notices == ['policy "gone" is not known']


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        ([], 'the key has no valid policies: policy "p" is not known; policy "q" is not known'),
        ([policy("p"), policy("q")], "the key has no valid policies: none gives a right to an API"),
        (
            [policy("p", "a", partitions=Partitions(quota=True)), policy("q")],
            "the key has no valid policies: none gives a right to an API",
        ),
        (
            [policy("p", "a"), Policy(id="q", org_id="other", access_rights=rights("a"))],
            'policy "q" is of organisation "other", the API of "org"',
        ),
        (
            [policy("p", "a", partitions=Partitions(per_api=True)), policy("q", "a", partitions=Partitions(acl=True))],
            "per-API policies and partitioned ones cannot be applied together",
        ),
    ],
)
def test_policies_that_give_nothing_refuse_the_key(policies, words):
    session = Session(access_rights=rights("a"), apply_policies=["p", "q"])
    with pytest.raises(PolicyError) as caught:
        apply_policies(session, {item.id: item for item in policies}, "org")
    assert str(caught.value) == words


any_policy = st.builds(
    Policy,
    id=st.sampled_from("pqr"),
    org_id=st.sampled_from(["org", "org", "org", "other"]),
    rate=st.integers(-1, 5).map(float),
    per=st.integers(-1, 5).map(float),
    quota_max=st.integers(-1, 5),
    quota_renewal_rate=st.integers(-1, 5),
    is_inactive=st.booleans(),
    access_rights=st.lists(st.sampled_from("ab")).map(lambda names: rights(*names)),
    partitions=st.builds(Partitions, *[st.booleans()] * 4) | st.just(Partitions(per_api=True)),
)


@given(st.lists(any_policy, max_size=4), st.integers(-1, 5), st.booleans())
def test_policies_give_no_more_than_they_say(policies, quota, inactive):
    known = {item.id: item for item in policies}
    session = Session(
        quota_max=quota, is_inactive=inactive, access_rights=rights("a", "z"), apply_policies=sorted(known)
    )
    try:
        result, _ = apply_policies(session, known, "org")
    except PolicyError:
        return
    if not known:
        assert result is session
        return
    granted = {name for item in known.values() if "acl" in item.partitions.parts for name in item.access_rights}
    assert set(result.access_rights) == granted
    assert result.is_inactive is (inactive or any(item.is_inactive for item in known.values()))
    said = {item.quota_max for item in known.values() if "quota" in item.partitions.parts}
    for right in result.access_rights.values():
        assert right.limit.quota_max in said | {0, quota}
    assert apply_policies(result, known, "org")[0] == result
