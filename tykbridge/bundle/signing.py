"""Decides whether an unpacked bundle may be used: its checksums, its signatures, its native code.

Two forms of both exist. The old one is upstream's (gateway/coprocess_bundle.go of TykTechnologies/tyk) and stands in
manifest.json: the md5 of the contents of file_list, one file after the other, and a signature of the same bytes. It
covers neither the manifest nor any name. The stronger one is the file SHA256SUMS, which lists every file but itself and
its signature, SHA256SUMS.sig.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tykbridge.bundle import manifest, native, rsa, sums
from tykbridge.bundle.entries import quoted
from tykbridge.bundle.manifest import Manifest
from tykbridge.errors import LoadError


@dataclass(frozen=True)
class Verified:
    """What held.

    Attributes:
        form: "sha256-signed", "sha256", "md5-signed", "md5" or "none"; "signed" says by the configured key.
    """

    form: str


class Trust:
    """What bundles must prove. It never changes, and any thread may use it.

    Attributes:
        key: the public key; None when bundles need not be signed.
    """

    def __init__(
        self, public_key_path: str = "", accept_old_signatures: bool = False, allow_native_code: bool = False
    ) -> None:
        """Reads the public key, once.

        Args:
            public_key_path: a PEM file; "" for none.
            accept_old_signatures: with a key, the old form of signature is enough.
            allow_native_code: bundles that are not signed may hold native code, too.

        Raises:
            LoadError: the key cannot be used; the words name its file.
        """
        self.key = rsa.read_public(public_key_path) if public_key_path else None
        self._accepts_old = accept_old_signatures
        self._allows_native = allow_native_code

    @property
    def has_key(self) -> bool:
        """Whether bundles must be signed."""
        return self.key is not None

    def check(self, folder: Path) -> Verified:
        """Checks an unpacked bundle: whatever checksum or signature it carries must hold.

        It holds for the files as they are now: nobody may write to the folder later.

        Raises:
            LoadError: it may not be used; the words say why, with the file.
        """
        try:
            return self._check(folder)
        except OSError as error:
            raise _unreadable(folder, error) from error

    def check_again(self, folder: Path) -> None:
        """Checks a bundle that was accepted once, perhaps by another process, of which less was asked.

        Without a key, checksums are not looked at again.

        Raises:
            LoadError: it may not be used.
        """
        try:
            if self.key is not None:
                self._check(folder)
            elif not self._allows_native:
                _check_native(folder, _files(folder))
        except OSError as error:
            raise _unreadable(folder, error) from error

    def _check(self, folder: Path) -> Verified:
        files = _files(folder)
        form = self._check_sums(folder, files)
        described = manifest.read(folder / manifest.FILE_NAME) if manifest.FILE_NAME in files else None
        old = "none" if described is None else self._check_manifest(described)
        if form == "none" or (form == "sha256" and old == "md5-signed"):
            form = old
        if self.key is not None:
            self._check_form(folder, form)
        if form == "md5-signed" and described is not None:
            _check_covered(folder, files, described)
        if not form.endswith("-signed") and not self._allows_native:
            _check_native(folder, files)
        return Verified(form)

    def _check_sums(self, folder: Path, files: Mapping[str, bool]) -> str:
        signature = folder / sums.SIGNATURE_NAME
        if sums.FILE_NAME not in files:
            if sums.SIGNATURE_NAME in files:
                raise LoadError(f"{signature} signs {sums.FILE_NAME}, which the bundle does not have")
            return "none"
        for name, is_link in files.items():
            if is_link:
                raise LoadError(f"{folder}: {quoted(name)} is a link, which {sums.FILE_NAME} cannot cover")
        data = (folder / sums.FILE_NAME).read_bytes()
        if self.key is not None and sums.SIGNATURE_NAME in files:
            fault = self.key.fault(signature.read_bytes(), hashlib.sha256(data).digest())
            if fault:
                raise LoadError(f"{signature}: the signature {fault}")
        sums.check(folder, sums.parse(data, folder / sums.FILE_NAME), files)
        return "sha256-signed" if self.key is not None and sums.SIGNATURE_NAME in files else "sha256"

    def _check_manifest(self, described: Manifest) -> str:
        if not described.checksum and not described.signature:
            return "none"
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        sums.update((described.file.parent / name for name in described.files), md5, sha256)
        if described.checksum and described.checksum != md5.hexdigest():
            raise LoadError(
                f"{described.file}: checksum is {quoted(described.checksum)}, and the md5 of the files of file_list is "
                f"'{md5.hexdigest()}': they were changed, or damaged on the way"
            )
        if not described.signature or self.key is None:
            return "md5" if described.checksum else "none"
        try:
            # Line breaks are left out, as Go's decoder does (encoding/base64).
            text = described.signature.replace("\r", "").replace("\n", "")
            signature = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise LoadError(f"{described.file}: signature is not base64: {error}") from error
        fault = self.key.fault(signature, sha256.digest())
        if fault:
            raise LoadError(f"{described.file}: signature {fault}")
        return "md5-signed"

    def _check_form(self, folder: Path, form: str) -> None:
        if form == "sha256-signed" or (form == "md5-signed" and self._accepts_old):
            return
        what = "is not signed, and a public key is configured"
        if form == "md5-signed":
            what = "is signed in the old form only, which does not cover the manifest (accept_old_signatures is off)"
        raise LoadError(f"{folder} {what}: build it with `tykbridge bundle build -k KEY`")


def _unreadable(folder: Path, error: OSError) -> LoadError:
    return LoadError(f"{error.filename or folder} cannot be read: {error.strerror or error}")


def _files(folder: Path) -> dict[str, bool]:
    """Gives all paths below the folder but those of folders, and whether each is a link; none is followed.

    Raises:
        LoadError: one is neither a file nor a folder, or a link that leaves the bundle.
    """
    found: dict[str, bool] = {}
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                name = prefix + entry.name
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    waiting.append(f"{name}/")
                    continue
                if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
                    raise LoadError(f"{folder}: {quoted(name)} is neither a file nor a folder")
                if stat.S_ISLNK(mode) and not manifest.is_inside(folder, name):
                    raise LoadError(f"{folder}: {quoted(name)} is a link that leaves the bundle's folder")
                found[name] = stat.S_ISLNK(mode)
    return found


def _check_covered(folder: Path, files: Iterable[str], described: Manifest) -> None:
    # Otherwise whoever carries the archive adds a module that shadows one of the signed files' imports.
    listed = {str(Path(name)) for name in described.files} | {manifest.FILE_NAME, sums.FILE_NAME, sums.SIGNATURE_NAME}
    for name in sorted(set(files) - listed):
        raise LoadError(f"{folder}: {quoted(name)} is not in file_list, so that the old signature does not cover it")


def _check_native(folder: Path, files: Mapping[str, bool]) -> None:
    for name, is_link in sorted(files.items()):
        found = "" if is_link else native.find(folder / name, name)  # what a link leads to is there as well
        if found:
            what = "is native code, or may hold it, which only a signed bundle may"
            raise LoadError(f"{folder}: {found} {what}: configure a public key and sign it, or set allow_native_code")
