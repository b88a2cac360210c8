"""What changes about a request and a response between two connections: hop-by-hop headers, who asked, framing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import urlsplit

from tykbridge.outcome import FRAMING, Headers

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
_NOT_SENT = FRAMING | {"host", "expect"}
_AUTHORITY_END = re.compile("[/?#]")
_CONTROL = bytes({*range(0x20), 0x7F} - {ord("\t")})
_ESCAPED = re.compile(r"[\ud800-\udfff]")
BODILESS = frozenset({204, 304})
"""Statuses of responses that have no body by definition (RFC 9110, sections 15.3.5 and 15.4.5)."""

PROBLEM = "There was a problem proxying the request"
"""What a client hears of an upstream's failure, as Tyk says it."""

_REASONS = {status.value: status.phrase for status in HTTPStatus}

REQUEST_ID = "X-Request-ID"
"""The header in which a request's id comes and goes."""


class Fields:
    """The headers of a message that came, read once for all that is asked of them.

    Args:
        headers: all of them.

    Attributes:
        kept: those that are for more than the next neighbour, as `forwardable` has it.
        first: of those the first values, by name in lower case.
        hosts: how many are a Host.
        upgrade: the protocol that the sender would rather speak, "" for no other.
        is_coded: the body is coded for one hop in another way than in chunks, which alone are taken off here.
    """

    def __init__(self, headers: Headers) -> None:
        self.hosts, self.upgrade, self.is_coded = 0, "", False
        first: dict[str, str] = {}
        kept, listed = [], set()
        for pair in headers:
            name, value = pair[0].lower(), pair[1]
            if name not in _HOP_BY_HOP:
                kept.append(pair)
                first.setdefault(name, value)
                if name == "host":
                    self.hosts += 1
            elif name == "connection":
                if value.lower() not in ("close", "keep-alive"):
                    listed.update([item.strip().lower() for item in value.split(",")])
            elif name == "transfer-encoding":
                self.is_coded = self.is_coded or value.lower() != "chunked"
            elif name == "upgrade":
                self.upgrade = self.upgrade or value.lower()
        listed.discard("host")
        if listed:
            kept = [pair for pair in kept if pair[0].lower() not in listed]
            for name in listed:
                first.pop(name, None)
        self.kept: Headers = tuple(kept)
        self.first = first

    def named(self, request_id: str) -> Headers:
        """Give those kept with a request's id: a header that says something else, as no log line has, is replaced."""
        if self.first.get("x-request-id") == request_id:
            return self.kept
        return (*(pair for pair in self.kept if pair[0].lower() != "x-request-id"), (REQUEST_ID, request_id))


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


def size(raw: Iterable[tuple[bytes, bytes]]) -> int:
    """Give the bytes of names and values."""
    total = 0
    for name, value in raw:
        total += len(name) + len(value)
    return total


def text(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Give headers as hooks know them; bytes that are not UTF-8 survive (`octets` gives them back)."""
    headers = []
    for name, value in raw:
        headers.append((name.decode("latin-1"), value.decode("utf-8", "surrogateescape")))
    return tuple(headers)


def octets(words: str) -> bytes:
    """Give the bytes that `text` made words of."""
    return words.encode("utf-8", "surrogateescape")


def is_text(words: str) -> bool:
    """Whether they stand for UTF-8."""
    return words.isascii() or not _ESCAPED.search(words)


def value(headers: Headers, name: str) -> str:
    """Give the first value of a header, "" without one; `name` in lower case."""
    for key, words in headers:
        if key.lower() == name:
            return words
    return ""


def forwardable(headers: Headers) -> Headers:
    """Leave out what is between two neighbours only: the known names, and those that Connection lists.

    To be done before hooks run: what they write is no neighbour's to take away. Host stays, whatever is listed.
    """
    for pair in headers:
        if _is_hop_by_hop(pair[0]):
            return Fields(headers).kept
    return headers


def _is_hop_by_hop(name: str) -> bool:
    return len(name) in (2, 7, 10, 16, 17, 18, 19) and name.lower() in _HOP_BY_HOP  # most tell by their length


def unmistaken(came: Headers, headers: Headers) -> Headers:
    """Leave out headers that WSGI applications take for others, which hooks may have set or deleted: X_User, X-User.

    `came` is what the client sent, of which hooks made `headers`.
    """
    for pair in headers:
        if "_" in pair[0]:
            return _unmistaken(came, headers)
    return headers


def _unmistaken(came: Headers, headers: Headers) -> Headers:
    dashed = {name.lower() for name, _ in (*came, *headers) if "_" not in name}
    return tuple(pair for pair in headers if "_" not in pair[0] or pair[0].lower().replace("_", "-") not in dashed)


class Onward:
    """The headers that an upstream gets, which say who asked, and how.

    X-Forwarded-For grows by the client, the others are ours: a client's own X-Forwarded-Proto and X-Forwarded-Host are
    not believed.

    Args:
        headers: those of the request.
        client: the address that it came from.
        scheme: "http" or "https".

    Attributes:
        headers: all of them.
        sent: those that do not follow from the URL and the body.
        host: the client's Host.
        has_login: one is an Authorization.
        is_text: the values of `sent` stand for UTF-8.
    """

    def __init__(self, headers: Headers, client: str, scheme: str) -> None:
        self.host, self.has_login = "", False
        hops, kept, sent = [], [], []
        for pair in headers:
            name, value = pair[0].lower(), pair[1]
            if name in _OURS:
                if name == "x-forwarded-for":
                    hops.append(value)
                continue
            kept.append(pair)
            if name not in _NOT_SENT:
                sent.append(pair)
                if name == "authorization":
                    self.has_login = self.has_login or value != ""
            elif name == "host":
                self.host = self.host or value
        hops.append(client)
        ours = (
            ("X-Forwarded-For", ", ".join(hops)),
            ("X-Forwarded-Host", self.host),
            ("X-Forwarded-Proto", scheme),
        )
        self.headers: Headers = (*kept, *ours)
        self.sent: Headers = (*sent, *ours)
        self.is_text = is_text("".join([value for _, value in self.sent]))


def head(status: int, reason: str | None, headers: Iterable[tuple[str, str]]) -> bytes:
    """Write the head of a response.

    Raises:
        ValueError: a header would be more than one line, or hold a control character.
    """
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '') if reason is None else reason}"]
    for name, words in headers:
        lines.append(f"{name}: {words}")
    data = octets("\r\n".join(lines))
    if len(data) - len(data.translate(None, _CONTROL)) > 2 * (len(lines) - 1):  # more than those between the lines
        raise ValueError("a header of the response holds a control character")
    return data + b"\r\n\r\n"


def date() -> str:
    """Give the time as headers have it."""
    return formatdate(usegmt=True)
