"""What a dispatch does with everything a hook can do, through the C interface of the library."""

import contextlib
import itertools
import json
import sys
import threading

import pytest

from tests import hooks
from tests.host.calls import E_AMBIGUOUS, E_HOOK, E_MALFORMED, E_NOT_FOUND, OK
from tests.host.fixtures import new_object
from tests.oracle import PB
from tykbridge import _bridge
from tykbridge.compat import pb2

names = itertools.count(1)


@pytest.fixture
def dispatch(host, bundle):
    """Dispatches to a function as the hook: `dispatch(arity, function, fill)` gives status, reply or words."""
    loaded = bundle(hooks.BUNDLE)

    def run(arity, function, fill=lambda sent: None, delta=False):
        sent = new_object(loaded.name, {3: "three", 4: "four", 5: "five"}[arity])
        fill(sent)
        hooks.hook = function
        return host.dispatch(sent.SerializeToString(), delta)

    run.name, run.host = loaded.name, host
    return run


def parsed(reply):
    assert reply.status == OK, reply.words
    return PB["Object"].FromString(reply.data)


def session_of(sent):
    sent.session.alias, sent.session.metadata["mine"] = "sent", "sent"


# ---- Forms of return ----


def change(request, session):
    request.object.url, session.alias = "/changed", "changed"
    request.add_header("X-New", "1")


THREE = {
    "the tuple": lambda q, s, spec: (q, s),
    "a list": lambda q, s, spec: [q, s],
    "the message itself": lambda q, s, spec: (q.object, s),
}


@pytest.mark.parametrize("form", THREE)
def test_forms_of_three(dispatch, form):
    def hook(request, session, spec):
        change(request, session)
        return THREE[form](request, session, spec)

    reply = parsed(dispatch(3, hook, session_of))
    assert (reply.request.url, reply.session.alias) == ("/changed", "changed")
    assert dict(reply.request.set_headers) == {"X-New": "1"}
    assert dict(reply.session.metadata) == {"mine": "sent"}
    assert dict(reply.spec) == {"bundle_hash": dispatch.name}


@pytest.mark.parametrize("make", [lambda: _bridge.message("SessionState"), lambda: pb2.message_class("SessionState")()])
@pytest.mark.parametrize("arity", [3, 4])
def test_new_session_is_taken(dispatch, arity, make):
    def hook(request, session, *rest):
        session.alias = "the old one"
        new = make()
        new.org_id = "new"
        new.access_rights["api"].versions.append("v1")
        return (request, new, *([rest[0]] if arity == 4 else []))

    reply = parsed(dispatch(arity, hook, session_of))
    assert (reply.session.org_id, reply.session.alias) == ("new", "")
    assert list(reply.session.access_rights["api"].versions) == ["v1"]
    # The metadata of the four-argument form is returned, so it is merged.
    assert dict(reply.session.metadata) == ({"mine": "sent"} if arity == 4 else {})


def test_new_request_is_taken(dispatch):
    def hook(request, session, spec):
        new = _bridge.message("MiniRequestObject")
        new.url = "/new"
        return new, session

    reply = parsed(dispatch(3, hook))
    assert (reply.request.url, reply.request.method) == ("/new", "")


def test_session_of_another_message_is_copied(dispatch):
    other = _bridge.message("Object")
    other.session.alias = "other's"
    reply = parsed(dispatch(3, lambda request, session, spec: (request, other.session)))
    assert reply.session.alias == "other's"
    assert other.session.alias == "other's"


@pytest.mark.parametrize("given", [{"token": "t"}, {}, {"mine": "other", "é": ""}])
def test_plain_dict_as_metadata_is_merged(dispatch, given):
    reply = parsed(dispatch(4, lambda q, s, m, spec: (q, s, given), session_of))
    assert dict(reply.session.metadata) == {"mine": "sent"} | given


def test_metadata_of_a_session_that_is_not_there(dispatch):
    def hook(request, session, metadata, spec):
        assert len(metadata) == 0
        metadata["token"] = "t"
        return request, session, metadata

    assert dict(parsed(dispatch(4, hook)).session.metadata) == {"token": "t"}


def test_three_arguments_that_touch_nothing_reply_with_what_was_sent(dispatch):
    sent = new_object(dispatch.name, "three")
    sent.session.tags.append("x")
    hooks.hook = lambda request, session, spec: (request, session)
    assert dispatch.host.dispatch(sent.SerializeToString()).data == sent.SerializeToString()
    assert dispatch.host.dispatch(sent.SerializeToString(), delta=True) == (OK, b"")


FIVE = {
    "the response": lambda q, r, s, m, spec: r,
    "a tuple with it": lambda q, r, s, m, spec: (r, s),
    "all": lambda q, r, s, m, spec: (q, r, s, m),
    "a list": lambda q, r, s, m, spec: [r],
    "nothing": lambda q, r, s, m, spec: None,
}


@pytest.mark.parametrize("form", FIVE)
def test_forms_of_five(dispatch, form):
    def hook(request, response, session, metadata, spec):
        assert request.get_header("Host") == "example.org"
        assert session.alias == "sent"
        assert dict(metadata) == {"a": "b"}
        assert spec["bundle_hash"] == dispatch.name
        response.status_code = 404
        response.headers["X"] = "y"
        response.multivalue_headers.add(key="Set-Cookie").values.extend(["a=1", "b=2"])
        return FIVE[form](request, response, session, metadata, spec)

    def fill(sent):
        session_of(sent)
        sent.metadata["a"] = "b"
        sent.request.headers["Host"] = "example.org"
        sent.response.status_code = 200

    reply = parsed(dispatch(5, hook, fill))
    assert (reply.response.status_code, dict(reply.response.headers)) == (404, {"X": "y"})
    assert [list(header.values) for header in reply.response.multivalue_headers] == [["a=1", "b=2"]]


def google(name):
    return pb2.message_class(name)()


@pytest.mark.parametrize("make", [_bridge.message, google])
@pytest.mark.parametrize(
    ("field", "value", "left"),
    [
        ("body", "né", ("né", "né".encode())),
        ("raw_body", b"raw", ("raw", b"raw")),
        ("raw_body", b"\xff", ("", b"\xff")),
    ],
)
def test_new_response_is_taken(dispatch, make, field, value, left):
    def hook(*_):
        new = make("ResponseObject")
        new.status_code = 201
        setattr(new, field, value)
        return new

    reply = parsed(dispatch(5, hook, lambda sent: setattr(sent.response, "raw_body", b"old")))
    assert (reply.response.status_code, reply.response.body, reply.response.raw_body) == (201, *left)


@pytest.mark.parametrize("last", ["body", "raw_body"])
def test_changed_copy_of_the_response_keeps_what_was_written_last(dispatch, last):
    def hook(request, response, session, metadata, spec):
        new = _bridge.message("ResponseObject")
        new.CopyFrom(response)
        setattr(new, last, "new" if last == "body" else b"new")
        return new

    def fill(sent):
        sent.response.body, sent.response.raw_body = "old", b"old"

    reply = parsed(dispatch(5, hook, fill))
    assert (reply.response.body, reply.response.raw_body) == ("new", b"new")


def test_replaced_request_in_place_keeps_what_was_written_last(dispatch):
    def hook(request, session, spec):
        new = _bridge.message("MiniRequestObject")
        new.body = "new"
        request.object.CopyFrom(new)
        return request, session

    reply = parsed(dispatch(3, hook, lambda sent: setattr(sent.request, "raw_body", b"old")))
    assert (reply.request.body, reply.request.raw_body) == ("new", b"new")


WRONG = [
    (3, lambda *given: None),
    (3, lambda *given: given[0]),
    (3, lambda *given: given),
    (3, lambda *given: ("x", "y")),
    (3, lambda *given: (given[1], given[0])),
    (3, lambda *given: (given[0], None)),
    (3, lambda *given: (given[0], {})),
    (3, lambda *given: (given[0], _bridge.message("Header"))),
    (4, lambda *given: given[:2]),
    (4, lambda *given: (*given[:2], None)),
    (4, lambda *given: (*given[:2], [("a", "b")])),
    (4, lambda *given: (*given[:2], "text")),
    (5, lambda *given: given[0]),
    (5, lambda *given: given[0].object),
    (5, lambda *given: ()),
    (5, lambda *given: "text"),
    (5, lambda *given: (given[1], _bridge.message("ResponseObject"))),
    (5, lambda *given: 0),
]


@pytest.mark.parametrize(("arity", "hook"), WRONG)
def test_wrong_returns_name_the_hook_and_what_it_must_return(dispatch, arity, hook):
    reply = dispatch(arity, hook)
    assert reply.status == E_HOOK
    wanted = {3: "request, session", 4: "request, session, metadata", 5: "response"}[arity]
    name = {3: "three", 4: "four", 5: "five"}[arity]
    assert f'"{name}"' in reply.words
    assert f"returns {wanted}" in reply.words
    assert "middleware.py:" in reply.words
    assert [level for level, _ in dispatch.host.logs] == ["error"]


@pytest.mark.parametrize("given", [{"k": 1}, {1: "v"}, {"k": None}, {"k": b"v"}, {"k": "\ud800"}])
def test_metadata_of_a_wrong_type_is_refused(dispatch, given):
    reply = dispatch(4, lambda q, s, m, spec: (q, s, given))
    assert reply.status == E_HOOK
    assert "Error" in reply.words


# ---- What a hook may do wrong, and the bridge is as before ----


class Own(BaseException):
    pass


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def deeper():
    return deeper()


def recurse(*_):
    # Not itself: where parameters are filled in, CPython 3.13.0 counts wrongly and goes on until memory ends.
    return deeper()


def throw(error):
    def hook(*_):
        raise error

    return hook


def hold_views_in_the_error(request, session, spec):
    error = ValueError("with views")
    error.kept = request, session, spec, request.object.headers
    raise error


FAULTS = {
    "ValueError": throw(ValueError("boom")),
    "SystemExit": throw(SystemExit(3)),
    "sys.exit": lambda *_: sys.exit("out"),
    "KeyboardInterrupt": throw(KeyboardInterrupt()),
    "GeneratorExit": throw(GeneratorExit()),
    "MemoryError": throw(MemoryError()),
    "StopIteration": throw(StopIteration()),
    "Own": throw(Own("mine")),
    "Silent": throw(Silent()),
    "NUL": throw(ValueError("a\0b")),
    "surrogate": throw(ValueError("a\ud800b")),
    "very long": throw(ValueError("x" * 10_000_000)),
    "group": throw(BaseExceptionGroup("several", [SystemExit(1), ValueError("x")])),
    "RecursionError": recurse,
    "NotImplementedError": throw(NotImplementedError),
    "views": hold_views_in_the_error,
    "a wrong type": lambda request, session, spec: session.metadata.__setitem__("k", 1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_a_status_and_a_log_line(dispatch, fault):
    def hook(*given):
        given[0].object.url = "/half done"
        return FAULTS[fault](*given)

    for _ in range(3):
        reply = dispatch(3, hook)
        assert reply.status == E_HOOK
        assert '"three"' in reply.words
        assert 0 < len(reply.words) < 10_000
        assert "\0" not in reply.words
    assert [level for level, _ in dispatch.host.logs] == ["error"] * 3
    assert all("test_dispatch.py" in message for _, message in dispatch.host.logs)
    assert parsed(dispatch(3, lambda request, session, spec: (request, session))).request.url == "/"


def test_log_has_the_plugins_traceback_and_no_line_of_ours(dispatch):
    dispatch(3, FAULTS["ValueError"])
    message = dispatch.host.logs[0][1]
    assert "Traceback" in message
    assert "middleware.py" in message
    assert "_bridge" not in message


MISSES = {
    'request.headers["A"]': "get_header(name) gives one or None, add_header(name, value) sets one; all",
    'request.headers.get("A")': "in request.object.headers, where a write has no effect",
    'request.set_header("A", "1")': "it is request.add_header(name, value)",
    "request.cookies": 'they are in request.get_header("Cookie")',
    "request.body": "it is request.object.body",
    "request.raw_body": "it is request.object.raw_body",
    "request.data": "it is request.object.raw_body",
    "request.json": "it is json.loads(request.object.raw_body)",
    "request.method": "it is request.object.method",
    "request.url": "it is request.object.url, which is path and query",
    "request.path": 'it is request.object.url.partition("?")[0]',
    "request.params": "they are request.object.params",
    "request.args": "it is request.object.params",
    "request.query": "it is request.object.params",
    "request.return_overrides": "they are request.object.return_overrides",
    'setattr(request, "body", "b")': 'a hook\'s request has no "body": it is request.object.body',
    "request.object.path": 'path is no field of MiniRequestObject: it is request.object.url.partition("?")[0]',
    'request.object.get_header("A")': "get_header is no field of MiniRequestObject: it is request.get_header",
    'setattr(request.object.return_overrides, "code", 403)': 'has no "code" field. (there is response_code)',
    "response.status": "status is no field of ResponseObject: there is status_code",
    "session.quota": "quota is no field of SessionState: there is quota_max, quota_renews, quota_remaining, quota_ren",
    "session.nonsense": "nonsense is no field of SessionState",
}


@pytest.mark.parametrize("miss", MISSES)
def test_what_is_looked_for_in_the_wrong_place_is_told_where_it_is(dispatch, miss):
    reply = dispatch(5, lambda request, response, session, *_: eval(miss))
    assert (reply.status, MISSES[miss] in reply.words) == (E_HOOK, True), reply.words


def test_where_things_are_is_no_lie(dispatch):
    """What the words above name works, and nothing of what is looked for in vain is there."""
    seen = []

    def fill(sent):
        request = sent.request
        request.headers["Cookie"], request.params["p"], request.url, request.raw_body = (
            "a=1",
            "1",
            "/x?p=1",
            b'{"k": 1}',
        )

    def hook(request, session, spec):
        seen.append((request.object.url.partition("?")[0], request.object.params["p"], request.get_header("Cookie")))
        seen.append(json.loads(request.object.raw_body))
        names = [name for name in dir(request) if not name.startswith("_") and hasattr(request, name)]
        seen.append(names)
        return request, session

    assert dispatch(3, hook, fill).status == OK
    assert seen == [
        ("/x", "1", "a=1"),
        {"k": 1},
        ["add_header", "add_param", "delete_header", "delete_param", "get_header", "object"],
    ]


def test_huge_reply(dispatch):
    size = 64 * 1024 * 1024

    def hook(request, session, spec):
        request.object.raw_body = b"\xff" * size
        return request, session

    reply = parsed(dispatch(3, hook))
    assert len(reply.request.raw_body) == size
    assert reply.request.body == ""


def test_many_entries(dispatch):
    def hook(request, session, spec):
        for number in range(50_000):
            session.metadata[f"key {number}"] = str(number)
        del session.metadata["key 7"]
        return request, session

    reply = parsed(dispatch(3, hook))
    assert len(reply.session.metadata) == 49_999
    assert reply.session.metadata["key 49999"] == "49999"


# ---- Calls in calls, and threads ----


def test_hook_calls_the_bridge_from_its_own_thread(dispatch):
    def hook(request, session, spec):
        depth = int(request.object.url[1:] or 0)
        request.add_header("Before", str(depth))
        if depth < 20:
            below = parsed(dispatch(3, hook, lambda sent: setattr(sent.request, "url", f"/{depth + 1}")))
            assert below.request.set_headers["Before"] == str(depth + 1)
        assert request.object.set_headers["Before"] == str(depth)
        request.add_header("After", str(depth))
        return request, session

    reply = parsed(dispatch(3, hook))
    assert dict(reply.request.set_headers) == {"Before": "0", "After": "0"}


def test_failure_inside_a_nested_call_stays_there(dispatch):
    def hook(request, session, spec):
        inner = dispatch(3, throw(SystemExit(1)))
        assert inner.status == E_HOOK
        request.add_header("X", "still here")
        return request, session

    assert parsed(dispatch(3, hook)).request.set_headers["X"] == "still here"


def test_hook_waits_for_a_call_on_another_thread(dispatch):
    def hook(request, session, spec):
        if request.object.url == "/inner":
            request.add_header("X", "inner")
            return request, session
        replies = []
        inner = new_object(dispatch.name, "three")
        inner.request.url = "/inner"
        data = inner.SerializeToString()
        thread = threading.Thread(target=lambda: replies.append(dispatch.host.dispatch(data)))
        thread.start()
        thread.join()
        assert parsed(replies[0]).request.set_headers["X"] == "inner"
        request.add_header("X", "outer")
        return request, session

    assert parsed(dispatch(3, hook)).request.set_headers["X"] == "outer"


def test_eight_threads_each_get_their_own_reply(dispatch):
    failed = []

    def hook(request, session, spec):
        number = request.get_header("Number")
        request.add_header("Number", number)
        session.metadata["number"] = number
        session.tags.append(number)
        if int(number) % 10 == 3:
            raise ValueError(number)
        return request, session

    hooks.hook = hook

    def work(start):
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: None)
            for number in range(start, start + 300):
                sent = new_object(dispatch.name, "three")
                sent.request.headers["Number"] = str(number)
                reply = dispatch.host.dispatch(sent.SerializeToString(), delta=number % 2)
                if number % 10 == 3:
                    right = reply.status == E_HOOK and f"ValueError: {number} " in reply.words
                else:
                    left = PB["Object"].FromString(reply.data)
                    right = (
                        reply.status == OK
                        and dict(left.request.set_headers) == {"Number": str(number)}
                        and dict(left.session.metadata) == {"number": str(number)}
                        and list(left.session.tags) == [str(number)]
                    )
                if not right:
                    failed.append((number, reply))

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


# ---- Views that stay ----


def test_views_kept_after_the_call_are_copies_of_their_own(dispatch):
    kept = {}

    def hook(request, session, spec):
        kept.update(request=request, object=request.object, session=session, spec=spec, headers=request.object.headers,
                    tags=session.tags, right=session.access_rights["api"], walk=iter(request.object.headers.items()),
                    )  # fmt: skip
        request.add_header("X", "during")
        return request, session

    def fill(sent):
        sent.request.headers["Host"] = "example.org"
        sent.session.tags.append("t")
        sent.session.access_rights["api"].api_id = "5"

    reply = dispatch(3, hook, fill)
    for _ in range(50):  # memory of the call is used again
        dispatch(3, lambda q, s, spec: (q, s), lambda sent: sent.request.headers.update({"Host": "overwritten" * 20}))
    request = kept["request"]
    request.add_header("X", "after")
    request.delete_header("Y")
    assert request.get_header("Host") == "example.org"
    assert dict(kept["object"].set_headers) == {"X": "after"}
    assert dict(kept["headers"]) == {"Host": "example.org"}
    assert next(kept["walk"]) == ("Host", "example.org")
    kept["tags"].append("late")
    assert list(kept["session"].tags) == ["t", "late"]
    assert kept["right"].api_id == "5"
    assert kept["spec"]["bundle_hash"] == dispatch.name
    assert dict(parsed(reply).request.set_headers) == {"X": "during"}


@pytest.mark.parametrize("part", range(7))
def test_any_one_part_kept_is_enough(dispatch, part):
    kept = []

    def hook(request, response, session, metadata, spec):
        parts = [request, request.object.return_overrides, response.multivalue_headers, session.monitor.trigger_limits,
                 metadata, spec.items(), session.access_rights["a"].allowed_urls]  # fmt: skip
        kept.append(parts[part])
        return response

    def fill(sent):
        sent.metadata["k"] = "v" * 100
        sent.request.headers["k"] = "v" * 100

    parsed(dispatch(5, hook, fill))
    for _ in range(20):
        parsed(dispatch(3, lambda q, s, spec: (q, s), lambda sent: sent.metadata.update({"k": "w" * 100})))
    text = repr(kept[0])
    assert "w" not in text
    if part == 0:
        assert kept[0].get_header("k") == "v" * 100
    if part == 4:
        assert dict(kept[0]) == {"k": "v" * 100}


def test_views_handed_to_a_thread_that_outlives_the_call(dispatch):
    go, seen = threading.Event(), []

    def hook(request, session, spec):
        def later():
            go.wait()
            request.object.headers["Late"] = "1"
            session.metadata["late"] = "1"
            seen.append((request.get_header("Host"), request.get_header("Late"), dict(session.metadata)))

        thread = threading.Thread(target=later)
        thread.start()
        seen.append(thread)
        return request, session

    reply = dispatch(3, hook, lambda sent: sent.request.headers.update({"Host": "example.org"}))
    for _ in range(20):
        parsed(dispatch(3, lambda q, s, spec: (q, s), lambda sent: sent.request.headers.update({"Host": "x" * 100})))
    go.set()
    seen[0].join()
    assert seen[1] == ("example.org", "1", {"late": "1"})
    assert dict(parsed(reply).request.headers) == {"Host": "example.org"}


def test_view_of_one_call_returned_by_another(dispatch):
    kept = []

    def first(request, session, spec):
        session.alias = "of the first call"
        kept.extend([request, session])
        return request, session

    parsed(dispatch(3, first))
    reply = parsed(dispatch(3, lambda request, session, spec: (kept[0], kept[1]), session_of))
    assert reply.session.alias == "of the first call"


# ---- Which hook ----


def test_unknown_bundle_and_unknown_hook(host, dispatch):
    reply = host.dispatch(new_object("no such bundle", "three").SerializeToString())
    assert reply.status == E_NOT_FOUND
    assert "no such bundle" in reply.words
    reply = host.dispatch(new_object(dispatch.name, "no such hook").SerializeToString())
    assert reply.status == E_NOT_FOUND
    assert "three" in reply.words  # what there is


UNIQUE = """
from tyk.decorators import *

@Hook
def {name}(request, session, spec):
    request.add_header("Who", "{who}")
    return request, session
"""


def test_message_without_a_bundle(host, bundle):
    name = f"only_{next(names)}"
    bundle(UNIQUE.format(name=name, who="the one"))
    sent = PB["Object"](hook_name=name).SerializeToString()
    assert parsed(host.dispatch(sent)).request.set_headers["Who"] == "the one"
    second = bundle(UNIQUE.format(name=name, who="another"))
    reply = host.dispatch(sent)
    assert reply.status == E_AMBIGUOUS
    assert second.name in reply.words
    assert (
        parsed(host.dispatch(new_object(second.name, name).SerializeToString())).request.set_headers["Who"] == "another"
    )
    reply = host.dispatch(PB["Object"](hook_name="nobody has it").SerializeToString())
    assert reply.status == E_NOT_FOUND
    assert "nobody has it" in reply.words


def test_empty_message(host):
    assert host.dispatch(b"").status == E_NOT_FOUND


@pytest.mark.parametrize(
    "tail", [b"\xff", b"\x1a\x05a", b"\x00", b"\x0b", b"\x32\xff\xff\xff\xff\x0f", b"\x12\x80", b"\x0c"]
)
def test_broken_bytes(dispatch, tail):
    hooks.hook = lambda request, session, spec: (request, session)
    sent = new_object(dispatch.name, "three").SerializeToString()
    reply = dispatch.host.dispatch(sent + tail)
    assert reply.status == E_MALFORMED
    assert reply.words


def test_broken_part_is_found_where_it_is_read(dispatch):
    """Lazily: a hook that reads the part fails by name, one that does not never knows."""
    broken = new_object(dispatch.name, "three").SerializeToString() + b"\x22\x02\xc2\x01"  # a session cut off
    hooks.hook = lambda request, session, spec: (request, session)
    assert dispatch.host.dispatch(broken).status in (OK, E_MALFORMED)
    hooks.hook = lambda request, session, spec: (request, session.tags and session)
    reply = dispatch.host.dispatch(broken)
    assert reply.status in (E_HOOK, E_MALFORMED)


def test_text_that_is_not_utf8_is_an_error_when_it_is_read(dispatch):
    broken = (
        new_object(dispatch.name, "three").SerializeToString() + b"\x1a\x06\x0a\x04\x0a\x00\x12\x00\x1a\x03\x2a\x01\xff"
    )

    def reads(request, session, spec):
        assert request.object.method == "GET"
        with pytest.raises(UnicodeDecodeError):
            request.object.url  # noqa: B018
        return request, session

    hooks.hook = reads
    assert dispatch.host.dispatch(broken).status == OK

    def raises(request, session, spec):
        return request.object.url

    hooks.hook = raises
    reply = dispatch.host.dispatch(broken)
    assert reply.status == E_HOOK
    assert "UnicodeDecodeError" in reply.words


# ---- Reloading under a call ----

VERSION = """
from tests import hooks
from tyk.decorators import *

VERSION = "{}"

@Hook
def version(request, session, spec):
    hooks.hook(VERSION)
    import {helper}
    request.add_header("Version", VERSION + {helper}.TEXT)
    return request, session
"""


def test_call_in_flight_finishes_on_the_version_it_started_with(host, bundle, tmp_path):
    name = f"swapped-{next(names)}"

    def load(version):
        folder = tmp_path / f"version-{version}"
        folder.mkdir()
        (folder / "middleware.py").write_text(VERSION.format(version, helper="late"))
        (folder / "late.py").write_text(f"TEXT = ' with {version}'")
        manifest = {"file_list": ["middleware.py", "late.py"], "custom_middleware": {"driver": "python"}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        reply = host.load_bundle(str(folder), name)
        assert reply.status == OK, reply.words

    started, go, replies = threading.Event(), threading.Event(), []

    def hook(version):
        if version == "1":
            started.set()
            assert go.wait(60)

    hooks.hook = hook
    sent = new_object(name, "version").SerializeToString()
    load("1")
    thread = threading.Thread(target=lambda: replies.append(host.dispatch(sent)))
    thread.start()
    assert started.wait(60)
    load("2")
    assert parsed(host.dispatch(sent)).request.set_headers["Version"] == "2 with 2"
    go.set()
    thread.join()
    # Also what the old version imports only now comes from its own folder.
    assert parsed(replies[0]).request.set_headers["Version"] == "1 with 1"
    assert parsed(host.dispatch(sent)).request.set_headers["Version"] == "2 with 2"


def test_reload_from_inside_a_hook(host, tmp_path):
    root = tmp_path / "root"
    folder = root / f"self-{next(names)}"
    folder.mkdir(parents=True)
    source = "from tests import hooks\nfrom tyk.decorators import *\n\n@Hook\ndef reloads(request, session, spec):\n"
    source += "    hooks.hook()\n    request.add_header('Version', '{}')\n    return request, session\n"
    manifest = {"file_list": ["middleware.py"], "custom_middleware": {"driver": "python"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "middleware.py").write_text(source.format("1"))
    assert host.new_dispatcher(str(root)) == OK
    sent = new_object(folder.name, "reloads").SerializeToString()

    def hook():
        (folder / "middleware.py").write_text(source.format("two"))
        host.reload()

    hooks.hook = hook
    assert parsed(host.dispatch(sent)).request.set_headers["Version"] == "1"
    hooks.hook = lambda: None
    assert parsed(host.dispatch(sent)).request.set_headers["Version"] == "two"


def test_dispatches_while_the_bundle_is_replaced_again_and_again(host, bundle, tmp_path):
    name = f"busy-{next(names)}"
    folders = []
    for version in ("a", "b"):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "middleware.py").write_text(UNIQUE.format(name="busy", who=version))
        manifest = {"file_list": ["middleware.py"], "custom_middleware": {"driver": "python"}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        folders.append(str(folder))
    assert host.load_bundle(folders[0], name).status == OK
    sent = new_object(name, "busy").SerializeToString()
    done, wrong = threading.Event(), []

    def work():
        while not done.is_set():
            reply = host.dispatch(sent)
            if reply.status != OK or PB["Object"].FromString(reply.data).request.set_headers["Who"] not in ("a", "b"):
                wrong.append(reply)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(40):
        assert host.load_bundle(folders[number % 2], name).status == OK
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---- Deltas ----


def test_delta_has_only_what_changed(dispatch):
    def hook(request, session, spec):
        request.add_header("X", "y")
        return request, session

    reply = dispatch(3, hook, lambda sent: setattr(sent.request, "raw_body", b"x" * 100_000), delta=True)
    assert PB["Object"].FromString(reply.data) == PB["Object"](request={"set_headers": {"X": "y"}})


def test_delta_writes_a_default_and_names_what_is_gone(dispatch):
    def hook(request, session, spec):
        request.object.return_overrides.response_code = 0
        del session.metadata["mine"]
        session.tags.remove("b")
        return request, session

    def fill(sent):
        session_of(sent)
        sent.session.tags.extend("abc")
        sent.session.tags[:] = ["a", "b", "c"]

    sent = PB["Object"]()
    reply = dispatch(3, hook, lambda view: (fill(view), sent.ParseFromString(view.SerializeToString())), delta=True)
    cleared = set(PB["Delta"].FromString(reply.data).cleared)
    assert cleared == {"session.metadata", "session.tags"}
    sent.session.ClearField("metadata")
    sent.session.ClearField("tags")
    sent.MergeFromString(reply.data)
    assert sent.request.return_overrides.response_code == 0
    assert list(sent.session.tags) == ["a", "c"]
    assert dict(sent.session.metadata) == {}
    assert sent.session.alias == "sent"


def test_delta_of_a_map_of_messages_carries_the_whole_entry(dispatch):
    def hook(request, session, spec):
        session.access_rights["api"].versions.append("v2")
        return request, session

    def fill(sent):
        sent.session.access_rights["api"].api_id = "5"
        sent.session.access_rights["other"].api_id = "6"

    delta = parsed(dispatch(3, hook, fill, delta=True))
    assert dict(delta.session.access_rights) == {"api": PB["AccessDefinition"](api_id="5", versions=["v2"])}


def test_regression_a_list_that_changes_while_it_is_looked_at(dispatch):
    class Emptying:
        @property
        def DESCRIPTOR(self):
            returned.clear()
            return PB["MiniRequestObject"].DESCRIPTOR

        def SerializePartialToString(self):
            return PB["MiniRequestObject"](url="/emptied").SerializeToString()

    returned = []

    def hook(request, session, spec):
        returned.extend([Emptying(), session])
        return returned

    assert parsed(dispatch(3, hook)).request.url == "/emptied"


def test_a_generation_that_cannot_be_ended_is_told_and_keeps_nobody_from_the_next(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda failure: told.append(failure.exc_type))
    generation = _bridge.Generation(lambda: 1 / 0)
    generation.retire()
    generation.retire()
    assert told == [ZeroDivisionError]
