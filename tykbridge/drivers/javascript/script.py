"""The JavaScript code of one bundle: its middlewares and handlers, and the states in which they run."""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Mapping
from typing import Any

from tykbridge.drivers import Source
from tykbridge.drivers.javascript import limits
from tykbridge.drivers.javascript.state import MEMORY, State
from tykbridge.errors import LoadError
from tykbridge.failures import ScriptError
from tykbridge.handlers import Marker, is_text

_IDLE = 8  # states that are kept
_ASSIGNED = re.compile(r"(?<![\w$.])([^\W\d][\w$]*|\$[\w$]*)\s*=(?!=)")
"""What may be a name of a top-level let or const, which no property of the global object tells."""

_NEW = "var {name} = new TykJS.TykMiddleware.NewMiddleware({{}}), and give it a function with {name}.NewProcessRequest"


class Script:
    """A bundle's JavaScript code. Safe to use from any thread.

    Each call has a state of its own while it runs, so nothing ever waits for another call, also not a hook whose host
    calls the bridge again. States that are not in use are kept for the next calls; globals are those of one state. With
    `fresh_context` none is kept.
    """

    def __init__(self, source: Source) -> None:
        self._root, self._fresh = source.root, source.choices.javascript.fresh_context
        # Read once: every state of a version runs the same code.
        self._files = source.texts()
        self._names: list[str] = []
        self._places: list[str] = []
        self._idle: collections.deque[State] = collections.deque(maxlen=_IDLE)
        self.markers: list[Marker] = []
        self.others: Mapping[str, str] = {}
        state = self._made()
        text = "\n".join(text.decode("utf-8", "replace") for _, text in self._files)
        self._find(state, state.find(sorted(set(_ASSIGNED.findall(text)))))
        self._bind(state)
        self._put_back(state)

    def close(self) -> None:
        """Let the states go; calls in flight have theirs."""
        self._idle.clear()

    def _made(self) -> State:
        state = State(self._root)
        for name, text in self._files:
            state.load(name, text)
        if not state.is_usable:
            raise LoadError(f"the code of {self._root} keeps more than a state's {MEMORY >> 20} MiB of memory")
        self._bind(state)
        return state

    def _bind(self, state: State) -> None:
        for name in self._names:
            state.bind(name)

    def _find(self, state: State, found: Mapping[str, Mapping[str, str]]) -> None:
        others = {}
        for name, told in sorted(found.items()):
            if not is_text(name):
                continue
            kind, place = told["kind"], state.place(told["stack"])
            if kind in ("request", "response", "both"):
                limited = functools.partial(self._limited, len(self._names))
                self._names.append(name)
                self._places.append(place)
                is_response = kind == "response"
                self.markers.append(
                    Marker(name, limited(None), 1, False, place, "", "javascript", limited, is_response)
                )
            elif kind == "event":
                handler = functools.partial(self._event, name)
                self.markers.append(Marker(name, handler, 2, True, place, "", "javascript"))
            elif kind == "function":
                function = self._limited(len(self._names), None)
                self._names.append(name)
                self.markers.append(Marker(name, function, 1, False, place, "", "javascript", is_endpoint=True))
                others[name] = f"{place or self._root}: it is a function; write {_NEW.format(name=name)}"
            else:
                others[name] = f"{place}: it has no function: write {_function(kind, name)}"
        self.others = others

    def _limited(self, number: int, timeout_ms: int | None) -> Any:
        return functools.partial(self._hook, number, None if timeout_ms is None else timeout_ms / 1000)

    def _hook(self, number: int, seconds: float | None, message: Any) -> None:
        state = self._taken()
        error: Exception | None = None
        try:
            state.call(number, limits.seconds if seconds is None else seconds, message)
        except ScriptError as failed:
            failed.place = failed.place or self._places[number]  # what it returned is no line's fault
            error = failed
        self._put_back(state)
        if error is not None:
            raise error

    def _event(self, name: str, event: Any, context: Any) -> None:
        state = self._taken()
        error: Exception | None = None
        try:
            state.event(name, limits.seconds, event["message"], context)
        except ScriptError as failed:
            error = failed
        self._put_back(state)
        if error is not None:
            raise error

    def _taken(self) -> State:
        try:
            return self._idle.pop()
        except IndexError:
            return self._made()

    def _put_back(self, state: State) -> None:
        if state.is_usable and not self._fresh:
            self._idle.append(state)


def _function(kind: str, name: str) -> str:
    if kind == "empty event":
        return f"{name}.NewHandler(function(event, context) ...)"
    request = f"{name}.NewProcessRequest(function(request, session, config) ...)"
    return f"{request} or {name}.NewProcessResponse(function(response, request, session, config) ...)"
