"""Says which names of bundles may be downloaded: relative paths that stay below the base URL, and nothing cleverer."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def fault(name: str) -> str:
    """Gives what is wrong with a bundle's name, "" for one that may be downloaded.

    A name becomes a part of a URL and of a path, so what could lead either elsewhere is refused.
    """
    if not name:
        return "it is empty"
    if not name.isprintable():  # control characters, halves of surrogate pairs, line separators
        return "it has characters that cannot be printed"
    for sign, what in (("\\", "a backslash"), ("?", "a ?"), ("#", "a #")):
        if sign in name:
            return f"it has {what}"
    if name.startswith("/"):
        return "it is absolute"
    if found := _SCHEME.match(name):
        return f'it begins with the scheme "{found[0]}"'
    segments = name.split("/")
    if "" in segments:
        return "a part of it between slashes is empty"
    for dots in ("..", "."):
        if dots in segments:
            return f'it has "{dots}" between its slashes'
    return ""
