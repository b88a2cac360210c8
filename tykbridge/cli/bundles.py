"""Looks into a bundle, an archive or a folder, without running any of it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tykbridge.bundle import archive, manifest, sums
from tykbridge.bundle.manifest import Manifest
from tykbridge.bundle.signing import Trust
from tykbridge.errors import LoadError

_FORMS = {
    "sha256-signed": "signed, and the signature covers every file",
    "sha256": f"every file is as {sums.FILE_NAME} says",
    "md5-signed": "signed in the old form, which does not cover the manifest",
    "md5": "the files of file_list have the checksum of the manifest",
    "none": "nothing in it says what its files should be",
}


@dataclass
class Finding:
    """What a bundle holds, and what a gateway makes of it.

    Attributes:
        kind: "archive" or "folder".
        file: its path.
        size: bytes, of an archive packed.
        form: what held, as `tykbridge.bundle.signing.Verified` has it; "" when it is refused.
        refused: why a gateway refuses it; "" when it does not.
        key: the fingerprint of the public key that it was checked with, "" without one.
        checksum: the manifest's.
        carries: what there is of checksums and signatures.
        hooks: phase, name and driver of each hook that runs.
        files: path, bytes, and whether file_list names it.
    """

    kind: str
    file: Path
    size: int = 0
    form: str = ""
    refused: str = ""
    key: str = ""
    checksum: str = ""
    carries: list[str] = field(default_factory=list)
    hooks: list[tuple[str, str, str]] = field(default_factory=list)
    files: list[tuple[str, int, bool]] = field(default_factory=list)

    @property
    def words(self) -> str:
        """What held, for people."""
        words = _FORMS[self.form]
        signed = [name for name in self.carries if "signature" in name or name == sums.SIGNATURE_NAME]
        return f"{words} (its signature was not checked: no key was given)" if signed and not self.key else words

    def document(self) -> dict[str, Any]:
        """Describe it for `show --json`; docs/cli.md tells the keys."""
        return {
            "ok": not self.refused,
            "kind": self.kind,
            "file": os.path.abspath(self.file),
            "bytes": self.size,
            "form": self.form,
            "refused": self.refused,
            "key": self.key,
            "checksum": self.checksum,
            "carries": self.carries,
            "hooks": [dict(zip(("phase", "name", "driver"), hook, strict=True)) for hook in self.hooks],
            "files": [dict(zip(("path", "bytes", "listed"), entry, strict=True)) for entry in self.files],
        }


def examine(source: Path, trust: Trust) -> Finding:
    """Look into the archive or the folder `source`, and hold it against `trust`."""
    key = trust.key.fingerprint if trust.key is not None else ""
    if source.is_dir():
        found = Finding("folder", source, key=key)
        _look(found, source, trust)
        found.size = sum(size for _, size, _ in found.files)
        return found
    found = Finding("archive", source, source.stat().st_size, key=key)
    with tempfile.TemporaryDirectory(prefix="tykbridge-") as name:
        try:
            archive.unpack(source, Path(name))
        except LoadError as error:
            found.refused = str(error)
        else:
            _look(found, Path(name), trust)
        found.refused = found.refused.replace(name, str(source))  # where it was unpacked to is gone
    return found


def _look(found: Finding, folder: Path, trust: Trust) -> None:
    described: Manifest | None = None
    try:
        found.form = trust.check(folder).form
    except LoadError as error:
        found.refused = str(error)
    try:
        described = manifest.read(folder / manifest.FILE_NAME)
    except LoadError as error:
        found.refused = found.refused or str(error)
    if described is not None:
        found.checksum = described.checksum
        found.hooks = [(hook.path.split(".")[1].partition("[")[0], hook.name, hook.driver) for hook in described.hooks]
        there = (("checksum", described.checksum), ("signature", described.signature))
        found.carries += [f"{name} in {manifest.FILE_NAME}" for name, value in there if value]
    found.carries += [name for name in (sums.FILE_NAME, sums.SIGNATURE_NAME) if (folder / name).is_file()]
    listed = {str(Path(name)) for name in described.files} if described is not None else set()
    for path in sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()):
        name = path.relative_to(folder).as_posix()
        found.files.append((name, path.lstat().st_size, name in listed))
