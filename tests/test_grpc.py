"""serve(): plugin servers in Python, each a process of its own, and a plain client of gRPC."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.grpc_servers import SECONDS, Client, Server
from tests.oracle import PB, PROTO
from tests.servers import until
from tykbridge import grpc as served
from tykbridge.errors import LoadError

HEAD = """\
import asyncio, os, threading, time
from tykbridge.grpc import Plugin, serve

class Hooks(Plugin):
"""


def line_of(text: str) -> int:
    """The line of the plugin's file that has a text."""
    return next(at for at, line in enumerate((HEAD + HOOKS).splitlines(), 1) if text in line)


HOOKS = """\
    def __init__(self):
        self._lock = threading.Lock()
        self._now = self._most = 0
        self._seen = []

    def _count(self, step):
        with self._lock:
            self._now += step
            self._most = max(self._most, self._now)

    def returns(self, object):
        object.request.set_headers["X"] = "1"
        return object

    def returns_nothing(self, object):
        object.request.set_headers["X"] = "2"

    def returns_another(self, object):
        import coprocess_object_pb2
        made = coprocess_object_pb2.Object.FromString(object.SerializeToString())
        made.request.set_headers["X"] = "3"
        return made

    async def waits(self, object):
        await asyncio.sleep(0.2)
        object.request.set_headers["X"] = "4"
        return object

    def returns_text(self, object):
        return "5"

    def returns_request(self, object):
        return object.request

    def breaks(self, object):
        object.request.set_headers["X"] = "6"
        return self._deeper(object)

    def _deeper(self, object):
        return int("no number")

    async def breaks_async(self, object):
        await asyncio.sleep(0)
        raise KeyError("async")

    def leaves(self, object):
        raise SystemExit(3)

    async def leaves_async(self, object):
        raise SystemExit(4)

    async def cancels(self, object):
        raise asyncio.CancelledError("by itself")

    def shouts(self, object):
        raise ValueError("\\N{PILE OF POO}\\n" * 100_000)

    def mumbles(self, object):
        raise ValueError("\\udcff")

    async def mumbles_async(self, object):
        raise ValueError("\\ud800")

    def counts(self, object):
        self._count(1)
        time.sleep(0.01)
        self._count(-1)
        object.request.set_headers["X"] = str(self._most)

    def sees(self, object):
        self._seen.append(object.request.url)
        print("sees", object.request.url, flush=True)
        while object.request.url == "held" and os.path.exists("held"):
            time.sleep(0.002)
        object.request.set_headers["X"] = ",".join(self._seen)

    def sticks(self, object):
        print("stuck", flush=True)
        threading.Event().wait()

    def hears(self, event, spec):
        print(event.message["Type"], event["handler_name"], spec["APIID"], flush=True)

    async def hears_async(self, event, spec):
        await asyncio.sleep(0)
        print("async", event["message"]["Type"], flush=True)

    def hears_wrong(self, event, spec):
        raise ValueError("wrong")

"""


def start(folder: Path, arguments: str = "", hooks: str = HOOKS) -> Server:
    file = folder / "plugin.py"
    arguments = arguments if "address=" in arguments else f'address="tcp://127.0.0.1:0", {arguments}'
    file.write_text(f"{HEAD}{hooks}\nserve(Hooks(), {arguments})\n")
    return Server(sys.executable, "plugin.py", folder=folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    files = sorted(PROTO.glob("coprocess_*.proto"))
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "grpc_tools.protoc",
        f"-I{PROTO}",
        f"--python_out={folder}",
        *files,
    ]
    subprocess.run(command, check=True)
    with start(folder, "threads=4") as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.target) as opened:
        yield opened


def sent(hook: str, **request: Any) -> bytes:
    made = PB["Object"](hook_name=hook)
    made.request.headers["Host"] = "h"
    for name, value in request.items():
        setattr(made.request, name, value)
    return made.SerializeToString()


def header(reply: bytes) -> str:
    found: str = PB["Object"].FromString(reply).request.set_headers["X"]
    return found


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


# ---- Hooks


def test_it_says_what_it_serves(server: Server) -> None:
    hooks = "returns, returns_nothing, returns_another, waits, returns_text, returns_request, breaks, breaks_async, "
    hooks += "leaves, leaves_async, cancels, shouts, mumbles, mumbles_async, counts, sees, sticks"
    said = f"serving {server.address}: hooks {hooks}; event handlers hears, hears_async, hears_wrong\n"
    assert server.announced == said
    assert int(server.port) > 0


@pytest.mark.parametrize(
    ("hook", "value"), [("returns", "1"), ("returns_nothing", "2"), ("returns_another", "3"), ("waits", "4")]
)
def test_the_reply_is_what_the_hook_left(client: Client, hook: str, value: str) -> None:
    expected = PB["Object"].FromString(sent(hook, raw_body=b"\xff"))
    expected.request.set_headers["X"] = value
    assert PB["Object"].FromString(client.dispatch(sent(hook, raw_body=b"\xff"))) == expected


@pytest.mark.parametrize(
    ("hook", "words", "text"),
    [
        ("breaks", "ValueError: invalid literal for int() with base 10: 'no number'", 'int("no number")'),
        ("breaks_async", "KeyError: 'async'", 'KeyError("async")'),
        ("leaves", "SystemExit: 3", "SystemExit(3)"),
        ("leaves_async", "SystemExit: 4", "SystemExit(4)"),
        ("cancels", "CancelledError: by itself", "CancelledError("),
    ],
)
def test_a_hook_that_fails(server: Server, client: Client, hook: str, words: str, text: str) -> None:
    full = f'hook "{hook}" of "Hooks": {words} (plugin.py:{line_of(text)})'
    assert refused(lambda: client.dispatch(sent(hook))) == (grpc.StatusCode.INTERNAL, full)
    assert header(client.dispatch(sent("returns"))) == "1"
    end = f"\n{words}\n" if "CancelledError" not in words else f"\nasyncio.exceptions.{words}\n"
    until(lambda: end in "".join(server.errors).partition(full)[2])
    trace = "".join(server.errors).partition(full)[2].partition(end)[0]
    assert trace.startswith("\nTraceback (most recent call last):\n")
    assert f'plugin.py", line {line_of(text)}, in ' in trace
    assert "tykbridge/" not in trace


@pytest.mark.parametrize(("hook", "kind"), [("returns_text", "str"), ("returns_request", "Message")])
def test_what_no_hook_may_return(server: Server, client: Client, hook: str, kind: str) -> None:
    words = f'hook "{hook}" of "Hooks" returned {kind}; a hook returns its coprocess.Object, or nothing '
    words += f"(plugin.py:{line_of(f'def {hook}')})"
    assert refused(lambda: client.dispatch(sent(hook))) == (grpc.StatusCode.INTERNAL, words)
    until(lambda: f"{words}\n" in server.errors)


def test_long_words_fit_into_a_status(client: Client) -> None:
    code, words = refused(lambda: client.dispatch(sent("shouts")))
    assert code is grpc.StatusCode.INTERNAL
    assert words.startswith('hook "shouts" of "Hooks": ValueError: \N{PILE OF POO} \N{PILE OF POO}')
    assert words.endswith(f"(plugin.py:{line_of('PILE OF POO')})")


@pytest.mark.parametrize(("hook", "escaped"), [("mumbles", "\\udcff"), ("mumbles_async", "\\ud800")])
def test_words_that_are_no_text_are_answered(client: Client, hook: str, escaped: str) -> None:
    code, words = refused(lambda: client.dispatch(sent(hook)))
    assert code is grpc.StatusCode.INTERNAL
    assert f"ValueError: {escaped} (plugin.py:" in words


def test_names_that_are_no_hooks(client: Client) -> None:
    code, words = refused(lambda: client.dispatch(sent("_deeper")))
    assert code is grpc.StatusCode.NOT_FOUND
    assert words.startswith('there is no hook "_deeper" here; there are: breaks, breaks_async, cancels, counts, ')
    assert refused(lambda: client.dispatch(sent("hears")))[0] is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("data", [b"\xff", b"\x12\x05abc", b"\x12\x02\xff\xff"])
def test_bytes_that_are_no_object(client: Client, data: bytes) -> None:
    code, words = refused(lambda: client.dispatch(data))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words.startswith("the request is no coprocess.Object: ")


# ---- Events


def test_events(server: Server, client: Client) -> None:
    assert client.event("hears", Type="QuotaExceeded") == b""
    assert server.lines.get(timeout=SECONDS) == "QuotaExceeded hears books\n"
    assert client.event("hears_async", Type="HostDown") == b""
    assert server.lines.get(timeout=SECONDS) == "async HostDown\n"
    words = f'event handler "hears_wrong" of "Hooks": ValueError: wrong (plugin.py:{line_of("wrong")})'
    assert refused(lambda: client.event("hears_wrong", Type="X")) == (
        grpc.StatusCode.INTERNAL,
        words.replace(str(line_of("wrong")), str(line_of('ValueError("wrong")'))),
    )


def test_what_is_no_event(client: Client) -> None:
    call = client.channel.unary_unary("/coprocess.Dispatcher/DispatchEvent")
    for payload, words in (("{", "the event is not JSON"), ("[]", "is no object"), ("{}", "has no handler_name")):
        code, said = refused(lambda payload=payload: call(PB["Event"](payload=payload).SerializeToString()))  # type: ignore[misc]
        assert (code, words in said) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert refused(lambda: client.event("returns", Type="X"))[1] == (
        'there is no event handler "returns" here; there are: hears, hears_async, hears_wrong'
    )


# ---- Many, and few threads


def threads_of(server: Server) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("Threads:")[2].split()[0])


def test_a_thousand_slow_ones_at_a_time(server: Server, client: Client) -> None:
    assert {header(reply) for reply in client.dispatch_all([sent("waits")] * 1000)} == {"4"}
    assert {header(reply) for reply in client.dispatch_all([sent("returns")] * 1000)} == {"1"}
    assert threads_of(server) <= 24  # those of gRPC's own, and four for hooks


def test_no_call_of_a_burst_is_given_up(client: Client) -> None:
    """By itself gRPC cancels some when 1,000 have not been looked at yet, and all beyond 3,000."""
    assert {header(reply) for reply in client.dispatch_all([sent("returns")] * 6000)} == {"1"}


def test_as_many_threads_as_were_asked_for(client: Client) -> None:
    list(client.dispatch_all([sent("counts")] * 100))
    assert header(client.dispatch(sent("counts"))) == "4"


def test_hooks_whose_caller_is_gone_do_not_run(tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.touch()
    with start(tmp_path, "threads=1") as server, Client(server.target) as client:
        dispatch = client.channel.unary_unary("/coprocess.Dispatcher/Dispatch")
        first = dispatch.future(sent("sees", url="held"))
        assert server.lines.get(timeout=SECONDS) == "sees held\n"
        # It answers while the pool's only thread does not, so that what was sent before is waiting for that.
        gone = dispatch.future(sent("sees", url="gone"))
        assert header(client.dispatch(sent("waits"))) == "4"
        gone.cancel()
        assert header(client.dispatch(sent("waits"))) == "4"
        held.unlink()
        assert header(first.result()) == "held"
        assert header(client.dispatch(sent("sees", url="last"))) == "held,last"


# ---- Its life


def test_health_and_a_graceful_end(tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.touch()
    with start(tmp_path) as server, Client(server.target) as client:
        health = health_pb2_grpc.HealthStub(client.channel)  # type: ignore[no-untyped-call]
        for service in ("", "coprocess.Dispatcher"):
            assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == 1
        watched = health.Watch(health_pb2.HealthCheckRequest(service="coprocess.Dispatcher"))
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        dispatch = client.channel.unary_unary("/coprocess.Dispatcher/Dispatch")
        in_flight = dispatch.future(sent("sees", url="held"))
        assert server.lines.get(timeout=SECONDS) == "sees held\n"
        server.signal(signal.SIGTERM)
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watched.cancel()
        assert header(client.dispatch(sent("waits"))) == "4"  # sent before the client had heard, as it were
        held.unlink()
        assert header(in_flight.result()) == "held"
        assert server.wait() == 0
    assert server.errors == []


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        server.signal(signal.SIGINT)
        assert server.wait() == 0
    assert server.errors == []


def test_a_hook_that_never_returns_does_not_keep_it(tmp_path: Path) -> None:
    with start(tmp_path, "grace=0.1") as server, Client(server.target) as client:
        call = client.channel.unary_unary("/coprocess.Dispatcher/Dispatch").future(sent("sticks"))
        assert server.lines.get(timeout=SECONDS) == "stuck\n"
        assert server.end() == -signal.SIGTERM
        assert refused(call.result)[0] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert server.errors[-1] == "hooks are still at work after 0.1 s: ended without them\n"


def test_two_do_not_share_a_port(tmp_path: Path, server: Server) -> None:
    with pytest.raises(AssertionError, match=f"{server.address}: it cannot be listened on; is it in use"):
        start(tmp_path, f'address="{server.address}"')


def test_two_do_not_share_a_socket(tmp_path: Path) -> None:
    address = f'address="unix://{tmp_path}/s"'
    with start(tmp_path, address), Client(f"unix:{tmp_path}/s") as client:
        with pytest.raises(AssertionError, match="cannot be listened on; is it in use"):
            start(tmp_path, address)
        assert header(client.dispatch(sent("returns"))) == "1"


# ---- Addresses, limits, TLS


def test_a_socket_in_the_file_system(tmp_path: Path) -> None:
    path = tmp_path / "a b.sock"
    if len(str(path)) > 100:
        pytest.fail("pytest's folder is too deep for a socket: give it another --basetemp")
    for _ in range(2):  # the one before may have left it
        with start(tmp_path, f'address="unix://{path}"') as server, Client(f"unix:{path}") as client:
            assert server.announced.startswith(f"serving unix://{path}: hooks ")
            assert header(client.dispatch(sent("returns"))) == "1"
            server.kill()


def test_the_size_of_messages(tmp_path: Path, client: Client) -> None:
    large = sent("returns", raw_body=bytes(8 << 20))
    with Client(client_target(client), max_receive_message_length=-1) as more:
        assert len(more.dispatch(large)) > 8 << 20
        assert refused(lambda: more.dispatch(sent("returns", raw_body=bytes(17 << 20))))[0] is (
            grpc.StatusCode.RESOURCE_EXHAUSTED
        )
    with start(tmp_path, "max_message=1000") as server, Client(server.target) as small:
        assert header(small.dispatch(sent("returns", raw_body=bytes(900)))) == "1"
        assert refused(lambda: small.dispatch(sent("returns", raw_body=bytes(1001))))[0] is (
            grpc.StatusCode.RESOURCE_EXHAUSTED
        )


def client_target(client: Client) -> str:
    target: str = client.channel._channel.target().decode()
    return target


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's certificate and a client's, each its own authority."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client", "other"):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
        subprocess.run(command, check=True, capture_output=True)
    return folder


def credentials(folder: Path, trusted: str, own: str = "") -> grpc.ChannelCredentials:
    pair = [(folder / f"{own}.{what}").read_bytes() for what in ("key", "pem")] if own else [None, None]
    return grpc.ssl_channel_credentials((folder / f"{trusted}.pem").read_bytes(), *pair)


def test_tls(tmp_path: Path, certificates: Path) -> None:
    files = f'certificate="{certificates}/server.pem", key="{certificates}/server.key"'
    with start(tmp_path, f"{files}, address='tcp://0.0.0.0:0'") as server:
        target = f"localhost:{server.port}"
        with Client(target, credentials(certificates, "server")) as client:
            assert header(client.dispatch(sent("returns"))) == "1"
        for refusing in (None, credentials(certificates, "other")):
            with Client(target, refusing) as client:
                code, _ = refused(lambda client=client: client.dispatch(sent("returns"), wait=False))  # type: ignore[misc]
                assert code is grpc.StatusCode.UNAVAILABLE
        assert server.end() == 0
        assert not [line for line in server.errors if "give it a certificate" in line]


def test_certificates_of_clients(tmp_path: Path, certificates: Path) -> None:
    files = f'certificate="{certificates}/server.pem", key="{certificates}/server.key"'
    with start(tmp_path, f'{files}, client_ca="{certificates}/client.pem"') as server:
        target = f"localhost:{server.port}"
        with Client(target, credentials(certificates, "server", "client")) as client:
            assert header(client.dispatch(sent("returns"))) == "1"
        for own in ("", "other"):
            with Client(target, credentials(certificates, "server", own)) as client:
                code, _ = refused(lambda client=client: client.dispatch(sent("returns"), wait=False))  # type: ignore[misc]
                assert code is grpc.StatusCode.UNAVAILABLE


def test_plain_text_that_others_reach_is_warned_of(tmp_path: Path) -> None:
    with start(tmp_path, 'address="tcp://0.0.0.0:0"') as server:
        assert server.end() == 0
    assert server.errors[0].startswith("tcp://0.0.0.0:0: anybody who reaches it can call the hooks")


# ---- What is refused at the start


class Fine(served.Plugin):
    def fine(self, object: Any) -> None: ...


class Same(served.Plugin):
    def fine(self, object: Any) -> None: ...


class Form(served.Plugin):
    def three(self, request: Any, session: Any, spec: Any) -> None: ...


class Many(served.Plugin):
    def many(self, *objects: Any) -> None: ...


class Keyword(served.Plugin):
    def keyword(self, object: Any, *, needed: int) -> None: ...


class Nothing(served.Plugin):
    def _helper(self, object: Any) -> None: ...


@pytest.mark.parametrize(
    ("plugins", "words"),
    [
        ([Form()], r'test_grpc.py:\d+: "three" of "Form" is no hook; write def three\(self, object\), a hook or def '),
        ([Many()], r'test_grpc.py:\d+: "many" of "Many" is no hook'),
        ([Keyword()], r'test_grpc.py:\d+: "keyword" of "Keyword" is no hook'),
        ([Fine(), Same()], r'"fine" is there twice: .*test_grpc.py:\d+ and .*test_grpc.py:\d+; rename one'),
        ([Nothing()], "Nothing: no method, so nothing to serve"),
    ],
)
def test_plugins_that_are_refused(plugins: list[served.Plugin], words: str) -> None:
    with pytest.raises(LoadError, match=words):
        served.serve(*plugins)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"address": "127.0.0.1:5555"}, ValueError, 'must be "tcp://host:port" or "unix:///path"'),
        ({"address": "tcp://127.0.0.1"}, ValueError, "not 'tcp://127.0.0.1'"),
        ({"address": "tcp://127.0.0.1:99999"}, ValueError, "not 'tcp://127.0.0.1:99999'"),
        ({"address": "unix://path"}, ValueError, "not 'unix://path'"),
        ({"address": "dns:///name:1"}, ValueError, "not 'dns:///name:1'"),
        ({"threads": 0}, ValueError, "threads must be at least 1, not 0"),
        ({"certificate": __file__}, ValueError, "TLS needs both"),
        ({"client_ca": __file__}, ValueError, "TLS needs both"),
        ({"certificate": __file__, "key": "nowhere.key"}, FileNotFoundError, "nowhere.key"),
        ({"certificate": __file__, "key": __file__}, ValueError, "test_grpc.py is no PEM file"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        served.serve(Fine(), **arguments)


def test_what_is_no_plugin() -> None:
    with pytest.raises(ValueError, match="there is nothing to serve"):
        served.serve()
    with pytest.raises(ValueError, match=r"write class Mine\(Plugin\) and serve\(Mine\(\)\)"):
        served.serve(Fine)  # type: ignore[arg-type]


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="is it in use"):
            served.serve(Fine(), address=f"tcp://127.0.0.1:{taken.getsockname()[1]}")


def test_another_thread_than_the_main_one() -> None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            served.serve(Fine())
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "on the main thread" in str(caught[0])
