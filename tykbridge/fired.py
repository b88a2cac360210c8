"""Brings the events that plugins fire to the API whose hook fires them, or to the host.

`caller` says whose hooks run; where that is nobody's, the events go to the host.
A hook that fires nothing pays nothing.
"""

from __future__ import annotations

from tykbridge import _bridge, caller


class PluginMeta(dict[str, str]):
    """The Meta of an event that a plugin fired, as upstream writes it."""

    def __init__(self, payload: str) -> None:
        super().__init__(Message=payload, OriginatingRequest="")


def fire(event: str, payload: str) -> None:
    """Bring an event to where it belongs. A sink that fails is a log line: the plugin did nothing wrong.

    Raises:
        ValueError: the name or the payload contains a NUL.
    """
    api = caller.current.get()
    if api is None:
        _bridge.trigger_event(event, payload)
        return
    for text, what in ((event, "the event's name"), (payload, "the payload")):
        if "\0" in text:  # whoever listens, the plugin hears the same
            raise ValueError(f"{what} must not contain a NUL: it crosses C as a string")
    try:
        api.sink.fire(event, api.api_id, api.org_id, PluginMeta(payload))
    except Exception as error:
        api.log(f'api "{api.api_id}": the event {event} was lost: {error!r}', "error")
