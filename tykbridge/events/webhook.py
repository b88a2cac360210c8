"""Sends events to web servers, as eh_web_hook_handler and OAS's "webhook" want it."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from tykbridge.definition import Definition, EventHandler, Webhook
from tykbridge.errors import LoadError
from tykbridge.events.queue import Fired, Result
from tykbridge.events.template import Template, TemplateError, html_escape, json_escape
from tykbridge.stores import Store

TIMEOUT = urllib3.Timeout(connect=5, read=10)
"""Seconds for a connection, and for each wait for the server's answer."""
COOLING = "webhook.cache."
"""Before the mark of an event in the store, as in Tyk's Redis."""

WHOLE = 20.0
"""Seconds for all of the answer that is read: a server may send it byte by byte."""

_PAUSES = (0.5, 2.0)  # seconds before a second and a third attempt
_AGAIN = frozenset({502, 503, 504})  # whatever stands before the server could not reach it
_USER_AGENT = "Tyk-Hookshot"  # upstream's
_BUILT_IN = "default_webhook.json"  # upstream ships a file of this name; here it need not be there
_LARGEST = 1024 * 1024  # bytes of a template


class WebhookHandler:
    """One webhook of one API.

    Args:
        definition: the API's.
        handler: what it wants.
        webhook: the same, as it was read.
        template: its body; None for the default one.
        store: where cool-downs are kept, so that they survive a reload and hold for all who share the store.
        log: writes a line: words, and a level.
        pause: waits for some seconds before another attempt; False: give up.
        timeout: time limits of one attempt.
    """

    kind = "webhook"

    def __init__(
        self,
        definition: Definition,
        handler: EventHandler,
        webhook: Webhook,
        template: Template | None,
        store: Store,
        log: Callable[[str, str], None],
        pause: Callable[[float], bool],
        timeout: urllib3.Timeout = TIMEOUT,
    ) -> None:
        self.log = log
        self._webhook, self._template, self._store = webhook, template, store
        self._pause, self._timeout = pause, timeout
        is_json = template is None or webhook.template.endswith(".json")
        self._escape = json_escape if is_json else html_escape
        headers = urllib3.HTTPHeaderDict({"User-Agent": _USER_AGENT})
        if is_json:
            headers["Content-Type"] = "application/json"
        for name, value in webhook.headers:
            headers[name] = value
        parts = urlsplit(webhook.url)
        if parts.username is not None and "Authorization" not in headers:  # as Go's client, and so upstream, does
            named = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(named.encode()).decode()}"
        headers["Connection"] = "close"  # one that was kept may be gone when the next event comes, hours later
        self._headers = headers
        # What comes before and behind the host may be a secret.
        place = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        named = f' "{webhook.name}"' if webhook.name else ""
        self._label = f'api "{definition.api_id}": the webhook{named} at {handler.where} ({place})'
        self._salt = f"{definition.api_id}\n{handler.where}\n{webhook.method}\n{webhook.url}\n"

    def deliver(self, event: Fired) -> Result:
        """Send an event, unless the same one was sent not long ago."""
        place = ""
        if self._webhook.cooldown > 0:
            place = COOLING + self._mark(event)
            if self._is_cooling(place):
                return Result.HELD
        why = self._send(self._body(event, event.timestamp).encode("utf-8", "replace"))
        if why:
            self.log(f"{self._label} did not get the event {event.type}: {why}", "error")
            return Result.FAILED
        if place:
            try:
                self._store.set(place, b"1", self._webhook.cooldown)
            except Exception as error:
                self.log(f"{self._label} may get the event {event.type} again too soon: {error!r}", "warning")
        return Result.DELIVERED

    def _mark(self, event: Fired) -> str:
        """What tells one event from another: all of the request but its time (upstream's counts the time as well)."""
        return hashlib.sha256(f"{self._salt}{self._body(event, '')}".encode("utf-8", "surrogatepass")).hexdigest()

    def _is_cooling(self, place: str) -> bool:
        try:
            return self._store.get(place) is not None
        except Exception as error:  # an event too many is better than one too few
            self.log(f"{self._label}: its cool-down cannot be read: {error!r}", "warning")
            return False

    def _body(self, event: Fired, timestamp: str) -> str:
        if self._template is not None:
            fields = {"Type": event.type, "TimeStamp": timestamp, "Meta": event.meta}
            return self._template.fill(fields, self._escape)
        names = ("path", "Path"), ("origin", "Origin"), ("key", "Key")
        if event.type == "TriggerExceeded":
            names = ("org", "org_id"), ("key", "key"), ("trigger_limit", "trigger_limit")
        body = {"event": event.type, "message": event.meta.get("Message", "")}
        body |= {name: str(event.meta.get(source, "")) for name, source in names}
        return json.dumps(body | {"timestamp": timestamp})

    def _send(self, body: bytes) -> str:
        """Send a request, again where it cannot have been heard; gives the words of a failure."""
        for pause in (*_PAUSES, 0.0):
            try:
                response = _pool().request(
                    self._webhook.method,
                    self._webhook.url,
                    body=body,
                    headers=self._headers,
                    timeout=self._timeout,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
            except (NewConnectionError, ConnectTimeoutError) as error:
                why = f"no connection: {_words(error)}"
            except HTTPError as error:  # it may have been heard
                return _words(error)
            else:
                response.close()  # of the body nothing is read: what it says counts for nothing
                if 200 <= response.status < 300:
                    return ""
                why = f"the answer was {response.status}"
                if 300 <= response.status < 400:
                    why += ", and redirects are not followed: name the place itself"
                if response.status not in _AGAIN:
                    return why
            if not pause or not self._pause(pause):
                break
        return why


def _words(error: HTTPError) -> str:
    return f"{type(error).__name__}: {error}"  # urllib3 names host and port, and neither path nor query


class _Bounded:
    """Ends an answer that takes too long, between whose bytes no single wait does."""

    def getresponse(self) -> Any:
        sock = self.sock  # type: ignore[attr-defined]
        timer = threading.Timer(WHOLE, lambda: _hang_up(sock))
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # the interpreter ends, and waits for nothing any more
            timer.start()
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()


def _hang_up(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was over at this moment
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Connection(_Bounded, HTTPConnection):
    pass


class _TlsConnection(_Bounded, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


@functools.cache
def _pool() -> urllib3.PoolManager:
    """What connects. Certificates are verified against the system's."""
    pool = urllib3.PoolManager()
    pool.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)  # its locks may be held by a thread that the child does not have


def read_template(definition: Definition, webhook: Webhook, middleware_path: str) -> Template | None:
    """Read a webhook's template: beside the definition, below the middleware path, or in the working directory.

    Returns None for the default one, which is built in.

    Raises:
        LoadError: it is not there, or says what is not supported.
    """
    if not webhook.template:
        return None
    places = [*definition.paths(webhook.template, middleware_path), Path(webhook.template).absolute()]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        if Path(webhook.template).name == _BUILT_IN:
            return None
        looked = " nor ".join(dict.fromkeys(map(str, places)))
        raise LoadError(f"the template of the webhook is not there: {looked}")
    try:
        with place.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise LoadError(f"{place}: a template has {_LARGEST} bytes at most")
        return Template(data.decode())
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"the template {place} cannot be read: {error}") from error
    except TemplateError as error:
        raise LoadError(f"{place}:{error.line}: {error}", place=f"{place}:{error.line}") from error
