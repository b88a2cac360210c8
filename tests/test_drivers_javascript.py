"""Hooks in JavaScript: what they see, what they change, and how they fail."""

import base64
import hashlib
import json
import sys
import threading

import pytest

from tests import trees
from tests.scripts import fails, javascript_of, reported
from tykbridge import Bridge, _bridge, drivers, failures, runtime
from tykbridge.definition import Driver
from tykbridge.drivers.javascript import limits
from tykbridge.errors import DeadlineError, HookError, LoadError, NotFoundError
from tykbridge.events.queue import EventQueue
from tykbridge.outcome import Continue, Request, Respond, Response
from tykbridge.services import Services
from tykbridge.stores import StoreError
from tykbridge.stores.memory import MemoryStore

pytestmark = pytest.mark.once


@pytest.fixture
def javascript(tmp_path):
    """Makes bundles: see `scripts.javascript_of`."""
    made = []

    def make(body="", **choices):
        made.append(javascript_of(tmp_path / "b", body, **choices))
        return made[-1]

    yield make
    for bundle in made:
        bundle.script.close()


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: lines.append((level, words)))
    return lines


@pytest.fixture
def store():
    made = MemoryStore()
    before = runtime.use_store(made)
    yield made
    runtime.use_store(before)


# ---- The request


def test_a_request_reads_as_plugins_read_it(javascript):
    bundle = javascript("""
      request.SetHeaders.X = [
        request.Headers["X-One"], request.Headers["X-One"][0], "" + request.Headers["X-One"], request.Params.q[0],
        request.Body, request.URL, request.Method, request.RequestURI, request.Scheme, request.IgnoreBody,
        request.Headers["X-None"], request.Headers["X-One"] == "1", Object.keys(request.Headers).length,
        config.OrgID, config.APIID, config.config_data.deep[1].a, request.ReturnOverrides.ResponseCode,
      ].join("|");
    """)
    request = {
        "headers": {"X-One": "1", "Host": "h"},
        "params": {"q": "p"},
        "raw_body": "grüße \N{GRINNING FACE}".encode(),
        "url": "/u",
        "method": "PUT",
        "request_uri": "/u?q=p",
        "scheme": "https",
        "return_overrides": {},
    }
    spec = {"OrgID": "org", "APIID": "api", "config_data": '{"deep": [0, {"a": "b"}]}'}
    message = _bridge.message("Object")
    for key, value in request.items():
        if isinstance(value, dict) and key != "return_overrides":
            getattr(message.request, key).update(value)
        elif key != "return_overrides":
            setattr(message.request, key, value)
    message.spec.update(spec)
    message.request.return_overrides.response_code = -1
    bundle.marker("Hook").function(message)
    assert message.request.set_headers["X"] == (
        "1|1|1|p|grüße \N{GRINNING FACE}|/u|PUT|/u?q=p|https|false||true|2|org|api|b|-1"
    )


def test_a_request_is_an_object_like_others(javascript):
    bundle = javascript("""
      var copy = Object.assign({}, request), text = JSON.parse(JSON.stringify(request));
      request.SetHeaders.X = [Object.keys(copy).join(), copy.Body, text.Headers.A[0], "Headers" in request,
        request.hasOwnProperty("Params"), JSON.stringify(config)].join(" ");
    """)
    assert reported(bundle, request={"headers": {"A": "a"}, "body": "b"}) == (
        "Headers,SetHeaders,DeleteHeaders,Body,URL,Params,AddParams,ExtendedParams,DeleteParams,ReturnOverrides,"
        'IgnoreBody,Method,RequestURI,Scheme b a true true {"OrgID":"","APIID":"","config_data":{}}'
    )


def test_a_request_is_changed(javascript):
    message = javascript("""
      i = 0;
      request.SetHeaders = { A: "a", N: 12, B: true, L: ["one"] };
      request.SetHeaders.Gone = undefined;
      request.SetHeaders.Empty = null;
      request.DeleteHeaders[i++] = "D1";
      request.DeleteHeaders[i++] = "D2";
      request.DeleteHeaders[7] = "D8";
      request.Body = "new";
      request.URL = "/new";
      request.AddParams.p = 1;
      request.ExtendedParams.e = ["x"];
      request.DeleteParams.push("q");
      request.Method = "POST";
      request.ReturnOverrides = { ResponseCode: 201, ResponseError: "e", ResponseHeaders: { H: "h" }, OverrideError: true };
    """).run(request={"body": "old", "url": "/old", "method": "GET"})
    request = message.request
    assert dict(request.set_headers) == {"A": "a", "N": "12", "B": "true", "L": "one", "Empty": ""}
    assert list(request.delete_headers) == ["D1", "D2", "D8"]
    assert (request.raw_body, request.url, request.method) == (b"new", "/new", "POST")
    assert (dict(request.add_params), dict(request.extended_params)) == ({"p": "1"}, {"e": "x"})
    assert list(request.delete_params) == ["q"]
    overrides = request.return_overrides
    assert (overrides.response_code, overrides.response_error, overrides.override_error) == (201, "e", True)
    assert dict(overrides.headers) == {"H": "h"}


def test_what_is_not_touched_is_not_written(javascript):
    message = _bridge.message("Object")
    message.request.headers["A"] = "a"
    message.request.set_headers["Before"] = "1"
    message.request.delete_headers.append("Gone")
    message.session.rate = 2.5
    message.session.metadata["m"] = "1"
    message.session.access_rights["a"].allowed_urls.add(url="/x", methods=["GET"])
    message.session.monitor.trigger_limits.extend([0.5, 1])
    before = message.SerializeToString()
    javascript("var all = JSON.stringify([request, session, config]); session.rate = 2.5;").marker("Hook").function(
        message
    )
    assert message.SerializeToString() == before


def test_what_came_before_stays_or_is_taken_away(javascript):
    fields = {"request": {"set_headers": {"A": "1", "B": "2"}, "delete_headers": ["x", "y"]}}
    message = javascript("""
      delete request.SetHeaders.A;
      request.SetHeaders.C = "3";
      request.DeleteHeaders.shift();
    """).run(**fields)
    assert dict(message.request.set_headers) == {"B": "2", "C": "3"}
    assert list(message.request.delete_headers) == ["y"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", b"\xff\x00old"),
        ("var x = request.Body;", b"\xff\x00old"),
        ("request.Body = request.Body;", b"\xff\x00old"),
        ("request.Body += '';", b"\xff\x00old"),
        ("request.IgnoreBody = true; request.Body = 'new';", b"\xff\x00old"),
        ("request.Body = '';", b""),
        ("request.Body = '\\ud800x\\udfff';", "\ufffdx\ufffd".encode()),
        ("request.Body = '\\ud83d\\ude00';", "\N{GRINNING FACE}".encode()),
        ("request.Body = new Uint8Array([1, 255, 2]).subarray(1);", b"\xff\x02"),
        ("request.Body = new Uint8Array([0, 254]).buffer;", b"\x00\xfe"),
        ("request.Body = null;", b"\xff\x00old"),
    ],
)
def test_bodies(javascript, body, expected):
    assert javascript(body).run(request={"raw_body": b"\xff\x00old"}).request.raw_body == expected


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("request.SetHeaders.A = {};", 'request.SetHeaders["A"] must be a string, not an object'),
        ("request.SetHeaders.A = ['1', '2'];", 'request.SetHeaders["A"] has 2 values: there can be one'),
        ("request.SetHeaders.A = [[]];", 'request.SetHeaders["A"] must be a string, not an array'),
        ("request.SetHeaders = 'x';", "request.SetHeaders must be an object, not a string"),
        ("request.DeleteHeaders = 1;", "request.DeleteHeaders must be an array, not a number"),
        ("request.DeleteHeaders.push({});", "request.DeleteHeaders must be a string, not an object"),
        ("request.DeleteHeaders.length = 1e9;", "request.DeleteHeaders has 1000000000 items"),
        ("request.Body = {};", "request.Body must be a string, an ArrayBuffer or a typed array, not an object"),
        ("request.URL = function () {};", "request.URL must be a string, not a function"),
        (
            "request.ReturnOverrides.ResponseCode = '200';",
            "ReturnOverrides.ResponseCode must be a number, not a string",
        ),
        ("request.ReturnOverrides.ResponseCode = 1.5;", "ReturnOverrides.ResponseCode must be a whole number, not 1.5"),
        ("request.ReturnOverrides.ResponseCode = 1e10;", "must be a whole number that fits, not 1e+10"),
        ("request.ReturnOverrides.OverrideError = 1;", "OverrideError must be true or false, not a number"),
        ("request.ExtendedParams.a = ['1', '2'];", 'request.ExtendedParams["a"] has 2 values'),
        ("return;", "returned undefined; a hook on a request returns the middleware's ReturnData(request, meta)"),
        ("return Hook.ReturnData(7);", "returned an object; a hook on a request returns"),
    ],
)
def test_what_no_message_can_hold_is_an_error_with_the_field_s_name(javascript, body, words):
    error = fails(javascript(body), words)
    assert error.place.endswith("/middleware.js:1:16")  # where the middleware was made: no line of it is at fault


def test_a_message_is_gone_when_its_hook_is_over(javascript):
    bundle = javascript("""
      if (request.Headers.N) { request.SetHeaders.X = kept.Body; } else { kept = request; }
    """)
    bundle.run()
    error = fails(bundle, "this is part of a message whose hook is over", request={"headers": {"N": "1"}})
    assert "/middleware.js:4:" in error.place


# ---- The session


def session_of(message):
    session = message.session
    session.rate, session.per, session.quota_max, session.hmac_secret = 10, 2.5, 1 << 40, "h"
    session.metadata.update({"a": "1", "b": "2"})
    session.access_rights["api"].versions.append("v1")
    session.basic_auth_data.hash = "bcrypt"
    session.tags.extend(["x", "y"])
    session.monitor.trigger_limits.append(50)


def test_a_session_has_tyk_s_names(javascript):
    message = _bridge.message("Object")
    session_of(message)
    javascript("""
      request.SetHeaders.X = [session.rate, session.per, session.quota_max, session.hmac_string, session.meta_data.a,
        session.access_rights.api.versions, session.basic_auth_data.hash_type, session.tags,
        session.monitor.trigger_limits, session.org_id === "", session.apply_policies.length].join(" ");
    """).marker("Hook").function(message)
    assert message.request.set_headers["X"] == "10 2.5 1099511627776 h 1 v1 bcrypt x,y 50 true 0"


def test_a_session_is_changed_in_place(javascript):
    message = _bridge.message("Object")
    session_of(message)
    javascript("""
      session.rate = 0.5;
      session.meta_data.c = "3";
      delete session.meta_data.a;
      session.access_rights.other = { api_id: "other", allowed_urls: [{ url: "/u", methods: ["GET", "PUT"] }] };
      session.basic_auth_data.password = "p";
      session.tags.push("z");
      session.monitor = { trigger_limits: [1, 2] };
      session.jwt_data = null;
    """).marker("Hook").function(message)
    session = message.session
    assert (session.rate, dict(session.metadata), list(session.tags)) == (0.5, {"b": "2", "c": "3"}, ["x", "y", "z"])
    assert sorted(session.access_rights) == ["api", "other"]
    assert list(session.access_rights["api"].versions) == ["v1"]
    (url,) = session.access_rights["other"].allowed_urls
    assert (url.url, list(url.methods)) == ("/u", ["GET", "PUT"])
    assert (session.basic_auth_data.password, session.basic_auth_data.hash) == ("p", "bcrypt")
    assert list(session.monitor.trigger_limits) == [1, 2]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("session.rate = 'x';", "session.rate must be a number, not a string"),
        ("session.quota_max = 1.5;", "session.quota_max must be a whole number, not 1.5"),
        ("session.quota_max = 1e30;", "session.quota_max must be a whole number that fits"),
        ("session.is_inactive = 1;", "session.is_inactive must be true or false"),
        ("session.tags = 'x';", "session.tags must be an array, not a string"),
        ("session.access_rights.a = 1;", "session.access_rights must be an object, not a number"),
        ("session.access_rights.a = { versions: [{}] };", "session.access_rights.versions must be a string"),
        ("session.meta_data.deep = {};", 'session.meta_data["deep"] must be a string, not an object'),
        ("return Hook.ReturnData(request, { m: [] });", 'meta["m"] must be a string, not an array'),
    ],
)
def test_what_no_session_can_hold(javascript, body, words):
    fails(javascript(body), words, session={"rate": 1.0})


def test_meta_that_is_returned_is_put_to_the_session_s(javascript):
    bundle = javascript("return Hook.ReturnData(request, { b: 'new', c: 3 });")
    message = bundle.run(session={"metadata": {"a": "1", "b": "2"}})
    assert dict(message.session.metadata) == {"a": "1", "b": "new", "c": "3"}
    assert not bundle.run().HasField("session")  # before authentication there is none


def test_where_there_is_no_session_it_reads_as_an_empty_one_that_nobody_shares(javascript):
    bundle = javascript("""
      var found = [session.rate, session.org_id, session.meta_data.leak, Object.keys(session.access_rights)];
      session.meta_data.leak = "1"; session.tags.push; session.access_rights.leak = 1;
      try { session.tags.push("x"); } catch (e) { found.push("kept"); }
      request.SetHeaders.X = found.join("|");
    """)
    assert [reported(bundle) for _ in range(3)] == ["0||||kept"] * 3


# ---- The response


def test_a_response_hook_gets_all_values_and_keeps_them(javascript):
    bundle = javascript(
        """
      response.SetHeaders.X = [response.Headers["Set-Cookie"].length, response.Headers["set-cookie"], response.StatusCode,
        response.Body, request.URL, session.alias].join("|");
      response.StatusCode = 201;
      response.Body = response.Body + "!";
      response.SetHeaders["Set-Cookie"] = response.Headers["Set-Cookie"].concat("c=3");
      response.DeleteHeaders.push("GONE");
    """,
        phase="Response",
    )
    message = _bridge.message("Object")
    message.response.status_code, message.response.body, message.request.url = 200, "b", "/u"
    message.response.headers.update({"Set-Cookie": "a=1", "Gone": "1"})
    message.response.multivalue_headers.add(key="Set-Cookie", values=["a=1"])
    message.response.multivalue_headers.add(key="Set-Cookie", values=["b=2"])
    message.response.multivalue_headers.add(key="gone", values=["1"])
    message.session.alias = "alice"
    assert bundle.marker("Hook").is_response
    bundle.marker("Hook").function(message)
    response = message.response
    assert (response.status_code, response.raw_body) == (201, b"b!")
    assert dict(response.headers) == {"Set-Cookie": "a=1", "X": "2||200|b|/u|alice"}
    assert [(item.key, list(item.values)) for item in response.multivalue_headers] == [
        ("Set-Cookie", ["a=1", "b=2", "c=3"])
    ]


def test_one_middleware_may_be_for_both(javascript):
    bundle = javascript(
        code="""
      var Hook = new TykJS.TykMiddleware.NewMiddleware({});
      Hook.NewProcessRequest(function (request) { request.SetHeaders.X = "request"; return Hook.ReturnData(request); });
      Hook.NewProcessResponse(function (response) { response.SetHeaders.X = "response"; });
    """
    )
    assert reported(bundle) == "request"
    assert bundle.run(response={"status_code": 200}).response.headers["X"] == "response"


# ---- What is found, and what is not


def test_names_of_all_kinds_are_found(javascript):
    new = "new TykJS.TykMiddleware.NewMiddleware({})"
    code = f"""
      var a = {new}; let b = {new}, c = {new}; const d = {new}; e = {new}; this.f = {new}; globalThis["g h"] = {new};
      for (const m of [a, b, c, d, e, f, globalThis["g h"]]) m.NewProcessRequest(function (r) {{ return m.ReturnData(r); }});
      var empty = {new}; function plain(request) {{}} var number = 1;
      var handler = new TykJS.TykEventHandlers.NewEventHandler({{}}); handler.NewHandler(function (event, context) {{}});
      var idle = new TykJS.TykEventHandlers.NewEventHandler({{}});
      (function () {{ let hidden = {new}; hidden.NewProcessRequest(function () {{}}); }})();
    """
    script = javascript(code=code).script
    hooks = [marker.name for marker in script.markers if not marker.is_endpoint]
    assert sorted(hooks) == ["a", "b", "c", "d", "e", "f", "handler"]
    assert [marker.name for marker in script.markers if marker.is_endpoint] == ["plain"]
    assert [marker.name for marker in script.markers if marker.is_event] == ["handler"]
    assert "/middleware.js:2:" in next(marker.place for marker in script.markers if marker.name == "c")
    assert sorted(script.others) == ["empty", "idle", "plain"]
    assert (
        "it has no function: write empty.NewProcessRequest(function(request, session, config) ...)"
        in script.others["empty"]
    )
    assert "write var plain = new TykJS.TykMiddleware.NewMiddleware({})" in script.others["plain"]


@pytest.mark.parametrize(
    ("code", "words", "place"),
    [
        ("var x = 1;\nvar y = ;", "SyntaxError: unexpected token in expression: ';'", "middleware.js:2:9"),
        ("\n\nnope();", "ReferenceError: nope is not defined", "middleware.js:3:1"),
        ("function f() {\n  throw new TypeError('deep');\n}\nf();", "TypeError: deep", "middleware.js:2:"),
    ],
)
def test_code_that_does_not_load_says_where(javascript, code, words, place):
    with pytest.raises(failures.ScriptError) as caught:
        javascript(code=code)
    assert words in str(caught.value)
    assert place in caught.value.place


def test_an_error_has_its_words_its_place_and_a_traceback(javascript):
    words = "TypeError: cannot read property 'x' of undefined"
    error = fails(javascript("function f() {\n  undefined.x;\n}\nf();"), words)
    assert error.place.endswith("/middleware.js:4:3")
    assert error.trace.splitlines() == [
        "TypeError: cannot read property 'x' of undefined",
        "    at f (middleware.js:4:3)",
        "    at <anonymous> (middleware.js:6:1)",
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("throw 'text';", "text"),
        ("throw { code: 'gone' };", 'an error that is an object: {"code":"gone"}'),
        ("throw undefined;", "undefined"),
        ("throw { toString: function () { throw 1; } };", "an error whose text cannot be had"),
        ("throw new (class Mine extends Error { get name() { return 'Mine'; } })('x');", "Mine: x"),
        ("throw Symbol('s');", "an error whose text cannot be had"),
        ("throw null;", "null"),
        ("throw '';", "an error without words"),
        ("throw new Error('\\ud800' + 'x'.repeat(5000));", "Error: \ufffdxxx"),
    ],
)
def test_errors_of_all_kinds(javascript, body, words):
    assert str(fails(javascript(body), words)).startswith(words)


# ---- Asynchronous functions


def test_an_async_hook_is_waited_for(javascript):
    code = """
      const Hook = new TykJS.TykMiddleware.NewMiddleware({});
      Hook.NewProcessRequest(async (request) => {
        for (let i = 0; i < 3; i++) await null;
        request.SetHeaders.X = await Promise.all([1, Promise.resolve(2)]).then((all) => all.join());
        if (request.Headers.Bad) throw new Error("late");
        return Hook.ReturnData(request, {});
      });
    """
    bundle = javascript(code=code)
    assert reported(bundle) == "1,2"
    assert ":6:" in fails(bundle, "Error: late", request={"headers": {"Bad": "1"}}).place


def test_a_promise_that_nothing_settles_is_an_error(javascript):
    fails(javascript("return new Promise(function () {});"), "it returned a promise that nothing will settle")


def test_jobs_of_one_call_are_not_left_to_the_next(javascript):
    bundle = javascript("""
      if (request.Headers.Bad) { Promise.resolve().then(function () { leaked = 1; }); throw new Error("x"); }
      request.SetHeaders.X = typeof leaked;
    """)
    fails(bundle, "Error: x", request={"headers": {"Bad": "1"}})
    assert reported(bundle) == "number"  # it ran within its own call


# ---- What plugins call


def test_log_and_console(javascript, said):
    javascript("""
      log("one"); log(2); rawlog("three"); log({ a: 1 }); log();
      console.log("a", 1, { b: [2] }, null); console.info("i"); console.warn("w"); console.error(new Error("e"));
      console.debug("d");
    """).run()
    assert said == [
        ("info", "one"),
        ("info", "2"),
        ("info", "three"),
        ("info", '{"a":1}'),
        ("info", "undefined"),
        ("info", 'a 1 {"b":[2]} null'),
        ("info", "i"),
        ("warning", "w"),
        ("error", "Error: e"),
        ("debug", "d"),
    ]


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("b64enc('grüße')", "Z3LDvMOfZQ=="),
        ("b64dec('Z3LDvMOfZQ==')", "grüße"),
        ("b64dec('Z3LDvMOfZQ')", "grüße"),
        ("rawb64enc('grüße')", "Z3LDvMOfZQ"),
        ("rawb64dec('Z3LDvMOfZQ')", "grüße"),
        ("b64dec('/w==')", "\ufffd"),
        ("typeof b64dec('***')", "undefined"),
        ("typeof rawb64dec('Z3LDvMOfZQ==')", "undefined"),
        ("atob(btoa('\\xff')).charCodeAt(0)", "255"),
    ],
)
def test_base64(javascript, said, expression, result):
    assert reported(javascript(f"request.SetHeaders.X = {expression};")) == result


def test_storage(javascript, store):
    bundle = javascript("""
      var said = [TykStorageGet("k"), TykStorageTTL("k"), TykStorageSet("k", "v", 0), TykStorageGet("k"), TykStorageTTL("k")];
      said.push(TykStorageSetNX("k", "w", 9), TykStorageSetNX("n", "w", 9), TykStorageTTL("n") > 0, TykStorageDel("k"));
      said.push(TykStorageGet("k"), TykStorageDel("k"), TykStorageIncr("c", 60), TykStorageIncr("c", 1), TykStorageGet("c"));
      request.SetHeaders.X = said.map(String).join(" ");
    """)
    assert reported(bundle) == "null -2 undefined v -1 false true true undefined null undefined 1 2 2"
    assert store.get("jsvm-store:c") == b"2"
    assert 50 < store.ttl("jsvm-store:c") <= 60


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("TykStorageGet('x'.repeat(257));", "Error: a key has 256 bytes at the most"),
        ("TykStorageSet('k', 'x'.repeat(65537), 0);", "Error: a value has 65536 bytes at the most, not 65537"),
        (
            "TykStorageSet('k', 'text', 0); TykStorageIncr('k', 0);",
            "Error: a key holds something else than a whole number",
        ),
        ("TykTriggerEvent('a\\0b', '');", "Error: the event's name must not contain a NUL"),
    ],
)
def test_what_the_host_refuses_is_an_error_with_its_line(javascript, store, body, words):
    assert "/middleware.js:4:" in fails(javascript("\n" + body), words).place


class Away(MemoryStore):
    def get(self, key):
        raise StoreError("the store is away")


def test_what_a_store_fails_to_do_can_be_caught_and_is_a_failure_of_the_store_otherwise(javascript, store):
    runtime.use_store(Away())
    bundle = javascript("""
      if (request.Headers.Caught) {
        try { TykStorageGet("k"); } catch (e) { request.SetHeaders.X = e.message; }
      } else TykStorageGet("k");
    """)
    assert isinstance(fails(bundle, "the store is away"), StoreError)
    assert reported(bundle, request={"headers": {"Caught": "1"}}) == "the store is away"
    other = fails(javascript("try { TykStorageGet('k'); } catch (e) {} throw new Error('mine');"), "Error: mine")
    assert not isinstance(other, StoreError)


def test_numbers_become_the_texts_that_javascript_makes_of_them(javascript, said):
    numbers = (
        "0, -0, 1, -1.5, 1e-6, 1e-7, 1.25e-7, 0.1 + 0.2, 5e-324, 1e20, 123456789012345680000, 1e21, -1.5e300, 2 ** 53"
    )
    javascript(f"[{numbers}, 1 / 0, -1 / 0, 0 / 0].forEach(function (n) {{ log(n); log('' + n); }});").run()
    assert [words for _, words in said[::2]] == [words for _, words in said[1::2]]
    assert len(said) == 34


def test_a_time_to_live_may_be_a_text(javascript, store):
    bundle = javascript("""
      TykStorageSet("a", 1, "60"); TykStorageSet("b", 1, "x"); TykStorageSetNX("c", 1, " 60 ");
      TykStorageIncr("d", "60");
      request.SetHeaders.X = ["a", "b", "c", "d"].map(TykStorageTTL).join();
    """)
    assert reported(bundle) == "60,-1,60,60"


def test_no_exception_of_the_host_ends_it(javascript, monkeypatch):
    for raised in (SystemExit("out"), KeyboardInterrupt(), MemoryError(), RecursionError("deep")):

        def away(words, level, raised=raised):
            raise raised

        monkeypatch.setattr(_bridge, "log", away)
        fails(javascript("log('x');"), str(raised) or type(raised).__name__)


def test_underscore_is_there_for_those_who_use_it(javascript, monkeypatch):
    bundle = javascript("request.SetHeaders.X = _.map([1, 2], function (n) { return n * 2; }).join() + _.VERSION;")
    assert reported(bundle) == "2,41.13.8"
    assert reported(javascript("var _ = 7; request.SetHeaders.X = _;")) == "7"
    assert reported(javascript(code="_ = 8; var Hook = new TykJS.TykMiddleware.NewMiddleware({});"
                               "Hook.NewProcessRequest(function (r) { r.SetHeaders.X = _; return Hook.ReturnData(r); });")) == "8"  # fmt: skip
    monkeypatch.setattr("tykbridge.drivers.javascript.host.UNDERSCORE", "none.js")
    fails(javascript("_.map([]);"), "Error: _ is not there: tykbridge was built where underscore could not be had")


# ---- Globals, and what is done to them


def test_globals_stay_with_their_state_or_each_call_has_fresh_ones(javascript):
    body = "n = (typeof n === 'undefined' ? 0 : n) + 1; request.SetHeaders.X = n;"
    shared, fresh = javascript(body), None
    assert [reported(shared) for _ in range(3)] == ["1", "2", "3"]
    fresh = javascript(body, fresh=True)
    assert [reported(fresh) for _ in range(3)] == ["1", "1", "1"]


@pytest.mark.parametrize(
    "body",
    [
        "TykJS = null; JSON = null; Object = null; Array = null; Error = null; Promise = null; log = null;",
        "Array.prototype.push = Array.prototype.join = String.prototype.valueOf = null;",
        "Object.prototype.SetHeaders = Object.prototype.SessionMeta = Object.prototype.IgnoreBody = 1;",
        "Object.defineProperty(Object.prototype, 'URL', { set: function () { throw 1; }, get: function () { return 2; } });",
        "Array.prototype[0] = 'leak'; Object.prototype[0] = 'leak';",
        "JSON.stringify = JSON.parse = Object.keys = function () { return 'mine'; };",
        "Object.freeze(Object.prototype); Object.freeze(Array.prototype);",
        "Error.prepareStackTrace = function () { return 7; }; Error.stackTraceLimit = 0;",
        "globalThis.__proto__ = null;",
        "Object.setPrototypeOf(session, null); Object.setPrototypeOf(request, null);",
    ],
)
def test_what_a_hook_does_to_the_language_does_not_reach_the_driver(javascript, body):
    bundle = javascript(f"""
      if (request.Headers.Bad) {{ {body} }} request.SetHeaders.X = "good";
      if (request.Headers.Fail) missing();
    """)
    bundle.run(request={"headers": {"Bad": "1"}})
    assert reported(bundle) == "good"
    fails(bundle, "missing is not defined", request={"headers": {"Fail": "1"}})


def test_code_that_gave_the_language_other_ways_loads(javascript):
    """Old libraries do: a toJSON of arrays, an iterator. So do setters of the names that the driver tells of."""
    bundle = javascript(
        code="""
      Object.defineProperty(Object.prototype, "Hook", { set: function () { throw 1; }, configurable: true });
      Object.prototype.toJSON = Array.prototype.toJSON = function () { return 1; };
      Array.prototype[Symbol.iterator] = Array.prototype.filter = null;
      Object.prototype.kind = "event"; Object.prototype.stack = "evil";
      JSON.parse = JSON.stringify = Object.keys = WeakMap.prototype.get = WeakMap.prototype.has = String = eval = null;
      var Hook = new TykJS.TykMiddleware.NewMiddleware({});
      Hook.NewProcessRequest(function (request) {
        request.SetHeaders.X = "good";
        return Hook.ReturnData(request, {});
      });
    """
    )
    assert [marker.name for marker in bundle.script.markers] == ["Hook"]
    assert reported(bundle) == "good"


@pytest.mark.parametrize(
    "body",
    [
        "delete request.Body; request.Body = 'new';",
        "Object.defineProperty(request, 'Body', { value: 'new' });",
        "Object.defineProperty(request, 'Body', { get: function () { return 'new'; } });",
        "request.Body; request.Body = 'new';",
        "Object.assign(request, { Body: 'new' });",
    ],
)
def test_a_body_counts_however_it_was_put_there(javascript, body):
    assert javascript(body).run(request={"raw_body": b"old"}).request.raw_body == b"new"


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ("new ArrayBuffer(4, { maxByteLength: 8 }); var u = new Uint8Array(b).fill(65); b.resize(2);", b"AA"),
        ("new ArrayBuffer(4, { maxByteLength: 8 }); var u = new Uint8Array(b, 2).fill(65); b.resize(6);", b"AA\0\0"),
        ("new ArrayBuffer(4); var u = new Uint8Array(b, 1, 2).fill(65);", b"AA"),
    ],
)
def test_a_body_of_a_resized_buffer_is_as_long_as_it_is(javascript, made, wanted):
    bundle = javascript(f"var b = {made} request.Body = u;")
    assert bundle.run(request={"raw_body": b"old"}).request.raw_body == wanted


def test_a_buffer_that_goes_while_it_is_read_is_refused(javascript):
    bundle = javascript("""
      var b = new ArrayBuffer(1 << 20), u = new Uint8Array(b);
      Object.defineProperty(u, "byteLength", { get: function () { b.transfer(); return 1 << 20; } });
      request.Body = u;
    """)
    fails(bundle, "request.Body must be a string, an ArrayBuffer or a typed array, not an object")


def test_a_hook_that_caught_a_store_s_error_does_not_keep_its_message(javascript):
    bundle = javascript("try { TykStorageGet('k'); } catch (e) { request.SetHeaders.X = 'caught'; }")
    before = runtime.use_store(Away())
    try:
        message = bundle.run()
        assert message.request.set_headers["X"] == "caught"
        assert sys.getrefcount(message) == 2
    finally:
        runtime.use_store(before)


# ---- Limits of time


def test_a_hook_keeps_its_own_time_limit_and_that_of_the_settings(javascript, monkeypatch):
    bundle = javascript("while (true) {}")
    error = fails(bundle, "it ran longer than 20 ms", timeout_ms=20)
    assert isinstance(error, DeadlineError)
    assert ":2:" in error.place
    monkeypatch.setattr(limits, "seconds", limits.DEFAULT)
    limits.use_timeout(0.03)
    fails(bundle, "it ran longer than 30 ms")
    limits.use_timeout(0)
    assert limits.seconds == 5


# ---- Threads


def test_threads_each_get_their_answer(javascript):
    bundle = javascript("""
      var sum = 0;
      for (var i = 1; i <= 20000; i++) sum += i;
      request.SetHeaders.X = request.Headers.N + TykStorageGet("none") + sum;
    """)
    wrong, threads = [], []

    def work(number):
        names = [f"{number}.{i}/" for i in range(100)]
        got = [reported(bundle, request={"headers": {"N": name}}) for name in names]
        wrong.extend(set(got) ^ {f"{name}null200010000" for name in names})

    for number in range(8):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_other_threads_run_while_a_hook_does(javascript):
    bundle = javascript("var end = Date.now() + 30000; while (!TykStorageGet('go') && Date.now() < end) {}")
    before = runtime.use_store(MemoryStore())
    try:
        thread = threading.Thread(target=bundle.run, kwargs={"timeout_ms": 30_000})
        thread.start()
        runtime.data_store().set("jsvm-store:go", b"1")
        thread.join(20)
        assert not thread.is_alive()
    finally:
        runtime.use_store(before)


def test_a_loop_without_the_host_lets_go_of_python_s_lock(javascript):
    bundle = javascript("while (true) {}")
    counted = [0]
    done = threading.Event()

    def count():
        while not done.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = counted[0]
    fails(bundle, "it ran longer than", timeout_ms=300)
    moved = counted[0] - before
    done.set()
    thread.join()
    assert moved > 1000


@pytest.mark.parametrize("kib", [256, 512, 8192])
def test_a_hook_keeps_to_the_stack_of_its_thread(javascript, kib):
    bundle = javascript("""
      function f() { return 1 + f(); }
      try { f(); } catch (e) { request.SetHeaders.X = e.name; }
    """)
    found = []
    before = threading.stack_size(kib << 10)
    try:
        thread = threading.Thread(target=lambda: found.append(reported(bundle)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert found == ["RangeError"]


def test_a_hook_whose_host_calls_the_bundle_again_does_not_wait_for_itself(javascript, monkeypatch):
    bundle = javascript("var n = request.Headers.N[0]; if (n != '3') log(n); request.SetHeaders.X = n;")
    answers = []

    def again(words, level):
        answers.append(reported(bundle, request={"headers": {"N": str(int(words) + 1)}}))

    monkeypatch.setattr(_bridge, "log", again)
    assert reported(bundle, request={"headers": {"N": "0"}}) == "0"
    assert answers == ["3", "2", "1"]


# ---- Through APIs


def api(**keys):
    return {"api_id": "a", "use_keyless": True, "active": True, "proxy": {"listen_path": "/a/"}, **keys}


ADD = """var {0} = new TykJS.TykMiddleware.NewMiddleware({{}});
{0}.NewProcessRequest(function(request, session, config) {{
  request.SetHeaders["{0}"] = "javascript";
  return {0}.ReturnData(request, session.meta_data);
}});
"""
PYTHON = """from tyk.decorators import *

@Hook
def {0}(request, session, spec):
    request.add_header("{0}", "python")
    return request, session
"""


@pytest.fixture
def bridge(tmp_path):
    return Bridge(Services(log=lambda words, level: None), tmp_path / "middleware")


def through(bridge):
    outcome = bridge.request(Request("GET", "/a/x"), "a")
    assert isinstance(outcome, Continue), outcome
    return dict(outcome.request.headers)


def put_bundle(tmp_path, files, **middleware):
    manifest = {"file_list": [name for name in files], "custom_middleware": middleware}
    folder = tmp_path / "middleware/bundles" / hashlib.md5(b"mixed").hexdigest()
    trees.write(folder, {**files, "manifest.json": json.dumps(manifest)})


@pytest.mark.parametrize("name", ["otto", "javascript"])
def test_a_bundle_may_mix_drivers(bridge, tmp_path, name):
    put_bundle(
        tmp_path,
        {"hooks.py": PYTHON.format("P"), "one.js": ADD.format("J"), "two.js": ADD.format("K")},
        driver="python",
        pre=[{"name": "P"}, {"name": "J", "driver": name}],
        post=[{"name": "K", "path": "two.js", "driver": name}],
    )
    assert bridge.load(json.dumps(api(custom_middleware_bundle="mixed"))).not_loaded == ()
    assert through(bridge) == {"P": "python", "J": "javascript", "K": "javascript"}


def test_code_in_a_definition(bridge):
    code = base64.b64encode(ADD.format("J").encode()).decode()
    document = api(custom_middleware={"driver": "otto", "pre": [{"name": "J", "code": code}]})
    assert bridge.load(json.dumps(document)).not_loaded == ()
    assert through(bridge) == {"J": "javascript"}


@pytest.mark.parametrize(
    ("code", "words", "line"),
    [
        (ADD.format("Other"), 'has no hook "J" (hooks: Other)', ""),
        ("\n\nvar J = (", "middleware.js:3:", "middleware.js:3:10"),
        ("function J(request) {}", "it is a function; write var J = new TykJS.TykMiddleware.NewMiddleware({})", ""),
        ("\nthrow new Error('at once')", "middleware.js:2:11: Error: at once", "middleware.js:2:11"),
        ("while (true) {}", "middleware.js:1:1: it ran longer than 50 ms", "middleware.js:1:1"),
    ],
)
def test_what_does_not_load_says_why_and_where(bridge, tmp_path, monkeypatch, code, words, line):
    monkeypatch.setattr("tykbridge.drivers.javascript.state._LOAD", 0.05)
    trees.write(tmp_path, {"apis/middleware.js": code})
    section = {"driver": "javascript", "pre": [{"name": "J", "path": "middleware.js"}]}
    (tmp_path / "apis/a.json").write_text(json.dumps(api(custom_middleware=section)))
    (item,) = bridge.load(tmp_path / "apis").not_loaded
    assert words in item.reason
    assert item.problems[0].place.endswith(line)


def test_a_hook_that_takes_too_long_is_a_504(bridge, tmp_path, said):
    code = ADD.format("J").replace("return", "while (true) {} return")
    trees.write(tmp_path, {"apis/j.js": code})
    section = {"driver": "javascript", "pre": [{"name": "J", "path": "j.js", "timeout_ms": 30}]}
    (tmp_path / "apis/a.json").write_text(json.dumps(api(custom_middleware=section)))
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    outcome = bridge.request(Request("GET", "/a/x"), "a")
    assert isinstance(outcome, Respond)
    assert outcome.response.status == 504
    assert any("it ran longer than 30 ms (j.js:" in words for _, words in said)


def test_authentication_with_a_store_that_is_away_is_a_503(bridge, tmp_path, store):
    runtime.use_store(Away())
    code = ADD.format("J").replace("request.SetHeaders", "TykStorageGet('k'); request.SetHeaders")
    trees.write(tmp_path, {"apis/j.js": code})
    section = {"driver": "javascript", "auth_check": {"name": "J", "path": "j.js"}}
    document = api(custom_middleware=section, use_keyless=False, enable_coprocess_auth=True)
    (tmp_path / "apis/a.json").write_text(json.dumps(document))
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    outcome = bridge.request(Request("GET", "/a/x", (("Authorization", "k"),)), "a")
    assert outcome.response.status == 503


def test_authentication_is_what_return_auth_data_says_alone(bridge, tmp_path):
    """As upstream's documentation shows it; who leaves through ReturnData is nobody."""
    code = """var J = new TykJS.TykMiddleware.NewMiddleware({});
    J.NewProcessRequest(function(request, session) {
      var token = request.Headers["Authorization"];
      if (token == "valid") {
        return J.ReturnAuthData(request, { "allowance": 100, "rate": 100, "per": 1, "quota_max": -1, "access_rights": {} });
      }
      return J.ReturnData(request, {});
    });"""
    trees.write(tmp_path, {"apis/j.js": code})
    section = {"driver": "javascript", "auth_check": {"name": "J", "path": "j.js"}}
    document = api(custom_middleware=section, use_keyless=False, custom_plugin_auth_enabled=True)
    (tmp_path / "apis/a.json").write_text(json.dumps(document))
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    good = bridge.request(Request("GET", "/a/x", (("Authorization", "valid"),)), "a")
    assert isinstance(good, Continue)
    session = _bridge.message("SessionState", good.session)
    assert (session.rate, session.metadata["token"]) == (100, "valid")
    for headers in ((("Authorization", "other"),), ()):
        assert bridge.request(Request("GET", "/a/x", headers), "a").response.status == 403


def test_a_reload_takes_new_code_and_keeps_the_same(bridge, tmp_path):
    counting = (
        ADD.format("J").replace('= "javascript"', "= n").replace("request.Set", "n++; request.Set") + "var n = 0;"
    )
    put_bundle(tmp_path, {"one.js": counting}, driver="javascript", pre=[{"name": "J"}])
    document = json.dumps(api(custom_middleware_bundle="mixed"))
    bridge.load(document)
    assert [through(bridge)["J"] for _ in range(2)] == ["1", "2"]
    bridge.load(document)
    assert through(bridge)["J"] == "3"
    put_bundle(tmp_path, {"one.js": counting + "// new"}, driver="javascript", pre=[{"name": "J"}])
    bridge.load(document)
    assert through(bridge)["J"] == "1"


@pytest.mark.parametrize("form", ["classic", "oas"])
def test_fresh_contexts_are_chosen_by_the_definition_alone(bridge, tmp_path, form):
    counting = (
        ADD.format("J").replace('= "javascript"', "= n").replace("request.Set", "n++; request.Set") + "var n = 0;"
    )
    trees.write(tmp_path, {"apis/j.js": counting})
    for fresh, expected in ((False, ["1", "2"]), (True, ["1", "1"])):
        if form == "classic":
            section = {"driver": "otto", "javascript": {"fresh_context": fresh}, "pre": [{"name": "J", "path": "j.js"}]}
            document = api(custom_middleware=section)
        else:
            plugins = {
                "pluginConfig": {"driver": "otto", "javascript": {"freshContext": fresh}},
                "prePlugins": [{"enabled": True, "functionName": "J", "path": "j.js"}],
            }
            tyk = {
                "info": {"id": "a", "name": "a", "state": {"active": True}},
                "upstream": {"url": "http://u.test"},
                "server": {"listenPath": {"value": "/a/"}},
                "middleware": {"global": plugins},
            }
            info = {"title": "a", "version": "1"}
            document = {"openapi": "3.0.3", "info": info, "paths": {}, "x-tyk-api-gateway": tyk}
        (tmp_path / "apis/a.json").write_text(json.dumps(document))
        assert bridge.load(tmp_path / "apis").not_loaded == ()
        assert [through(bridge)["J"] for _ in range(2)] == expected
    section = {"driver": "javascript", "javascript": {"fresh_context": True}, "pre": [{"name": "J"}]}
    put_bundle(tmp_path, {"one.js": counting}, **section)
    (item,) = bridge.load(json.dumps(api(custom_middleware_bundle="mixed"))).not_loaded
    assert "$.custom_middleware.javascript.fresh_context: expected it in <text> alone, found true" in item.reason


def test_response_hooks_get_the_response(bridge, tmp_path):
    code = """var R = new TykJS.TykMiddleware.NewMiddleware({});
    R.NewProcessResponse(function(response, request, session, config) {
      response.SetHeaders["X-Cookies"] = response.Headers["Set-Cookie"].length;
      response.SetHeaders["Set-Cookie"] = response.Headers["Set-Cookie"].concat(["c=3"]);
      response.Body += "!";
      return R.ReturnResponseData(response, {});
    });"""
    trees.write(tmp_path, {"apis/j.js": code})
    section = {"driver": "javascript", "response": [{"name": "R", "path": "j.js"}]}
    (tmp_path / "apis/a.json").write_text(json.dumps(api(custom_middleware=section)))
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    answer = bridge.response(
        Request("GET", "/a/x"), Response(200, (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")), b"body"), b"", "a"
    ).response
    assert answer.body == b"body!"
    assert answer.headers[:3] == (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Set-Cookie", "c=3"))
    assert ("X-Cookies", "2") in answer.headers


def test_a_missing_engine_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    drivers.capabilities.cache_clear()
    try:
        words = "tykbridge was built where the source of QuickJS could not be had: build it again with access to PyPI"
        assert drivers.engines()[Driver.JAVASCRIPT].missing() == words
        section = {"pre": [{"name": "J", "path": "j.js"}], "driver": "javascript"}
        services = Services(log=lambda words, level: None)
        (item,) = Bridge(services).load(json.dumps(api(custom_middleware=section))).not_loaded
        assert item.reason.startswith(f"not loaded: needs the javascript driver ({words})")
        trees.write(tmp_path, {"middleware.js": ADD.format("J")})
        with pytest.raises(LoadError, match="it needs the javascript driver: tykbridge was built where"):
            runtime.load_bundle(str(tmp_path), "js-missing")
    finally:
        drivers.capabilities.cache_clear()


# ---- Handlers of events

HANDLER = """var On = new TykJS.TykEventHandlers.NewEventHandler({});
On.NewHandler(function(event, context) {
  log(event.Type + event.Meta.n + context.APIID);
});
"""


def test_an_event_reaches_a_handler(tmp_path, said):
    trees.write(tmp_path, {"middleware.js": HANDLER})
    runtime.load_bundle(str(tmp_path), "js-events")
    try:
        event = {"message": {"Type": "T", "Meta": {"n": 1}}, "handler_name": "On", "spec": {"APIID": "api"}}
        runtime.dispatch_event(json.dumps(event))
        assert said == [("info", "T1api")]
        with pytest.raises(HookError, match=r"TypeError: cannot read property 'n' of undefined .*\(middleware.js:3:"):
            runtime.dispatch_event(json.dumps({**event, "message": {}}))
        with pytest.raises(NotFoundError, match=r'"On" of bundle "js-events" is no hook: .* the form of a handler'):
            runtime.registry.check_hook("js-events", "On")
    finally:
        runtime.registry.unload("js-events")


def test_a_definition_names_a_handler_of_events(tmp_path, said):
    code = ADD.format("J").replace("return", "TykTriggerEvent('Sold', 'a boat'); return")
    code += HANDLER.replace("log(event.Type + event.Meta.n", "log(event.Meta.Message")
    trees.write(tmp_path, {"apis/j.js": code})
    handler = {"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "On"}}
    section = {"driver": "otto", "pre": [{"name": "J", "path": "j.js"}]}
    document = api(custom_middleware=section, event_handlers={"events": {"Sold": [handler]}})
    (tmp_path / "apis/a.json").write_text(json.dumps(document))
    queue = EventQueue()
    bridge = Bridge(Services(queue=queue, log=lambda words, level: None), tmp_path / "middleware")
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    through(bridge)
    assert queue.close(10)
    assert ("info", "a boata") in said
