"""Sends the requests of JavaScript hooks: TykMakeHttpRequest and TykBatchRequest.

Names, and what becomes of what is wrong, are upstream's (jsvm_api.go and batch_requests.go of TykTechnologies/tyk): a
request that fails gives nothing and a log line, a part of a batch that fails has the code 0. On purpose otherwise:
answers of a batch come in the order of its requests, a form says its type, and both have bounds.
"""

from __future__ import annotations

import base64
import functools
import http.client
import json
import re
import ssl
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Url, parse_url

from tykbridge._version import __version__
from tykbridge.bundle import bounded
from tykbridge.bundle.download import reason

MAX_SIZE = 4 << 20
"""Bytes of an answer's body; of all the bodies of a batch together as well."""

_CONNECT_TIME = 5.0  # seconds until a connection stands, TLS included
_REDIRECTS = 10  # as Go's client
_PARALLEL = 8  # requests of one batch that are on their way
_HEADERS = 1 << 16  # bytes that frame an answer
_CHUNK = 1 << 16
_MOVED = frozenset((301, 302, 303, 307, 308))
_FRAMING = frozenset(("host", "content-length", "transfer-encoding", "connection", "trailer"))
_SECRET = frozenset(("authorization", "cookie", "www-authenticate"))  # not for another origin
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_PORTS = {"http": 80, "https": 443}


class _RequestError(Exception):
    """There is no answer; the words say why."""


class _Request(msgspec.Struct, frozen=True, rename=str.lower):
    method: str = ""
    body: str = ""
    headers: dict[str, str] = {}
    domain: str = ""
    resource: str = ""
    formdata: dict[str, str] = {}


class _Part(msgspec.Struct, frozen=True):
    method: str = ""
    headers: dict[str, str] = {}
    body: str = ""
    relative_url: str = ""


class _Batch(msgspec.Struct, frozen=True):
    requests: list[_Part] = []
    suppress_parallel_execution: bool = False


class _Answer(msgspec.Struct, frozen=True):
    code: int = 0
    body: str = ""
    headers: dict[str, list[str]] = {}


def make_request(text: str, end: float, log: Callable[[str, str], None]) -> str | None:
    """Send what TykMakeHttpRequest is given.

    Args:
        text: JSON, an object {Method, Body, Headers, Domain, Resource, FormData}; in names of members case does not
            count. Headers and FormData are objects of strings.
        end: when the answer must be there, a time of time.monotonic.
        log: takes the words of a failure, and a level.

    Returns:
        JSON {Code, Body, Headers}, once more in lower case, so that it is like a part of a batch's answer. None where
        there is no answer.
    """
    try:
        wanted = _read(text, _Request)
        headers, body = dict(wanted.headers), wanted.body
        if not body and wanted.formdata:
            body = urllib.parse.urlencode(sorted(wanted.formdata.items()))
            if not any(name.lower() == "content-type" for name in headers):
                headers["Content-Type"] = "application/x-www-form-urlencoded"
        place = _place(wanted.domain + wanted.resource)
        answer = _send(wanted.method or "GET", place, headers, body.encode("utf-8", "replace"), end, MAX_SIZE)
    except _RequestError as error:
        log(f"TykMakeHttpRequest: {error}", "error")
        return None
    fields = {"Code": answer.code, "Body": answer.body, "Headers": answer.headers}
    return json.dumps(fields | {name.lower(): value for name, value in fields.items()}, ensure_ascii=False)


def make_batch(text: str, end: float, log: Callable[[str, str], None]) -> str | None:
    """Send what TykBatchRequest is given, several at once.

    Args:
        text: JSON, {"requests": [{"method", "headers", "body", "relative_url"}], "suppress_parallel_execution"}; each
            relative_url is a whole one.
        end: as in `make_request`.
        log: as in `make_request`.

    Returns:
        JSON, a list of {"relative_url", "code", "headers", "body"} in the order of the requests. None where the text is
        none of that, and nothing is sent.
    """
    try:
        batch = _read(text, _Batch)
        places = []
        for number, part in enumerate(batch.requests):
            try:
                places.append(_place(part.relative_url))
            except _RequestError as error:
                raise _RequestError(f"requests[{number}]: {error}") from None
    except _RequestError as error:
        log(f"TykBatchRequest: {error}", "error")
        return None
    sizes: list[int] = []  # of what has come; any thread appends, and a sum of it may lag: it bounds, it does not count

    def send(part: _Part, place: Url) -> _Answer | _RequestError:
        try:
            room = max(0, MAX_SIZE - sum(sizes))
            body = part.body.encode("utf-8", "replace")
            answer = _send(part.method or "GET", place, part.headers, body, end, room)
        except _RequestError as error:
            return error
        sizes.append(len(answer.body))
        return answer

    replies: Sequence[_Answer | _RequestError]
    if batch.suppress_parallel_execution or len(places) < 2:
        replies = list(map(send, batch.requests, places))
    else:
        with ThreadPoolExecutor(min(_PARALLEL, len(places)), "tykbridge-batch") as pool:
            replies = list(pool.map(send, batch.requests, places))
    answers = []
    for number, (part, reply) in enumerate(zip(batch.requests, replies, strict=True)):
        if isinstance(reply, _RequestError):
            log(f"TykBatchRequest: requests[{number}]: {reply}", "error")
            reply = _Answer()
        fields = {"code": reply.code, "headers": reply.headers, "body": reply.body}
        answers.append({"relative_url": part.relative_url.encode("utf-8", "replace").decode()} | fields)
    return json.dumps(answers, ensure_ascii=False)


def _read(text: str, kind: type[Any]) -> Any:
    """Read JSON as Go does: the case of names does not count, and null is nothing."""
    try:
        return msgspec.convert(_folded(json.loads(text), kind), kind)
    except (ValueError, RecursionError) as error:  # msgspec's errors, too
        raise _RequestError(f"it takes JSON: {error}") from None


def _folded(value: Any, kind: Any) -> Any:
    if not isinstance(value, dict):
        return value
    given = {name.lower(): item for name, item in value.items() if item is not None}
    if kind is _Batch and isinstance(given.get("requests"), list):
        given["requests"] = [_folded(item, _Part) for item in given["requests"]]
    return given


def _place(text: str) -> Url:
    try:
        place = parse_url(text)
    except LocationParseError:
        place = Url()
    if place.scheme not in _PORTS or not place.host:
        raise _RequestError(f"{_shown(text)} is no URL of http or https, such as https://host/path")
    return place._replace(fragment=None)


def _send(method: str, place: Url, headers: Mapping[str, str], body: bytes, end: float, room: int) -> _Answer:
    """Send a request, and follow redirects as Go's client does."""
    if not _TOKEN.fullmatch(method):
        raise _RequestError(f"{method!a:.40} is no method")
    kept = {name: value for name, value in headers.items() if name.lower() not in _FRAMING}
    first = place
    for _ in range(_REDIRECTS + 1):
        answer = _ask(method, place, kept, body, end, room)
        target = answer.headers.get("Location", [""])[0]
        if answer.code not in _MOVED or not target:
            return answer
        place = _place(urllib.parse.urljoin(place._replace(auth=None).url, target))
        if _origin(place) != _origin(first):
            kept = {name: value for name, value in kept.items() if name.lower() not in _SECRET}
        if answer.code in (301, 302, 303) and method not in ("GET", "HEAD"):
            method, body = "GET", b""
            kept = {name: value for name, value in kept.items() if not name.lower().startswith("content-")}
    raise _RequestError(f"{_shown(first)}: more than {_REDIRECTS} redirects")


def _ask(method: str, place: Url, headers: Mapping[str, str], body: bytes, end: float, room: int) -> _Answer:
    """Send one request on a connection of its own, as upstream does."""
    connection: HTTPConnection | None = None
    sock: Any = None
    try:
        connection = _connection(place, min(_CONNECT_TIME, bounded.left(end)))
        connection.connect()
        sock = connection.sock
        connection.sock = bounded.Socket(sock, end, room + room // 8 + _HEADERS)  # what frames the body counts as well
        connection.timeout = bounded.left(end)
        connection.request(
            method,
            place.request_uri,
            body=body or None,
            headers=_headers(place, headers),
            preload_content=False,
            decode_content=False,
        )
        return _answer(connection.getresponse(), room)
    except bounded.TooLargeError:
        raise _RequestError(f"{_shown(place)}: the answer has more than {MAX_SIZE} bytes") from None
    except bounded.OverLimitError:
        raise _RequestError(f"{_shown(place)}: there is no answer within the hook's time limit") from None
    except ssl.SSLCertVerificationError as error:
        raise _RequestError(f"{_shown(place)}: its certificate is not trusted: {error.verify_message}") from None
    except (HTTPError, http.client.HTTPException, OSError) as error:
        raise _RequestError(f"{_shown(place)}: {reason(error)}") from None
    except ValueError as error:  # a method, or a header, that HTTP does not allow
        raise _RequestError(f"{_shown(place)}: {error}") from None
    finally:
        if connection is not None:
            connection.close()
        if sock is not None:
            sock.close()


def _connection(place: Url, timeout: float) -> HTTPConnection:
    host, port = (place.host or "").strip("[]"), place.port or _PORTS[place.scheme or ""]
    if place.scheme == "http":
        return HTTPConnection(host, port, timeout=timeout)
    return HTTPSConnection(host, port, timeout=timeout, ssl_context=_tls())


@functools.cache
def _tls() -> ssl.SSLContext:
    """What certificates are verified with: the system's, or those of SSL_CERT_FILE."""
    return ssl.create_default_context()


def _headers(place: Url, given: Mapping[str, str]) -> dict[str, Any]:
    # Bytes: http.client writes text as Latin-1.
    headers: dict[str, Any] = {name: value.encode("utf-8", "replace") for name, value in given.items()}
    known = {name.lower() for name in headers}
    if "user-agent" not in known:
        headers["User-Agent"] = f"tykbridge/{__version__}"
    if "accept-encoding" not in known:
        headers["Accept-Encoding"] = "identity"
    if place.auth and "authorization" not in known:
        user = urllib.parse.unquote_to_bytes(place.auth)
        headers["Authorization"] = f"Basic {base64.b64encode(user).decode()}"
    headers["Connection"] = "close"
    return headers


def _answer(response: urllib3.BaseHTTPResponse, room: int) -> _Answer:
    body = bytearray()
    for chunk in response.stream(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > room:
            raise bounded.TooLargeError
    headers: dict[str, list[str]] = {}
    for name, value in response.headers.iteritems():
        headers.setdefault(_canonical(name), []).append(value.encode("latin-1", "replace").decode("utf-8", "replace"))
    return _Answer(response.status, body.decode("utf-8", "replace"), headers)


def _canonical(name: str) -> str:
    """Spell a header's name as Go does: plugins look for "Content-Type"."""
    return "-".join(part.capitalize() for part in name.split("-"))


def _origin(place: Url) -> tuple[str | None, str | None, int | None]:
    return place.scheme, place.host, place.port or _PORTS.get(place.scheme or "")


def _shown(place: Url | str) -> str:
    """Name a URL without what may be secret in it."""
    if isinstance(place, Url):
        return place._replace(auth=None, query=None, fragment=None).url
    return json.dumps(place.partition("?")[0].rpartition("@")[2][:80])


for _kind in (_Request, _Batch):  # two threads that use a type of msgspec's first would crash
    _read("{}", _kind)
