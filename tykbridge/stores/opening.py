"""Opens the stores that a configuration asks for."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from tykbridge.counters import Counters, MemoryCounters
from tykbridge.stores import Store, StoreError
from tykbridge.stores.memory import MemoryStore
from tykbridge.stores.sqlite import TIMEOUT, SqliteStore

TYPES = ("memory", "sqlite", "redis")
"""Kinds of stores."""


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Where sessions, counters and plugins' data are kept: the section `storage` of a tyk.conf.

    Attributes:
        type: "memory", "redis", and ours "sqlite".
        path: ours: the file of an SQLite store.
        host: Redis: a name or an address, or the path of a socket, which begins with "/".
        port: Redis: the server's port.
        addrs: Redis: one "host:port" in place of `host` and `port`.
        hosts: Redis: the same in Tyk's older form, host to port.
        username: Redis: the user of its access lists; "" is its default user.
        password: Redis: the user's password.
        database: Redis: the number of the database.
        use_ssl: Redis: talk TLS.
        ssl_insecure_skip_verify: Redis: do not check the server's certificate.
        ca_file: Redis: certificates (PEM) of those who may have signed the server's; "": the system's.
        cert_file: Redis: our certificate (PEM), for a server that asks for one.
        key_file: Redis: its private key (PEM).
        optimisation_max_active: Redis: connections of a process at most; 0: 500, as in Tyk.
        timeout: seconds that a call takes at most; 0: 1 s for Redis, where Tyk waits 5, and 5 s for SQLite.
        enable_cluster: a Redis cluster, which is not supported yet.
        master_name: Redis Sentinel, which is not supported yet.
    """

    OTHERS: ClassVar = frozenset(("optimisation_max_idle", "sentinel_password"))  # see `definition.fields.fill`

    type: str = "memory"
    path: str = ""
    host: str = "localhost"
    port: int = 6379
    addrs: list[str] = []
    hosts: dict[str, str] = {}
    username: str = ""
    password: str = ""
    database: int = 0
    use_ssl: bool = False
    ssl_insecure_skip_verify: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    optimisation_max_active: int = 0
    timeout: float = 0.0
    enable_cluster: bool = False
    master_name: str = ""

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name != "password"}
        return f"Storage({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


@dataclass(frozen=True)
class Stores:
    """What was opened.

    Attributes:
        store: sessions and plugins' data.
        counters: of rate limits and quotas; the same object as `store` where that counts itself.
    """

    store: Store
    counters: Counters


def open_stores(storage: Storage) -> Stores:
    """Opens what `storage` asks for. `store.close()` closes all of it.

    Redis is not asked for anything yet: one that is down when a program starts may come up later.

    Raises:
        StoreError: there is no such type, a setting is wrong, the file cannot be opened, or redis-py is missing.
    """
    if storage.type == "memory":
        return Stores(MemoryStore(), MemoryCounters())
    if storage.type == "sqlite":
        if not storage.path:
            raise StoreError('storage: type "sqlite" needs path, the file to keep data in')
        file = SqliteStore(storage.path, storage.timeout if storage.timeout > 0 else TIMEOUT)
        return Stores(file, file)
    if storage.type != "redis":
        raise StoreError(f'storage: type "{storage.type}" is unknown; there are memory, sqlite and redis')
    try:
        from tykbridge.stores.redis import RedisStore
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise StoreError(f"storage: {error.msg}") from error
    server = RedisStore(one_server(storage))
    return Stores(server, server)


def unreachable(storage: Storage, longest: float = 0) -> str:
    """Says why Redis does not do what it is asked; "" where it does, or where the store is another one.

    Its answer is waited for as long as `storage` says, but not more than `longest` seconds (0: any number); looking up
    the host's name is not in this.
    """
    if storage.type != "redis":  # to open an SQLite file would make it
        return ""
    if longest > 0 and not 0 < storage.timeout <= longest:
        storage = msgspec.structs.replace(storage, timeout=longest)
    try:
        with contextlib.closing(open_stores(storage).store) as store:
            store.get("apikey-tykbridge")  # of a session, which access lists let us read
    except StoreError as error:
        return str(error)
    return ""


def one_server(storage: Storage) -> Storage:
    """Returns it with the `host` and `port` that count; raises `StoreError` where that is not one server."""
    addrs = storage.addrs or [f"{host}:{port}" for host, port in storage.hosts.items()]
    if storage.enable_cluster or storage.master_name or len(addrs) > 1:
        raise StoreError("storage: Redis Cluster and Sentinel are not supported yet; name one server, in host and port")
    if not addrs:
        return storage
    host, _, port = addrs[0].rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise StoreError(f'storage: "{addrs[0]}" is not "host:port"')
    return msgspec.structs.replace(storage, host=host.strip("[]"), port=int(port), addrs=[], hosts={})
