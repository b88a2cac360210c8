"""The programs that compile a plugin: Go, and a C compiler for the target."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tykbridge.goplugin import BuildError

OLDEST_GO = (1, 21)
OLDEST_GLIBC = "2.17"
_GO = "Go 1.21 or later is needed: https://go.dev/dl/ has it, Debian and its like in golang-go (or in their backports)"


@dataclass(frozen=True)
class _Machine:
    triple: str  # of GNU's tools
    zig: str  # of Zig's
    machine: str  # as uname has it
    glibc: str = OLDEST_GLIBC  # the oldest there is for it, as far as it matters


_LINUX = {
    "amd64": _Machine("x86_64-linux-gnu", "x86_64-linux-gnu", "x86_64"),
    "arm64": _Machine("aarch64-linux-gnu", "aarch64-linux-gnu", "aarch64"),
    "arm": _Machine("arm-linux-gnueabihf", "arm-linux-gnueabihf", "armv7l"),
    "386": _Machine("i686-linux-gnu", "x86-linux-gnu", "i686"),
    "ppc64le": _Machine("powerpc64le-linux-gnu", "powerpc64le-linux-gnu", "ppc64le", "2.19"),
    "riscv64": _Machine("riscv64-linux-gnu", "riscv64-linux-gnu", "riscv64", "2.27"),
    "s390x": _Machine("s390x-linux-gnu", "s390x-linux-gnu", "s390x"),
}


@dataclass(frozen=True)
class Target:
    """What a library is for.

    Attributes:
        goos, goarch: Go's names of it.
        glibc: the oldest glibc that it is to run with, such as "2.17"; "" for what the compiler gives.
    """

    goos: str
    goarch: str
    glibc: str = ""

    def __post_init__(self) -> None:
        if self.goos not in ("linux", "darwin", "windows", "freebsd"):
            hint = " (an empty BUILD_ID before it must be written as '')" if self.goos in _LINUX else ""
            raise BuildError(f'GOOS "{self.goos}" is not known: plugins are built for linux{hint}')
        if self.goos == "darwin":
            raise BuildError(
                "plugins are not built for darwin: tykbridge runs on Linux, and Apple's SDK, without which nothing can "
                "be linked for macOS, is to be had there alone. For a gateway in a container on a Mac, build for linux"
            )
        if self.goos != "linux":
            raise BuildError(f"plugins are not built for {self.goos}: tykbridge runs on Linux")
        if self.goarch not in _LINUX:
            raise BuildError(f'GOARCH "{self.goarch}" is not one of {", ".join(_LINUX)}')
        if self.glibc and not re.fullmatch(r"2\.\d{1,2}", self.glibc):
            raise BuildError(f'"{self.glibc}" is no version of glibc: it looks like {OLDEST_GLIBC}')

    @staticmethod
    def here() -> str:
        """Give this machine's GOARCH."""
        return _goarch()

    @property
    def native(self) -> bool:
        """It is for this machine."""
        return platform.system() == "Linux" and _goarch() == self.goarch

    def compiler(self, env: Mapping[str, str]) -> str:
        """Give the C compiler, as Go's CC takes it."""
        machine = _LINUX[self.goarch]
        if env.get("CC"):
            return env["CC"]
        if not self.glibc:
            names = ("gcc", "cc", "clang") if self.native else (f"{machine.triple}-gcc",)
            if found := next(filter(None, map(shutil.which, names)), None):
                return shlex.quote(found)
        if zig := _zig():
            return f"{shlex.quote(zig)} cc -target {machine.zig}.{self.glibc or machine.glibc}"
        extra = "pip install 'tykbridge[cross]'"
        if self.glibc:
            raise BuildError(
                f"a library for glibc {self.glibc} needs Zig's C compiler: {extra}, or name another with CC"
            )
        if self.native:
            raise BuildError(
                f"there is no C compiler here: install gcc (Debian: apt-get install gcc libc6-dev), or {extra}"
            )
        raise BuildError(
            f"there is no C compiler for linux/{self.goarch} here: {extra}, or install {machine.triple}-gcc (Debian: "
            f"apt-get install gcc-{machine.triple.replace('_', '-')}), or name one with CC"
        )


def _zig() -> str | None:
    package = importlib.util.find_spec("ziglang")
    if package and package.origin and (found := Path(package.origin).parent / "zig").exists():
        return str(found)
    return shutil.which("zig")


def _goarch() -> str:
    return next((name for name, one in _LINUX.items() if one.machine == platform.machine()), platform.machine())


@dataclass(frozen=True)
class Go:
    """A Go toolchain.

    Attributes:
        program: its go command.
        version: such as "go1.26.8", with the toolchain that the source's go.mod asks for.
        root: its own folder.
        module: the go.mod that the source belongs to, None for none.
    """

    program: str
    version: str
    root: Path
    module: Path | None

    @property
    def language(self) -> str:
        """Its version of the language, such as "1.26"."""
        number = re.match(r"go(\d+\.\d+)", self.version)
        return number[1] if number else ".".join(map(str, OLDEST_GO))


def find_go(source: Path, env: Mapping[str, str]) -> Go:
    """Give the Go that compiles what is in a folder. Raises `BuildError`."""
    program = shutil.which("go", path=env.get("PATH"))
    if not program:
        raise BuildError(f"there is no go command on PATH. {_GO}")
    done = subprocess.run(
        [program, "env", "-json", "GOVERSION", "GOROOT", "GOMOD"],
        cwd=source,
        env=dict(env),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BuildError(f"{program} does not work: {(done.stderr or done.stdout).strip()}")
    found = json.loads(done.stdout)
    version = found["GOVERSION"]
    number = re.match(r"go(\d+)\.(\d+)", version)
    if number and (int(number[1]), int(number[2])) < OLDEST_GO:
        raise BuildError(f"{program} is {version}. {_GO}")
    module = Path(found["GOMOD"]) if found["GOMOD"] not in ("", os.devnull) else None
    return Go(program, version, Path(found["GOROOT"]), module)


def needed_glibc(library: Path) -> str:
    """Give the newest version of glibc whose symbols a library uses, "" for none."""
    found = re.findall(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)", library.read_bytes())
    return ".".join(map(str, max((int(major), int(minor)) for major, minor in found))) if found else ""
