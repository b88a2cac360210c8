"""Deploys another version every 100 ms and reloads, while four threads send requests through tykbridge.Bridge.

    .venv/bin/python bench/reloads.py RELOADS FOLDER

FOLDER is empty. A version is a folder of its own with everything in it; the link `current` is turned to it. No
request may fail, every answer must be of one version, and of none before the last reload; memory must be flat.
bench/soak.c does the same with native threads, through the C library. Ends with 0, or with 1 and what was wrong.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import steady

from tykbridge import Bridge
from tykbridge.outcome import Continue, Request, Response

TEMPLATE = Path(__file__).resolve().parent / "soak_release"
KEPT = 20  # versions: as long as one is in use, its files have to be there
PERIOD = 0.1  # seconds


class Deployment:
    """A folder of versions, and the link to the one in use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.current = folder / "current"

    def deploy(self, number: int) -> None:
        """Write a version beside the others, and turn the link to it."""
        release = self._folder / f"{number:06}"
        for file in TEMPLATE.rglob("*.*"):
            written = release / file.relative_to(TEMPLATE)
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(file.read_text().replace("000000", f"{number:06}"))
        fresh = self._folder / "next"
        fresh.symlink_to(release.name)
        os.replace(fresh, self.current)
        if number > KEPT:
            shutil.rmtree(self._folder / f"{number - KEPT:06}")


class Load(steady.Load):
    """Threads that send requests and check every answer."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self.least = 0  # every answer is of this version or of a later one
        self._bridge = bridge

    def send(self, thread: int, number: int) -> None:
        """Send one, every twentieth to code that is imported late."""
        self._send(late=number % 20 == 0)

    def _send(self, late: bool) -> None:
        least = self.least
        headers = (("X-Late", "1"),) if late else ()
        request = Request("GET", "/soak/x", headers)
        chain = self._bridge.chain(request)  # of one version for request and response
        outcome = chain.request(request)
        if not isinstance(outcome, Continue):
            raise AssertionError(outcome)
        answer = chain.response(outcome.request, Response(200, (), b""), outcome.session)
        found = [*dict(outcome.request.headers).items(), *dict(answer.response.headers).items()]
        said = {name: value.split() for name, value in found if name in ("X-Before", "X-After", "X-Answer")}
        versions = {version for values in said.values() for version in values}
        if len(said) != 3 or len(versions) != 1 or int(versions.pop()) < least:
            raise AssertionError(f"at version {least}: {said}")


def main(reloads: int, folder: Path) -> str:
    """Reload so many times; gives what was measured."""
    deployment = Deployment(folder)
    bridge = Bridge(middleware_path=deployment.current / "middleware")
    deployment.deploy(1)
    bridge.load(deployment.current / "apis")
    series = []
    due = time.monotonic()
    with Load(bridge) as load:
        for number in range(2, reloads + 2):
            due += PERIOD
            time.sleep(max(0.0, due - time.monotonic()))
            deployment.deploy(number)
            loaded = bridge.reload()
            if loaded.apis != ("soak",) or loaded.not_loaded:
                load.faults.append(f"{loaded}")
            if load.faults:
                break
            load.least = number
            if number % max(1, reloads // steady.SAMPLES) == 0:
                series.append(steady.resident_kb())
    if load.faults:
        sys.exit(f"reloads: {load.faults[0]}")
    modules = sum(name.startswith("_tykb_") for name in sys.modules)
    words = f"{reloads} reloads, {load.count} requests in Python: none failed, each answer of one version\n"
    words += f"modules left: {modules}\n"
    if modules > 6:
        sys.exit(f"reloads: {words}")
    return words + steady.held(series)


if __name__ == "__main__":
    print(main(int(sys.argv[1]), Path(sys.argv[2])))
