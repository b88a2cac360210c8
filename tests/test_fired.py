"""Where the events of plugins go."""

import asyncio
import contextvars
import itertools
import json
import threading

import pytest

from tests import hooks
from tests.host.calls import OK
from tests.host.fixtures import new_object
from tykbridge import Bridge
from tykbridge.compat.gateway import TykGateway as tyk
from tykbridge.fired import PluginMeta
from tykbridge.outcome import Continue, Request, Respond, Response
from tykbridge.services import Services

REQUEST = Request("GET", "/")


class Sink(list):
    """Remembers what it gets: (event, API, organisation, Meta)."""

    def fire(self, event, api_id, org_id, meta):
        self.append((event, api_id, org_id, dict(meta)))


def meta(payload):
    return {"Message": payload, "OriginatingRequest": ""}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Makes a bridge of one API, whose hooks in all the phases given are functions of the test."""
    numbers = itertools.count()

    def make(hook, *phases, api_id="api", **services):
        # Each bridge has code of its own, which finds the test's function by the bridge's number.
        name = f"hook_{next(numbers)}"
        monkeypatch.setattr(hooks, name, hook, raising=False)
        own = tmp_path / f"{name}.py"
        own.write_text(hooks.BUNDLE.replace("hooks.hook(", f"hooks.{name}("))
        section = {"driver": "python"}
        for phase in phases:
            item = {"name": {"auth_check": "four", "response": "five"}.get(phase, "three"), "path": str(own)}
            section[phase] = item if phase == "auth_check" else [item]
        definition = {
            "name": api_id,
            "api_id": api_id,
            "org_id": f"org of {api_id}",
            "use_keyless": "auth_check" not in phases,
            "enable_coprocess_auth": "auth_check" in phases,
            "proxy": {"listen_path": "/", "target_url": "http://upstream.test/"},
            "custom_middleware": section,
        }
        bridge = Bridge(Services(**services))
        assert bridge.load(json.dumps(definition)).apis == (api_id,)
        return bridge

    return make


def firing(*arguments):
    """A hook for any phase, which fires its hook's type."""
    if len(arguments) == 5:
        tyk.trigger_event("Response", "5")
        return arguments[1]
    if len(arguments) == 4:
        arguments[2]["token"] = "key"
        tyk.trigger_event("Auth", "4")
        return arguments[:3]
    tyk.trigger_event("Request", "3")
    return arguments[:2]


def test_a_hooks_events_reach_the_sink_in_each_phase(start, host):
    sink = Sink()
    bridge = start(firing, "pre", "auth_check", "post_key_auth", "post", "response", events=sink)
    outcome = bridge.request(REQUEST)
    assert isinstance(outcome, Continue)
    assert isinstance(bridge.response(REQUEST, Response(200), outcome.session), Respond)
    ids = ("api", "org of api")
    assert sink == [
        ("Request", *ids, meta("3")),
        ("Auth", *ids, meta("4")),
        ("Request", *ids, meta("3")),
        ("Request", *ids, meta("3")),
        ("Response", *ids, meta("5")),
    ]
    assert host.events == []


def test_by_default_the_host_gets_an_event_once_and_as_the_plugin_gave_it(start, host):
    payload = '{"é": "\\n"} and what is no JSON'

    def hook(request, session, spec):
        tyk.trigger_event("Bought", payload)
        return request, session

    start(hook, "pre").request(REQUEST)
    assert host.events == [("Bought", payload)]


def test_a_chains_own_event_comes_with_its_meta(start, host):
    def refuse(request, session, metadata, spec):
        tyk.trigger_event("Refusing", "x")
        return request, session, metadata

    start(refuse, "auth_check").request(REQUEST)
    (fired, own) = host.events
    assert fired == ("Refusing", "x")
    assert own[0] == "AuthFailure"
    assert json.loads(own[1]).items() >= {"APIID": "api", "OrgID": "org of api", "Path": "/"}.items()


@pytest.mark.parametrize("failing", [False, True])
def test_a_plain_dispatch_fires_at_the_host_also_behind_a_chain(start, host, bundle, monkeypatch, failing):
    def hook(*arguments):
        returned = firing(*arguments)
        if failing:
            raise SystemExit
        return returned

    sink = Sink()
    bridge = start(hook, "pre", "response", events=sink)
    monkeypatch.setattr(hooks, "hook", hook, raising=False)
    sent = new_object(bundle(hooks.BUNDLE).name, "three").SerializeToString()
    for run in (lambda: bridge.request(REQUEST), lambda: bridge.response(REQUEST, Response(200))):
        run()
        host.dispatch(sent)
    assert [item[0] for item in sink] == ["Request", "Response"]
    assert host.events == [("Request", "3")] * 2


def test_a_chain_inside_of_a_hook(start):
    def inner(request, session, spec):
        tyk.trigger_event("Inner", "2")
        return request, session

    def outer(request, session, spec):
        tyk.trigger_event("Outer", "1")
        within.request(REQUEST)
        tyk.trigger_event("Outer", "3")
        return request, session

    sink, other = Sink(), Sink()
    within = start(inner, "pre", api_id="inner", events=other)
    start(outer, "pre", api_id="outer", events=sink).request(REQUEST)
    assert [item[:2] for item in sink] == [("Outer", "outer"), ("Outer", "outer")]
    assert [item[:2] for item in other] == [("Inner", "inner")]


def test_a_plain_dispatch_inside_of_a_hook_belongs_to_its_api(start, host, bundle, monkeypatch):
    monkeypatch.setattr(hooks, "hook", firing, raising=False)
    sent = new_object(bundle(hooks.BUNDLE).name, "three").SerializeToString()

    def hook(request, session, spec):
        assert host.dispatch(sent).status == OK
        return request, session

    sink = Sink()
    start(hook, "pre", events=sink).request(REQUEST)
    assert sink == [("Request", "api", "org of api", meta("3"))]
    assert host.events == []


def test_threads_each_fire_for_their_own_api(start):
    barrier = threading.Barrier(2, timeout=60)

    def hook(request, session, spec):
        barrier.wait()  # both are inside of their chains
        tyk.trigger_event("Fired", spec["APIID"])
        barrier.wait()
        return request, session

    sinks = {name: Sink() for name in ("one", "two")}
    bridges = [start(hook, "pre", api_id=name, events=sink) for name, sink in sinks.items()]
    threads = [threading.Thread(target=bridge.request, args=(REQUEST,)) for bridge in bridges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, sink in sinks.items():
        assert sink == [("Fired", name, f"org of {name}", meta(name))]


def test_a_plugins_own_threads_and_tasks(start, host):
    def fire(name):
        tyk.trigger_event(name, "x")

    def in_thread(function, *arguments):
        thread = threading.Thread(target=function, args=arguments)
        thread.start()
        thread.join()

    async def tasks():
        await asyncio.gather(asyncio.to_thread(fire, "to_thread"))
        fire("task")

    def hook(request, session, spec):
        asyncio.run(tasks())
        in_thread(contextvars.copy_context().run, fire, "copy")
        in_thread(contextvars.Context().run, fire, "bare")
        return request, session

    sink = Sink()
    start(hook, "pre", events=sink).request(REQUEST)
    assert [item[:2] for item in sink] == [("to_thread", "api"), ("task", "api"), ("copy", "api")]
    assert host.events == [("bare", "x")]


def test_a_sink_that_fails_does_not_fail_the_hook(start):
    class Broken:
        def fire(self, event, api_id, org_id, meta):
            raise OSError("nobody listens")

    lines = []
    bridge = start(firing, "pre", events=Broken(), log=lambda words, level: lines.append((level, words)))
    assert isinstance(bridge.request(REQUEST), Continue)
    assert lines == [("error", "api \"api\": the event Request was lost: OSError('nobody listens')")]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("arguments", [("a\0", "b"), ("a", "b\0")])
def test_a_nul_is_the_plugins_mistake_wherever_it_fires(start, host, arguments, inside):
    sink, caught = Sink(), []

    def hook(request, session, spec):
        with pytest.raises(ValueError, match="must not contain a NUL: it crosses C as a string") as error:
            tyk.trigger_event(*arguments)
        caught.append(str(error.value))
        return request, session

    if inside:
        start(hook, "pre", events=sink).request(REQUEST)
    else:
        hook(None, None, None)
    assert len(caught) == 1
    assert (sink, host.events) == ([], [])


def test_the_meta_of_a_plugins_event():
    assert PluginMeta("text") == {"Message": "text", "OriginatingRequest": ""}
