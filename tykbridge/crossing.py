"""What a request takes from hook to hook beside its message: native hooks see and leave more than that can hold."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import TypeAlias

from tykbridge.outcome import Headers

Several: TypeAlias = dict[str, list[tuple[str, str]]]
"""By lower-case name, headers that have several values."""


class Crossing:
    """One request on its way, or its response. By one hook at a time.

    Attributes:
        headers: gives the request's headers as they are now, where a message holds the first values only; else None.
        several: headers of the request that the last hook gave several values.
    """

    __slots__ = ("_kept", "_token", "headers", "several")

    def __init__(self, headers: Callable[[], Headers | None]) -> None:
        """Make it what hooks on this thread, or greenlet, find as `current`. `end` must follow."""
        self.headers = headers
        self.several: Several = {}
        self._kept: dict[object, tuple[int, Callable[[int], None]]] = {}
        self._token: Token[Crossing | None] = current.set(self)

    def kept(self, by: object) -> int:
        """Give the number that somebody keeps for this request, 0 for none."""
        known = self._kept.get(by)
        return 0 if known is None else known[0]

    def keep(self, by: object, number: int, forget: Callable[[int], None]) -> None:
        """Keep a number until the request is over, or another is kept in its place: then `forget` is called with it.

        0: nothing is kept in its place.
        """
        before = self._kept.pop(by, None)
        if number:
            self._kept[by] = number, forget
        if before is not None and before[0] != number:
            before[1](before[0])

    def end(self) -> None:
        """The request is over."""
        current.reset(self._token)
        for number, forget in self._kept.values():
            forget(number)


current: ContextVar[Crossing | None] = ContextVar("tykbridge_crossing", default=None)
"""The request whose hooks run; None: none that has native hooks, or a plain dispatch."""
