"""The upstream that answers with what it was asked, over real connections, as it stands in a gateway."""

import contextlib
import http.client
import json

import pytest

from tests.asgi_servers import ask
from tykbridge import Bridge
from tykbridge.gateway import echo
from tykbridge.gateway.server import Gateway, running

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def upstream():
    made = echo.Echo()
    with running(Gateway(Bridge(), port=0, parts=[made])):
        yield made


def port_of(upstream):
    return int(upstream.url.rstrip("/").rpartition(":")[2])


def test_get_as_httpbin_answers_it(upstream):
    headers = [("Host", "httpbin.test"), ("Foo", "Bar"), ("X-Two", "1"), ("X-Two", "2")]
    status, got, body = ask(port_of(upstream), url="/get?b=1&a=%C3%BC&b=2&c=", headers=headers)
    assert (status, dict(got)["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(body) == {
        "args": {"a": "ü", "b": ["1", "2"], "c": ""},
        "headers": {"Foo": "Bar", "Host": "httpbin.test", "X-Two": "1,2"},
        "origin": "127.0.0.1",
        "url": "http://httpbin.test/get?b=1&a=%C3%BC&b=2&c=",
    }
    assert upstream.got == json.loads(body)


def test_a_body_comes_back(upstream):
    headers = [("Host", "h"), ("X-Forwarded-For", "10.0.0.1, 10.0.0.2")]
    answer = json.loads(ask(port_of(upstream), "POST", "/", headers, b'{"k": 1}')[2])
    assert (answer["data"], answer["json"], answer["method"]) == ('{"k": 1}', {"k": 1}, "POST")
    assert answer["origin"] == "10.0.0.1, 10.0.0.2"
    answer = json.loads(ask(port_of(upstream), "PUT", "/", headers, b"\xff{")[2])
    assert (answer["data"], answer["json"], answer["method"]) == ("\ufffd{", None, "PUT")
    answer = json.loads(ask(port_of(upstream), "GET", "/", headers, b"got")[2])
    assert (answer["data"], answer["json"], answer["method"]) == ("got", None, "GET")
    assert ask(port_of(upstream), "HEAD", "/", headers)[::2] == (200, b"")


def test_a_body_in_chunks_of_unknown_length_comes_back(upstream):
    connection = http.client.HTTPConnection("127.0.0.1", port_of(upstream), timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/", iter([b"one ", b"two"]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        assert json.load(connection.getresponse())["data"] == "one two"


def test_a_body_that_is_too_long(upstream, monkeypatch):
    monkeypatch.setattr(echo, "BODY", 10)
    assert ask(port_of(upstream), "POST", "/", [("Host", "h")], b"12345678901")[0] == 413
