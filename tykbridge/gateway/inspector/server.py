"""The inspector's listener: on loopback alone, for the one who has its address.

What it shows is what requests carry, and it can send requests and load code again. So it must not be in the reach of
other users of the machine, nor of the pages that the same browser shows:

- Its address holds a random token; without it there is nothing. Nobody else sees the address: no page is told where the
  reader came from, and a browser that is started gets a link that works once (command lines are public).
- The Host header must be the listener's own, so that a name which is made to lead to this machine leads nowhere. What
  changes something must come from the page itself (Origin), and what a page of another site asks for is refused.
- The page loads nothing but its own files and cannot make markup out of text (Content-Security-Policy, trusted types).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from importlib import resources
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tykbridge import waiting
from tykbridge.gateway.inspector import documents
from tykbridge.gateway.inspector.documents import text_of
from tykbridge.gateway.logs import server_logger
from tykbridge.gateway.secrets import MASK, Secrets
from tykbridge.gateway.server import Gateway
from tykbridge.gateway.trace import Record, Tracer
from tykbridge.outcome import FRAMING, Request

_FILES = {
    "": ("index.html", "text/html"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    "style.css": ("style.css", "text/css"),
    **{f"{name}.js": (f"{name}.js", "text/javascript") for name in ("app", "detail", "diff", "dom", "list", "resend")},
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_TARGET = re.compile(r"/[\x21-\x7e]*")
_BODY = 16 << 20  # bytes of what the page sends
_BEHIND = 1000  # events that a page may be behind; then it gets the list anew
_BEAT = 15.0  # seconds after which a page that has gone is noticed
_PATIENCE = 90.0  # seconds for a request that is sent again

Reload = Callable[[], tuple[int, str]]
"""Loads everything again, on a thread: how many things are not in use, and why. Raises BridgeError."""


class _Refused(Exception):
    """Words for the page."""


class Inspector:
    """Serves the page: a `server.Part`.

    Args:
        tracer: has the records.
        reload: loads everything again.

    Attributes:
        url: where the page is, once it is there.
    """

    def __init__(self, tracer: Tracer, reload: Reload) -> None:
        self._tracer, self._reload = tracer, reload
        self._gateway: Gateway | None = None
        self._token = secrets.token_urlsafe(32)
        self._once = ""  # a token that works once
        self._pages: set[_Page] = set()
        self._hosts: frozenset[str] = frozenset()
        self._origin = ""
        self._reloading = asyncio.Lock()
        self._runner: web.ServerRunner | None = None
        self.url = ""

    async def start(self, gateway: Gateway) -> None:
        """Listen on a free port. Raises OSError."""
        self._gateway = gateway
        logger = server_logger(gateway.bridge.services.log, "inspector: ")
        server = web.Server(self._answer, access_log=None, logger=logger)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=1)
        await self._runner.setup()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        await web.SockSite(self._runner, sock).start()
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        self.url = f"http://127.0.0.1:{port}/{self._token}/"
        self._tracer.listeners.append(self._heard)

    async def stop(self) -> None:
        """Say goodbye to pages, and close."""
        with contextlib.suppress(ValueError):
            self._tracer.listeners.remove(self._heard)
        for page in list(self._pages):
            page.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def link(self) -> str:
        """Give an address that leads to the page once, for a browser's command line, which others may read."""
        self._once = secrets.token_urlsafe(32)
        return self.url.replace(self._token, self._once)

    def _heard(self, what: str, record: Record | None) -> None:
        if not self._pages:
            return
        event = ("cleared", None) if record is None else ("request", documents.summary(record))
        for page in self._pages:
            page.put(event)

    # ---- Who may

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        token, has_more, name = request.path.removeprefix("/").partition("/")
        if request.headers.get("Host", "") not in self._hosts:
            return _plain(421, "this is not the inspector's name")
        if self._once and _same(token, self._once):
            self._once = ""
            return web.Response(status=303, headers={**_HEADERS, "Location": f"/{self._token}/"})
        if not _same(token, self._token) or not has_more:
            return _plain(404, "not found")
        site, origin = request.headers.get("Sec-Fetch-Site", "none"), request.headers.get("Origin")
        own = f"http://{request.headers['Host']}"
        opens = not name and request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
        if (site not in ("none", "same-origin") and not opens) or origin not in (None, own):
            return _plain(403, "this is for the inspector's own page")
        if request.method == "GET":
            return await self._give(request, name)
        if request.method != "POST" or origin != own or request.content_type != "application/json":
            return _plain(403, "this is for the inspector's own page")
        try:
            return await self._do(name, await _read(request))
        except _Refused as refused:
            return _json({"error": str(refused)}, 422)

    # ---- What it gives

    async def _give(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        if name == "events":
            return await self._events(request)
        if name.startswith("requests/"):
            record = self._find(name.removeprefix("requests/"))
            if record is None:
                return _json({"error": "this request is not kept any more"}, 404)
            return _json(documents.detail(record, request.query.get("revealed") == "yes"))
        if name not in _FILES:
            return _plain(404, "not found")
        file, kind = _FILES[name]
        data = resources.files(__package__).joinpath("page", file).read_bytes()
        return web.Response(body=data, content_type=kind, charset="utf-8", headers=_HEADERS)

    def _find(self, number: str) -> Record | None:
        return self._tracer.find(int(number)) if re.fullmatch(r"\d{1,15}", number) else None

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse(headers=_HEADERS)
        answer.content_type = "text/event-stream"
        await answer.prepare(request)
        page = _Page(self._all)
        self._pages.add(page)
        try:
            async for event, document in page:
                words = f"event: {event}\ndata: {text_of({'data': document})}\n\n" if event else ":\n\n"
                await answer.write(words.encode())
        except ConnectionError:
            pass  # the page has gone
        finally:
            self._pages.discard(page)
        return answer

    def _all(self) -> tuple[str, Any]:
        requests = [documents.summary(record) for record in self._tracer.records]
        return "all", {"gateway": self._gateway.url if self._gateway else "", "requests": requests}

    # ---- What it does

    async def _do(self, name: str, document: dict[str, Any]) -> web.StreamResponse:
        match name:
            case "clear":
                self._tracer.clear()
                return _json({})
            case "reload":
                return await self._load_again()
            case "resend":
                return _json({"number": await self._resend(document)})
        return _plain(404, "not found")

    async def _load_again(self) -> web.Response:
        async with self._reloading:
            try:
                count, words = await asyncio.wrap_future(waiting.apart(self._reload))
            except Exception as error:
                raise _Refused(str(error) or repr(error)) from error
        if count:
            raise _Refused(words)
        return _json({})

    async def _resend(self, document: dict[str, Any]) -> int:
        """Send a request through the gateway's own listener, as any client does; gives the number of its record."""
        record = self._find(str(document.get("number")))
        if record is None:
            raise _Refused("the request that this one repeats is not kept any more")
        request = _edited(record, document)
        assert self._gateway is not None
        url = URL(self._gateway.url)
        expected: list[asyncio.Future[Record]] = []

        def made(info: Any) -> socket.socket:
            sock = socket.socket(*info[:3])
            sock.setblocking(False)
            sock.bind(("::" if info[0] == socket.AF_INET6 else "0.0.0.0", 0))
            expected.append(self._tracer.expect(sock.getsockname()[1], record.number))
            return sock

        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(url.host or "", url.host or "")
        target = URL(f"http://{f'[{host}]' if ':' in host else host}:{url.port}{request.url}", encoded=True)
        sending = asyncio.ensure_future(_send(target, request, made))
        try:
            await asyncio.wait({sending}, timeout=_PATIENCE)
            if not sending.done():
                raise _Refused("there was no answer in time; the request is in the list")
            failure = sending.exception()
            numbers = [future.result().number for future in expected if future.done() and not future.cancelled()]
            if not numbers:
                raise _Refused(f"it could not be sent: {failure!r}" if failure else "the gateway did not see it")
            return numbers[-1]
        finally:
            sending.cancel()
            for future in expected:
                future.cancel()


async def _send(target: URL, request: Request, made: Callable[[Any], socket.socket]) -> None:
    connector = aiohttp.TCPConnector(force_close=True, socket_factory=made)
    skipped = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
    async with (
        aiohttp.ClientSession(connector=connector, auto_decompress=False, skip_auto_headers=skipped) as session,
        session.request(
            request.method,
            target,
            headers=CIMultiDict(request.headers),
            data=request.body or None,
            allow_redirects=False,
        ) as answer,
    ):
        async for _ in answer.content.iter_any():  # its record has what is kept of it
            pass


def _edited(record: Record, document: dict[str, Any]) -> Request:
    """Give the request that the page asks for. What it shows masked, and nobody edited, is sent as it was.

    Raises _Refused: it cannot be sent.
    """
    plain, secrets_ = record.request, Secrets(record)
    masked = secrets_.request(plain)
    method, url, body = document.get("method"), document.get("url"), document.get("body")
    if not isinstance(method, str) or not _NAME.fullmatch(method):
        raise _Refused("the method must be a word such as GET")
    if url == masked.url:
        url = plain.url
    if not isinstance(url, str) or not _TARGET.fullmatch(url):
        raise _Refused("the url must begin with / and have no spaces: write them as %20")
    known = {(name.lower(), value): original for (name, value), (_, original) in zip(
        masked.headers, plain.headers, strict=True
    )}  # fmt: skip
    headers = []
    for name, value in _pairs(document.get("headers")):
        original = known.get((name.lower(), value), value)
        if not _NAME.fullmatch(name) or re.search(r"[\r\n\0]", original):
            raise _Refused(f'the header "{name}" cannot be sent: a line is "Name: value"')
        if name.lower() not in FRAMING:
            headers.append((name, original))
    if body is None:
        if not record.whole:
            raise _Refused(f"its body cannot be sent again ({record.remark}): write one")
        data = plain.body
    elif isinstance(body, str):
        try:
            data = body.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise _Refused("the body has half of a character in it") from None
    else:
        raise _Refused("the body must be a text")
    edited = [url, *(value for _, value in headers), "" if body is None else body]
    if any(MASK in text for text in edited):
        raise _Refused("what is masked was edited: show the secrets first, then edit")
    return Request(method, url, tuple(headers), data)


def _pairs(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, list):
        raise _Refused("the headers must be a list of names and values")
    pairs = []
    for item in value:
        match item:
            case [str(name), str(text)]:
                pairs.append((name, text))
            case _:
                raise _Refused("the headers must be a list of names and values")
    return pairs


class _Page:
    """What a page that is open has not been told yet."""

    def __init__(self, everything: Callable[[], tuple[str, Any]]) -> None:
        self._everything = everything
        self._events: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue()
        self._events.put_nowait(everything())

    def put(self, event: tuple[str, Any]) -> None:
        """Tell it something."""
        if self._events.qsize() >= _BEHIND:
            while not self._events.empty():
                self._events.get_nowait()
            event = self._everything()
        self._events.put_nowait(event)

    def close(self) -> None:
        """Tell it that there is no more."""
        self._events.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[tuple[str, Any]]:
        """Give what it is told; ("", None) when there was nothing for a while."""
        while True:
            try:
                event = await asyncio.wait_for(self._events.get(), _BEAT)
            except TimeoutError:
                event = ("", None)
            if event is None:
                return
            yield event


async def _read(request: web.BaseRequest) -> dict[str, Any]:
    data = bytearray()
    async for part in request.content.iter_any():
        data += part
        if len(data) > _BODY:
            raise _Refused(f"this is more than {_BODY >> 20} MiB")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _Refused(f"no JSON: {error}") from error
    if not isinstance(document, dict):
        raise _Refused("expected a JSON object")
    return document


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())


def _json(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(text=text_of(document), status=status, content_type="application/json", headers=_HEADERS)


def _plain(status: int, words: str) -> web.Response:
    return web.Response(text=words + "\n", status=status, headers=_HEADERS)
