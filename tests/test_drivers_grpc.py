"""Hooks on gRPC servers: what a server gets, what its answer means, and which server is asked."""

import gc
import json
import os
import subprocess
import sys
import threading
import weakref

import grpc
import pytest

from tests import grpcserver
from tests.oracle import PB
from tests.servers import until
from tykbridge import Bridge, _bridge, drivers
from tykbridge.definition import Bundle, Driver, Target
from tykbridge.drivers.grpc import server
from tykbridge.outcome import Continue, Request, Response
from tykbridge.runtime import registry
from tykbridge.services import Mode, Services

REQUEST = Request("GET", "/", (("Host", "h"),))


class Plugins:
    """A server's functions: each gets the Object that it was asked with, and changes it."""

    def __init__(self):
        self.calls = []  # (hook, Object, metadata)
        self.events = []
        self.hook = lambda message: None

    def answer(self, data, context):
        message = PB["Object"].FromString(data)
        self.calls.append((message.hook_name, PB["Object"].FromString(data), dict(context.invocation_metadata())))
        answer = self.hook(message)
        if isinstance(answer, tuple):
            context.abort(*answer)
        return message.SerializeToString() if answer is None else answer

    def event(self, data, context):
        self.events.append((PB["Event"].FromString(data), dict(context.invocation_metadata())))
        return PB["EventReply"]().SerializeToString()

    @property
    def names(self):
        return [name for name, _, _ in self.calls]


@pytest.fixture
def plugins():
    return Plugins()


@pytest.fixture
def address(plugins):
    with grpcserver.serving(plugins.answer, plugins.event) as address:
        yield address


@pytest.fixture
def logs(monkeypatch):
    lines = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: lines.append(f"{level}: {words}"))
    return lines


def definition(*hooks, grpc=None, address="", **keys):
    """An API with pre hooks; `grpc` is its section, else the only target is `address`."""
    hooks = [{"name": hook} if isinstance(hook, str) else hook for hook in hooks]
    section = {"driver": "grpc", "grpc": grpc or {"targets": {"plugins": {"address": address}}}, "pre": hooks}
    section.update(keys.pop("section", {}))
    return json.dumps(
        {
            "api_id": "api",
            "org_id": "org",
            "use_keyless": True,
            "proxy": {"listen_path": "/"},
            "custom_middleware": section,
            **keys,
        }
    )


def loaded(*hooks, services=None, **keys):
    bridge = Bridge(services or Services(queue=None))
    result = bridge.load(definition(*hooks, **keys))
    assert result.not_loaded == (), result.not_loaded
    return bridge


def counts(address):
    return drivers.engines()[Driver.GRPC].counts()[address]


def test_a_server_gets_the_message_with_name_and_type_and_its_answer_counts(plugins, address):
    def hook(message):
        message.request.set_headers["X-Greeting"] = "hello"
        message.request.delete_headers.append("X-Old")

    plugins.hook = hook
    bridge = loaded("Hello", address=address, config_data={"k": 1})
    outcome = bridge.request(Request("POST", "/a?b=c", (("Host", "h"), ("X-Old", "1")), b"text"))
    assert outcome.request.headers == (("Host", "h"), ("X-Greeting", "hello"), ("Content-Length", "4"))
    [(name, got, _)] = plugins.calls
    assert (name, got.hook_name, got.hook_type) == ("Hello", "Hello", 1)
    assert (got.request.method, got.request.url, got.request.body) == ("POST", "/a?b=c", "text")
    assert got.request.params == {"b": "c"}
    assert got.spec == {"OrgID": "org", "APIID": "api", "config_data": '{"k":1}'}


def test_each_phase_has_its_type_and_one_name_may_be_in_several(plugins, address):
    hook = {"name": "H"}

    def allow(message):
        if message.hook_type == 4:
            message.metadata["token"] = "t"

    plugins.hook = allow
    section = {"auth_check": hook, "post_key_auth": [hook], "post": [hook], "response": [hook]}
    bridge = loaded(hook, address=address, section=section, use_keyless=False, custom_plugin_auth_enabled=True)
    outcome = bridge.request(REQUEST)
    assert isinstance(outcome, Continue), outcome
    bridge.response(REQUEST, Response(200), outcome.session)
    assert [got.hook_type for _, got, _ in plugins.calls] == [1, 4, 3, 2, 5]


def test_the_trace_travels_beside_the_message(plugins, address):
    headers = (("Host", "h"), ("TraceParent", "00-ab-cd-01"), ("tracestate", "v=1"), ("X-Request-ID", "r-1"))
    loaded("Hé", address=address, api_id="äpi").request(Request("GET", "/", headers))
    [(_, _, metadata)] = plugins.calls
    metadata.pop("user-agent")
    assert metadata == {
        "traceparent": "00-ab-cd-01",
        "tracestate": "v=1",
        "x-request-id": "r-1",
        "tykbridge-hook": "H%C3%A9",
        "tykbridge-api-id": "%C3%A4pi",
    }


def test_each_hook_may_name_its_server(plugins, address):
    other = Plugins()
    with grpcserver.serving(other.answer) as second:
        targets = {"one": {"address": address}, "two": {"address": second}}
        bridge = loaded("A", {"name": "B", "target": "two"}, grpc={"targets": targets, "target": "one"})
        assert isinstance(bridge.request(REQUEST), Continue)
    assert (plugins.names, other.names) == (["A"], ["B"])


def test_without_a_target_it_is_the_gateways_server(plugins, address):
    text = definition("H", grpc={"targets": {}})
    bridge = Bridge(Services(queue=None))
    [refused] = bridge.load(text).not_loaded
    assert 'name it in "grpc.targets" of the definition, or in the settings: coprocess_grpc_server' in str(refused)
    bridge.target = Target(address=address)
    assert bridge.load(text).not_loaded == ()
    assert isinstance(bridge.request(REQUEST), Continue)
    assert plugins.names == ["H"]


def test_a_socket_in_the_file_system(plugins, tmp_path):
    with grpcserver.serving(plugins.answer, address=f"unix://{tmp_path}/s") as address:
        assert isinstance(loaded("H", address=address).request(REQUEST), Continue)
    assert plugins.names == ["H"]


def test_a_bundle_without_files_names_hooks_beside_those_of_python(plugins, address, tmp_path):
    for name, section in (
        ("remote", {"driver": "grpc", "pre": [{"name": "Remote"}]}),
        ("mixed", {"driver": "python", "post": [{"name": "Local"}, {"name": "Too", "driver": "grpc"}]}),
    ):
        folder = tmp_path / "bundles" / Bundle(name=name).hash
        folder.mkdir(parents=True)
        files = []
        if name == "mixed":
            files = ["middleware.py"]
            (folder / "middleware.py").write_text(
                "from tyk.decorators import Hook\n@Hook\ndef Local(request, session, spec):\n"
                "    request.add_header('X-Local', '1')\n    return request, session\n"
            )
        (folder / "manifest.json").write_text(json.dumps({"file_list": files, "custom_middleware": section}))
    fired = []

    class Events:
        def fire(self, event, api_id, org_id, meta):
            fired.append(event)

    bridge = Bridge(Services(queue=None, events=Events()), tmp_path)
    assert bridge.load(definition(address=address, custom_middleware_bundle="remote,mixed")).not_loaded == ()
    assert fired == ["BundleLoaded", "BundleLoaded"]
    assert bridge.reload().not_loaded == ()
    assert fired == ["BundleLoaded", "BundleLoaded", "ConfigurationReloaded"]
    outcome = bridge.request(REQUEST)
    assert outcome.request.headers[1:] == (("X-Local", "1"),)
    assert plugins.names == ["Remote", "Too"]
    [(_, first, _), (_, second, _)] = plugins.calls
    assert first.spec["bundle_hash"] == Bundle(name="remote").hash
    assert second.request.headers["X-Local"] == "1"


def test_a_bundle_by_itself_says_that_an_api_has_to_be_loaded(tmp_path):
    section = {"driver": "grpc", "pre": [{"name": "Remote"}]}
    (tmp_path / "manifest.json").write_text(json.dumps({"file_list": [], "custom_middleware": section}))
    registry.load_code(str(tmp_path), "remote alone")
    try:
        words = str(registry.missing("remote alone", "Remote"))
    finally:
        registry.unload("remote alone")
    assert "a grpc hook; a server is asked for it, which the definition of an API names: load that" in words


def test_a_library_that_cannot_be_used_is_a_definition_that_does_not_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "tykbridge.drivers.grpc.function", None)
    [refused] = Bridge(Services(queue=None)).load(definition("H", address="unix:///x")).not_loaded
    assert "the grpc driver cannot be used: ModuleNotFoundError" in str(refused)


def test_events_of_an_api_go_to_dispatch_event(plugins, address):
    handlers = {"AuthFailure": [{"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "Heard"}}]}
    services = Services()
    section = {"auth_check": {"name": "Nobody"}, "pre": []}
    keys = {"use_keyless": False, "custom_plugin_auth_enabled": True, "event_handlers": {"events": handlers}}
    bridge = loaded(services=services, address=address, section=section, **keys)
    assert bridge.request(REQUEST).response.status == 403
    until(lambda: plugins.events)
    [(event, metadata)] = plugins.events
    told = json.loads(event.payload)
    assert (told["handler_name"], told["spec"]) == ("Heard", {"APIID": "api", "OrgID": "org"})
    assert told["message"]["Type"] == "AuthFailure"
    assert (metadata["tykbridge-hook"], metadata["tykbridge-api-id"]) == ("Heard", "api")


def test_handlers_may_name_a_server_and_the_oas_form_has_them_too(plugins, address):
    custom = [{"enabled": True, "type": "custom", "trigger": "KeyExpired", "functionName": "Oas"}]
    config = {"driver": "grpc", "grpc": {"targets": {"t": {"address": address}}}}
    tyk = {
        "info": {"id": "oas"},
        "server": {"listenPath": {"value": "/oas/"}, "eventHandlers": custom},
        "middleware": {"global": {"pluginConfig": config}},
    }
    bridge = Bridge(Services())
    assert bridge.load(json.dumps({"openapi": "3.0.3", "x-tyk-api-gateway": tyk})).not_loaded == ()
    bridge.chain_of("oas").events.fire("KeyExpired", "oas", "org", {"Message": "m"})
    until(lambda: len(plugins.events) == 1)

    meta = {"name": "Classic", "driver": "grpc", "target": "other"}
    handlers = {"KeyExpired": [{"handler_name": "cp_dynamic_handler", "handler_meta": meta}]}
    grpc = {"targets": {"t": {"address": "unix:///nobody"}, "other": {"address": address}}, "target": "t"}
    keys = {"grpc": grpc, "section": {"driver": "python"}, "event_handlers": {"events": handlers}}
    bridge = loaded(services=Services(), **keys)
    bridge.chain_of("api").events.fire("KeyExpired", "api", "org", {"Message": "m"})
    until(lambda: len(plugins.events) == 2)
    names = [json.loads(event.payload)["handler_name"] for event, _ in plugins.events]
    assert names == ["Oas", "Classic"]


def test_a_servers_own_status_reaches_the_log_and_not_the_client(plugins, address, logs):
    plugins.hook = lambda message: (grpc.StatusCode.INVALID_ARGUMENT, "no\nsuch tenant")
    outcome = loaded("H", address=address).request(REQUEST)
    assert (outcome.response.status, json.loads(outcome.response.body)) == (500, {"error": "Middleware error"})
    assert logs == [f'error: hook "H" of gRPC target "plugins" ({address}): INVALID_ARGUMENT: no such tenant']


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, "it must serve Dispatch and DispatchEvent of coprocess.Dispatcher"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "raise recv_max_size or send_max_size"),
    ],
)
def test_words_say_what_to_do(status, hint, plugins, address, logs):
    plugins.hook = lambda message: (status, "words")
    loaded("H", address=address).request(REQUEST)
    assert f"{status.name}: words; " in logs[0]
    assert hint in logs[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\xff", "its answer is not a serialised coprocess.Object"),
        (b"", "its answer has no request: a server answers with the Object that it got, and its changes"),
    ],
)
def test_an_answer_that_is_none(answer, words, plugins, address, logs):
    plugins.hook = lambda message: answer
    assert loaded("H", address=address).request(REQUEST).response.status == 500
    assert words in logs[0]


def test_a_message_that_is_too_large_says_which_limit(plugins, address, logs):
    bridge = loaded("H", grpc={"targets": {"t": {"address": address, "send_max_size": 500, "recv_max_size": 300}}})
    assert bridge.request(Request("GET", "/", (), b"x" * 600)).response.status == 500
    assert "RESOURCE_EXHAUSTED" in logs[0]
    assert "send_max_size" in logs[0]
    assert plugins.calls == []
    assert bridge.request(Request("GET", "/", (), b"x" * 200)).response.status == 500  # body and raw_body come back
    assert plugins.names == ["H"]
    assert isinstance(bridge.request(REQUEST), Continue)
    with grpcserver.serving(plugins.answer, max_receive_message_length=50 << 20) as roomy:
        large = loaded("H", grpc={"targets": {"t": {"address": roomy, "recv_max_size": 50 << 20}}})
        assert isinstance(large.request(Request("POST", "/", (), b"x" * (5 << 20))), Continue)


def test_a_session_is_changed_in_authentication_alone_as_the_mode_says(plugins, address):
    def hook(message):
        if message.hook_type == 4:
            message.session.rate, message.session.metadata["token"] = 5, "t"
        else:
            message.session.rate = 9

    plugins.hook = hook
    section = {"auth_check": {"name": "A"}, "post": [{"name": "P"}], "pre": []}
    keys = {"use_keyless": False, "custom_plugin_auth_enabled": True, "address": address, "section": section}
    assert isinstance(loaded(**keys).request(REQUEST), Continue)
    refused = loaded(services=Services(queue=None, mode=Mode.STRICT), **keys).request(REQUEST)
    assert b'hook \\"P\\" changed session.rate, which only auth_check may' in refused.response.body


# ---- Reloads


def test_a_channel_outlives_a_reload_and_goes_with_the_last_who_has_it(plugins, address):
    bridge = loaded("H", address=address)
    bridge.request(REQUEST)
    [made] = [one for one in server._servers.values() if one.target.address == address]
    channel, alive = made._channel, weakref.ref(made)
    del made
    assert bridge.load(definition("H", "J", address=address)).not_loaded == ()
    bridge.request(REQUEST)
    assert alive()._channel is channel
    assert counts(address)["calls"] == 3
    changed = {"targets": {"plugins": {"address": address, "timeout_ms": 77}}}
    assert bridge.load(definition("H", grpc=changed)).not_loaded == ()
    gc.collect()
    assert alive() is None
    with pytest.raises(ValueError, match="closed channel"):
        channel.unary_unary("/x")(b"")
    assert isinstance(bridge.request(REQUEST), Continue)


def test_a_call_in_flight_finishes_on_the_channel_that_nobody_has_any_more(plugins, address):
    entered, go = threading.Event(), threading.Event()

    def hook(message):
        entered.set()
        assert go.wait(30)
        message.request.set_headers["X"] = "1"

    plugins.hook = hook
    bridge, outcomes = loaded("H", address=address), []
    thread = threading.Thread(target=lambda: outcomes.append(bridge.request(REQUEST)))
    thread.start()
    assert entered.wait(30)
    assert bridge.load(definition(grpc={"targets": {}})).not_loaded == ()
    gc.collect()
    go.set()
    thread.join(30)
    assert outcomes[0].request.headers[1:] == (("X", "1"),)


def test_one_name_may_mean_another_server_in_another_api(plugins, address, tmp_path):
    for number, timeout in enumerate((111, 222)):
        grpc = {"targets": {"same": {"address": address, "timeout_ms": timeout}}}
        keys = {"api_id": f"api{number}", "proxy": {"listen_path": f"/{number}"}}
        (tmp_path / f"{number}.json").write_text(definition("H", grpc=grpc, **keys))
    bridge = Bridge(Services(queue=None))
    assert bridge.load(tmp_path).not_loaded == ()
    codes = {bridge._state.by_id[f"api{number}"].codes for number in (0, 1)}
    assert len(codes) == 2
    assert [bridge.request(REQUEST, f"api{number}").request for number in (0, 1)] == [REQUEST, REQUEST]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ca": "bad.pem"}, "bad.pem has no certificates in PEM"),
        ({"cert": "bad.pem", "key": "bad.pem"}, "bad.pem are no certificate and its key in PEM"),
        ({"cert": "key.crt", "key": "locked.pem"}, "locked.pem are no certificate and its key in PEM"),
        ({"cert": "key.crt", "key": "other.pem"}, "other.pem are no certificate and its key in PEM"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_refused_at_load(files, words, keys):
    (keys / "bad.pem").write_text("nothing")
    named = {name: str(keys / file) for name, file in files.items()}
    text = definition("H", grpc={"targets": {"t": {"address": "tcp://127.0.0.1:1", **named}}})
    [refused] = Bridge(Services(queue=None)).load(text).not_loaded
    assert words in str(refused)


def test_a_file_that_changed_is_another_channel(keys, tmp_path):
    text = definition("H", grpc={"targets": {"t": {"address": "tcp://127.0.0.1:1", "ca": "ca.pem"}}})
    (tmp_path / "api.json").write_text(text)
    bridge = Bridge(Services(queue=None), tmp_path)
    [refused] = bridge.load(tmp_path / "api.json").not_loaded
    assert f'gRPC target "t": {tmp_path}/ca.pem cannot be read: No such file or directory' in str(refused)
    codes = []
    certificate = (keys / "key.crt").read_text()
    for content in (certificate, certificate, certificate + "\n"):
        (tmp_path / "ca.pem").write_text(content)
        assert bridge.load(tmp_path / "api.json").not_loaded == ()
        codes.append(bridge._state.by_id["api"].codes[0])
    assert codes[0] is codes[1]
    assert codes[1] is not codes[2]


# ---- Processes


FORK = """
import gc, json, os, sys
from tests.test_drivers_grpc import REQUEST, definition, loaded
address, early = sys.argv[1], sys.argv[2] == "early"
bridge = loaded("H", address=address)
if early:
    bridge.request(REQUEST)
child = os.fork()
if not child:
    outcome = bridge.request(REQUEST)
    bridge.load(definition(grpc={"targets": {}}))
    gc.collect()
    os._exit(outcome.response.status // 100 if early else type(outcome).__name__ == "Continue")
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, type(bridge.request(REQUEST)).__name__)
"""


@pytest.mark.plain
@pytest.mark.parametrize(("when", "said"), [("late", "1 Continue"), ("early", "5 Continue")])
def test_a_forked_child_makes_its_own_channel_and_says_so_where_it_cannot(when, said, root):
    with grpcserver.Program() as server:
        command = [sys.executable, "-W", "ignore", "-c", FORK, server.address, when]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, env={**os.environ})
    assert done.stdout.strip() == said, done.stderr
    assert ("the process that was forked has its channel" in done.stderr) is (when == "early")
