"""The plugins that Tyk's pages print: each does what its page says, through the C interface of the library.

They stand in examples/seeds as the pages print them, and are played there as `make run` plays them. What client and
upstream get is tykbridge.outcome's result.
"""

import pytest

from tykbridge.cli import example
from tykbridge.cli.host import CallError
from tykbridge.cli.player import Player
from tykbridge.outcome import after_response, response_of
from tykbridge.steps import ClientStep, HookStep, UpstreamStep

SEEDS = ["classic-definition", "response-hook", "return-overrides", "return-overrides-javascript", "set-cookie"]


class Connected:
    """A host of the tests, as a Player wants one."""

    def __init__(self, host, on_log, on_event):
        self._host = host
        host.set_host(log=on_log, trigger_event=on_event)

    def load_bundle(self, path, name):
        self._checked(self._host.load_bundle(str(path), name))

    def dispatch(self, sent):
        full = self._checked(self._host.dispatch(sent))
        # The classic call gives the same object.
        assert self._host.dispatch_hook(sent) == (0, full)
        return full

    def dispatch_event(self, event):
        self._host.dispatch_event(event)

    def _checked(self, reply):
        if reply.status:
            raise CallError(self._host.status_name(reply.status), reply.words)
        return reply.data


@pytest.fixture
def play(host, root):
    """Plays a seed's example; gives the steps of each of its calls."""

    def run(name):
        player = Player(lambda on_log, on_event: Connected(host, on_log, on_event))
        read = example.read(root / "examples" / "seeds" / name, f"seeds/{name}")
        player.load(read)
        return [list(player.play(read, call)) for call in read.calls]

    return run


def hooks(steps):
    return [step for step in steps if isinstance(step, HookStep)]


def upstream(steps):
    return [step.request for step in steps if isinstance(step, UpstreamStep)]


def client(steps):
    assert isinstance(steps[-1], ClientStep)
    return steps[-1].response


def values(message, name):
    return [value for key, value in message.headers if key.lower() == name.lower()]


def test_these_are_all_of_them(root):
    assert [folder.name for folder in example.find(root / "examples" / "seeds")] == SEEDS


def test_return_overrides_answer_the_client(play):
    (steps,) = play("return-overrides")
    answer = client(steps)
    assert answer.status == 200
    assert values(answer, "Content-Type") == ["application/json"]
    assert answer.body == b'{"key": "value"}\n'
    assert upstream(steps) == []
    assert set(hooks(steps)[0].seen.printed) == {"my_middleware: MyCustomMiddleware"}


def test_return_overrides_answer_the_client_in_javascript(play):
    (steps,) = play("return-overrides-javascript")
    answer = client(steps)
    assert (answer.status, answer.body) == (200, b"Foobarbaz")
    assert (values(answer, "X-Foo"), values(answer, "X-Baz")) == (["Bar"], ["Qux"])
    assert upstream(steps) == []


def test_response_hook_adds_its_header(play):
    (steps,) = play("response-hook")
    (asked,) = upstream(steps)
    assert (asked.method, asked.url) == ("GET", "/books/42")
    answer = client(steps)
    assert answer.status == 200
    assert values(answer, "injectedkey") == ["injectedvalue"]
    assert values(answer, "Content-Type") == ["application/json"]
    assert answer.body == b'{"title": "Sylvie and Bruno"}'
    assert hooks(steps)[0].seen.logged[:2] == [
        ("info", "ResponseHook is called"),
        ("info", "ResponseHook: upstream returned 200"),
    ]


def test_set_cookie_example_sends_two_cookies(play):
    (steps,) = play("set-cookie")
    answer = client(steps)
    assert values(answer, "Set-Cookie") == ["sessionToken=abc123; HttpOnly; Secure", "language=en-US; Secure"]
    assert values(answer, "Content-Type") == ["text/plain"]
    logged = hooks(steps)[0].seen.logged
    assert logged[0][1].startswith("Headers content :\n ")
    assert "text/plain" in logged[0][1]
    assert "sessionToken=abc123; HttpOnly; Secure" in logged[1][1]


BOTH = """
from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def Both(request, response, session, metadata, spec):
    response.headers["injectedkey"] = "injectedvalue"
    new_header = response.multivalue_headers.add()
    new_header.key = "Set-Cookie"
    new_header.values.extend("sessionToken=abc123; HttpOnly; Secure")
    new_header.values.extend("language=en-US; Secure")
    return response
"""


@pytest.mark.parametrize("multivalue", [True, False], ids=["the host fills multivalue_headers", "it does not"])
def test_both_response_edits_in_one_hook_keep_cookies_and_header(bundle, multivalue):
    def fill(sent):
        sent.response.status_code = 200
        sent.response.headers["Set-Cookie"] = "theme=dark"
        if multivalue:
            sent.response.multivalue_headers.add(key="Set-Cookie", values=["theme=dark"])

    sent, reply = bundle(BOTH).run("Both", fill, hook_type=5)
    answer = after_response(response_of(sent), sent, reply).response
    assert values(answer, "injectedkey") == ["injectedvalue"]
    cookies = ["sessionToken=abc123; HttpOnly; Secure", "language=en-US; Secure"]
    assert values(answer, "Set-Cookie")[-2:] == cookies
    assert values(answer, "Set-Cookie") == (["theme=dark", *cookies] if multivalue else cookies)


def test_hooks_of_the_classic_definition_run_in_its_order(play):
    let_in, turned_away = play("classic-definition")
    order = ["MyPreMiddleware", "AnotherPreMiddleware", "MyAuthCheck", "MyPostKeyAuthMiddleware", "MyPostMiddleware"]
    assert [step.name for step in hooks(let_in)] == order
    (asked,) = upstream(let_in)
    assert asked.url == "/anything?b=1&a=2"
    assert values(asked, "X-Pre") == ["MyPreMiddleware, AnotherPreMiddleware"]
    assert values(asked, "X-Rate") == ["1000 per 1 s"]
    assert values(asked, "Authorization") == []
    assert client(let_in).status == 200
    auth = hooks(let_in)[2]
    assert auth.token == "secret"
    assert {change.path: change.new for change in auth.changes}["session.rate"] == 1000.0

    assert [step.name for step in hooks(turned_away)] == order[:3]
    assert upstream(turned_away) == []
    assert client(turned_away).status == 403
    assert client(turned_away).body == b'{"error": "Key not authorised"}'
