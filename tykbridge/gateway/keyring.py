"""What operators do with keys: create, read, change, delete and list the sessions that belong to them.

Answers and words are upstream's (its gateway/api.go), where it has any for the case. A session is checked as a whole
before anything is written, and written in one step.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from tykbridge import limits
from tykbridge import session as sessions
from tykbridge.auth import PREFIX
from tykbridge.bridge import Bridge
from tykbridge.events.handlers import masked
from tykbridge.policies import PolicyError, apply_policies
from tykbridge.session import BasicAuthData, Origin, Session, SessionError
from tykbridge.settings import Settings
from tykbridge.stores import Lister, StoreError, shown

Answer = dict[str, Any]

_TRIES = 8  # keys that are made up before it is said that all are taken; a short hash may be somebody's


class Refusal(Exception):
    """What was asked is not done: a status of HTTP, and words for the operator."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class _Found:
    """A stored session: the key as it was found, "" where its hash was given, and its place in the store."""

    def __init__(self, key: str, place: str, session: Session) -> None:
        self.key, self.place, self.session = key, place, session


class Keyring:
    """The keys in the store that a bridge uses at the moment. Safe to use from any thread; every method may block.

    All raise `Refusal`, and `StoreError` where the store fails: nobody can tell then whether a write was done.

    Args:
        bridge: the APIs, and their services.
        settings: gives the settings in use.
    """

    def __init__(self, bridge: Bridge, settings: Callable[[], Settings]) -> None:
        self._bridge, self._settings = bridge, settings

    def create(self, text: bytes) -> Answer:
        """Store a session, Tyk's JSON, under a new key, which the answer has."""
        services, session = self._bridge.services, self._read(text)
        self._begin(session)
        data, lifetime = self._written(session)
        for _ in range(_TRIES):
            key = token(session.org_id, uuid.uuid4().hex, self._settings().hash_key_function)
            name = services.keys.hashed(key)
            if services.sessions.add(PREFIX + name, data, lifetime):
                self._reset(session, name)
                self._tell(key, "added")
                return self._done(key, "added", name)
        raise Refusal(500, "Failed to create key - every one that was made up is taken: hash_key_function is too short")

    def put(self, key: str, text: bytes, *, fresh: bool, by_hash: bool = False, reset: bool = True) -> Answer:
        """Store a session under a key that is given.

        Args:
            key: the key, or what stands for it in the store.
            text: the session, as Tyk's JSON.
            fresh: whether there need be none; one that is there is replaced all the same.
            by_hash: whether `key` is the hash.
            reset: whether quotas begin anew.
        """
        session = self._read(text)
        before = self._find(key, session.org_id, by_hash)
        if not fresh and before is None:
            raise Refusal(404, "Key is not found")
        if before is not None and not sessions.is_key(before.session):
            raise Refusal(400, "This key is an ID extractor's, which makes its session itself")
        if before is not None:
            key = before.key
        elif not key or not key.isprintable() or key != key.strip():
            raise Refusal(400, "A key has printable characters alone, and no blanks around them")
        if before is None or reset:
            self._begin(session)
        else:
            sessions.keep_quota(session, before.session)
            session.last_updated = before.session.last_updated
        if before is not None and (made := before.session.extra.get("date_created")):
            session.extra["date_created"] = made
        data, lifetime = self._written(session)
        place = self._place(key, by_hash)
        self._bridge.services.sessions.set(place, data, lifetime)
        if before is None or reset:
            self._reset(session, place.removeprefix(PREFIX))
        action = "added" if fresh else "modified"
        self._tell(key, action)
        return self._done(key, action, place.removeprefix(PREFIX) if fresh else "")

    def get(self, key: str, *, by_hash: bool = False, org_id: str = "") -> bytes:
        """Give a key's session as Tyk's JSON, policies applied, without a password."""
        found = self._find(key, org_id, by_hash)
        if found is None:
            raise Refusal(404, "Key not found")
        session = found.session
        try:
            session, _ = apply_policies(session, self._bridge.services.policies, session.org_id)
        except PolicyError:
            session = found.session
        return sessions.encode_whole(
            msgspec.structs.replace(session, basic_auth_data=BasicAuthData("", session.basic_auth_data.hash))
        )

    def delete(self, key: str, *, by_hash: bool = False, org_id: str = "") -> Answer:
        """Delete a key, and what was counted on it."""
        found = self._find(key, org_id, by_hash)
        if found is None or not self._bridge.services.sessions.delete(found.place):
            raise Refusal(404, "There is no such key found")
        self._reset(found.session, found.place.removeprefix(PREFIX))
        self._tell(found.key, "deleted")
        return self._done(found.key, "deleted")

    def list(self, start: str = "") -> Answer:
        """Give all keys, or those that begin so; where keys are hashed, all hashes."""
        services = self._bridge.services
        if services.keys.hashes and not self._settings().enable_hashed_keys_listing:
            raise Refusal(404, "Hashed key listing is disabled in config (enable_hashed_keys_listing)")
        if not isinstance(services.sessions, Lister):
            raise Refusal(501, "The store of sessions cannot list what it holds")
        found = services.sessions.names(PREFIX + ("" if services.keys.hashes else start))
        return {"keys": sorted(name.removeprefix(PREFIX) for name in found)}

    # ---- Sessions

    def _read(self, text: bytes) -> Session:
        try:
            session = sessions.decode(text)
        except SessionError as error:
            raise Refusal(400, f"Request malformed: {error}") from None
        if session.basic_auth_data.password:
            raise Refusal(400, "basic_auth_data: this gateway has no basic authentication, and stores no passwords")
        # Who made it is not the caller's to say: an extractor's would stand for the auth hook.
        session.origin, session.origin_api, session.origin_id = Origin.KEY, "", ""
        if not (session.access_rights or session.policy_ids) and not self._settings().allow_master_keys:
            raise Refusal(400, "Failed to create key, keys must have at least one Access Rights record set.")
        self._check_rights(session)
        return session

    def _check_rights(self, session: Session) -> None:
        services, chains = self._bridge.services, self._bridge.chains
        org_id = session.org_id or next(
            (services.policies[name].org_id for name in session.policy_ids if name in services.policies), ""
        )
        try:
            applied, notices = apply_policies(session, services.policies, org_id)
        except PolicyError as error:
            raise Refusal(400, f"Failed to create key - {error}") from None
        for api_id in applied.access_rights:
            chain = chains.get(api_id)
            if chain is None:
                notices.append(f'there is no API "{api_id}" now')
            elif session.org_id not in ("", chain.definition.org_id):
                words = f'the API "{api_id}" is of organisation "{chain.definition.org_id}"'
                notices.append(f'{words}: a key of "{session.org_id}" does not open it')
        for notice in notices:
            services.log(f"a key that is being stored: {notice}", "warning")

    def _begin(self, session: Session) -> None:
        """Let quotas begin."""
        now = int(self._bridge.services.clock())
        session.last_updated = str(now)
        session.quota_renews = min(now + session.quota_renewal_rate, 2**63 - 1)
        session.extra.setdefault("date_created", datetime.now(UTC).isoformat().replace("+00:00", "Z"))

    def _written(self, session: Session) -> tuple[bytes, float]:
        """Give what is stored of a session, and for how many seconds: the longest that one of its APIs says."""
        chains = self._bridge.chains
        known = [chains[name].definition for name in self._applied(session).access_rights if name in chains]
        default = max((definition.session_lifetime for definition in known), default=0)
        return sessions.encode(session), sessions.lifetime(session, default, self._bridge.services.clock())

    def _reset(self, session: Session, name: str) -> None:
        for counter in limits.quota_keys(self._applied(session), name):
            self._bridge.services.counters.reset(counter)

    def _applied(self, session: Session) -> Session:
        try:
            return apply_policies(session, self._bridge.services.policies, session.org_id)[0]
        except PolicyError:
            return session

    # ---- The store

    def _place(self, key: str, by_hash: bool) -> str:
        keys = self._bridge.services.keys
        if by_hash and not keys.hashes:
            raise Refusal(400, "Key requested by hash but key hashing is not enabled")
        return PREFIX + (key if by_hash else keys.hashed(key))

    def _find(self, key: str, org_id: str, by_hash: bool) -> _Found | None:
        """Find a key: as it is given, or as upstream's gateway writes it where an operator chose it."""
        names = [key]
        if not by_hash and org_id:
            names.append(token(org_id, key.removeprefix(org_id), self._settings().hash_key_function))
        for name in names:
            place = self._place(name, by_hash)
            data = self._bridge.services.sessions.get(place)
            if data is not None:
                try:
                    return _Found(name, place, sessions.decode(data))
                except SessionError as error:
                    raise StoreError(f"{shown(place)} holds {error}") from None
        return None

    def _done(self, key: str, action: str, name: str = "") -> Answer:
        answer = {"key": key, "status": "ok", "action": action}
        return {**answer, "key_hash": name} if name and self._bridge.services.keys.hashes else answer

    def _tell(self, key: str, action: str) -> None:
        self._bridge.services.log(f"key {masked(key)} {action}", "info")


def token(org_id: str, name: str, function: str) -> str:
    """Write a key as upstream does: one that says how it is hashed, where `hash_key_function` is set."""
    if not function:
        return org_id + name
    written = json.dumps({"org": org_id, "id": name, "h": function}, separators=(",", ":"))
    return base64.b64encode(written.encode()).decode()
