"""An upstream that answers with what it was asked, as httpbin's /get does."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

from aiohttp import web

BODY = 10 << 20
"""Bytes of a request's body, at most."""


class Echo:
    """Listens on a port of this machine from the beginning, and answers between `start` and `stop`: a `server.Part`.

    Its answers are JSON: args, headers, origin and url; data, json and method, too, where the method is not GET or
    there is a body.

    Args:
        port: the port; 0: any that is free.
        told: hears of each request that was answered: its method and its URL as it came.

    Raises OSError: the port is taken.

    Attributes:
        url: where it listens.
        got: what it answered last, None before that.
        count: how many requests it answered.
    """

    def __init__(self, port: int = 0, told: Callable[[str, str], object] = lambda method, url: None) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self._told = told
        self._runner: web.ServerRunner | None = None
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self.got: dict[str, Any] | None = None
        self.count = 0

    async def start(self, gateway: object = None) -> None:
        """Begin to answer."""
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None), handle_signals=False)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def stop(self) -> None:
        """End."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._socket.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = b""
        async for part in request.content.iter_any():
            body += part
            if len(body) > BODY:
                return web.Response(status=413)
        answer: dict[str, Any] = {
            "args": _grouped(request.query.items()),
            "headers": {name: ",".join(request.headers.getall(name)) for name in dict.fromkeys(request.headers)},
            "origin": request.headers.get("X-Forwarded-For", request.remote),
            "url": f"{request.scheme}://{request.host}{request.raw_path}",
        }
        if body or request.method not in ("GET", "HEAD"):
            answer |= {"data": body.decode("utf-8", "replace"), "json": _parsed(body), "method": request.method}
        self.got, self.count = answer, self.count + 1
        self._told(request.method, request.raw_path)
        text = json.dumps(answer, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        return web.Response(text=text, content_type="application/json", headers={"Server": "echo"})


def _grouped(pairs: Any) -> dict[str, Any]:
    several: dict[str, list[str]] = {}
    for name, value in pairs:
        several.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in several.items()}


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
