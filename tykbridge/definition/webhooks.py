"""Reads what a webhook sends, in both forms of a definition."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tykbridge.definition.fields import fill
from tykbridge.definition.model import Webhook
from tykbridge.definition.problems import Report, describe, key, one_of

_METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = ("connection", "content-length", "transfer-encoding")


class _Classic(msgspec.Struct, frozen=True):
    disabled: bool = False
    id: str = ""
    name: str = ""
    method: str = ""
    target_path: str = ""
    template_path: str = ""
    header_map: dict[str, str] = {}
    event_timeout: int = 0


class _Header(msgspec.Struct, frozen=True):
    name: str = ""
    value: str = ""


class _Oas(msgspec.Struct, frozen=True, rename="camel"):
    enabled: bool = False
    trigger: str = ""
    type: str = ""
    id: str = ""
    name: str = ""
    method: str = ""
    url: str = ""
    body_template: str = ""
    headers: Any = None
    cooldown_period: str = ""


def classic(report: Report, meta: dict[str, Any], where: str) -> Webhook:
    """Read a handler_meta; `where` is the JSON path of its handler."""
    where = key(where, "handler_meta")
    raw = fill(report, _Classic, meta, where, closed=True)
    if raw.event_timeout < 0:
        report.problem(key(where, "event_timeout"), "a number of seconds, 0 or more", describe(raw.event_timeout))
    return Webhook(
        url=_url(report, key(where, "target_path"), raw.target_path),
        method=_method(report, key(where, "method"), raw.method),
        headers=_headers(report, key(where, "header_map"), raw.header_map),
        template=raw.template_path,
        cooldown=raw.event_timeout,
        name=raw.name,
    )


def oas(report: Report, item: dict[str, Any], where: str) -> Webhook:
    """Read one of server.eventHandlers."""
    raw = fill(report, _Oas, item, where, closed=True)
    place = key(where, "headers")
    if isinstance(raw.headers, dict):  # as Tyk's documentation says; its schema has a list
        headers = _headers(report, place, raw.headers)
    else:
        given = raw.headers or []
        if not isinstance(given, list):
            report.problem(place, 'a list of objects with "name" and "value"', describe(given))
            given = []
        read = [fill(report, _Header, header, f"{place}[{index}]", closed=True) for index, header in enumerate(given)]
        headers = _headers(report, place, {header.name: header.value for header in read})
    return Webhook(
        url=_url(report, key(where, "url"), raw.url, raw.id),
        method=_method(report, key(where, "method"), raw.method),
        headers=headers,
        template=raw.body_template,
        cooldown=_seconds(report, key(where, "cooldownPeriod"), raw.cooldown_period),
        name=raw.name,
    )


def _url(report: Report, where: str, url: str, webhook_id: str = "") -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        found = describe(url) if url else "none"
        if webhook_id and not url:
            found += ' (what "id" names lies in Tyk\'s Dashboard, which is not asked)'
        report.problem(where, "a URL with scheme and host (https://host/path)", found)
    return url


def _method(report: Report, where: str, method: str) -> str:
    if not method:
        report.notice(where, "missing: GET is sent, as upstream does", inferred=True)
        return "GET"
    if method.upper() not in _METHODS:
        report.problem(where, one_of(_METHODS), describe(method))
    return method.upper()


def _headers(report: Report, where: str, given: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    for name, value in given.items():
        place = key(where, name)
        if not _NAME.fullmatch(name):
            report.problem(place, "the name of a header", describe(name))
        elif name.lower() in _OURS:
            report.problem(place, "a header that does not follow from the request itself", describe(name))
        elif not isinstance(value, str) or not _VALUE.fullmatch(value):
            report.problem(place, "a string without line breaks, the value of a header", "something else")
    return tuple((name, value) for name, value in given.items() if isinstance(value, str))


def _seconds(report: Report, where: str, text: str) -> float:
    """Read a duration such as "1m30s"; a plain 0 needs no unit."""
    if text in ("", "0"):
        return 0.0
    if not _DURATION.fullmatch(text):
        report.problem(where, "a duration (10s, 1m30s, 2h)", describe(text))
        return 0.0
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", text))
