"""What a test sends, what the upstream gets and answers, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

HeaderInput: TypeAlias = Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]]
"""Headers as a test gives them: {"Name": "value", "Other": ["one", "two"]}, or pairs in their order."""


class Headers(Mapping[str, str]):
    """Headers by name, whose case does not count. A name stands for its first value; `all` has the others, too.

    Attributes:
        pairs: names and values in the order of the wire.
    """

    def __init__(self, headers: HeaderInput = ()) -> None:
        self.pairs = tuple(pairs_of(headers))

    def __getitem__(self, name: str) -> str:
        for value in self.all(name):
            return value
        raise KeyError(f"there is no header {name}; there are: {', '.join(self) or 'none'}")

    def __iter__(self) -> Iterator[str]:
        return iter({name.lower(): name for name, _ in reversed(self.pairs)}.values())

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.pairs})

    def __repr__(self) -> str:
        return f"Headers({list(self.pairs)})"

    def all(self, name: str) -> list[str]:
        """Give all values of a name, in their order; none where it is not there."""
        return [value for key, value in self.pairs if key.lower() == name.lower()]


def pairs_of(headers: HeaderInput) -> list[tuple[str, str]]:
    """Spread headers out: a pair for each value."""
    if isinstance(headers, Headers):
        return list(headers.pairs)
    if not isinstance(headers, Mapping):
        return list(headers)
    return [
        (name, value) for name, values in headers.items() for value in ([values] if isinstance(values, str) else values)
    ]


class _Body:
    """What messages that have a body can do with it."""

    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8; what is none of that is replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Read the body as JSON. Raises AssertionError, with the body, where it is none."""
        __tracebackhide__ = True
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise AssertionError(f"the body is no JSON ({error}): {self.text!r}") from None


@dataclass(frozen=True)
class Received(_Body):
    """What the upstream got.

    Attributes:
        method: such as "GET".
        url: path and query, without the listen path where the API strips it.
        headers: those that it got.
        body: bytes.
    """

    method: str
    url: str
    headers: Headers
    body: bytes = b""

    @property
    def path(self) -> str:
        """The part of the url before "?"."""
        return self.url.partition("?")[0]

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the query, decoded; of several of a name the first."""
        pairs = parse_qsl(self.url.partition("?")[2], keep_blank_values=True)
        return dict(reversed(pairs))


@dataclass(frozen=True)
class Answer:
    """What the upstream answers.

    Args:
        body: bytes, or text.
        status: 100 to 599.
        headers: those of the answer; Content-Length is added.
        json: a value whose JSON is the body, with the Content-Type for that.
    """

    body: bytes | str = b""
    status: int = 200
    headers: HeaderInput = ()
    json: Any = None

    def written(self) -> tuple[tuple[tuple[str, str], ...], bytes]:
        """Give headers and body as they go over the wire."""
        pairs = pairs_of(self.headers)
        body = written(pairs, self.body, self.json)
        names = {name.lower() for name, _ in pairs}
        if not names & {"content-length", "transfer-encoding"}:
            pairs.append(("Content-Length", str(len(body))))
        return tuple(pairs), body


def written(pairs: list[tuple[str, str]], body: bytes | str, value: Any) -> bytes:
    """Give a body as bytes; adds the Content-Type of JSON to the headers, where it is that."""
    if value is None:
        return body.encode() if isinstance(body, str) else bytes(body)
    if body:
        raise TypeError("a message has a body or json, not both")
    if not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("Content-Type", "application/json"))
    return json.dumps(value).encode()


class Line(NamedTuple):
    """A log line."""

    level: str
    """debug, info, warning or error."""
    message: str


@dataclass(frozen=True)
class Event:
    """An event that a plugin fired, or the gateway.

    Attributes:
        name: such as "AuthFailure".
        payload: what the plugin gave, or the gateway's message.
        meta: all that handlers get with it.
        api_id: the API in which it was fired.
    """

    name: str
    payload: str
    meta: Mapping[str, Any] = field(default_factory=dict, compare=False)
    api_id: str = field(default="", compare=False)


@dataclass(frozen=True)
class Reply(_Body):
    """What the client got, and all that happened on the way.

    Attributes:
        status, headers, body: the response.
        reached_upstream: whether the request went on to the upstream.
        hooks: the names of the hooks that ran, in order.
        failures: what failed, in words: hooks that raised, what they wrote and may not, faults of the chain.
        warnings: what hooks changed in vain, such as a session without the right to.
        logs: log lines of plugins and of the gateway.
        printed: what plugins printed, by line.
        events: those that were fired.
    """

    status: int
    headers: Headers
    body: bytes = b""
    hooks: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    logs: tuple[Line, ...] = ()
    printed: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    _upstream: Received | None = None

    @property
    def reached_upstream(self) -> bool:
        """Whether the request went on to the upstream."""
        return self._upstream is not None

    @property
    def upstream(self) -> Received:
        """What the upstream got. Raises AssertionError, with what the client got instead, where it was not asked."""
        __tracebackhide__ = True
        if self._upstream is None:
            raise AssertionError(f"the upstream was not asked: {self}")
        return self._upstream

    def __str__(self) -> str:
        words = [f"the client got {self.status}" + (f" {self.text[:200]}" if self.body else "")]
        return "; ".join([*words, *self.failures])

    def __repr__(self) -> str:
        # pytest shows this beside what was asserted.
        return f"<{'; '.join([f'Reply {self.status}', *self.failures])}>"
