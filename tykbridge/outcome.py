"""What the client and the upstream get after a hook, worked out from the message sent to it and its reply.

Pure: nothing is read, written or kept. The messages are coprocess.Object, as views of tykbridge._bridge or as objects
of google.protobuf: only what both have is used. Section numbers are those of the plugin contract: 4 what a request hook
may change, 5 ReturnOverrides, 6 custom authentication, 7 the response hook, 13 the checks of what a hook wrote.

A message carries one value for each header and parameter. The caller keeps the HTTP request or response itself, with
repeats and order, and only what the hook changed is changed in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import quote, quote_plus, unquote_plus

Object: TypeAlias = Any
"""A coprocess.Object, by its attributes."""

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values in the order of the wire, repeats included."""

CUSTOM_KEY_CHECK = 4
"""coprocess.HookType.CustomKeyCheck."""

KEY_NOT_AUTHORISED = "Key not authorised"
MIDDLEWARE_ERROR = "Middleware error"
MIDDLEWARE_LATE = "Middleware took too long"
MIDDLEWARE_UNAVAILABLE = "Middleware unavailable"
STORE_FAILED = "Stored data cannot be read or written"
AUTH_FAILURE = "AuthFailure"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_UNSAFE_VALUE = re.compile(r"[\r\n\0]")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_URL_SAFE = "".join(chr(c) for c in range(0x21, 0x7F))
FRAMING = frozenset({"content-length", "transfer-encoding"})
"""Headers that follow from the body, which the host sets."""


@dataclass(frozen=True)
class Request:
    """An HTTP request on its way to the upstream. `url` is path and query."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """An HTTP response on its way to the client."""

    status: int
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True)
class Continue:
    """The chain goes on, with this request.

    `session` is the serialised SessionState of whoever sent the request, b"" where nobody was asked to say: response
    hooks get it.
    """

    request: Request
    session: bytes = b""


@dataclass(frozen=True)
class Respond:
    """The client gets this response.

    `event` is the event to fire, "" for none. `fault` is "" unless the hook wrote what no hook may write: then it says
    which hook and what, for the log, and the response is a 500.
    """

    response: Response
    event: str = ""
    fault: str = ""


Outcome: TypeAlias = Continue | Respond


class HookOutputError(Exception):
    """What is wrong with a hook's output, in words that follow "hook "x" "."""


def request_of(sent: Object) -> Request:
    """Read the request that a message describes, for a caller that has nothing but the message."""
    message = sent.request
    body = message.raw_body or message.body.encode()
    return Request(message.method, message.url, tuple(message.headers.items()), body)


def response_of(sent: Object) -> Response:
    """Read the response that a message describes, for a caller that has nothing but the message."""
    message = sent.response
    several = [(header.key, value) for header in message.multivalue_headers for value in header.values]
    named = {name.lower() for name, _ in several}
    single = [(name, value) for name, value in message.headers.items() if name.lower() not in named]
    return Response(message.status_code, (*several, *single), message.raw_body or message.body.encode())


def after_request(request: Request, sent: Object, reply: Object) -> Outcome:
    """Apply the reply of a pre, auth_check, post_key_auth or post hook to `request`, of which `sent` was made.

    The edits that `sent` itself carries (set_headers, add_params ...) are expected to be empty, as section 4 has it.
    """
    try:
        answer = _overridden(reply.request.return_overrides, sent.hook_type == CUSTOM_KEY_CHECK)
        if answer is not None:
            return answer
        if sent.hook_type == CUSTOM_KEY_CHECK and not token_of(reply):
            return refused(403, KEY_NOT_AUTHORISED, event=AUTH_FAILURE)
        return Continue(_edited(request, sent.request, reply.request))
    except HookOutputError as fault:
        return faulty(sent.hook_name, fault)


def after_response(response: Response, sent: Object, reply: Object) -> Respond:
    """Apply the reply of a response hook to `response`, of which `sent` was made."""
    before, after = sent.response, reply.response
    try:
        status = response.status
        if after.status_code != before.status_code:
            status = _status(after.status_code)
        body = _body(response.body, before, after)
        headers = _merged(response.headers, before, after)
        if sent.request.method == "HEAD" and body == response.body:
            return Respond(Response(status, headers, body))  # it has the length of a body that is not there
        return Respond(_framed_response(status, headers, body))
    except HookOutputError as fault:
        return faulty(sent.hook_name, fault)


def after_failure(
    hook_type: int, *, by_store: bool = False, is_late: bool = False, is_unavailable: bool = False
) -> Respond:
    """Answer the client for a hook of this type that did not reply at all (section 3).

    `by_store`: because it could not get at stored data, so that a key that it refused may be a good one. `is_late`:
    because it took longer than it may. `is_unavailable`: because what runs it cannot be had now.
    """
    if is_late:
        return refused(504, MIDDLEWARE_LATE)
    if is_unavailable:
        return refused(503, MIDDLEWARE_UNAVAILABLE, (("Retry-After", "1"),))
    if hook_type == CUSTOM_KEY_CHECK:
        if by_store:
            return refused(503, STORE_FAILED)
        return refused(403, KEY_NOT_AUTHORISED)
    return refused(500, MIDDLEWARE_ERROR)


def token_of(reply: Object) -> str:
    """Find the token under which an auth hook wants its session stored: "" without a session or a token."""
    if not reply.HasField("session"):
        return ""
    return str(reply.session.metadata.get("token", "") or reply.metadata.get("token", ""))


# ---- Section 5: ReturnOverrides


def _overridden(overrides: Any, is_auth: bool) -> Respond | None:
    code = overrides.response_code
    if code <= 0:
        return None
    _status(code)
    text = overrides.response_error or overrides.response_body
    headers = _without(tuple(_checked(overrides.headers.items())), FRAMING)
    if code >= 400 and not overrides.override_error:
        return refused(code, text or KEY_NOT_AUTHORISED, headers, AUTH_FAILURE if is_auth else "")
    return Respond(_framed_response(code, headers, text.encode()))


def refused(code: int, text: str, headers: Headers = (), event: str = "") -> Respond:
    """Refuse a request: fill in the error template.

    Its body is JSON whatever type the hook named: no browser reads it as HTML.
    """
    headers = _set(headers, "Content-Type", "application/json")
    body = json.dumps({"error": text}, ensure_ascii=False).encode()
    return Respond(_framed_response(code, headers, body), event)


def faulty(hook_name: str, fault: object) -> Respond:
    """Fail a request for what a hook wrote; `fault` says what, in words that follow the hook's name."""
    words = f'hook "{hook_name}" {fault}'
    return replace(refused(500, f"{MIDDLEWARE_ERROR}: {words}"), fault=words)


# ---- Section 4: the request's edits, in its order


def _edited(request: Request, before: Any, after: Any) -> Request:
    body = _body(request.body, before, after)
    headers = request.headers
    deleted = {name.lower() for name in after.delete_headers} - FRAMING
    if deleted:
        headers = _without(headers, deleted)
    headers = _with(headers, _checked(after.set_headers.items()))
    url = request.url
    if after.url != before.url:
        url = _rewritten(url, after.url)
    url = _with_params(url, set(after.delete_params), after.add_params.items(), after.extended_params.items())
    method = request.method
    if after.method != before.method:
        method = after.method
        if not _TOKEN.fullmatch(method):
            raise HookOutputError(f"set a method that is no token: {method!a:.80}")
    return Request(method, url, _framed_request(headers, body), body)


def with_headers(request: Request, headers: Iterable[tuple[str, str]]) -> Request:
    """Set headers of a request, as a hook's `set_headers` do; their names and values are such as HTTP allows."""
    framed = _framed_request(_with(request.headers, headers), request.body)
    return Request(request.method, request.url, framed, request.body)


def with_several(request: Request, several: Mapping[str, Sequence[tuple[str, str]]]) -> Request:
    """Give headers of a request several values each, by lower-case name, in the place of those that they have.

    Raises:
        HookOutputError: a name or a value is none.
    """
    checked = {name: list(_checked(pairs)) for name, pairs in several.items() if name not in FRAMING}
    return replace(request, headers=tuple(_put(request.headers, checked, str.lower)))


def _with(headers: Headers, new: Iterable[tuple[str, str]]) -> Headers:
    """Set headers: each where the first of its name stands, else at the end. Of two of one name the last one counts."""
    wanted: dict[str, tuple[str, str]] = {}
    sizes = 0  # bits: most names tell by the end of their length that they are none of them
    for pair in new:
        key = pair[0].lower()
        if key not in FRAMING:  # these follow the body
            wanted[key] = pair
            sizes |= 1 << (len(key) & 15)
    if not wanted:
        return headers
    made, left = [], wanted.copy()
    for pair in headers:
        if not sizes & 1 << (len(pair[0]) & 15) or (key := pair[0].lower()) not in wanted:
            made.append(pair)
        elif (put := left.pop(key, None)) is not None:
            made.append(put)
    made.extend(left.values())
    return tuple(made)


def _body(kept: bytes, before: Any, after: Any) -> bytes:
    """Choose the body that the hook left. A reply of the bridge holds the winner in raw_body (section 13)."""
    if after.raw_body != before.raw_body:
        return bytes(after.raw_body)
    if after.body != before.body:
        return bytes(after.body.encode())
    return kept


def _rewritten(old: str, new: str) -> str:
    """Read `new` as path and query.

    Another path without a query keeps the query that is there, as upstream does: plugins rely on it. With a "?", or
    with the old path, `new` says all: edits of the query hold.
    """
    if _CONTROL.search(new):
        raise HookOutputError(f"set a url with a control character: {new!a:.80}")
    target = new.partition("#")[0]
    origin = _ORIGIN.match(target)
    if origin:
        target = target[origin.end() :]
        target = target if target.startswith("/") else "/" + target
    if not target.startswith("/"):
        raise HookOutputError(f"set a url that does not start with a slash: {new!a:.80}")
    old_path, _, old_query = old.partition("?")
    if "?" not in target and target != old_path and old_query:
        target += "?" + old_query
    return quote(target, safe=_URL_SAFE)


def _with_params(
    url: str, deleted: set[str], added: Iterable[tuple[str, str]], further: Iterable[tuple[str, str]]
) -> str:
    """Edit the query of `url`. What is not edited keeps its place and its spelling."""
    added, further = tuple(added), tuple(further)
    if not (deleted or added or further):
        return url
    path, _, query = url.partition("?")
    pairs = [(unquote_plus(part.partition("=")[0]), part) for part in query.split("&")] if query else []
    kept = [pair for pair in pairs if pair[0] not in deleted]
    # "add" is the plugins' word for it: one value replaces what there is, as upstream.
    kept = list(_put(kept, {name: [(name, f"{quote_plus(name)}={quote_plus(value)}")] for name, value in added}))
    kept += [(name, f"{quote_plus(name)}={quote_plus(value)}") for name, value in further]
    if kept == pairs:
        return url
    query = "&".join(part for _, part in kept)
    return f"{path}?{query}" if query else path


# ---- Section 7: the response's headers


def _merged(headers: Headers, before: Any, after: Any) -> Headers:
    """Apply the hook's changes to `headers`: a key changed in the map wins, then one changed in multivalue_headers."""
    old, new = dict(before.headers.items()), dict(after.headers.items())
    written = [(name, value) for name, value in new.items() if old.get(name) != value]
    removed = {name.lower() for name in old} - {name.lower() for name in new}
    decided = {name.lower() for name, _ in written} | removed | FRAMING
    old_values, new_values = _grouped(before.multivalue_headers), _grouped(after.multivalue_headers)
    headers = _without(headers, (removed | (old_values.keys() - new_values.keys() - decided)) - FRAMING)
    changed = {
        key: list(_checked(pairs))
        for key, pairs in new_values.items()
        if key not in decided and _values(pairs) != _values(old_values.get(key, []))
    }
    changed |= {name.lower(): [(name, value)] for name, value in _checked(written) if name.lower() not in FRAMING}
    return tuple(_put(headers, changed, str.lower))


def _grouped(entries: Iterable[Any]) -> dict[str, list[tuple[str, str]]]:
    """Sort multivalue_headers by lower-case name; several entries of one name add up."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for entry in entries:
        groups.setdefault(entry.key.lower(), []).extend((entry.key, value) for value in entry.values)
    return groups


def _values(pairs: list[tuple[str, str]]) -> list[str]:
    return [value for _, value in pairs]


# ---- Header lists, and the checks of section 13


def _put(
    pairs: Iterable[tuple[str, str]], new: Mapping[str, Sequence[tuple[str, str]]], fold: Callable[[str], str] = str
) -> Iterator[tuple[str, str]]:
    """Replace the pairs of each key of `new`, where the first of them stood, else at the end."""
    left = dict(new)
    for pair in pairs:
        key = fold(pair[0])
        if key not in new:
            yield pair
        else:
            yield from left.pop(key, ())
    for added in left.values():
        yield from added


def _set(headers: Headers, name: str, value: str) -> Headers:
    """Give a header this one value. A hook's framing header is passed over: framing follows the body."""
    if name.lower() in FRAMING:
        return headers
    return tuple(_put(headers, {name.lower(): [(name, value)]}, str.lower))


def _without(headers: Headers, names: AbstractSet[str]) -> Headers:
    return tuple(pair for pair in headers if pair[0].lower() not in names)


def _checked(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise HookOutputError(f"set a header whose name is no token: {name!a:.80}")
        if _UNSAFE_VALUE.search(value):
            raise HookOutputError(f"set the header {name} to a value with CR, LF or NUL")
        yield name, value


def _status(code: int) -> int:
    if not 200 <= code <= 599:  # one below is no answer: the client goes on waiting for that
        raise HookOutputError(f"set the status {code}, which is not within 200 to 599")
    return code


def _framed(headers: Headers, length: int) -> Headers:
    """Tell the body's length, spelled and placed as the one that is there."""
    made, is_told = [], False
    for pair in headers:
        if not _frames(pair[0]):
            made.append(pair)
        elif not is_told and pair[0].lower() == "content-length":
            made.append((pair[0], str(length)))
            is_told = True
    if not is_told:
        made.append(("Content-Length", str(length)))
    return tuple(made)


def _framed_request(headers: Headers, body: bytes) -> Headers:
    if body:
        return _framed(headers, len(body))
    for pair in headers:
        if _frames(pair[0]):
            return _framed(headers, 0)
    return headers


def _frames(name: str) -> bool:
    return len(name) in (14, 17) and name.lower() in FRAMING  # most tell by their length


def _framed_response(status: int, headers: Headers, body: bytes) -> Response:
    if status < 200 or status in (204, 304):  # these have no body (RFC 9110, section 6.4.1)
        return Response(status, _without(headers, FRAMING))
    return Response(status, _framed(headers, len(body)), body)
