"""Makes what settings ask for (stores, keys, where bundles come from), and puts it into use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import msgspec

from tykbridge import drivers, locks, runtime
from tykbridge.bridge import Bridge
from tykbridge.bundle.download import Downloader
from tykbridge.bundle.signing import Trust
from tykbridge.definition.model import Capabilities, Driver
from tykbridge.drivers.goplugin.host import known_settings, use_settings
from tykbridge.drivers.javascript.limits import use_timeout
from tykbridge.errors import BridgeError, LoadError
from tykbridge.keys import Keys
from tykbridge.settings import Settings, read_settings, whole
from tykbridge.stores import StoreError
from tykbridge.stores.opening import Stores, open_stores

NONE = Settings(hash_keys=False)
"""What holds where there are no settings: memory, and keys as they come, since nobody else reads them there."""

turn = locks.Turn("a loading")
"""Who has it makes an operation and puts it into use: what is read last is put in place last.

One in a process, for whichever bridges: how long JavaScript may run, what plugins keep and what they are told of the
settings is the process's.
"""


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
        told: the settings for plugins that ask for them, as Tyk's JSON; None: there are none.
    """

    settings: Settings
    stores: Stores
    keys: Keys
    downloader: Downloader | None
    trust: Trust
    capabilities: Capabilities
    told: bytes | None

    def fit(self, bridge: Bridge) -> None:
        """Let a bridge take bundles and hooks as the settings say."""
        bridge.downloader, bridge.trust = self.downloader, self.trust
        bridge.target, bridge.capabilities = self.settings.target, self.capabilities


def read_operation(
    source: str | os.PathLike[str], before: Operation | None, log: Callable[[str, str], None]
) -> Operation:
    """Read settings, a tyk.conf or its text, and make what they ask for, as `prepare` does.

    Raises:
        SettingsError: they cannot be read, or something in them, or in a variable, is wrong.
        LoadError: what `prepare` says.
    """
    settings, notices = read_settings(source)
    for notice in notices:
        log(str(notice), "warning")
    return prepare(settings, before, log, whole(source, settings))


def prepare(
    settings: Settings, before: Operation | None, log: Callable[[str, str], None], told: bytes | None = None
) -> Operation:
    """Make what settings ask for. The stores of `before` stay where they are the same: memory outlives a reload.

    Stores that are no longer wanted are not closed: requests on their way use them. They go with the last of these.

    Args:
        settings: the settings.
        before: what is in use now; None: nothing.
        log: gets lines and their levels.
        told: the settings for plugins that ask for them, as `settings.whole` gives them.

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
    return Operation(settings, stores, keys, downloader, trust, _capabilities(settings), told)


@contextlib.contextmanager
def using(
    bridge: Bridge, operation: Operation | None, before: Operation | None = None, middleware_path: str = ""
) -> Iterator[None]:
    """Put what was made into a bridge, for it to load with meanwhile; after that, into use for the process as well.

    When the block raises, bridge and process are as they were, and stores that were opened for nothing are closed.
    Needs the turn.

    Args:
        bridge: the bridge. Its services may be changed within, too.
        operation: what was made of settings; None: there are none, and the bridge keeps what it has.
        before: what was in use until now; None: nothing.
        middleware_path: goes before that of the settings; "": that counts, else "middleware" in the working directory.
    """
    kept = {name: getattr(bridge, name) for name in _CHANGED}
    told = known_settings()
    try:
        if operation is not None:
            stores = operation.stores
            bridge.services = replace(
                bridge.services, sessions=stores.store, counters=stores.counters, keys=operation.keys
            )
            operation.fit(bridge)
            middleware_path = middleware_path or operation.settings.middleware_path
            use_settings(operation.told)
        bridge.middleware_path = os.path.abspath(middleware_path or "middleware")
        yield
    except BaseException as error:
        for name, value in kept.items():
            setattr(bridge, name, value)
        use_settings(told)
        is_new = operation is not None and (before is None or operation.stores is not before.stores)
        if operation is not None and is_new and isinstance(error, BridgeError):
            operation.stores.store.close()  # nobody has used it, while who is interrupted may have
        raise
    if operation is not None:
        runtime.use_store(operation.stores.store)
        use_timeout(operation.settings.jsvm_timeout)
        runtime.registry.trust = operation.trust


_CHANGED = ("services", "middleware_path", "downloader", "trust", "target", "capabilities")


def _capabilities(settings: Settings) -> Capabilities:
    there = drivers.capabilities()
    if not settings.enable_jsvm:
        off = {Driver.JAVASCRIPT: "the settings turn it off: enable_jsvm"}
        there = msgspec.structs.replace(there, drivers=there.drivers - off.keys(), missing={**there.missing, **off})
    return msgspec.structs.replace(
        there, endpoint_code=not settings.disable_virtual_path_blobs, isolation=settings.tykbridge.isolation
    )
