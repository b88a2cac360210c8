"""The gateway as a whole: listens, and ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod

from tykbridge import locks
from tykbridge._version import __version__
from tykbridge.bridge import Bridge
from tykbridge.gateway import answers, logs
from tykbridge.gateway.loop import Loop
from tykbridge.gateway.proxy import Limits, Proxy
from tykbridge.gateway.visit import Observer, Visit, current
from tykbridge.outcome import refused

PORT = 8181
"""Where it listens when nobody says anything: the port of upstream's examples."""

_FREE_AFTER = 20  # ports that are tried after one that is taken
_HEADERS = 64 << 10  # bytes of one header, and of the request line
_FIELDS = 256  # headers of one request
_IDLE = 75.0  # seconds that a connection may be without a request; up to twice as many before its first one
_LEAVE = 10.0  # seconds that requests on their way have when it ends; aiohttp waits twice for half of them


class Part(Protocol):
    """What begins and ends with a gateway, on its event loop: a listener for those who operate it, say."""

    async def start(self, gateway: Gateway) -> None:
        """Begin. The gateway does not listen yet; what this raises, its `start` raises."""

    async def stop(self) -> None:
        """End. The gateway listens no more, and its requests are over."""


class Gateway:
    """Serves the APIs of a bridge. For one event loop, which is that of `start`.

    Args:
        bridge: the APIs; loaded or reloaded by whoever has it, at any time.
        host: the address it listens on.
        port: the port; None: 8181, or the next one that is free; 0: any.
        log: writes a line: words, and a level; None: that of the bridge's services.
        limits: what one request may take.
        observers: hear of each request. None of them, the default, costs nothing.
        parts: begin and end with it, in this order and in the opposite one.

    Attributes:
        bridge: the APIs.
        url: where it listens, "" before it does.
        port: that of `url`, 0 before.
        is_elsewhere: nobody named a port, and 8181 was taken.
    """

    def __init__(
        self,
        bridge: Bridge,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        log: Callable[[str, str], None] | None = None,
        limits: Limits | None = None,
        observers: Sequence[Observer] = (),
        parts: Sequence[Part] = (),
    ) -> None:
        self.bridge = bridge
        self._host, self._wanted = host, port
        self._parts = parts
        self._log = log or bridge.services.log
        self._proxy = Proxy(bridge, self._log, limits, observers)
        self._closing = contextlib.AsyncExitStack()
        self._asked: set[web.RequestHandler] = set()  # connections on which a request came
        self.url, self.port, self.is_elsewhere = "", 0, False

    async def start(self) -> None:
        """Begin to listen. Raises OSError: the port is taken, or the address is not this machine's."""
        async with contextlib.AsyncExitStack() as closing:
            for part in self._parts:
                await part.start(self)
                closing.push_async_callback(part.stop)
            sock = _listening(self._host, self._wanted)
            closing.callback(sock.close)
            await self._proxy.start()
            closing.push_async_callback(self._proxy.close)
            server = _Server(
                self._answer,
                handler_cancellation=True,
                access_log=None,
                logger=logs.server_logger(self._log),
                auto_decompress=False,
                keepalive_timeout=_IDLE,
                max_line_size=_HEADERS,
                max_field_size=_HEADERS,
                max_headers=_FIELDS,
            )
            runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_LEAVE / 2)
            await runner.setup()
            closing.push_async_callback(runner.cleanup)
            watching = asyncio.ensure_future(self._close_silent(server))
            closing.callback(watching.cancel)
            await web.SockSite(runner, sock, backlog=1024).start()
            self.port = sock.getsockname()[1]
            self.is_elsewhere = self._wanted is None and self.port != PORT
            host = f"[{self._host}]" if ":" in self._host else self._host
            self.url = f"http://{host}:{self.port}"
            self._closing = closing.pop_all()

    async def stop(self) -> None:
        """Take no more requests, let those on their way come to their end, and close. Cancelled, it cuts them off."""
        await self._closing.aclose()

    async def _close_silent(self, server: web.Server) -> None:
        """Close connections on which no request has come: aiohttp looks at those alone that had one."""
        silent: set[web.RequestHandler] = set()
        while True:
            await asyncio.sleep(_IDLE)
            connections = set(server.connections)
            self._asked &= connections
            for connection in server.connections:
                if connection in silent and connection not in self._asked:
                    connection.force_close()
            silent = connections - self._asked

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._asked.add(request.protocol)
        if request.raw_path == "/hello":
            return web.json_response({"status": "pass", "version": __version__, "description": "tykbridge"})
        return await self._proxy.answer(request)


class _Server(web.Server):
    """Answers as the gateway does what never becomes a request, because aiohttp's parser refuses it."""

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Tell the log, and give the answer. Raises ConnectionError: there is a part of another one already."""
        visit = Visit("", "", request.remote or "")
        current.set(visit)  # the id in the answer finds the line
        self.log_exception("Error handling request from %s", request.remote, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        words = "Internal error"
        if isinstance(exc, BadHttpMethod):
            words = "the request has no method that is known here"
        elif status < 500:
            words = "the request is malformed"
        return answers.Whole(visit, refused(status, words).response)


@contextlib.contextmanager
def running(gateway: Gateway) -> Iterator[Gateway]:
    """Run a gateway on an event loop of its own until the block is over.

    Raises what `Gateway.start` raises.
    """
    loop, over, ready = Loop(), asyncio.Event(), locks.event()

    async def serve() -> None:
        try:
            await gateway.start()
        finally:
            ready.set()
        await over.wait()
        await gateway.stop()

    loop.begin(serve())
    try:
        ready.wait()
        if gateway.url:
            yield gateway
    finally:
        with contextlib.suppress(RuntimeError):  # it did not start, and the loop is closed
            loop.call_soon_threadsafe(over.set)
        loop.join()


def _listening(host: str, port: int | None) -> socket.socket:
    ports = [port] if port is not None else [*range(PORT, PORT + _FREE_AFTER), 0]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in ports:
        sock = socket.socket(family)
        with contextlib.ExitStack() as closing:
            closing.callback(sock.close)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((host, number))
            except OSError as error:
                if error.errno == errno.EADDRINUSE and number != ports[-1]:
                    continue
                raise
            closing.pop_all()
            return sock
    raise AssertionError("the last port was tried")
