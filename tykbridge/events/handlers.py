"""Makes the handlers that a definition names, and leads an API's events to them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tykbridge import caller, runtime
from tykbridge.code import Code, Loader
from tykbridge.definition import Definition, EventHandler
from tykbridge.errors import BridgeError, HookError
from tykbridge.events.dispatched import Content, Event
from tykbridge.events.queue import EventQueue, Fired, Handler, Result
from tykbridge.failures import one_line
from tykbridge.keydata import KeySessions
from tykbridge.services import EventSink, Services

_SHORTEST = 12  # characters of a key that is told at all
_MESSAGE = 500  # characters of an event's message in a log line


class LogHandler:
    """eh_log_handler: a log line, which begins as upstream's does."""

    kind = "log"

    def __init__(self, prefix: str, log: Callable[[str, str], None]) -> None:
        self._prefix, self.log = prefix, log

    def deliver(self, event: Fired) -> Result:
        """Write it, on one line and without a whole key."""
        meta, words = event.meta, f"{self._prefix}:{event.type}" if self._prefix else event.type
        if "Path" in meta:
            words += f":{masked(str(meta.get('Key', '')))}:{meta.get('Origin', '')}:{meta['Path']}"
        words = one_line(f"{words}: {one_line(str(meta.get('Message', '')), _MESSAGE)}")
        self.log("".join(sign if sign.isprintable() else "?" for sign in words), "warning")
        return Result.DELIVERED


def masked(key: str) -> str:
    """Make a key fit for a log: its last four characters, and only of a long one (upstream's are of any above four)."""
    return "" if not key else f"****{key[-4:]}" if len(key) >= _SHORTEST else "--"


class CodeHandler:
    """A function of a driver: cp_dynamic_handler, such as one marked with @Event, or JavaScript's eh_dynamic_handler.

    What it fires itself goes to the sink alone, never to handlers: no event goes round for ever.

    Attributes:
        code: what has the function. It stays loaded for as long as events wait for this.
    """

    kind = "python"
    """Its lane, which has the name of the first language that there was."""

    def __init__(self, definition: Definition, name: str, code: Code, services: Services) -> None:
        self._name, self.code = name, code
        self._label = f'api "{definition.api_id}": event handler "{name}"'
        keys = KeySessions(definition, services)
        self._caller = caller.Caller(services.events, keys, definition.api_id, definition.org_id, services.log)
        self.log = services.log

    def deliver(self, event: Fired) -> Result:
        """Call it."""
        message = {"Type": event.type, "Meta": dict(event.meta), "TimeStamp": event.timestamp}
        spec = {"APIID": event.api_id, "OrgID": event.org_id}
        content = Content({"message": message, "handler_name": self._name, "spec": spec})
        before = caller.current.set(self._caller)
        try:
            runtime.registry.call_handler(self.code.bundle, Event(self._name, content, spec), self._label, self.log)
        except HookError:
            return Result.FAILED
        except BridgeError as error:
            self.log(f"{self._label}: {error}", "error")
            return Result.FAILED
        finally:
            caller.current.reset(before)
        return Result.DELIVERED


def make(definition: Definition, handler: EventHandler, loader: Loader, services: Services) -> Handler:
    """Make a handler of a definition ready to be called.

    Raises:
        LoadError: its code or its template cannot be used.
    """
    if handler.handler in ("cp_dynamic_handler", "eh_dynamic_handler"):
        return CodeHandler(definition, handler.meta["name"], loader.load_handler(definition, handler), services)
    if handler.webhook is not None:
        from tykbridge.events import webhook  # where there is one: urllib3 takes its time

        template = webhook.read_template(definition, handler.webhook, loader.middleware_path)
        pause = services.queue.pause if services.queue is not None else lambda seconds: False
        return webhook.WebhookHandler(
            definition, handler, handler.webhook, template, services.sessions, services.log, pause
        )
    return LogHandler(handler.meta.get("prefix") or "", services.log)


class Handlers:
    """The handlers of one API, by event. Filled before the API runs, and never changed then."""

    def __init__(self, queue: EventQueue | None, clock: Callable[[], float]) -> None:
        self._queue, self._clock = queue, clock
        self._by_event: dict[str, list[Handler]] = {}

    def add(self, event: str, handler: Handler) -> None:
        """Let a handler hear of an event."""
        self._by_event.setdefault(event, []).append(handler)

    @property
    def codes(self) -> list[Code]:
        """The code of those that are functions."""
        found = (handler for handlers in self._by_event.values() for handler in handlers)
        return [handler.code for handler in found if isinstance(handler, CodeHandler)]

    def __bool__(self) -> bool:
        """Whether anything is to be done when events fire."""
        return bool(self._by_event) and self._queue is not None

    def put(self, event: str, api_id: str, org_id: str, meta: Mapping[str, Any]) -> None:
        """Queue an event for those who hear it."""
        found = self._by_event.get(event)
        if not found or self._queue is None:
            return
        timestamp = datetime.fromtimestamp(self._clock(), UTC).isoformat()
        told = Fired(event, meta, timestamp, api_id, org_id)
        for handler in found:
            self._queue.put(handler, told)


class ApiEvents:
    """The sink of an API that has handlers: the events go where they go without any, and to the handlers.

    It does not keep the handlers: a plugin's thread that goes on firing after its API was replaced keeps no code
    loaded, and reaches the sink alone.
    """

    def __init__(self, sink: EventSink, handlers: Handlers) -> None:
        self._sink, self._handlers = sink, weakref.ref(handlers)

    def fire(self, event: str, api_id: str, org_id: str, meta: Mapping[str, Any]) -> None:
        """Take an event."""
        try:
            self._sink.fire(event, api_id, org_id, meta)
        finally:
            handlers = self._handlers()
            if handlers is not None:
                handlers.put(event, api_id, org_id, meta)
