"""Turns JSON text into a tree that is safe to read on.

The standard library's parser, not msgspec's: it knows line and column, and its hooks show the keys that a text holds
twice, of which every parser silently drops one.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from typing import Any, TypeGuard

from tykbridge.definition.problems import Report, key

MAX_BYTES = 32 * 1024 * 1024
"""The largest definition that is read. Big OpenAPI descriptions have some megabytes."""

MAX_DEPTH = 200
"""The deepest nesting that is read; deep OpenAPI schemas reach 30."""


class _Number:
    """A number that is none in JSON, or has no place in a float."""

    def __init__(self, text: str) -> None:
        self.text = text


class _Twice(dict[str, Any]):
    """An object whose text holds some of its keys more than once."""

    names: list[str]


def parse(text: bytes | str, report: Report, what: str = "the API definition") -> dict[str, Any] | None:
    """Read `text` as one JSON object, `what` in messages; None when it is not, with the reasons in `report`."""
    if len(text) > MAX_BYTES:
        report.problem("$", f"at most {MAX_BYTES} bytes", f"{len(text)}")
        return None
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before: bytes = error.object[: error.start]
            line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
            report.problem("$", "UTF-8 text", f"the byte 0x{error.object[error.start]:02x}", line, column)
            return None
    else:
        text = text.removeprefix("\ufeff")
    try:
        tree = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        at = error.pos
        found = f"{text[at : at + 1]!r}" if at < len(text) else "the end of the text"
        report.problem("$", f"JSON ({error.msg[:1].lower()}{error.msg[1:]})", found, error.lineno, error.colno)
        return None
    except RecursionError:
        report.problem("$", f"at most {MAX_DEPTH} levels of nesting", "more")
        return None
    if not _check(tree, report):
        return None
    if not isinstance(tree, dict):
        kind = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}.get(type(tree), "a number")
        report.problem("$", f"an object, {what}", kind)
        return None
    return tree


def _check(tree: Any, report: Report) -> bool:
    """Look for what JSON text can hold and a definition cannot. Iterative: the text's author chooses the depth."""
    good = True
    stack: list[tuple[Any, str, int]] = [(tree, "$", 0)]
    while stack:
        value, path, depth = stack.pop()
        if depth > MAX_DEPTH:
            report.problem("$", f"at most {MAX_DEPTH} levels of nesting", "more")
            return False
        if isinstance(value, dict):
            if isinstance(value, _Twice):
                good = False
                for name in value.names:
                    report.problem(key(path, name), "each key once", f'"{name}" more than once')
            for name in value:
                if not _is_text(name):
                    good = False
                    report.problem(path, "keys that are Unicode text", f"the lone surrogate in {name!a}")
            stack.extend((child, key(path, name), depth + 1) for name, child in value.items())
        elif isinstance(value, list):
            stack.extend((child, f"{path}[{index}]", depth + 1) for index, child in enumerate(value))
        elif isinstance(value, _Number):
            good = False
            report.problem(path, "a number that JSON has and a computer can hold", value.text)
        elif isinstance(value, str) and not _is_text(value):
            good = False
            report.problem(path, "Unicode text", f"the lone surrogate in {value[:60]!a}")
    return good


def is_json(source: str | os.PathLike[str]) -> TypeGuard[str]:
    """Whether a source is JSON text, an object, and not the path of a file."""
    return isinstance(source, str) and source.lstrip("\ufeff \t\r\n").startswith("{")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) == len(pairs):
        return tree
    twice = _Twice(tree)
    twice.names = sorted(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
    return twice


def _integer(text: str) -> int | _Number:
    return int(text) if len(text) <= 100 else _Number(f"{text[:20]}... ({len(text)} digits)")


def _float(text: str) -> float | _Number:
    value = float(text)
    return value if math.isfinite(value) else _Number(text[:60])


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_Number, strict=True
)
