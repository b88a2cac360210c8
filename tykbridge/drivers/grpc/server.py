"""A gRPC server that functions are asked of: its channel, and what keeps a bad one from doing harm."""

from __future__ import annotations

import json
import os
import ssl
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from tykbridge import _bridge, locks, waiting
from tykbridge.definition.model import Target
from tykbridge.errors import DeadlineError, LoadError, UnavailableError
from tykbridge.failures import ScriptError, one_line

Metadata: TypeAlias = list[tuple[bytes, bytes]]
_Key: TypeAlias = tuple[Target, tuple[bytes | None, ...]]

_DISPATCH = "/coprocess.Dispatcher/Dispatch"
_DISPATCH_EVENT = "/coprocess.Dispatcher/DispatchEvent"

_DOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""Nobody is there to answer: gRPC's servers cancel, when they end, the calls that nobody has taken yet."""

_FAILURES = (*_DOWN, grpc.StatusCode.DEADLINE_EXCEEDED)
"""What the breaker counts. Everything else is a server that answers."""

_BACKOFF_MS = 1_000  # at most between two attempts to connect, so that a server that is back is soon found
_CONNECT_MS = 5_000  # that one of them may take
_PROBE_MS = 20_000  # at most, that the answer to a probe of a connection may take

_HINTS = {
    grpc.StatusCode.UNAVAILABLE: "start it, or mend its address",
    grpc.StatusCode.CANCELLED: "it ended, or gave the call up",
    grpc.StatusCode.DEADLINE_EXCEEDED: "make it faster, or raise the hook's timeout_ms",
    grpc.StatusCode.UNIMPLEMENTED: "it must serve Dispatch and DispatchEvent of coprocess.Dispatcher",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "where a message is too large, raise recv_max_size or send_max_size of the "
    "target, or the limit of the server",
}


class LateError(DeadlineError, ScriptError):
    """A call took longer than it may."""


class DownError(UnavailableError, ScriptError):
    """The server cannot be reached, or is not asked."""

    def __init__(self, words: str, *, is_told: bool = False) -> None:
        super().__init__(words)
        self.is_told = is_told


class Server:
    """A server. Safe to use from any thread; the channel is made by the first call, in the process that makes it.

    A call is sent once. gRPC itself sends one again only where the server cannot have seen it; nothing else is ever
    repeated, since nobody knows what a hook has done before its connection broke.

    Attributes:
        target: where it is, and how it is to be called.
    """

    def __init__(self, target: Target, files: tuple[bytes | None, ...]) -> None:
        self.target, self._files = target, files
        self._lock = locks.lock()  # of all that follows; held for no call and no wait
        self._channel: grpc.Channel | None = None
        self._methods: Mapping[str, Any] = {}  # replaced as a whole, and read without the lock
        self._is_forked = False
        self._in_flight = 0
        self._failures = 0  # in a row
        self._opened = 0.0  # when the breaker opened, or its last probe failed (monotonic); 0: it is closed
        self._probed = 0.0  # when the call past the open breaker must be over (monotonic); 0: none is on its way
        self._is_full = False  # the log knows that calls are refused for their number
        self._counts = dict.fromkeys(("calls", "failed", "refused_full", "refused_open"), 0)
        self._refused_before = 0  # by the breaker, when it opened

    def dispatch(self, message: bytes, timeout: float, metadata: Metadata) -> bytes:
        """Ask for a hook. Raises `ScriptError`, which is a `DeadlineError` or `UnavailableError` where it is so."""
        return self._call(_DISPATCH, message, timeout, metadata)

    def dispatch_event(self, message: bytes, timeout: float, metadata: Metadata) -> None:
        """Hand over an event. Raises as `dispatch` does."""
        self._call(_DISPATCH_EVENT, message, timeout, metadata)

    @property
    def counts(self) -> Mapping[str, int]:
        """Tell how calls went: see `counts`."""
        with self._lock:
            return {**self._counts, "in_flight": self._in_flight, "open": int(self._opened > 0)}

    def _call(self, name: str, message: bytes, timeout: float, metadata: Metadata) -> bytes:
        is_probe = self._admit(timeout)
        answered: bool | None = None  # None: nobody knows
        words = ""
        try:
            answer = self._sent(name, message, timeout, metadata)
            answered = True
            if answer is None:
                raise ScriptError("it answered OK and without a message")
        except grpc.RpcError as error:
            code, words = error.code(), _words(error)
            answered = code not in _FAILURES
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise LateError(words) from None
            if code in _DOWN:
                raise DownError(words) from None
            raise ScriptError(words) from None
        finally:
            self._over(answered, is_probe, words)
        return answer

    def _sent(self, name: str, message: bytes, timeout: float, metadata: Metadata) -> bytes:
        """Make the call: on this thread or, where a request can wait without one, beside it."""
        method = self._methods.get(name) or self._method(name)
        wait = self.target.wait_for_ready
        begun: list[Any] = []

        def start(resume: Callable[[], None]) -> None:
            call = method.future(message, timeout, metadata, None, wait)
            begun.append(call)
            call.add_done_callback(lambda _: resume())

        try:
            if not waiting.suspend(start):
                return method(message, timeout, metadata, None, wait)  # type: ignore[no-any-return]
            return begun[0].result()  # type: ignore[no-any-return]
        except BaseException:
            if begun:
                begun[0].cancel()  # whoever waited does so no longer
            raise

    def _method(self, name: str) -> Any:
        with self._lock:
            if self._is_forked:
                words = "the process that was forked has its channel: make the first call, or load, in the child alone"
                raise DownError(words)
            if self._channel is None:
                self._channel = channel = _channel(self.target, self._files)
                self._methods = {name: channel.unary_unary(name) for name in (_DISPATCH, _DISPATCH_EVENT)}
                weakref.finalize(self, _close, channel, os.getpid()).atexit = False
            return self._methods[name]

    def forked(self) -> None:
        """Give the channel up, in a forked child: gRPC's threads are not there, and a call would wait for ever."""
        if self._channel is not None:
            self._is_forked, self._methods = True, {}
            _lost.append(self._channel)

    # ---- Who is let through

    def _admit(self, timeout: float) -> bool:
        """Let a call through; tells whether it is the one that tries an open breaker. Raises `DownError`."""
        target = self.target
        with self._lock:
            if self._in_flight >= target.max_in_flight:
                self._counts["refused_full"] += 1
                is_told, self._is_full = self._is_full, True
                count = self._counts["refused_full"]
                words = f"{self._in_flight} calls are in flight, which is max_in_flight; refused so far: {count}"
                raise DownError(words, is_told=is_told)
            is_probe = self._opened > 0
            if is_probe:
                now = time.monotonic()
                # A probe whose end nobody heard of, since an interrupt came in between, is over when it has to be.
                if now < max(self._opened, self._probed) + target.breaker_ms / 1000:
                    self._counts["refused_open"] += 1
                    raise DownError("it did not answer, and is not asked again yet", is_told=True)
                self._probed = now + timeout
            self._in_flight += 1
            self._counts["calls"] += 1
        return is_probe

    def _over(self, answered: bool | None, is_probe: bool, words: str) -> None:
        told = ""
        with self._lock:
            self._in_flight -= 1
            if self._is_full and self._in_flight <= self.target.max_in_flight // 2:
                self._is_full = False
            if is_probe:
                self._probed = 0.0
            if answered:
                self._failures = 0
                if self._opened:
                    refused = self._counts["refused_open"] - self._refused_before
                    told, level = f"it answers again; hooks that were not asked of it meanwhile: {refused}", "info"
                    self._opened = 0.0
            elif answered is False:
                self._failures += 1
                self._counts["failed"] += 1
                if is_probe:
                    self._opened = time.monotonic()
                elif not self._opened and 0 < self.target.breaker_failures <= self._failures:
                    self._opened, self._refused_before = time.monotonic(), self._counts["refused_open"]
                    told, level = f"{self._failures} calls in a row failed, the last with {words}. ", "error"
                    told += "Hooks fail at once until it answers again, and the log is silent about them"
        if told:
            _bridge.log(f"gRPC server {self.target.address}: {told}", level)


def _words(error: Any) -> str:
    code, details = error.code(), one_line(error.details() or "")
    hint = _HINTS.get(code, "")
    return f"{code.name}{': ' if details else ''}{details}{'; ' if hint else ''}{hint}"


# ---- Channels

_servers: weakref.WeakValueDictionary[_Key, Server] = weakref.WeakValueDictionary()
_lock = locks.lock()  # of _servers


def obtain(target: Target) -> Server:
    """Give the server of a target: the one that is in use, where everything about it is the same.

    Raises:
        LoadError: one of its files cannot be read, or is not what it should be.
    """
    key = target, tuple(_read(file) for file in (target.ca, target.key, target.cert))
    with _lock:
        server = _servers.get(key)
        if server is None:
            _check(target)
            _servers[key] = server = Server(*key)
        return server


def counts() -> Mapping[str, Mapping[str, int]]:
    """Tell of every server in use, by its address, how calls went.

    "calls" were made, of which "failed" were not answered; "refused_full" were refused by max_in_flight and
    "refused_open" by the breaker; "in_flight" are on their way; "open" is 1 while the breaker is. Where one address is
    used with several settings, they add up.
    """
    with _lock:
        servers = list(_servers.values())
    found: dict[str, dict[str, int]] = {}
    for server in servers:
        known = found.setdefault(server.target.address, {})
        for name, count in server.counts.items():
            known[name] = known.get(name, 0) + count
    return found


def _forked() -> None:
    for server in list(_servers.values()):
        server.forked()


os.register_at_fork(after_in_child=_forked)
_lost: list[grpc.Channel] = []  # the parent's channels: to end them here might wait for threads that are not there


def _close(channel: grpc.Channel, process: int) -> None:
    if os.getpid() == process:
        channel.close()


def _read(file: str) -> bytes | None:
    if not file:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise LoadError(f"{file} cannot be read: {error.strerror}") from error


def _check(target: Target) -> None:
    """Refuse files of which gRPC would say nothing but that no connection comes about."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if target.ca:
            context.load_verify_locations(target.ca)
    except (OSError, ssl.SSLError) as error:
        raise LoadError(f"{target.ca} has no certificates in PEM: {error}") from error
    try:
        if target.cert:
            context.load_cert_chain(target.cert, target.key, password=b"")  # nobody is there to be asked for one
    except (OSError, ssl.SSLError, ValueError) as error:
        raise LoadError(f"{target.cert} and {target.key} are no certificate and its key in PEM: {error}") from error


def _channel(target: Target, files: tuple[bytes | None, ...]) -> grpc.Channel:
    address = target.address
    if address.startswith("tcp://"):
        address = "dns:///" + address.removeprefix("tcp://")
    options = _options(target)
    if not target.is_secure:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(*files), options)


def _options(target: Target) -> list[tuple[str, Any]]:
    config: dict[str, Any] = {}
    if target.round_robin_load_balancing or target.health_check is not None:
        config["loadBalancingConfig"] = [{"round_robin": {}}]  # gRPC's pick_first looks at nobody's health
    if target.health_check is not None:
        config["healthCheckConfig"] = {"serviceName": target.health_check}
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.service_config_disable_resolution", 1),  # a TXT record could have calls sent again
        ("grpc.enable_http_proxy", 0),
        ("grpc.initial_reconnect_backoff_ms", _BACKOFF_MS // 10),
        ("grpc.max_reconnect_backoff_ms", _BACKOFF_MS),
        ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),
        ("grpc.dns_min_time_between_resolutions_ms", _BACKOFF_MS),
        ("grpc.max_send_message_length", target.send_max_size or -1),
    ]
    if target.recv_max_size:
        options.append(("grpc.max_receive_message_length", target.recv_max_size))
    if target.authority:
        options.append(("grpc.default_authority", target.authority))
    if target.server_name:
        options.append(("grpc.ssl_target_name_override", target.server_name))
    if target.keepalive_ms:
        options += [
            ("grpc.keepalive_time_ms", target.keepalive_ms),
            ("grpc.keepalive_timeout_ms", min(target.keepalive_ms, _PROBE_MS)),
            ("grpc.http2.ping_timeout_ms", min(target.keepalive_ms, _PROBE_MS)),  # else a minute counts
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ]
    return options
