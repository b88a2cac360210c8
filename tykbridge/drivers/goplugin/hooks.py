"""The native code of one bundle: the hooks of its libraries, and the APIs that these were told of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tykbridge import _bridge, locks, session
from tykbridge.definition import model
from tykbridge.definition.model import Bundle, Definition, Phase
from tykbridge.drivers import Source
from tykbridge.drivers.goplugin import isolation
from tykbridge.drivers.goplugin._plugin import Hook
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
        self._driver = driver
        self._lock = locks.lock()  # of the next two; held for no call of a plugin
        self._defined: dict[tuple[int, bytes], tuple[Library, int]] = {}
        self._is_closed = False
        choice: model.NativeChoices = getattr(source.choices, driver)
        self._is_isolated = (choice.isolation or isolation.default()) == model.PROCESS
        self._shared: list[Shared] = []
        self.markers: list[Marker] = []
        self.others: dict[str, str] = {}
        try:
            for file in source.files:
                self._add(self._library(file), file)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the libraries forget the APIs. Calls in flight keep theirs."""
        with self._lock:
            self._is_closed, defined = True, list(self._defined.values())
            self._defined.clear()
        for library, number in defined:
            library.plugin.release(number)
        while self._shared:
            self._shared.pop().close()

    def _library(self, file: Path) -> Library:
        if not self._is_isolated:
            return obtain(file)
        self._shared.append(obtain_isolated(file))
        return self._shared[-1].library

    def _add(self, library: Library, file: Path) -> None:
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
            made = functools.partial(self._made, library, number, kind == "response")
            timeout_ms = isolation.TIMEOUT_MS if self._is_isolated else 0
            self.markers.append(
                Marker(
                    name,
                    made(0, 0, timeout_ms),
                    1,
                    False,
                    place,
                    "",
                    self._driver,
                    is_response=kind == "response",
                    fitted=functools.partial(self._fitted, library, made, kind, place),
                )
            )

    def _made(
        self, library: Library, number: int, is_response: bool, definition: int, phase: int, timeout_ms: int
    ) -> Hook:
        return Hook(library.plugin, number, definition, phase, is_response, read_session, write_session, timeout_ms)

    def _fitted(
        self,
        library: Library,
        made: Callable[[int, int, int], Hook],
        kind: str,
        place: str,
        hook: model.Hook,
        definition: Definition,
    ) -> Callable[..., Any]:
        if (hook.phase is Phase.RESPONSE) != (kind == "response"):
            other = "response" if hook.phase is Phase.RESPONSE else "request"
            words = f'the {hook.phase} hook "{hook.name}" is for {kind}s, and is needed for {other}s'
            raise LoadError(f"{place}: {words}: in Go, {_FORMS[other].format(hook.name)}", place=place)
        timeout_ms = hook.timeout_ms or 0
        if timeout_ms and not self._is_isolated:
            words = f'the hook "{hook.name}" has a timeout_ms, and nothing can stop one that runs in this process'
            raise LoadError(f'{place}: {words}: take it away, or set "isolation": "process"', place=place)
        if self._is_isolated and not timeout_ms:
            timeout_ms = isolation.TIMEOUT_MS
        form = {"classic": "definition", "oas": "oas"}[definition.form]
        spec = definition.spec(Bundle(name=hook.bundle) if hook.bundle else None)
        document = msgspec.json.encode({form: definition.document, "spec": spec})
        key = id(library), document
        with self._lock:
            known = self._defined.get(key)
        if known is None:
            number = library.plugin.define(document)
            with self._lock:
                known = self._defined.setdefault(key, (library, number))
                is_unused = self._is_closed or known[1] != number
            if is_unused:
                library.plugin.release(number)
        return made(known[1], _PHASES[hook.phase], timeout_ms)


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
