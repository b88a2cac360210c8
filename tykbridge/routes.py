"""Finds the API that listens on a path, and tells the paths that may be taken for another API's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Generic, TypeAlias, TypeVar
from urllib.parse import unquote

from tykbridge.definition import Definition

_PLAIN = re.compile(r"(?:/[a-z0-9_~-][a-z0-9._~-]*)*/?")
_PARAMETERS = re.compile(r";[^/]*")
_DECODINGS = 4  # nobody means a path that is encoded more often, and each of them costs the length of it

Api = TypeVar("Api")
_Route: TypeAlias = tuple[str, str, Api]
"""Domain, listen path in its plain form, and what listens."""
_Place: TypeAlias = tuple[str, str, _Route[Api]]
"""Domain, a form of the listen path without the slash at its end, and what is there."""


class Routes(Generic[Api]):
    """Listen paths and what listens there. Never changed. Safe to use from any thread.

    Args:
        apis: what listens, each with its definition.
    """

    def __init__(self, apis: Iterable[tuple[Definition, Api]] = ()) -> None:
        listen_paths: list[_Place[Api]] = []
        plain_paths: list[_Place[Api]] = []
        for definition, api in apis:
            route = definition.domain.lower(), plain(definition.listen_path) or "", api
            listen_paths.append((route[0], definition.listen_path.rstrip("/"), route))
            plain_paths.append((route[0], route[1], route))
        # Those with a domain and the longest first.
        self._listen_paths = sorted(listen_paths, key=lambda place: (place[0] == "", -len(place[1])))
        self._plain_paths = sorted(plain_paths, key=lambda place: (place[0] == "", -len(place[1])))

    def find(self, path: str, host: str = "") -> Api | None:
        """Find what listens on a path, the longest listen path; None: nothing does. `host` is the Host header.

        `path` is decoded, without a query: so upstreams read it. None also where the path, in the way in which some
        servers and frameworks read it, is on another listen path, or on none: what one API protects is not reached by
        way of another.
        """
        name = _name(host)
        found, reading = _first(self._listen_paths, path, name), plain(path)
        if found is None or reading is None:
            return None
        meant = _first(self._plain_paths, reading, name)
        return found[2] if meant is not None and meant[:2] == found[:2] else None


def plain(path: str) -> str | None:
    """Give the plainest path that a path may be taken for, without a slash at its end; None: it has no end.

    Decoded again, without empty and dot segments, parameters, blanks and control characters, in one case.
    """
    if _PLAIN.fullmatch(path):
        return path.rstrip("/")
    for _ in range(_DECODINGS):
        decoded = unquote(path)
        if decoded == path:
            break
        path = decoded
    else:
        return None
    path = unicodedata.normalize("NFKC", path).casefold().replace("\\", "/")
    path = "".join(character for character in path if character.isprintable() and character != " ")
    segments: list[str] = []
    for segment in _PARAMETERS.sub("", path).split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return "".join(f"/{segment}" for segment in segments)


def _name(host: str) -> str:
    """Give the name in a Host header: without the port, and without the dot at its end."""
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    return name.lower().removesuffix(".")


def _first(places: list[_Place[Api]], path: str, name: str) -> _Route[Api] | None:
    for domain, place, route in places:
        if domain in ("", name) and _is_on(path, place):
            return route
    return None


def _is_on(path: str, place: str) -> bool:
    return path.startswith(place) and path[len(place) : len(place) + 1] in ("", "/")
