"""The table of cases, through real sockets against `tykbridge serve`."""

import base64
import json
import re

import pytest

from tests import cases, rawhttp
from tests.serving import serving

pytestmark = pytest.mark.once

MARKER = """
from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def Mark(request, session, spec):
    tyk.log("mark " + request.object.params["n"], "info")
    return request, session
"""
OWN = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id", "content-length", "date"}
"""What the gateway adds, or what framing says of the body, which is compared."""


def localized(case):
    """Give a case whose API is found by its domain: the table's host is one for all."""
    host = f"{case['api_id']}.test"
    moved = json.loads(json.dumps(case).replace("api.test", host))
    for exchange in moved["exchanges"]:
        request, upstream = exchange["request"], exchange.get("upstream", {})
        if "Host" not in [name for name, _ in request["headers"]]:
            request["headers"].append(["Host", host])
            if "headers" in upstream:
                upstream["headers"].append(["Host", host])
    return moved


@pytest.fixture(scope="module")
def upstream():
    with rawhttp.upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def folder(tmp_path_factory, upstream):
    folder = tmp_path_factory.mktemp("cases") / "table"
    for case in cases.write(folder):
        proxy = {"listen_path": "/", "target_url": upstream.url, "preserve_host_header": True}
        definition = {**case["definition"], "domain": f"{case['api_id']}.test", "proxy": proxy}
        (folder / "apis" / f"{case['api_id']}.json").write_text(json.dumps(definition))
    (folder / "marker.py").write_text(MARKER)
    marker = {"driver": "python", "pre": [{"name": "Mark", "path": "../marker.py"}]}
    (folder / "apis" / "marker.json").write_text(
        json.dumps(
            {
                "api_id": "marker",
                "use_keyless": True,
                "domain": "marker.test",
                "proxy": {"listen_path": "/", "target_url": upstream.url},
                "custom_middleware": marker,
            }
        )
    )
    return folder


def octets(text):
    return text.encode("utf-8", "surrogateescape")


def body_of(item):
    return base64.b64decode(item["body_base64"]) if "body_base64" in item else octets(item["body"])


def lines_of(headers):
    return [octets(f"{name}: {value}") for name, value in headers]


def told(headers):
    """Headers whose order does not tell anything, but for repeats; without those that are the gateway's."""
    return sorted(pair for pair in headers if pair[0].decode().lower() not in OWN)


def pairs(headers):
    """Headers as they come off the wire: spaces around a value are no part of it."""
    return [(octets(name), octets(value).strip(b" \t")) for name, value in headers]


def check(serve, upstream, exchange, number):
    request = exchange["request"]
    said = exchange.get("response", {"status": 200, "headers": [], "body": ""})
    body = body_of(said)
    headers = [pair for pair in said["headers"] if pair[0].lower() != "content-length"]
    head = [b"HTTP/1.1 %d Said" % said["status"], *lines_of(headers), b"Content-Length: %d" % len(body)]
    upstream.answers = lambda message: b"\r\n".join([*head, b"", body])
    del upstream.asked[:]
    first = octets(f"{request['method']} {request['url']}")
    before = len(serve.errors)
    got = rawhttp.exchange(serve.port, rawhttp.request(first, *lines_of(request["headers"]), body=body_of(request)))
    asked = list(upstream.asked)
    rawhttp.exchange(serve.port, rawhttp.request(b"GET /?n=%d." % number, b"Host: marker.test"))
    serve.wait_for(f"mark {number}.", before)
    log = serve.errors[before:]
    if "upstream" in exchange:
        expected = {**request, **exchange["upstream"]}
        if "body" in exchange["upstream"]:
            expected.pop("body_base64", None)
        assert len(asked) == 1, (got, log)
        assert asked[0].first == octets(f"{expected['method']} {expected['url']} HTTP/1.1")
        assert told(asked[0].headers) == told(pairs(expected["headers"]))
        assert asked[0].body == body_of(expected)
        assert asked[0].is_whole
    else:
        assert asked == []
    if "client" in exchange:
        check_client(got, exchange.get("response"), exchange["client"])
    elif "response" not in exchange:
        assert got.status == 200
    if "events" in exchange:
        assert re.findall(r"\bevent (\w+)", log) == exchange["events"]
    if "log" in exchange:
        assert exchange["log"] in log


def check_client(got, response, expected):
    template = isinstance(expected.get("body"), dict)
    if response is not None and not template:
        expected = {**response, **expected}
    assert got.status == expected["status"], got
    assert got.is_whole
    if "headers" in expected:
        assert told(got.headers) == told(pairs(expected["headers"]))
    if template:
        assert json.loads(got.body) == expected["body"]
        assert got.get("content-type") == b"application/json"
    elif "body" in expected:
        assert got.body == body_of(expected)


@pytest.mark.parametrize("mode", ["compatible", "strict"])
def test_table_of_cases(folder, upstream, mode):
    failed = {}
    with serving("apis", "--port", 0, *(["--strict"] if mode == "strict" else []), cwd=folder) as serve:
        checked = [case for case in json.loads((folder / "cases.json").read_text()) if case["mode"] == mode]
        for number, case in enumerate(checked):
            moved = localized(case)
            for exchange in moved["exchanges"]:
                try:
                    check(serve, upstream, exchange, number)
                except AssertionError as error:
                    failed[case["name"]] = str(error)[:600]
    assert len(checked) > 20
    assert not failed, json.dumps(failed, indent=1)
