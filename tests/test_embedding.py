"""The library in a native process: how it starts, joins, forks and ends, a process for each scenario.

Of the hosts in tests/host/native, linked.c is linked to the library and exports functions of its own, and opened.c
opens it at run time and exports nothing. Their scenarios check themselves; what only shows outside is checked here.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tykbridge import __version__, installation

MIDDLEWARE = """\
from tyk.decorators import *
from gateway import TykGateway as tyk


@Hook
def Run(request, session, spec):
    names = {"tyk": tyk, "result": ""}
    exec(request.object.body, names)
    request.add_header("result", names["result"])
    return request, session
"""

# As the documentation of 2017 prints it.
CLASSIC_MODULE = """\
cdef extern:
  void TykTriggerEvent(char* event_name, char* payload);

def call():
  event_name = 'my event'.encode('utf-8')
  payload = 'my payload'.encode('utf-8')
  TykTriggerEvent( event_name, payload )
"""

TIMEOUT = 240  # seconds, after which a host hangs


def environment(**changes: str | None) -> dict[str, str]:
    """Copy the environment without what Python and tykbridge read, and with `changes`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TYKBRIDGE_", "VIRTUAL_ENV"))}
    if "ASAN_OPTIONS" in kept:
        kept["ASAN_OPTIONS"] += ":quarantine_size_mb=1"  # freed memory that is kept would look like a leak
    kept |= {"TYKBRIDGE_PYTHON": sys.executable}
    return {k: v for k, v in (kept | changes).items() if v is not None}


def finish(command: list[object], **changes: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        stdin=subprocess.DEVNULL,
    )


def succeed(command: list[object], **changes: str | None) -> subprocess.CompletedProcess[str]:
    done = finish(command, **changes)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def compile_c(out: Path, *words: object) -> Path:
    flags = [
        "-std=gnu11",
        "-D_GNU_SOURCE",
        "-g",
        "-Wall",
        "-Wextra",
        "-Wno-unused-function",
        "-Werror",
        *shlex.split(installation.cflags()),
    ]
    subprocess.run(["cc", *flags, *map(str, words), "-o", str(out), "-ldl", "-lpthread"], check=True)
    return out


@pytest.fixture(scope="session")
def hosts(tmp_path_factory, root) -> Path:
    """The folder of the two hosts."""
    folder = tmp_path_factory.mktemp("native")
    sources = root / "tests/host/native"
    compile_c(folder / "linked", sources / "linked.c", *shlex.split(installation.libs()))
    compile_c(folder / "opened", sources / "opened.c")
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> Path:
    """A root with one bundle, whose hook runs the program in the request's body."""
    root = tmp_path_factory.mktemp("bundles")
    (root / "native").mkdir()
    (root / "native/middleware.py").write_text(MIDDLEWARE)
    (root / "native/manifest.json").write_text(
        '{"file_list": ["middleware.py"], "custom_middleware": {"driver": "python"}}'
    )
    return root


@pytest.fixture
def linked(hosts, bundles) -> Callable[..., subprocess.CompletedProcess[str]]:
    under = shlex.split(os.environ.get("TYKB_UNDER", ""))  # valgrind, from the soak
    return lambda scenario, **changes: succeed([*under, hosts / "linked", scenario, bundles], **changes)


@pytest.fixture
def opened(hosts, bundles) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(scenario: str, *words: object, **changes: str | None) -> subprocess.CompletedProcess[str]:
        return succeed([hosts / "opened", scenario, bundles, *(words or [installation.library()])], **changes)

    return run


def libpython() -> Path:
    """The shared library of the Python that runs the tests; where there is none, nothing could be embedded."""
    name = sysconfig.get_config_var("INSTSONAME")
    folders = [sysconfig.get_config_var("LIBDIR"), Path(sys.base_prefix, "lib"), sysconfig.get_config_var("LIBDIR")]
    folders[2] = Path(str(folders[2]), sysconfig.get_config_var("MULTIARCH") or "")
    return next(path for folder in folders if (path := Path(folder, name)).is_file())


@pytest.mark.parametrize(
    "scenario",
    [
        "before_start",
        "arguments",
        "start_from_many_threads",
        "search_path",
        "many_threads",
        "forked_by_the_host",
        # A sanitizer's malloc does not open its locks in a child, as glibc's does: there the child may wait for ever.
        pytest.param("forked_beside_a_busy_thread", marks=pytest.mark.plain),
        "forked_before_the_start",
        "forked_by_a_hook",
        "exit_with_hooks_running",
        "signals",
        "signals_at_their_defaults",
        "exported_functions_win",
        "failures_are_told_once",
        "nested_calls",
    ],
)
def test_linked_host(linked, scenario):
    linked(scenario)


# ---- A host that opens the library ---------------------------------------------------------------------------------


def test_alone_events_and_logs_go_to_standard_error_line_by_line(opened):
    lines = opened("alone").stderr.splitlines()
    start = lines.index("tykbridge: warning: first")
    assert lines[start : start + 3] == [
        "tykbridge: warning: first",
        "    second",
        "tykbridge: event my\tevent my?payload?[2J",
    ]
    talk = lines[start + 3 :]
    assert set(talk[::2]) == {"tykbridge: debug: " + "x" * 200}, "two threads mixed their lines"
    assert set(talk[1::2]) == {"    " + "y" * 200}
    assert len(talk) == 800


def test_host_table(opened):
    assert "tykbridge: info: to standard error" in opened("table").stderr


def test_host_table_swapped_meanwhile(opened):
    opened("table_swapped_meanwhile")


def test_a_second_copy_of_the_library(opened, tmp_path):
    copy = shutil.copy(installation.library(), tmp_path)
    opened("second_copy", installation.library(), copy)


@pytest.mark.parametrize("scenario", ["python_ended_by_the_host", "python_ended_before_loading"])
def test_a_host_that_embeds_python_itself(opened, scenario):
    # Py_Initialize finds no virtual environment, so it is told where things are.
    path = os.pathsep.join([str(installation.library().parent.parent), *(p for p in sys.path if "site-packages" in p)])
    opened(scenario, installation.library(), libpython(), PYTHONHOME=sys.base_prefix, PYTHONPATH=path)


def test_libpython_is_loaded_but_not_started(opened):
    opened("python_loaded_but_not_started", installation.library(), libpython())


# ---- Which Python ----------------------------------------------------------------------------------------------------


@pytest.fixture
def report_start(opened, hosts, bundles) -> Callable[..., str]:
    """What tykb_init answers, and the Python that runs then."""

    def run(*words: object, **changes: str | None) -> str:
        return opened("report_start", *(words or [installation.library()]), **changes).stdout

    return run


@pytest.fixture
def wrapped(tmp_path) -> Callable[[str], Path]:
    """A Python that runs a few lines before the program it is given."""

    def write(first: str) -> Path:
        program = tmp_path / "wrapped/python3"
        program.parent.mkdir()
        code = f"{first}\nimport sys; exec(sys.argv[1])"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -c {shlex.quote(code)} "$3"\n')
        program.chmod(0o755)
        return program

    return write


def test_an_interpreter_is_named(report_start):
    assert report_start() == f"0 \n{sys.executable}\n"


def test_a_virtual_environment_is_named(report_start):
    status, executable = report_start(TYKBRIDGE_PYTHON=sys.prefix).splitlines()
    assert (status, Path(executable).parent) == ("0 ", Path(sys.prefix, "bin"))


def test_a_program_on_path_is_named(report_start, wrapped):
    folder = wrapped("").parent
    (folder / "python3").rename(folder / "some-python")
    path = f"{folder}:{os.environ['PATH']}"
    assert report_start(TYKBRIDGE_PYTHON="some-python", PATH=path) == f"0 \n{sys.executable}\n"


def test_python3_on_path(report_start, wrapped, tmp_path):
    path = f"/nonexistent::{wrapped('').parent}:{os.environ['PATH']}"
    library = shutil.copy(installation.library(), tmp_path)  # as a host may ship it: in no environment
    assert report_start(library, TYKBRIDGE_PYTHON=None, PATH=path) == f"0 \n{sys.executable}\n"
    assert report_start(library, TYKBRIDGE_PYTHON="", PATH=path) == f"0 \n{sys.executable}\n"


def test_the_environment_of_the_library(report_start, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    [site] = (tmp_path / "venv").glob("lib/python*/site-packages")
    shutil.copytree(installation.library().parent, site / "tykbridge")
    (site / "others.pth").write_text("\n".join(p for p in sys.path if "site-packages" in p))
    out = report_start(site / "tykbridge/libtykbridge.so.1", TYKBRIDGE_PYTHON=None, PATH="/nonexistent")
    status, executable = out.splitlines()
    assert (status, Path(executable).parent) == ("0 ", tmp_path / "venv/bin")


def test_nothing_is_found(report_start, tmp_path):
    library = shutil.copy(installation.library(), tmp_path)
    out = report_start(library, TYKBRIDGE_PYTHON=None, PATH="/nonexistent")
    assert out == (
        "-3 found no Python: there is no python3 on PATH; set TYKBRIDGE_PYTHON to a Python interpreter or a virtual "
        "environment that has tykbridge\n"
    )


def test_an_environment_without_tykbridge(report_start, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python3"
    out = report_start(TYKBRIDGE_PYTHON=str(tmp_path / "venv"))
    assert out == (
        f"-3 tykbridge is not installed in {python}: run {python} -m pip install tykbridge, "
        "or set TYKBRIDGE_PYTHON to an environment that has it\n"
    )


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("/nonexistent/python", "which is not a program: name a Python interpreter or a virtual environment"),
        ("no-such-python", "which is not a program on PATH"),
        ("/proc", "a folder without bin/python3"),
        ("/bin/cat", "/bin/cat, named by TYKBRIDGE_PYTHON, is no usable Python"),
        ("yes", "is no usable Python"),  # says much, and never ends
    ],
)
def test_what_is_named_is_no_python(report_start, named, words):
    out = report_start(TYKBRIDGE_PYTHON=named)
    assert out.startswith("-3 ")
    assert "TYKBRIDGE_PYTHON" in out
    assert words in out


def test_a_name_that_is_not_utf8(report_start):
    assert '"/caf?"' in report_start(TYKBRIDGE_PYTHON=os.fsdecode(b"/caf\xe9"))


def test_a_python_without_its_shared_library(report_start, wrapped):
    # As Debian's python3 is when the package is missing.
    python = wrapped(
        "import sys, sysconfig\n"
        "sysconfig.get_config_vars().update(INSTSONAME='libpython.a', LIBDIR='/nonexistent')\n"
        "sys.base_prefix = '/nonexistent'"
    )
    version = "{}.{}".format(*sys.version_info[:2])
    out = report_start(TYKBRIDGE_PYTHON=str(python))
    assert out.startswith(f"-3 {python}, named by TYKBRIDGE_PYTHON, has no shared library libpython{version}")
    assert f"on Debian and Ubuntu install the package libpython{version}, elsewhere" in out


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("import sys; sys.version_info = (3, 10, 2)", "is cpython 3.10: tykbridge needs CPython 3.11 or later"),
        ("import sys; sys.implementation.name = 'pypy'", "is pypy 3."),
        ("raise SystemExit('broken')", "is no usable Python"),
    ],
)
def test_a_python_that_does_not_fit(report_start, wrapped, first, words):
    assert words in report_start(TYKBRIDGE_PYTHON=str(wrapped(first)))


def test_what_a_site_prints_at_its_start_is_no_answer(report_start, wrapped):
    assert report_start(TYKBRIDGE_PYTHON=str(wrapped("print('welcome')"))) == f"0 \n{sys.executable}\n"


def test_another_libpython_is_loaded(report_start, wrapped):
    version = "{}.{}.{}".format(*sys.version_info)
    python = wrapped("import sys; sys.version_info = (3, 99, 0)")
    out = report_start(installation.library(), libpython(), TYKBRIDGE_PYTHON=str(python))
    assert out.startswith(f"-3 this process has loaded libpython {version}, but {sys.executable} is Python 3.99: ")


def pretend(wrapped: Callable[[str], Path], folder: Path) -> tuple[str, Path]:
    """A Python whose libpython is what the caller puts there."""
    python = wrapped(
        f"import sysconfig; sysconfig.get_config_vars().update(INSTSONAME='libp.so', LIBDIR={str(folder)!r})"
    )
    return str(python), folder / "libp.so"


def test_a_libpython_that_cannot_be_loaded(report_start, wrapped, tmp_path):
    python, library = pretend(wrapped, tmp_path)
    library.write_text("no library")
    assert report_start(TYKBRIDGE_PYTHON=python).startswith(f"-3 cannot load {library}: ")


def test_a_libpython_without_what_is_needed(report_start, wrapped, tmp_path):
    python, library = pretend(wrapped, tmp_path)
    (tmp_path / "p.c").write_text("int Py_IsInitialized(void) { return 0; }")
    compile_c(library, "-shared", "-fPIC", tmp_path / "p.c")
    out = report_start(TYKBRIDGE_PYTHON=python)
    assert out == "-3 this process's Python has no Py_GetVersion: tykbridge needs CPython 3.11 or later\n"


def test_a_python_that_does_not_start(report_start, wrapped, root, tmp_path):
    python, library = pretend(wrapped, tmp_path)
    wanted = set(re.findall(r"^  X\([^,]*, (\w+), ", (root / "csrc/python.c").read_text(), flags=re.MULTILINE))
    own = {"Py_GetVersion", "Py_IsInitialized", "Py_PreInitialize", "PyConfig_SetBytesArgv", "Py_InitializeFromConfig"}
    lines = [
        "typedef struct { int type; const char *function, *message; int code; } status;",
        f'const char *Py_GetVersion(void) {{ return "{sys.version.split()[0]} (fake)"; }}',
        "int Py_IsInitialized(void) { return 0; }",
        "status Py_PreInitialize(void) { return (status){0}; }",
        "status PyConfig_SetBytesArgv(void) { return (status){0}; }",
        'status Py_InitializeFromConfig(void) { static int n; return (status){1, "init", n++ ? "2" : "no disk", 0}; }',
        *(f"void {name}(void) {{}}" for name in sorted(wanted - own)),
    ]
    assert own < wanted
    (tmp_path / "p.c").write_text("\n".join(lines))
    compile_c(library, "-shared", "-fPIC", tmp_path / "p.c")
    words = f"-3 Python ({sys.executable}) did not start: init: no disk\n"
    assert report_start(TYKBRIDGE_PYTHON=python) == words


OTHER_RELEASE = """
import ctypes
class Table(ctypes.Structure):
    _fields_ = [("abi", ctypes.c_uint32), ("size", ctypes.c_uint32), ("version", ctypes.c_char_p)]
class Message(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_int)]
out = Message()
table = Table({abi}, {size}, b"9.9.9")
assert ctypes.CDLL({library!r}).tykb_register(ctypes.byref(table), ctypes.byref(out)) == -13
raise ImportError(ctypes.string_at(out.data, out.length).decode())
"""


@pytest.mark.parametrize(("abi", "size"), [(2, 1000), (1, 24)])
def test_a_package_of_another_release(report_start, tmp_path, abi, size):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    [site] = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "tykbridge").mkdir()
    code = OTHER_RELEASE.format(abi=abi, size=size, library=str(installation.library()))
    (site / "tykbridge/__init__.py").touch()
    (site / "tykbridge/_bridge.py").write_text(code)
    out = report_start(TYKBRIDGE_PYTHON=str(tmp_path / "venv"))
    assert out.startswith("-13 importing tykbridge in ")
    assert f"libtykbridge {__version__} (ABI 1, " in out
    assert f"the package tykbridge 9.9.9 (ABI {abi}, {size} bytes) do not fit: install the same release" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a program away; tests/c/test_locate.c has the rules")
@pytest.mark.once
def test_a_set_user_id_process_asks_neither_environment_nor_path(hosts, bundles, tmp_path_factory):
    folder = Path("/tmp", f"tykbridge-setuid-{os.getpid()}")
    folder.mkdir()
    try:
        program = Path(shutil.copy(hosts / "opened", folder))
        library = shutil.copy(installation.library(), folder)
        os.chown(program, 65534, 65534)
        program.chmod(0o4755)
        folder.chmod(0o755)
        out = succeed([program, "report_start", bundles, library]).stdout
    finally:
        shutil.rmtree(folder)
    assert out.startswith("-3 found no Python: in a set-user-id process")


# ---- Python hosts at their exit --------------------------------------------------------------------------------------


def python_host(code: str, *words: object) -> None:
    """Runs a Python program that is a host; it must end by itself and without a word."""
    done = succeed([sys.executable, "-c", code, *words])
    assert done.stderr == ""


@pytest.mark.parametrize("copies", [1, 2])
def test_python_ends_while_a_hosts_threads_are_inside_hooks(root, bundles, tmp_path, copies):
    pool = compile_c(tmp_path / "pool.so", "-shared", "-fPIC", root / "tests/host/native/pool.c")
    library = installation.library() if copies == 1 else shutil.copy(installation.library(), tmp_path)
    code = """
import ctypes, sys
import tykbridge._bridge
ctypes.CDLL(sys.argv[1]).pool_start(sys.argv[2].encode(), sys.argv[3].encode())
"""
    python_host(code, pool, library, bundles)


PYTHON_HOST = """
import ctypes, os, sys, threading
import tykbridge._bridge as bridge
class Message(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_int)]
lib = ctypes.CDLL(sys.argv[1])
assert lib.tykb_init(None) == 0 and lib.Python_NewDispatcher(sys.argv[2].encode()) == 0
def dispatch(program):
    message = bridge.message("Object")
    message.hook_type, message.hook_name, message.request.body = 1, "Run", program
    message.request.raw_body = program.encode()
    data = message.SerializeToString()
    out = Message()
    given = Message(ctypes.cast(data, ctypes.c_void_p), len(data))
    status = lib.tykb_dispatch(ctypes.byref(given), 0, ctypes.byref(out))
    reply = ctypes.string_at(out.data, out.length) if out.data else b""
    lib.tykb_message_clear(ctypes.byref(out))
    return bridge.message("Object", reply).request.set_headers["result"] if status == 0 else None
inside = threading.Semaphore(0)
EVENT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
on_event = EVENT(lambda *_: inside.release() and None)
class Host(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint32), ("context", ctypes.c_void_p), ("log", ctypes.c_void_p), ("event", EVENT)]
lib.tykb_set_host(ctypes.byref(Host(ctypes.sizeof(Host), None, None, on_event)))
def spin(program):
    while dispatch(program) is not None:
        pass
for _ in range(3):  # threads of Python's own, which end
    thread = threading.Thread(target=dispatch, args=["result = ''"])
    thread.start()
    thread.join()
for program in ["tyk.trigger_event('inside', '')", "tyk.trigger_event('inside', ''); sum(range(10000))"]:
    threading.Thread(target=spin, args=[program], daemon=True).start()
for _ in range(20):
    inside.acquire()
"""


def test_python_ends_while_its_daemon_threads_are_inside_hooks(bundles):
    python_host(PYTHON_HOST, installation.library(), bundles)


def test_a_python_host_forks_while_its_threads_are_inside_hooks(bundles):
    # The child's exit waits for no call of its parent's threads, and its calls work: os.fork tells Python.
    code = """
for _ in range(5):
    child = os.fork()
    if child == 0:
        sys.exit(0 if dispatch("result = 'child'") == "child" else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert dispatch("result = 'parent'") == "parent"
"""
    python_host(
        "import warnings; warnings.simplefilter('ignore')" + PYTHON_HOST + code, installation.library(), bundles
    )


# ---- The classic way to reach the host ----------------------------------------------------------------------------


def test_the_documented_cython_module_reaches_a_host(linked, tmp_path):
    (tmp_path / "classic.pyx").write_text(CLASSIC_MODULE)
    succeed([sys.executable, "-m", "cython", "-3", "classic.pyx", "-o", tmp_path / "classic.c", "-w", tmp_path])
    include = f"-I{sysconfig.get_path('include')}"
    words = [tmp_path / "classic.c", include, "-o", tmp_path / "classic.so", *shlex.split(installation.libs())]
    succeed(["cc", "-shared", "-fPIC", *words])
    linked("classic_cython_module", MODULE_FOLDER=str(tmp_path))
