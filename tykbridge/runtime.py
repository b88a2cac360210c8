"""What runs in this process: the bundles, their hooks and handlers, and the data that plugins keep.

The compiled module calls the functions below when something is not hot. All of them may be called from any thread, also
from inside a hook.

Bundles are built without a lock held, because building runs plugins' code, which may do anything; only putting the
result in place is done under one. Each call that builds takes a number when it starts, and what a later call has put in
place is not replaced by an earlier one that took longer.

A reload leaves a bundle alone whose folder is the same and holds the same as when it was loaded: with its modules stays
what they keep, caches and connections.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tykbridge import _bridge, drivers, failures, handlers, locks
from tykbridge.bundle import content, held, loader
from tykbridge.bundle.alone import Unpacked, unpack_alone
from tykbridge.bundle.held import Hold
from tykbridge.bundle.loader import Bundle
from tykbridge.bundle.signing import Trust
from tykbridge.definition.model import NO_CHOICES, Choices, Definition, Driver, Hook
from tykbridge.drivers import Asked
from tykbridge.endpoints import Endpoint
from tykbridge.errors import AmbiguousError, BridgeError, HookError, LoadError, NotFoundError, UnavailableError
from tykbridge.events import dispatched
from tykbridge.stores import Store, StoreError, shown
from tykbridge.stores.memory import MemoryStore

_LISTED = 20  # names in an error's words


class Called(str):
    """The bundle's name under which a function is there in one more form, for as long as somebody has this object."""


class _Version:
    """A bundle in use. Its modules stay importable until it is retired and the last call on it is over."""

    def __init__(self, bundle: Bundle, folder: Unpacked | Hold | None = None) -> None:
        self.bundle = bundle
        self.folder = folder  # an archive's files, which go with the version, or what keeps others from removing it
        self._generation = _bridge.Generation(self._hooks_done)
        self.handlers = [
            _bridge.Handler(marker.function, bundle.name, marker.name, marker.arity, self._generation)
            for marker in (*bundle.hooks.values(), *bundle.endpoints.values())
        ]
        # Functions that are there once more, by the names that they are called with: the bundle's, and their own.
        self.further: weakref.WeakValueDictionary[tuple[str, str], Called] = weakref.WeakValueDictionary()
        # Reentrant: a finalizer that runs on this thread while it is held may end up here as well.
        self._lock = locks.reentrant()
        self._hooks_over = False
        self._events = 0  # event handlers at work, which the generation does not count
        self._closed = False

    def add(self, name: str, marker: handlers.Marker, function: Callable[..., Any]) -> _bridge.Handler:
        """Adds a function of the bundle once more, in another form, under another bundle's name."""
        self.handlers.append(_bridge.Handler(function, name, marker.name, marker.arity, self._generation))
        return self.handlers[-1]

    def retire(self) -> None:
        """No new hook will be called."""
        self._generation.retire()

    @contextlib.contextmanager
    def event_call(self) -> Iterator[bool]:
        """Keeps the version's modules for the call of an event handler; False when they are gone already."""
        with self._lock:
            usable = not self._closed
            self._events += usable
        try:
            yield usable
        finally:
            with self._lock:
                self._events -= usable
            self._close_when_over()

    def _hooks_done(self) -> None:
        self._hooks_over = True
        self._close_when_over()

    def _close_when_over(self) -> None:
        with self._lock:
            if self._closed or not self._hooks_over or self._events:
                return
            self._closed = True
        self.bundle.close()
        self.folder = None  # others may use it still


@dataclass(frozen=True)
class _State:
    """What is in use, by bundle name. Never changed, only replaced."""

    versions: Mapping[str, _Version] = field(default_factory=dict)
    broken: Mapping[str, BridgeError] = field(default_factory=dict)


@dataclass(frozen=True)
class _Root:
    """The folder that new_dispatcher was given."""

    path: str
    number: int


@dataclass(frozen=True)
class _Named:
    """What load_bundle or load_code has brought.

    `path` is the folder, or the archive, that a reload reads again; "" for code, which its owner loads again.
    """

    number: int
    path: str = ""


class Registry:
    """The bundles of the process. There is one, `registry`: the table of hooks that it fills is the process's.

    Attributes:
        trust: what archives must prove, and with a public key, folders that a host names as well.
    """

    def __init__(self) -> None:
        self.trust = Trust()
        self._state = _State()
        self._root: _Root | None = None
        self._named: dict[str, _Named] = {}
        self._numbers = itertools.count(1)
        self._lock = locks.lock()
        self._lock_owner: int | None = None
        # Functions that nobody calls any more, and that could not be dropped when their time came.
        self._dropped: deque[tuple[_Version, _bridge.Handler]] = deque()

    def new_dispatcher(self, root: str) -> None:
        """Loads every sub-folder of `root`, in place of those of an earlier root."""
        loader.refuse_while_loading("starting a dispatcher")
        self._load_root(os.path.abspath(root))

    def reload(self) -> list[str]:
        """Reads the root again, and says what of it is broken; without a root there is nothing to do."""
        loader.refuse_while_loading("a reload")
        root = self._root
        return self._load_root(root.path) if root is not None else []

    def reload_named(self) -> list[str]:
        """Reads again what `load_bundle` has brought, and says what is broken. By one thread at a time."""
        loader.refuse_while_loading("a reload")
        problems = []
        for name, known in list(self._named.items()):
            if not known.path:
                continue
            try:
                if not self._stays(self._state.versions.get(name), known.path, name):
                    self._bring(known.path, name, known, instead_of=known)
            except BridgeError as error:
                problems.append(f"{error}; the version loaded before stays in use")
        for line in problems:
            _bridge.log(line, "error")
        return problems

    @property
    def bundles(self) -> list[str]:
        """The names of the bundles in use, without code that its owner loads."""
        named = self._named
        return [name for name in self._state.versions if name not in named or named[name].path]

    @property
    def places(self) -> list[str]:
        """The folders that the two reloads read."""
        root = self._root
        named = [known.path for known in list(self._named.values()) if known.path]
        return ([root.path] if root is not None else []) + named

    @property
    def reloads(self) -> list[Callable[[], list[str]]]:
        """The two reloads, without one that has nothing to do."""
        named = any(known.path for known in list(self._named.values()))
        return ([self.reload] if self._root is not None else []) + ([self.reload_named] if named else [])

    def load_bundle(self, path: str, name: str) -> None:
        """Loads the folder or archive `path` as the bundle `name`, also when it holds what it held before."""
        self._bring(path, name, _Named(next(self._numbers), os.path.abspath(path)))

    def load_code(
        self,
        folder: str,
        name: str,
        entry: str = "",
        digest: str | None = None,
        driver: Driver | None = None,
        choices: Choices = NO_CHOICES,
    ) -> str:
        """Loads a folder, or of it the file `entry` alone, as the bundle `name`, for who will `unload` it.

        `driver` and `choices` are as in `loader.load`.
        Returns what the content is known by: `digest` where it is given; "" when nobody knows.
        """
        number = next(self._numbers)
        return self._bring(
            folder, name, _Named(number), lambda: loader.load(folder, name, entry, digest, driver, choices)
        )

    def load_asked(self, name: str, driver: Driver, asked: Asked, digest: str) -> None:
        """Makes a bundle of a function that a server is asked for, for who will `unload` it."""
        number = next(self._numbers)
        self._bring("", name, _Named(number), lambda: loader.ask(driver, asked, name, digest))

    def limited(self, bundle: str, hook: str, timeout_ms: int) -> Called:
        """Returns the name by which a hook of a bundle in use is called with a time limit.

        Raises:
            LoadError: its driver keeps none.
        """
        marker = self.hooks_of(bundle)[hook]
        return self._further(bundle, f"{timeout_ms}", marker, lambda: _limited(marker, timeout_ms))

    def fitted(self, bundle: str, hook: Hook, definition: Definition) -> str:
        """Returns the name by which a hook of a bundle in use is called: with its time limit, and for one API.

        Raises:
            LoadError: its code does not take the definition, or its driver keeps no limits.
        """
        marker = self.hooks_of(bundle)[hook.name]
        fitted = marker.fitted
        if fitted is None:
            return bundle if hook.timeout_ms is None else self.limited(bundle, hook.name, hook.timeout_ms)
        asked = [definition.document, hook.phase, hook.bundle, hook.path, hook.timeout_ms]
        known = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
        return self._further(bundle, known, marker, lambda: fitted(hook, definition))

    def answering(self, bundle: str, name: str, endpoint: Endpoint) -> Called:
        """Returns the name by which a function of a bundle in use is called where it answers at an endpoint alone."""
        marker = self.endpoints_of(bundle)[name]

        def make() -> Callable[..., Any]:
            function, is_for_it = marker.function, endpoint.finder()

            def answer(message: Any) -> None:
                if is_for_it(message.request):
                    function(message)

            return answer

        what = f"{endpoint.method}\0{endpoint.listen_path}\0{endpoint.path}"
        return self._further(bundle, what, marker, make)

    def _further(
        self, bundle: str, what: str, marker: handlers.Marker, make: Callable[[], Callable[..., Any]]
    ) -> Called:
        """Sees to it that a function is there in another form, and returns the bundle's name for that."""
        for _ in range(len(self._dropped)):
            self._drop(*self._dropped.popleft())
        name = f"{bundle}\0{what}"  # no bundle of anybody's is called so
        with self._swapping():
            version = self._state.versions[bundle]
            called = version.further.get((name, marker.name))
            if called is None:
                handler = version.add(name, marker, make())
                called = version.further[name, marker.name] = Called(name)
                weakref.finalize(called, self._drop, version, handler).atexit = False
                self._replace(self._state.versions, self._state.broken)
        return called

    def _drop(self, version: _Version, handler: _bridge.Handler) -> None:
        """Takes a function out of use that is there once more, and that nobody calls any more."""
        try:
            with self._swapping():
                version.handlers.remove(handler)
                if self._state.versions.get(version.bundle.name) is version:
                    self._replace(self._state.versions, self._state.broken)
        except LoadError:  # a collection in the middle of a swap, on its thread
            self._dropped.append((version, handler))

    def _bring(
        self,
        path: str,
        name: str,
        named: _Named,
        load: Callable[[], Bundle] | None = None,
        instead_of: _Named | None = None,
    ) -> str:
        try:
            version = self._opened(path, name) if load is None else _Version(load())
        except BridgeError as failure:
            if named.path:  # who loads code is told by the error, and nobody else knows its name
                with self._swapping():
                    if name not in self._state.versions:
                        broken = {**self._state.broken, name: _alone(failure)}
                        self._state = _State(self._state.versions, broken)
            raise
        with self._swapping([version]):
            known = self._named.get(name)
            if known is instead_of or (instead_of is None and known is not None and known.number < named.number):
                broken = {other: error for other, error in self._state.broken.items() if other != name}
                self._replace({**self._state.versions, name: version}, broken)
                self._named[name] = named
        return version.bundle.digest

    def _opened(self, path: str, name: str) -> _Version:
        """Loads what a host names: a folder or an archive, which may have to prove something."""
        loader.refuse_while_loading(f'loading "{name}"')
        if os.path.isfile(path):
            try:
                unpacked = unpack_alone(path, self.trust)
            except LoadError as error:
                raise LoadError(f'bundle "{name}" cannot be loaded: {error}') from error
            return _Version(loader.load(str(unpacked.folder), name, digest=unpacked.digest), unpacked)
        folder = Path(os.path.realpath(path))
        if self.trust.has_key and folder.is_dir():
            self._check(folder, name)
        # What a link leads to may be a version of a download, which goes when nobody uses it.
        try:
            hold = held.share(folder) if os.path.islink(path) else None
        except OSError as error:
            raise LoadError(f'bundle "{name}" cannot be loaded: {folder} cannot be read: {error.strerror}') from error
        return _Version(loader.load(str(folder), name), hold)

    def _stays(self, version: _Version | None, path: str, name: str) -> bool:
        """Whether a version is what its place holds now.

        Raises:
            LoadError: it is, but would not be loaded any more: what bundles must prove has changed.
        """
        if version is None or not _is_current(version, path):
            return False
        if isinstance(version.folder, Unpacked) and not os.path.isdir(version.bundle.root):
            return False  # who cleans up temporary files has taken it away
        if self.trust.has_key or isinstance(version.folder, Unpacked):
            self._check(Path(version.bundle.root), name)
        return True

    def _check(self, folder: Path, name: str) -> None:
        try:
            self.trust.check_again(folder)
        except LoadError as error:
            raise LoadError(f'bundle "{name}" cannot be loaded: {error}') from error

    def unload(self, name: str) -> None:
        """Takes a bundle that `load_bundle` brought out of use; calls in flight finish on it."""
        with self._swapping():
            versions = {other: version for other, version in self._state.versions.items() if other != name}
            broken = {other: error for other, error in self._state.broken.items() if other != name}
            self._replace(versions, broken)
            self._named.pop(name, None)

    def _load_root(self, path: str) -> list[str]:
        while True:
            problems = self._try_root(path)
            if problems is not None:
                return problems

    def _try_root(self, path: str) -> list[str] | None:
        """None: a version that was to stay was replaced meanwhile, and everything has to be read again."""
        number = next(self._numbers)
        before = self._state.versions
        folders = _folders(os.path.realpath(path))
        fresh: dict[str, _Version] = {}
        current: dict[str, _Version] = {}
        failed: dict[str, BridgeError] = {}
        for name, folder in folders.items():
            if name in self._named:
                continue
            try:
                if self._stays(before.get(name), folder, name):
                    current[name] = before[name]
                else:
                    fresh[name] = self._opened(folder, name)
            except BridgeError as failure:
                failed[name] = _alone(failure)
        kept: set[str] = set()
        with self._swapping(fresh.values()):
            if self._root is not None and self._root.number > number:
                return []
            if any(self._state.versions.get(name) is not version for name, version in current.items()):
                return None
            again = self._root is not None and self._root.path == path
            versions = {name: self._state.versions[name] for name in self._named if name in self._state.versions}
            broken = {name: error for name, error in self._state.broken.items() if name in self._named}
            for name in folders:
                if name in versions:  # load_bundle has brought it meanwhile
                    continue
                if name in fresh:
                    versions[name] = fresh[name]
                elif name in current:
                    versions[name] = current[name]
                elif name in failed and again and name in self._state.versions:
                    versions[name] = self._state.versions[name]
                    kept.add(name)
                elif name in failed:
                    broken[name] = failed[name]
            self._replace(versions, broken)
            self._root = _Root(path, number)
        problems = [
            f"{error}; the version loaded before stays in use" if name in kept else str(error)
            for name, error in failed.items()
        ]
        for line in problems:
            _bridge.log(line, "error")
        return problems

    @contextlib.contextmanager
    def _swapping(self, fresh: Iterable[_Version] = ()) -> Iterator[None]:
        """Holds the lock; then retires what was in use before, and of the `fresh` ones, what is not in use now."""
        me = threading.get_ident()
        before: Iterable[_Version] = ()
        try:
            if self._lock_owner == me:
                # A finalizer, run by the collector in the middle of a swap on this very thread, would wait for itself.
                raise LoadError("bundles cannot be loaded while others are being put in place by the same thread")
            with self._lock:
                try:
                    self._lock_owner = me
                    before = self._state.versions.values()
                    yield
                finally:
                    self._lock_owner = None
        finally:
            used = set(map(id, self._state.versions.values()))
            for version in (*before, *fresh):
                if id(version) not in used:
                    version.retire()

    def _replace(self, versions: Mapping[str, _Version], broken: Mapping[str, BridgeError]) -> None:
        """Puts a state in place in one step."""
        _bridge.publish(handler for version in versions.values() for handler in version.handlers)
        self._state = _State(versions, broken)

    def dispatch_event(self, json_text: str) -> None:
        """Hands an event to the @Event function that it names."""
        event = dispatched.parse(json_text)
        while True:
            version = self._handler_of(event.handler_name)
            subject = f'event handler "{event.handler_name}" of bundle "{version.bundle.name}"'
            if self._call(version, event, subject):
                return

    def call_handler(self, bundle: str, event: dispatched.Event, subject: str, log: Callable[[str, str], None]) -> None:
        """Hands an event to the @Event function of a bundle in use. `subject` and `log` are for when it raises.

        Raises:
            NotFoundError: there is no such handler.
            HookError: it raised; that is in the log.
        """
        while True:
            self.check_handler(bundle, event.handler_name)
            if self._call(self._state.versions[bundle], event, subject, log):
                return

    def _call(
        self, version: _Version, event: dispatched.Event, subject: str, log: Callable[[str, str], None] | None = None
    ) -> bool:
        """Calls a handler; False when its version was replaced since it was found."""
        with version.event_call() as usable:
            if usable:
                try:
                    version.bundle.events[event.handler_name].function(event.content, event.spec)
                except BaseException as error:
                    raise HookError(_failed(subject, version.bundle.root, error, log)) from error
            return usable

    def _handler_of(self, name: str) -> _Version:
        state = self._state
        found = [version for version in state.versions.values() if name in version.bundle.events]
        if len(found) == 1:
            return found[0]
        if found:
            bundles = _list(version.bundle.name for version in found)
            raise AmbiguousError(f'event handler "{name}" is defined by several bundles: {bundles}; rename all but one')
        there = _list(name for version in state.versions.values() for name in version.bundle.events)
        hooks = [version.bundle.name for version in state.versions.values() if name in version.bundle.hooks]
        hint = f'; bundle "{hooks[0]}" marks it with @Hook, a handler is marked with @Event' if hooks else ""
        words = f'no bundle defines the event handler "{name}" (there are: {there})'
        raise NotFoundError(words + hint + _also_broken(state))

    def missing(self, bundle: str | None, hook: str) -> BridgeError:
        """Returns the error for a hook that is not in the table."""
        state = self._state
        if not hook:
            return NotFoundError("the message names no hook: its hook_name is empty")
        if bundle is None:
            found = [version.bundle.name for version in state.versions.values() if hook in version.bundle.hooks]
            if len(found) > 1:
                return AmbiguousError(
                    f'hook "{hook}" is defined by several bundles: {_list(found)}; spec["bundle_hash"] must name one'
                )
            words = f'no bundle defines the hook "{hook}" (bundles: {_list(state.versions)})'
            return NotFoundError(words + _also_broken(state))
        version = state.versions.get(bundle)
        if version is None:
            error = state.broken.get(bundle)
            if error is not None:
                return type(error)(f'hook "{hook}" cannot run: {error}')
            words = f'there is no bundle "{bundle}" (bundles: {_list(state.versions)})'
            return NotFoundError(words + _also_broken(state))
        if hook in version.bundle.events:
            event = version.bundle.events[hook]
            what = f"{event.place} marks it with @Event, not @Hook"
            if not event.decorator:
                what = f"{event.place} has the form of a handler of events"
            return NotFoundError(f'"{hook}" of bundle "{bundle}" is no hook: {what}')
        if hook in version.bundle.hooks:
            return NotFoundError(f'hook "{hook}" of bundle "{bundle}" was not loaded yet when it was called')
        described = version.bundle.manifest
        if described is not None:
            for entry in described.hooks:
                if entry.name == hook and entry.driver and entry.driver not in drivers.engines():
                    where = f'{described.file}: {entry.path} has the driver "{entry.driver}"'
                    return NotFoundError(f'"{hook}" of bundle "{bundle}" cannot be run by this build: {where}')
                if entry.name == hook and entry.driver and not drivers.engines()[Driver(entry.driver)].suffix:
                    words = "a server is asked for it, which the definition of an API names: load that"
                    return NotFoundError(f'"{hook}" of bundle "{bundle}" is a {entry.driver} hook; {words}')
        if hook in version.bundle.others:
            return NotFoundError(f'"{hook}" of bundle "{bundle}" is no hook: {version.bundle.others[hook]}')
        there = _list(version.bundle.hooks)
        return NotFoundError(f'bundle "{bundle}" ({version.bundle.root}) has no hook "{hook}" (hooks: {there})')

    def check_hook(self, bundle: str, hook: str) -> None:
        """Raises NotFoundError, or the error for which the bundle did not load, when there is no such hook."""
        version = self._state.versions.get(bundle)
        if version is None or hook not in version.bundle.hooks:
            raise self.missing(bundle, hook)

    def check_endpoint(self, bundle: str, name: str) -> None:
        """Raises NotFoundError, or the error for which the bundle did not load, when no function answers requests."""
        version = self._state.versions.get(bundle)
        if version is None:
            raise self.missing(bundle, name)
        if name in version.bundle.endpoints:
            return
        other = version.bundle.hooks.get(name) or version.bundle.events.get(name)
        if other is not None:
            kind = "a handler of events" if other.is_event else "a hook"
            words = f'"{name}" of bundle "{bundle}" answers no requests: {other.place} makes it {kind}'
            raise NotFoundError(f"{words}; write function {name}(request, session, config)")
        there = _list(version.bundle.endpoints)
        raise NotFoundError(f'bundle "{bundle}" ({version.bundle.root}) has no function "{name}" (functions: {there})')

    def check_handler(self, bundle: str, name: str) -> None:
        """Raises NotFoundError, or the error for which the bundle did not load, when there is no such event handler."""
        state = self._state
        version = state.versions.get(bundle)
        if version is None:
            error = state.broken.get(bundle)
            words = f'there is no bundle "{bundle}"' if error is None else str(error)
            raise (type(error) if error else NotFoundError)(f'event handler "{name}" cannot run: {words}')
        if name in version.bundle.events:
            return
        if name in version.bundle.hooks:
            hook = version.bundle.hooks[name]
            what = f"{hook.place} marks it with @{hook.decorator}; a handler of events is marked with @Event"
            if not hook.decorator:
                what = f"{hook.place} has the form of a hook"
            raise NotFoundError(f'"{name}" of bundle "{bundle}" is no event handler: {what}')
        if name in version.bundle.others:
            raise NotFoundError(f'"{name}" of bundle "{bundle}" is no event handler: {version.bundle.others[name]}')
        there = _list(version.bundle.events)
        words = f'bundle "{bundle}" ({version.bundle.root}) has no event handler "{name}" (handlers: {there})'
        raise NotFoundError(words)

    def handlers_of(self, bundle: str) -> Mapping[str, handlers.Marker]:
        """Returns the event handlers of a bundle in use, by name; none of one that is not."""
        version = self._state.versions.get(bundle)
        return version.bundle.events if version is not None else {}

    def hooks_of(self, bundle: str) -> Mapping[str, handlers.Marker]:
        """Returns the hooks of a bundle in use, by name; none of one that is not."""
        version = self._state.versions.get(bundle)
        return version.bundle.hooks if version is not None else {}

    def endpoints_of(self, bundle: str) -> Mapping[str, handlers.Marker]:
        """Returns the functions for virtual endpoints of a bundle in use, by name; none of one that is not."""
        version = self._state.versions.get(bundle)
        return version.bundle.endpoints if version is not None else {}

    def root_of(self, bundle: str) -> str | None:
        """Returns the folder of a bundle in use."""
        version = self._state.versions.get(bundle)
        return version.bundle.root if version is not None else None

    def folder_of(self, bundle: str) -> tuple[str, Unpacked | Hold | None] | None:
        """Returns the folder of a bundle in use, and what keeps it there."""
        version = self._state.versions.get(bundle)
        return (version.bundle.root, version.folder) if version is not None else None


def _limited(marker: handlers.Marker, timeout_ms: int) -> Callable[..., Any]:
    if marker.limited is None:
        raise LoadError(f'the hook "{marker.name}" has a time limit, which the {marker.driver} driver cannot keep')
    return marker.limited(timeout_ms)


def _alone(error: BridgeError) -> BridgeError:
    """Returns an error to keep: without its traceback, which has all that was on the stack, versions of before too."""
    return type(error)(str(error))


def _is_current(version: _Version, path: str) -> bool:
    """Whether a version is what its folder, or archive, holds now.

    The same content in another folder is not: it reads files beside itself.
    """
    if not version.bundle.digest:
        return False
    if not os.path.isfile(path) and version.bundle.root != os.path.realpath(path):
        return False
    return content.known(path) == version.bundle.digest


def _folders(root: str) -> dict[str, str]:
    """Returns the sub-folders of `root` that are bundles, by name."""
    try:
        with os.scandir(root) as entries:
            found = sorted(entry.name for entry in entries if os.path.isdir(entry.path))
    except OSError as error:
        raise NotFoundError(f"the bundles' folder {root} cannot be read: {error.strerror}") from error
    return {name: os.path.join(root, name) for name in found if not name.startswith(".") and name != "__pycache__"}


def _list(names: Iterable[str]) -> str:
    ordered = sorted(set(names))
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return (", ".join(ordered[:_LISTED]) or "none") + more


def _also_broken(state: _State) -> str:
    return f"; not loaded because broken: {_list(state.broken)}" if state.broken else ""


def _failed(subject: str, root: str | None, error: BaseException, log: Callable[[str, str], None] | None = None) -> str:
    """Writes the log line of a failed call and returns the short words."""
    line = failures.line(error, root)
    words = f"{subject}: {failures.what(error)}" + (f" ({failures.short_path(line, root)})" if line else "")
    if not (isinstance(error, UnavailableError) and error.is_told):
        trace = failures.trace(error)
        (log or _bridge.log)(words if trace in words else f"{words}\n{trace}", "error")
    return words


DATA = "coprocess-data:"
"""Before a key in the store of plugins' data, as in Tyk's Redis."""

registry = Registry()
_store: Store = MemoryStore()


def new_dispatcher(root: str) -> None:
    """Loads every sub-folder of `root` as a bundle named as the folder, in place of those of an earlier root.

    A bundle that does not load is logged, and fails its own dispatches only. Bundles that `load_bundle` brought stay.

    Raises:
        NotFoundError: `root` cannot be read; then nothing changes.
        LoadError: called by a bundle's module code.
    """
    registry.new_dispatcher(root)


def reload() -> None:
    """Reads the root of `new_dispatcher` again: built aside, put in place in one step.

    A bundle whose folder holds what it held before is left alone. One that no longer loads keeps the version that runs,
    and a log line says why.

    Raises:
        NotFoundError: the root cannot be read; then nothing changes.
        LoadError: called by a bundle's module code.
    """
    registry.reload()


def load_bundle(path: str, name: str) -> None:
    """Loads the folder `path` as the bundle `name`, in place of an earlier one of that name; a reload leaves it alone.

    Raises:
        NotFoundError: there is no such folder.
        LoadError: it does not load, or module code of a bundle called this. An earlier version goes on running.
    """
    registry.load_bundle(path, name)


def dispatch_event(json_text: str) -> None:
    """Hands an event to the @Event function that it names, which must be the only one of that name.

    Raises:
        MalformedError: the text is not an event.
        NotFoundError: no bundle has such a handler.
        AmbiguousError: several have.
        HookError: the handler raised; it is in the log.
    """
    registry.dispatch_event(json_text)


def set_env(path: str) -> None:
    """Puts folders, several with ":" between them, before the interpreter's module search path."""
    added = [folder for folder in path.split(":") if folder]
    sys.path[:] = [*added, *(folder for folder in sys.path if folder not in added)]


def use_store(store: Store) -> Store:
    """Keeps what plugins store in `store` from now on; returns the one before, which whoever made it closes."""
    global _store
    before, _store = _store, store
    return before


def data_store() -> Store:
    """Returns the store that keeps plugins' data, for what a host's two functions cannot do."""
    return _store


def store_data(key: str, value: bytes, ttl: int) -> None:
    """Keeps `value` for `ttl` seconds; 0 or less: for good. Raises `StoreError`."""
    _store.set(DATA + key, value, ttl)


def get_data(key: str) -> bytes:
    """Returns what `store_data` keeps under `key`, or b"". Raises `StoreError`."""
    value = _store.get(DATA + key) or b""
    if b"\0" in value:  # written by somebody else: the plugin would get its beginning alone, or nothing
        raise StoreError(f"{shown(DATA)} holds a value with a NUL, which cannot cross C as a string")
    return value


def missing(bundle: str | None, hook: str) -> BridgeError:
    """Returns the error for a dispatch whose hook is not in the table.

    Args:
        bundle: the bundle that the message names; None when it names none.
        hook: the hook that it names.
    """
    return registry.missing(bundle, hook)


def hook_failed(bundle: str, hook: str, function: Callable[..., Any], error: BaseException) -> str:
    """Writes the log line of a hook that raised, with its traceback; returns the short words for the caller."""
    bundle = bundle.partition("\0")[0]  # without the time limit of `Registry.limited`
    root = registry.root_of(bundle)
    # What a server is asked for has no folder. Its name is that of the server and a number, which says nothing.
    place = f'bundle "{bundle}"' if root or root is None else bundle.rpartition("#")[0]
    return _failed(f'hook "{hook}" of {place}', root, error)


def bad_return(bundle: str, hook: str, function: Callable[..., Any], arity: int, value: object) -> BridgeError:
    """Returns the error for a hook that returned what no hook may, and logs it.

    Args:
        bundle: the bundle's name.
        hook: the hook's name.
        function: the hook.
        arity: how many arguments it took.
        value: what it returned.
    """
    place = failures.short_path(handlers.place(function), registry.root_of(bundle))
    error = HookError(
        f'hook "{hook}" of bundle "{bundle}" returned {_describe(value)}; '
        f"a hook with {arity} parameters returns {handlers.RETURN_FORMS[arity]} ({place})"
    )
    _bridge.log(str(error), "error")
    return error


def _describe(value: object) -> str:
    """Says what a value is, without calling its code."""
    if value is None:
        return "None"
    if type(value) in (tuple, list):
        kinds = ", ".join(_kind(item) for item in itertools.islice(value, 6))  # type: ignore[call-overload]
        return f"a {type(value).__name__} of ({kinds})"
    return f"a value of type {_kind(value)}"


def _kind(value: object) -> str:
    """Names a value's type, and a message's as the plugin knows it: "SessionState"."""
    return (value.__class__ if type(value) is _bridge.Message else type(value)).__name__
