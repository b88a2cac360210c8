"""Writes log lines: for people, or as JSON for programs.

Whatever a line is about may come from a client or a plugin. In lines for people nothing of it acts on a terminal, and
only the first line of a message begins at the margin, so that none can be taken for another; in JSON a message is one
string on one line.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from tykbridge import locks
from tykbridge.events.handlers import masked
from tykbridge.failures import one_line
from tykbridge.gateway.visit import current

LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40}
"""The levels, with the names of a tyk.conf and those of plugins."""

_STYLES = {"debug": "dim", "info": "green", "warning": "yellow", "error": "bold red"}
_QUOTED = re.compile(r""":? *\bb['"]""")  # where bytes begin, as Python shows them
_TOLD = {"method", "path", "status", "prefix"}  # what a line for people has said already, or need not say
# What makes a terminal do something, or shows text in another order than it is in.
_ACTING = [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_VISIBLE = {number: f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" for number in _ACTING}
_VISIBLE |= {ord("\n"): "\n    ", ord("\t"): "\t"}


class Log:
    """Where lines go. Safe to use from any thread; what cannot be written is lost, and nobody fails for it.

    Args:
        stream: where they are written.
        form: "json", or "console", which has colours where the stream is a terminal.
        level: lines below it are left out; a name of LEVELS.

    Attributes:
        listeners: hear each line of plugins and of tykbridge itself, whatever its level, on the thread that it is from;
            one that returns True has told it in its own way.
        event_listeners: hear each event in the same way, its name and payload.
        earlier: is called before a line is written: whoever holds others back writes them now.
    """

    def __init__(self, stream: TextIO, form: str = "console", level: str = "info") -> None:
        self._stream, self._least = stream, LEVELS[level]
        self.listeners: list[Callable[[str, str], bool]] = []
        self.event_listeners: list[Callable[[str, str], bool]] = []
        self.earlier: Callable[[], None] = lambda: None
        self._write = self._json if form == "json" else self._plain
        if form != "json" and stream.isatty():
            from rich.console import Console

            self._console = Console(file=stream, soft_wrap=True, highlight=False, markup=False, emoji=False)
            self._write = self._coloured
        self._second = (0, "")  # replaced as a whole, so that any thread may
        # Reentrant: a finalizer that runs while a line is written may write one of its own.
        self._lock = locks.reentrant()

    def __call__(self, words: str, level: str) -> None:
        """Write a line of a plugin's or of tykbridge's own, as `Services.log` and CoProcessLog."""
        if not [listener for listener in self.listeners if listener(words, level)]:
            self.write(words.rstrip("\n"), level)

    def tells(self, level: str) -> bool:
        """Whether lines of a level are written."""
        return LEVELS[level] >= self._least

    def write(self, words: str, level: str, **more: Any) -> None:
        """Write a line, with the id of the request that it is about, and what is known besides."""
        level = "warning" if level == "warn" else level if level in LEVELS else "info"
        if LEVELS[level] < self._least:
            return
        if (visit := current.get()) is not None:
            more["request_id"] = visit.request_id
        self.earlier()
        self.line(time.time(), words, level, more)

    def line(self, at: float, words: str, level: str, more: dict[str, Any]) -> None:
        """Write a line, of a level that is written: when it was, in unix seconds, and all that is known besides."""
        try:
            with self._lock:
                self._write(self._clock(at), level, words, more)
        except (OSError, ValueError, RuntimeError):
            pass  # closed, or written to right now

    def _clock(self, at: float) -> str:
        """Give the time; its seconds are written once for all lines in them."""
        second, text = self._second
        if second != int(at):
            second = int(at)
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = (second, text)
        return f"{text}.{int(at * 1000) % 1000:03d}Z"

    def _json(self, now: str, level: str, words: str, more: dict[str, Any]) -> None:
        line: dict[str, Any] = {"time": now, "level": level, "msg": words}
        for name, value in more.items():
            if value != "":
                line[name] = round(value, 6) if isinstance(value, float) else value
        try:
            self._put(msgspec.json.encode(line).decode())
        except UnicodeEncodeError:  # bytes of a request that are no UTF-8
            self._put(json.dumps(line))

    def _plain(self, now: str, level: str, words: str, more: dict[str, Any]) -> None:
        self._put(f"{now} {level.upper():<7} {_visible(words + _tail(more))}")

    def _coloured(self, now: str, level: str, words: str, more: dict[str, Any]) -> None:
        from rich.text import Text

        status = more.get("status", 0)
        style = "bold red" if status >= 500 else "yellow" if status >= 400 else ""
        parts = (now[11:23], "dim"), f" {level:<7}", (_visible(words), style), (_visible(_tail(more)), "dim")
        line = Text.assemble(parts[0], (parts[1], _STYLES[level]), " ", *parts[2:])
        with self._console.capture() as made:
            self._console.print(line)
        self._put(made.get().removesuffix("\n"))

    def _put(self, line: str) -> None:
        if not line.isascii():
            line = line.encode("utf-8", "backslashreplace").decode()
        self._stream.write(line + "\n")
        self._stream.flush()

    # ---- What others have to say

    def event(self, name: str, payload: str) -> None:
        """Write an event that goes to the host, TykTriggerEvent; of a client's key what may be told."""
        if [listener for listener in self.event_listeners if listener(name, payload)]:
            return
        with contextlib.suppress(ValueError, RecursionError):
            meta = json.loads(payload)
            if isinstance(meta, dict):
                meta = {field: masked(str(meta[field])) if field.lower() == "key" else meta[field] for field in meta}
                payload = json.dumps(meta, ensure_ascii=False)
        self.write(one_line(f"event {name} {payload}"), "info", prefix="event")

    def attach(self) -> None:
        """Write also what libraries have to say, from warnings on: those of HTTP, and Python's own event loop."""
        root = logging.getLogger()
        root.addHandler(_Handler(self))
        root.setLevel(logging.WARNING)


class _Handler(logging.Handler):
    """Hands on what Python's logging has."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        words = record.getMessage()
        if record.exc_info:
            out = io.StringIO()
            traceback.print_exception(*record.exc_info, file=out)
            words += "\n" + out.getvalue().rstrip("\n")
        self._log.write(words, level, prefix=record.name)


def unquoted(message: str) -> str:
    """Give of what aiohttp says of bytes that are no HTTP the words alone: what it quotes may hold a token."""
    first = (message.splitlines() or [""])[0]
    return "it is no URL" if "://" in first else _QUOTED.split(first, maxsplit=1)[0]


def server_logger(log: Callable[[str, str], None], prefix: str = "") -> logging.Logger:
    """Make what aiohttp's server tells its troubles: it has a traceback for each client that speaks no HTTP.

    `log` writes a line: words, and a level. `prefix` says whose client it is.
    """

    def emit(record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConnectionError):
            return  # the client went away, which is its own business
        if isinstance(error, HttpProcessingError) and isinstance(record.args, tuple) and record.args:
            log(f"{prefix}a request from {record.args[0]} is no HTTP: {unquoted(error.message)}", "info")
        else:
            log(f"{prefix}internal error: {record.getMessage()}: {error!r}", "error")

    handler = logging.Handler(logging.WARNING)
    handler.emit = emit  # type: ignore[method-assign]
    logger = logging.Logger("tykbridge.gateway", logging.WARNING)
    logger.addHandler(handler)
    return logger


def _tail(more: dict[str, Any]) -> str:
    """Give what is known besides, as people read it: seconds as milliseconds."""
    tail = ""
    for name, value in more.items():
        if value != "" and name not in _TOLD:
            tail += f" {name}={value * 1000:.2f}ms" if name.endswith("seconds") else f" {name}={value}"
    return tail and " " + tail


def _visible(text: str) -> str:
    return text if text.isprintable() else text.translate(_VISIBLE)
