"""What docs/first-plugin.md says, done to the letter: its commands run, its code is written, its answers come."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytestmark = [pytest.mark.once, pytest.mark.plain]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "first-plugin.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [item.getsockname()[1] for item in sockets]


class Reader:
    """Does what the page's reader does, on ports that are free."""

    def __init__(self, folder):
        self.folder, self.running = folder, []
        self.upstream, self.gateway = free_ports(2)
        self.environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}

    def elsewhere(self, text):
        return text.replace("8181", str(self.gateway)).replace("127.0.0.1:8000", f"127.0.0.1:{self.upstream}")

    def types(self, line):
        """One line of a block of commands."""
        if line.startswith("cd "):
            self.folder /= line.removeprefix("cd ")
            return ""
        return subprocess.run(
            ["sh", "-ec", self.elsewhere(line)],
            cwd=self.folder,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    def starts(self, line, port):
        """A command that goes on, in a terminal of its own."""
        words = [*line.split(), "--port", str(port)]
        program = subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        bound = threading.Timer(120, program.kill)  # whoever reads it comes to an end
        bound.start()
        self.running.append((program, bound))
        return program

    def leaves(self):
        for program, bound in self.running:
            program.send_signal(signal.SIGINT)
            program.communicate()
            bound.cancel()


@pytest.fixture
def reader(tmp_path):
    (tmp_path / "bin").mkdir()
    for name, words in (("tykbridge", "-m tykbridge"), ("python", "")):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    at_work = Reader(tmp_path)
    yield at_work
    at_work.leaves()


def until(program, words):
    """Read what a program prints, up to a line with these words."""
    for line in program.stdout:
        if words in line:
            return
    pytest.fail(f"it ended before it said {words!r}")


def puts(file, listed):
    """Write the list `pre` of a file as the page has it."""
    before = file.read_text()
    after = re.sub(r'^    "pre": \[.*?^    \],\n', lambda _: listed, before, flags=re.MULTILINE | re.DOTALL)
    assert after != before
    file.write_text(after)


def test_the_page_is_true(reader):
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds == ["sh", "sh", "sh", "sh", "sh", "sh", "text", "python", "json", "json", "sh", "text", "sh"]
    setup, begin, shown, upstream, serve, asked, first, code, *rest = (text for _, text in BLOCKS)
    listed, bundled, again, second, tested = rest
    assert "make build\n" in setup
    for line in begin.splitlines():
        reader.types(line)
    assert "set_headers[\"X-Greeting\"] = 'Hello, Ada'" in reader.types(shown)
    api = reader.folder / "api.json"
    api.write_text(reader.elsewhere(api.read_text()))
    until(reader.starts(upstream.strip(), reader.upstream), "answers with what it gets")
    gateway = reader.starts(serve.strip(), reader.gateway)
    until(gateway, "is loaded again")
    answer = reader.types(asked)
    assert first.strip() in answer
    assert "X-Name-Length" not in answer

    plugin = reader.folder / "plugin" / "middleware.py"
    plugin.write_text(f"{plugin.read_text()}\n\n{code}")
    puts(api, listed)
    puts(reader.folder / "plugin" / "manifest.json", bundled)
    for line in gateway.stdout:
        if "loaded again" in line and second.strip() in reader.types(again):
            break
    else:
        pytest.fail("the gateway ended")
    assert "4 passed" in reader.types(tested.strip())
