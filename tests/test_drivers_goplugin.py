"""Go plugins that are loaded: the seed's, one that authenticates, bundles, reloads, threads, and what Go cannot do."""

import hashlib
import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from urllib.parse import urlsplit

import pytest

from tests import web
from tests.gateways import definition, gateway, hooks
from tests.plugins import go_environment
from tests.servers import until
from tests.test_readme import blocks
from tykbridge import _bridge
from tykbridge.drivers.goplugin import library
from tykbridge.errors import LoadError
from tykbridge.outcome import Continue, Request, Respond, Response

# A Go library's runtime is no friend of ASan's, and what it does depends on no Python.
pytestmark = [pytest.mark.once, pytest.mark.plain]

SEEDS_BODY = b"""{"message":"Hi! I'm a response plugin"}"""

GET = Request("GET", "/api/get", (("Host", "api.example.org"), ("Accept", "a"), ("Accept", "b")))

PLUGIN = """
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/TykTechnologies/tyk/config"
	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/log"
)

func Version(rw http.ResponseWriter, r *http.Request) {{
	r.Header.Set("X-Version", "{version}")
}}

func Panic(rw http.ResponseWriter, r *http.Request) {{
	var nothing map[string]int
	nothing["x"] = 1
}}

func Cookies(rw http.ResponseWriter, r *http.Request) {{
	http.SetCookie(rw, &http.Cookie{{Name: "a", Value: "1"}})
	http.SetCookie(rw, &http.Cookie{{Name: "b", Value: "2"}})
	http.Redirect(rw, r, "/elsewhere", http.StatusFound)
}}

func Back(rw http.ResponseWriter, res *http.Response, r *http.Request) {{
	res.Header.Add("Set-Cookie", fmt.Sprint("seen=", len(res.Header["Set-Cookie"])))
}}

func About(rw http.ResponseWriter, r *http.Request) {{
	definition := ctx.GetDefinition(r)
	fmt.Fprint(rw, definition.APIID, " ", definition.Name, " ", definition.ConfigData["key"], " ", os.Getpid() > 0)
}}

func Whose(rw http.ResponseWriter, r *http.Request) {{
	session := ctx.GetSession(r)
	of := fmt.Sprint(session.Alias, " ", session.Rate, " ", session.MetaData["plan"])
	r.Header.Set("X-Whose", of + " " + ctx.GetAuthToken(r))
}}

func Rename(rw http.ResponseWriter, r *http.Request) {{
	session := ctx.GetSession(r)
	session.Alias = "renamed"
	ctx.SetSession(r, session, true)
}}

func Append(rw http.ResponseWriter, r *http.Request) {{
	r.Header.Add("Accept", "c")
	r.Header["X-New"] = []string{{"1", "2"}}
	*r = *r.WithContext(context.WithValue(r.Context(), key{{}}, r.Header["Accept"]))
}}

type key struct{{}}

func Count(rw http.ResponseWriter, r *http.Request) {{
	before, _ := r.Context().Value(key{{}}).([]string)
	r.Header.Set("X-Count", fmt.Sprint(before, r.Header["Accept"]))
}}

func Settings(rw http.ResponseWriter, r *http.Request) {{
	conf := config.Global()
	fmt.Fprint(rw, conf.Secret, " ", conf.ListenPort, " ", conf.HashKeys, " ", conf.Storage.Type, " ", len(conf.Other) > 0)
}}

func Chatter(rw http.ResponseWriter, r *http.Request) {{
	for range 4 {{
		go func() {{
			for {{
				logger.Info("chatter")
			}}
		}}()
	}}
}}

var logger = log.Get()

func main() {{}}
"""


@pytest.fixture(scope="module")
def builds(go_plugin, tmp_path_factory):
    """The plugin above in three versions."""
    folder = tmp_path_factory.mktemp("sources")
    made = {}
    for version in "123":
        source = folder / f"version{version}"
        source.mkdir()
        (source / "main.go").write_text(PLUGIN.format(version=version))
        made[version] = go_plugin(source).file
    return made


class Place:
    """A gateway in a process of its own, and the folder of its plugins."""

    def __init__(self, folder, **env):
        (folder / "temporary").mkdir()
        self.folder, self.remote = folder, gateway(folder, TMPDIR=str(folder / "temporary"), **env)

    def put(self, file, name="plugin.so"):
        shutil.copy(file, self.folder / f"{name}.new")
        (self.folder / f"{name}.new").replace(self.folder / name)

    def load(self, driver="goplugin", changes=None, **phases):
        section = hooks(driver, **{
            phase: (names, "plugin.so") if phase == "auth_check" else [(name, "plugin.so") for name in names]
            for phase, names in phases.items()
        })  # fmt: skip
        return self.remote.load(definition(custom_middleware=section, **(changes or {})))

    def version(self):
        return dict(self.remote.request(GET).request.headers)["X-Version"]


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    assert made.remote.close() == 0


# ---- The seed


def send(url, request):
    """Send a request to the upstream, as a gateway does."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.putrequest(request.method, request.url, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers:
        connection.putheader(name, value)
    connection.endheaders(request.body)
    answered = connection.getresponse()
    response = Response(answered.status, tuple(answered.getheaders()), answered.read())
    connection.close()
    return response


def test_the_seeds_plugins_between_a_client_and_an_upstream(place, go_plugin):
    place.put(go_plugin("examples/go/foo-bar").file, "foo.so")
    place.put(go_plugin("examples/go/response").file, "response.so")
    section = hooks("goplugin", post=[("AddFooBarHeader", "foo.so")], response=[("MyPluginResponse", "response.so")])
    with web.Server(lambda asked: web.answer(b"upstream", Server="books")) as upstream:
        assert place.remote.load(definition(custom_middleware=section)) == []
        gone = place.remote.request(GET).request
        back = place.remote.response(gone, send(upstream.url, gone))
    [asked] = upstream.asked
    assert asked.headers["foo"] == "Bar"
    assert gone.headers == (*GET.headers, ("Foo", "Bar"))
    assert back.body == SEEDS_BODY
    assert dict(back.headers)["X-Response-Added"] == "resp-added"
    assert dict(back.headers)["Content-Length"] == "39"
    assert len(place.remote.mapped()) == 2
    assert place.remote.temporary() == []


def test_the_seeds_plugins_through_the_c_library(place, go_plugin):
    place.put(go_plugin("examples/go/foo-bar").file, "foo.so")
    place.put(go_plugin("examples/go/response").file, "response.so")
    section = hooks("goplugin", post=[("AddFooBarHeader", "foo.so")], response=[("MyPluginResponse", "response.so")])
    sent = _bridge.message("Object")
    sent.spec["APIID"] = "api"
    sent.request.method, sent.request.url, sent.request.headers["Host"] = "GET", "/api/get", "h"
    document = definition(custom_middleware=section)
    words, reply = place.remote.hosted(document, sent.SerializeToString())
    assert words == ""
    assert dict(_bridge.message("Object", reply).request.set_headers) == {"Foo": "Bar"}
    sent.response.status_code, sent.response.raw_body = 200, b"upstream"
    _, reply = place.remote.hosted(document, sent.SerializeToString(), response=True)
    response = _bridge.message("Object", reply).response
    assert response.raw_body == SEEDS_BODY
    assert {item.key: list(item.values) for item in response.multivalue_headers}["X-Response-Added"] == ["resp-added"]


def test_the_seeds_plugins_in_a_bundle_over_http(place, go_plugin):
    built = {"foo.so": go_plugin("examples/go/foo-bar").file, "response.so": go_plugin("examples/go/response").file}
    manifest = {
        "file_list": [*built],
        "custom_middleware": hooks(
            "goplugin", post=[("AddFooBarHeader", "foo.so")], response=[("MyPluginResponse", "response.so")]
        ),
        "checksum": hashlib.md5(b"".join(file.read_bytes() for file in built.values())).hexdigest(),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, file in built.items():
            archive.write(file, name)
    document = definition(custom_middleware_bundle="FooBarBundle.zip")
    with web.Server(lambda asked: web.answer(packed.getvalue())) as shelf:
        place.remote.download_from(f"{shelf.url}/abc", allow_native_code=False)
        [reason] = place.remote.load(document)
        assert "is native code" in reason
        place.remote.download_from(f"{shelf.url}/abc", allow_native_code=True)
        assert place.remote.load(document) == []
    assert {asked.target for asked in shelf.asked} == {"/abc/FooBarBundle.zip"}
    assert place.remote.request(GET).request.headers == (*GET.headers, ("Foo", "Bar"))
    back = place.remote.response(GET, Response(200, (), b"upstream"))
    assert (back.body, dict(back.headers)["X-Response-Added"]) == (SEEDS_BODY, "resp-added")


# ---- Sessions


def test_a_plugin_that_authenticates(place, go_plugin):
    place.put(go_plugin("examples/go/auth").file)
    changes = {"use_keyless": False, "custom_plugin_auth_enabled": True}
    assert place.load(changes=changes, auth_check="Authenticate") == []
    known = Request("GET", "/api/", (("Host", "h"), ("X-Key", "let-me-in")))
    end = place.remote.request(known)
    assert isinstance(end, Continue)
    session = _bridge.message("SessionState", end.session)
    assert (session.alias, session.rate, session.per, session.org_id, list(session.tags)) == (
        "ada",
        10,
        60,
        "org",
        ["go"],
    )
    assert session.metadata["token"] == "let-me-in"
    answers = [place.remote.request(known) for _ in range(10)]
    assert [isinstance(answer, Continue) for answer in answers] == [True] * 9 + [False]
    assert answers[-1].response.status == 429
    refused = place.remote.request(Request("GET", "/api/", (("Host", "h"), ("X-Key", "other"))))
    assert (refused.response.status, refused.response.body) == (403, b'{"error": "who are you?"}')
    assert ("warning", "a key that nobody has path=/api/") in place.remote.log()


def test_a_session_that_was_stored(place, builds):
    place.put(builds["1"])
    changes = {"use_keyless": False, "use_standard_auth": True}
    assert place.load(changes=changes, post=["Whose"]) == []
    place.remote.keep_session(
        "known", {"alias": "bob", "rate": 5, "per": 1, "meta_data": {"plan": "gold", "token": "t"}}
    )
    end = place.remote.request(Request("GET", "/api/", (("Host", "h"), ("Authorization", "known"))))
    assert dict(end.request.headers)["X-Whose"] == "bob 5 gold t"
    # The next hook of the library sees the session that one sets, as in a gateway in Go. What is counted in is the stored one.
    assert place.load(changes=changes, post_key_auth=["Rename", "Whose"]) == []
    end = place.remote.request(Request("GET", "/api/", (("Host", "h"), ("Authorization", "known"))))
    assert dict(end.request.headers)["X-Whose"] == "renamed 5 gold t"
    assert _bridge.message("SessionState", end.session).alias == "bob"


# ---- What ends the chain, fails, or knows its API


def test_several_values_of_one_header_in_both_kinds_of_answers(place, builds):
    place.put(builds["1"])
    assert place.load(pre=["Cookies"], response=["Back"]) == []
    end = place.remote.request(GET)
    assert isinstance(end, Respond)
    cookies = [value for name, value in end.response.headers if name.lower() == "set-cookie"]
    assert (end.response.status, cookies) == (302, ["a=1", "b=2"])
    assert dict(end.response.headers)["Location"] == "/elsewhere"
    back = place.remote.response(GET, Response(200, (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))))
    assert [value for name, value in back.headers if name == "Set-Cookie"] == ["a=1", "b=2", "seen=2"]


def test_several_values_of_one_header_of_a_request(place, builds):
    place.put(builds["1"])
    assert place.load(pre=["Append", "Count"]) == []
    gone = place.remote.request(GET).request
    several = (
        ("Host", "api.example.org"),
        ("Accept", "a"),
        ("Accept", "b"),
        ("Accept", "c"),
        ("X-New", "1"),
        ("X-New", "2"),
    )
    assert gone.headers == (*several, ("X-Count", "[a b c] [a b c]"))


TOLD = definition(custom_middleware=hooks("goplugin", pre=[("Settings", "plugin.so")]))


@pytest.fixture
def conf(tmp_path):
    """A tyk.conf, of which a hook that is called Settings tells."""
    own = {"bundle_authorization": "b"}
    keys = {"secret": "s", "listen_port": 8080, "hash_keys": False, "middleware_path": str(tmp_path), "tykbridge": own}
    (tmp_path / "tyk.conf").write_text(json.dumps(keys))
    return str(tmp_path / "tyk.conf")


def test_the_gateways_settings(place, builds, conf):
    place.put(builds["1"])
    sent = _bridge.message("Object")
    sent.spec["APIID"], sent.request.method, sent.request.url = "api", "GET", "/api/"
    _, reply = place.remote.hosted(TOLD, sent.SerializeToString(), settings=conf)
    assert _bridge.message("Object", reply).response.raw_body == b"s 8080 false memory true"


def test_regression_settings_were_empty_behind_the_asgi_middleware(place, builds, conf):
    place.put(builds["1"])
    assert place.remote.behind_asgi(TOLD, conf) == (200, b"s 8080 false memory true")


def test_a_panic_is_a_failed_hook_with_gos_stack(place, builds):
    place.put(builds["1"])
    assert place.load(pre=["Panic"]) == []
    place.remote.log()
    assert place.remote.request(GET).response.status == 500
    [(level, words)] = place.remote.log()
    assert level == "error"
    first, *stack = words.splitlines()
    assert first.endswith("panic: assignment to entry in nil map (main.go:21)")
    assert any("main.Panic" in line for line in stack)


def test_each_api_has_its_own_definition(place, builds):
    place.put(builds["1"])
    apis = [
        definition(name, name=f"Name of {name}", config_data={"key": f"data of {name}"},
                   custom_middleware=hooks("goplugin", pre=[("About", "plugin.so")]))
        for name in ("one", "two")
    ]  # fmt: skip
    assert place.remote.load(*apis) == []
    assert len(place.remote.mapped()) == 1
    for name in ("one", "two"):
        answer = place.remote.request(Request("GET", f"/{name}/", (("Host", "h"),)), name).response
        assert answer.body.decode() == f"{name} Name of {name} data of {name} true"


# ---- Versions


def test_new_content_at_the_same_path_is_the_new_code(place, builds):
    place.put(builds["1"])
    assert place.load(pre=["Version"]) == []
    assert place.version() == "1"
    for number in ("2", "2", "3", "1", "2"):
        place.put(builds[number])
        assert place.remote.reload() == []
        assert place.version() == number
    assert len(place.remote.mapped()) == 3


def test_two_contents_side_by_side(place, builds):
    for number in "12":
        place.put(builds[number], f"{number}.so")
    section = {number: hooks("goplugin", pre=[("Version", f"{number}.so")]) for number in "12"}
    assert place.remote.load(*[definition(number, custom_middleware=section[number]) for number in "12"]) == []
    for number in "1212":
        end = place.remote.request(Request("GET", f"/{number}/", (("Host", "h"),)), number)
        assert dict(end.request.headers)["X-Version"] == number


def test_eight_threads_while_it_is_loaded_again(place, builds):
    place.put(builds["1"])
    assert place.load(pre=["Version"]) == []
    [end] = place.remote.request_many(GET, 8, 500, reloads=20)
    assert dict(end.request.headers)["X-Version"] == "1"
    assert len(place.remote.mapped()) == 1


def test_sixty_reloads_among_three_contents_under_load(place, builds):
    files = {number: str(file) for number, file in builds.items()}
    place.put(builds["1"])
    assert place.load(pre=["Version"]) == []
    seen, wrong = place.remote.swap_under_load(GET, files, reloads=60, workers=8)
    assert (seen, wrong) == ({"1", "2", "3"}, [])
    assert len(place.remote.mapped()) == 3


def test_a_fork_is_told_and_loads_its_own(place, builds):
    place.put(builds["1"])
    assert place.load(pre=["Version"]) == []
    before, words, reloaded, after = place.remote.in_a_forked_child(GET)
    assert before.response.status == 500
    assert "this process was forked after the Go plugin was loaded" in words[0]
    assert reloaded == []
    assert dict(after.request.headers)["X-Version"] == "1"
    assert place.version() == "1"


def test_an_interpreter_that_ends_while_goroutines_log(tmp_path, builds):
    place = Place(tmp_path)
    place.put(builds["1"])
    assert place.load(pre=["Chatter"]) == []
    place.remote.request(GET)
    until(lambda: ("info", "chatter") in place.remote.log())
    assert place.remote.close() == 0


# ---- Files that are something else


def test_a_plugin_of_tyks_own_compiler(tmp_path, go_plugin, builds, monkeypatch):
    source = tmp_path / "main.go"
    source.write_text("package main\n\nfunc Hook() {}\n\nfunc main() {}\n")  # what it imports is compiled anew so
    for name, value in go_environment().items():
        monkeypatch.setenv(name, value)
    for flags in ([], ["-ldflags=-s -w"]):
        command = ["go", "build", "-buildmode=plugin", "-trimpath", *flags, "-o", "plugin.so", "main.go"]
        subprocess.run(command, cwd=tmp_path, check=True)
        with pytest.raises(LoadError) as caught:
            library.obtain(tmp_path / "plugin.so")
        words = "is a plugin for Tyk's own gateway (go build -buildmode=plugin), which only that very gateway can open"
        assert words in str(caught.value)
        assert "compile its source, as it is, with tykbridge plugin build" in str(caught.value)


# ---- The example


def test_the_examples_commands(root, tmp_path, monkeypatch):
    for name, value in go_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{sys.prefix}/bin:{os.environ['PATH']}")
    for folder in ("go", "native"):
        copy = tmp_path / folder
        shutil.copytree(root / "examples" / folder, copy)
        [shell] = blocks(copy / "README.md")["sh"]
        done = subprocess.run(["sh", "-ec", shell], cwd=copy, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert "0 problems" in done.stdout
