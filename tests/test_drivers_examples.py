"""examples/drivers: one and the same plugin in each driver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import library
from tests.grpc_servers import SECONDS, Server, active
from tests.servers import until
from tests.test_readme import blocks
from tykbridge import _bridge

pytestmark = pytest.mark.once

NAMES = sorted(file.stem for file in (library.APIS / "apis").iterdir())


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    with Server(sys.executable, "server.py", "0", folder=root / "examples/grpc/python") as started:
        yield started


@pytest.fixture
def door(server: Server, tmp_path: Path) -> Iterator[library.Door]:
    with library.opened(tmp_path, server.address) as opened:
        yield opened


@pytest.mark.parametrize("api", NAMES)
def test_every_driver_does_the_same(api: str, door: library.Door) -> None:
    library.check(door, api)


@pytest.mark.parametrize("api", NAMES)
def test_the_handler_hears_of_strangers(
    api: str, door: library.Door, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: said.append(words))
    door.enter(api, "/poetry")
    line = f"a stranger: AuthFailure in {api}"
    if api == "grpc":
        assert server.lines.get(timeout=SECONDS) == f"{line}\n"
    else:
        until(lambda: line in said, SECONDS)


def test_the_pages_commands() -> None:
    [shell] = blocks(library.APIS / "README.md")["sh"]
    said = [
        subprocess.run(["sh", "-ec", command], cwd=library.APIS, env=active(), capture_output=True, text=True)
        for command in shell.splitlines()
    ]
    assert [(done.returncode, done.stderr) for done in said] == [(0, "")] * 2
    assert f"{len(NAMES)} loaded: 0 problems, 0 warnings" in said[0].stdout
    assert "+ X-Reader: Ada" in said[1].stdout
