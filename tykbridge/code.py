"""Loads the code of an API's Python hooks: out of its bundles, its files, or its definition.

Each loading of a configuration loads what changed anew, under names of its own: nothing of it is in use before all of
it is, and a request on its way finishes on what it started with. Code that no chain has any more is taken out of use.

Identity is content: a bundle whose folder is the same and holds the same keeps the version that is in use, with all
that its modules keep, and so does code that stands in a definition. The file of a hook is always loaded anew: it may
import and read whatever lies in its folder, which is not its own, so that nobody can say that nothing changed.
"""

from __future__ import annotations

import atexit
import collections
import hashlib
import itertools
import os
import stat
import tempfile
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path

from tykbridge.bundle import content
from tykbridge.bundle.alone import remove_own
from tykbridge.bundle.depot import Depot, Finder, Found
from tykbridge.bundle.signing import Trust
from tykbridge.definition import Bundle, Definition, Driver, EventHandler, Hook
from tykbridge.errors import BridgeError, LoadError, NotFoundError
from tykbridge.runtime import registry

_numbers = itertools.count(1)
_unused: collections.deque[str] = collections.deque()  # bundles that could not be unloaded when their time came


class Code:
    """One loaded bundle. It is unloaded when the last chain that holds this is gone.

    Attributes:
        bundle: the name under which hooks are called.
        folder: where it was loaded from, without links.
        entry: the file of it that was loaded alone; "" for a bundle.
        digest: what its content is known by; "" when nobody knows.
    """

    __slots__ = ("__weakref__", "_found", "bundle", "digest", "entry", "folder")

    def __init__(self, bundle: str, folder: str, entry: str, digest: str, found: Found | None = None) -> None:
        self.bundle, self.folder, self.entry, self.digest = bundle, folder, entry, digest
        self._found = found  # so that nobody removes the folder

    @property
    def is_written(self) -> bool:
        """Whether it stands in a definition, so that its file is ours."""
        return bool(self.entry and self.digest)

    @property
    def place(self) -> str:
        """The folder, or the file in it."""
        return os.path.join(self.folder, self.entry) if self.entry else self.folder


class Loader:
    """Loads code for one loading of a configuration: what several APIs share is loaded once.

    Args:
        middleware_path: the folder of bundles, and of relative paths that the definition's folder does not have.
        in_use: the code of the configuration before, which stays where its content is the same.
        finder: finds the bundles; None: those below `middleware_path`.
        trust: what bundles must prove that the host has loaded.
    """

    def __init__(
        self,
        middleware_path: str,
        in_use: Iterable[Code] = (),
        finder: Finder | None = None,
        trust: Trust | None = None,
    ) -> None:
        self.middleware_path = middleware_path
        self._finder, self._trust = finder or Finder(Depot(middleware_path)), trust or Trust()
        self._hosts: dict[str, Found] = {}  # bundles that the host has loaded: another thread may replace them
        self._in_use = {code.place: code for code in in_use if code.digest}
        self._number = next(_numbers)
        self._loaded: dict[str, Code | BridgeError] = {}

    def load(self, definition: Definition, hook: Hook) -> Code:
        """Load what has a hook's function, and make sure that it is there.

        Raises:
            LoadError: it cannot be loaded, or has no such hook; the words say where the definition asks for it.
        """
        try:
            code = self._code(definition, hook)
            registry.check_hook(code.bundle, hook.name)
        except BridgeError as error:
            raise self._error(definition, hook.where, error) from error
        return code

    def load_handler(self, definition: Definition, handler: EventHandler) -> Code:
        """Load what has the function of a Python handler of events, and make sure that it is there.

        It is looked for in the handler's own `path`, else in the API's bundles, else where its Python hooks are.

        Raises:
            LoadError: it cannot be loaded, or there is no such handler, or there are several.
        """
        name = handler.meta["name"]
        try:
            codes = self._codes(definition, handler)
            found = [code for code in codes if name in registry.handlers_of(code.bundle)]
            if len(found) > 1:
                places = " and ".join(registry.handlers_of(code.bundle)[name].place for code in found)
                raise NotFoundError(f'the event handler "{name}" is there more than once: {places}; name its "path"')
            if not found:
                for code in codes:
                    registry.check_handler(code.bundle, name)
        except BridgeError as error:
            raise self._error(definition, handler.where, error) from error
        return found[0]

    def _codes(self, definition: Definition, handler: EventHandler) -> list[Code]:
        """Load everything where the function of a handler may be."""
        path = handler.meta.get("path")
        if path:
            return [self._file(definition.paths(path, self.middleware_path), f'event handler "{handler.meta["name"]}"')]
        codes = [self._bundle(bundle) for bundle in definition.bundles] or [
            self._code(definition, hook)
            for hook in definition.section.hooks
            if not hook.disabled and hook.driver in (None, Driver.PYTHON)
        ]
        if not codes:
            words = f'nobody says where the event handler "{handler.meta["name"]}" is'
            raise NotFoundError(f'{words}: the API has neither a bundle nor Python hooks; give it a "path"')
        return list(dict.fromkeys(codes))

    def _error(self, definition: Definition, where: str, error: BridgeError) -> LoadError:
        place, detail = (error.place, error.detail) if isinstance(error, LoadError) else ("", str(error))
        for code in self._loaded.values():  # a loading's number says nothing to people
            if isinstance(code, Code):
                detail = detail.replace(f'{code.bundle}"', f'{code.bundle.rpartition("#")[0]}"')
        detail = detail.replace(f'#{self._number}"', '"')
        return LoadError(f"{definition.file}: {where}: {error}", place=place, detail=detail)

    def find(self, bundle: Bundle) -> Found:
        """Find a bundle's version: among what is on disk and can be had, or loaded by the host under its hash.

        Raises:
            NotFoundError: it is not there.
            LoadError: it is refused, or cannot be had.
        """
        found = self._hosts.get(bundle.name)
        if found is not None:
            return found
        try:
            return self._finder.find(bundle)
        except NotFoundError:
            known = registry.folder_of(bundle.hash)
            if known is None:
                raise
        found = Found(Path(os.path.realpath(known[0])), hold=known[1])
        if self._trust.has_key:
            try:
                self._trust.check(found.folder)
            except LoadError as error:
                raise LoadError(f'bundle "{bundle.name}", as the host has loaded it: {error}') from error
        self._hosts[bundle.name] = found
        return found

    def close(self) -> None:
        """Let go of everything: errors among it have tracebacks, and these all that was on the stack."""
        for known in (self._in_use, self._loaded, self._hosts):
            known.clear()
        self._finder.close()

    def _code(self, definition: Definition, hook: Hook) -> Code:
        if hook.bundle:
            return self._bundle(Bundle(name=hook.bundle))
        if hook.code:
            return self._once(_written(hook.code), "middleware.py", hashlib.sha256(hook.code).hexdigest())
        if not hook.path:
            raise NotFoundError(f'the hook "{hook.name}" has neither a path nor code, and the API has no bundle')
        return self._file(definition.places(hook, self.middleware_path), f'hook "{hook.name}"')

    def _bundle(self, bundle: Bundle) -> Code:
        found = self.find(bundle)
        return self._once(str(found.folder), "", found.digest, found, bundle.name)

    def _file(self, places: tuple[Path, ...], whose: str) -> Code:
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            looked = " nor ".join(str(place) for place in places)
            raise NotFoundError(f"the file of the {whose} is not there: {looked}")
        return self._once(os.path.realpath(place.parent), place.name, "")

    def _once(self, folder: str, entry: str, digest: str | None, found: Found | None = None, label: str = "") -> Code:
        place = os.path.join(folder, entry) if entry else folder
        known = self._loaded.get(place)
        if known is None:
            known = self._in_use.get(place)
            if known is None or known.digest != (content.known(folder) if digest is None else digest):
                try:
                    known = _load(folder, entry, f"{label or place}#{self._number}", digest, found)
                except BridgeError as error:
                    known = error
            self._loaded[place] = known
        if isinstance(known, BridgeError):
            try:
                raise known
            finally:
                del known  # its traceback has this frame
        return known


def _load(folder: str, entry: str, name: str, digest: str | None, found: Found | None) -> Code:
    for _ in range(len(_unused)):
        _unload(_unused.popleft())
    code = Code(name, folder, entry, registry.load_code(folder, name, entry, digest), found)
    weakref.finalize(code, _unload, name).atexit = False
    return code


def _unload(name: str) -> None:
    try:
        registry.unload(name)
    except LoadError:  # a collection in the middle of another loading, on its thread
        _unused.append(name)


_folder = ""  # made by the first that needs it; goes with the process


def _written(code: bytes) -> str:
    """Write code that stands in a definition to a file, which tracebacks and inspect can read; gives its folder.

    Raises:
        LoadError: it cannot be written.
    """
    global _folder
    try:
        if not _folder or not _is_ours(_folder):
            _folder = tempfile.mkdtemp(prefix="tykbridge-")
            atexit.register(remove_own, _folder, os.getpid())
        folder = Path(_folder, hashlib.sha256(code).hexdigest())
        folder.mkdir(exist_ok=True)
        # In one step: another bridge may be reading the same.
        beside = folder / f".{threading.get_ident()}"
        beside.write_bytes(code)
        beside.replace(folder / "middleware.py")
    except OSError as error:
        where = error.filename or tempfile.gettempdir()
        raise LoadError(f"the definition's code cannot be written: {where}: {error.strerror}") from error
    return str(folder)


def _is_ours(folder: str) -> bool:
    """Whether it is there still: temporary files are cleaned up, and anybody may take the name then."""
    try:
        info = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid()
