"""Tells which requests a virtual endpoint answers.

Its path is a regular expression that is looked for in the request's path behind the listen path, escapes decoded. As in
upstream (PreparePathRegexp of TykTechnologies/tyk), "{name}" stands for a part of the path, "/*/" for one, "/*" for the
rest, and it is not anchored: "/stock" is found in "/v2/stock/7" as well, "^/stock$" is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

from tykbridge.regex import compile_regex

_NAME = re.compile(r"{[^}]+}")
_PLAIN = re.compile(r"[A-Za-z0-9/_%~@:;,=&!'-]*")


class _Pattern(Protocol):
    def search(self, text: str) -> object: ...


class _Text:
    """A pattern that stands for itself: for most endpoints no engine is needed."""

    def __init__(self, text: str) -> None:
        self._text = text

    def search(self, text: str) -> object:
        return True if self._text in text else None


def compile_path(path: str) -> _Pattern:
    """Make what finds an endpoint's path. Raises `regex.RegexError` and `regex.MissingEngineError`."""
    if 0 < path.count("{") == path.count("}"):
        path = _NAME.sub("([^/]+)", path)
    path = path.replace("/*/", "/[^/]+/").replace("/*", "/.*")
    found: _Pattern = _Text(path) if _PLAIN.fullmatch(path) else compile_regex(path)
    return found


@dataclass(frozen=True)
class Endpoint:
    """Where an endpoint of an API is.

    Attributes:
        method: its method.
        path: as the definition has it.
        listen_path: the API's.
    """

    method: str
    path: str
    listen_path: str

    def finder(self) -> Any:
        """Give a function that tells of a request, a view of a MiniRequestObject, whether it is for this endpoint.

        Raises what `compile_path` does.
        """
        pattern, method = compile_path(self.path), self.method
        before = "" if self.listen_path == "/" else self.listen_path

        def is_for_it(request: Any) -> bool:
            if request.method != method:
                return False
            path = unquote(request.url.partition("?")[0]).removeprefix(before)
            return pattern.search(path if path.startswith("/") else f"/{path}") is not None

        return is_for_it
