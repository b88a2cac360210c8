"""The log of the gateway: nobody forges lines, they say whose request they are about, and they tell no secret."""

import asyncio
import concurrent.futures
import contextlib
import io
import json
import logging
import re
import shlex
import subprocess
import sys
from datetime import datetime

import pytest

from tests import grpcserver
from tests.gatewayed import SECRET, Served, ask, definition, write
from tests.webserver import serving
from tykbridge import Bridge, _bridge
from tykbridge.gateway import visit
from tykbridge.gateway.logs import Log, server_logger
from tykbridge.gateway.metrics import Metrics
from tykbridge.gateway.recorder import Recorder, path_of

pytestmark = pytest.mark.once

PYTHON = """
import asyncio, contextvars, threading
from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def Say(request, session, spec):
    name = request.get_header("X-Request-ID")
    tyk.log(f"python {name}", "info")
    asyncio.run(asyncio.to_thread(tyk.log, f"task {name}", "debug"))
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(tyk.log, f"thread {name}", "warning"))
    thread.start()
    thread.join()
    tyk.trigger_event("Sold", name)
    return request, session

@Hook
def Break(request, session, spec):
    raise ValueError("broken " + request.get_header("X-Request-ID"))

@Hook
def Forge(request, session, spec):
    tyk.log("first\\n2026-01-01T00:00:00.000Z ERROR   forged\\r\\x1b[2J\\x07\\u202eend", "info")
    return request, session
"""
JAVASCRIPT = """
var Say = new TykJS.TykMiddleware.NewMiddleware({});
Say.NewProcessRequest(function(request, session, config) {
    log("javascript " + request.Headers["X-Request-ID"][0]);
    return Say.ReturnData(request, {});
});
"""
LUA = """
function Say(request, session, spec)
  tyk.log("lua " .. request.headers["X-Request-ID"], "info")
  return request, session
end
"""


def api(name, driver, hook, path, phase="pre", **more):
    found = {"name": hook, "path": path}
    section = {"driver": driver, phase: found if phase == "auth_check" else [found]}
    return definition(name, use_keyless=phase == "pre", custom_middleware=section, **more)


@pytest.fixture(scope="module")
def upstream():
    with serving(200) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, root, go_plugin, upstream):
    """The program, writing JSON; with an API for each driver."""
    folder = tmp_path_factory.mktemp("gateway")
    for name, text in (("say.py", PYTHON), ("say.js", JAVASCRIPT), ("say.lua", LUA)):
        (folder / name).write_text(text)
    flags = subprocess.run([sys.executable, "-m", "tykbridge", "--cflags"], capture_output=True, text=True, check=True)
    source = root / "examples/native/plugin.c"
    build = ["cc", "-std=c11", "-shared", "-fPIC", *shlex.split(flags.stdout), "-o", "native.so", str(source)]
    subprocess.run(build, cwd=folder, check=True)
    (folder / "go.so").write_bytes((folder / go_plugin("examples/go/auth").file).read_bytes())

    def server(data, context):
        exchange = _bridge.Exchange(data)
        exchange.object.request.set_headers["X-Told"] = dict(context.invocation_metadata())["x-request-id"]
        return bytes(exchange.object.SerializeToString())

    with grpcserver.serving(server) as address, contextlib.ExitStack() as stack:
        remote = api("grpc", "grpc", "Say", "", target=upstream.url)
        write(
            folder,
            api("python", "python", "Say", "say.py", target=upstream.url),
            api("broken", "python", "Break", "say.py"),
            api("forge", "python", "Forge", "say.py", target=upstream.url),
            api("javascript", "javascript", "Say", "say.js", target=upstream.url),
            api("lua", "lua", "Say", "say.lua", target=upstream.url),
            api("native", "native", "Gate", "native.so", target=upstream.url),
            api("go", "goplugin", "Authenticate", "go.so", "auth_check", custom_plugin_auth_enabled=True),
            remote,
            definition("tokens", target=upstream.url),
        )
        conf = {"secret": SECRET, "log_format": "json", "log_level": "debug"}
        conf["coprocess_options"] = {"coprocess_grpc_server": address}
        yield stack.enter_context(Served(folder, "--middleware-path", str(folder), conf=conf))


def lines(gateway, *names):
    """The lines of requests, once the last line of each is there."""
    for name in names:
        gateway.serve.wait_for(f'"client":"127.0.0.1","request_id":"{name}"')  # the end of such a line
    found = [json.loads(line) for line in gateway.log.splitlines()]
    return [line for line in found if line.get("request_id") in names]


def test_each_line_of_a_plugin_has_the_id_of_its_own_request(gateway):
    said = {
        "python": ["python {}", "task {}", "thread {}", "event Sold {}"],
        "javascript": ["javascript {}"],
        "lua": ["lua {}"],
        "native": ["a request without X-Key"],
        "go": ["a key that nobody has"],
        "broken": ["broken {}"],
    }
    wanted = {f"{name}-{number}": words for number in range(6) for name, words in said.items()}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for name, answer in zip(
            wanted,
            pool.map(lambda name: gateway.get(f"/{name.partition('-')[0]}/", **{"X-Request-ID": name}), wanted),
            strict=True,
        ):
            assert answer.headers["X-Request-ID"] == name
    found = lines(gateway, *wanted)
    for name, words in wanted.items():
        told = [line["msg"] for line in found if line["request_id"] == name]
        for word in words:
            assert [text for text in told if word.format(name) in text], (name, word, told)
        assert [text for text in told for other in wanted if other != name and f" {other} " in f"{text} "] == []


def test_a_plugin_elsewhere_and_the_upstream_are_told_the_id(gateway, upstream):
    gateway.get("/grpc/", **{"X-Request-ID": "far-away"})
    assert upstream.got[-1].headers["x-request-id"] == "far-away"
    assert upstream.got[-1].headers["x-told"] == "far-away"
    made = gateway.get("/grpc/").headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{8}-\d+", made)
    assert upstream.got[-1].headers["x-told"] == made


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, 'a"b', "a;b", "\N{LATIN SMALL LETTER E WITH ACUTE}", "$(id)"])
def test_an_id_that_could_be_taken_for_something_else_is_not(gateway, upstream, sent):
    answer = ask(f"{gateway.url}/python/", headers=[("X-Request-ID", sent.encode())])
    assert re.fullmatch(r"[0-9a-f]{8}-\d+", answer.headers["X-Request-ID"])
    assert upstream.got[-1].headers["x-request-id"] == answer.headers["X-Request-ID"]


def test_a_line_for_each_request_says_what_became_of_it(gateway):
    name = gateway.get("/python/some/path?token=in-the-query", **{"X-Request-ID": "one-line"}).headers["X-Request-ID"]
    found = lines(gateway, name)
    [access] = [line for line in found if line.get("prefix") == "access"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", access.pop("time"))
    assert 0 < access.pop("hooks_seconds") <= access.pop("seconds") < 60
    assert access == {
        "level": "info",
        "msg": "GET /python/some/path 200",
        "prefix": "access",
        "api_id": "python",
        "method": "GET",
        "path": "/python/some/path",
        "status": 200,
        "client": "127.0.0.1",
        "request_id": name,
    }
    [hook] = [line for line in found if line.get("prefix") == "hook"]
    assert (hook["msg"], hook["level"], hook["api_id"]) == ('pre hook "Say" ran', "debug", "python")
    assert hook["seconds"] > 0


def test_tokens_are_in_no_line(gateway):
    key = gateway.control("/tyk/keys", "POST", {"org_id": "org", "access_rights": {"tokens": {"api_id": "tokens"}}})
    key = key.json["key"]
    ask(f"{gateway.url}/tokens/?key={key}", headers={"Authorization": key, "X-Request-ID": "let-in"})
    unknown = "an-unknown-token-of-a-client"
    ask(f"{gateway.url}/tokens/", headers={"Authorization": unknown, "X-Request-ID": "kept-out"})
    ask(f"{gateway.url}/nowhere?key={key}", headers={"X-Request-ID": "nowhere"})
    assert any("event AuthFailure" in line["msg"] for line in lines(gateway, "let-in", "kept-out"))
    gateway.serve.wait_for("GET /nowhere 404")
    for hidden in (key, unknown, SECRET):
        assert hidden not in gateway.log


def test_an_upstream_that_is_down_is_named_without_what_may_be_secret(tmp_path):
    target = "http://user:p4ssword@127.0.0.1:9/base"
    write(tmp_path, definition("down", target, use_keyless=True))
    with Served(tmp_path) as gateway:
        assert gateway.get("/down/x?token=in-the-query").status == 502
        gateway.serve.wait_for("GET /down/x 502")
        assert "http://127.0.0.1:9/base/x" in gateway.log
        for hidden in ("p4ssword", "in-the-query"):
            assert hidden not in gateway.log


def test_json_holds_what_a_plugin_writes_as_one_string(gateway):
    gateway.get("/forge/", **{"X-Request-ID": "forged"})
    [said] = [line["msg"] for line in lines(gateway, "forged") if line["msg"].startswith("first")]
    assert said == "first\n2026-01-01T00:00:00.000Z ERROR   forged\r\x1b[2J\x07\u202eend"


# ---- Lines for people, and levels


def written(*said, form="console", level="info", **more):
    stream = io.StringIO()
    log = Log(stream, form, level)
    for words, at in said:
        log.write(words, at, **more)
    return stream.getvalue()


def test_a_line_for_people_has_its_message_at_the_margin_and_nothing_that_acts_on_a_terminal():
    text = written(("first\n2026 ERROR forged\r\x1b[2J\x07\x9b\u202eend\t.", "info"))
    first, second = text.splitlines()
    assert re.fullmatch(r"\S+Z INFO    first", first)
    assert second == "    2026 ERROR forged\\x0d\\x1b[2J\\x07\\x9b\\u202eend\t."


def test_further_fields_stand_behind_and_cannot_act_either():
    text = written(("GET / 200", "info"), api_id="a\nb\x1b", seconds=0.0015, method="GET", client="")
    assert text.endswith("GET / 200  api_id=a\n    b\\x1b seconds=1.50ms\n")


def test_levels():
    said = [("one", "debug"), ("two", "info"), ("three", "warning"), ("four", "error"), ("five", "nonsense")]
    names = {"debug": 5, "info": 4, "warn": 2, "error": 1}
    assert {level: len(written(*said, level=level).splitlines()) for level in names} == names


def test_a_terminal_gets_colours_and_brackets_stay():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    Log(stream).write("[red]as it is[/red] :smile:", "error", api_id="a")
    assert "[red]as it is[/red] :smile:" in stream.getvalue()
    assert "ERROR" in stream.getvalue().upper()


def test_bytes_of_a_path_that_are_no_utf8_are_written_all_the_same():
    path = path_of(b"/a\xff?token=x".decode("utf-8", "surrogateescape"))
    for form in ("json", "console"):
        assert "/a" in written((path, "info"), form=form)
    assert json.loads(written((path, "info"), form="json"))["msg"].startswith("/a")


def test_of_a_target_only_the_path_is_told():
    assert path_of("/a/b?key=c") == "/a/b"
    assert path_of("http://user:secret@host/a?key=c") == "/a"
    assert path_of("*") == "*"
    assert len(path_of("/" + "a" * 5000)) < 1100


def test_a_stream_that_is_closed_is_no_failure():
    stream = io.StringIO()
    log = Log(stream)
    stream.close()
    log("words", "error")


def test_what_libraries_have_to_say_is_written_with_its_traceback(monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    stream = io.StringIO()
    Log(stream, "json").attach()
    try:
        raise ValueError("in a library")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    logging.getLogger("aiohttp.server").info("nothing")
    [line] = map(json.loads, stream.getvalue().splitlines())
    assert (line["level"], line["prefix"]) == ("error", "aiohttp.server")
    assert "Traceback" in line["msg"]
    assert "in a library" in line["msg"]


def test_who_listens_hears_every_line_and_may_take_it():
    stream, heard = io.StringIO(), []

    def listener(words, level):
        heard.append((words, level))
        return words == "mine"

    log = Log(stream)
    log.listeners.append(listener)
    log("quiet", "debug")
    log("mine", "info")
    log("other", "info")
    assert heard == [("quiet", "debug"), ("mine", "info"), ("other", "info")]
    assert [line.rpartition(" ")[2] for line in stream.getvalue().splitlines()] == ["other"]


def test_of_the_key_of_an_event_four_characters_are_told():
    stream = io.StringIO()
    log = Log(stream)
    log.event("KeyExpired", json.dumps({"Message": "m", "Key": "the-whole-key-of-ann", "key": "another-whole-key"}))
    log.event("Sold", "no JSON")
    assert "****-ann" in stream.getvalue()
    assert "event Sold no JSON" in stream.getvalue()
    for hidden in ("the-whole-key", "another-whole"):
        assert hidden not in stream.getvalue()


def test_a_line_outside_of_requests_has_no_id():
    assert visit.current.get() is None
    assert "request_id" not in written(("words", "info"), form="json")


# ---- How it is asked for


def test_the_option_the_settings_and_the_variables_say_how(tmp_path):
    write(tmp_path, definition("api", use_keyless=True))
    with Served(tmp_path, "--log-format", "json", conf={"log_level": "debug"}, TYK_LOGLEVEL="warn") as gateway:
        assert gateway.get("/nowhere").status == 404
        gateway.get("/api/")
        gateway.serve.wait_for("connection refused")
        assert {json.loads(line)["level"] for line in gateway.log.splitlines()} <= {"warning", "error"}


def test_a_level_that_is_none_is_refused(tmp_path):
    write(tmp_path, definition("api", use_keyless=True))
    done = subprocess.run(
        [sys.executable, "-m", "tykbridge", "serve", "apis", "--port", "0"],
        cwd=tmp_path, env={"TYK_LOGLEVEL": "loud"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert 'TYK_LOGLEVEL is "loud", none of debug, info, warn' in done.stderr


@pytest.mark.parametrize("error", [ConnectionResetError("Cannot write to closing transport"), ValueError("other")])
def test_a_client_that_leaves_is_no_error_of_the_gateways(error):
    lines = []
    logger = server_logger(lambda words, level: lines.append(f"{level}: {words}"))
    logger.error("Error handling request from %s", "127.0.0.1", exc_info=error)
    told = [f"error: internal error: Error handling request from 127.0.0.1: {error!r}"]
    assert lines == ([] if isinstance(error, ConnectionError) else told)


# ---- Lines of requests, which are written together


def _ended(number):
    made = visit.Visit("GET", f"/{number}?token=1", "127.0.0.1", f"id-{number}")
    made.status, made.ended = 200, made.began + 0.5
    return made


def _recorded(*acts):
    """Lets a recorder hear, on an event loop; gives the log's lines."""
    out = io.StringIO()
    log = Log(out, "json", "debug")
    recorder = Recorder(log, Metrics(Bridge()))

    async def scenario():
        for act in acts:
            await act(recorder, log) if asyncio.iscoroutinefunction(act) else act(recorder, log)

    asyncio.run(scenario())
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_each_request_has_a_line_of_its_own_with_its_time():
    visits = [_ended(number) for number in range(3)]
    lines = _recorded(*(lambda recorder, log, made=made: recorder.end(made) for made in visits), _later)
    assert [line["msg"] for line in lines] == [f"GET /{number} 200" for number in range(3)]
    assert [line["request_id"] for line in lines] == ["id-0", "id-1", "id-2"]
    for line, made in zip(lines, visits, strict=True):
        at = datetime.fromisoformat(line["time"]).timestamp()
        assert at == pytest.approx(made.at + 0.5, abs=0.002)


async def _later(recorder, log):
    while recorder._ended:
        await asyncio.sleep(0.001)


def test_what_is_written_later_stands_later():
    lines = _recorded(
        lambda recorder, log: recorder.end(_ended(1)),
        lambda recorder, log: log.write("said", "info"),
        lambda recorder, log: recorder.end(_ended(2)),
        lambda recorder, log: log.write("not said", "debug"),
    )
    assert [line["msg"] for line in lines] == ["GET /1 200", "said", "GET /2 200", "not said"]


def test_the_last_lines_are_written_when_it_ends():
    async def stop(recorder, log):
        await recorder.stop()

    assert len(_recorded(lambda recorder, log: recorder.end(_ended(1)), stop)) == 1


def test_no_line_is_lost_or_doubled_when_threads_write():
    out = io.StringIO()
    log = Log(out, "json", "info")
    recorder = Recorder(log, Metrics(Bridge()))

    async def scenario():
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            told = [pool.submit(lambda: [log.write("said", "info") for _ in range(200)]) for _ in range(4)]
            for number in range(500):
                recorder.end(_ended(number))
                await asyncio.sleep(0)
            for each in told:
                each.result()
        await recorder.stop()

    asyncio.run(scenario())
    said = [json.loads(line)["msg"] for line in out.getvalue().splitlines()]
    assert sorted(said) == sorted([f"GET /{number} 200" for number in range(500)] + ["said"] * 800)
