"""_bridge.Exchange: several hooks on one message."""

import gc

import pytest

from tests import hooks
from tykbridge import _bridge, runtime
from tykbridge.errors import HookError, NotFoundError

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


def run(exchange, hook, form=b"three"):
    hooks.hook = hook
    return exchange.run(b"exchange", form)


def test_says_what_was_changed(exchange):
    def header(request, session, spec):
        request.add_header("B", "2")
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
    assert run(exchange, session, b"four") == 1 | REQUEST | SESSION
    assert run(exchange, response, b"five") == 1 | REQUEST | SESSION | RESPONSE
    left = exchange.object
    assert dict(left.request.set_headers) == {"B": "2"}
    assert (left.session.alias, left.response.status_code) == ("bob", 201)


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
        raise ValueError("boom")

    with pytest.raises(HookError, match="boom"):
        run(exchange, fail)
    with pytest.raises(HookError, match="returned None"):
        run(exchange, lambda request, session, spec: None)
    with pytest.raises(NotFoundError, match='has no hook "six"'):
        exchange.run(b"exchange", b"six")


def test_closed(exchange):
    exchange.close()
    exchange.close()
    with pytest.raises(ValueError, match="closed"):
        exchange.run(b"exchange", b"three")
    with pytest.raises(ValueError, match="closed"):
        _ = exchange.object
