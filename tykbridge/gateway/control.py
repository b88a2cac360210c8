"""The gateway's control API: loads anew, keeps keys, and says how the gateway fares, on a listener of its own.

Paths, JSON and words are those of upstream's gateway API. Who may use it is asked before anything else: no route is
there for a caller without the secret, and none at all where there is no secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tykbridge import waiting
from tykbridge.bridge import Bridge
from tykbridge.errors import BridgeError, LoadError
from tykbridge.gateway.keyring import Keyring, Refusal
from tykbridge.gateway.logs import server_logger
from tykbridge.gateway.metrics import Metrics
from tykbridge.gateway.server import Gateway
from tykbridge.settings import Settings
from tykbridge.stores import StoreError

PORT = 9181
"""Where it listens when nobody says anything."""

HEADER = "X-Tyk-Authorization"

_FREE_AFTER = 20  # ports that are tried after one that is taken
_BODY = 1 << 20  # bytes of a session
_LEAVE = 5.0  # seconds that calls on their way have when it ends; aiohttp waits twice for half of them
_WEAK = 16  # characters of a secret below which it can be guessed
_SAMPLE = "352d20ee67be67f6340b4c0605b044b7"  # of the tyk.conf that Tyk's installation brings
_FORBIDDEN = "Attempted administrative access with invalid or missing key!"
_SENT = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_INACTIVE = ": not loaded: inactive"  # what a definition that is switched off says of itself: nothing is wrong with it


class Control:
    """A `server.Part` that listens for operators. For one event loop.

    Where it listens is settled when it starts; everything else, the secret too, is that of the settings in use.

    Args:
        bridge: the APIs.
        settings: gives the settings in use.
        reload: loads everything anew: `hosted.reload`.
        metrics: what is counted.
        log: writes a line: words, and a level.

    Attributes:
        url: where it listens; "" while it does not.
    """

    def __init__(
        self,
        bridge: Bridge,
        settings: Callable[[], Settings],
        reload: Callable[[], tuple[int, str]],
        metrics: Metrics,
        log: Callable[[str, str], None],
    ) -> None:
        self._bridge, self._settings, self._reload = bridge, settings, reload
        self._metrics, self._log = metrics, log
        self._keys = Keyring(bridge, settings)
        self._runner: web.AppRunner | None = None
        self._socket: tuple[str, int] | None = None  # path and inode of the socket that it made
        self.url = ""

    async def start(self, gateway: Gateway) -> None:
        """Begin to listen, where the settings ask for it.

        Raises:
            LoadError: it cannot listen there, or must not.
        """
        settings = self._settings()
        if not settings.secret and not settings.tykbridge.control.open_metrics:
            self._log("no control API: the settings have no secret (docs/operating.md)", "info")
            return
        if settings.secret and (len(settings.secret) < _WEAK or settings.secret == _SAMPLE):
            why = "is the one of Tyk's sample file, which everybody knows" if settings.secret == _SAMPLE else "is short"
            words = f"the secret of the control API can be guessed, it {why}: take {_WEAK} random characters or more"
            self._log(words, "warning")
        sock = self._listening(settings)
        app = web.Application(client_max_size=_BODY, middlewares=[self._guard])
        app.add_routes(self._routes())
        logger = server_logger(self._log, "control API: ")
        self._runner = web.AppRunner(
            app, handle_signals=False, access_log=None, logger=logger, shutdown_timeout=_LEAVE / 2
        )
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()
        alone = "" if settings.secret else ", metrics alone: there is no secret"
        self._log(f"control API: {self.url}{alone}", "info")

    async def stop(self) -> None:
        """Listen no longer; calls on their way come to their end."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._socket is not None:
            path, number = self._socket
            with contextlib.suppress(OSError):
                if os.stat(path).st_ino == number:
                    os.unlink(path)
        self.url = ""

    # ---- Where it listens

    def _listening(self, settings: Settings) -> socket.socket:
        path = settings.tykbridge.control.socket
        try:
            return self._at_path(path) if path else self._at_port(settings)
        except OSError as error:
            where = path or f"{settings.control_api_hostname or '127.0.0.1'}:{settings.control_api_port}"
            raise LoadError(f"the control API cannot listen on {where}: {error.strerror or error}") from None

    def _at_path(self, path: str) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise LoadError(f"the control API cannot listen on {path}: there is a file that is no socket")
            with socket.socket(socket.AF_UNIX) as other:
                try:
                    other.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)  # of a process that is gone
                else:
                    raise LoadError(f"the control API cannot listen on {path}: another process does")
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.bind(path)
            os.chmod(path, 0o600)  # nobody gets in before: it does not listen yet
            self._socket = (path, os.stat(path).st_ino)
        except BaseException:
            sock.close()
            raise
        self.url = f"unix:{path}"
        return sock

    def _at_port(self, settings: Settings) -> socket.socket:
        name, port = settings.control_api_hostname or "127.0.0.1", settings.control_api_port
        found = socket.getaddrinfo(name, port or None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        if not ipaddress.ip_address(address[0]).is_loopback and not settings.tykbridge.control.allow_remote:
            raise LoadError(
                f"control_api_hostname {name} can be reached from other machines, and the secret travels without TLS: "
                "take 127.0.0.1, or say tykbridge.control.allow_remote"
            )
        ports = [port] if port else [*range(PORT, PORT + _FREE_AFTER), 0]
        for number in ports:
            sock = socket.socket(family)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((address[0], number))
                break
            except OSError:
                sock.close()
                if number == ports[-1]:
                    raise
        host = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
        self.url = f"http://{host}:{sock.getsockname()[1]}"
        return sock

    # ---- Who may ask

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            refused = self._refused(request)
            response = refused if refused is not None else await handler(request)
        except Refusal as refusal:
            response = _error(refusal.status, str(refusal))
        except StoreError as error:
            self._log(f"control API: {error}", "error")
            response = _error(503, str(error))
        except web.HTTPRequestEntityTooLarge:
            response = _error(413, f"A body has {_BODY} bytes at most")
        except web.HTTPMethodNotAllowed:
            response = _error(405, "Method not supported")
        except web.HTTPException as error:
            response = _error(error.status, error.reason)
        response.headers.update(_SENT)
        return response

    def _refused(self, request: web.Request) -> web.Response | None:
        settings = self._settings()
        if request.path == "/metrics" and settings.tykbridge.control.open_metrics:
            return None if self._is_named(request, settings) else _error(403, "This Host is not served here")
        if not settings.secret:
            return _error(404, "Not Found")
        sent = request.headers.getall(HEADER, [])
        if not sent and request.path == "/metrics":  # what Prometheus can send in all its versions
            kind, _, token = request.headers.get("Authorization", "").partition(" ")
            sent = [token.strip()] if kind.lower() == "bearer" else []
        wanted = settings.secret.encode("utf-8", "surrogateescape")
        if len(sent) == 1 and hmac.compare_digest(sent[0].encode("utf-8", "surrogateescape"), wanted):
            return None
        self._log(f"control API: {_FORBIDDEN} ({request.method} by {request.remote or 'the socket'})", "warning")
        return _error(403, _FORBIDDEN)

    def _is_named(self, request: web.Request, settings: Settings) -> bool:
        """Whether a request is for this host: a page in a browser can make a name of its own lead here, and read on."""
        if self._socket is not None:
            return True  # which no browser reaches
        name = request.headers.get("Host", "").lower()
        name = name.partition("]")[0].lstrip("[") if name.startswith("[") else name.partition(":")[0]
        if name and name in ("localhost", settings.control_api_hostname.lower()):
            return True
        with contextlib.suppress(ValueError):
            return bool(ipaddress.ip_address(name))
        return False

    # ---- What may be asked

    def _routes(self) -> list[web.RouteDef]:
        keys, group = ("/tyk/keys", "/tyk/keys/"), "/tyk/reload/group"
        return [
            # A HEAD would load as well.
            *(web.get(path, self._get_reload, allow_head=False) for path in ("/tyk/reload", "/tyk/reload/")),
            *(web.get(path, self._get_group_reload, allow_head=False) for path in (group, f"{group}/")),
            *(web.get(path, self._list_keys) for path in keys),
            *(web.post(path, self._create_key) for path in (*keys, "/tyk/keys/create")),
            web.get("/tyk/keys/{key}", self._get_key, allow_head=False),
            web.post("/tyk/keys/{key}", self._put_key),
            web.put("/tyk/keys/{key}", self._put_key),
            web.delete("/tyk/keys/{key}", self._delete_key),
            *(web.get(path, self._list_apis) for path in ("/tyk/apis", "/tyk/apis/")),
            web.get("/tyk/apis/{api_id}", self._get_api),
            web.get("/metrics", self._get_metrics),
        ]

    async def _get_reload(self, request: web.Request) -> web.Response:
        try:
            _, words = await asyncio.wrap_future(waiting.apart(self._reload))
        except BridgeError as error:
            return _error(500, f"Nothing changed: {error}")
        if any(not line.endswith(_INACTIVE) for line in words.splitlines()):
            return _error(500, words)
        return _answer({"status": "ok", "message": words})

    async def _get_group_reload(self, request: web.Request) -> web.Response:
        if self._settings().storage.type != "memory":
            return _error(501, "Gateways that share a store are not told of each other here: ask each for /tyk/reload")
        return await self._get_reload(request)

    async def _create_key(self, request: web.Request) -> web.Response:
        return _answer(await asyncio.to_thread(self._keys.create, await request.read()))

    async def _put_key(self, request: web.Request) -> web.Response:
        text, query = await request.read(), request.query
        fresh, by_hash, reset = request.method == "POST", _by_hash(request), query.get("suppress_reset") != "1"
        key = request.match_info["key"]
        return _answer(await asyncio.to_thread(self._keys.put, key, text, fresh=fresh, by_hash=by_hash, reset=reset))

    async def _get_key(self, request: web.Request) -> web.Response:
        key, org_id = request.match_info["key"], self._org_id(request)
        body = await asyncio.to_thread(self._keys.get, key, by_hash=_by_hash(request), org_id=org_id)
        return web.Response(body=body, content_type="application/json")

    async def _delete_key(self, request: web.Request) -> web.Response:
        key, org_id = request.match_info["key"], self._org_id(request)
        return _answer(await asyncio.to_thread(self._keys.delete, key, by_hash=_by_hash(request), org_id=org_id))

    async def _list_keys(self, request: web.Request) -> web.Response:
        return _answer(await asyncio.to_thread(self._keys.list, request.query.get("filter", "")))

    def _org_id(self, request: web.Request) -> str:
        chain = self._bridge.chains.get(request.query.get("api_id", ""))
        return chain.definition.org_id if chain is not None else request.query.get("org_id", "")

    async def _list_apis(self, request: web.Request) -> web.Response:
        return _answer([chain.definition.document for chain in self._bridge.chains.values()])

    async def _get_api(self, request: web.Request) -> web.Response:
        chain = self._bridge.chains.get(request.match_info["api_id"])
        return _error(404, "API not found") if chain is None else _answer(chain.definition.document)

    async def _get_metrics(self, request: web.Request) -> web.Response:
        body, kind = self._metrics.text(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind})


def _by_hash(request: web.Request) -> bool:
    return bool(request.query.get("hashed"))


def _answer(document: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(document).encode(), content_type="application/json")


def _error(status: int, words: str) -> web.Response:
    return _answer({"status": "error", "message": words}, status)
