"""hosts/go: its own tests, which run the table of cases too, and its page, followed word by word."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

from tykbridge import installation

# A Go program does not start with ASan's runtime loaded before it.
pytestmark = pytest.mark.plain


@pytest.fixture
def go(root):
    """Run a command in hosts/go."""

    def run(*command, folder=root / "hosts/go"):
        # No other toolchain is downloaded, and a source archive lies in no repository, or in another's.
        env = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
        env |= {"PKG_CONFIG_PATH": str(installation.pkgconfig()), "TYKBRIDGE_PYTHON": sys.executable}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def test_go(go):
    out = go("go", "test", "-count=1", "./...")
    assert out.count("ok  \t") == 2


@pytest.mark.once
def test_go_with_the_race_detector(go):
    go("go", "test", "-count=1", "-race", "-run", "Many|Functions|Panic|Streams|Upgrade|Serves", "./...")


@pytest.mark.once
def test_go_benchmarks_run(go):
    go("go", "test", "-run", "^$", "-bench", ".", "-benchtime", "1x", ".")


@pytest.mark.once
def test_go_needs_no_other_module(go, root):
    assert go("go", "list", "-m", "all").split() == ["github.com/tykbridge/tykbridge/hosts/go"]
    assert "go 1.19\n" in (root / "hosts/go/go.mod").read_text()


# ---- The page


@pytest.fixture
def page(root, tmp_path, go):
    """Follow hosts/go/README.md as far as its programs are built.

    Gives the folder, the shell blocks after that, and what the request prints; with ports that are free.
    """
    text = (root / "hosts/go/README.md").read_text(encoding="utf-8")
    for port in ("8080", "8081"):
        text = text.replace(port, str(free_port()))
    for name, content in re.findall(r"`([\w/]+\.\w+)`:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    shutil.copytree(root / "hosts/go", tmp_path / "hosts/go")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    build, *shell = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    made, build = build.split("\n", 1)
    assert made == "make build"
    go("sh", "-euc", build.replace(".venv/bin/tykbridge", f"{sys.executable} -m tykbridge"), folder=tmp_path)
    [printed] = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return tmp_path, shell, printed


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(command, folder, until):
    """Run a server, from the line that says it listens on; gives the lines that it prints after that."""
    env = {**os.environ, "TYKBRIDGE_PYTHON": sys.executable, "PYTHONUNBUFFERED": "1"}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(["sh", "-euc", command], cwd=folder, env=env, start_new_session=True, **output)
    with process:
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if until in line:
                    break
            else:
                pytest.fail(f"{command}: {''.join(said)}")
            yield process.stdout
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def greeting(curl):
    """Send what the page's curl sends, and give what its grep finds."""
    name, value, url = re.fullmatch(r"curl -si -H '(.*): (.*)' (\S+) \| grep X-Greeting\n", curl).groups()
    with urllib.request.urlopen(urllib.request.Request(url, headers={name: value})) as response:
        return f"X-Greeting: {response.headers['X-Greeting']}\n", response.read()


@pytest.mark.once
def test_the_pages_proxy(page):
    folder, [upstream, proxy, curl, _], printed = page
    with served(upstream, folder, "Serving"), served(proxy, folder, "listening on") as said:
        assert greeting(curl)[0] == printed
        assert said.readline() == "tykbridge: event Greeted Ada\n"


@pytest.mark.once
def test_the_pages_middleware(page, go):
    folder, [_, _, curl, app], printed = page
    *build, run = app.splitlines()
    go("sh", "-euc", "\n".join(build), folder=folder)
    with served(run, folder, "listening on") as said:
        assert greeting(curl) == (printed, b"from Go\n")
        assert "event Greeted: Ada" in said.readline()
