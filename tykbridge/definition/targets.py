"""Reads what a definition, or a gateway's settings, say of the gRPC servers that hooks are asked of."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from tykbridge.definition.model import Hook, Target
from tykbridge.definition.problems import Report, describe, key

ADDRESSES = '"tcp://host:port", "dns:///name:port" or "unix:///path"'
_ADDRESS = re.compile(
    r"(?P<scheme>tcp|dns)://(?P<server>[^/\s]*)(?P<slash>/?)(?P<name>[^/\s]*)|unix://(?P<path>/[^\s\0?#]+)", re.ASCII
)
_ENDPOINT = re.compile(
    r"(?P<host>\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[A-Za-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)
_SOCKET = 107  # bytes of a socket's path, at most
_MOST = 2**31 - 1  # of every number, as gRPC takes them; in milliseconds 24 days
_LEAST = {"recv_max_size": 0, "send_max_size": 0, "timeout_ms": 1, "max_in_flight": 1, "breaker_failures": 0}
_LEAST |= {"breaker_ms": 1, "keepalive_ms": 0}

OasTarget: Any = msgspec.defstruct(
    "OasTarget",
    [(field.name, field.type, field.default) for field in msgspec.structs.fields(Target)],
    rename="camel",
    frozen=True,
)
"""A Target as the OAS form spells its keys."""


class Grpc(msgspec.Struct, frozen=True):
    """The section `grpc` of a definition."""

    target: str = ""
    targets: dict[str, Target] = {}


class OasGrpc(msgspec.Struct, frozen=True):
    """The same in the OAS form."""

    target: str = ""
    targets: dict[str, OasTarget] = {}


def read(report: Report, where: str, raw: Grpc | OasGrpc) -> tuple[dict[str, Target], str]:
    """Check the section `grpc`; gives its targets, and the name of the one for hooks that name none."""
    targets: dict[str, Target] = {}
    for name, item in raw.targets.items():
        place = key(f"{where}.targets", name)
        targets[name] = Target(**msgspec.structs.asdict(item))
        spelled = {field.name: key(place, field.encode_name) for field in msgspec.structs.fields(item)}
        if not name.isprintable() or not name:
            report.problem(place, "a name without control characters", describe(name))
        check(report, spelled, targets[name])
    if raw.target:
        _known(report, key(where, "target"), raw.target, targets)
        return targets, raw.target
    return targets, next(iter(targets)) if len(targets) == 1 else ""


def check(report: Report, where: Mapping[str, str], target: Target) -> None:
    """Check a target; `where` has the JSON path of each of its fields."""
    host = _host(target.address)
    if host is None:
        found = describe(target.address) if target.address else "none"
        report.problem(where["address"], ADDRESSES, found)
    elif not (target.is_secure or target.allow_plaintext or _is_loopback(host)):
        report.problem(
            where["address"],
            f'TLS ("{_key(where["tls"])}": true, or a "{_key(where["ca"])}"), because messages carry sessions; '
            f'or a loopback address or a unix socket; or "{_key(where["allow_plaintext"])}": true',
            f"{describe(target.address)} without TLS",
        )
    if bool(target.cert) != bool(target.key):
        missing, other = ("key", "cert") if target.cert else ("cert", "key")
        report.problem(where[missing], f'a PEM file, because "{_key(where[other])}" is set', "none")
    for name, least in _LEAST.items():
        number = getattr(target, name)
        if not least <= number <= _MOST:
            limit = f"at least {least}" if number < least else f"at most {_MOST}"
            report.problem(where[name], f"a whole number, {limit}", describe(number))
    for name in ("authority", "server_name", "health_check"):
        text = getattr(target, name) or ""
        if not (text.isascii() and text.isprintable()):
            report.problem(where[name], "printable ASCII", describe(text))


def check_hooks(report: Report, hooks: Iterable[Hook], targets: Mapping[str, Target]) -> None:
    """Check that the targets which hooks name are there."""
    for hook in hooks:
        if hook.target and not hook.disabled:
            _known(report, key(hook.where, "target"), hook.target, targets)


def _known(report: Report, where: str, name: str, targets: Mapping[str, Target]) -> None:
    if targets:
        report.choice(where, name, targets)
    else:
        report.problem(where, 'the name of one of "grpc.targets" of the API\'s definition', describe(name))


def _key(path: str) -> str:
    return path.rpartition(".")[2]


def _host(address: str) -> str | None:
    """Give the host that an address names; "" for a socket, None for what is no address."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return None
    if found["path"]:
        return "" if len(unquote_to_bytes(found["path"])) <= _SOCKET else None
    is_tcp = found["scheme"] == "tcp"
    end = _ENDPOINT.fullmatch(found["server"] if is_tcp else found["name"])
    if end is None or is_tcp == bool(found["slash"]) or (is_tcp and not end["port"]):
        return None
    if end["port"] and not 0 < int(end["port"]) < 2**16:
        return None
    if is_tcp:
        return end["host"]
    return f"{end['host']} of {found['server']}" if found["server"] else end["host"]


def _is_loopback(host: str) -> bool:
    """Whether what is sent to a host, by its name, stays on this machine."""
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
