"""`tykbridge check` and `tykbridge run-hook` with hooks on a gRPC server."""

import pytest

from tests import grpcserver
from tests.cli.commands import definition, tykbridge, write
from tests.oracle import PB

pytestmark = pytest.mark.once


@pytest.fixture
def address():
    def answer(data, context):
        message = PB["Object"].FromString(data)
        message.request.set_headers["X-Asked"] = f"{message.hook_name} {message.hook_type}"
        return message.SerializeToString()

    with grpcserver.serving(answer) as address:
        yield address


@pytest.fixture
def place(tmp_path, address):
    manifest = {"file_list": [], "custom_middleware": {"driver": "grpc", "post": [{"name": "Hello"}]}}
    target = {"targets": {"t": {"address": address}}}
    section = {"driver": "grpc", "grpc": target, "pre": [{"name": "First"}, {"name": "Second"}]}
    files = {
        "bundle/manifest.json": manifest,
        "api.json": definition("a", custom_middleware=section),
        "tyk.conf": {"coprocess_options": {"coprocess_grpc_server": address}},
        "bad.json": definition(
            "b", custom_middleware={**section, "grpc": {"targets": {"t": {"address": "tcp://h:1"}}}}
        ),
    }
    return write(tmp_path, files)


def test_a_bundle_asks_the_gateways_server(place):
    done = tykbridge("run-hook", "--conf", "tyk.conf", "bundle", "Hello", cwd=place)
    assert "X-Asked: Hello 2" in done.words
    assert done.status == 0
    assert "X-Asked: Hello 2" in tykbridge("run-hook", "--conf", "tyk.conf", "bundle", cwd=place).words
    asked = tykbridge("run-hook", "--conf", "tyk.conf", "--phase", "pre", "bundle", "Hello", cwd=place)
    assert "X-Asked: Hello 1" in asked.words
    refused = tykbridge("run-hook", "bundle", "Hello", cwd=place)
    assert refused.status == 2
    assert 'nobody says which gRPC server is asked for "Hello"' in refused.words


def test_an_api_asks_its_targets(place):
    assert "X-Asked: Second 1" in tykbridge("run-hook", "api.json", "Second", cwd=place).words


def test_check_looks_at_targets_and_not_for_servers(place):
    assert "loaded bundle: post Hello" in tykbridge("check", "bundle", cwd=place).words
    assert tykbridge("check", "api.json", cwd=place).status == 0
    refused = tykbridge("check", "bad.json", cwd=place)
    assert refused.status != 0
    assert "because messages carry sessions" in refused.words
