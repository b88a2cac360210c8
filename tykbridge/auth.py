"""Finds out who sends a request: custom authentication, ID extractors and standard auth tokens (contract, section 6).

Whatever goes wrong refuses the request. Only `Authentication.check` makes an `Identity`, and the chain goes on to a
protected API's upstream with one alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from tykbridge import idextractor, messages
from tykbridge import session as sessions
from tykbridge.definition import Definition, Extractor, TokenSource
from tykbridge.outcome import AUTH_FAILURE, KEY_NOT_AUTHORISED, Request, Respond, refused, token_of
from tykbridge.policies import Policy, PolicyError, apply_policies
from tykbridge.session import Denied, Origin, Session
from tykbridge.stores import Store

PREFIX = "apikey-"
"""Before a key in the store of sessions, as in Tyk's Redis."""

FIELD_MISSING = "Authorization field missing"
UNKNOWN_KEY = "Access to this API has been disallowed"
UNAVAILABLE = "Sessions cannot be read or stored"

_KNOWN = 4096  # identities that are kept ready


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends a request.

    Attributes:
        key: under what the session is stored, and counted.
        session: what the key may do, policies applied. Shared between requests: nobody writes to it.
        message: the session as a serialised SessionState.
        parts: what shows it to hooks: parts of an Object.
    """

    key: str
    session: Session
    message: bytes
    parts: bytes


class Refused(Exception):
    """The request ends here: `denied` says with what, the text says why, for the log ("" for what is no fault)."""

    def __init__(self, denied: Denied, why: str = "") -> None:
        super().__init__(why)
        self.denied = denied


RunHook = Callable[[], Any]
"""Runs the auth_check hook: gives its reply, an Object, or the response that ends the request."""


class Authentication:
    """The authentication of one API. Safe to use from any thread."""

    def __init__(
        self,
        definition: Definition,
        store: Store,
        policies: Mapping[str, Policy],
        clock: Callable[[], float],
        log: Callable[[str, str], None],
    ) -> None:
        """Prepare it. Raises `idextractor.ConfigError` and `regex.MissingEngineError` for an extractor."""
        self._definition = definition
        self._auth = definition.auth
        self._store = store
        self._policies = policies
        self._clock = clock
        self._log = log
        extractor = definition.section.extractor if definition.auth.custom else None
        self._extractor = None if extractor is None else _compile(extractor)
        # Reading a session and applying policies costs more than all the rest; equal bytes give an equal session.
        self._known: dict[tuple[str, bytes], Identity] = {}
        self._lock = threading.Lock()

    def check(self, request: Callable[[], Request], run_hook: RunHook) -> Identity | Respond:
        """Ask every method that is on; all must agree. `request` gives what the client sent, pre hooks applied.

        Raises `Refused` where this, not a hook, turns the request down.
        """
        found: list[tuple[str, Identity]] = []
        if self._auth.custom:
            identity = self._custom(request, run_hook)
            if isinstance(identity, Respond):
                return identity
            found.append(("custom_auth", identity))
        if self._auth.token is not None:
            found.append(("auth_token", self._token(request(), self._auth.token)))
        if len(found) == 1:
            return found[0][1]
        chosen = next((item for item in reversed(found) if self._auth.base_identity in ("", item[0])), None)
        if chosen is None:
            raise Refused(Denied(403, KEY_NOT_AUTHORISED, AUTH_FAILURE), "no method of authentication ran")
        for _, other in found:  # what is checked of the chosen one later holds for each
            api_id = self._definition.api_id
            denied = sessions.check_state(other.session, self._clock()) or sessions.check_access(other.session, api_id)
            if denied is not None:
                raise Refused(denied)
        return chosen[1]

    # ---- Custom authentication

    def _custom(self, request: Callable[[], Request], run_hook: RunHook) -> Identity | Respond:
        definition, key, stored = self._definition, "", None
        if self._extractor is not None:
            key = self._extract(request())
            stored = self._load(key)
            identity = None if stored is None else self._cached(key, stored)
            if identity is not None:
                return identity
        reply = run_hook()
        if isinstance(reply, Respond):
            return reply
        token = token_of(reply)
        if not token:
            raise Refused(Denied(403, KEY_NOT_AUTHORISED, AUTH_FAILURE))
        if not key:
            key = token
            stored = self._load(key)
        before = None if stored is None else self._decode(key, stored)
        # What a plugin gives is a session of its own: of a stored one, only the quota goes on.
        session = sessions.read_message(reply.session)
        session.metadata.setdefault("token", token)
        session.org_id = definition.org_id
        if self._extractor is not None:
            session.origin, session.origin_api = Origin.EXTRACTOR, definition.api_id
        if before is not None:
            sessions.keep_quota(session, before)
        data = sessions.encode(session)
        if data != stored:
            self._save(key, data, session)
        return self._identity(key, data)

    def _cached(self, key: str, stored: bytes) -> Identity | None:
        """Give the identity of a stored session, where it stands for the plugin."""
        try:
            identity = self._identity(key, stored)
        except Refused as refusal:
            if refusal.denied.status >= 500:
                raise
            return None  # its policies give it nothing any more: the plugin is asked again
        definition = self._definition
        fresh = sessions.is_cached(identity.session, definition.api_id, definition.org_id, self._clock())
        return identity if fresh else None

    def _extract(self, request: Request) -> str:
        assert self._extractor is not None
        try:
            return self._extractor.session_id(
                idextractor.Request(headers=_first(request), query=request.url.partition("?")[2], body=request.body),
                self._definition.org_id,
            )
        except idextractor.ExtractionError as error:
            raise Refused(Denied(error.status, error.text, AUTH_FAILURE)) from error
        except Exception as error:
            raise Refused(Denied(503, UNAVAILABLE), f"the ID extractor failed: {error!r}") from error

    # ---- Standard auth tokens

    def _token(self, request: Request, source: TokenSource) -> Identity:
        key = find_token(request, source)
        if not key:
            raise Refused(Denied(401, FIELD_MISSING, AUTH_FAILURE))
        data = self._load(key)
        if data is None:
            raise Refused(Denied(403, UNKNOWN_KEY, AUTH_FAILURE))
        identity = self._identity(key, data)
        session = identity.session
        if not sessions.is_key(session):
            raise Refused(Denied(403, UNKNOWN_KEY, AUTH_FAILURE), "an ID extractor's session is no key")
        if session.org_id and session.org_id != self._definition.org_id:
            raise Refused(Denied(403, UNKNOWN_KEY, AUTH_FAILURE))
        return identity

    # ---- Sessions

    def _identity(self, key: str, data: bytes) -> Identity:
        known = self._known.get((key, data))
        if known is not None:
            return known
        session = self._decode(key, data)
        try:
            session, notices = apply_policies(session, self._policies, self._definition.org_id)
        except PolicyError as error:
            raise Refused(Denied(403, KEY_NOT_AUTHORISED, AUTH_FAILURE), str(error)) from error
        for notice in notices:
            self._log(f'api "{self._definition.api_id}": {notice}', "warning")
        session = msgspec.structs.replace(session, key_id=key)
        message = messages.session_message(session)
        identity = Identity(key, session, message, messages.session_parts(message))
        with self._lock:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key, data] = identity
        return identity

    def _load(self, key: str) -> bytes | None:
        try:
            return self._store.get(PREFIX + key)
        except Exception as error:
            raise Refused(Denied(503, UNAVAILABLE), f"the store of sessions failed: {error!r}") from error

    def _decode(self, key: str, data: bytes) -> Session:
        try:
            return sessions.decode(data)
        except sessions.SessionError as error:
            raise Refused(Denied(503, UNAVAILABLE), str(error)) from error

    def _save(self, key: str, data: bytes, session: Session) -> None:
        try:
            self._store.set(PREFIX + key, data, self._lifetime(session))
        except Exception as error:
            raise Refused(Denied(503, UNAVAILABLE), f"the store of sessions failed: {error!r}") from error

    def _lifetime(self, session: Session) -> float:
        """Seconds that a session is stored: its own or the API's lifetime, never beyond its end; 0 is for good."""
        lifetime = float(session.session_lifetime or self._definition.session_lifetime)
        if session.expires > 0:
            left = max(1.0, session.expires - self._clock())
            lifetime = min(lifetime, left) if lifetime > 0 else left
        return max(0.0, lifetime)


def find_token(request: Request, source: TokenSource) -> str:
    """Find a standard auth token; "" when there is none. A header's may have "Bearer " before it."""
    if source.header:
        wanted = source.header.lower()
        value = next((value for name, value in request.headers if name.lower() == wanted), "").strip()
        if value:
            return value[7:].strip() if value[:7].lower() == "bearer " else value
    if source.param:
        for name, value in parse_qsl(request.url.partition("?")[2]):
            if name == source.param and value:
                return value
    if source.cookie:
        return _cookies(request).get(source.cookie, "")
    return ""


def _cookies(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.headers:
        if name.lower() == "cookie":
            try:
                found |= {key: morsel.value for key, morsel in SimpleCookie(value).items() if key not in found}
            except CookieError:
                continue
    return found


def _first(request: Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in request.headers:
        headers.setdefault(name, value)
    return headers


def _compile(extractor: Extractor) -> idextractor.CompiledExtractor:
    config = idextractor.Config(
        header_name=extractor.header_name,
        param_name=extractor.param_name,
        regex_expression=extractor.regex,
        regex_match_index=extractor.match_index,
        xpath_expression=extractor.xpath,
    )
    return idextractor.compile_extractor(extractor.source, extractor.method, config)


def respond(denied: Denied, now: float) -> Respond:
    """Make the client's response of a refusal."""
    headers: tuple[tuple[str, str], ...] = ()
    if denied.status == 429 and denied.retry_at > now:
        headers = (("Retry-After", str(int(denied.retry_at - now) + 1)),)
    return refused(denied.status, denied.text, headers, denied.event)
