"""The ASGI middleware without a server: what it asks of one, and what it passes on to an application."""

import asyncio
import json
import os
import subprocess
import sys
import threading

import pytest

from tykbridge import Bridge, _bridge, runtime
from tykbridge.asgi import TykMiddleware
from tykbridge.errors import BridgeError, LoadError
from tykbridge.operating import turn
from tykbridge.services import Services
from tykbridge.stores.opening import Storage, open_stores

pytestmark = pytest.mark.once

HOOKS = """
import threading
from tyk.decorators import Hook

arrived, go_on = threading.Barrier(2), threading.Event()

@Hook
def stamp(request, session, spec):
    request.add_header("X-User", session.alias or "pre")
    return request, session

@Hook
def clear_user(request, session, spec):
    request.delete_header("X-User")
    return request, session

@Hook
def show_body(request, session, spec):
    request.add_header("X-Body", request.object.body)
    return request, session

@Hook
def show_internal(request, session, spec):
    request.add_header("X-Saw", str(request.get_header("X-Internal")))
    return request, session

@Hook
def write_body(request, session, spec):
    request.object.body = "another"
    return request, session

@Hook
def move(request, session, spec):
    request.object.url = "/elsewhere/a%2Fb?x=%20"
    return request, session

@Hook
def as_get(request, session, spec):
    request.object.method = "GET"
    return request, session

@Hook
def as_head(request, session, spec):
    request.object.method = "HEAD"
    return request, session

@Hook
def teapot(request, session, spec):
    request.object.return_overrides.response_code = 418
    request.object.return_overrides.response_body = "short and stout"
    request.object.return_overrides.override_error = True
    request.object.return_overrides.headers["Content-Type"] = "text/plain"
    return request, session

@Hook
def hundred(request, session, spec):
    request.object.return_overrides.response_code = 101
    return request, session

@Hook
def meet(request, session, spec):
    arrived.wait(60)
    return request, session

@Hook
def check(request, session, metadata, spec):
    if request.get_header("Authorization") == "key":
        session.alias = "alice"
        session.basic_auth_data.password = "secret"
        metadata["token"] = "key"
    return request, session, metadata

@Hook
def sign(request, response, session, metadata, spec):
    response.headers["X-Signed"] = f"{len(response.raw_body)} {session.alias} {request.object.method}"
    return response

@Hook
def shout(request, response, session, metadata, spec):
    response.raw_body = response.raw_body.upper()
    return response
"""


@pytest.fixture
def apis(tmp_path):
    """Writes definitions: by id, a listen path, hooks by phase, and further keys."""
    (tmp_path / "hooks.py").write_text(HOOKS)
    folder = tmp_path / "apis"
    folder.mkdir()

    def write(api_id="api", path="/", target="http://ignored.test/", strip=False, **keys):
        hooks = {
            key: keys.pop(key) for key in ("pre", "post", "post_key_auth", "response", "auth_check") if key in keys
        }
        section = {
            phase: hook(names) if phase == "auth_check" else [hook(name) for name in names]
            for phase, names in hooks.items()
        }
        definition = {
            "name": api_id,
            "api_id": api_id,
            "active": True,
            "use_keyless": "auth_check" not in hooks,
            "enable_coprocess_auth": "auth_check" in hooks,
            "proxy": {"listen_path": path, "target_url": target, "strip_listen_path": strip},
            "custom_middleware": {"driver": "python", **section},
            **keys,
        }
        (folder / f"{api_id}.json").write_text(json.dumps(definition))
        return folder

    def hook(name):
        return {"name": name, "path": str(tmp_path / "hooks.py")}

    return write


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: lines.append(words))
    return lines


class Echo:
    """An application that notes what it gets, and answers with the body that it got, or with what it is told."""

    def __init__(self, headers=(), parts=None):
        self.headers, self.parts, self.scope, self.body = headers, parts, None, None

    async def __call__(self, scope, receive, send):
        self.scope, self.body, more = scope, b"", scope["type"] == "http"
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            self.body += message["body"]
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [*self.headers]})
        for part in [self.body] if self.parts is None else self.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def scope_of(method="GET", path="/", headers=(), **keys):
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"api.test"), *headers],
        "extensions": {"http.response.pathsend": {}, "tls": {}},
        **keys,
    }


def drive(app, scope, *messages):
    """Gives the messages that a server would get from an application, to which it sends these."""
    return asyncio.run(driven(app, scope, *messages))


async def driven(app, scope, *messages):
    sent, left = [], list(messages or [{"type": "http.request", "body": b"", "more_body": False}])

    async def receive():
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent


def chunks(*parts):
    return [{"type": "http.request", "body": part, "more_body": True} for part in parts] + [
        {"type": "http.request", "body": b"", "more_body": False}
    ]


def answer(sent):
    """The status, the headers and the body of messages that are a whole response."""
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * (len(sent) - 1)
    assert not sent[-1].get("more_body")
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


# ---- Who gets to the application


def test_what_no_api_is_for_is_not_there(apis):
    app = Echo()
    status, headers, body = answer(drive(TykMiddleware(app, apis(path="/api/")), scope_of(path="/other")))
    assert (status, body, app.scope) == (404, b"Not Found", None)
    assert (headers[b"content-type"], headers[b"content-length"]) == (b"text/plain; charset=utf-8", b"9")


def test_two_hosts_are_refused(apis):
    app = Echo()
    apis("own", domain="own.test", auth_check="check")
    middleware = TykMiddleware(app, apis("rest"))
    assert answer(drive(middleware, scope_of(headers=[(b"host", b"own.test")])))[0] == 400
    assert app.scope is None
    assert answer(drive(middleware, scope_of()))[0] == 200


def test_a_failed_definition_lets_nothing_through(apis, log):
    """Its path would be that of the API below it."""
    apis("admin", "/admin/", auth_check="nowhere")
    app = Echo()
    middleware = TykMiddleware(app, apis("rest"))
    for _ in range(2):
        assert answer(drive(middleware, scope_of(path="/admin/")))[0] == 503
        assert answer(drive(middleware, scope_of(path="/")))[0] == 503
    assert app.scope is None
    assert sum("no request is let through" in line for line in log) == 1
    assert any('"nowhere"' in line for line in log)


def test_an_api_that_is_not_active_is_no_failure(apis):
    apis("off", "/off/", active=False)
    middleware = TykMiddleware(Echo(), apis("rest", "/rest/"))
    assert answer(drive(middleware, scope_of(path="/rest/")))[0] == 200
    assert answer(drive(middleware, scope_of(path="/off/")))[0] == 404


def test_who_it_is_stands_in_the_scope(apis):
    app = Echo()
    middleware = TykMiddleware(app, apis(auth_check="check", post=["stamp"]))
    spoofed = scope_of(tyk="mallory")
    assert answer(drive(middleware, spoofed))[0] == 403
    assert app.scope is None
    assert answer(drive(middleware, {**spoofed, "headers": [(b"authorization", b"key")]}))[0] == 200
    who = app.scope["tyk"]
    assert (who.api_id, who.alias, who.session.alias) == ("api", "alice", "alice")
    assert who.session.basic_auth_data.password == "secret"
    assert "secret" not in repr(who)
    assert dict(app.scope["headers"])[b"x-user"] == b"alice"
    assert spoofed["tyk"] == "mallory"  # the server's own scope stays


def test_keyless_has_no_session(apis):
    app = Echo()
    drive(TykMiddleware(app, apis()), scope_of(tyk="mallory"))
    assert (app.scope["tyk"].session, app.scope["tyk"].alias) == (None, "")


def test_a_scope_that_nobody_knows(apis):
    with pytest.raises(ValueError, match="'webtransport'"):
        drive(TykMiddleware(Echo(), apis()), {"type": "webtransport", "headers": [], "path": "/"})


# ---- Paths


@pytest.mark.parametrize(
    ("root", "path", "raw"),
    [
        ("/base", "/base/admin/x", b"/base/admin/x"),
        ("/base/", "/base/admin/x", b"/base/admin/x"),
        ("/base", "/admin/x", b"/admin/x"),  # a server that leaves root_path out
        ("/b ü", "/b ü/admin/x", b"/b%20%C3%BC/admin/x"),
        ("", "/admin/x", b"/%61dmin/x"),
        ("", "/admin/x", b"/stale"),
        ("", "/admin/x", None),
        ("", "/admin/x", b"/admin/x?old=servers"),
    ],
)
def test_the_path_is_that_below_root_path(apis, root, path, raw):
    app = Echo()
    apis("rest", "/")
    middleware = TykMiddleware(app, apis("admin", "/admin/", auth_check="check"))
    scope = scope_of(path=path, root_path=root, raw_path=raw)
    assert answer(drive(middleware, scope))[0] == 403
    assert app.scope is None
    assert answer(drive(middleware, {**scope, "headers": [(b"authorization", b"key")]}))[0] == 200
    assert (app.scope["path"], app.scope["root_path"]) == (path, root.rstrip("/"))


def test_a_listen_path_that_is_stripped_is_a_mount(apis):
    app = Echo()
    middleware = TykMiddleware(app, apis(path="/shop/", strip=True))
    for path, inside in (("/shop/a", "/shop/a"), ("/shop", "/shop/"), ("/shop/", "/shop/")):
        drive(middleware, scope_of(path=f"/base{path}", root_path="/base", query_string=b"q=%20"))
        got = app.scope["root_path"], app.scope["path"], app.scope["raw_path"], app.scope["query_string"]
        assert got == ("/base/shop", f"/base{inside}", f"/base{inside}".encode(), b"q=%20")


def test_no_target_is_needed(apis):
    app = Echo()
    drive(TykMiddleware(app, apis(path="/shop/", strip=True, target="")), scope_of(path="/shop/a"))
    assert (app.scope["root_path"], app.scope["path"]) == ("/shop", "/shop/a")


def test_the_targets_path_comes_first(apis):
    app = Echo()
    middleware = TykMiddleware(app, apis(path="/shop/", strip=True, target="http://ignored.test/v1/?k=1"))
    drive(middleware, scope_of(path="/shop/a", query_string=b"q=1"))
    assert (app.scope["root_path"], app.scope["path"], app.scope["query_string"]) == ("", "/v1/a", b"q=1&k=1")


def test_a_hook_that_moves_a_request(apis):
    app = Echo()
    drive(TykMiddleware(app, apis(pre=["move"])), scope_of(path="/base/x", root_path="/base"))
    got = app.scope["root_path"], app.scope["path"], app.scope["raw_path"], app.scope["query_string"]
    assert got == ("/base", "/base/elsewhere/a/b", b"/base/elsewhere/a%2Fb", b"x=%20")


def test_what_no_hook_changes_is_as_it_came(apis):
    app = Echo()
    scope = scope_of(path="/ü/a b", raw_path=b"/%C3%BC/a%20%62", query_string=b"b=1&a=%7e&b=\xff&c=#")
    headers = [(b"host", b"h"), (b"x-old", b"1"), (b"x-bytes", b"\xff\xc3\xbc"), (b"x-old", b"2"), (b"x_y", b"3")]
    drive(TykMiddleware(app, apis(pre=["stamp"])), {**scope, "headers": headers})
    assert {key: app.scope[key] for key in ("path", "raw_path", "query_string")} == {
        key: scope[key] for key in ("path", "raw_path", "query_string")
    }
    assert app.scope["headers"] == [*headers, (b"x-user", b"pre")]


def test_a_raw_path_that_is_not_the_paths_reaches_nobody(apis):
    """An application that routes on one of them must not get where the API of the other one leads."""
    app = Echo()
    middleware = TykMiddleware(app, apis())
    for raw, given in ((b"/private/x", b"/open/a%20b"), (b"", b""), (b"/open/a%20b?q", b"/open/a%20b?q")):
        drive(middleware, scope_of(path="/open/a b", raw_path=raw))
        assert (app.scope["path"], app.scope["raw_path"]) == ("/open/a b", given)


def test_event_loops_wait_for_their_own_requests(apis):
    bridge = Bridge()
    bridge.load(apis(pre=["stamp"]))
    middleware, sent = TykMiddleware(Echo(), bridge), []
    thread = threading.Thread(target=lambda: sent.append(drive(middleware, scope_of())), daemon=True)

    async def meanwhile():
        thread.start()
        thread.join(10)  # a request of its own comes to its end, whatever this loop has begun

    async def scenario():
        await asyncio.gather(driven(middleware, scope_of()), meanwhile())

    asyncio.run(scenario())
    assert [answer(messages)[0] for messages in sent] == [200]


# ---- Headers


def test_a_client_does_not_undo_a_hooks_header(apis):
    """By naming it in Connection, or by a name that WSGI applications take for it."""
    app = Echo()
    headers = [(b"connection", b"close, x-user, x-internal"), (b"x_user", b"mallory"), (b"x-internal", b"1")]
    drive(TykMiddleware(app, apis(pre=["stamp", "show_internal"])), scope_of(headers=headers))
    assert app.scope["headers"] == [(b"host", b"api.test"), (b"x-user", b"pre"), (b"x-saw", b"None")]
    drive(TykMiddleware(app, apis(pre=["clear_user"])), scope_of(headers=[(b"x-user", b"a"), (b"x_user", b"b")]))
    assert app.scope["headers"] == [(b"host", b"api.test")]


# ---- Bodies of requests


def test_a_body_that_no_hook_reads_is_streamed(apis):
    order = []

    async def app(scope, receive, send):
        order.append("application")
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def main():
        left = chunks(b"a" * 100, b"b" * 100)

        async def receive():
            order.append("receive")
            return left.pop(0)

        async def send(message):
            order.append("send")

        await TykMiddleware(app, apis(), body_limit=10)(scope_of("POST"), receive, send)

    asyncio.run(main())
    assert order == ["application", *["receive"] * 3, *["send"] * 2]


def test_hooks_get_bodies_whole(apis):
    app = Echo()
    middleware = TykMiddleware(app, apis(post=["show_body", "write_body"]))
    headers = [(b"transfer-encoding", b"chunked")]
    drive(middleware, scope_of("POST", headers=headers), *chunks(b"one ", b"two"))
    got = dict(app.scope["headers"])
    assert (app.body, got[b"x-body"], got[b"content-length"]) == (b"another", b"one two", b"7")
    assert b"transfer-encoding" not in got


def test_a_body_in_chunks_gets_a_length(apis):
    app = Echo()
    drive(TykMiddleware(app, apis(post=["stamp"])), scope_of("POST"), *chunks(b"one ", b"two"))
    assert (app.body, dict(app.scope["headers"])[b"content-length"]) == (b"one two", b"7")


@pytest.mark.parametrize(
    "length", [[], [(b"content-length", b"11")], [(b"content-length", b"9" * 5000)]], ids=["unknown", "said", "absurd"]
)
def test_too_long_for_hooks(apis, length):
    app = Echo()
    middleware = TykMiddleware(app, apis(pre=["stamp"]), body_limit=10)
    status, _, body = answer(drive(middleware, scope_of("POST", headers=length), *chunks(b"123456", b"78901")))
    assert (status, body, app.scope) == (413, b'{"error": "Request entity too large"}', None)
    assert answer(drive(middleware, scope_of("POST"), *chunks(b"123456", b"7890")))[::2] == (200, b"1234567890")


def test_a_client_that_leaves_before_its_body_is_there(apis):
    app = Echo()
    gone = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]
    assert drive(TykMiddleware(app, apis(pre=["stamp"])), scope_of("POST"), *gone) == []
    assert app.scope is None


def test_the_application_hears_that_a_client_left(apis):
    heard = []

    async def app(scope, receive, send):
        heard.extend([(await receive())["type"], (await receive())["type"]])

    drive(TykMiddleware(app, apis(pre=["stamp"])), scope_of())
    assert heard == ["http.request", "http.disconnect"]


def test_requests_do_not_wait_for_each_others_hooks(apis):
    """Two of them meet in a hook: the loop waits for neither."""

    async def main(middleware):
        return await asyncio.wait_for(asyncio.gather(*(driven(middleware, scope_of()) for _ in range(2))), 60)

    both = asyncio.run(main(TykMiddleware(Echo(), apis(pre=["meet"]))))
    assert [answer(sent)[0] for sent in both] == [200, 200]


# ---- Responses


def test_a_hooks_response(apis):
    app = Echo()
    middleware = TykMiddleware(app, apis(pre=["teapot"]))
    expected = {b"content-type": b"text/plain", b"content-length": b"15"}
    assert answer(drive(middleware, scope_of())) == (418, expected, b"short and stout")
    assert answer(drive(middleware, scope_of("HEAD"))) == (418, expected, b"")
    assert app.scope is None


def test_a_hooks_response_that_cannot_be_sent(apis):
    app = Echo()
    assert answer(drive(TykMiddleware(app, apis(pre=["hundred"])), scope_of()))[0] == 500
    assert app.scope is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_applications_response_that_is_no_answer(apis, method):
    logged = []
    bridge = Bridge(Services(log=lambda words, level: logged.append((level, words))))
    bridge.load(apis(response=["shout"]))

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 103, "headers": [(b"link", b"</a>")]})
        await send({"type": "http.response.body", "body": b""})

    status, headers, body = answer(drive(TykMiddleware(app, bridge), scope_of(method)))
    refusal = b'{"error": "There was a problem proxying the request"}'
    assert (status, body) == (502, refusal if method == "GET" else b"")
    assert b"link" not in headers
    [(level, words)] = logged
    assert (level, "status 103 is no answer" in words) == ("error", True)


def test_without_response_hooks_the_application_speaks_to_the_server(apis):
    app = Echo(parts=[b"a", b"b"])
    sent = drive(TykMiddleware(app, apis(post=["stamp"]), body_limit=1), scope_of())
    assert [message.get("body") for message in sent] == [None, b"a", b"b", b""]
    assert "http.response.pathsend" in app.scope["extensions"]


def test_response_hooks_see_a_whole_response(apis):
    app = Echo(parts=[b"a", b"b"], headers=[(b"content-length", b"2"), (b"set-cookie", b"1"), (b"set-cookie", b"2")])
    middleware = TykMiddleware(app, apis(auth_check="check", response=["sign", "shout"]))
    sent = drive(middleware, scope_of("POST", headers=[(b"authorization", b"key")]))
    assert sent[0]["headers"] == [
        *((b"set-cookie", b"1"), (b"set-cookie", b"2"), (b"x-signed", b"2 alice POST"), (b"content-length", b"2")),
    ]
    assert answer(sent)[2] == b"AB"
    assert app.scope["extensions"] == {"tls": {}}


def test_a_response_too_long_for_hooks(apis):
    told, logged = [], []
    bridge = Bridge(Services(log=lambda words, level: logged.append((level, words))))
    bridge.load(apis(response=["shout"]))

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        except OSError as error:
            told.append(error)
            raise

    status, _, body = answer(drive(TykMiddleware(app, bridge, body_limit=10), scope_of()))
    assert (status, body) == (502, b'{"error": "There was a problem proxying the request"}')
    assert len(told) == 1
    ((level, words),) = logged
    assert (level, "longer than the 10 bytes" in words) == ("error", True)


@pytest.mark.parametrize(
    ("client", "hooks", "length", "body"),
    [
        ("HEAD", {"response": ["sign"]}, b"5", b""),
        ("HEAD", {"pre": ["as_get"]}, b"5", b""),
        ("HEAD", {"pre": ["as_get"], "response": ["shout"]}, b"5", b""),
        ("GET", {"pre": ["as_head"]}, b"0", b""),
        ("GET", {"pre": ["as_head"], "response": ["sign"]}, b"0", b""),
    ],
)
def test_head(apis, client, hooks, length, body):
    """An application may send the body of a HEAD, and the server leaves it out."""
    app = Echo(headers=[(b"content-length", b"5")], parts=[b"12345"])
    status, headers, got = answer(drive(TykMiddleware(app, apis(**hooks)), scope_of(client)))
    assert (status, headers[b"content-length"], got) == (200, length, body)


def test_a_head_of_what_is_too_long(apis):
    app = Echo(headers=[(b"content-length", b"50")], parts=[b"1" * 50])
    middleware = TykMiddleware(app, apis(response=["sign"]), body_limit=10)
    status, headers, _ = answer(drive(middleware, scope_of("HEAD")))
    assert (status, headers[b"content-length"], headers[b"x-signed"]) == (200, b"50", b"0  HEAD")


def test_an_application_that_fails_after_its_response(apis):
    """As frameworks do: the client gets the response, the server the exception."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"sorry"})
        raise KeyError("bug")

    async def main():
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.request"}

        with pytest.raises(KeyError):
            await TykMiddleware(app, apis(response=["shout"]))(scope_of(), receive, send)
        return sent

    assert answer(asyncio.run(main()))[::2] == (500, b"SORRY")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"type": "http.response.body", "body": b""}], "sent 'http.response.body'"),
        ([{"type": "http.response.start", "status": 200}, {"type": "http.response.pathsend", "path": "/"}], "pathsend"),
        ([{"type": "http.response.start", "status": 200}] * 2, "sent 'http.response.start'"),
        ([{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}] * 2, "http.response.start"),
        ([{"type": "http.response.start", "status": 200}], "before its response was whole"),
    ],
)
def test_what_would_go_past_response_hooks(apis, messages, words):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    with pytest.raises(RuntimeError, match=words):
        drive(TykMiddleware(app, apis(response=["shout"])), scope_of())


# ---- WebSockets


CONNECT = {"type": "websocket.connect"}


async def accepting(scope, receive, send):
    assert (await receive()) == CONNECT
    await send({"type": "websocket.accept", "subprotocol": scope["tyk"].alias, "path": scope["path"]})


def socket_of(headers=(), path="/", **keys):
    scope = scope_of(path=path, headers=headers, scheme="wss", **keys)
    del scope["method"]
    return {**scope, "type": "websocket"}


def test_handshakes_go_through_the_chain(apis):
    middleware = TykMiddleware(accepting, apis(auth_check="check", post=["stamp"]))
    assert drive(middleware, socket_of(), CONNECT) == [{"type": "websocket.close", "code": 1008}]
    sent = drive(middleware, socket_of(extensions={"websocket.http.response": {}}), CONNECT)
    assert [message["type"] for message in sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert (sent[0]["status"], sent[1]["body"]) == (403, b'{"error": "Key not authorised"}')
    sent = drive(middleware, socket_of([(b"authorization", b"key")]), CONNECT)
    assert sent == [{"type": "websocket.accept", "subprotocol": "alice", "path": "/"}]


def test_a_handshake_that_no_api_is_for(apis):
    middleware = TykMiddleware(accepting, apis(path="/api/"))
    assert drive(middleware, socket_of(path="/other"), CONNECT) == [{"type": "websocket.close", "code": 1008}]
    assert drive(middleware, socket_of(path="/other"), {"type": "websocket.disconnect"}) == []


# ---- Loading


def lifespan(middleware, *messages):
    return drive(middleware, {"type": "lifespan"}, *({"type": f"lifespan.{name}"} for name in messages))


async def starting(scope, receive, send):
    assert scope["type"] == "lifespan"
    for name in ("startup", "shutdown"):
        assert (await receive()) == {"type": f"lifespan.{name}"}
        await send({"type": f"lifespan.{name}.complete"})


def test_it_loads_when_the_server_starts(apis):
    middleware = TykMiddleware(starting, apis())
    sent = lifespan(middleware, "startup", "shutdown")
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert asyncio.run(middleware._source.bridge()).apis == ("api",)


def test_a_server_does_not_start_with_what_cannot_be_loaded(apis, log, tmp_path):
    sent = lifespan(TykMiddleware(starting, apis(pre=["nowhere"])), "startup")
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert '"nowhere"' in sent[0]["message"]
    sent = lifespan(TykMiddleware(starting, tmp_path / "nowhere"), "startup")
    assert "there is no definition" in sent[0]["message"]


def test_it_loads_once(apis, monkeypatch):
    loads, load = [], Bridge.load
    monkeypatch.setattr(Bridge, "load", lambda bridge, source: loads.append(source) or load(bridge, source))
    middleware = TykMiddleware(Echo(), apis())

    async def main():
        return await asyncio.gather(*(driven(middleware, scope_of()) for _ in range(5)))

    assert {answer(sent)[0] for sent in asyncio.run(main())} == {200}
    assert len(loads) == 1


def test_a_bridge_of_its_owners(apis, tmp_path):
    """A request keeps the version that it began with: its body was read for the hooks of that."""
    bridge, app = Bridge(Services()), Echo()
    bridge.load(apis(pre=["show_body"]))
    middleware = TykMiddleware(app, bridge)

    async def main():
        begun, rest = asyncio.Event(), asyncio.Event()

        async def receive():
            begun.set()
            await rest.wait()
            return {"type": "http.request", "body": b"late", "more_body": False}

        async def send(message):
            pass

        first = asyncio.ensure_future(middleware(scope_of("POST"), receive, send))
        await begun.wait()
        apis()
        bridge.reload()
        rest.set()
        await first

    asyncio.run(main())
    assert dict(app.scope["headers"])[b"x-body"] == b"late"
    drive(middleware, scope_of("POST"), *chunks(b"later"))
    assert b"x-body" not in dict(app.scope["headers"])


def test_it_loads_in_the_turn_of_settings(apis, monkeypatch):
    """What is told to plugins while they are opened is the process's."""
    loads, load = [], Bridge.load

    def loading(bridge, source):
        with pytest.raises(LoadError, match="in the middle of another one"), turn:
            pass
        loads.append(source)
        return load(bridge, source)

    monkeypatch.setattr(Bridge, "load", loading)
    drive(TykMiddleware(Echo(), apis()), scope_of())
    assert len(loads) == 1


@pytest.mark.parametrize("by", ["argument", "settings"])
def test_settings_and_policies(apis, tmp_path, process, by):
    """The settings say where sessions are, the policies what they may do."""
    storage = {"type": "sqlite", "path": str(tmp_path / "store")}
    conf, policies = tmp_path / "tyk.conf", tmp_path / "policies.json"
    named = {"policy_source": "file", "policy_record_name": str(policies if by == "settings" else tmp_path / "none")}
    conf.write_text(json.dumps({"storage": storage, "hash_keys": False, "policies": named}))
    policies.write_text(json.dumps({"gold": {"org_id": "org", "access_rights": {"api": {"api_id": "api"}}}}))
    folder = apis(use_keyless=False, use_standard_auth=True, org_id="org", auth={"auth_header_name": "Authorization"})
    stores = open_stores(Storage(type="sqlite", path=storage["path"]))
    for key, policy in (("good", "gold"), ("bad", "lead")):
        session = {"org_id": "org", "alias": key, "apply_policies": [policy]}
        stores.store.set(f"apikey-{key}", json.dumps(session).encode())
    stores.store.close()
    app = Echo()
    middleware = TykMiddleware(app, folder, conf=conf, policies=policies if by == "argument" else "")
    asked = [drive(middleware, scope_of(headers=[(b"authorization", key)])) for key in (b"good", b"bad", b"no")]
    assert [answer(sent)[0] for sent in asked] == [200, 403, 403]
    assert app.scope["tyk"].alias == "good"
    assert runtime.data_store().get("apikey-good")
    runtime.data_store().close()


@pytest.mark.parametrize("wrong", ["definition", "hook", "policies"])
def test_settings_of_what_cannot_be_loaded_are_not_in_use(apis, tmp_path, log, process, wrong):
    storage = {"type": "sqlite", "path": str(tmp_path / "store")}
    conf = json.dumps({"storage": storage, "jsvm_timeout": 7, "tykbridge": {"allow_native_code": True}})
    folder = tmp_path / "nowhere" if wrong == "definition" else apis(pre=["nowhere"] if wrong == "hook" else [])
    policies = tmp_path / "nowhere" if wrong == "policies" else ""
    before, files = process(), len(os.listdir("/proc/self/fd"))
    sent = lifespan(TykMiddleware(starting, folder, conf=conf, policies=policies), "startup")
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert process() == before
    assert len(os.listdir("/proc/self/fd")) <= files


def test_bad_settings_and_policies_end_the_start(apis, tmp_path, log):
    bad = tmp_path / "bad"
    bad.write_text('{"storage": 1, "gold": 1}')
    for options in ({"conf": bad}, {"policies": bad}):
        middleware = TykMiddleware(Echo(), apis(), **options)
        assert lifespan(middleware, "startup")[0]["type"] == "lifespan.startup.failed"
        with pytest.raises(BridgeError):
            asyncio.run(middleware._source.bridge())


def test_it_needs_no_framework():
    words = "import sys, tykbridge.asgi; print(*{'aiohttp', 'starlette', 'django', 'anyio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
