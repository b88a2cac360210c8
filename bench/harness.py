"""Builds the native benchmark program and its messages for one Python, and runs it.

A `Bench` is made for the interpreter of a virtual environment that has tykbridge in it. Everything it writes goes to
build/bench/ of the repository.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "bench"
BUILD = ROOT / "build" / "bench"
PB2 = BUILD / "pb2"
CONTENDERS = ("copy", "floor", "classic", "full", "delta", "request", "plugin")  # of dispatches, chains, plugins


class BenchError(Exception):
    """Something that the benchmark needs did not work; the words say what and what to do."""


def output(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """Standard output of a command. BenchError, with what it wrote, when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{shlex.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def need(python: Path, *packages: str) -> None:
    """Installs into the interpreter's environment what it lacks of `packages` (name=module)."""
    modules = dict(package.split("=") for package in packages)
    program = "import importlib.util as u, sys; print(*(m for m in sys.argv[1:] if u.find_spec(m) is None))"
    missing = output(python, "-c", program, *modules.values()).split()
    if missing:
        names = [name for name, module in modules.items() if module in missing]
        print(f"bench: installing {', '.join(names)} into {python.parent.parent.name}", file=sys.stderr)
        output(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *names)


def generate_pb2(python: Path) -> None:
    """Lets protoc write the classic modules from proto/ into build/bench/pb2; protoc comes with grpcio-tools."""
    need(python, "grpcio-tools=grpc_tools")
    PB2.mkdir(parents=True, exist_ok=True)
    protos = sorted((ROOT / "proto").glob("*.proto"))
    output(python, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={PB2}", *protos)


def compile_native(python: Path, source: Path, program: Path, *more: str) -> None:
    """Compiles a native host against the tykbridge that an interpreter has; `more`: flags."""
    flags = shlex.split(output(python, "-m", "tykbridge", "--cflags", "--libs").replace("\n", " "))
    compiler = shlex.split(os.environ.get("CC", "cc"))
    warnings = ["-Wall", "-Wextra", "-Werror"]
    output(*compiler, "-std=c11", "-O2", "-g", *warnings, source, *more, "-o", program, *flags, "-pthread")


class Bench:
    """The native program, built for one interpreter."""

    def __init__(self, python: Path) -> None:
        need(python, "protobuf=google.protobuf", "lupa=lupa", "grpcio=grpc")
        script = "import sys; print('%d.%d %d.%d.%d' % (*sys.version_info[:2], *sys.version_info[:3]))"
        self.version, self.release = output(python, "-c", script).split()
        self.folder = BUILD / self.version
        self.messages = self.folder / "messages"
        self.messages.mkdir(parents=True, exist_ok=True)
        self.env = os.environ | {
            "TYKBRIDGE_PYTHON": str(python),
            "BENCH_PATH": f"{HERE}:{PB2}",
            "BENCH_BUNDLE": str(HERE / "bundle"),
            "BENCH_APIS": str(HERE / "apis"),
            "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "upb",
        }
        # Where bench/apis/go.json names it; what is there already is built anew in no time.
        plugin = output(python, "-m", "tykbridge", "plugin", "build", HERE / "go/plugin.so", "--source", HERE / "go")
        self.env["BENCH_PLUGIN"] = plugin.partition(": ")[0]
        self.python = python
        self.scenarios = self.checker("write", self.messages).split()
        self.binary = self.folder / "native"
        compile_native(python, HERE / "native.c", self.binary)

    def checker(self, *arguments: str | Path) -> str:
        """Runs bench/messages.py with this interpreter."""
        env = self.env | {"PYTHONPATH": f"{PB2}"}
        return output(self.python, HERE / "messages.py", *arguments, env=env)

    def command(self, mode: str, argument: str | int | Path, scenarios: list[str]) -> list[str]:
        """The program's command line for a mode (see bench/native.c)."""
        return [str(self.binary), mode, str(argument), str(HERE / "bundle"), str(self.messages), *scenarios]

    def check(self) -> None:
        """Dispatches every scenario once through every contender and compares the replies. BenchError if two differ."""
        replies = self.folder / "replies"
        replies.mkdir(exist_ok=True)
        output(*self.command("replies", replies, self.scenarios), env=self.env)
        self.checker("compare", self.messages, replies)
