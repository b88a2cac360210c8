"""Every call of api.h that a Python process can make, through every host of the tests."""

import json

import pytest

from tests.host import calls
from tests.host.fixtures import new_object
from tykbridge import __version__, _bridge

HOOKS = """
import json
from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def add(request, session, spec):
    request.add_header("X-New", "grün")
    return request, session

@Hook
def clear(request, session, spec):
    del request.object.headers["X-Old"]
    return request, session

@Hook
def fail(request, session, spec):
    raise ValueError("boom")

@Hook
def talk(request, session, spec):
    tyk.log("a line", "warning")
    tyk.log_error("an error")
    tyk.trigger_event("Spoke", "a payload")
    tyk.store_data("key", "value", 60)
    request.object.body = tyk.get_data("key").decode()
    return request, session

@Hook
def recall(request, session, spec):
    request.object.body = tyk.get_data(request.object.body).decode()
    return request, session
"""


def test_version_and_abi(host, root):
    assert host.version() == __version__
    assert f"#define TYKB_ABI {host.abi()}u" in (root / "csrc" / "api.h").read_text()


@pytest.mark.parametrize(
    ("status", "name"),
    [(0, "TYKB_OK"), (-8, "TYKB_E_HOOK"), (-14, "TYKB_E_INTERNAL"), (-15, "TYKB_E_UNKNOWN"), (1, "TYKB_E_UNKNOWN")],
)
def test_status_names(host, status, name):
    assert host.status_name(status) == name


def test_starting_again_is_a_success(host):
    assert host.init() == (calls.OK, b"")
    assert host.classic_init() == 0


def test_full_reply_is_the_same_through_both_calls(host, bundle):
    loaded = bundle(HOOKS)
    sent, reply = loaded.run("add")
    assert reply.request.set_headers["X-New"] == "grün"
    assert reply.hook_name == "add"
    assert dict(reply.spec.items()) == {"bundle_hash": loaded.name}
    assert host.dispatch_hook(sent.SerializeToString()) == host.dispatch(sent.SerializeToString())


def test_delta_merges_into_what_was_sent(host, bundle):
    sent, reply = bundle(HOOKS).run("add")
    delta = host.dispatch(sent.SerializeToString(), delta=True)
    assert delta.status == calls.OK
    assert 0 < len(delta.data) < 40
    sent.MergeFromString(delta.data)
    assert sent.SerializeToString(deterministic=True) == reply.SerializeToString(deterministic=True)


def test_delta_of_a_removal_names_the_field(host, bundle):
    loaded = bundle(HOOKS)
    sent = new_object(loaded.name, "clear")
    sent.request.headers["X-Old"] = "1"
    assert b"request.headers" in host.dispatch(sent.SerializeToString(), delta=True).data


def test_failed_hook_has_words_in_one_call_and_a_log_line_in_both(host, bundle):
    loaded = bundle(HOOKS)
    sent = new_object(loaded.name, "fail").SerializeToString()
    reply = host.dispatch(sent)
    assert reply.status == calls.E_HOOK
    assert '"fail"' in reply.words
    assert "ValueError: boom" in reply.words
    assert host.dispatch_hook(sent) == (calls.E_HOOK, b"")
    assert [level for level, _ in host.logs] == ["error", "error"]
    assert all("ValueError: boom" in message and "middleware.py" in message for _, message in host.logs)


def test_hook_that_is_not_there(host, bundle):
    loaded = bundle(HOOKS)
    sent = new_object(loaded.name, "NoSuchHook").SerializeToString()
    reply = host.dispatch(sent)
    assert reply.status == calls.E_NOT_FOUND
    assert "NoSuchHook" in reply.words
    assert loaded.name in reply.words
    assert host.logs == []
    assert host.dispatch_hook(sent) == (calls.E_NOT_FOUND, b"")
    assert host.logs == [("error", reply.words)]


def test_bytes_that_are_no_message(host):
    reply = host.dispatch(b"\xff\xff\xff")
    assert reply.status == calls.E_MALFORMED
    assert reply.words


def test_bundle_that_is_not_there(host, tmp_path):
    reply = host.load_bundle(str(tmp_path / "nowhere"), "nowhere")
    assert reply.status in (calls.E_NOT_FOUND, calls.E_LOAD)
    assert "nowhere" in reply.words


def test_what_a_plugin_calls_reaches_the_hosts_functions(host, bundle):
    logs, events, stored = [], [], {}
    host.set_host(
        log=lambda message, level: logs.append((level, message)),
        trigger_event=lambda name, payload: events.append((name, payload)),
        store_data=lambda key, value, ttl: stored.update({key: (value, ttl)}),
        get_data=lambda key: f"host's {key}".encode(),
    )
    _, reply = bundle(HOOKS).run("talk")
    assert logs == [("warning", "a line"), ("error", "an error")]
    assert events == [("Spoke", "a payload")]
    assert stored == {"key": ("value", 60)}
    assert reply.request.body == "host's key"


def test_host_that_has_nothing_reads_as_empty(host, bundle):
    host.set_host(get_data=lambda key: None)
    _, reply = bundle(HOOKS).run("talk")
    assert reply.request.body == ""
    assert host.get_data("key") == b""


def test_without_functions_data_is_kept_by_the_library(host, bundle):
    host.store_data("from the host", "to a hook", 60)
    _, reply = bundle(HOOKS).run("recall", lambda sent: setattr(sent.request, "body", "from the host"))
    assert reply.request.body == "to a hook"
    _, reply = bundle(HOOKS).run("talk")
    assert reply.request.body == "value"
    assert host.get_data("key") == b"value"
    assert host.get_data("no such key") == b""


def test_hosts_own_calls_reach_its_functions(host):
    host.log("a line", "debug")
    host.trigger_event("Name", "payload")
    assert host.logs == [("debug", "a line")]
    assert host.events == [("Name", "payload")]


EVENTS = """
import json
from tyk.decorators import *
from gateway import TykGateway as tyk

@Event
def {name}(event, spec):
    assert event.handler_name == "{name}" and event.message == event["message"]
    tyk.log(event["message"]["Meta"]["Message"] + " for " + spec["APIID"], "info")
"""


def test_event_reaches_its_handler(host, bundle, request):
    name = f"on_{request.node.name}".translate(str.maketrans("[]-", "___"))
    bundle(EVENTS.format(name=name))
    event = {
        "message": {"Type": "Spoke", "Meta": {"Message": "hello", "OriginatingRequest": ""}, "TimeStamp": ""},
        "handler_name": name,
        "spec": {"APIID": "books", "OrgID": "town"},
    }
    host.dispatch_event(json.dumps(event))
    assert host.logs == [("info", "hello for books")]


@pytest.mark.parametrize("event", ["{", "[]", '{"handler_name": "nobody"}'])
def test_event_that_nobody_hears_is_an_error_line(host, event):
    host.dispatch_event(event)
    assert [level for level, _ in host.logs] == ["error"]


VERSION = """
from tyk.decorators import *

@Hook
def version(request, session, spec):
    request.add_header("X-Version", "{}")
    return request, session
"""


def test_root_is_read_and_read_again(host, tmp_path):
    folder = tmp_path / "root" / "in-a-root"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(
        json.dumps({"file_list": ["middleware.py"], "custom_middleware": {"driver": "python"}})
    )

    def answer():
        reply = host.dispatch(new_object("in-a-root", "version").SerializeToString())
        assert reply.status == calls.OK, reply.words
        return _bridge.message("Object", reply.data).request.set_headers["X-Version"]

    (folder / "middleware.py").write_text(VERSION.format("one"))
    assert host.new_dispatcher(str(tmp_path / "root")) == 0
    assert answer() == "one"
    (folder / "middleware.py").write_text(VERSION.format("two"))
    assert answer() == "one"
    host.reload()
    assert answer() == "two"
    (folder / "middleware.py").write_text("def broken(")
    host.logs.clear()
    host.reload()
    assert answer() == "two"
    assert [level for level, _ in host.logs] == ["error"]
    assert "middleware.py" in host.logs[0][1]


def test_root_that_is_not_there(host, tmp_path):
    assert host.new_dispatcher(str(tmp_path / "nowhere")) < 0
    assert [level for level, _ in host.logs] == ["error"]
    assert "nowhere" in host.logs[0][1]


def test_search_path(host, bundle, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "found_by_set_env.py").write_text("word = 'found'")
    host.set_env(str(tmp_path / "lib"))
    source = VERSION.replace('"{}"', "word").replace("\n@Hook", "from found_by_set_env import word\n\n@Hook")
    _, reply = bundle(source).run("version")
    assert reply.request.set_headers["X-Version"] == "found"
