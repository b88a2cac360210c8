"""A store in Redis, which processes on any number of machines share.

Commands are sent here, one connection and one answer at a time, and not by redis-py's client: that repeats what failed,
and a write whose answer was lost may have been done. Only what reads is sent once more.
"""

from __future__ import annotations

import functools
import hashlib
import os
import queue
import re
import ssl
import threading
import time
from typing import Any

from tykbridge import failures, locks
from tykbridge.counters import Hit
from tykbridge.stores import CLOSED, StoreError, shown, whole_number, wire
from tykbridge.stores.opening import Storage

try:
    from redis import exceptions
    from redis.backoff import NoBackoff
    from redis.connection import BlockingConnectionPool, Connection, SSLConnection, UnixDomainSocketConnection
    from redis.retry import Retry
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "a store in Redis needs redis-py: pip install 'tykbridge[redis]'", name="redis"
    ) from error

TIMEOUT = 1.0
"""Seconds that a call takes at most, where nothing else is said. Tyk's is 5; a request waits for several calls."""
CONNECTIONS = 500
"""Connections of a process at most, where nothing else is said, as in Tyk."""
PAUSE = 0.5
"""Seconds for which a server that did not answer is left alone; every call fails at once meanwhile."""

_PIECE = 1000  # keys that the server looks at for one answer when it is asked for all
_LONGEST = 2**52  # milliseconds that something may be kept; Redis refuses what does not fit into 64 bits with its clock

# The server's own clock decides when a window ends, so that it is the one in which that is told: machines whose clocks
# differ agree. A number without an expiry never ended, and ends when its limit learns to renew (counters.py).
_HIT = """
local key, limit, window = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local value, left = redis.call('GET', key), redis.call('PTTL', key)
if value and left == -1 and window > 0 then
  redis.call('DEL', key)
  value = false
end
if value and not string.match(value, '^-?%d+$') then return redis.error_reply('ERR value is not an integer') end
local passed = tonumber(value or 0)
local allowed = passed < limit and 1 or 0
if allowed == 1 then
  passed = redis.call('INCR', key)
  if not value and window > 0 then redis.call('PEXPIRE', key, ARGV[2]) end
end
left = redis.call('PTTL', key)
local now = redis.call('TIME')
local resets = '0'
if left >= 0 then resets = string.format('%.3f', now[1] + math.floor(now[2] / 1000) / 1000 + left / 1000) end
return {allowed, passed, resets}
"""
_HIT_NAME = hashlib.sha1(_HIT.encode(), usedforsecurity=False).hexdigest()  # what EVALSHA calls it


class RedisStore:
    """Data and counters in Redis. Safe to use from any thread, and in a process that was forked.

    Every call ends within `timeout` seconds, looking up the host's name excepted. After one in which the server could
    not be reached or did not answer, all fail at once for `PAUSE` seconds; then one call tries again, the others go on
    failing until it has come through.

    Args:
        storage: where the server is, and how to talk to it.

    Raises:
        StoreError: redis-py is not installed, or `storage` cannot be used. The server is asked for nothing yet.
    """

    def __init__(self, storage: Storage) -> None:
        self._name = f"Redis at {storage.host}" + ("" if storage.host.startswith("/") else f":{storage.port}")
        self._timeout = storage.timeout if storage.timeout > 0 else TIMEOUT
        self._make = functools.partial(_Link, self._name, storage, self._timeout)
        self._link = self._make()
        self._closed = False

    def __repr__(self) -> str:
        return f"RedisStore({self._name!r})"

    def get(self, key: str) -> bytes | None:
        """Returns the value of `key`, or None when there is none or its time is over."""
        found = self._ask(key, "GET")
        return None if found is None else bytes(found)

    def set(self, key: str, value: bytes, ttl: float = 0) -> None:
        """Sets the value of `key` for `ttl` seconds; 0 or less: for good."""
        self._do(key, "SET", value, *_expiry(ttl))

    def add(self, key: str, value: bytes, ttl: float = 0) -> bool:
        """Sets `key` only where it has no value; returns whether it did. Of several at once one does."""
        return self._do(key, "SET", value, "NX", *_expiry(ttl)) is not None

    def delete(self, key: str) -> bool:
        """Removes `key`; returns whether it was there."""
        return bool(self._do(key, "DEL"))

    def incr(self, key: str, by: int = 1) -> int:
        """Adds to the number at `key`, atomically; a missing one is 0. Returns the sum; its time to live stays."""
        whole_number(key, None, by)
        return int(self._do(key, "INCRBY", by))

    def ttl(self, key: str) -> float | None:
        """Returns the seconds that `key` has left: 0.0 for good, None when there is no such key."""
        left = int(self._ask(key, "PTTL"))
        if left == -2:
            return None
        return 0.0 if left == -1 else max(left, 1) / 1000

    def hit(self, key: str, limit: int, window: float) -> Hit:
        """Counts one request; see `Counters.hit`. `Hit.resets` is in the server's time."""
        given = (1, wire(key), limit, _milliseconds(window) if window > 0 else 0)
        allowed, passed, resets = self._call(key, ("EVALSHA", _HIT_NAME, *given), unknown=("EVAL", _HIT, *given))
        return Hit(bool(allowed), int(passed), float(resets))

    def reset(self, key: str) -> None:
        """Forgets what was counted on `key`."""
        self._do(key, "DEL")

    def names(self, start: str) -> list[str]:
        """Returns all keys that begin so. Goes through the whole database, a piece at a time (SCAN)."""
        pattern = re.sub(rb"([*?\[\]\\^-])", rb"\\\1", wire(start)) + b"*"
        found: set[bytes] = set()
        cursor = b"0"
        while True:
            cursor, keys = self._call(start, ("SCAN", cursor, "MATCH", pattern, "COUNT", _PIECE), again=True)
            found.update(keys)
            if cursor == b"0":
                return [key.decode("utf-8", "surrogateescape") for key in found]

    def close(self) -> None:
        """Closes all connections. Calls that follow raise `StoreError`."""
        self._closed = True
        if self._link.pid == os.getpid():
            self._link.pool.disconnect()

    def _ask(self, key: str, name: str) -> Any:
        return self._call(key, (name, wire(key)), again=True)

    def _do(self, key: str, name: str, *arguments: Any) -> Any:
        return self._call(key, (name, wire(key), *arguments))

    def _call(
        self, key: str, command: tuple[Any, ...], *, again: bool = False, unknown: tuple[Any, ...] | None = None
    ) -> Any:
        """Sends a command about a key.

        `again`: once more, where the connection broke while it was on its way. `unknown` goes in place of a script that
        the server does not know, and so did not run.
        """
        if self._closed:
            raise StoreError(f"{self._name}: {CLOSED}")
        if self._link.pid != os.getpid():
            self._link = self._make()
        outer = _limit.deadline  # of a call that this one interrupts: a finalizer's
        _limit.deadline = time.monotonic() + self._timeout
        try:
            try:
                return self._link.call(command, again)
            except exceptions.NoScriptError:
                if unknown is None:
                    raise
            return self._link.call(unknown, False)
        except exceptions.ResponseError as error:
            raise StoreError(f"{self._name}: {shown(key)}: {_words(error)}") from None
        finally:
            _limit.deadline = outer


class _Link:
    """The way of one process to the server: its connections, and whether there is any use in trying them.

    A child never uses its parent's: it makes one of its own.
    """

    def __init__(self, name: str, storage: Storage, timeout: float) -> None:
        self.pid = os.getpid()
        self._name, self._timeout = name, timeout
        self.pool: Any = _pool(storage)
        # Reentrant: a finalizer that runs while it is held may call the store on the same thread.
        self._lock = locks.reentrant()
        self._why = ""  # the server is out of reach, and why; set under the lock, as those that follow
        self._again_at = 0.0  # when it may be tried again (time.monotonic)
        self._trying = False  # a call does so

    def call(self, command: tuple[Any, ...], again: bool) -> Any:
        """Sends a command and gives its answer.

        Raises:
            StoreError: there is none.
            ResponseError: the answer is an error.
        """
        tries = self._why != "" and self._may_try()
        why = None  # nothing was learned of the server
        try:
            answer = self._exchange(command, again)
            why = ""
            return answer
        except exceptions.ResponseError:
            why = ""
            raise
        except _UnreachableError as error:
            why = str(error)
            raise StoreError(f"{self._name}: {why}") from None
        finally:
            if tries or why:
                with self._lock:
                    if why is not None:
                        self._why, self._again_at = why, time.monotonic() + PAUSE
                    if tries:
                        self._trying = False

    def _may_try(self) -> bool:
        """Whether this call is the one that finds out if the server is back; raises `StoreError` where another is."""
        with self._lock:
            if self._why and (self._trying or time.monotonic() < self._again_at):
                raise StoreError(f"{self._name}: not tried, because a moment ago: {self._why}")
            self._trying = self._why != ""
            return self._trying

    def _exchange(self, command: tuple[Any, ...], again: bool) -> Any:
        try:
            connection = self.pool.get_connection()
        except Exception as error:  # ValueError and others for a name or an answer that is none
            if isinstance(error.__context__, queue.Empty):
                words = f"all {self.pool.max_connections} connections were in use for {self._timeout / 2:g} s"
                raise StoreError(f"{self._name}: {words}") from None
            raise _UnreachableError(_words(error)) from None
        try:
            connection.send_command(*command)
            return connection.read_response()
        except exceptions.ResponseError:
            raise  # an answer: the connection is as good as before
        except exceptions.TimeoutError:
            raise _UnreachableError(f"no answer within {self._timeout:g} s") from None
        except exceptions.RedisError as error:
            words = _words(error)
        except Exception as error:  # an answer that is none
            connection.disconnect()
            words = _words(error)
        except BaseException:
            connection.disconnect()  # an answer that comes later must not be the next call's
            raise
        finally:
            self.pool.release(connection)
        if again:
            return self._exchange(command, False)
        raise StoreError(f"{self._name}: {words}")


class _UnreachableError(Exception):
    """There is no connection to the server, or it does not answer."""


class _Limit(threading.local):
    """When the call must be over that this thread is in (time.monotonic)."""

    deadline = 0.0

    def left(self) -> float:
        """Returns the seconds until then, never less than a moment: 0 would not wait at all."""
        return max(self.deadline - time.monotonic(), 0.001)


_limit = _Limit()


class _Socket:
    """A socket on which no call waits longer than it may, in however many pieces the server reads and answers."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, *arguments: Any) -> Any:
        self._bound()
        return self._sock.recv(*arguments)

    def recv_into(self, *arguments: Any) -> Any:  # where hiredis is installed
        self._bound()
        return self._sock.recv_into(*arguments)

    def sendall(self, data: Any) -> None:
        self._bound()
        self._sock.sendall(data)

    def _bound(self) -> None:
        if self._sock.gettimeout() == 0.0:  # the pool looks whether there is anything to read
            return
        if time.monotonic() >= _limit.deadline:
            raise TimeoutError
        self._sock.settimeout(_limit.left())


class _Limited:
    """Lets all that a connection waits for in a call end in time, whatever it is."""

    def _connect(self) -> Any:
        return _Socket(super()._connect())  # type: ignore[misc]

    # Half of what is left: a name may have several addresses, and each gets its turn.
    socket_connect_timeout = property(lambda self: _limit.left() / 2, lambda self, seconds: None)
    socket_timeout = property(lambda self: _limit.left(), lambda self, seconds: None)


class _Pool(BlockingConnectionPool):
    """Connections, of which a call waits for one that is free for half of its time at most."""

    timeout = property(lambda self: _limit.left() / 2, lambda self, seconds: None)


class _Free(queue.LifoQueue[Any]):
    """Connections that are free. A finalizer that runs while it is locked may call the store on the same thread."""

    def __init__(self, maxsize: int) -> None:
        super().__init__(maxsize)
        self.mutex = locks.reentrant()  # type: ignore[assignment]
        self.not_empty = threading.Condition(self.mutex)
        self.not_full = threading.Condition(self.mutex)
        self.all_tasks_done = threading.Condition(self.mutex)


class _Tcp(_Limited, Connection):
    pass


class _Tls(_Limited, SSLConnection):
    pass


class _Unix(_Limited, UnixDomainSocketConnection):
    pass


def _pool(storage: Storage) -> Any:
    options: dict[str, Any] = {
        "db": storage.database,
        "username": storage.username or None,
        "password": storage.password or None,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    kind: type[Any]
    if storage.host.startswith("/"):
        kind, options["path"] = _Unix, storage.host
    else:
        kind = _Tls if storage.use_ssl else _Tcp
        options |= {"host": storage.host, "port": storage.port}
    if kind is _Tls:
        _check_certificates(storage)
        options |= {
            "ssl_cert_reqs": "none" if storage.ssl_insecure_skip_verify else "required",
            "ssl_check_hostname": not storage.ssl_insecure_skip_verify,  # older ones would check all the same, and fail
            "ssl_ca_certs": storage.ca_file or None,
            "ssl_certfile": storage.cert_file or None,
            "ssl_keyfile": storage.key_file or None,
        }
    most = storage.optimisation_max_active if storage.optimisation_max_active > 0 else CONNECTIONS
    kinds: Any = _Pool  # whose methods have no types
    return kinds(connection_class=kind, max_connections=most, queue_class=_Free, **options)


def _check_certificates(storage: Storage) -> None:
    """Reads the files once, so that what is wrong with them is told now, and not as a server out of reach."""
    context = ssl.create_default_context()
    try:
        if storage.ca_file:
            context.load_verify_locations(storage.ca_file)
    except OSError as error:
        raise StoreError(f"storage: ca_file: {storage.ca_file}: {error.strerror or error}") from error
    try:
        if storage.cert_file:
            context.load_cert_chain(storage.cert_file, storage.key_file or None)
    except OSError as error:
        where = f"cert_file: {storage.cert_file}, key_file: {storage.key_file or storage.cert_file}"
        raise StoreError(f"storage: {where}: {error.strerror or error}") from error


def _expiry(ttl: float) -> tuple[Any, ...]:
    return ("PX", _milliseconds(ttl)) if ttl > 0 else ()


def _milliseconds(seconds: float) -> int:
    return max(1, int(min(seconds * 1000, _LONGEST)))


def _words(error: Exception) -> str:
    """Returns what redis-py or the server says, without the arguments of a command that the server does not know."""
    return (
        failures.one_line(str(error).partition(", with args")[0].partition(" script: ")[0], 300) or type(error).__name__
    )
