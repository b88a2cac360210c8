"""`tykbridge run-hook`, as people run it."""

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.cli.commands import UNWANTED, definition, hooks, tykbridge, write

PLUGIN = r"""
import json
from tyk.decorators import *
from gateway import TykGateway as tyk

print("at import")

@Hook
def mark(request, session, spec):
    tyk.log("marking", "warning")
    print("printed")
    tyk.trigger_event("Marked", "payload")
    request.add_header("X-Mark", "1")
    return request, session

@Hook
def seen(request, session, spec):
    request.add_header("X-Seen", request.get_header("X-Mark") or "nothing")
    return request, session

@Hook
def meddle(request, session, spec):
    session.rate = 7
    session.metadata["who"] = "me"
    return request, session

@Hook
def greet(request, session, spec):
    request.add_header("X-Who", session.alias + "/" + session.metadata["who"])
    return request, session

@PostKeyAuth
def greet_after(request, session, spec):
    return greet.__wrapped__(request, session, spec)

@Hook
def config(request, session, spec):
    request.add_header("X-Config", json.loads(spec["config_data"])["word"] + " " + spec["OrgID"] + "/" + spec["APIID"])
    return request, session

@Hook
def answer(request, session, spec):
    request.object.return_overrides.response_code = 418
    request.object.return_overrides.override_error = True
    request.object.return_overrides.response_body = "short and stout"
    return request, session

@Hook
def fails(request, session, spec):
    raise ValueError("no luck")

@Hook
def splits(request, session, spec):
    request.add_header("X", "1\r\nSet-Cookie: a=b")
    return request, session

@Hook
def body(request, session, spec):
    request.object.raw_body = request.object.raw_body.upper() + b"\xff"
    return request, session

@Hook
def stamp(request, response, session, metadata, spec):
    response.headers["X-Stamp"] = str(response.status_code) + session.alias
    response.status_code = 202
    return response

@CustomKeyCheck
def check(request, session, metadata, spec):
    if request.get_header("Authorization") == "let me in":
        session.alias = "Ada"
        metadata["token"] = "the token"
        metadata["who"] = "checked"
    return request, session, metadata
"""

UPSTREAM = [["Host", "localhost"]]


@pytest.fixture
def place(tmp_path):
    """A folder with plugin.py."""
    return write(tmp_path, {"plugin.py": PLUGIN})


@pytest.fixture
def run(place):
    """Runs `run-hook` in the folder."""
    return lambda *arguments, **options: tykbridge("run-hook", *arguments, cwd=place, **options)


@pytest.fixture
def run_json(run):
    """Runs `run-hook --json`; gives the document's only run, and the document."""

    def invoke(*arguments, status=0, **options):
        result = run(*arguments, "--json", **options)
        assert (result.status, result.errors) == (status, "")
        assert result.document["ok"] is (status == 0)
        (only,) = result.document["runs"]
        return only, result.document

    return invoke


# --- one hook -------------------------------------------------------------------------------------------------------


def test_one_hook_of_a_file(run_json):
    only, document = run_json("plugin.py", "mark", "/a?b=1", "-H", "X-Old: 1", "-H", "X-Old: 2")
    (hook,) = only["hooks"]
    assert (hook["phase"], hook["name"]) == ("pre", "mark")
    assert hook["changes"] == [{"path": 'request.set_headers["X-Mark"]', "old": None, "new": "1", "acts": True}]
    assert hook["log"] == [{"level": "warning", "message": "marking"}]
    assert hook["printed"] == ["printed"]
    assert hook["events"] == [{"name": "Marked", "payload": "payload"}]
    assert hook["warnings"] == []
    assert (hook["failure"], hook["refused"], hook["token"]) == ("", "", "")
    headers = [*UPSTREAM, ["X-Old", "1"], ["X-Old", "2"]]
    assert only["request"] == {"method": "GET", "url": "/a?b=1", "headers": headers, "body": ""}
    assert only["upstream"] == {"method": "GET", "url": "/a?b=1", "headers": [*headers, ["X-Mark", "1"]], "body": ""}
    assert (only["response"], only["failures"]) == (None, [])
    assert document["loading"]["printed"] == ["at import"]


def test_the_page(run):
    result = run("plugin.py", "mark", "/a")
    assert (result.status, result.errors) == (0, "")
    output = re.sub(r" +\d+(\.\d)? (µs|ms|s)\b", " TIME", result.output)
    assert "\x1b" not in output
    assert output.rpartition("\n──")[0].partition("─\n")[2] == (
        """
  ● loading        print  at import

  ● client         GET /a
  │                Host: localhost
  │
  ● pre            mark TIME
  │                print  printed
  │                log warning  marking
  │                event  Marked  payload
  │                + set_headers["X-Mark"] = '1'
  │
  ● upstream       GET /a
                     Host: localhost
                   + X-Mark: 1
"""
    )
    assert output.splitlines()[-1] == "  1 request, 1 hook in TIME. Nothing failed."


@pytest.mark.once
def test_flags_are_curls(run_json, place):
    (place / "data").write_bytes(b"from a file\n")
    only, _ = run_json("plugin.py", "seen", "https://user@api.test:8443/p?q#f", "-d", "a=1", "-d", "@data")
    assert (only["request"]["method"], only["request"]["url"]) == ("POST", "/p?q")
    assert only["request"]["body"] == "a=1&from a file\n"
    assert only["request"]["headers"] == [
        ["Host", "api.test:8443"],
        ["Content-Type", "application/x-www-form-urlencoded"],
        ["Content-Length", "16"],
    ]
    only, _ = run_json(
        *("plugin.py", "seen", "/p", "-X", "PUT", "-d", "@-", "-H", "content-type:text/plain", "-H", "host: h"),
        stdin=b"standard input",
    )
    assert (only["request"]["method"], only["request"]["body"]) == ("PUT", "standard input")
    assert only["request"]["headers"] == [["content-type", "text/plain"], ["host", "h"], ["Content-Length", "14"]]


def test_bytes_that_are_no_text_are_base64(run_json):
    only, _ = run_json("plugin.py", "body", "/", "-d", "x")
    assert only["upstream"]["body"] == {"base64": "WP8="}
    assert {"base64": "WP8="} in [change["new"] for change in only["hooks"][0]["changes"]]


def test_a_response_hook_gets_the_answer_of_the_flags(run_json):
    only, _ = run_json(
        *("plugin.py", "stamp", "--status", "404", "--response-body", "gone"),
        *("--response-header", "Set-Cookie: a=1", "--response-header", "Set-Cookie: b=2"),
    )
    (hook,) = only["hooks"]
    assert (hook["phase"], hook["name"]) == ("response", "stamp")
    cookies = [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]]
    assert only["response"] == {
        "status": 202,
        "headers": [*cookies, ["Content-Length", "4"], ["X-Stamp", "404"]],
        "body": "gone",
    }
    assert only["upstream"] is None


@pytest.mark.parametrize(("hook", "phase"), [("greet", "post"), ("greet", "post_key_auth"), ("greet_after", None)])
def test_session_from_a_file(run_json, place, hook, phase):
    write(place, {"session.json": {"alias": "Ada", "meta_data": {"who": "x"}}})
    flags = ["--phase", phase] if phase else []
    only, _ = run_json("plugin.py", hook, "--session", "session.json", *flags)
    assert ["X-Who", "Ada/x"] in only["upstream"]["headers"]
    assert only["hooks"][0]["phase"] == (phase or "post_key_auth")


def test_session_for_a_response_hook(run_json, place):
    write(place, {"session.json": {"alias": "Ada"}})
    only, _ = run_json("plugin.py", "stamp", "--session", "session.json")
    assert ["X-Stamp", "200Ada"] in only["response"]["headers"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plugin.py", "mark", "--session", "s.json"), "a hook in the phase pre sees no session"),
        (("plugin.py", "check", "--session", "s.json"), "a hook in the phase auth_check makes the session"),
        (("plugin.py", "greet_after", "--session", "none.json"), "none.json: No such file or directory"),
        (("plugin.py", "greet_after", "--session", "bad.json"), "bad.json: "),
    ],
)
def test_session_that_no_hook_can_see(run, place, arguments, words):
    write(place, {"s.json": {}, "bad.json": {"rate": "fast"}})
    result = run(*arguments)
    assert (result.status, result.output) == (2, "")
    assert words in result.words


def test_auth_check_alone(run_json):
    only, _ = run_json("plugin.py", "check", "-H", "Authorization: let me in")
    (hook,) = only["hooks"]
    assert (hook["phase"], hook["token"], hook["warnings"]) == ("auth_check", "the token", [])
    assert {"path": "session.alias", "old": None, "new": "Ada", "acts": True} in hook["changes"]
    assert only["response"] is None
    only, _ = run_json("plugin.py", "check")
    assert (only["response"]["status"], only["response"]["body"]) == (403, '{"error": "Key not authorised"}')
    assert only["event"] == "AuthFailure"


def test_answer_of_a_hook_is_no_failure(run, run_json):
    only, _ = run_json("plugin.py", "answer")
    assert (only["response"]["status"], only["response"]["body"]) == (418, "short and stout")
    assert only["upstream"] is None
    assert "418 I'm a Teapot the upstream is not asked" in run("plugin.py", "answer").words


def test_config_data(run_json, place):
    only, _ = run_json("plugin.py", "config", "--config-data", '{"word": "given"}')
    assert ["X-Config", "given /plugin"] in only["upstream"]["headers"]
    write(place, {"config.json": {"word": "of a file"}})
    only, _ = run_json("plugin.py", "config", "--config-data", "@config.json")
    assert ["X-Config", "of a file /plugin"] in only["upstream"]["headers"]


# --- what goes wrong in a hook --------------------------------------------------------------------------------------


def test_hook_that_raises(run, run_json):
    only, _ = run_json("plugin.py", "fails", status=1)
    (hook,) = only["hooks"]
    assert "ValueError: no luck (plugin.py:" in hook["failure"]
    assert only["failures"] == [hook["failure"]]
    assert "Traceback" in hook["log"][0]["message"]
    assert (only["response"]["status"], only["response"]["body"]) == (500, '{"error": "Middleware error"}')
    result = run("plugin.py", "fails")
    assert result.status == 1
    assert "Nothing failed" not in result.output
    assert result.output.count("ValueError: no luck") == 3  # the failure, its traceback, the end
    assert "log error" not in result.output
    assert not re.search(r"#\d", result.output)  # the number of the loading


def test_failure_that_an_api_passes_over_is_one_nevertheless(run_json, place):
    section = hooks(pre=["fails", "mark"])
    section["pre"][0]["on_failure"] = "open"
    write(place, {"api.json": definition("api", custom_middleware=section)})
    only, _ = run_json("api.json", status=1)
    assert [bool(hook["failure"]) for hook in only["hooks"]] == [True, False]
    assert ["X-Mark", "1"] in only["upstream"]["headers"]
    assert len(only["failures"]) == 1


def test_hook_that_writes_what_no_hook_may(run, run_json):
    only, _ = run_json("plugin.py", "splits", status=1)
    words = 'hook "splits" set the header X to a value with CR, LF or NUL'
    assert only["hooks"][0]["refused"] == words
    assert only["failures"] == [words]
    assert only["log"] == []
    assert f"refused {words}" in run("plugin.py", "splits").words


def test_session_that_a_hook_may_not_change(run, run_json):
    only, _ = run_json("plugin.py", "meddle")
    (hook,) = only["hooks"]
    words = 'hook "meddle" changed session.rate, session.metadata["who"], which only auth_check may'
    assert hook["warnings"] == [f"{words}: dropped here, refused in strict mode"]
    assert {change["acts"] for change in hook["changes"]} == {False}
    assert only["upstream"] is not None
    page = run("plugin.py", "meddle").words
    assert f"warning {words}" in page
    assert "1 request, 1 hook, 1 warning in" in page

    only, _ = run_json("plugin.py", "meddle", "--strict", status=1)
    words = 'hook "meddle" changed session.rate, which only auth_check may'
    assert (only["hooks"][0]["refused"], only["hooks"][0]["warnings"]) == (words, [])
    assert (only["failures"], only["log"], only["response"]["status"]) == ([words], [], 500)
    assert f"refused {words}" in run("plugin.py", "meddle", "--strict").words


def test_strict_has_nothing_against_hooks_that_only_look(run_json, place):
    write(place, {"session.json": {"alias": "Ada", "meta_data": {"who": "x"}}})
    only, _ = run_json("plugin.py", "greet_after", "--session", "session.json", "--strict")
    assert only["upstream"] is not None


# --- bundles --------------------------------------------------------------------------------------------------------


def test_whole_bundle_with_the_requests_that_are_played(root):
    tour = root / "examples" / "tour"
    result = tykbridge("run-hook", tour, "--request-file", tour / "request.json", "--json")
    assert (result.status, result.errors) == (0, "")
    document = result.document
    assert document["api"] == "books"
    first, second, third = document["runs"]
    order = [("auth_check", "check_card"), ("post_key_auth", "count_visits"), ("post", "prepare"), ("response", "sign")]
    assert [(hook["phase"], hook["name"]) for hook in first["hooks"]] == order
    assert first["upstream"]["url"] == "/v2/poetry/7?lines=3&shelf=poetry"
    assert first["response"]["body"] == '{"title": "Fragments", "reader": "Ada"}'
    assert first["hooks"][0]["token"] == "L-1815"
    assert (second["about"], second["response"]["status"], second["event"]) == ("without a card", 401, "AuthFailure")
    assert len(second["hooks"]) == 1
    assert third["hooks"][1]["events"] == [{"name": "ReaderReturned", "payload": '{"reader": "Ada"}'}]


@pytest.mark.parametrize("seed", ["classic-definition", "response-hook", "return-overrides", "set-cookie"])
def test_the_seeds_hooks(root, seed):
    folder = root / "examples" / "seeds" / seed
    result = tykbridge("run-hook", folder, "--request-file", folder / "request.json", "--strict")
    assert (result.status, result.errors) == (0, "")
    assert "Nothing failed." in result.output


def test_hook_of_a_bundle_runs_in_the_phase_of_the_manifest(root):
    tour = root / "examples" / "tour"
    result = tykbridge("run-hook", tour / "manifest.json", "prepare", "/poetry/1", "--json")
    assert result.status == 0
    (only,) = result.document["runs"]
    assert [(hook["phase"], hook["name"]) for hook in only["hooks"]] == [("post", "prepare")]


def test_bundle_without_authentication_of_its_own_wants_tokens(run, run_json, place):
    section = hooks(post_key_auth=["greet"], pre=["mark"])
    write(place, {"b/manifest.json": {"file_list": ["plugin.py"], "custom_middleware": section}, "b/plugin.py": PLUGIN})
    write(place, {"session.json": {"alias": "Ada", "meta_data": {"who": "x"}}})
    only, _ = run_json("b")
    assert (only["response"]["status"], only["event"]) == (401, "AuthFailure")
    only, _ = run_json("b", "-H", "Authorization: key", "--session", "session.json")
    assert ["X-Who", "Ada/x"] in only["upstream"]["headers"]
    result = run("b", "--session", "session.json")
    assert result.status == 2
    assert "the request carries no token (in the header Authorization)" in result.words


def test_file_with_one_call(run_json, place):
    call = {"request": {"method": "GET", "url": "/x"}, "upstream": {"status": 201}, "about": "one"}
    write(place, {"call.json": call})
    only, _ = run_json("plugin.py", "stamp", "--request-file", "call.json")
    assert (only["about"], only["request"]["url"]) == ("one", "/x")
    assert ["X-Stamp", "201"] in only["response"]["headers"]


# --- APIs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def apis(place):
    """Three good APIs and a bad one."""
    section = hooks(path="../plugin.py", pre=["mark", "seen"], post=["meddle"], response=["stamp"])
    custom = hooks(path="../plugin.py", auth_check=["check"], post_key_auth=["greet"])
    limited = {"rate": 1, "per": 1000}
    return write(
        place,
        {
            "apis/open.json": definition("open", custom_middleware=section, config_data={"word": "w"}),
            "apis/custom.json": definition(
                "custom", custom_middleware=custom, use_keyless=False, enable_coprocess_auth=True
            ),
            "apis/keys.json": definition(
                "keys", custom_middleware=hooks(path="../plugin.py", post=["greet"]), use_keyless=False
            ),
            "apis/bad.json": definition("bad", custom_middleware=hooks(path="gone.py", pre=["mark"])),
            "policies.json": {"gold": {"org_id": "org", "access_rights": {"keys": {"api_id": "keys"}}, **limited}},
        },
    )


def test_whole_api(run, run_json, apis):
    only, document = run_json("apis/open.json")
    assert document["api"] == "open"
    assert [(hook["phase"], hook["name"]) for hook in only["hooks"]] == [
        ("pre", "mark"),
        ("pre", "seen"),
        ("post", "meddle"),
        ("response", "stamp"),
    ]
    assert [bool(hook["warnings"]) for hook in only["hooks"]] == [False, False, True, False]
    assert only["request"]["url"] == "/open/"
    assert only["upstream"]["headers"] == [["Host", "upstream.test"], ["X-Mark", "1"], ["X-Seen", "1"]]
    assert only["response"]["status"] == 202
    only, _ = run_json("apis/open.json", "--strict", status=1)
    assert [hook["name"] for hook in only["hooks"]] == ["mark", "seen", "meddle"]
    assert only["upstream"] is None
    words = run("apis/open.json").words
    assert words.index("● pre mark") < words.index("+ set_headers[\"X-Seen\"] = '1'") < words.index("● response stamp")


def test_warnings_of_the_definition_stand_above(run, run_json, place):
    section = hooks(path="../plugin.py", auth_check=["check"], pre=["mark"])
    write(
        place,
        {
            "apis/off.json": definition("off", custom_middleware=section, use_keyless=False, use_standard_auth=True),
            "apis/other.json": definition("other", custom_middlewares={}),  # of which the call is not
        },
    )
    _, document = run_json("apis", "--api", "off")
    file = place / "apis" / "off.json"
    why = 'custom authentication is off: the hook "check" does not run'
    told = {"level": "warning", "message": f"{file}: $.custom_middleware.auth_check: {why}"}
    assert document["loading"]["log"] == [told]
    words = run("apis", "--api", "off").words
    assert words.index("● loading") < words.index("log warning") < words.index("● client")
    assert run_json("apis", "mark", "--api", "off")[1]["loading"]["log"] == [told]


def test_warnings_of_a_manifest_stand_above(run_json, place):
    section = {"driver": "python", "pre": [{"name": "mark", "nmae": "x"}]}
    write(place, {"b/middleware.py": PLUGIN, "b/manifest.json": {"file_list": [], "custom_middleware": section}})
    [told] = run_json("b")[1]["loading"]["log"]
    assert told["level"] == "warning"
    assert told["message"].startswith("b/manifest.json: $.custom_middleware.pre[0].nmae: not a key that is known here")


def test_the_upstream_gets_what_a_gateway_sends_it(run, run_json, place):
    """The listen path is left out, the target's path and query are joined, and its host is named."""
    proxy = {"listen_path": "/shop/", "target_url": "http://me:pw@orders.test:81/v1?k=1", "strip_listen_path": True}
    write(
        place,
        {"shop.json": definition("shop", custom_middleware=hooks(path="plugin.py", pre=["mark"])) | {"proxy": proxy}},
    )
    call = ("shop.json", "/shop/books?b=2", "-H", "Connection: X-Hop, X-Mark", "-H", "X-Hop: 1")
    for words in ((), ("mark",)):
        only, _ = run_json(*call, *words)
        assert (only["request"]["url"], only["upstream"]) == (
            "/shop/books?b=2",
            {
                "method": "GET",
                "url": "/v1/books?b=2&k=1",
                "headers": [["Host", "orders.test:81"], ["X-Mark", "1"]],
                "body": "",
            },
        )
    assert "GET /v1/books?b=2&k=1" in run(*call).words
    proxy |= {"preserve_host_header": True, "strip_listen_path": False, "target_url": "http://orders.test/"}
    write(place, {"shop.json": definition("shop") | {"proxy": proxy}})
    only, _ = run_json("shop.json", "http://shop.test/shop/books")
    assert (only["upstream"]["url"], only["upstream"]["headers"]) == ("/shop/books", [["Host", "shop.test"]])


def test_api_of_a_folder_by_id_or_url(run, run_json, apis):
    assert run_json("apis", "--api", "custom")[1]["api"] == "custom"
    assert run_json("apis", "/open/things")[1]["api"] == "open"
    result = run("apis", "/nowhere")
    assert (result.status, result.output) == (2, "")
    for words in (
        "apis: no API listens on /nowhere",
        "open listens on /open/",
        "say which one with --api",
        "not loaded: bad.json; `tykbridge check apis` says why",
    ):
        assert words in result.errors


def test_the_only_api_of_a_folder_runs_where_it_listens_whatever_else_lies_there(run, place):
    write(
        place,
        {
            "apis/api.json": definition("only", custom_middleware=hooks(path="../plugin.py", pre=["mark"])),
            "apis/session.json": {"rate": 5},
        },
    )
    for words in ((), ("mark",)):
        result = run("apis", *words)
        told = "note: not loaded: session.json; `tykbridge check apis` says why\n"
        assert (result.status, result.errors) == (0, told)
        assert "X-Mark" in result.output
    result = run("apis", "/nowhere")
    assert result.status == 2
    assert "no API listens on /nowhere" in result.errors


@pytest.mark.parametrize(
    ("url", "note"),
    [("/open/a?b=/c", ""), ("/other", "note: open listens on /open/: a gateway would not send it /other\n")],
)
def test_a_path_on_which_the_api_does_not_listen_is_told(run, apis, url, note):
    result = run("apis/open.json", url)
    assert (result.status, result.errors) == (0, note)


def test_custom_authentication_in_a_chain(run_json, apis):
    only, _ = run_json("apis/custom.json", "-H", "Authorization: let me in")
    assert [hook["name"] for hook in only["hooks"]] == ["check", "greet"]
    assert ["X-Who", "Ada/checked"] in only["upstream"]["headers"]
    only, _ = run_json("apis/custom.json")
    assert (only["response"]["status"], only["event"]) == (403, "AuthFailure")


def test_session_and_policies_of_a_token(run, run_json, apis, place):
    write(place, {"session.json": {"alias": "Ada", "apply_policies": ["gold"], "meta_data": {"who": "x"}}})
    flags = ("apis/keys.json", "--session", "session.json", "--policies", "policies.json")
    only, _ = run_json(*flags, "-H", "Authorization: key")
    assert ["X-Who", "Ada/x"] in only["upstream"]["headers"]
    policies = {"policy_source": "file", "policy_record_name": "policies.json"}
    write(place, {"tyk.conf": {"policies": policies}, "none.json": {}})
    by_conf = (*flags[:3], "--conf", "tyk.conf", "-H", "Authorization: key")
    assert run_json(*by_conf)[0]["upstream"] == only["upstream"]
    assert run_json(*by_conf, "--policies", "none.json")[0]["response"]["status"] == 403  # the option wins
    calls = [{"request": {"method": "GET", "url": "/keys/", "headers": {"Authorization": "key"}}}] * 2
    write(place, {"twice.json": {"calls": calls}})
    result = run(*flags, "--request-file", "twice.json", "--json")
    assert result.status == 0  # the policy's limit is what was asked for
    assert [(item["response"] or {}).get("status") for item in result.document["runs"]] == [None, 429]
    result = run("apis/custom.json", "--session", "session.json")
    assert result.status == 2
    assert 'the API "custom" makes its sessions by an auth_check hook' in result.words


def test_one_hook_of_an_api_has_the_apis_config(run_json, apis, place):
    section = hooks(path="../plugin.py", pre=["config"])
    write(place, {"apis/c.json": definition("c", custom_middleware=section, config_data={"word": "of the API"})})
    only, document = run_json("apis/c.json", "config")
    assert document["api"] == "c"
    assert ["X-Config", "of the API org/c"] in only["upstream"]["headers"]
    only, _ = run_json("apis/open.json", "seen")
    assert [hook["name"] for hook in only["hooks"]] == ["seen"]
    assert ["X-Seen", "nothing"] in only["upstream"]["headers"]


def test_what_the_chain_says_by_itself_is_shown(run, run_json, apis, place):
    write(place, {"session.json": {"apply_policies": ["silver"]}})
    arguments = ("apis/keys.json", "-H", "Authorization: key", "--session", "session.json")
    only, _ = run_json(*arguments)
    assert only["response"]["status"] == 403
    assert 'policy "silver" is not known' in only["log"][0]["message"]
    assert 'policy "silver" is not known' in run(*arguments).words


# --- what cannot be run ---------------------------------------------------------------------------------------------


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plugin.py", "marc"), 'there is no hook "marc"; did you mean "mark"? (hooks: mark, seen, meddle,'),
        (("plugin.py",), "no manifest.json says which hooks run and when, so name one (there are: mark, seen,"),
        (("broken.py", "x"), "broken.py:3: SyntaxError"),
        (("arity.py", "x"), 'arity.py:3: the hook "x" takes 1 positional parameter; write def x(request, session,'),
        (("notes.md",), "notes.md: expected a bundle's folder or .zip, a .py, .js or .lua file, or API definitions"),
        (("nowhere.py", "x"), "nowhere.py: there is no such file or folder"),
        (("plugin.zip", "x"), "plugin.zip does not load: it is not a zip archive, or its end is missing"),
        (("empty", "x"), "empty: no manifest.json and no middleware.py (a bundle), and no *.json (API definitions)"),
        (("manifest",), "manifest.json: $.custom_middleware.pre: expected a list"),
        (("manifest", "x"), "manifest.json: $.custom_middleware.pre: expected a list"),
        (("logs",), "not loaded: needs hooks on traffic logs ($.custom_middleware.traffic_logs)"),
        (("apis/bad.json",), '$.custom_middleware.pre[0]: the file of the hook "mark" is not there'),
        (("apis/typo.json",), "apis/typo.json:1:"),
        (("refused",), "refused/api.json: $.custom_middleware.pre[0]: "),
        (("waits",), "waits/api.json: not loaded: needs hooks on traffic logs"),
        (("apis/logs.json",), "apis/logs.json: not loaded: needs hooks on traffic logs"),
        (("apis/open.json", "nope"), 'there is no hook "nope" (hooks: mark)'),
        (("apis/open.json", "check"), 'the hook "check" does not run in this API'),
        (("apis/open.json", "mark", "--phase", "post"), 'the hook "mark" does not run as post in this API'),
        (("plugin.py", "mark", "seen"), "one HOOK at most, not mark and seen"),
        (("plugin.py", "mark", "/a", "/b"), "one URL at most"),
        (("plugin.py", "mark", "ftp://x/"), "expected a path that begins with /, or http://host/path"),
        (("plugin.py", "mark", "/a b"), "has spaces or control characters"),
        (("plugin.py", "mark", "-H", "X"), "'X': expected 'Name: value'"),
        (("plugin.py", "mark", "-H", "X: a\nY: b"), "expected 'Name: value'"),
        (("plugin.py", "mark", "-X", "GE T"), "'GE T' is no method"),
        (("plugin.py", "mark", "-d", "@gone"), "gone: No such file or directory"),
        (("plugin.py", "mark", "--status", "99"), "99 is not in the range"),
        (("plugin.py", "mark", "/a", "--request-file", "r.json"), "leave URL, -X, -H, -d and --status out"),
        (("plugin.py", "mark", "--request-file", "r.json"), "r.json: calls: missing"),
        (("plugin.py", "mark", "--request-file", "none.json"), "none.json: not found"),
        (("plugin.py", "mark", "--request-file", "no-calls.json"), '"calls" is empty'),
        (("plugin.py", "mark", "--config-data", "["), "no JSON"),
        (("plugin.py", "mark", "--config-data", "[]"), "expected a JSON object"),
        (("plugin.py", "mark", "--api", "x"), "--api is for API definitions"),
        (("apis/open.json", "--config-data", "{}"), "an API definition has its own"),
        (("apis/open.json", "--phase", "pre"), "--phase is for one hook"),
        (("apis/open.json", "--policies", "r.json", "mark"), "r.json: $.x: expected an object"),
        (("apis/open.json", "--session", "no-calls.json"), 'the API "open" is keyless'),
    ],
)
def test_what_cannot_be_run_says_why(run, place, arguments, words):
    logs = {"driver": "python", "traffic_logs": {"name": "x", "path": "x.py"}}
    (place / "plugin.zip").touch()
    (place / "empty").mkdir()
    section = hooks(path="../plugin.py", pre=["mark"], auth_check=["check"])
    write(
        place,
        {
            "broken.py": "from tyk.decorators import *\n\ndef x(:\n",
            "arity.py": "from tyk.decorators import *\n\n@Hook\ndef x(request): pass\n",
            "manifest/manifest.json": {"custom_middleware": {"pre": {}}},
            "manifest/middleware.py": "",
            "notes.md": "",
            "logs/manifest.json": {"custom_middleware": logs},
            "apis/open.json": definition("open", custom_middleware=section),
            "apis/bad.json": definition("bad", custom_middleware=hooks(path="gone.py", pre=["mark"])),
            "apis/typo.json": '{"api_id" "x"}',
            "apis/logs.json": definition("logs", custom_middleware=logs),
            "refused/api.json": definition("bad", custom_middleware=hooks(path="../broken.py", pre=["x"])),
            "waits/api.json": definition("logs", custom_middleware=logs),
            "r.json": {"x": 1},
            "no-calls.json": {"calls": []},
        },
    )
    result = run(*arguments)
    assert (result.status, result.output) == (2, "")
    assert words in result.words


# --- what is drawn --------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_colour_on_request_and_in_a_terminal(run, place):
    assert "\x1b[32m+ set_headers" in run("plugin.py", "mark", "--color").output
    environment = {key: value for key, value in os.environ.items() if key not in UNWANTED} | {"TERM": "xterm"}
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "tykbridge", "run-hook", "plugin.py", "mark"]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=place)
    os.close(theirs)
    output = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # how a terminal says that the other side is gone
            break
        if not read:
            break
        output += read
    os.close(ours)
    assert process.wait() == 0
    assert b"\x1b[32m+ set_headers" in output


@pytest.mark.once
def test_narrow_page(run):
    result = run("plugin.py", "meddle", COLUMNS="44")
    assert max(map(len, result.output.splitlines())) <= 44
    assert "refused in strict mode" in result.words


def test_control_characters_of_plugins_are_spelled_out(run, place):
    write(place, {"rude.py": PLUGIN.replace('"marking"', r'"\x1b]0;owned\x07"')})
    assert r"\x1b]0;owned\x07" in run("rude.py", "mark").output


@pytest.mark.once
def test_help_teaches():
    result = tykbridge("run-hook", "--help")
    assert result.status == 0
    assert max(map(len, result.output.splitlines())) <= 80
    for words in ("-X, --method", "-H, --header", "-d, --data", "Examples:", "Exit status: 0 when the request went on"):
        assert words in result.output


def test_an_interrupt_in_a_hook_ends_it(place, interruptible):
    code = "import signal\nfrom tyk.decorators import Hook\n@Hook\ndef stop(request, session, spec):\n"
    write(place, {"stop.py": f"{code}    signal.raise_signal(signal.SIGINT)\n    return request, session\n"})
    result = tykbridge("run-hook", "stop.py", "stop", cwd=place)
    assert result.status == 1
    assert (result.output, result.errors.strip()) == ("", "Aborted!")
