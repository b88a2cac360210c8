"""The native code of one bundle: the hooks of its libraries, and the APIs that these were told of."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tykbridge import _bridge, locks, session
from tykbridge.definition import model
from tykbridge.definition.model import Bundle, Definition, Phase
from tykbridge.drivers import Source
from tykbridge.drivers.goplugin import files, isolation
from tykbridge.drivers.goplugin._plugin import Hook, Plugin
from tykbridge.drivers.goplugin.library import Library, Shared, obtain, obtain_isolated
from tykbridge.errors import LoadError
from tykbridge.failures import ScriptError
from tykbridge.handlers import Marker, is_text

_KINDS = {"request": 1, "response": 2}
_PHASES = {Phase.PRE: 1, Phase.POST: 2, Phase.POST_KEY_AUTH: 3, Phase.AUTH_CHECK: 4, Phase.RESPONSE: 5}
"""Numbers of coprocess.HookType."""


_FORMS = {
    "request": "func {}(rw http.ResponseWriter, req *http.Request)",
    "response": "func {}(rw http.ResponseWriter, res *http.Response, req *http.Request)",
}


class Hooks:
    """The hooks of a bundle's libraries. Safe to use from any thread."""

    def __init__(self, source: Source, driver: str) -> None:
        self._root = Path(source.root)
        self._driver = driver
        self._lock = locks.lock()  # of the next two; held for no call of a plugin
        # The APIs that libraries know, each for as long as a hook is called for it.
        self._defined: weakref.WeakValueDictionary[tuple[int, bytes], _Defined] = weakref.WeakValueDictionary()
        self._is_closed = False
        choice: model.NativeChoices = getattr(source.choices, driver)
        self._is_isolated = (choice.isolation or isolation.default()) == model.PROCESS
        self._shared: list[Shared] = []
        self.others: dict[str, str] = {}
        found: dict[str, list[_Found]] = {}
        try:
            for file in source.files:
                for one in self._find(self._library(file), file):
                    found.setdefault(one.name, []).append(one)
        except BaseException:
            self.close()
            raise
        self.markers = [self._marker(name, several) for name, several in found.items()]

    def close(self) -> None:
        """Let the libraries forget the APIs. Calls in flight keep theirs."""
        with self._lock:
            self._is_closed, defined = True, list(self._defined.values())
        for one in defined:
            one.release()
        while self._shared:
            self._shared.pop().close()

    def _library(self, file: Path) -> Library:
        if not self._is_isolated:
            return obtain(file)
        self._shared.append(obtain_isolated(file))
        return self._shared[-1].library

    def _find(self, library: Library, file: Path) -> Iterator[_Found]:
        for told in library.hooks:
            name, kind = told["name"], told["kind"]
            place = f"{file}: {told['file']}:{told.get('line', 1)}" if told.get("file") else str(file)
            if not is_text(name):
                continue
            if kind not in _KINDS:
                self.others[name] = f"{place}: it is of the kind {kind!a}, which nothing here calls"
                continue
            number = library.plugin.lookup(name.encode(), _KINDS[kind])
            if number is None:
                self.others[name] = f"{place}: the library names it, and does not have it: build it again"
                continue
            yield _Found(name, library, number, kind, place, file)

    def _marker(self, name: str, found: list[_Found]) -> Marker:
        first = found[0]
        if len(found) > 1:
            function: Callable[..., Any] = functools.partial(_ambiguous, name, found)
        else:
            function = _hook(first, None, 0, self._limit(None))
        return Marker(
            name,
            function,
            1,
            False,
            first.place,
            "",
            self._driver,
            is_response=first.kind == "response",
            fitted=functools.partial(self._fitted, found),
        )

    def _fitted(self, found: list[_Found], hook: model.Hook, definition: Definition) -> Hook:
        one = found[0] if len(found) == 1 else self._chosen(found, hook)
        if (hook.phase is Phase.RESPONSE) != (one.kind == "response"):
            other = "response" if hook.phase is Phase.RESPONSE else "request"
            words = f'the {hook.phase} hook "{hook.name}" is for {one.kind}s, and is needed for {other}s'
            words = f"{one.place}: {words}: in Go, {_FORMS[other].format(hook.name)}"
            raise LoadError(words, place=one.place)
        if hook.timeout_ms and not self._is_isolated:
            words = f'the hook "{hook.name}" has a timeout_ms, and nothing can stop one that runs in this process'
            raise LoadError(f'{one.place}: {words}: take it away, or set "isolation": "process"', place=one.place)
        form = {"classic": "definition", "oas": "oas"}[definition.form]
        spec = definition.spec(Bundle(name=hook.bundle) if hook.bundle else None)
        document = msgspec.json.encode({form: definition.document, "spec": spec})
        key = id(one.library), document
        with self._lock:
            known = self._defined.get(key)
        if known is None:
            made = _Defined(one.library.plugin, one.library.plugin.define(document))
            with self._lock:
                known = self._defined.setdefault(key, made)  # another thread may have been faster
                if self._is_closed:
                    made.release()
        return _hook(one, known, _PHASES[hook.phase], self._limit(hook.timeout_ms))

    def _limit(self, timeout_ms: int | None) -> int:
        return (timeout_ms or isolation.TIMEOUT_MS) if self._is_isolated else 0

    def _chosen(self, found: list[_Found], hook: model.Hook) -> _Found:
        """Give the function of this name in the library that a hook names."""
        file = files.find(self._root / hook.path) if hook.path else None
        for one in found:
            if file is not None and one.file.resolve() == file.resolve():
                return one
        raise LoadError(_in_several(hook.name, found), place=found[0].place)


@dataclass(frozen=True)
class _Found:
    """A function that a library exports."""

    name: str
    library: Library
    number: int
    kind: str
    place: str
    file: Path


class _Defined:
    """An API that a library knows for as long as somebody has this."""

    def __init__(self, plugin: Plugin, number: int) -> None:
        self.number = number
        self.release = weakref.finalize(self, plugin.release, number)
        self.release.atexit = False  # everything ends then


def _hook(found: _Found, defined: _Defined | None, phase: int, timeout_ms: int) -> Hook:
    is_response = found.kind == "response"
    plugin, number = found.library.plugin, found.number
    return Hook(plugin, number, defined, phase, is_response, read_session, write_session, timeout_ms)


def _in_several(name: str, found: list[_Found]) -> str:
    places = " and ".join(one.place for one in found)
    return f'"{name}" is in several libraries, {places}, and the "path" of the hook does not say which'


def _ambiguous(name: str, found: list[_Found], message: Any) -> None:
    raise ScriptError(_in_several(name, found))


@functools.lru_cache(maxsize=256)
def read_session(message: bytes) -> tuple[bytes, bytes]:
    """Give a serialised SessionState as Tyk's JSON, and the token that it goes by, b"" for none."""
    view = _bridge.message("SessionState", message)
    token = view.metadata.get("token", "") or view.key_id
    return session.encode(session.read_message(view)), token.encode()


def write_session(message: Any, phase: int, text: bytes | None, token: str | None, metadata: Mapping[str, str]) -> None:
    """Write the session that a hook left into a message.

    Raises:
        ScriptError: it is none.
    """
    if text is not None:
        try:
            left = session.decode(text)
        except session.SessionError as error:
            raise ScriptError(f"it left {error}") from None
        fresh = _bridge.message("SessionState")
        session.write_message(left, fresh)
        message.session.CopyFrom(fresh)
        if token is None and phase == _PHASES[Phase.AUTH_CHECK] and not message.session.metadata.get("token"):
            # As upstream: the key is what the client authorised itself with.
            token = left.key_id or next(
                (value for name, value in message.request.headers.items() if name.lower() == "authorization"), ""
            )
    if token:
        message.session.metadata["token"] = token
    if metadata:
        message.session.metadata.update(metadata)
