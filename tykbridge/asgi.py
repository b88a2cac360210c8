"""ASGI middleware: puts the APIs of a configuration in front of an application of this process (docs/asgi.md).

The application is the upstream: what the gateway would send to a definition's target, the application gets.

Everything fails closed: a request gets to the application by way of an API's chain, or not at all.
"""

from __future__ import annotations

import asyncio
import functools
import os
import weakref
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

import msgspec

from tykbridge import _bridge, locks, waiting
from tykbridge.bridge import Bridge
from tykbridge.chain import Chain
from tykbridge.definition import Definition, Phase
from tykbridge.errors import BridgeError, LoadError
from tykbridge.gateway import hooks, wire
from tykbridge.gateway.upstreams import Upstream
from tykbridge.operating import read_operation, turn, using
from tykbridge.outcome import FRAMING, Continue, Headers, Outcome, Request, Respond, Response, refused
from tykbridge.policies import read_policies
from tykbridge.session import Session, read_message

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY = "tyk"
"""Where in its scope the application finds who sent the request: `Admitted`."""

BODY_LIMIT = 10 << 20
"""Bytes of a body that hooks are shown, where nobody says otherwise."""

_RAW = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "#")  # stays as it is in a url
_PATH = "/:@!$&'()*+,;=-._~"
_NOT_FOUND = Response(404, (("Content-Type", "text/plain; charset=utf-8"),), b"Not Found")  # as upstream has it


@dataclass(frozen=True)
class Admitted:
    """What a request's way through its API says of who sent it.

    Attributes:
        api_id: the API.
        message: the session that authentication found, as a serialised SessionState; b"": the API is keyless.
    """

    api_id: str
    message: bytes = field(repr=False)  # it has secrets

    @functools.cached_property
    def session(self) -> Session | None:
        """The session; None: the API is keyless."""
        return read_message(_bridge.message("SessionState", self.message)) if self.message else None

    @property
    def alias(self) -> str:
        """The session's alias, "" without one."""
        return self.session.alias if self.session is not None else ""


class TykMiddleware:
    """Runs requests through the APIs of a configuration before an application, and its responses back.

    It is an ASGI application itself. HTTP requests and the handshakes of WebSockets go through the chain of the API
    that listens on their path; where there is none they are answered with 404. For asyncio; safe in any number of event
    loops.

    Args:
        app: the application.
        source: a folder of definitions, one file, JSON text; or a Bridge, which its owner loads and reloads.
        conf: a tyk.conf, over which TYK_GW_* variables win (docs/settings.md); "": no settings, and no variable counts.
        policies: the file of policies that sessions name; "": that of the settings.
        body_limit: bytes of a body that hooks are shown. A longer request is answered with 413, a longer response
            with 502. Bodies that no hook asks for are streamed, however long.

    A source is loaded when the server starts (the lifespan protocol) or at the first request. What is wrong in it ends
    the start; where there is no lifespan, all requests are answered with 503.
    """

    def __init__(
        self,
        app: Application,
        source: str | os.PathLike[str] | Bridge,
        *,
        conf: str | os.PathLike[str] = "",
        policies: str | os.PathLike[str] = "",
        body_limit: int = BODY_LIMIT,
    ) -> None:
        self._app, self._limit = app, body_limit
        self._source = _Source(source, os.fspath(conf), os.fspath(policies))
        self._routes: dict[str, _Route] = {}  # by API id, for the chain that was asked for last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a connection, as ASGI has it."""
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "websocket":
                await self._websocket(scope, receive, send)
            case "lifespan":
                await self._lifespan(scope, receive, send)
            case other:
                raise ValueError(f"TykMiddleware knows no scope of the type {other!r}, and lets none through")

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        startup: Message | None = await receive()
        try:
            await self._source.bridge()
        except BridgeError as error:
            await send({"type": "lifespan.startup.failed", "message": f"tykbridge: {error}"})
            return

        async def receive_again() -> Message:
            nonlocal startup
            message, startup = startup, None
            return message if message is not None else await receive()

        await self._app(scope, receive_again, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["method"] == "HEAD"
        found = await self._found(scope)
        if isinstance(found, Response):
            return await _send(send, found, is_head)
        route, url = found
        chain = route.chain
        headers = wire.forwardable(_headers(scope["headers"]))
        body, is_read = b"", any(chain.steps.values())
        if is_read:
            try:
                body = await _whole(receive, headers, self._limit)
            except _TooLargeError:
                return await _send(send, refused(413, "Request entity too large").response, is_head)
            except _GoneError:
                return None
        scheme = scope.get("scheme", "http")
        request = Request(scope["method"], url, headers, body)
        outcome = await route.request(request, scheme)
        if isinstance(outcome, Respond):
            return await _send(send, outcome.response, is_head)
        if is_read:
            receive = _given(outcome.request.body, receive)
        inner = _onward(scope, request, chain, outcome, route.sent(outcome.request.url))
        inner["method"] = outcome.request.method
        # The server leaves out the body of a HEAD, but knows nothing of one that a hook has made.
        if not chain.steps[Phase.RESPONSE] and is_head == (outcome.request.method == "HEAD"):
            return await self._app(inner, receive, send)
        return await self._kept(inner, receive, send, _Kept(route, outcome, scheme, self._limit, is_head, send))

    async def _kept(self, scope: Scope, receive: Receive, send: Send, kept: _Kept) -> None:
        # What else a server may be asked to send would go past the hooks.
        extensions = scope.get("extensions") or {}
        scope["extensions"] = {name: extensions[name] for name in extensions if not name.startswith("http.response.")}
        try:
            await self._app(scope, receive, kept.send)
        except Exception:
            if not kept.is_refused:
                raise
        if kept.is_begun and not kept.is_over:
            raise RuntimeError("the application returned before its response was whole")

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = await self._found(scope)
        if not isinstance(found, Response):
            route, url = found
            upgrade = (("Connection", "Upgrade"), ("Upgrade", "websocket"))
            request = Request("GET", url, (*wire.forwardable(_headers(scope["headers"])), *upgrade))
            outcome = await route.request(request, "https" if scope.get("scheme") == "wss" else "http")
            if isinstance(outcome, Continue):
                sent = route.sent(outcome.request.url)
                return await self._app(_onward(scope, request, route.chain, outcome, sent), receive, send)
            found = outcome.response
        if (await receive())["type"] != "websocket.connect":
            return None
        if "websocket.http.response" in (scope.get("extensions") or {}):
            return await _send(send, found, is_head=False, kind="websocket.http.response")
        return await send({"type": "websocket.close", "code": 1008})

    async def _found(self, scope: Scope) -> tuple[_Route, str] | Response:
        """Give the API that a connection goes through, and its url there; or what refuses it."""
        try:
            bridge = await self._source.bridge()
        except BridgeError:
            return refused(503, "The configuration cannot be used").response
        hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
        if len(hosts) > 1:
            return refused(400, "More than one Host header").response
        path = _routed(scope)
        chain = bridge.chain_at(path, hosts[0].decode("latin-1") if hosts else "")
        if chain is None:
            return _NOT_FOUND
        return self._route(bridge, chain), _url(scope, path, chain.definition)

    def _route(self, bridge: Bridge, chain: Chain) -> _Route:
        api_id = chain.definition.api_id
        route = self._routes.get(api_id)
        if route is None or route.chain is not chain:
            route, chains = _Route(chain), bridge.chains  # no other is kept: it would keep its plugins
            kept = {name: known for name, known in self._routes.items() if chains.get(name) is known.chain}
            self._routes = {**kept, api_id: route}
        return route


class _Route:
    """What is worked out once of an API, as long as its chain is in use."""

    def __init__(self, chain: Chain) -> None:
        definition = chain.definition
        target = definition.target_url or "http://application/"
        self.chain = chain
        self._upstream = Upstream(msgspec.structs.replace(definition, target_url=target))
        self._lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, hooks.Lane] = weakref.WeakKeyDictionary()
        self._waits = not definition.auth.keyless or any(chain.steps.values())

    async def request(self, request: Request, scheme: str) -> Outcome:
        """Run a request through the chain, on another thread where anything in there may wait."""
        if not self._waits:
            return self.chain.request(request, scheme)
        return await self._lane().run(lambda: self.chain.request(request, scheme))

    async def response(self, outcome: Continue, response: Response, scheme: str) -> Response:
        """Run the application's response through the response hooks."""
        call = functools.partial(self.chain.response, outcome.request, response, outcome.session, scheme)
        return (await self._lane().run(call)).response

    def _lane(self) -> hooks.Lane:
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None:
            lane = self._lanes[loop] = hooks.lane_of(self.chain.definition)
        return lane

    def sent(self, url: str) -> str:
        """Give the path and the query that the API's target would be asked for."""
        return "/" + self._upstream.url(url).split("/", 3)[3]


class _Source:
    """What is to be loaded, once, by whoever needs it first."""

    def __init__(self, source: str | os.PathLike[str] | Bridge, conf: str, policies: str) -> None:
        self._source, self._conf, self._policies = source, conf, policies
        self._bridge = source if isinstance(source, Bridge) else None
        self._failure: BridgeError | None = None
        self._lock = locks.lock()  # held while it is loaded, by threads that may wait

    async def bridge(self) -> Bridge:
        """Give the bridge, loaded. Raises BridgeError: it cannot be used, now and later."""
        bridge = self._bridge
        return bridge if bridge is not None else await asyncio.wrap_future(waiting.apart(self._load))

    def _load(self) -> Bridge:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._bridge is not None:
                return self._bridge
            try:
                self._bridge = loaded = self._loaded()
            except BridgeError as error:
                self._failure = error
                _bridge.log(f"no request is let through: {error}", "error")
                raise
            return loaded

    def _loaded(self) -> Bridge:
        assert not isinstance(self._source, Bridge)
        bridge = Bridge()
        problems: list[str] = []
        with turn:
            operation = read_operation(self._conf, None, bridge.services.log) if self._conf else None
            with using(bridge, operation):
                named = self._policies or ("" if operation is None else operation.settings.policies.file)
                if named:
                    file = read_policies(named)
                    problems += map(str, file.problems)
                    bridge.services = replace(bridge.services, policies=file.policies)
                loaded = bridge.load(self._source)
                # A path whose API is not there might be on the listen path of another one, which protects less.
                problems += [str(item) for item in loaded.not_loaded if item.problems or item.needs]
                if problems:
                    raise LoadError("\n".join(problems))
        return bridge


# ---- Requests


class _TooLargeError(Exception):
    """A body is longer than hooks are shown."""


class _GoneError(Exception):
    """The client has gone."""


def _routed(scope: Scope) -> str:
    """Give the path that the application routes on, which is that below its root_path, decoded."""
    path, root = str(scope["path"]), _root(scope)
    return path[len(root) :] or "/" if root and (path + "/").startswith(root + "/") else path


def _root(scope: Scope) -> str:
    """Give the root_path without a slash at its end, of which frameworks think differently."""
    return str(scope.get("root_path", "")).rstrip("/")


def _url(scope: Scope, path: str, definition: Definition) -> str:
    """Give path and query for hooks, as the client spelled them, but in the listen path, and where nobody knows."""
    raw = scope.get("raw_path") or b""
    spelled = raw.decode("latin-1").partition("?")[0].removeprefix(quote(_root(scope), safe=_PATH))
    if unquote(spelled) != path or not spelled.startswith(definition.listen_path.rstrip("/")):
        spelled = quote(path, safe=_PATH)
    query = scope.get("query_string", b"")
    return quote(spelled, safe=_RAW, encoding="latin-1") + ("?" + quote(query, safe=_RAW) if query else "")


def _onward(scope: Scope, came: Request, chain: Chain, outcome: Continue, sent: str) -> Scope:
    """Give the scope for the application, whose url is `sent`: where that is as it came, paths stay as they are."""
    request, definition = outcome.request, chain.definition
    inner = dict(scope)
    inner[KEY] = Admitted(definition.api_id, outcome.session)
    inner["headers"] = [
        (name.lower().encode("latin-1"), _bytes(value))
        for name, value in wire.unmistaken(came.headers, request.headers)
    ]
    if request.body and not any(name == b"content-length" for name, _ in inner["headers"]):  # it came in chunks
        inner["headers"].append((b"content-length", str(len(request.body)).encode()))
    inner["root_path"] = root = _root(scope)
    path, _, query = sent.partition("?")
    if sent == came.url:
        raw = (scope.get("raw_path") or b"").partition(b"?")[0]
        if raw and unquote(raw.decode("latin-1")) != scope["path"]:  # nobody has looked at that one
            inner["raw_path"] = (quote(root, safe=_PATH) + path).encode("ascii")
        return inner
    listen_path = definition.listen_path.rstrip("/")
    if definition.strip_listen_path and request.url.partition("?")[0] in (listen_path, listen_path + path):
        root += listen_path  # as a mount does it: urls that the application makes lead back here
    inner["root_path"], inner["path"] = root, root + unquote(path)
    inner["raw_path"] = (quote(root, safe=_PATH) + path).encode("ascii")
    inner["query_string"] = query.encode("ascii")
    return inner


async def _whole(receive: Receive, headers: Headers, limit: int) -> bytes:
    """Read a request's body. Raises _TooLargeError and _GoneError."""
    declared = next((value for name, value in headers if name == "Content-Length"), "")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):
        raise _TooLargeError
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _GoneError
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _TooLargeError
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _given(body: bytes, receive: Receive) -> Receive:
    """Give a `receive` that has a whole body first."""
    left: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def receive_given() -> Message:
        nonlocal left
        message, left = left, None
        return message if message is not None else await receive()

    return receive_given


# ---- Responses


class _EndedError(OSError):
    """The client has its response, and it is another one."""


class _Kept:
    """Keeps a response until it is whole; response hooks see it then, and the client gets what they leave.

    Attributes:
        is_begun: the application has begun to respond.
        is_over: there is a response on its way to the client.
        is_refused: and it is not the application's.
    """

    def __init__(self, route: _Route, outcome: Continue, scheme: str, limit: int, is_head: bool, send: Send) -> None:
        self._route, self._outcome, self._scheme = route, outcome, scheme
        self._limit, self._is_head, self._send = limit, is_head, send
        self._status, self._headers = 0, Headers()
        self._parts: list[bytes] = []
        self._size = 0
        self.is_begun = self.is_over = self.is_refused = False

    async def send(self, message: Message) -> None:
        """Take a message of the application's."""
        kind = message["type"]
        if self.is_refused:
            raise _EndedError("the response was refused, the client has another one")
        if self.is_over or (kind != "http.response.body" if self.is_begun else kind != "http.response.start"):
            raise RuntimeError(f"the application sent {kind!r} where that cannot be sent")
        if kind == "http.response.start":
            self.is_begun = True
            self._status, self._headers = message["status"], _headers(message.get("headers", ()))
            if self._status < 200:  # no hook takes it for an answer, and no client does
                await self._refuse(
                    f"the application's status {self._status} is no answer: a client waits for another one"
                )
            return
        if self._outcome.request.method != "HEAD":  # what a server leaves out, hooks do not see
            part = message.get("body", b"")
            self._size += len(part)
            self._parts.append(part)
        if self._size > self._limit:
            await self._refuse(
                f"the application's body is longer than the {self._limit} bytes that response hooks are shown"
            )
        elif not message.get("more_body", False):
            self.is_over = True
            await self._answer()

    async def _refuse(self, why: str) -> None:
        self.is_over = self.is_refused = True
        self._parts.clear()
        chain = self._route.chain
        chain.services.log(f'api "{chain.definition.api_id}": {why}', "error")
        await _send(self._send, refused(502, wire.PROBLEM).response, self._is_head)

    async def _answer(self) -> None:
        response = Response(self._status, self._headers, b"".join(self._parts))
        if self._route.chain.steps[Phase.RESPONSE]:
            response = await self._route.response(self._outcome, response, self._scheme)
        await _send(self._send, response, self._is_head)


async def _send(send: Send, response: Response, is_head: bool, kind: str = "http.response") -> None:
    """Send a response that is there as a whole."""
    has_body = response.status not in wire.BODILESS and not is_head
    framed = next((value for name, value in response.headers if name.lower() == "content-length"), "")
    length = str(len(response.body)) if has_body else framed if is_head else ""
    headers = [
        (name.lower().encode("latin-1"), _bytes(value))
        for name, value in response.headers
        if name.lower() not in FRAMING
    ]
    if length:
        headers.append((b"content-length", length.encode()))
    await send({"type": f"{kind}.start", "status": response.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": response.body if has_body else b""})


# ---- Headers


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Give headers as hooks know them, bytes that are not UTF-8 included."""
    return tuple((_spelled(bytes(name)), bytes(value).decode("utf-8", "surrogateescape")) for name, value in raw)


@functools.lru_cache(maxsize=1024)
def _spelled(name: bytes) -> str:
    """Spell a header's name as Tyk's gateway does: ASGI has it in lower case, and hooks ask for it by its case."""
    return "-".join(part.capitalize() for part in name.decode("latin-1").split("-"))


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
