"""The Lua code of one bundle: its functions, and the states in which they run."""

from __future__ import annotations

import collections
import functools
from collections.abc import Mapping
from typing import Any

from tykbridge.drivers import Source
from tykbridge.drivers.lua.state import MEMORY, Failed, Modules, State
from tykbridge.errors import LoadError
from tykbridge.handlers import EVENT_FORMS, HOOK_FORMS, Marker, is_text

TIMEOUT_MS = 5_000
"""As long as a hook, a handler, or the loading of a state may take where nobody says it; upstream's of JavaScript."""

_IDLE = 8  # states that are kept


class Script:
    """A bundle's Lua code. Safe to use from any thread.

    Each call has a state of its own while it runs, so nothing ever waits for another call, also not a hook whose host
    calls the bridge again. States that are not in use are kept for the next calls; globals are those of one state.
    """

    def __init__(self, source: Source) -> None:
        self._root, self._trusted = source.root, source.choices.lua.trusted
        # Read once: every state of a version runs the same code. Modules are when they are asked for first.
        self._files = source.texts()
        self._modules: Modules = {}
        self._names: list[str] = []
        self._idle: collections.deque[State] = collections.deque(maxlen=_IDLE)
        self.markers: list[Marker] = []
        self.others: Mapping[str, str] = {}
        state = self._made()
        self._find(state.functions)
        self._name(state)
        self._idle.append(state)

    def close(self) -> None:
        """Let the states go; calls in flight have theirs."""
        self._idle.clear()

    def _made(self) -> State:
        state = State(self._root, self._trusted, self._modules)
        try:
            for name, text in self._files:
                state.load(name, text)
        except Failed as failed:
            raise failed.error from None
        if state.is_full:
            raise LoadError(f"the code of {self._root} keeps more than a state's {MEMORY >> 20} MiB of memory")
        self._name(state)
        return state

    def _name(self, state: State) -> None:
        for number, name in enumerate(self._names):
            state.name(number, name)

    def _find(self, functions: Mapping[str, tuple[int, str]]) -> None:
        others = {}
        for name, (count, where) in sorted(functions.items()):
            if not is_text(name):
                continue
            place = f"{self._root}/{where}"
            number = len(self._names)
            self._names.append(name)
            if count in HOOK_FORMS:
                limited = functools.partial(self._limited, number, count)
                self.markers.append(Marker(name, limited(TIMEOUT_MS), 1, False, place, "", "lua", limited, count == 5))
            elif count in EVENT_FORMS:
                handler = functools.partial(self._event, number)
                self.markers.append(Marker(name, handler, count, True, place, "", "lua"))
            else:
                right = " or ".join(f"function {name}{form}" for form in HOOK_FORMS.values())
                found = f"takes {count} parameter{'' if count == 1 else 's'}" if count >= 0 else "takes any number of"
                if count < 0:
                    found += " parameters, which says nothing about the form"
                others[name] = f"{place}: it {found}; write {right}, and for events {name}{EVENT_FORMS[2]}"
        self.others = others

    def _limited(self, number: int, forms: int, timeout_ms: int) -> Any:
        return functools.partial(self._hook, number, forms, timeout_ms)

    def _hook(self, number: int, forms: int, timeout_ms: int, message: Any) -> None:
        state = self._taken()
        error: Exception | None = None
        try:
            state.call(number, forms, timeout_ms, message)
        except Failed as failed:
            error = failed.error
        self._put_back(state)
        if error is not None:
            raise error

    def _event(self, number: int, event: Any, spec: Any) -> None:
        state = self._taken()
        error: Exception | None = None
        try:
            state.event(number, TIMEOUT_MS, {"event": event, "spec": spec})
        except Failed as failed:
            error = failed.error
        self._put_back(state)
        if error is not None:
            raise error

    def _taken(self) -> State:
        try:
            return self._idle.pop()
        except IndexError:
            return self._made()

    def _put_back(self, state: State) -> None:
        if state.is_usable and not state.is_full:
            self._idle.append(state)
