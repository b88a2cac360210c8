"""The drivers' protocol: how a driver is found, what is told where its engine is not there, and what loading does."""

import json
import subprocess
import sys
import tomllib

import pytest

from tests import trees
from tests.host.calls import E_AMBIGUOUS
from tests.host.fixtures import new_object
from tests.oracle import PB
from tykbridge import Bridge, _bridge, drivers, runtime
from tykbridge.bundle import loader
from tykbridge.definition import Driver
from tykbridge.errors import HookError, LoadError, NotFoundError
from tykbridge.outcome import Continue, Request
from tykbridge.services import Services

pytestmark = pytest.mark.once

# A driver as anybody might add one: a module. Its code has a line for each hook, or for what goes wrong.
WORDS = """
from tykbridge.definition.model import Driver
from tykbridge.errors import LoadError
from tykbridge.failures import ScriptError
from tykbridge.handlers import Marker

closed = []
RAISED = {
    "script": ScriptError("no sense", "words.words:1"), "load": LoadError("not whole", place="/x:2"),
    "value": ValueError("not that"), "exit": SystemExit(3), "interrupt": KeyboardInterrupt(),
}


class Loaded:
    def __init__(self, source):
        self.source, self.markers, self.others = source, [], {}
        for file in source.files:
            for number, line in enumerate(file.read_text().splitlines(), 1):
                what, name = line.split()
                if what == "raise":
                    raise RAISED[name]
                place = f"{file}:{number}"
                if what == "other":
                    self.others[name] = f"{place}: it is no sentence"
                else:
                    self.markers.append(Marker(name, self.hook(name), 1, False, place, "", "native"))

    def hook(self, name):
        def function(message):
            message.request.set_headers[name] = "words"
        return function

    def close(self):
        closed.append(self.source.bundle)


class Words:
    name, suffix, deadlines, asks, crosses, waits = Driver.NATIVE, ".words", False, False, False, False

    def missing(self):
        return ""

    def load(self, source):
        return Loaded(source)


DRIVER = Words()
"""

PYTHON = """from tyk.decorators import *

@Hook
def {0}(request, session, spec):
    request.add_header("{0}", "python")
    return request, session
"""
LUA = "function {0}(request, session, spec) request.set_headers['{0}'] = 'lua' return request, session end\n"
HOOKS = {"middleware.py": PYTHON, "middleware.lua": LUA, "middleware.words": "hook {0}\n"}


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Puts the driver of `WORDS` beside the others, as the last; gives its module."""
    trees.write(tmp_path / "more", {"zz_words.py": WORDS})
    monkeypatch.setattr(drivers, "__path__", [*drivers.__path__, str(tmp_path / "more")])
    drivers.engines.cache_clear()
    drivers.capabilities.cache_clear()
    drivers.engines()
    yield sys.modules["tykbridge.drivers.zz_words"]
    monkeypatch.undo()
    del sys.modules["tykbridge.drivers.zz_words"]
    del drivers.zz_words
    drivers.engines.cache_clear()
    drivers.capabilities.cache_clear()


@pytest.fixture
def load(tmp_path):
    """Loads files as a bundle that hooks can be called of."""
    loaded = []

    def make(name, files, **middleware):
        if middleware:
            files = {**files, "manifest.json": json.dumps({"file_list": [*files], "custom_middleware": middleware})}
        runtime.load_bundle(str(trees.write(tmp_path / name, files)), name)
        loaded.append(name)
        return runtime.registry.hooks_of(name)

    yield make
    for name in loaded:
        runtime.registry.unload(name)


def dispatched(hook, bundle=""):
    """Call a hook by its name, and give the headers that it sets."""
    exchange = _bridge.Exchange(b"")
    try:
        exchange.run(((bundle.encode(), hook.encode()),), 0, False)
        return dict(exchange.object.request.set_headers)
    finally:
        exchange.close()


# ---- What is there


def test_every_module_of_the_package_is_a_driver_and_python_is_the_first():
    engines = drivers.engines()
    assert next(iter(engines)) is Driver.PYTHON
    assert {Driver.PYTHON, Driver.LUA} <= {*engines}
    assert [name for name in Driver if name in engines] == [*engines]
    assert all(engine.name is name for name, engine in engines.items())
    # Libraries in Go and in other languages are loaded in one way; who names no driver means Go.
    suffixes = [engine.suffix for name, engine in engines.items() if engine.suffix and name is not Driver.NATIVE]
    assert len({*suffixes}) == len(suffixes)
    assert all(suffix.startswith(".") for suffix in suffixes)


@pytest.mark.parametrize(
    ("name", "driver"),
    [
        ("a.py", Driver.PYTHON),
        ("a.lua", Driver.LUA),
        ("folder.lua/a.py", Driver.PYTHON),
        ("a.py.lua", Driver.LUA),
        ("a.LUA", None),
        (".lua", None),
        ("lua", None),
        ("a.", None),
        ("", None),
        ("a.words", None),
    ],
)
def test_a_file_s_suffix_names_its_driver(name, driver):
    assert drivers.of_file(name) is driver


def test_a_driver_is_added_as_a_module_alone(words, tmp_path):
    assert [*drivers.engines()][-1] is Driver.NATIVE
    assert drivers.of_file("a.words") is Driver.NATIVE
    assert Driver.NATIVE in drivers.capabilities().drivers
    trees.write(tmp_path, {"apis/w.words": "hook W\n", "apis/p.py": PYTHON.format("P")})
    pre = [{"name": "W", "path": "w.words", "driver": "native"}, {"name": "P", "path": "p.py", "driver": "python"}]
    section = {"custom_middleware": {"pre": pre}, "proxy": {"listen_path": "/a/"}}
    (tmp_path / "apis/a.json").write_text(json.dumps({"api_id": "a", "use_keyless": True, "active": True, **section}))
    bridge = Bridge(Services(log=lambda words, level: None), tmp_path)
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    outcome = bridge.request(Request("GET", "/a/x"), "a")
    assert isinstance(outcome, Continue)
    assert dict(outcome.request.headers) == {"W": "words", "P": "python"}


def test_a_time_limit_is_refused_where_the_driver_keeps_none(words, tmp_path):
    assert Driver.NATIVE not in drivers.capabilities().deadlines
    assert Driver.LUA in drivers.capabilities().deadlines
    trees.write(tmp_path, {"apis/w.words": "hook W\n"})
    pre = [{"name": "W", "path": "w.words", "driver": "native", "timeout_ms": 5}]
    section = {"custom_middleware": {"pre": pre}, "proxy": {"listen_path": "/a/"}}
    (tmp_path / "apis/a.json").write_text(json.dumps({"api_id": "a", "use_keyless": True, "active": True, **section}))
    (item,) = Bridge(Services(log=lambda words, level: None), tmp_path).load(tmp_path / "apis").not_loaded
    assert "timeout_ms" in item.reason


def test_an_extra_that_is_not_installed_is_named_with_the_driver_that_needs_it(root, tmp_path):
    """In a process without it: other drivers work, and whatever asks for this one says what to install."""
    trees.write(
        tmp_path,
        {
            "p.py": PYTHON.format("P"),
            "l.lua": LUA.format("L"),
            "mixed/middleware.py": PYTHON.format("P"),
            "mixed/middleware.lua": LUA.format("L"),
            "mixed/manifest.json": json.dumps(
                {"custom_middleware": {"driver": "python", "pre": [{"name": "P"}, {"name": "L", "driver": "lua"}]}}
            ),
        },
    )
    code = """
import json, sys
sys.modules["lupa"] = None
from pathlib import Path
from tykbridge import drivers, runtime
from tykbridge.bundle import loader
from tykbridge.errors import LoadError
there = drivers.capabilities()
found = [sorted(there.drivers), sorted(there.deadlines), there.missing, sorted(drivers.engines())]
found.append([*loader.load(sys.argv[1], "p", entry="p.py").hooks])
for path, entry in ((sys.argv[1], "l.lua"), (sys.argv[1] + "/mixed", "")):
    try:
        found.append([*loader.load(path, "b", entry=entry).hooks])
    except LoadError as error:
        found.append(str(error))
found.append([name for name in sys.modules if name.startswith("_tykb_")])
print(json.dumps(found))
"""
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    there, deadlines, missing, engines, python, lua, mixed, modules = json.loads(done.stdout)
    assert "python" in there
    assert "lua" not in {*there, *deadlines}
    assert "lua" in engines
    assert missing["lua"] == "pip install 'tykbridge[lua]'"
    assert "lua" in tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert python == ["P"]
    assert lua == mixed == "bundle \"b\" cannot be loaded: it needs the lua driver: pip install 'tykbridge[lua]'"
    assert len(modules) <= 2, "what the mixed bundle had loaded already is let go"


# ---- Names


@pytest.mark.parametrize("pair", [("middleware.py", "middleware.lua"), ("middleware.lua", "middleware.words")])
def test_two_drivers_of_one_bundle_with_one_name(load, words, pair):
    files = {name: HOOKS[name].format("Same") for name in pair}
    first, second = (drivers.of_file(name) for name in pair)
    with pytest.raises(LoadError, match=r'"Same" is defined twice: .*/middleware\.\w+:\d+ and .*/middleware\.\w+:1'):
        load("clash", files, pre=[{"name": "None", "driver": first}, {"name": "None", "driver": second}])
    hooks = load("owned", files, pre=[{"name": "Same", "driver": second}], driver=first)
    assert hooks["Same"].driver == second
    assert dispatched("Same", "owned") == {"Same": second if second is not Driver.NATIVE else "words"}


def test_a_name_twice_in_what_one_driver_found_is_refused(load, words):
    with pytest.raises(LoadError, match=r'"W" is defined twice: .*/middleware\.words:1 and .*/middleware\.words:3'):
        load("twice", {"middleware.words": "hook W\nhook V\nhook W\n"})
    assert words.closed == ["twice"]


def test_two_bundles_with_one_name_in_two_languages(load, words, host):
    for name, text in HOOKS.items():
        load(name, {name: text.format("Same") + text.format("Only_" + name.rpartition(".")[2])})
    said = {name: dispatched("Same", name) for name in HOOKS}
    assert said == {
        "middleware.py": {"Same": "python"},
        "middleware.lua": {"Same": "lua"},
        "middleware.words": {"Same": "words"},
    }
    reply = host.dispatch(new_object("", "Only_lua").SerializeToString())
    assert dict(PB["Object"].FromString(reply.data).request.set_headers) == {"Only_lua": "lua"}
    reply = host.dispatch(new_object("", "Same").SerializeToString())
    assert reply.status == E_AMBIGUOUS
    assert all(name in reply.words for name in HOOKS)


def test_why_a_name_is_no_hook_is_told(load, words):
    load("words", {"middleware.words": "hook W\nother V\n"})
    with pytest.raises(
        NotFoundError, match=r'"V" of bundle "words" is no hook: .*/middleware.words:2: it is no sentence'
    ):
        runtime.registry.check_hook("words", "V")


# ---- What a driver raises, and when it closes


@pytest.mark.parametrize(
    ("kind", "detail", "place"),
    [
        ("script", "words.words:1: no sense", "words.words:1"),
        ("load", "not whole", "/x:2"),
        ("value", "ValueError: not that", ""),
        ("exit", "SystemExit: 3", ""),
        ("interrupt", "KeyboardInterrupt", ""),
    ],
)
def test_what_a_driver_raises_while_it_loads_is_a_bundle_that_does_not_load(words, tmp_path, kind, detail, place):
    """And what other drivers had loaded of it is closed."""
    manifest = {"custom_middleware": {"driver": "python", "pre": [{"name": "P"}, {"name": "W", "driver": "native"}]}}
    files = {"middleware.py": PYTHON.format("P"), "middleware.words": f"raise {kind}\n"}
    root = trees.write(tmp_path / "b", {**files, "manifest.json": json.dumps(manifest)})
    before = {*sys.modules}
    with pytest.raises(LoadError) as caught:
        loader.load(str(root), "b")
    assert str(caught.value) == f'bundle "b" cannot be loaded: {detail}'
    assert caught.value.place == place
    assert [name for name in {*sys.modules} - before if name.startswith("_tykb_")] == []


def test_each_part_is_closed_once_where_a_later_driver_fails(words, tmp_path):
    manifest = {"custom_middleware": {"driver": "lua", "pre": [{"name": "None"}, {"name": "W", "driver": "native"}]}}
    files = {"middleware.lua": LUA.format("L"), "middleware.words": "hook W\n"}
    root = trees.write(tmp_path / "b", {**files, "manifest.json": json.dumps(manifest)})
    with pytest.raises(LoadError, match=r'names the hook "None", but there is no function of this name'):
        loader.load(str(root), "b")
    assert words.closed == ["b"]


CALLS = {
    "middleware.py": """from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def Slow(request, session, spec):
    tyk.log("now", "info")
    request.add_header("Late", "python")
    return request, session
""",
    "middleware.lua": """function Slow(request, session, spec)
  tyk.log("now")
  request.set_headers.Late = "lua"
  return request, session
end
""",
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_in_flight_ends_on_the_version_that_it_began_on(load, tmp_path, monkeypatch, name):
    """A bundle is closed, another version takes its name, and another call runs on that meanwhile."""
    load("b", {name: CALLS[name]})
    inner = []

    def reload(words, level):
        monkeypatch.setattr(_bridge, "log", lambda words, level: None)
        load("b", {name: CALLS[name].replace("Late", "New")})
        inner.append(dispatched("Slow", "b"))

    monkeypatch.setattr(_bridge, "log", reload)
    driver = drivers.of_file(name)
    assert dispatched("Slow", "b") == {"Late": driver}
    assert inner == [{"New": driver}]
    assert dispatched("Slow", "b") == {"New": driver}


def test_a_driver_s_function_that_raises_is_a_failed_hook(load, words, monkeypatch):
    monkeypatch.setattr(words.Loaded, "hook", lambda self, name: lambda message: 1 / 0)
    lines = []
    monkeypatch.setattr(_bridge, "log", lambda words, level: lines.append(words))
    load("words", {"middleware.words": "hook W\n"})
    with pytest.raises(HookError, match=r'hook "W" of bundle "words": ZeroDivisionError: division by zero'):
        dispatched("W", "words")


def test_files_are_named_from_the_root_on(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/a.lua").write_bytes(b"a = 1")
    assert drivers.Source("b", str(tmp_path), [tmp_path / "lib/a.lua"]).texts() == [("lib/a.lua", b"a = 1")]
    with pytest.raises(LoadError, match=r"lib/a\.lua"):
        drivers.Source("b", str(tmp_path / "other"), [tmp_path / "lib/a.lua"]).texts()
