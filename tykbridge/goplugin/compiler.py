"""Compiles a plugin: the author's package main and the shim, as one shared library."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tykbridge import __version__, installation
from tykbridge.goplugin import STAND_INS, BuildError
from tykbridge.goplugin.modules import modules
from tykbridge.goplugin.toolchain import Go, Target, find_go, needed_glibc

_GENERATED = "zz_tykbridge_plugin.go"
_TYK = "github.com/TykTechnologies/tyk"
_FORMS = """\
  func Name(rw http.ResponseWriter, req *http.Request)                          on requests and for authentication
  func Name(rw http.ResponseWriter, res *http.Response, req *http.Request)      on responses
  func Name(record *analytics.AnalyticsRecord)                                  on records of analytics"""


@dataclass(frozen=True)
class Order:
    """What is to be built.

    Attributes:
        name: the output's root, with or without .so; it may name a folder.
        target: what it is for.
        source: the folder of the package main.
        build_id: makes the library differ from others of the same source.
        version: of the gateway, in the output's name.
        tidy: run go mod tidy first, on a copy of go.mod.
        get: run go get first, on a copy of go.mod.
        debug: say what is done, and keep what debuggers need.
    """

    name: str
    target: Target
    source: Path
    build_id: str = ""
    version: str = f"v{__version__}"
    tidy: bool = False
    get: bool = False
    debug: bool = False

    @property
    def root(self) -> str:
        """The name without .so."""
        return self.name.removesuffix(".so")

    @property
    def output(self) -> Path:
        """The library."""
        return Path(f"{self.root}_{self.version}_{self.target.goos}_{self.target.goarch}.so")


@dataclass(frozen=True)
class Hook:
    """A hook that a plugin has: its function's name, its kind (request, response, analytics), and where it stands."""

    name: str
    kind: str
    file: str
    line: int


@dataclass(frozen=True)
class Built:
    """A library that was built.

    Attributes:
        file: where it is.
        hooks: what it offers.
        glibc: the oldest glibc that it runs with, "" where it needs none.
    """

    file: Path
    hooks: tuple[Hook, ...]
    glibc: str


def build(order: Order, say: Callable[[str], None] = lambda line: None) -> Built:
    """Build a plugin. The source's folder is not written to, and an earlier output is replaced in one step.

    Args:
        order: what to build.
        say: gets lines of progress with `order.debug`.

    Raises:
        BuildError: it cannot be built.
    """
    with tempfile.TemporaryDirectory(prefix="tykbridge-plugin-") as folder:
        return _Build(order, Path(folder), say if order.debug else lambda line: None).run()


class _Build:
    """One build, in a folder of its own."""

    def __init__(self, order: Order, folder: Path, say: Callable[[str], None]) -> None:
        self._order = order
        self._folder = folder
        self._say = say
        self._source = order.source.resolve()
        # A go.work, or GO111MODULE=off of old days, would have Go look for modules elsewhere.
        self._env = {**os.environ, "GOWORK": "off", "GO111MODULE": "on"}
        self._target_env = {"GOOS": order.target.goos, "GOARCH": order.target.goarch, "CGO_ENABLED": "1"}
        for name in self._target_env:
            self._env.pop(name, None)

    def run(self) -> Built:
        order = self._order
        if not self._source.is_dir():
            raise BuildError(f"{order.source} is no folder")
        if not Path(order.root).name:
            raise BuildError(f'"{order.name}" is no name of a plugin')
        if not order.output.parent.is_dir():
            raise BuildError(f"{order.output.parent}, where the library is to be put, is no folder")
        go = find_go(self._source, self._env)
        compiler = order.target.compiler(self._env)
        self._say(f"{go.program}: {go.version}; C compiler: {compiler}; go.mod: {go.module or 'none'}")
        hooks = self._scan(go)
        flags = self._arrange(go)
        if order.get:
            self._module_command(go, "get", [*flags, "."])
        if order.tidy:
            self._module_command(go, "mod", ["tidy", *flags])
        library = self._compile(go, compiler, flags)
        return Built(self._put(library), hooks, needed_glibc(library))

    def _scan(self, go: Go) -> tuple[Hook, ...]:
        """Find the hooks, and write the file that is compiled beside the author's."""
        program, order = self._folder / "scan", self._order
        module = next(folder for folder in STAND_INS if folder.name == "tyk")
        # For this machine, whatever the plugin is for; the author's flags are for the plugin.
        env = {**self._env, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -trimpath"}
        # A plugin's library and such a program have the same standard library: it is compiled once.
        mode = ["-buildmode=pie"] if sys.platform == "linux" and Target.here() in ("amd64", "arm64") else []
        done = self._call([go.program, "build", *mode, "-o", str(program), "./tykbridge/scan"], module, env)
        if done.returncode:
            raise BuildError(f"tykbridge's own part does not compile:\n{done.stderr}")
        names = [Path(order.root).name, order.build_id, __version__, str(self._folder / _GENERATED)]
        done = self._call([str(program), str(self._source), *names], self._source, self._env | self._target_env)
        if done.returncode:
            raise BuildError(f"the source cannot be read: {done.stderr.strip()}")
        report = json.loads(done.stdout)
        if report["problems"]:
            raise BuildError(f"{order.source} is no plugin:\n" + "\n".join(f"  {line}" for line in report["problems"]))
        if not report["hooks"]:
            seen = "\n".join(f"  {line}" for line in report["seen"]) or "  none"
            raise BuildError(
                f"{order.source} has no function that a gateway could call. Exported functions in its package main:\n"
                f"{seen}\nA hook is an exported function of one of these forms:\n{_FORMS}"
            )
        return tuple(Hook(**hook) for hook in report["hooks"])

    def _arrange(self, go: Go) -> list[str]:
        """Write go.mod and what lies over the source, and give the flags that say so."""
        made = modules(self._source, Path(self._order.root).name, go)
        (self._folder / "go.mod").write_text(made.mod, encoding="utf-8")
        (self._folder / "go.sum").write_text(made.sum, encoding="utf-8")
        over = {str(self._source / _GENERATED): str(self._folder / _GENERATED)}
        for number, (path, text) in enumerate(made.added.items()):
            file = self._folder / f"added-{number}"
            file.write_text(text, encoding="utf-8")
            over[str(path)] = str(file)
        overlay = self._folder / "overlay.json"
        overlay.write_text(json.dumps({"Replace": over}), encoding="utf-8")
        self._say(f"go.mod of the build:\n{made.mod}")
        return [f"-modfile={self._folder / 'go.mod'}", f"-overlay={overlay}"]

    def _module_command(self, go: Go, command: str, arguments: list[str]) -> None:
        done = self._call([go.program, command, *arguments], self._source, self._env)
        if done.returncode:
            words = command if command == "get" else f"{command} tidy"
            raise BuildError(f"go {words} failed:\n{self._words(done.stderr)}")

    def _compile(self, go: Go, compiler: str, flags: list[str]) -> Path:
        library = self._folder / "plugin.so"
        debug = self._order.debug
        # The same with and without --debug, so that what is compiled for one does for the other: the linker strips it.
        given = self._env.get("CGO_CFLAGS", "-O2 -g")
        include = str(installation.include())
        env = self._env | self._target_env
        # Go splits it as a shell does, but for backslashes.
        env |= {"CC": compiler, "CGO_CFLAGS": f'{given} "-I{include}"'}
        arguments = ["-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-mod=mod", *flags, "-o", str(library)]
        if not debug:
            arguments.append("-ldflags=-s -w")
        done = self._call([go.program, "build", *arguments, "."], self._source, env)
        if done.returncode:
            raise BuildError(f"the plugin does not compile:\n{self._words(done.stderr)}")
        return library

    def _put(self, library: Path) -> Path:
        """Put the library where it belongs: beside it first, since a rename is one step within a file system only."""
        output = self._order.output
        handle, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(library.read_bytes())
            os.chmod(name, 0o755)
            os.replace(name, output)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return output

    def _call(self, command: list[str], folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        self._say(f"{folder}: {shlex.join(command)}")
        done = subprocess.run(command, cwd=folder, env=dict(env), capture_output=True, text=True, errors="replace")
        for line in done.stderr.splitlines():
            self._say(f"  {line}")
        return done

    def _words(self, text: str) -> str:
        """Give what Go said, with the author's places, and what to do where a package of Tyk's is not there."""
        lines = [
            re.sub(r"^\./", "", line)
            for line in text.splitlines()
            if line and not line.startswith(("# ", "go: finding"))
        ]
        lines = [line.replace(str(self._folder / "go.mod"), "go.mod") for line in lines]
        if missing := re.search(rf"(?:package|does not contain package) ({_TYK}(?:-pump)?/[\w./-]+)", text):
            lines.append(
                f"{missing[1]} is a part of the gateway that plugins cannot have here: docs/go-plugins.md lists the "
                f"packages of {_TYK} that are there"
            )
        return "\n".join(f"  {line}" for line in lines)
