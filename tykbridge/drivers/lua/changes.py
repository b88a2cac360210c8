"""What a hook in Lua sees of a message, and what becomes of it: fields between views and Lua's values."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tykbridge import _bridge


class ChangeError(ValueError):
    """A value that a message cannot hold; the words name the field."""


class _Node:
    """A message within the Object: how it is reached, and the kinds of its fields."""

    def __init__(self, path: tuple[str, ...]) -> None:
        self.path, self.name = path, ".".join(path)
        self.types: dict[str, type] = {}  # of scalars
        self.of: Callable[[Any], Any] = operator.attrgetter(self.name) if path else lambda message: message


def _nodes() -> tuple[list[_Node], str]:
    """Name every message that a path of fields leads to, from the Object on, and write down their fields for Lua."""
    nodes = [_Node(()), *(_Node((name,)) for name in ("request", "session", "response"))]
    lines = []
    for node in nodes:  # it grows
        view = _bridge.message("Object")
        for name in node.path:
            view = getattr(view, name)
        number = nodes.index(node)
        for field in view.DESCRIPTOR.fields:
            if not node.path and field.name not in ("metadata", "spec"):
                continue
            value = getattr(view, field.name)
            child, kind = 0, _kind(field, value)
            if kind in ("body", "value"):
                node.types[field.name] = type(value)
            if kind == "message":
                child = len(nodes)
                nodes.append(_Node((*node.path, field.name)))
            lines.append(f"{number} {node.name or 'message'} {field.name} {kind} {child}")
    return nodes, "\n".join(lines)


def _kind(field: Any, value: Any) -> str:
    if isinstance(value, _bridge.Map):
        return "deep" if field.message_type.fields_by_name["value"].message_type is not None else "map"
    if isinstance(value, _bridge.List):
        return "deep"
    if field.name in ("body", "raw_body"):
        return "body"
    return "message" if field.message_type is not None else "value"


_NODES, LAYOUT = _nodes()
"""LAYOUT: a line for each field: number and name of its message, its name, its kind, the number of its message."""


_KINDS = {bytes: "a string", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


class Target:
    """A message that a hook works on."""

    def __init__(self, message: Any) -> None:
        self._message = message

    def _view(self, node: int) -> Any:
        return _NODES[node].of(self._message)

    def get(self, node: int, name: str) -> Any:
        """Give a scalar."""
        value = self._read(node, name, lambda: getattr(self._view(node), name))
        return value.encode() if isinstance(value, str) else value

    def get_entry(self, node: int, name: str, key: bytes) -> bytes | None:
        """Give the text of a key, None without one."""
        try:
            text = key.decode()
        except UnicodeDecodeError:
            return None
        value = self._read(node, name, lambda: getattr(self._view(node), name).get(text))
        return None if value is None else value.encode()

    def get_all(self, node: int, name: str) -> Any:
        """Give a whole map or list, in Python's own types."""
        return self._read(node, name, lambda: _plain(getattr(self._view(node), name)))

    def _read(self, node: int, name: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except UnicodeDecodeError:
            raise ChangeError(f"{_NODES[node].name}.{name} came with bytes that are not UTF-8") from None

    def apply(self, made: Sequence[Any]) -> None:
        """Apply changes, five values for each. Raises ChangeError."""
        for at in range(0, len(made), 5):
            what, node, field, key, value = made[at : at + 5]
            name = field.decode()
            view, types = _NODES[node].of(self._message), _NODES[node].types
            if what == b"entry":
                try:
                    getattr(view, name)[key.decode()] = value.decode()
                except UnicodeDecodeError:
                    words = f'{_NODES[node].name}.{name}["{key.decode("utf-8", "replace")}"] must be UTF-8'
                    raise ChangeError(words) from None
                continue
            full = f"{_NODES[node].name}.{name}".removeprefix(".")
            if what == b"gone":
                getattr(view, name).pop(_text(key, f"a key of {full}"))
            elif what == b"clear":
                # A body is set to nothing rather than cleared: what is written last counts, also where it is empty.
                if types.get(name) in (str, bytes):
                    setattr(view, name, types[name]())
                else:
                    view.ClearField(name)
            elif what == b"value":
                _set(view, name, types[name], key, full)
            else:
                _set_deep(view, name, key, full)


def _set(view: Any, name: str, kind: type, value: Any, full: str) -> None:
    """Set a scalar. What was there is not looked at: it may be no text."""
    if kind is str:
        if type(value) is not bytes:
            raise _wrong(full, "a string", value)
        value = _text(value, full)
    elif kind is bytes:
        if type(value) is not bytes:
            raise _wrong(full, "a string", value)
    elif kind is bool:
        if type(value) is not bool:
            raise _wrong(full, "true or false", value)
    else:
        if type(value) not in (int, float):
            raise _wrong(full, "a number", value)
        if kind is int:
            if value != value or value in (float("inf"), float("-inf")) or int(value) != value:
                raise ChangeError(f"{full} must be a whole number, not {value}")
            value = int(value)
    try:
        setattr(view, name, value)
    except ValueError as error:
        raise ChangeError(f"{full}: {error}") from None


def _set_deep(view: Any, name: str, text: bytes, full: str) -> None:
    """Put a list, or a map of messages, in the place of what is there."""
    try:
        given = msgspec.json.decode(text)
    except (ValueError, RecursionError):  # msgspec's errors, too
        raise ChangeError(f"{full} must hold UTF-8 texts") from None
    place = getattr(view, name)
    try:
        if isinstance(place, _bridge.Map):
            if not isinstance(given, dict):
                raise TypeError("it must be a table with names as keys")
            holder = view.FromString(b"")
            fresh = getattr(holder, name)
            for key, fields in given.items():
                _fill(fresh[key], fields)
            place.clear()
            for key in given:
                place[key].CopyFrom(fresh[key])
            return
        holder = view.FromString(b"")
        fresh = getattr(holder, name)
        _extend(fresh, given, _has_messages(view, name), "it")
        del place[:]
        place.extend(list(fresh))
    except (TypeError, ValueError, AttributeError) as error:
        raise ChangeError(f"{full}: {error}") from None


def _fill(message: Any, fields: Any) -> None:
    """Set the fields of a message out of JSON; an empty list is an empty object as well, as they are in Lua."""
    if fields == []:
        return
    if not isinstance(fields, dict):
        raise TypeError("a message must be a table with its fields as keys")
    for name, value in fields.items():
        try:
            place = getattr(message, name)
        except AttributeError:
            raise TypeError(f'there is no field "{name}"') from None
        if isinstance(place, _bridge.List):
            _extend(place, value, _has_messages(message, name), f'"{name}"')
            continue
        try:
            setattr(message, name, value)
        except (TypeError, AttributeError):
            raise TypeError(f'"{name}" cannot be {_kind_of(value)}') from None


def _has_messages(view: Any, name: str) -> bool:
    return view.DESCRIPTOR.fields_by_name[name].message_type is not None


def _extend(place: Any, items: Any, has_messages: bool, what: str) -> None:
    """Add what a list in JSON holds; an empty object is an empty list as well."""
    if not isinstance(items, list) and items != {}:
        raise TypeError(f"{what} must be a list, not {_kind_of(items)}")
    for item in items:
        if has_messages:
            _fill(place.add(), item)
            continue
        try:
            place.append(item)
        except TypeError:
            raise TypeError(f"{what} cannot hold {_kind_of(item)}") from None


def _kind_of(value: Any) -> str:
    if value is None:
        return "cjson.null, or nil between others"
    return _KINDS.get(type(value), "a table")


def _plain(value: Any) -> Any:
    if isinstance(value, _bridge.Map):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, _bridge.List):
        return [_plain(item) for item in value]
    if isinstance(value, (str, bytes, int, float)):
        return value
    return {field.name: _plain(getattr(value, field.name)) for field in value.DESCRIPTOR.fields}


def _text(value: Any, what: str) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        raise ChangeError(f"{what} must be UTF-8") from None


def _wrong(name: str, wanted: str, value: Any) -> ChangeError:
    return ChangeError(f"{name} must be {wanted}, not {_kind_of(value)}")


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def decode(text: bytes, room: int) -> Any:
    """Decode JSON for Lua. Raises ChangeError, and MemoryError where Lua has no room for so many values."""
    # Python needs many times what Lua does, and nobody limits it.
    least = _least(text)
    if least > room and least - sum(_least(string[0]) for string in _STRING.finditer(text)) > room:
        raise MemoryError
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:  # msgspec's errors, too
        raise ChangeError(f"cjson.decode: {error}") from None


def _least(text: bytes) -> int:
    """Count the bytes that the values of JSON take in Lua at least."""
    return 16 * text.count(b",") + 56 * (text.count(b"[") + text.count(b"{"))


def tokens(value: Any) -> Iterator[Any]:
    """Give a value of JSON's types as a row of tokens, which json.lua puts together again."""
    if value is None:
        yield 0
    elif isinstance(value, Mapping):
        yield 2
        yield len(value)
        for key, item in value.items():
            yield str(key).encode("utf-8", "replace")
            yield from tokens(item)
    elif isinstance(value, (list, tuple)):
        yield 3
        yield len(value)
        for item in value:
            yield from tokens(item)
    else:
        yield 1
        if isinstance(value, str):
            yield value.encode("utf-8", "replace")
        elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            try:
                yield float(value)
            except OverflowError:
                raise ChangeError("cjson.decode: Number out of range") from None
        else:
            yield value
