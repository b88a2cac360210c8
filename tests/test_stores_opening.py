"""Stores as a configuration asks for them."""

import socket
import subprocess
import sys

import msgspec
import pytest

from tykbridge.counters import MemoryCounters
from tykbridge.definition.fields import fill
from tykbridge.definition.problems import Report
from tykbridge.stores import StoreError
from tykbridge.stores.memory import MemoryStore
from tykbridge.stores.opening import Storage, one_server, open_stores, unreachable
from tykbridge.stores.sqlite import SqliteStore

pytestmark = pytest.mark.once


def test_memory_is_what_nobody_asks_for():
    opened = open_stores(Storage())
    assert isinstance(opened.store, MemoryStore)
    assert isinstance(opened.counters, MemoryCounters)


def test_a_file_is_store_and_counters(tmp_path):
    opened = open_stores(Storage(type="sqlite", path=str(tmp_path / "data")))
    assert isinstance(opened.store, SqliteStore)
    assert opened.counters is opened.store
    opened.store.close()


def test_redis_is_store_and_counters(redis_server):
    opened = open_stores(redis_server.storage())
    assert opened.counters is opened.store
    opened.store.set("a", b"1")
    opened.store.close()


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (Storage(type="mongo"), 'type "mongo" is unknown; there are memory, sqlite and redis'),
        (Storage(type=""), 'type "" is unknown'),
        (Storage(type="sqlite"), "needs path"),
        (Storage(type="redis", addrs=["a:1", "b:2"]), "not supported yet"),
        (Storage(type="redis", hosts={"a": "1", "b": "2"}), "not supported yet"),
        (Storage(type="redis", enable_cluster=True), "not supported yet"),
        (Storage(type="redis", master_name="mymaster", addrs=["a:1"]), "not supported yet"),
        (Storage(type="redis", addrs=["localhost"]), '"localhost" is not "host:port"'),
        (Storage(type="redis", addrs=["localhost:x"]), '"localhost:x" is not "host:port"'),
        (Storage(type="redis", addrs=["localhost:²"]), 'is not "host:port"'),
        (Storage(type="redis", use_ssl=True, ca_file="/no/such/file"), "ca_file: /no/such/file"),
        (Storage(type="redis", use_ssl=True, cert_file="/no/such/file"), "cert_file: /no/such/file"),
    ],
)
def test_what_cannot_be_opened_is_told(storage, words):
    with pytest.raises(StoreError) as caught:
        open_stores(storage)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("storage", "host", "port"),
    [
        (Storage(), "localhost", 6379),
        (Storage(host="redis", port=1), "redis", 1),
        (Storage(host="redis", addrs=["other:2"]), "other", 2),
        (Storage(addrs=["[::1]:2"]), "::1", 2),
        (Storage(hosts={"older": "3"}), "older", 3),
    ],
)
def test_one_server_has_several_spellings(storage, host, port):
    found = one_server(storage)
    assert (found.host, found.port) == (host, port)


def test_the_section_of_a_tyk_conf_is_read(tmp_path):
    written = {
        "type": "redis",
        "host": "localhost",
        "port": 6379,
        "addrs": None,
        "hosts": None,
        "username": "",
        "password": "secret",
        "database": 2,
        "optimisation_max_idle": 2000,
        "optimisation_max_active": 4000,
        "enable_cluster": False,
        "timeout": 3,
        "use_ssl": True,
        "ssl_insecure_skip_verify": True,
    }
    report = Report("tyk.conf")
    storage = fill(report, Storage, written, "$.storage")
    assert not report.problems
    assert not report.notices
    assert (storage.database, storage.optimisation_max_active, storage.timeout) == (2, 4000, 3.0)
    assert "secret" not in repr(storage)
    assert msgspec.json.decode(msgspec.json.encode(storage), type=Storage) == storage


def test_without_redis_py_the_extra_is_named():
    program = """
import sys
sys.modules["redis"] = None
from tykbridge.stores.opening import Storage, open_stores
try:
    open_stores(Storage(type="redis"))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("StoreError")
    assert "pip install 'tykbridge[redis]'" in done.stdout


def test_what_keeps_redis_from_answering_is_told(redis_server, tmp_path):
    assert unreachable(redis_server.storage()) == ""
    assert "Connection refused" in unreachable(Storage(type="redis", host="127.0.0.1", port=1))
    assert unreachable(Storage(type="redis", enable_cluster=True)).startswith("storage: Redis Cluster")
    assert unreachable(Storage(type="sqlite", path=str(tmp_path / "data"))) == ""
    assert not (tmp_path / "data").exists()


def test_a_redis_that_never_answers_is_not_waited_for_longer_than_wanted():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        storage = Storage(type="redis", host="127.0.0.1", port=silent.getsockname()[1], timeout=3600)
        assert "Timeout reading" in unreachable(storage, 0.1)
