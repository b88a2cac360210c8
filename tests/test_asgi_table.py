"""The table of cases through the ASGI middleware, behind a real server."""

import json

import pytest

from tests import cases
from tests.asgi_servers import ask, by_uvicorn
from tests.test_chain import Events, body_of, patched
from tykbridge import Bridge, _bridge
from tykbridge.asgi import TykMiddleware
from tykbridge.services import Mode, Services

pytestmark = pytest.mark.once

TABLE = cases.load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The table, with each API on all paths."""
    folder = tmp_path_factory.mktemp("cases") / "table"
    for case in cases.write(folder):
        definition = case["definition"]
        definition["proxy"]["listen_path"] = "/"
        (folder / "apis" / f"{case['api_id']}.json").write_text(json.dumps(definition))
    return folder


class Upstream:
    """An application that answers as it is told, and remembers what it got."""

    def __init__(self):
        self.response, self.got = None, None

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        self.got = (scope["method"], scope["raw_path"].decode() + query, [*scope["headers"]], body)
        response = self.response or {"status": 200, "headers": [], "body": ""}
        headers = [(name.lower().encode(), value.encode()) for name, value in response["headers"]]
        await send({"type": "http.response.start", "status": response["status"], "headers": headers})
        await send({"type": "http.response.body", "body": body_of(response)})


class Served:
    """What stands behind the server: the middleware of the case that is tried."""

    def __init__(self):
        self.upstream, self.middleware, self.port = Upstream(), None, 0

    async def __call__(self, scope, receive, send):
        await self.middleware(scope, receive, send)


@pytest.fixture(scope="module")
def served():
    served = Served()
    with by_uvicorn(served, lifespan="off") as served.port:
        yield served


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in TABLE])
def test_case(case, folder, served, monkeypatch):
    log, events = [], Events()
    monkeypatch.setattr(_bridge, "log", lambda words, level: log.append(words))
    monkeypatch.setattr(_bridge, "trigger_event", lambda name, payload: events.fired.append(name))
    services = Services(events=events, mode=Mode(case["mode"]), log=lambda words, level: log.append(words))
    bridge = Bridge(services)
    assert bridge.load(folder / "apis" / f"{case['api_id']}.json").not_loaded == ()
    served.middleware = TykMiddleware(served.upstream, bridge)
    for exchange in case["exchanges"]:
        del log[:], events.fired[:]
        served.upstream.response, served.upstream.got = exchange.get("response"), None
        sent = exchange["request"]
        got = ask(served.port, sent["method"], sent["url"], sent["headers"], body_of(sent))
        if "upstream" in exchange:
            assert served.upstream.got is not None, (got, log)
            method, url, headers, body = served.upstream.got
            expected = patched(sent, exchange["upstream"])
            assert (method, url, body) == (expected["method"], expected["url"], body_of(expected))
            ignored = {b"x-report"} if is_respelled(sent["headers"]) else set()
            assert compared(headers, ignored) == compared(wire(expected["headers"]), ignored)
        else:
            assert served.upstream.got is None
        if "client" in exchange:
            check_client(got, exchange.get("response"), exchange["client"])
        if "events" in exchange:
            assert events.fired == exchange["events"]
        if "log" in exchange:
            assert exchange["log"] in "\n".join(log)


def wire(headers):
    return [(name.lower().encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers]


def compared(headers, ignored=frozenset()):
    """Headers, repeats of a name in their order; the length is what the body says."""
    kept = [(name, value.strip()) for name, value in headers if name not in {b"content-length", *ignored}]
    return sorted(kept, key=lambda pair: pair[0])


def is_respelled(headers):
    """Whether a hook that asks for a header by the client's own spelling does not find it: ASGI does not tell that."""
    return [name for name, _ in headers] == ["authorization"]


def check_client(got, response, expected):
    if response is not None and not isinstance(expected.get("body"), dict):
        expected = {**response, **expected}
    status, headers, body = got
    assert status == expected["status"]
    headers = [pair for pair in headers if pair != ("transfer-encoding", "chunked")]  # no hook has seen it
    assert all(value == str(len(body)) for name, value in headers if name == "content-length")
    if "headers" in expected:
        assert compared(wire(headers)) == compared(wire(expected["headers"]))
    if isinstance(expected.get("body"), dict):
        assert json.loads(body) == expected["body"]
        assert ("content-type", "application/json") in headers
    elif "body" in expected:
        assert body == expected["body"].encode()
