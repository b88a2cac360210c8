"""Builds a bundle's archive out of a manifest."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import stat
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tykbridge.bundle import archive, manifest, sums
from tykbridge.bundle.manifest import Manifest
from tykbridge.bundle.rsa import PrivateKey
from tykbridge.bundle.signing import Trust
from tykbridge.errors import LoadError

_OWN = (manifest.FILE_NAME, sums.FILE_NAME, sums.SIGNATURE_NAME)
_LEFT_OUT = "__pycache__"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day that a zip can tell


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        file: the archive.
        size: its bytes.
        files: what the written file_list names.
        checksum: the md5 that the manifest in it has.
        is_signed: in both forms.
    """

    file: Path
    size: int
    files: tuple[str, ...]
    checksum: str
    is_signed: bool


def build(file: Path, output: Path, key: PrivateKey | None = None) -> Built:
    """Builds an archive out of the manifest `file` and the files of its file_list, which lie below its folder.

    A folder in file_list stands for all files in it (`__pycache__` left out), which the manifest in the archive then
    names one by one. That manifest has the checksum, and with a key the signature, of upstream's form; SHA256SUMS and
    SHA256SUMS.sig stand beside it. The same files give the same bytes. The archive takes the place of `output` when it
    is whole, and has been unpacked and checked as a gateway does it.

    Raises:
        LoadError: the manifest is wrong, or names what cannot be packed; the words name file and JSON path.
    """
    try:
        top = manifest.load(file)
        described = manifest.describe(file, top, folders=True)
        _check_hooks(described)
        contents = _read(described, output)
        return _write(file, output, top, contents, key)
    except OSError as error:
        where = error.filename or output
        raise LoadError(f"{output} cannot be built: {where}: {error.strerror or error}") from error


def _check_hooks(described: Manifest) -> None:
    """Refuses what upstream's build refuses (cli/bundler/bundler.go: no hooks, no driver)."""
    if not described.hooks:
        raise LoadError(f"{described.file}: custom_middleware names no hook")
    for hook in described.hooks:
        if not hook.driver:
            raise LoadError(
                f'{described.file}: {hook.path} has no driver: set custom_middleware.driver, such as "python"'
            )


def _read(described: Manifest, output: Path) -> dict[str, bytes]:
    """Gives the contents of what file_list names, in its order, each file once."""
    root = described.file.parent
    contents: dict[str, bytes] = {}
    for at, listed in enumerate(described.files):
        where = f"{described.file}: file_list[{at}]"
        name = PurePosixPath(listed).as_posix()
        names = _below(root, name) if (root / name).is_dir() else [name]
        if not names:
            raise LoadError(f'{where}: the folder "{name}" has no files')
        for one in names:
            if one in _OWN:
                raise LoadError(f'{where}: "{one}" is written by the build itself: take it out of file_list')
            if one not in contents:
                contents[one] = _content(root, one, where, output)
    return contents


def _below(root: Path, folder: str) -> list[str]:
    found: list[str] = []
    with os.scandir(root / folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = f"{folder}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                found += _below(root, name) if entry.name != _LEFT_OUT else []
            else:
                found.append(name)
    return found


def _content(root: Path, name: str, where: str, output: Path) -> bytes:
    _refuse_links(root, name, where)
    path = root / name
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        raise LoadError(f'{where}: "{name}" is no file, but a device or the like')
    if output.exists() and os.path.samefile(path, output):
        raise LoadError(f'{where}: "{name}" is what is to be written')
    if about.st_size > archive.Limits().file:
        raise LoadError(f'{where}: "{name}" has {about.st_size} bytes; {archive.Limits().file} are allowed')
    return path.read_bytes()


def _refuse_links(root: Path, name: str, where: str) -> None:
    for path in (PurePosixPath(name), *PurePosixPath(name).parents):
        if (root / path).is_symlink() and path.parts:
            raise LoadError(f'{where}: "{path}" is a link; put what it leads to in its place')


def _write(file: Path, output: Path, top: dict[str, Any], contents: dict[str, bytes], key: PrivateKey | None) -> Built:
    whole = b"".join(contents.values())
    checksum = hashlib.md5(whole, usedforsecurity=False).hexdigest()
    signature = base64.b64encode(key.sign(whole)).decode() if key else ""
    new = {**top, "file_list": list(contents), "checksum": checksum, "signature": signature}
    try:
        text = json.dumps(new, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        packed = {**contents, manifest.FILE_NAME: text.encode()}
    except ValueError as error:  # a number that JSON does not have, half of a surrogate pair
        raise LoadError(f"{file}: cannot be written again: {error}") from error
    packed[sums.FILE_NAME] = sums.render({name: hashlib.sha256(data).hexdigest() for name, data in packed.items()})
    if key:
        packed[sums.SIGNATURE_NAME] = key.sign(packed[sums.FILE_NAME])
    data = _zipped(packed)
    beside = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb") as stream:
            stream.write(data)
        _check(beside, output)
        os.replace(beside, output)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
    return Built(output, len(data), tuple(contents), checksum, key is not None)


def _zipped(packed: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as zipped:
        for name in sorted(packed):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            zipped.writestr(entry, packed[name], zipfile.ZIP_DEFLATED, 9)
    return target.getvalue()


def _check(made: Path, output: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tykbridge-") as name:
        folder = Path(name)
        try:
            archive.unpack(made, folder)
            Trust(allow_native_code=True).check(folder)
        except LoadError as error:
            words = str(error).replace(str(made), str(output)).replace(str(folder), str(output))
            raise LoadError(f"what was built could not be loaded: {words}") from error
