"""Gives the modules of one loaded bundle version names, imports and a sys.path of their own.

Each version is a package under a unique name in sys.modules, such as `_tykb_1a_my_bundle`, and its modules live below
that. Their `__builtins__` carry an `__import__` of the version's own: `import rules` means `_tykb_1a_my_bundle.rules`
there, when the bundle has it, and the process's module otherwise.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.util
import itertools
import os
import re
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import Any, Protocol

from tykbridge import compat, locks
from tykbridge.bundle import proxies, shared
from tykbridge.bundle.source import SourceLoader, WheelLoader, folder_finder, forget

PREFIX = "_tykb_"
_COMPAT = "tykbridge.compat."
_SYNTHETIC = re.compile(rf"\b{PREFIX}[0-9a-f]+_\w*\.|\b{re.escape(_COMPAT)}(?=tyk\b|gateway\b|coprocess_)")
_LEAF = ("__name__",)  # a fromlist that makes __import__ return the module named, not its first part

_numbers = itertools.count(1)
_namespaces: dict[str, Namespace] = {}
_install_lock = locks.lock()


class _EntryFinder(Protocol):
    def find_spec(self, fullname: str) -> ModuleSpec | None: ...
    def invalidate_caches(self) -> None: ...


def plain(text: str) -> str:
    """Returns `text` with module names as the plugin's author wrote them."""
    return _SYNTHETIC.sub("", text)


class Namespace:
    """The import system as the code of one bundle version sees it.

    Attributes:
        package: the version's package in sys.modules.
        root: the bundle's folder.
        builtins: the module `builtins` of this code.
        sys: the module `sys` of this code; its `path` is the bundle's own.
    """

    def __init__(self, bundle: str, root: str) -> None:
        self.root = os.path.abspath(root)
        self.package = f"{PREFIX}{next(_numbers):x}_{re.sub('[^A-Za-z0-9_]', '_', bundle)[:40]}"
        self._bundle = bundle
        self._own = [self.root, *_vendor(self.root)]
        self.builtins = ModuleType("builtins", builtins.__doc__)
        vars(self.builtins).update(vars(builtins), __import__=self.import_)
        self.sys = proxies.sys_proxy(self.package, [*self._own, *sys.path])
        self._stand_ins: dict[str, ModuleType] = {"sys": self.sys, "builtins": self.builtins}
        self._homes: dict[str, str] = {}  # what each top-level name, once imported, has before it in sys.modules
        self._aliases: dict[str, str] = {}  # names of ours that stand for a module of the process
        self._finders: dict[str, _EntryFinder | None] = {}

    def open(self) -> None:
        """Makes the version's modules importable."""
        _install()
        package = importlib.util.module_from_spec(_folder_spec(self.package, [self.root]))
        _namespaces[self.package] = self
        sys.modules[self.package] = package

    def close(self) -> None:
        """Takes everything of the version out of the import system. Code of it that still runs, runs on."""
        _namespaces.pop(self.package, None)
        for name in [name for name in list(sys.modules) if name.partition(".")[0] == self.package]:
            sys.modules.pop(name, None)
        # What packages like six add there would hold the modules for good.
        lists: tuple[list[Any], ...] = (sys.meta_path, sys.path_hooks)
        for hooks in lists:
            for hook in [hook for hook in hooks if _module_of(hook).partition(".")[0] == self.package]:
                hooks.remove(hook)
        forget(self.root)

    def load(self, name: str) -> ModuleType:
        """Imports a module by the name that it has in the bundle, as `importlib.import_module` does.

        Raises:
            ImportError: it cannot be found. And whatever its code raises.
        """
        return self.import_(name, None, None, _LEAF)

    def load_file(self, path: str) -> ModuleType:
        """Imports a file below the root as the module that it is there; its name need not be an identifier.

        Raises:
            BaseException: whatever its code raises.
        """
        parts = os.path.splitext(os.path.relpath(path, self.root))[0].split(os.sep)
        if parts[-1] == "__init__":
            parts.pop()
        if not any("." in part for part in parts):
            return importlib.import_module(".".join([self.package, *parts]))
        name = f"{self.package}.{'_'.join(parts).replace('.', '_')}"
        loader = self.source_loader(name, path)
        spec = ModuleSpec(name, loader, origin=path)
        spec.has_location = True
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        return module

    def has(self, name: str) -> bool:
        """Whether a name, as bundle code writes it, means a module of the bundle."""
        top = name.partition(".")[0]
        return self._home(top) == f"{self.package}."

    def real_name(self, name: str) -> str:
        """Returns the name in sys.modules of what bundle code calls `name`."""
        home = self._home(name.partition(".")[0])
        return self._aliases.get(home + name, home + name)

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` of bundle code."""
        if level:  # relative: the package's name is enough
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        top, dot, _ = name.partition(".")
        home = self._homes.get(top)
        if home is None:
            home = self._home(top)
        try:
            module = builtins.__import__(home + name, globals, locals, fromlist or (_LEAF if home else ()), 0)
        except ModuleNotFoundError as error:
            # `except ImportError as e: if e.name == ...` is a common way to tell what is missing.
            error.name = plain(error.name) if error.name else None
            error.msg = plain(str(error.msg))
            raise
        self._homes[top] = home
        if top in proxies.NAMES:
            return self.stand_in(name if fromlist else top, module)
        return module if fromlist or not (home and dot) else sys.modules[home + top]

    def find_spec(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Finds one of this version's modules for the process's import system.

        Args:
            name: the name below `package`.
            path: where the parent package keeps its modules.

        Raises:
            ImportError: it is there, and cannot be loaded; the words say why.
        """
        full = f"{self.package}.{name}"
        parent, _, tail = name.rpartition(".")
        if f"{self.package}.{parent}" in self._aliases:
            return self._alias(full, f"{self._aliases[f'{self.package}.{parent}']}.{tail}")
        parent_spec = getattr(sys.modules.get(f"{self.package}.{parent}"), "__spec__", None)
        # Below a folder without code of its own, as at the top, a module may be somewhere else, and may be compiled.
        free = not parent or (
            parent_spec is not None
            and parent_spec.origin is None
            and parent_spec.submodule_search_locations is not None
        )
        spec, entry = self._search(full, (path or ()) if parent else self._entries())
        if spec is not None:
            return self._compiled(full, name, spec, entry) if free and _is_compiled(spec) else spec
        if parent and free and _process_has(name):
            return self._alias(full, name)
        return None

    def source_loader(self, name: str, path: str) -> SourceLoader:
        """Returns a loader that runs the file at `path` as a module of this version."""
        return SourceLoader(name, path, vars(self.builtins))

    def invalidate_caches(self) -> None:
        """Forgets what was in the folders, as `importlib.invalidate_caches` asks."""
        for finder in self._finders.values():
            if finder is not None:
                finder.invalidate_caches()

    def distribution_path(self) -> list[str]:
        """Returns where the bundle's own distributions (*.dist-info) may be."""
        return self._entries()

    def stand_in(self, name: str, real: ModuleType) -> ModuleType:
        """Returns what bundle code gets when it imports the process's module `real` as `name`."""
        if name not in self._stand_ins:
            self._stand_ins[name] = proxies.make(self, name, real)
        return self._stand_ins[name]

    def _home(self, top: str) -> str:
        """Returns what stands before the name in sys.modules: compat's package, this version's package, or nothing."""
        if top in self._homes:
            return self._homes[top]
        if top in compat.NAMES:
            return _COMPAT
        if top in proxies.ALWAYS or top.startswith(PREFIX):
            return ""
        full = f"{self.package}.{top}"
        if full in sys.modules:
            return f"{self.package}."
        spec, _ = self._search(full, self._entries())
        if spec is None or (spec.loader is None and _process_has(top, regular=True)):
            return ""  # a folder of that name must not hide a module
        return f"{self.package}."

    def _entries(self) -> list[str]:
        """Returns the folders and archives of the bundle's sys.path that are not the process's."""
        process = set(sys.path)
        return [
            os.path.abspath(entry)
            for entry in vars(self.sys)["path"]
            if isinstance(entry, str) and (entry in self._own or entry not in process)
        ]

    def _search(self, full: str, entries: Sequence[str]) -> tuple[ModuleSpec | None, str]:
        """Returns what the folders and archives have under a name, and which of them has it."""
        portions: list[str] = []
        for entry in entries:
            finder = self._finder(entry)
            spec = finder.find_spec(full) if finder else None
            if spec is not None and spec.loader is not None:
                return spec, entry
            if spec is not None:
                portions += spec.submodule_search_locations or ()
        return (_folder_spec(full, portions) if portions else None), ""

    def _finder(self, entry: str) -> _EntryFinder | None:
        if entry not in self._finders:
            try:
                self._finders[entry] = (
                    folder_finder(entry, self.source_loader)
                    if os.path.isdir(entry)
                    else WheelLoader(entry, vars(self.builtins))
                )
            except ImportError:  # neither a folder nor an archive
                return None
        return self._finders[entry]

    def _compiled(self, full: str, name: str, spec: ModuleSpec, entry: str) -> ModuleSpec:
        advice = "unpack the wheel into the vendor folder" if isinstance(spec.loader, WheelLoader) else None
        if "." in name:
            advice = "compiled modules work in a bundle as top-level packages only; install it where the process runs"
        if advice:
            raise ImportError(f'"{name}" in {entry} is compiled: {advice}', name=name, path=spec.origin)
        shared.claim(name, spec, entry)
        return self._alias(full, name, entry)

    def _alias(self, full: str, real: str, folder: str | None = None) -> ModuleSpec:
        return ModuleSpec(full, _AliasLoader(self._aliases, real, folder), origin=real)


class _AliasLoader(importlib.abc.Loader):
    """Puts a module of the process in the place of the one that is being imported."""

    def __init__(self, aliases: dict[str, str], real: str, folder: str | None) -> None:
        self._aliases = aliases
        self._real = real
        self._folder = folder

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        real = shared.load(self._real, self._folder) if self._folder else importlib.import_module(self._real)
        self._aliases[name] = self._real
        sys.modules[name] = real


class NamespaceFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of all open namespaces, and no others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds a module below a namespace's package."""
        if not fullname.startswith(PREFIX):
            return None
        package, _, name = fullname.partition(".")
        namespace = _namespaces.get(package)
        return namespace.find_spec(name, path) if namespace and name else None

    def invalidate_caches(self) -> None:
        """Forgets what was in the folders of all namespaces."""
        for namespace in list(_namespaces.values()):
            namespace.invalidate_caches()


def _install() -> None:
    with _install_lock:
        if not any(isinstance(finder, NamespaceFinder) for finder in sys.meta_path):
            sys.meta_path.insert(0, NamespaceFinder())


def _vendor(root: str) -> list[str]:
    """Returns a bundle's vendor folder, the wheels in it, and the folders that `pip install --prefix` makes there."""
    vendor = os.path.join(root, "vendor")
    if not os.path.isdir(vendor):
        return []
    wheels = sorted(entry.path for entry in os.scandir(vendor) if entry.name.endswith(".whl"))
    variables = {"base": vendor, "platbase": vendor}
    prefixed = {sysconfig.get_path(kind, "posix_prefix", variables) for kind in ("purelib", "platlib")}
    return [vendor, *wheels, *sorted(path for path in prefixed if os.path.isdir(path))]


class _FolderPath(list[str]):
    """The __path__ of a folder without code of its own; importlib.resources knows one by its text."""

    def __repr__(self) -> str:
        return f"_NamespacePath({list(self)!r})"


def _folder_spec(name: str, folders: list[str]) -> ModuleSpec:
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = _FolderPath(folders)
    return spec


def _is_compiled(spec: ModuleSpec) -> bool:
    if isinstance(spec.loader, ExtensionFileLoader):
        return True
    if isinstance(spec.loader, WheelLoader):
        return spec.loader.is_compiled(spec.name.rpartition(".")[2])
    return (
        spec.origin is not None
        and spec.submodule_search_locations is not None
        and shared.is_compiled(os.path.dirname(spec.origin))
    )


def _module_of(hook: object) -> str:
    name = getattr(hook, "__module__", None) or type(hook).__module__
    return name if isinstance(name, str) else ""


def _process_has(name: str, regular: bool = False) -> bool:
    """Whether the process can import `name`; `regular`: as more than a folder without code of its own."""
    try:
        spec = importlib.util.find_spec(name)
    except ImportError:
        return False
    except ValueError:  # imported, and has no spec
        return True
    return spec is not None and (spec.origin is not None or not regular)
