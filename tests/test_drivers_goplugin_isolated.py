"""Go plugins in processes of their own: what ends Go ends a process, and no host; a host in Go gets that by itself."""

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import tykbridge
from tests.gateways import definition, gateway, hooks
from tests.plugins import go_environment
from tests.servers import free_port, until
from tests.test_drivers_native_isolated import Place, is_there
from tykbridge import installation
from tykbridge.drivers.goplugin import elf
from tykbridge.outcome import Request

# A Go library's runtime is no friend of ASan's, and what it does depends on no Python.
pytestmark = [pytest.mark.once, pytest.mark.plain]

GET = Request("GET", "/api/", (("Host", "h"),))
SOON = 300  # ms
NEVER = 60_000  # ms

PLUGIN = """
package main

import (
	"fmt"
	golog "log"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/storage"
)

var (
	logger = log.Get()
	calls  int
	mutex  sync.Mutex
	store  = storage.RedisCluster{{KeyPrefix: "go-"}}
)

func Version(rw http.ResponseWriter, r *http.Request) {{
	r.Header.Set("X-Version", "{version}")
}}

func Tell(rw http.ResponseWriter, r *http.Request) {{
	mutex.Lock()
	defer mutex.Unlock()
	fmt.Fprint(rw, os.Getpid(), " {version} ", calls)
	calls++
}}

func Exit(rw http.ResponseWriter, r *http.Request) {{ os.Exit(3) }}

func Fatal(rw http.ResponseWriter, r *http.Request) {{ golog.Fatal("fatal words") }}

func Panic(rw http.ResponseWriter, r *http.Request) {{ panic("a panic of the hook") }}

func Fall(rw http.ResponseWriter, r *http.Request) {{
	go func() {{ panic("a panic of a goroutine") }}()
	select {{}}
}}

func Maps(rw http.ResponseWriter, r *http.Request) {{
	shared := map[int]int{{}}
	for range 8 {{
		go func() {{
			for {{
				shared[1]++
			}}
		}}()
	}}
	select {{}}
}}

func Loop(rw http.ResponseWriter, r *http.Request) {{
	for {{
	}}
}}

// Patient keeps its time by itself.
func Patient(rw http.ResponseWriter, r *http.Request) {{
	<-r.Context().Done()
	rw.WriteHeader(http.StatusGatewayTimeout)
	fmt.Fprint(rw, "in time")
}}

func Ask(rw http.ResponseWriter, r *http.Request) {{
	if err := store.SetKey("a", "value", 60); err != nil {{
		panic(err)
	}}
	value, err := store.GetKey("a")
	if err != nil {{
		panic(err)
	}}
	done := make(chan int64)
	go func() {{
		store.IncrememntWithExpire("n", 60)
		done <- store.IncrememntWithExpire("n", 60)
	}}()
	logger.Warning("asked by ", ctx.GetDefinition(r).APIID)
	fmt.Fprint(rw, value, " ", <-done)
	time.Sleep(time.Nanosecond)
}}

func main() {{}}
"""


@pytest.fixture(scope="module")
def builds(go_plugin, tmp_path_factory):
    """The plugin above in three versions."""
    folder = tmp_path_factory.mktemp("sources")
    made = {}
    for version in "123":
        source = folder / f"hostile{version}"
        source.mkdir()
        (source / "main.go").write_text(PLUGIN.format(version=version))
        made[version] = go_plugin(source).file
    return made


@pytest.fixture
def place(tmp_path, builds, monkeypatch):
    made = Place(tmp_path, builds, monkeypatch, "goplugin")
    yield made
    made.end()


# ---- What ends Go


@pytest.mark.parametrize(
    ("hook", "how", "printed"),
    [
        ("Exit", "exit status 3", ""),
        ("Fatal", "exit status 1", "fatal words"),
        ("Fall", "signal 6 (SIGABRT)", "panic: a panic of a goroutine"),
        ("Maps", "signal 6 (SIGABRT)", "fatal error: concurrent map writes"),
    ],
)
def test_what_ends_go_ends_a_process_which_is_replaced(place, hook, how, printed):
    assert place.load("Tell", hook) == []
    number, _, _ = place.told()
    assert place.run(hook).response.status == 500
    assert any(hook in words and f"its process ended during the call: {how}" in words for words in place.errors())
    until(lambda: any(f"the process {number} of plugin.so ended: {how}" in words for words in place.errors()))
    [told] = [words for words in place.errors() if f"the process {number} " in words]
    # Go's package log writes to the gateway's log.
    assert any(printed in words for words in ([told] if hook != "Fatal" else [words for _, words in place.lines]))
    other, _, calls = place.told()
    assert (other != number, calls) == (True, 0)
    until(lambda: not is_there(number))


def test_an_endless_loop(place):
    assert place.load("Tell") == []
    assert place.load("Loop", timeout_ms=SOON) == []
    number, _, _ = place.told()
    assert place.run("Loop").response.status == 504
    assert place.told()[0] != number
    until(lambda: not is_there(number))


def test_a_panic_in_a_hook_is_an_error_and_nothing_else(place):
    assert place.load("Tell", "Panic") == []
    number, _, _ = place.told()
    assert place.run("Panic").response.status == 500
    [words] = place.errors()
    assert "panic: a panic of the hook (main.go:" in words
    assert "main.Panic" in words
    assert place.told()[0] == number


def test_a_hook_that_keeps_its_time(place):
    assert place.load("Patient", timeout_ms=SOON) == []
    answer = place.run("Patient").response
    assert (answer.status, answer.body) == (504, b"in time")
    assert place.errors() == []


# ---- What goes on


def test_the_store_the_log_and_the_api(place):
    assert place.load("Ask") == []
    assert place.run("Ask").response.body == b"value 2"
    assert ("warning", "asked by Ask") in place.lines


def test_threads_two_libraries_and_python_while_contents_change(tmp_path, builds, go_plugin):
    """Both places at once, in one process, with a hook in Python beside."""
    remote = gateway(tmp_path)
    (tmp_path / "plugin.so").write_bytes(builds["1"].read_bytes())
    (tmp_path / "foo.so").write_bytes(go_plugin("examples/go/foo-bar").file.read_bytes())
    (tmp_path / "hook.py").write_text(
        "from tyk.decorators import *\n\n\n@Hook\ndef py(request, session, spec):\n"
        "    request.add_header('X-Python', 'here')\n    return request, session\n"
    )
    section = hooks("goplugin", pre=[("Version", "plugin.so")], post=[("AddFooBarHeader", "foo.so")])
    section["goplugin"] = {"isolation": "process"}
    section["post"].append({"name": "py", "path": "hook.py", "driver": "python"})
    assert remote.load(definition(custom_middleware=section)) == []
    files = {number: str(file) for number, file in builds.items()}
    seen, wrong = remote.swap_under_load(GET, files, reloads=60, workers=8)
    assert (seen, wrong) == ({"1", "2", "3"}, [])
    assert {("Foo", "Bar"), ("X-Python", "here")} <= set(remote.request(GET).request.headers)
    assert remote.mapped() == []
    until(lambda: len(remote.children()) == 2)
    assert remote.close() == 0


def test_check_starts_one_and_finds_what_is_not_there(tmp_path, builds):
    (tmp_path / "plugin.so").write_bytes(builds["1"].read_bytes())
    for name, status in (("Version", 0), ("Versoin", 1)):
        section = {**hooks("goplugin", pre=[(name, "plugin.so")]), "goplugin": {"isolation": "process"}}
        section["pre"][0]["timeout_ms"] = 5
        (tmp_path / "api.json").write_text(json.dumps(definition(custom_middleware=section)))
        done = tykbridge("check", tmp_path / "api.json")
        assert done.status == status, done.output + done.errors
    assert '"Versoin"' in done.output


# ---- Hosts in Go


def test_programs_that_go_made_are_told(tmp_path):
    assert not elf.is_go(Path("/bin/sh").read_bytes())
    (tmp_path / "main.go").write_text("package main\n\nfunc main() {}\n")
    for flags in ([], ["-ldflags=-s -w -buildid="]):
        subprocess.run(["go", "build", *flags, "-o", "program", "main.go"], cwd=tmp_path, check=True)
        assert elf.is_go((tmp_path / "program").read_bytes())


@pytest.fixture(scope="module")
def proxy(root, tmp_path_factory):
    """The proxy of hosts/go, built against this tykbridge."""
    program = tmp_path_factory.mktemp("proxy") / "tykbridge-proxy"
    flags = {"PKG_CONFIG": "true", "CGO_CFLAGS": installation.cflags(), "CGO_LDFLAGS": installation.libs()}
    subprocess.run(
        ["go", "build", "-o", program, "./cmd/tykbridge-proxy"],
        cwd=root / "hosts/go", env={**os.environ, **go_environment(), **flags}, check=True,
    )  # fmt: skip
    return program


def test_a_host_in_go_has_plugins_in_processes(proxy, tmp_path, builds):
    (tmp_path / "plugin.so").write_bytes(builds["1"].read_bytes())
    apis = tmp_path / "apis"
    apis.mkdir()
    for name in ("Tell", "Exit"):
        section = hooks("goplugin", pre=[(name, str(tmp_path / "plugin.so"))])
        (apis / f"{name}.json").write_text(json.dumps(definition(name, custom_middleware=section)))
    port = free_port()
    command = [proxy, "-listen", f"127.0.0.1:{port}", "-upstream", "http://127.0.0.1:1", "-apis", apis]
    host = subprocess.Popen(command, env={**os.environ, "TYKBRIDGE_PYTHON": sys.prefix})

    def get(name):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", f"/{name}/")
            answer = connection.getresponse()
            return answer.status, answer.read().split()
        except ConnectionRefusedError:  # it is not there yet
            return 0, []
        finally:
            connection.close()

    try:
        until(lambda: get("Tell")[0] == 200, seconds=60)
        number = int(get("Tell")[1][0])
        assert number != host.pid
        assert get("Exit")[0] == 500
        status, (other, _, calls) = get("Tell")
        assert (status, int(other) != number, calls) == (200, True, b"0")
    finally:
        host.kill()
        host.wait()
    until(lambda: not is_there(int(other)))
