"""Writes answers to clients, with exactly the headers that they are given, and framing that is true of the body."""

from __future__ import annotations

from collections.abc import Container

from aiohttp import HttpVersion11, StreamReader, web

from tykbridge.gateway import wire
from tykbridge.gateway.visit import Visit
from tykbridge.outcome import FRAMING, Response


class _Written(web.StreamResponse):
    """Tells aiohttp that the answer is written already, and whether the connection stays.

    What aiohttp writes itself has headers of its own, and loses bytes of others.
    """

    def __init__(self, keeps: bool) -> None:
        super().__init__()
        self._keeps = keeps

    @property
    def keep_alive(self) -> bool:
        return self._keeps

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to do."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to do."""


_KEPT, _CLOSED = _Written(True), _Written(False)


class Whole(web.StreamResponse):
    """A response for aiohttp to answer with, in place of one of its own; the connection is closed behind it."""

    def __init__(self, visit: Visit, response: Response) -> None:
        super().__init__()
        self._visit, self._whole = visit, response

    @property
    def keep_alive(self) -> bool:
        """Never: what follows on the connection is not read."""
        return False

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write it."""
        await whole(request, self._visit, self._whole, closes=True)

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to do."""


async def whole(
    incoming: web.BaseRequest, visit: Visit, response: Response, reason: str | None = None, closes: bool = False
) -> web.StreamResponse:
    """Answer with a response that is there as a whole.

    Its own Content-Length counts where there is no body by definition (HEAD, 304).
    """
    keeps = incoming.keep_alive and not closes
    is_bodiless = incoming.method == "HEAD" or response.status in wire.BODILESS
    headers = [pair for pair in response.headers if pair[0].lower() not in FRAMING]
    if not is_bodiless:
        headers.append(("Content-Length", str(len(response.body))))
    elif response.status != 204 and (length := wire.value(response.headers, "content-length")):
        headers.append(("Content-Length", length))
    names, body = {name.lower() for name, _ in headers}, b"" if is_bodiless else response.body
    _complete(headers, names, visit)
    data = wire.head(response.status, reason, headers + _connection(incoming, keeps)) + body
    visit.status, visit.sent = response.status, len(body)
    if visit.notes is not None:
        visit.notes.gave(Response(response.status, tuple(headers), body))
    await incoming.writer.write(data)
    await incoming.writer.drain()
    return _KEPT if keeps else _CLOSED


async def streamed(
    incoming: web.BaseRequest, visit: Visit, status: int, reason: str | None, came: wire.Fields, body: StreamReader
) -> web.StreamResponse:
    """Answer with a body as it comes; a client that reads slowly lets it come slowly.

    Raises whatever reading raises. The connection is cut then: the client must not take a part for the whole.
    """
    is_bodiless = incoming.method == "HEAD" or status in wire.BODILESS
    headers = list(came.kept)
    if status == 204:  # a length of nothing makes some clients wait
        headers = [pair for pair in headers if pair[0].lower() != "content-length"]
    has_length = bool(came.first.get("content-length"))
    is_chunked = not is_bodiless and not has_length and incoming.version >= HttpVersion11
    keeps = incoming.keep_alive and (is_bodiless or has_length or is_chunked)
    _complete(headers, came.first, visit)
    lines = headers + _connection(incoming, keeps)
    if is_chunked:
        lines.append(("Transfer-Encoding", "chunked"))
    data = wire.head(status, reason, lines)
    write, visit.status = incoming.writer.write, status
    if visit.notes is not None:
        visit.notes.gave(Response(status, tuple(headers)))
    if not is_bodiless:
        part = body.read_nowait()  # what is there goes with the head; what is not does not hold it up
        try:
            while True:
                visit.sent += len(part)
                data += (b"%x\r\n%b\r\n" % (len(part), part)) if part and is_chunked else part
                if body.at_eof():
                    break
                if data:
                    await write(data)
                part, data = await body.readany(), b""
        except BaseException:
            if incoming.transport is not None:
                incoming.transport.abort()
            raise
        if is_chunked:
            data += b"0\r\n\r\n"
    if data:
        await write(data)
    await incoming.writer.drain()
    return _KEPT if keeps else _CLOSED


def _complete(headers: list[tuple[str, str]], names: Container[str], visit: Visit) -> None:
    """Add what each answer has, unless it is among `names`, which are in lower case."""
    if "x-request-id" not in names:
        headers.append((wire.REQUEST_ID, visit.request_id))
    if "date" not in names:
        headers.append(("Date", wire.date()))


def _connection(incoming: web.BaseRequest, keeps: bool) -> list[tuple[str, str]]:
    """Give what is said of the connection, which is not of the answer: those who look on are not shown it."""
    if not keeps:
        return [("Connection", "close")]
    return [("Connection", "keep-alive")] if incoming.version < HttpVersion11 else []
