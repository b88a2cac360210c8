"""Fills in `$tyk_context.NAME` where hooks set headers and rewrite urls (docs/context-variables.md).

The values are the client's: they are filled in once, never looked at for further variables; in a url each is one
percent-encoded piece, and no step up. What comes out is checked as all that hooks set, after this.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from tykbridge._bridge import text
from tykbridge.outcome import Request

LIMIT = 16_384
"""Characters that a header or a url may have once its variables are filled in."""

LABEL = "$tyk_context."
_VARIABLE = re.compile(r"\$tyk_context\.([A-Za-z0-9_.-]+)")  # upstream's names: a dot that follows one belongs to it
_FORM = "application/x-www-form-urlencoded"


class _TooLongError(Exception):
    """What is filled in would pass `LIMIT`."""


class ContextVariables:
    """The variables of one request.

    Attributes:
        token: the client's key, once authentication knows it; "" before.
    """

    def __init__(self, request: Request) -> None:
        """Take them from a request as the client sent it. What nobody asks for is not worked out."""
        self.token = ""
        self._request = request
        self._request_id = ""
        self._data: str | None = None

    def fill(self, message: Any, url: str) -> str:
        """Fill in the headers that a hook set, and its url where that is another than `url`.

        `message` is the MiniRequestObject that the hook left; it is changed. Gives "", or what the hook did wrong, in
        words that follow its name.
        """
        for name, value in list(message.set_headers.items()):
            if LABEL in value:
                try:
                    message.set_headers[name] = self._filled(value, str)
                except _TooLongError:
                    return f"set the header {name!a:.80} to more than {LIMIT} characters, by way of {LABEL}*"
        if message.url == text(url) or LABEL not in message.url:
            return ""
        try:
            return self._fill_url(message)
        except _TooLongError:
            return f"set a url of more than {LIMIT} characters, by way of {LABEL}*"

    def get(self, name: str) -> str:
        """Give the value of a variable, "" for one that is not there, as upstream does."""
        match name.partition("_"):
            case "headers", "_", header:
                return self._header(header)
            case "cookies", "_", cookie:
                return self._cookie(cookie)
        match name:
            case "path":
                return self._path
            case "path_parts":
                return ",".join(self._path.split("/"))
            case "request_data":
                return self._request_data()
            case "remote_addr":
                forwarded = self._header("X_Forwarded_For").partition(",")[0].strip()
                return self._header("X_Real_Ip") or forwarded
            case "request_id":
                self._request_id = self._request_id or str(uuid.uuid4())
                return self._request_id
            case "token":
                return self.token
        return ""

    def _filled(self, template: str, encode: Callable[[str], str]) -> str:
        parts: list[str] = []
        size = at = 0
        for found in _VARIABLE.finditer(template):
            # Counted while it grows: a client may have sent what is asked for many times.
            parts += template[at : found.start()], encode(text(self.get(found[1])))
            size += len(parts[-2]) + len(parts[-1])
            if size > LIMIT:
                raise _TooLongError
            at = found.end()
        parts.append(template[at:])
        if size + len(parts[-1]) > LIMIT:
            raise _TooLongError
        return "".join(parts)

    def _fill_url(self, message: Any) -> str:
        path, mark, query = message.url.partition("?")
        steps = []
        for step in path.split("/"):
            filled = self._filled(step, _quoted)
            if filled != step and unquote(filled) in (".", ".."):
                return f"set a url whose path goes up, by way of {step!a:.80}"
            steps.append(filled)
        url = "/".join(steps) + mark + self._filled(query, _quoted)
        if len(url) > LIMIT:
            raise _TooLongError
        message.url = url
        return ""

    # ---- Where they come from

    @property
    def _path(self) -> str:
        return unquote(self._request.url.partition("?")[0])

    def _header(self, wanted: str) -> str:
        for name, value in self._request.headers:
            # As Go spells a header: "x-api-key" is headers_X_Api_Key.
            if "_".join(word.capitalize() for word in name.split("-")) == wanted:
                return value
        return ""

    def _cookie(self, wanted: str) -> str:
        found = ""
        for name, value in self._request.headers:
            if name.lower() == "cookie":
                for pair in value.split(";"):
                    key, mark, content = pair.strip().partition("=")
                    if mark and key.replace("-", "_") == wanted:
                        found = content[1:-1] if content[:1] == content[-1:] == '"' and len(content) > 1 else content
        return found

    def _request_data(self) -> str:
        """Give form and query as "name:value,value;name:value", the form's values first."""
        if self._data is None:
            request, query = self._request, self._request.url.partition("?")[2]
            form = ""
            if request.method in ("POST", "PUT", "PATCH") and self._header("Content_Type").startswith(_FORM):
                form = request.body[: 3 * LIMIT + 1].decode("utf-8", "replace")
            if len(form) + len(query) > 3 * LIMIT:  # three characters for one is the most that encoding takes
                raise _TooLongError
            values: dict[str, list[str]] = {}
            for name, value in parse_qsl(form, keep_blank_values=True) + parse_qsl(query, keep_blank_values=True):
                values.setdefault(name, []).append(value)
            self._data = ";".join(f"{name}:{','.join(items)}" for name, items in values.items())
        return self._data


def _quoted(value: str) -> str:
    return quote(value, safe="")
