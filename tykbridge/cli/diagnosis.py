"""Looks at a machine for whatever tykbridge needs of it, and for mistakes that cost people hours."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tykbridge
from tykbridge import installation

# Nothing else of this package is imported here: it may be what is broken.

OK, NOTE, PROBLEM = "ok", "note", "problem"

_OLDEST, _NEWEST = (3, 11), (3, 13)
_PORT = 8181
_AGAIN = f"{sys.executable} -m pip install --force-reinstall --no-cache-dir tykbridge"
_FOR = {
    "cross": "Go plugins for other machines",
    "extractors": "ID extractors with regex and xpath, allowed_urls of sessions",
    "gateway": "tykbridge serve",
    "grpc": "hooks on gRPC servers, and such servers",
    "lua": "hooks in Lua",
    "redis": "sessions, counters and data in Redis",
    "signatures": "signed bundles",
    "watch": "reloads when files change",
}
_PLUGINS_IMPORT = ("tyk", "gateway", "coprocess_object_pb2", "coprocess_session_state_pb2")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what it is.
        status: OK, NOTE (worth knowing) or PROBLEM.
        words: what was found.
        mend: what to do, "" where there is nothing to do.
    """

    about: str
    status: str
    words: str
    mend: str = ""


def diagnose(conf: Path | None) -> list[Finding]:
    """Look at everything. `conf` is a tyk.conf to look into as well."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _shared_library,
        _package,
        _library,
        _module,
        _protobuf,
        _drivers,
        _extras,
        _go,
        _names,
        _temporary,
        _port,
        functools.partial(_settings, conf),
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # whatever is broken, the rest is told
            name = getattr(check, "__name__", "settings").strip("_").replace("_", " ")
            findings.append(Finding(name, PROBLEM, f"could not be looked at: {error!r}"))
    return findings


# ---- Python


def _python() -> Iterator[Finding]:
    version = sys.version_info[:2]
    words = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    another = f"make an environment with Python {'.'.join(map(str, _NEWEST))}: python3.{_NEWEST[1]} -m venv .venv"
    if sys.implementation.name != "cpython":
        yield Finding("Python", PROBLEM, f"{words}: plugins run in CPython only", another)
    elif sysconfig.get_config_var("Py_GIL_DISABLED"):
        words += ": this build has no GIL, which tykbridge and most extension modules rely on"
        yield Finding("Python", PROBLEM, words, f"{another} (python3.{version[1]}, not python3.{version[1]}t)")
    elif version < _OLDEST:
        yield Finding("Python", PROBLEM, f"{words}: it is too old", another)
    elif version > _NEWEST:
        yield Finding("Python", NOTE, f"{words}: newer than what this release is tested with", another)
    else:
        yield Finding("Python", OK, words)
    if sys.platform != "linux":
        yield Finding("system", PROBLEM, f"{platform.system()}: tykbridge runs on Linux", "use a container, or WSL 2")


def _shared_library() -> Iterator[Finding]:
    """Look for libpython where csrc/locate.c does."""
    version, var = "{}.{}".format(*sys.version_info), sysconfig.get_config_var
    names = [name for name in (var("INSTSONAME"), f"libpython{version}{sys.abiflags}.so.1.0") if name and ".so" in name]
    home, libdir = os.path.join(sys.base_prefix, "lib"), var("LIBDIR")
    folders = [libdir, home, libdir and var("MULTIARCH") and os.path.join(libdir, var("MULTIARCH"))]
    paths = [os.path.join(folder, name) for folder in folders if folder for name in names]
    found = next(filter(os.path.isfile, paths), "")
    if found:
        yield Finding("libpython", OK, f"{found}, for hosts in C, Go and Rust")
    else:
        yield Finding(
            "libpython",
            NOTE,
            f"{names[-1]} is not there: hosts in C, Go and Rust cannot start this Python",
            f"Debian: apt-get install libpython{version}; elsewhere a Python that is built with --enable-shared",
        )
    chosen = os.environ.get("TYKBRIDGE_PYTHON")
    if not chosen:
        return
    place = Path(chosen)
    program = place / "bin/python" if place.is_dir() else place
    if not os.access(program, os.X_OK):
        yield Finding(
            "TYKBRIDGE_PYTHON",
            PROBLEM,
            f"{chosen} is neither a Python nor an environment: hosts refuse to start",
            "let it name one, or take it away: unset TYKBRIDGE_PYTHON",
        )
    elif not program.samefile(sys.executable):
        yield Finding("TYKBRIDGE_PYTHON", NOTE, f"hosts start {program}, which is not the Python that runs this")


# ---- tykbridge itself


def _package() -> Iterator[Finding]:
    here = Path(tykbridge.__file__).resolve().parent
    yield Finding("tykbridge", OK, f"{tykbridge.__version__}, {here}")
    places: dict[str, importlib.metadata.Distribution] = {}
    for found in importlib.metadata.distributions(name="tykbridge"):
        if not isinstance(found, importlib.metadata.PathDistribution) or _is_source(found):
            continue
        places.setdefault(os.path.realpath(str(found.locate_file(""))), found)
    if len(places) > 1:
        where = " and ".join(f"{found.version} in {place}" for place, found in places.items())
        yield Finding(
            "installations",
            PROBLEM,
            f"tykbridge is there more than once: {where}",
            f"{sys.executable} -m pip uninstall tykbridge, until it says that there is none; then install it again",
        )
    elif places:
        [(place, found)] = places.items()
        is_editable = '"editable": true' in (found.read_text("direct_url.json") or "").replace("\n", " ")
        if not is_editable and Path(place, "tykbridge").resolve() != here:
            yield Finding(
                "installations",
                PROBLEM,
                f"pip has installed it in {place}, and Python takes it from {here}",
                "leave that folder, or take it out of PYTHONPATH",
            )
    else:
        yield Finding(
            "installations",
            NOTE,
            f"pip has not installed it: Python found it in {here.parent}, so nobody knows which extras it needs",
            f"{sys.executable} -m pip install tykbridge",
        )
    program = shutil.which("tykbridge")
    owner = _interpreter(program) if program else ""
    if owner and not _same_environment(owner):
        yield Finding(
            "command",
            NOTE,
            f"`tykbridge` on PATH is {program}, which belongs to another Python: {owner}",
            f"{sys.executable} -m tykbridge is this one; . {sys.prefix}/bin/activate puts it first",
        )


def _is_source(found: importlib.metadata.Distribution) -> bool:
    """Whether this is what a build has left in a checkout, beside the installation."""
    return bool(found.read_text("PKG-INFO"))


def _interpreter(program: str) -> str:
    """Give the Python of a script that pip has made, "" where it is none."""
    with contextlib.suppress(OSError, UnicodeDecodeError), open(program, encoding="utf-8") as script:
        first = script.readline()
        second = script.readline()
        if match := re.match(r"#!(/\S*python\S*)\s*$", first) or re.match(r"'''exec' \"?(/[^\"]*?)\"? \"\$0\"", second):
            return match[1]
    return ""


def _same_environment(interpreter: str) -> bool:
    return os.path.abspath(os.path.join(interpreter, os.pardir, os.pardir)) == os.path.abspath(sys.prefix)


def _library() -> Iterator[Finding]:
    place = installation.library()
    if not place.is_file():
        yield Finding("library", PROBLEM, f"{place} is not there", f"{_AGAIN}; in a checkout: make build")
        return
    try:
        library = ctypes.CDLL(str(place))
    except OSError as error:
        words = f"{place} cannot be loaded on this machine ({platform.machine()}): {error}"
        yield Finding("library", PROBLEM, words, f"{_AGAIN}; in a checkout: make clean build")
        return
    library.tykb_version.restype = ctypes.c_char_p
    library.tykb_abi.restype = ctypes.c_uint32
    version = library.tykb_version().decode()
    words = f"{place}: release {version}, interface {library.tykb_abi()}"
    if version == tykbridge.__version__:
        yield Finding("library", OK, words)
    else:
        words += f", beside Python files of {tykbridge.__version__}"
        yield Finding("library", PROBLEM, words, f"{_AGAIN}; in a checkout: make build")


def _module() -> Iterator[Finding]:
    try:
        importlib.import_module("tykbridge._bridge")
    except ImportError as error:
        here = Path(tykbridge.__file__).resolve().parent
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        there = sorted(file.name for file in here.glob("_bridge.*.so"))
        words = f"_bridge cannot be imported: {error}"
        if there and f"_bridge{suffix}" not in there:
            words = f"it is built for another Python or machine: there is {', '.join(there)}, not _bridge{suffix}"
        yield Finding("module", PROBLEM, words, f"{_AGAIN}; in a checkout: make build")
    else:
        yield Finding("module", OK, "compiled for this Python")


def _protobuf() -> Iterator[Finding]:
    from google.protobuf.internal import api_implementation

    kind, version = api_implementation.Type(), importlib.metadata.version("protobuf")
    if kind == "python":
        variable = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
        mend = f"{sys.executable} -m pip install --force-reinstall --only-binary :all: protobuf"
        if os.environ.get(variable) == "python":
            mend = f"unset {variable}"
        yield Finding("protobuf", PROBLEM, f"{version} without its compiled part, many times slower", mend)
    else:
        yield Finding("protobuf", OK, f"{version} ({kind})")


# ---- What is optional


def _drivers() -> Iterator[Finding]:
    from tykbridge import drivers

    for engine in drivers.engines().values():
        hint = engine.missing()
        yield Finding(f"driver {engine.name}", NOTE if hint else OK, "cannot run here" if hint else "runs here", hint)


def _extras() -> Iterator[Finding]:
    try:
        requires = importlib.metadata.requires("tykbridge") or []
    except importlib.metadata.PackageNotFoundError:
        return
    extras: dict[str, list[tuple[str, str]]] = {}
    for line in requires:
        match = re.fullmatch(r"([\w.-]+)(?:\[[\w,.-]*\])?\s*\(?([^;()]*)\)?;.*\bextra == ['\"]([\w-]+)['\"].*", line)
        if match and match[1] != "tykbridge":
            extras.setdefault(match[3], []).append((match[1], match[2].strip()))
    modules: dict[str, list[str]] = {}
    for module, names in importlib.metadata.packages_distributions().items():
        for name in names:
            modules.setdefault(name.lower(), []).append(module)
    for extra, wanted in sorted(extras.items()):
        yield _extra(extra, wanted, modules)


def _extra(extra: str, wanted: list[tuple[str, str]], modules: dict[str, list[str]]) -> Finding:
    about, use = f"extra {extra}", _FOR.get(extra, "")
    install = f"{sys.executable} -m pip install 'tykbridge[{extra}]'"
    there, missing, wrong = [], [], []
    for name, bounds in wanted:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        there.append(f"{name} {version}")
        if not fits(version, bounds):
            wrong.append(f"{name} is {version}, and {bounds} is needed")
        found = [module for module in modules.get(name.lower(), []) if module.isidentifier() and module[0] != "_"]
        wrong += [f"{name} cannot be imported: {words}" for words in map(_unusable, found) if words]
    if wrong:
        return Finding(about, PROBLEM, "; ".join(wrong), f"{install} --upgrade --force-reinstall")
    if missing and there:
        return Finding(about, NOTE, f"{', '.join(missing)} is missing beside {', '.join(there)}, for {use}", install)
    if missing:
        return Finding(about, NOTE, f"not installed, for {use}", install)
    return Finding(about, OK, f"{', '.join(there)}, for {use}")


def _unusable(module: str) -> str:
    try:
        importlib.import_module(module)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def fits(version: str, bounds: str) -> bool:
    """Tell whether a version is within bounds such as ">=1.70,<2"; what is none of these is not looked at."""
    number = _numbers(version)
    for bound in bounds.replace(" ", "").split(","):
        if bound.startswith(">=") and number < _numbers(bound[2:]):
            return False
        if bound.startswith("<") and not bound.startswith("<=") and number >= _numbers(bound[1:]):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _go() -> Iterator[Finding]:
    from tykbridge.goplugin import BuildError
    from tykbridge.goplugin.toolchain import Target, find_go

    try:
        go = find_go(Path(tempfile.gettempdir()), os.environ)
        compiler = Target("linux", Target.here()).compiler(os.environ)
    except BuildError as error:
        yield Finding("Go", NOTE, "plugins in Go cannot be compiled here (compiled ones run)", str(error))
    else:
        yield Finding("Go", OK, f"{go.version}, {go.program}, with {compiler}, for plugins in Go")


# ---- What is around


def _names() -> Iterator[Finding]:
    """Look for modules that have a name which plugins mean something else by."""
    for name in _PLUGINS_IMPORT:
        spec = importlib.util.find_spec(name)
        if spec is not None:
            place = spec.origin or next(iter(spec.submodule_search_locations or ()), "")
            yield Finding(
                "names",
                NOTE,
                f"there is a module {name} of your own, {place}: a plugin that imports {name} gets the gateway's",
                "give it another name, or take its folder out of PYTHONPATH",
            )


def _temporary() -> Iterator[Finding]:
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        yield Finding("temporary files", PROBLEM, str(error), "let TMPDIR name a folder that can be written to")
        return
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        words = f"{folder} is mounted noexec: plugins in Go are opened from there, and will not load"
        yield Finding("temporary files", NOTE, words, "let TMPDIR name another folder")
    else:
        yield Finding("temporary files", OK, folder)


def _port() -> Iterator[Finding]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", _PORT))
        except OSError as error:
            words = f"{_PORT} cannot be had ({error.strerror}): `tykbridge serve` takes the next one that is free"
            yield Finding("port", NOTE, words, "or name one: tykbridge serve --port")
        else:
            yield Finding("port", OK, f"{_PORT} is free, for `tykbridge serve`")


def _settings(conf: Path | None) -> Iterator[Finding]:
    variables = sorted(name for name in os.environ if name.startswith("TYK_GW_"))
    if variables:
        words = f"{', '.join(variables)} set: they win over a tyk.conf, and count without one for `tykbridge serve`"
        yield Finding("variables", NOTE, words)
    if conf is None:
        if Path("tyk.conf").is_file():
            yield Finding(
                "settings", NOTE, "there is a tyk.conf here", "tykbridge doctor --conf tyk.conf looks into it"
            )
        return
    from tykbridge.cli.gateway import ConfError, Gateway

    try:
        gateway = Gateway(conf, None)
    except ConfError as error:
        for problem in error.problems:
            yield Finding("settings", PROBLEM, str(problem), "docs/settings.md tells what each key wants")
        return
    for words in (*map(str, gateway.notices), *gateway.warnings):
        yield Finding("settings", NOTE, words)
    yield from _store(conf)


def _store(conf: Path) -> Iterator[Finding]:
    from tykbridge.settings import read_settings
    from tykbridge.stores.opening import unreachable

    storage = read_settings(conf)[0].storage
    if storage.type != "redis":
        yield Finding("settings", OK, f"{conf}: storage of type {storage.type}")
    elif words := unreachable(storage):
        yield Finding("settings", PROBLEM, f"{conf}: $.storage: {words}", "see that Redis runs there, and lets this in")
    else:
        yield Finding("settings", OK, f"{conf}: Redis answers")
