"""What stands behind the hooks of tests/test_bypass.py: what fails, sessions of every kind, and who may pass.

`World` knows what was let through without asking the chain: auth hooks note down what they grant just before they
return it, and stored sessions are judged here, by the JSON that lies in the store when the request comes.
"""

import hashlib
import json
from dataclasses import dataclass, field

from tykbridge.counters import MemoryCounters

NOW = 1_000_000.0
API, ORG = "api", "org"

POLICIES = {
    "gold": {"org_id": ORG, "access_rights": {API: {"api_id": API}}},
    "dead": {"org_id": ORG, "is_inactive": True, "access_rights": {API: {"api_id": API}}},
    "elsewhere": {"org_id": ORG, "access_rights": {"other-api": {"api_id": "other-api"}}},
    "foreign": {"org_id": "other-org", "access_rights": {API: {"api_id": API}}},
}

OPEN_ONLY = {API: {"api_id": API, "allowed_urls": [{"url": "^/open", "methods": ["GET", "POST"]}]}}

SESSIONS = {
    "good": {"rate": 100, "per": 60},
    "good until later": {"expires": int(NOW) + 5},
    "good by policy": {"apply_policies": ["gold"]},
    "once": {"quota_max": 1, "quota_renewal_rate": 3600},
    "open paths": {"access_rights": OPEN_ONLY},
    "expired": {"expires": int(NOW) - 5},
    "inactive": {"is_inactive": True},
    "elsewhere": {"access_rights": {"other-api": {"api_id": "other-api"}}},
    "dead policy": {"apply_policies": ["dead"]},
    "policy elsewhere": {"apply_policies": ["elsewhere"]},
    "foreign policy": {"apply_policies": ["foreign"]},
    "unknown policy": {"apply_policies": ["no such policy"]},
}
"""Sessions as Tyk's JSON, by name, without their organisation."""

CORRUPT = [b"", b"{", b"null", b"[]", b"\xff", b'{"org_id": 7}', b'{"org_id": "org", "expires": "soon"}']


def is_alive(session, url):
    """Judge a session, as JSON: True where it may use the API on this url, its quota aside."""
    if not isinstance(session, dict) or session.get("is_inactive"):
        return False
    if 0 < session.get("expires", 0) < NOW:
        return False
    if session.get("apply_policies", []) not in ([], ["gold"]):
        return False
    rights = session.get("access_rights") or {API: {}}
    if API not in rights:
        return False
    return not rights[API].get("allowed_urls") or url.startswith("/open")


def read(data):
    """Read a stored session, None for what is none."""
    return None if data is None or data in CORRUPT else json.loads(data)


@dataclass
class Call:
    """One request on its way: what it tells the hooks to do, and what happened.

    Attributes:
        act: what the auth_check hook shall do.
        grant: name of the session that it shall grant.
        token: under which token.
        deadline: seconds from now for which an ID extractor may use that session; 0: none.
        keys, ids: what was presented as a key and as an extractor's value, by the client or by a pre hook.
        granted: the session that the auth_check hook let in, as JSON; None: nobody.
        broken: the store, the counters or the extractor failed.
        tampered: a hook saw the session that another hook had no right to change.
        before: what was stored when the request came.
    """

    act: str
    grant: str
    token: str
    deadline: int
    url: str
    keys: set = field(default_factory=set)
    ids: set = field(default_factory=set)
    granted: dict | None = None
    broken: bool = False
    tampered: bool = False
    before: dict = field(default_factory=dict)


class World:
    """Store, counters and sink of one example; what may fail does so at the given numbers of calls."""

    def __init__(self, failing=()):
        self.stored = {}
        self.call = None
        self._failing = frozenset(failing)
        self._calls = 0
        self._counters = MemoryCounters(lambda: NOW)

    def begin(self, call):
        call.before = dict(self.stored)
        self.call = call

    def may_fail(self):
        self._calls += 1
        if self._calls in self._failing:
            self.call.broken = True
            raise OSError("gone")

    def get(self, key):
        self.may_fail()
        return self.stored.get(key)

    def set(self, key, value, ttl=0):
        self.may_fail()
        self.stored[key] = value

    def delete(self, key):
        return self.stored.pop(key, None) is not None

    def hit(self, key, limit, window):
        self.may_fail()
        return self._counters.hit(key, limit, window)

    def reset(self, key):
        self._counters.reset(key)

    def fire(self, event, api_id, org_id, meta):
        raise OSError("nobody listens")

    # ---- Who may pass

    def passes_by_hook(self):
        """Tell whether auth_check let this request in, with a session that is good for it."""
        return self.call.granted is not None and is_alive(self.call.granted, self.call.url)

    def passes_by_cache(self):
        """Tell whether a session that this API's extractor stored stands for the hook."""
        for value in self.call.ids:
            session = read(self.call.before.get(f"apikey-{extractor_id(value)}"))
            if (
                is_alive(session, self.call.url)
                and (session.get("tykbridge_origin"), session.get("tykbridge_api")) == ("extractor", API)
                and session.get("tykbridge_id") == extractor_id(value)
                and session.get("org_id") == ORG
                and session.get("id_extractor_deadline", 0) > NOW
            ):
                return True
        return False

    def passes_by_key(self):
        """Tell whether a key was presented that is stored, or that auth_check made one just now."""
        if self.call.token in self.call.keys and self.passes_by_hook():
            return True
        for key in self.call.keys:
            session = read(self.call.before.get(f"apikey-{key}"))
            if (
                is_alive(session, self.call.url)
                and session.get("org_id", "") in ("", ORG)
                and not session.get("tykbridge_origin")
            ):
                return True
        return False


def extractor_id(value):
    return ORG + hashlib.md5(value.encode("utf-8", "surrogateescape")).hexdigest()


world = World()
"""Of the example that runs now; the hooks of middleware.py look here."""
