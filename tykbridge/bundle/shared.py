"""Compiled packages out of bundles, which a process can have only once.

C code imports by absolute names and keeps its state in the library, so a package with compiled parts is loaded under
its real name, from the first bundle that brings it. Another bundle with the same content shares it; other content, or a
name that the process has from elsewhere, is refused with the reason. What was loaded stays until the process ends.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.abc
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tykbridge import locks
from tykbridge.bundle import content
from tykbridge.bundle.source import SourceLoader, folder_finder, is_extension


@dataclass(frozen=True)
class _Package:
    place: str  # the package's folder, or the compiled module's file
    folder: str  # where it was found; what else it needs is looked for there
    digest: str


_packages: dict[str, _Package] = {}
_lock = locks.reentrant()
_importing = threading.local()  # .folder: where a package that is being imported on this thread comes from


def is_compiled(folder: str) -> bool:
    """Whether a package's folder holds anything compiled for this interpreter."""
    return any(is_extension(name) for _, _, files in os.walk(folder) for name in files)


def claim(name: str, spec: ModuleSpec, folder: str) -> None:
    """Makes the compiled package `name` importable by that name, in the whole process.

    Args:
        name: a top-level module's real name.
        spec: where a bundle has it.
        folder: the folder that holds it.

    Raises:
        ImportError: the process has other content under this name.
    """
    place = os.path.dirname(spec.origin or "") if spec.submodule_search_locations else (spec.origin or "")
    digest = content.digest(place)
    with _lock:
        known = _packages.get(name)
        if known is None:
            module = sys.modules.get(name)
            if module is None:
                _packages[name] = _Package(place, folder, digest)
                _install()
                return
            elsewhere = getattr(getattr(module, "__spec__", None), "origin", None) or "elsewhere"
            if elsewhere == spec.origin:
                return
        elif known.digest == digest:
            return
        else:
            elsewhere = known.place
    raise ImportError(
        f'"{name}" has compiled parts, which a process can load only once, and this one has another "{name}" already: '
        f"{elsewhere}; the bundle brings {place}. Bring the same build in every bundle, or install it where the "
        "process runs and leave it out of the bundles; a changed build needs a new process",
        name=name,
        path=place,
    )


def release(name: str, folder: str) -> None:
    """Forgets a package that could not be imported, with what it had loaded of itself and claimed beside itself."""
    with _lock:
        failed = [name, *(other for other, package in _packages.items() if package.folder == folder)]
        for claimed in failed:
            if claimed not in sys.modules:
                _packages.pop(claimed, None)
    if name not in sys.modules:
        for module in [module for module in list(sys.modules) if module.startswith(f"{name}.")]:
            sys.modules.pop(module, None)


@contextlib.contextmanager
def _importing_from(folder: str) -> Iterator[None]:
    before = getattr(_importing, "folder", None)
    _importing.folder = folder
    try:
        yield
    finally:
        _importing.folder = before


def _module_builtins(folder: str) -> dict[str, Any]:
    """Returns the builtins of a shared package's modules, whose imports find what stands beside the package."""

    def import_(name: str, *args: Any) -> ModuleType:
        with _importing_from(folder):
            return builtins.__import__(name, *args)

    return {**vars(builtins), "__import__": import_}


def _find(name: str, folder: str, path: Sequence[str] | None, owner: _Package) -> ModuleSpec | None:
    def source(fullname: str, file: str) -> SourceLoader:
        return SourceLoader(fullname, file, _module_builtins(owner.folder))

    for entry in [folder] if path is None else path:
        spec = folder_finder(entry, source).find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
    return None


class SharedFinder(importlib.abc.MetaPathFinder):
    """Finds claimed packages and everything in them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds a claimed package, or a module of one."""
        owner = _packages.get(fullname.partition(".")[0]) if _packages else None
        return None if owner is None else _find(fullname, owner.folder, path, owner)


class NeighbourFinder(importlib.abc.MetaPathFinder):
    """Finds, last of all, what a claimed package needs beside itself, while it imports."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds a top-level module in the folder of the package that is being imported on this thread."""
        folder = getattr(_importing, "folder", None)
        if folder is None or path is not None:
            return None
        spec = _find(fullname, folder, None, _Package("", folder, ""))
        if spec is not None:
            claim(fullname, spec, folder)
            spec = _find(fullname, folder, None, _packages[fullname])
        return spec


def load(name: str, folder: str) -> ModuleType:
    """Imports a claimed package by its real name.

    Raises:
        BaseException: whatever its code raises.
    """
    try:
        with _importing_from(folder):
            return importlib.import_module(name)
    except BaseException:
        release(name, folder)
        raise


def _install() -> None:
    """Puts the two finders on sys.meta_path, once."""
    if not any(isinstance(finder, SharedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, SharedFinder())
        sys.meta_path.append(NeighbourFinder())
