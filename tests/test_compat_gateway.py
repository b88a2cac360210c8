from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tykbridge import runtime
from tykbridge.cli.host import Host
from tykbridge.compat.gateway import TykGateway as tyk
from tykbridge.compat.tyk import gateway


class Watched(Host):
    """A host that keeps what plugins tell it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.events: list[tuple[str, str]] = []
        super().__init__(
            lambda message, level: self.lines.append((level, message)),
            lambda name, payload: self.events.append((name, payload)),
        )


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(runtime, "_store", runtime.MemoryStore())
    made = Watched()
    yield made
    made._library.tykb_set_host(None)


def test_log(host: Watched) -> None:
    for level in ("debug", "info", "warning", "error"):
        tyk.log(f"a {level} line", level)
    tyk.log_error("an error")
    assert host.lines == [
        ("debug", "a debug line"),
        ("info", "a info line"),
        ("warning", "a warning line"),
        ("error", "a error line"),
        ("error", "an error"),
    ]


@pytest.mark.parametrize("level", ["", "INFO", "fatal", "debug\0", None, 3, []])
def test_an_unknown_level_is_info(host: Watched, level: Any) -> None:
    tyk.log("a line", level)
    assert host.lines == [("info", "a line")]


@pytest.mark.parametrize("text", ["", "two\nlines", "é 日本 😀", "x" * 100_000])
def test_any_text_is_logged(host: Watched, text: str) -> None:
    tyk.log(text, "info")
    assert host.lines == [("info", text)]


@pytest.mark.parametrize(("text", "shown"), [("a\0b", "a\\0b"), ("\ud800", "\\ud800")])
def test_what_c_or_utf8_cannot_carry_is_written_out(host: Watched, text: str, shown: str) -> None:
    tyk.log(text, "info")
    assert host.lines == [("info", shown)]


@pytest.mark.parametrize("message", [b"bytes", None, 3, ["a"]])
def test_a_message_that_is_no_text(host: Watched, message: Any) -> None:
    with pytest.raises(TypeError, match=f"msg must be a str, not {type(message).__name__}"):
        tyk.log(message, "info")
    with pytest.raises(TypeError, match="msg must be a str"):
        tyk.log_error(message)
    assert host.lines == []


def test_data(host: Watched) -> None:
    assert tyk.get_data("a") == b""
    tyk.store_data("a", "text é", 10)
    tyk.store_data("b", b"bytes \xff", 0)
    assert (tyk.get_data("a"), tyk.get_data("b")) == ("text é".encode(), b"bytes \xff")


@pytest.mark.parametrize(
    ("key", "value", "ttl", "words"),
    [
        (1, "v", 1, "key must be a str, not int"),
        ("k", 1, 1, "value must be a str, not int"),
        ("k", None, 1, "value must be a str, not NoneType"),
        ("k", "v", "1", "int"),
    ],
)
def test_data_of_wrong_types(host: Watched, key: Any, value: Any, ttl: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        tyk.store_data(key, value, ttl)
    assert tyk.get_data("k") == b""


def test_events(host: Watched) -> None:
    tyk.trigger_event("MyEvent", '{"a": 1}')
    assert host.events == [("MyEvent", '{"a": 1}')]
    with pytest.raises(TypeError, match="payload must be a str, not dict"):
        tyk.trigger_event("MyEvent", {"a": 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name must be a str, not bytes"):
        tyk.trigger_event(b"MyEvent", "")  # type: ignore[arg-type]


def test_older_plugins_find_the_gateway_too() -> None:
    assert gateway.TykGateway is tyk
