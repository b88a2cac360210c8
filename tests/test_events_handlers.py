"""Events of APIs, and the handlers that their definitions name."""

import base64
import contextvars
import gc
import hashlib
import json
import sys
import threading
import time

import pytest

from tests import hooks
from tests.webserver import serving
from tykbridge import Bridge
from tykbridge.compat.gateway import TykGateway as tyk
from tykbridge.errors import NotFoundError
from tykbridge.events.handlers import LogHandler, masked
from tykbridge.events.queue import Counts, EventQueue, Fired
from tykbridge.outcome import Continue, Request
from tykbridge.services import Services
from tykbridge.session import Monitor, Session, encode
from tykbridge.stores.memory import MemoryStore

TIMEOUT = 30
REQUEST = Request("GET", "/a?b=c")

CODE = """
from tests import hooks
from tyk.decorators import *

@Hook
def fire(request, session, spec):
    hooks.fire(request, session, spec)
    return request, session

@Event
def heard(event, spec):
    hooks.heard({!r}, event, spec)

@Event
def other(event, spec):
    hooks.heard("other", event, spec)
"""


class Sink(list):
    def fire(self, event, api_id, org_id, meta):
        self.append((event, api_id, org_id, dict(meta)))


@pytest.fixture
def queue():
    made = EventQueue()
    yield made
    assert made.close(TIMEOUT)


@pytest.fixture
def log():
    return []


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def bridge(queue, log, sink, tmp_path):
    def clock():
        return 1_800_000_000.0

    return Bridge(
        Services(events=sink, queue=queue, clock=clock, log=lambda words, level: log.append((level, words))),
        tmp_path / "middleware",
    )


@pytest.fixture
def heard(monkeypatch):
    """What Python handlers got."""
    got = []
    monkeypatch.setattr(hooks, "heard", lambda *arguments: got.append(arguments), raising=False)
    monkeypatch.setattr(hooks, "fire", lambda *arguments: tyk.trigger_event("Bought", "a book"), raising=False)
    return got


def api(api_id="api", handlers=(), event="Bought", **keys):
    return {
        "api_id": api_id,
        "org_id": "org",
        "use_keyless": True,
        "proxy": {"listen_path": f"/{api_id}/"},
        "event_handlers": {"events": {event: list(handlers)}},
        **keys,
    }


def python(name="heard", **meta):
    return {"handler_name": "cp_dynamic_handler", "handler_meta": {"name": name, **meta}}


def with_hook(path="plugin.py"):
    return {"custom_middleware": {"driver": "python", "pre": [{"name": "fire", "path": path}]}}


def put(folder, name, text):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text if isinstance(text, str) else json.dumps(text))
    return file


def put_bundle(tmp_path, name, code):
    folder = f"middleware/bundles/{hashlib.md5(name.encode()).hexdigest()}"
    put(tmp_path, f"{folder}/middleware.py", code)
    section = {"driver": "python", "pre": [{"name": "fire"}]}
    put(tmp_path, f"{folder}/manifest.json", {"file_list": ["middleware.py"], "custom_middleware": section})


def load(bridge, *definitions, folder):
    for definition in definitions:
        put(folder / "apis", f"{definition['api_id']}.json", definition)
    loaded = bridge.load(folder / "apis")
    assert loaded.not_loaded == ()


def ask(bridge, api_id="api"):
    outcome = bridge.request(REQUEST, api_id)
    assert isinstance(outcome, Continue), outcome


# ---- Python handlers


def test_a_python_handler_gets_upstreams_content(bridge, queue, sink, heard, tmp_path):
    put(tmp_path, "middleware/plugin.py", CODE.format("plugin"))
    load(bridge, api(handlers=[python()], **with_hook()), folder=tmp_path)
    ask(bridge)
    assert queue.drain(TIMEOUT)
    ((_, event, spec),) = heard
    meta = {"Message": "a book", "OriginatingRequest": ""}
    assert event == {
        "message": {"Type": "Bought", "Meta": meta, "TimeStamp": "2027-01-15T08:00:00+00:00"},
        "handler_name": "heard",
        "spec": {"APIID": "api", "OrgID": "org"},
    }
    assert event.message["Type"] == "Bought"
    assert spec == {"APIID": "api", "OrgID": "org"}
    assert sink == [("Bought", "api", "org", meta)]
    assert queue.counts()["python"] == Counts(queued=1, delivered=1)


def test_each_api_has_the_handler_of_its_own_bundle(bridge, queue, heard, tmp_path):
    definitions = []
    for name in ("one", "two"):
        put_bundle(tmp_path, name, CODE.format(name))
        definitions.append(api(name, [python()], custom_middleware_bundle=name))
    load(bridge, *definitions, folder=tmp_path)
    for name in ("two", "one"):
        ask(bridge, name)
        assert queue.drain(TIMEOUT)
    assert [(item[0], item[2]["APIID"]) for item in heard] == [("two", "two"), ("one", "one")]


def test_where_a_handler_is_looked_for(bridge, queue, heard, tmp_path):
    put(tmp_path, "apis/plugin.py", CODE.format("beside the definition"))
    put(tmp_path, "middleware/plugin.py", CODE.format("middleware path"))
    put(tmp_path, "middleware/handlers.py", CODE.format("path"))
    code = base64.b64encode(CODE.format("code").encode()).decode()
    own = {"custom_middleware": {"driver": "python", "pre": [{"name": "fire", "code": code}]}}
    load(
        bridge,
        api("beside", [python()], **with_hook()),
        api("path", [python(path="handlers.py")], **with_hook()),
        api("code", [python()], **own),
        folder=tmp_path,
    )
    for name in ("beside", "path", "code"):
        ask(bridge, name)
        assert queue.drain(TIMEOUT)
    assert [item[0] for item in heard] == ["beside the definition", "path", "code"]


def test_a_handler_of_the_oas_form(bridge, queue, heard, log, tmp_path):
    put(tmp_path, "middleware/plugin.py", CODE.format("plugin"))
    item = {"enabled": True, "trigger": "Bought", "type": "custom", "functionName": "heard", "path": "plugin.py"}
    lists = {"prePlugins": [{"enabled": True, "functionName": "fire", "path": "plugin.py"}]}
    extension = {
        "info": {"id": "api", "orgId": "org"},
        "server": {
            "listenPath": {"value": "/api/"},
            "eventHandlers": [
                item,
                {**item, "enabled": False},
                {"enabled": True, "trigger": "Bought", "type": "log", "logPrefix": "p"},
            ],
        },
        "middleware": {"global": {"pluginConfig": {"driver": "python"}, **lists}},
    }
    loaded = bridge.load(json.dumps({"openapi": "3.0.3", "info": {}, "paths": {}, "x-tyk-api-gateway": extension}))
    assert loaded.not_loaded == ()
    ask(bridge)
    assert queue.drain(TIMEOUT)
    assert [item[0] for item in heard] == ["plugin"]
    assert log == [("warning", "p:Bought: a book")]


@pytest.mark.parametrize(
    ("handler", "keys", "words"),
    [
        (python("nope"), with_hook(), 'has no event handler "nope" (handlers: heard, other)'),
        (python("fire"), with_hook(), "plugin.py:5 marks it with @Hook; a handler of events is marked with @Event"),
        (python(), {}, 'the API has neither a bundle nor hooks; give it a "path"'),
        (python(path="gone.py"), {}, 'the file of the event handler "heard" is not there: '),
        (python(path="broken.py"), {}, "broken.py:2: ModuleNotFoundError"),
        (python(), {"custom_middleware_bundle": "one, two"}, "is there more than once: "),
        (python("nope"), {"custom_middleware_bundle": "one"}, 'has no event handler "nope" (handlers: heard, other)'),
        (
            {"handler_name": "eh_web_hook_handler", "handler_meta": {"target_path": "http://h/", "template_path": "x"}},
            {},
            "the template of the webhook is not there: ",
        ),
    ],
)
def test_a_handler_that_cannot_be_used_is_refused_with_its_place(bridge, tmp_path, handler, keys, words):
    put(tmp_path, "middleware/plugin.py", CODE.format("plugin"))
    put(tmp_path, "middleware/broken.py", "\nimport nowhere_to_be_found")
    for name in ("one", "two"):
        put_bundle(tmp_path, name, CODE.format(name))
    file = put(tmp_path, "apis/api.json", api(handlers=[{"handler_name": "eh_log_handler"}, handler], **keys))
    (item,) = bridge.load(tmp_path / "apis").not_loaded
    (problem,) = item.problems
    assert (problem.file, problem.path) == (str(file), "$.event_handlers.events.Bought[1]")
    assert words in problem.text
    assert "#" not in problem.text  # a loading's number


def test_a_hook_and_a_handler_in_one_broken_file_are_one_problem(bridge, tmp_path):
    put(tmp_path, "middleware/plugin.py", "\nimport nowhere_to_be_found")
    put(tmp_path, "apis/api.json", api(handlers=[python()], **with_hook()))
    (item,) = bridge.load(tmp_path / "apis").not_loaded
    assert [problem.path for problem in item.problems] == ["$.custom_middleware.pre[0]"]


def test_a_handler_that_raises_is_a_log_line_with_the_plugins_frames(bridge, queue, log, monkeypatch, heard, tmp_path):
    def heard_badly(*arguments):
        raise SystemExit("boom")

    monkeypatch.setattr(hooks, "heard", heard_badly)
    file = put(tmp_path, "middleware/plugin.py", CODE.format("plugin"))
    load(bridge, api(handlers=[python()], **with_hook()), folder=tmp_path)
    ask(bridge)
    ask(bridge)
    assert queue.drain(TIMEOUT)
    assert queue.counts()["python"] == Counts(queued=2, failed=2)
    level, words = log[0]
    assert level == "error"
    assert words.startswith('api "api": event handler "heard": SystemExit: boom (plugin.py:12)\nTraceback')
    assert f'File "{file}", line 12, in heard' in words
    assert "runtime.py" not in words


def test_what_a_handler_fires_goes_to_the_sink_alone(bridge, queue, sink, heard, log, monkeypatch, tmp_path):
    def again(name, event, spec):
        heard.append(name)
        tyk.trigger_event("Bought", "again")

    monkeypatch.setattr(hooks, "heard", again)
    put(tmp_path, "middleware/plugin.py", CODE.format("plugin"))
    load(bridge, api(handlers=[python()], **with_hook()), folder=tmp_path)
    ask(bridge)
    assert queue.drain(TIMEOUT)
    assert heard == ["plugin"]
    assert [(item[1], item[3]["Message"]) for item in sink] == [("api", "a book"), ("api", "again")]


def test_code_stays_loaded_for_the_events_that_wait_for_it(bridge, queue, heard, monkeypatch, tmp_path):
    entered, gate = threading.Event(), threading.Event()
    slow = """
@Event
def heard(event, spec):
    import late
    hooks.heard(late.NAME, event, spec)
"""

    def wait(*arguments):
        entered.set()
        assert gate.wait(TIMEOUT)
        heard.append(arguments)

    monkeypatch.setattr(hooks, "heard", wait)
    head = CODE.partition("@Event")[0]
    put(tmp_path, "middleware/late.py", "NAME = 'old'")
    put(tmp_path, "middleware/plugin.py", head + slow)

    def modules():
        gc.collect()
        return sum(name.startswith("_tykb_") for name in sys.modules)

    before = modules()
    load(bridge, api(handlers=[python()], **with_hook()), folder=tmp_path)
    with_one = modules()
    for _ in range(3):
        ask(bridge)
    assert entered.wait(TIMEOUT)
    put(tmp_path, "middleware/late.py", "NAME = 'new'")
    load(bridge, api(handlers=[python()], **with_hook()), folder=tmp_path)
    ask(bridge)
    assert modules() > with_one
    gate.set()
    assert queue.drain(TIMEOUT)
    assert sorted(item[0] for item in heard) == ["new", "old", "old", "old"]
    load(bridge, api(handlers=[{"handler_name": "eh_log_handler"}]), folder=tmp_path)
    deadline = time.monotonic() + TIMEOUT
    while modules() > before:
        assert time.monotonic() < deadline


def test_a_thread_that_outlives_its_api_reaches_the_sink_alone(bridge, queue, sink, heard, monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(hooks, "fire", lambda *arguments: kept.append(contextvars.copy_context()))
    put(tmp_path, "middleware/plugin.py", CODE.format("plugin"))
    load(bridge, api(handlers=[python()], **with_hook()), folder=tmp_path)
    ask(bridge)
    kept[0].run(tyk.trigger_event, "Bought", "first")
    assert queue.drain(TIMEOUT)
    load(bridge, api(), folder=tmp_path)
    gc.collect()
    kept[0].run(tyk.trigger_event, "Bought", "second")
    assert queue.drain(TIMEOUT)
    assert [item[1]["message"]["Meta"]["Message"] for item in heard] == ["first"]
    assert [item[3]["Message"] for item in sink if item[0] == "Bought"] == ["first", "second"]


# ---- Log lines


def test_a_log_line_begins_as_upstreams_and_holds_no_whole_key(log):
    handler = LogHandler("prefix", lambda words, level: log.append((level, words)))
    key = "0123456789abcdef"
    meta = {"Message": "Quota\nexceeded", "OriginatingRequest": "", "Path": "/a\x1b[2J", "Origin": "", "Key": key}
    handler.deliver(Fired("QuotaExceeded", meta, "now", "api", "org"))
    LogHandler("", handler.log).deliver(Fired("Mine", {"Message": "x" * 5000}, "now", "api", "org"))
    assert log[0] == ("warning", "prefix:QuotaExceeded:****cdef::/a?[2J: Quota exceeded")
    assert log[1][1].startswith("Mine: xxx")
    assert len(log[1][1]) < 600


@pytest.mark.parametrize(("key", "told"), [("", ""), ("a", "--"), ("12345678901", "--"), ("123456789012", "****9012")])
def test_masked_keys(key, told):
    assert masked(key) == told


# ---- Which events


def test_an_api_without_handlers_has_the_services_sink_itself(bridge, sink, tmp_path):
    disabled = {"handler_name": "eh_log_handler", "handler_meta": {"disabled": True}}
    load(bridge, api(handlers=[disabled]), folder=tmp_path)
    assert bridge.chain_of("api").events is sink
    assert not bridge.chain_of("api").handlers


def test_without_a_queue_no_handler_is_called(sink, heard, tmp_path):
    bridge = Bridge(Services(events=sink, queue=None), tmp_path / "middleware")
    put(tmp_path, "middleware/plugin.py", CODE.format("plugin"))
    load(bridge, api(handlers=[python()], **with_hook()), folder=tmp_path)
    assert bridge.chain_of("api").events is sink
    ask(bridge)
    assert [item[0] for item in sink] == ["Bought"]


def test_a_sink_that_fails_keeps_nothing_from_handlers(queue, heard, log, tmp_path):
    class Broken:
        def fire(self, event, api_id, org_id, meta):
            raise OSError("nobody listens")

    services = Services(events=Broken(), queue=queue, log=lambda words, level: log.append(words))
    bridge = Bridge(services, tmp_path / "middleware")
    put(tmp_path, "middleware/plugin.py", CODE.format("plugin"))
    load(bridge, api(handlers=[python()], **with_hook()), folder=tmp_path)
    ask(bridge)
    assert queue.drain(TIMEOUT)
    assert len(heard) == 1
    assert log == ["api \"api\": the event Bought was lost: OSError('nobody listens')"]


KEYS = {"use_keyless": False, "use_standard_auth": True, "auth": {"auth_header_name": "Authorization"}}


def keyed(session, bridge, handlers, tmp_path, times, event):
    """Sends requests with a key that has these limits and rights."""
    bridge.services.sessions.set("apikey-0123456789abcdef", encode(session))
    load(bridge, api(handlers=handlers, event=event, **KEYS), folder=tmp_path)
    request = Request("GET", "/a?b=c", (("Authorization", "0123456789abcdef"),))
    return [bridge.request(request, "api") for _ in range(times)]


@pytest.mark.parametrize(
    ("session", "event", "message"),
    [
        (Session(org_id="org", expires=1), "KeyExpired", "Key has expired, please renew"),
        (Session(org_id="org", is_inactive=True), "KeyExpired", "Key is inactive, please renew"),
        (Session(org_id="org", quota_max=1), "QuotaExceeded", "Quota exceeded"),
        (Session(org_id="org", rate=1, per=60), "RatelimitExceeded", "Rate limit exceeded"),
        (Session(org_id="other"), "AuthFailure", "Access to this API has been disallowed"),
    ],
)
def test_a_chains_own_event_comes_with_upstreams_meta(bridge, queue, log, tmp_path, session, event, message):
    with serving() as server:
        meta = {"target_path": server.url, "method": "POST"}
        handlers = [{"handler_name": "eh_web_hook_handler", "handler_meta": meta}, {"handler_name": "eh_log_handler"}]
        keyed(session, bridge, handlers, tmp_path, 2, event)
        assert queue.drain(TIMEOUT)
        body = json.loads(server.got[0].body)
    key = "" if event == "AuthFailure" else "0123456789abcdef"
    expected = {"event": event, "message": message, "path": "/a", "origin": "", "key": key}
    assert body == {**expected, "timestamp": "2027-01-15T08:00:00+00:00"}
    assert ("warning", f"{event}:{key and '****cdef'}::/a: {message}") in log


def test_a_quotas_trigger_fires_once_for_each_percentage(bridge, queue, sink, heard, tmp_path):
    put(tmp_path, "middleware/plugin.py", CODE.format("plugin"))
    session = Session(org_id="org", quota_max=10, monitor=Monitor([80.0, 55.5, 0.0, 120.0]))
    handlers = [python(path="plugin.py")]
    keyed(session, bridge, handlers, tmp_path, 12, "TriggerExceeded")
    assert queue.drain(TIMEOUT)
    whole = {"Message": "Quota trigger reached", "OriginatingRequest": "", "org_id": "org", "key": "0123456789abcdef"}
    expected = [
        {**whole, "trigger_limit": 55, "usage_percentage": 60},
        {**whole, "trigger_limit": 80, "usage_percentage": 80},
    ]
    assert [item[1]["message"]["Meta"] for item in heard] == expected
    assert [item[3] for item in sink if item[0] == "TriggerExceeded"] == expected


# ---- tykbridge's own


def own(names):
    log = {"handler_name": "eh_log_handler", "handler_meta": {"prefix": "own"}}
    return {"event_handlers": {"events": {name: [log] for name in names}}}


def test_events_of_loading(bridge, queue, sink, log, tmp_path):
    names = ["BundleLoaded", "BundleFailed", "ConfigurationReloaded", "ReloadFailed"]
    put_bundle(tmp_path, "one", CODE.format("one"))
    first, second = api("first", custom_middleware_bundle="one") | own(names), api("second")
    load(bridge, first, second, folder=tmp_path)
    digest = hashlib.md5(b"one").hexdigest()
    loaded = {"Message": 'the bundle "one" is loaded', "OriginatingRequest": "", "Bundle": "one", "BundleHash": digest}
    assert sink == [("BundleLoaded", "first", "org", loaded)]
    assert queue.drain(TIMEOUT)
    assert log == [("warning", 'own:BundleLoaded: the bundle "one" is loaded')]
    del sink[:], log[:]

    put_bundle(tmp_path, "one", "syntax error")
    (item,) = bridge.load(tmp_path / "apis").not_loaded
    failed = {"Message": item.reason, "OriginatingRequest": "", "Bundle": "one", "Kept": True}
    whole = {"Message": "2 APIs run, 1 not loaded", "OriginatingRequest": "", "APIs": 2, "NotLoaded": 1}
    assert sink == [("BundleFailed", "first", "org", failed), ("ConfigurationReloaded", "", "", whole)]
    assert queue.drain(TIMEOUT)
    assert [words.partition(": ")[0] for level, words in log if level == "warning"] == [
        "own:BundleFailed",
        "own:ConfigurationReloaded",
    ]
    del sink[:], log[:]

    with pytest.raises(NotFoundError, match="there is no definition"):
        bridge.load(tmp_path / "gone")
    words = f"there is no definition {tmp_path / 'gone'}, neither a file nor a folder"
    assert sink == [("ReloadFailed", "", "", {"Message": words, "OriginatingRequest": "", "APIs": 2})]
    assert queue.drain(TIMEOUT)
    assert [words for _, words in log] == [f"own:ReloadFailed: {words}"]


def test_a_first_load_that_fails_tells_of_the_bundle_alone(bridge, sink, tmp_path):
    put(tmp_path, "apis/api.json", api(custom_middleware_bundle="far"))
    (item,) = bridge.load(tmp_path / "apis").not_loaded
    meta = {"Message": item.reason, "OriginatingRequest": "", "Bundle": "far", "Kept": False}
    assert sink == [("BundleFailed", "api", "org", meta)]
    assert "a download of the bundle" in item.reason


def test_a_sink_that_fails_at_a_load_is_a_log_line(log, tmp_path):
    class Broken:
        def fire(self, event, api_id, org_id, meta):
            raise OSError("nobody listens")

    bridge = Bridge(Services(events=Broken(), log=lambda words, level: log.append(words)), tmp_path / "middleware")
    put_bundle(tmp_path, "one", CODE.format("one"))
    load(bridge, api(custom_middleware_bundle="one"), folder=tmp_path)
    assert bridge.apis == ("api",)
    assert log == ["the event BundleLoaded was lost: OSError('nobody listens')"]


def test_the_stores_of_sessions_keep_cooldowns(bridge, queue, heard, tmp_path):
    put(tmp_path, "middleware/plugin.py", CODE.format("plugin"))
    with serving() as server:
        meta = {"target_path": server.url, "method": "POST", "event_timeout": 1000}
        definition = api(handlers=[{"handler_name": "eh_web_hook_handler", "handler_meta": meta}], **with_hook())
        load(bridge, definition, folder=tmp_path)
        ask(bridge)
        load(bridge, definition, folder=tmp_path)
        assert queue.drain(TIMEOUT)
        ask(bridge)
        assert queue.drain(TIMEOUT)
    assert len(server.got) == 1
    assert queue.counts()["webhook"] == Counts(queued=2, delivered=1, held=1)
    assert isinstance(bridge.services.sessions, MemoryStore)


def test_what_is_told_of_loads_does_not_reach_a_hosts_trigger_event(host, queue, log, tmp_path):
    services = Services(queue=queue, log=lambda words, level: log.append(words))
    bridge = Bridge(services, tmp_path / "middleware")
    names = ["BundleLoaded", "ConfigurationReloaded"]
    for code in (CODE.format("one"), CODE.format("one"), CODE.format("other")):
        put_bundle(tmp_path, "one", code)
        load(bridge, api(custom_middleware_bundle="one") | own(names), folder=tmp_path)
    assert queue.drain(TIMEOUT)
    # The second time the bundle was the same, and stayed.
    told = ("BundleLoaded", "ConfigurationReloaded", "BundleLoaded", "ConfigurationReloaded")
    assert [words.partition(": ")[0] for words in log] == [f"own:{name}" for name in told]
    assert host.events == []
