"""`tykbridge upstream` as a program; what it answers is test_gateway_echo.py's."""

import json
import re
import signal
import subprocess
import sys

import pytest

from tests.asgi_servers import ask

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def started():
    """The program, and its port."""
    command = [sys.executable, "-m", "tykbridge", "upstream", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process, int(re.search(r"http://127.0.0.1:(\d+)/", process.stdout.readline())[1])
        process.kill()


def test_it_answers_and_tells_each_request(started):
    process, port = started
    status, _, body = ask(port, "PUT", "/a%20b?x=1", [("Host", "h")], b"text")
    got = json.loads(body)
    assert (status, got["method"], got["url"], got["data"]) == (200, "PUT", "http://h/a%20b?x=1", "text")
    assert process.stdout.readline() == "PUT /a%20b?x=1\n"


def test_without_aiohttp_it_is_told_what_to_install():
    program = "import sys; sys.modules['aiohttp'] = None; from tykbridge.cli import main; main(['upstream'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, "pip install 'tykbridge[gateway]'" in done.stderr) == (1, True)


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
