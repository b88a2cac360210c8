"""The gateway on the wire: what arrives on either side, byte by byte."""

import gc
import json
import re
import threading
import weakref

import pytest

from tests import rawhttp
from tests.rawhttp import OK, TIMEOUT, Client, exchange, request
from tests.servers import free_port, until
from tykbridge import Bridge
from tykbridge.gateway import server
from tykbridge.gateway.proxy import Limits
from tykbridge.gateway.server import Gateway, running

pytestmark = pytest.mark.once

HOOKS = """
from tyk.decorators import *

@Hook
def Pass(request, session, spec):
    request.add_header("X-Pre", "1")
    return request, session

@Hook
def Rewrite(request, session, spec):
    request.object.url = "/elsewhere?x=1"
    return request, session

@Hook
def Write(request, session, spec):
    request.add_header(request.get_header("Written"), "1")
    return request, session

@Hook
def Answer(request, session, spec):
    request.object.return_overrides.response_code = int(request.get_header("Code"))
    return request, session

@Hook
def AsHead(request, session, spec):
    request.object.method = "HEAD"
    return request, session

@Hook
def Hop(request, session, spec):
    for name, value in (("Connection", "X-Hop"), ("X-Hop", "1"), ("TE", "trailers"), ("X-Own", "1")):
        request.add_header(name, value)
    return request, session

@Hook
def Ring(request, response, session, metadata, spec):
    response.headers["X-Ring"] = "a\\x07"
    return response

@Hook
def SetStatus(request, response, session, metadata, spec):
    response.status_code = int(request.object.headers["Code"])
    return response

@Hook
def Mark(request, response, session, metadata, spec):
    response.headers["X-Response"] = "1"
    return response
"""
BODY_LIMIT = 1000


class Observer:
    def __init__(self):
        self.begun, self.over = [], []

    def begin(self, visit):
        self.begun.append(visit)

    def end(self, visit):
        self.over.append(visit)


@pytest.fixture(scope="module")
def upstream():
    with rawhttp.upstream() as upstream:
        yield upstream


def api(api_id, target, hooks=None, **proxy):
    return {
        "api_id": api_id,
        "use_keyless": True,
        "proxy": {"listen_path": f"/{api_id}/", "strip_listen_path": True, "target_url": target, **proxy},
        "custom_middleware": {
            "driver": "python",
            **{phase: [{"name": name, "path": "hooks.py"} for name in names] for phase, names in (hooks or {}).items()},
        },
    }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    folder = tmp_path_factory.mktemp("apis")
    (folder / "hooks.py").write_text(HOOKS)
    url = upstream.url
    nowhere = f"http://127.0.0.1:{free_port()}"
    for definition in (
        api("plain", url),
        api("pre", url, {"pre": ["Pass"]}),
        api("both", url, {"pre": ["Pass"], "response": ["Mark"]}),
        api("rewritten", f"{url}/base/?t=1", {"post": ["Rewrite"]}),
        api("answering", url, {"pre": ["Answer"]}),
        api("asking", url, {"pre": ["AsHead"]}),
        api("named", url.replace("//", "//me:secret@")),
        api("status", url, {"response": ["SetStatus"]}),
        api("hopping", url, {"pre": ["Hop"]}),
        api("writing", url, {"pre": ["Write"]}),
        api("ringing", url, {"response": ["Ring"]}),
        api("kept", f"{url}/base", strip_listen_path=False, preserve_host_header=True),
        api("balanced", url, enable_load_balancing=True, target_list=[f"{url}/one", f"{url}/two"]),
        api("down", nowhere),
        api("unknown", "http://upstream.invalid"),
        api("none", ""),
    ):
        (folder / f"{definition['api_id']}.json").write_text(json.dumps(definition))
    log = []
    bridge = Bridge()
    assert bridge.load(folder).not_loaded == ()
    observer = Observer()
    made = Gateway(
        bridge,
        port=0,
        log=lambda words, level: log.append(words),
        limits=Limits(body=BODY_LIMIT, answer=1),
        observers=[observer],
    )
    made.log, made.observer = log, observer
    with running(made):
        yield made


@pytest.fixture(autouse=True)
def fresh(gateway, upstream):
    upstream.answers, upstream.reads_body = lambda message: OK, True
    del upstream.asked[:], gateway.log[:], gateway.observer.begun[:], gateway.observer.over[:]


def over(gateway, *targets):
    """The visits of requests, once they are over; the end of an earlier test's may come as late."""

    def found():
        return [visit for visit in gateway.observer.over if visit.target in targets]

    until(lambda: len(found()) == len(targets), TIMEOUT)
    return found()


HOOKED = pytest.mark.parametrize("api_id", ["plain", "both"])


def said(*headers, body=b"ok", status=b"200 Fine"):
    return b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"", body])


# ---- What passes unchanged


@HOOKED
def test_repeated_headers_keep_order_and_case(gateway, upstream, api_id):
    upstream.answers = lambda message: said(b"Set-Cookie: a=1", b"x-b: 1", b"Set-Cookie: b=2", b"X-B: 2")
    first = f"GET /{api_id}/x".encode()
    answer = exchange(gateway.port, request(first, b"X-a: 1", b"Cookie: c", b"x-A: 2", b"X-a: 3", b"Empty:"))
    [asked] = upstream.asked
    assert [pair for pair in asked.headers if pair[0].lower() == b"x-a"] == [
        (b"X-a", b"1"),
        (b"x-A", b"2"),
        (b"X-a", b"3"),
    ]
    assert asked.get("empty") == b""
    names = [pair for pair in answer.headers if pair[0].lower() in (b"set-cookie", b"x-b")]
    assert names == [(b"Set-Cookie", b"a=1"), (b"x-b", b"1"), (b"Set-Cookie", b"b=2"), (b"X-B", b"2")]
    assert answer.first == b"HTTP/1.1 200 Fine"
    assert not answer.all("server")


@HOOKED
@pytest.mark.parametrize("body", [b"", b"text"])
def test_bytes_that_are_not_utf8(gateway, upstream, api_id, body):
    value = b"caf\xe9 \xff\x80 \xc3\xa9"
    upstream.answers = lambda message: said(b"X-Name: " + value)
    answer = exchange(gateway.port, request(f"POST /{api_id}/".encode(), b"X-Name: " + value, b"X-Other: 1", body=body))
    [asked] = upstream.asked
    assert (asked.get("x-name"), asked.get("x-other"), asked.body) == (value, b"1", body)
    assert answer.get("x-name") == value


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"/plain/a%2Fb/../c//d;e?q=%7e+%20&q=&&=", b"/a%2Fb/../c//d;e?q=%7e+%20&q=&&="),
        (b"/plain", b"/"),
        (b"/plain?x", b"/?x"),
        (b"http://h/plain/x?y", b"/x?y"),
        (b"/kept/x?y", b"/base/kept/x?y"),
        (b"/rewritten/anything?y", b"/base/elsewhere?x=1&t=1"),
    ],
)
def test_targets(gateway, upstream, sent, expected):
    assert exchange(gateway.port, request(b"GET " + sent)).status == 200
    [asked] = upstream.asked
    assert asked.target == expected


@pytest.mark.parametrize(
    "path",
    [
        b"/plain/../kept/x",
        b"/plain/%2e%2e/kept/x",
        b"/plain/..%2fkept",
        b"/plain/..;/kept/x",
        b"/plain/..\\kept",
        b"/plain/%252e%252e/kept",
        b"/plain/../nobody/x",
        b"/plain/../../x",
        b"/../plain/x",
    ],
)
def test_a_path_that_may_be_anothers_reaches_nobody(gateway, upstream, path):
    """An upstream may read it as what another API protects, or as what no API is for."""
    assert exchange(gateway.port, request(b"GET " + path + b"?x=/../")).status == 404
    assert upstream.asked == []


def test_targets_take_turns(gateway, upstream):
    for _ in range(4):
        exchange(gateway.port, request(b"GET /balanced/x"))
    assert sorted(asked.target for asked in upstream.asked) == [b"/one/x", b"/one/x", b"/two/x", b"/two/x"]


def test_host_and_forwarded_headers(gateway, upstream):
    headers = [b"Host: me.test:80", b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Port: 8"]
    exchange(gateway.port, request(b"GET /plain/", *headers))
    exchange(gateway.port, request(b"GET /kept/", *headers))
    own, kept = upstream.asked
    assert (own.all("host"), kept.all("host")) == ([b"127.0.0.1:%d" % upstream.port], [b"me.test:80"])
    for asked in (own, kept):
        assert asked.all("x-forwarded-for") == [b"1.1.1.1, 127.0.0.1"]
        assert asked.all("x-forwarded-host") == [b"me.test:80"]
        assert asked.all("x-forwarded-proto") == [b"http"]
        assert asked.all("x-forwarded-port") == [b"8"]
        assert not asked.all("user-agent")
        assert not asked.all("accept")


@HOOKED
def test_what_is_between_neighbours_stays_there(gateway, upstream, api_id):
    upstream.answers = lambda message: said(
        b"Connection: x-mine", b"X-Mine: 1", b"Keep-Alive: 5", b"Proxy-Authenticate: b"
    )
    headers = [
        b"Connection: keep-alive, X-Hop",
        b"X-Hop: 1",
        b"TE: trailers",
        b"Proxy-Authorization: p",
        b"Upgrade: h2c",
    ]
    answer = exchange(gateway.port, request(f"GET /{api_id}/".encode(), *headers, b"X-Kept: 1"))
    [asked] = upstream.asked
    for name in ("connection", "x-hop", "te", "proxy-authorization", "upgrade"):
        assert not asked.all(name)
    assert asked.get("x-kept") == b"1"
    for name in ("x-mine", "keep-alive", "proxy-authenticate"):
        assert not answer.all(name)


def test_a_hook_says_nothing_of_the_connection_to_the_upstream(gateway, upstream):
    exchange(gateway.port, request(b"GET /hopping/"))
    [asked] = upstream.asked
    assert [asked.all(name) for name in ("connection", "x-hop", "te", "x-own")] == [[], [], [], [b"1"]]


NEIGHBOURS = (
    "Connection Keep-Alive Proxy-Authenticate Proxy-Authorization Proxy-Connection TE Trailer Transfer-Encoding Upgrade"
)


@pytest.mark.parametrize("name", NEIGHBOURS.split())
def test_a_hook_writes_no_header_that_is_between_neighbours(gateway, upstream, name):
    exchange(gateway.port, request(b"GET /writing/", b"Written: " + name.encode()))
    exchange(gateway.port, request(b"GET /writing/", b"Written: " + b"x" * len(name)))
    asked, other = upstream.asked
    assert (asked.all(name.lower()), other.all("x" * len(name))) == ([], [b"1"])


def test_an_answer_has_no_control_characters_in_its_head(gateway, upstream):
    answer = exchange(gateway.port, request(b"GET /ringing/"))
    assert (answer.status, answer.all("x-ring")) == (502, [])


def test_a_client_cannot_have_what_a_hook_writes_left_out(gateway, upstream):
    exchange(gateway.port, request(b"GET /pre/", b"Connection: close, X-Pre", b"X-Pre: mine"))
    assert upstream.asked[-1].all("x-pre") == [b"1"]
    exchange(gateway.port, request(b"GET /kept/", b"Host: me.test", b"Connection: host"))
    assert (upstream.asked[-1].all("host"), upstream.asked[-1].all("x-forwarded-host")) == ([b"me.test"], [b"me.test"])


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://me.test/plain/x?q=1", 200),
        (b"HTTP://me.test/plain/x?q=1", 200),
        (b"http://user@me.test/plain/x?q=1", 200),
        (b"http://other.test/plain/x?q=1", 400),
        (b"http://me.test:81/plain/x?q=1", 400),
        (b"http://me.test?q=1", 404),
    ],
)
def test_the_absolute_form(gateway, upstream, target, status):
    answer = exchange(gateway.port, request(b"GET " + target, b"Host: me.test"))
    assert answer.status == status
    assert [asked.target for asked in upstream.asked] == ([b"/x?q=1"] if status == 200 else [])


def test_a_name_that_applications_take_for_a_hooks_does_not_go_on(gateway, upstream):
    exchange(gateway.port, request(b"GET /pre/", b"X_Pre: mine", b"X_Other: 1"))
    assert (upstream.asked[-1].all("x_pre"), upstream.asked[-1].all("x-pre")) == ([], [b"1"])
    assert upstream.asked[-1].all("x_other") == [b"1"]


@HOOKED
def test_nothing_is_decompressed(gateway, upstream, api_id):
    data = b"\x1f\x8b not gzip at all"
    upstream.answers = lambda message: said(b"Content-Encoding: gzip", body=data)
    answer = exchange(gateway.port, request(f"POST /{api_id}/".encode(), b"Content-Encoding: gzip", body=data))
    [asked] = upstream.asked
    assert (asked.body, asked.get("content-encoding")) == (data, b"gzip")
    assert (answer.body, answer.get("content-encoding")) == (data, b"gzip")


# ---- Bodies


def test_a_chunked_body_is_streamed(gateway, upstream):
    """Each part is at the upstream before the next one is sent, and back again."""
    upstream.reads_body = False
    seen = threading.Semaphore(0)

    def answers(message):
        reader = message.reader
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while (size := int(reader.until(b"\r\n"), 16)) > 0:
            part = reader.exactly(size + 2)
            seen.release()
            yield b"%x\r\n%b" % (size, part)
        reader.exactly(2)
        yield b"0\r\n\r\n"

    upstream.answers = answers
    with Client(gateway.port) as client:
        client.send(request(b"POST /plain/", b"Transfer-Encoding: chunked"))
        head = client.reader.head()
        assert (head.status, head.get("transfer-encoding")) == (200, b"chunked")
        for part in (b"one", b"second", b"3"):
            client.send(b"%x\r\n%b\r\n" % (len(part), part))
            assert seen.acquire(timeout=TIMEOUT)
            assert client.reader.until(b"\r\n") == b"%x" % len(part)
            assert client.reader.exactly(len(part) + 2) == part + b"\r\n"
        client.send(b"0\r\n\r\n")
        assert client.reader.exactly(5) == b"0\r\n\r\n"
    [asked] = upstream.asked
    assert asked.get("transfer-encoding") == b"chunked"


def test_a_body_with_a_length_is_streamed(gateway, upstream):
    upstream.reads_body = False
    halves = threading.Semaphore(0)

    def answers(message):
        assert message.reader.exactly(3) == b"one"
        halves.release()
        assert message.reader.exactly(3) == b"two"
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"
        assert halves.acquire(timeout=TIMEOUT)
        yield b"def"

    upstream.answers = answers
    with Client(gateway.port) as client:
        client.send(request(b"POST /plain/", b"Content-Length: 6"), b"one")
        assert halves.acquire(timeout=TIMEOUT)
        client.send(b"two")
        head = client.reader.head()
        assert head.get("content-length") == b"6"
        assert client.reader.exactly(3) == b"abc"
        halves.release()
        assert client.reader.exactly(3) == b"def"
    [asked] = upstream.asked
    assert (asked.get("content-length"), asked.get("transfer-encoding")) == (b"6", None)


def test_hooks_get_a_chunked_body_as_a_whole(gateway, upstream):
    upstream.answers = lambda message: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    data = (
        request(b"POST /both/", b"Transfer-Encoding: chunked") + b"3\r\none\r\n3;x=y\r\ntwo\r\n0\r\nTrailer: 1\r\n\r\n"
    )
    answer = exchange(gateway.port, data)
    [asked] = upstream.asked
    assert (asked.body, asked.get("content-length"), asked.get("transfer-encoding")) == (b"onetwo", b"6", None)
    assert (answer.body, answer.get("content-length"), answer.get("x-response")) == (b"abc", b"3", b"1")


def test_an_answer_that_ends_with_the_connection(gateway, upstream):
    upstream.answers = lambda message: iter([b"HTTP/1.1 200 OK\r\n\r\nall of it", b""])
    answer = exchange(gateway.port, request(b"GET /plain/"))
    assert (answer.body, answer.is_whole, answer.get("transfer-encoding")) == (b"all of it", True, b"chunked")


def test_a_client_of_http_1_0(gateway, upstream):
    upstream.answers = lambda message: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    for api_id, length in ((b"plain", None), (b"both", b"3")):
        with Client(gateway.port) as client:
            answer = client.send(b"GET /%b/ HTTP/1.0\r\n\r\n" % api_id).receive()
            assert (answer.body, answer.get("content-length")) == (b"abc", length)
            assert answer.get("transfer-encoding") is None
            assert client.is_over()
    with Client(gateway.port) as client:
        for _ in range(2):
            answer = client.send(b"GET /both/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").receive()
            assert (answer.body, answer.get("connection")) == (b"abc", b"keep-alive")


@HOOKED
def test_head(gateway, upstream, api_id):
    upstream.answers = lambda message: b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nX-A: 1\r\n\r\n"
    with Client(gateway.port) as client:
        for _ in range(2):
            answer = client.send(request(f"HEAD /{api_id}/".encode())).receive(b"HEAD")
            assert (answer.status, answer.get("content-length"), answer.get("x-a")) == (200, b"1234", b"1")
    assert [asked.method for asked in upstream.asked] == [b"HEAD", b"HEAD"]


@HOOKED
@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(gateway, upstream, api_id, status):
    upstream.answers = lambda message: b"HTTP/1.1 %d Said\r\nETag: x\r\n\r\n" % status
    with Client(gateway.port) as client:
        for _ in range(2):
            answer = client.send(request(f"GET /{api_id}/".encode())).receive()
            assert (answer.status, answer.get("etag"), answer.get("transfer-encoding")) == (status, b"x", None)


def test_a_hook_that_asks_for_the_head_leaves_no_client_waiting_for_a_body(gateway, upstream):
    upstream.answers = lambda message: b"HTTP/1.1 200 Fine\r\nX-Mine: 1\r\nContent-Length: 5\r\n\r\n"
    answer = exchange(gateway.port, request(b"GET /asking/"))
    assert (answer.status, answer.get("x-mine"), answer.get("content-length"), answer.body) == (200, b"1", b"0", b"")


def test_a_targets_login_is_for_requests_without_one(gateway, upstream):
    exchange(gateway.port, request(b"GET /named/"))
    exchange(gateway.port, request(b"GET /named/", b"Authorization: Bearer own"))
    assert [asked.all("authorization") for asked in upstream.asked] == [[b"Basic bWU6c2VjcmV0"], [b"Bearer own"]]


def test_an_answer_without_a_body_has_no_length(gateway, upstream):
    upstream.answers = lambda message: b"HTTP/1.1 204 Fine\r\nContent-Length: 0\r\n\r\n"
    assert exchange(gateway.port, request(b"GET /plain/")).all("content-length") == []


@pytest.mark.parametrize("api_id", ["answering", "status"])
@pytest.mark.parametrize("status", [100, 101, 103])
def test_a_hook_cannot_leave_a_client_waiting_for_an_answer(gateway, upstream, api_id, status):
    answer = exchange(gateway.port, request(f"GET /{api_id}/".encode(), b"Code: %d" % status))
    words = f"set the status {status}, which is not within 200 to 599"
    assert (answer.status, words in answer.body.decode()) == (500, True)


@HOOKED
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
    ],
)
def test_an_answer_in_a_way_that_nobody_asked_for(gateway, upstream, api_id, data):
    upstream.answers = lambda message: [data, b""]
    assert exchange(gateway.port, request(f"GET /{api_id}/".encode())).status == 502
    upstream.answers = lambda message: OK
    assert exchange(gateway.port, request(f"GET /{api_id}/".encode())).status == 200


@HOOKED
def test_a_client_of_http_1_0_is_not_told_to_continue(gateway, upstream, api_id):
    data = f"POST /{api_id}/ HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi".encode()
    assert exchange(gateway.port, data).status == 200


@pytest.mark.parametrize("api_id", [b"plain", b"pre"])
def test_expect_100_continue(gateway, upstream, api_id):
    with Client(gateway.port) as client:
        client.send(request(b"POST /%b/" % api_id, b"Expect: 100-continue", b"Content-Length: 2"))
        assert client.receive().status == 100
        assert client.send(b"hi").receive().body == b"ok"
        assert client.send(request(b"GET /%b/" % api_id)).receive().body == b"ok"
    assert upstream.asked[0].body == b"hi"
    assert not upstream.asked[0].all("expect")


@pytest.mark.parametrize(("api_id", "status"), [(b"down", 502), (b"nobody", 404), (b"pre", 413)])
def test_nobody_is_told_to_continue_in_vain(gateway, upstream, api_id, status):
    data = request(b"POST /%b/" % api_id, b"Expect: 100-continue", b"Content-Length: %d" % (BODY_LIMIT + 1))
    assert exchange(gateway.port, data).status == status
    assert upstream.asked == []


def test_hooks_are_shown_no_body_beyond_the_limit(gateway, upstream):
    chunk = b"%x\r\n%b\r\n" % (BODY_LIMIT + 1, bytes(BODY_LIMIT + 1))
    answer = exchange(gateway.port, request(b"POST /pre/", b"Transfer-Encoding: chunked") + chunk)
    assert (answer.status, json.loads(answer.body)) == (413, {"error": "Request entity too large"})
    assert answer.get("connection") == b"close"
    assert upstream.asked == []
    assert exchange(gateway.port, request(b"POST /pre/", body=bytes(BODY_LIMIT))).status == 200
    assert exchange(gateway.port, request(b"POST /plain/", body=bytes(5 * BODY_LIMIT))).status == 200
    assert [len(asked.body) for asked in upstream.asked] == [BODY_LIMIT, 5 * BODY_LIMIT]
    upstream.answers = lambda message: said(body=bytes(BODY_LIMIT + 1))
    assert exchange(gateway.port, request(b"GET /both/")).status == 502
    assert f"longer than the {BODY_LIMIT} bytes" in gateway.log[-1]


STREAM = 256 << 20  # bytes: more than all buffers on the way


def blocked(sock, send):
    """Send until nobody takes it any more; gives how much was taken."""
    sock.settimeout(1)
    taken, piece = 0, bytes(1 << 20)
    try:
        while taken < STREAM:
            taken += send(piece)
    except TimeoutError:
        return taken
    return None


def test_a_slow_client_holds_the_upstream_back(gateway, upstream):
    taken = []

    def answers(message):
        sock = message.reader.sock
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % STREAM)
        taken.append(blocked(sock, sock.send))
        yield b""

    upstream.answers = answers
    with Client(gateway.port) as client:
        client.send(request(b"GET /plain/"))
        until(lambda: taken, TIMEOUT)
    assert taken[0] is not None


def test_a_slow_upstream_holds_the_client_back(gateway, upstream):
    upstream.reads_body = False
    over = threading.Event()

    def answers(message):
        over.wait(TIMEOUT)
        yield b""

    upstream.answers = answers
    with Client(gateway.port) as client:
        client.send(request(b"POST /plain/", b"Content-Length: %d" % STREAM))
        taken = blocked(client.sock, client.sock.send)
        over.set()
    assert taken is not None


# ---- Connections


def test_pipelining(gateway, upstream):
    upstream.answers = lambda message: said(body=b"" if message.method == b"HEAD" else message.target)
    with Client(gateway.port) as client:
        client.send(
            request(b"GET /plain/1")
            + request(b"POST /both/2", body=b"body")
            + request(b"HEAD /plain/3")
            + request(b"GET /nobody")
            + request(b"GET /both/5")
        )
        got = [client.receive(method) for method in (b"GET", b"POST", b"HEAD", b"GET", b"GET")]
    assert [(answer.status, answer.body) for answer in got] == [
        (200, b"/1"),
        (200, b"/2"),
        (200, b""),
        (404, b"Not Found"),
        (200, b"/5"),
    ]
    assert [asked.target for asked in upstream.asked] == [b"/1", b"/2", b"/3", b"/5"]


def test_a_client_that_goes_away_takes_its_request_along(gateway, upstream):
    gone = threading.Event()

    def answers(message):
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"
        assert not message.reader.more()  # the gateway closed
        gone.set()
        yield b""

    upstream.answers = answers
    with Client(gateway.port) as client:
        client.send(request(b"GET /plain/gone"))
        assert client.reader.head().status == 200
    assert gone.wait(TIMEOUT)
    [visit] = over(gateway, "/plain/gone")
    assert (visit.status, visit.failure) == (200, "the client went away")
    assert not [line for line in gateway.log if "gone" in line]


def test_a_client_that_goes_away_in_its_body(gateway, upstream):
    upstream.reads_body = False
    ends = []

    def answers(message):
        ends.append(message.reader.exactly(100))
        yield b""

    upstream.answers = answers
    with Client(gateway.port) as client:
        client.send(request(b"POST /plain/", b"Content-Length: 100"), b"half")
        upstream.wait_for(1)
    until(lambda: ends)
    assert ends == [None]  # the upstream is not told that it was all


@HOOKED
def test_connections_to_the_upstream_are_used_again(gateway, upstream, api_id):
    for _ in range(5):
        exchange(gateway.port, request(f"GET /{api_id}/".encode()))
    assert len({id(asked.reader) for asked in upstream.asked}) == 1


def test_observers_hear_of_each_request(gateway, upstream):
    upstream.answers = lambda message: said(body=b"12345")
    exchange(gateway.port, request(b"GET /plain/x?y=1"))
    exchange(gateway.port, request(b"GET /nobody"))
    one, other = over(gateway, "/plain/x?y=1", "/nobody")
    assert gateway.observer.begun == [one, other]
    assert (one.api_id, one.method, one.target, one.status, one.sent) == ("plain", "GET", "/plain/x?y=1", 200, 5)
    assert (one.upstream, one.failure, one.client) == (f"{upstream.url}/x?y=1", "", "127.0.0.1")
    assert (other.api_id, other.status, other.failure) == ("", 404, "no API listens on /nobody")
    assert one.id != other.id
    assert one.ended >= one.began


# ---- What the gateway answers itself


def error(answer):
    assert answer.get("content-type") == b"application/json"
    return answer.status, json.loads(answer.body)["error"]


PROBLEM = "There was a problem proxying the request"


def test_a_connection_without_a_request_is_closed(monkeypatch, upstream):
    monkeypatch.setattr(server, "_IDLE", 0.2)
    bridge = Bridge()
    bridge.load(json.dumps(api("plain", upstream.url)))
    release = threading.Event()
    upstream.answers = lambda message: iter([OK] if release.wait(TIMEOUT) else [])
    with running(Gateway(bridge, port=0)) as gateway, Client(gateway.port) as busy:
        busy.send(request(b"GET /plain/"))
        upstream.wait_for(1)
        for begun in (b"", b"GET /plain/ HTTP/1.1\r\nHost: h\r\nX-Slow: "):
            with Client(gateway.port) as silent:
                assert silent.send(begun).is_over()
        release.set()
        assert busy.receive().status == 200


def test_an_api_that_is_gone_keeps_nothing(tmp_path, upstream):
    bridge = Bridge()
    for api_id in ("gone", "stays"):
        (tmp_path / f"{api_id}.json").write_text(json.dumps(api(api_id, upstream.url)))
    bridge.load(tmp_path)
    with running(Gateway(bridge, port=0)) as gateway:
        for api_id in ("gone", "stays"):
            assert exchange(gateway.port, request(f"GET /{api_id}/".encode())).status == 200
        chain = weakref.ref(bridge.chains["gone"])
        (tmp_path / "gone.json").unlink()
        (tmp_path / "stays.json").write_text(json.dumps(api("stays", upstream.url, version="2")))
        assert bridge.load(tmp_path).not_loaded == ()
        assert exchange(gateway.port, request(b"GET /gone/")).status == 404
        assert exchange(gateway.port, request(b"GET /stays/")).status == 200
        gc.collect()
        assert chain() is None


def test_health(gateway):
    answer = exchange(gateway.port, request(b"GET /hello"))
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "pass")


def test_no_api(gateway):
    answer = exchange(gateway.port, request(b"GET /plainly"))
    assert (answer.status, answer.body, answer.get("content-type")) == (404, b"Not Found", b"text/plain; charset=utf-8")


def test_an_upstream_that_is_not_there(gateway):
    assert error(exchange(gateway.port, request(b"GET /down/"))) == (502, PROBLEM)
    assert re.fullmatch(r'api "down": http://127\.0\.0\.1:\d+/: connection refused', gateway.log[-1])
    assert error(exchange(gateway.port, request(b"GET /unknown/"))) == (502, "Upstream host lookup failed")
    assert gateway.log[-1].startswith('api "unknown": http://upstream.invalid/: ')
    assert "ssl" not in gateway.log[-1]
    assert error(exchange(gateway.port, request(b"GET /none/"))) == (502, PROBLEM)
    assert "target_url" in gateway.log[-1]


@HOOKED
def test_an_upstream_that_does_not_answer(gateway, upstream, api_id):
    over = threading.Event()

    def answers(message):
        over.wait(TIMEOUT)
        yield b""

    upstream.answers = answers
    got = error(exchange(gateway.port, request(f"GET /{api_id}/".encode())))
    over.set()
    assert got == (504, "Upstream service reached hard timeout.")


@HOOKED
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"what is this\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_an_upstream_that_speaks_no_http(gateway, upstream, api_id, data):
    upstream.answers = lambda message: iter([data, b""]) if data else b""
    assert error(exchange(gateway.port, request(f"GET /{api_id}/".encode()))) == (502, PROBLEM)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ],
)
def test_an_answer_that_breaks_off(gateway, upstream, data):
    """Who got a part must not take it for the whole; hooks are not shown a part."""
    upstream.answers = lambda message: iter([data, b""])
    assert error(exchange(gateway.port, request(b"GET /both/"))) == (502, PROBLEM)
    first = b"GET /plain/ HTTP/1.0\r\n\r\n"
    for ask in (request(b"GET /plain/"), first):
        with Client(gateway.port) as client:
            client.send(ask)
            head = client.reader.head()
            if head is not None and ask is not first:
                assert head.status != 200 or not client.reader.body(head, ends_by_close=False).is_whole


def test_requests_that_are_not_for_this_gateway(gateway, upstream):
    websocket = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 13"]
    assert error(exchange(gateway.port, request(b"GET /plain/", *websocket))) == (
        501,
        "websockets are not supported by this gateway",
    )
    assert exchange(gateway.port, request(b"CONNECT other.test:443")).status >= 400
    assert exchange(gateway.port, request(b"GET /plain/x#y")).status == 400
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"FOO /plain/ HTTP/1.1\r\nHost: h\r\n\r\n", "the request has no method that is known here"),
        (b"GET /plain/ SPDY/3\r\nHost: h\r\n\r\n", "the request is malformed"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", "the request has no method that is known here"),
    ],
)
def test_what_never_becomes_a_request_is_answered_and_logged_as_all_else(gateway, upstream, data, words):
    for begins in (b"", request(b"GET /plain/")):  # first on its connection, and not
        del gateway.log[:]
        with Client(gateway.port) as client:
            if begins:
                assert client.send(begins).receive().status == 200
            answer = client.send(data).receive()
            assert (answer.status, json.loads(answer.body)) == (400, {"error": words})
            assert answer.first.startswith(b"HTTP/1.1 400 ")
            assert answer.get("content-type") == b"application/json"
            assert answer.get("connection") == b"close"
            assert answer.get("x-request-id")
            assert answer.get("server") is None
            assert client.is_over()
        [line] = gateway.log
        assert line.startswith("a request from 127.0.0.1 is no HTTP: ")


def test_what_is_no_http_is_told_without_what_may_be_secret(gateway, upstream):
    long = b"s3cret-" + b"x" * 70_000
    for data in (
        request(b"GET /plain/", b"Authorization: " + long),
        request(b"GET /plain/", b"Authorization: s3cret-\x01"),
        request(b"GET http://[/plain/?token=s3cret-"),
        request(b"GET /" + b"x" * 5000 + b"?token=s3cret-"),
    ):
        assert 400 <= exchange(gateway.port, data).status < 500
    for head in (b"HTTP/1.1 200 OK\r\nSet-Cookie: " + long, b"HTTP/1.1 200 OK\r\nSet-Cookie: s3cret-\0", b"s3cret-"):
        upstream.answers = lambda message, head=head: head + b"\r\nContent-Length: 0\r\n\r\n"
        assert exchange(gateway.port, request(b"GET /plain/?token=s3cret-")).status == 502
    assert len(gateway.log) == 6
    for line in gateway.log:
        assert "s3cret-" not in line
        assert len(line) < 200
    assert any("Got more than 65536 bytes" in line for line in gateway.log)


@HOOKED
def test_huge_headers(gateway, upstream, api_id):
    first = f"GET /{api_id}/".encode()
    large = b"x" * 60_000
    assert exchange(gateway.port, request(first, b"X-Large: " + large)).status == 200
    assert upstream.asked[-1].get("x-large") == large
    assert exchange(gateway.port, request(first, *[b"X-%d: 1" % n for n in range(200)])).status == 200
    assert exchange(gateway.port, request(first + large)).status == 200
    del upstream.asked[:]
    for data in (
        request(first, *[b"X-%d: " % n + large[:40_000] for n in range(7)]),
        request(first, b"X-Large: " + b"x" * 70_000),
        request(first, *[b"X-%d: 1" % n for n in range(300)]),
        request(first + b"x" * 70_000),
    ):
        with Client(gateway.port) as client:
            answer = client.send(data).receive()
            assert answer is None or 400 <= answer.status < 500
    assert upstream.asked == []


FRAMED = b"0\r\n\r\nGET /plain/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


@HOOKED
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n" + FRAMED, id="CL and TE"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n" + FRAMED, id="TE and CL"),
        pytest.param(b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + FRAMED, id="two lengths"),
        pytest.param(b"Content-Length: 5, 6\r\n\r\n" + FRAMED, id="a list of lengths"),
        pytest.param(b"Content-Length: +5\r\n\r\n" + FRAMED, id="a signed length"),
        pytest.param(b"Content-Length: 5_0\r\n\r\n" + FRAMED, id="a length with a line"),
        pytest.param(b"Content-Length: -1\r\n\r\n" + FRAMED, id="a negative length"),
        pytest.param(b"Content-Length: 0x5\r\n\r\n" + FRAMED, id="a length in hex"),
        pytest.param(b"Content-Length: " + b"9" * 30 + b"\r\n\r\n" + FRAMED, id="a length beyond 64 bits"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n\r\n" + FRAMED, id="another coding"),
        pytest.param(b"Transfer-Encoding: gzip, chunked\r\n\r\n" + FRAMED, id="a coding before chunked"),
        pytest.param(b"Transfer-Encoding: chunked, identity\r\n\r\n" + FRAMED, id="chunked is not last"),
        pytest.param(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + FRAMED, id="chunked twice"),
        pytest.param(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n" + FRAMED, id="two codings"),
        pytest.param(b"Transfer-Encoding:\x0bchunked\r\n\r\n" + FRAMED, id="a vertical tab"),
        pytest.param(b"Transfer-Encoding : chunked\r\n\r\n" + FRAMED, id="a space before the colon"),
        pytest.param(b" Transfer-Encoding: chunked\r\n\r\n" + FRAMED, id="a space before the first header"),
        pytest.param(b"X-A: 1\r\n Transfer-Encoding: chunked\r\n\r\n" + FRAMED, id="obs-fold"),
        pytest.param(b"X-A: 1\nTransfer-Encoding: chunked\r\n\r\n" + FRAMED, id="a bare LF in the head"),
        pytest.param(b"X-A: 1\rTransfer-Encoding: chunked\r\n\r\n" + FRAMED, id="a bare CR in the head"),
        pytest.param(b"X-A: a\0b\r\n\r\n", id="a NUL"),
        pytest.param(b"X A: 1\r\n\r\n", id="a name with a space"),
        pytest.param(b": 1\r\n\r\n", id="no name"),
        pytest.param(b"no colon\r\n\r\n", id="no colon"),
        pytest.param(b"Host: second.test\r\n\r\n", id="two hosts"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n5 \r\nabcde\r\n" + FRAMED, id="a space behind the chunk's size"
        ),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n" + FRAMED, id="a chunk's size with 0x"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabcde\r\n" + FRAMED, id="a negative chunk"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\nabcde\r\n" + FRAMED, id="a chunk beyond 64 bits"
        ),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n5\nabcde\r\n" + FRAMED, id="a bare LF behind the chunk's size"
        ),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\n" + FRAMED, id="a bare LF behind the chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX" + FRAMED, id="a chunk longer than it says"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n5;a=\nx\r\nabcde\r\n" + FRAMED, id="a bare LF in an extension"
        ),
    ],
)
def test_what_servers_read_in_different_ways_is_refused(gateway, upstream, api_id, data):
    with Client(gateway.port) as client:
        client.send(b"POST /%b/ HTTP/1.1\r\nHost: h\r\n" % api_id.encode() + data)
        answer = client.receive()
        assert answer is None or 400 <= answer.status < 500 or answer.status == 501, answer
        assert client.is_over()
    # A body that is read as it comes may have begun; then the upstream knows that it did not get all of it.
    assert all(not asked.is_whole and asked.target == b"/" for asked in upstream.asked), upstream.asked


@pytest.mark.parametrize(
    "data",
    [
        b"GET /plain/ HTTP/1.1\r\n\r\n",
        b"GET /plain/ HTTP/1.1\nHost: h\n\n",
        b"GET /plain/caf\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /plain/ x HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /plain/ HTTP/2.0\r\nHost: h\r\n\r\n",
        b"GET\t/plain/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /plain/\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 tls\r\n\r\n",
        b"POST /plain/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + FRAMED,
    ],
)
def test_request_lines_and_hosts_that_are_refused(gateway, upstream, data):
    with Client(gateway.port) as client:
        answer = client.send(data).receive()
        assert answer is None or 400 <= answer.status < 600, answer
        assert client.is_over()
    assert upstream.asked == []


def test_what_is_no_http_is_a_line_in_the_log(gateway):
    with Client(gateway.port) as client:
        assert client.send(b"GET / HTTP/1.1\r\nno colon\r\n\r\n").receive().status == 400
    lines = [line for line in gateway.log if line.startswith("a request from 127.0.0.1 is no HTTP: ")]
    assert len(lines) == 1
    assert "\n" not in lines[0]
