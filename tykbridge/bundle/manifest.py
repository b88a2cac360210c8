"""Reads a bundle's manifest.json."""

from __future__ import annotations

import json
import os
import pathlib
from dataclasses import dataclass
from typing import Any

from tykbridge.definition.checks import SUFFIXES
from tykbridge.errors import LoadError
from tykbridge.handlers import is_text

FILE_NAME = "manifest.json"

_ALIKE = 3  # names that a message has
_LISTS = ("pre", "post_key_auth", "post", "response")
_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}


@dataclass(frozen=True)
class HookEntry:
    """A hook that the manifest names.

    Attributes:
        path: where it stands: "custom_middleware.pre[0]".
        name: the function's name.
        driver: the language that runs it; "" when neither driver nor path says so. Upstream's "otto" is "javascript".
        file: the file that has it, as far as it says so: a path below the bundle's folder, with "/".
    """

    path: str
    name: str
    driver: str
    file: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes:
        file: the manifest's own path.
        files: file_list: paths below the bundle's folder, with "/".
        hooks: the enabled hooks, in the order of the chain.
        driver: custom_middleware.driver, named as of a hook; "" when there is none.
        checksum: hexadecimal md5 of the files; "" when there is none.
        signature: base64 of an RSA signature; "" when there is none.
    """

    file: pathlib.Path
    files: tuple[str, ...]
    hooks: tuple[HookEntry, ...]
    driver: str
    checksum: str
    signature: str


def read(file: pathlib.Path) -> Manifest:
    """Reads a manifest.

    Raises:
        LoadError: the file cannot be read, is no JSON, or a value is not of its type, or names what is not inside of
            the bundle's folder, links followed; the words name file and JSON path.
    """
    return describe(file, load(file))


def load(file: pathlib.Path) -> Any:
    """Reads a manifest's JSON as it is.

    Raises:
        LoadError: the file cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise LoadError(f"{file}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        place = f"{file}:{error.lineno}"
        raise LoadError(f"{place}: not JSON: {error.msg} (column {error.colno})", place=place) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or a number of thousands of digits
        raise LoadError(f"{file}: not JSON: {error}") from error


def describe(file: pathlib.Path, top: Any, *, folders: bool = False) -> Manifest:
    """Checks the JSON of a manifest, which stands in `file`. `folders`: file_list may name folders as well.

    Raises:
        LoadError: as `read`.
    """
    reader = _Reader(file)
    manifest = reader.expect(top, dict, "the manifest")
    middleware = reader.get(manifest, "custom_middleware", dict, "") or {}
    driver = _driver(reader.get(middleware, "driver", str, "custom_middleware.") or "")
    return Manifest(
        file,
        tuple(reader.file_list(manifest, folders)),
        tuple(reader.hooks(middleware, driver)),
        driver,
        reader.get(manifest, "checksum", str, "") or "",
        reader.get(manifest, "signature", str, "") or "",
    )


def is_inside(root: pathlib.Path, name: str) -> bool:
    """Whether a path, as a manifest has it, stays below the folder `root`; links are followed, in both."""
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not is_text(name):
        return False
    return pathlib.Path(os.path.realpath(root / path)).is_relative_to(os.path.realpath(root))


class _Reader:
    """Takes typed values out of the JSON; a missing one and null are the same, as for the gateway's Go code."""

    def __init__(self, file: pathlib.Path) -> None:
        self.file = file

    def expect(self, value: Any, kind: type, path: str) -> Any:
        if type(value) is not kind:
            found = "null" if value is None else _NAMES[type(value)]
            raise LoadError(f"{self.file}: {path} must be {_NAMES[kind]}, not {found}")
        return value

    def get(self, owner: dict[str, Any], key: str, kind: type, prefix: str) -> Any:
        value = owner.get(key)
        return None if value is None else self.expect(value, kind, prefix + key)

    def file_list(self, manifest: dict[str, Any], folders: bool) -> list[str]:
        files = self.get(manifest, "file_list", list, "") or []
        for at, name in enumerate(files):
            path = f"file_list[{at}]"
            if not pathlib.PurePosixPath(self.expect(name, str, path)).parts:
                raise LoadError(f"{self.file}: {path} must name a file below the bundle's folder, not {_quoted(name)}")
            self.inside(name, path)
            try:
                place = self.file.parent / name
                found = place.is_file() or (folders and place.is_dir())
            except OSError as error:
                raise LoadError(f"{self.file}: {path}: {_quoted(name)} cannot be read: {error.strerror}") from error
            if not found:
                meant = ", ".join(map(_quoted, self.alike(name)))
                there = f"; there is {meant}" if meant else ""
                raise LoadError(f"{self.file}: {path}: the bundle has no file {_quoted(name)}{there}")
        return files

    def alike(self, missing: str) -> list[str]:
        """Give the files that begin and end as one that is not there: a compiled plugin's version is in its name."""
        path = pathlib.PurePosixPath(missing)
        try:
            names = sorted(os.listdir(self.file.parent / path.parent))
        except OSError:
            return []
        found = [name for name in names if name.startswith(path.stem) and name.endswith(path.suffix)]
        return [str(path.with_name(name)) for name in found[:_ALIKE]] if path.suffix else []

    def inside(self, name: str, path: str) -> None:
        if not is_inside(self.file.parent, name):
            what = f"must name a file below the bundle's folder, and {_quoted(name)} is not there"
            raise LoadError(f"{self.file}: {path} {what} (links are followed)")

    def hooks(self, middleware: dict[str, Any], driver: str) -> list[HookEntry]:
        found = []
        for section in ("pre", "auth_check", "post_key_auth", "post", "response"):
            path = f"custom_middleware.{section}"
            if section in _LISTS:
                entries = self.get(middleware, section, list, "custom_middleware.") or []
                placed = [(f"{path}[{at}]", entry) for at, entry in enumerate(entries)]
            else:
                # Gateways write an auth_check that is not used as one without a name.
                entry = self.get(middleware, section, dict, "custom_middleware.") or {}
                placed = [(path, entry)] if entry.get("name") else []
            for place, entry in placed:
                hook = self.hook(place, self.expect(entry, dict, place), driver)
                if hook is not None:
                    found.append(hook)
        return found

    def hook(self, path: str, entry: dict[str, Any], driver: str) -> HookEntry | None:
        name = self.get(entry, "name", str, f"{path}.")
        if self.get(entry, "disabled", bool, f"{path}."):
            return None
        if not name:
            raise LoadError(f"{self.file}: {path}.name must be the hook's function, and is missing")
        file = self.get(entry, "path", str, f"{path}.") or ""
        self.inside(file, f"{path}.path")
        own = _driver(self.get(entry, "driver", str, f"{path}.") or "")
        place = pathlib.PurePosixPath(file)
        return HookEntry(path, name, own or driver or SUFFIXES.get(place.suffix, ""), place.as_posix() if file else "")


def _driver(name: str) -> str:
    return "javascript" if name == "otto" else name


def _quoted(name: str) -> str:
    return json.dumps(name)  # as it may stand in the manifest, and no line break or half of a character is let through
