"""Serves plugins over gRPC: hooks and handlers of events are methods of a class.

    from tykbridge.grpc import Plugin, serve

    class Greetings(Plugin):
        def add_header(self, object):
            object.request.set_headers["X-Greeting"] = "Hello"
            return object

    serve(Greetings())

Requests and replies are bytes for gRPC and views for hooks: nothing is decoded that no hook reads. One thread, the
loop's, reads and writes all connections. It runs async hooks as well; the others are run by a pool of threads.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import ipaddress
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

try:
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
except ImportError as error:
    raise ImportError("gRPC is not installed here: pip install 'tykbridge[grpc]'", name=error.name) from error
from google.protobuf.message import DecodeError

from tykbridge import _bridge, failures, handlers
from tykbridge.errors import LoadError, MalformedError
from tykbridge.events import dispatched

__all__ = ["Plugin", "serve"]

SERVICE = "coprocess.Dispatcher"

_FORMS = {
    1: "def {name}(self, object), a hook",
    2: "def {name}(self, event, spec), a handler of events",
}
_WORDS = 600  # characters of a status: a header of HTTP/2, in which each may become 12 bytes of the 8 KiB allowed
_LISTED = 20  # names in a status
_LEAVE = 0.25  # seconds in which clients that watch the health hear that it ends, and send no more calls
_PENDING = 1 << 16  # calls that nobody has looked at yet

_log = logging.getLogger(__name__)


class Plugin:
    """A base class for plugins. Every method whose name does not begin with "_" is one of these, by its parameters:

    - `(self, object)`: the hook of that name. `object` is a coprocess.Object (docs/contract.md, section 1); the method
      changes it and returns it, or nothing, or another Object, which may be google.protobuf's.
    - `(self, event, spec)`: the handler of that name; `event` is the JSON object that hooks in Python get, too.

    Both may be `async`. The others are called by several threads at a time.
    """


def serve(
    *plugins: Plugin,
    address: str = "tcp://127.0.0.1:5555",
    threads: int = 8,
    max_message: int = 16 << 20,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    client_ca: str | os.PathLike[str] | None = None,
    grace: float = 10.0,
) -> None:
    """Serve hooks until SIGTERM or SIGINT, then finish the calls in flight and return.

    A line on standard output says where, as soon as calls are answered. A hook that raises is a status with file and
    line for the gateway, and a traceback in the log `tykbridge.grpc`. grpc.health.v1.Health is answered, too.

    Args:
        plugins: whose methods are served; a name counts once among all.
        address: "tcp://host:port", where port 0 takes a free one, or "unix:///path".
        threads: how many hooks run at a time that are not async; further ones wait.
        max_message: bytes of a message at the most, in and out. A body is in it twice where it is text.
        certificate: a PEM file, the chain of the server's certificate: then TLS only.
        key: its PEM key.
        client_ca: a PEM file of authorities: clients must then show a certificate of theirs.
        grace: seconds that calls in flight have at the end.

    Raises:
        LoadError: a plugin has a method that is neither, or two have one name; with file and line.
        ValueError: an argument is not what it must be.
        OSError: the address cannot be had, or a file not be read.
        RuntimeError: it is called on another thread than the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("serve must be called on the main thread: it ends at a signal")
    table = _collect(plugins)
    place = _Address.of(address)
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    credentials = _credentials(certificate, key, client_ca)
    if credentials is None and not place.is_local:
        _log.warning(
            "%s: anybody who reaches it can call the hooks, and read sessions on their way: give it a certificate",
            address,
        )
    pool = concurrent.futures.ThreadPoolExecutor(threads, "hook")
    dispatcher = _Dispatcher(table, pool)
    ended_by = asyncio.run(_serve(dispatcher, place, credentials, max_message, grace))
    pool.shutdown(wait=False, cancel_futures=True)
    if dispatcher.busy:
        # Python would wait for their threads for ever: end as the signal would have ended it.
        _log.error("hooks are still at work after %s s: ended without them", grace)
        signal.signal(ended_by, signal.SIG_DFL)
        signal.raise_signal(ended_by)


@dataclass(frozen=True)
class _Method:
    """A hook, or a handler of events."""

    function: Callable[..., Any]
    kind: Literal["hook", "event handler"]
    name: str
    plugin: str
    place: str
    is_async: bool

    def __str__(self) -> str:
        return f'{self.kind} "{self.name}" of "{self.plugin}"'

    def failed(self, error: BaseException) -> str:
        """Write the log's line, with the traceback; give the words for the gateway."""
        root = os.path.dirname(self.place.rpartition(":")[0])
        line = failures.line(error, root) or failures.line(error, None)
        words = f"{self}: {failures.what(error)}"
        words += f" ({failures.short_path(line, root)})" if line else ""
        _log.error("%s\n%s", words, failures.trace(error))
        return words


class _Status(Exception):
    """What a call ends with instead of a reply."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        # A lone surrogate cannot be sent, and then nothing would be: the client would wait for ever.
        words = words.encode("utf-8", "backslashreplace").decode()
        self.code, self.words = code, failures.one_line(words, _WORDS)


class _Dispatcher:
    """Answers coprocess.Dispatcher.

    `busy` has the threads of the pool that are running a hook: each adds and removes itself alone.
    """

    def __init__(self, table: Sequence[_Method], pool: concurrent.futures.Executor) -> None:
        self.table = table
        self.busy: set[int] = set()
        self._pool = pool
        self._hooks = {method.name: method for method in table if method.kind == "hook"}
        self._events = {method.name: method for method in table if method.kind == "event handler"}

    def handler(self) -> grpc.GenericRpcHandler:
        """Give what a server of gRPC takes; without serializers, so that messages are bytes."""
        methods = {"Dispatch": self._dispatch, "DispatchEvent": self._dispatch_event}
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {name: grpc.unary_unary_rpc_method_handler(_with_status(method)) for name, method in methods.items()},
        )

    async def _dispatch(self, data: bytes) -> bytes:
        try:
            message = _bridge.message("Object", data)
            name = message.hook_name
        except (DecodeError, UnicodeDecodeError) as error:
            raise _Status(grpc.StatusCode.INVALID_ARGUMENT, f"the request is no coprocess.Object: {error}") from error
        hook = _find(self._hooks, name, "hook")
        if hook.is_async:
            result = await _awaited(hook, message)
        else:
            result = await self._in_thread(hook, message)
        return _reply(hook, message, result)

    async def _dispatch_event(self, data: bytes) -> bytes:
        try:
            event = dispatched.parse(_bridge.message("Event", data).payload)
        except (DecodeError, MalformedError, UnicodeDecodeError) as error:
            raise _Status(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        handler = _find(self._events, event.handler_name, "event handler")
        if handler.is_async:
            await _awaited(handler, event.content, event.spec)
        else:
            await self._in_thread(handler, event.content, event.spec)
        return b""

    async def _in_thread(self, method: _Method, *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._call, method, arguments)

    def _call(self, method: _Method, arguments: tuple[object, ...]) -> Any:
        me = threading.get_ident()
        self.busy.add(me)
        try:
            return method.function(*arguments)
        except BaseException as error:
            raise _Status(grpc.StatusCode.INTERNAL, method.failed(error)) from None
        finally:
            self.busy.discard(me)


async def _awaited(method: _Method, *arguments: object) -> Any:
    try:
        return await method.function(*arguments)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # by the client, or by its deadline
        raise _Status(grpc.StatusCode.INTERNAL, method.failed(error)) from None
    except BaseException as error:
        raise _Status(grpc.StatusCode.INTERNAL, method.failed(error)) from None


def _with_status(answer: Callable[[bytes], Awaitable[bytes]]) -> Callable[[bytes, Any], Awaitable[bytes]]:
    @functools.wraps(answer)
    async def answered(data: bytes, context: Any) -> bytes:
        try:
            return await answer(data)
        except _Status as status:
            code, words = status.code, status.words
        await context.abort(code, words)
        raise AssertionError("abort returns")

    return answered


def _find(methods: dict[str, _Method], name: str, kind: str) -> _Method:
    found = methods.get(name)
    if found is None:
        known = ", ".join([*sorted(methods)[:_LISTED], *(["..."] if len(methods) > _LISTED else [])])
        words = f'there is no {kind} "{name}" here; there are: {known}' if known else f"there is no {kind} here"
        raise _Status(grpc.StatusCode.NOT_FOUND, words)
    return found


def _reply(hook: _Method, message: _bridge.Message, result: object) -> bytes:
    """Serialise what a hook returned."""
    if result is None:
        result = message
    descriptor = getattr(result, "DESCRIPTOR", None)
    if getattr(descriptor, "full_name", None) != "coprocess.Object":
        words = f"{hook} returned {type(result).__name__}; a hook returns its coprocess.Object, or nothing"
        words += f" ({failures.short_path(hook.place, None)})"
        _log.error(words)
        raise _Status(grpc.StatusCode.INTERNAL, words)
    data: bytes = result.SerializeToString()  # type: ignore[attr-defined]
    return data


def _collect(plugins: Sequence[Plugin]) -> list[_Method]:
    """Read the methods of plugins."""
    if not plugins:
        raise ValueError("there is nothing to serve: serve(MyPlugin())")
    table: dict[str, _Method] = {}
    for plugin in plugins:
        if not isinstance(plugin, Plugin):
            raise ValueError(f"{plugin!r} is no Plugin: write class Mine(Plugin) and serve(Mine())")
        for name in _names(type(plugin)):
            method = _method(plugin, name)
            other = table.setdefault(name, method)
            if other is not method:
                words = f'"{name}" is there twice: {other.place} and {method.place}; rename one'
                raise LoadError(words, place=method.place)
    if not table:
        raise LoadError(f"{', '.join(type(plugin).__name__ for plugin in plugins)}: no method, so nothing to serve")
    return list(table.values())


def _names(kind: type) -> list[str]:
    """Name the methods of a class, those of its bases first."""
    classes = [one for one in reversed(kind.__mro__) if one not in (object, Plugin)]
    names = [name for one in classes for name, value in vars(one).items() if callable(getattr(kind, name))]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def _method(plugin: Plugin, name: str) -> _Method:
    function = getattr(plugin, name)
    owner = type(plugin).__qualname__
    place = handlers.place(function)
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    arity = sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
    if arity not in _FORMS or len(kinds) != arity:
        right = " or ".join(form.format(name=name) for form in _FORMS.values())
        words = f'{place}: "{name}" of "{owner}" is no hook; write {right}, or begin its name with "_"'
        raise LoadError(words, place=place)
    return _Method(
        function,
        kind="hook" if arity == 1 else "event handler",
        name=name,
        plugin=owner,
        place=place,
        is_async=inspect.iscoroutinefunction(function),
    )


@dataclass(frozen=True)
class _Address:
    """Where a server listens.

    Attributes:
        target: as gRPC writes it.
        is_local: nobody on another machine reaches it.
        port: whether the address has one.
    """

    target: str
    is_local: bool
    port: bool

    @classmethod
    def of(cls, address: str) -> _Address:
        """Read an address as definitions have it. Raises ValueError."""
        parts = urlsplit(address)
        if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
            return cls(f"unix:{unquote(parts.path)}", is_local=True, port=False)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if parts.scheme != "tcp" or not host or port is None or parts.path or parts.query:
            raise ValueError(f'the address must be "tcp://host:port" or "unix:///path", not {address!r}')
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", is_local=_is_loopback(host), port=True)

    def is_taken(self) -> bool:
        """Whether it is a socket on which somebody listens.

        gRPC would put another in its place, and the first server remove that at its end.
        """
        if self.port:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(self.target.removeprefix("unix:"))
            except BlockingIOError:
                return True
            except OSError:
                return False
        return True

    def announced(self, port: int | None = None) -> str:
        """Give it as definitions have it, with the port that was taken, if one was."""
        if not self.port:
            return f"unix://{self.target[5:]}"
        host, _, asked = self.target.rpartition(":")
        return f"tcp://{host}:{asked if port is None else port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(
    certificate: str | os.PathLike[str] | None,
    key: str | os.PathLike[str] | None,
    client_ca: str | os.PathLike[str] | None,
) -> grpc.ServerCredentials | None:
    if certificate is None or key is None:
        if (certificate, key, client_ca) != (None, None, None):
            raise ValueError("TLS needs both, certificate and key; client_ca alone proves nothing about the server")
        return None
    chain, secret = Path(certificate).read_bytes(), Path(key).read_bytes()
    for path, text in ((certificate, chain), (key, secret)):
        if not re.search(rb"-----BEGIN [A-Z ]+-----", text):
            raise ValueError(f"{os.fspath(path)} is no PEM file")
    roots = Path(client_ca).read_bytes() if client_ca is not None else None
    return grpc.ssl_server_credentials([(secret, chain)], roots, require_client_auth=roots is not None)


async def _serve(
    dispatcher: _Dispatcher,
    place: _Address,
    credentials: grpc.ServerCredentials | None,
    max_message: int,
    grace: float,
) -> signal.Signals:
    """Serve until a signal; give that."""
    options = [
        ("grpc.max_receive_message_length", max_message),
        ("grpc.max_send_message_length", max_message),
        # Otherwise two servers could have one port, and each some of the calls.
        ("grpc.so_reuseport", 0),
        # Otherwise calls of a burst are cancelled by chance. How many there may be is the gateway's max_in_flight.
        ("grpc.server.max_pending_requests", _PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING),
    ]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers([dispatcher.handler()])
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    await healthy.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    try:
        if place.is_taken():
            raise RuntimeError("somebody listens")
        if credentials is None:
            port = server.add_insecure_port(place.target)
        else:
            port = server.add_secure_port(place.target, credentials)
    except RuntimeError:  # whose words say less
        words = f"{place.announced()}: it cannot be listened on; is it in use, or the certificate not the key's?"
        raise OSError(words) from None
    ended: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
    _listen_to_signals(ended)
    await server.start()
    _announce(place.announced(port), dispatcher.table)
    number = await ended
    # gRPC's core cancels at its end the calls that it has read and nobody has taken: none should be sent by then.
    await healthy.enter_graceful_shutdown()
    await asyncio.sleep(min(_LEAVE, grace))
    await server.stop(grace)
    return number


def _listen_to_signals(ended: asyncio.Future[signal.Signals]) -> None:
    """Let the first of the signals end it; the second one does what it always does."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def end(number: signal.Signals) -> None:
        for other in numbers:
            loop.remove_signal_handler(other)
        ended.set_result(number)

    for number in numbers:
        loop.add_signal_handler(number, end, number)


def _announce(address: str, table: Sequence[_Method]) -> None:
    for_people = "; ".join(
        f"{kind}s {', '.join(names)}"
        for kind in ("hook", "event handler")
        if (names := [method.name for method in table if method.kind == kind])
    )
    print(f"serving {address}: {for_people}", flush=True)
