"""The plugin servers of examples/grpc: five languages, one table, one outcome."""

from __future__ import annotations

import concurrent.futures
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests import library
from tests.grpc_servers import LANGUAGES, SECONDS, Client, Server, building, page
from tests.oracle import PB

pytestmark = pytest.mark.once

TOKENS = {"Ada": "L-1815", "Grace": "L-1906"}


@pytest.fixture(scope="module")
def built() -> Iterator[dict[str, concurrent.futures.Future[Path]]]:
    """The folders of the servers."""
    with building() as folders:
        yield folders


@pytest.fixture(scope="module", params=LANGUAGES)
def server(request: Any, built: dict[str, concurrent.futures.Future[Path]]) -> Iterator[Server]:
    with Server.of(request.param, built[request.param].result()) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.target) as opened:
        yield opened


def message(hook: str, *, card: str = "", params: dict[str, str] | None = None) -> Any:
    """An Object with something in it that no hook of these is about, and that has to come back."""
    made = PB["Object"](hook_name=hook, spec={"OrgID": "town-library", "APIID": "books", "config_data": '{"a": "ä"}'})
    request = made.request
    request.headers.update(
        {"Host": "library.example.org", "Accept": "text/plain"} | ({"X-Library-Card": card} if card else {})
    )
    request.params.update(params or {})
    request.method, request.url, request.scheme, request.request_uri = "POST", "/poetry?q=ä", "http", "/poetry?q=ä"
    request.raw_body = b"\x00\xff not text"
    request.return_overrides.response_code = -1
    return made


def with_session(made: Any, **metadata: str) -> Any:
    session = made.session
    session.rate, session.per, session.quota_max, session.expires = 0.1, 60.5, 2**53 + 1, -1
    session.access_rights["books"].versions.append("Default")
    session.access_rights["books"].allowed_urls.add(url="/", methods=["GET", "POST"])
    session.monitor.trigger_limits.extend([80.0, 99.5])
    session.metadata.update(metadata)
    return made


def with_response(made: Any, body: bytes = b"Fragments\n") -> Any:
    made.response.status_code, made.response.raw_body = 201, body
    made.response.headers["Set-Cookie"] = "room=2"
    made.response.multivalue_headers.add(key="Set-Cookie", values=["room=2", "seat=7"])
    return made


def tidied(made: Any, value: str | None) -> None:
    made.request.set_headers["X-Plugin"] = "library"
    if value is not None:
        made.request.delete_params.append("q")
        made.request.add_params["query"] = value


def let_in(made: Any, reader: str) -> None:
    made.session.alias = reader
    made.session.tags.append("reader")
    made.session.metadata.update({"token": TOKENS[reader], "reader": reader})


def sent_away(made: Any) -> None:
    overrides = made.request.return_overrides
    overrides.response_code, overrides.response_error = 401, "Please show your library card"
    overrides.headers["WWW-Authenticate"] = "LibraryCard"


def stamped(made: Any, reader: str) -> None:
    made.response.headers["X-Reader"] = reader
    made.response.raw_body += f"Read by {reader}.\n".encode()


def bare(hook: str) -> Any:
    """An Object as a gateway sends it where it has hardly anything to say."""
    made = PB["Object"](hook_name=hook)
    made.request.return_overrides.response_code = -1
    return made


EXCHANGES: dict[str, tuple[Any, Callable[[Any], None]]] = {
    "a parameter": (message("tidy", params={"q": "odes ä & ö", "page": "2"}), lambda made: tidied(made, "odes ä & ö")),
    "an empty parameter": (message("tidy", params={"q": ""}), lambda made: tidied(made, "")),
    "no parameter": (message("tidy", params={"Q": "1"}), lambda made: tidied(made, None)),
    "hardly anything": (bare("tidy"), lambda made: tidied(made, None)),
    "one card": (with_session(message("check_card", card="L-1815")), lambda made: let_in(made, "Ada")),
    "another card": (with_session(message("check_card", card="L-1906")), lambda made: let_in(made, "Grace")),
    "a card and no session": (message("check_card", card="L-1815"), lambda made: let_in(made, "Ada")),
    "a false card": (with_session(message("check_card", card="l-1815")), sent_away),
    "no card": (message("check_card"), sent_away),
    "a text": (
        with_session(with_response(message("stamp")), reader="Ada"),
        lambda made: stamped(made, "Ada"),
    ),
    "bytes, a name in other letters": (
        with_session(with_response(message("stamp"), b"\xff\x00\xfe"), reader="Ådå"),
        lambda made: stamped(made, "Ådå"),
    ),
    "nobody's": (with_response(message("stamp"), b""), lambda made: stamped(made, "nobody")),
    "a large body": (
        with_session(with_response(message("stamp"), b"0123456789abcde\n" * (3 << 16)), reader="Grace"),
        lambda made: stamped(made, "Grace"),
    ),
}


def plain(made: Any) -> dict[str, Any]:
    """What a message holds, without fields that are there and empty: languages differ in which of those they write."""
    found = {}
    for field, value in made.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = {key: plain(one) if hasattr(one, "ListFields") else one for key, one in value.items()}
        elif field.message_type is not None:
            value = plain(value) if hasattr(value, "ListFields") else [plain(one) for one in value]
        elif hasattr(value, "append"):
            value = list(value)
        if value != {}:
            found[field.name] = value
    return found


@pytest.mark.parametrize("exchange", EXCHANGES.values(), ids=EXCHANGES)
def test_the_table(client: Client, exchange: tuple[Any, Callable[[Any], None]]) -> None:
    sent, change = exchange
    expected = PB["Object"].FromString(sent.SerializeToString())
    change(expected)
    assert plain(PB["Object"].FromString(client.dispatch(sent.SerializeToString()))) == plain(expected)


def test_an_event(server: Server, client: Client) -> None:
    assert client.event("on_stranger", Type="AuthFailure", Meta={"Message": "x"}) == b""
    assert server.lines.get(timeout=60) == "a stranger: AuthFailure in books\n"


@pytest.mark.parametrize("hook", ["stamp_all", "on_stranger", "toString", "dispatch", ""])
def test_a_hook_that_is_not_there(client: Client, hook: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.dispatch(message(hook).SerializeToString())
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert f'there is no hook "{hook}" here' in caught.value.details()


def test_a_handler_that_is_not_there(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.event("tidy", Type="AuthFailure")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert 'there is no event handler "tidy" here' in caught.value.details()


def test_many_at_a_time(client: Client) -> None:
    sent = [message("tidy", params={"q": str(number)}).SerializeToString() for number in range(200)]
    got = [PB["Object"].FromString(reply).request.add_params["query"] for reply in client.dispatch_all(sent)]
    assert got == [str(number) for number in range(200)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_killed_and_started_again(language: str, built: dict[str, concurrent.futures.Future[Path]]) -> None:
    folder = built[language].result()
    sent = message("tidy").SerializeToString()
    with Server.of(language, folder) as first:
        port = first.port
        with Client(first.target, initial_reconnect_backoff_ms=100, max_reconnect_backoff_ms=500) as client:
            client.dispatch(sent)
            first.kill()
            with pytest.raises(grpc.RpcError) as caught:
                client.dispatch(sent, wait=False)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            with Server.of(language, folder, port) as second:
                client.dispatch(sent)
                # A virtual machine of Java ends by a signal as its status, after its hooks.
                assert second.end() == (128 + signal.SIGTERM if language == "java" else 0)


def test_what_a_build_makes_is_not_committed(root: Path) -> None:
    ignored = (root / ".gitignore").read_text().splitlines()
    assert {
        f"/examples/grpc/{name}/" for name in ("go/bin", "go/coprocess", "java/target", "node/node_modules", "ruby/lib")
    } <= set(ignored)


def test_lock_files_name_no_registry(root: Path) -> None:
    packages = json.loads((root / "examples/grpc/node/package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in packages.items() if name)


def test_pages_end_with_the_command_that_starts_the_server() -> None:
    assert {language: len(page(language)) for language in LANGUAGES} == {
        "python": 1, "go": 2, "node": 2, "java": 2, "ruby": 2
    }  # fmt: skip


def test_through_the_chain(server: Server, tmp_path: Path) -> None:
    with library.opened(tmp_path, server.address) as door:
        library.check(door, "grpc")
        for _ in range(2):  # of strangers in that table
            assert server.lines.get(timeout=SECONDS) == "a stranger: AuthFailure in grpc\n"
