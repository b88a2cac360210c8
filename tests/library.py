"""The library's door, which examples/ has in several languages and drivers: what it does to a request."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tykbridge import Bridge
from tykbridge.events.queue import EventQueue
from tykbridge.outcome import Continue, Request, Respond, Response
from tykbridge.services import Services

APIS = Path(__file__).resolve().parent.parent / "examples/drivers"


@dataclass
class Door:
    """The APIs of examples/drivers, loaded."""

    bridge: Bridge
    queue: EventQueue
    log: list[str] = field(default_factory=list)

    def enter(self, api: str, url: str, card: str = "", body: bytes = b"") -> Continue | Respond:
        headers = (("Host", "library.example.org"), ("Accept", "a"), ("Accept", "b"))
        headers += (("X-Library-Card", card),) if card else ()
        return self.bridge.request(Request("POST", f"/{api}{url}", headers, body))

    def leave(self, gone: Continue, body: bytes) -> Response:
        headers = (("Content-Type", "text/plain"), ("Set-Cookie", "room=2"), ("Set-Cookie", "seat=7"))
        return self.bridge.response(gone.request, Response(201, headers, body), gone.session).response


@contextmanager
def opened(folder: Path, address: str = "") -> Iterator[Door]:
    """Load the APIs out of a folder of their own, with the address of the gRPC server in its place."""
    copy = folder / "drivers"
    shutil.copytree(APIS, copy)
    for file in (copy / "apis").iterdir():
        text = file.read_text()
        if "grpc" in text:
            assert text.count('"tcp://127.0.0.1:5555"') == 1
            file.write_text(text.replace("tcp://127.0.0.1:5555", address or "tcp://127.0.0.1:1"))
    queue, log = EventQueue(), list[str]()
    bridge = Bridge(Services(queue=queue, log=lambda words, level: log.append(words)))
    try:
        assert bridge.load(copy / "apis").not_loaded == ()
        yield Door(bridge, queue, log)
    finally:
        queue.close(60)


def check(door: Door, api: str) -> None:
    """Hold what an API does against what every one of them does. Bodies are text in JavaScript."""
    bodies = [b"Fragments\n", "Fragmente, \N{LATIN SMALL LETTER A WITH DIAERESIS}".encode(), b""]
    bodies += [b"\xff\xfe"] if api not in ("javascript", "mixed") else []
    for card, reader in (("L-1815", "Ada"), ("L-1906", "Grace")):
        gone = door.enter(api, "/poetry?page=2&q=odes%20%26%20more&q=second", card, b"\xff\0")
        assert isinstance(gone, Continue), gone
        assert gone.request == Request(
            "POST",
            f"/{api}/poetry?page=2&query=odes+%26+more",
            (
                ("Host", "library.example.org"),
                ("Accept", "a"),
                ("Accept", "b"),
                ("X-Library-Card", card),
                ("X-Plugin", "library"),
                ("Content-Length", "2"),
            ),
            b"\xff\0",
        )
        for body in bodies:
            assert door.leave(gone, body) == Response(
                201,
                (
                    ("Content-Type", "text/plain"),
                    ("Set-Cookie", "room=2"),
                    ("Set-Cookie", "seat=7"),
                    ("X-Reader", reader),
                    ("Content-Length", str(len(body) + len(f"Read by {reader}.\n"))),
                ),
                body + f"Read by {reader}.\n".encode(),
            )
    for card in ("", "l-1815"):
        refused = door.enter(api, "/poetry?q=odes", card)
        assert isinstance(refused, Respond)
        answer = refused.response
        assert (answer.status, json.loads(answer.body)) == (401, {"error": "Please show your library card"})
        assert dict(answer.headers)["WWW-Authenticate"] == "LibraryCard"
    without = door.enter(api, "/poetry", "L-1815")
    assert isinstance(without, Continue)
    assert without.request.url == f"/{api}/poetry"
