"""What the gateway makes of the upstreams that a definition names."""

import json

import pytest

from tykbridge.definition import read_text
from tykbridge.gateway.upstreams import Upstream

pytestmark = pytest.mark.once


def oas(*targets):
    balancing = {
        "enabled": True,
        "targets": [{"url": f"http://{name}.test", "weight": weight} for name, weight in targets],
    }
    extension = {
        "info": {"id": "api", "name": "api", "state": {"active": True}},
        "server": {"listenPath": {"value": "/api/"}},
        "upstream": {"url": "http://own.test", "loadBalancing": balancing},
    }
    document = {"openapi": "3.0.3", "info": {"title": "api", "version": "1"}, "paths": {}}
    return Upstream(read_text(json.dumps({**document, "x-tyk-api-gateway": extension}), "api.json").require())


def test_weights_are_places_in_the_turn():
    upstream = oas(("one", 2), ("two", 1), ("none", 0))
    assert [upstream.url("/x") for _ in range(4)] == [f"http://{name}.test/x" for name in ("one", "one", "two", "one")]


@pytest.mark.parametrize("weight", [-1, "many", None, 1.5, [], {}])
def test_a_weight_that_is_none_gives_no_place(weight):
    assert oas(("odd", weight)).url("/x") == "http://own.test/x"


def test_a_weight_beyond_reason_is_bounded():
    assert len(oas(("heavy", 10**12)).targets) == 1000
