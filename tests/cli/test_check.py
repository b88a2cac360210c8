"""`tykbridge check`, as people run it."""

import hashlib
import os

import pytest

from tests.cli.commands import definition, hooks, tykbridge, write
from tests.webserver import serving

PLUGIN = """
from tyk.decorators import *

print("at import")

@Hook
def mark(request, session, spec):
    return request, session

@Hook
def stamp(request, response, session, metadata, spec):
    return response
"""


@pytest.fixture
def place(tmp_path):
    """A folder with apis/plugin.py, which good definitions name."""
    return write(tmp_path, {"apis/plugin.py": PLUGIN})


@pytest.fixture
def check(place):
    """Runs `check` in the folder."""
    return lambda *arguments, **options: tykbridge("check", *arguments, cwd=place, **options)


@pytest.fixture
def check_json(check, place):
    """Runs `check --json`; gives the items by their paths below the folder, and the document."""

    def invoke(*arguments, status=0):
        result = check(*arguments, "--json")
        assert (result.status, result.errors) == (status, "")
        document = result.document
        return {os.path.relpath(item["file"], place): item for item in document["items"]}, document

    return invoke


def good(api_id):
    return definition(api_id, custom_middleware=hooks(pre=["mark"], response=["stamp"]))


def test_everything_is_right(check, check_json, place):
    write(place, {"apis/a.json": good("a"), "apis/b.json": good("b")})
    items, document = check_json("apis")
    assert document["ok"] is True
    zero = {"not_loaded": 0, "inactive": 0, "refused": 0, "problems": 0, "warnings": 0}
    assert document["counts"] == {"loaded": 2, **zero}
    assert items["apis/a.json"] == {
        "kind": "api",
        "file": str(place / "apis" / "a.json"),
        "name": "a",
        "status": "loaded",
        "hooks": [{"phase": "pre", "name": "mark"}, {"phase": "response", "name": "stamp"}],
        "needs": [],
        "problems": [],
        "warnings": [],
    }
    result = check("apis")
    assert (result.status, result.errors) == (0, "")
    assert result.output == (
        "apis/a.json\n  loaded      a: pre mark, response stamp\n\n"
        "apis/b.json\n  loaded      b: pre mark, response stamp\n\n"
        "2 loaded: 0 problems, 0 warnings\n"
    )


BROKEN = {
    "apis/path.json": definition("path", proxy={"listen_path": "x"}, custom_middleware={"driver": "pyton"}),
    "apis/text.json": '{\n  "api_id": "text",\n  "proxy" {}\n}',
    "apis/hooks.json": definition(
        "hooks",
        custom_middleware={
            "driver": "python",
            "pre": [
                {"name": "mark", "path": "plugin.py"},
                {"name": "mark", "path": "syntax.py"},
                {"name": "again", "path": "syntax.py"},
                {"name": "f", "path": "arity.py"},
                {"name": "nope", "path": "plugin.py"},
                {"name": "x", "path": "gone.py"},
                {"name": "y", "path": "raises.py"},
            ],
        },
    ),
    "apis/syntax.py": "from tyk.decorators import *\n\ndef x(:\n",
    "apis/arity.py": "from tyk.decorators import *\n\n@Hook\ndef f(request): pass\n",
    "apis/raises.py": "\n\n\nimport nowhere_to_be_found\n",
}


def test_every_problem_has_its_place(check, check_json, place):
    write(place, {"apis/good.json": good("good"), **BROKEN})
    items, document = check_json("apis", status=1)
    assert document["ok"] is False
    assert document["counts"]["loaded"] == 1
    assert document["counts"]["refused"] == 3
    assert document["counts"]["problems"] == 2 + 1 + 5
    assert items["apis/good.json"]["status"] == "loaded"

    found = items["apis/path.json"]["problems"]
    assert [(item["path"], item["line"], item["column"], item["place"]) for item in found] == [
        ("$.proxy.listen_path", None, None, ""),
        ("$.custom_middleware.driver", None, None, ""),
    ]
    assert 'did you mean "python"?' in found[1]["message"]

    (found,) = items["apis/text.json"]["problems"]
    assert (found["path"], found["line"], found["column"]) == ("$", 3, 11)
    assert found["message"] == "expected JSON (expecting ':' delimiter), found '{'"

    found = items["apis/hooks.json"]["problems"]
    places = [os.path.relpath(item["place"], place) if item["place"] else "" for item in found]
    assert [item["path"].removeprefix("$.custom_middleware.") for item in found] == [
        *("pre[1]", "pre[3]", "pre[4]", "pre[5]", "pre[6]")  # what breaks a file is told once
    ]
    assert places == ["apis/syntax.py:3", "apis/arity.py:3", "", "", "apis/raises.py:4"]
    assert {item["file"] for item in found} == {str(place / "apis" / "hooks.json")}
    messages = [item["message"] for item in found]
    assert "SyntaxError" in messages[0]
    assert "write def f(request, session, spec)" in messages[1]
    assert f'bundle "{place}/apis/plugin.py" ({place}/apis) has no hook "nope" (hooks: mark, stamp)' in messages[2]
    assert "apis/gone.py" in messages[3]
    assert "nowhere_to_be_found" in messages[4]

    result = check("apis")
    assert (result.status, result.errors) == (1, "")
    for words in (
        "apis/good.json loaded good: pre mark, response stamp",
        "apis/path.json refused error $.proxy.listen_path: expected a path that starts with /",
        "error apis/text.json:3:11: expected JSON",
        "error $.custom_middleware.pre[1]: apis/syntax.py:3: SyntaxError",
        "error $.custom_middleware.pre[3]: apis/arity.py:3: the hook",
        "1 loaded, 3 refused: 8 problems, 0 warnings",
    ):
        assert words in result.words


def test_one_file_alone(check_json, place):
    write(place, {"apis/good.json": good("good"), **BROKEN})
    items, _ = check_json("apis/good.json")
    assert list(items) == ["apis/good.json"]
    items, _ = check_json("apis/text.json", status=1)
    assert list(items) == ["apis/text.json"]


def test_notices_are_warnings(check, check_json, place):
    section = {"pre": [{"name": "mark", "path": "plugin.py"}]}
    write(place, {"apis/a.json": definition("a", custom_middleware=section)})
    items, document = check_json("apis")
    assert document["counts"]["warnings"] == 1
    (warning,) = items["apis/a.json"]["warnings"]
    assert warning["path"] == "$.custom_middleware.pre[0]"
    assert warning["message"] == 'no driver is named: "python", from the suffix of "plugin.py"'
    assert "warning $.custom_middleware.pre[0]: no driver is named" in check("apis").words
    write(place, {"tyk.conf": {}})
    items, document = check_json("apis", "--conf", "tyk.conf")  # told with its file, and not of the settings as well
    assert (document["counts"]["warnings"], items["apis/a.json"]["warnings"]) == (1, [warning])


def test_the_seeds_definitions(check, check_json, place):
    """What waits for something that is not built, or a download, is listed, and is no problem unless one says so."""
    write(
        place,
        {
            "apis/bundle.json": definition("bundle", custom_middleware_bundle="FooBarBundle.zip"),
            "apis/more.json": definition("more", use_keyless=False, use_basic_auth=True),
            "apis/off.json": definition("off", active=False),
        },
    )
    items, document = check_json("apis")
    assert [item["status"] for item in items.values()] == ["not loaded", "not loaded", "inactive"]
    assert items["apis/more.json"]["needs"] == [{"path": "$.use_basic_auth", "what": "basic authentication"}]
    assert items["apis/bundle.json"]["needs"] == [
        {"path": "$.custom_middleware_bundle", "what": 'a download of the bundle "FooBarBundle.zip"'}
    ]
    assert document["ok"] is True
    assert (document["counts"]["not_loaded"], document["counts"]["inactive"]) == (2, 1)
    result = check("apis")
    assert result.status == 0
    assert "not loaded needs basic authentication ($.use_basic_auth)" in result.words
    assert "2 not loaded, 1 inactive: 0 problems, 0 warnings" in result.words
    assert check("apis", "--require-all").status == 1
    assert check("apis/off.json", "--require-all").status == 0


def test_a_download_that_an_oas_definition_waits_for(check_json, place):
    extension = {
        "info": {"id": "api", "orgId": "org", "name": "Name"},
        "upstream": {"url": "http://upstream/"},
        "server": {"listenPath": {"value": "/api/"}},
        "middleware": {"global": {"pluginConfig": {"driver": "python", "bundle": {"enabled": True, "path": "far"}}}},
    }
    document = {"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": {}}
    write(place, {"apis/oas.json": {**document, "x-tyk-api-gateway": extension}})
    items, _ = check_json("apis")
    (need,) = items["apis/oas.json"]["needs"]
    assert need["what"] == 'a download of the bundle "far"'
    assert need["path"].endswith(".middleware.global.pluginConfig.bundle.path")


# --- bundles --------------------------------------------------------------------------------------------------------


def bundled(place, manifest, source=PLUGIN, middleware="middleware"):
    """Writes the bundle "b" as a gateway unpacks it, and a definition that names it; gives the bundle's folder."""
    folder = f"{middleware}/bundles/{hashlib.md5(b'b').hexdigest()}"
    files = {f"{folder}/manifest.json": manifest, f"{folder}/middleware.py": source}
    write(place, {"apis/api.json": definition("api", custom_middleware_bundle="b"), **files})
    return folder


def test_bundle_of_a_definition(check_json, place):
    bundled(place, {"file_list": ["middleware.py"], "custom_middleware": hooks(pre=["mark"])})
    items, _ = check_json("apis")
    assert items["apis/api.json"]["hooks"] == [{"phase": "pre", "name": "mark"}]
    items, _ = check_json(".", "--middleware-path", "middleware")
    assert [item["kind"] for item in items.values()] == ["api"]  # and no bundle a second time
    bundled(place, {"custom_middleware": hooks(pre=["mark"])}, middleware="elsewhere")
    items, _ = check_json("apis", "--middleware-path", "elsewhere")
    assert items["apis/api.json"]["status"] == "loaded"


@pytest.mark.parametrize(
    ("manifest", "source", "path", "line", "words"),
    [
        ('{"file_list" []}', PLUGIN, "$", 1, "expected JSON"),
        ("[]", PLUGIN, "$", None, "expected an object"),
        ({"custom_middleware": {"pre": "mark"}}, PLUGIN, "$.custom_middleware.pre", None, "expected a list"),
    ],
)
def test_manifest_that_is_wrong(check_json, place, manifest, source, path, line, words):
    folder = bundled(place, manifest, source)
    items, _ = check_json("apis", status=1)
    (problem,) = items["apis/api.json"]["problems"]
    assert problem["file"] == str(place / folder / "manifest.json")
    assert (problem["path"], problem["line"]) == (path, line)
    assert words in problem["message"]


def test_warning_about_a_manifest_belongs_to_its_api(check_json, place):
    section = {"pre": [{"name": "mark", "path": "middleware.py"}], "driver": "python", "pots": []}
    folder = bundled(place, {"custom_middleware": section})
    items, _ = check_json("apis")
    (warning,) = items["apis/api.json"]["warnings"]
    assert warning["file"] == str(place / folder / "manifest.json")
    assert "pots" in warning["path"] + warning["message"]
    write(place, {"apis/other.json": definition("other", custom_middleware_bundle="b")})
    items, document = check_json("apis")
    assert [len(item["warnings"]) for item in items.values()] == [1, 1]
    assert document["counts"]["warnings"] == 2


def test_warning_about_a_manifest_of_an_api_that_does_not_load(check_json, place):
    section = {"pre": [{"name": "gone"}], "driver": "python", "pots": []}
    bundled(place, {"custom_middleware": section})
    items, _ = check_json("apis", status=1)
    (item,) = items.values()
    assert (item["status"], len(item["problems"]), len(item["warnings"])) == ("refused", 1, 1)


def test_manifest_that_names_a_hook_which_is_not_there(check_json, place):
    folder = bundled(place, {"custom_middleware": hooks(pre=["gone"])})
    items, _ = check_json("apis", status=1)
    (problem,) = items["apis/api.json"]["problems"]
    assert f'{folder}/manifest.json: custom_middleware.pre[0] names the hook "gone"' in problem["message"]


def test_the_examples(root):
    # What is compiled first has tests of its own.
    folders = [folder for folder in (root / "examples").iterdir() if folder.name not in ("go", "grpc", "native")]
    results = [tykbridge("check", folder, "--json") for folder in folders]
    assert {result.status for result in results} == {0}
    items = [item for result in results for item in result.document["items"] if item["kind"] == "bundle"]
    bundles = {os.path.dirname(item["file"]): item for item in items}
    assert set(bundles) == {str(file.parent) for file in (root / "examples").rglob("manifest.json")}
    assert {(item["kind"], item["status"]) for item in bundles.values()} == {("bundle", "loaded")}
    tour = bundles[str(root / "examples" / "tour")]
    assert tour["name"] == "tour"
    assert tour["hooks"][0] == {"phase": "auth_check", "name": "check_card"}


def test_definitions_and_the_bundles_below_them(check_json, place):
    write(
        place,
        {
            "apis/good.json": good("good"),
            "apis/more/manifest.json": {"custom_middleware": hooks(pre=["mark"])},
            "apis/more/middleware.py": "x =",
        },
    )
    items, _ = check_json("apis", status=1)
    assert items["apis/good.json"]["status"] == "loaded"
    (problem,) = items["apis/more/manifest.json"]["problems"]
    assert problem["place"] == str(place / "apis" / "more" / "middleware.py") + ":1"


@pytest.mark.once
def test_folders_of_everything(check_json, place):
    """Definitions and bundles are found below, and other JSON is left alone."""
    manifest, app = {"custom_middleware": hooks(pre=["mark"])}, {"name": "an app of the web"}
    write(
        place,
        {
            "package.json": {"name": "x"},
            "manifest.json": app,
            "apis/good.json": good("good"),
            "apis/cut.json": '{"api_id": "cut',
            "old/apis/good.json": good("good"),
            "old/apis/plugin.py": PLUGIN,
            "bundles/b/manifest.json": manifest,
            "bundles/b/middleware.py": PLUGIN,
            "bundles/b/data/x.json": good("x"),
            "bundles/cut/manifest.json": "{",
            "web/manifest.json": app,
            "web/tsconfig.json": "{/* a comment */}",
            ".venv/manifest.json": manifest,
            "node_modules/b/manifest.json": manifest,
        },
    )
    items, _ = check_json(".", status=1)
    assert {file: item["status"] for file, item in items.items()} == {
        "apis/cut.json": "refused",
        "apis/good.json": "loaded",
        "old/apis/good.json": "loaded",
        "bundles/b/manifest.json": "loaded",
        "bundles/cut/manifest.json": "refused",
    }


def test_definition_that_is_no_json_beside_bundles(check_json, place):
    manifest = {"custom_middleware": hooks(pre=["mark"])}
    write(place, {"bad.json": "{", "b/manifest.json": manifest, "b/middleware.py": PLUGIN})
    items, _ = check_json(".", status=1)
    assert {file: item["status"] for file, item in items.items()} == {
        "bad.json": "refused",
        "b/manifest.json": "loaded",
    }


def test_file_of_hooks(check, check_json, place):
    items, _ = check_json("apis/plugin.py")
    assert items["apis/plugin.py"]["kind"] == "file"
    assert items["apis/plugin.py"]["hooks"] == [{"phase": "", "name": "mark"}, {"phase": "", "name": "stamp"}]
    write(place, BROKEN)
    result = check("apis/arity.py")
    assert result.status == 1
    assert 'apis/arity.py:3: the hook "f" takes 1 positional parameter' in result.words


def test_bundle_that_waits_for_what_is_not_built(check_json, place):
    section = {"driver": "python", "traffic_logs": {"name": "x", "path": "x.py"}}
    write(place, {"b/manifest.json": {"custom_middleware": section}})
    items, _ = check_json("b")
    assert items["b/manifest.json"]["status"] == "not loaded"
    assert items["b/manifest.json"]["needs"] == [
        {"path": "$.custom_middleware.traffic_logs", "what": "hooks on traffic logs"}
    ]


# --- policies, and nothing ------------------------------------------------------------------------------------------


@pytest.mark.once
def test_policies(check, check_json, place):
    write(place, {"apis/good.json": good("good"), "good.json": {"gold": {}}, "bad.json": {"gold": {"org_id": 5}}})
    items, _ = check_json("apis", "--policies", "good.json")
    assert (items["good.json"]["kind"], items["good.json"]["status"]) == ("policies", "loaded")
    items, _ = check_json("apis", "--policies", "bad.json", status=1)
    (problem,) = items["bad.json"]["problems"]
    assert (problem["path"], problem["message"]) == ("$.gold.org_id", "expected a string, found a number (5)")
    items, _ = check_json("apis", "--policies", "none.json", status=1)
    assert items["none.json"]["status"] == "refused"
    write(place, {"tyk.conf": {"policies": {"policy_source": "file", "policy_record_name": "bad.json"}}})
    items, _ = check_json("apis", "--conf", "tyk.conf", status=1)
    assert (items["bad.json"]["status"], items["tyk.conf"]["warnings"]) == ("refused", [])
    items, _ = check_json("apis", "--conf", "tyk.conf", "--policies", "good.json")
    assert "bad.json" not in items


@pytest.mark.once
def test_nothing_to_check(check, place):
    (place / "empty").mkdir()
    for source, words in (("nowhere", "there is no such file or folder"), ("empty", "no manifest.json and no")):
        result = check(source, "--json")
        assert (result.status, result.output) == (2, "")
        assert words in result.words


# --- what is drawn --------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_narrow_page_without_colours(check, place):
    write(place, BROKEN)
    result = check("apis", COLUMNS="40")
    assert "\x1b" not in result.output
    assert max(map(len, result.output.splitlines())) <= 40
    assert "\x1b[31m  refused" in check("apis", "--color").output


def test_control_characters_are_spelled_out(check, place):
    write(place, {"apis/a.json": definition("a", custom_middleware={"driver": "\x1b[2J"})})
    output = check("apis").output
    assert "\x1b" not in output
    assert "u001b[2J" in output


@pytest.mark.once
def test_help_teaches():
    result = tykbridge("check", "--help")
    assert result.status == 0
    assert max(map(len, result.output.splitlines())) <= 80
    for words in ("SOURCE is", "Examples:", "Exit status: 0 when nothing is refused"):
        assert words in result.output
    listed = tykbridge("--help")
    for name in ("check", "play", "run-hook"):
        assert f"\n  {name} " in listed.output


def test_handlers_of_events_are_checked_and_not_called(check, check_json, place):
    write(
        place,
        {
            "apis/a.json": definition(
                "a",
                custom_middleware=hooks(pre=["mark"]),
                event_handlers={
                    "events": {
                        "Marked": [
                            {"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "gone"}},
                            {"handler_name": "eh_web_hook_handler", "handler_meta": {"target_path": "here"}},
                        ]
                    }
                },
            ),
            "apis/b.json": definition(
                "b",
                event_handlers={
                    "events": {
                        "Marked": [
                            {
                                "handler_name": "eh_web_hook_handler",
                                "handler_meta": {
                                    "target_path": "http://h/",
                                    "method": "POST",
                                    "template_path": "t.json",
                                },
                            },
                            {"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "f", "path": "syntax.py"}},
                        ]
                    }
                },
            ),
            "apis/t.json": "\n\n{{.Foo}}",
            "apis/syntax.py": "from tyk.decorators import *\n\ndef x(:\n",
        },
    )
    items, _ = check_json("apis", status=1)
    (problem,) = items["apis/a.json"]["problems"]
    assert problem["path"] == "$.event_handlers.events.Marked[1].handler_meta.target_path"
    template, code = items["apis/b.json"]["problems"]
    assert (template["path"], template["place"]) == (
        "$.event_handlers.events.Marked[0]",
        str(place / "apis/t.json") + ":3",
    )
    assert (code["path"], code["place"]) == ("$.event_handlers.events.Marked[1]", str(place / "apis/syntax.py") + ":3")


def test_a_check_sends_nothing(check, place):
    with serving() as server:
        meta = {"target_path": server.url, "method": "POST"}
        handlers = [{"handler_name": "eh_web_hook_handler", "handler_meta": meta}]
        folder = f"middleware/bundles/{hashlib.md5(b'one').hexdigest()}"
        section = {"driver": "python", "pre": [{"name": "mark"}]}
        api = definition(
            "a",
            custom_middleware_bundle="one",
            event_handlers={"events": {"BundleLoaded": handlers, "Marked": handlers}},
        )
        write(
            place,
            {
                "apis/a.json": api,
                f"{folder}/middleware.py": MARK,
                f"{folder}/manifest.json": {"file_list": ["middleware.py"], "custom_middleware": section},
            },
        )
        assert check("apis", "--middleware-path", "middleware").status == 0
        result = tykbridge("run-hook", "apis/a.json", "/a", "--middleware-path", "middleware", "--json", cwd=place)
        assert [event["name"] for event in result.document["runs"][0]["hooks"][0]["events"]] == ["Marked"]
    assert server.got == []


MARK = """
from gateway import TykGateway as tyk
from tyk.decorators import *

@Hook
def mark(request, session, spec):
    tyk.trigger_event("Marked", "x")
    return request, session
"""
