"""`tykbridge doctor`: every mistake that it knows is made here, and has to be told with its remedy."""

import importlib
import importlib.metadata
import os
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.cli.commands import tykbridge, write
from tykbridge import __version__, installation
from tykbridge.cli import diagnosis
from tykbridge.cli.diagnosis import NOTE, OK, PROBLEM, Finding, diagnose

pytestmark = pytest.mark.once


def found(about, findings=None):
    """What is told of one thing."""
    return [finding for finding in (diagnose(None) if findings is None else findings) if finding.about == about]


def only(check, *arguments):
    [finding] = check(*arguments)
    return finding


def told(done, about):
    """The same, out of a document."""
    return [Finding(**item) for item in done.document["findings"] if item["about"] == about]


def test_nothing_is_wrong_here(tmp_path):
    done = tykbridge("doctor", "--json", cwd=tmp_path)
    problems = [item for item in done.document["findings"] if item["status"] == PROBLEM]
    assert (done.status, done.document["ok"], problems, done.errors) == (0, True, [], "")
    [python] = told(done, "Python")
    assert (python.status, sys.executable in python.words) == (OK, True)
    [library] = told(done, "library")
    assert f"release {__version__}, interface " in library.words
    assert {item["about"] for item in done.document["findings"]} >= {"driver lua", "extra gateway", "protobuf"}


def test_the_page_has_a_line_for_each_and_a_remedy_below(tmp_path):
    done = tykbridge("doctor", cwd=tmp_path, TYKBRIDGE_PYTHON="/nowhere", TYK_GW_SECRET="hidden")
    assert done.status == 1
    assert (
        "problem TYKBRIDGE_PYTHON /nowhere is neither a Python nor an environment: hosts refuse to start" in done.words
    )
    assert "let it name one, or take it away: unset TYKBRIDGE_PYTHON" in done.words
    assert "TYK_GW_SECRET set" in done.words
    assert "hidden" not in done.words
    assert "1 problem, 1 note" in done.words
    assert all(len(line) <= 100 and line == line.rstrip() for line in done.output.splitlines())


# ---- Python


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("Py_GIL_DISABLED", 1, "this build has no GIL"), ("implementation", "pypy", "plugins run in CPython only")],
)
def test_a_python_that_will_not_do(name, value, words, monkeypatch):
    if name == "implementation":
        monkeypatch.setattr(sys.implementation, "name", value)
    else:
        monkeypatch.setattr(sysconfig, "get_config_var", {name: value}.get)
    finding = only(diagnosis._python)
    assert (finding.status, words in finding.words, "make an environment" in finding.mend) == (PROBLEM, True, True)


@pytest.mark.parametrize(("version", "status"), [((3, 10), PROBLEM), ((3, 11), OK), ((3, 13), OK), ((3, 14), NOTE)])
def test_versions_of_python(version, status, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    assert only(diagnosis._python).status == status


def test_a_python_without_its_library(monkeypatch):
    monkeypatch.setattr(os.path, "isfile", lambda path: False)
    finding = only(diagnosis._shared_library)
    assert (finding.status, "hosts in C, Go and Rust cannot start this Python" in finding.words) == (NOTE, True)


def test_the_python_that_hosts_start(monkeypatch):
    monkeypatch.setenv("TYKBRIDGE_PYTHON", sys.prefix)
    assert [finding.about for finding in diagnosis._shared_library()] == ["libpython"]
    monkeypatch.setenv("TYKBRIDGE_PYTHON", "/bin/sh")
    _, finding = diagnosis._shared_library()
    assert (finding.status, finding.words[:19]) == (NOTE, "hosts start /bin/sh")


# ---- tykbridge itself


def test_several_installations(tmp_path):
    write(tmp_path, {"tykbridge-9.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: tykbridge\nVersion: 9.9\n"})
    [finding] = told(tykbridge("doctor", "--json", PYTHONPATH=str(tmp_path)), "installations")
    assert finding.status == PROBLEM
    assert f"9.9 in {tmp_path}" in finding.words
    assert "pip uninstall tykbridge" in finding.mend


def test_a_folder_that_is_in_the_way_of_the_installation(tmp_path):
    files = {"METADATA": "Name: tykbridge\nVersion: 9.9\n", "direct_url.json": {"dir_info": {"editable": False}}}
    write(tmp_path / "tykbridge-9.9.dist-info", files)
    installed = importlib.metadata.Distribution.at(tmp_path / "tykbridge-9.9.dist-info")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "distributions", lambda name: [installed])
        [finding] = found("installations", diagnosis._package())
    assert (finding.status, finding.mend) == (PROBLEM, "leave that folder, or take it out of PYTHONPATH")
    assert f"pip has installed it in {tmp_path}, and Python takes it from " in finding.words
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "distributions", lambda name: [])
        [finding] = found("installations", diagnosis._package())
    assert (finding.status, "pip has not installed it" in finding.words) == (NOTE, True)


def test_a_command_of_another_python(tmp_path, monkeypatch):
    program = write(tmp_path, {"tykbridge": "#!/usr/bin/python3\n"}) / "tykbridge"
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    [finding] = found("command", diagnosis._package())
    assert f"{program}, which belongs to another Python: /usr/bin/python3" in finding.words
    program.write_text(f"#!{sys.executable}\n")
    assert found("command", diagnosis._package()) == []


def test_a_library_that_is_not_there_or_for_another_machine(tmp_path, monkeypatch):
    place = tmp_path / "libtykbridge.so.1"
    monkeypatch.setattr(installation, "library", lambda: place)
    assert only(diagnosis._library).words == f"{place} is not there"
    data = bytearray(Path(sys.modules["tykbridge._bridge"].__file__).read_bytes())
    data[18:20] = (0x1234).to_bytes(2, "little")  # e_machine
    place.write_bytes(data)
    finding = only(diagnosis._library)
    assert (finding.status, "cannot be loaded on this machine" in finding.words) == (PROBLEM, True)
    assert "pip install --force-reinstall" in finding.mend


def test_a_library_of_another_release(monkeypatch):
    monkeypatch.setattr(diagnosis.tykbridge, "__version__", "9.9")
    finding = only(diagnosis._library)
    assert (finding.status, "beside Python files of 9.9" in finding.words) == (PROBLEM, True)


def test_a_module_for_another_python(monkeypatch):
    def fail(name):
        raise ImportError("No module named 'tykbridge._bridge'")

    monkeypatch.setattr(importlib, "import_module", fail)
    assert "_bridge cannot be imported: No module named" in only(diagnosis._module).words
    monkeypatch.setattr(sysconfig, "get_config_var", {"EXT_SUFFIX": ".cpython-399-sparc.so"}.get)
    assert "it is built for another Python or machine: there is _bridge.cpython-3" in only(diagnosis._module).words


def test_all_the_rest_is_told_where_the_module_is_broken(tmp_path):
    code = "import sys; sys.modules['tykbridge._bridge'] = None; from tykbridge.cli import main; main(['doctor'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "problem  module            _bridge cannot be imported" in done.stdout
    assert "ok       Python " in done.stdout
    assert "ok       extra lua " in done.stdout


def test_protobuf_without_its_compiled_part():
    done = tykbridge("doctor", "--json", PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="python")
    [finding] = told(done, "protobuf")
    assert (finding.status, finding.mend) == (PROBLEM, "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION")
    assert done.status == 1


# ---- What is optional


@pytest.mark.parametrize(
    ("version", "bounds", "does"),
    [
        ("1.70", ">=1.70,<2", True),
        ("1.9", ">=1.70,<2", False),
        ("2.0.0", ">=1,<2", False),
        ("2", ">=2.0,<3", True),
        ("1.2.3rc1", "<1.3,>=1.2", True),
        ("44", ">=44", True),
    ],
)
def test_bounds(version, bounds, does):
    assert diagnosis.fits(version, bounds) is does


def test_extras(monkeypatch):
    versions = {"aiohttp": "3.12", "prometheus-client": "0.22", "lupa": "1.0"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    gateway, lua = [("aiohttp", ">=3.12,<4"), ("prometheus-client", ">=0.22")], [("lupa", ">=2.4,<3")]
    assert diagnosis._extra("gateway", gateway, {}).status == OK
    del versions["aiohttp"]
    finding = diagnosis._extra("gateway", gateway, {})
    assert finding.words == "aiohttp is missing beside prometheus-client 0.22, for tykbridge serve"
    assert (finding.status, finding.mend) == (NOTE, f"{sys.executable} -m pip install 'tykbridge[gateway]'")
    finding = diagnosis._extra("lua", lua, {})
    assert (finding.status, finding.words) == (PROBLEM, "lupa is 1.0, and >=2.4,<3 is needed")
    versions["lupa"] = "2.4"
    assert diagnosis._extra("lua", lua, {"lupa": ["lupa"]}).status == OK
    finding = diagnosis._extra("lua", lua, {"lupa": ["no_such_module"]})
    assert (finding.status, "lupa cannot be imported: ModuleNotFoundError" in finding.words) == (PROBLEM, True)
    versions.clear()
    assert diagnosis._extra("lua", lua, {}).words == "not installed, for hooks in Lua"


def test_every_extra_is_known():
    known = {finding.about.removeprefix("extra ") for finding in diagnosis._extras()}
    assert known == set(diagnosis._FOR)


def test_a_driver_that_cannot_run(monkeypatch):
    monkeypatch.setattr("tykbridge.drivers.lua.Lua.missing", lambda engine: "pip install 'tykbridge[lua]'")
    [finding] = found("driver lua", diagnosis._drivers())
    assert (finding.status, finding.mend) == (NOTE, "pip install 'tykbridge[lua]'")


def test_no_go(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    finding = only(diagnosis._go)
    assert (finding.status, "there is no go command on PATH" in finding.mend) == (NOTE, True)


# ---- What is around


def test_modules_with_names_that_plugins_import(tmp_path):
    write(tmp_path, {"gateway.py": "", "tyk/__init__.py": ""})
    findings = told(tykbridge("doctor", "--json", PYTHONPATH=str(tmp_path)), "names")
    assert [finding.words.partition(",")[0] for finding in findings] == [
        "there is a module tyk of your own",
        "there is a module gateway of your own",
    ]


def test_a_port_that_is_taken(monkeypatch):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        monkeypatch.setattr(diagnosis, "_PORT", sock.getsockname()[1])
        finding = only(diagnosis._port)
        assert (finding.status, "takes the next one that is free" in finding.words) == (NOTE, True)
    assert only(diagnosis._port).status == OK


@pytest.mark.parametrize(
    ("conf", "status", "words"),
    [
        ({"hash_keys": 1}, PROBLEM, "tyk.conf: $.hash_keys: expected true or false, found a number (1)"),
        ({"storage": {"type": "redis", "host": "127.0.0.1", "port": 1}}, PROBLEM, "tyk.conf: $.storage: "),
        ({"hash_kes": True}, NOTE, "hash_kes"),
        ({}, OK, "tyk.conf: storage of type "),
    ],
)
def test_settings(conf, status, words, tmp_path):
    findings = list(diagnosis._settings(write(tmp_path, {"tyk.conf": conf}) / "tyk.conf"))
    assert [finding for finding in findings if finding.status == status and words in finding.words], findings


def test_a_redis_that_answers(redis_server, tmp_path):
    conf = {"storage": {"type": "redis", "host": redis_server.path}}
    *_, finding = diagnosis._settings(write(tmp_path, {"tyk.conf": conf}) / "tyk.conf")
    assert (finding.status, "Redis answers" in finding.words) == (OK, True)


def test_a_conf_that_lies_here_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path, {"tyk.conf": {}}))
    assert only(diagnosis._settings, None).mend == "tykbridge doctor --conf tyk.conf looks into it"
