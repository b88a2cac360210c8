"""_bridge.Exchange: several hooks on one message."""

import gc

import pytest

from tests import hooks
from tykbridge import _bridge, runtime
from tykbridge.errors import HookError, MalformedError, NotFoundError

REQUEST, SESSION, RESPONSE = 2, 4, 8


@pytest.fixture
def exchange(tmp_path):
    (tmp_path / "middleware.py").write_text(hooks.BUNDLE)
    runtime.load_bundle(str(tmp_path), "exchange")
    sent = _bridge.message("Object")
    sent.request.headers["A"] = "1"
    sent.session.alias = "alice"
    sent.response.status_code = 200
    made = _bridge.Exchange(sent.SerializeToString())
    yield made
    made.close()
    runtime.registry.unload("exchange")


def key(form="three"):
    return b"exchange", form.encode()


def run(exchange, hook, form="three"):
    hooks.hook = hook
    return exchange.run((key(form),))


def setting(*headers):
    def hook(request, session, spec):
        for name, value in headers:
            request.add_header(name, value)
        return request, session

    return hook


def test_says_what_was_changed(exchange):
    def header(request, session, spec):
        request.delete_header("B")
        return request, session

    def session(request, session, metadata, spec):
        session.alias = "bob"
        return request, session, metadata

    def response(request, response, session, metadata, spec):
        response.status_code = 201
        return response

    def spec(request, session, spec):
        spec["x"] = "y"
        return request, session

    def look(request, session, spec):
        assert (session.alias, request.get_header("A")) == ("alice", "1")
        return request, session

    assert run(exchange, look) == 0
    assert run(exchange, spec) == 1
    assert run(exchange, header) == 1 | REQUEST
    assert run(exchange, session, "four") == 1 | REQUEST | SESSION
    assert run(exchange, response, "five") == 1 | REQUEST | SESSION | RESPONSE
    left = exchange.object
    assert list(left.request.delete_headers) == ["B"]
    assert (left.session.alias, left.response.status_code) == ("bob", 201)


def test_headers_are_seen_by_the_next_hook(exchange):
    seen = []

    def look(request, session, spec):
        seen.append((request.get_header("B"), dict(request.object.headers), dict(request.object.set_headers)))
        return request, session

    assert run(exchange, setting(("B", "2"))) == 0
    assert exchange.headers == [("B", "2")]
    assert run(exchange, look) == 0
    assert seen == [("2", {"A": "1", "B": "2"}, {})]
    assert run(exchange, setting(("B", "3"), ("A", ""), ("Content-Length", "9"))) == REQUEST | 1  # its map was read
    exchange.object.request.set_headers.clear()
    assert exchange.headers == [("B", "2")]


def test_headers_add_up(exchange):
    assert run(exchange, setting(("B", "2"), ("C", "ä"))) == 0
    assert run(exchange, setting(("b", "x"))) == REQUEST | 1  # another spelling of what is there
    assert exchange.headers == [("B", "2"), ("C", "ä")]
    changes = _bridge.message("Object", exchange.continued(b"", b"")).request
    assert dict(changes.set_headers) == {"B": "2", "C": "ä"}
    assert [field.name for field, _ in changes.ListFields()] == ["set_headers"]


def test_a_long_header(exchange):
    headers = [("N" * 200, "v" * 20_000), ("B", "")]
    assert run(exchange, setting(*headers)) == 0
    assert exchange.headers == headers
    assert dict(_bridge.message("Object", exchange.continued(b"", b"")).request.set_headers) == dict(headers)


def test_views_that_somebody_keeps_see_no_header_move(exchange):
    kept = []

    def keep(request, session, spec):
        kept.append(request.object.set_headers)
        request.add_header("B", "2")
        return request, session

    assert run(exchange, keep) == REQUEST | 1
    assert exchange.headers == []
    assert dict(kept[0]) == {"B": "2"}


def test_runs_hooks_until_one_changes_more(exchange):
    calls = []

    def count(request, session, spec):
        calls.append(request.get_header("N"))
        if len(calls) == 3:
            request.object.url = "/elsewhere"
        else:
            request.add_header("N", str(len(calls)))
        return request, session

    hooks.hook = count
    assert exchange.run((key(),) * 4) == REQUEST | 1
    assert (calls, exchange.at) == ([None, "1", "2"], 2)
    assert exchange.headers == [("N", "2")]
    assert exchange.run((key(),) * 4, 3) == 0
    assert (calls, exchange.at) == ([None, "1", "2", "2"], 3)


def test_a_session_is_shown(exchange):
    seen = []

    def look(request, response, session, metadata, spec):
        seen.append((session.alias, session.rate, session.quota_remaining, session.quota_renews, dict(metadata)))

    def three(request, session, spec):
        seen.append(session.alias)
        return request, session

    assert run(exchange, three) == 0
    session = _bridge.message("SessionState", alias="carol", quota_remaining=9, metadata={"a": "1"}).SerializeToString()
    metadata = _bridge.message("Object", metadata={"a": "1"}).SerializeToString()
    exchange.show_session(session, metadata)
    run(exchange, three)
    run(exchange, look, "five")
    exchange.show_quota(5, 1 << 40)
    run(exchange, look, "five")
    assert seen == ["alice", "carol", ("carol", 0, 9, 0, {"a": "1"}), ("carol", 0, 5, 1 << 40, {"a": "1"})]
    left = _bridge.message("SessionState", session + _bridge.quota_message(5, 1 << 40))
    assert (left.alias, left.quota_remaining, left.quota_renews) == ("carol", 5, 1 << 40)
    left = _bridge.message("SessionState", _bridge.quota_message(-1, 0))
    assert (left.quota_remaining, left.quota_renews) == (-1, 0)


def test_tells_whether_a_hook_kept_a_view(exchange):
    kept = []

    def keep(request, session, spec):
        kept.append(session)
        return request, session

    assert not exchange.is_shared()
    assert run(exchange, keep) == 0
    assert exchange.is_shared()
    kept.clear()
    assert not exchange.is_shared()


def test_a_header_is_found_in_any_spelling(exchange):
    assert (exchange.header("a"), exchange.header("A"), exchange.header("b")) == (b"1", b"1", None)
    run(exchange, setting(("Bé", "x")))  # no name that HTTP allows: it stays where the hook put it
    run(exchange, setting(("B", "ä")))
    assert exchange.header("b") is None
    exchange.close()


def test_views_that_a_hook_keeps_outlive_the_exchange(exchange):
    kept = []

    def keep(request, session, spec):
        kept.extend((request.object, session, request.object.headers))
        return request, session

    assert run(exchange, keep) == 0
    left = exchange.object
    exchange.close()
    gc.collect()
    others = [_bridge.Exchange(b"\x1a\x05\x22\x03xyz") for _ in range(10)]
    assert (kept[0].headers["A"], kept[1].alias, kept[2]["A"], left.session.alias) == ("1", "alice", "1", "alice")
    assert {other.object.request.body for other in others} == {"xyz"}


def test_failures(exchange):
    def fail(request, session, spec):
        request.add_header("B", "2")
        raise ValueError("boom")

    with pytest.raises(HookError, match="boom"):
        run(exchange, fail)
    assert exchange.headers == []
    with pytest.raises(HookError, match="returned None"):
        run(exchange, lambda request, session, spec: None)
    with pytest.raises(NotFoundError, match='has no hook "six"'):
        exchange.run((key("three"), key("six")), 1)
    assert exchange.at == 1
    # What the failed hook wrote is still there, so that this one's headers need a closer look.
    assert run(exchange, setting(("C", "3"))) == REQUEST | 1


@pytest.mark.parametrize(
    ("hooks", "error"), [(None, TypeError), ((b"x",), ValueError), (((b"x", "y"),), TypeError), ((None,), TypeError)]
)
def test_no_hooks(exchange, hooks, error):
    with pytest.raises(error):
        exchange.run(hooks)


def test_closed(exchange):
    run(exchange, setting(("B", "2")))
    exchange.close()
    exchange.close()
    assert exchange.headers == []
    assert exchange.continued(b"", b"") == b""
    for call in (
        lambda: exchange.run((key(),)),
        lambda: exchange.object,
        lambda: exchange.header("A"),
        lambda: exchange.is_shared(),
        lambda: exchange.show_session(b"", b""),
        lambda: exchange.show_quota(1, 1),
    ):
        with pytest.raises(ValueError, match="closed"):
            call()


# ---- What a host's message is about


def incoming(**changes):
    sent = _bridge.message("Object")
    sent.spec["APIID"] = changes.pop("api", "api")
    request = sent.request
    request.headers["A"] = "1"
    request.url, request.method, request.request_uri = "/x", "GET", "/x"
    for name, value in changes.items():
        if isinstance(value, dict):
            getattr(request, name).update(value)
        elif isinstance(value, list):
            getattr(request, name).extend(value)
        elif name == "code":
            request.return_overrides.response_code = value
        else:
            setattr(request, name, value)
    return sent.SerializeToString()


def test_a_request_is_shown_as_it_came():
    api, wire, has_body = _bridge.incoming(incoming(url="/x?a=1", params={"a": "1"}, scheme="https"))
    shown = _bridge.message("Object", wire)
    assert (api, has_body) == ("api", False)
    assert shown.request.return_overrides.response_code == -1
    shown.request.ClearField("return_overrides")
    expected = _bridge.message("Object", incoming(url="/x?a=1", params={"a": "1"}, scheme="https"))
    assert shown.request == expected.request
    assert not shown.spec
    assert not shown.HasField("session")


@pytest.mark.parametrize(
    "changes",
    [
        {"api": ""},
        {"url": "/x?a=1"},  # without its parameters
        {"request_uri": ""},
        {"body": "x"},
        {"set_headers": {"a": "b"}},
        {"delete_headers": ["a"]},
        {"add_params": {"a": "b"}},
        {"extended_params": {"a": "b"}},
        {"delete_params": ["a"]},
        {"code": 200},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_request_that_cannot_be_shown_as_it_came(changes):
    assert _bridge.incoming(incoming(**changes)) is None


@pytest.mark.parametrize(("body", "text"), [(b"x" * 300, "x" * 300), ("ä".encode(), "ä"), (b"a\xff", "")])
def test_a_body_is_shown_as_text_where_it_is_one(body, text):
    _, wire, has_body = _bridge.incoming(incoming(raw_body=body))
    assert has_body
    for shown, expected in ((wire, ""), (_bridge.with_text(wire), text)):
        request = _bridge.message("Object", shown).request
        assert (request.raw_body, request.body, request.method) == (body, expected, "GET")
        assert request.return_overrides.response_code == -1


def test_messages_without_a_request_or_with_two():
    assert _bridge.incoming(b"") is None
    one = incoming()
    assert _bridge.incoming(one) is not None
    assert _bridge.incoming(one + one) is None


@pytest.mark.parametrize("data", [b"\x1a\x05x", b"\x1a\x02\x0a\x05", b"\x32\x02\x0a\x05", b"\xff"])
def test_bytes_that_are_no_message(data):
    with pytest.raises(MalformedError, match="its fields cannot be read"):
        _bridge.incoming(data)
