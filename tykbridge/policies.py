"""Policies: rights and limits that many sessions share, read from a file and applied to a session."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from tykbridge.definition import tree
from tykbridge.definition.fields import fill
from tykbridge.definition.problems import Problem, Report, key
from tykbridge.session import AccessDefinition, AccessSpec, Int64, Limit, Session


class PolicyError(Exception):
    """A session whose policies give it nothing, or contradict each other: its key is refused."""


class Partitions(msgspec.Struct, frozen=True):
    """Which parts of a session a policy speaks of; none: all of them. `per_api`: limits of each API, and no parts."""

    quota: bool = False
    rate_limit: bool = False
    acl: bool = False
    complexity: bool = False
    per_api: bool = False

    @property
    def parts(self) -> frozenset[str]:
        """The parts that the policy speaks of."""
        named = frozenset(name for name in _PARTS if getattr(self, name))
        return named or frozenset(_PARTS)

    @property
    def partitioned(self) -> bool:
        """Whether the policy speaks of some parts only."""
        return any(getattr(self, name) for name in _PARTS)


_PARTS = ("quota", "rate_limit", "acl", "complexity")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One policy, named as in Tyk's JSON."""

    id: str = ""
    name: str = ""
    org_id: str = ""
    rate: float = 0
    per: float = 0
    quota_max: Int64 = 0
    quota_renewal_rate: Int64 = 0
    throttle_interval: float = 0
    throttle_retry_limit: Int64 = 0
    max_query_depth: Int64 = 0
    access_rights: dict[str, AccessDefinition] = {}
    hmac_enabled: bool = False
    is_inactive: bool = False
    tags: list[str] = []
    last_updated: str = ""
    meta_data: dict[str, Any] = {}
    partitions: Partitions = Partitions()

    @property
    def limit(self) -> Limit:
        """The policy's own limit."""
        return Limit(
            rate=self.rate,
            per=self.per,
            quota_max=self.quota_max,
            quota_renewal_rate=self.quota_renewal_rate,
            throttle_interval=self.throttle_interval,
            throttle_retry_limit=self.throttle_retry_limit,
            max_query_depth=self.max_query_depth,
        )


class PolicyFile(msgspec.Struct, frozen=True):
    """What came of a file of policies: one bad policy never stops the others.

    Attributes:
        policies: the good ones, by id.
        problems: what is wrong.
        bad: the ids of those that are not good; None where the file as a whole cannot be read.
    """

    policies: dict[str, Policy]
    problems: tuple[Problem, ...] = ()
    bad: tuple[str, ...] | None = ()

    def over(self, before: Mapping[str, Policy]) -> dict[str, Policy]:
        """Give the policies, and of `before`, what the file said earlier, those whose new version is bad."""
        kept = before if self.bad is None else {name: before[name] for name in self.bad if name in before}
        return {**kept, **self.policies}


def read_policies(path: str | os.PathLike[str]) -> PolicyFile:
    """Read a policies.json: an object of policies by id. What is wrong is in `problems`, never an exception."""
    file = os.fspath(path)
    try:
        with open(file, "rb") as stream:
            text = stream.read(tree.MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        report = Report(file)
        report.problem("$", "a file that can be read", str(getattr(error, "strerror", None) or error))
        return PolicyFile({}, tuple(report.problems), None)
    return read_policies_text(text, file)


def read_policies_text(text: bytes | str, file: str = "<text>") -> PolicyFile:
    """Read policies out of JSON text; `file` names it in messages."""
    report = Report(file)
    document = tree.parse(text, report, "the policies by id")
    problems = list(report.problems)
    if problems:
        return PolicyFile({}, tuple(problems), None)
    policies: dict[str, Policy] = {}
    bad: list[str] = []
    for name, item in (document or {}).items():
        report = Report(file)
        policy = _read(report, name, item)
        problems += report.problems
        if report.problems:
            bad.append(name)
        else:
            policies[name] = policy
    return PolicyFile(policies, tuple(problems), tuple(bad))


def _read(report: Report, name: str, item: Any) -> Policy:
    where = key("$", name)
    if item is None:
        report.problem(where, "an object, the policy", "null")
    policy = fill(report, Policy, item, where)
    if policy.partitions.per_api and policy.partitions.partitioned:
        report.problem(key(where, "partitions"), "per_api alone, or without it", "per_api and a part")
    return msgspec.structs.replace(policy, id=policy.id or name)


def apply_policies(session: Session, policies: Mapping[str, Policy], org_id: str) -> tuple[Session, list[str]]:
    """Give the session as its policies make it, and notices for the log; the given one stays as it is.

    Where several policies speak of the same thing the most generous wins, as upstream documents it: the highest rate
    and quota (-1 is no limit, 0 is none given), the paths, versions and tags of all; of metadata the last policy's. One
    inactive policy makes the session inactive. Limits of the session itself count only where no policy speaks of them.
    A session without policies stays as it is.

    Raises `PolicyError` when no policy gives a right to any API, when one is of another organisation, and when per-API
    policies meet partitioned ones.
    """
    ids = session.policy_ids
    if not ids:
        return session, []
    notices = [f'policy "{name}" is not known' for name in ids if name not in policies]
    found = [policies[name] for name in ids if name in policies]
    for policy in found:
        if policy.org_id != org_id:
            raise PolicyError(f'policy "{policy.id}" is of organisation "{policy.org_id}", the API of "{org_id}"')
    if any(policy.partitions.per_api for policy in found) and any(policy.partitions.partitioned for policy in found):
        raise PolicyError("per-API policies and partitioned ones cannot be applied together")
    merge = _Merge(session)
    for policy in found:
        merge.add(policy)
    result = merge.result()
    if not result.access_rights:
        raise PolicyError("the key has no valid policies: " + ("; ".join(notices) or "none gives a right to an API"))
    return result, notices


class _Merge:
    """A session in the making: rights and limits by API, and which of them some policy spoke of."""

    def __init__(self, session: Session) -> None:
        self._before = session
        self._session = msgspec.structs.replace(
            session, metadata=dict(session.metadata), tags=list(session.tags), access_rights={}
        )
        self._rights: dict[str, AccessDefinition] = {}
        self._spoken: dict[str, set[str]] = {name: set() for name in _PARTS}
        self._owners: dict[str, str] = {}
        self._cleared: set[str] = set()

    def add(self, policy: Policy) -> None:
        session, parts = self._session, policy.partitions.parts
        for part in parts - self._cleared:
            _clear(session, part)
        self._cleared |= parts
        if not policy.access_rights:
            _raise_limit(session, policy.limit, parts)
        for api_id, access in policy.access_rights.items():
            self._add_right(policy, api_id, access, parts)
        session.is_inactive = session.is_inactive or policy.is_inactive
        session.hmac_enabled = session.hmac_enabled or policy.hmac_enabled
        session.tags += [tag for tag in policy.tags if tag not in session.tags]
        session.metadata.update(policy.meta_data)
        session.last_updated = max(session.last_updated, policy.last_updated)

    def _add_right(self, policy: Policy, api_id: str, access: AccessDefinition, parts: frozenset[str]) -> None:
        right = self._rights.setdefault(
            api_id, AccessDefinition(api_name=access.api_name, api_id=access.api_id, extra=dict(access.extra))
        )
        for part in parts:
            self._spoken[part].add(api_id)
        if "acl" in parts:
            _widen(right, access)
            self._owners[api_id] = policy.id
        if policy.partitions.per_api:
            own = not access.limit.empty
            right.allowance_scope = api_id if own else policy.id
            _raise_limit(right.limit, access.limit if own else policy.limit, parts)
        else:
            _raise_limit(right.limit, policy.limit, parts)
            _raise_limit(self._session, policy.limit, parts)

    def result(self) -> Session:
        session, before = self._session, self._before
        rights = {name: right for name, right in self._rights.items() if name in self._spoken["acl"]}
        shared = len({self._owners[name] for name in rights}) == 1
        for api_id, right in rights.items():
            for part in _PARTS:
                if api_id not in self._spoken[part]:
                    _copy_limit(right.limit, session, part)
            # Policies of their own have counters of their own.
            if not shared and not right.allowance_scope:
                right.allowance_scope = self._owners[api_id]
            if old := before.access_rights.get(api_id):
                right.limit.quota_renews = old.limit.quota_renews
                right.limit.quota_remaining = old.limit.quota_remaining
        session.access_rights = rights
        return session


_LIMITS = {
    "rate_limit": ("rate", "per", "throttle_interval", "throttle_retry_limit"),
    "quota": ("quota_max", "quota_renewal_rate"),
    "complexity": ("max_query_depth",),
    "acl": (),
}


def _clear(session: Session, part: str) -> None:
    """Forget the session's own limits of a part that a policy speaks of: the policy's count, even lower ones."""
    for name in _LIMITS[part]:
        if hasattr(session, name):
            setattr(session, name, 0)


def _copy_limit(limit: Limit, session: Session, part: str) -> None:
    for name in _LIMITS[part]:
        if hasattr(session, name):
            setattr(limit, name, getattr(session, name))


def _raise_limit(place: Limit | Session, limit: Limit, parts: frozenset[str]) -> None:
    """Raise the limits of a place to those of a policy where these are more generous."""
    if "rate_limit" in parts:
        if limit.rate != 0 and limit.per != 0 and (not (place.rate and place.per) or _pace(limit) < _pace(place)):
            place.rate, place.per = limit.rate, limit.per
        if isinstance(place, Limit):
            place.throttle_interval = max(place.throttle_interval, limit.throttle_interval)
            place.throttle_retry_limit = max(place.throttle_retry_limit, limit.throttle_retry_limit)
    if "quota" in parts:
        place.quota_max = _most(place.quota_max, limit.quota_max)
        place.quota_renewal_rate = max(place.quota_renewal_rate, limit.quota_renewal_rate)
    if "complexity" in parts:
        place.max_query_depth = _most(place.max_query_depth, limit.max_query_depth)


def _pace(limit: Limit | Session) -> float:
    """Seconds between two requests; 0 where there is no limit."""
    return limit.per / limit.rate if limit.rate > 0 and limit.per > 0 else 0.0


def _most(one: int, other: int) -> int:
    return -1 if -1 in (one, other) else max(one, other)


def _widen(right: AccessDefinition, access: AccessDefinition) -> None:
    """Add a policy's versions and paths to a right. A policy without paths does not open those of another's."""
    right.versions += [version for version in access.versions if version not in right.versions]
    for spec in access.allowed_urls:
        for mine in right.allowed_urls:
            if mine.url == spec.url:
                mine.methods += [method for method in spec.methods if method not in mine.methods]
                break
        else:
            right.allowed_urls.append(AccessSpec(spec.url, list(spec.methods)))
