"""Hooks in Lua: what they see, what they change, and how they fail."""

import base64
import hashlib
import json
import subprocess
import sys
import threading

import pytest

from tests import trees
from tests.scripts import bundle_of, fails, reported
from tykbridge import Bridge, _bridge, drivers, failures, runtime
from tykbridge.definition import Driver
from tykbridge.errors import HookError, LoadError, NotFoundError
from tykbridge.events.queue import EventQueue
from tykbridge.outcome import Continue, Request, Respond, Response
from tykbridge.services import Services
from tykbridge.stores import StoreError

pytestmark = pytest.mark.once


@pytest.fixture
def lua(tmp_path):
    """Makes bundles: see `scripts.bundle_of`."""
    made = []

    def make(body="", **files):
        made.append(bundle_of(tmp_path / "b", body, **files))
        return made[-1]

    yield make
    for bundle in made:
        bundle.script.close()


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: lines.append((level, words)))
    return lines


# ---- The message as tables


def test_fields_read_and_write_like_tables(lua):
    bundle = lua("""
      request.set_headers["A"] = request.headers.Host .. "!" .. tostring(request.headers.None)
      request.return_overrides.response_code = request.return_overrides.response_code + 404
      request.return_overrides.headers.Why = "because"
      request.return_overrides.override_error = true
      assert(#request.delete_headers == 1 and request.delete_headers[1] == "Old")
      table.insert(request.delete_headers, "X")
      request.url = request.url .. "?q"
      assert(request.nothing == nil and session.rate == 1.5 and session.is_inactive == false)
      session.quota_max, session.rate = 7.0, 2
      session.monitor.trigger_limits = {0.5, 1}
    """)
    message = bundle.run(
        request={"headers": {"Host": "h"}, "url": "/a", "delete_headers": ["Old"]}, session={"rate": 1.5}
    )
    request, session = message.request, message.session
    assert dict(request.set_headers) == {"A": "h!nil"}
    overrides = request.return_overrides
    assert (overrides.response_code, dict(overrides.headers), overrides.override_error) == (
        404,
        {"Why": "because"},
        True,
    )
    assert (list(request.delete_headers), request.url) == (["Old", "X"], "/a?q")
    assert (session.quota_max, session.rate, list(session.monitor.trigger_limits)) == (7, 2.0, [0.5, 1.0])


def test_what_is_not_touched_is_not_written(lua):
    message = _bridge.message("Object")
    message.request.headers["A"] = "1"
    before = message.SerializeToString()
    body = "local a = request.headers.A, request.body, session.metadata.x, #session.tags, request.return_overrides"
    lua(body).marker("Hook").function(message)
    assert message.SerializeToString() == before


def test_pairs_next_and_length_see_everything(lua):
    bundle = lua("""
      local names = {}
      request.headers.C, request.headers.A = "3", nil
      for name, value in pairs(request.headers) do names[#names + 1] = name .. value end
      assert(next(request.headers) ~= nil and next(request.set_headers) == nil)
      table.sort(names)
      local fields = {}
      for name in pairs(request) do fields[name] = true end
      assert(fields.url and fields.raw_body and fields.return_overrides and not fields.nothing)
      for i, value in ipairs(session.tags) do names[#names + 1] = i .. value end
      request.set_headers.X = table.concat(names, " ")
    """)
    message = bundle.run(request={"headers": {"A": "1", "B": "2"}}, session={"tags": ["t", "u"]})
    assert message.request.set_headers["X"] == "B2 C3 1t 2u"
    assert dict(message.request.headers) == {"B": "2", "C": "3"}


def test_maps_and_messages_may_be_replaced_by_tables(lua):
    message = lua("""
      request.headers = { New = "1" }
      request.return_overrides = { response_code = 201, headers = { H = "v" } }
      local urls = { { url = "/", methods = {"GET"} } }
      session.access_rights = { api = { api_id = "api", versions = { "v1" }, allowed_urls = urls } }
      session.access_rights.other = { api_id = "other" }
      session.tags = { "a", "b" }
      session.basic_auth_data.password = "p"
    """).run(request={"headers": {"Old": "0"}}, session={"tags": ["x"]})
    assert dict(message.request.headers) == {"New": "1"}
    assert message.request.return_overrides.response_code == 201
    rights = message.session.access_rights
    assert sorted(rights) == ["api", "other"]
    assert list(rights["api"].versions) == ["v1"]
    assert (rights["api"].allowed_urls[0].url, list(rights["api"].allowed_urls[0].methods)) == ("/", ["GET"])
    assert (list(message.session.tags), message.session.basic_auth_data.password) == (["a", "b"], "p")


def test_entries_are_given_back_in_the_order_in_which_they_were_written(lua):
    names = [f"N{i * 7 % 40}" for i in range(40)]
    writes = " ".join(f"request.set_headers.{name} = '1'" for name in names)
    assert list(lua(writes).run().request.set_headers) == names
    given = "{" + ", ".join(f"{name} = '1'" for name in names) + "}"
    assert list(lua(f"request.set_headers = {given}").run().request.set_headers) == sorted(names)


def test_fields_set_to_nil_are_cleared(lua):
    message = lua("request.headers, request.url, session.tags, request.params.a, request.body = nil").run(
        request={"headers": {"A": "1"}, "url": "/a", "params": {"a": "1", "b": "2"}, "body": "text"},
        session={"tags": ["x"]},
    )
    assert (dict(message.request.headers), message.request.url, list(message.session.tags)) == ({}, "", [])
    assert (dict(message.request.params), message.request.body) == ({"b": "2"}, "")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("request.url = 5", "request.url must be a string, not a number"),
        ("request.url = {}", "request.url must be a string, a number or a boolean, not a table"),
        ('request.set_headers["A"] = 5', 'request.set_headers["A"] must be a string, not a number'),
        ("request.set_headers = 'x'", "request.set_headers must be a table of its own, not a string"),
        ("request.set_headers[1] = 'x'", "a key of request.set_headers must be a string, not a number"),
        ("request.delete_headers = {1}", "request.delete_headers: it cannot hold a number"),
        ("session.tags = {[1] = 'a', [3] = 'c'}", "session.tags: it cannot hold cjson.null, or nil between others"),
        ("session.tags = {{'a'}}", "session.tags: it cannot hold a table"),
        ("session.monitor.trigger_limits = {0/0}", "Cannot serialise number: must not be NaN or Infinity"),
        ("session.quota_max = 2^63", "session.quota_max: Value out of range"),
        ("local t = {} t.t = t session.metadata = t", 'session.metadata["t"] must be a string, not a table'),
        ("session.access_rights.a = {versions = 'abc'}", '"versions" must be a list, not a string'),
        ("session.access_rights.a = {versions = cjson.null}", '"versions" must be a list, not cjson.null'),
        ("session.access_rights.a = {api_name = true}", 'session.access_rights: "api_name" cannot be a boolean'),
        ("session.access_rights.a = {allowed_urls = {x = {}}}", '"allowed_urls" must be a list, not a table'),
        ("session.access_rights.a = {allowed_urls = {'x'}}", "session.access_rights: a message must be a table"),
        ("local t = {} t.allowed_urls = {t} session.access_rights = {a = t}", "Cannot serialise, excessive depth"),
        ("request.delete_headers = {x = '1'}", "request.delete_headers: it must be a list"),
        ("request.return_overrides.response_code = 'x'", "request.return_overrides.response_code must be a number"),
        ("request.return_overrides.response_code = 1.5", "must be a whole number, not 1.5"),
        (
            "request.return_overrides.response_code = 1 << 40",
            "request.return_overrides.response_code: Value out of range",
        ),
        ("session.quota_max = 0/0", "session.quota_max must be a whole number, not nan"),
        ("session.quota_max = 1e300", "session.quota_max: Value out of range"),
        ("session.is_inactive = 1", "session.is_inactive must be true or false, not a number"),
        ("session.access_rights.a = {nothing = 1}", 'session.access_rights: there is no field "nothing"'),
        ("session.access_rights.a = 'x'", "session.access_rights: a message must be a table"),
        ("request.headrs = {}", "request has no field headrs"),
        ("rawset(request, 'junk', 1)", "request has no field junk"),
        ("return {junk = 1}, session", "request has no field junk"),
        ('request.url = "\\xff"', "request.url must be UTF-8"),
        ('request.set_headers.A = "\\xff"', 'request.set_headers["A"] must be UTF-8'),
        ('request.set_headers["\\xff"] = "a"', "must be UTF-8"),
        ('request.delete_headers = {"\\xff"}', "request.delete_headers must hold UTF-8 texts"),
    ],
)
def test_a_value_of_another_type_is_an_error_with_the_field_s_name(lua, body, words):
    fails(lua(f"do {body} end"), words)


def test_raw_body_takes_and_gives_any_bytes(lua):
    message = lua("request.raw_body = request.raw_body .. '\\0\\xff'").run(request={"raw_body": b"\xfe"})
    assert message.request.raw_body == b"\xfe\x00\xff"


def test_bytes_that_are_no_text_are_an_error_where_they_are_read(lua):
    exchange = _bridge.Exchange(b"\x1a\x08\x0a\x06\x0a\x01A\x12\x01\xff")
    function = lua("local a = request.headers.A").marker("Hook").function
    with pytest.raises(failures.ScriptError, match=r"request\.headers came with bytes that are not UTF-8"):
        function(exchange.object)
    exchange.close()


@pytest.mark.parametrize("value", ['"/new"', "nil"])
def test_bytes_that_are_no_text_may_be_written_over(lua, value):
    """As in Python: what was there need not be read for that."""
    exchange = _bridge.Exchange(b"\x1a\x03\x2a\x01\xff")
    lua(f"request.url = {value}").marker("Hook").function(exchange.object)
    assert exchange.object.request.url == ("" if value == "nil" else "/new")
    exchange.close()


@pytest.mark.parametrize("key", ["1", "true", "{}", "print"])
def test_a_key_that_no_map_has_may_be_set_to_nil(lua, key):
    message = lua(f"request.headers[{key}] = nil request.headers.None = nil").run(request={"headers": {"A": "1"}})
    assert dict(message.request.headers) == {"A": "1"}


def test_a_message_is_gone_when_its_hook_is_over(lua):
    bundle = lua("if kept then return kept, session end kept = request kept_map = request.headers")
    bundle.run()
    fails(bundle, "this is part of a message whose hook is over")
    bundle = lua("if kept then local a = kept.A end kept = request.headers")
    bundle.run()
    fails(bundle, "this is part of a message whose hook is over")


@pytest.mark.parametrize(("first", "second"), [("body", "raw_body"), ("raw_body", "body")])
def test_the_body_that_was_written_last_wins(bridge, tmp_path, first, second):
    code = f"""function L(request, session, spec)
      assert(request.body == "old" and request.raw_body == "old")
      request.{second}, request.{first} = "early", "first"
      request.{second} = "last"
      assert(request.{first} == "first" and request.{second} == "last")
      return request, session
    end"""
    trees.write(tmp_path, {"apis/l.lua": code})
    section = {"driver": "lua", "pre": [{"name": "L", "path": "l.lua"}]}
    (tmp_path / "apis/a.json").write_text(json.dumps(api(custom_middleware=section)))
    bridge.load(tmp_path / "apis")
    assert bridge.request(Request("POST", "/a/x", (), b"old"), "a").request.body == b"last"


# ---- Forms


def test_a_function_s_parameters_are_its_form(lua):
    bundle = lua(
        code="""
          function Three(request, session, spec) return request, session end
          function Four(request, session, metadata, spec) metadata.a = spec.APIID return request, session, metadata end
          function Five(request, response, session, metadata, spec)
            response.headers.M = metadata.m
            return response
          end
          function Event(event, spec) end
          function Two_more(a, b, c, d, e, f) end
          function Any(...) end
          local function Hidden(request, session, spec) end
          Number = 5
        """
    )
    kinds = {marker.name: (marker.arity, marker.is_event, marker.driver) for marker in bundle.script.markers}
    assert kinds == {
        "Three": (1, False, "lua"),
        "Four": (1, False, "lua"),
        "Five": (1, False, "lua"),
        "Event": (2, True, "lua"),
    }
    assert bundle.script.others["Two_more"].startswith(
        f"{bundle.marker('Three').place.rpartition(':')[0]}:9: it takes 6 parameters; write function Two_more(request, "
    )
    assert "it takes any number of parameters, which says nothing about the form" in bundle.script.others["Any"]
    assert dict(bundle.run("Four", spec={"APIID": "1"}).session.metadata) == {"a": "1"}
    assert dict(bundle.run("Five", metadata={"m": "v"}).response.headers) == {"M": "v"}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "function Hook(request, session, spec) end",
            "returned nothing; a hook with 3 parameters returns request, session",
        ),
        ("function Hook(request, session, spec) return request end", "returned table; a hook with 3 parameters"),
        ("function Hook(r, s, m, spec) return r, s end", "returned table, table; a hook with 4 parameters returns "),
        ("function Hook(r, p, s, m, spec) return 5 end", "returned number; a hook with 5 parameters returns response"),
    ],
)
def test_what_no_hook_may_return_is_an_error_with_its_place(lua, code, words):
    assert "(middleware.lua:1)" in str(fails(lua(code=code), words))


# ---- Errors


def test_an_error_has_its_words_its_place_and_a_traceback(lua):
    bundle = lua(
        code="local function inner()\n  error('boom')\nend\nfunction Hook(a, b, c)\n  inner()\n  return a, b\nend"
    )
    error = fails(bundle, "boom")
    assert str(error) == "boom"
    assert error.place.endswith("/b/middleware.lua:2")
    assert "middleware.lua:5: in function 'Hook'" in error.trace
    assert "in upvalue 'inner'" in error.trace


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("error({code = 1})", "an error that is a table"),
        ("error({syntax = '/etc/passwd:1: x'})", "an error that is a table"),
        ("error(setmetatable({}, {__tostring = function() return 'made' end}))", "made"),
        ("error(setmetatable({}, {__tostring = function() error('again') end}))", "an error whose text cannot be had"),
        ("error()", "nil"),
        ("local a = nil; a.b = 1", "attempt to index a nil value (local 'a')"),
        ("error('above', 2)", "above"),
    ],
)
def test_errors_that_are_no_text(lua, body, words):
    fails(lua(body), words)


@pytest.mark.parametrize(
    "name",
    ["string.find", "string.match", "string.gsub", "string.gmatch", "string.upper", "string.rep", "string.format",
     "table.insert", "table.concat", "table.sort", "utf8.len"],
)  # fmt: skip
def test_a_wrong_argument_is_told_with_the_function_s_name(lua, name):
    error = fails(lua(f"{name}(nil)"), f"to '{name.partition('.')[2]}' (")
    assert str(error).startswith("bad argument #")
    assert error.place.endswith("/b/middleware.lua:2")


def test_a_syntax_error_is_told_with_its_line(lua):
    with pytest.raises(failures.ScriptError, match="syntax error near 'is'") as caught:
        lua(code="function A(a, b, c)\nend\nthis is no Lua")
    assert caught.value.place.endswith("/b/middleware.lua:3")


def test_an_error_while_loading_is_told_with_its_line(lua):
    with pytest.raises(failures.ScriptError, match="no luck") as caught:
        lua(code="\nerror('no luck')")
    assert caught.value.place.endswith("/b/middleware.lua:2")


# ---- What the gateway offers


def test_tyk_req_is_the_request(lua):
    message = lua("""
      local req = tyk.req
      assert(req.get_headers().A == "1" and req.get_header("A") == "1" and req.get_header("B") == nil)
      req.set_header("C", "3") req.clear_header("A")
      assert(req.get_params().p == "q" and req.get_param("p") == "q")
      req.set_param("r", "s") req.clear_param("p")
      assert(req.get_body() == "old") req.set_body("new")
      assert(req.get_method() == "GET") req.set_method("PUT")
      assert(req.get_url() == "/a") req.set_url("/b")
    """).run(request={"headers": {"A": "1"}, "params": {"p": "q"}, "raw_body": b"old", "method": "GET", "url": "/a"})
    request = message.request
    assert (dict(request.set_headers), list(request.delete_headers)) == ({"C": "3"}, ["A"])
    assert (dict(request.add_params), list(request.delete_params)) == ({"r": "s"}, ["p"])
    assert (request.raw_body, request.method, request.url) == (b"new", "PUT", "/b")


def test_data_log_and_events(lua, said, monkeypatch):
    fired = []
    monkeypatch.setattr(_bridge, "trigger_event", lambda name, payload: fired.append((name, payload)))
    bundle = lua("""
      tyk.store_data("lua-key", "value\\xff", 60)
      request.set_headers.X = #tyk.get_data("lua-key") .. #tyk.get_data("lua-none")
      tyk.log("careful", "warning") tyk.log("plain") print("a", 1, nil)
      tyk.trigger_event("Name", cjson.encode({a = 1}))
    """)
    assert reported(bundle) == "60"
    assert said == [("warning", "careful"), ("info", "plain"), ("info", "a\t1\tnil")]
    assert fired == [("Name", '{"a":1}')]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("tyk.store_data('k', 'a\\0b', 1)", "the value must not contain a NUL"),
        ("tyk.store_data('k', {}, 1)", "value must be a string, not a table"),
        ("tyk.store_data('k', 'v', 'x')", "ttl must be a whole number of seconds"),
        ("tyk.get_data('\\xff')", "the key is not UTF-8"),
        ("tyk.log(nil)", "message must be a string, not a nil"),
        ("tyk.trigger_event('a\\0', '')", "the event's name must not contain a NUL"),
    ],
)
def test_what_the_gateway_refuses_is_an_error(lua, body, words):
    fails(lua(body), words)


def test_what_a_store_fails_to_do_can_be_caught_and_is_a_failure_of_the_store_otherwise(lua, monkeypatch):
    class Broken:
        def get(self, key):
            raise StoreError("the store is down")

    before = runtime.use_store(Broken())
    try:
        error = fails(lua("tyk.get_data('k')"), "the store is down")
        assert isinstance(error, StoreError)
        caught = "local ok, words = pcall(tyk.get_data, 'k') request.set_headers.X = tostring(words)"
        assert "the store is down" in reported(lua(caught))
    finally:
        runtime.use_store(before)


@pytest.mark.parametrize(
    ("text", "expression", "result"),
    [
        (
            '{"a": [1, 2.5, null, "ä"], "b": {}}',
            "v.a[1] .. v.a[2] .. tostring(v.a[3] == cjson.null) .. v.a[4]",
            "12.5trueä",
        ),
        ("[]", "cjson.encode(v)", "{}"),
        ('{"n": 12345678901234567890}', "math.type(v.n)", "float"),
        ("[true, false]", "tostring(v[1]) .. tostring(v[2])", "truefalse"),
        ("null", "cjson.encode({v, {1, 2}, 'a/\\n\"\\\\', 1.5, 3})", '[null,[1,2],"a\\/\\n\\"\\\\",1.5,3]'),
        ("1", "cjson.encode({[1] = 'a', [3] = 'c'})", '["a",null,"c"]'),
        ("1", "cjson.encode({[5] = 1, x = 2}):len()", "13"),
    ],
)
def test_cjson(lua, text, expression, result):
    bundle = lua(f"local v = cjson.decode(request.body) request.set_headers.X = tostring({expression})")
    assert reported(bundle, request={"body": text}) == result


def test_cjson_takes_what_is_large(lua):
    bundle = lua("local v = cjson.decode(request.body) request.raw_body = cjson.encode(v)")
    items = [{"id": i, "name": f"name {i}"} for i in range(5_000)]
    message = bundle.run(request={"body": json.dumps(items)})
    assert json.loads(message.request.raw_body) == items


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("cjson.decode('{')", "cjson.decode: "),
        ("cjson.decode(('['):rep(100000))", "cjson.decode: "),
        ("cjson.decode('1' .. ('0'):rep(400))", "cjson.decode: Number out of range"),
        ("cjson.decode('1e999')", "cjson.decode: Number out of range"),
        ("cjson.decode('\"\\\\ud800\"')", "cjson.decode: "),
        ('cjson.decode(\'{"a": "\\xff"}\')', "cjson.decode: "),
        ("cjson.encode({print})", "Cannot serialise function: type not supported"),
        ("cjson.encode({0/0})", "Cannot serialise number: must not be NaN or Infinity"),
        ("local t = {} t.t = t cjson.encode(t)", "Cannot serialise, excessive depth"),
        ("cjson.encode({[1000] = 1})", "Cannot serialise table: excessively sparse array"),
        ("cjson.encode({[{}] = 1})", "Cannot serialise table: table key must be a number or string"),
        ("cjson.null.a = 1", "cjson.null cannot be changed"),
    ],
)
def test_what_cjson_refuses(lua, body, words):
    fails(lua(body), words)


def test_parts_of_a_message_can_be_encoded(lua):
    bundle = lua("request.set_headers.X = cjson.encode(request.headers) .. cjson.encode(session.tags)")
    assert reported(bundle, request={"headers": {"A": "1"}}, session={"tags": ["t"]}) == '{"A":"1"}["t"]'


def test_modules_of_the_bundle(lua):
    bundle = lua(
        "request.set_headers.X = require('lib.tools').name .. tostring(require('lib.tools') == require('lib.tools'))",
        **{"lib/tools": "return { name = require('lib').name .. ' tools' }", "lib/init": "return { name = 'lib' }"},
    )
    assert reported(bundle) == "lib toolstrue"


@pytest.mark.parametrize("name", ["none", "..outside", "/etc/hosts", "../outside", "os.path", "lupa"])
def test_modules_come_from_the_bundle_alone(lua, tmp_path, name):
    (tmp_path / "outside.lua").write_text("return {}")
    fails(lua(f"require('{name}')"), f'the bundle has no module "{name}"')


def test_a_module_that_fails_or_requires_itself(lua):
    fails(lua("require('broken')", broken="\nerror('no')"), "no")
    fails(lua("require('round')", round="require('round')"), 'module "round" requires itself')
    bundle = lua("require('syntax')", syntax="\nx x")
    for _ in range(2):  # in one state
        error = fails(bundle, "syntax error near 'x'")
        assert error.place.endswith("/b/syntax.lua:2")
    name = "a_name_that_is_longer_than_what_lua_shows_of_it_in_a_message" * 2
    error = fails(lua(f"require('{name}')", **{name: "\nx x"}), "syntax error near 'x'")
    assert error.place.endswith(f"/b/{name}.lua:2")


def test_code_may_catch_the_error_of_a_module(lua):
    bundle = lua("local _, words = pcall(require, 'syntax') request.set_headers.X = words", syntax="\nx x")
    assert reported(bundle) == "syntax.lua:2: syntax error near 'x'"


def test_every_state_has_the_same_modules(lua, tmp_path, monkeypatch):
    """Files may change while a version is in use, and states are made whenever there are more calls at once."""
    bundle = lua(
        "if request.headers.N then tyk.log('') end request.set_headers.X = require('rules')", rules="return 'old'"
    )
    assert reported(bundle) == "old"
    answers = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: answers.append(reported(bundle)))
    for change in (lambda file: file.write_text("return 'new'"), lambda file: file.unlink()):
        change(tmp_path / "b/rules.lua")
        bundle.script.close()  # the states, not what they were made of
        assert reported(bundle, request={"headers": {"N": "1"}}) == "old"
    assert answers == ["old", "old"]


def test_modules_behind_links_that_leave_the_bundle_are_not_found(lua, tmp_path):
    trees.write(tmp_path, {"outside/secret.lua": "return 1", "b/inside/real.lua": "return 'inside'"})
    (tmp_path / "b/link.lua").symlink_to(tmp_path / "outside/secret.lua")
    (tmp_path / "b/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "b/good.lua").symlink_to(tmp_path / "b/inside/real.lua")
    (tmp_path / "b/a_folder.lua").mkdir()
    for name in ("link", "folder.secret", "folder/secret", "a_folder", "b/../../outside/secret", "Inside.real"):
        fails(lua(f"require('{name}')"), f'the bundle has no module "{name}"')
    fails(lua("require('inside/real\\0')"), "")
    assert reported(lua("request.set_headers.X = require('good')")) == "inside"


# ---- Through APIs


def api(**keys):
    return {"api_id": "a", "use_keyless": True, "active": True, "proxy": {"listen_path": "/a/"}, **keys}


ADD = "function {0}(request, session, spec)\n  request.set_headers['{0}'] = 'lua'\n  return request, session\nend\n"
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


def test_a_bundle_may_mix_drivers(bridge, tmp_path):
    put_bundle(
        tmp_path,
        {
            "hooks.py": PYTHON.format("P"),
            "one.lua": ADD.format("L"),
            "two.lua": ADD.format("M") + "function P(a, b, c) end",
        },
        driver="python",
        pre=[{"name": "P"}, {"name": "L", "driver": "lua"}],
        post=[{"name": "M", "path": "two.lua", "driver": "lua"}],
    )
    assert bridge.load(json.dumps(api(custom_middleware_bundle="mixed"))).not_loaded == ()
    assert through(bridge) == {"P": "python", "L": "lua", "M": "lua"}


def test_an_api_may_mix_drivers(bridge, tmp_path):
    trees.write(tmp_path, {"apis/p.py": PYTHON.format("P"), "apis/l.lua": ADD.format("L")})
    pre = [{"name": "P", "path": "p.py"}, {"name": "L", "path": "l.lua"}]
    (tmp_path / "apis/a.json").write_text(json.dumps(api(custom_middleware={"pre": pre})))
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    assert through(bridge) == {"P": "python", "L": "lua"}


def test_code_in_a_definition(bridge):
    code = base64.b64encode(ADD.format("L").encode()).decode()
    document = api(custom_middleware={"driver": "lua", "pre": [{"name": "L", "code": code}]})
    assert bridge.load(json.dumps(document)).not_loaded == ()
    assert through(bridge) == {"L": "lua"}


@pytest.mark.parametrize(
    ("code", "words", "line"),
    [
        ("function Other(a, b, c) end", 'has no hook "L" (hooks: Other)', ""),
        ("\n\nfunction L(", "middleware.lua:3: <name> or '...' expected near <eof>", "middleware.lua:3"),
        ("function L(request) end", '"L" of bundle ', ""),
        ("\nerror('at once')", "middleware.lua:2: at once", "middleware.lua:2"),
        ("while true do end", "middleware.lua:1: it ran longer than", "middleware.lua:1"),
    ],
)
def test_what_does_not_load_says_why_and_where(bridge, tmp_path, monkeypatch, code, words, line):
    monkeypatch.setattr("tykbridge.drivers.lua.state._LOAD_MS", 50)
    trees.write(tmp_path, {"apis/middleware.lua": code})
    section = {"driver": "lua", "pre": [{"name": "L", "path": "middleware.lua"}]}
    (tmp_path / "apis/a.json").write_text(json.dumps(api(custom_middleware=section)))
    (item,) = bridge.load(tmp_path / "apis").not_loaded
    assert words in item.reason
    assert item.problems[0].place.endswith(line)


def test_a_manifest_that_names_what_no_file_has(tmp_path):
    files = {"middleware.lua": ADD.format("L") + "function F(a) end"}
    for name, words in (
        ("N", r"there is no function of this name in middleware.lua \(hooks there: L\)"),
        ("F", "middleware.lua:5: it takes 1 parameter; write function F"),
    ):
        manifest = json.dumps({"custom_middleware": {"driver": "lua", "pre": [{"name": name}]}})
        trees.write(tmp_path / name, {**files, "manifest.json": manifest})
        with pytest.raises(LoadError, match=rf'custom_middleware\.pre\[0\] names the hook "{name}", but .*{words}'):
            runtime.load_bundle(str(tmp_path / name), "lua-none")


def test_a_hook_keeps_its_own_time_limit(bridge, tmp_path, said):
    trees.write(tmp_path, {"apis/l.lua": "function L(request, session, spec) while true do end end"})
    section = {"driver": "lua", "pre": [{"name": "L", "path": "l.lua", "timeout_ms": 30}]}
    (tmp_path / "apis/a.json").write_text(json.dumps(api(custom_middleware=section)))
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    outcome = bridge.request(Request("GET", "/a/x"), "a")
    assert isinstance(outcome, Respond)
    assert (outcome.response.status, json.loads(outcome.response.body)) == (504, {"error": "Middleware took too long"})
    ((level, words),) = said
    assert level == "error"
    assert 'hook "L" of bundle "' in words
    assert "it ran longer than 30 ms (l.lua:1)" in words
    assert "\0" not in words


def test_authentication_that_takes_too_long_lets_nobody_in(bridge, tmp_path, said):
    trees.write(tmp_path, {"apis/l.lua": "function L(request, session, metadata, spec) while true do end end"})
    section = {"driver": "lua", "auth_check": {"name": "L", "path": "l.lua", "timeout_ms": 30}}
    document = api(custom_middleware=section, use_keyless=False, custom_plugin_auth_enabled=True)
    (tmp_path / "apis/a.json").write_text(json.dumps(document))
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    assert bridge.request(Request("GET", "/a/x"), "a").response.status == 504


def test_a_time_limit_that_a_driver_does_not_keep_is_refused(tmp_path):
    trees.write(tmp_path, {"middleware.py": PYTHON.format("P")})
    runtime.load_bundle(str(tmp_path), "python-limited")
    try:
        with pytest.raises(LoadError, match='the hook "P" has a time limit, which the python driver cannot keep'):
            runtime.registry.limited("python-limited", "P", 5)
    finally:
        runtime.registry.unload("python-limited")


def test_a_reload_takes_new_code_and_keeps_the_same(bridge, tmp_path):
    count = "count = (count or 0) + 1 request.set_headers.N = tostring(count)"
    code = f"function L(request, session, spec) {count} return request, session end"
    put_bundle(tmp_path, {"middleware.lua": code}, driver="lua", pre=[{"name": "L"}])
    document = json.dumps(api(custom_middleware_bundle="mixed"))
    bridge.load(document)
    assert [through(bridge)["N"] for _ in range(2)] == ["1", "2"]
    bridge.load(document)
    assert through(bridge)["N"] == "3"
    put_bundle(tmp_path, {"middleware.lua": code + " "}, driver="lua", pre=[{"name": "L"}])
    bridge.load(document)
    assert through(bridge)["N"] == "1"


def test_the_sandbox_is_lifted_by_the_definition_alone(bridge, tmp_path):
    code = "function L(request, session, spec) request.set_headers.T = type(io) return request, session end"
    trees.write(tmp_path, {"apis/l.lua": code})
    for trusted, kind in ((False, "nil"), (True, "table")):
        section = {"driver": "lua", "lua": {"trusted": trusted}, "pre": [{"name": "L", "path": "l.lua"}]}
        (tmp_path / "apis/a.json").write_text(json.dumps(api(custom_middleware=section)))
        assert bridge.load(tmp_path / "apis").not_loaded == ()
        assert through(bridge)["T"] == kind
    put_bundle(tmp_path, {"middleware.lua": code}, driver="lua", lua={"trusted": True}, pre=[{"name": "L"}])
    (item,) = bridge.load(json.dumps(api(custom_middleware_bundle="mixed"))).not_loaded
    assert "$.custom_middleware.lua.trusted: expected it in <text> alone, found true" in item.reason
    put_bundle(tmp_path, {"middleware.lua": code}, driver="lua", pre=[{"name": "L"}])
    bridge.load(json.dumps(api(custom_middleware_bundle="mixed", custom_middleware={"lua": {"trusted": True}})))
    assert through(bridge)["T"] == "table"


def test_one_bundle_is_sandboxed_for_one_api_and_not_for_another(bridge, tmp_path):
    code = "function L(request, session, spec) request.set_headers.T = type(io) return request, session end"
    put_bundle(tmp_path, {"middleware.lua": code}, driver="lua", pre=[{"name": "L"}])
    for name, trusted in (("a", False), ("t", True)):
        section = {"lua": {"trusted": trusted}}
        document = api(custom_middleware_bundle="mixed", custom_middleware=section) | {"api_id": name}
        document["proxy"] = {"listen_path": f"/{name}/"}
        trees.write(tmp_path, {f"apis/{name}.json": json.dumps(document)})
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    found = [dict(bridge.request(Request("GET", "/a/x"), name).request.headers)["T"] for name in ("a", "t")]
    assert found == ["nil", "table"]


def test_a_definition_names_a_handler_of_events_in_lua(tmp_path, said):
    code = "function L(request, session, spec) tyk.trigger_event('Sold', 'a boat') return request, session end\n"
    code += "function on_sale(event, spec) tyk.log(spec.APIID .. ': ' .. event.message.Meta.Message, 'info') end\n"
    trees.write(tmp_path, {"apis/l.lua": code})
    handler = {"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "on_sale"}}
    section = {"driver": "lua", "pre": [{"name": "L", "path": "l.lua"}]}
    document = api(custom_middleware=section, event_handlers={"events": {"Sold": [handler]}})
    (tmp_path / "apis/a.json").write_text(json.dumps(document))
    queue = EventQueue()
    bridge = Bridge(Services(queue=queue, log=lambda words, level: None), tmp_path / "middleware")
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    through(bridge)
    assert queue.close(10)
    assert ("info", "a: a boat") in said


def test_a_missing_engine_says_what_to_install(tmp_path, monkeypatch):
    engine = drivers.engines()[Driver.LUA]
    monkeypatch.setattr(type(engine), "missing", lambda self: "pip install 'tykbridge[lua]'")
    drivers.capabilities.cache_clear()
    try:
        section = {"pre": [{"name": "L", "path": "l.lua", "driver": "lua"}]}
        (item,) = (
            Bridge(Services(log=lambda words, level: None)).load(json.dumps(api(custom_middleware=section))).not_loaded
        )
        assert item.reason.startswith("not loaded: needs the lua driver (pip install 'tykbridge[lua]')")
        trees.write(tmp_path, {"middleware.lua": ADD.format("L")})
        with pytest.raises(LoadError, match=r"it needs the lua driver: pip install 'tykbridge\[lua\]'"):
            runtime.load_bundle(str(tmp_path), "lua-missing")
    finally:
        drivers.capabilities.cache_clear()


def test_an_event_reaches_a_handler_in_lua(tmp_path, said):
    code = "function On(event, spec) tyk.log(event.message.Type .. event.message.Meta.n .. spec.APIID) end"
    trees.write(tmp_path, {"middleware.lua": code})
    runtime.load_bundle(str(tmp_path), "lua-events")
    try:
        event = {"message": {"Type": "T", "Meta": {"n": 1}}, "handler_name": "On", "spec": {"APIID": "api"}}
        runtime.dispatch_event(json.dumps(event))
        assert said == [("info", "T1api")]
        with pytest.raises(HookError, match=r"attempt to index a nil value .*\(middleware.lua:1\)"):
            runtime.dispatch_event(json.dumps({**event, "message": {}}))
        with pytest.raises(NotFoundError, match=r'"On" of bundle "lua-events" is no hook: .* the form of a handler'):
            runtime.registry.check_hook("lua-events", "On")
    finally:
        runtime.registry.unload("lua-events")


def test_threads_each_get_their_answer(lua):
    bundle = lua("""
      local sum = 0
      for i = 1, 2000 do sum = sum + i end
      request.set_headers.X = request.headers.N .. tyk.get_data("none") .. sum
    """)
    wrong, threads = [], []

    def work(number):
        names = [f"{number}.{i}/" for i in range(100)]
        got = [reported(bundle, request={"headers": {"N": name}}) for name in names]
        wrong.extend(set(got) ^ {f"{name}2001000" for name in names})

    for number in range(8):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_a_hook_whose_host_calls_the_bundle_again_does_not_wait_for_itself(lua, monkeypatch):
    bundle = lua(
        "if request.headers.N ~= '3' then tyk.log(request.headers.N) end request.set_headers.X = request.headers.N"
    )
    answers = []

    def again(words, level):
        answers.append(reported(bundle, request={"headers": {"N": str(int(words) + 1)}}))

    monkeypatch.setattr(_bridge, "log", again)
    assert reported(bundle, request={"headers": {"N": "0"}}) == "0"
    assert answers == ["3", "2", "1"]


def test_response_hooks_get_the_response(bridge, tmp_path):
    code = """function R(request, response, session, metadata, spec)
      local cookies = 0
      for _, header in ipairs(response.multivalue_headers) do
        if header.key == "Set-Cookie" then
          cookies = #header.values
          header.values[#header.values + 1] = "c=3"
        end
      end
      response.headers["X-Cookies"] = tostring(cookies)
      response.body = response.body .. "!"
      return response
    end"""
    trees.write(tmp_path, {"apis/l.lua": code})
    section = {"driver": "lua", "response": [{"name": "R", "path": "l.lua"}]}
    (tmp_path / "apis/a.json").write_text(json.dumps(api(custom_middleware=section)))
    bridge.load(tmp_path / "apis")
    answer = bridge.response(
        Request("GET", "/a/x"), Response(200, (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")), b"body"), b"", "a"
    ).response
    assert answer.body == b"body!"
    assert answer.headers[:3] == (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Set-Cookie", "c=3"))
    assert ("X-Cookies", "2") in answer.headers


def command(*arguments):
    """Run the program, in a process of its own: it takes over the host's log."""
    words = [sys.executable, "-m", "tykbridge", *map(str, arguments), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


def run_json(*arguments):
    status, document = command("run-hook", *arguments)
    assert status == 0, document
    return document


def test_the_tour_does_in_lua_what_it_does_in_python(root):
    def seen(run):
        answer, sent = run["response"], run["upstream"]
        headers = sorted(header for header in answer["headers"] if header[0] != "Content-Length")  # spaces in JSON
        hooks = [(hook["phase"], hook["name"], hook["token"], hook["log"]) for hook in run["hooks"]]
        hooks += [(event["name"], json.loads(event["payload"])) for hook in run["hooks"] for event in hook["events"]]
        return sent, answer["status"], headers, json.loads(answer["body"]), hooks

    tours = [root / "examples" / name for name in ("tour", "tour-lua")]
    python, lua = ([seen(run) for run in run_json(t, "--request-file", t / "request.json")["runs"]] for t in tours)
    assert python == lua
    assert len(lua) == 3


def test_a_file_of_hooks_is_run_and_checked(tmp_path):
    code = "function R(request, response, session, metadata, spec) response.status_code = 203 return response end\n"
    trees.write(tmp_path, {"good.lua": ADD.format("L") + code, "bad.lua": "\nfunction L(a, b"})
    (run,) = run_json(tmp_path / "good.lua", "L")["runs"]
    assert run["upstream"]["headers"][-1] == ["L", "lua"]
    (run,) = run_json(tmp_path / "good.lua", "R")["runs"]
    assert run["response"]["status"] == 203
    status, document = command("check", tmp_path / "good.lua")
    assert (status, [hook["name"] for hook in document["items"][0]["hooks"]]) == (0, ["L", "R"])
    status, document = command("check", tmp_path / "bad.lua")
    (problem,) = document["items"][0]["problems"]
    assert (status, problem["place"]) == (1, f"{tmp_path}/bad.lua:2")
    assert problem["message"].endswith("bad.lua:2: ')' expected near <eof>")
