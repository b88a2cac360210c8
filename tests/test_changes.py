"""tykbridge.changes: each kind of change, told once, in the words of the plugin's code."""

import pytest

from tykbridge import _bridge
from tykbridge.changes import Change, changes, flat


def object_of(hook_type):
    made = _bridge.message("Object")
    made.hook_type = hook_type
    made.request.method, made.request.url = "POST", "/"
    made.request.headers["Host"] = "h"
    made.request.raw_body, made.request.body = b"old", "old"
    made.request.return_overrides.response_code = -1
    made.session.access_rights["a"].versions.append("v1")
    made.response.status_code = 200
    made.response.multivalue_headers.add(key="Vary", values=["a"])
    return made


EDITS = {
    "nothing": (lambda o: None, 1, []),
    "an entry more": (
        lambda o: o.request.set_headers.update({'X"\\': "1"}),
        1,
        [Change('request.set_headers["X\\"\\\\"]', None, "1")],
    ),
    "an entry less": (
        lambda o: o.request.headers.pop("Host"),
        1,
        [Change('request.headers["Host"]', "h", None, acts=False)],
    ),
    "a field": (
        lambda o: setattr(o.request.return_overrides, "response_code", 403),
        1,
        [Change("request.return_overrides.response_code", -1, 403)],
    ),
    "a list": (
        lambda o: o.request.delete_headers.append("Host"),
        1,
        [Change("request.delete_headers", None, ["Host"])],
    ),
    "a body is told once": (
        lambda o: (setattr(o.request, "body", "new"), setattr(o.request, "raw_body", b"new")),
        1,
        [Change("request.body", "old", "new")],
    ),
    "an emptied body": (
        lambda o: (setattr(o.request, "body", ""), setattr(o.request, "raw_body", b"")),
        1,
        [Change("request.body", "old", None)],
    ),
    "a body that is no text": (
        lambda o: (setattr(o.request, "body", ""), setattr(o.request, "raw_body", b"\xff")),
        1,
        [Change("request.body", "old", None), Change("request.raw_body", b"old", b"\xff")],
    ),
    "a session, by the hook that may": (
        lambda o: setattr(o.session, "rate", 5),
        4,
        [Change("session.rate", None, 5.0)],
    ),
    "a session, by one that may not": (
        lambda o: setattr(o.session.access_rights["a"], "api_id", "b"),
        3,
        [Change('session.access_rights["a"].api_id', None, "b", acts=False)],
    ),
    "a header of the response": (
        lambda o: o.response.multivalue_headers.add(key="Vary", values=["b"]),
        5,
        [Change('response.multivalue_headers["Vary"]', ["a"], ["a", "b"])],
    ),
    "a request, by a response hook": (
        lambda o: setattr(o.request, "url", "/b"),
        5,
        [Change("request.url", "/", "/b", acts=False)],
    ),
}


@pytest.mark.parametrize("case", EDITS.values(), ids=EDITS.keys())
def test_changes(case):
    edit, hook_type, expected = case
    sent, reply = object_of(hook_type), object_of(hook_type)
    edit(reply)
    assert changes(sent, reply) == expected


def test_a_raw_body_alone():
    sent, reply = object_of(1), object_of(1)
    sent.request.body = reply.request.body = ""
    reply.request.raw_body = b""
    assert changes(sent, reply) == [Change("request.raw_body", b"old", None)]


def test_flat_names_all_that_is_set():
    assert flat(object_of(4)) == {
        "hook_type": 4,
        'request.headers["Host"]': "h",
        "request.body": "old",
        "request.url": "/",
        "request.return_overrides.response_code": -1,
        "request.method": "POST",
        "request.raw_body": b"old",
        'session.access_rights["a"].versions': ["v1"],
        "response.status_code": 200,
        'response.multivalue_headers["Vary"]': ["a"],
    }
