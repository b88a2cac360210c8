"""Runs modules from their source, with builtins of the caller's choice."""

from __future__ import annotations

import linecache
import os
import zipfile
import zipimport
from collections.abc import Callable
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from importlib.util import decode_source
from types import CodeType, ModuleType
from typing import Any
from zipimport import zipimporter

_SUFFIXES = frozenset(suffix.lstrip(".") for suffix in EXTENSION_SUFFIXES)


def forget(folder: str) -> None:
    """Takes what is below a folder out of Python's memory of sources and archives, where it would stay for good.

    Who needs it still reads it again.
    """
    archives: dict[str, object] = getattr(zipimport, "_zip_directory_cache", {})  # it has no public way to forget
    for cache in (linecache.cache, archives):
        for path in [path for path in list(cache) if path.startswith(folder + os.sep)]:
            cache.pop(path, None)


def is_extension(path: str) -> bool:
    """Whether a file is compiled for this interpreter.

    "x.cpython-37m-x86_64-linux-gnu.so" beside a fallback in Python is of another one, and does no harm.
    """
    return path.rpartition("/")[2].partition(".")[2] in _SUFFIXES


def folder_finder(folder: str, source: Callable[[str, str], SourceLoader]) -> FileFinder:
    """Returns what finds the modules of a folder; `source` makes, of name and path, the loader of a Python file."""
    loaders: Any = ((ExtensionFileLoader, EXTENSION_SUFFIXES), (source, SOURCE_SUFFIXES))
    return FileFinder(folder, *loaders)


class SourceLoader(SourceFileLoader):
    """Compiles a file each time.

    Bytecode is neither read (a reload within one clock tick would see the old one) nor written into somebody's bundle.
    """

    def __init__(self, fullname: str, path: str, module_builtins: dict[str, Any]) -> None:
        super().__init__(fullname, path)
        self._builtins = module_builtins
        self._compiled = b""  # as long as the module's namespace: the file may hold another version by then

    def get_code(self, fullname: str) -> CodeType:
        """Compiles the file as it is now."""
        path = self.get_filename(fullname)
        linecache.cache.pop(path, None)  # tracebacks shall show these lines
        try:
            data = self.get_data(path)
            code: CodeType = self.source_to_code(data, path)
        except (ValueError, SyntaxError) as error:
            if isinstance(error, SyntaxError) and error.filename:
                raise
            # A NUL in the file is told without the file's name.
            raise SyntaxError(str(error), (path, 1, None, None)) from error
        self._compiled = data
        return code

    def lines(self) -> list[str]:
        """Returns the lines of the source that runs, whatever the file holds now; none before there is one."""
        try:
            return decode_source(self._compiled).split("\n")
        except (SyntaxError, UnicodeError):  # the compiler is not as strict
            return []

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module with the builtins of the loader."""
        vars(module)["__builtins__"] = self._builtins
        super().exec_module(module)


class WheelLoader(zipimporter):
    """Runs modules out of a wheel."""

    def __init__(self, path: str, module_builtins: dict[str, Any]) -> None:
        super().__init__(path)
        self.invalidate_caches()  # zipimport remembers an archive's contents by its path
        self._builtins = module_builtins

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module with the builtins of the loader."""
        vars(module)["__builtins__"] = self._builtins
        super().exec_module(module)

    def is_compiled(self, name: str) -> bool:
        """Whether the top-level package `name` in the wheel has parts that Python cannot run from an archive."""
        with zipfile.ZipFile(self.archive) as wheel:
            return any(is_extension(entry) for entry in wheel.namelist() if entry.startswith(f"{name}/"))
