"""Native plugins behind csrc/plugin.h: what a hook gets, what becomes of its reply, and which file is opened."""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading

import pytest

from tests.cli.commands import tykbridge
from tests.gateways import definition, hooks
from tests.plugins import decode, encode
from tykbridge import Bridge, __version__, _bridge, installation, messages, runtime
from tykbridge.bundle import loader
from tykbridge.bundle.signing import Trust
from tykbridge.drivers.goplugin import elf, library
from tykbridge.errors import HookError, LoadError
from tykbridge.outcome import Continue, Request, Respond, Response
from tykbridge.services import Services

HOST = ("Host", "api.example.org")


def compiled(source, target, *flags):
    command = ["cc", "-std=c11", "-O1", "-g", "-shared", "-fPIC", *shlex.split(installation.cflags()), *flags]
    subprocess.run([*command, "-Wall", "-Wextra", "-Werror", "-o", target, source], check=True)
    return target


@pytest.fixture(scope="module")
def builds(root, tmp_path_factory):
    """The plugin of tests/native/mirror.c, in three versions."""
    folder = tmp_path_factory.mktemp("native")
    source = root / "tests/native/mirror.c"
    return {number: compiled(source, folder / f"{number}.so", f'-DVERSION="{number}"') for number in "123"}


class Place:
    """A bridge with the mirror, and what the log heard."""

    def __init__(self, folder, builds, monkeypatch, mode="none"):
        self.folder, self.builds, self.lines, self.mode = folder, builds, [], mode
        monkeypatch.setattr(_bridge, "log", self._log)
        self.put("1")
        self.bridge = Bridge(Services(log=self._log), folder)

    def _log(self, words, level):
        self.lines.append((level, words))

    def put(self, number, name="mirror.so"):
        (self.folder / name).write_bytes(self.builds[number].read_bytes())

    def load(self, path="mirror.so", driver="native", **phases):
        phases = phases or {"pre": ["Mirror"], "response": ["MirrorBack"]}
        named = {phase: [(name, path) for name in names] for phase, names in phases.items()}
        section = {**hooks(driver, **named), driver: {"isolation": self.mode}}
        loaded = self.bridge.load(json.dumps(definition(custom_middleware=section)))
        return [item.reason for item in loaded.not_loaded]

    def run(self, items, outcome="0", headers=(HOST,), url="/api/a?b=c"):
        """Have a hook on requests reply so."""
        body = outcome.encode() + (items if isinstance(items, bytes) else encode(items))
        return self.bridge.request(Request("POST", url, headers, body), "api")

    def back(self, items, outcome="0", headers=()):
        """Have a hook on responses reply so."""
        body = outcome.encode() + (items if isinstance(items, bytes) else encode(items))
        return self.bridge.response(
            Request("GET", "/api/a", (HOST,)), Response(200, headers, body), b"", "api"
        ).response

    def fails(self, items, outcome="0"):
        """Gives the log's words of a hook that replies so and fails."""
        self.lines.clear()
        assert self.run(items, outcome).response.status == 500
        # The collector may release an API of an earlier test just now, of which the plugin writes a line.
        [words] = [words for level, words in self.lines if level == "error"]
        return words


@pytest.fixture(params=["none", "process"])
def place(request, tmp_path, builds, monkeypatch):
    """A loaded one: what plugins can do does not depend on where they run."""
    made = Place(tmp_path, builds, monkeypatch, request.param)
    assert made.load() == []
    return made


# ---- What a hook gets


def shown(response):
    phase, defined, digits = response.body.decode().split("\n")
    return int(phase), json.loads(defined), decode(bytes.fromhex(digits))


def test_a_request_as_items(place):
    assert place.load(post=["Show"]) == []
    headers = (HOST, ("A", "1"), ("B", ""), ("a", "second"))
    end = place.bridge.request(Request("PUT", "/api/x?y=%20", headers, b"\x00body"), "api", "https")
    phase, defined, items = shown(end.response)
    assert phase == 2
    assert sorted(items) == sorted(
        [
            ("method", "PUT"), ("url", "/api/x?y=%20"), ("scheme", "https"), ("host", "api.example.org"),
            ("header", "A", "1"), ("header", "B", ""), ("header", "a", "second"), ("body", "\x00body"), ("kept", 0),
        ]
    )  # fmt: skip
    assert defined["definition"]["api_id"] == "api"
    assert defined["spec"] == {"OrgID": "org", "APIID": "api"}


def test_a_response_as_items_with_every_value(place):
    assert place.load(response=["ShowBack"]) == []
    headers = (("Set-Cookie", "a=1"), ("X", "y"), ("Set-Cookie", "b=2"))
    answered = place.bridge.response(Request("GET", "/api/", (HOST,)), Response(201, headers, b"hi"), b"", "api")
    phase, _, items = shown(answered.response)
    assert phase == 5
    told = [item for item in items if item[0].startswith("response")]
    assert sorted(told[1:]) == [
        ("response_body", "hi"), ("response_header", "Set-Cookie", "a=1"), ("response_header", "Set-Cookie", "b=2"),
        ("response_header", "X", "y"),
    ]  # fmt: skip
    assert told[0] == ("response_status", 201)
    assert ("method", "GET") in items


def test_a_long_request_and_a_long_reply(place):
    assert place.load(pre=["Show"]) == []
    headers = (HOST, *((f"X-{number}", "v" * 90) for number in range(100)))
    end = place.bridge.request(Request("POST", "/api/", headers, b"b" * 100_000), "api")
    _, _, items = shown(end.response)
    assert sorted(item[1:] for item in items if item[0] == "header") == sorted(headers[1:])
    assert ("body", "b" * 100_000) in items


# ---- What becomes of its reply


def test_changes_of_a_request(place):
    end = place.run(
        [
            ("method", "PATCH"), ("url", "/other"), ("host", "else.example.org"), ("delete_header", "gone"),
            ("header", "X-New", "1"), ("delete_header", "X-Old"), ("header", "X-Old", "new"), ("body", "body"),
        ],
        headers=(HOST, ("Gone", "1"), ("x-old", "old"), ("Kept", "1"), ("Kept", "2")),
    )  # fmt: skip
    assert isinstance(end, Continue)
    request = end.request
    assert (request.method, request.url, request.body) == ("PATCH", "/other?", b"body")
    assert sorted(request.headers) == [
        ("Content-Length", "4"), ("Host", "else.example.org"), ("Kept", "1"), ("Kept", "2"), ("X-New", "1"),
        ("X-Old", "new"),
    ]  # fmt: skip


SEVERAL = [
    ("header", "X", "b"), ("header", "Y", "1"), ("header", "x", "c"), ("header", "Cookie", "b=2"),
    ("delete_header", "Gone"), ("header", "Gone", "1"), ("header", "Gone", "2"),
]  # fmt: skip
SENT = (HOST, ("X", "a"), ("X", "aa"), ("Gone", "0"), ("Cookie", "a=1"))


def test_several_values_of_a_requests_header(place):
    end = place.run(SEVERAL, headers=SENT)
    assert [pair for pair in end.request.headers if pair[0] != "Content-Length"] == [
        HOST, ("X", "a"), ("X", "aa"), ("X", "b"), ("X", "c"), ("Gone", "1"), ("Gone", "2"), ("Cookie", "a=1"),
        ("Cookie", "b=2"), ("Y", "1"),
    ]  # fmt: skip


def test_the_next_hook_sees_several_values(place):
    assert place.load(pre=["Mirror", "Show"]) == []
    _, _, items = shown(place.run(SEVERAL, headers=SENT).response)
    assert [item[2] for item in items if item[1:2] == ("X",)] == ["a", "aa", "b", "c"]
    assert [item[2] for item in items if item[1:2] == ("Gone",)] == ["1", "2"]


def test_several_values_in_a_message_are_joined():
    before = Request("GET", "/", (HOST,))
    after = Request("GET", "/", (HOST, ("X", "a"), ("x", "b"), ("Cookie", "a=1"), ("Cookie", "b=2")))
    changes = _bridge.message("MiniRequestObject", messages.request_changes(before, after, {"x", "cookie", "gone"}))
    assert (dict(changes.set_headers), list(changes.delete_headers)) == ({"X": "a, b", "Cookie": "a=1; b=2"}, ["gone"])


def test_several_values_with_a_variable_are_filled_in(place):
    section = hooks("native", pre=[("Mirror", "mirror.so")])
    document = definition(custom_middleware=section, enable_context_vars=True)
    assert place.bridge.load(json.dumps(document)).not_loaded == ()
    end = place.run(
        [("header", "X", "$tyk_context.path"), ("header", "X", "b"), ("header", "Y", "c"), ("header", "Y", "d")]
    )
    found = [pair for pair in end.request.headers if pair[0] in "XY"]
    assert found == [("X", "/api/a, b"), ("Y", "c"), ("Y", "d")]


MOST = 4096  # items of a reply


def test_a_reply_with_as_many_headers_as_there_may_be(place):
    items = [("header", f"X-{at % (MOST // 2)}", str(at)) for at in range(MOST)]
    pairs = sorted((name, value) for _, name, value in items)
    assert sorted(pair for pair in place.run(items).request.headers if pair[0].startswith("X-")) == pairs
    answer = place.back([("response_header", *pair) for pair in pairs])
    assert sorted(pair for pair in answer.headers if pair[0].startswith("X-")) == pairs


def test_an_answer_with_one_header_in_many_spellings(place):
    items = [("response_header", "X-Abcdefghijklmnop", str(at)) for at in range(MOST)]
    headers = [pair for pair in place.run(items, "1").response.headers if pair[0].lower() == "x-abcdefghijklmnop"]
    assert len({name for name, _ in headers}) == MOST
    assert {value for _, value in headers} == {str(at) for at in range(MOST)}


def test_a_reply_with_more(place):
    assert f"its reply has more than {MOST} items" in place.fails([("header", "X", "")] * (MOST + 1))
    assert f"its reply has more than {MOST} items" in place.fails([("kept", 7)] * 300_000)


def test_one_of_several_values_that_cannot_be(place):
    assert "set the header X to a value with CR, LF or NUL" in place.fails(
        [("header", "X", "a"), ("header", "X", "b\n")]
    )


def test_what_a_plugin_keeps_of_a_request(place):
    assert place.load(pre=["Mirror", "Mirror", "Show"]) == []
    place.lines.clear()
    _, _, items = shown(place.run([("kept", 7), ("header", "X", "y")]).response)
    assert [item for item in items if item[0] == "kept"] == [("kept", 7)]
    assert place.lines == [("info", "forgot 7")]
    assert place.load(pre=["Mirror"], response=["MirrorBack", "ShowBack"]) == []
    place.lines.clear()
    place.run([("kept", 8)])
    assert place.lines == [("info", "forgot 8")]
    _, _, items = shown(place.back([("kept", 9), ("response_header", "X", "y")]))
    assert ("kept", 9) in items
    assert place.lines[-1] == ("info", "forgot 9")


def test_nothing_is_changed_by_an_empty_reply(place):
    request = Request("GET", "/api/a", (HOST, ("A", "1"), ("A", "2")))
    assert place.bridge.request(request, "api").request == request


def test_a_response_ends_the_chain(place):
    end = place.run(
        [
            ("response_status", 401), ("response_body", "who?"), ("response_header", "Set-Cookie", "a=1"),
            ("response_header", "X", "y"), ("response_header", "Set-Cookie", "b=2"),
        ],
        outcome="1",
    )  # fmt: skip
    assert isinstance(end, Respond)
    assert (end.response.status, end.response.body) == (401, b"who?")
    found = sorted((name.lower(), value) for name, value in end.response.headers)
    assert found == [("content-length", "4"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x", "y")]


def test_a_response_without_a_status_is_200(place):
    assert place.run([("response_body", "hi")], outcome="1").response.status == 200


def test_changes_of_a_response(place):
    response = place.back(
        [
            ("response_status", 202), ("response_body", "new"), ("response_header", "Set-Cookie", "c=3"),
            ("response_delete_header", "server"), ("response_delete_header", "X"), ("response_header", "X", "1"),
            ("response_header", "X", "2"), ("response_header", "Fresh", "f"),
        ],
        headers=(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Server", "s"), ("X", "0"), ("Kept", "k")),
    )  # fmt: skip
    assert (response.status, response.body) == (202, b"new")
    assert sorted(response.headers) == [
        ("Content-Length", "3"), ("Fresh", "f"), ("Kept", "k"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"),
        ("Set-Cookie", "c=3"), ("X", "1"), ("X", "2"),
    ]  # fmt: skip


def test_a_response_in_the_place_of_the_upstreams(place):
    response = place.back(
        [
            ("response_status", 503),
            ("response_header", "X", "2"),
            ("response_header", "New", "n"),
            ("response_body", ""),
        ],
        outcome="1",
        headers=(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X", "0")),
    )
    assert (response.status, response.body) == (503, b"")
    assert sorted(response.headers) == [("Content-Length", "0"), ("New", "n"), ("X", "2")]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([(999, "x")], "its reply has an item 999, which nobody knows here"),
        ([("remote", "1.2.3.4:5")], "its reply has an item 8, which nobody knows here"),
        ([("response_header", "X", "y")], "it changes the response without making one"),
        (
            [("target", "http://other.example.org/")],
            "it sends the request to another server, http://other.example.org/",
        ),
        ([("target", "//other.example.org/")], "it sends the request to another server"),
        (b"\x01", "its reply is not made of items"),
        (b"\x05\0\0\0\xff\xff\xff\xff", "its reply is not made of items"),
        (b"\x05\0\0\0\x04\0\0\0\x09\0\0\0", "its reply has a pair that is none"),
        (b"\x05\0\0\0\x02\0\0\0\x09\0", "its reply has a pair that is none"),
        ([("header", "A b", "c")], "set a header whose name is no token"),
        ([("header", "A", b"\xff")], "its reply has an item 5 that is not UTF-8"),
        ([("header", b"\xff", "a")], "its reply has an item 5 that is not UTF-8"),
        ([("method", b"\xff")], "its reply has an item 1 that is not UTF-8"),
        ([("target", "")], "it sends the request to another server"),
        ([("session", "[]")], "it left a session that is no JSON object"),
    ],
)
def test_a_reply_that_cannot_be_is_a_failed_hook(place, items, words):
    assert words in place.fails(items)


def test_an_answer_that_is_no_text_is_a_failed_hook(place):
    body = encode([("response_body", b"\xff\xfe")])
    assert "it answers with a body that is not UTF-8" in place.fails(body, outcome="1")


def test_nothing_is_changed_where_one_item_cannot_be(place, tmp_path):
    section = hooks("native", pre=[("Mirror", "mirror.so")])
    section["pre"][0]["on_failure"] = "open"
    assert place.bridge.load(json.dumps(definition(custom_middleware=section))).not_loaded == ()
    end = place.run([("header", "X", "y"), (999, "x")])
    assert end.request.headers[0] == HOST
    assert "X" not in dict(end.request.headers)


def test_words_and_stack_of_a_failed_hook(place):
    words = place.fails([("error", "boom (main.c:3)"), ("stack", "frame 1\nframe 2\n")], outcome="E")
    assert 'hook "Mirror"' in words
    assert words.endswith("boom (main.c:3)\nframe 1\nframe 2")
    assert "status -8 of csrc/plugin.h" in place.fails([], outcome="E")


@pytest.mark.parametrize(("target", "url"), [("/moved?d=e", "/moved?d=e"), ("/", "/?")])
def test_a_target_that_is_a_path(place, target, url):
    assert place.run([("target", target)]).request.url == url


# ---- What it asks of the host


def test_the_host(place):
    events = []
    place.bridge.services = Services(
        log=place._log, events=type("Events", (), {"fire": lambda _, *of: events.append(of)})()
    )
    assert place.load(pre=["Ask"]) == []
    place.lines.clear()
    end = place.bridge.request(Request("GET", "/api/", (HOST,)), "api")
    assert end.response.body.decode() == "-6 -6 1 0 5 5 value 0 0 3 1 -20 1 0 0"
    assert events[1:] == [("Odd", "api", "org", {"Message": "payload", "OriginatingRequest": ""})]
    refused, *lines = place.lines
    assert refused[0] == "error"
    assert "a native plugin could not count in the store: " in refused[1]
    assert lines == [("warning", "a line\N{REPLACEMENT CHARACTER}with NUL"), ("info", "another")]


# ---- Which file is opened


def version(place):
    [value] = [value for name, value in place.bridge.request(Request("GET", "/api/", (HOST,)), "api").request.headers
               if name == "X-Version"]  # fmt: skip
    return value


def test_new_content_at_the_same_path_is_the_new_code(place):
    assert place.load(pre=["Version"]) == []
    for number in ("2", "1", "3", "3", "2"):
        place.put(number)
        assert place.bridge.reload().not_loaded == ()
        assert version(place) == number


def test_an_overwritten_file_harms_nobody(place):
    assert place.load(pre=["Version"]) == []
    with (place.folder / "mirror.so").open("r+b") as stream:
        stream.truncate(0)
    assert version(place) == "1"
    [loaded] = place.bridge.reload().not_loaded
    assert loaded.kept
    assert "mirror.so is no shared library" in loaded.reason
    assert version(place) == "1"


def test_unchanged_content_is_opened_once(place):
    assert place.load(pre=["Version"]) == []
    place.put("1", "other.so")
    place.lines.clear()
    assert place.load("other.so", pre=["Version"]) == []
    assert "begun 1" not in [words for _, words in place.lines]


def test_no_copy_is_left_on_the_disk(place, tmp_path, builds, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    data = builds["1"].read_bytes() + b"never seen before"
    (tmp_path / "fresh.so").write_bytes(data)
    library.obtain(tmp_path / "fresh.so")
    assert [*temporary.iterdir()] == []


def test_an_api_that_goes_is_released(place):
    place.lines.clear()
    assert place.load(pre=["Show"]) == []
    place.bridge.load(json.dumps(definition("other")))
    released = [words for _, words in place.lines if words.startswith("released")]
    assert len(released) == len(set(released)) >= 1


def bundled(place, name, numbers, **phases):
    """Put a bundle with some of the builds on the disk, and give an API with it."""
    folder = place.folder / "bundles" / hashlib.md5(name.encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number}.so").write_bytes(place.builds[number].read_bytes())
    section = hooks("native", **phases)
    manifest = {"file_list": [f"{number}.so" for number in numbers], "custom_middleware": section}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    place.bridge.trust = Trust(allow_native_code=True)
    return definition(custom_middleware_bundle=name)


def test_an_api_that_is_edited_is_told_anew_and_forgotten(place):
    edited, handlers = bundled(place, "edited", "1", pre=[("Show", "1.so")]), []
    for number in range(20):
        document = json.dumps({**edited, "config_data": {"number": number}})
        assert place.bridge.load(document).not_loaded == ()
        _, defined, _ = shown(place.bridge.request(Request("GET", "/api/", (HOST,)), "api").response)
        assert json.loads(defined["spec"]["config_data"]) == {"number": number}
        [code] = place.bridge.chains["api"].codes
        handlers.append((code.bundle, len(runtime.registry._state.versions[code.bundle].handlers)))
        if number == 0:
            place.lines.clear()
    assert len({*handlers}) == 1
    released = [words for _, words in place.lines if words.startswith("released")]
    assert len(released) == len({*released}) >= 19


def test_one_name_in_two_libraries_of_a_bundle(place):
    document = bundled(place, "two", "12", pre=[("Version", "1.so")], post=[("Version", "2.so"), ("Show", "2.so")])
    assert place.bridge.load(json.dumps(document)).not_loaded == ()
    _, _, items = shown(place.bridge.request(Request("GET", "/api/", (HOST,)), "api").response)
    assert [item[2] for item in items if item[1:2] == ("X-Version",)] == ["2"]
    document = bundled(place, "two", "12", pre=[("Version", "2.so")], post=[("Version", "1.so")])
    assert place.bridge.load(json.dumps(document)).not_loaded == ()
    assert version(place) == "1"
    [code] = place.bridge.chains["api"].codes
    with pytest.raises(HookError, match=r'"Version" is in several libraries, \S+2\.so and \S+1\.so'):
        _bridge.Exchange(b"").run(((code.bundle.encode(), b"Version"),))  # which names no path


def test_names_that_builds_have(place):
    goarch = elf.goarch()
    (place.folder / "mirror.so").unlink()
    assert re.search(r"is not there: .*/m_v[0-9.a-z]+_linux_\w+\.so nor .*/m\.so", place.load("m.so")[0])
    for number, name in (
        ("1", "m.so"),
        ("2", f"m_{__version__}_linux_{goarch}.so"),
        ("3", f"m_v{__version__}_linux_{goarch}.so"),
    ):
        place.put(number, name)
        assert place.load("m.so", pre=["Version"]) == []
        assert version(place) == number


def test_a_hook_that_is_not_there_is_refused_at_load(place):
    [reason] = place.load(pre=["Mirorr"])
    assert 'has no hook "Mirorr" (hooks: Ask, Mirror, MirrorBack, Show, ShowBack, Version)' in reason
    [reason] = place.load(pre=["Count"])
    assert "it is of the kind 'analytics', which nothing here calls" in reason
    [reason] = place.load(pre=["Lost"])
    assert "the library names it, and does not have it" in reason


def test_check_finds_a_hook_that_is_not_there(place):
    section = hooks("native", pre=[("Mirror", "mirror.so")], response=[("MirrorBak", "mirror.so")])
    (place.folder / "api.json").write_text(json.dumps(definition(custom_middleware=section)))
    result = tykbridge("check", "api.json", "--json", cwd=place.folder)
    assert result.status == 1
    [item] = result.document["items"]
    [problem] = item["problems"]
    assert problem["path"] == "$.custom_middleware.response[0]"
    assert 'no hook "MirrorBak" (hooks: Ask, Mirror, MirrorBack,' in problem["message"]


def test_a_bundle_with_builds_for_several_machines(place):
    folder = place.folder / "b"
    folder.mkdir()
    ours = f"mirror_v{__version__}_linux_{elf.goarch()}.so"
    place.put("2", f"b/{ours}")
    (folder / f"mirror_v{__version__}_linux_other.so").write_bytes(b"nothing for this machine")
    manifest = {
        "file_list": sorted(file.name for file in folder.iterdir()),
        "custom_middleware": {"driver": "native", "pre": [{"name": "Version", "path": "mirror.so"}]},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    bundle = loader.load(str(folder), "several")
    assert {"Version", "Mirror"} <= {*bundle.hooks}
    bundle.close()
    (folder / ours).unlink()
    manifest["file_list"].remove(ours)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LoadError, match=rf"pre\[0\]\.path: the bundle has none of the files {re.escape(ours)}, "):
        loader.load(str(folder), "several")


def test_a_hook_of_another_kind_is_refused_at_load(place):
    [reason] = place.load(pre=["MirrorBack"])
    assert 'the pre hook "MirrorBack" is for responses, and is needed for requests: in Go, func MirrorBack(rw' in reason
    [reason] = place.load(response=["Mirror"])
    assert "is for requests, and is needed for responses" in reason


def test_files_that_are_no_plugins(place, tmp_path, builds):
    good = builds["1"].read_bytes()
    other = bytearray(good)
    other[18:20] = (183 if elf.goarch() != "arm64" else 62).to_bytes(2, "little")
    empty = tmp_path / "empty.c"
    empty.write_text("int nothing;\n")
    program = tmp_path / "relocatable.so"
    subprocess.run(["cc", "-c", "-o", program, empty], check=True)
    cases = {
        "text": (b"x" * 100, "is no shared library: build it with tykbridge plugin build"),
        "short": (good[:40], "is no shared library"),
        "cut": (good[: len(good) // 2], "is a broken ELF file"),
        "windows": (b"MZ" + b"\0" * 100, "is a library for Windows, and this is linux/"),
        "mac": (b"\xcf\xfa\xed\xfe" + b"\0" * 100, "is a library for macOS, and this is linux/"),
        "other": (bytes(other), f"is for linux/{'arm64' if elf.goarch() != 'arm64' else 'amd64'}, and this is linux/"),
        "plain": (compiled(empty, tmp_path / "plain.so").read_bytes(), 'it does not export "tykb_plugin"'),
        "object": (program.read_bytes(), "is no shared library but another kind of ELF file"),
    }
    for name, (data, words) in cases.items():
        file = tmp_path / f"case-{name}.so"
        file.write_bytes(data)
        with pytest.raises(LoadError) as caught:
            library.obtain(file)
        assert words in str(caught.value), name
        assert str(file) in str(caught.value)


def test_a_library_that_cannot_be_linked_says_why(place, tmp_path):
    source = tmp_path / "wants.c"
    source.write_text("int nowhere(void);\nint tykb_plugin(void) { return nowhere(); }\n")
    file = compiled(source, tmp_path / "wants.so")
    with pytest.raises(LoadError, match=r"wants\.so cannot be opened: wants\.so: undefined symbol: nowhere"):
        library.obtain(file)


def test_many_versions_are_worth_a_warning(place, tmp_path, builds, monkeypatch):
    monkeypatch.setattr(library, "_MANY", 1)
    monkeypatch.setattr(library, "_open", {})
    place.lines.clear()
    for number in range(4):
        (tmp_path / "again.so").write_bytes(builds["1"].read_bytes() + bytes([number]))
        library.obtain(tmp_path / "again.so")
    warned = [words.split()[0] for level, words in place.lines if level == "warning"]
    assert warned == ["1", "2", "4"]


def test_threads_and_reloads_of_three_contents(place):
    assert place.load(pre=["Version"]) == []
    seen, failed, over = set(), [], threading.Event()

    def work():
        while not over.is_set():
            try:
                seen.add(version(place))
            except BaseException as error:
                failed.append(error)
                return

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for number in range(60):
        place.put("123"[number % 3])
        assert place.bridge.reload().not_loaded == ()
        assert version(place) == "123"[number % 3]
    over.set()
    for worker in workers:
        worker.join()
    assert (seen, failed) == ({"1", "2", "3"}, [])


# ---- The end of a process

LATE = """
import json, os, sys, threading
from tests.gateways import definition, hooks
from tykbridge import Bridge
from tykbridge.outcome import Request
bridge = Bridge(middleware_path=sys.argv[1])
section = hooks("native", pre=[("Ask", "mirror.so")])
assert bridge.load(json.dumps(definition(custom_middleware=section))).not_loaded == ()
def work():
    while True:
        bridge.request(Request("GET", "/api/", (("Host", "h"),)), "api")
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
bridge.request(Request("GET", "/api/", (("Host", "h"),)), "api")
"""


def test_an_interpreter_that_ends_while_plugins_ask(place, root):
    done = subprocess.run(
        [sys.executable, "-c", LATE, place.folder], cwd=root, capture_output=True, timeout=120, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
