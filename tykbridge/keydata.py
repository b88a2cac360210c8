"""Reads and writes the sessions of an API's keys for its plugins, as upstream's TykGetKeyData and TykSetKeyData do.

A plugin gets to what standard auth would take for a key of the API's organisation, and to nothing else: neither to
another organisation's sessions nor to those of ID extractors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tykbridge import limits
from tykbridge import session as sessions
from tykbridge.auth import PREFIX
from tykbridge.policies import PolicyError, apply_policies
from tykbridge.session import Origin, Session, SessionError
from tykbridge.stores import StoreError, shown

if TYPE_CHECKING:
    from tykbridge.definition import Definition
    from tykbridge.services import Services


class KeySessions:
    """The sessions of an API's keys. Safe to use from any thread: what is written last counts."""

    def __init__(self, definition: Definition, services: Services) -> None:
        self._org_id, self._lifetime = definition.org_id, definition.session_lifetime
        self._services = services

    def get(self, key: str) -> Session | None:
        """Give what a key may do, policies applied; None for what is no key of the organisation.

        Policies that refuse the key are left out. What is left of a quota is what was stored, not what was counted.

        Raises:
            StoreError: the store fails, or what it holds there is no session.
        """
        session = self._stored(key)
        return self._applied(session) if session is not None and self._is_ours(session) else None

    def set(self, key: str, text: str, reset: bool) -> None:
        """Store a session, as Tyk's JSON; it counts from the key's next request on.

        `reset` begins its quota anew.

        Raises:
            SessionError: it was not stored, and why.
            StoreError: the store fails, or what it holds there is no session.
        """
        if not key:
            raise SessionError("the key is empty")
        session, before = sessions.decode(text), self._stored(key)
        if before is not None and not self._is_ours(before):
            raise SessionError("the key is taken, by another organisation or an ID extractor")
        session.org_id = session.org_id or (self._org_id if before is None else before.org_id)
        # Who made it is not the plugin's to say: one that claimed to be an extractor's would stand for the auth hook.
        session.origin, session.origin_api, session.origin_id = Origin.KEY, "", ""
        if not self._is_ours(session):
            raise SessionError(f'it is of organisation "{session.org_id}", the API of "{self._org_id}"')
        if not _is_bounded(session) and (before is None or _is_bounded(before)):
            raise SessionError("without access_rights and policies it would open every API")
        now = self._services.clock()
        if reset:
            session.last_updated = str(int(now))
            session.quota_renews = min(int(now) + session.quota_renewal_rate, 2**63 - 1)
        lifetime = sessions.lifetime(session, self._lifetime, now)
        name = self._services.keys.hashed(key)
        self._services.sessions.set(PREFIX + name, sessions.encode(session), lifetime)
        if reset:
            for counter in limits.quota_keys(self._applied(session), name):
                self._services.counters.reset(counter)

    def _stored(self, key: str) -> Session | None:
        place = PREFIX + self._services.keys.hashed(key)
        data = self._services.sessions.get(place)
        try:
            return None if data is None else sessions.decode(data)
        except SessionError as error:
            raise StoreError(f"{shown(place)} holds {error}") from None

    def _is_ours(self, session: Session) -> bool:
        return sessions.is_key(session) and session.org_id in ("", self._org_id)

    def _applied(self, session: Session) -> Session:
        try:
            return apply_policies(session, self._services.policies, self._org_id)[0]
        except PolicyError:
            return session


def _is_bounded(session: Session) -> bool:
    return bool(session.access_rights or session.policy_ids)
