"""The ABI of native plugins, csrc/plugin.h: held by the example in C and by the shim of Go plugins alike."""

import json
import re
import shlex
import subprocess

import pytest

from tests import plugins
from tests.plugins import CONTINUE, RESPOND, Child
from tykbridge import installation

# A Go library's runtime is no friend of ASan's, and what it does depends on no Python.
pytestmark = [pytest.mark.once, pytest.mark.plain]

REQUEST = [("method", "GET"), ("url", "/a?b=c"), ("host", "example.org"), ("scheme", "http")]


@pytest.fixture(scope="module")
def native(root, tmp_path_factory):
    """The example in C, as its page says it is built."""
    source = root / "examples/native/plugin.c"
    [command] = re.findall(r"^ \* +(cc .*)$", source.read_text(), re.MULTILINE)
    command = command.replace("$(tykbridge --cflags)", installation.cflags())
    folder = tmp_path_factory.mktemp("native")
    subprocess.run([*shlex.split(command)[:-1], "-Wall", "-Wextra", "-Werror", source], cwd=folder, check=True)
    return folder / "plugin.so"


@pytest.fixture
def opened():
    """Opens libraries, each in a process of its own that must end by itself."""
    children = []

    def open_(library, start=True, **env):
        children.append(Child(library, **env))
        if start:
            assert children[-1].start(settings='{"secret": "s"}') == (CONTINUE, [])
        return children[-1]

    yield open_
    for child in children:
        assert child.close() == 0


@pytest.fixture(scope="module")
def every(go_plugin):
    """One process with the plugin that has a hook for everything."""
    child = Child(go_plugin("tests/go/every").file)
    assert child.start(settings='{"secret": "s"}') == (CONTINUE, [])
    yield child
    assert child.close() == 0


def names(items):
    return [item[0] for item in items]


def of(items, name):
    return [item[1:] if len(item) > 2 else item[1] for item in items if item[0] == name]


# ---- The header


def test_the_tests_know_the_headers_numbers(root):
    text = (root / "csrc/plugin.h").read_text()
    numbers = {name: int(value) for name, value in re.findall(r"\bTYKB_PLUGIN_(\w+) = (-?\d+)", text)}
    assert {tag: numbers[tag.upper()] for tag in plugins.TAGS} == plugins.TAGS
    assert {kind: numbers[kind.upper()] for kind in plugins.KINDS} == plugins.KINDS
    assert f"#define TYKB_PLUGIN_ABI {plugins.ABI}u" in text
    named = {"E_ARGUMENT": plugins.ARGUMENT, "E_NOT_STARTED": plugins.NOT_STARTED, "E_MALFORMED": plugins.MALFORMED}
    named |= {"E_NOT_FOUND": plugins.NOT_FOUND, "E_HOOK": plugins.HOOK, "E_TOO_LARGE": plugins.TOO_LARGE}
    named |= {"E_FORKED": plugins.FORKED, "E_ABI": plugins.BAD_ABI, "E_HOST": plugins.HOST}
    assert {name: numbers[name] for name in named} == named


def test_the_header_alone_twice_and_in_cxx(root, tmp_path):
    source = tmp_path / "twice.c"
    source.write_text('#include "plugin.h"\n#include "plugin.h"\n#include "api.h"\n')
    for compiler in (["cc", "-std=c99"], ["c++", "-x", "c++", "-std=c++11"]):
        command = [*compiler, "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{root / 'csrc'}", source]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_shims_numbers_are_the_headers(root):
    shim = root / "tykbridge/goplugin/tyk/tykbridge/shim"
    tags = dict(re.findall(r"^\ttag(\w+) += (\d+)$", (shim / "items.go").read_text(), re.MULTILINE))
    assert {name.lower(): int(tag) for name, tag in tags.items()} == {
        name.replace("_", ""): tag for name, tag in plugins.TAGS.items()
    }


# ---- What any plugin promises


@pytest.fixture(params=["c", "go"])
def library(request):
    """A library, the name of one of its request hooks, and how many hooks it has."""
    if request.param == "c":
        return request.getfixturevalue("native"), "Gate"
    return request.getfixturevalue("go_plugin")("tests/go/every").file, "Nothing"


def test_the_table(library, opened):
    file, hook = library
    child = opened(file, start=False)
    assert child.sizes() == (plugins.ABI, True)
    told = child.manifest()
    assert told["abi"] == plugins.ABI
    assert hook in [one["name"] for one in told["hooks"] if one["kind"] == "request"]
    status, [words] = child.start(abi=2)
    assert (status, words[0]) == (plugins.BAD_ABI, "error")
    assert child.start() == (CONTINUE, [])
    assert child.lookup(hook, "request") > 0
    assert child.lookup(hook, "response") == plugins.NOT_FOUND
    assert child.lookup("Nobody", "request") == plugins.NOT_FOUND
    outcome, [words] = child.run(77, "request", REQUEST)
    assert (outcome, words[0]) == (plugins.NOT_FOUND, "error")


@pytest.mark.parametrize("cut", [1, 7, 9, 30])
def test_bytes_that_are_no_items(library, opened, cut):
    file, hook = library
    whole = plugins.encode([("header", "A", "1"), ("header", "B", "2"), ("method", "GET")])
    outcome, [words] = opened(file).run(hook, "request", whole[: len(whole) - cut])
    assert (outcome, words[0]) == (plugins.MALFORMED, "error")


def test_an_item_that_a_plugin_does_not_know(library, opened):
    file, hook = library
    before = opened(file).run(hook, "request", [*REQUEST, ("header", "X-Key", "k")])
    after = opened(file).run(hook, "request", [(999, "later"), *REQUEST, (998, ""), ("header", "X-Key", "k")])
    assert before == after
    assert before[0] == CONTINUE


# ---- The example in C


def test_c_answers(native, opened):
    child = opened(native)
    outcome, items = child.run("Gate", "request", REQUEST)
    assert outcome == RESPOND
    assert items == [
        ("response_status", 401),
        ("response_header", "Content-Type", "application/json"),
        ("response_body", '{"error": "X-Key is missing"}'),
    ]
    assert child.seen()[0] == [("warning", "a request without X-Key")]


def test_c_changes_and_counts(native, opened):
    child = opened(native)
    for n in ("1", "2", "3"):
        outcome, items = child.run("Gate", "request", [*REQUEST, ("header", "x-key", "ada")], capacity=int(n) - 1)
        assert (outcome, items) == (CONTINUE, [("delete_header", "X-Key"), ("header", "X-Visit", n)])
    assert child.seen()[2] == {b"ada": b"3"}
    assert child.run("Stamp", "response", [*REQUEST, ("response_status", 200)]) == (
        CONTINUE,
        [("response_header", "X-Stamp", "native")],
    )
    child.break_store()
    outcome, items = child.run("Gate", "request", [*REQUEST, ("header", "X-Key", "ada")])
    assert (outcome, of(items, "error")) == (plugins.HOOK, ["Gate: the store does not count"])


# ---- Go: what goes in


def test_go_sees_the_request(every):
    definition, _ = every.define(
        {"definition": {"api_id": "7", "config_data": {"a": 1}}, "spec": {"APIID": "7", "OrgID": "o"}}
    )
    headers = [("header", "x-multi", "1"), ("header", "Other", "o"), ("header", "X-Multi", "2")]
    more = [("body", "text"), ("remote", "10.0.0.1:99"), ("token", "t"), ("session", '{"alias": "Ada"}')]
    request = [("method", "POST"), ("url", "/a%20b?q=1&q=2"), ("host", "h:1"), ("scheme", "https"), *headers, *more]
    outcome, items = every.run("Show", "request", request, definition=definition, phase="post", timeout=60)
    assert outcome == RESPOND
    assert json.loads(of(items, "response_body")[0]) == {
        "method": "POST", "uri": "/a%20b?q=1&q=2", "path": "/a b", "query": {"q": ["1", "2"]}, "host": "h:1",
        "header": {"X-Multi": ["1", "2"], "Other": ["o"]}, "length": 4,
        "body": "text", "again": "text", "closed": "text",
        "remote": "10.0.0.1:99", "tls": True, "limited": True, "token": "t", "alias": "Ada",
        "api": "7", "data": {"a": 1},
    }  # fmt: skip


def test_go_sees_what_is_not_there(every):
    outcome, items = every.run("Show", "request", REQUEST)
    seen = json.loads(of(items, "response_body")[0])
    assert outcome == RESPOND
    assert not seen.keys() & {"alias", "api", "data"}
    assert (seen["body"], seen["tls"], seen["limited"], seen["token"], seen["header"]) == ("", False, False, "", {})


def test_go_a_definition_that_is_null_is_none(every):
    number, _ = every.define({"definition": None, "oas": None, "spec": {"APIID": "9"}})
    outcome, items = every.run("Show", "request", REQUEST, definition=number)
    assert outcome == RESPOND
    assert json.loads(of(items, "response_body")[0])["api"] == "9"


def test_go_definitions_until_they_are_released(every):
    first, _ = every.define({"definition": {"api_id": "1"}})
    second, _ = every.define({"definition": {"api_id": "2"}})
    every.release(first)
    outcome, items = every.run("Show", "request", REQUEST, definition=second)
    assert json.loads(of(items, "response_body")[0])["api"] == "2"
    outcome, items = every.run("Show", "request", REQUEST, definition=first)
    assert (outcome, names(items)) == (plugins.NOT_FOUND, ["error"])
    status, items = every.define(b"{not JSON")
    assert (status, names(items)) == (plugins.MALFORMED, ["error"])


def test_go_a_url_that_is_none(every):
    outcome, items = every.run("Nothing", "request", [("method", "GET"), ("url", "no url")])
    assert (outcome, names(items)) == (plugins.MALFORMED, ["error"])


# ---- Go: what comes back


def test_go_nothing_changed(every):
    headers = [("header", "a", "1"), ("header", "B", "2"), ("header", "A", "3")]
    assert every.run("Nothing", "request", [*REQUEST, *headers, ("body", "text")]) == (CONTINUE, [])


def test_go_changes(every):
    headers = [
        ("header", "Multi", "one"),
        ("header", "gone", "g"),
        ("header", "Stays", "s"),
        ("header", "Multi", "two"),
    ]
    outcome, items = every.run("Change", "request", [*REQUEST, *headers, ("header", "Set", "old"), ("body", "text")])
    assert outcome == CONTINUE
    assert [item for item in items if "header" not in item[0]] == [
        ("method", "PUT"),
        ("url", "/other%20path?added=a+b&b=c"),
        ("host", "other.example"),
        ("body", "other"),
    ]
    assert [item for item in items if "header" in item[0]] == [
        ("delete_header", "Multi"),
        ("header", "Multi", "one"),
        ("header", "Multi", "two"),
        ("header", "Multi", "three"),
        ("delete_header", "Gone"),
        ("delete_header", "Set"),
        ("header", "Set", "new"),
        ("header", "New", "1"),
        ("header", "New", "2"),
    ]


def test_go_bodies(every):
    assert every.run("Empty", "request", [*REQUEST, ("body", "text")]) == (CONTINUE, [("body", "")])
    assert every.run("Empty", "request", REQUEST) == (CONTINUE, [])
    outcome, items = every.run("BadBody", "request", REQUEST)
    assert outcome == plugins.HOOK
    assert of(items, "error") == ["the body that the hook left cannot be read: the reader is broken"]


def test_go_writing_a_response_ends_the_chain(every):
    outcome, items = every.run("Deny", "request", REQUEST)
    assert outcome == RESPOND
    assert sorted(items, key=str) == sorted(
        [
            ("response_status", 418),
            ("response_body", "no way"),
            ("response_header", "Content-Type", "text/plain; charset=utf-8"),
            ("response_header", "Set-Cookie", "a=1"),
            ("response_header", "Set-Cookie", "b=2"),
        ],
        key=str,
    )


def test_go_headers_for_a_later_response(every):
    assert every.run("Later", "request", REQUEST) == (CONTINUE, [("response_header", "X-Later", "1")])


def test_go_a_reply_that_does_not_fit(every):
    outcome, items = every.run("Large", "request", [("method", "GET"), ("url", "/?size=100000"), ("host", "h")])
    assert (outcome, of(items, "response_body")) == (RESPOND, ["\0" * 100000])
    whole = every.run("Deny", "request", REQUEST)
    size = len(plugins.encode(whole[1]))
    for capacity in (0, 1, size - 1, size, size + 1):
        assert every.run("Deny", "request", REQUEST, capacity=capacity) == whole
    assert every.run_and_forget("Deny", "request", REQUEST) == (CONTINUE, plugins.NOT_FOUND)


def test_go_sessions(every):
    outcome, items = every.run("Session", "request", REQUEST, phase="auth_check")
    assert (outcome, of(items, "token")) == (CONTINUE, ["a key"])
    [session] = map(json.loads, of(items, "session"))
    assert session["alias"] == "Ada"


def found(every, kept, **more):
    """What the next hook of a request finds."""
    outcome, items = every.run("Find", "request", [*REQUEST, ("kept", kept)], **more)
    assert (outcome, {*names(items)}) == (CONTINUE, {"header"})
    return dict(of(items, "header"))


def test_go_what_one_hook_leaves_to_the_next(every):
    query = [("method", "GET"), ("url", "/?note=n&session&definition&target"), ("host", "h")]
    outcome, items = every.run("Leave", "request", [*query, ("kept", 0)], timeout=60)
    [number] = of(items, "kept")
    assert (outcome, of(items, "target")) == (CONTINUE, ["/elsewhere"])
    left = {"Note": "n", "Session": "left", "Definition": "left", "Ended": "<nil>"}
    assert found(every, number) == left
    # It is no change of the next hook's own, and a hook that leaves more keeps what was there.
    outcome, items = every.run("Leave", "request", [("method", "GET"), ("url", "/?note=m"), ("kept", number)])
    assert names(items) == ["kept"]
    [second] = of(items, "kept")
    assert found(every, second) == {**left, "Note": "m"}
    # What the host shows by then counts, and nobody is let in by it.
    assert found(every, number, phase="auth_check") == {"Note": "n", "Definition": "left", "Ended": "<nil>"}
    outcome, items = every.run("Find", "request", [*REQUEST, ("session", '{"alias": "Ada"}'), ("kept", number)])
    assert dict(of(items, "header"))["Session"] == "Ada"
    assert every.forget(number) == CONTINUE
    assert every.forget(number) == plugins.NOT_FOUND
    outcome, items = every.run("Find", "request", [*REQUEST, ("kept", number)])
    assert (outcome, names(items)) == (plugins.NOT_FOUND, ["error"])
    assert found(every, second)["Note"] == "m"
    assert every.forget(second) == CONTINUE


def test_go_keeps_nothing_for_a_host_that_passes_nothing_on(every):
    assert every.run("Leave", "request", [("method", "GET"), ("url", "/?note=n")]) == (CONTINUE, [])
    outcome, items = every.run("Nothing", "request", [*REQUEST, ("kept", 0)])
    assert (outcome, items) == (CONTINUE, [])


def test_go_responses(every):
    headers = [("response_header", "Set-Cookie", "a=1"), ("response_header", "gone", "g")]
    headers += [("response_header", "Set-Cookie", "b=2")]
    outcome, items = every.run(
        "Response", "response", [*REQUEST, ("response_status", 200), *headers, ("response_body", "text")]
    )
    assert (outcome, items) == (
        CONTINUE,
        [
            ("response_status", 202),
            ("response_delete_header", "Set-Cookie"),
            ("response_header", "Set-Cookie", "a=1"),
            ("response_header", "Set-Cookie", "b=2"),
            ("response_header", "Set-Cookie", "c=3"),
            ("response_delete_header", "Gone"),
            ("response_header", "X-Saw", "200 OK text GET true"),
            ("response_body", "other"),
        ],
    )
    outcome, items = every.run("Replace", "response", [*REQUEST, ("response_status", 200)])
    assert (outcome, of(items, "response_status"), of(items, "response_body")) == (RESPOND, [410], ["gone\n"])


def test_go_records(every):
    outcome, items = every.run("Mask", "analytics", [("record", '{"path": "/secret", "method": "GET"}')])
    [record] = map(json.loads, of(items, "record"))
    assert (outcome, record["path"], record["method"]) == (CONTINUE, "/...", "GET")
    outcome, items = every.run("Mask", "analytics", [("record", "[]")])
    assert (outcome, names(items)) == (plugins.MALFORMED, ["error"])


# ---- Go: what goes wrong


def test_go_a_panic_is_an_error_with_its_place_and_stack(every):
    outcome, items = every.run("Breaks", "request", REQUEST)
    assert outcome == plugins.HOOK
    assert of(items, "error") == ["panic: runtime error: index out of range [2] with length 0 (rules/rules.go:5)"]
    [stack] = of(items, "stack")
    assert "main.Breaks" in stack
    assert every.run("Nothing", "request", REQUEST) == (CONTINUE, [])


def test_go_fatal_is_an_error(every, root):
    outcome, items = every.run("Fatal", "request", REQUEST)
    line = 1 + (root / "tests/go/every/main.go").read_text().split("log.Get().Fatal")[0].count("\n")
    assert outcome == plugins.HOOK
    [words] = of(items, "error")
    assert "called Fatal" in words
    assert f"(main.go:{line})" in words
    assert any("there is no way on" in words for _, words in every.seen()[0])


def test_go_lines_of_gos_own_log(every):
    assert every.run("Lines", "request", REQUEST) == (CONTINUE, [])
    assert every.seen()[0][-1] == ("info", "a line of Go's own")


def test_go_printing_where_nobody_reads_ends_nothing(go_plugin, opened):
    child = opened(go_plugin("tests/go/every").file)
    outcome, items = child.run("Print", "request", REQUEST)
    assert (outcome, of(items, "response_body")) == (RESPOND, ["write /dev/stdout: broken pipe"])


def test_go_a_hook_is_told_its_time(every):
    outcome, items = every.run("Wait", "request", REQUEST, timeout=0.01)
    assert (outcome, of(items, "response_body")) == (RESPOND, ["context deadline exceeded"])


def test_go_in_a_forked_child(go_plugin, opened):
    child = opened(go_plugin("tests/go/every").file)
    (outcome, items), looked, manifest = child.run_in_a_forked_child("Nothing", "request", REQUEST)
    assert (outcome, names(items), looked, manifest) == (plugins.FORKED, ["error"], plugins.FORKED, None)
    assert child.run("Nothing", "request", REQUEST) == (CONTINUE, [])


def test_go_before_its_start(go_plugin, opened):
    child = opened(go_plugin("tests/go/every").file, start=False)
    outcome, items = child.run(1, "request", REQUEST)
    assert (outcome, names(items)) == (plugins.NOT_STARTED, ["error"])
    assert child.lookup("Nothing", "request") == plugins.NOT_STARTED
    assert child.start() == (CONTINUE, [])
    assert child.start()[0] == plugins.ARGUMENT


# ---- Go: the host


def test_go_and_the_host(go_plugin, opened):
    child = opened(go_plugin("tests/go/every").file)
    outcome, items = child.run("Host", "request", REQUEST)
    assert outcome == RESPOND
    [answers] = of(items, "response_body")
    assert answers == (
        "<nil> true <nil> false <nil> 2000 true <nil> 1m0s true <nil> 2 <nil> 5 <nil> true <nil> false <nil> [] false "
        '<nil> 0s false <nil> {"secret": "s"}\n'
    )
    logs, events, store = child.seen()
    assert ("warning", "a line") in logs
    assert events == [(b"Happened", b"payload")]
    assert store == {b"n": b"5"}
    child.break_store()
    outcome, items = child.run("Host", "request", REQUEST)
    assert "the gateway could not do it; its log says why" in of(items, "response_body")[0]


def test_go_and_a_host_that_does_nothing(go_plugin, opened):
    child = opened(go_plugin("tests/go/every").file, start=False)
    functions = ("log", "trigger_event", "store_get", "store_set", "store_delete", "store_increment", "store_ttl")
    assert child.start(without=functions) == (CONTINUE, [])
    outcome, items = child.run("Host", "request", REQUEST)
    assert outcome == RESPOND
    assert of(items, "response_body")[0].count("this gateway does not offer it to plugins") == 11


def test_go_from_many_threads(every):
    request = [*REQUEST, *(("header", f"X-{n}", str(n)) for n in range(10)), ("body", "text")]
    assert len(every.run_many("Change", "request", request, threads=8, calls=300)) == 1


def test_go_the_collectors_limits_are_the_environments_or_the_shims(go_plugin, opened):
    said = []
    for env in ({}, {"GOGC": "25", "GOMEMLIMIT": "100MiB"}):
        _, items = opened(go_plugin("tests/go/every").file, **env).run("Limits", "request", REQUEST)
        said.append(of(items, "response_body")[0])
    assert said == [f"400 {2**30}", f"25 {100 * 2**20}"]
