"""`tykbridge.testing`: what a test can ask of an API, what it is told when it fails, and that nothing stays behind."""

import signal
import sys
from http import HTTPMethod

import pytest

from tests.cli.commands import definition, hooks, write
from tykbridge import _bridge, runtime
from tykbridge.testing import Answer, Headers, NotLoaded

pytestmark = pytest.mark.once
pytest_plugins = ["pytester", "tykbridge.testing"]

PLUGIN = {
    "python": """
from gateway import TykGateway as tyk
from tyk.decorators import Event, Hook
visits = 0

@Hook
def greet(request, session, spec):
    global visits
    visits += 1
    print("said")
    request.add_header("X-Name", request.get_header("Name") or "stranger")
    request.add_header("X-Visits", str(visits))
    request.add_header("X-Stored", tyk.get_data("key").decode())
    tyk.store_data("key", "by greet", 60)
    tyk.log("greeted", "info")
    tyk.trigger_event("Greeted", "payload")
    return request, session

@Hook
def sign(request, response, session, metadata, spec):
    response.headers["X-Signed"] = "yes"
    return response

@Event
def heard(event, spec):
    tyk.log("heard " + event["message"]["Type"], "info")
""",
    "lua": """
visits = 0
function greet(request, session, spec)
  visits = visits + 1
  request.set_headers["X-Name"] = request.headers.Name or "stranger"
  request.set_headers["X-Visits"] = tostring(visits)
  request.set_headers["X-Stored"] = tyk.get_data("key") or ""
  tyk.store_data("key", "by greet", 60)
  tyk.log("greeted", "info")
  tyk.trigger_event("Greeted", "payload")
  return request, session
end
function sign(request, response, session, metadata, spec)
  response.headers["X-Signed"] = "yes"
  return response
end
function heard(event, spec)
  tyk.log("heard " .. event.message.Type, "info")
end
""",
}
SUFFIX = {"python": "py", "lua": "lua"}


@pytest.fixture
def make(tmp_path, tyk_api):
    """Makes an API of hooks in Python: their code, the definition's keys, and arguments of tyk_api."""

    def make(code="", keys=None, **arguments):
        (tmp_path / "plugin.py").write_text(
            "from tyk.decorators import *\nfrom gateway import TykGateway as tyk\n" + code
        )
        return tyk_api(definition("api", **(keys or {})), middleware_path=tmp_path, **arguments)

    return make


# ---- Every driver


@pytest.mark.parametrize("driver", PLUGIN)
def test_a_request_from_the_client_to_the_upstream_and_back(driver, tmp_path, tyk_api):
    file = f"plugin.{SUFFIX[driver]}"
    section = {**hooks(file, pre=["greet"], response=["sign"]), "driver": driver}
    heard = {"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "heard", "path": file}}
    events = {"events": {"Greeted": [heard]}}
    api = definition("api", custom_middleware=section, event_handlers=events)
    api = tyk_api(write(tmp_path, {"api.json": api, file: PLUGIN[driver]}) / "api.json")
    api.upstream.answers(json={"a": 1}, status=201)
    api.data.set("key", "by the test")
    reply = api.get("/x?y=1", headers={"Name": "Ada"})
    assert (reply.status, reply.json(), reply.headers["x-signed"]) == (201, {"a": 1}, "yes")
    assert reply.hooks == ("greet", "sign")
    assert reply.upstream.headers["X-Name"] == "Ada"
    assert reply.upstream.headers["X-Stored"] == "by the test"
    assert reply.upstream.url == "/api/x?y=1"
    assert api.upstream.requests == [reply.upstream]
    assert api.data.get("key") == b"by greet"
    assert api.data.ttl("key") == pytest.approx(60, abs=30)
    assert [(event.name, event.payload, event.api_id) for event in reply.events] == [("Greeted", "payload", "api")]
    assert reply.logs == (("info", "greeted"), ("info", "heard Greeted"))
    assert reply.printed == (("said",) if driver == "python" else ())
    assert api.get("/").upstream.headers["X-Visits"] == "2"
    mistaken = api.get("/x", headers={"Connection": "X-Name", "X_Name": "Eve", "Name": "Ada"}).upstream.headers
    assert (mistaken["X-Name"], "X_Name" in mistaken) == ("Ada", False)  # as from the gateway


# ---- Requests


def test_a_request_has_what_the_test_gives_it(make):
    api = make()
    assert api.post("/", json={"a": [1]}).upstream.json() == {"a": [1]}
    sent = api.put("x", form={"name": "Ada L.", "of": ["a", "b"]}, params={"q": ["1", "2"], "é": "&"}).upstream
    assert (sent.method, sent.url, sent.text) == ("PUT", "/api/x?q=1&q=2&%C3%A9=%26", "name=Ada+L.&of=a&of=b")
    assert sent.params == {"q": "1", "é": "&"}
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    assert sent.headers["Content-Length"] == str(len(sent.body))
    sent = api.patch("/?a=1", body="é", headers=[("A", "1"), ("B", "2"), ("a", "3")], params={"b": "2"}).upstream
    assert (sent.path, sent.params, sent.body) == ("/api/", {"a": "1", "b": "2"}, "é".encode())
    assert sent.headers.all("a") == ["1", "3"]
    assert api.delete("/").upstream.method == "DELETE"
    assert api.options("/").upstream.method == "OPTIONS"
    sent = api.request(HTTPMethod.PUT, body=bytearray(b"a")).upstream
    assert (sent.method, sent.body) == ("PUT", b"a")
    assert "Content-Length" not in api.get("/").upstream.headers
    for arguments in ({"body": "a", "json": 1}, {"form": {"a": "b"}, "json": 1}):
        with pytest.raises(TypeError, match=r"a body or json|one of body, json and form"):
            api.post("/", **arguments)


def test_the_upstream_gets_the_path_behind_the_listen_path(make):
    proxy = {"listen_path": "/api/", "target_url": "http://upstream.test/v2?k=1", "strip_listen_path": True}
    sent = make(keys={"proxy": proxy}).get("/x?a=b", headers={"Connection": "Gone, close", "Gone": "1"}).upstream
    assert (sent.path, sent.params) == ("/v2/x", {"k": "1", "a": "b"})
    assert dict(sent.headers) == {"Host": "upstream.test"}


def test_headers_are_found_whatever_their_case():
    headers = Headers({"Set-Cookie": ["a", "b"], "X-One": "1"})
    assert (headers["set-cookie"], headers.all("SET-COOKIE"), headers.get("x-two")) == ("a", ["a", "b"], None)
    assert (list(headers), len(headers), "x-one" in headers) == (["X-One", "Set-Cookie"], 2, True)
    with pytest.raises(KeyError, match="there is no header X-Two; there are: X-One, Set-Cookie"):
        headers["X-Two"]


# ---- The upstream


def test_the_upstream_answers_what_the_test_says(make):
    api = make()
    assert (api.get("/").status, api.get("/").body) == (200, b"")
    api.upstream.answers("text", status=404, headers={"A": ["1", "2"]})
    reply = api.get("/")
    assert (reply.status, reply.text, reply.headers.all("a")) == (404, "text", ["1", "2"])
    api.upstream.answers(lambda request: Answer(json=request.params, status=202))
    reply = api.get("/?a=b")
    assert (reply.status, reply.json(), reply.headers["Content-Type"]) == (202, {"a": "b"}, "application/json")
    api.upstream.answers(lambda request: request.method)
    assert api.post("/").text == "POST"
    reply = api.head("/")
    assert (reply.body, reply.headers["Content-Length"]) == (b"", "4")
    with pytest.raises(AssertionError, match=r"the body is no JSON .*: 'POST'"):
        api.post("/").json()
    with pytest.raises(TypeError, match="what the function returns is the answer"):
        api.upstream.answers(lambda request: "", status=500)


def test_what_the_tests_upstream_raises_is_the_tests(make):
    api = make()
    api.upstream.answers(lambda request: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        api.get("/")


# ---- Keys and time


def test_a_key_opens_the_api_and_its_limits_hold(make):
    api = make(keys={"use_keyless": False})
    assert api.get("/").status == 401
    key = api.key(rate=2, per=60, metadata={"team": "a"}, tags=["x"])
    assert [api.get("/", key=key).status for _ in range(3)] == [200, 200, 429]
    api.advance(61)
    assert api.get("/", key=key).status == 200
    session = api.session(key)
    assert (session.metadata, session.org_id, [*session.access_rights]) == ({"team": "a"}, "org", ["api"])
    assert api.session("unknown") is None
    assert api.get("/", headers={"Authorization": api.key("chosen", expires=1)}).status == 401
    with pytest.raises(TypeError, match="a session has no field rates; there are: access_rights, alias"):
        api.key(rates=1)
    with pytest.raises(ValueError, match="time does not go back"):
        api.advance(-1)


@pytest.mark.parametrize(
    "auth",
    [{"auth_header_name": "X-Key"}, {"use_param": True, "param_name": "k"}, {"use_cookie": True, "cookie_name": "k"}],
)
def test_a_key_is_put_where_the_api_looks_for_it(auth, make):
    api = make(keys={"use_keyless": False, "auth": {"disable_header": "auth_header_name" not in auth, **auth}})
    reply = api.get("/?a=b", key=api.key())
    assert (reply.status, reply.upstream.params["a"]) == (200, "b")


def test_policies_say_what_a_key_may(make):
    api = make(
        keys={"use_keyless": False},
        policies={"p": {"org_id": "org", "access_rights": {"api": {"api_id": "api"}}, "rate": 1, "per": 9}},
    )
    key = api.key(apply_policies=["p"])
    assert [api.get("/", key=key).status for _ in range(2)] == [200, 429]


def test_an_api_without_keys_says_so(make, tyk_api):
    with pytest.raises(TypeError, match='the API "api" is keyless'):
        make().key()
    with pytest.raises(TypeError, match='the API "api" has no auth tokens'):
        make().get("/", key="key")


# ---- Who is not let in, and what fails

CHECK = """
@Hook
def check(request, session, metadata, spec):
    if request.get_header("Card") == "good":
        metadata["token"] = "good"
    return request, session, metadata
"""


def test_a_denied_request_tells_why_the_upstream_has_nothing(make):
    keys = {"use_keyless": False, "enable_coprocess_auth": True, "custom_middleware": hooks(auth_check=["check"])}
    api = make(CHECK, keys)
    reply = api.get("/")
    assert (reply.status, reply.reached_upstream, reply.failures) == (403, False, ())
    assert [(event.name, event.payload) for event in reply.events] == [("AuthFailure", "Key not authorised")]
    with pytest.raises(AssertionError) as told:
        _ = reply.upstream
    assert str(told.value) == 'the upstream was not asked: the client got 403 {"error": "Key not authorised"}'
    assert api.get("/", headers={"Card": "good"}).reached_upstream
    assert api.session("good") is not None


def test_a_session_changed_in_vain_is_a_warning_and_fails_in_strict_mode(make):
    code = "@Hook\ndef change(request, session, spec):\n    session.alias = 'x'\n    return request, session\n"
    keys = {"use_keyless": False, "custom_middleware": hooks(post=["change"])}
    api = make(code, keys)
    reply = api.get("/", key=api.key())
    assert (reply.status, reply.failures) == (200, ())
    [warning] = reply.warnings
    assert "changed session.alias, which only auth_check may" in warning
    api = make(code, keys, strict=True)
    assert api.get("/", key=api.key()).status == 500


def test_webhooks_are_not_sent(make):
    hook = {
        "handler_name": "eh_web_hook_handler",
        "handler_meta": {"method": "POST", "target_path": "http://127.0.0.1:1/"},
    }
    fire = "@Hook\ndef fire(request, session, spec):\n    tyk.trigger_event('Fired', '')\n    return request, session\n"
    keys = {"custom_middleware": hooks(pre=["fire"]), "event_handlers": {"events": {"Fired": [hook]}}}
    reply = make(fire, keys).get("/")
    assert ([event.name for event in reply.events], reply.logs) == (["Fired"], ())


# ---- What is loaded


def test_a_bundle_by_itself(tmp_path, tyk_api):
    manifest = {
        "file_list": ["middleware.py"],
        "custom_middleware": {"driver": "python", "auth_check": {"name": "check"}},
    }
    code = "from tyk.decorators import *\n" + CHECK
    write(tmp_path, {"door/manifest.json": manifest, "door/middleware.py": code})
    api = tyk_api(tmp_path / "door")
    assert (api.get("/").status, api.get("/a", headers={"Card": "good"}).upstream.url) == (403, "/a")


def test_a_definition_and_the_bundle_that_it_names(tmp_path, tyk_api):
    manifest = {"file_list": ["middleware.py"], "custom_middleware": {"driver": "python", "pre": [{"name": "greet"}]}}
    write(tmp_path, {"hello/manifest.json": manifest, "hello/middleware.py": PLUGIN["python"]})
    api = definition("api", custom_middleware_bundle="hello.zip")
    assert tyk_api(api, bundles={"hello.zip": tmp_path / "hello"}).get("/").hooks == ("greet",)
    with pytest.raises(NotLoaded, match=r'nowhere: the folder of the bundle "hello.zip" is not there'):
        tyk_api(api, bundles={"hello.zip": tmp_path / "nowhere"})


def test_one_api_of_several(tmp_path, tyk_api):
    write(tmp_path, {"a.json": definition("a"), "b.json": definition("b")})
    assert tyk_api(tmp_path, api="b").get("/").upstream.url == "/b/"
    with pytest.raises(NotLoaded, match=r'say which one is meant with api="a" \(a, b\)'):
        tyk_api(tmp_path)
    with pytest.raises(NotLoaded, match='there is no API "c"'):
        tyk_api(tmp_path, api="c")


def test_what_does_not_load_is_told_with_its_place(tmp_path, tyk_api):
    broken = definition("api", custom_middleware=hooks(pre=["greet", "gone"]))
    place = write(tmp_path, {"api.json": broken, "plugin.py": PLUGIN["python"]}) / "api.json"
    with pytest.raises(NotLoaded, match=r'api.json: refused: \$.custom_middleware.pre\[1\]: .*has no hook "gone"'):
        tyk_api(place)
    with pytest.raises(NotLoaded, match=r"there is no definition .*nowhere.json"):
        tyk_api("nowhere.json")
    with pytest.raises(NotLoaded, match=r"policies.json: \$: expected a file that can be read"):
        tyk_api(definition("api"), policies="policies.json")


# ---- In tests of people's own

TESTS = """
import pytest
pytest_plugins = ["tykbridge.testing"]

@pytest.fixture
def api(tyk_api):
    return tyk_api("api.json")
"""

SEVERAL = """
def alone(api):
    reply = api.get("/")
    assert (reply.upstream.headers["X-Visits"], reply.upstream.headers["X-Stored"]) == ("1", "")
    assert len(api.events) == len(api.logs) == len(api.upstream.requests) == 1

def test_first(api):
    alone(api)

def test_second(api):
    alone(api)

kept = []

def test_keeps(api):
    kept.append(api)

def test_uses_it():
    with pytest.raises(RuntimeError, match="the test that this API belongs to is over"):
        kept[0].get("/")
"""


@pytest.fixture
def project(pytester):
    """A folder with an API and its plugin, whose tests are run."""
    api = definition("api", custom_middleware=hooks(pre=["greet"]))
    write(pytester.path, {"api.json": api, "plugin.py": PLUGIN["python"]})

    def run(code):
        pytester.makepyfile(TESTS + code)
        return pytester.runpytest("-p", "no:cacheprovider", no_reraise_ctrlc=True)

    return run


@pytest.mark.parametrize("keeps", [False, True])
def test_an_interrupt_in_a_hook_ends_the_run(project, pytester, interruptible, keeps):
    stop = "import signal\n    signal.raise_signal(signal.SIGINT)"
    if keeps:
        stop = "import signal\n    try: signal.raise_signal(signal.SIGINT)\n    except BaseException: pass"
    plugin = (pytester.path / "plugin.py").read_text().replace("visits += 1", stop)
    (pytester.path / "plugin.py").write_text(plugin)
    before = signal.getsignal(signal.SIGINT)
    done = project("def test(api):\n    assert api.get('/x').status == 200\ndef test_next():\n    pass\n")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.assert_outcomes()
    done.stdout.fnmatch_lines(["*KeyboardInterrupt*"])
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_of_the_plugin_s_own_is_a_failed_hook(project, pytester):
    plugin = (pytester.path / "plugin.py").read_text().replace("visits += 1", "raise KeyboardInterrupt")
    (pytester.path / "plugin.py").write_text(plugin)
    done = project("def test(api):\n    assert api.get('/x').status == 500\ndef test_next():\n    pass\n")
    done.assert_outcomes(passed=2)


def test_a_failed_test_shows_the_traceback(project, pytester):
    plugin = (pytester.path / "plugin.py").read_text().replace('"Name"', "Name")
    (pytester.path / "plugin.py").write_text(plugin)
    done = project("def test(api):\n    assert api.get('/x').status == 200\n")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            'E *where 500 = <Reply 500; hook "greet" of bundle "plugin.py": NameError: *(plugin.py:11)>.status',
            "*--- tykbridge ---*",
            "*GET /api/x",
            "*Traceback (most recent call last):",
            "*line 11, in greet",
            "*500 Internal Server Error*",
        ]
    )


def test_nothing_of_a_test_is_there_in_the_next(project):
    def there():  # what earlier tests left may go at any time
        modules = {name for name in sys.modules if name.startswith("_tykb_")}
        return modules | {*runtime.registry._state.versions}

    before, store = there(), runtime.data_store()
    project(SEVERAL).assert_outcomes(passed=4)
    assert not there() - before
    assert runtime.data_store() == store


def test_log_lines_go_where_they_went_before(project, capfd):
    project("def test(api):\n    api.get('/')\n").assert_outcomes(passed=1)
    _bridge.log("said afterwards", "info")
    assert "said afterwards" in capfd.readouterr().err


def test_a_test_that_asks_for_nothing_is_left_alone(project):
    done = project("def test_other():\n    assert 0\n")
    done.assert_outcomes(failed=1)
    assert "tykbridge ---" not in done.stdout.str()
