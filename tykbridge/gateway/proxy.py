"""One request on its way: through its API's chain to the upstream, and back through the response hooks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tykbridge.bridge import Bridge
from tykbridge.chain import Chain
from tykbridge.definition import Phase
from tykbridge.gateway import wire
from tykbridge.outcome import FRAMING, Continue, Headers, Request, Respond, Response

_BODILESS = frozenset({204, 304})
_CHUNK = 64 << 10
_OWN = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})  # what aiohttp would add
_REQUEST_PHASES = (Phase.PRE, Phase.AUTH_CHECK, Phase.POST_KEY_AUTH, Phase.POST)


@dataclass(frozen=True)
class Limits:
    """What one request may take.

    Attributes:
        body: bytes of a body that hooks are shown; others are streamed, however long.
        connect: seconds for a connection to the upstream.
        answer: seconds without a byte from the upstream.
    """

    body: int = 10 << 20
    connect: float = 10.0
    answer: float = 60.0


class _TooLargeError(Exception):
    """A body is longer than hooks are shown."""


class Proxy:
    """Answers requests. For one event loop.

    Args:
        bridge: the APIs.
        log: writes a line: words, and a level.
        limits: what one request may take.
    """

    def __init__(self, bridge: Bridge, log: Callable[[str, str], None], limits: Limits | None = None) -> None:
        self._bridge, self._log, self._limits = bridge, log, limits or Limits()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open what goes to upstreams."""
        limits = self._limits
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_OWN,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect, sock_read=limits.answer),
            max_line_size=64 << 10,
            max_field_size=64 << 10,
        )

    async def close(self) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def answer(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        headers = wire.text(incoming.raw_headers)
        target = incoming.raw_path
        if target.startswith(("http://", "https://")):  # the absolute form, which a client of a proxy sends
            target = URL(target, encoded=True).raw_path_qs
        api_id = self._bridge.find(target, incoming.headers.get("Host", ""))
        if not api_id:
            return _failure(404, "Not Found")
        chain = self._bridge.chain_of(api_id)
        hooked = any(chain.steps[phase] for phase in _REQUEST_PHASES)
        if incoming.headers.get("Expect", "").lower() == "100-continue":
            await incoming.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = await _whole(incoming.content, self._limits.body) if hooked and incoming.can_read_body else b""
        except _TooLargeError:
            return _failure(413, "Request entity too large")
        request = Request(incoming.method, target, headers, body)
        outcome = await self._bridge.request_async(request, api_id, incoming.scheme)
        if isinstance(outcome, Respond):
            return await _given(incoming, outcome.response)
        stream = None if hooked or not incoming.can_read_body else incoming.content
        return await self._forward(incoming, chain, outcome, stream)

    async def _forward(
        self, incoming: web.BaseRequest, chain: Chain, outcome: Continue, stream: aiohttp.StreamReader | None
    ) -> web.StreamResponse:
        assert self._session is not None
        request = outcome.request
        url = wire.upstream_url(chain.definition, request.url)
        headers = wire.forwarded(wire.forwardable(request.headers), incoming.remote or "", incoming.scheme)
        try:
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                headers=_sent(headers, chain.definition.document, stream is not None),
                data=_pieces(stream) if stream is not None else request.body or None,
                allow_redirects=False,
            ) as answer:
                return await self._back(incoming, chain, outcome, answer)
        except TimeoutError:
            self._log(f'api "{chain.definition.api_id}": the upstream {url} did not answer in time', "error")
            return _failure(504, "Upstream service reached hard timeout.")
        except aiohttp.ClientError as error:
            self._log(f'api "{chain.definition.api_id}": the upstream {url} failed: {error}', "error")
            return _failure(502, "There was a problem proxying the request")

    async def _back(
        self, incoming: web.BaseRequest, chain: Chain, outcome: Continue, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        headers = wire.forwardable(wire.text(answer.raw_headers))
        if not chain.steps[Phase.RESPONSE]:
            return await _streamed(incoming, answer, headers)
        try:
            body = await _whole(answer.content, self._limits.body)
        except _TooLargeError:
            words = f"the upstream's body is longer than the {self._limits.body} bytes that response hooks are shown"
            self._log(f'api "{chain.definition.api_id}": {words}', "error")
            return _failure(502, "There was a problem proxying the request")
        response = Response(answer.status, headers, body)
        api_id = chain.definition.api_id
        respond = await self._bridge.response_async(
            outcome.request, response, outcome.session, api_id, incoming.scheme
        )
        return await _given(incoming, respond.response)


async def _whole(content: aiohttp.StreamReader, limit: int) -> bytes:
    parts, size = [], 0
    async for part in content.iter_any():
        size += len(part)
        if size > limit:
            raise _TooLargeError
        parts.append(part)
    return b"".join(parts)


async def _pieces(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    async for part in content.iter_chunked(_CHUNK):
        yield part


def _sent(headers: Headers, document: dict[str, Any], streamed: bool) -> CIMultiDict[str]:
    """Give the headers for the upstream: the Host is its own unless the definition keeps the client's."""
    keeps_host = bool(document.get("proxy", {}).get("preserve_host_header"))
    dropped = set() if streamed else set(FRAMING)
    if not keeps_host:
        dropped.add("host")
    return CIMultiDict([pair for pair in headers if pair[0].lower() not in dropped])


async def _given(incoming: web.BaseRequest, response: Response) -> web.StreamResponse:
    """Send a response that is there as a whole."""
    made = _Answer(status=response.status)
    length = next((value for name, value in response.headers if name.lower() == "content-length"), None)
    for name, value in response.headers:
        if name.lower() not in FRAMING:
            made.headers.add(name, value)
    if incoming.method == "HEAD" and length is not None:
        made.headers["Content-Length"] = length
    elif response.status not in _BODILESS:
        made.content_length = len(response.body)
    await made.prepare(incoming)
    if response.body and incoming.method != "HEAD" and response.status not in _BODILESS:
        await made.write(response.body)
    await made.write_eof()
    return made


async def _streamed(
    incoming: web.BaseRequest, answer: aiohttp.ClientResponse, headers: Headers
) -> web.StreamResponse:
    """Send a response as it comes."""
    made = _Answer(status=answer.status, reason=answer.reason)
    for name, value in headers:
        made.headers.add(name, value)
    if "Content-Length" not in made.headers and incoming.version >= aiohttp.HttpVersion11:
        made.enable_chunked_encoding()
    await made.prepare(incoming)
    async for part in answer.content.iter_any():
        await made.write(part)
    await made.write_eof()
    return made


class _Answer(web.StreamResponse):
    """A response with the headers that it was given, and without those that aiohttp has for servers of its own."""

    async def _prepare_headers(self) -> None:  # there is no public way
        given = {name for name in ("Content-Type", "Server") if name in self.headers}
        await super()._prepare_headers()
        for name in {"Content-Type", "Server"} - given:
            self.headers.popall(name, None)


def _failure(status: int, words: str) -> web.Response:
    """Answer as upstream does where no API answers."""
    body = json.dumps({"error": words}).encode()
    return web.Response(status=status, body=body, content_type="application/json")
