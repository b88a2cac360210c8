"""Stores under APIs: what processes share, an outage under load, what plugins do with Redis and with data."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.servers import RedisServer, until
from tests.token_api import ask, definition, start
from tykbridge import runtime
from tykbridge.counters import MemoryCounters
from tykbridge.keys import Keys
from tykbridge.outcome import Continue, Request
from tykbridge.stores import StoreError
from tykbridge.stores.memory import MemoryStore
from tykbridge.stores.opening import Storage, Stores, open_stores
from tykbridge.stores.redis import PAUSE

HASHED = Keys(True).hashed("token")

# Every key of a session as a gateway writes it.
TYKS = {
    "last_check": 0, "allowance": 5, "rate": 5, "per": 60, "throttle_interval": 0, "throttle_retry_limit": 0,
    "max_query_depth": 0, "date_created": "2026-11-26T09:00:00.123456789Z", "expires": 0, "quota_max": 100,
    "quota_renews": 1795687771, "quota_remaining": 100, "quota_renewal_rate": 60,
    "access_rights": {"api": {
        "api_name": "api", "api_id": "api", "versions": ["Default"], "allowed_urls": None, "restricted_types": None,
        "allowed_types": None, "limit": None, "field_access_rights": None, "disable_introspection": False,
        "allowance_scope": ""}},
    "org_id": "org", "oauth_client_id": "", "oauth_keys": None, "certificate": "", "basic_auth_data": {
        "password": "", "hash_type": ""}, "jwt_data": {"secret": ""}, "hmac_enabled": False,
    "enable_http_signature_validation": False, "hmac_string": "", "rsa_certificate_id": "", "is_inactive": False,
    "apply_policy_id": "", "apply_policies": None, "data_expires": 0, "monitor": {"trigger_limits": None},
    "enable_detail_recording": False, "enable_detailed_recording": False, "meta_data": None, "tags": None, "alias": "",
    "last_updated": "1795687711", "id_extractor_deadline": 0, "session_lifetime": 0, "smoothing": None,
    "post_expiry_action": "", "post_expiry_grace_period": 0,
}  # fmt: skip

PLUGIN = """
import json
import redis
from gateway import TykGateway as tyk
from tyk.decorators import *

@Hook
def change(request, session, spec):
    config = json.loads(spec["config_data"])
    with redis.Redis(unix_socket_path=config["socket"]) as client:
        place = "apikey-" + config["hashed"]
        stored = json.loads(client.get(place))
        stored["quota_max"] = 2
        stored["meta_data"] = {"changed": "by a plugin"}
        client.set(place, json.dumps(stored))
    return request, session

@Hook
def show(request, session, spec):
    request.add_header("X-Meta", session.metadata["changed"] if "changed" in session.metadata else "")
    return request, session

@Hook
def remember(request, session, spec):
    tyk.store_data("seen", "once", 60)
    request.add_header("X-Seen", tyk.get_data("seen").decode())
    return request, session

@Hook
def check(request, session, metadata, spec):
    tyk.get_data("seen")
    metadata["token"] = "a"
    return request, session, metadata
"""


@pytest.fixture
def stores(redis_server: RedisServer) -> Iterator[Stores]:
    opened = open_stores(redis_server.storage())
    yield opened
    opened.store.close()


def hooked(folder: Path, config: dict[str, str] | None = None, api: str = "api", **hooks: str) -> dict[str, Any]:
    (folder / "plugin.py").write_text(PLUGIN)
    entries: dict[str, Any] = {}
    for phase, name in hooks.items():
        entry = {"name": name, "path": str(folder / "plugin.py")}
        entries[phase] = entry if phase == "auth_check" else [entry]
    more = {"enable_coprocess_auth": True} if "auth_check" in hooks else {"use_standard_auth": True}
    return definition(api, custom_middleware={"driver": "python", **entries}, config_data=config or {}, **more)


def header(bridge: Any, key: str, name: str) -> str | None:
    outcome = bridge.request(Request("GET", "/api/", (("Authorization", key),)))
    assert isinstance(outcome, Continue), outcome
    return dict(outcome.request.headers).get(name)


def test_a_session_that_a_gateway_wrote_is_accepted(tmp_path: Path, stores: Stores) -> None:
    bridge = start(tmp_path, stores, keys=Keys(True))
    stores.store.set(f"apikey-{HASHED}", json.dumps(TYKS, separators=(",", ":")).encode())
    assert [ask(bridge, "token") for _ in range(6)] == [200] * 5 + [429]
    assert stores.store.get(f"quota-{HASHED}") == b"5"


def test_a_plugin_changes_a_session_with_redis_py(tmp_path: Path, stores: Stores, redis_server: RedisServer) -> None:
    api = hooked(tmp_path, {"socket": redis_server.path, "hashed": HASHED}, pre="change", post="show")
    bridge = start(tmp_path, stores, api, keys=Keys(True))
    stores.store.set(f"apikey-{HASHED}", json.dumps(TYKS).encode())
    assert header(bridge, "token", "X-Meta") == "by a plugin"  # changed before who asks was looked up
    assert ask(bridge, "token") == 200
    assert ask(bridge, "token") == 403  # the quota that the plugin set


def test_a_plugin_that_changes_a_session_later_does_so_for_the_next_request(
    tmp_path: Path, stores: Stores, redis_server: RedisServer
) -> None:
    config = {"socket": redis_server.path, "hashed": HASHED}
    bridge = start(tmp_path, stores, hooked(tmp_path, config, post_key_auth="show", post="change"), keys=Keys(True))
    stores.store.set(f"apikey-{HASHED}", json.dumps(TYKS).encode())
    assert [header(bridge, "token", "X-Meta") for _ in range(2)] == ["", "by a plugin"]


PROCESS = """
import sys
from pathlib import Path
import msgspec
from tests.token_api import ask, start
from tykbridge import runtime
from tykbridge.stores.opening import Storage, open_stores
stores = open_stores(msgspec.json.decode(sys.argv[1], type=Storage))
runtime.use_store(stores.store)
bridge = start(Path(sys.argv[2]), stores)
print("ready", flush=True)
sys.stdin.readline()
answers = [ask(bridge, "key") for _ in range(60)]
print(answers.count(200), answers.count(403), runtime.get_data("seen").decode(), flush=True)
stores.store.close()
"""


@pytest.mark.once
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_two_processes_share_sessions_quotas_and_data(tmp_path: Path, redis_server: RedisServer, kind: str) -> None:
    storage = redis_server.storage() if kind == "redis" else Storage(type="sqlite", path=str(tmp_path / "data"))
    opened = open_stores(storage)
    opened.store.set("apikey-key", b'{"org_id": "org", "quota_max": 77, "quota_renewal_rate": 600}')
    opened.store.set("coprocess-data:seen", b"by-all")
    running = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, "-c", PROCESS, msgspec.json.encode(storage).decode(), str(folder)]
        running.append(subprocess.Popen(command, stdin=-1, stdout=-1, text=True))
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0].split() for process in running]
    assert sum(int(words[0]) for words in said) == 77
    assert sum(int(words[1]) for words in said) == 120 - 77
    assert [words[2] for words in said] == ["by-all", "by-all"]
    opened.store.close()


@pytest.mark.once
def test_a_server_killed_and_started_again_under_load(tmp_path: Path) -> None:
    server = RedisServer()
    opened = open_stores(server.storage(timeout=0.5))
    bridge = start(tmp_path, opened, definition(), definition("open", use_keyless=True))
    opened.store.set("apikey-key", b'{"org_id": "org", "quota_max": 100000000, "quota_renewal_rate": 600}')
    over, seen, slowest = threading.Event(), Counter[tuple[str, int]](), [0.0]
    lock = threading.Lock()

    def load(api: str, key: str) -> None:
        while not over.is_set():
            begin = time.monotonic()
            status = ask(bridge, key, api)
            with lock:
                seen[api, status] += 1
                slowest[0] = max(slowest[0], time.monotonic() - begin)

    threads = [threading.Thread(target=load, args=args) for args in [("api", "key")] * 4 + [("open", "")] * 2]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            before = seen["api", 200]
            until(lambda before=before: seen["api", 200] > before + 20)
            refused, free = seen["api", 503], seen["open", 200]
            server.kill()
            until(lambda refused=refused: seen["api", 503] > refused + 20)
            until(lambda free=free: seen["open", 200] > free + 20)
            server.start()
            back = seen["api", 200]
            until(lambda back=back: seen["api", 200] > back + 20, PAUSE + 5)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        opened.store.close()
        server.close()
    assert set(seen) == {("api", 200), ("api", 503), ("open", 200)}
    assert slowest[0] < 3  # two calls of 0.5 s each, on a machine that has more to do


# ---- Plugins' data


class Broken(MemoryStore):
    """A store that is out of reach."""

    broken = True

    def get(self, key: str) -> bytes | None:
        if self.broken:
            raise StoreError("Redis at nowhere:1: out of reach")
        return super().get(key)

    def set(self, key: str, value: bytes, ttl: float = 0) -> None:
        if self.broken:
            raise StoreError("Redis at nowhere:1: out of reach")
        super().set(key, value, ttl)


@pytest.fixture
def data() -> Iterator[Broken]:
    store = Broken()
    before = runtime.use_store(store)
    yield store
    assert runtime.use_store(before) is store


def test_data_lies_under_tyks_prefix_in_the_store_that_is_used(
    tmp_path: Path, stores: Stores, redis_server: RedisServer
) -> None:
    before = runtime.use_store(stores.store)
    try:
        stores.store.set("apikey-key", b'{"org_id": "org"}')
        bridge = start(tmp_path, stores, hooked(tmp_path, post="remember"))
        assert header(bridge, "key", "X-Seen") == "once"
    finally:
        runtime.use_store(before)
    with redis_server.client() as client:
        assert client.get("coprocess-data:seen") == b"once"
        assert 59_000 < client.pttl("coprocess-data:seen") <= 60_000


@pytest.mark.parametrize(("phase", "hook", "status"), [("post", "remember", 500), ("auth_check", "check", 503)])
def test_a_store_that_fails_is_no_missing_value(
    tmp_path: Path, data: Broken, phase: str, hook: str, status: int
) -> None:
    own = Stores(MemoryStore(), MemoryCounters())
    own.store.set("apikey-key", b'{"org_id": "org"}')
    bridge = start(tmp_path, own, hooked(tmp_path, **{phase: hook}))
    assert ask(bridge, "key") == status
    data.broken = False
    assert ask(bridge, "key") == 200
    data.broken = True
    assert ask(bridge, "key") == status


def test_a_plugin_may_go_on_without_the_store(host: Any, bundle: Any, data: Broken) -> None:
    host.set_host(log=lambda message, level: host.logs.append((level, message)))
    source = """
from gateway import TykGateway as tyk
from tyk.decorators import *
from tykbridge.stores import StoreError

@Hook
def careful(request, session, spec):
    said = []
    for call in (lambda: tyk.get_data("a"), lambda: tyk.store_data("a", "1", 0)):
        try:
            call()
        except StoreError as error:
            said.append(str(error))
    request.object.body = "; ".join(said)
    return request, session
"""
    _, reply = bundle(source).run("careful")
    assert reply.request.body == "; ".join(["Redis at nowhere:1: out of reach"] * 2)
    assert host.logs == []  # it was told, and may say so itself


def test_a_host_gets_nothing_and_a_line_in_the_log(host: Any, data: Broken) -> None:
    host.set_host(log=lambda message, level: host.logs.append((level, message)))
    host.store_data("a", "1", 0)
    assert host.get_data("a") == b""
    assert len(host.logs) == 2
    assert all(level == "error" for level, _ in host.logs)
    assert "out of reach" in host.logs[1][1]


def test_a_hosts_own_functions_are_asked_alone(host: Any, bundle: Any, data: Broken) -> None:
    host.set_host(get_data=lambda key: b"theirs", store_data=lambda key, value, ttl: None)
    source = """
from gateway import TykGateway as tyk
from tyk.decorators import *

@Hook
def ask(request, session, spec):
    tyk.store_data("a", "1", 0)
    request.object.body = tyk.get_data("a").decode()
    return request, session
"""
    _, reply = bundle(source).run("ask")
    assert reply.request.body == "theirs"


@pytest.mark.parametrize("value", [b"\0banned", b"ban\0ned"])
def test_regression_data_that_cannot_cross_c_is_neither_cut_nor_missing(
    host: Any, bundle: Any, data: Broken, value: bytes
) -> None:
    data.broken = False
    data.set("coprocess-data:a", value)  # with redis-py, say
    host.set_host(log=lambda message, level: host.logs.append((level, message)))
    source = """
from gateway import TykGateway as tyk
from tyk.decorators import *

@Hook
def ask(request, session, spec):
    try:
        request.object.body = repr(tyk.get_data("a"))
    except Exception as error:
        request.object.body = f"{type(error).__name__}: {error}"
    return request, session
"""
    _, reply = bundle(source).run("ask")
    assert reply.request.body.startswith('StoreError: a key "coprocess-data:..." holds a value with a NUL')
    assert host.get_data("a") == b""
    assert "NUL" in host.logs[-1][1]
