"""What a server gets of a message, and what its answer makes of it: held against google.protobuf."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from tests import oracle
from tests.oracle import PB
from tests.test_views_oracle import profile
from tykbridge import _bridge

PRE, AUTH, RESPONSE = 1, 4, 5


def object_of(**fields):
    made = PB["Object"]()
    made.request.method, made.request.url = "POST", "/"
    made.request.raw_body, made.request.body = b"old", "old"
    for name, value in fields.items():
        getattr(made, name).update(value)
    return made


def answered(change, hook_type=PRE, sent=None):
    """Lets a hook's server answer with what `change` makes of a message: gives edits, and the message then."""
    sent = sent or object_of()
    data = sent.SerializeToString()
    answer = PB["Object"].FromString(data)
    change(answer)
    return run(data, answer.SerializeToString(), hook_type)


def run(data, answer, hook_type=PRE):
    said = []

    def function(message):
        said.append(_bridge.answered(message, data, answer, hook_type))

    handler = _bridge.Handler(function, "b", "h", 1, _bridge.Generation(lambda: None))
    before = list(_handlers())
    _bridge.publish([*before, handler])
    try:
        exchange = _bridge.Exchange(data)
        edits = exchange.run(((b"b", b"h"),))
        left = PB["Object"].FromString(exchange.object.SerializeToString())
        exchange.close()
    finally:
        _bridge.publish(before)
    assert said == [True]
    return edits, left


def _handlers():
    from tykbridge.runtime import registry

    return [handler for version in registry._state.versions.values() for handler in version.handlers]


def test_the_same_answer_changes_nothing():
    assert answered(lambda answer: None) == (0, object_of())


def test_what_it_changed_is_there_and_is_known_to_be():
    def change(answer):
        answer.request.set_headers["X"] = "1"
        answer.request.return_overrides.response_code = 204

    edits, left = answered(change)
    assert edits == 3
    assert left.request.set_headers == {"X": "1"}
    assert left.request.return_overrides.response_code == 204


def test_which_of_several_parts_was_changed():
    sent = object_of()
    sent.session.rate = 1
    assert answered(lambda answer: setattr(answer.session, "rate", 2), sent=sent)[0] == 5
    assert answered(lambda answer: answer.spec.update(x="y"), sent=sent)[0] == 0
    assert answered(lambda answer: setattr(answer, "hook_name", "x"), sent=sent)[0] == 0


@pytest.mark.parametrize(
    ("raw", "text", "left"),
    [
        (b"old", "old", b"old"),
        (b"new", "old", b"new"),
        (b"old", "new", b"new"),
        (b"raw", "text", b"raw"),
        (b"", "old", b""),
        (b"old", "", b""),
        (b"", "", b""),
        (b"\xff", "", b"\xff"),
    ],
)
def test_the_body_that_it_changed_wins_and_the_bytes_where_it_changed_both(raw, text, left):
    def change(answer):
        answer.request.raw_body, answer.request.body = raw, text

    assert answered(change)[1].request.raw_body == left


def test_a_response_in_the_same_way():
    sent = object_of()
    sent.response.status_code, sent.response.raw_body, sent.response.body = 200, b"old", "old"
    edits, left = answered(lambda answer: setattr(answer.response, "body", "new"), RESPONSE, sent)
    assert edits == 9
    assert (left.response.raw_body, left.response.status_code) == (b"new", 200)
    assert answered(lambda answer: answer.request.set_headers.update(x="y"), RESPONSE, sent)[0] == 0


def test_an_answer_in_pieces_is_one_message():
    sent = object_of()
    sent.request.headers["A"] = "1"
    data = sent.SerializeToString()
    more = PB["Object"]()
    more.request.headers["B"], more.request.method = "2", "PUT"
    more.request.raw_body, more.request.body = b"\xff", ""
    _, left = run(data, data + more.SerializeToString())
    assert left.request.headers == {"A": "1", "B": "2"}
    assert (left.request.method, left.request.url, left.request.raw_body) == ("PUT", "/", b"\xff")


def test_only_authentication_hears_of_metadata_and_of_a_session_that_is_gone():
    sent = object_of(metadata={"old": "1"})
    sent.session.rate = 1

    def change(answer):
        answer.ClearField("session")
        answer.metadata.clear()
        answer.metadata["token"] = "t"

    _, left = answered(change, AUTH, sent)
    assert not left.HasField("session")
    assert left.metadata == {"token": "t"}
    edits, left = answered(change, PRE, sent)
    assert edits == 0
    assert left.session.rate == 1
    assert left.metadata == {"old": "1"}


def test_an_answer_without_what_the_hook_is_about_is_none():
    message = _bridge.message("Object", object_of().SerializeToString())
    only = PB["Object"]()
    only.session.rate = 1
    assert _bridge.answered(message, b"", only.SerializeToString(), PRE) is False
    assert _bridge.answered(message, b"", object_of().SerializeToString(), RESPONSE) is False
    assert message.session.rate == 0


@pytest.mark.parametrize("answer", [b"\xff", b"\x1a\x05ab", b"\x1a\x03\x5a\x01\xff"], ids=["tag", "length", "UTF-8"])
def test_an_answer_that_is_no_object_is_refused_before_anything_changes(answer):
    message = _bridge.message("Object", object_of().SerializeToString())
    with pytest.raises(DecodeError):
        _bridge.answered(message, b"", answer, PRE)
    assert message.request.method == "POST"


def test_what_is_sent():
    sent = object_of(spec={"APIID": "api", "OrgID": "o"})
    sent.request.headers.update({"X-Request-Id": "r", "TraceParent": "00-1", "Tracestate": "a\tb", "Other": "x"})
    message = _bridge.message("Object", sent.SerializeToString())
    message.request.set_headers["X"] = "1"
    data, api_id, headers = _bridge.outgoing(message, b"\x08\x02", (b"traceparent", b"tracestate", b"x-request-id"))
    sent.request.set_headers["X"], sent.hook_type = "1", 2
    assert PB["Object"].FromString(data) == sent
    assert api_id == b"api"
    assert headers == [(b"traceparent", b"00-1"), (b"x-request-id", b"r")]


@pytest.mark.parametrize(("value", "kept"), [("x" * 512, True), ("x" * 513, False), ("é", False), ("a\x7f", False)])
def test_what_a_client_sends_reaches_metadata_only_where_it_fits(value, kept):
    message = _bridge.message("Object")
    message.request.headers["X-Request-Id"] = value
    assert bool(_bridge.outgoing(message, b"", (b"x-request-id",))[2]) is kept


@given(oracle.wire("Object"), oracle.wire("Object"), st.sampled_from([PRE, AUTH, RESPONSE]), st.booleans())
@profile(4)
def test_any_answer_is_what_the_oracle_reads_in_it(sent, answer, hook_type, is_read):
    """But for bodies, which are settled."""
    message, theirs = _bridge.message("Object", sent), PB["Object"].FromString(answer)
    before = PB["Object"].FromString(sent)
    if is_read:  # views of the parts are there
        kept = message.request, message.session, message.response
        assert [str(view.__class__.__name__) for view in kept]
    part = "response" if hook_type == RESPONSE else "request"
    assert _bridge.answered(message, sent, answer, hook_type) is theirs.HasField(part)
    left = PB["Object"].FromString(message.SerializeToString())
    if not theirs.HasField(part):
        assert oracle.content(left) == oracle.content(before)
        return
    expected = PB["Object"].FromString(sent)
    getattr(expected, part).CopyFrom(getattr(theirs, part))
    if theirs.HasField("session"):
        expected.session.CopyFrom(theirs.session)
    elif hook_type == AUTH:
        expected.ClearField("session")
    if hook_type == AUTH:
        expected.ClearField("metadata")
        expected.MergeFrom(PB["Object"](metadata=theirs.metadata))
    for one in (left, expected):
        getattr(one, part).ClearField("body")
        getattr(one, part).ClearField("raw_body")
    assert oracle.content(left) == oracle.content(expected)


@given(oracle.wire("Object"), st.binary(max_size=200))
@profile(4)
def test_bytes_that_are_anything_do_no_harm(sent, answer):
    message = _bridge.message("Object", sent)
    try:
        PB["Object"].FromString(answer)
    except DecodeError:
        with pytest.raises(DecodeError):
            _bridge.answered(message, sent, answer, PRE)
    else:
        _bridge.answered(message, sent, answer, PRE)
    PB["Object"].FromString(message.SerializeToString())


@given(oracle.wire("Object"))
@profile(2)
def test_what_is_sent_is_the_message_and_the_tail(sent):
    message, names = _bridge.message("Object", sent), (b"traceparent", b"x-request-id")
    data, api_id, _ = _bridge.outgoing(message, b"\x08\x05", names)
    expected = PB["Object"].FromString(sent + b"\x08\x05")
    assert oracle.content(PB["Object"].FromString(data)) == oracle.content(expected)
    assert api_id == expected.spec.get("APIID", "").encode()
