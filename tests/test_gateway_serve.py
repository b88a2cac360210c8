"""`tykbridge serve` as a process: what it says, its settings, signals, reloads, and what it takes."""

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest

from tests import rawhttp, web
from tests.cli.commands import tykbridge
from tests.rawhttp import OK, TIMEOUT, Client, exchange, request
from tests.servers import until
from tests.serving import Serve, serving
from tykbridge import Bridge, waiting
from tykbridge.cli import serve as cli_serve
from tykbridge.definition import read_text
from tykbridge.gateway.server import PORT, Gateway
from tykbridge.stores.opening import Storage

pytestmark = pytest.mark.once

HOOKS = """
import asyncio
import os
import signal
import time
import urllib.request
from pathlib import Path
from tyk.decorators import *

@Hook
def Blocks(request, session, spec):
    with open("fifo") as stream:  # until somebody writes there
        stream.read()
    return request, session

@Hook
def Asks(request, session, spec):
    url = request.get_header("X-Url")
    request.add_header("X-Answer", asyncio.run(asyncio.to_thread(ask, url)))
    return request, session

def ask(url):
    with urllib.request.urlopen(url) as answer:
        return str(answer.status)

@Hook
def Forks(request, session, spec):
    begun, begins = os.pipe()
    child = os.fork()
    if not child:
        os.write(begins, b"1")
        time.sleep(10)
        os._exit(0)
    os.read(begun, 1)
    os.kill(child, signal.SIGTERM)
    request.add_header("X-Exit-Code", str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
    return request, session

@Hook
def Mark(request, session, spec):
    request.add_header("X-Mark", "MARK")
    return request, session
"""


@pytest.fixture(scope="module")
def upstream():
    with rawhttp.upstream() as upstream:
        yield upstream


@pytest.fixture
def folder(tmp_path, upstream):
    upstream.answers = lambda message: OK
    del upstream.asked[:]
    (tmp_path / "apis").mkdir()
    write(tmp_path, "plain", upstream.url)
    return tmp_path


def write(folder, api_id, target, hooks=(), **keys):
    (folder / "apis" / "hooks.py").write_text(HOOKS)
    definition = {
        "api_id": api_id,
        "name": f"The {api_id} one",
        "use_keyless": True,
        "proxy": {"listen_path": f"/{api_id}/", "target_url": target, **keys},
        "custom_middleware": {"driver": "python", "pre": [{"name": name, "path": "hooks.py"} for name in hooks]},
    }
    (folder / "apis" / f"{api_id}.json").write_text(json.dumps(definition))


def test_what_it_says_when_it_starts(folder, upstream):
    write(folder, "marked", f"{upstream.url}/base", ["Mark"])
    (folder / "apis" / "broken.json").write_text("{")
    kept = {"api_id": "kept", "proxy": {"listen_path": "/a-kept/", "target_url": upstream.url}}
    (folder / "apis" / "kept.json").write_text(json.dumps(kept))
    with serving("apis", "--port", 0, cwd=folder) as serve:
        url = f"http://127.0.0.1:{serve.port}"
        assert f"listens on {url}" in serve.output
        assert re.search(rf"/plain/ +The plain one +to {upstream.url} +no hooks", serve.output)
        assert re.search(rf"/marked/ +The marked one +to {upstream.url}/base +pre Mark", serve.output)
        assert "1 not in use, for the reasons above" in serve.output
        assert "broken.json" in serve.errors
        assert f"curl -i {url}/marked/\n" in serve.output  # the first one that wants no key
        assert exchange(serve.port, request(b"GET /marked/")).status == 200
        assert serve.end(signal.SIGINT) == 0
        assert "Traceback" not in serve.errors
        assert "no control API" not in serve.errors  # nobody asked for one


CHECKED = {"driver": "python", "auth_check": {"name": "Check", "path": "hooks.py"}}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "-H 'Authorization: <a key>' {url}"),
        ({"custom_plugin_auth_enabled": True, "custom_middleware": CHECKED}, "-H 'Authorization: <a key>' {url}"),
        ({"auth": {"auth_header_name": "X-Key"}}, "-H 'X-Key: <a key>' {url}"),
        ({"auth": {"disable_header": True, "use_param": True, "param_name": "key"}}, "'{url}?key=<a key>'"),
        ({"auth": {"disable_header": True, "use_cookie": True, "cookie_name": "k"}}, "-b 'k=<a key>' {url}"),
    ],
)
def test_how_to_ask_an_api_that_wants_a_key(keys, words):
    definition = {"api_id": "a", "name": "a", "proxy": {"listen_path": "/kept/", "target_url": "http://u/"}}
    kept = read_text(json.dumps({**definition, **keys, "domain": "api.test"}), "a.json").require()
    free = read_text(json.dumps({**definition, "use_keyless": True}), "a.json").require()
    gateway = Gateway(Bridge())
    gateway.url = "http://h:1"
    assert cli_serve._curl(gateway, [kept]) == "curl -i -H 'Host: api.test' " + words.format(url="http://h:1/kept/")
    assert cli_serve._curl(gateway, [kept, free]) == "curl -i http://h:1/kept/"


def test_a_port_that_is_taken(folder):
    with contextlib.ExitStack() as stack:
        for number in (PORT, 0):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # then it is taken already
                sock.bind(("127.0.0.1", number))
                sock.listen()
        with serving("apis", cwd=folder) as serve:
            assert serve.port != PORT
            assert f"port {PORT} is taken" in serve.output
        taken = sock.getsockname()[1]
        done = tykbridge("serve", "apis", "--port", taken, cwd=folder)
    assert done.status == 1
    assert f"cannot listen on 127.0.0.1:{taken}: address already in use; --port names another" in done.words


def test_what_cannot_be_served(folder):
    (folder / "empty").mkdir()
    (folder / "broken.json").write_text("{")
    (folder / "plugin").mkdir()
    (folder / "bundles" / "hello").mkdir(parents=True)
    (folder / "bundles" / "hello" / "manifest.json").touch()
    for name in ("manifest.json", "x.py"):
        (folder / "plugin" / name).touch()
    for arguments, status, words in (
        (["nowhere"], 1, "there is no definition"),
        (["empty"], 1, "there is no API in empty"),
        (["broken.json"], 1, "no API can be served, for the reasons above"),
        (["bundles"], 1, "there is no API in bundles; bundles has plugins: name the definition of their API"),
        (["plugin"], 1, "plugin is a plugin: name the definition of its API"),
        (["plugin/manifest.json"], 1, "plugin/manifest.json is a plugin: name the definition of its API"),
        (["plugin/x.py"], 1, "plugin/x.py is a plugin: name the definition of its API"),
        ([], 2, "nothing says which APIs: name a folder of definitions (. is this one), or a --conf with an app_path"),
        (["apis", "--conf", "nowhere.conf"], 1, "nowhere.conf"),
        (["apis", "--host", "192.0.2.1", "--port", "0"], 1, "cannot listen on 192.0.2.1:0: "),
        (["apis", "--host", "192.0.2.1"], 1, "cannot listen on 192.0.2.1: "),
    ):
        done = tykbridge("serve", *arguments, cwd=folder)
        assert (done.status, words in done.words) == (status, True), done.words
        assert "Traceback" not in done.errors
        assert done.errors.count("broken.json") == 2 * (arguments == ["broken.json"])  # told once: file and place


def test_a_definition_that_was_found_is_not_asked_for(folder):
    """What is to be mended is the plugin or the definition itself; other JSON in a plugin's folder is none."""
    plugin = folder / "plugin"
    plugin.mkdir()
    (plugin / "middleware.py").write_text("def broken(:\n")
    (plugin / "manifest.json").write_text('{"custom_middleware": {"driver": "python", "pre": [{"name": "Mark"}]}}')
    definition = json.loads((folder / "apis" / "plain.json").read_text())
    pre = [{"name": "Mark", "path": "plugin/middleware.py"}]
    definition["custom_middleware"] = {"driver": "python", "pre": pre}
    for place, text in ((".", json.dumps(definition)), ("api.json", "{}"), ("plugin", "{}"), ("api.json", "{")):
        (folder / "api.json").write_text(text)
        (plugin / "package.json").write_text("{}")
        done = tykbridge("serve", place, cwd=folder)
        assert done.status == 1
        assert "no API can be served, for the reasons above" in done.words
        assert ("name the definition" in done.words) == (place == "plugin"), done.words
        assert ("middleware.py:1" in done.words) == (place == "."), done.words


def test_the_missing_extra_is_named(folder):
    program = "import sys; sys.modules['aiohttp'] = None; from tykbridge.cli import main; main(['serve', 'apis'])"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, "pip install 'tykbridge[gateway]'" in done.stderr) == (1, True)


def test_settings(folder, upstream):
    """The file says where the definitions are and where to listen, a variable wins over it, an option over both."""
    ports = []
    for _ in range(3):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            ports.append(sock.getsockname()[1])
    conf = {"listen_port": ports[0], "app_path": "apis", "proxy_default_timeout": 1, "no_such_key": 1}
    (folder / "tyk.conf").write_text(json.dumps(conf))
    for options, environment, port in (
        ([], {}, ports[0]),
        ([], {"TYK_GW_LISTENPORT": str(ports[1])}, ports[1]),
        (["--port", ports[2]], {"TYK_GW_LISTENPORT": str(ports[1])}, ports[2]),
    ):
        with serving("--conf", "tyk.conf", *options, cwd=folder, **environment) as serve:
            assert serve.port == port
            assert exchange(port, request(b"GET /plain/")).status == 200
            assert "$.no_such_key" in serve.errors
            assert "no control API: the settings have no secret" in serve.errors
    over = threading.Event()
    upstream.answers = lambda message: iter([b""] if over.wait(TIMEOUT) else [])
    with serving(cwd=folder, TYK_GW_APPPATH="apis", TYK_GW_PROXYDEFAULTTIMEOUT="0.1") as serve:
        assert exchange(serve.port, request(b"GET /plain/")).status == 504
        over.set()


def test_a_redis_that_is_not_there_is_told_at_the_start(folder, upstream, redis_server):
    """Once, and it goes on: Redis may come up. One that answers is nothing to tell of."""
    write(folder, "kept", upstream.url)
    file = folder / "apis" / "kept.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_keyless": False}))
    for where, told in (({"host": "127.0.0.1", "port": 1}, 1), ({"host": redis_server.path}, 0)):
        conf = {"storage": {"type": "redis", **where}, "log_format": "json"}
        (folder / "tyk.conf").write_text(json.dumps(conf))
        with serving("apis", "--port", 0, "--conf", "tyk.conf", cwd=folder) as serve:
            serve.wait_for("control API")
            lines = [line for line in map(json.loads, serve.errors.splitlines()) if line["level"] == "error"]
            assert len(lines) == told, lines
            for line in lines:
                assert line["msg"].startswith("$.storage: Redis at 127.0.0.1:1: ")
                assert line["msg"].endswith("requests that need it are refused with 503 until it can be reached")
            status = exchange(serve.port, request(b"GET /kept/", b"Authorization: key")).status
            assert status == (503 if told else 403)


def test_a_redis_whose_name_is_looked_up_for_ever_does_not_hold_up_the_start(monkeypatch):
    over, lines = threading.Event(), []
    monkeypatch.setattr(cli_serve, "unreachable", lambda storage, longest: str(over.wait(TIMEOUT)))
    monkeypatch.setattr(cli_serve, "_PATIENCE", 0.01)
    cli_serve._tell_of_store(Storage(type="redis", host="redis.test"), lambda *line: lines.append(line))
    over.set()
    [(words, level)] = lines
    assert words.startswith("$.storage: Redis at redis.test: nothing was heard of it within 0.01 s; requests that need")
    assert level == "error"


def test_requests_on_their_way_end_before_it_does(folder, upstream):
    release = threading.Event()

    def answers(message):
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha"
        assert release.wait(TIMEOUT)
        yield b"lf"

    upstream.answers = answers
    with serving("apis", "--port", 0, cwd=folder) as serve, Client(serve.port) as idle, Client(serve.port) as client:
        client.send(request(b"GET /plain/"))
        assert client.reader.head().status == 200
        serve.process.send_signal(signal.SIGTERM)
        assert idle.is_over()
        with pytest.raises(ConnectionError):  # refused; reset, when it had come already
            until(lambda: not Client(serve.port).sock.close() and False)
        release.set()
        assert client.reader.exactly(4) == b"half"
        assert client.is_over()
        assert serve.process.wait(TIMEOUT) == 0


def test_a_second_signal_ends_it_at_once(folder, upstream):
    release = threading.Event()
    upstream.answers = lambda message: iter([OK] if release.wait(TIMEOUT) else [])
    with serving("apis", "--port", 0, cwd=folder) as serve, Client(serve.port) as client:
        client.send(request(b"GET /plain/"))
        upstream.wait_for(1)
        serve.process.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionError):  # refused; reset, when it had come already
            until(lambda: not Client(serve.port).sock.close() and False)
        assert serve.end(signal.SIGINT) == 0
        answer = client.receive()
        assert answer is None or answer.status == 502
        assert "Traceback" not in serve.errors
    release.set()


def test_signals_that_do_not_wake_the_thread_that_waits_are_heard(monkeypatch, caplog):
    def refuse(function):
        raise RuntimeError("can't start new thread")

    def waits():
        frames = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident])
        return [frame.name for frame in frames][-3:] == ["join", "wait", "wait"]

    async def main(signals):
        until(waits)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        for number in numbers:
            os.kill(os.getpid(), number)
        return await asyncio.wait_for(signals.get(), TIMEOUT)

    numbers = signal.SIGHUP, signal.SIGTERM
    monkeypatch.setattr(waiting, "apart", refuse)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        cli_serve._run(main)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert "can't start new thread" in caplog.text


@pytest.mark.parametrize("option", ["--watch", None])
def test_reload(folder, upstream, option):
    """On SIGHUP, or by itself; a request that is on its way goes on to the upstream of its version."""
    write(folder, "marked", upstream.url, ["Mark"])
    with serving("apis", "--port", 0, *([option] if option else []), cwd=folder) as serve:

        def mark():
            del upstream.asked[:]
            assert exchange(serve.port, request(b"GET /marked/")).status == 200
            return upstream.asked[0].get("x-mark")

        assert mark() == b"MARK"
        (folder / "apis" / "hooks.py").write_text(HOOKS.replace("MARK", "other"))
        if option is None:
            serve.process.send_signal(signal.SIGHUP)
        until(lambda: mark() == b"other", TIMEOUT)
        serve.wait_for(f"{'files changed' if option else 'SIGHUP'}: loaded again; in use: APIs marked")
        (folder / "apis" / "hooks.py").write_text("what is this")
        before = len(serve.errors)
        if option is None:
            serve.process.send_signal(signal.SIGHUP)
        serve.wait_for("hooks.py", before)
        assert mark() == b"other"


def test_what_check_warns_of_is_in_the_log(folder, upstream):
    """At the start, and with the reload that brings it."""
    off = 'custom authentication is off: the hook "Check" does not run'
    write(folder, "plain", upstream.url)
    file = folder / "apis" / "plain.json"
    definition = json.loads(file.read_text()) | {"use_keyless": False, "use_standard_auth": True}
    file.write_text(json.dumps(definition | {"custom_middlewares": {}}))
    with serving("apis", "--port", 0, "--watch", "--log-format", "json", cwd=folder) as serve:
        serve.wait_for("$.custom_middlewares: not a key that is known here")
        assert off not in serve.errors
        file.write_text(json.dumps(definition | {"custom_middleware": CHECKED}))
        serve.wait_for("files changed: loaded again")
        [line] = [json.loads(line) for line in serve.errors.splitlines() if "does not run" in line]
        assert (line["level"], line["msg"]) == ("warning", f"{file}: $.custom_middleware.auth_check: {off}")


@pytest.mark.parametrize("option", ["--watch", None])
def test_a_plugin_whose_loading_never_ends_keeps_nobody(folder, upstream, option):
    write(folder, "marked", upstream.url, ["Mark"])
    os.mkfifo(folder / "fifo")
    forever = f"open({str(folder / 'begun')!r}, 'w').close()\nopen({str(folder / 'fifo')!r})\n"
    with serving("apis", "--port", 0, *([option] if option else []), cwd=folder) as serve:
        (folder / "apis" / "hooks.py").write_text(forever + HOOKS)
        if option is None:
            serve.process.send_signal(signal.SIGHUP)
        until((folder / "begun").exists, TIMEOUT)
        assert exchange(serve.port, request(b"GET /marked/")).status == 200
        assert serve.end(signal.SIGTERM) == 0


def test_tls_to_the_upstream(folder, tmp_path_factory):
    authority = web.authority(tmp_path_factory.mktemp("tls"))
    with rawhttp.upstream() as plain, _tls(authority.context, plain.port) as port:
        write(folder, "plain", f"https://127.0.0.1:{port}")
        write(folder, "unverified", f"https://127.0.0.1:{port}", transport={"ssl_insecure_skip_verify": True})
        for environment, status in (({"SSL_CERT_FILE": str(authority.file)}, 200), ({}, 502)):
            with serving("apis", "--port", 0, cwd=folder, **environment) as serve:
                assert exchange(serve.port, request(b"GET /plain/")).status == status
                assert exchange(serve.port, request(b"GET /unverified/")).status == 200
                assert ("certificate" in serve.errors) == (status == 502)


@contextlib.contextmanager
def _tls(context: ssl.SSLContext, port: int):
    """Speak TLS in front of a port, one connection at a time on each side, until the block is over."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as secure:
                reader = rawhttp.Reader(secure)
                with Client(port) as onward:
                    onward.send(reader.until(b"\r\n\r\n") + b"\r\n\r\n")
                    onward.receive()
                secure.sendall(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(TIMEOUT)


@contextlib.contextmanager
def files(count: int):
    """Let this process have so many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


BLOCKED = 100  # more than there are threads


def test_hooks_that_block_hold_nobody_else_up(folder, upstream):
    os.mkfifo(folder / "fifo")
    write(folder, "blocking", upstream.url, ["Blocks"])
    write(folder, "marked", upstream.url, ["Mark"])
    with contextlib.ExitStack() as stack:
        serve = stack.enter_context(serving("apis", "--port", 0, cwd=folder))
        blocked = [stack.enter_context(Client(serve.port)) for _ in range(BLOCKED)]
        for client in blocked:
            client.send(request(b"GET /blocking/"))
        for _ in range(50):
            assert exchange(serve.port, request(b"GET /marked/")).status == 200
            assert exchange(serve.port, request(b"GET /plain/")).status == 200
        assert all(asked.target != b"/blocking/" for asked in upstream.asked)
        assert threads(serve) <= waiting.MOST + 10
        answered = threading.Event()

        def release():
            while not answered.is_set():
                with contextlib.suppress(OSError):  # nobody reads just now
                    os.close(os.open(folder / "fifo", os.O_WRONLY | os.O_NONBLOCK))

        thread = threading.Thread(target=release)
        thread.start()
        assert [client.receive().status for client in blocked] == [200] * BLOCKED
        answered.set()
        thread.join(TIMEOUT)


def test_a_hook_may_ask_the_gateway_itself(folder, upstream):
    write(folder, "asks", upstream.url, ["Asks"])
    with serving("apis", "--port", 0, cwd=folder) as serve:
        url = f"http://127.0.0.1:{serve.port}/plain/".encode()
        for _ in range(3):
            assert exchange(serve.port, request(b"GET /asks/", b"X-Url: " + url)).status == 200
            assert upstream.asked[-1].get("x-answer") == b"200"


def test_signals_to_a_child_that_a_hook_forks_are_the_childs(folder, upstream):
    write(folder, "forks", upstream.url, ["Forks"])
    with serving("apis", "--port", 0, cwd=folder) as serve:
        assert exchange(serve.port, request(b"GET /forks/")).status == 200
        assert upstream.asked[-1].get("x-exit-code") == b"%d" % -signal.SIGTERM
        assert exchange(serve.port, request(b"GET /plain/")).status == 200


def threads(serve: Serve) -> int:
    return len(os.listdir(f"/proc/{serve.process.pid}/task"))


def memory(serve: Serve) -> int:
    """Kilobytes."""
    text = Path(f"/proc/{serve.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1])


@pytest.mark.plain
def test_a_thousand_idle_connections_and_two_hundred_busy_ones(folder, upstream):
    write(folder, "marked", upstream.url, ["Mark"])
    with files(4096), contextlib.ExitStack() as stack:
        serve = stack.enter_context(serving("apis", "--port", 0, cwd=folder))
        for _ in range(20):
            exchange(serve.port, request(b"GET /marked/"))
        before = memory(serve)
        idle = [stack.enter_context(Client(serve.port)) for _ in range(1000)]
        for client in idle:
            client.send(request(b"GET /plain/"))
            assert client.receive().status == 200
        busy = [stack.enter_context(Client(serve.port)) for _ in range(200)]
        for _ in range(5):
            for client in busy:
                client.send(request(b"POST /marked/", body=bytes(10_000)))
            assert {client.receive().status for client in busy} == {200}
        assert threads(serve) <= waiting.MOST + 10
        assert memory(serve) - before < 100_000
        for client in idle:  # none was dropped
            assert client.send(request(b"GET /plain/")).receive().status == 200
