"""The store in Redis: a real server that hangs, dies, comes back, refuses, and holds what others wrote."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import ipaddress
import os
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import RedisServer, free_port, until
from tykbridge.events import webhook
from tykbridge.stores import StoreError
from tykbridge.stores.opening import Storage
from tykbridge.stores.redis import PAUSE, RedisStore


@pytest.fixture
def opened(redis_server: RedisServer) -> Iterator[Any]:
    """Opens stores on the server that all tests share."""
    made: list[RedisStore] = []

    def open_(**settings: object) -> RedisStore:
        made.append(RedisStore(redis_server.storage(**settings)))
        return made[-1]

    yield open_
    for store in made:
        store.close()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    server = RedisServer(port=free_port())
    yield server
    server.close()


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


# ---- What lies in Redis


def test_what_lies_there_is_plain(opened: Any, client: Any) -> None:
    store = opened()
    store.set("apikey-a", b'{"rate": 1}', 100)
    store.incr("n", 3)
    assert client.get("apikey-a") == b'{"rate": 1}'
    assert 99_000 < client.pttl("apikey-a") <= 100_000
    assert client.get("n") == b"3"


def test_a_quota_is_a_number_with_an_expiry_as_tyks(opened: Any, client: Any) -> None:
    store = opened()
    for _ in range(3):
        store.hit("quota-a", 2, 60)
    assert client.get("quota-a") == b"2"
    assert 59_000 < client.pttl("quota-a") <= 60_000
    client.set("quota-b", 5, ex=30)  # counted by a gateway
    hit = store.hit("quota-b", 6, 60)
    assert (hit.allowed, hit.passed) == (True, 6)
    assert 29_000 < client.pttl("quota-b") <= 30_000
    client.set("quota-c", 9, ex=30)  # upstream counts what it refuses, too
    hit = store.hit("quota-c", 6, 60)
    assert (hit.allowed, hit.passed) == (False, 9)


def test_a_windows_end_is_told_in_the_servers_time(opened: Any, client: Any) -> None:
    ends = {opened().hit("quota-a", 100, 60).resets for _ in range(10)}
    seconds, micros = client.time()
    assert len(ends) <= 2  # milliseconds
    assert max(ends) - (seconds + micros / 1e6) == pytest.approx(60, abs=5)


def test_databases_are_apart(opened: Any) -> None:
    one, other = opened(), opened(database=1)
    one.set("a", b"1")
    assert other.get("a") is None
    with pytest.raises(StoreError, match="DB index is out of range"):
        opened(database=1000).get("a")


@pytest.mark.parametrize("value", [b"", b"x", b"1.5", b"0x10", b"nan", b"inf"])
def test_a_count_that_is_no_number_is_an_error_that_keeps_the_secret(opened: Any, client: Any, value: bytes) -> None:
    client.set("quota-secret", value, ex=100)
    with pytest.raises(StoreError, match=r'"quota-\.\.\.": .*not an integer') as caught:
        opened().hit("quota-secret", 1, 60)
    assert "secret" not in str(caught.value)
    assert client.get("quota-secret") == value


def test_another_kind_of_value_is_an_error_that_keeps_the_secret(opened: Any, client: Any) -> None:
    client.zadd("rate-limit-secret", {"a": 1})  # as a gateway with a rolling limiter does
    client.rpush("apikey-secret", "x")
    store = opened()
    for call in (lambda: store.get("apikey-secret"), lambda: store.hit("rate-limit-secret", 1, 1)):
        with pytest.raises(StoreError, match=r'"(apikey|rate-limit)-\.\.\."?.*(WRONGTYPE|wrong kind)') as caught:
            call()
        assert "secret" not in str(caught.value)
    store.set("other", b"1")  # the connection is as good as before
    assert store.get("other") == b"1"


def test_a_server_that_forgot_the_script_gets_it_again(opened: Any, client: Any) -> None:
    store = opened()
    assert store.hit("k", 3, 60).passed == 1
    client.script_flush()
    assert store.hit("k", 3, 60).passed == 2


# ---- Users, passwords, certificates


@pytest.fixture
def user(client: Any) -> Iterator[str]:
    page = (Path(__file__).parent.parent / "docs" / "stores.md").read_text()
    rights = page[page.index("~apikey-*") :].partition("`")[0].split()
    client.execute_command("ACL", "SETUSER", "tykb", "on", ">s3cret-word", *rights)
    yield "tykb"
    client.execute_command("ACL", "DELUSER", "tykb")


def test_a_user_with_the_rights_that_the_page_names(opened: Any, user: str) -> None:
    store = opened(username=user, password="s3cret-word", database=1)
    store.set("apikey-a", b"1")
    assert store.get("apikey-a") == b"1"
    assert store.ttl("apikey-a") == 0.0
    assert store.add("coprocess-data:b", b"1", 10)
    assert store.incr("coprocess-data:b") == 2
    assert store.delete("apikey-a")
    store.set(f"{webhook.COOLING}a", b"1", 10)  # a webhook's cool-down
    for key in ("quota-a", "rate-limit-a"):
        assert [store.hit(key, 1, 10).allowed for _ in range(2)] == [True, False]
        store.hit(key, 1, 0)
        store.reset(key)
    with pytest.raises(StoreError, match="permissions") as caught:
        store.get("hidden")
    assert "hidden" not in str(caught.value)


def test_no_error_and_no_repr_holds_a_password(opened: Any, user: str) -> None:
    store = opened(username=user, password="s3cret-wrong")
    with pytest.raises(StoreError) as caught:
        store.get("apikey-a")
    assert "password" in str(caught.value)
    for thing in (caught.value, store, store._link, store._make, store._link.pool):
        assert "s3cret" not in repr(thing) + str(thing)


def test_a_command_that_is_not_known_keeps_the_secret() -> None:
    server = RedisServer("--rename-command", "GET", "")
    store = RedisStore(server.storage())
    with pytest.raises(StoreError, match="unknown command") as caught:
        store.get("apikey-secret")
    assert "secret" not in str(caught.value)
    store.close()
    server.close()


def make_certificates(folder: Path) -> None:
    """A certificate authority's certificate, and one by it for 127.0.0.1, with its key."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tykbridge test {name}")]) for name in keys}
    now = datetime.datetime.now(datetime.UTC)
    for name, key in keys.items():
        made = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["ca"])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            # Python 3.13 asks for what RFC 5280 does.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys["ca"].public_key()), critical=False)
        )
        if name == "ca":
            usage = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                False,
            )
            only = x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False)
            made = made.add_extension(only, critical=True)
        if name == "server":
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            made = made.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        certificate = made.sign(keys["ca"], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (folder / f"{name}.key").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))


def test_tls_with_certificates_on_both_sides(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    port = free_port()
    server = RedisServer(
        *("--tls-port", str(port), "--tls-ca-cert-file", str(tmp_path / "ca.pem")),
        *("--tls-cert-file", str(tmp_path / "server.pem"), "--tls-key-file", str(tmp_path / "server.key")),
    )

    def asked(**settings: Any) -> bytes | None:
        store = RedisStore(Storage(type="redis", host="127.0.0.1", port=port, use_ssl=True, **settings))
        try:
            store.set("a", b"1")
            return store.get("a")
        finally:
            store.close()

    ours = {"cert_file": str(tmp_path / "server.pem"), "key_file": str(tmp_path / "server.key")}
    try:
        assert asked(ca_file=str(tmp_path / "ca.pem"), **ours) == b"1"
        assert asked(ssl_insecure_skip_verify=True, **ours) == b"1"
        with pytest.raises(StoreError, match="certificate verify failed"):
            asked(**ours)
        with pytest.raises(StoreError):
            asked(ca_file=str(tmp_path / "ca.pem"))  # the server asks for ours
        with pytest.raises(StoreError):
            RedisStore(Storage(type="redis", host="127.0.0.1", port=port)).get("a")  # talks plainly
    finally:
        server.close()


# ---- Outages


def failed(store: Any, call: Any = None) -> tuple[str, float]:
    """The words of a failure, and the seconds that it took."""
    start = time.monotonic()
    with pytest.raises(StoreError) as caught:
        store.get("a") if call is None else call()
    return str(caught.value), time.monotonic() - start


@pytest.mark.parametrize("fresh", [True, False], ids=["to connect", "of an answer"])
@pytest.mark.parametrize("way", ["socket", "tcp"])
def test_a_server_that_hangs_is_waited_for_until_the_time_is_over(
    own_server: RedisServer, fresh: bool, way: str
) -> None:
    settings = {} if way == "socket" else {"host": "127.0.0.1", "port": own_server.port}
    store = RedisStore(own_server.storage(timeout=0.2, password="", **settings))
    if not fresh:
        store.get("a")
    with own_server.stopped():
        _, seconds = failed(store)
    assert 0.19 < seconds < 1.0  # of 0.2: the bound is what is tested, with room for a busy machine
    store.close()


def test_a_server_that_hangs_takes_the_time_of_one_call_only(own_server: RedisServer) -> None:
    store = RedisStore(own_server.storage(timeout=0.2))
    store.get("a")
    with own_server.stopped():
        assert "no answer within 0.2 s" in failed(store)[0]
        said = [failed(store)[0] for _ in range(1000)]
        assert "not tried" in said[0]
    until(lambda: works(store))
    store.close()


def works(store: Any) -> bool:
    try:
        store.get("a")
    except StoreError:
        return False
    return True


def test_one_call_at_a_time_finds_out_whether_the_server_is_back(own_server: RedisServer) -> None:
    store = RedisStore(own_server.storage(timeout=0.3))
    with own_server.stopped():
        failed(store)
        link = store._link
        until(lambda: time.monotonic() > link._again_at)
        start = threading.Barrier(16)

        def ask(_: int) -> str:
            start.wait()
            return failed(store)[0]

        with ThreadPoolExecutor(16) as pool:
            said = list(pool.map(ask, range(16)))
    assert sum("not tried" not in words for words in said) == 1
    until(lambda: works(store))
    store.close()


def test_a_server_that_is_not_there_is_told_and_comes_back(own_server: RedisServer) -> None:
    store = RedisStore(own_server.storage())
    store.set("a", b"1")
    own_server.kill()
    assert failed(store)[0].startswith(f"Redis at {own_server.path}: ")
    own_server.start()
    until(lambda: works(store), PAUSE + 5)
    assert store.get("a") == b"1"
    store.close()


def test_connections_that_broke_while_nobody_asked_are_made_again(opened: Any, client: Any) -> None:
    store = opened()
    store.set("a", b"1")
    client.client_kill_filter(_type="normal", skipme=True)
    assert store.incr("a") == 2


@pytest.mark.parametrize("what", ["incr", "hit", "set", "get"])
def test_what_was_lost_on_its_way_is_repeated_only_where_it_reads(own_server: RedisServer, what: str) -> None:
    store = RedisStore(own_server.storage(timeout=8))
    store.set("a", b"5")
    store.hit("k", 10, 0)
    calls = {
        "incr": lambda: store.incr("a"),
        "hit": lambda: store.hit("k", 10, 0),
        "set": lambda: store.set("a", b"6"),
        "get": lambda: store.get("a"),
    }
    (connection,) = store._link.pool._connections
    with ThreadPoolExecutor(1) as pool:
        with own_server.stopped():
            asked = pool.submit(calls[what])
            until(lambda: unread(connection._sock))
            connection._sock.shutdown(socket.SHUT_RDWR)
        if what == "get":
            assert asked.result() == b"5"
        else:
            with pytest.raises(StoreError):
                asked.result()
    until(lambda: works(store))
    # The server got the command before the connection broke: once, and so it did it.
    assert store.get("a") == {"incr": b"6", "set": b"6"}.get(what, b"5")
    assert store.hit("k", 10, 0).passed == (3 if what == "hit" else 2)
    store.close()


def unread(sock: socket.socket) -> bool:
    """Whether the server has not read what was sent."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4)) > (0,)


def test_connections_have_a_bound(opened: Any, redis_server: RedisServer) -> None:
    store = opened(optimisation_max_active=1, timeout=0.4)
    store.get("a")
    connection = store._link.pool.get_connection()
    try:
        assert "all 1 connections were in use" in failed(store)[0]
    finally:
        store._link.pool.release(connection)
    assert store.get("a") is None  # a pool that is empty is no outage


def test_a_child_has_connections_of_its_own(opened: Any, client: Any) -> None:
    store = opened()
    store.set("a", b"1")
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = all(store.get("a") == b"1" for _ in range(200))
            os.write(writes, b"1" if found and store._link.pid == os.getpid() else b"0")
        finally:
            os._exit(0)
    assert all(store.get("a") == b"1" for _ in range(200))
    os.waitpid(child, 0)
    assert os.read(reads, 1) == b"1"
    os.close(reads)
    os.close(writes)


# ---- Servers that are none


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Any]:
    """Opens a store on a server that does with each connection what a test says."""
    stop, threads, stores = threading.Event(), [], []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket, treat: Any, context: ssl.SSLContext | None) -> None:
            with contextlib.suppress(OSError), connection:
                if context is None:
                    treat(connection, stop)
                else:
                    with context.wrap_socket(connection, server_side=True) as wrapped:
                        treat(wrapped, stop)

        def accept(*how: Any) -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threads.append(threading.Thread(target=serve, args=(connection, *how)))
                    threads[-1].start()

        def start(treat: Any, tls: bool, **settings: Any) -> RedisStore:
            context = None
            if tls:
                make_certificates(tmp_path)
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
                settings |= {"use_ssl": True, "ca_file": str(tmp_path / "ca.pem")}
            threads.append(threading.Thread(target=accept, args=(treat, context)))
            threads[-1].start()
            port = int(listener.getsockname()[1])
            stores.append(RedisStore(Storage(type="redis", host="127.0.0.1", port=port, **settings)))
            return stores[-1]

        yield start
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        for store in stores:
            store.close()
        for thread in threads:
            thread.join()


def greeted(connection: socket.socket) -> None:
    """Answers as a server does to what comes before the first command."""
    for _ in range(2):  # CLIENT SETINFO
        connection.recv(4096)
        connection.sendall(b"+OK\r\n")


def drips_at_once(connection: socket.socket, stop: threading.Event) -> None:
    connection.recv(4096)
    while not stop.wait(0.05):
        connection.sendall(b"+")


def drips_an_answer(connection: socket.socket, stop: threading.Event) -> None:
    greeted(connection)
    connection.recv(4096)
    connection.sendall(b"$99999\r\n")
    while not stop.wait(0.05):
        connection.sendall(b"x")


def says_nothing(connection: socket.socket, stop: threading.Event) -> None:
    connection.recv(4096)
    stop.wait(60)


@pytest.mark.parametrize("treat", [drips_at_once, drips_an_answer, says_nothing])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_regression_a_server_that_answers_byte_by_byte_is_given_up_in_time(
    stranger: Any, treat: Any, tls: bool
) -> None:
    words, seconds = failed(stranger(treat, tls, timeout=0.3))
    assert words.endswith(("no answer within 0.3 s", "Timeout connecting to server", "Timeout reading from socket"))
    assert seconds < 1.5


def test_a_server_whose_tls_hangs_is_given_up_in_time(stranger: Any) -> None:
    store = stranger(says_nothing, False, timeout=0.3, use_ssl=True)
    assert failed(store)[1] < 1.5


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_server_that_reads_slowly_is_given_up_in_time(stranger: Any, tls: bool) -> None:
    def treat(connection: socket.socket, stop: threading.Event) -> None:
        greeted(connection)
        while connection.recv(16384) and not stop.wait(0.02):
            pass

    store = stranger(treat, tls, timeout=0.3)
    assert failed(store, lambda: store.set("a", bytes(32 << 20)))[1] < 1.5


@pytest.mark.parametrize("answer", [b":x\r\n", b"$x\r\n", b"*1\r\n" * 2000, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
@pytest.mark.parametrize("greets", [False, True], ids=["at once", "later"])
def test_regression_an_answer_that_is_none_is_a_stores_error(stranger: Any, answer: bytes, greets: bool) -> None:
    def treat(connection: socket.socket, stop: threading.Event) -> None:
        if greets:
            greeted(connection)
        connection.recv(4096)
        connection.sendall(answer)
        stop.wait(60)

    failed(stranger(treat, False, timeout=0.3))


def test_regression_a_name_with_many_addresses_takes_the_time_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):  # what is beyond the queue waits for an answer that does not come
            waiting.append(stack.enter_context(socket.socket()))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        one = (socket.AF_INET, socket.SOCK_STREAM, 0, "", listener.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: [one] * 10)
        store = RedisStore(Storage(type="redis", host="redis", timeout=0.3))
        words, seconds = failed(store)
        assert "Timeout connecting" in words
        assert seconds < 1.2  # of 0.3; ten times half of it otherwise
        store.close()


def test_regression_a_name_that_cannot_be_one_is_told() -> None:
    store = RedisStore(Storage(type="redis", host="a" * 64 + ".invalid"))
    failed(store)
    store.close()


def test_regression_a_full_pool_says_nothing_of_a_server_that_was_out_of_reach(own_server: RedisServer) -> None:
    store = RedisStore(own_server.storage(optimisation_max_active=1, timeout=0.3))
    with own_server.stopped():
        failed(store)
        until(lambda: time.monotonic() > store._link._again_at)
        connection = store._link.pool.pool.get_nowait()
        assert "were in use" in failed(store)[0]
        assert store._link._why  # the next call is the only one that tries
        store._link.pool.pool.put_nowait(connection)
    until(lambda: works(store))
    assert not store._link._why
    store.close()


def test_regression_a_finalizer_may_ask_while_connections_are_handed_out(opened: Any) -> None:
    store = opened(timeout=1)
    store.set("a", b"1")
    free, link = store._link.pool.pool, store._link
    found = []

    def ask() -> None:
        with free.mutex, link._lock:  # where a collection may run it, on the thread that holds these
            found.append(store.get("a"))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(10)
    assert found == [b"1"]
