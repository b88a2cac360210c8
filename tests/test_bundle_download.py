from __future__ import annotations

import base64
import email.utils
import gzip
import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web import Answer, Asked, Server, answer, authority
from tykbridge.bundle.download import Downloader, UnavailableError, Validators
from tykbridge.errors import LoadError

pytestmark = pytest.mark.once

ARCHIVE = b"PK the bytes of an archive" * 1000
SECRET = "hunter2"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def start(answers: Answer | list[Answer] | Callable[[Asked], Answer], **options: Any) -> Server:
        if isinstance(answers, list):
            left = iter(answers)
            server = Server(lambda asked: next(left), **options)
        else:
            server = Server(answers if callable(answers) else lambda asked: answers, **options)
        running.append(server)
        return server

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "bundle.zip"


def fetch(server: Server, into: Path, known: Validators | None = None, path: str = "", **options: Any) -> Any:
    options.setdefault("sleep", lambda seconds: None)
    return Downloader(server.url + path, **options).fetch("a.zip", into, known)


def refused(server: Server, into: Path, kind: type[LoadError] = UnavailableError, **options: Any) -> str:
    """Fetches what must fail; gives the words."""
    into.write_bytes(b"of another try")
    with pytest.raises(LoadError) as caught:
        fetch(server, into, **options)
    assert type(caught.value) is kind
    assert not into.exists()
    assert list(into.parent.iterdir()) == []
    return str(caught.value).replace(server.url, "SITE")


def test_a_bundle_is_fetched(serve: Any, into: Path) -> None:
    server = serve(answer(ARCHIVE, ETag='"one"', Last_Modified="Mon, 01 Jan 2024 00:00:00 GMT"))
    found = fetch(server, into)
    assert into.read_bytes() == ARCHIVE
    assert (found.size, found.sha256) == (len(ARCHIVE), hashlib.sha256(ARCHIVE).hexdigest())
    assert found.validators == Validators('"one"', "Mon, 01 Jan 2024 00:00:00 GMT")
    asked = server.asked[0]
    assert asked.target == "/a.zip"
    assert asked.headers["accept-encoding"] == "identity"
    assert "authorization" not in asked.headers
    assert "if-none-match" not in asked.headers


@pytest.mark.parametrize("path", ["/x/y%20z", "/x/y%20z/"])
def test_the_base_url_keeps_its_path(serve: Any, into: Path, path: str) -> None:
    server = serve(answer(ARCHIVE))
    fetch(server, into, path=path)
    assert server.asked[0].target == "/x/y%20z/a.zip"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("team/a b.zip", "/team/a%20b.zip"),
        ("größe.zip", "/gr%C3%B6%C3%9Fe.zip"),
        ("100%25/%2e%2e.zip", "/100%2525/%252e%252e.zip"),
        ("a+b;c@d&e.zip", "/a%2Bb%3Bc%40d%26e.zip"),
    ],
)
def test_names_are_encoded_part_by_part(serve: Any, into: Path, name: str, target: str) -> None:
    server = serve(answer(ARCHIVE))
    Downloader(server.url).fetch(name, into)
    assert server.asked[0].target == target


@pytest.mark.parametrize("name", ["../a.zip", "/a.zip", "http://elsewhere/a.zip", "a?b", "a#b", "a\\b", "a\r\nb", ""])
def test_names_that_lead_elsewhere_are_refused_before_anything_is_asked(serve: Any, into: Path, name: str) -> None:
    server = serve(answer(ARCHIVE))
    with pytest.raises(LoadError, match="cannot be downloaded"):
        Downloader(server.url).fetch(name, into)
    assert server.asked == []


def test_what_the_server_said_is_asked_with_and_304_means_nothing_new(serve: Any, into: Path) -> None:
    server = serve(answer(status="304 Not Modified"))
    assert fetch(server, into, Validators('"one"', "Mon, 01 Jan 2024 00:00:00 GMT")) is None
    assert server.asked[0].headers["if-none-match"] == '"one"'
    assert server.asked[0].headers["if-modified-since"] == "Mon, 01 Jan 2024 00:00:00 GMT"
    assert not into.exists()


def test_last_modified_alone_is_enough(serve: Any, into: Path) -> None:
    server = serve(answer(status="304 Not Modified"))
    assert fetch(server, into, Validators(last_modified="Mon, 01 Jan 2024 00:00:00 GMT")) is None
    assert "if-none-match" not in server.asked[0].headers


def test_304_to_who_has_nothing_is_refused(serve: Any, into: Path) -> None:
    assert "the server answers 304" in refused(serve(answer(status="304 Not Modified")), into)


def test_validators_that_no_header_can_hold_are_dropped() -> None:
    assert Validators("a\r\nb", "x" * 2000) == Validators("ä", 7) == Validators()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("404 Not Found", "SITE/a.zip: the server answers 404 Not Found; see that the bundle is there under this name"),
        ("401 Unauthorized", "SITE/a.zip: the server answers 401 Unauthorized; set bundle_authorization"),
        ("403 Forbidden", "403 Forbidden; set bundle_authorization"),
        ("206 Partial Content", "206 Partial Content, and a bundle comes with 200"),
        ("204 No Content", "204 No Content, and a bundle comes with 200"),
    ],
)
def test_answers_that_another_try_would_not_change(serve: Any, into: Path, status: str, words: str) -> None:
    server = serve(answer(b"", status))
    assert words in refused(server, into)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        answer(status="500 Internal Server Error"),
        answer(status="502 Bad Gateway"),
        answer(status="503 Service Unavailable"),
        answer(status="504 Gateway Timeout"),
        answer(status="429 Too Many Requests"),
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        answer(ARCHIVE)[:-1],
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n1234567",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcdef\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n",
        answer(b""),
    ],
    ids=lambda trouble: repr(trouble[9:60]),
)
def test_trouble_that_may_pass_is_tried_again(serve: Any, into: Path, trouble: bytes) -> None:
    server = serve([trouble, answer(ARCHIVE)])
    waits: list[float] = []
    assert fetch(server, into, sleep=waits.append).size == len(ARCHIVE)
    assert into.read_bytes() == ARCHIVE
    assert len(waits) == 1
    assert "tries" not in refused(serve(trouble), into, tries=1)
    words = refused(serve(trouble), into)
    assert "(after 4 tries); see that the server runs" in words


def test_waits_double_and_differ(serve: Any, into: Path) -> None:
    waits: list[float] = []
    refused(serve(answer(status="503 Busy")), into, sleep=waits.append, tries=6)
    for number, wait in enumerate(waits):
        assert 0.25 * 2**number <= wait <= 0.75 * 2**number
    other: list[float] = []
    refused(serve(answer(status="503 Busy")), into, sleep=other.append, tries=6)
    assert len(waits) == len(other) == 5
    assert waits != other


def test_retry_after_is_kept_to_within_bounds(serve: Any, into: Path) -> None:
    def waited(value: str) -> float:
        waits: list[float] = []
        server = serve([answer(status="503 Busy", Retry_After=value), answer(ARCHIVE)])
        fetch(server, into, sleep=waits.append)
        return waits[0]

    assert waited("7") == 7
    assert 10 < waited(email.utils.formatdate(time.time() + 20, usegmt=True)) <= 20
    assert waited("86400") == waited("9" * 400) == 30
    assert waited("soon") < 1
    assert waited("-5") < 1
    assert waited(email.utils.formatdate(0, usegmt=True)) < 1


def test_no_try_begins_when_the_time_would_be_over(serve: Any, into: Path) -> None:
    server = serve(answer(status="503 Busy", Retry_After="7"))
    waits: list[float] = []
    words = refused(server, into, sleep=waits.append, total_time=5)
    assert "503 Busy (after 1 try, and the time is over)" in words
    assert (len(server.asked), waits) == (1, [])


def test_a_server_that_is_not_there(into: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    downloader = Downloader(f"http://127.0.0.1:{port}", sleep=lambda seconds: None)
    with pytest.raises(UnavailableError, match=r"Connection refused \(after 4 tries\)"):
        downloader.fetch("a.zip", into)
    with pytest.raises(UnavailableError, match=r"Connection refused \(after 1 try\)"):
        downloader.fetch("b.zip", into)


def test_a_host_without_an_address(into: Path) -> None:
    downloader = Downloader("http://nowhere.invalid", sleep=lambda seconds: None)
    with pytest.raises(UnavailableError, match="its host has no address that can be found"):
        downloader.fetch("a.zip", into)


def test_a_server_that_was_down_is_asked_as_often_as_ever_once_it_answers(serve: Any, into: Path) -> None:
    busy = answer(status="503 Busy")
    server = serve([busy, busy, answer(ARCHIVE), busy, answer(ARCHIVE)])
    downloader = Downloader(server.url, tries=2, sleep=lambda seconds: None)
    with pytest.raises(UnavailableError):
        downloader.fetch("a.zip", into)
    assert downloader.fetch("a.zip", into)
    assert downloader.fetch("a.zip", into)
    assert len(server.asked) == 5


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "slow",
    [
        answer(ARCHIVE),
        HEAD + b"X: y\r\n" * 1000,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 1000,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 5000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    ],
    ids=["all of it", "headers", "chunks", "a chunk's length", "100 Continue"],
)
def test_a_server_that_drips_is_not_waited_for_for_ever(serve: Any, into: Path, slow: bytes) -> None:
    server = serve(lambda asked: server.drip(slow))
    assert "the server is too slow (after 1 try, and the time is over)" in refused(server, into, total_time=0.3)


def test_a_server_that_says_nothing(serve: Any, into: Path) -> None:
    server = serve(lambda asked: server.drip(b"late", every=10))
    assert "the server is too slow (after 1 try" in refused(server, into, total_time=0.2)


LIMIT = 1000


@pytest.mark.parametrize(
    "large",
    [
        answer(b"x" * (LIMIT + 1)),
        answer(b"", Content_Length=10**30),
        answer(b"x" * (LIMIT + 1), Content_Length=None),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * (LIMIT + 1) + b"\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + b"x" * 200_000,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        answer(b"x" * (LIMIT + 1), Content_Length=-1),
    ],
    ids=["length", "length of a liar", "no length", "chunk", "negative chunk", "chunks", "100 Continue", "negative"],
)
def test_what_is_too_large_is_refused(serve: Any, into: Path, large: bytes) -> None:
    server = serve(large)
    words = refused(server, into, LoadError, max_size=LIMIT)
    assert words == "SITE/a.zip: is larger than 1000 bytes, the most that is fetched; make it smaller"
    assert len(server.asked) == 1


def test_what_is_just_as_large_as_allowed_is_not(serve: Any, into: Path) -> None:
    assert fetch(serve(answer(b"x" * LIMIT)), into, max_size=LIMIT).size == LIMIT


def test_what_comes_after_the_length_is_no_part_of_it(serve: Any, into: Path) -> None:
    assert fetch(serve(answer(ARCHIVE + b"more", Content_Length=len(ARCHIVE))), into).size == len(ARCHIVE)
    assert into.read_bytes() == ARCHIVE


def test_a_body_without_a_length_and_one_in_chunks(serve: Any, into: Path) -> None:
    assert fetch(serve(answer(ARCHIVE, Content_Length=None)), into).size == len(ARCHIVE)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (ARCHIVE[:10], ARCHIVE[10:]))
    assert fetch(serve(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"), into)
    assert into.read_bytes() == ARCHIVE


def test_other_encodings_are_refused(serve: Any, into: Path) -> None:
    server = serve(answer(gzip.compress(ARCHIVE), Content_Encoding="gzip"))
    assert "the server sends it in the encoding 'gzip'; have it sent as it is" in refused(server, into)
    assert fetch(serve(answer(ARCHIVE, Content_Encoding="identity")), into).size == len(ARCHIVE)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_on_the_same_server_are_followed(serve: Any, into: Path, status: int) -> None:
    moved = answer(status=f"{status} Moved", Location="../there/b.zip?token=1#part")
    server = serve(lambda asked: moved if asked.target == "/x/a.zip" else answer(ARCHIVE))
    assert fetch(server, into, path="/x", authorization="Bearer " + SECRET).size == len(ARCHIVE)
    assert [asked.target for asked in server.asked] == ["/x/a.zip", "/there/b.zip?token=1"]
    assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer " + SECRET] * 2


def test_redirects_elsewhere_are_refused_and_nothing_is_sent_there(serve: Any, into: Path) -> None:
    other = serve(answer(ARCHIVE))
    for target in (
        other.url + "/a.zip",
        f"http://user:{SECRET}@127.0.0.1:{other.port}/a.zip?token={SECRET}",
        f"//127.0.0.1:{other.port}/a.zip",
    ):
        server = serve(answer(status="302 Found", Location=target))
        words = refused(server, into, authorization="Bearer " + SECRET)
        assert f"SITE/a.zip: is redirected to {other.url}/a.zip, and redirects are followed on the same server" in words
        assert SECRET not in words
    server = serve(lambda asked: answer(status="302 Found", Location=f"http://localhost:{server.port}/a.zip"))
    assert "is redirected to http://localhost:" in refused(server, into)
    server = serve(lambda asked: answer(status="302 Found", Location=f"https://127.0.0.1:{server.port}/a.zip"))
    assert "is redirected to https://127.0.0.1:" in refused(server, into)
    server = serve(answer(status="302 Found", Location="file:///etc/passwd"))
    refused(server, into)
    assert other.asked == []


@pytest.mark.parametrize("location", [None, "", "http://[broken", "http://:80"])
def test_redirects_to_nowhere(serve: Any, into: Path, location: str | None) -> None:
    assert "is redirected to nowhere" in refused(serve(answer(status="302 Found", Location=location)), into)


def test_redirects_in_a_circle_end(serve: Any, into: Path) -> None:
    server = serve(answer(status="302 Found", Location="/a.zip"))
    assert "more than 5 redirects" in refused(server, into)
    assert len(server.asked) == 6


def test_a_redirect_that_would_split_a_request_does_not(serve: Any, into: Path) -> None:
    server = serve([answer(status="302 Found", Location="/b c\x0bX: y"), answer(ARCHIVE)])
    fetch(server, into)
    assert server.asked[1].target == "/b%20c%0BX:%20y"


def test_a_certificate_must_be_trusted(serve: Any, into: Path, tmp_path_factory: Any, monkeypatch: Any) -> None:
    ca = authority(tmp_path_factory.mktemp("ca"))
    server = serve(answer(ARCHIVE), tls=ca.context)
    words = refused(server, into)
    assert "SITE/a.zip: its certificate is not trusted: self-signed certificate; add its CA" in words
    assert server.asked == []

    monkeypatch.setenv("SSL_CERT_FILE", str(ca.file))
    assert fetch(server, into).size == len(ARCHIVE)
    into.unlink()
    server.url = f"https://localhost:{server.port}"
    assert "its certificate is not trusted: " in refused(server, into)


def test_a_certificate_is_not_looked_at_when_that_is_asked_for(serve: Any, into: Path, tmp_path_factory: Any) -> None:
    server = serve(answer(ARCHIVE), tls=authority(tmp_path_factory.mktemp("ca")).context)
    lines: list[tuple[str, str]] = []
    log = lambda words, level: lines.append((words, level))  # noqa: E731
    assert fetch(server, into, insecure_skip_verify=True, log=log).size == len(ARCHIVE)
    [(words, level)] = lines
    assert level == "warning"
    assert "bundle_insecure_skip_verify: whoever can pose as 127.0.0.1 chooses the code" in words


def test_redirects_from_https_to_http_are_refused(
    serve: Any, into: Path, tmp_path_factory: Any, monkeypatch: Any
) -> None:
    ca = authority(tmp_path_factory.mktemp("ca"))
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.file))
    plain = serve(answer(ARCHIVE))
    for target in (plain.url, f"http://127.0.0.1:{plain.port}"):
        server = serve(answer(status="301 Moved", Location=f"{target}/a.zip"), tls=ca.context)
        assert f"is redirected to {plain.url}/a.zip" in refused(server, into)
    assert plain.asked == []


def test_plain_http_from_a_server_of_https(serve: Any, into: Path) -> None:
    server = serve(answer(ARCHIVE))
    server.url = server.url.replace("http:", "https:")
    refused(server, into, total_time=0.3)


def test_credentials_are_sent_and_never_shown(serve: Any, into: Path) -> None:
    server = serve(answer(status="401 No"))
    url = server.url.replace("http://", f"http://us%20er:{SECRET}%C3%A4@")
    downloader = Downloader(url, sleep=lambda seconds: None)
    with pytest.raises(UnavailableError) as caught:
        downloader.fetch("a.zip", into)
    assert SECRET not in str(caught.value)
    sent = server.asked[0].headers["authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == f"us er:{SECRET}ä"
    with pytest.raises(UnavailableError):
        Downloader(url, authorization="Token x").fetch("a.zip", into)
    assert server.asked[1].headers["authorization"] == "Token x"


@pytest.mark.parametrize("value", ["a\r\nX-Injected: b", "ü", "a\x00"])
def test_an_authorization_that_no_header_can_hold(value: str) -> None:
    with pytest.raises(LoadError, match="bundle_authorization must be printable ASCII"):
        Downloader("http://host", authorization=SECRET + value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host/bundles",
        "ftp://host/x",
        "http://",
        "http:///x",
        f"http://u:{SECRET}@host:port/x",
        f"http://u:{SECRET}@host/?a={SECRET}",
        f"http://u:{SECRET}@host/#a",
        "http://host/?",
        "file://other/x",
        "file://",
    ],
)
def test_base_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(LoadError, match="bundle_base_url") as caught:
        Downloader(url)
    assert SECRET not in str(caught.value)


def test_proxies_of_the_environment_are_not_asked(serve: Any, into: Path, monkeypatch: Any) -> None:
    proxy, server = serve(answer(b"")), serve(answer(ARCHIVE))
    monkeypatch.setenv("http_proxy", proxy.url)
    assert fetch(server, into).size == len(ARCHIVE)
    assert proxy.asked == []


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "my shelf"
    (folder / "team").mkdir(parents=True)
    (folder / "team" / "a b.zip").write_bytes(ARCHIVE)
    return folder


@pytest.mark.parametrize("form", ["file://{}", "file://{}/", "file://localhost{}"])
def test_a_bundle_out_of_a_folder(shelf: Path, into: Path, form: str) -> None:
    for path in (str(shelf), str(shelf).replace(" ", "%20")):
        found = Downloader(form.format(path)).fetch("team/a b.zip", into, Validators("x", "y"))
        assert into.read_bytes() == ARCHIVE
        assert found is not None
        assert found.sha256 == hashlib.sha256(ARCHIVE).hexdigest()
        assert found.validators == Validators()


def test_what_a_folder_does_not_give(shelf: Path, into: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.zip").write_bytes(ARCHIVE)
    (shelf / "out.zip").symlink_to(tmp_path / "outside.zip")
    (shelf / "up").symlink_to("..")
    (shelf / "in.zip").symlink_to("team/a b.zip")
    (shelf / "circle.zip").symlink_to("circle.zip")
    os.mkfifo(shelf / "pipe.zip")
    downloader = Downloader(f"file://{shelf}", max_size=len(ARCHIVE))
    assert downloader.fetch("in.zip", into)
    for name, words in {
        "out.zip": "a link leads out of",
        "up/outside.zip": "a link leads out of",
        "team": "Is a directory",
        "pipe.zip": "is no file",
        "none.zip": "No such file or directory",
        "team/a b.zip/x": "Not a directory",
        "x" * 300: "File name too long",
        "circle.zip": "Too many levels of symbolic links",
    }.items():
        with pytest.raises(UnavailableError, match=words):
            downloader.fetch(name, into)
        assert not into.exists()
    with pytest.raises(LoadError, match="is larger than 100 bytes"):
        Downloader(f"file://{shelf}", max_size=100).fetch("in.zip", into)
    assert not into.exists()


FULL = """
import resource, signal, sys, pathlib
from tykbridge.bundle.download import Downloader
from tykbridge.errors import LoadError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
into = pathlib.Path(sys.argv[2])
try:
    Downloader(sys.argv[1]).fetch("team/a b.zip", into)
except LoadError as error:
    print(type(error).__name__, error, into.exists())
"""


def test_a_full_disk_is_said_and_leaves_nothing(shelf: Path, into: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, f"file://{shelf}", str(into)], capture_output=True, text=True, check=False
    )
    assert done.stdout == (
        f"UnavailableError file://{shelf}/team/a%20b.zip: {into} cannot be written: File too large; make room there, "
        "or see to its permissions False\n"
    )
    assert done.stderr == ""


def test_a_place_that_cannot_be_written_to(serve: Any, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be written: No such file or directory"):
        fetch(serve(answer(ARCHIVE)), tmp_path / "none" / "bundle.zip")
