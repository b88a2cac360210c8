"""Takes what is secret out of what is shown of a record: tokens, passwords, cookies.

A value is secret because of where it stands: a header, a cookie, a parameter of the query or a field of a session. What
is long enough not to be there by chance is then hidden wherever else it turns up, in lines of the log say.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote_plus

from tykbridge.changes import Change, Value
from tykbridge.gateway.trace import Record
from tykbridge.outcome import Headers, Request, Response
from tykbridge.steps import ClientStep, HookStep, NoteStep, Seen, Step, UpstreamStep

MASK = "••••••••"
"""What stands for a secret."""

_HEADERS = {
    "authorization",
    "proxy-authorization",
    "x-tyk-authorization",
    "x-api-key",
    "api-key",
    "apikey",
    "x-auth-token",
    "x-access-token",
}
_COOKIES = {"cookie", "set-cookie"}
_PARAMETERS = {"access_token", "api_key", "apikey", "api-key", "token", "password", "secret"}
_FIELDS = re.compile(r"(?i)(secret|password|token|api_?key)")
_NAME = re.compile(r'\["((?:[^"\\]|\\.)*)"\]')  # of a header, in a change's path
_SCHEME = re.compile(r"(?i)(Basic|Bearer|Digest|Token|Hmac|Negotiate|Signature)\s+(?=\S)")
_LOGIN = re.compile(r"(?<=^http://)[^/@]+(?=@)|(?<=^https://)[^/@]+(?=@)")  # of an upstream
_LONG = 6  # characters: what is shorter is hidden in its place only
_MOST = 200  # are looked for elsewhere: a client may send thousands of cookies, and the event loop waits


class Secrets:
    """What is secret in a record, as far as it has got.

    Args:
        record: the record.
    """

    def __init__(self, record: Record) -> None:
        token = record.definition.auth.token if record.definition is not None else None
        self._headers = _HEADERS | ({token.header.lower()} if token is not None and token.header else set())
        self._parameters = _PARAMETERS | ({token.param.lower()} if token is not None and token.param else set())
        found: dict[str, None] = {}  # in the order of what must not be missed
        for step in list(record.steps):
            if isinstance(step, HookStep):
                found[step.token] = None
                for change in step.changes or ():
                    found.update(dict.fromkeys(self._of_change(change)))
        messages = list(_messages(record))
        for message in messages:
            found.update(dict.fromkeys(self._of_headers(message.headers)))
            if isinstance(message, Request):
                found.update((value, None) for name, value in _query(message.url) if name in self._parameters)
        for message in messages:
            found.update(dict.fromkeys(_of_cookies(message.headers)))
        words = [word for word in found if len(word) >= _LONG][:_MOST]
        # The longest first: a secret may be a part of another.
        self._words = sorted(words, key=lambda word: (-len(word), word))

    def text(self, text: str) -> str:
        """Hide what is secret in a text."""
        for word in self._words:
            text = text.replace(word, MASK)
        return text

    def header(self, name: str, value: str) -> str:
        """Hide what is secret in a header's value."""
        lower = name.lower()
        if lower in self._headers:
            scheme = _SCHEME.match(value)
            return f"{scheme.group()}{MASK}" if scheme else MASK if value else ""
        if lower in _COOKIES:
            first, *rest = value.split(";")
            rest = [_masked_pair(item) if lower == "cookie" else self.text(item) for item in rest]
            return ";".join([_masked_pair(first), *rest])
        return self.text(value)

    def url(self, url: str) -> str:
        """Hide what is secret in a url."""
        path, mark, query = url.partition("?")
        items = [
            f"{item.partition('=')[0]}={MASK}"
            if "=" in item and unquote_plus(item.partition("=")[0]).lower() in self._parameters
            else item
            for item in query.split("&")
        ]
        return _LOGIN.sub(MASK, self.text(path), count=1) + mark + self.text("&".join(items))

    def headers(self, headers: Headers) -> Headers:
        """Hide what is secret in headers."""
        return tuple((name, self.header(name, value)) for name, value in headers)

    def request(self, request: Request) -> Request:
        """Hide what is secret in a request."""
        return Request(request.method, self.url(request.url), self.headers(request.headers), self.body(request.body))

    def response(self, response: Response) -> Response:
        """Hide what is secret in a response."""
        return Response(response.status, self.headers(response.headers), self.body(response.body))

    def body(self, body: bytes) -> bytes:
        """Hide what is secret in a body."""
        for word in self._words:
            body = body.replace(word.encode("utf-8", "surrogateescape"), MASK.encode())
        return body

    def step(self, step: Step) -> Step:
        """Hide what is secret in a step."""
        match step:
            case HookStep():
                return replace(
                    step,
                    seen=self._of_seen(step.seen),
                    changes=None if step.changes is None else tuple(map(self._change, step.changes)),
                    failure=self.text(step.failure),
                    fault=self.text(step.fault),
                    token=MASK if step.token else "",
                    warnings=tuple(map(self.text, step.warnings)),
                )
            case UpstreamStep():
                return replace(
                    step,
                    request=step.request and self.request(step.request),
                    response=step.response and self.response(step.response),
                    failure=self.text(step.failure),
                )
            case ClientStep():
                return replace(step, response=self.response(step.response))
            case NoteStep():
                return replace(step, seen=self._of_seen(step.seen))
        return step

    # ---- Where secrets stand

    def _of_headers(self, headers: Headers) -> Iterator[str]:
        for name, value in headers:
            if name.lower() in self._headers:
                yield from _parts(value)

    def _of_change(self, change: Change) -> Iterator[str]:
        name = _name(change.path)
        for value in (change.old, change.new):
            values = value if isinstance(value, list) else [value]
            for each in values:
                if not isinstance(each, str):
                    continue
                if self._is_field(change.path):
                    yield each
                elif name and "header" in change.path:
                    yield from self._of_headers(((name, each),))
                    yield from _of_cookies(((name, each),))

    def _change(self, change: Change) -> Change:
        return replace(change, old=self._value(change.path, change.old), new=self._value(change.path, change.new))

    def _value(self, path: str, value: Value | None) -> Value | None:
        if isinstance(value, bytes):
            return self.body(value)
        if isinstance(value, list):
            return [self._value(path, each) for each in value]
        if not isinstance(value, str):
            return value
        if self._is_field(path):
            return MASK if value else value
        name = _name(path)
        if name and "header" in path.partition("[")[0]:
            return self.header(name, value)
        if path.endswith((".url", ".request_uri")):
            return self.url(value)
        return self.text(value)

    def _is_field(self, path: str) -> bool:
        """Whether a field of a session, or a parameter, is secret by its name."""
        if path.startswith(("session", "metadata")):
            return _FIELDS.search(path) is not None
        return "params[" in path and _name(path).lower() in self._parameters

    def _of_seen(self, seen: Seen) -> Seen:
        return Seen(
            [self.text(line) for line in seen.printed],
            [(level, self.text(words)) for level, words in seen.logged],
            [(name, self.text(payload)) for name, payload in seen.events],
        )


def _messages(record: Record) -> Iterator[Request | Response]:
    yield record.request
    for step in record.steps:
        if isinstance(step, UpstreamStep | ClientStep):
            yield from (message for message in (getattr(step, "request", None), step.response) if message is not None)


def _of_cookies(headers: Headers) -> Iterator[str]:
    for name, value in headers:
        lower = name.lower()
        if lower == "cookie":
            yield from (item.partition("=")[2].strip() for item in value.split(";"))
        elif lower == "set-cookie":
            yield value.partition(";")[0].partition("=")[2].strip()


def _parts(value: str) -> Iterator[str]:
    """Give what is secret in an Authorization: what comes behind the scheme, and Basic's password."""
    scheme = _SCHEME.match(value)
    secret = value[scheme.end() :] if scheme else value
    yield secret
    if scheme and scheme.group(1).lower() == "basic":
        try:
            yield base64.b64decode(secret, validate=True).decode().partition(":")[2]
        except ValueError:
            return


def _query(url: str) -> Iterator[tuple[str, str]]:
    for item in url.partition("?")[2].split("&"):
        name, _, value = item.partition("=")
        yield unquote_plus(name).lower(), value
        yield unquote_plus(name).lower(), unquote_plus(value)


def _masked_pair(item: str) -> str:
    name, mark, value = item.partition("=")
    return f"{name}={MASK}" if mark and value else item


def _name(path: str) -> str:
    """Give the name of the header or parameter that a change's path is about, "" for none."""
    found = _NAME.search(path)
    return re.sub(r"\\(.)", r"\1", found.group(1)) if found else ""
