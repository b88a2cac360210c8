"""Servers that are slow, down, full or unwell, and connections that are none of anybody's business."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time

import grpc
import pytest

from tests import grpcserver
from tests.openssl import openssl
from tests.servers import free_port, until
from tests.test_drivers_grpc import REQUEST, Plugins, counts, loaded, logs  # noqa: F401
from tykbridge import waiting
from tykbridge.drivers.grpc import server
from tykbridge.outcome import Continue

LONG = 60_000  # milliseconds: what waits for it hangs
UNAVAILABLE = {"error": "Middleware unavailable"}


@pytest.fixture
def plugins():
    return Plugins()


def target(address, **settings):
    return {"targets": {"t": {"address": address, **settings}}}


def statuses(bridge, count=1):
    return [200 if isinstance(made, Continue) else made.response.status for made in run(bridge, count)]


def run(bridge, count=1):
    return [bridge.request(REQUEST) for _ in range(count)]


class Gate:
    """A hook that waits until it is let go."""

    def __init__(self):
        self.entered, self.go = threading.Semaphore(0), threading.Event()

    def __call__(self, message):
        self.entered.release()
        assert self.go.wait(30)


def in_threads(count, function):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


# ---- Deadlines


@pytest.mark.parametrize("where", ["hook", "target"])
def test_a_hook_that_is_late_is_a_504(where, plugins, logs):  # noqa: F811
    plugins.hook = gate = Gate()
    with grpcserver.serving(plugins.answer) as address:
        hook = {"name": "H", "timeout_ms": 50} if where == "hook" else "H"
        limit = {"timeout_ms": LONG if where == "hook" else 50}
        [outcome] = run(loaded(hook, grpc=target(address, **limit)))
        gate.go.set()
    assert (outcome.response.status, json.loads(outcome.response.body)) == (504, {"error": "Middleware took too long"})
    assert "DEADLINE_EXCEEDED" in logs[0]
    assert "raise the hook's timeout_ms" in logs[0]


# ---- How many


def test_calls_beyond_the_limit_are_refused_at_once_and_counted(plugins, logs):  # noqa: F811
    plugins.hook = gate = Gate()
    with grpcserver.serving(plugins.answer) as address:
        bridge = loaded("H", grpc=target(address, max_in_flight=2, timeout_ms=LONG))
        threads = in_threads(2, lambda: run(bridge))
        for _ in threads:
            assert gate.entered.acquire(timeout=30)
        refused = run(bridge, 3)
        assert counts(address) == {
            "calls": 2,
            "failed": 0,
            "refused_full": 3,
            "refused_open": 0,
            "in_flight": 2,
            "open": 0,
        }
        gate.go.set()
        for thread in threads:
            thread.join(30)
        assert statuses(bridge) == [200]
    assert {outcome.response.status for outcome in refused} == {503}
    assert ("Retry-After", "1") in refused[0].response.headers
    assert json.loads(refused[0].response.body) == UNAVAILABLE
    [line] = logs  # one line, however many were refused
    assert "2 calls are in flight, which is max_in_flight; refused so far: 1" in line


def test_the_limit_holds_for_authentication_too(plugins, logs):  # noqa: F811
    plugins.hook = gate = Gate()
    with grpcserver.serving(plugins.answer) as address:
        section = {"auth_check": {"name": "A"}, "pre": []}
        keys = {"use_keyless": False, "custom_plugin_auth_enabled": True, "section": section}
        bridge = loaded(grpc=target(address, max_in_flight=1, timeout_ms=LONG), **keys)
        [thread] = in_threads(1, lambda: run(bridge))
        assert gate.entered.acquire(timeout=30)
        [outcome] = run(bridge)
        gate.go.set()
        thread.join(30)
    assert (outcome.response.status, json.loads(outcome.response.body)) == (503, UNAVAILABLE)


def test_a_server_that_ends_tells_nobody_that_a_key_is_bad(plugins, logs):  # noqa: F811
    plugins.hook = lambda message: (grpc.StatusCode.CANCELLED, "")
    with grpcserver.serving(plugins.answer) as address:
        section = {"auth_check": {"name": "A"}, "pre": []}
        keys = {"use_keyless": False, "custom_plugin_auth_enabled": True, "section": section}
        [outcome] = run(loaded(grpc=target(address), **keys))
        assert (outcome.response.status, json.loads(outcome.response.body)) == (503, UNAVAILABLE)
        assert counts(address)["failed"] == 1
    assert any("CANCELLED" in line and "it ended, or gave the call up" in line for line in logs)


# ---- The breaker


def test_the_breaker_opens_lets_one_call_try_and_closes(plugins, logs, monkeypatch):  # noqa: F811
    now = [1000.0]
    monkeypatch.setattr(server.time, "monotonic", lambda: now[0])
    status = [grpc.StatusCode.UNAVAILABLE]
    plugins.hook = lambda message: (status[0], "busy") if status[0] else None
    with grpcserver.serving(plugins.answer) as address:
        bridge = loaded("H", grpc=target(address, breaker_failures=3, breaker_ms=5000))
        assert statuses(bridge, 2) == [503, 503]
        status[0] = grpc.StatusCode.INTERNAL  # it answers: the count starts again
        assert statuses(bridge) == [500]
        status[0] = grpc.StatusCode.UNAVAILABLE
        assert statuses(bridge, 5) == [503] * 5
        assert len(plugins.calls) == 6  # the last two were not asked for
        assert counts(address)["refused_open"] == 2
        assert len(logs) == 7  # six that failed, and the breaker: not those that were not asked
        opened = next(line for line in logs if "in a row" in line)
        assert opened.startswith(
            f"error: gRPC server {address}: 3 calls in a row failed, the last with UNAVAILABLE: busy"
        )
        now[0] += 5
        assert statuses(bridge, 2) == [503, 503]  # one tries, and fails: the next is not asked for
        assert len(plugins.calls) == 7
        now[0] += 5
        status[0] = None
        assert statuses(bridge, 2) == [200, 200]
        assert counts(address)["open"] == 0
    assert logs[-1] == f"info: gRPC server {address}: it answers again; hooks that were not asked of it meanwhile: 3"


def test_one_call_at_a_time_tries_an_open_breaker(plugins, logs, monkeypatch):  # noqa: F811
    now = [1000.0]
    monkeypatch.setattr(server.time, "monotonic", lambda: now[0])
    plugins.hook = lambda message: (grpc.StatusCode.UNAVAILABLE, "")
    with grpcserver.serving(plugins.answer) as address:
        bridge = loaded("H", grpc=target(address, breaker_failures=1, timeout_ms=LONG))
        assert statuses(bridge) == [503]
        now[0] += 1
        plugins.hook = gate = Gate()
        [thread] = in_threads(1, lambda: run(bridge))
        assert gate.entered.acquire(timeout=30)
        assert statuses(bridge, 2) == [503, 503]
        gate.go.set()
        thread.join(30)
        assert statuses(bridge) == [200]
    assert len(plugins.calls) == 3


def test_a_probe_whose_end_nobody_heard_of_is_not_waited_for_for_ever(plugins, logs, monkeypatch):  # noqa: F811
    now = [1000.0]
    monkeypatch.setattr(server.time, "monotonic", lambda: now[0])
    plugins.hook = lambda message: (grpc.StatusCode.UNAVAILABLE, "")
    with grpcserver.serving(plugins.answer) as address:
        bridge = loaded("H", grpc=target(address, breaker_failures=1, timeout_ms=3000))
        assert statuses(bridge) == [503]
        now[0] += 1
        [asked] = [each for each in server._servers.values() if each.target.address == address]
        assert asked._admit(3.0)  # and an interrupt
        plugins.hook = lambda message: None
        now[0] += 3.9
        assert statuses(bridge) == [503]
        now[0] += 0.2
        assert statuses(bridge) == [200]
        assert counts(address)["open"] == 0


def test_without_a_breaker_every_call_is_made(plugins, logs):  # noqa: F811
    plugins.hook = lambda message: (grpc.StatusCode.UNAVAILABLE, "")
    with grpcserver.serving(plugins.answer) as address:
        assert statuses(loaded("H", grpc=target(address, breaker_failures=0)), 8) == [503] * 8
    assert len(plugins.calls) == 8


# ---- Servers that come and go


def test_a_server_that_is_killed_and_started_again_is_found_again(logs):  # noqa: F811
    with grpcserver.Program() as program:
        bridge = loaded("H", grpc=target(program.address))
        assert statuses(bridge) == [200]
    assert set(statuses(bridge, 20)) == {503}
    assert any("UNAVAILABLE" in line and "start it, or mend its address" in line for line in logs)
    with grpcserver.Program(port=program.port):
        until(lambda: statuses(bridge) == [200])
        assert statuses(bridge, 20) == [200] * 20


def test_a_connection_that_leads_nowhere_is_given_up_where_it_is_probed(logs):  # noqa: F811
    with grpcserver.Program() as program:
        bridge = loaded("H", grpc=target(program.address, keepalive_ms=200, timeout_ms=LONG))
        assert statuses(bridge) == [200]
        program.freeze()
        assert statuses(bridge) == [503]  # not the 504 of a minute later


def test_a_hook_never_runs_twice(logs):  # noqa: F811
    """The connection breaks while the hook runs: whether it did its work, nobody knows."""
    messages = []

    def answer(connection, message):
        messages.append(message)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with listening(answer) as address:
        bridge = loaded("Once", grpc=target(address, wait_for_ready=True, timeout_ms=3000))
        assert statuses(bridge) == [503]
    assert b"Once" in messages[0]
    assert len(messages) == 1


@contextlib.contextmanager
def listening(answer):
    """Talks HTTP/2 up to the first call's message, which `answer` gets, with the connection; that is closed then."""

    def serve():
        with contextlib.suppress(OSError):
            while True:
                with listener.accept()[0] as connection:
                    take(connection, 24)  # HTTP/2's preface
                    connection.sendall(frame(4) + frame(4, flags=1))  # SETTINGS, and the answer to the client's
                    while (head := take(connection, 9))[3]:  # up to DATA
                        take(connection, int.from_bytes(head[:3], "big"))
                    answer(connection, take(connection, int.from_bytes(head[:3], "big")))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def frame(kind, payload=b"", flags=0, stream=0):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def fields(**values):
    """Headers, each written out (HPACK's literal without indexing)."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in values.items()]
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in pairs)


def test_a_status_of_ok_alone_is_no_answer(logs):  # noqa: F811
    def answer(connection, message):
        first = b"\x88" + fields(content_type="application/grpc")  # :status 200
        connection.sendall(frame(1, first, 4, 1) + frame(1, fields(grpc_status="0"), 5, 1))
        connection.recv(1)  # until the client has read it

    with listening(answer) as address:
        assert statuses(loaded("H", grpc=target(address))) == [500]
    assert "it answered OK and without a message" in logs[0]


def take(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def test_waiting_for_a_server_is_what_a_target_may_ask_for(logs):  # noqa: F811
    port = free_port()
    bridge = loaded("H", grpc=target(f"tcp://127.0.0.1:{port}", wait_for_ready=True, timeout_ms=LONG))
    outcomes = []
    [thread] = in_threads(1, lambda: outcomes.extend(statuses(bridge)))
    until(lambda: counts(f"tcp://127.0.0.1:{port}")["in_flight"])
    with grpcserver.Program(port=port):
        thread.join(30)
    assert outcomes == [200]


# ---- Many at a time


THOUSAND = """
import os, sys
from tests.servers import until
from tests.test_drivers_grpc import REQUEST, counts, loaded
from tykbridge import waiting

def threads():
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/comm") as name:
            yield name.read().strip()

bridge = loaded("H", address=sys.argv[1])
started = [waiting.call(lambda: bridge.request(REQUEST)) for _ in range(1000)]
until(lambda: counts(sys.argv[1])["in_flight"] > 100)
most = list(threads())
outcomes = {type(future.result(60)).__name__ for future in started}
# gRPC has more of its own where there are more cores.
print(*outcomes, len(most) - max(0, most.count("event_engine") - 4), counts(sys.argv[1])["in_flight"])
"""


@pytest.mark.plain
def test_a_thousand_hooks_wait_on_a_few_threads(root):
    with grpcserver.Program(delay_ms=200) as program:
        command = [sys.executable, "-c", THOUSAND, program.address]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    kind, threads, left = done.stdout.split()
    assert (kind, left) == ("Continue", "0"), done.stderr
    assert int(threads) <= 8 + waiting.MOST  # so many where the machine is busy; mostly eight


def test_what_waits_beside_its_thread_fails_in_the_same_ways(plugins, logs):  # noqa: F811
    def status(**settings):
        bridge = loaded("H", grpc=target(address, **settings))
        return waiting.call(lambda: statuses(bridge)).result(60)

    with grpcserver.serving(plugins.answer) as address:
        assert status() == [200]
        plugins.hook = lambda message: (grpc.StatusCode.INTERNAL, "no")
        assert status() == [500]
        plugins.hook = gate = Gate()
        assert status(timeout_ms=50) == [504]
        gate.go.set()
    assert status() == [503]
    assert [line.split("): ")[1].split(":")[0] for line in logs] == ["INTERNAL", "DEADLINE_EXCEEDED", "UNAVAILABLE"]
    assert counts(address)["in_flight"] == 0


# ---- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA, and what it signed: a server's certificate for "plugins.test", a client's; and another CA's."""
    folder = tmp_path_factory.mktemp("tls")
    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={ca}", "-days", "2", "-keyout",
                folder / f"{ca}.key", "-out", folder / f"{ca}.pem")  # fmt: skip
    for name in ("plugins.test", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key",
                "-addext", f"subjectAltName=DNS:{name}", "-out", folder / f"{name}.csr")  # fmt: skip
        openssl("x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
                "-days", "2", "-copy_extensions", "copy", "-out", folder / f"{name}.pem")  # fmt: skip
    return folder


def credentials(folder, client=False):
    pair = (folder / "plugins.test.key").read_bytes(), (folder / "plugins.test.pem").read_bytes()
    return grpc.ssl_server_credentials([pair], (folder / "ca.pem").read_bytes() if client else None, client)


def test_tls_checks_who_signed_and_the_name(plugins, logs, certificates):  # noqa: F811
    ca, other = str(certificates / "ca.pem"), str(certificates / "other.pem")
    with grpcserver.serving(plugins.answer, credentials=credentials(certificates)) as address:

        def status(**settings):
            return statuses(loaded("H", grpc=target(address, **settings)))[0]

        assert status(ca=ca, server_name="plugins.test") == 200
        assert status(ca=other, server_name="plugins.test") == 503
        assert status(ca=ca) == 503  # it is not the address's
        assert status(tls=True, server_name="plugins.test") == 503
        assert status() == 503  # plain text to a server that talks TLS
    assert len(plugins.calls) == 1


def test_a_server_may_ask_for_our_certificate(plugins, logs, certificates):  # noqa: F811
    known = {"ca": str(certificates / "ca.pem"), "server_name": "plugins.test"}
    mine = {"cert": str(certificates / "client.pem"), "key": str(certificates / "client.key")}
    with grpcserver.serving(plugins.answer, credentials=credentials(certificates, client=True)) as address:
        assert statuses(loaded("H", grpc=target(address, **known, **mine))) == [200]
        assert statuses(loaded("H", grpc=target(address, **known))) == [503]


# ---- Names and addresses


def test_the_authority(plugins):
    seen = []

    def answer(data, context):
        seen.append(context.host() if hasattr(context, "host") else context._rpc_event.call_details.host)
        return data

    with grpcserver.serving(answer) as address:
        loaded("H", grpc=target(address, authority="plugins.example")).request(REQUEST)
    assert seen in (["plugins.example"], [b"plugins.example"])


class Names:
    """A DNS server that knows one name, and can be told what it means."""

    def __init__(self, *addresses):
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                query, client = self._socket.recvfrom(4096)
                end = query.index(b"\0", 12) + 5
                kind = int.from_bytes(query[end - 4 : end - 2], "big")
                found = self.addresses if kind == 1 else ()
                answers = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(each) for each in found)
                counts = struct.pack(">HHHH", 1, len(found), 0, 0)
                self._socket.sendto(query[:2] + b"\x81\x80" + counts + query[12:end] + answers, client)

    def close(self):
        self._socket.close()


def test_calls_go_round_all_addresses_of_a_name_which_is_looked_up_again(logs):  # noqa: F811
    port = free_port()
    servers = {ip: Plugins() for ip in ("127.0.0.1", "127.0.0.2", "127.0.0.3")}
    names = Names("127.0.0.1", "127.0.0.2")
    with contextlib.closing(names), contextlib.ExitStack() as stack:
        up = {}
        for ip, plugins in servers.items():
            up[ip] = stack.enter_context(contextlib.ExitStack())
            up[ip].enter_context(grpcserver.serving(plugins.answer, address=f"{ip}:{port}"))
        address = f"dns://127.0.0.1:{names.port}/plugins.test:{port}"
        bridge = loaded("H", grpc=target(address, round_robin_load_balancing=True, allow_plaintext=True))

        def asked():
            statuses(bridge, 4)
            return {ip for ip, plugins in servers.items() if plugins.calls}

        until(lambda: asked() == {"127.0.0.1", "127.0.0.2"})
        names.addresses = ("127.0.0.2", "127.0.0.3")
        up["127.0.0.1"].close()
        until(lambda: "127.0.0.3" in asked())
        for plugins in servers.values():
            plugins.calls.clear()
        assert statuses(bridge, 6) == [200] * 6
        assert asked() == {"127.0.0.2", "127.0.0.3"}


def test_a_server_that_says_it_is_unwell_is_not_asked(plugins, logs):  # noqa: F811
    status, changed = [b"\x08\x02"], threading.Event()  # HealthCheckResponse: NOT_SERVING

    def watch(request, context):
        assert request == b"\x0a\x07plugins"  # the service
        yield status[0]
        if changed.wait(30):
            yield status[0]
        while context.is_active():
            time.sleep(0.01)

    health = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Watch": grpc.unary_stream_rpc_method_handler(watch)}
    )
    with grpcserver.beside(health), grpcserver.serving(plugins.answer) as address:
        bridge = loaded("H", grpc=target(address, health_check="plugins", breaker_failures=0))
        assert statuses(bridge, 3) == [503] * 3
        assert plugins.calls == []
        status[0] = b"\x08\x01"
        changed.set()
        until(lambda: statuses(bridge) == [200])


def test_plain_text_to_no_proxy(plugins, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    with grpcserver.serving(plugins.answer) as address:
        assert statuses(loaded("H", grpc=target(address))) == [200]
