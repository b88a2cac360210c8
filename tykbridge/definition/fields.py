"""Reads a JSON object into a Struct field by field, so that every wrong field is reported.

msgspec converts whole objects and stops at the first error; here it converts one scalar at a time. A Struct that
describes an object gives every field a default. JSON null is the default as well, as in Tyk, whose exports write
`"pre": null`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from tykbridge.definition.problems import Report, describe, guess, key

T = TypeVar("T", bound=msgspec.Struct)

_WORDS = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}
_BROKEN = object()
_TYPING_ERROR = 0.87
"""How alike two keys are when one looks like the other, mistyped (difflib's ratio); no two keys of Tyk's come close."""


def fill(report: Report, layout: type[T], value: Any, path: str, *, closed: bool = False) -> T:
    """Read the object `value` at `path` into `layout`; fields that are wrong are reported and keep their default.

    With `closed`, every key that the layout does not know gets a notice, because a typing error there leaves a hook
    out; otherwise only the keys that look like typing errors, since Tyk has many more keys than are read here.
    A key that differs from a known one in upper and lower case alone is read as that one, as upstream does. A layout's
    field `extra` takes the keys that it does not know; its class variable `OTHERS` names keys of upstream's that look
    like a known one mistyped, and are not.
    """
    if not isinstance(value, dict):
        if value is not None:
            report.problem(path, "an object", describe(value))
        return layout()
    fields = {field.encode_name: field for field in msgspec.structs.fields(layout)}
    collects = fields.pop("extra", None) is not None
    spelled = _spellings(report, set(fields), value, path)
    read: dict[str, Any] = {}
    for name, field in fields.items():
        given = value.get(spelled.get(name, name))
        if given is None:
            continue
        item = _read(report, field.type, given, key(path, name), closed)
        if item is not _BROKEN:
            read[field.name] = item
    known = set(fields) | set(spelled.values())
    if collects:
        read["extra"] = {name: item for name, item in value.items() if name not in known}
    _name_strangers(report, known, list(fields), getattr(layout, "OTHERS", ()), value, path, closed)
    return layout(**read)


def _spellings(report: Report, names: set[str], value: dict[str, Any], path: str) -> dict[str, str]:
    """Find the fields that the file spells in another case: the field's name → the file's spelling."""
    spelled: dict[str, str] = {}
    lower = {name.lower(): name for name in names}
    for given in value:
        name = lower.get(given.lower())
        if name is None or name == given:
            continue
        if name in value or name in spelled:
            report.problem(key(path, given), f'"{name}" once', f'"{spelled.get(name, name)}" and "{given}"')
        else:
            spelled[name] = given
            report.notice(key(path, given), f'read as "{name}"', inferred=True)
    return spelled


def _name_strangers(
    report: Report,
    known: set[str],
    names: list[str],
    others: Collection[str],
    value: dict[str, Any],
    path: str,
    closed: bool,
) -> None:
    for name in value:
        if name in known:
            continue
        cutoff = 0.6 if closed else _TYPING_ERROR
        hint = "" if name.lower() in others else guess(name, names, cutoff)
        if hint or closed:
            report.notice(key(path, name), f"not a key that is known here, it has no effect{hint}")


def _read(report: Report, kind: Any, value: Any, path: str, closed: bool) -> Any:
    if get_origin(kind) is Annotated:
        plain = _read(report, get_args(kind)[0], value, path, closed)
        return plain if plain is _BROKEN else _scalar(report, kind, plain, path)
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and origin is None and issubclass(kind, msgspec.Struct):
        return fill(report, kind, value, path, closed=closed)
    if origin is list and arguments[0] is not Any:
        if not isinstance(value, list):
            report.problem(path, f"a list of {_words(arguments[0], many=True)}", describe(value))
            return _BROKEN
        items = [_read(report, arguments[0], item, f"{path}[{index}]", closed) for index, item in enumerate(value)]
        return [item for item in items if item is not _BROKEN]
    if origin is dict and arguments[1] is not Any:
        if not isinstance(value, dict):
            report.problem(path, "an object", describe(value))
            return _BROKEN
        members = {
            name: _read(report, arguments[1], item, key(path, name), closed)
            for name, item in value.items()
            if item is not None
        }
        return {name: item for name, item in members.items() if item is not _BROKEN}
    return _scalar(report, kind, value, path)


def _scalar(report: Report, kind: Any, value: Any, path: str) -> Any:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        report.problem(path, _words(kind), describe(value))
        return _BROKEN


def _words(kind: Any, *, many: bool = False) -> str:
    if many:
        return "strings" if kind is str else "lists" if get_origin(kind) is list else "objects"
    if get_origin(kind) is dict:
        return "an object"
    if get_origin(kind) is Annotated:
        return "a whole number of 64 bits"
    if kind in _WORDS:
        return _WORDS[kind]
    return " or ".join(_WORDS[choice] for choice in get_args(kind) if choice is not type(None))
