"""A host of native plugins (csrc/plugin.h) in ctypes, in a process of its own: a Go library never leaves one."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path

import pytest

from tykbridge.goplugin.compiler import Order, build
from tykbridge.goplugin.toolchain import Target

ABI = 1
CONTINUE, RESPOND = 0, 1
ARGUMENT, NOT_STARTED, MALFORMED, NOT_FOUND, HOOK, TOO_LARGE, FORKED, BAD_ABI, HOST = (
    -1,
    -2,
    -5,
    -6,
    -8,
    -10,
    -11,
    -13,
    -20,
)
KINDS = {"request": 1, "response": 2, "analytics": 3}
PHASES = {"pre": 1, "post": 2, "post_key_auth": 3, "auth_check": 4, "response": 5, "": 0}
TAGS = {
    "method": 1, "url": 2, "scheme": 3, "host": 4, "header": 5, "delete_header": 6, "body": 7, "remote": 8,
    "response_status": 16, "response_header": 17, "response_delete_header": 18, "response_body": 19,
    "session": 32, "token": 33, "metadata": 34, "target": 36, "kept": 40, "record": 48, "error": 64, "stack": 65,
}  # fmt: skip
NAMES = {tag: name for name, tag in TAGS.items()}
NUMBERS = {"response_status": "<I", "kept": "<Q"}
PAIRS = ("header", "response_header", "metadata")


def encode(items):
    """Items [("header", name, value), ("method", text), ("response_status", 200)] as bytes."""
    out = []
    for name, *values in items:
        data = [value.encode() if isinstance(value, str) else value for value in values]
        if name in NUMBERS:
            data = [struct.pack(NUMBERS[name], data[0])]
        elif name in PAIRS:
            data = [struct.pack("<I", len(data[0])), *data]
        body = b"".join(data)
        out.append(struct.pack("<II", TAGS.get(name, name), len(body)) + body)
    return b"".join(out)


def decode(data):
    items = []
    while data:
        tag, size = struct.unpack_from("<II", data)
        assert size <= len(data) - 8
        body, data = data[8 : 8 + size], data[8 + size :]
        name = NAMES[tag]
        if name in NUMBERS:
            items.append((name, struct.unpack(NUMBERS[name], body)[0]))
        elif name in PAIRS:
            end = 4 + struct.unpack_from("<I", body)[0]
            assert end <= len(body)
            items.append((name, body[4:end].decode(), body[end:].decode()))
        else:
            items.append((name, body.decode()))
    return items


class Reply(Structure):
    _fields_ = (("data", POINTER(c_uint8)), ("capacity", c_size_t), ("size", c_size_t), ("kept", c_uint64))


class Call(Structure):
    _fields_ = (
        ("size", c_uint32), ("phase", c_uint32), ("hook", c_int64), ("definition", c_int64), ("timeout_ns", c_int64),
        ("data", c_char_p), ("data_size", c_size_t),
    )  # fmt: skip


LOG = CFUNCTYPE(None, c_void_p, c_char_p, c_void_p, c_size_t)
EVENT = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)
GET = CFUNCTYPE(c_int64, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)
SET = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_int64, c_uint32)
DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
INCREMENT = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t, c_int64, c_int64, POINTER(c_int64))
TTL = CFUNCTYPE(c_int64, c_void_p, c_void_p, c_size_t)


class Table(Structure):
    _fields_ = (
        ("abi", c_uint32), ("size", c_uint32), ("context", c_void_p), ("settings", c_char_p), ("log", LOG),
        ("trigger_event", EVENT), ("store_get", GET), ("store_set", SET), ("store_delete", DELETE),
        ("store_increment", INCREMENT), ("store_ttl", TTL),
    )  # fmt: skip


class Plugin(Structure):
    _fields_ = (
        ("abi", c_uint32),
        ("size", c_uint32),
        ("manifest", CFUNCTYPE(c_char_p)),
        ("start", CFUNCTYPE(c_int, POINTER(Table), POINTER(Reply))),
        ("define", CFUNCTYPE(c_int64, c_char_p, c_size_t, POINTER(Reply))),
        ("release", CFUNCTYPE(None, c_int64)),
        ("lookup", CFUNCTYPE(c_int64, c_char_p, c_size_t, c_uint32)),
        ("invoke", CFUNCTYPE(c_int, POINTER(Call), POINTER(Reply))),
        ("fetch", CFUNCTYPE(c_int, c_uint64, POINTER(Reply))),
    )


class Buffer:
    """A caller's buffer with its Reply, and words that tell whether a byte past its end was written."""

    def __init__(self, capacity=4096):
        self._bytes = (c_uint8 * (capacity + 16))(*[0xA5] * (capacity + 16))
        self.reply = Reply(ctypes.cast(self._bytes, POINTER(c_uint8)), capacity, 99, 99)

    def items(self):
        capacity, size = self.reply.capacity, self.reply.size
        assert bytes(self._bytes[capacity:]) == b"\xa5" * 16
        return decode(bytes(self._bytes[: size if size <= capacity and not self.reply.kept else 0]))


class Host:
    """A library that was opened, and what it asked the host for."""

    def __init__(self, library):
        self._plugin = Plugin.in_dll(ctypes.CDLL(library), "tykb_plugin")
        self.logs, self.events, self.store, self._ttls = [], [], {}, {}
        self._lock = threading.Lock()
        self._broken = False

    def sizes(self):
        return self._plugin.abi, self._plugin.size == ctypes.sizeof(Plugin)

    def manifest(self):
        return json.loads(self._plugin.manifest())

    def start(self, settings=None, abi=ABI, without=()):
        """Hand over a table, without the functions named; gives the status and the reply."""
        text = ctypes.string_at
        functions = {
            "log": LOG(lambda _, level, at, size: self.logs.append((level.decode(), text(at, size).decode()))),
            "trigger_event": EVENT(lambda _, a, n, b, m: self.events.append((text(a, n), text(b, m))) or 0),
            "store_get": GET(self._get),
            "store_set": SET(self._set),
            "store_delete": DELETE(lambda _, at, size: int(self.store.pop(text(at, size), None) is not None)),
            "store_increment": INCREMENT(self._increment),
            "store_ttl": TTL(lambda _, at, size: self._ttls.get(text(at, size), NOT_FOUND)),
        }
        self._table = Table(abi, ctypes.sizeof(Table), None, settings and settings.encode())
        for name, function in functions.items():
            if name not in without:
                setattr(self._table, name, function)
        self._kept = functions
        buffer = Buffer()
        return self._plugin.start(ctypes.byref(self._table), ctypes.byref(buffer.reply)), buffer.items()

    def _get(self, _, at, size, value, capacity):
        if self._broken:
            return HOST
        found = self.store.get(ctypes.string_at(at, size))
        if found is None:
            return NOT_FOUND
        if len(found) <= capacity:
            ctypes.memmove(value, found, len(found))
        return len(found)

    def _set(self, _, at, size, value, value_size, ttl, flags):
        key = ctypes.string_at(at, size)
        if flags & 1 and key in self.store:
            return 0
        self.store[key], self._ttls[key] = ctypes.string_at(value, value_size), ttl
        return 1

    def _increment(self, _, at, size, by, ttl, total):
        if self._broken:
            return HOST
        with self._lock:
            key = ctypes.string_at(at, size)
            self._ttls.setdefault(key, ttl)
            total[0] = int(self.store.get(key, b"0")) + by
            self.store[key] = str(total[0]).encode()
        return 0

    def break_store(self):
        self._broken = True

    def seen(self):
        """What the plugin asked the host for so far: logs, events, store."""
        return self.logs, self.events, self.store

    def define(self, document):
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        buffer = Buffer()
        return self._plugin.define(text, len(text), ctypes.byref(buffer.reply)), buffer.items()

    def release(self, number):
        self._plugin.release(number)

    def lookup(self, name, kind):
        return self._plugin.lookup(name.encode(), len(name.encode()), KINDS[kind])

    def run(self, name, kind, items, definition=0, phase="", timeout=0.0, capacity=4096):
        """Run a hook; gives its outcome and the reply's items, which are fetched where they do not fit."""
        hook = name if isinstance(name, int) else self.lookup(name, kind)
        data = items if isinstance(items, bytes) else encode(items)
        call = Call(ctypes.sizeof(Call), PHASES[phase], hook, definition, int(timeout * 1e9), data, len(data))
        buffer = Buffer(capacity)
        outcome = self._plugin.invoke(ctypes.byref(call), ctypes.byref(buffer.reply))
        if not buffer.reply.kept:
            assert buffer.reply.size <= capacity
            return outcome, buffer.items()
        assert buffer.reply.size > capacity
        number, needed = buffer.reply.kept, buffer.reply.size
        small, right = Buffer(needed - 1), Buffer(needed)
        assert self._plugin.fetch(number, ctypes.byref(small.reply)) == TOO_LARGE
        assert (small.reply.size, small.reply.kept, small.items()) == (needed, number, [])
        assert self._plugin.fetch(number, ctypes.byref(right.reply)) == CONTINUE
        assert (right.reply.size, right.reply.kept) == (needed, 0)
        return outcome, right.items()

    def run_and_forget(self, name, kind, items):
        """Run a hook whose reply fits nowhere and is thrown away; gives what fetch says then, and a second time."""
        hook, data = self.lookup(name, kind), encode(items)
        call = Call(ctypes.sizeof(Call), 0, hook, 0, 0, data, len(data))
        reply = Reply(None, 0, 99, 99)
        self._plugin.invoke(ctypes.byref(call), ctypes.byref(reply))
        return self._plugin.fetch(reply.kept, None), self._plugin.fetch(reply.kept, None)

    def forget(self, number):
        """Have it forget what it kept; gives the status."""
        return self._plugin.fetch(number, None)

    def run_many(self, name, kind, items, threads, calls):
        """Run a hook from several threads at once; gives the distinct outcomes."""
        outcomes = set()

        def work():
            for _ in range(calls):
                outcome, out = self.run(name, kind, items)
                outcomes.add((outcome, tuple(out)))

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return outcomes

    def run_in_a_forked_child(self, name, kind, items):
        """What all functions answer in a child: (invoke with its words, lookup, manifest)."""
        there, back = os.pipe()
        child = os.fork()
        if not child:
            signal.alarm(60)  # Go that is entered in a child waits for ever
            with contextlib.suppress(BaseException):
                hook = 1
                said = self.run(hook, kind, items), self.lookup(name, kind), self._plugin.manifest()
                os.write(back, pickle.dumps(said))
            os._exit(0)
        os.close(back)
        with os.fdopen(there, "rb") as stream:
            said = stream.read()
        os.waitpid(child, 0)
        return pickle.loads(said)


@functools.cache
def go_environment():
    """Where Go and Zig keep what they made: below build/, which is never the machine's."""
    build = Path(__file__).resolve().parent.parent / "build"
    return {
        "GOCACHE": str(build / "go/cache"),
        "GOMODCACHE": str(build / "go/mod"),
        "GOFLAGS": "-modcacherw",  # so that make clean can remove it
        "GOTOOLCHAIN": "local",
        "ZIG_GLOBAL_CACHE_DIR": str(build / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(build / "zig"),
    }


@pytest.fixture(scope="session")
def go_plugin(tmp_path_factory, root):
    """Builds plugins in Go, each once: `go_plugin("examples/go/auth", goarch="arm64", glibc="2.17")`."""
    folder = tmp_path_factory.mktemp("plugins")

    @functools.cache
    def made(source, goarch, glibc, build_id):
        name = f"{Path(source).name}-{glibc}-{build_id}"
        order = Order(str(folder / name), Target("linux", goarch or Target.here(), glibc), root / source, build_id)
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in go_environment().items():
                patch.setenv(variable, value)
            return build(order)

    return lambda source, goarch="", glibc="", build_id="": made(str(source), goarch, glibc, build_id)


class Child:
    """A Host in another process, or what `module` serves in its place: its methods by their names."""

    def __init__(self, library, module="tests.plugins", **env):
        root = Path(__file__).resolve().parent.parent
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, str(library)],
            cwd=root, env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __getattr__(self, name):
        def call(*arguments, **named):
            pickle.dump((name, arguments, named), self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call

    def close(self):
        """Let the process end, and give its exit status."""
        self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait()


def serve(make):
    # What a plugin prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    host = make()
    while True:
        try:
            name, arguments, named = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = getattr(host, name)(*arguments, **named)
        except BaseException as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    serve(lambda: Host(sys.argv[1]))
