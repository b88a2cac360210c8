"""`tykbridge play`, as people run it: a process of its own, its output in a pipe or in a terminal."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

import tykbridge
from tests.cli import commands
from tykbridge.cli.play import command

UNWANTED = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
TIME = re.compile(r" +\d+(\.\d)? (µs|us|ms|s)\b")


def play(*arguments, **environment):
    """Runs the command; gives the finished process, with output in bytes."""
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED} | environment
    words = [sys.executable, "-m", "tykbridge", "play", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, env=env, check=False)


@pytest.fixture(scope="module")
def piped():
    """What `tykbridge play` writes into a pipe: the text, and the same without its times."""
    result = play()
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout.decode()


def part(output, title):
    """An example's part of the output, without times."""
    after = output.split(f"── {title} ─", 1)[1]
    return TIME.sub(" TIME", after.split("\n──", 1)[0])


def lines(text):
    """The lines without the rail and the column of the stations' names."""
    return [line[19:].rstrip() for line in text.splitlines()]


def in_order(wanted, there):
    at = iter(there)
    return [line for line in wanted if line not in at]


def test_piped_output_is_plain_text(piped):
    assert "\x1b" not in piped
    assert all(line == line.rstrip() and len(line) <= 100 for line in piped.splitlines())


def test_every_bundle_is_played_and_nothing_fails(piped, root):
    examples = root / "examples"
    bundles = sorted(file.parent.relative_to(examples).as_posix() for file in examples.rglob("manifest.json"))
    assert re.findall(r"^── (\S+) ─", piped, re.MULTILINE) == bundles
    assert TIME.sub(" TIME", piped).splitlines()[-1].strip() == (
        f"{len(bundles)} bundles, 16 requests, 43 hooks in TIME. Nothing failed."
    )


def test_return_overrides(piped):
    assert part(piped, "seeds/return-overrides").split("\n", 1)[1].rstrip() == (
        """\
  A hook answers the client itself: status, headers and body come from return_overrides.

  ● client         GET /anything
  │                Host: api.example.org
  │                Accept: */*
  │
  ● pre            MyCustomMiddleware TIME
  │                print  my_middleware: MyCustomMiddleware
  │                ~ return_overrides.response_code = -1 → 200
  │                + return_overrides.response_error = '{"key": "value"}\\n'
  │                + return_overrides.headers["content-type"] = 'application/json'
  │
  ● client         200 OK  the upstream is not asked
                   content-type: application/json
                   Content-Length: 17

                   {"key": "value"}"""
    )


def test_set_cookie(piped):
    wanted = [
        "+ Set-Cookie: sessionToken=abc123; HttpOnly; Secure",
        "+ Set-Cookie: language=en-US; Secure",
    ]
    assert not in_order(wanted, lines(part(piped, "seeds/set-cookie")))


def test_tour(piped):
    wanted = [
        "+ session.metadata[\"token\"] = 'L-1815'",
        "+ session.alias = 'Ada'",
        "token  L-1815",
        "+ set_headers[\"X-Visits\"] = '1'",
        "~ url = '/poetry/7?debug=1&lines=3' → '/v2/poetry/7?debug=1&lines=3'",
        "GET /v2/poetry/7?lines=3&shelf=poetry",
        "  Accept: application/json",
        "  Accept: text/plain",
        "+ Accept-Language: en",
        "- X-Library-Card: L-1815",
        "  Set-Cookie: room=2",
        "  Set-Cookie: seat=7",
        "+ Content-Length: 39",
        "+ Cache-Control: private",
        '+ {"title": "Fragments", "reader": "Ada"}',
        "log warning  a visitor without a card",
        "401 Unauthorized  the upstream is not asked",
        "event  AuthFailure",
        '{"error": "Please show your library card"}',
        'event  ReaderReturned  {"reader": "Ada"}',
        "+ set_headers[\"X-Visits\"] = '2'",
        "log info  Ada is back: send a bookmark",
        "201 Created",
    ]
    assert not in_order(wanted, lines(part(piped, "tour")))


def test_tour_in_javascript(piped):
    wanted = [
        "+ set_headers[\"X-Visits\"] = '1'",
        "GET /v2/poetry/7?lines=3&shelf=poetry",
        '+ {"title":"Fragments","reader":"Ada"}',
        "log warning  a visitor without a card",
        "event  AuthFailure",
        "onRefused  hears AuthFailure TIME",
        "log info  books: nobody reads /poetry/7 without a card",
        'event  ReaderReturned  {"reader":"Ada"}',
        "log info  Ada is back: send a bookmark",
        "openingHours TIME",
        '+ return_overrides.response_body = \'{"hours":"closed"}\'',
        "200 OK  the upstream is not asked",
        '{"hours":"closed","reader":"Ada"}',
    ]
    assert not in_order(wanted, lines(part(piped, "tour-javascript")))


def test_colour_on_request_says_the_same(piped):
    coloured = play("--color").stdout.decode()
    assert "\x1b[32m+ Set-Cookie" in coloured
    assert TIME.sub("", re.sub(r"\x1b\[[0-9;]*m", "", coloured)).split() == TIME.sub("", piped).split()


def test_ascii_where_nothing_else_can_be_written():
    output = play(PYTHONIOENCODING="ascii", PYTHONUTF8="0").stdout.decode("ascii")
    assert "\n  * client         GET /login\n  |                Host: api.example.org\n" in output
    assert "response_code = -1 -> 200" in output


def test_narrow_page():
    output = play(COLUMNS="50").stdout.decode()
    assert max(map(len, output.splitlines())) <= 50
    assert "".join(lines(part(output, "seeds/set-cookie"))).replace("    ", "").count("HttpOnly; Secure") >= 3


@pytest.mark.parametrize(("name", "coloured"), [("TERM", True), ("NO_COLOR", False)])
def test_terminal(name, coloured, root):
    """In a terminal there is colour, unless NO_COLOR asks for none; it ends by itself there, too."""
    environment = {key: value for key, value in os.environ.items() if key not in UNWANTED}
    environment |= {"TERM": "xterm", name: "xterm"}
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "tykbridge", "play", root / "examples" / "seeds" / "return-overrides"]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    output = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # how a terminal says that the other side is gone
            break
        if not read:
            break
        output += read
    os.close(ours)
    assert process.wait() == 0
    assert b"MyCustomMiddleware" in output
    assert bool(re.search(rb"\x1b\[[0-9;]*3[0-7]m", output)) is coloured


def test_reader_that_has_seen_enough():
    words = [sys.executable, "-m", "tykbridge", "play"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_installation_without_examples(monkeypatch, tmp_path):
    monkeypatch.setattr(tykbridge, "__file__", str(tmp_path / "site-packages" / "tykbridge" / "__init__.py"))
    result = CliRunner().invoke(command, [])
    assert result.exit_code == 1
    assert "this installation has no examples: they are in the repository" in result.output
    assert "tykbridge play DIR" in result.output


def test_one_bundle_by_its_folder(root):
    result = play(root / "examples" / "seeds" / "response-hook")
    assert result.returncode == 0
    assert "── response-hook ─" in result.stdout.decode()
    assert "1 bundle, 1 request, 1 hook in" in result.stdout.decode()


def test_regression_the_working_directory_is_a_bundle_with_a_name(example):
    result = commands.tykbridge("play", ".", cwd=example("pointless"))
    assert (result.status, "Nothing failed." in result.output) == (0, True)
    assert f"── {example('pointless').name} ─" in result.output


def test_folder_without_bundles(tmp_path):
    result = play(tmp_path)
    assert result.returncode == 1
    assert result.stderr.decode() == f"Error: {tmp_path}: no manifest.json in it, so there is no bundle to play\n"
    result = play(tmp_path / "nowhere")
    assert (result.returncode, result.stderr.decode()) == (1, f"Error: {tmp_path}/nowhere: there is no such folder\n")


FAULTY = r"""
from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def raises(request, session, spec):
    tyk.log("\x1b]0;owned\x07", "info")
    print("\x1b[2J")
    raise ValueError("no luck")

@Hook
def splits(request, session, spec):
    request.add_header("X", "1\r\nSet-Cookie: a=b")
    return request, session

@Hook
def pointless(request, session, spec):
    request.object.headers["X"] = "1"
    return request, session
"""


@pytest.fixture
def example(tmp_path):
    """Writes an example with one pre hook; gives the folder."""

    def write(hook, source=FAULTY):
        manifest = {"file_list": ["middleware.py"], "custom_middleware": {"pre": [{"name": hook}], "driver": "python"}}
        scenario = {"calls": [{"request": {"method": "GET", "url": "/"}}]}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        (tmp_path / "request.json").write_text(json.dumps(scenario))
        (tmp_path / "middleware.py").write_text(source)
        return tmp_path

    return write


def test_hook_that_fails(example):
    result = play(example("raises"))
    output = result.stdout.decode()
    assert (result.returncode, result.stderr) == (1, b"")
    assert "\x1b" not in output
    assert r"log info  \x1b]0;owned\x07" in output
    assert r"print  \x1b[2J" in output
    assert "failed  hook" in output
    assert "ValueError: no luck" in output
    assert "500 Internal Server Error  the upstream is not asked" in output
    assert '{"error": "Middleware error"}' in output
    assert "Nothing failed" not in output


def test_hook_that_writes_what_no_hook_may(example):
    result = play(example("splits"))
    output = result.stdout.decode()
    assert result.returncode == 1
    assert 'refused  hook "splits" set the header X to a value with CR, LF or NUL' in output
    assert "500 Internal Server Error" in output


def test_change_without_effect_is_told_as_one(example):
    result = play(example("pointless"))
    assert result.returncode == 0
    assert "+ headers[\"X\"] = '1'  has no effect" in result.stdout.decode()


def test_bundle_that_does_not_load(example):
    result = play(example("missing"))
    assert result.returncode == 1
    assert "missing" in result.stdout.decode()
    assert "0 requests" in result.stdout.decode()


def test_example_without_a_request(example):
    folder = example("pointless")
    (folder / "request.json").unlink()
    result = play(folder)
    assert result.returncode == 1
    assert f"{folder / 'request.json'}: not found" in "".join(result.stdout.decode().split("\n  "))


# ---- --watch


class Watching:
    """`tykbridge play --watch`, in a process of its own, and what it wrote so far."""

    def __init__(self, folder, terminal=False):
        env = {name: value for name, value in os.environ.items() if name not in UNWANTED} | {"TERM": "xterm"}
        self._ours, theirs = pty.openpty() if terminal else os.pipe()
        words = [sys.executable, "-m", "tykbridge", "play", "--watch", folder]
        self.process = subprocess.Popen(words, stdout=theirs, stderr=theirs, env=env)
        os.close(theirs)
        self.output = ""

    def until(self, words, times=1):
        """Reads until something was written, so many times over all; folds and spaces do not count."""
        limit = time.monotonic() + 60
        while self.words.count(words) < times:
            assert time.monotonic() < limit, self.output
            if select.select([self._ours], [], [], 0.1)[0]:
                read = os.read(self._ours, 65536)
                assert read, self.output
                self.output += read.decode()

    @property
    def words(self):
        return " ".join(self.output.split())

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def watching():
    """Starts it, and ends it with the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, **options):
            started = Watching(*arguments, **options)
            stack.callback(started.close)
            return started

        yield start


@pytest.mark.once
def test_what_is_saved_is_played_again(example, watching):
    folder = example("pointless")
    watched = watching(folder)
    watched.until("Nothing failed. Watching")
    example("raises")
    watched.until("ValueError: no luck")
    example("raises", "from tyk.decorators import *\n\ndef x(:\n")
    watched.until("middleware.py:3: SyntaxError")
    (folder / "request.json").write_text("{")  # half written
    watched.until("request.json: Expecting property name")
    (folder / "manifest.json").rename(folder / "gone.json")
    watched.until("so there is no bundle to play")
    example("pointless")
    watched.until("Nothing failed. Watching", 2)
    watched.until("Ctrl-C ends it.", 6)
    assert "\x1b" not in watched.output
    assert watched.interrupt() == 0


VISITS = """
from gateway import TykGateway as tyk
from tyk.decorators import *

@Hook
def count(request, session, spec):
    visits = int(tyk.get_data("visits") or 0) + 1
    tyk.store_data("visits", str(visits), 60)
    request.add_header("X-Visits", f"{visits}{'!'}")
    return request, session
"""


@pytest.mark.once
def test_on_a_terminal_the_screen_starts_anew_and_so_does_the_store(example, watching):
    watched = watching(example("count", VISITS), terminal=True)
    watched.until("Ctrl-C ends it.")
    start = "\x1b[2J\x1b[1;1H"
    assert watched.output.startswith(start)
    assert "X-Visits: 1!" in watched.words
    example("count", VISITS.replace("!", "?"))
    watched.until("X-Visits: 1?")
    watched.until("Ctrl-C ends it.", 2)
    _, first, second, *_ = watched.output.split(start)
    assert ("1!" in first, "1?" in first, "1?" in second) == (True, False, True)
    assert watched.interrupt() == 0


STUCK = """
import time
from tyk.decorators import *

@Hook
def stuck(request, session, spec):
    with open("{}", "w"):
        pass
    while True:
        time.sleep(0.01)
"""


@pytest.mark.once
def test_a_hook_that_does_not_return_is_ended_too(example, watching, tmp_path_factory):
    mark = tmp_path_factory.mktemp("mark") / "there"
    folder = example("stuck", STUCK.format(mark))
    call = {"request": {"method": "GET", "url": "/"}}
    (folder / "request.json").write_text(json.dumps({"calls": [call, call]}))
    watched = watching(folder)
    limit = time.monotonic() + 60
    while not mark.exists():
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert watched.interrupt() == 0


def test_without_watchfiles_it_is_told_what_to_install(example, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", None)
    result = CliRunner().invoke(command, ["--watch", str(example("pointless"))])
    assert (result.exit_code, "pip install 'tykbridge[watch]'" in result.output) == (1, True)
