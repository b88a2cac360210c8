"""Checks the figures that `make bench` writes for machines: which way they point, and which Python they are of."""

import importlib.util
import sys

import pytest


@pytest.fixture
def run(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "bench"))
    spec = importlib.util.spec_from_file_location("bench_run", root / "bench/run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("harness", None)


FAST = {"copy": 20.0, "floor": 100.0, "classic": 5000.0, "full": 250.0, "delta": 200.0}
SLOW = {"copy": 25.0, "floor": 100.0, "classic": 6000.0, "full": 400.0, "delta": 300.0}


@pytest.mark.once
def test_a_key_without_a_python_holds_the_worst_of_them(run):
    flat = run.flatten({"3.11": {"add_header": FAST}, "3.13": {"add_header": SLOW}})
    assert flat["py311.dispatch.add_header.vs_classic"] == 20
    assert flat["dispatch.add_header.vs_classic"] == flat["py313.dispatch.add_header.vs_classic"] == 15
    assert flat["dispatch.add_header.vs_floor"] == flat["py313.dispatch.add_header.vs_floor"] == 4
    assert flat["dispatch.add_header.delta.vs_floor"] == 3
    assert flat["py311.dispatch.add_header.full_ns"] == 250


@pytest.mark.once
def test_bodies_are_compared_with_a_copy_and_with_a_delta_without_one(run):
    flat = run.flatten({"3.11": {"add_header": FAST, "unread_body": SLOW, "read_body": SLOW}})
    assert flat["dispatch.read_body.vs_copy"] == 16
    assert flat["dispatch.unread_body.delta.vs_small"] == 1.5
    assert "dispatch.add_header.vs_copy" not in flat


@pytest.mark.once
def test_the_table_names_every_scenario(run):
    text = run.table("3.11.7", {"add_header": FAST, "read_body": SLOW})
    assert "adds a header" in text
    assert "reads a 100 KB body" in text
    assert "20.0" in text


@pytest.mark.once
def test_chains_are_compared_with_the_floor_and_with_one_hook(run):
    one, four = {"floor": 100.0, "request": 1000.0}, {"floor": 100.0, "request": 1800.0}
    flat = run.flatten({"3.11": {"chain_one": one, "chain_four": four}, "3.13": {"chain_four": four}})
    assert flat["chain.four.vs_one"] == 1.8
    assert flat["chain.one.vs_floor"] == 10
    assert flat["py313.chain.four.request_ns"] == 1800
    text = run.table("3.11.7", {"add_header": FAST, "chain_one": one, "chain_four": four})
    assert "one pre hook" in text
    assert "1.80 times as long" in text


@pytest.mark.once
def test_a_hook_on_a_server_is_compared_with_a_bare_call(run):
    times = {"3.11": {"grpc": {"bare": 100.0, "driver": 110.0}}, "3.13": {"grpc": {"bare": 100.0, "driver": 120.0}}}
    flat = run.flatten(times)
    assert flat["driver.grpc.vs_bare"] == 1.2
    assert flat["py311.driver.grpc.bare_ns"] == 100
    assert "1.10" in run.table("3.11.7", times["3.11"])


@pytest.mark.once
def test_a_call_of_a_process_is_told_in_calls_of_the_plugin(run):
    times = {"3.11": {"isolation": {"plugin": 100.0, "process": 700.0}}}
    flat = run.flatten(times)
    assert flat["isolation.process.vs_plugin"] == 7
    assert flat["py311.isolation.process_ns"] == 700
    assert "7.00" in run.table("3.11.7", times["3.11"])


@pytest.mark.once
def test_a_plugin_alone_is_compared_with_the_floor(run):
    times = {"3.11": {"plugin_go": {"floor": 100.0, "plugin": 3000.0}}}
    flat = run.flatten(times)
    assert flat["plugin.go.vs_floor"] == 30
    assert flat["py311.plugin.go.plugin_ns"] == 3000
    assert "a hook in Go" in run.table("3.11.7", times["3.11"])
