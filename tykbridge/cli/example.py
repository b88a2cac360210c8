"""Reads requests to play from a file, and an example: a bundle's folder with request.json beside its manifest.json.

request.json:

    {
      "about": "what the example shows",
      "api": {"org_id": "...", "api_id": "...", "config_data": {...}, "event_handlers": {...}, "version_data": {...}},
      "calls": [
        {
          "about": "what is special about this call",
          "request": {"method": "GET", "url": "/a?b=1", "headers": {"Name": "value", "Other": ["a", "b"]}, "body": ""},
          "upstream": {"status": 200, "headers": {...}, "body": ""}
        }
      ]
    }

`api` is a part of a classic API definition; of version_data its virtual endpoints count. Only `calls` and a call's
`request` must be there; a file that has one call may be that call itself. Content-Length is added.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tykbridge.definition import VirtualEndpoint
from tykbridge.outcome import Headers, Request, Response

T = TypeVar("T")

_SECTIONS = (("pre", 1), ("auth_check", 4), ("post_key_auth", 3), ("post", 2), ("response", 5))
_WORDS: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


class ExampleError(Exception):
    """What is wrong with an example, with file and place."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook of the manifest. `section` is its place in custom_middleware, `hook_type` coprocess.HookType's number."""

    section: str
    hook_type: int
    name: str
    raw_body_only: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A request to play, and what the upstream answers to it.

    `answered` is False where nobody said what the upstream answers: then it is an empty 200.
    """

    about: str
    request: Request
    upstream: Response
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Scenario:
    """A file of calls, and the part of an API definition in it. "" stands for what it does not say."""

    about: str
    calls: tuple[Call, ...]
    org_id: str
    api_id: str
    config_data: str
    """JSON text."""
    event_handlers: dict[str, tuple[str, ...]]
    """The names of the functions that hear an event, by the event's name."""
    endpoints: tuple[VirtualEndpoint, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A bundle with its hooks, in the order of the chain, and its calls."""

    name: str
    about: str
    folder: Path
    hooks: tuple[Hook, ...]
    calls: tuple[Call, ...]
    org_id: str
    api_id: str
    config_data: str
    """JSON text, "" without any."""
    event_handlers: dict[str, tuple[str, ...]]
    """The names of the functions that hear an event, by the event's name."""
    endpoints: tuple[VirtualEndpoint, ...] = ()


def find(folder: Path) -> list[Path]:
    """Find the bundles in `folder`, which may be one itself, sorted."""
    return sorted(manifest.parent for manifest in folder.rglob("manifest.json"))


def read(folder: Path, name: str) -> Example:
    """Read the bundle in `folder` as the example `name`.

    Raises ExampleError: a file is missing, is no JSON, or holds something else than it should.
    """
    hint = "; an example is a bundle with manifest.json and request.json"
    manifest = _Table.of(folder / "manifest.json", hint)
    scenario = read_scenario(folder / "request.json", hint)
    return Example(
        name=name,
        about=scenario.about,
        folder=folder,
        hooks=tuple(_hooks(manifest.table("custom_middleware"))),
        calls=scenario.calls,
        org_id=scenario.org_id,
        api_id=scenario.api_id or name,
        config_data=scenario.config_data,
        event_handlers=scenario.event_handlers,
        endpoints=scenario.endpoints,
    )


def read_scenario(file: Path, hint: str = "") -> Scenario:
    """Read a file of calls. `hint` follows the words "not found" when there is none.

    Raises ExampleError: the file is missing, is no JSON, or holds something else than it should.
    """
    scenario = _Table.of(file, hint)
    if "calls" not in scenario.value and "request" in scenario.value:
        calls = [scenario]
    else:
        scenario.take("calls", list)
        calls = scenario.tables("calls")
    api = scenario.table("api")
    config_data = api.take("config_data", dict, {})
    handlers = {
        event: tuple(
            entry.table("handler_meta").take("name", str)
            for entry in api.table("event_handlers").table("events").tables(event)
            if entry.take("handler_name", str) in ("cp_dynamic_handler", "eh_dynamic_handler")
        )
        for event in api.table("event_handlers").take("events", dict, {})
    }
    return Scenario(
        about="" if calls == [scenario] else scenario.take("about", str, ""),
        calls=tuple(_call(call) for call in calls),
        org_id=api.take("org_id", str, ""),
        api_id=api.take("api_id", str, ""),
        config_data=json.dumps(config_data) if config_data else "",
        event_handlers=handlers,
        endpoints=tuple(_endpoints(api.table("version_data").table("versions"))),
    )


def _endpoints(versions: _Table) -> Iterable[VirtualEndpoint]:
    for version in map(versions.table, versions.value):
        if not version.take("use_extended_paths", bool, False):
            continue
        for entry in version.table("extended_paths").tables("virtual"):
            if not entry.take("disabled", bool, False):
                yield VirtualEndpoint(
                    function=entry.take("response_function_name", str),
                    path=entry.take("path", str),
                    method=entry.take("method", str),
                    where=entry.path,
                    proxy_on_error=entry.take("proxy_on_error", bool, False),
                )


def _hooks(middleware: _Table) -> Iterable[Hook]:
    for section, hook_type in _SECTIONS:
        entries = [middleware.table(section)] if section == "auth_check" else middleware.tables(section)
        for entry in entries:
            # Gateways write an auth_check that is not used as one without a name.
            if (entry.value.get("name") or section != "auth_check") and not entry.take("disabled", bool, False):
                yield Hook(section, hook_type, entry.take("name", str), entry.take("raw_body_only", bool, False))


def _call(call: _Table) -> Call:
    request, upstream = call.table("request"), call.table("upstream")
    sent, answer = _body(request), _body(upstream)
    return Call(
        call.take("about", str, ""),
        Request(request.take("method", str), request.take("url", str), _headers(request, sent or None), sent),
        Response(upstream.take("status", int, 200), _headers(upstream, answer), answer),
        call.value.get("upstream") is not None,
    )


def _body(message: _Table) -> bytes:
    return message.take("body", str, "").encode()


def _headers(message: _Table, body: bytes | None) -> Headers:
    """Read the headers, and add the length of the body."""
    headers = message.table("headers")
    pairs: list[tuple[str, str]] = []
    for name, value in headers.value.items():
        if isinstance(value, list):
            pairs += [(name, headers.expect(each, str, name)) for each in value]
        else:
            pairs.append((name, headers.take(name, str)))
    if body is not None:
        pairs.append(("Content-Length", str(len(body))))
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class _Table:
    """A JSON object that knows its file and its path there, for errors."""

    value: dict[str, Any]
    file: Path
    path: str = ""

    @classmethod
    def of(cls, file: Path, hint: str) -> _Table:
        try:
            value = json.loads(file.read_bytes())
        except FileNotFoundError:
            raise ExampleError(f"{file}: not found{hint}") from None
        except (OSError, ValueError) as error:
            raise ExampleError(f"{file}: {error}") from None
        if not isinstance(value, dict):
            raise ExampleError(f"{file}: expected an object")
        return cls(value, file)

    def expect(self, value: Any, kind: type[T], key: str) -> T:
        if type(value) is not kind:
            where = f"{self.path}.{key}".lstrip(".")
            raise ExampleError(f"{self.file}: {where}: expected {_WORDS[kind]}, not {json.dumps(value):.40}")
        return value

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        if self.value.get(key) is not None:
            return self.expect(self.value[key], kind, key)
        if default is None:
            raise ExampleError(f"{self.file}: {self.path + '.' + key if self.path else key}: missing")
        return default

    def table(self, key: str) -> _Table:
        return _Table(self.take(key, dict, {}), self.file, f"{self.path}.{key}".lstrip("."))

    def tables(self, key: str) -> list[_Table]:
        entries = self.take(key, list, [])
        path = f"{self.path}.{key}".lstrip(".")
        return [
            _Table(self.expect(entry, dict, f"{key}[{i}]"), self.file, f"{path}[{i}]")
            for i, entry in enumerate(entries)
        ]
