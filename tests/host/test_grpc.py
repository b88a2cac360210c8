"""Hooks on a gRPC server, in a host: the settings name the server, and requests that wait have no thread."""

import json
import threading

import pytest

from tests import grpcserver
from tests.host.calls import OK
from tests.host.test_settings import configured  # noqa: F401
from tests.oracle import PB
from tykbridge import hosted, waiting


def request_of(api_id="a"):
    sent = PB["Object"]()
    sent.spec["APIID"] = api_id
    sent.request.method, sent.request.url, sent.request.request_uri = "GET", "/a/", "/a/"
    return sent.SerializeToString()


@pytest.fixture
def api(configured, host, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(hosted.bridge, "target", None)
    definition = {
        "api_id": "a",
        "use_keyless": True,
        "proxy": {"listen_path": "/a/"},
        "custom_middleware": {"driver": "grpc", "pre": [{"name": "Hello"}, {"name": "Again"}]},
    }
    (tmp_path / "apis/a.json").write_text(json.dumps(definition))
    return configured


def settings(address):
    return {"coprocess_options": {"coprocess_grpc_server": address}}


def test_the_settings_server_is_asked_and_replaced_by_a_reload(api, host):
    with grpcserver.Program() as first, grpcserver.Program() as second:
        for server in (first, second):
            reply = api(settings(server.address))
            assert reply.status == OK, reply.words
            assert host.run_request(request_of()).status == OK
        first.kill()
        assert host.run_request(request_of()).status == OK


def test_requests_that_are_started_wait_for_it_beside_the_threads(api, host):
    with grpcserver.Program(delay_ms=200) as server:
        assert api(settings(server.address)).status == OK
        over, done = [], threading.Semaphore(0)

        def ended(reply):
            over.append(reply.status)
            done.release()

        before = threading.active_count()
        for _ in range(200):
            assert host.start_request(request_of(), ended).status == OK
        for _ in range(200):
            assert done.acquire(timeout=60)
        assert over == [OK] * 200
        assert threading.active_count() - before <= waiting.MOST + 2  # so many where the machine is busy, mostly eight
