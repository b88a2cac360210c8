"""`tykbridge upstream`: what it answers, over real connections."""

import http.client
import json
import re
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def started():
    """The program, and its port."""
    command = [sys.executable, "-m", "tykbridge", "upstream", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process, int(re.search(r"http://127.0.0.1:(\d+)/", process.stdout.readline())[1])
        process.kill()


@pytest.fixture
def ask(started):
    """Sends a request on a connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", started[1], timeout=60)

    def ask(method, url, body=None, headers=(), **arguments):
        connection.putrequest(method, url, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(body, **arguments)
        answer = connection.getresponse()
        return answer.status, answer.read()

    yield ask
    connection.close()


def test_the_answer_is_what_came_in(ask):
    status, body = ask("POST", "/a%20b?x=1&x=2&y=", b'{"k": 1}', [("Content-Length", "8"), ("A", "1"), ("A", "2")])
    got = json.loads(body)
    assert (status, got["method"], got["url"], got["args"]) == (
        200,
        "POST",
        "/a%20b?x=1&x=2&y=",
        {"x": ["1", "2"], "y": ""},
    )
    assert (got["data"], got["json"], got["headers"]["A"]) == ('{"k": 1}', {"k": 1}, ["1", "2"])
    status, body = ask("BREW", "/", [b"one ", b"two"], [("Transfer-Encoding", "chunked")], encode_chunked=True)
    assert (status, json.loads(body)["data"], json.loads(body)["json"]) == (200, "one two", None)
    assert ask("HEAD", "/") == (200, b"")
    assert json.loads(ask("GET", "/")[1])["data"] == ""


@pytest.mark.parametrize("length", ["99999999999", "-1", "x"])
def test_a_body_that_is_too_long_or_of_no_length_is_refused(ask, length):
    assert ask("POST", "/", headers=[("Content-Length", length)])[0] == 413


def test_a_port_that_is_taken_is_told(started):
    done = subprocess.run(
        [sys.executable, "-m", "tykbridge", "upstream", "--port", str(started[1])], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Address already in use; --port names another" in done.stderr


def test_a_signal_ends_it(started):
    process, _ = started
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
