"""What chains share and a host may replace: stores, counters, policies, the sink of events, the clock."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from tykbridge import _bridge, fired
from tykbridge.counters import Counters, MemoryCounters
from tykbridge.events.queue import EventQueue
from tykbridge.keys import Keys
from tykbridge.policies import Policy
from tykbridge.stores import Store
from tykbridge.stores.memory import MemoryStore

if TYPE_CHECKING:
    from tykbridge.flow import Step

Watch: TypeAlias = Callable[["Step", _bridge.Exchange], int]
"""Runs a hook in place of `exchange.run((step.key,), move=False)`, with the same result or exception, and so sees its
message before and after."""

Timed: TypeAlias = Callable[["Step", float, bool], None]
"""Hears of a hook that ran: the seconds that it took, waiting included, and whether it failed or wrote what no hook
may. Must not raise. It is called on the thread that ran the hook, any number of them at once."""


class Mode(enum.StrEnum):
    """What becomes of a session that a hook changed without the right to."""

    COMPATIBLE = "compatible"
    """The change is dropped, as upstream does."""
    STRICT = "strict"
    """The request fails, naming hook and field."""


class EventSink(Protocol):
    """Gets the events of chains, and those that plugins fire in their hooks. May be called from any thread."""

    def fire(self, event: str, api_id: str, org_id: str, meta: Mapping[str, Any]) -> None:
        """Take an event: its name, the API that it happened in, and its Meta as upstream writes it.

        The Meta of an event that a plugin fired is a `fired.PluginMeta`; its payload is "Message".
        """


class HostEvents:
    """Hands events to the host's TykTriggerEvent."""

    def fire(self, event: str, api_id: str, org_id: str, meta: Mapping[str, Any]) -> None:
        """Hand over what a plugin fired as it gave it, and a chain's own event with Meta and ids as JSON."""
        if isinstance(meta, fired.PluginMeta):
            payload = meta["Message"]
        else:
            payload = json.dumps({**meta, "APIID": api_id, "OrgID": org_id})
        _bridge.trigger_event(event, payload)


@dataclass(frozen=True, kw_only=True)
class Services:
    """The surroundings of chains.

    Attributes:
        sessions: sessions as Tyk's JSON, under "apikey-" and the key as `keys` writes it; and cool-downs of webhooks.
        keys: how the keys of sessions are written in stores.
        counters: what rate limits and quotas are counted in.
        events: where events go, besides the handlers that an API's definition names.
        queue: what brings events to these handlers; None: they are not called.
        policies: by id. Not to be changed: sessions are worked out with them once.
        clock: unix seconds.
        mode: what becomes of a session that a hook may not change.
        log: writes a line: words, and debug, info, warning or error.
        watch: looks on while hooks run; None, the default, costs nothing.
        timed: hears how long each hook took, what `watch` does included; None, the default, costs nothing.
    """

    sessions: Store = field(default_factory=MemoryStore)
    keys: Keys = field(default_factory=Keys)
    counters: Counters = field(default_factory=MemoryCounters)
    events: EventSink = field(default_factory=HostEvents)
    queue: EventQueue | None = field(default_factory=EventQueue)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    clock: Callable[[], float] = _bridge.unix_time
    mode: Mode = Mode.COMPATIBLE
    log: Callable[[str, str], None] = _bridge.log
    watch: Watch | None = None
    timed: Timed | None = None
