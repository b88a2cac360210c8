"""The chain, by the table of cases, through the Python class."""

import base64
import contextlib
import json

import pytest

from tests import cases, grpcserver
from tykbridge import Bridge, _bridge
from tykbridge.outcome import Continue, Request, Respond, Response
from tykbridge.runtime import registry
from tykbridge.services import Mode, Services

TABLES = {driver: cases.load(driver) for driver in cases.SUFFIXES}
# What failures are called in other languages.
SAID = {
    "lua": {
        "ValueError: boom": "boom (middleware.lua:",
        "SystemExit": "attempt to call a nil value (field 'exit')",
        "returned None": "returned nil; a hook with 3 parameters returns request, session (middleware.lua:",
        "a tuple of (str, str)": "returned string, string; ",
        "KeyError": "an error that is a table",
    },
    "javascript": {
        "ValueError: boom": "Error: boom (middleware.js:",
        "SystemExit": "ReferenceError: process is not defined (middleware.js:",
        "returned None": "returned undefined; a hook on a request returns the middleware's ReturnData(request, meta)",
        "a tuple of (str, str)": "returned a string; a hook on a request returns the middleware's ReturnData",
        "KeyError": 'an error that is an object: {"code":"gone"}',
    },
}


OTHERWISE = {
    # JavaScript has one body, whatever it is made of.
    ("javascript", "requests: raw_body_only"): {"headers": [["Content-Length", "3"], ["X-Report", "'old' 3"]]},
}
"""What goes on to the upstream where a language knows no better."""


class Events:
    """A sink that remembers, plugins' own events too."""

    def __init__(self):
        self.fired = []

    def fire(self, event, api_id, org_id, meta):
        self.fired.append(event)


def body_of(item):
    return base64.b64decode(item["body_base64"]) if "body_base64" in item else item["body"].encode()


def request_of(item):
    return Request(item["method"], item["url"], tuple(map(tuple, item["headers"])), body_of(item))


def response_of(item):
    return Response(item["status"], tuple(map(tuple, item["headers"])), body_of(item))


@pytest.fixture(scope="module")
def bridges(tmp_path_factory):
    """A bridge of the whole table for each driver and mode, with its log and its events."""
    made, served = {}, contextlib.ExitStack()
    for driver in cases.SUFFIXES:
        table = tmp_path_factory.mktemp("cases") / "table"
        if driver == "grpc":
            registry.load_code(str(cases.HERE), "the plugins of a server", "middleware.py")
            served.callback(registry.unload, "the plugins of a server")
            answer = grpcserver.through("the plugins of a server")
            address = served.enter_context(grpcserver.serving(answer))
            cases.write(table, driver, address)
        else:
            cases.write(table, driver)
        for mode in Mode:
            log, events = [], Events()
            services = Services(events=events, mode=mode, log=lambda words, level, log=log: log.append(words))
            bridge = Bridge(services)
            loaded = bridge.load(table / "apis")
            assert loaded.not_loaded == ()
            made[driver, mode] = bridge, log, events
    with served:
        yield made


@pytest.fixture
def said(monkeypatch):
    """What plugins and failed hooks say to the host."""
    lines = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: lines.append(words))
    return lines


@pytest.mark.parametrize(
    ("driver", "case"),
    [
        pytest.param(driver, case, id=case["name"] if driver == "python" else f"{driver}: {case['name']}")
        for driver, table in TABLES.items()
        for case in table
    ],
)
def test_case(driver, case, bridges, said, monkeypatch):
    bridge, log, events = bridges[driver, case["mode"]]
    if driver == "grpc":  # what a server's plugins fire, nobody brings back: this one is in our own process
        monkeypatch.setattr(_bridge, "trigger_event", lambda name, payload: events.fired.append(name))
    api_id = case["definition"]["api_id"]
    for exchange in case["exchanges"]:
        del log[:], events.fired[:], said[:]
        request = request_of(exchange["request"])
        outcome = bridge.request(request, api_id)
        if "upstream" in exchange:
            assert isinstance(outcome, Continue), (outcome, log, said)
            upstream = {**exchange["upstream"], **OTHERWISE.get((driver, case["name"]), {})}
            assert outcome.request == request_of(patched(exchange["request"], upstream))
        if "response" in exchange:
            response = response_of(exchange["response"])
            outcome = bridge.response(outcome.request, response, outcome.session, api_id)
        if "client" in exchange:
            check_client(outcome, exchange.get("response"), exchange["client"])
        if "events" in exchange:
            assert events.fired == exchange["events"]
        if "log" in exchange:
            assert SAID.get(driver, {}).get(exchange["log"], exchange["log"]) in "\n".join(log + said)


def patched(item, changes):
    item = {**item, **changes}
    if "body" in changes:
        item.pop("body_base64", None)
    return item


def check_client(outcome, response, expected):
    assert isinstance(outcome, Respond), outcome
    if response is not None and not isinstance(expected.get("body"), dict):
        expected = {**response, **expected}
    got = outcome.response
    assert got.status == expected["status"]
    if "headers" in expected:
        assert got.headers == tuple(map(tuple, expected["headers"]))
    if isinstance(expected.get("body"), dict):
        assert json.loads(got.body) == expected["body"]
        assert ("Content-Type", "application/json") in got.headers
        assert ("Content-Length", str(len(got.body))) in got.headers
    elif "body" in expected:
        assert got.body == expected["body"].encode()
