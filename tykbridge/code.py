"""Loads the code of an API's hooks: out of its bundles, its files, or its definition.

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

import msgspec

from tykbridge import drivers, failures
from tykbridge.bundle import content
from tykbridge.bundle.alone import remove_own
from tykbridge.bundle.depot import Depot, Finder, Found
from tykbridge.bundle.signing import Trust
from tykbridge.definition import NO_CHOICES, Bundle, Choices, Definition, Driver, EventHandler, Hook, Phase, Target
from tykbridge.drivers.goplugin import files
from tykbridge.endpoints import Endpoint
from tykbridge.errors import BridgeError, LoadError, NotFoundError
from tykbridge.runtime import registry

Place = tuple[str, str, Driver | None, Choices]
"""A folder, the file of it that is loaded alone ("" for all), by which driver, and what is chosen for the engines."""

_numbers = itertools.count(1)
_FILES = ("ca", "cert", "key")  # of a Target
_unused: collections.deque[str] = collections.deque()  # bundles that could not be unloaded when their time came


class Code:
    """One loaded bundle. It is unloaded when the last chain that holds this is gone.

    Attributes:
        bundle: the name under which hooks are called.
        folder: where it was loaded from, without links; "" for what a server is asked for that no bundle names.
        entry: the file of it that was loaded alone, or what a server is asked for; "" for a bundle.
        digest: what its content is known by; "" when nobody knows.
        driver: what an entry was loaded by.
        choices: what was chosen for the engines.
    """

    __slots__ = ("__weakref__", "_found", "bundle", "choices", "digest", "driver", "entry", "folder")

    def __init__(
        self,
        bundle: str,
        place: Place,
        digest: str,
        found: Found | None = None,
    ) -> None:
        self.folder, self.entry, self.driver, self.choices = place
        self.bundle, self.digest = bundle, digest
        self._found = found  # so that nobody removes the folder

    @property
    def is_written(self) -> bool:
        """Whether it is all in a definition, as code or as the name of a server: no folder of anybody's has it."""
        return bool(self.entry and self.digest)

    @property
    def place(self) -> Place:
        """What was loaded: the folder, the file in it, and as what."""
        return self.folder, self.entry, self.driver, self.choices

    def called(self, hook: Hook, definition: Definition) -> str:
        """Give the bundle's name under which an API calls a hook: with its time limit, and where it answers alone.

        What is made for the API alone is there for as long as somebody has the name.
        """
        if hook.endpoint is not None:
            place = Endpoint(hook.endpoint.method, hook.endpoint.path, definition.listen_path)
            return registry.answering(self.bundle, hook.name, place)
        return registry.fitted(self.bundle, hook, definition)


class Loader:
    """Loads code for one loading of a configuration: what several APIs share is loaded once.

    Args:
        middleware_path: the folder of bundles, and of relative paths that the definition's folder does not have.
        in_use: the code of the configuration before, which stays where its content is the same.
        finder: finds the bundles; None: those below `middleware_path`.
        trust: what bundles must prove that the host has loaded.
        target: the gRPC server of hooks whose definition names none; None: there is no such.
    """

    def __init__(
        self,
        middleware_path: str,
        in_use: Iterable[Code] = (),
        finder: Finder | None = None,
        trust: Trust | None = None,
        target: Target | None = None,
    ) -> None:
        self.middleware_path = middleware_path
        self._target = target
        self._finder, self._trust = finder or Finder(Depot(middleware_path)), trust or Trust()
        self._hosts: dict[str, Found] = {}  # bundles that the host has loaded: another thread may replace them
        self._in_use = {code.place: code for code in in_use if code.digest}
        self._number = next(_numbers)
        self._loaded: dict[Place, Code | BridgeError] = {}
        self._called: list[str] = []  # until a chain has them

    def load(self, definition: Definition, hook: Hook) -> Code:
        """Load what has a hook's function, and make sure that it is there.

        Raises:
            LoadError: it cannot be loaded, or has no such hook; the words say where the definition asks for it.
        """
        try:
            code = self._code(definition, hook)
            check = registry.check_hook if hook.endpoint is None else registry.check_endpoint
            check(code.bundle, hook.name)
            self._called.append(code.called(hook, definition))
        except BridgeError as error:
            raise self._error(definition, hook.where, error, hook.bundle) from error
        return code

    def load_handler(self, definition: Definition, handler: EventHandler) -> Code:
        """Load what has the function of a handler of events, and make sure that it is there.

        It is looked for in the handler's own `path`, else in the API's bundles, else where its hooks are.

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
        if handler.meta.get("driver", "" if path else definition.section.driver) == Driver.GRPC:
            return [self._asked(definition, handler.meta["name"], str(handler.meta.get("target") or ""), None)]
        if path:
            whose, choices = f'event handler "{handler.meta["name"]}"', definition.section.choices
            driver = Driver.JAVASCRIPT if handler.handler == "eh_dynamic_handler" else None
            return [self._file(self._places(definition, path, driver), whose, driver, choices)]
        codes = [self._bundle(bundle, definition.section.choices) for bundle in definition.bundles] or [
            self._code(definition, hook)
            for hook in definition.section.hooks
            if not hook.disabled
            and (hook.path or hook.code)
            and hook.driver in (None, *drivers.engines())
            and hook.driver is not Driver.GRPC
        ]
        if not codes:
            words = f'nobody says where the event handler "{handler.meta["name"]}" is'
            raise NotFoundError(f'{words}: the API has neither a bundle nor hooks; give it a "path"')
        return list(dict.fromkeys(codes))

    def _error(self, definition: Definition, where: str, error: BridgeError, bundle: str = "") -> LoadError:
        place, detail = (error.place, error.detail) if isinstance(error, LoadError) else ("", str(error))
        detail = failures.unnumbered(detail)
        if bundle and f'bundle "{bundle}"' not in detail:  # the definition has nothing else to find it by
            detail = f'bundle "{bundle}": {detail}'
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
        self._called.clear()
        self._finder.close()

    def _code(self, definition: Definition, hook: Hook) -> Code:
        choices = definition.section.choices
        if hook.driver is Driver.GRPC:
            return self._asked(definition, hook.name, hook.target, hook.phase, hook.bundle)
        if hook.bundle:
            return self._bundle(Bundle(name=hook.bundle), choices)
        if hook.code:
            folder, entry = _written(hook.code, hook.driver or Driver.PYTHON)
            return self._once((folder, entry, hook.driver, choices), hashlib.sha256(hook.code).hexdigest())
        if not hook.path:
            raise NotFoundError(f'the hook "{hook.name}" has neither a path nor code, and the API has no bundle')
        whose = f'{"hook" if hook.endpoint is None else "virtual endpoint"} "{hook.name}"'
        return self._file(self._places(definition, hook.path, hook.driver), whose, hook.driver, choices)

    def _asked(self, definition: Definition, name: str, target: str, phase: Phase | None, bundle: str = "") -> Code:
        """Make code of what a server is asked for. One function of one phase is one code, whoever shares the server.

        A bundle whose manifest asks for it has a version for each of its own.
        """
        target = target or definition.section.target
        server, label = self._target, "the gateway's gRPC server"
        if target:
            server, label = definition.section.targets.get(target), f'gRPC target "{target}"'
        if server is None and target:
            raise NotFoundError(f'"{name}" is asked of {label}, which the definition does not have')
        if server is None:
            words = 'name it in "grpc.targets" of the definition, or in the settings: coprocess_grpc_server'
            raise NotFoundError(f'nobody says which gRPC server is asked for "{name}": {words}')

        def absolute(file: str) -> str:
            places = definition.paths(file, self.middleware_path) if target else (Path(os.path.abspath(file)),)
            return str(next((place for place in places if place.is_file()), places[0]))

        files = {field: absolute(file) for field in _FILES if (file := getattr(server, field))}
        server = msgspec.structs.replace(server, **files)
        digest = hashlib.sha256(msgspec.json.encode([label, server]))
        for file in files.values():
            try:
                digest.update(hashlib.sha256(Path(file).read_bytes()).digest())
            except OSError as error:
                raise LoadError(f"{label}: {file} cannot be read: {error.strerror}") from error
        asked = drivers.Asked(server, f"{label} ({server.address})", name, phase)
        known, found = digest.hexdigest(), self.find(Bundle(name=bundle)) if bundle else None
        # The place has it, too: two APIs may mean two servers by one name.
        place = str(found.folder) if found else "", f"{phase or 'event'} {name} {known}", Driver.GRPC, NO_CHOICES
        return self._once(place, known, found, asked=asked)

    def _places(self, definition: Definition, path: str, driver: Driver | None) -> tuple[Path, ...]:
        """List where a file may be. JavaScript's and native code may be where Tyk looks, too: where it was started."""
        places = definition.paths(path, self.middleware_path)
        is_native = driver in (Driver.GOPLUGIN, Driver.NATIVE)
        if (is_native or driver is Driver.JAVASCRIPT) and not os.path.isabs(path):
            places = tuple(dict.fromkeys((*places, Path(path).absolute())))
        if is_native:
            places = tuple(place.with_name(name) for place in places for name in files.names(place.name))
        return places

    def _bundle(self, bundle: Bundle, choices: Choices) -> Code:
        found = self.find(bundle)
        return self._once((str(found.folder), "", None, choices), found.digest, found, bundle.name)

    def _file(self, places: tuple[Path, ...], whose: str, driver: Driver | None, choices: Choices) -> Code:
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            looked = " nor ".join(str(place) for place in places)
            hint = "; `tykbridge plugin build` makes it" if driver is Driver.GOPLUGIN else ""
            raise NotFoundError(f"the file of the {whose} is not there: {looked}{hint}")
        driver = driver or drivers.of_file(place.name) or Driver.PYTHON
        return self._once((os.path.realpath(place.parent), place.name, driver, choices), "")

    def _once(
        self,
        place: Place,
        digest: str | None,
        found: Found | None = None,
        label: str = "",
        asked: drivers.Asked | None = None,
    ) -> Code:
        folder, entry = place[:2]
        known = self._loaded.get(place)
        if known is None:
            known = self._in_use.get(place)
            if known is None or known.digest != (content.known(folder) if digest is None else digest):
                try:
                    # One bundle may be there twice, with a sandbox and without.
                    number = f"{self._number}.{len(self._loaded)}"
                    if asked is None:
                        known = _load(place, f"{label or os.path.join(folder, entry)}#{number}", digest, found)
                    else:
                        known = _ask(place, f"{asked.label}#{number}", digest or "", asked, found)
                except BridgeError as error:
                    known = error
            self._loaded[place] = known
        if isinstance(known, BridgeError):
            try:
                raise known
            finally:
                del known  # its traceback has this frame
        return known


def _load(place: Place, name: str, digest: str | None, found: Found | None) -> Code:
    folder, entry, driver, choices = place
    return _kept(Code(name, place, registry.load_code(folder, name, entry, digest, driver, choices), found))


def _ask(place: Place, name: str, digest: str, asked: drivers.Asked, found: Found | None) -> Code:
    registry.load_asked(name, Driver.GRPC, asked, digest)
    return _kept(Code(name, place, digest, found))


def _kept(code: Code) -> Code:
    for _ in range(len(_unused)):
        _unload(_unused.popleft())
    weakref.finalize(code, _unload, code.bundle).atexit = False
    return code


def _unload(name: str) -> None:
    try:
        registry.unload(name)
    except LoadError:  # a collection in the middle of another loading, on its thread
        _unused.append(name)


_folder = ""  # made by the first that needs it; goes with the process


def _written(code: bytes, driver: Driver) -> tuple[str, str]:
    """Write code that stands in a definition to a file, for tracebacks and inspect; gives folder and name.

    Raises:
        LoadError: it cannot be written.
    """
    global _folder
    name = f"middleware{drivers.engines()[driver].suffix}"
    try:
        if not _folder or not _is_ours(_folder):
            _folder = tempfile.mkdtemp(prefix="tykbridge-")
            atexit.register(remove_own, _folder, os.getpid())
        folder = Path(_folder, hashlib.sha256(code).hexdigest())
        folder.mkdir(exist_ok=True)
        # In one step: another bridge may be reading the same.
        beside = folder / f".{threading.get_ident()}"
        beside.write_bytes(code)
        beside.replace(folder / name)
    except OSError as error:
        where = error.filename or tempfile.gettempdir()
        raise LoadError(f"the definition's code cannot be written: {where}: {error.strerror}") from error
    return str(folder), name


def _is_ours(folder: str) -> bool:
    """Whether it is there still: temporary files are cleaned up, and anybody may take the name then."""
    try:
        info = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid()
