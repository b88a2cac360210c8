"""Brings the events that plugins fire to the API whose hook fires them, or to the host.

A chain says once for each request whose hooks run; a hook that fires nothing pays nothing. What a hook causes belongs
to the same API, also in tasks and in threads that get a copy of its context (`asyncio.to_thread`). A thread without one
belongs to no API: the same code may serve several, so its events go to the host, as those of a plain dispatch do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tykbridge import _bridge

if TYPE_CHECKING:
    from tykbridge.services import EventSink


class PluginMeta(dict[str, str]):
    """The Meta of an event that a plugin fired, as upstream writes it."""

    def __init__(self, payload: str) -> None:
        super().__init__(Message=payload, OriginatingRequest="")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The API in whose hooks a plugin fires. Holds no code: a context that lives on keeps no bundle loaded.

    Attributes:
        sink: where its events go.
        api_id: the API.
        org_id: its organisation.
        log: writes a line: words, and a level.
    """

    sink: EventSink
    api_id: str
    org_id: str
    log: Callable[[str, str], None]

    def fire(self, event: str, payload: str) -> None:
        """Hand an event to the sink. A sink that fails is a log line: the plugin did nothing wrong."""
        try:
            self.sink.fire(event, self.api_id, self.org_id, PluginMeta(payload))
        except Exception as error:
            self.log(f'api "{self.api_id}": the event {event} was lost: {error!r}', "error")


source: ContextVar[Source | None] = ContextVar("tykbridge_event_source", default=None)
"""Whose hooks run; None: nobody's that has an API."""


def fire(event: str, payload: str) -> None:
    """Bring an event to where it belongs.

    Raises:
        ValueError: the name or the payload contains a NUL.
    """
    current = source.get()
    if current is None:
        _bridge.trigger_event(event, payload)
        return
    for text, what in ((event, "the event's name"), (payload, "the payload")):
        if "\0" in text:  # whoever listens, the plugin hears the same
            raise ValueError(f"{what} must not contain a NUL: it crosses C as a string")
    current.fire(event, payload)
