"""One request on its way: through its API's chain to the upstream, and back through the response hooks."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tykbridge.bridge import Bridge
from tykbridge.chain import Chain
from tykbridge.definition import Phase
from tykbridge.gateway import answers, hooks, logs, wire
from tykbridge.gateway.upstreams import Upstream
from tykbridge.gateway.visit import Observer, Visit, current
from tykbridge.outcome import Continue, Headers, Request, Respond, Response, refused

_CHUNK = 64 << 10
_HEADERS = 256 << 10  # bytes of all headers of a request: hooks and records get copies
_FIELD = 64 << 10  # bytes of one header of an upstream's answer
_REQUEST_PHASES = (Phase.PRE, Phase.AUTH_CHECK, Phase.POST_KEY_AUTH, Phase.POST)
_LATE = "Upstream service reached hard timeout."  # as upstream says it


@dataclass(frozen=True)
class Limits:
    """What one request may take.

    Attributes:
        body: bytes of a body that hooks are shown; others are streamed, however long.
        receive: seconds without a byte of the client's body.
        connect: seconds for a connection to the upstream.
        answer: seconds without a byte from the upstream; 0: any number.
    """

    body: int = 10 << 20
    receive: float = 60.0
    connect: float = 10.0
    answer: float = 30.0


class _RefusedError(Exception):
    """The gateway itself ends a request: the status, the words for the client, and those for the log."""

    def __init__(self, status: int, words: str, why: str = "") -> None:
        super().__init__(why or words)
        self.status, self.words = status, words


class _Route:
    """What is worked out once of an API, as long as its chain is in use.

    Attributes:
        lane: where its hooks run.
        upstream: where its requests go.
        runs: the chain may do more than let the request pass: it must not run on the event loop.
        reads: its request hooks are shown the body.
        answers: its response hooks are.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain, self.api_id = chain, chain.definition.api_id
        self.lane, self.upstream = hooks.lane_of(chain.definition), Upstream(chain.definition)
        self.reads = any(chain.steps[phase] for phase in _REQUEST_PHASES)
        self.answers = bool(chain.steps[Phase.RESPONSE])
        self.runs = self.reads or not chain.definition.auth.keyless


class Proxy:
    """Answers requests. For one event loop.

    Args:
        bridge: the APIs.
        log: writes a line: words, and a level.
        limits: what one request may take.
        observers: hear of each request.
    """

    def __init__(
        self,
        bridge: Bridge,
        log: Callable[[str, str], None],
        limits: Limits | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._bridge, self._log, self._limits, self._observers = bridge, log, limits or Limits(), observers
        self._routes: dict[str, _Route] = {}
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open what goes to upstreams."""
        limits = self._limits
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_UpstreamRequest,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect, sock_read=limits.answer or None),
            max_line_size=_FIELD,
            max_field_size=_FIELD,
        )

    async def close(self) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def answer(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        target = wire.origin_form(incoming.raw_path)[1]
        visit = Visit(incoming.method, target, incoming.remote or "", incoming.headers.get(wire.REQUEST_ID, ""))
        current.set(visit)  # aiohttp has a task for each request, which has a context of its own
        route = self._route(target, incoming.headers.get("Host", ""))
        if route is not None:
            visit.api_id = route.api_id
        for observer in self._observers:
            observer.begin(visit)
        if visit.notes is not None:
            visit.notes.came(incoming)
        try:
            return await self._answer(incoming, visit, route)
        except _RefusedError as error:
            return await self._refuse(incoming, visit, error)
        except (ConnectionError, asyncio.CancelledError):
            visit.failure = visit.failure or "the client went away"
            raise
        except Exception as error:
            visit.failure = f"internal error: {error!r}"
            self._log(f"{visit.method} {target.partition('?')[0]}: {visit.failure}", "error")
            if visit.status:
                raise ConnectionResetError("the answer broke off") from error
            return await answers.whole(incoming, visit, refused(500, "Internal error").response, closes=True)
        finally:
            visit.ended = time.perf_counter()
            for observer in self._observers:
                observer.end(visit)

    def _route(self, target: str, host: str) -> _Route | None:
        chain = self._bridge.chain_at(unquote(target.partition("?")[0]), host)
        if chain is None:
            return None
        api_id = chain.definition.api_id
        route = self._routes.get(api_id)
        if route is None or route.chain is not chain:
            chains = self._bridge.chains  # no other is kept: it would keep its plugins
            self._routes = {name: known for name, known in self._routes.items() if chains.get(name) is known.chain}
            route = self._routes[api_id] = _Route(chain)
            for notice in route.upstream.notices:
                self._log(f"{chain.definition.file}: {notice}: it has no effect in this gateway", "warning")
        return route

    async def _refuse(self, incoming: web.BaseRequest, visit: Visit, error: _RefusedError) -> web.StreamResponse:
        visit.failure = str(error)
        if error.status >= 500:
            self._log(f'api "{visit.api_id}": {error}', "error")
        if error.status == 404 and not visit.api_id:  # as upstream has it
            response = Response(404, (("Content-Type", "text/plain; charset=utf-8"),), b"Not Found")
        else:
            response = refused(error.status, error.words).response
        closes = error.status in (400, 408, 413, 431, 501, 505)  # what is left of the request is not read
        return await answers.whole(incoming, visit, response, closes=closes)

    async def _answer(self, incoming: web.BaseRequest, visit: Visit, route: _Route | None) -> web.StreamResponse:
        if route is None:
            raise _RefusedError(404, "Not Found", f"no API listens on {visit.target.partition('?')[0]}")
        came = wire.Fields(wire.text(incoming.raw_headers))
        _check(incoming, came)
        headers = came.named(visit.request_id)
        upload = _Upload(incoming, self._limits) if incoming.can_read_body else None
        body = await upload.whole() if upload is not None and route.reads else b""
        if visit.notes is not None and (route.reads or upload is None):
            visit.notes.read(body)
        request = Request(incoming.method, visit.target, headers, body)
        outcome: Continue | Respond = Continue(request)
        if route.runs:
            chain, scheme = route.chain, incoming.scheme
            outcome = await route.lane.run(lambda: chain.request(request, scheme))
            if visit.notes is not None:
                visit.notes.decided(outcome)
        if isinstance(outcome, Respond):
            return await answers.whole(incoming, visit, outcome.response)
        return await self._forward(incoming, visit, route, headers, outcome, None if route.reads else upload)

    async def _forward(
        self,
        incoming: web.BaseRequest,
        visit: Visit,
        route: _Route,
        came: Headers,
        outcome: Continue,
        upload: _Upload | None,
    ) -> web.StreamResponse:
        assert self._session is not None
        request = outcome.request
        visit.upstream = url = route.upstream.url(request.url)
        if not url:
            raise _RefusedError(502, wire.PROBLEM, "the definition names no upstream (target_url)")
        headers = wire.unmistaken(came, request.headers)
        if request.headers is not came:  # hooks wrote some
            headers = wire.forwardable(headers)
        onward = wire.Onward(headers, visit.client, incoming.scheme)
        if visit.notes is not None:
            visit.notes.asked(Request(request.method, url, onward.headers, request.body), route.upstream.keeps_host)
        try:
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                headers={"Content-Length": upload.length} if upload is not None and upload.length else None,
                middlewares=[_headed(onward, route.upstream.keeps_host, upload)],
                data=upload.pieces() if upload is not None else request.body or None,
                allow_redirects=False,
                ssl=not route.upstream.is_unverified,
            ) as answer:
                return await self._back(incoming, visit, route, outcome, answer)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            if visit.status:  # too late for another answer; the connection is cut
                self._log(f'api "{route.api_id}": {wire.shown(url)}: the answer broke off: {_said(error)}', "error")
                raise ConnectionResetError("the upstream's answer broke off") from error
            if upload is not None and upload.failure is not None:
                raise upload.failure from error
            raise _failure(wire.shown(url), error) from error

    async def _back(
        self,
        incoming: web.BaseRequest,
        visit: Visit,
        route: _Route,
        outcome: Continue,
        answer: aiohttp.ClientResponse,
    ) -> web.StreamResponse:
        came = wire.Fields(wire.text(answer.raw_headers))
        if answer.status < 200 or came.is_coded:
            answer.close()
            words = "another protocol" if answer.status < 200 else "a transfer coding that nobody asked for"
            raise _RefusedError(502, wire.PROBLEM, f"{wire.shown(visit.upstream)}: the upstream takes {words}")
        headers = came.kept
        if not route.answers and outcome.request.method == "HEAD" != incoming.method:  # a hook's; there is no body
            response = Response(answer.status, headers)
            if visit.notes is not None:
                visit.notes.answered(response, streamed=False)
            return await answers.whole(incoming, visit, response, answer.reason)
        if not route.answers:
            if visit.notes is not None:
                visit.notes.answered(Response(answer.status, headers), streamed=True)
            return await answers.streamed(incoming, visit, answer.status, answer.reason, came, answer.content)
        body = await _all(answer.content, self._limits.body)
        if body is None:
            words = f"the answer is longer than the {self._limits.body} bytes that response hooks are shown"
            raise _RefusedError(502, wire.PROBLEM, f"{wire.shown(visit.upstream)}: {words}")
        response, chain, scheme = Response(answer.status, headers, body), route.chain, incoming.scheme
        if visit.notes is not None:
            visit.notes.answered(response, streamed=False)
        respond = await route.lane.run(lambda: chain.response(outcome.request, response, outcome.session, scheme))
        if visit.notes is not None:
            visit.notes.decided(respond)
        reason = answer.reason if respond.response.status == answer.status else None
        return await answers.whole(incoming, visit, respond.response, reason)


def _check(incoming: web.BaseRequest, came: wire.Fields) -> None:
    """Refuse what servers read in different ways, or this one cannot do. Raises _RefusedError."""
    if incoming.method == "CONNECT":
        raise _RefusedError(501, "CONNECT is not supported")
    if incoming.version not in (aiohttp.HttpVersion10, aiohttp.HttpVersion11):
        raise _RefusedError(505, "HTTP/1.1 is spoken here")
    if incoming.version == aiohttp.HttpVersion11 and came.hosts != 1:
        raise _RefusedError(400, "a request needs one Host header")
    authority = wire.origin_form(incoming.raw_path)[0]
    if authority and authority.rpartition("@")[2].lower() != came.first.get("host", "").lower():
        raise _RefusedError(400, "the target and Host name different hosts")
    if wire.size(incoming.raw_headers) > _HEADERS:
        raise _RefusedError(431, "Request header fields too large")
    if "#" in incoming.raw_path:
        raise _RefusedError(400, "a request's target has no fragment")
    if came.is_coded:
        raise _RefusedError(501, "no transfer coding but chunked is supported")
    if came.upgrade == "websocket":
        raise _RefusedError(501, "websockets are not supported by this gateway")


class _Upload:
    """The body of a request, as it comes.

    Attributes:
        failure: why it could not be read to its end; None as long as it can.
        length: the Content-Length, "" for a body without one.
    """

    def __init__(self, incoming: web.BaseRequest, limits: Limits) -> None:
        self._incoming, self._limits = incoming, limits
        self.failure: _RefusedError | None = None
        self.length = incoming.headers.get("Content-Length", "")

    @property
    def has_begun(self) -> bool:
        """Something of it has come."""
        return self._incoming.content.total_bytes > 0

    async def whole(self) -> bytes:
        """Read all of it. Raises _RefusedError: it is too long, broken, or does not come."""
        limit = self._limits.body
        if (self._incoming.content_length or 0) > limit:
            raise _too_large(limit)
        parts, size = [], 0
        async for part in self.pieces():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise _too_large(limit)
        return b"".join(parts)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give it piece by piece. Raises _RefusedError: it is broken, or does not come."""
        incoming, content = self._incoming, self._incoming.content
        is_new = incoming.version >= aiohttp.HttpVersion11  # others know nothing of it
        if is_new and incoming.headers.get("Expect", "").lower() == "100-continue":
            await incoming.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            while not content.at_eof():
                part = content.read_nowait(_CHUNK)
                if not part:
                    async with asyncio.timeout(self._limits.receive):
                        part = await content.read(_CHUNK)
                if part:
                    yield part
        except TimeoutError as error:
            self.failure = _RefusedError(408, "Request timeout", "the client's body did not come in time")
            raise self.failure from error
        except (web.RequestPayloadError, aiohttp.http.HttpProcessingError) as error:
            self.failure = _RefusedError(400, "the body is malformed", f"the client's body is malformed: {error}")
            raise self.failure from error


def _too_large(limit: int) -> _RefusedError:
    return _RefusedError(
        413, "Request entity too large", f"the body is longer than {limit} bytes, which hooks are shown"
    )


async def _all(content: aiohttp.StreamReader, limit: int) -> bytes | None:
    """Read a body; None: it is longer than the limit."""
    parts, size = [], 0
    async for part in content.iter_any():
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


def _headed(onward: wire.Onward, keeps_host: bool, upload: _Upload | None) -> aiohttp.ClientMiddlewareType:
    """Add headers to a request that has its Host and the framing of its body already.

    What `ClientSession.request` is given loses repeats whose names are written in different ways.
    """

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        assert isinstance(request, _UpstreamRequest)
        request.waits = upload is not None and not upload.has_begun
        if keeps_host and onward.host:
            request.headers["Host"] = onward.host
        if onward.has_login:  # in place of that of the target's URL
            request.headers.pop("Authorization", None)
        request.headers.extend(onward.sent if onward.is_text else await request.hide(onward.sent))
        return await handler(request)

    return middleware


def _failure(url: str, error: Exception) -> _RefusedError:
    """Say what went wrong at an upstream, with the status that clients get for it."""
    if isinstance(error, TimeoutError):
        return _RefusedError(504, _LATE, f"{url}: the upstream did not answer in time: {_said(error)}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _RefusedError(502, "Upstream host lookup failed", f"{url}: {_said(error)}")
    return _RefusedError(502, wire.PROBLEM, f"{url}: {_said(error)}")


def _said(error: Exception) -> str:
    """Say what is wrong, without what aiohttp shows of it: the URL with its query, and headers, in which tokens are."""
    if isinstance(error, aiohttp.ClientResponseError):
        return logs.unquoted(error.message)
    if isinstance(error, aiohttp.InvalidURL):
        return error.description or "this is no URL of an upstream"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        return _reason(error.os_error)
    return str(error) or type(error).__name__


def _reason(error: OSError) -> str:
    """Give the system's words: asyncio puts its own in their place, with the address, which the URL has."""
    known = error.errno or 0  # of a name that is not found it is negative, and no errno
    return (os.strerror(known) if known > 0 else error.strerror or str(error)).lower()


class _UpstreamRequest(aiohttp.ClientRequest):
    """A request with the headers that it was given, and without those that aiohttp has for clients of its own."""

    _skip_auto_headers = CIMultiDict({"Content-Type": None})
    _hidden: Mapping[bytes, bytes] = MappingProxyType({})
    waits = False
    """Nothing of the body is there yet: the head goes before it."""

    def update_auto_headers(self, skip_auto_headers: object) -> None:
        """Add none."""

    async def hide(self, headers: Headers) -> Headers:
        """Put words that nobody can guess in the place of values with bytes that are not UTF-8, which aiohttp drops."""
        hidden: dict[bytes, bytes] = {}
        shown = []
        for name, value in headers:
            words = value
            if not wire.is_text(value):
                words = secrets.token_hex(16)
                hidden[words.encode()] = wire.octets(value)
            shown.append((name, words))
        self._hidden = hidden
        if self.body == b"":
            await self.update_body(b"")  # only where there is one, `write_bytes` is called
        return tuple(shown)

    async def write_bytes(self, writer: Any, *arguments: Any, **named: Any) -> None:
        """Write the body, and before it the head, with what was hidden."""
        for words, value in self._hidden.items():
            writer._headers_buf = writer._headers_buf.replace(words, value)  # there is no public way
        if self.waits:
            writer.send_headers()
        await super().write_bytes(writer, *arguments, **named)
