"""tykbridge.drivers.javascript.http: what TykMakeHttpRequest and TykBatchRequest send, and what they answer."""

import contextlib
import json
import socket
import ssl
import threading
import time
import types

import pytest

from tests.test_events_webhook import certificate
from tests.webserver import serving
from tykbridge.drivers.javascript import http

LONG = 30.0  # seconds: nothing here takes as long


@pytest.fixture
def log():
    return []


@pytest.fixture
def ask(log):
    """Calls TykMakeHttpRequest; gives what it answers, out of its JSON."""

    def call(fields, seconds=LONG):
        text = fields if isinstance(fields, str) else json.dumps(fields)
        answer = http.make_request(text, time.monotonic() + seconds, lambda words, level: log.append((level, words)))
        return None if answer is None else json.loads(answer)

    return call


@pytest.fixture
def batch(log):
    """Calls TykBatchRequest; gives what it answers, out of its JSON."""

    def call(fields, seconds=LONG):
        text = fields if isinstance(fields, str) else json.dumps(fields)
        answer = http.make_batch(text, time.monotonic() + seconds, lambda words, level: log.append((level, words)))
        return None if answer is None else json.loads(answer)

    return call


def body(data, status=200, **headers):
    """An answer of the web server with a body."""

    def answer(handler):
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(data)

    return answer


def test_a_request_and_its_answer(ask, log):
    with serving(body("grün".encode(), 203, x_two_words="a", content_type="text/plain")) as server:
        got = ask(
            {
                "Method": "PUT",
                "Domain": server.url,
                "Resource": "/there?a=1 2",
                "Headers": {"X-Sent": "ü", "User-Agent": "mine"},
                "Body": "ä",
            }
        )
    (sent,) = server.got
    assert (sent.method, sent.path, sent.body) == ("PUT", "/there?a=1%202", "ä".encode())
    assert sent.headers["x-sent"].encode("latin-1").decode() == "ü"
    assert sent.headers["user-agent"] == "mine"
    assert (got["Code"], got["Body"]) == (203, "grün")
    assert got["Headers"]["X-Two-Words"] == ["a"]
    assert got["Headers"]["Content-Type"] == ["text/plain"]
    assert (got["code"], got["body"], got["headers"]) == (got["Code"], got["Body"], got["Headers"])
    assert log == []


def test_repeated_headers_are_a_list(ask):
    def answer(handler):
        handler.send_response(200)
        for value in ("a=1", "b=2"):
            handler.send_header("set-cookie", value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(answer) as server:
        assert ask({"Domain": server.url})["Headers"]["Set-Cookie"] == ["a=1", "b=2"]
    assert server.got[0].method == "GET"


def test_names_of_members_in_any_case_and_null(ask):
    with serving() as server:
        got = ask({"method": "POST", "DOMAIN": server.url, "resource": "/x", "headers": None, "Body": "b", "More": 1})
    assert got["Code"] == 200
    (sent,) = server.got
    assert (sent.method, sent.path, sent.body) == ("POST", "/x", b"b")


def test_a_form(ask):
    with serving() as server:
        ask({"Method": "POST", "Domain": server.url, "FormData": {"b": "2 3", "a": "&"}})
        ask({"Method": "POST", "Domain": server.url, "FormData": {"b": "2"}, "Headers": {"content-type": "x/y"}})
        ask({"Method": "POST", "Domain": server.url, "FormData": {"b": "2"}, "Body": "wins"})
    first, second, third = server.got
    assert (first.body, first.headers["content-type"]) == (b"a=%26&b=2+3", "application/x-www-form-urlencoded")
    assert (second.body, second.headers["content-type"]) == (b"b=2", "x/y")
    assert third.body == b"wins"


def test_framing_is_not_the_plugins(ask):
    headers = {"Content-Length": "7", "Transfer-Encoding": "chunked", "Host": "elsewhere", "connection": "keep-alive"}
    with serving() as server:
        assert ask({"Method": "POST", "Domain": server.url, "Headers": headers, "Body": "abc"})["Code"] == 200
    (sent,) = server.got
    assert sent.body == b"abc"
    assert (sent.headers["content-length"], sent.headers["connection"]) == ("3", "close")
    assert sent.headers["host"] == server.url.removeprefix("http://")
    assert "transfer-encoding" not in sent.headers


def test_user_and_password_of_a_url(ask):
    with serving() as server:
        ask({"Domain": server.url.replace("//", "//me:a%20b@")})
        ask({"Domain": server.url.replace("//", "//me:a%20b@"), "Headers": {"authorization": "own"}})
    assert [sent.headers["authorization"] for sent in server.got] == ["Basic bWU6YSBi", "own"]


@pytest.mark.parametrize(
    ("status", "method", "body_sent"), [(302, "GET", b""), (303, "GET", b""), (307, "POST", b"b"), (308, "POST", b"b")]
)
def test_redirects(ask, status, method, body_sent):
    with serving((status, {"Location": "/new?a=b"}), 204) as server:
        headers = {"Authorization": "secret", "Content-Type": "x/y"}
        assert ask({"Method": "POST", "Domain": server.url, "Headers": headers, "Body": "b"})["Code"] == 204
    _, second = server.got
    assert (second.method, second.path, second.body) == (method, "/new?a=b", body_sent)
    assert second.headers["authorization"] == "secret"
    assert ("content-type" in second.headers) == (method == "POST")


def test_a_redirect_to_another_origin_takes_no_secrets_along(ask):
    with serving() as other, serving((302, {"Location": f"{other.url}/there"})) as server:
        headers = {"Authorization": "secret", "Cookie": "secret", "X-Kept": "k"}
        assert ask({"Domain": server.url, "Headers": headers})["Code"] == 200
    (sent,) = other.got
    assert (sent.path, sent.headers["x-kept"]) == ("/there", "k")
    assert "authorization" not in sent.headers
    assert "cookie" not in sent.headers


def test_redirects_in_a_circle_end(ask, log):
    with serving((302, {"Location": "/"})) as server:
        assert ask({"Domain": server.url, "Resource": "/?secret"}) is None
    assert len(server.got) == 11
    assert log == [("error", f"TykMakeHttpRequest: {server.url}/: more than 10 redirects")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("undefined", "it takes JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "it takes JSON: Expected `object`, got `array`"),
        (
            {"Domain": "http://h", "Headers": {"A": ["b"]}},
            "it takes JSON: Expected `str`, got `array` - at `$.headers[...]`",
        ),
        ({"Resource": "/x?secret"}, '"/x" is no URL of http or https, such as https://host/path'),
        ({"Domain": "file:///etc"}, '"file:///etc" is no URL of http or https, such as https://host/path'),
        ({"Domain": "http://127.0.0.1:1", "Method": "A B"}, "'A B' is no method"),
    ],
)
def test_what_is_wrong_gives_nothing_and_a_line(ask, log, fields, words):
    assert ask(fields) is None
    assert log == [("error", f"TykMakeHttpRequest: {words}")]


def test_a_server_that_is_not_there(ask, log):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://me:secret@127.0.0.1:{sock.getsockname()[1]}"
        assert ask({"Domain": url, "Resource": "/x?secret"}) is None
    shown = url.replace("me:secret@", "")
    assert log == [("error", f"TykMakeHttpRequest: {shown}/x: Connection refused")]


def test_a_header_that_http_does_not_allow(ask, log):
    with serving() as server:
        assert ask({"Domain": server.url, "Headers": {"A": "b\r\nC: d"}}) is None
    assert server.got == []
    ((_, words),) = log
    assert words.startswith(f"TykMakeHttpRequest: {server.url}: Invalid header value")


def test_an_answer_that_is_too_large(ask, log):
    with serving(body(b"a" * (http.MAX_SIZE + 1))) as server:
        assert ask({"Domain": server.url}) is None
    assert log == [("error", f"TykMakeHttpRequest: {server.url}: the answer has more than {http.MAX_SIZE} bytes")]
    with serving(body(b"a" * http.MAX_SIZE)) as server:
        assert len(ask({"Domain": server.url})["Body"]) == http.MAX_SIZE


def test_headers_without_end(ask, log):
    def answer(handler):
        with contextlib.suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for number in range(90):
                handler.wfile.write(b"X-%d: %s\r\n" % (number, b"a" * 60_000))

    with serving(answer) as server:
        assert ask({"Domain": server.url}) is None
    assert log == [("error", f"TykMakeHttpRequest: {server.url}: the answer has more than {http.MAX_SIZE} bytes")]


def test_a_server_that_does_not_answer_in_time(ask, log):
    over = threading.Event()
    with serving(lambda handler: over.wait(LONG)) as server:
        assert ask({"Domain": server.url}, 0.2) is None
        over.set()
    assert log == [("error", f"TykMakeHttpRequest: {server.url}: there is no answer within the hook's time limit")]


def test_a_server_that_drips(ask, log):
    over = threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not over.wait(0.01):
                handler.wfile.write(b"a")

    with serving(drip) as server:
        assert ask({"Domain": server.url}, 0.3) is None
        over.set()
    assert log == [("error", f"TykMakeHttpRequest: {server.url}: there is no answer within the hook's time limit")]


def test_sending_may_take_longer_than_a_connection(ask, monkeypatch):
    monkeypatch.setattr(http, "_CONNECT_TIME", 0.2)
    read = threading.Event()
    timer = threading.Timer(0.6, read.set)

    class Late(http.HTTPConnection):
        def connect(self):
            super().connect()
            timer.start()

    monkeypatch.setattr(http, "HTTPConnection", Late)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connected, _ = server.accept()
            with connected:
                read.wait(LONG)
                left = 32 << 20
                while left > 0 and (piece := connected.recv(1 << 20)):
                    left -= len(piece)
                with contextlib.suppress(OSError):
                    connected.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert ask({"Method": "POST", "Domain": url, "Body": "a" * (32 << 20)})["Code"] == 204
        thread.join(LONG)


def test_no_time_is_left(ask, log):
    with serving() as server:
        assert ask({"Domain": server.url}, -1) is None
    assert server.got == []
    assert log == [("error", f"TykMakeHttpRequest: {server.url}: there is no answer within the hook's time limit")]


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """Makes a certificate for 127.0.0.1, and whether it is trusted."""

    def make(trusted):
        file = certificate(tmp_path)
        http._tls.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(file) if trusted else "/nonexistent")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    yield make
    http._tls.cache_clear()


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_verified(ask, log, authority, trusted):
    with serving(context=authority(trusted)) as server:
        answer = ask({"Domain": server.url})
    if trusted:
        assert answer["Code"] == 200
    else:
        assert answer is None
        ((_, words),) = log
        assert words.startswith(f"TykMakeHttpRequest: {server.url}: its certificate is not trusted: self")


def test_proxies_of_the_environment_are_not_followed(ask, monkeypatch):
    with serving() as proxy, serving() as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert ask({"Domain": server.url})["Code"] == 200
    assert (len(proxy.got), len(server.got)) == (0, 1)


# ---- Batches


@pytest.mark.parametrize("suppressed", [True, False])
def test_a_batch_answers_in_its_order(batch, suppressed):
    def answer(handler):
        body(handler.path.encode(), 230 + int(handler.path[1:]))(handler)

    with serving(answer) as server:
        parts = [{"method": "POST", "relative_url": f"{server.url}/{n}", "body": str(n)} for n in range(20)]
        got = batch({"requests": parts, "suppress_parallel_execution": suppressed})
    assert [(item["relative_url"], item["code"], item["body"]) for item in got] == [
        (f"{server.url}/{n}", 230 + n, f"/{n}") for n in range(20)
    ]
    assert got[0]["headers"]["Content-Length"] == ["2"]
    assert {sent.path: sent.body for sent in server.got} == {f"/{n}": str(n).encode() for n in range(20)}
    if suppressed:
        assert [sent.path for sent in server.got] == [f"/{n}" for n in range(20)]


@pytest.mark.parametrize(("suppressed", "together"), [(False, 4), (True, 1)])
def test_a_batch_is_sent_at_once_unless_it_says_otherwise(batch, suppressed, together):
    state = types.SimpleNamespace(now=0, most=0, lock=threading.Condition())

    def answer(handler):
        with state.lock:
            state.now += 1
            state.most = max(state.most, state.now)
            state.lock.notify_all()
            state.lock.wait_for(lambda: state.most >= together, LONG)
            state.now -= 1
        body(b"")(handler)

    with serving(answer) as server:
        parts = [{"relative_url": server.url}] * 4
        assert [item["code"] for item in batch({"requests": parts, "suppress_parallel_execution": suppressed})] == [
            200
        ] * 4
    assert state.most == together


def test_a_part_that_fails_has_the_code_0(batch, log):
    with serving() as server, socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        got = batch({"requests": [{"relative_url": url}, {"relative_url": server.url}]})
    assert got[0] == {"relative_url": url, "code": 0, "headers": {}, "body": ""}
    assert got[1]["code"] == 200
    assert log == [("error", f"TykBatchRequest: requests[0]: {url}: Connection refused")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("{invalid}", "it takes JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (
            {"requests": [{"relative_url": "/x"}]},
            'requests[0]: "/x" is no URL of http or https, such as https://host/path',
        ),
        ({"requests": {}}, "it takes JSON: Expected `array`, got `object` - at `$.requests`"),
    ],
)
def test_a_batch_that_is_wrong_sends_nothing(batch, log, fields, words):
    assert batch(fields) is None
    assert log == [("error", f"TykBatchRequest: {words}")]


def test_an_empty_batch(batch):
    assert batch({}) == []


def test_the_bodies_of_a_batch_are_bounded_together(batch, log):
    with serving(body(b"a" * (http.MAX_SIZE // 2))) as server:
        parts = [{"relative_url": server.url}] * 3
        got = batch({"requests": parts, "suppress_parallel_execution": True})
    assert [item["code"] for item in got] == [200, 200, 0]
    assert log == [
        ("error", f"TykBatchRequest: requests[2]: {server.url}: the answer has more than {http.MAX_SIZE} bytes")
    ]
