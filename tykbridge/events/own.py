"""Events of tykbridge's own: what became of bundles and of configurations.

They go to handlers, and to a sink that a host gave; not to TykTriggerEvent, which is called for Tyk's events and those
of plugins alone: a host that loads a configuration hears from that very call what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tykbridge.chain import Chain
from tykbridge.definition import Bundle, Definition
from tykbridge.services import HostEvents, Services

BUNDLE_LOADED = "BundleLoaded"
"""An API runs with a bundle that was loaded just now. Meta: Bundle, its name, and BundleHash."""

BUNDLE_FAILED = "BundleFailed"
"""An API that names bundles was not loaded. Meta: Bundle, their names; Kept, whether an earlier version runs on."""

CONFIGURATION_RELOADED = "ConfigurationReloaded"
"""A configuration took the place of another. Meta: APIs, how many run; NotLoaded, how many definitions do not."""

RELOAD_FAILED = "ReloadFailed"
"""A configuration could not be read at all; the one before runs on. Meta: APIs."""


def bundles_loaded(chain: Chain, bundles: Iterable[Bundle]) -> None:
    """Tell of bundles of an API that have just been put in place."""
    for bundle in bundles:
        meta = _meta(f'the bundle "{bundle.name}" is loaded', Bundle=bundle.name, BundleHash=bundle.hash)
        _tell(chain.services, [chain], BUNDLE_LOADED, chain.definition, meta)


def bundles_failed(services: Services, definition: Definition, why: str, kept: Chain | None) -> None:
    """Tell of an API with bundles that was not loaded; `kept` is its earlier version, which hears it as well."""
    names = ", ".join(bundle.name for bundle in definition.bundles)
    meta = _meta(why, Bundle=names, Kept=kept is not None)
    _tell(services, [kept] if kept is not None else [], BUNDLE_FAILED, definition, meta)


def reloaded(services: Services, chains: Iterable[Chain], not_loaded: int) -> None:
    """Tell that a configuration was put in place of another: the sink once, and the handlers of every API."""
    chains = list(chains)
    words = f"{len(chains)} API{'s run' if len(chains) != 1 else ' runs'}, {not_loaded} not loaded"
    _tell(services, chains, CONFIGURATION_RELOADED, None, _meta(words, APIs=len(chains), NotLoaded=not_loaded))


def reload_failed(services: Services, chains: Iterable[Chain], why: str) -> None:
    """Tell that the configuration in use stays, because a new one could not be read."""
    chains = list(chains)
    _tell(services, chains, RELOAD_FAILED, None, _meta(why, APIs=len(chains)))


def _meta(message: str, **more: Any) -> dict[str, Any]:
    return {"Message": message, "OriginatingRequest": "", **more}


def _tell(
    services: Services, chains: Iterable[Chain], event: str, whose: Definition | None, meta: dict[str, Any]
) -> None:
    """Tell the sink once, and the handlers of each of `chains`."""
    if type(services.events) is not HostEvents:
        _fire(services, services.events.fire, event, whose, meta)
    for chain in chains:
        if chain.handlers:
            _fire(services, chain.handlers.put, event, chain.definition, meta)


def _fire(
    services: Services, fire: Callable[..., None], event: str, whose: Definition | None, meta: dict[str, Any]
) -> None:
    """Fire an event. A sink that fails is a log line: nothing is wrong with the configuration."""
    ids = ("", "") if whose is None else (whose.api_id, whose.org_id)
    try:
        fire(event, *ids, meta)
    except Exception as error:
        services.log(f"the event {event} was lost: {error!r}", "error")
