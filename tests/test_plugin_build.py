"""`tykbridge plugin build`: what it makes of an author's folder with the real Go, and what it refuses."""

import os
import platform
import re
import shutil
import subprocess

import pytest

from tests.cli.commands import tykbridge, write
from tests.plugins import CONTINUE, RESPOND, Child, encode, go_environment
from tykbridge import __version__, installation
from tykbridge.goplugin import BuildError, toolchain
from tykbridge.goplugin.compiler import Order, build
from tykbridge.goplugin.toolchain import Target

pytestmark = [pytest.mark.once, pytest.mark.plain]

REQUEST = [("method", "GET"), ("url", "/"), ("host", "h")]
VERSION = f"v{__version__}"
HERE = f"linux_{Target.here()}"


def hook(value, *imports):
    """The text of a plugin whose Hello says a value of Go's."""
    lines = "".join(f'import "{path}"; ' for path in ("net/http", *imports))
    return f"""package main

{lines}

func Hello(rw http.ResponseWriter, r *http.Request) {{ r.Header.Set("Said", {value}) }}
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("GOOS", "GOARCH", "DEBUG", "GO_TIDY", "GO_GET", "CC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in go_environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def source(tmp_path):
    """Writes an author's folder: `source({"main.go": ...})`."""
    return lambda files: write(tmp_path / "source", files)


def order(folder, name="plugin.so", **more):
    return Order(str(folder.parent / name), Target("linux", Target.here()), folder, **more)


def run(library, *call):
    """Start a library in a process of its own, and run a hook."""
    child = Child(library)
    try:
        assert child.start() == (CONTINUE, [])
        return child.run(*call)
    finally:
        assert child.close() == 0


def said(folder, **more):
    """Build a folder, and give what its Hello says."""
    outcome, [(_, name, value)] = run(build(order(folder, **more)).file, "Hello", "request", REQUEST)
    assert (outcome, name) == (CONTINUE, "Said")
    return value


def refused(folder, **more):
    with pytest.raises(BuildError) as caught:
        build(order(folder, **more))
    return str(caught.value)


# ---- The seed's page


def test_the_seeds_plugins_do_what_their_page_says(go_plugin):
    outcome, items = run(go_plugin("examples/go/foo-bar").file, "AddFooBarHeader", "request", REQUEST)
    assert (outcome, items) == (CONTINUE, [("header", "Foo", "Bar")])
    upstreams = [("response_status", 200), ("response_header", "Server", "s"), ("response_body", "upstream")]
    outcome, items = run(go_plugin("examples/go/response").file, "MyPluginResponse", "response", [*REQUEST, *upstreams])
    assert (outcome, items) == (
        CONTINUE,
        [
            ("response_header", "X-Response-Added", "resp-added"),
            ("response_body", """{"message":"Hi! I'm a response plugin"}"""),
        ],
    )


def test_the_seeds_unused_import_is_named_with_its_line(root, source):
    text = (root / "examples/go/response/main.go").read_text()
    printed = text.replace('\t"bytes"\n', '\t"bytes"\n\t"encoding/json"\n')
    assert '5:2: "encoding/json" imported and not used' in refused(source({"main.go": printed}))
    result = tykbridge("plugin", "build", "plugin.so", cwd=source({"main.go": printed}))
    assert (result.status, result.output) == (1, "")
    assert re.search(r'^  main.go:5:2: "encoding/json" imported and not used$', result.errors, re.MULTILINE)


def test_the_example_that_authenticates(go_plugin):
    library = go_plugin("examples/go/auth").file
    outcome, items = run(library, "Authenticate", "request", [*REQUEST, ("header", "X-Key", "let-me-in")])
    assert outcome == CONTINUE
    assert ("token", "let-me-in") in items
    assert '"alias":"ada"' in dict(item for item in items if len(item) == 2)["session"]
    outcome, items = run(library, "Authenticate", "request", [*REQUEST, ("header", "X-Key", "other")])
    assert outcome == RESPOND
    assert ("response_status", 403) in items


def test_the_example_with_a_module_of_somebody_elses(go_plugin):
    library = go_plugin("examples/go/request-id").file
    outcome, [(_, name, value)] = run(library, "AddRequestID", "request", REQUEST)
    assert (outcome, name) == (CONTINUE, "X-Request-Id")
    assert re.fullmatch(r"[0-9a-f-]{36}", value)


# ---- The page, docs/go-plugins.md


def test_the_pages_plugin_is_the_example_and_prints_what_the_page_says(root, tmp_path):
    page = (root / "docs/go-plugins.md").read_text()
    [printed] = re.findall(r"```go\n(.*?)```", page, re.DOTALL)
    assert printed == (root / "examples/go/foo-bar/main.go").read_text()
    command, output = re.search(r"```sh\n(tykbridge .*)\n```\n\n```text\n(.*?)```", page, re.DOTALL).groups()
    result = tykbridge(*command.split()[1:], cwd=write(tmp_path, {"main.go": printed}))
    machines_own = re.compile(r"_(linux)_\w+\.so: linux/\w+, glibc 2\.\d+")
    assert machines_own.sub(r"\1", result.output) == machines_own.sub(r"\1", output)


def test_the_page_lists_the_packages_that_are_there(root):
    tyk = root / "tykbridge/goplugin/tyk"
    there = {file.parent.relative_to(tyk).as_posix() for file in tyk.rglob("*.go")}
    there = {name for name in there if name.partition("/")[0] not in (".", "internal", "testdata", "tykbridge")}
    table = (root / "docs/go-plugins.md").read_text().partition("| `github.com/TykTechnologies/tyk/` | |")[2]
    cells = re.findall(r"^\| (`.*?) \|", table.partition("\n\n")[0], re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`([\w/]+)`", cell)} == there


# ---- The command line


def test_the_names_and_the_environment_of_the_seed(source):
    folder = source({"main.go": hook('"hi"')})
    result = tykbridge("plugin", "build", "plugin.so", "", "linux", Target.here(), cwd=folder)
    assert result.status == 0, result.errors
    assert result.output.startswith(f"plugin_{VERSION}_{HERE}.so: linux/{Target.here()}, glibc 2.")
    assert result.output.endswith("  request    Hello  main.go:5\n")
    environment = {"GOOS": "linux", "GOARCH": Target.here(), "DEBUG": "1"}
    named = ("--gw-version", "v5.3.0", "--source", ".")
    result = tykbridge("plugin", "build", "named", "build-7", *named, cwd=folder, **environment)
    assert result.status == 0, result.errors
    assert "go build -buildmode=c-shared" in result.errors
    first, second = folder / f"plugin_{VERSION}_{HERE}.so", folder / f"named_v5.3.0_{HERE}.so"
    assert {file.name for file in folder.iterdir()} == {"main.go", first.name, second.name}
    child = Child(second)
    told = child.manifest()
    assert (told["name"], told["build_id"], told["version"]) == ("named", "build-7", __version__)
    assert told["hooks"] == [{"name": "Hello", "kind": "request", "file": "main.go", "line": 5}]
    child.close()


def test_what_is_no_target(monkeypatch):
    for words, why in [
        (("darwin", "arm64"), "Apple's SDK"),
        (("windows", "amd64"), "runs on Linux"),
        (("arm64", "amd64"), "an empty BUILD_ID before it must be written as ''"),
        (("linux", "mips"), 'GOARCH "mips" is not one of amd64, arm64'),
        (("linux", "amd64", "17"), '"17" is no version of glibc'),
    ]:
        with pytest.raises(BuildError, match=re.escape(why)):
            Target(*words)
    result = tykbridge("plugin", "build", "plugin.so", "id", "darwin", "arm64")
    assert (result.status, result.output) == (1, "")
    assert "Apple's SDK" in result.errors


def test_tidy_and_get_change_a_copy_whatever_lies_around(source, tmp_path, monkeypatch):
    # A workspace above, which has the plugin not, and flags of the author's environment.
    write(tmp_path, {"go.work": "go 1.21\n\nuse ./other\n", "other/go.mod": "module example.org/other\n\ngo 1.21\n"})
    monkeypatch.setenv("GOFLAGS", f"{os.environ['GOFLAGS']} -mod=vendor")
    go_mod = "module example.org/p\n\ngo 1.21\n\nrequire github.com/TykTechnologies/tyk v1.2.3\n"
    folder = source({"go.mod": go_mod, "main.go": hook("uuid.Nil.String()", "github.com/google/uuid")})
    assert said(folder, tidy=True, get=True) == "00000000-0000-0000-0000-000000000000"
    assert (folder / "go.mod").read_text() == go_mod
    assert {file.name for file in folder.iterdir()} == {"go.mod", "main.go"}


# ---- Sources


def test_without_go_mod_and_with_packages_and_without_main(source):
    rules = 'package rules\n\nconst Word = "of rules"\n'
    for path in ("myplugin", "example.org/somebody/myplugin"):
        main = hook("rules.Word", f"{path}/rules")
        folder = source({"main.go": main, "rules/rules.go": rules})
        assert said(folder) == "of rules"
    assert sorted(file.name for file in folder.rglob("*.*")) == ["main.go", "rules.go"]


def test_a_module_with_the_name_of_one_of_gos_own(source):
    assert said(source({"go.mod": "module plugin\n\ngo 1.20\n", "main.go": hook('"hi"')})) == "hi"


def test_a_package_below_its_module_and_local_replacements(source, monkeypatch):
    monkeypatch.setenv("GOFLAGS", f"{os.environ['GOFLAGS']} -mod=readonly")
    go_mod = """module example.org/all

go 1.21

require (
\texample.org/in v1.0.0
\texample.org/out v1.0.0
)

replace example.org/in => ./in

replace (
\texample.org/out => ../out
)
"""
    files = {"go.mod": go_mod, "cmd/plugin/main.go": hook("in.Word + out.Word", "example.org/in", "example.org/out")}
    for name, folder in (("in", "in"), ("out", "../out")):
        files[f"{folder}/go.mod"] = f"module example.org/{name}\n"
        files[f"{folder}/{name}.go"] = f'package {name}\n\nconst Word = "{name} "\n'
    assert said(source(files) / "cmd/plugin", name="../../p") == "in out "


def test_a_vendor_folder_is_what_is_compiled(root, tmp_path, monkeypatch):
    folder = tmp_path / "source"
    shutil.copytree(root / "examples/go/request-id", folder)
    with (folder / "go.mod").open("a") as file:
        file.write("\nreplace github.com/google/uuid => github.com/google/uuid v1.6.0\n")
    subprocess.run(["go", "mod", "vendor"], cwd=folder, check=True, capture_output=True)
    [vendored] = (folder / "vendor").rglob("version4.go")
    text = vendored.read_text()
    vendored.write_text(text.replace("return Must(NewRandom()).String()", 'return "vendored"'))
    assert vendored.read_text() != text
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    monkeypatch.setenv("GOPROXY", "off")
    library = build(order(folder)).file
    assert run(library, "AddRequestID", "request", REQUEST)[1] == [("header", "X-Request-Id", "vendored")]
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_old_lines_for_tyk(go_plugin, root):
    # What no tool reads: v5.3.0 of a path without /v5, required and replaced by itself.
    assert "tyk v5.3.0\n" in (root / "tests/go/every/go.mod").read_text()
    assert [hook.name for hook in go_plugin("tests/go/every").hooks][:2] == ["Nothing", "Show"]


def test_a_build_id_makes_a_build_unlike_others(go_plugin, tmp_path, root):
    first = go_plugin("examples/go/foo-bar").file.read_bytes()
    again = build(Order(str(tmp_path / "foo-bar--"), Target("linux", Target.here()), root / "examples/go/foo-bar"))
    assert again.file.read_bytes() == first
    for machines_own in (str(root / "examples"), str(installation.include()), str(tmp_path)):
        assert machines_own.encode() not in first
    assert go_plugin("examples/go/foo-bar", build_id="2").file.read_bytes() != first


# ---- What is no plugin


def test_no_hook_and_what_was_seen(source):
    folder = source(
        {
            "main.go": """package main

import "net/http"

func Hook(rw http.ResponseWriter, r *http.Request) error { return nil }

func Value(rw http.ResponseWriter, r http.Request) {}

func hello(rw http.ResponseWriter, r *http.Request) {}
"""
        }
    )
    words = refused(folder)
    assert "  main.go:5: func Hook(http.ResponseWriter, *http.Request) error\n" in words
    assert "  main.go:7: func Value(http.ResponseWriter, http.Request)\n" in words
    assert "hello" not in words
    assert "func Name(rw http.ResponseWriter, req *http.Request)" in words
    assert not list(folder.parent.glob("*.so"))


def test_the_forms_by_whatever_name_their_types_have(source):
    main = """package main

import web "net/http"

func One(_ web.ResponseWriter, _ *web.Request) {}
func Two(web.ResponseWriter, *web.Response, *web.Request) {}
func Generic[T any](web.ResponseWriter, *web.Request) {}
func (T) Method(web.ResponseWriter, *web.Request) {}

type T struct{}
"""
    other = 'package main\n\nimport . "net/http"\n\nfunc Three(w ResponseWriter, r *Request) {}\n'
    excluded = "//go:build windows\n\n" + main.replace("func One", "func Windows")
    test = hook('""').replace("Hello", "InATest")
    files = {"main.go": main, "other.go": other, "windows.go": excluded, "main_test.go": test}
    built = build(order(source(files)))
    assert [(hook.name, hook.kind, hook.file) for hook in built.hooks] == [
        ("One", "request", "main.go"),
        ("Two", "response", "main.go"),
        ("Three", "request", "other.go"),
    ]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"main.go": "package main\n\nfunc Hello( {}\n"}, "main.go:3:13: "),
        ({"main.go": "package other\n"}, "main.go:1: package other: a plugin is a package main"),
        ({"read.me": ""}, "there is no Go file in this folder"),
        ({"main_windows.go": "package main\n"}, "no Go file of this folder is for linux/"),
        (
            {"main.go": hook('""', "github.com/TykTechnologies/tyk/gateway")},
            "github.com/TykTechnologies/tyk/gateway is a part of the gateway that plugins cannot have here",
        ),
        ({"go.mod": "module p\n\nrequire nonsense\n", "main.go": hook('""')}, "go.mod:3: "),
    ],
)
def test_what_cannot_be_compiled(source, files, why):
    assert why in refused(source(files))


def test_a_build_that_fails_leaves_what_was_there(source):
    folder = source({"main.go": hook("undefined")})
    output = order(folder).output
    output.write_bytes(b"earlier")
    assert "main.go:5:" in refused(folder)
    assert output.read_bytes() == b"earlier"
    assert {file.name for file in folder.parent.iterdir()} == {"source", output.name}


# ---- Toolchains


def test_no_go_and_an_old_one(source, tmp_path, monkeypatch):
    folder = source({"main.go": hook('"hi"')})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no go command on PATH. Go 1.21 or later is needed: https://go.dev/dl/" in refused(folder)
    old = tmp_path / "go"
    old.write_text('#!/bin/sh\necho \'{"GOVERSION": "go1.19.8", "GOROOT": "/", "GOMOD": ""}\'\n')
    old.chmod(0o755)
    assert re.search(r"/go is go1.19.8. Go 1.21 or later is needed", refused(folder))


def test_c_compilers(monkeypatch, tmp_path):
    other = next(name for name in ("arm64", "amd64") if name != Target.here())
    here, there = Target("linux", Target.here()), Target("linux", other)
    assert here.native
    assert not there.native
    assert there.compiler({"CC": "mine -x"}) == "mine -x"
    zig = there.compiler({})
    assert re.search(r"zig cc -target \w+-linux-gnu\.2\.17$", zig)
    triple = {"arm64": "aarch64", "amd64": "x86_64"}[other] + "-linux-gnu-gcc"
    (tmp_path / triple).write_text("")
    (tmp_path / triple).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert there.compiler({}) == str(tmp_path / triple)
    assert re.search(r"zig cc -target", Target("linux", other, "2.17").compiler({}))
    monkeypatch.setattr(toolchain, "_zig", lambda: None)
    monkeypatch.setenv("PATH", "")
    for target, why in [
        (here, "there is no C compiler here: install gcc"),
        (there, "pip install 'tykbridge[cross]', or install " + triple),
        (Target("linux", other, "2.17"), "needs Zig's C compiler: pip install 'tykbridge[cross]'"),
    ]:
        with pytest.raises(BuildError, match=re.escape(why)):
            target.compiler({})


def needs(library):
    """The versions of glibc that a library names, as readelf sees it."""
    text = subprocess.run(["readelf", "-VW", library], check=True, capture_output=True, text=True).stdout
    return {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([\d.]+)", text)}


def test_for_an_older_linux(go_plugin):
    built = go_plugin("examples/go/foo-bar", goarch="amd64", glibc="2.17")
    assert max(needs(built.file)) <= (2, 17)
    assert tuple(map(int, built.glibc.split("."))) == max(version[:2] for version in needs(built.file))
    if Target.here() == "amd64":
        assert run(built.file, "AddFooBarHeader", "request", REQUEST)[1] == [("header", "Foo", "Bar")]


def test_for_arm64(go_plugin, root, tmp_path):
    built = go_plugin("examples/go/foo-bar", goarch="arm64", glibc="2.17")
    header = subprocess.run(["readelf", "-hW", built.file], check=True, capture_output=True, text=True).stdout
    assert re.search(r"Machine: +AArch64", header)
    assert re.search(r"Type: +DYN", header)
    assert max(needs(built.file)) <= (2, 17)
    # Run it: as it is on such a machine, with qemu-user and Debian's libc6-arm64-cross on others (tools/prepare).
    compiler = Target("linux", "arm64", "2.17").compiler({}).split()
    host = tmp_path / "host"
    command = [*compiler, f"-I{root / 'csrc'}", root / "tests/go/host.c", "-ldl", "-o", host]
    subprocess.run(command, check=True)
    emulator = [] if platform.machine() == "aarch64" else ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]
    done = subprocess.run([*emulator, host, built.file, "AddFooBarHeader"], capture_output=True, text=True)
    assert done.stdout == f"0 {encode([('header', 'Foo', 'Bar')]).hex()}\n", done.stderr
