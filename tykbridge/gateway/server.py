"""The gateway as a whole: loads a configuration, listens, and ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

from aiohttp import web

from tykbridge import hosted
from tykbridge._version import __version__
from tykbridge.gateway.proxy import Limits, Proxy

PORT = 8181
"""Where it listens when nobody says anything: the port of upstream's examples."""

_FREE_AFTER = 20  # ports that are tried after one that is taken
_HEADERS = 64 << 10  # bytes of one header, and of the request line
_LEAVE = 10.0  # seconds that requests on their way have when it ends


class Gateway:
    """Serves what `hosted` has loaded. For one event loop.

    Args:
        host: the address it listens on.
        port: the port; None: 8181, or the next one that is free; 0: any.
        log: writes a line: words, and a level.
        limits: what one request may take.

    Attributes:
        url: where it listens, once it does.
    """

    def __init__(
        self, host: str, port: int | None, log: Callable[[str, str], None], limits: Limits | None = None
    ) -> None:
        self._host, self._port, self._log = host, port, log
        self._proxy = Proxy(hosted.bridge, log, limits)
        self._runner: web.ServerRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Begin to listen. Raises OSError: the port is taken, or the address is not this machine's."""
        server = web.Server(
            self._answer,
            access_log=None,
            auto_decompress=False,
            max_line_size=_HEADERS,
            max_field_size=_HEADERS,
        )
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_LEAVE)
        await self._proxy.start()
        await self._runner.setup()
        sock = _listening(self._host, self._port)
        await web.SockSite(self._runner, sock, backlog=1024).start()
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"http://{host}:{sock.getsockname()[1]}"

    async def stop(self) -> None:
        """Take no more requests, let those on their way come to their end, and close."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self._proxy.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path == "/hello":
            return web.json_response({"status": "pass", "version": __version__, "description": "tykbridge"})
        try:
            return await self._proxy.answer(request)
        except (ConnectionError, asyncio.CancelledError):  # the client has gone
            raise
        except Exception as error:
            self._log(f"internal error: {request.method} {request.raw_path}: {error!r}", "error")
            raise


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
