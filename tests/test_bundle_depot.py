from __future__ import annotations

import fcntl
import gc
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests import writes
from tests.hostile_bundles import HOSTILE
from tests.web import Asked, Server, answer
from tykbridge.bundle import archive, held
from tykbridge.bundle.depot import Depot, Finder, Found, origins
from tykbridge.bundle.download import Downloader, UnavailableError
from tykbridge.bundle.signing import Trust
from tykbridge.definition.model import Bundle
from tykbridge.errors import LoadError, NotFoundError

pytestmark = pytest.mark.once

BUNDLE = Bundle(name="team/a.zip")


def packed(text: str = "one", checksum: str = "", key: rsa.RSAPrivateKey | None = None) -> bytes:
    """Makes an archive whose middleware.py is `text`."""
    files = {
        "middleware.py": text.encode(),
        "manifest.json": json.dumps({"file_list": ["middleware.py"], "checksum": checksum}).encode(),
    }
    if key is not None:
        listed = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()
        files["SHA256SUMS"] = listed
        files["SHA256SUMS.sig"] = key.sign(listed, padding.PKCS1v15(), hashes.SHA256())
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        for name, data in files.items():
            zipped.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Place:
    """A middleware folder, and a shelf of archives that a downloader takes them from."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "middleware"
        self.bundles = self.path / "bundles"
        self.versions = self.bundles / ".versions"
        self.link = self.bundles / BUNDLE.hash
        self.shelf = folder / "shelf"
        self.log: list[str] = []
        (self.shelf / "team").mkdir(parents=True)

    def publish(self, data: bytes | None) -> None:
        file = self.shelf / BUNDLE.name
        file.unlink() if data is None else file.write_bytes(data)

    def depot(self, url: str | None = "file", **options: Any) -> Depot:
        base = f"file://{self.shelf}" if url == "file" else url
        downloader = Downloader(base, sleep=lambda seconds: None) if base else None
        return Depot(self.path, downloader, log=lambda words, level: self.log.append(words), **options)

    def find(self, url: str | None = "file", **options: Any) -> Found:
        return self.depot(url, **options).find(BUNDLE)

    def put(self, text: str) -> Path:
        """Puts a folder in the link's place, as one does by hand."""
        self.link.mkdir(parents=True)
        (self.link / "middleware.py").write_text(text)
        return self.link

    def kept(self) -> set[str]:
        """What .versions has, but for what servers said."""
        return {name for name in os.listdir(self.versions) if not name.endswith(".json")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Asked], Any]], Server]]:
    running: list[Server] = []

    def start(answers: Callable[[Asked], Any]) -> Server:
        running.append(Server(answers))
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def trust(key: rsa.RSAPrivateKey, tmp_path: Path) -> Trust:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    file = tmp_path / "public.pem"
    file.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return Trust(str(file))


def text(found: Found | Path) -> str:
    folder = found.folder if isinstance(found, Found) else found
    return (folder / "middleware.py").read_text()


# ---- What is there without a server ----


def test_without_a_downloader_what_is_there_is_used(place: Place) -> None:
    with pytest.raises(NotFoundError, match=r'^a download of the bundle "team/a.zip"$'):
        place.find(None)
    folder = place.put("by hand")
    found = place.find(None)
    assert (found.folder, found.digest, found.notices) == (folder.resolve(), None, ())
    found.commit()
    assert not folder.is_symlink()


def test_a_link_that_others_made_is_theirs(place: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "middleware.py").write_text("elsewhere")
    place.bundles.mkdir(parents=True)
    place.link.symlink_to(elsewhere)
    found = place.find(None)
    assert (found.folder, found.digest) == (elsewhere.resolve(), None)


def test_what_was_downloaded_once_is_used_without_a_downloader(place: Place) -> None:
    place.publish(packed())
    place.find().commit()
    found = place.find(None)
    assert (found.folder, found.digest) == (place.versions / digest(packed()), digest(packed()))
    shutil.rmtree(found.folder)
    with pytest.raises(NotFoundError):
        place.find(None)


# ---- A download ----


def test_a_download_is_unpacked_and_linked_when_it_is_committed(place: Place) -> None:
    place.publish(packed())
    found = place.find()
    assert text(found) == "one"
    assert found.folder == place.versions / digest(packed())
    assert found.digest == digest(packed())
    assert not os.path.lexists(place.link)
    found.commit()
    assert os.readlink(place.link) == f".versions/{digest(packed())}"
    assert text(place.link) == "one"
    assert place.kept() == {digest(packed())}


def test_folders_are_for_whom_the_umask_says(place: Place) -> None:
    place.publish(packed())
    before = os.umask(0o027)
    try:
        found = place.find()
    finally:
        os.umask(before)
    for path in (place.versions, found.folder):
        assert path.stat().st_mode & 0o777 == 0o750
    assert (found.folder / "middleware.py").stat().st_mode & 0o777 == 0o640


def test_the_same_archive_is_not_unpacked_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.publish(packed())
    first = place.find()
    monkeypatch.setattr(archive, "unpack", None)
    assert place.find().folder == first.folder


def test_new_content_is_a_new_version_and_the_old_one_is_as_it_was(place: Place) -> None:
    place.publish(packed("one"))
    one = place.find()
    one.commit()
    place.publish(packed("two"))
    two = place.find()
    assert text(place.link) == "one"
    two.commit()
    assert (text(one), text(two), text(place.link)) == ("one", "two", "two")


def test_a_version_whose_code_fails_leaves_the_next_start_what_works(place: Place) -> None:
    place.publish(packed("works"))
    place.find().commit()
    place.publish(packed("fails"))
    assert text(place.find()) == "fails"
    place.publish(None)
    assert text(place.find()) == "works"
    assert text(place.find(None)) == "works"


def test_a_folder_that_others_put_there_is_moved_aside(place: Place) -> None:
    place.publish(packed())
    for number in (1, 2):
        place.put(f"by hand {number}")
        found = place.find()
        assert text(place.link) == f"by hand {number}"
        found.commit()
        assert text(place.link) == "one"
        moved = place.bundles / ".replaced" / f"{BUNDLE.hash}-{number}"
        assert text(moved) == f"by hand {number}"
        assert str(moved) in place.log[-1]
        place.link.unlink()


def test_a_link_of_others_is_moved_aside_as_it_is(place: Place, tmp_path: Path) -> None:
    place.bundles.mkdir(parents=True)
    place.link.symlink_to(tmp_path)
    place.publish(packed())
    place.find().commit()
    assert os.readlink(place.bundles / ".replaced" / f"{BUNDLE.hash}-1") == str(tmp_path)


def test_a_link_that_cannot_be_changed_is_a_warning(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.publish(packed("one"))
    place.find().commit()
    place.publish(packed("two"))
    found = place.find()

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    found.commit()
    assert text(place.link) == "one"
    assert "cannot be changed: [Errno 1] Operation not permitted" in place.log[-1]
    assert place.kept() == {digest(packed("one")), digest(packed("two"))}


def test_a_version_is_on_the_disk_before_it_has_its_name(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def renamed(source: Any, target: Any) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    place.publish(packed())
    place.find()
    assert sorted(done[:3]) == ["files", "manifest.json", "middleware.py"]
    assert done[3:] == ["rename", ".versions"]


# ---- What the server said ----


def test_the_server_is_asked_with_what_it_said(place: Place, serve: Any) -> None:
    data = [packed("one")]

    def answers(asked: Asked) -> bytes:
        tag = f'"{digest(data[0])[:8]}"'
        if asked.headers.get("if-none-match") == tag:
            return answer(status="304 Not Modified")
        return answer(data[0], ETag=tag)

    server = serve(answers)
    one = place.find(server.url)
    one.commit()
    again = place.find(server.url)
    assert again.folder == one.folder
    assert "if-none-match" not in server.asked[0].headers
    assert server.asked[1].headers["if-none-match"] == f'"{digest(data[0])[:8]}"'
    data[0] = packed("two")
    assert text(place.find(server.url)) == "two"


def test_a_version_that_was_not_committed_is_not_fetched_again(place: Place, serve: Any) -> None:
    server = serve(lambda asked: answer(status="304 No") if len(server.asked) > 1 else answer(packed(), ETag="x"))
    place.find(server.url)
    found = place.find(server.url)
    assert text(found) == "one"
    found.commit()
    assert text(place.link) == "one"


def test_other_content_under_the_same_name_and_tag_is_a_new_version(place: Place, serve: Any) -> None:
    data = [packed("one")]
    server = serve(lambda asked: answer(data[0], ETag='"same"', Last_Modified="Mon, 01 Jan 2024 00:00:00 GMT"))
    one = place.find(server.url)
    one.commit()
    data[0] = packed("two")
    two = place.find(server.url)
    two.commit()
    assert server.asked[1].headers["if-none-match"] == '"same"'
    assert (text(one), text(two), text(place.link)) == ("one", "two", "two")


def test_what_one_server_said_is_not_told_to_another(place: Place, serve: Any) -> None:
    first, second = (serve(lambda asked: answer(packed(), ETag="x")) for _ in range(2))
    place.find(first.url).commit()
    place.find(second.url)
    place.depot(first.url).find(Bundle(name="b.zip"))
    assert all("if-none-match" not in asked.headers for asked in [*first.asked, *second.asked])


@pytest.mark.parametrize("memory", [b"", b"[]", b'{"sha256": "../../x"}', b'{"sha256": 7}', b"[" * 100_000])
def test_what_the_server_said_and_cannot_be_read_does_not_count(place: Place, serve: Any, memory: bytes) -> None:
    server = serve(lambda asked: answer(packed(), ETag="x"))
    place.find(server.url).commit()
    (place.versions / f"{BUNDLE.hash}.json").write_bytes(memory)
    place.find(server.url)
    assert "if-none-match" not in server.asked[1].headers


def test_what_the_server_said_of_a_version_that_is_gone_does_not_count(place: Place, serve: Any) -> None:
    server = serve(lambda asked: answer(packed(), ETag="x"))
    shutil.rmtree(place.find(server.url).folder)
    assert text(place.find(server.url)) == "one"
    assert "if-none-match" not in server.asked[1].headers


# ---- Servers that give nothing, and archives that are refused ----


@pytest.mark.parametrize("status", ["404 Not Found", "401 Unauthorized", "500 Broken", "302 Found"])
def test_a_server_that_gives_nothing_leaves_what_is_on_disk(place: Place, serve: Any, status: str) -> None:
    server = serve(lambda asked: answer(status=status))
    with pytest.raises(UnavailableError, match=BUNDLE.name):
        place.find(server.url)
    place.publish(packed())
    place.find().commit()
    found = place.find(server.url)
    assert text(found) == "one"
    [notice] = found.notices
    assert notice.startswith(f'bundle "team/a.zip": {server.url}/team/a.zip: ')
    assert notice.endswith("; the version on disk is used")
    assert place.log == [notice]
    found.commit()
    assert text(place.link) == "one"


def test_a_server_that_gives_nothing_leaves_a_folder_of_others(place: Place) -> None:
    place.put("by hand")
    found = place.find()
    assert text(found) == "by hand"
    assert len(found.notices) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no zip", "is refused: "),
        (packed("two")[:-30], "is refused: "),
        (packed("two", checksum="0" * 32), "is refused: manifest.json: "),
    ],
)
def test_an_archive_that_is_refused_is_an_error_whatever_is_on_disk(place: Place, data: bytes, words: str) -> None:
    place.publish(packed("one"))
    place.find().commit()
    place.publish(data)
    with pytest.raises(LoadError, match=f"team/a.zip {words}") as caught:
        place.find()
    assert type(caught.value) is LoadError
    assert str(place.versions) not in str(caught.value)
    assert text(place.link) == "one"
    assert place.kept() == {digest(packed("one"))}


def test_a_server_that_tells_too_short_a_length_gives_no_version(place: Place, serve: Any) -> None:
    server = serve(lambda asked: answer(packed(), Content_Length=len(packed()) - 1))
    with pytest.raises(LoadError, match=r"is refused: "):
        place.find(server.url)
    assert place.kept() == set()


def test_a_name_that_leads_elsewhere_is_refused(place: Place) -> None:
    with pytest.raises(LoadError, match="cannot be downloaded"):
        place.depot().find(Bundle(name="../a.zip"))


@pytest.mark.parametrize("made", [pytest.param(made, id=name) for name, made, _ in HOSTILE])
def test_a_hostile_archive_leaves_nothing_anywhere(place: Place, made: Callable[[], bytes]) -> None:
    place.publish(made())
    place.versions.mkdir(parents=True)
    before = writes.snapshot(place.shelf)
    with writes.only_in(place.versions) as outside, pytest.raises(LoadError, match=r"is refused: |is empty"):
        place.find()
    assert outside == []
    assert writes.snapshot(place.shelf) == before
    assert os.listdir(place.versions) == []
    assert os.listdir(place.bundles) == [".versions"]


# ---- Signed bundles ----


def test_regression_native_code_that_another_process_may_use_was_used(place: Place) -> None:
    place.publish(packed("\x7fELF"))
    place.find(trust=Trust(allow_native_code=True)).commit()
    for url in (None, "file"):
        with pytest.raises(LoadError, match="native code, or may hold it, which only a signed bundle may"):
            place.find(url)
    assert text(place.find(None, trust=Trust(allow_native_code=True))) == "\x7fELF"


def test_with_a_key_what_is_on_disk_is_checked_each_time(place: Place, key: Any, trust: Trust) -> None:
    place.publish(packed("signed", key=key))
    found = place.find(trust=trust)
    found.commit()
    assert text(place.find(None, trust=trust)) == "signed"
    (found.folder / "middleware.py").write_text("tampered")
    with pytest.raises(LoadError, match=r"middleware\.py"):
        place.find(None, trust=trust)
    assert text(place.find(None)) == "tampered"  # without a key it is not looked at

    again = place.find(trust=trust)
    assert (text(again), again.digest) == ("signed", found.digest)
    [notice] = again.notices
    assert notice.endswith("; what the server has takes its place")
    assert text(place.find(None, trust=trust)) == "signed"
    (found.folder / "middleware.py").write_text("tampered")
    place.publish(None)
    with pytest.raises(UnavailableError, match="and what is on disk is refused: "):
        place.find(trust=trust)


def test_with_a_key_a_folder_of_others_is_checked(place: Place, key: Any, trust: Trust) -> None:
    place.put("by hand")
    with pytest.raises(LoadError, match="is not signed"):
        place.find(None, trust=trust)
    place.publish(packed("signed", key=key))
    found = place.find(trust=trust)
    assert text(found) == "signed"
    found.commit()
    assert text(place.link) == "signed"


def test_with_a_key_an_archive_that_is_not_signed_is_refused(place: Place, key: Any, trust: Trust) -> None:
    place.publish(packed("signed", key=key))
    place.find(trust=trust).commit()
    place.publish(packed("not signed"))
    with pytest.raises(LoadError, match="is not signed"):
        place.find(trust=trust)
    assert text(place.link) == "signed"
    assert place.kept() == {os.readlink(place.link).removeprefix(".versions/")}


def test_a_version_from_before_the_key_is_no_shortcut(place: Place, serve: Any, trust: Trust) -> None:
    server = serve(lambda asked: answer(packed("not signed"), ETag="x"))
    place.find(server.url).commit()
    with pytest.raises(LoadError, match="is not signed"):
        place.find(server.url, trust=trust)
    assert "if-none-match" not in server.asked[1].headers


# ---- What is removed, and when ----


def test_versions_are_removed_when_nobody_uses_them(place: Place) -> None:
    depot = place.depot()
    place.publish(packed("one"))
    one = depot.find(BUNDLE)
    one.commit()
    place.publish(packed("two"))
    two = depot.find(BUNDLE)
    two.commit()
    assert text(one) == "one"
    del one
    depot.sweep()
    assert place.kept() == {digest(packed("two"))}
    del two
    depot.sweep()
    assert text(place.link) == "two"
    place.link.unlink()
    depot.sweep()
    assert os.listdir(place.versions) == []


def test_a_commit_removes_what_it_took_the_place_of(place: Place) -> None:
    for data in (packed("one"), packed("two")):
        place.publish(data)
        place.find().commit()
    assert place.kept() == {digest(packed("two"))}


def test_a_version_that_is_linked_at_the_last_moment_stays(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.publish(packed())
    found = [place.find()]
    own = held.own

    def late(folder: Path) -> held.Hold | None:
        monkeypatch.setattr(held, "own", own)
        found.pop().commit()
        return own(folder)

    monkeypatch.setattr(held, "own", late)
    place.depot().sweep()
    assert found == []
    assert text(place.link) == "one"


def test_a_version_that_is_swapped_and_removed_while_it_is_looked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish(packed("one"))
    place.find().commit()
    place.publish(packed("two"))
    share = held.share

    def late(folder: Path) -> held.Hold | None:
        monkeypatch.setattr(held, "share", share)
        place.find().commit()
        assert place.kept() == {digest(packed("two"))}
        return share(folder)

    monkeypatch.setattr(held, "share", late)
    assert text(place.find(None)) == "two"


def test_a_found_version_is_let_go_without_the_collector(place: Place) -> None:
    place.publish(packed())
    gc.disable()
    try:
        found = place.find()
        assert place.kept() == {found.digest}
        del found
        place.depot().sweep()
        assert place.kept() == set()
    finally:
        gc.enable()


def test_sweeping_without_anything_there(place: Place) -> None:
    place.depot().sweep()
    place.versions.mkdir(parents=True)
    (place.versions / "notes.txt").write_text("somebody's")
    place.depot().sweep()
    assert os.listdir(place.versions) == ["notes.txt"]


USER = """
import sys
from tykbridge.bundle.depot import Depot
from tykbridge.bundle.download import Downloader
from tykbridge.definition.model import Bundle
found = Depot(sys.argv[1], Downloader(sys.argv[2])).find(Bundle(name=sys.argv[3]))
print("found", flush=True)
sys.stdin.read()
"""


def test_what_another_process_uses_is_not_removed(place: Place) -> None:
    place.publish(packed())
    arguments = [sys.executable, "-c", USER, str(place.path), f"file://{place.shelf}", BUNDLE.name]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"found\n"
        place.depot().sweep()
        assert place.kept() == {digest(packed())}
        user.kill()
        user.wait()
    place.depot().sweep()
    assert place.kept() == set()


KILLED = """
import os, signal, sys
from tykbridge.bundle import archive, depot
from tykbridge.bundle.download import Downloader
from tykbridge.definition.model import Bundle
whole = archive.unpack

def unpack(file, folder):
    whole(file, folder)
    if sys.argv[4] == "unpacking":
        os.kill(os.getpid(), signal.SIGKILL)

def replace(*paths):
    os.kill(os.getpid(), signal.SIGKILL)

archive.unpack = unpack
if sys.argv[4] == "committing":
    remember = depot.Depot._remember
    def remembered(*args):
        remember(*args)
        os.replace = replace
    depot.Depot._remember = remembered
depot.Depot(sys.argv[1], Downloader(sys.argv[2])).find(Bundle(name=sys.argv[3])).commit()
"""


@pytest.mark.parametrize("moment", ["unpacking", "committing"])
def test_a_killed_process_leaves_nothing_that_counts(place: Place, moment: str) -> None:
    place.publish(packed("one"))
    place.find().commit()
    place.publish(packed("two"))
    arguments = [sys.executable, "-c", KILLED, str(place.path), f"file://{place.shelf}", BUNDLE.name, moment]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert any(name.startswith(".new-") for name in place.kept())
    assert text(place.find(None)) == "one"
    place.depot().sweep()
    assert place.kept() == {digest(packed("one"))}
    place.find().commit()
    assert text(place.link) == "two"


def test_work_in_progress_is_not_swept(place: Place, serve: Any) -> None:
    def answers(asked: Asked) -> bytes:
        place.depot().sweep()
        return answer(packed())

    found = place.find(serve(answers).url)
    assert text(found) == "one"


RACER = """
import sys
from tykbridge.bundle.depot import Depot
from tykbridge.bundle.download import Downloader
from tykbridge.definition.model import Bundle
depot = Depot(sys.argv[1], Downloader(sys.argv[2]))
sys.stdin.readline()
for _ in range(int(sys.argv[4])):
    found = depot.find(Bundle(name=sys.argv[3]))
    assert (found.folder / "middleware.py").read_text().strip("x") == ""
    found.commit()
    assert not found.notices
    depot.sweep()
"""


def test_processes_that_unpack_and_remove_at_once_all_succeed(place: Place) -> None:
    place.publish(packed("x"))
    arguments = [sys.executable, "-c", RACER, str(place.path), f"file://{place.shelf}", BUNDLE.name, "30"]
    pipe = subprocess.PIPE
    racers = [subprocess.Popen(arguments, stdin=pipe, stderr=pipe, text=True) for _ in range(3)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    for number in range(2, 40):  # other content all the while; a rename, so that nobody reads half of it
        aside = place.shelf / "aside"
        aside.write_bytes(packed("x" * number))
        aside.rename(place.shelf / BUNDLE.name)
    results = [(racer.communicate()[1], racer.returncode) for racer in racers]
    assert results == [("", 0)] * 3
    place.depot().sweep()
    assert place.kept() == {os.readlink(place.link).removeprefix(".versions/")}


def test_threads_that_find_at_once_get_one_version(place: Place) -> None:
    place.publish(packed())
    depot = place.depot()
    found: list[Found] = []
    threads = [threading.Thread(target=lambda: found.append(depot.find(BUNDLE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.folder for one in found} == {place.versions / digest(packed())}
    assert len(found) == 8


def test_a_file_system_without_locks_serves_and_keeps(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    place.publish(packed("one"))
    place.find().commit()
    place.publish(packed("two"))
    place.find().commit()
    assert text(place.link) == "two"
    assert place.kept() == {digest(packed("one")), digest(packed("two"))}


FULL = """
import resource, signal, sys
from tykbridge.bundle.depot import Depot
from tykbridge.bundle.download import Downloader
from tykbridge.definition.model import Bundle
from tykbridge.errors import LoadError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))
try:
    found = Depot(sys.argv[1], Downloader(sys.argv[2]), log=lambda words, level: None).find(Bundle(name=sys.argv[3]))
    print((found.folder / "middleware.py").read_text(), found.notices)
except LoadError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("room", [300, 2000], ids=["archive", "contents"])
def test_a_full_disk_is_said_and_leaves_what_is_there(place: Place, room: int) -> None:
    arguments = [sys.executable, "-c", FULL, str(place.path), f"file://{place.shelf}", BUNDLE.name, str(room)]

    def run() -> str:
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout

    place.publish(packed("#" * 100_000))
    said = run()
    assert said.startswith("UnavailableError file:///")
    assert "File too large; make room" in said
    assert os.listdir(place.versions) == []
    place.publish(packed("one"))
    place.find().commit()
    place.publish(packed("#" * 100_000))
    said = run()
    assert said.startswith("one ('bundle")
    assert "File too large; make room" in said
    assert place.kept() == {digest(packed("one"))}


def test_a_version_that_cannot_be_read_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.publish(packed())
    place.find().commit()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(held, "share", refuse)
    with pytest.raises(LoadError, match=f'bundle "team/a.zip": {place.link} cannot be read: Permission denied'):
        place.find(None)
    with pytest.raises(UnavailableError, match="Permission denied"):
        place.find()


def test_a_folder_that_cannot_be_made(place: Place) -> None:
    place.publish(packed())
    place.path.write_text("a file")
    with pytest.raises(UnavailableError, match="cannot be written to: Not a directory"):
        place.find()


# ---- One loading ----


def test_a_finder_asks_once_and_says_the_same_again(place: Place, serve: Any) -> None:
    server = serve(lambda asked: answer(packed()) if asked.target == "/team/a.zip" else answer(status="404 No"))
    finder = Finder(place.depot(server.url))
    assert finder.find(BUNDLE) is finder.find(BUNDLE)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="404"):
            finder.find(Bundle(name="b"))
    assert len(server.asked) == 2


def test_the_folder_of_a_version_leads_to_its_url(place: Place) -> None:
    assert origins(place.path) == {}
    place.publish(packed("one"))
    found = place.find()
    assert origins(place.path) == {str(found.folder): f"file://{place.shelf}/{BUNDLE.name}"}
