"""Makes a call, which is a request and what the upstream answers to it, out of flags as curl has them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import click

from tykbridge.cli.example import Call
from tykbridge.outcome import Headers, Request, Response

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f]")
_FORM = "application/x-www-form-urlencoded"


def is_url(word: str) -> bool:
    """Tell a URL from the name of a hook, which is one of a function."""
    return "/" in word


def make(
    method: str,
    url: str,
    headers: Sequence[str],
    data: Sequence[str],
    status: int | None,
    answer_headers: Sequence[str],
    answer_body: str | None,
) -> tuple[Call, str]:
    """Make a call out of flags; gives the URL's scheme too.

    `url` is a path, or a URL whose host becomes the Host header. `data` are bodies as curl's -d has them: "@file" is
    the file's content, "@-" standard input, several are joined by "&"; they make a POST of a form where nothing else is
    said.

    Raises click.BadParameter: something has not the form that it should have.
    """
    scheme, host, target = _split(url)
    if method and not _TOKEN.fullmatch(method):
        raise click.BadParameter(f"{method!r} is no method", param_hint="-X")
    pairs = [_header(line, "-H") for line in headers]
    names = {name.lower() for name, _ in pairs}
    if "host" not in names:
        pairs.insert(0, ("Host", host or "localhost"))
    body = b"&".join(content(item, "-d") for item in data)
    if data and "content-type" not in names:
        pairs.append(("Content-Type", _FORM))
    if data and "content-length" not in names:
        pairs.append(("Content-Length", str(len(body))))
    request = Request(method or ("POST" if data else "GET"), target, tuple(pairs), body)
    answered = status is not None or bool(answer_headers) or answer_body is not None
    answer = b"" if answer_body is None else content(answer_body, "--response-body")
    response = Response(200 if status is None else status, _answer_headers(answer_headers, answer), answer)
    return Call("", request, response, answered), scheme


def content(value: str, hint: str) -> bytes:
    """Give what an option says: its value, or with "@" before it what a file holds, "@-" being standard input.

    Raises click.BadParameter: the file cannot be read. `hint` names the option.
    """
    if not value.startswith("@"):
        return value.encode("utf-8", "surrogateescape")
    if value == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(value[1:]).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{value[1:]}: {error.strerror}", param_hint=hint) from error


def _split(url: str) -> tuple[str, str, str]:
    """Split a URL, or a path, into scheme, host, and path with query."""
    if _UNFIT.search(url):
        raise click.BadParameter(f"{url!r} has spaces or control characters: write them as %20", param_hint="URL")
    if url.startswith("/"):
        return "http", "", url.partition("#")[0]
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise click.BadParameter(f"{url!r}: {error}", param_hint="URL") from error
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise click.BadParameter(f"{url!r}: expected a path that begins with /, or http://host/path", param_hint="URL")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, parts.netloc.rpartition("@")[2], target


def _header(line: str, hint: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name) or re.search(r"[\r\n\0]", value):
        raise click.BadParameter(f"{line!r}: expected 'Name: value'", param_hint=hint)
    return name, value.strip()


def _answer_headers(lines: Iterable[str], body: bytes) -> Headers:
    pairs = [_header(line, "--response-header") for line in lines]
    if all(name.lower() != "content-length" for name, _ in pairs):
        pairs.append(("Content-Length", str(len(body))))
    return tuple(pairs)
