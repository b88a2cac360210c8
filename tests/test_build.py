"""What is installed: names that leave the library, its links, the header, and what a host's build is told."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from tests.plugins import go_environment
from tykbridge import __version__, installation
from tykbridge.cli import new

HOST = """\
#include <tykbridge/api.h>
#include <stdio.h>
int main(void) { return puts(tykb_version()) < 0; }
"""


def run(*command: object, cwd: Path | None = None, **env: str) -> str:
    """Standard output of a command that must succeed without a word on standard error."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env or None, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def declared(header: Path) -> set[str]:
    """The functions that a header of ours declares."""
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    text = re.sub(r"\{[^{}]*\}", "", text)
    return set(re.findall(r"^(?!static|typedef|#)[a-z][\w ]*[ *](\w+)\(", text, flags=re.MULTILINE))


def test_exactly_the_declared_names_leave_the_library(root):
    out = run("nm", "-D", "--defined-only", "--format=posix", installation.library())
    exported = {line.split()[0] for line in out.splitlines()}
    public = declared(root / "csrc/api.h")
    assert {"Python_DispatchHook", "TykGetData", "tykb_reader_next", "tykb_builder_new"} <= public
    assert exported == public | {"tykb_register", "tykb_shutdown"}


def test_the_module_exports_its_start_alone():
    import tykbridge._bridge

    out = run("nm", "-D", "--defined-only", "--format=posix", tykbridge._bridge.__file__)
    assert {line.split()[0] for line in out.splitlines()} == {"PyInit__bridge"}


def test_links(root):
    import tykbridge._bridge

    library = run("readelf", "-d", installation.library())
    module = run("readelf", "-d", tykbridge._bridge.__file__)
    assert "Library soname: [libtykbridge.so.1]" in library
    assert "libpython" not in library + module
    assert "SYMBOLIC" not in library + module, "a host's TykTriggerEvent would never be called"
    assert "Shared library: [libtykbridge.so.1]" in module
    assert re.findall(r"Library (?:rpath|runpath): \[(.*)\]", module) == ["$ORIGIN"]
    assert not re.search(r"Library (?:rpath|runpath)", library)


@pytest.mark.parametrize("name", ["TykTriggerEvent", "TykStoreData", "TykGetData", "CoProcessLog"])
def test_a_host_can_put_its_own_function_before_the_librarys(name):
    import tykbridge._bridge

    # A name that is bound at link time leaves no relocation, and a host's function of that name would not be seen.
    assert re.search(rf"\b{name}\b", run("readelf", "-rW", tykbridge._bridge.__file__))


@pytest.mark.once
@pytest.mark.parametrize("standard", ["c99", "c11", "c++17"])
def test_the_header_compiles_alone_twice_and_in_every_language(standard, root, tmp_path):
    compiler, suffix = ("c++", "cpp") if standard.startswith("c++") else ("cc", "c")
    source = tmp_path / f"twice.{suffix}"
    source.write_text('#include "api.h"\n#include "api.h"\n')
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-std={standard}", f"-I{root / 'csrc'}"]
    run(compiler, *flags, "-fsyntax-only", source)


@pytest.mark.once
def test_every_header_compiles_alone(root, tmp_path):
    for header in sorted((root / "csrc").glob("*.h")):
        source = tmp_path / "alone.c"
        source.write_text(f'#include "{header.name}"\n')
        run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{root / 'csrc'}", "-fsyntax-only", source)


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        ("--version", __version__),
        ("--cflags", installation.cflags()),
        ("--libs", installation.libs()),
        ("--library", str(installation.library())),
        ("--include", str(installation.include())),
        ("--pkgconfig", str(installation.pkgconfig())),
    ],
)
def test_a_hosts_build_is_told_where_things_are(option, answer):
    assert run(sys.executable, "-m", "tykbridge", option) == answer + "\n"


def test_the_installed_header_is_the_projects(root):
    assert (installation.include() / "tykbridge/api.h").read_bytes() == (root / "csrc/api.h").read_bytes()


@pytest.mark.plain
def test_a_host_builds_with_what_it_is_told(tmp_path):
    (tmp_path / "host.c").write_text(HOST)
    words = run(sys.executable, "-m", "tykbridge", "--cflags", "--libs").split()
    run("cc", "-Wall", "-Werror", "host.c", "-o", "host", *words, cwd=tmp_path)
    assert run(tmp_path / "host") == __version__ + "\n"


@pytest.mark.once
def test_the_pkg_config_file_says_the_same(tmp_path):
    text = (installation.pkgconfig() / "tykbridge.pc").read_text()
    values = {"pcfiledir": str(installation.pkgconfig())}
    for line in text.splitlines():
        if found := re.fullmatch(r"(\w+)(?:=|: )(.*)", line):
            values[found[1]] = re.sub(r"\$\{(\w+)\}", lambda m: values[m[1]], found[2])
    assert values["Version"] == __version__
    (tmp_path / "host.c").write_text(HOST)
    run("cc", "host.c", "-o", "host", *values["Cflags"].split(), *values["Libs"].split(), cwd=tmp_path)
    assert run(tmp_path / "host") == __version__ + "\n"


@pytest.mark.once
def test_a_wheel_from_a_source_archive_is_complete_and_works(root, tmp_path):
    from setuptools import build_meta

    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "*.so", "*.so.*", "include", "pkgconfig")
    shutil.copytree(root, tree, ignore=ignored)
    backend = f"import os; from {build_meta.__name__} import *; print(build_{{}}('out'))"
    # What is built is looked at, not measured: without optimisation it takes a fifth of the time.
    quiet = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore", "CFLAGS": "-O0"}
    subprocess.run(
        [sys.executable, "-c", backend.format("sdist")], cwd=tree, check=True, capture_output=True, env=quiet
    )
    [archive] = (tree / "out").glob("*.tar.gz")
    run("tar", "-xf", archive, "-C", tmp_path)
    source = tmp_path / f"tykbridge-{__version__}"
    subprocess.run(
        [sys.executable, "-c", backend.format("wheel")], cwd=source, check=True, capture_output=True, env=quiet
    )
    [wheel] = (source / "out").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "tykbridge/libtykbridge.so.1",
        "tykbridge/drivers/goplugin/tykbridge-plugin",
        "tykbridge/include/tykbridge/api.h",
        "tykbridge/include/tykbridge/plugin.h",
        "tykbridge/pkgconfig/tykbridge.pc",
        "tykbridge/py.typed",
        "tykbridge/examples/response-hook/manifest.json",
        "tyk-stubs/__init__.pyi",
        "gateway-stubs/__init__.pyi",
    } <= names
    program = zipfile.ZipFile(wheel).getinfo("tykbridge/drivers/goplugin/tykbridge-plugin")
    assert program.external_attr >> 16 & 0o111 == 0o111  # pip keeps that
    # Plugins in Go are compiled with these.
    modules = {file for file in map(str, Path("tykbridge/goplugin").glob("tyk*/**/*.*")) if (root / file).is_file()}
    assert {name for name in names if name.startswith("tykbridge/goplugin/tyk")} == modules
    # What `tykbridge new` writes, and nothing that came of trying the templates.
    folders = (root / "tykbridge/templates").rglob("*")
    templates = {str(file.relative_to(root)) for file in folders if file.suffix in new._SUFFIXES}
    assert {name for name in names if name.startswith("tykbridge/templates")} == templates
    # What the inspector's page is made of.
    page = {str(file.relative_to(root)) for file in (root / "tykbridge/gateway/inspector/page").iterdir()}
    assert {name for name in names if name.startswith("tykbridge/gateway/inspector/page/")} == page
    assert not [name for name in names - modules if name.endswith((".c", ".pyx", ".pxd", "/object.h"))]
    assert {name.split("/")[0] for name in names} == {
        "tykbridge",
        "tyk-stubs",
        "gateway-stubs",
        f"tykbridge-{__version__}.dist-info",
    }
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)
    # -S: without this environment's own installation, and with the dependencies that it has.
    paths = [str(site), *(p for p in sys.path if p.endswith("site-packages"))]
    code = f"import sys; sys.path[:0] = {paths!r}; import tykbridge._bridge as b; print(b.__file__)"
    assert run(sys.executable, "-S", "-c", code, cwd=tmp_path).startswith(str(site))
    code = f"import sys; sys.path[:0] = {paths!r}; from tykbridge.cli import main; main(['tour', '--port', '0'])"
    assert "Nothing failed" in run(sys.executable, "-S", "-c", code, cwd=tmp_path)  # with plugins from the wheel
    before = sorted(site.rglob("*"))
    words = ["plugin", "build", "plugin.so", "--source", str(root / "examples/go/foo-bar")]
    code = f"import sys; sys.path[:0] = {paths!r}; from tykbridge.cli import main; main({words!r})"
    environment = {**os.environ, **go_environment(), "PYTHONDONTWRITEBYTECODE": "1"}
    assert "AddFooBarHeader" in run(sys.executable, "-S", "-c", code, cwd=tmp_path, **environment)
    assert sorted(site.rglob("*")) == before


@pytest.fixture
def vendored(root, tmp_path, monkeypatch):
    """tools/vendored.py, with a folder of its own and without npm."""
    spec = importlib.util.spec_from_file_location("vendored", root / "tools" / "vendored.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FOLDER", tmp_path / "vendored")
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    return module


@pytest.mark.once
@pytest.mark.parametrize(
    ("size", "words"),
    [(9, "IncompleteRead(5 bytes read, 4 more expected)"), (5, "underscore-1.13.8.tgz is not the pinned file")],
)
def test_a_download_that_is_cut_or_another_file_leaves_nothing_behind(vendored, monkeypatch, size, words):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nshort" % size)

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setattr(vendored, "_REGISTRY", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(vendored.MissingError, match=re.escape(words)):
            vendored.underscore()
        thread.join()
    assert list(vendored.FOLDER.iterdir()) == []


@pytest.mark.once
def test_a_folder_that_cannot_be_made_leaves_the_driver_out(vendored, monkeypatch):
    monkeypatch.setattr(vendored, "FOLDER", Path("/proc/none"))
    with pytest.raises(vendored.MissingError, match="No such file or directory"):
        vendored.quickjs()
