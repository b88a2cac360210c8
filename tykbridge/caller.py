"""Says in which API's hooks a plugin runs, for what it asks of its gateway.

A chain says so once for each request whose hooks run. What a hook causes belongs to the same API, also in tasks and in
threads that get a copy of its context (`asyncio.to_thread`). A thread without one belongs to no API, as a plain
dispatch does: the same code may serve several.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tykbridge.keydata import KeySessions
    from tykbridge.services import EventSink


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """The API in whose hooks a plugin runs. Holds no code: a context that lives on keeps no bundle loaded.

    Attributes:
        sink: where its events go.
        sessions: those of its keys.
        api_id: the API.
        org_id: its organisation.
        log: writes a line: words, and a level.
    """

    sink: EventSink
    sessions: KeySessions
    api_id: str
    org_id: str
    log: Callable[[str, str], None]


current: ContextVar[Caller | None] = ContextVar("tykbridge_caller", default=None)
"""Whose hooks run; None: nobody's that has an API, or those of one whose plugins need not know (`Chain`)."""
