"""Makes what settings ask for: stores, keys, where bundles come from, and what definitions may ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tykbridge import drivers
from tykbridge.bundle.download import Downloader
from tykbridge.bundle.signing import Trust
from tykbridge.definition.model import Capabilities, Driver
from tykbridge.errors import LoadError
from tykbridge.keys import Keys
from tykbridge.settings import Settings
from tykbridge.stores import StoreError
from tykbridge.stores.opening import Stores, open_stores

NONE = Settings(hash_keys=False)
"""What holds where there are no settings: memory, and keys as they come, since nobody else reads them there."""


@dataclass(frozen=True)
class Operation:
    """What settings ask for, ready to be used.

    Attributes:
        settings: the settings.
        stores: where sessions, counters and plugins' data are.
        keys: how the keys of sessions are written there.
        downloader: where bundles come from; None: they are on disk.
        trust: what bundles must prove.
        capabilities: what definitions may ask for.
    """

    settings: Settings
    stores: Stores
    keys: Keys
    downloader: Downloader | None
    trust: Trust
    capabilities: Capabilities


def prepare(settings: Settings, before: Operation | None, log: Callable[[str, str], None]) -> Operation:
    """Make what settings ask for. The stores of `before` stay where they are the same: memory outlives a reload.

    Stores that are no longer wanted are not closed: requests on their way use them. They go with the last of these.

    Raises:
        LoadError: a store cannot be opened, the public key not be read, or the URL of bundles not be used.
    """
    trust = Trust(
        settings.public_key_path, settings.tykbridge.accept_old_signatures, settings.tykbridge.allow_native_code
    )
    downloader = None
    if settings.enable_bundle_downloader:
        downloader = Downloader(
            settings.bundle_base_url,
            insecure_skip_verify=settings.bundle_insecure_skip_verify,
            authorization=settings.tykbridge.bundle_authorization,
            log=log,
        )
    keys = Keys(settings.hash_keys, settings.hash_key_function)
    if before is not None and before.settings.storage == settings.storage:
        stores = before.stores
    else:
        try:
            stores = open_stores(settings.storage)
        except StoreError as error:
            raise LoadError(str(error)) from error
    if (
        (before is None or before.settings != settings)
        and settings.storage.type != "memory"
        and (words := keys.warning())
    ):
        log(words, "warning")
    return Operation(settings, stores, keys, downloader, trust, _capabilities(settings))


def _capabilities(settings: Settings) -> Capabilities:
    there = drivers.capabilities()
    if not settings.enable_jsvm:
        off = {Driver.JAVASCRIPT: "the settings turn it off: enable_jsvm"}
        there = msgspec.structs.replace(there, drivers=there.drivers - off.keys(), missing={**there.missing, **off})
    return msgspec.structs.replace(
        there, endpoint_code=not settings.disable_virtual_path_blobs, isolation=settings.tykbridge.isolation
    )
