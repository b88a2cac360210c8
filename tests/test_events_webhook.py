"""Webhooks, against a real web server."""

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import threading

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.definitions import read, smallest, smallest_oas
from tests.webserver import serving
from tykbridge.definition import read_text
from tykbridge.errors import LoadError
from tykbridge.events import webhook
from tykbridge.events.queue import Fired, Result
from tykbridge.events.webhook import WebhookHandler, read_template
from tykbridge.stores.memory import MemoryStore

META = {"Message": 'a "b"\n', "OriginatingRequest": "", "Path": "/p", "Origin": "", "Key": "key"}
EVENT = Fired("AuthFailure", META, "2026-01-02T03:04:05+00:00", "api", "org")
BODY = {"event": "AuthFailure", "message": 'a "b"\n', "path": "/p", "origin": "", "key": "key"}


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Hooked:
    """A webhook, its log and its pauses."""

    def __init__(self, definition, folder, store, timeout, gives_up=False):
        self.lines, self.pauses = [], []

        def pause(seconds):
            self.pauses.append(seconds)
            return not gives_up

        (handler,) = definition.events
        template = read_template(definition, handler.webhook, str(folder))
        log = lambda words, level: self.lines.append((level, words))  # noqa: E731
        self.handler = WebhookHandler(
            definition, handler, handler.webhook, template, store, log, pause, urllib3.Timeout(timeout)
        )

    def fire(self, event=EVENT):
        return self.handler.deliver(event)


@pytest.fixture
def hooked(tmp_path):
    def make(url, store=None, timeout=20, gives_up=False, **meta):
        handler = {
            "handler_name": "eh_web_hook_handler",
            "handler_meta": {"target_path": url, "method": "POST", **meta},
        }
        text = json.dumps(smallest(event_handlers={"events": {"AuthFailure": [handler]}}))
        definition = read_text(text, str(tmp_path / "apis" / "api.json")).require()
        return Hooked(definition, tmp_path, MemoryStore() if store is None else store, timeout, gives_up)

    return make


def test_the_default_body_is_upstreams_with_the_time(hooked):
    with serving() as server:
        assert hooked(f"{server.url}/a?b=c").fire() is Result.DELIVERED
    (got,) = server.got
    assert (got.method, got.path) == ("POST", "/a?b=c")
    assert json.loads(got.body) == {**BODY, "timestamp": EVENT.timestamp}
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"] == "Tyk-Hookshot"


def test_the_default_body_of_a_quotas_trigger(hooked):
    meta = {"Message": "m", "org_id": "o", "key": "k", "trigger_limit": 80, "usage_percentage": 81}
    with serving() as server:
        hooked(server.url).fire(Fired("TriggerExceeded", meta, "now", "api", "org"))
    expected = {"event": "TriggerExceeded", "message": "m", "org": "o", "key": "k", "trigger_limit": "80"}
    assert json.loads(server.got[0].body) == {**expected, "timestamp": "now"}


@pytest.mark.parametrize(("method", "sent"), [("put", "PUT"), ("", "GET"), ("DELETE", "DELETE")])
def test_methods(hooked, method, sent):
    with serving() as server:
        assert hooked(server.url, method=method).fire() is Result.DELIVERED
    assert server.got[0].method == sent
    assert json.loads(server.got[0].body)["event"] == "AuthFailure"  # also with GET, as upstream


def test_headers(hooked):
    headers = {"X-Key": "v", "user-agent": "mine", "Content-Type": "text/x"}
    with serving() as server:
        hooked(server.url, header_map=headers).fire()
    got = server.got[0].headers
    assert {name: got[name] for name in ("x-key", "user-agent", "content-type")} == {
        "x-key": "v",
        "user-agent": "mine",
        "content-type": "text/x",
    }


def test_the_oas_form(tmp_path):
    with serving() as server:
        item = {
            "enabled": True,
            "trigger": "AuthFailure",
            "type": "webhook",
            "name": "mine",
            "url": server.url,
            "method": "PATCH",
            "headers": [{"name": "X-A", "value": "1"}],
            "bodyTemplate": "body.json",
            "cooldownPeriod": "1m30s",
        }
        (tmp_path / "body.json").write_text('{"what": "{{.Meta.Message}}"}')
        definition = read(smallest_oas(server={"listenPath": {"value": "/"}, "eventHandlers": [item]})).require()
        clock = Clock()
        hook = Hooked(definition, tmp_path, MemoryStore(clock), 20)
        assert [hook.fire(), hook.fire()] == [Result.DELIVERED, Result.HELD]
        clock.now += 91
        assert hook.fire() is Result.DELIVERED
    assert len(server.got) == 2
    assert (server.got[0].method, server.got[0].headers["x-a"]) == ("PATCH", "1")
    assert json.loads(server.got[0].body) == {"what": 'a "b"\n'}


# ---- Templates


def test_a_template_of_another_kind_is_escaped_as_upstream_does_and_has_no_type(hooked, tmp_path):
    (tmp_path / "t.xml").write_text("<e>{{.Type}} {{.Meta.Message}}</e>")
    with serving() as server:
        hooked(server.url, template_path="t.xml").fire()
    assert server.got[0].body == b"<e>AuthFailure a &quot;b&quot;\n</e>"
    assert "content-type" not in server.got[0].headers


def test_where_a_template_is_looked_for(hooked, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "t.txt").write_text("working directory")
    with serving() as server:
        hooked(server.url, template_path="t.txt").fire()
        (tmp_path / "t.txt").write_text("middleware path")
        hooked(server.url, template_path="t.txt").fire()
        (tmp_path / "apis").mkdir()
        (tmp_path / "apis" / "t.txt").write_text("beside the definition")
        hooked(server.url, template_path="t.txt").fire()
        hooked(server.url, template_path=str(elsewhere / "t.txt")).fire()
        hooked(server.url, template_path="templates/default_webhook.json").fire()  # as Tyk's documentation has it
    bodies = ["working directory", "middleware path", "beside the definition", "working directory"]
    assert [got.body.decode() for got in server.got[:4]] == bodies
    assert json.loads(server.got[4].body).keys() == {*BODY, "timestamp"}


def test_a_template_that_cannot_be_used(hooked, tmp_path):
    with pytest.raises(LoadError, match=r"the template of the webhook is not there: .*gone\.json nor .*gone\.json"):
        hooked("http://h/", template_path="gone.json")
    (tmp_path / "t.json").write_text("\n{{.Foo}}")
    with pytest.raises(LoadError, match=r"t\.json:2: {{\.Foo}} is not supported; what is: ") as error:
        hooked("http://h/", template_path="t.json")
    assert error.value.place == f"{tmp_path / 't.json'}:2"
    (tmp_path / "t.json").write_bytes(b"\xff")
    with pytest.raises(LoadError, match="cannot be read"):
        hooked("http://h/", template_path="t.json")
    (tmp_path / "t.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(LoadError, match="a template has 1048576 bytes at most"):
        hooked("http://h/", template_path="t.json")


# ---- Cool-down


def test_the_same_event_is_not_sent_again_before_its_time(hooked):
    clock = Clock()
    store = MemoryStore(clock)
    with serving() as server:
        hook = hooked(server.url, store, event_timeout=10)
        assert hook.fire() is Result.DELIVERED
        later = Fired("AuthFailure", META, "later", "api", "org")
        assert hook.fire(later) is Result.HELD  # the time alone makes no other event
        assert hooked(server.url, store, event_timeout=10).fire(later) is Result.HELD  # after a reload, too
        assert hook.fire(Fired("AuthFailure", {**META, "Path": "/other"}, "x", "api", "org")) is Result.DELIVERED
        assert hook.fire(Fired("KeyExpired", META, "x", "api", "org")) is Result.DELIVERED
        clock.now += 10
        assert hook.fire(later) is Result.DELIVERED
    assert [json.loads(got.body)["timestamp"] for got in server.got] == [EVENT.timestamp, "x", "x", "later"]


def test_what_was_not_delivered_does_not_cool_down(hooked):
    with serving(500, 200) as server:
        hook = hooked(server.url, event_timeout=10)
        assert [hook.fire(), hook.fire(), hook.fire()] == [Result.FAILED, Result.DELIVERED, Result.HELD]


def test_a_store_that_fails_keeps_no_event_back(hooked):
    class Broken:
        def get(self, key):
            raise OSError("gone")

        def set(self, key, value, ttl):
            raise OSError("gone")

    with serving() as server:
        hook = hooked(server.url, Broken(), event_timeout=10)
        assert hook.fire() is hook.fire() is Result.DELIVERED
    assert [level for level, _ in hook.lines] == ["warning"] * 4


# ---- Failures


@pytest.mark.parametrize("status", [400, 404, 500, 501])
def test_a_refusal_is_logged_and_not_tried_again(hooked, status):
    with serving(status) as server:
        hook = hooked(f"{server.url}/secret?token=secret", name="mine")
        assert hook.fire() is Result.FAILED
    assert (len(server.got), hook.pauses) == (1, [])
    where = '"mine" at $.event_handlers.events.AuthFailure[0]'
    words = f'api "api": the webhook {where} ({server.url}) did not get the event AuthFailure: the answer was {status}'
    assert hook.lines == [("error", words)]


def test_what_a_gateway_could_not_reach_is_tried_again(hooked):
    with serving(503, 502, 200) as server:
        hook = hooked(server.url)
        assert hook.fire() is Result.DELIVERED
    assert (len(server.got), hook.pauses, hook.lines) == (3, [0.5, 2.0], [])
    with serving(504) as server:
        hook = hooked(server.url)
        assert hook.fire() is Result.FAILED
    assert len(server.got) == 3
    assert hook.lines[0][1].endswith("the answer was 504")


def test_no_connection_is_tried_again_until_the_queue_closes(hooked):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/secret"
        hook, closing = hooked(url), hooked(url, gives_up=True)
        assert hook.fire() is closing.fire() is Result.FAILED
    assert (hook.pauses, closing.pauses) == ([0.5, 2.0], [0.5])
    for each in (hook, closing):
        ((level, words),) = each.lines
        assert level == "error"
        assert "no connection: NewConnectionError" in words
        assert "secret" not in words


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(hooked, status):
    with serving() as other, serving((status, {"Location": other.url})) as server:
        hook = hooked(server.url)
        assert hook.fire() is Result.FAILED
    assert (len(server.got), other.got) == (1, [])
    assert hook.lines[0][1].endswith(f"the answer was {status}, and redirects are not followed: name the place itself")


def test_a_server_that_does_not_answer_in_time_is_not_asked_again(hooked):
    gate = threading.Event()
    with serving(lambda handler: gate.wait(20)) as server:
        hook = hooked(f"{server.url}/secret", timeout=0.05)
        assert hook.fire() is Result.FAILED
        gate.set()
    assert (len(server.got), hook.pauses) == (1, [])
    assert "ReadTimeoutError" in hook.lines[0][1]
    assert "secret" not in hook.lines[0][1]


def test_a_server_that_closes_without_an_answer_is_not_asked_again(hooked):
    with serving(lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)) as server:
        hook = hooked(server.url)
        assert hook.fire() is Result.FAILED
    assert (len(server.got), hook.pauses) == (1, [])
    assert "ProtocolError" in hook.lines[0][1]


def test_an_endless_answer_is_not_read(hooked):
    gate = threading.Event()

    def endless(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000000")
        handler.end_headers()
        handler.wfile.write(b"x" * 1000)
        gate.wait(20)

    with serving(endless) as server:
        assert hooked(server.url).fire() is Result.DELIVERED
        gate.set()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("piece", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["bytes", "heads"])
def test_regression_an_answer_that_drips_ends_in_time(hooked, tmp_path, monkeypatch, tls, piece):
    monkeypatch.setattr(webhook, "WHOLE", 0.3)
    context, gate = None, threading.Event()
    if tls:
        file = certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)

    def drips(handler):
        handler.close_connection = True
        with contextlib.suppress(OSError):
            while not gate.wait(0.02):
                handler.wfile.write(piece)

    timer = threading.Timer(20, gate.set)
    timer.start()
    with serving(drips, context=context) as server:
        assert hooked(server.url).fire() is Result.FAILED
        assert not gate.is_set()
        gate.set()
    timer.cancel()
    assert len(server.got) == 1


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def test_a_certificate_that_nobody_vouches_for_is_refused(hooked, tmp_path, monkeypatch):
    file = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with serving(context=context) as server:
        hook = hooked(server.url)
        assert hook.fire() is Result.FAILED
        assert server.got == []
        assert hook.pauses == []
        assert "certificate verify failed" in hook.lines[0][1]
        monkeypatch.setenv("SSL_CERT_FILE", str(file))  # where the system vouches for it, it is taken
        assert hooked(server.url).fire() is Result.DELIVERED
    assert len(server.got) == 1


def test_an_address_that_cannot_be_used_is_not_told(hooked):
    hook = hooked("http://h%/secret?token=hidden")
    assert hook.fire() is Result.FAILED
    ((_, words),) = hook.lines
    assert "LocationParseError" in words
    assert "secret" not in words
    assert "hidden" not in words


@pytest.mark.parametrize(
    ("headers", "sent"),
    [({}, "Basic dXNlcjpww6RzczpAMQ=="), ({"authorization": "Bearer x"}, "Bearer x")],
    ids=["alone", "beside a header"],
)
def test_regression_user_and_password_of_an_address_are_sent(hooked, headers, sent):
    with serving() as server:
        hook = hooked(server.url.replace("http://", "http://user:p%C3%A4ss:%401@") + "/x", header_map=headers)
        assert hook.fire() is Result.DELIVERED
    (got,) = server.got
    assert got.headers.get("authorization") == sent
    hook = hooked("http://user:hidden@127.0.0.1:1/", gives_up=True)
    assert hook.fire() is Result.FAILED
    assert "hidden" not in str(hook.lines)
    assert "user" not in str(hook.lines)
