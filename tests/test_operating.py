"""Settings that are put into use: what of them counts from when on, and what is left of those that cannot be loaded."""

import json
import os
import sqlite3

import pytest

from tykbridge import Bridge
from tykbridge.drivers.goplugin import host
from tykbridge.errors import LoadError, NotFoundError
from tykbridge.operating import read_operation, using
from tykbridge.stores import StoreError

pytestmark = pytest.mark.once


@pytest.fixture
def made(tmp_path):
    """What settings ask for, another thing than what is there in each place."""
    conf = {
        "jsvm_timeout": 7,
        "middleware_path": "plugins",
        "enable_bundle_downloader": True,
        "bundle_base_url": f"file://{tmp_path}/",
        "hash_key_function": "sha256",
        "storage": {"type": "sqlite", "path": str(tmp_path / "data.db")},
        "coprocess_options": {"coprocess_grpc_server": "tcp://127.0.0.1:1"},
        "tykbridge": {"allow_native_code": True, "isolation": "process"},
        "analytics_config": {"type": "csv"},
    }
    operation = read_operation(json.dumps(conf), None, lambda words, level: None)
    yield operation
    operation.stores.store.close()


def of(bridge):
    names = ("services", "middleware_path", "downloader", "trust", "target", "capabilities")
    return {name: getattr(bridge, name) for name in names}


def test_a_bridge_has_it_while_it_loads_and_the_process_after_that(made, process):
    bridge, [told, *others] = Bridge(), process()
    with using(bridge, made):
        services = bridge.services
        assert (services.sessions, services.counters, services.keys) == (
            made.stores.store, made.stores.counters, made.keys
        )  # fmt: skip
        assert bridge.middleware_path == os.path.abspath("plugins")
        assert bridge.downloader is made.downloader is not None
        assert bridge.trust is made.trust
        assert bridge.target.address == "tcp://127.0.0.1:1"
        assert bridge.capabilities.isolation == "process"
        assert process()[1:] == others
        assert json.loads(host.known_settings())["analytics_config"] == {"type": "csv"} != told
    assert process() == [made.told, 7, made.stores.store, made.trust]
    assert "tykbridge" not in json.loads(made.told)


def test_the_hosts_middleware_path_wins(made, process, tmp_path):
    bridge = Bridge()
    with using(bridge, made, middleware_path=str(tmp_path)):
        assert bridge.middleware_path == str(tmp_path)


def test_what_cannot_be_loaded_leaves_everything_as_it_was(made, process, tmp_path):
    bridge = Bridge(middleware_path=tmp_path / "before")
    before, there = of(bridge), process()
    with pytest.raises(NotFoundError), using(bridge, made):
        bridge.load(tmp_path / "nowhere")
    assert (of(bridge), process()) == (before, there)
    with pytest.raises((StoreError, sqlite3.Error)):
        made.stores.store.get("key")


@pytest.mark.parametrize("error", [LoadError, KeyboardInterrupt])
def test_a_store_that_somebody_may_use_stays_open(made, process, error):
    """The one that was in use before; and whoever is interrupted may have loaded all."""
    bridge, there = Bridge(), process()
    with pytest.raises(error), using(bridge, made, made if error is LoadError else None):
        raise error
    assert process() == there
    assert made.stores.store.get("key") is None


def test_without_settings_the_process_stays_as_it_is(process):
    bridge, there = Bridge(), process()
    before = bridge.services
    with using(bridge, None):
        pass
    assert (bridge.services, process()) == (before, there)
