"""Tells what a hook changed: the difference of the message sent to it and its reply, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from tykbridge.outcome import CUSTOM_KEY_CHECK, Headers

Value: TypeAlias = str | bytes | int | float | bool | list[Any]

_RESPONSE = 5
_FIELDS = ("request", "response", "session", "metadata", "spec")
# What a request hook writes to and upstream or client see (contract, section 4).
_REQUEST_EDITS = (
    "request.set_headers",
    "request.delete_headers",
    "request.body",
    "request.raw_body",
    "request.url",
    "request.add_params",
    "request.extended_params",
    "request.delete_params",
    "request.return_overrides",
    "request.method",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One field, map entry or list. `old` or `new` is None where it was not, or is no more, there.

    `acts` is False for what nobody will see: a header written into `headers`, or a session changed by a hook that may
    not change it.
    """

    path: str
    old: Value | None
    new: Value | None
    acts: bool = True


def changes(sent: Any, reply: Any) -> list[Change]:
    """List what differs, in the order of the fields; of a body that is text, only `body`."""
    before, after = flat(sent), flat(reply)
    paths = [*(path for path in before if path not in after), *after]
    order = {name: place for place, name in enumerate(_FIELDS)}
    paths.sort(key=lambda path: order.get(path.partition("[")[0].partition(".")[0], len(order)))
    told = {path for path in paths if before.get(path) != after.get(path)}
    return [
        Change(path, before.get(path), after.get(path), _acts(sent.hook_type, path))
        for path in paths
        if path in told and not (path.endswith(".raw_body") and _same_text(path, before, after))
    ]


def flat(message: Any, prefix: str = "") -> dict[str, Value]:
    """Spread a message out: path to value, such as `request.set_headers["X"]`, for all that is set."""
    found: dict[str, Value] = {}
    for descriptor, value in message.ListFields():
        path = prefix + descriptor.name
        if path == "response.multivalue_headers":
            for header in value:
                values = found.setdefault(f"{path}[{_quoted(header.key)}]", [])
                assert isinstance(values, list)
                values.extend(header.values)
        elif hasattr(value, "items"):
            for key, entry in value.items():
                place = f"{path}[{_quoted(key)}]"
                found.update(flat(entry, place + ".") if hasattr(entry, "ListFields") else {place: entry})
        elif hasattr(value, "ListFields"):
            found.update(flat(value, path + "."))
        elif isinstance(value, str | bytes | int | float):
            found[path] = value
        else:
            found[path] = [str(each) for each in value]
    return found


def marked(before: Headers | None, after: Headers) -> list[tuple[str, tuple[str, str]]]:
    """Mark headers with "+" where they were added to those `before`, "-" where they are gone, " " elsewhere."""
    if before is None:
        return [(" ", pair) for pair in after]
    gone = [("-", pair) for pair in before if pair not in after]
    return [(" " if pair in before else "+", pair) for pair in after] + gone


def _acts(hook_type: int, path: str) -> bool:
    if hook_type == _RESPONSE:
        return path.startswith("response.")
    if path.startswith("session"):
        return hook_type == CUSTOM_KEY_CHECK
    return path.startswith(_REQUEST_EDITS)


def _same_text(path: str, before: dict[str, Value], after: dict[str, Value]) -> bool:
    """Whether `body` changed too, and says the same as `raw_body`."""
    old, new = before.get(path.replace("raw_body", "body"), ""), after.get(path.replace("raw_body", "body"), "")
    return isinstance(new, str) and old != new and new.encode() == after.get(path, b"")


def _quoted(key: object) -> str:
    return '"' + str(key).replace("\\", "\\\\").replace('"', '\\"') + '"'
