"""`tykbridge tour`, as people run it: a process of its own, real connections, its output in a pipe or in a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.cli.commands import UNWANTED, tykbridge

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def piped():
    """What it writes into a pipe, for a page of 80 columns."""
    result = tykbridge("tour", "--port", 0, COLUMNS="80")
    assert (result.status, result.errors) == (0, "")
    return result


def section(result, title):
    return result.output.split(f"── {title} ", 1)[1].split("\n──", 1)[0]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_page_has_the_width_of_the_terminal(piped, columns):
    result = piped if columns == 80 else tykbridge("tour", "--port", 0, COLUMNS=str(columns))
    lines = result.output.splitlines()
    assert "\x1b" not in result.output
    assert all(line == line.rstrip() and len(line) <= columns for line in lines)
    assert max(map(len, lines)) == min(columns, 110)


def test_everything_did_what_it_should(piped):
    assert re.search(r"5 APIs, 6 requests, 12 hooks in .*\. Nothing failed\.", piped.words)
    assert (piped.output.count("✓"), piped.output.count("✗")) == (12, 0)
    assert "Your turn" not in piped.output


def test_it_shows_each_hook_and_what_it_changed(piped):
    page = section(piped, "classic-definition")
    hooks = ["MyPreMiddleware", "AnotherPreMiddleware", "MyAuthCheck", "MyPostKeyAuthMiddleware", "MyPostMiddleware"]
    places = [page.index(f"  {name} ") for name in hooks]
    assert places == sorted(places)
    said = ["log info  MyPreMiddleware is called", "token  secret", "- Authorization: secret", "+ X-Rate: 1000 per 1 s"]
    assert [words for words in said if words not in page] == []
    assert '"args": {' in page  # the upstream's answer
    assert "403 Forbidden  the upstream is not asked" in page
    assert "print  my_middleware: MyCustomMiddleware" in section(piped, "return-overrides")
    assert "+ injectedkey: injectedvalue" in section(piped, "response-hook")


BROKEN = {
    "an upstream that fails": (
        "from tykbridge.gateway import echo; echo.Echo._answer = failing",
        "classic-definition, /classic/get?b=1&a=2: this is not so: The second pre hook saw what the first one added.",
    ),
    "an authentication that does not happen": (
        "tour._definition = lambda *args, made=tour._definition: {**made(*args), **KEYLESS}",
        "classic-definition, /classic/get: this is not so: MyAuthCheck returned no token: 403",
    ),
    "a gateway that does not answer": (
        "from tykbridge.gateway import server; server.Gateway._answer = gone",
        "/classic/get?b=1&a=2 gave no answer: ServerDisconnectedError",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_did_not_do_what_it_should_is_told(what):
    patch, words = BROKEN[what]
    program = f"""
import sys
from aiohttp import web
from tykbridge.cli import main, tour
KEYLESS = {{"use_keyless": True, "enable_coprocess_auth": False}}
async def gone(self, request):
    request.transport.abort()
    raise ConnectionError
async def failing(self, request):
    return web.Response(status=500)
{patch}
sys.argv = ["tykbridge", "tour", "--port", "0", "--no-color"]
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert words in " ".join(done.stdout.split())
    assert "Nothing failed" not in done.stdout


def test_without_aiohttp_it_is_told_what_to_install():
    program = (
        "import sys; sys.modules['aiohttp'] = None; sys.argv[1:] = ['tour']; from tykbridge.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, "pip install 'tykbridge[gateway]'" in done.stderr) == (1, True)


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = tykbridge("tour", "--port", port)
    assert (result.status, result.errors) == (1, f"Error: cannot listen on 127.0.0.1:{port}: Address already in use\n")


class Terminal:
    """The tour on a terminal, and what it wrote so far."""

    def __init__(self, columns):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        env = {name: value for name, value in os.environ.items() if name not in UNWANTED} | {"TERM": "xterm-256color"}
        words = [sys.executable, "-m", "tykbridge", "tour", "--port", "0"]
        self.process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
        os.close(theirs)
        self.text = ""

    def until(self, words, seconds=120):
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < deadline, f"not within {seconds} s: {words}\n{self.text[-3000:]}"
            if select.select([self._ours], [], [], 1)[0]:
                data = os.read(self._ours, 1 << 16).decode()
                self.text += re.sub(r"\x1b\[[0-9;]*m", "", data).replace("\r\n", "\n")
        before, self.text = self.text.split(words, 1)
        return before + words

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal():
    made = Terminal(80)
    yield made
    made.close()


def test_on_a_terminal_it_stays_for_the_readers_own_requests(terminal):
    page = terminal.until("tykbridge serve DIR")
    assert max(len(line) for line in page.splitlines() if "curl" not in line and "/tmp" not in line) <= 80
    (url,) = re.findall(r"curl -i '(http://127.0.0.1:\d+/response/get\?your=own)'", page)
    plugin = Path(re.search(r"\S+/response-hook/middleware\.py", page)[0])
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.headers["injectedkey"] == "injectedvalue"
    terminal.until("GET /response/get?your=own")
    terminal.until("+ injectedkey: injectedvalue")
    plugin.write_text(plugin.read_text().replace("injectedvalue", "changed"))
    terminal.until("loaded")
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.headers["injectedkey"] == "changed"
    terminal.until("+ injectedkey: changed")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url.replace("response", "nowhere"), timeout=60)
    terminal.until("no API listens on /nowhere/get")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(60) == 0
    assert not plugin.exists()


def test_it_can_be_ended_before_its_end(terminal):
    terminal.until("classic-definition")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(60) in (0, 1)
