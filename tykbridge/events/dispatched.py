"""Reads the events that a host dispatches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tykbridge.errors import MalformedError

_FORM = '{"message": {...}, "handler_name": "...", "spec": {...}}'


class Content(dict[str, Any]):
    """What a handler gets as `event`: the JSON object, whose members are attributes as well, as upstream's are."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the event has no {name!r}") from None


@dataclass(frozen=True)
class Event:
    """An event on its way to a handler.

    Attributes:
        handler_name: the name of the @Event function.
        content: all of it: message (Type, Meta, TimeStamp), handler_name, spec.
        spec: the API that it happened in: APIID, OrgID.
    """

    handler_name: str
    content: Content
    spec: dict[str, Any]


def parse(text: str) -> Event:
    """Reads an event's JSON.

    Raises:
        MalformedError: it is no JSON, or not of an event's form.
    """
    try:
        text.encode()
        event = json.loads(text)
    except UnicodeEncodeError as error:
        raise MalformedError("the event is not UTF-8 text") from error
    except ValueError as error:
        raise MalformedError(f"the event is not JSON: {error}") from error
    except RecursionError as error:
        raise MalformedError("the event is not JSON that can be read: it is nested too deeply") from error
    if not isinstance(event, dict):
        raise MalformedError(f"the event must be {_FORM}, and is no object")
    name, message, spec = event.get("handler_name"), event.get("message"), event.get("spec")
    if not isinstance(name, str) or not name:
        raise MalformedError(f"the event must be {_FORM}, and has no handler_name")
    if not isinstance(message, dict):
        raise MalformedError(f'the event for "{name}" must be {_FORM}, and its message is no object')
    if spec is not None and not isinstance(spec, dict):
        raise MalformedError(f'the event for "{name}" must be {_FORM}, and its spec is no object')
    return Event(name, Content(event), spec or {})
