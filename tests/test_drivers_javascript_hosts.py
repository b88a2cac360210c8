"""JavaScript around its engine: endpoints, handlers, folders, requests, settings, and each way to run a hook."""

import base64
import hashlib
import json
import subprocess
import sys

import pytest

from tests import trees
from tests.webserver import serving
from tykbridge import Bridge, _bridge, hosted, runtime, watch
from tykbridge.drivers.javascript import limits
from tykbridge.events.queue import EventQueue
from tykbridge.operating import prepare
from tykbridge.outcome import Continue, Request, Respond, Response
from tykbridge.services import Mode, Services
from tykbridge.settings import read_settings
from tykbridge.stores.memory import MemoryStore

pytestmark = pytest.mark.once

MARK = "var {0} = new TykJS.TykMiddleware.NewMiddleware({{}});\n"
HOOK = (
    MARK
    + "{0}.NewProcessRequest(function (request, session, config) {{ {1}\n return {0}.ReturnData(request, {{}}); }});\n"
)
BACK = MARK + (
    "{0}.NewProcessResponse(function (response, request, session, config) {{ {1}\n"
    " return {0}.ReturnResponseData(response, {{}}); }});\n"
)
ADD = HOOK.format("{0}", "request.SetHeaders['{0}'] = '{1}';")


def add(name, value="yes"):
    return HOOK.format(name, f"request.SetHeaders['{name}'] = '{value}';")


def api(**keys):
    return {"api_id": "a", "org_id": "o", "use_keyless": True, "proxy": {"listen_path": "/a/"}, **keys}


def virtual(code, *endpoints, **keys):
    """A definition with virtual endpoints whose code stands in it."""
    blob = {"function_source_type": "blob", "function_source_uri": base64.b64encode(code.encode()).decode()}
    given = [
        {"path": "/v", "method": "GET", "response_function_name": "f", **blob, **item} for item in endpoints or [{}]
    ]
    version = {"use_extended_paths": True, "extended_paths": {"virtual": given}}
    return api(version_data={"not_versioned": True, "versions": {"Default": version}}, **keys)


class Place:
    """A bridge with a middleware folder, and what is logged."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.middleware, self.lines, self.log = folder, folder / "middleware", [], []
        monkeypatch.setattr(_bridge, "log", lambda words, level: self.log.append((level, words)))
        self.queue = EventQueue()
        self.services = Services(queue=self.queue, log=lambda words, level: self.lines.append((level, words)))
        self.bridge = Bridge(self.services, self.middleware)

    def write(self, **files):
        trees.write(self.folder, files)

    def load(self, document):
        """Loads a definition that stands in a file of its own."""
        trees.write(self.folder, {"apis/a.json": json.dumps(document)})
        loaded = self.bridge.load(self.folder / "apis")
        assert loaded.not_loaded == ()
        return loaded

    def refused(self, document):
        trees.write(self.folder, {"apis/a.json": json.dumps(document)})
        (item,) = self.bridge.load(self.folder / "apis").not_loaded
        return item

    def bundle(self, files, **middleware):
        manifest = {"file_list": list(files), "custom_middleware": middleware}
        folder = self.middleware / "bundles" / hashlib.md5(b"b").hexdigest()
        trees.write(folder, {**files, "manifest.json": json.dumps(manifest)})
        return folder

    def ask(self, url="/a/v", method="GET", headers=(), body=b""):
        return self.bridge.request(Request(method, url, tuple(headers), body), "a")

    def sent(self, url="/a/x", **more):
        outcome = self.ask(url, **more)
        assert isinstance(outcome, Continue), outcome
        return dict(outcome.request.headers)

    def answer(self, url="/a/v", **more):
        outcome = self.ask(url, **more)
        assert isinstance(outcome, Respond), outcome
        return outcome.response


@pytest.fixture
def place(tmp_path, monkeypatch):
    made = Place(tmp_path, monkeypatch)
    (tmp_path / "middleware").mkdir()
    yield made
    made.queue.close(10)


# ---- Virtual endpoints


ECHO = """
function f(request, session, config) {
  var seen = { url: request.URL, body: request.Body, params: request.Params, scheme: request.Scheme,
               host: request.Headers.Host, api: config.APIID, data: config.config_data, alias: session.alias };
  return TykJsResponse({ Code: 202, Headers: { "X-Data": "foo", "Content-Type": "application/json" },
                         Body: JSON.stringify(seen) }, session.meta_data);
}
"""


def test_an_endpoint_answers_its_path_and_method_alone(place):
    place.load(virtual(ECHO, config_data={"foo": "x", "bar": {"y": 3}}))
    answer = place.answer("/a/v?b=1&b=2", headers=[("Host", "h")], body=b"\xc3\xa4")
    assert answer.status == 202
    assert ("X-Data", "foo") in answer.headers
    assert json.loads(answer.body) == {
        "url": "/a/v?b=1&b=2",
        "body": "ä",
        "params": {"b": ["1"]},
        "scheme": "http",
        "host": ["h"],
        "api": "a",
        "data": {"foo": "x", "bar": {"y": 3}},
        "alias": "",
    }
    assert isinstance(place.ask(method="POST"), Continue)
    assert isinstance(place.ask("/a/other"), Continue)
    assert isinstance(place.ask("/v"), Respond)  # an API's id is enough: the path need not begin with its listen path


def test_params_have_the_fields_of_a_form(place):
    place.load(virtual(ECHO, {"method": "POST"}))
    form = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")]
    answer = place.answer("/a/v?a=q&c=3", method="POST", headers=form, body=b"a=1&a=%C3%A4+x&b")
    assert json.loads(answer.body)["params"] == {"a": ["1", "ä x", "q"], "b": [""], "c": ["3"]}
    answer = place.answer("/a/v?a=q", method="POST", headers=[("Content-Type", "text/plain")], body=b"a=1")
    assert json.loads(answer.body)["params"] == {"a": ["q"]}


def test_it_runs_behind_what_comes_before_the_post_hooks(place):
    body = "String(request.Headers.Pre) + request.Headers.Post"
    code = f"function f(request) {{ return TykJsResponse({{ Code: 200, Body: {body} }}); }}"
    place.write(**{"apis/h.js": add("Pre") + add("Post")})
    section = {"driver": "javascript"} | {phase: [{"name": phase.title(), "path": "h.js"}] for phase in ("pre", "post")}
    place.load(virtual(code, custom_middleware=section))
    assert place.answer().body == b"yesundefined"
    assert place.sent("/a/x")["Post"] == "yes"


def test_its_answer_goes_past_the_response_hooks(place):
    code = 'function f() { return TykJsResponse({ Code: 404, Headers: { A: "1", B: "2" }, Body: "raw" }); }'
    back = BACK.format(
        "Back",
        "response.SetHeaders.Saw = response.StatusCode + response.Headers.A[0] + request.URL + session.alias;"
        "response.DeleteHeaders.push('B'); response.Body += '!';",
    )
    place.write(**{"apis/h.js": back})
    section = {"driver": "javascript", "response": [{"name": "Back", "path": "h.js"}]}
    place.load(virtual(code, custom_middleware=section))
    answer = place.answer()
    assert (answer.status, answer.body) == (404, b"raw!")
    assert dict(answer.headers) == {"A": "1", "Saw": "4041/a/v", "Content-Length": "4"}


def test_what_a_hook_answers_goes_past_no_response_hook(place):
    stop = HOOK.format("Stop", "request.ReturnOverrides.ResponseCode = 200;")
    place.write(**{"apis/h.js": stop + BACK.format("Back", "response.Body = 'no';")})
    hooks = {phase: [{"name": name, "path": "h.js"}] for phase, name in (("post", "Stop"), ("response", "Back"))}
    place.load(api(custom_middleware={"driver": "javascript", **hooks}))
    assert place.answer("/a/x").body == b""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("function f() { throw new Error('broken'); }", "Error: broken"),
        ("function f() {}", "f must return TykJsResponse({Code, Headers, Body}, meta)"),
        ("function f() { return 'text'; }", "f must return TykJsResponse({Code, Headers, Body}, meta)"),
        (
            "function f() { return TykJsResponse({ Body: 'x' }); }",
            "f must answer with a Code from 200 to 599, not undefined",
        ),
        ("function f() { return TykJsResponse({ Code: 199 }); }", "f must answer with a Code from 200 to 599, not 199"),
        (
            "function f() { return TykJsResponse({ Code: 302, Headers: { location: 'tyk://self/x' } }); }",
            "f answers with a redirect to tyk://self/x, and internal redirects are not built",
        ),
    ],
)
@pytest.mark.parametrize("goes_on", [False, True])
def test_one_that_fails(place, code, words, goes_on):
    place.load(virtual(code, {"proxy_on_error": goes_on}))
    if goes_on:
        assert isinstance(place.ask(), Continue)
    else:
        answer = place.answer()
        assert (answer.status, json.loads(answer.body)) == (500, {"error": "Middleware error"})
    ((level, line),) = place.log
    assert level == "error"
    assert words in line
    assert "middleware.js:1" in line or "throw" not in code


def test_headers_are_checked_as_those_of_hooks(place):
    place.load(virtual("function f() { return TykJsResponse({ Code: 200, Headers: { 'a b': 'c' } }); }"))
    assert place.answer().status == 500
    assert place.lines == [("error", 'api "a": hook "f" set a header whose name is no token: \'a b\'')]


def test_values_need_not_be_texts(place):
    place.load(virtual("function f() { return { Response: { Code: 200, Headers: { A: 1, B: true }, Body: 7 } }; }"))
    answer = place.answer()
    assert (answer.body, dict(answer.headers)["A"], dict(answer.headers)["B"]) == (b"7", "1", "true")


def test_a_disabled_endpoint_is_none(place):
    place.load(virtual("syntax error", {"disabled": True}))
    assert isinstance(place.ask(), Continue)


def test_the_first_that_answers_counts(place):
    code = """
      function one() { return TykJsResponse({ Code: 200, Body: "one" }); }
      function two() { return TykJsResponse({ Code: 200, Body: "two" }); }
    """
    place.load(
        virtual(
            code,
            {"response_function_name": "one", "path": "^/items/{id}$"},
            {"response_function_name": "two", "path": "/items"},
            {"response_function_name": "two", "path": "/items", "method": "POST"},
        )
    )
    assert [place.answer(url).body for url in ("/a/items/1", "/a/items/1/2", "/a/items")] == [b"one", b"two", b"two"]
    assert place.answer("/a/items/1", method="POST").body == b"two"


def test_two_apis_share_a_file_and_each_has_its_paths(place):
    place.write(
        **{"apis/v.js": "function f(r, s, config) { return TykJsResponse({ Code: 200, Body: config.APIID }); }"}
    )
    for name in ("a", "c"):
        endpoint = {"function_source_type": "file", "function_source_uri": "v.js", "path": f"/{name}only"}
        document = virtual("", endpoint) | {"api_id": name, "proxy": {"listen_path": f"/{name}/"}}
        place.write(**{f"apis/{name}.json": json.dumps(document)})
    assert place.bridge.load(place.folder / "apis").not_loaded == ()
    for name, other in (("a", "c"), ("c", "a")):
        assert place.bridge.request(Request("GET", f"/{name}/{name}only"), name).response.body == name.encode()
        assert isinstance(place.bridge.request(Request("GET", f"/{name}/{other}only"), name), Continue)


@pytest.mark.parametrize("where", ["apis", "middleware", "."])
def test_where_a_file_is_looked_for(place, monkeypatch, where):
    monkeypatch.chdir(place.folder)
    place.write(**{f"{where}/code/v.js": "function f() { return TykJsResponse({ Code: 200, Body: 'here' }); }"})
    place.load(virtual("", {"function_source_type": "file", "function_source_uri": "code/v.js"}))
    assert place.answer().body == b"here"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", 'has no function "f" (functions: none)'),
        ("function g() {}", 'has no function "f" (functions: g)'),
        (add("f"), "middleware.js:1:"),
        ("\nfunction f() { x y }", "middleware.js:2"),
    ],
)
def test_a_function_that_is_not_there_is_refused(place, code, words):
    item = place.refused(virtual(code + "\n//"))
    assert "$.version_data.versions.Default.extended_paths.virtual[0]" in item.reason
    assert words in item.reason
    if "NewMiddleware" in code:
        assert "makes it a hook; write function f(request, session, config)" in item.reason


def test_a_function_is_no_hook(place):
    place.write(**{"apis/h.js": "function f(request, session, config) {}"})
    item = place.refused(api(custom_middleware={"pre": [{"name": "f", "path": "h.js"}]}))
    assert "var f = new TykJS.TykMiddleware.NewMiddleware({})" in item.reason


def test_an_endpoint_of_an_oas_definition(place):
    endpoint = {"enabled": True, "functionName": "f", "body": base64.b64encode(ECHO.encode()).decode()}
    document = {
        "openapi": "3.0.3",
        "info": {},
        "paths": {"/items/{id}": {"get": {"operationId": "getItem"}}},
        "x-tyk-api-gateway": {
            "info": {"id": "a", "orgId": "o"},
            "server": {"listenPath": {"value": "/a/"}},
            "middleware": {"operations": {"getItem": {"virtualEndpoint": endpoint}}},
        },
    }
    place.load(document)
    assert json.loads(place.answer("/a/items/7").body)["url"] == "/a/items/7"
    assert isinstance(place.ask("/a/items/"), Continue)


def test_a_session_is_shown_to_an_endpoint(place):
    place.load({**virtual(ECHO, {"use_session": True}), "use_keyless": False, "use_standard_auth": True})
    session = {"alias": "ada", "access_rights": {"a": {"api_id": "a"}}, "meta_data": {"k": "v"}}
    place.services.sessions.set("apikey-" + place.services.keys.hashed("key"), json.dumps(session).encode(), 0)
    answer = place.answer(headers=[("Authorization", "key")])
    assert json.loads(answer.body)["alias"] == "ada"
    assert place.ask().response.status == 401


def test_a_reload_leaves_nothing_behind(place):
    place.load(virtual(ECHO))
    (code,) = {code for api in place.bridge._state.by_id.values() for code in api.codes}
    version = runtime.registry._state.versions[code.bundle]
    count = len(version.handlers)
    for _ in range(3):
        place.bridge.reload()
        assert place.answer().status == 202
    assert runtime.registry._state.versions[code.bundle] is version
    assert len(version.handlers) == count
    place.load(virtual("function f() { return TykJsResponse({ Code: 200, Body: 'new' }); }"))
    assert place.answer().body == b"new"


def test_the_c_library_answers_with_an_endpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(hosted.bridge, "services", Services())
    back = BACK.format("Back", "response.Body += '!';")
    trees.write(tmp_path, {"h.js": back})
    code = "function f() { return TykJsResponse({ Code: 201, Body: 'hello' }); }"
    section = {"driver": "otto", "response": [{"name": "Back", "path": "h.js"}]}
    trees.write(tmp_path, {"a.json": json.dumps(virtual(code, custom_middleware=section))})
    assert hosted.load_configuration(str(tmp_path), str(tmp_path / "middleware"), "", False) == (0, "")
    sent = _bridge.message("Object")
    sent.spec["APIID"] = "a"
    sent.request.method, sent.request.url = "GET", "/a/v"
    (reply,) = hosted.run_request(sent.SerializeToString(), None)
    response = _bridge.message("Object", reply).response
    assert (response.status_code, response.raw_body) == (201, b"hello!")
    sent.request.url = "/a/other"
    assert isinstance(hosted.run_request(sent.SerializeToString(), None), bytes)


# ---- Handlers of events


HANDLER = """
var {0} = new TykJS.TykEventHandlers.NewEventHandler({{}});
{0}.NewHandler(function (event, context) {{
  log(JSON.stringify([event.Type, event.Meta, typeof event.TimeStamp, context]));
}});
"""


@pytest.mark.parametrize("form", ["classic", "oas"])
def test_a_handler_hears_of_an_event(place, form):
    place.write(**{"apis/e.js": HANDLER.format("onIt")})
    if form == "classic":
        handler = {"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "onIt", "path": "e.js"}}
        document = api(use_keyless=False, use_standard_auth=True, event_handlers={"events": {"AuthFailure": [handler]}})
    else:
        handler = {"enabled": True, "trigger": "AuthFailure", "type": "custom", "functionName": "onIt", "path": "e.js"}
        server = {"listenPath": {"value": "/a/"}, "authentication": {"enabled": True}, "eventHandlers": [handler]}
        extension = {"info": {"id": "a", "orgId": "o"}, "server": server}
        document = {"openapi": "3.0.3", "info": {}, "paths": {}, "x-tyk-api-gateway": extension}
    place.load(document)
    assert place.answer("/a/x?q").status == 401
    assert place.queue.close(10)
    ((level, line),) = place.log
    kind, meta, timestamp, context = json.loads(line)
    assert (level, kind, timestamp, context) == ("info", "AuthFailure", "string", {"APIID": "a", "OrgID": "o"})
    assert meta["Path"] == "/a/x"
    assert meta["Message"] == "Authorization field missing"


def test_a_handler_without_a_path_is_one_of_the_hooks_code(place):
    place.write(**{"apis/e.js": HANDLER.format("onIt") + add("A")})
    handler = {"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "onIt"}}
    section = {"driver": "javascript", "pre": [{"name": "A", "path": "e.js"}]}
    place.load(api(custom_middleware=section, event_handlers={"events": {"Sold": [handler]}}))
    place.bridge.chain_of("a").handlers.put("Sold", "a", "o", {"Message": "m"})
    assert place.queue.close(10)
    assert json.loads(place.log[0][1])[1] == {"Message": "m"}


def test_a_handlers_file_is_looked_for_where_tyk_looks(place, monkeypatch):
    monkeypatch.chdir(place.folder)
    place.write(**{"event_handlers/plain": HANDLER.format("onIt")})
    handler = {"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "onIt", "path": "event_handlers/plain"}}
    place.load(api(event_handlers={"events": {"Sold": [handler]}}))
    place.bridge.chain_of("a").handlers.put("Sold", "a", "o", {"Message": "m"})
    assert place.queue.close(10)
    assert json.loads(place.log[0][1])[0] == "Sold"


def test_a_handler_that_fails_is_a_line_with_its_place(place):
    place.write(**{"apis/e.js": HANDLER.format("onIt").replace("log(", "\n nothing.at(")})
    handler = {"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "onIt", "path": "e.js"}}
    place.load(api(event_handlers={"events": {"Sold": [handler]}}))
    place.bridge.chain_of("a").handlers.put("Sold", "a", "o", {"Message": "m"})
    assert place.queue.close(10)
    ((level, words),) = place.lines
    assert level == "error"
    assert words.startswith('api "a": event handler "onIt": ')
    assert "nothing" in words.splitlines()[0]
    assert "(e.js:5" in words.splitlines()[0]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", 'has no event handler "onIt" (handlers: none)'),
        (add("onIt"), "e.js:1:"),
        ("var onIt = new TykJS.TykEventHandlers.NewEventHandler({});", "onIt.NewHandler(function(event, context)"),
        ("function onIt(event, context) {}", "onIt"),
    ],
)
def test_a_handler_that_is_not_there_is_refused(place, code, words):
    place.write(**{"apis/e.js": code + "\n//"})
    handler = {"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "onIt", "path": "e.js"}}
    item = place.refused(api(event_handlers={"events": {"Sold": [handler]}}))
    assert "$.event_handlers.events.Sold[0]" in item.reason
    assert words in item.reason


# ---- Folders


def test_files_of_folders_are_hooks(place):
    auth = MARK.format("door") + (
        "door.NewProcessRequest(function (request, session, config) { if (request.Headers.Key)"
        " session.meta_data = { token: request.Headers.Key[0] }; return door.ReturnAuthData(request, session); });"
    )
    post = HOOK.format(
        "last_with_session", "request.SetHeaders.Last = session.meta_data.token + request.Headers.First;"
    )
    place.write(
        **{
            "middleware/a/pre/first.js": HOOK.format("first", "request.SetHeaders.First = config.APIID;"),
            "middleware/a/auth/door.js": auth,
            "middleware/a/post_auth/known.js": HOOK.format("known", "request.SetHeaders.Known = 'yes';"),
            "middleware/a/post/last_with_session.js": post,
        }
    )
    place.load(api(use_keyless=False, custom_plugin_auth_enabled=True))
    found = place.sent(headers=[("Key", "k")])
    assert (found["First"], found["Known"], found["Last"]) == ("a", "yes", "ka")
    assert place.answer("/a/x").status == 403


def test_a_file_without_its_hook_is_refused_by_its_name(place):
    place.write(**{"middleware/a/pre/wrong.js": add("other"), "middleware/a/post/bad.js": "\nvar x = ;"})
    item = place.refused(api())
    folder = place.middleware / "a"
    assert f"{folder}/pre/wrong.js: " in item.reason
    assert 'has no hook "wrong" (hooks: other)' in item.reason
    assert f"{folder}/post/bad.js: " in item.reason
    assert "bad.js:2" in item.reason
    assert [problem.path for problem in item.problems] == [f"{folder}/pre/wrong.js", f"{folder}/post/bad.js"]


def test_folders_are_watched(place):
    place.write(**{"middleware/a/pre/A.js": add("A", 1)})
    place.load(api())
    assert place.sent()["A"] == "1"
    with watch.watching(place.bridge):

        def comes(name, value):
            from tests.test_watch import until

            until(lambda: place.sent().get(name) == value)

        place.write(**{"middleware/a/pre/.A.js": add("A", 2)})
        (place.middleware / "a/pre/.A.js").rename(place.middleware / "a/pre/A.js")
        comes("A", "2")
        place.write(**{"middleware/.B.js": add("B", 3)})
        (place.middleware / "a/post").mkdir()
        (place.middleware / ".B.js").rename(place.middleware / "a/post/B.js")
        comes("B", "3")
        (place.middleware / "a/post/B.js").unlink()
        comes("B", None)


# ---- Requests that hooks send


def test_a_hook_sends_requests(place):
    code = """
      var answer = JSON.parse(TykMakeHttpRequest({ Method: "PUT", Domain: config.config_data.url, Resource: "/x?a=b",
                                                   Headers: { A: "1" }, Body: "ä" }));
      request.SetHeaders.Code = String(answer.Code) + answer.code;
      request.SetHeaders.Header = answer.Headers["X-Answer"][0];
      var again = TykMakeHttpRequest(JSON.stringify({ Domain: config.config_data.url }));
      request.SetHeaders.Again = String(JSON.parse(again).Code);
      var batch = { requests: [{ method: "GET", relative_url: config.config_data.url + "/1" }] };
      request.SetHeaders.Batch = String(JSON.parse(TykBatchRequest(batch))[0].code);
      request.SetHeaders.Text = String(JSON.parse(TykBatchRequest(JSON.stringify(batch)))[0].code);
      var none = [TykMakeHttpRequest(), TykMakeHttpRequest("{"), TykBatchRequest("{")];
      request.SetHeaders.None = none.map(String).join("");
    """
    place.write(**{"apis/h.js": HOOK.format("H", code)})
    with serving((201, {"X-Answer": "yes"})) as server:
        section = {"driver": "javascript", "pre": [{"name": "H", "path": "h.js"}]}
        place.load(api(custom_middleware=section, config_data={"url": server.url}))
        found = place.sent()
    assert (found["Code"], found["Header"], found["Again"], found["Batch"], found["Text"]) == (
        "201201",
        "yes",
        *["201"] * 3,
    )
    assert found["None"] == "undefined" * 3
    first = server.got[0]
    assert (first.method, first.path, first.headers["a"], first.body) == ("PUT", "/x?a=b", "1", "ä".encode())
    assert [words.partition(":")[0] for _, words in place.log] == ["TykMakeHttpRequest", "TykBatchRequest"]


def test_a_request_ends_with_the_hooks_time(place):
    import threading

    over = threading.Event()
    place.write(
        **{"apis/h.js": HOOK.format("H", "TykMakeHttpRequest({ Domain: config.config_data.url }); while (true);")}
    )
    with serving(lambda handler: over.wait(60)) as server:
        section = {"driver": "javascript", "pre": [{"name": "H", "path": "h.js", "timeout_ms": 300}]}
        place.load(api(custom_middleware=section, config_data={"url": server.url}))
        assert place.answer("/a/x").status == 504
        over.set()
    assert "there is no answer within the hook's time limit" in place.log[0][1]


# ---- Settings


@pytest.fixture
def operated(place, monkeypatch):
    """Uses a tyk.conf."""
    monkeypatch.setattr(runtime, "_store", runtime._store)

    def use(**conf):
        settings, notices = read_settings(json.dumps(conf), {})
        assert notices == ()
        place.bridge.capabilities = prepare(settings, None, lambda words, level: None).capabilities
        return place

    return use


@pytest.mark.parametrize(
    "document",
    [
        virtual(ECHO),
        api(
            custom_middleware={
                "driver": "otto",
                "pre": [{"name": "A", "code": base64.b64encode(add("A").encode()).decode()}],
            }
        ),
        api(event_handlers={"events": {"X": [{"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "f"}}]}}),
        api(custom_middleware_bundle="b"),
    ],
    ids=["endpoint", "hook", "handler", "bundle"],
)
def test_javascript_may_be_turned_off(operated, document):
    place = operated(enable_jsvm=False)
    place.bundle({"middleware.js": add("A")}, driver="otto", pre=[{"name": "A"}])
    item = place.refused(document)
    assert item.reason.startswith("not loaded: needs the javascript driver (the settings turn it off: enable_jsvm)")


def test_code_in_definitions_may_be_turned_off(operated):
    place = operated(disable_virtual_path_blobs=True)
    assert "disable_virtual_path_blobs" in place.refused(virtual(ECHO)).reason
    place.write(**{"apis/v.js": ECHO})
    place.load(virtual("", {"function_source_type": "file", "function_source_uri": "v.js"}))
    assert place.answer().status == 202


def test_the_time_limit_is_a_setting(place, monkeypatch):
    monkeypatch.setattr(limits, "seconds", limits.seconds)
    limits.use_timeout(0.2)
    place.load(virtual("function f() { while (true); }"))
    assert place.answer().status == 504
    assert "it ran longer than 200 ms (middleware.js:1" in place.log[0][1]


# ---- Bundles, modes, and each way to run a hook


@pytest.mark.parametrize("driver", ["otto", "javascript"])
def test_a_bundle_runs_the_files_of_its_hooks(place, driver):
    files = {"middleware.js": add("A"), "lib/b.js": add("B"), "helper.js": "var helped = 'helped';"}
    pre = [{"name": "A", "path": "middleware.js"}, {"name": "B", "path": "lib/b.js"}]
    place.bundle(files, driver=driver, pre=pre)
    place.load(api(custom_middleware_bundle="b"))
    assert {"A", "B"} <= place.sent().keys()


def test_one_name_in_two_files_of_a_bundle_is_refused(place):
    files = {"a.js": add("A"), "b.js": add("A")}
    place.bundle(files, driver="otto", pre=[{"name": "A", "path": "a.js"}], post=[{"name": "A", "path": "b.js"}])
    item = place.refused(api(custom_middleware_bundle="b"))
    assert (
        'custom_middleware.post[0]: the hook "A" is in a.js already, and b.js would replace it; rename one'
        in item.reason
    )


def test_a_file_that_a_hook_names_must_be_there(place):
    place.bundle({"a.js": add("A")}, driver="otto", pre=[{"name": "A", "path": "c.js"}])
    item = place.refused(api(custom_middleware_bundle="b"))
    assert 'custom_middleware.pre[0].path: the bundle has no file "c.js"' in item.reason


def test_a_reload_takes_new_code_and_keeps_the_same(place):
    count = "var n = 0;\n" + HOOK.format("A", "request.SetHeaders.A = String(++n);")
    place.bundle({"middleware.js": count}, driver="otto", pre=[{"name": "A"}])
    place.load(api(custom_middleware_bundle="b"))
    assert [place.sent()["A"] for _ in range(2)] == ["1", "2"]
    place.bridge.reload()
    assert place.sent()["A"] == "3"
    place.bundle({"middleware.js": count + "// more"}, driver="otto", pre=[{"name": "A"}])
    assert place.bridge.reload().not_loaded == ()
    assert place.sent()["A"] == "1"
    place.bundle({"middleware.js": "var A = ;"}, driver="otto", pre=[{"name": "A"}])
    (item,) = place.bridge.reload().not_loaded
    assert item.kept
    assert place.sent()["A"] == "2"


def test_an_extractor_spares_the_hook(place):
    auth = MARK.format("door") + (
        "door.NewProcessRequest(function (request, session) { log('asked');"
        " session.meta_data = { token: request.Headers.Authorization[0] };"
        " session.id_extractor_deadline = Math.floor(Date.now() / 1000) + 60; session.alias = 'ada';"
        " return door.ReturnAuthData(request, session); });"
    )
    extractor = {
        "extract_from": "header",
        "extract_with": "value",
        "extractor_config": {"header_name": "Authorization"},
    }
    place.write(**{"apis/h.js": auth + HOOK.format("after", "request.SetHeaders.Alias = session.alias;")})
    section = {
        "driver": "javascript",
        "auth_check": {"name": "door", "path": "h.js"},
        "post": [{"name": "after", "path": "h.js", "require_session": True}],
        "id_extractor": extractor,
    }
    place.load(api(use_keyless=False, custom_plugin_auth_enabled=True, custom_middleware=section))
    for _ in range(2):
        assert place.sent(headers=[("Authorization", "k")])["Alias"] == "ada"
    assert place.log == [("info", "asked")]


@pytest.mark.parametrize("mode", Mode)
def test_meta_is_a_change_of_the_session(place, mode):
    import dataclasses

    meta = MARK.format("M") + "M.NewProcessRequest(function (r, s) { return M.ReturnData(r, { k: 'changed' }); });"
    see = HOOK.format("See", "request.SetHeaders.K = session.meta_data.k;")
    place.write(**{"apis/h.js": meta + see})
    post = [{"name": name, "path": "h.js", "require_session": True} for name in ("M", "See")]
    document = api(use_keyless=False, use_standard_auth=True, custom_middleware={"driver": "javascript", "post": post})
    place.bridge.services = dataclasses.replace(place.services, mode=mode)
    place.load(document)
    session = {"access_rights": {"a": {"api_id": "a"}}, "meta_data": {"k": "before"}}
    place.services.sessions.set("apikey-" + place.services.keys.hashed("key"), json.dumps(session).encode(), 0)
    outcome = place.ask("/a/x", headers=[("Authorization", "key")])
    if mode is Mode.STRICT:
        assert outcome.response.status == 500
        assert "changed session.metadata" in outcome.fault
    else:
        assert dict(outcome.request.headers)["K"] == "before"


def command(*arguments):
    """Run the program, in a process of its own: it takes over the host's log."""
    words = [sys.executable, "-m", "tykbridge", *map(str, arguments), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


def test_check_and_run_hook_take_files_of_javascript(tmp_path):
    trees.write(
        tmp_path,
        {
            "good.js": add("J") + BACK.format("R", "response.StatusCode = 203;") + "function help() {}",
            "bad.js": "\nvar J = function (",
        },
    )
    status, document = command("check", tmp_path / "good.js")
    assert (status, [hook["name"] for hook in document["items"][0]["hooks"]]) == (0, ["J", "R"])
    status, document = command("check", tmp_path / "bad.js")
    (problem,) = document["items"][0]["problems"]
    assert status == 1
    assert problem["place"].startswith(f"{tmp_path}/bad.js:")
    status, document = command("run-hook", tmp_path / "good.js", "J")
    assert (status, document["runs"][0]["upstream"]["headers"][-1]) == (0, ["J", "yes"])
    status, document = command("run-hook", tmp_path / "good.js", "R")
    assert (status, document["runs"][0]["response"]["status"]) == (0, 203)


def test_check_and_run_hook_take_apis_with_endpoints(tmp_path):
    back = {"driver": "javascript", "response": [{"name": "Back", "path": "h.js"}]}
    code = "function f() { return TykJsResponse({ Code: 201, Body: 'hello' }); }"
    trees.write(tmp_path, {"h.js": BACK.format("Back", "response.Body += '!';")})
    trees.write(tmp_path, {"a.json": json.dumps(virtual(code, custom_middleware=back))})
    status, document = command("check", tmp_path / "a.json")
    assert status == 0
    assert {"phase": "post", "name": "f"} in document["items"][0]["hooks"]
    status, document = command("run-hook", tmp_path / "a.json", "/a/v")
    (run,) = document["runs"]
    assert (status, run["response"]["status"], run["response"]["body"]) == (0, 201, "hello!")
    assert [hook["name"] for hook in run["hooks"]] == ["f", "Back"]
    trees.write(tmp_path, {"b.json": json.dumps(virtual("function g() {}") | {"api_id": "b"})})
    status, document = command("check", tmp_path / "b.json")
    assert status == 1
    assert "virtual[0]" in document["items"][0]["problems"][0]["path"]


# ---- The examples


def definition_of(root, name):
    """An example as a gateway has it: its api's part of a definition, its hooks and its files."""
    folder = root / "examples" / name
    scenario = json.loads((folder / "request.json").read_text())
    manifest = json.loads((folder / "manifest.json").read_text())
    return folder, {**scenario.get("api", {}), "custom_middleware": manifest["custom_middleware"]}


def test_the_seed_answers_as_its_page_says(root, place):
    folder, part = definition_of(root, "seeds/return-overrides-javascript")
    place.write(**{"apis/middleware.js": (folder / "middleware.js").read_text()})
    place.load(api(custom_middleware=part["custom_middleware"]))
    answer = place.answer("/a/anything")
    headers = dict(answer.headers)
    assert (answer.status, answer.body) == (200, b"Foobarbaz")
    assert (headers["X-Foo"], headers["X-Baz"]) == ("Bar", "Qux")


def test_the_tour_in_a_gateway(root, place, monkeypatch):
    monkeypatch.setattr(runtime, "_store", MemoryStore())
    folder, part = definition_of(root, "tour-javascript")
    files = {name: (folder / name).read_text() for name in ("shelves.js", "library.js")}
    place.bundle(files, **part.pop("custom_middleware"))
    place.write(**{"apis/library.js": files["library.js"]})
    gateway = {"proxy": {"listen_path": "/"}, "custom_plugin_auth_enabled": True, "custom_middleware_bundle": "b"}
    place.load({**part, **gateway})
    card = (("X-Library-Card", "L-1815"),)
    outcome = place.bridge.request(Request("GET", "/poetry/7?debug=1&lines=3", card), "books")
    assert outcome.request.url == "/v2/poetry/7?lines=3&shelf=poetry"
    assert dict(outcome.request.headers) == {"X-Visits": "1", "Accept-Language": "en"}
    back = place.bridge.response(
        outcome.request, Response(200, (), b'{"title": "Fragments"}'), outcome.session, "books"
    )
    assert json.loads(back.response.body) == {"title": "Fragments", "reader": "Ada"}
    hours = place.bridge.request(Request("GET", "/hours?day=sunday", card), "books").response
    assert (hours.status, json.loads(hours.body)) == (200, {"hours": "closed", "reader": "Ada"})
    assert dict(hours.headers)["Cache-Control"] == "private"
    refused = place.bridge.request(Request("GET", "/poetry/7"), "books").response
    assert (refused.status, json.loads(refused.body)) == (401, {"error": "Please show your library card"})
    outcome = place.bridge.request(Request("POST", "/poetry/7/notes", card, b"Look up the second line.\n"), "books")
    assert dict(outcome.request.headers)["X-Visits"] == "3"
    assert place.queue.close(10)
    assert sorted(words for _, words in place.log) == [
        "Ada is back: send a bookmark",
        "a visitor without a card",
        "books: nobody reads /poetry/7 without a card",
    ]


def test_the_tour_does_in_javascript_what_it_does_in_python(root):
    def seen(run):
        answer, sent = run["response"], run["upstream"]
        headers = sorted(header for header in answer["headers"] if header[0] != "Content-Length")  # spaces in JSON
        logs = [[line for line in hook["log"] if "visitor" in line["message"]] for hook in run["hooks"]]
        hooks = [(hook["phase"], hook["token"]) for hook in run["hooks"]]
        hooks += [(event["name"], json.loads(event["payload"])) for hook in run["hooks"] for event in hook["events"]]
        return sent, answer["status"], headers, json.loads(answer["body"]), hooks, logs

    tours = []
    for name in ("tour", "tour-javascript"):
        folder = root / "examples" / name
        status, document = command("run-hook", folder, "--request-file", folder / "request.json")
        assert status == 0, document
        tours.append(document["runs"])
    python, javascript = tours
    assert [seen(run) for run in python] == [seen(run) for run in javascript[:3]]
    (hours,) = javascript[3:]
    assert (hours["upstream"], json.loads(hours["response"]["body"])) == (None, {"hours": "closed", "reader": "Ada"})
