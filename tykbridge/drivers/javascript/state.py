"""One JavaScript state: loads code into it, and calls its hooks and handlers within their limits."""

from __future__ import annotations

import functools
import json
import os
import re
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tykbridge.drivers.javascript import host
from tykbridge.drivers.javascript._quickjs import Engine, Failure
from tykbridge.errors import DeadlineError
from tykbridge.failures import ScriptError
from tykbridge.stores import StoreError

MEMORY = 32 << 20
"""Bytes that a state may hold."""

_CALLABLE = 2 << 20  # bytes that must be free when a call starts
_LOAD = 5.0  # seconds
_OURS = "tykbridge"  # how the driver's own code is named in tracebacks
_FRAME = re.compile(r"^    at (?:.* \()?([^()\n]*):(\d+):(\d+)\)?$", re.MULTILINE)


class ScriptStoreError(StoreError, ScriptError):
    """A hook ended with what a store failed to do."""


class LateError(DeadlineError, ScriptError):
    """A hook ended at its time limit."""


class State:
    """A JavaScript state. One thread at a time.

    Attributes:
        root: the bundle's folder.
    """

    def __init__(self, root: str, memory: int = MEMORY) -> None:
        self.root, self._memory = root, memory
        # What the engine holds is not to hold the state: it would go by the collector alone.
        me = weakref.proxy(self)
        functions = [(name, functools.partial(function, me)) for name, function in host.FUNCTIONS.items()]
        self._engine = Engine(functions, _source("prelude.js"), memory)

    def load(self, name: str, text: bytes) -> None:
        """Run a file. Raises ScriptError."""
        try:
            self._engine.run(name.encode("utf-8", "surrogateescape"), text, _LOAD)
        except Failure as failure:
            raise self._error(failure) from None

    def find(self, candidates: Sequence[str]) -> dict[str, dict[str, str]]:
        """Tell of the names that the code made global. Those that are no properties must be among `candidates`."""
        return json.loads(str(self._ask("find", json.dumps(list(candidates)))))  # type: ignore[no-any-return]

    def bind(self, name: str) -> None:
        """Give a middleware the next number, from 0 on."""
        try:
            self._engine.bind(name.encode(), _LOAD)
        except Failure as failure:
            raise self._error(failure) from None

    def call(self, number: int, seconds: float, message: Any) -> None:
        """Call a hook, and apply what it changed. Raises ScriptError."""
        try:
            self._engine.call(number, message, seconds)
        except Failure as failure:
            error = self._error(failure)
        else:
            return
        raise error  # without the frames that hold the message

    def event(self, name: str, seconds: float, event: Any, context: Any) -> None:
        """Call a handler of events. Raises ScriptError."""
        self._ask("event", name, json.dumps(event), json.dumps(context), seconds=seconds)

    def _ask(self, function: str, *arguments: str, seconds: float = _LOAD) -> str | float | bool | None:
        try:
            return self._engine.ask(function.encode(), arguments, seconds)
        except Failure as failure:
            error = self._error(failure)
        raise error

    @property
    def left(self) -> float:
        """Seconds that the call in progress has left."""
        return self._engine.left

    @property
    def is_usable(self) -> bool:
        """Whether no limit was exceeded, and its globals leave room for another call."""
        if self._engine.exceeded:
            return False
        if self._engine.used > self._memory - _CALLABLE:
            self._engine.collect()
        return self._engine.used <= self._memory - _CALLABLE

    def place(self, stack: str) -> str:
        """Give "file:line:column" of the innermost frame of the bundle in a traceback; "" where there is none."""
        for file, line, column in _FRAME.findall(stack):
            if file != _OURS:
                return f"{os.path.join(self.root, file)}:{line}:{column}"
        return ""

    def _error(self, failure: Failure) -> ScriptError:
        frames = [line for line in failure.stack.splitlines() if f"({_OURS}:" not in line and "(native)" not in line]
        kind = ScriptError
        if failure.late:
            kind = LateError
        elif isinstance(failure.cause, StoreError) and str(failure.cause) in failure.words:
            kind = ScriptStoreError
        return kind(failure.words, self.place(failure.stack), "\n".join([failure.words, *frames]))


@functools.cache
def _source(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()
