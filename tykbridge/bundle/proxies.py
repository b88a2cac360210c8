"""Stand-ins for the modules through which code reaches the import system, so that a bundle reaches its own.

A stand-in reads and writes the process's module, but for a few names: `sys.path` and `sys.modules`,
`importlib.import_module` and the other functions that take a module's name.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator, MutableMapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tykbridge.bundle.namespace import Namespace

# Top-level modules with a stand-in. A file of the bundle may hide some of them; it cannot hide the first two.
ALWAYS = frozenset({"sys", "builtins"})
NAMES = ALWAYS | {"importlib", "pkgutil", "site"}


class Proxy(ModuleType):
    """Stands for `real`, but for the names in `own`."""

    def __init__(self, real: ModuleType, own: dict[str, Any], wrap: Callable[[str, ModuleType], ModuleType]) -> None:
        super().__init__(real.__name__, real.__doc__)
        kept = {name: getattr(real, name, None) for name in ("__loader__", "__package__", "__spec__")}
        vars(self).update(kept, **own, __real__=real, __wrap__=wrap)

    def __getattr__(self, name: str) -> Any:
        value = getattr(vars(self)["__real__"], name)
        if isinstance(value, ModuleType):  # `import importlib.util` gives importlib, and its attribute is taken then
            return vars(self)["__wrap__"](f"{self.__name__}.{name}", value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            super().__setattr__(name, value)
        else:
            setattr(vars(self)["__real__"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(vars(self)["__real__"], name)

    def __dir__(self) -> list[str]:
        return dir(vars(self)["__real__"])


class Modules(MutableMapping[str, ModuleType]):
    """sys.modules with the bundle's modules under the names that its code uses.

    What bundle code adds is seen by the bundle only.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._before = f"{package}."

    def _key(self, name: str) -> str:
        own = self._before + name
        return own if own in sys.modules else name

    def __getitem__(self, name: str) -> ModuleType:
        try:
            return sys.modules[self._key(name)]
        except KeyError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, module: ModuleType) -> None:
        sys.modules[name if name.startswith(self._before) else self._before + name] = module

    def __delitem__(self, name: str) -> None:
        del sys.modules[self._key(name)]

    def __iter__(self) -> Iterator[str]:
        seen = set()
        for name in list(sys.modules):
            short = name.removeprefix(self._before)
            if short not in seen:
                seen.add(short)
                yield short

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def copy(self) -> dict[str, ModuleType]:
        """Returns a plain dict of what is there now."""
        return dict(self)


def sys_proxy(package: str, path: list[str]) -> Proxy:
    """Returns the `sys` of a namespace.

    Args:
        package: the namespace's package.
        path: what its `sys.path` starts with.
    """
    return Proxy(sys, {"path": path, "modules": Modules(package)}, lambda name, real: real)


def make(namespace: Namespace, name: str, real: ModuleType) -> ModuleType:
    """Returns the stand-in for `real`, imported by bundle code as `name`; `real` itself where none is needed."""
    factory = _FACTORIES.get(name)
    if factory is None or namespace.has(name):
        return real
    return Proxy(real, factory(namespace, real), namespace.stand_in)


def _by_name(namespace: Namespace, real: ModuleType, *names: str) -> dict[str, Any]:
    """Wraps functions whose first argument may be a module's name."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if args and isinstance(args[0], str) and not args[0].startswith("."):
                args = (namespace.real_name(args[0]), *args[1:])
            return function(*args, **kwargs)

        return call

    return {name: wrap(getattr(real, name)) for name in names if hasattr(real, name)}


def _importlib(namespace: Namespace, real: ModuleType) -> dict[str, Any]:
    def import_module(name: str, package: str | None = None) -> ModuleType:
        return importlib.import_module(name, package) if name.startswith(".") else namespace.load(name)

    own: dict[str, Any] = {"import_module": import_module, "__import__": namespace.import_}
    return own


def _util(namespace: Namespace, real: ModuleType) -> dict[str, Any]:
    def spec_from_file_location(name: str, location: Any = None, **options: Any) -> Any:
        if location is not None and str(location).endswith(".py"):
            options.setdefault("loader", namespace.source_loader(name, str(location)))
        return real.spec_from_file_location(name, location, **options)

    return {**_by_name(namespace, real, "find_spec"), "spec_from_file_location": spec_from_file_location}


def _machinery(namespace: Namespace, real: ModuleType) -> dict[str, Any]:
    return {"SourceFileLoader": namespace.source_loader}


def _metadata(namespace: Namespace, real: ModuleType) -> dict[str, Any]:
    def distribution(name: str) -> Any:
        own = real.Distribution.discover(name=name, path=namespace.distribution_path())
        return next(iter(own), None) or real.distribution(name)

    own: dict[str, Any] = {
        attribute: lambda name, attribute=attribute: getattr(distribution(name), attribute)
        for attribute in ("version", "metadata", "requires", "files")
    }
    return {**own, "distribution": distribution}


def _resources(namespace: Namespace, real: ModuleType) -> dict[str, Any]:
    names = ("files", "contents", "is_resource", "open_binary", "open_text", "path", "read_binary", "read_text")
    return _by_name(namespace, real, *names)


def _pkgutil(namespace: Namespace, real: ModuleType) -> dict[str, Any]:
    return _by_name(namespace, real, "get_data", "get_loader", "find_loader", "resolve_name")


def _site(namespace: Namespace, real: ModuleType) -> dict[str, Any]:
    def addsitedir(folder: str, known_paths: Any = None) -> Any:
        namespace.sys.path.append(folder)
        return known_paths

    return {"addsitedir": addsitedir}


_FACTORIES: dict[str, Callable[[Namespace, ModuleType], dict[str, Any]]] = {
    "importlib": _importlib,
    "importlib.machinery": _machinery,
    "importlib.metadata": _metadata,
    "importlib.resources": _resources,
    "importlib.util": _util,
    "pkgutil": _pkgutil,
    "site": _site,
}
