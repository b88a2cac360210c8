"""Sessions: what a key may do, as Tyk stores it in JSON and as plugins see it in coprocess.SessionState."""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from tykbridge.regex import MissingEngineError, RegexError, compile_regex

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class SessionError(ValueError):
    """A stored session that cannot be read; the message names the JSON path."""


class Origin(enum.StrEnum):
    """Who made a stored session."""

    KEY = ""
    """A key, or a plugin's token: good for standard auth."""
    EXTRACTOR = "extractor"
    """Stored under an ID extractor's id, for its API alone. Standard auth refuses it: the id can be computed."""


class AccessSpec(msgspec.Struct, omit_defaults=True):
    """A path of an API, as a regular expression, and the methods that are allowed on it."""

    url: str = ""
    methods: list[str] = []


class Limit(msgspec.Struct, omit_defaults=True):
    """Rate limit and quota of one API. All zero: those of the session count."""

    rate: float = 0
    per: float = 0
    throttle_interval: float = 0
    throttle_retry_limit: Int64 = 0
    max_query_depth: Int64 = 0
    quota_max: Int64 = 0
    quota_renews: Int64 = 0
    quota_remaining: Int64 = 0
    quota_renewal_rate: Int64 = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is limited here. What is left of a quota does not count: it is no limit."""
        return not (
            self.rate
            or self.per
            or self.throttle_interval
            or self.throttle_retry_limit
            or self.max_query_depth
            or self.quota_max
            or self.quota_renewal_rate
        )


class AccessDefinition(msgspec.Struct, omit_defaults=True):
    """The right to use one API."""

    api_name: str = ""
    api_id: str = ""
    versions: list[str] = []
    allowed_urls: list[AccessSpec] = []
    limit: Limit = msgspec.field(default_factory=Limit)
    allowance_scope: str = ""
    """Whose counters count: "" the key's own, otherwise those of an API or a policy."""
    extra: dict[str, Any] = {}
    """Keys of the JSON that are not known here; they are written back."""


class BasicAuthData(msgspec.Struct, omit_defaults=True):
    """User name and password authentication."""

    password: str = ""
    hash: str = msgspec.field(default="", name="hash_type")


class JWTData(msgspec.Struct, omit_defaults=True):
    """The secret of a key's own JWTs."""

    secret: str = ""


class Monitor(msgspec.Struct, omit_defaults=True):
    """Quota percentages at which an event fires."""

    trigger_limits: list[float] = []


class Session(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A session. Attributes are named as in coprocess.SessionState; JSON has some other names (Tyk's)."""

    last_check: Int64 = 0
    allowance: float = 0
    rate: float = 0
    """Requests that pass in `per` seconds; 0 or less: any number."""
    per: float = 0
    expires: Int64 = 0
    """Unix seconds; 0 or less: never."""
    quota_max: Int64 = 0
    """Requests that pass until the quota renews; 0 or less: any number."""
    quota_renews: Int64 = 0
    """Unix seconds."""
    quota_remaining: Int64 = 0
    quota_renewal_rate: Int64 = 0
    """Seconds; 0 or less: a quota that is used up stays so."""
    access_rights: dict[str, AccessDefinition] = {}
    """By API id; empty: every API."""
    org_id: str = ""
    oauth_client_id: str = ""
    oauth_keys: dict[str, str] = {}
    basic_auth_data: BasicAuthData = msgspec.field(default_factory=BasicAuthData)
    jwt_data: JWTData = msgspec.field(default_factory=JWTData)
    hmac_enabled: bool = False
    hmac_secret: str = msgspec.field(default="", name="hmac_string")
    is_inactive: bool = False
    apply_policy_id: str = ""
    data_expires: Int64 = 0
    monitor: Monitor = msgspec.field(default_factory=Monitor)
    enable_detailed_recording: bool = False
    metadata: dict[str, Any] = msgspec.field(default_factory=dict, name="meta_data")
    tags: list[str] = []
    alias: str = ""
    last_updated: str = ""
    id_extractor_deadline: Int64 = 0
    """Unix seconds until which the session is used instead of calling the auth plugin."""
    session_lifetime: Int64 = 0
    apply_policies: list[str] = []
    certificate: str = ""
    max_query_depth: Int64 = 0
    key_id: str = ""
    """The key itself; never stored, as upstream has it."""
    post_expiry_action: str = ""
    post_expiry_grace_period: Int64 = 0
    origin: Origin = msgspec.field(default=Origin.KEY, name="tykbridge_origin")
    origin_api: str = msgspec.field(default="", name="tykbridge_api")
    """The API whose extractor stored the session."""
    origin_id: str = msgspec.field(default="", name="tykbridge_id")
    """The id that it made. Two may have one hash, under which this is stored."""
    extra: dict[str, Any] = {}
    """Keys of the JSON that are not known here; they are written back."""

    @property
    def policy_ids(self) -> list[str]:
        """The policies that the session is under; the older single one counts when there is no list."""
        return self.apply_policies or ([self.apply_policy_id] if self.apply_policy_id else [])


# What SessionState holds in a message, a map or a list; the rest is scalars.
_NESTED = frozenset(
    {
        "access_rights",
        "oauth_keys",
        "basic_auth_data",
        "jwt_data",
        "monitor",
        "metadata",
        "tags",
        "apply_policies",
    }
)
_OURS = frozenset({"origin", "origin_api", "origin_id", "extra"})
_SCALARS = tuple(name for name in Session.__struct_fields__ if name not in _NESTED | _OURS)
_LISTS = ("tags", "apply_policies")


def _json_names(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind) if field.name != "extra")


_SESSION_KEYS = _json_names(Session)
_ACCESS_KEYS = _json_names(AccessDefinition)


def json_names() -> dict[str, str]:
    """Give the names that the fields of a session have in Tyk's JSON, by their own."""
    fields = msgspec.structs.fields(Session)
    return {field.name: field.encode_name for field in fields if field.name not in _OURS}


# --- Tyk's JSON -----------------------------------------------------------------------------------------------------


def decode(data: bytes | str) -> Session:
    """Read a session from Tyk's JSON. Unknown keys survive. Raises `SessionError`."""
    try:
        tree = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise SessionError(f"a session that is no JSON: {error}") from None
    if not isinstance(tree, dict):
        raise SessionError("a session that is no JSON object")
    rights = tree.get("access_rights")
    extra = {name: value for name, value in tree.items() if name not in _SESSION_KEYS}
    known = _without_null(tree, _SESSION_KEYS)
    for name in ("basic_auth_data", "jwt_data", "monitor"):
        if isinstance(inner := known.get(name), dict):
            known[name] = _without_null(inner, frozenset(inner))
    if isinstance(rights, dict):
        known["access_rights"] = {name: _access_tree(item) for name, item in rights.items()}
    try:
        session = msgspec.convert(known, Session)
    except msgspec.ValidationError as error:
        raise SessionError(f"a session that cannot be read: {error}") from None
    if extra.get("enable_detail_recording") is True:  # the older name
        session.enable_detailed_recording = True
    session.extra = extra
    return session


def encode(session: Session) -> bytes:
    """Write a session as Tyk's JSON. `key_id` is not stored: it is the key under which this is."""
    tree: dict[str, Any] = msgspec.to_builtins(session)
    tree.pop("key_id", None)
    for access in tree.get("access_rights", {}).values():
        access.update(access.pop("extra", {}))
        if not access.get("limit", True):
            del access["limit"]
    for name in ("basic_auth_data", "jwt_data", "monitor"):
        if not tree.get(name, True):
            del tree[name]
    extra = tree.pop("extra", {})
    return msgspec.json.encode({**extra, **tree})


def encode_whole(session: Session) -> bytes:
    """Write a session as `encode` does, but with all that is empty: code that reads it need not look what is there."""
    tree = _whole(session)
    return msgspec.json.encode({name: tree[name] for name in tree if name not in _NOT_TOLD})


_NOT_TOLD = frozenset({"key_id", "tykbridge_origin", "tykbridge_api", "tykbridge_id"})


def _whole(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        tree = {field.encode_name: _whole(getattr(value, field.name)) for field in fields if field.name != "extra"}
        return {**getattr(value, "extra", {}), **tree}
    if isinstance(value, dict):  # what a plugin put there is as deep as it likes
        return {name: _whole(item) if isinstance(item, msgspec.Struct) else item for name, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _access_tree(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree if tree is not None else {}
    known = _without_null(tree, _ACCESS_KEYS)
    if isinstance(known.get("allowed_urls"), list):
        known["allowed_urls"] = [
            {name: value for name, value in item.items() if value is not None} if isinstance(item, dict) else item
            for item in known["allowed_urls"]
        ]
    known["extra"] = {name: value for name, value in tree.items() if name not in _ACCESS_KEYS}
    return known


def _without_null(tree: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    # Go writes null for an empty list or map.
    return {name: value for name, value in tree.items() if name in names and value is not None}


# --- coprocess.SessionState -----------------------------------------------------------------------------------------


def write_message(session: Session, message: Any) -> None:
    """Write a session into an empty SessionState, a view of this project's or google.protobuf's.

    Metadata that is no text goes in as its JSON, as upstream does; per-API limits have no place in the message.
    """
    for name in _SCALARS:
        if value := getattr(session, name):
            setattr(message, name, value)
    for name in _LISTS:
        if value := getattr(session, name):
            getattr(message, name).extend(value)
    if session.oauth_keys:
        message.oauth_keys.update(session.oauth_keys)
    if session.metadata:
        message.metadata.update({name: _text(value) for name, value in session.metadata.items()})
    for api_id, access in session.access_rights.items():
        right = message.access_rights[api_id]
        right.api_name, right.api_id = access.api_name, access.api_id
        right.versions.extend(access.versions)
        for allowed in access.allowed_urls:
            spec = right.allowed_urls.add()
            spec.url = allowed.url
            spec.methods.extend(allowed.methods)
    if session.basic_auth_data.password or session.basic_auth_data.hash:
        message.basic_auth_data.password = session.basic_auth_data.password
        message.basic_auth_data.hash = session.basic_auth_data.hash
    if session.jwt_data.secret:
        message.jwt_data.secret = session.jwt_data.secret
    if session.monitor.trigger_limits:
        message.monitor.trigger_limits.extend(session.monitor.trigger_limits)


def read_message(message: Any, before: Session | None = None) -> Session:
    """Read a session out of a SessionState.

    `before` is the session that the plugin got: from it comes what the message cannot hold (unknown keys, per-API
    limits, the type of metadata that the plugin left as it was).
    """
    before = before or Session()
    scalars: dict[str, Any] = {name: getattr(message, name) for name in _SCALARS}
    session = Session(
        **scalars,
        tags=list(message.tags),
        apply_policies=list(message.apply_policies),
        oauth_keys=dict(message.oauth_keys),
        metadata=_read_metadata(message.metadata, before.metadata),
        access_rights={api_id: _read_access(right) for api_id, right in message.access_rights.items()},
        basic_auth_data=BasicAuthData(message.basic_auth_data.password, message.basic_auth_data.hash),
        jwt_data=JWTData(message.jwt_data.secret),
        monitor=Monitor(list(message.monitor.trigger_limits)),
        origin=before.origin,
        origin_api=before.origin_api,
        origin_id=before.origin_id,
        extra=dict(before.extra),
    )
    for api_id, access in session.access_rights.items():
        if old := before.access_rights.get(api_id):
            access.limit, access.allowance_scope, access.extra = old.limit, old.allowance_scope, old.extra
    return session


def _read_access(right: Any) -> AccessDefinition:
    return AccessDefinition(
        api_name=right.api_name,
        api_id=right.api_id,
        versions=list(right.versions),
        allowed_urls=[AccessSpec(spec.url, list(spec.methods)) for spec in right.allowed_urls],
    )


def _read_metadata(message: Mapping[str, str], before: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: before[name] if name in before and _text(before[name]) == text else text for name, text in message.items()
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# --- decisions ------------------------------------------------------------------------------------------------------


class Denied(msgspec.Struct, frozen=True):
    """A request that may not go on: what the client gets, and the event that fires."""

    status: int
    text: str
    event: str = ""
    retry_at: float = 0
    """Unix seconds at which trying again makes sense; 0: unknown."""


def check_state(session: Session, now: float) -> Denied | None:
    """Refuse a session that is inactive or expired. `now` is in unix seconds."""
    if session.is_inactive:
        return Denied(403, "Key is inactive, please renew", "KeyExpired")
    if 0 < session.expires < now:
        return Denied(401, "Key has expired, please renew", "KeyExpired")
    return None


def check_access(session: Session, api_id: str) -> Denied | None:
    """Refuse a session that has rights, but none to this API."""
    if session.access_rights and api_id not in session.access_rights:
        return Denied(403, "Access to this API has been disallowed", "AuthFailure")
    return None


def has_paths(session: Session, api_id: str) -> bool:
    """Tell whether `check_path` has anything to check."""
    access = session.access_rights.get(api_id)
    return access is not None and bool(access.allowed_urls)


def check_path(session: Session, api_id: str, method: str, path: str) -> Denied | None:
    """Refuse a path that the session's allowed_urls of this API leave out.

    As in upstream an expression may match anywhere in the path, and {name} stands for one segment. One that is broken
    allows nothing; without the engine nothing can be decided (503).
    """
    access = session.access_rights.get(api_id)
    if access is None or not access.allowed_urls:
        return None
    for allowed in access.allowed_urls:
        if method in allowed.methods:
            try:
                if _path_regex(allowed.url).search(path):
                    return None
            except RegexError:
                continue
            except MissingEngineError:
                return Denied(503, "Access rights cannot be checked")
    return Denied(403, "Access to this resource has been disallowed", "AuthFailure")


_PARAMETER = re.compile(r"(?<!\\[pPx])\{[A-Za-z_][A-Za-z0-9_-]*\}")


@functools.lru_cache(maxsize=1024)
def _path_regex(url: str) -> Any:
    return compile_regex(_PARAMETER.sub("[^/]+", url))


def lifetime(session: Session, default: int, now: float) -> float:
    """Seconds that a session is stored: its own or the API's lifetime, never beyond its end; 0 is for good."""
    seconds = float(session.session_lifetime or default)
    if session.expires > 0:
        left = max(1.0, session.expires - now)
        seconds = min(seconds, left) if seconds > 0 else left
    return max(0.0, seconds)


def keep_quota(session: Session, stored: Session) -> None:
    """Take quota renewal and remaining over from the stored session: a plugin that answers again is no refill."""
    session.quota_renews, session.quota_remaining = stored.quota_renews, stored.quota_remaining
    for api_id, access in session.access_rights.items():
        if old := stored.access_rights.get(api_id):
            access.limit.quota_renews = old.limit.quota_renews
            access.limit.quota_remaining = old.limit.quota_remaining


def is_key(session: Session) -> bool:
    """Tell whether standard auth may use a stored session: not one that an ID extractor stored."""
    return session.origin is Origin.KEY


def is_extracted(session: Session, key: str, api_id: str, org_id: str) -> bool:
    """Tell whether a stored session may stand for the auth plugin: the API's own extractor stored it for this id."""
    stored = session.origin, session.origin_id, session.origin_api, session.org_id
    return stored == (Origin.EXTRACTOR, key, api_id, org_id)


# What msgspec knows of a type it works out at the type's first use, and crashes where two threads come first.
msgspec.convert({}, Session)
