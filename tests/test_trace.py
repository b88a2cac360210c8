"""Records of requests: what is kept of them, whose line is whose, and how much of it."""

import contextlib
import http.client
import json
import socket
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from tests import webserver
from tests.cli.commands import write
from tests.inspected import KEY, echo, open_, shop
from tykbridge import Bridge, _bridge
from tykbridge.gateway import trace
from tykbridge.gateway.server import Gateway, running
from tykbridge.gateway.trace import BODY, Tracer, hear_prints
from tykbridge.services import Mode
from tykbridge.steps import ClientStep, HookStep, NoteStep, UpstreamStep

PLUGIN = """\
from tyk.decorators import *
from gateway import TykGateway as tyk
import sys

@Hook
def Stamp(request, session, spec):
    name = request.get_header("X-From") or ""
    tyk.log("first of " + name, "info")
    print("printed by " + name)
    meet = sys.modules.get("meeting_of_tests")
    if meet is not None:
        meet.meet()
    tyk.log("second of " + name, "warning")
    request.add_header("X-From", "[" + name + "]")
    tyk.trigger_event("Seen", name)
    return request, session

@Hook
def Check(request, session, metadata, spec):
    session.alias = "ada"
    metadata["token"] = "token-of-somebody"
    return request, session, metadata

@Hook
def Price(request, session, spec):
    what = request.get_header("X-What")
    if what == "raise":
        raise ValueError("no price")
    if what == "session":
        session.alias = "eve"
    if what == "large":
        request.object.body = "x" * 300_000
    if what == "binary":
        request.object.raw_body = b"\\xff" * 300_000
    if what == "many":
        for number in range(2_000):
            tyk.log("line %d" % number, "info")
    if what == "refused":
        request.add_header("X-Bad\\r\\nName", "1")
    return request, session

@Hook
def Label(request, response, session, metadata, spec):
    response.headers["X-Shop"] = "open"
    return response
"""


class Place:
    """A gateway in this process, and what its tracer keeps."""

    def __init__(self, folder, upstream, tracer, gateway):
        self.folder, self.upstream, self.tracer, self.gateway = folder, upstream, tracer, gateway
        self.told = threading.Condition()
        self.over = []
        tracer.listeners.append(self._heard)

    def _heard(self, what, record):
        if what == "ended":
            with self.told:
                self.over.append(record)
                self.told.notify_all()

    def ask(self, path="/shop/orders", body=None, method=None, **headers):
        """Send a request; gives its record, when it is over."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        parts = urlsplit(self.gateway.url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        count = len(self.over)
        try:
            connection.request(method or ("POST" if body else "GET"), path, body, names)
            answer = connection.getresponse()
            self.answer = answer.getheaders(), answer.read()
        finally:
            connection.close()
        return self.wait(count + 1)[-1]

    def wait(self, count):
        with self.told:
            assert self.told.wait_for(lambda: len(self.over) >= count, 60)
            return list(self.over)


@contextlib.contextmanager
def placed(folder, strict=False, kept=trace.KEPT):
    with webserver.serving(echo) as upstream, pytest.MonkeyPatch.context() as patch:
        write(folder, {"apis/shop.json": shop(upstream.url), "apis/open.json": open_(upstream.url), "shop.py": PLUGIN})
        bridge = Bridge(middleware_path=folder)
        tracer = Tracer(bridge, strict, kept=kept)
        patch.setattr(_bridge, "log", tracer.logged)  # what plugins say
        patch.setattr(_bridge, "trigger_event", tracer.fired)
        mode = Mode.STRICT if strict else Mode.COMPATIBLE
        bridge.services = replace(bridge.services, watch=tracer.watch, log=tracer.logged, mode=mode)
        assert bridge.load(folder / "apis").not_loaded == ()
        with running(Gateway(bridge, port=0, observers=[tracer])) as gateway:
            yield Place(folder, upstream, tracer, gateway)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with placed(tmp_path_factory.mktemp("place")) as made:
        yield made


def step(record, name):
    return next(item for item in record.steps if isinstance(item, HookStep) and item.name == name)


def changed(step):
    return {change.path: change.new for change in step.changes}


def test_a_record_has_all_that_a_request_went_through(place):
    record = place.ask(body=b"an order", X_From="Ada")
    kinds = [getattr(item, "name", type(item).__name__) for item in record.steps]
    assert kinds == ["Stamp", "Check", "Price", "UpstreamStep", "Label", "ClientStep"]
    assert record.request.body == b"an order"
    assert ("X-From", "Ada") in record.request.headers
    assert changed(step(record, "Stamp")) == {'request.set_headers["X-From"]': "[Ada]"}
    assert step(record, "Stamp").driver == "python"
    assert step(record, "Check").token == "token-of-somebody"
    upstream = record.steps[3]
    assert upstream.request.url == f"{place.upstream.url}/orders"
    assert ("X-From", "[Ada]") in upstream.request.headers
    got = place.upstream.got[-1]
    sent = {name.lower(): value for name, value in upstream.request.headers}
    assert {name: got.headers.get(name) for name in sent} == sent  # what is shown is what was sent
    assert upstream.response.status == 200
    assert ("X-Shop", "open") in record.steps[5].response.headers
    assert record.visit.status == 200
    times = [item.began for item in record.steps if not isinstance(item, ClientStep)]
    assert record.visit.began < times[0]
    assert times == sorted(times)
    assert times[-1] < record.visit.ended


def test_lines_stand_with_the_hook_that_wrote_them_though_requests_overlap(place, monkeypatch, capfd):
    """Both are in the same hook at the same time, between their lines."""
    meeting = threading.Barrier(2, timeout=60)
    monkeypatch.setitem(sys.modules, "meeting_of_tests", SimpleNamespace(meet=meeting.wait))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    hear_prints(passing_on=False)
    count = len(place.over)
    names = ["Ada", "Grace"]
    threads = [threading.Thread(target=place.ask, kwargs={"X_From": name}) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = place.wait(count + 2)[count:]
    assert sorted(dict(record.request.headers)["X-From"] for record in records) == names
    for record in records:
        name = dict(record.request.headers)["X-From"]
        seen = step(record, "Stamp").seen
        assert seen.logged == [("info", f"first of {name}"), ("warning", f"second of {name}")]
        assert seen.printed == [f"printed by {name}"]
        assert seen.events == [("Seen", name)]
        assert not any(item.seen for item in record.steps if isinstance(item, HookStep) and item.name != "Stamp")


def test_a_hook_that_fails_keeps_its_traceback(place):
    record = place.ask(X_What="raise")
    failed = step(record, "Price")
    assert "ValueError: no price" in failed.failure
    assert failed.changes is None
    ((level, words),) = failed.seen.logged
    assert level == "error"
    assert "Traceback" in words
    assert 'raise ValueError("no price")' in words
    assert [type(item) for item in record.steps[-2:]] == [HookStep, ClientStep]  # nothing says it once more
    assert record.steps[-1].asked_upstream is False


def test_what_no_hook_may_write_is_told_of_the_hook(place):
    record = place.ask(X_What="refused")
    assert "X-Bad" in step(record, "Price").fault
    assert not any(item.seen for item in record.steps if isinstance(item, NoteStep))
    assert record.visit.status == 500


def test_what_a_hook_changes_in_vain_is_told(place, tmp_path):
    record = place.ask(X_What="session")
    assert "session.alias" in step(record, "Price").warnings[0]
    with placed(tmp_path, strict=True) as strict:
        record = strict.ask(X_What="session")
        assert step(record, "Price").warnings == ()
        assert "session.alias" in step(record, "Price").fault
        assert record.visit.status == 500


@pytest.mark.parametrize(
    ("path", "method"),
    [("/shop/orders", "GET"), ("/shop/orders", "HEAD"), ("/open/x", "GET"), ("/open/x", "HEAD"), ("/nowhere", "GET")],
)
def test_what_the_client_gets_is_shown_as_it_was_sent(place, path, method):
    """But for what is said of the connection alone."""
    shown = place.ask(path, method=method).steps[-1].response
    headers, body = place.answer
    left_out = {"connection", "transfer-encoding"}
    assert list(shown.headers) == [pair for pair in headers if pair[0].lower() not in left_out]
    assert {"X-Request-ID", "Date"} <= dict(shown.headers).keys()
    assert shown.body == (b"" if path == "/open/x" else body)


def test_an_upstream_that_does_not_answer_is_told(tmp_path):
    with placed(tmp_path) as place:
        document = open_("http://127.0.0.1:1/")
        (tmp_path / "apis" / "open.json").write_text(json.dumps(document))
        place.gateway.bridge.reload()
        record = place.ask("/open/x")
        upstream, client = record.steps
        assert isinstance(upstream, UpstreamStep)
        assert upstream.response is None
        assert "127.0.0.1:1" in upstream.failure
        assert (client.response.status, client.asked_upstream) == (502, True)


def test_a_request_that_no_api_is_for_is_kept_too(place):
    record = place.ask("/nowhere", body=b"never read")
    assert record.definition is None
    assert record.remark == "the body was not read"
    assert [(type(item), item.response.status) for item in record.steps] == [(ClientStep, 404)]
    assert ("Content-Length", "10") in record.request.headers


def test_a_body_that_is_streamed_is_not_kept(place):
    record = place.ask("/open/upload", body=b"x" * 100_000)
    assert (record.request.body, record.remark, record.whole) == (b"", trace.STREAMED, False)
    upstream, client = record.steps
    assert (upstream.request.body, upstream.response.body, upstream.remark) == (b"", b"", trace.STREAMED)
    assert (client.response.body, client.remark) == (b"", trace.STREAMED)
    assert client.response.status == 200


def test_what_is_kept_is_bounded(tmp_path):
    with placed(tmp_path, kept=3) as place:
        record = place.ask(body=b"y" * (BODY + 5))
        assert record.request.body == b"y" * BODY
        assert record.remark == f"the first {BODY} of {BODY + 5} bytes of the body"
        assert not record.whole
        large = place.ask(body=b"z", X_What="large")
        (body,) = [new for path, new in changed(step(large, "Price")).items() if path == "request.body"]
        assert len(body) < 20_000
        assert len(large.steps[3].request.body) == BODY
        binary = place.ask(body=b"\xfe", X_What="binary")
        assert len(changed(step(binary, "Price"))["request.raw_body"]) < 20_000
        many = place.ask(X_What="many")
        assert len(step(many, "Price").seen.logged) == 500
        place.ask()
        place.ask()
        assert [kept.number for kept in place.tracer.records] == [4, 5, 6]
        assert place.tracer.find(1) is None


def test_a_client_that_goes_away_leaves_a_record_that_is_over(place, monkeypatch):
    arrived, go_on = threading.Event(), threading.Event()

    def meet():
        arrived.set()
        assert go_on.wait(60)

    monkeypatch.setitem(sys.modules, "meeting_of_tests", SimpleNamespace(meet=meet))
    count = len(place.over)
    parts = urlsplit(place.gateway.url)
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall(b"GET /shop/orders HTTP/1.1\r\nHost: a\r\n\r\n")
        assert arrived.wait(60)
    record = place.wait(count + 1)[-1]
    go_on.set()
    assert record.visit.failure == "the client went away"
    assert record.visit.status == 0
    assert not any(isinstance(item, ClientStep) for item in record.steps)


def test_nobody_looks_on_where_nobody_asked(tmp_path):
    """The same requests without a tracer: no notes are taken, and hooks run without a watch."""
    with webserver.serving(echo) as upstream:
        write(tmp_path, {"apis/shop.json": shop(upstream.url), "shop.py": PLUGIN})
        bridge = Bridge(middleware_path=tmp_path)
        bridge.load(tmp_path / "apis")
        visits = []

        class Looker:
            def begin(self, visit):
                visits.append(visit)

            def end(self, visit):
                pass

        with running(Gateway(bridge, port=0, observers=[Looker()])) as gateway:
            place = Place(tmp_path, upstream, Tracer(bridge), gateway)
            parts = urlsplit(place.gateway.url)
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
            with contextlib.closing(connection):
                connection.request("GET", "/shop/orders", headers={"Authorization": f"Bearer {KEY}"})
                assert connection.getresponse().status == 200
        assert [visit.notes for visit in visits] == [None]
        assert bridge.services.watch is None
