"""Builds the messages that hooks get out of HTTP requests, responses and sessions (contract, section 4).

Parts are serialised one by one: protobuf messages one behind the other are one message, so that a part which does not
change is made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from tykbridge import _bridge
from tykbridge._bridge import entries, part, text
from tykbridge.outcome import FRAMING, Headers, Request, Response
from tykbridge.session import Session, write_message

REQUEST, SESSION, METADATA, SPEC, RESPONSE = 3, 4, 5, 6, 7
"""Numbers of coprocess.Object's fields."""

NO_OVERRIDES = _bridge.NO_OVERRIDES
"""The fields of a MiniRequestObject whose return_overrides.response_code is -1, as hooks find it."""


def request_message(request: Request, scheme: str, request_uri: str, readable: bool = True) -> bytes:
    """Serialise a MiniRequestObject. `readable`: the body as text too, where it is UTF-8 (not for raw_body_only)."""
    made = [entries(1, _first(request.headers))]
    query = request.url.partition("?")[2]
    if query:
        params: dict[str, str] = {}
        for name, value in parse_qsl(query.partition("#")[0], keep_blank_values=True):
            params.setdefault(name, value)
        made.append(entries(6, list(params.items())))
    for number, words in ((5, request.url), (11, request.method), (12, request_uri), (13, scheme)):
        if words:
            made.append(part(number, text(words).encode()))
    if request.body:
        made.append(part(14, request.body))
        if readable and (body := readable_body(request.body)):
            made.append(part(4, body.encode()))
    return b"".join(made)


def response_message(response: Response) -> bytes:
    """Serialise a ResponseObject: in `headers` the first value of each, in `multivalue_headers` all."""
    message = _bridge.message("ResponseObject")
    message.status_code = response.status
    for name, value in _first(response.headers):
        message.headers[text(name)] = text(value)
    groups: dict[str, Any] = {}
    for name, value in response.headers:
        entry = groups.get(name.lower())
        if entry is None:
            entry = groups[name.lower()] = message.multivalue_headers.add()
            entry.key = text(name)
        entry.values.append(text(value))
    if response.body:
        message.raw_body, message.body = response.body, readable_body(response.body)
    return message.SerializeToString()


def session_message(session: Session) -> bytes:
    """Serialise a SessionState."""
    message = _bridge.message("SessionState")
    write_message(session, message)
    return message.SerializeToString()


def map_parts(number: int, values: Mapping[str, str] | _bridge.Map) -> bytes:
    """Serialise a map from text to text."""
    return entries(number, list(values.items()))


def request_changes(before: Request, after: Request, touched: Iterable[str]) -> bytes:
    """Serialise what is to be changed in a request, as a MiniRequestObject whose fields are those that change.

    `touched` has the lower-case names of the headers that were set or deleted. Several values of one are joined, since
    the message has one for each.
    """
    made = [
        part(number, text(new).encode())
        for number, old, new in ((5, before.url, after.url), (11, before.method, after.method))
        if new != old
    ]
    if after.body != before.body:  # empty ones are written too: they say that the body is gone
        made += [part(4, readable_body(after.body).encode()), part(14, after.body)]
    for name in sorted(touched):
        if name in FRAMING:
            continue
        pairs = [pair for pair in after.headers if pair[0].lower() == name]
        if not pairs:
            made.append(part(3, text(name).encode()))
        else:
            # RFC 9110, section 5.3, and RFC 6265, section 5.4.
            joined = ("; " if name == "cookie" else ", ").join(value for _, value in pairs)
            made.append(part(2, part(1, text(pairs[0][0]).encode()) + part(2, text(joined).encode())))
    return b"".join(made)


def response_whole(response: Response) -> bytes:
    """Serialise a response for a host: its status, all headers as multivalue_headers, its body as bytes."""
    groups: dict[str, bytes] = {}
    for name, value in response.headers:
        key = name.lower()
        groups[key] = groups.get(key) or part(1, text(name).encode())
        groups[key] += part(2, text(value).encode())
    status = _bridge.message("ResponseObject", status_code=response.status).SerializeToString()
    return status + part(2, response.body) + b"".join(part(5, header) for header in groups.values())


def _first(pairs: Headers) -> list[tuple[str, str]]:
    """Give the first value of each header, under the spelling that came first."""
    first: dict[str, tuple[str, str]] = {}
    for pair in pairs:
        first.setdefault(pair[0].lower(), pair)
    return list(first.values())


def readable_body(body: bytes) -> str:
    """Give a body as text, "" where it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return ""
