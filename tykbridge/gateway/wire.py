"""What changes about a request and a response between two connections: hop-by-hop headers, who asked, framing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import urlsplit

from tykbridge.outcome import Headers

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)  # RFC 9110, section 7.6.1, and what browsers once sent
_OURS = frozenset({"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"})
_AUTHORITY_END = re.compile("[/?#]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPED = re.compile(r"[\ud800-\udfff]")
BODILESS = frozenset({204, 304})
"""Statuses of responses that have no body by definition (RFC 9110, sections 15.3.5 and 15.4.5)."""

PROBLEM = "There was a problem proxying the request"
"""What a client hears of an upstream's failure, as Tyk says it."""

_REASONS = {status.value: status.phrase for status in HTTPStatus}

REQUEST_ID = "X-Request-ID"
"""The header in which a request's id comes and goes."""


def with_id(headers: Headers, request_id: str) -> Headers:
    """Name a request: a header that says something else, which no log line would have, is replaced."""
    if value(headers, "x-request-id") == request_id:
        return headers
    return (*(pair for pair in headers if pair[0].lower() != "x-request-id"), (REQUEST_ID, request_id))


def shown(url: str) -> str:
    """Give of an upstream's URL what may be told: neither user information nor a query, which may hold a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def origin_form(target: str) -> tuple[str, str]:
    """Part a request's target in the absolute form, which a client of a proxy sends; "" and another one as it is."""
    scheme, mark, rest = target.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return "", target
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    return authority, path if path.startswith("/") else "/" + path


def text(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Give headers as hooks know them; bytes that are not UTF-8 survive (`octets` gives them back)."""
    return tuple([(name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in raw])


def octets(words: str) -> bytes:
    """Give the bytes that `text` made words of."""
    return words.encode("utf-8", "surrogateescape")


def is_text(words: str) -> bool:
    """Whether they stand for UTF-8."""
    return words.isascii() or not _ESCAPED.search(words)


def value(headers: Headers, name: str) -> str:
    """Give the first value of a header, "" without one; `name` in lower case."""
    return next((value for key, value in headers if key.lower() == name), "")


def forwardable(headers: Headers) -> Headers:
    """Leave out what is between two neighbours only: the known names, and those that Connection lists.

    To be done before hooks run: what they write is no neighbour's to take away. Host stays, whatever is listed.
    """
    dropped: Iterable[str] = _HOP_BY_HOP
    for key, listed in headers:
        if key.lower() == "connection" and listed.lower() not in ("close", "keep-alive"):
            dropped = {*dropped, *(name.strip().lower() for name in listed.split(","))} - {"host"}
    return tuple([pair for pair in headers if pair[0].lower() not in dropped])


def unmistaken(came: Headers, headers: Headers) -> Headers:
    """Leave out headers that WSGI applications take for others, which hooks may have set or deleted: X_User, X-User.

    `came` is what the client sent, of which hooks made `headers`.
    """
    if not any("_" in name for name, _ in headers):
        return headers
    dashed = {name.lower() for name, _ in (*came, *headers) if "_" not in name}
    return tuple(pair for pair in headers if "_" not in pair[0] or pair[0].lower().replace("_", "-") not in dashed)


def forwarded(headers: Headers, client: str, scheme: str) -> Headers:
    """Say who asked, and how: X-Forwarded-For grows by the client, the others are ours.

    A client's own X-Forwarded-Proto and X-Forwarded-Host are not believed.
    """
    host, hops, kept = "", [], []
    for pair in headers:
        name = pair[0].lower()
        if name == "x-forwarded-for":
            hops.append(pair[1])
        elif name == "host":
            host = host or pair[1]
        if name not in _OURS:
            kept.append(pair)
    hops.append(client)
    return (
        *kept,
        ("X-Forwarded-For", ", ".join(hops)),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Proto", scheme),
    )


def head(status: int, reason: str | None, headers: Iterable[tuple[str, str]]) -> bytes:
    """Write the head of a response.

    Raises:
        ValueError: a header would be more than one line, or hold a control character.
    """
    words = _REASONS.get(status, "") if reason is None else reason
    lines = [f"HTTP/1.1 {status} {words}", *[f"{name}: {value}" for name, value in headers]]
    if _CONTROL.search("".join(lines)):
        raise ValueError("a header of the response holds a control character")
    return octets("\r\n".join(lines)) + b"\r\n\r\n"


def date() -> str:
    """Give the time as headers have it."""
    return formatdate(usegmt=True)
