"""Keeps bundles on disk: which version is there, which is new, and which nobody uses any more.

    {middleware_path}/bundles/<md5 of the name>      a link to .versions/<sha256>, or a folder that others put there
    {middleware_path}/bundles/.versions/<sha256>/    what an archive with this sha256 holds; never changed
    {middleware_path}/bundles/.versions/<md5>.json   what the server said with it
    {middleware_path}/bundles/.versions/.new-.../    work in progress
    {middleware_path}/bundles/.replaced/<md5>-<n>/   folders that others put there, until a download took their place

The link is what the next start uses. It is changed in one step, and only after the code of the new version has loaded.
Processes may share all of this.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tykbridge import _bridge
from tykbridge.bundle import archive, held
from tykbridge.bundle.alone import Unpacked
from tykbridge.bundle.download import Downloader, UnavailableError, Validators
from tykbridge.bundle.held import Hold
from tykbridge.bundle.signing import Trust
from tykbridge.definition.model import Bundle
from tykbridge.errors import BridgeError, LoadError, NotFoundError

_VERSIONS = ".versions"
_REPLACED = ".replaced"
_NEW = ".new-"
_VERSION = re.compile(r"[0-9a-f]{64}")
_THERE = (errno.EEXIST, errno.ENOTEMPTY)


class Found:
    """A bundle's version on disk. As long as this is there, nobody removes the folder.

    Attributes:
        folder: its own, not the link to it: what it holds stays as it is.
        digest: sha256 of the archive in hexadecimal, the identity of what is in the folder; None for a folder that
            did not come out of a download.
        notices: what is worth knowing. They are in the log already.
    """

    def __init__(self, folder: Path, digest: str | None = None, hold: Hold | Unpacked | None = None) -> None:
        self.folder, self.digest, self._hold = folder, digest, hold
        self.notices: tuple[str, ...] = ()
        self._fetched: tuple[Depot, Bundle] | None = None

    def commit(self) -> None:
        """Makes this the version that the next start uses. For when its code has loaded.

        Should that fail, a log line says so, and the link stays as it was.
        """
        if self._fetched is not None:
            depot, bundle = self._fetched
            depot._commit(bundle, self)


class Depot:
    """The bundles below a folder. Safe to use from any thread.

    Args:
        middleware_path: the folder that has, or gets, the folder `bundles`.
        downloader: asked for each bundle; None: what is on disk is all there is.
        trust: what archives must prove, and with a public key, what is on disk as well, each time.
        log: gets warnings.
    """

    def __init__(
        self,
        middleware_path: str | os.PathLike[str],
        downloader: Downloader | None = None,
        trust: Trust | None = None,
        log: Callable[[str, str], None] = _bridge.log,
    ) -> None:
        self._root = Path(os.path.abspath(middleware_path), "bundles")
        self._versions = self._root / _VERSIONS
        self._downloader, self._trust, self._log = downloader, trust or Trust(), log

    def find(self, bundle: Bundle) -> Found:
        """Finds the newest version of a bundle that can be had.

        With a downloader, the server is asked. When it gives nothing, the version on disk is as good as it was. When it
        gives what is refused, that is an error, whatever is on disk: the server has said what is to run.

        Raises:
            NotFoundError: nothing is there, and there is no downloader.
            LoadError: it is refused, or cannot be had; the words say why.
        """
        at_hand, bad = self._at_hand(bundle)
        if self._downloader is None:
            if bad is not None:
                raise bad
            if at_hand is None:
                raise NotFoundError(f'a download of the bundle "{bundle.name}"')
            return at_hand
        try:
            found = self._newest(bundle, self._downloader)
            words = f"{bad}; what the server has takes its place" if bad else ""
        except UnavailableError as error:
            if at_hand is None:
                also = f" (and what is on disk is refused: {bad})" if bad else ""
                raise UnavailableError(f"{error}{also}") from error
            found, words = at_hand, f'bundle "{bundle.name}": {error}; the version on disk is used'
        if words:
            self._log(words, "warning")
            found.notices = (words,)
        return found

    def _at_hand(self, bundle: Bundle) -> tuple[Found | None, LoadError | None]:
        """Gives what is on disk, or why that may not be used."""
        place = self._root / bundle.hash
        try:
            found = self._version_at(place)
            if found is not None and found.digest is not None:
                self._trust.check_again(found.folder)
            elif found is not None and self._trust.has_key:
                self._trust.check(found.folder)
        except LoadError as error:
            return None, LoadError(f'bundle "{bundle.name}": {error}')
        except OSError as error:
            return None, LoadError(f'bundle "{bundle.name}": {place} cannot be read: {error.strerror}')
        return found, None

    def _version_at(self, place: Path) -> Found | None:
        while True:
            digest = self._linked(place.name)
            if digest is None:
                return Found(_real(place)) if os.path.isdir(place) else None
            found = self._version(digest)
            if found is not None or digest == self._linked(place.name):  # else it was swapped and removed meanwhile
                return found

    def _newest(self, bundle: Bundle, downloader: Downloader) -> Found:
        url = downloader.url(bundle.name)
        try:
            known, before = self._remembered(bundle, url)
            with self._workspace() as work:
                fetched = downloader.fetch(bundle.name, work / "bundle.zip", known)
                if fetched is None:
                    assert before is not None  # or nothing would be known
                    found = before
                else:
                    found = self._good(fetched.sha256) or self._unpack(work, fetched.sha256, url)
                    self._remember(bundle, url, found, fetched.validators, work)
        except OSError as error:
            raise UnavailableError(f"{url}: cannot be kept in {self._versions}: {error.strerror}") from error
        found._fetched = self, bundle
        return found

    def _unpack(self, work: Path, digest: str, url: str) -> Found:
        """Makes a version out of an archive: checked first, held before others can see it, renamed at last."""
        files = work / "files"
        files.mkdir()
        try:
            archive.unpack(work / "bundle.zip", files)
            self._trust.check(files)
        except LoadError as error:
            words = archive.without_folder(str(error), files).replace(f"{work}/bundle.zip: ", "")
            if isinstance(error.__cause__, OSError):  # a full disk says nothing about the archive
                raise UnavailableError(f"{url}: {words}; make room in {self._versions}") from error
            raise LoadError(f"{url} is refused: {words}") from error
        _write_through(files)
        hold = held.share(files)
        place = self._versions / digest
        while True:
            try:
                os.rename(files, place)
                _sync(self._versions)
                return Found(_real(place), digest, hold)
            except OSError as error:
                if error.errno not in _THERE:
                    raise
            found = self._good(digest)  # another process was faster
            if found is not None:
                return found
            # Somebody has written to it. Its place is for what the archive holds.
            with contextlib.suppress(FileNotFoundError):
                os.rename(place, work / f"bad-{secrets.token_hex(4)}")

    def _version(self, digest: str) -> Found | None:
        place = self._versions / digest
        hold = held.share(place)
        return None if hold is None else Found(_real(place), digest, hold)

    def _good(self, digest: str) -> Found | None:
        """Gives a version that is there and may be used."""
        found = self._version(digest)
        if found is not None:
            try:
                self._trust.check_again(found.folder)
            except LoadError:
                return None
        return found

    def _linked(self, name: str) -> str | None:
        """Gives the version that a link of ours leads to."""
        try:
            target = os.readlink(self._root / name)
        except OSError:
            return None
        folder, _, digest = target.rpartition("/")
        return digest if folder == _VERSIONS and _VERSION.fullmatch(digest) else None

    def _memory(self, bundle: Bundle) -> Path:
        return self._versions / f"{bundle.hash}.json"

    def _remembered(self, bundle: Bundle, url: str) -> tuple[Validators | None, Found | None]:
        """Gives what the server said, and the version that it said it of. It holds for one URL alone."""
        memory = _read(self._memory(bundle))
        found = self._good(memory["sha256"]) if memory.get("url") == url else None
        if found is None:
            return None, None
        known = Validators(memory.get("etag", ""), memory.get("last_modified", ""))
        return (known, found) if known != Validators() else (None, None)

    def _remember(self, bundle: Bundle, url: str, found: Found, said: Validators, work: Path) -> None:
        memory = {"url": url, "sha256": found.digest, "etag": said.etag, "last_modified": said.last_modified}
        (work / "memory").write_text(json.dumps(memory))
        os.replace(work / "memory", self._memory(bundle))

    def _commit(self, bundle: Bundle, found: Found) -> None:
        place = self._root / bundle.hash
        if self._linked(bundle.hash) == found.digest:
            return
        try:
            with self._workspace() as work:
                os.symlink(f"{_VERSIONS}/{found.digest}", work / "link")
                if self._linked(bundle.hash) is None and os.path.lexists(place):
                    with contextlib.suppress(FileNotFoundError):  # another process has just done it
                        moved = self._move_aside(place)
                        self._log(f'bundle "{bundle.name}": the folder that was {place} is {moved} now', "warning")
                os.replace(work / "link", place)
        except (OSError, UnavailableError) as error:
            words = f"{place} cannot be changed: {error}; the next start finds what it finds now"
            self._log(f'bundle "{bundle.name}": {words}', "warning")
            return
        self.sweep()

    def _move_aside(self, place: Path) -> Path:
        folder = self._root / _REPLACED
        folder.mkdir(exist_ok=True)
        for number in itertools.count(1):
            moved = folder / f"{place.name}-{number}"
            if os.path.lexists(moved):
                continue
            os.rename(place, moved)
            return moved
        raise AssertionError

    @contextlib.contextmanager
    def _workspace(self) -> Iterator[Path]:
        """Makes a folder for work in progress, which `sweep` leaves alone as long as this process is at it."""
        try:
            self._versions.mkdir(parents=True, exist_ok=True)
            hold = None
            while hold is None:
                folder = self._versions / f"{_NEW}{secrets.token_hex(8)}"
                folder.mkdir()
                hold = held.share(folder)
        except OSError as error:
            raise UnavailableError(f"{self._versions} cannot be written to: {error.strerror}") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            hold.close()

    def sweep(self) -> None:
        """Removes versions that no link leads to and no process holds, and what processes left that were killed.

        What cannot be removed stays.
        """
        with contextlib.suppress(OSError):
            # What servers said comes last: it goes with the version that it was said of.
            for name in sorted(os.listdir(self._versions), key=lambda name: name.endswith(".json")):
                with contextlib.suppress(OSError):
                    self._remove_unused(self._versions / name)

    def _remove_unused(self, place: Path) -> None:
        if place.suffix == ".json":
            digest = _read(place).get("sha256", "")
            if not (self._versions / digest).is_dir():
                place.unlink()
            return
        if not (_VERSION.fullmatch(place.name) or place.name.startswith(_NEW)):
            return
        hold = held.own(place)
        if hold is None:
            return
        try:
            # Links are made by those alone who hold the version: from here on there will be none.
            if self._is_linked(place.name):
                return
            gone = self._versions / f"{_NEW}{secrets.token_hex(8)}"
            os.rename(place, gone)
        finally:
            hold.close()
        shutil.rmtree(gone, ignore_errors=True)

    def _is_linked(self, digest: str) -> bool:
        return any(self._linked(name) == digest for name in os.listdir(self._root))


class Finder:
    """Finds bundles for one loading of a configuration: each once, so that all of it gets the same versions."""

    def __init__(self, depot: Depot) -> None:
        self._depot = depot
        self._found: dict[str, Found | BridgeError] = {}

    def find(self, bundle: Bundle) -> Found:
        """Finds a bundle, as `Depot.find` did the first time.

        Raises:
            NotFoundError: it is not there.
            LoadError: it is refused, or cannot be had.
        """
        found = self._found.get(bundle.name)
        if found is None:
            try:
                found = self._depot.find(bundle)
            except BridgeError as error:
                found = error
            self._found[bundle.name] = found
        if isinstance(found, BridgeError):
            try:
                raise found
            finally:
                del found  # its traceback has this frame
        return found

    def close(self) -> None:
        """Lets go of what was found, and of why something was not."""
        self._found.clear()


def origins(middleware_path: str | os.PathLike[str]) -> dict[str, str]:
    """Gives the folders of versions, and the URL that each was fetched from."""
    versions = Path(middleware_path, "bundles", _VERSIONS)
    memories = [_read(file) for file in versions.glob("*.json")]
    return {str(versions / memory["sha256"]): memory["url"] for memory in memories if "url" in memory}


def _read(file: Path) -> dict[str, Any]:
    """Reads what the server said; an empty one for what is none."""
    try:
        memory = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    digest = memory.get("sha256") if isinstance(memory, dict) else None
    return memory if isinstance(digest, str) and _VERSION.fullmatch(digest) else {}


def _real(place: Path) -> Path:
    return Path(os.path.realpath(place))  # Path.resolve raises where links go in a circle


def _write_through(folder: Path) -> None:
    """Has the kernel write a folder down: after the loss of power a version must be whole, or not there."""
    for place, _, names in os.walk(folder):
        for name in [*names, "."]:
            _sync(Path(place, name))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
