"""What changes about a request and a response between two connections: hop-by-hop headers, who asked, and where to."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from tykbridge.definition import Definition
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


def text(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Give headers as hooks know them; bytes that are not UTF-8 survive."""
    return tuple((name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in raw)


def forwardable(headers: Headers) -> Headers:
    """Leave out what is between two neighbours only: the known names, and those that Connection lists."""
    listed = {
        name.strip().lower() for key, value in headers if key.lower() == "connection" for name in value.split(",")
    }
    dropped = _HOP_BY_HOP | listed
    return tuple(pair for pair in headers if pair[0].lower() not in dropped)


def forwarded(headers: Headers, client: str, scheme: str) -> Headers:
    """Say who asked, and how: X-Forwarded-For grows by the client, the others are ours.

    A client's own X-Forwarded-Proto and X-Forwarded-Host are not believed.
    """
    host = next((value for name, value in headers if name.lower() == "host"), "")
    before = [value for name, value in headers if name.lower() == "x-forwarded-for"]
    kept = tuple(pair for pair in headers if not pair[0].lower().startswith("x-forwarded-"))
    return (
        *kept,
        ("X-Forwarded-For", ", ".join([*before, client])),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Proto", scheme),
    )


def upstream_url(definition: Definition, url: str) -> str:
    """Give the whole URL at the upstream of a request's path and query.

    The target's path comes before it. The listen path is left out where the definition says so.
    """
    path, mark, query = url.partition("?")
    listen_path = definition.listen_path.rstrip("/")
    if definition.strip_listen_path and (path == listen_path or path.startswith(listen_path + "/")):
        path = path[len(listen_path) :]
    target = urlsplit(definition.target_url)
    base = target.path.rstrip("/")
    if path and not path.startswith("/"):
        path = "/" + path
    query = "&".join(part for part in (target.query, query) if part)
    return f"{target.scheme}://{target.netloc}{base}{path or ('' if base else '/')}{'?' if query or mark else ''}{query}"
