"""What a definition says of its upstream: where requests go, and how."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tykbridge.definition import Definition
from tykbridge.gateway import wire
from tykbridge.outcome import Headers, Request

_WEIGHT = 1000  # of a target, at the most: it has as many places in the turn


class Upstream:
    """The upstream of one API.

    Args:
        definition: the API's.

    Attributes:
        keeps_host: the client's Host header goes on (`preserve_host_header`).
        is_unverified: a certificate is not looked at (`ssl_insecure_skip_verify`).
        notices: keys of the definition that have no effect here, with what happens instead.
        targets: the URLs that requests go to in turn.
    """

    def __init__(self, definition: Definition) -> None:
        found = _oas(definition.document) if definition.form == "oas" else _classic(definition.document)
        self.targets, self.keeps_host, self.is_unverified, self.notices = found
        self.targets = self.targets or ((definition.target_url,) if definition.target_url else ())
        self._bases = itertools.cycle([_base(target) for target in self.targets]) if self.targets else None
        self._strip = definition.listen_path.rstrip("/") if definition.strip_listen_path else ""

    def url(self, url: str) -> str:
        """Give the whole URL at the upstream of a request's path and query; "": the definition names no upstream.

        The target's path comes before it, its query too. The listen path is left out where the definition says so.
        """
        return "" if self._bases is None else "".join(self._at_next(url))

    def sent(self, came: Headers, request: Request) -> Request:
        """Give a request as the upstream gets it, without what tells of the connection; its `url` is path and query.

        `came` is what the client sent, of which hooks made the request's headers.
        """
        start, url = self._at_next(request.url)
        headers = wire.forwardable(wire.unmistaken(came, request.headers))
        if start and not self.keeps_host:
            own = "Host", urlsplit(start).netloc.rpartition("@")[2]
            headers = (own, *(pair for pair in headers if pair[0].lower() != "host"))
        return Request(request.method, url, headers, request.body)

    def _at_next(self, url: str) -> tuple[str, str]:
        """Give scheme and host of the target whose turn it is, "" without one, and what is asked there."""
        start, base, query = next(self._bases) if self._bases is not None else ("", "", "")
        strip = self._strip
        if strip and url.startswith(strip) and url[len(strip) : len(strip) + 1] in ("", "/", "?"):
            url = url[len(strip) :]
        if not url.startswith("/") and (not base or (url and not url.startswith("?"))):
            url = "/" + url
        if query:
            url += ("&" if "?" in url else "?") + query
        return start, base + url


def _base(target: str) -> tuple[str, str, str]:
    parts = urlsplit(target)
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/"), parts.query


_Found = tuple[tuple[str, ...], bool, bool, tuple[str, ...]]


def _classic(document: Mapping[str, Any]) -> _Found:
    proxy = _at(document, "proxy")
    transport = _at(proxy, "transport")
    notices = [f"$.proxy.{key}" for key in ("check_host_against_uptime_tests",) if proxy.get(key)]
    if _at(proxy, "service_discovery").get("use_discovery_service"):
        notices.append("$.proxy.service_discovery")
    if transport.get("proxy_url"):
        notices.append("$.proxy.transport.proxy_url")
    targets: list[str] = []
    if proxy.get("enable_load_balancing"):
        targets = [item for item in proxy.get("target_list") or () if isinstance(item, str) and item]
    return (
        tuple(targets),
        proxy.get("preserve_host_header") is True,
        transport.get("ssl_insecure_skip_verify") is True,
        tuple(notices),
    )


def _oas(document: Mapping[str, Any]) -> _Found:
    upstream = _at(_at(document, "x-tyk-api-gateway"), "upstream")
    balancing = _at(upstream, "loadBalancing")
    targets: list[str] = []
    if balancing.get("enabled") is True:
        for item in balancing.get("targets") or ():
            if isinstance(item, dict) and isinstance(item.get("url"), str):
                weight = item.get("weight", 1)
                targets += [item["url"]] * (min(weight, _WEIGHT) if isinstance(weight, int) else 0)
    notices = []
    if _at(upstream, "serviceDiscovery").get("enabled"):
        notices.append("$.x-tyk-api-gateway.upstream.serviceDiscovery")
    return (
        tuple(targets),
        _at(upstream, "preserveHostHeader").get("enabled") is True,
        _at(upstream, "tlsTransport").get("insecureSkipVerify") is True,
        tuple(notices),
    )


def _at(tree: Any, key: str) -> dict[str, Any]:
    value = tree.get(key) if isinstance(tree, Mapping) else None
    return value if isinstance(value, dict) else {}
