"""Finds out who sends a request: custom authentication, ID extractors and standard auth tokens (contract, section 6).

Whatever goes wrong refuses the request. Only `Authentication.check` makes an `Identity`, and the chain goes on to a
protected API's upstream with one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from tykbridge import idextractor, limits, locks, messages
from tykbridge import session as sessions
from tykbridge._bridge import unix_time
from tykbridge.definition import Definition, Extractor, TokenSource
from tykbridge.flow import Flow, shown
from tykbridge.keys import Keys
from tykbridge.outcome import AUTH_FAILURE, KEY_NOT_AUTHORISED, Request, Respond, refused, token_of
from tykbridge.policies import Policy, PolicyError, apply_policies
from tykbridge.session import Denied, Origin, Session
from tykbridge.stores import Store
from tykbridge.stores.memory import MemoryStore

PREFIX = "apikey-"
"""Before a key, hashed or not, in the store of sessions, as in Tyk's Redis."""

FIELD_MISSING = "Authorization field missing"
UNKNOWN_KEY = "Access to this API has been disallowed"
UNAVAILABLE = "Sessions cannot be read or stored"

_LATER = 2.0**31  # seconds of a Retry-After that say as much as any more
_KNOWN = 4096  # identities that are kept ready


class Identity:
    """Who sends a request to an API. Shared between requests.

    Attributes:
        key: what the client showed; of an ID extractor's session, what that made.
        place: the key in the store of sessions.
        stored: the session as it is stored.
        session: what the key may do, policies applied. Nobody writes to it.
        shown: what hooks see of it.
        windows: what its requests are counted in.
        triggers: at which requests of the quota TriggerExceeded fires, with the percentage of it; None: at none.
        fresh_until: unix seconds until which it stands for the auth plugin; 0: it never does.
        expires: unix seconds; 0 or less: never.
        is_guarded: something besides the time may refuse it: it is inactive, or not for all of the API.
    """

    def __init__(self, key: str, name: str, stored: bytes, session: Session, definition: Definition) -> None:
        """Work out what holds for all requests of a session to an API. `name` is the key, hashed where keys are."""
        api_id = definition.api_id
        self.key, self.place, self.stored, self.session = key, PREFIX + name, stored, session
        self.shown = shown(messages.session_message(session))
        self.windows = limits.windows(
            session,
            name,
            api_id,
            rate=not definition.disable_rate_limit,
            quota=not definition.disable_quota,
        )
        self.triggers = limits.triggers(session, self.windows) or None
        extracted = sessions.is_extracted(session, key, api_id, definition.org_id)
        self.fresh_until = session.id_extractor_deadline if extracted else 0
        self.expires = session.expires
        self.is_guarded = (
            session.is_inactive
            or sessions.check_access(session, api_id) is not None
            or sessions.has_paths(session, api_id)
        )

    @property
    def token(self) -> str:
        """What the client showed, or its plugin gave for it: an ID extractor's session is stored under another key."""
        if self.session.origin is Origin.EXTRACTOR:
            return str(self.session.metadata.get("token", ""))
        return self.key


class Refused(Exception):
    """The request ends here: `denied` says with what, the text says why, for the log ("" for what is no fault)."""

    def __init__(self, denied: Denied, why: str = "") -> None:
        super().__init__(why)
        self.denied = denied


RunHook = Callable[[Flow], Any]
"""Runs the auth_check hook: gives its reply, an Object, or the response that ends the request."""


class Authentication:
    """The authentication of one API. Safe to use from any thread."""

    def __init__(
        self,
        definition: Definition,
        store: Store,
        keys: Keys,
        policies: Mapping[str, Policy],
        clock: Callable[[], float],
        log: Callable[[str, str], None],
    ) -> None:
        """Prepare it. Raises `idextractor.ConfigError` and `regex.MissingEngineError` for an extractor."""
        self._definition = definition
        self._auth = definition.auth
        self._org_id = definition.org_id
        self._is_custom, self._token_source = definition.auth.custom, definition.auth.token
        self._store = store
        self._memory = store if isinstance(store, MemoryStore) else None  # compiled, its method is called as one of C
        self._keys = keys
        self._policies = policies
        self._clock = clock
        self._log = log
        extractor = definition.section.extractor if definition.auth.custom else None
        self._extractor = None if extractor is None else _compile(extractor)
        # Reading a session and applying policies costs more than all the rest; equal bytes give an equal session.
        self._known: dict[str, Identity] = {}
        # By key: what auth_check gave, and its token, when that was what is stored; and that.
        self._given: dict[str, tuple[bytes, str, bytes]] = {}
        self._lock = locks.lock()

    def check(self, flow: Flow, run_hook: RunHook) -> Identity | Respond:
        """Ask every method that is on; all must agree. `flow` has what the client sent, pre hooks applied.

        Raises `Refused` where this, not a hook, turns the request down.
        """
        custom = self._custom(flow, run_hook) if self._is_custom else None
        if custom is not None and (self._token_source is None or not isinstance(custom, Identity)):
            return custom
        if self._token_source is None:
            raise Refused(Denied(403, KEY_NOT_AUTHORISED, AUTH_FAILURE), "no method of authentication is on")
        token = self._token(flow, self._token_source)
        return token if custom is None else self._choose(flow, [("custom_auth", custom), ("auth_token", token)])

    def _choose(self, flow: Flow, found: list[tuple[str, Identity]]) -> Identity:
        """Choose whose session counts of those that passed, in their order."""
        chosen = next((item for item in reversed(found) if self._auth.base_identity in ("", item[0])), None)
        if chosen is None:
            raise Refused(Denied(403, KEY_NOT_AUTHORISED, AUTH_FAILURE), "no method of authentication ran")
        for item in found:  # what the chain checks of the chosen one holds for each
            if item is not chosen:
                check_rights(item[1].session, self._definition.api_id, flow, self._clock())
        return chosen[1]

    # ---- Custom authentication

    def _custom(self, flow: Flow, run_hook: RunHook) -> Identity | Respond:
        definition, key, stored = self._definition, "", None
        if self._extractor is not None:
            key = self._extract(flow)
            stored = self._load(key)
            if stored is not None and (identity := self._cached(key, stored)) is not None:
                return identity
        reply = run_hook(flow)
        if isinstance(reply, Respond):
            return reply
        token = token_of(reply)
        if not token:
            raise Refused(Denied(403, KEY_NOT_AUTHORISED, AUTH_FAILURE))
        if not key:
            key = token
            stored = self._load(key)
        given = reply.session.SerializeToString()
        if stored is not None and self._given.get(key) == (given, token, stored):
            return self._identity(key, stored)
        before = None if stored is None else self._decode(key, stored)
        # What a plugin gives is a session of its own: of a stored one, only the quota goes on.
        session = sessions.read_message(reply.session)
        session.metadata.setdefault("token", token)
        session.org_id = definition.org_id
        if self._extractor is not None:
            session.origin, session.origin_api, session.origin_id = Origin.EXTRACTOR, definition.api_id, key
        if before is not None:
            sessions.keep_quota(session, before)
        data = sessions.encode(session)
        if data != stored:
            self._save(key, data, session)
        else:
            with self._lock:
                if len(self._given) >= _KNOWN:
                    self._given.clear()
                self._given[key] = given, token, data
        return self._identity(key, data)

    def _cached(self, key: str, stored: bytes) -> Identity | None:
        """Give the identity of a stored session, where it stands for the plugin."""
        try:
            identity = self._identity(key, stored)
        except Refused as refusal:
            if refusal.denied.status >= 500:
                raise
            return None  # its policies give it nothing any more: the plugin is asked again
        now = unix_time() if self._clock is unix_time else self._clock()
        return identity if identity.fresh_until > now else None

    def _extract(self, flow: Flow) -> str:
        assert self._extractor is not None
        try:
            return self._extractor.session_id(flow, self._org_id)
        except idextractor.ExtractionError as error:
            raise Refused(Denied(error.status, error.text, AUTH_FAILURE)) from error
        except Exception as error:
            raise Refused(Denied(503, UNAVAILABLE), f"the ID extractor failed: {error!r}") from error

    # ---- Standard auth tokens

    def _token(self, flow: Flow, source: TokenSource) -> Identity:
        key = find_token(flow, source)
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
        known = self._known.get(key)
        if known is not None and known.stored == data:
            return known
        session = self._decode(key, data)
        try:
            session, notices = apply_policies(session, self._policies, self._definition.org_id)
        except PolicyError as error:
            raise Refused(Denied(403, KEY_NOT_AUTHORISED, AUTH_FAILURE), str(error)) from error
        for notice in notices:
            self._log(f'api "{self._definition.api_id}": {notice}', "warning")
        session = msgspec.structs.replace(session, key_id=key)
        identity = Identity(key, self._keys.hashed(key), data, session, self._definition)
        with self._lock:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = identity
        return identity

    def _load(self, key: str) -> bytes | None:
        known, memory = self._known.get(key), self._memory
        place = PREFIX + self._keys.hashed(key) if known is None else known.place
        try:
            return self._store.get(place) if memory is None else memory.get(place)
        except Exception as error:
            raise Refused(Denied(503, UNAVAILABLE), f"the store of sessions failed: {error!r}") from error

    def _decode(self, key: str, data: bytes) -> Session:
        try:
            return sessions.decode(data)
        except sessions.SessionError as error:
            raise Refused(Denied(503, UNAVAILABLE), str(error)) from error

    def _save(self, key: str, data: bytes, session: Session) -> None:
        lifetime = sessions.lifetime(session, self._definition.session_lifetime, self._clock())
        try:
            self._store.set(PREFIX + self._keys.hashed(key), data, lifetime)
        except Exception as error:
            raise Refused(Denied(503, UNAVAILABLE), f"the store of sessions failed: {error!r}") from error


def check_rights(session: Session, api_id: str, flow: Flow, now: float) -> None:
    """Refuse a session that is over, or that may not do this. `now` is in unix seconds."""
    denied = sessions.check_state(session, now) or sessions.check_access(session, api_id)
    if denied is None and sessions.has_paths(session, api_id):
        request = flow.request
        denied = sessions.check_path(session, api_id, request.method, unquote(request.url.partition("?")[0]))
    if denied is not None:
        raise Refused(denied)


def find_token(flow: Flow, source: TokenSource) -> str:
    """Find a standard auth token; "" when there is none. A header's may have "Bearer " before it."""
    if source.header:
        value = (flow.header(source.header) or b"").decode("utf-8", "surrogateescape").strip()
        if value:
            return value[7:].strip() if value[:7].lower() == "bearer " else value
    if source.param:
        for name, value in parse_qsl(flow.query):
            if name == source.param and value:
                return value
    if source.cookie:
        return _cookies(flow.request).get(source.cookie, "")
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
        headers = (("Retry-After", str(int(min(denied.retry_at - now, _LATER)) + 1)),)
    return refused(denied.status, denied.text, headers, denied.event)
