"""Loading of configurations by tykbridge.Bridge."""

import base64
import errno
import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import types
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tykbridge import Bridge, _bridge, code
from tykbridge.bundle.depot import Found
from tykbridge.code import Loader
from tykbridge.definition import Phase, read_text
from tykbridge.errors import HookError, LoadError, NotFoundError
from tykbridge.outcome import Continue, Request
from tykbridge.services import Services

HOOK = """
from tyk.decorators import *

@Hook
def mark(request, session, spec):
    request.add_header("X-Mark", "{}")
    return request, session
"""


@pytest.fixture
def log():
    return []


@pytest.fixture
def bridge(tmp_path, log):
    return Bridge(Services(log=lambda words, level: log.append(words)), tmp_path / "middleware")


def api(name="api", path="plugin.py", **keys):
    return {
        "name": name,
        "api_id": name,
        "org_id": "org",
        "active": True,
        "use_keyless": True,
        "proxy": {"listen_path": f"/{name}/", "target_url": "http://upstream.test/"},
        "custom_middleware": {"driver": "python", "pre": [{"name": "mark", "path": path}]},
        **keys,
    }


def put(folder, name, text):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text if isinstance(text, str) else json.dumps(text))
    return file


def mark(bridge, api_id="api"):
    outcome = bridge.request(Request("GET", "/"), api_id)
    assert isinstance(outcome, Continue), outcome
    return dict(outcome.request.headers).get("X-Mark")


def test_file_beside_the_definition_and_below_the_middleware_path(bridge, tmp_path):
    put(tmp_path, "middleware/plugin.py", HOOK.format("middleware"))
    file = put(tmp_path, "apis/api.json", api())
    assert bridge.load(file).apis == ("api",)
    assert mark(bridge) == "middleware"
    put(tmp_path, "apis/plugin.py", HOOK.format("beside"))
    bridge.load(file)
    assert mark(bridge) == "beside"


def test_code_in_the_definition(bridge):
    section = {
        "driver": "python",
        "pre": [{"name": "mark", "code": base64.b64encode(HOOK.format(1).encode()).decode()}],
    }
    assert bridge.load(json.dumps(api(custom_middleware=section))).apis == ("api",)
    assert mark(bridge) == "1"


def test_files_of_one_folder_import_each_other(bridge, tmp_path):
    put(tmp_path, "middleware/values.py", "VALUE = 'shared'")
    put(tmp_path, "middleware/plugin.py", HOOK.format("{}").replace('"{}"', "values.VALUE") + "\nimport values\n")
    bridge.load(json.dumps(api()))
    assert mark(bridge) == "shared"


def written(name):
    hook = {"name": "mark", "code": base64.b64encode(HOOK.format(name).encode()).decode()}
    return api(name, custom_middleware={"driver": "python", "pre": [hook]})


def test_regression_code_that_could_not_be_written_stopped_all_others(bridge, tmp_path, monkeypatch):
    put(tmp_path, "apis/a.json", written("a"))
    put(tmp_path, "apis/b.json", api("b", str(put(tmp_path, "b.py", HOOK.format("b")))))
    monkeypatch.setattr(code, "_folder", "")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    loaded = bridge.load(tmp_path / "apis")
    assert loaded.apis == ("b",)
    [refused] = loaded.not_loaded
    assert "the definition's code cannot be written: " in refused.reason
    assert "No such file or directory" in refused.reason


def test_regression_a_folder_of_code_that_was_cleaned_up_stopped_all_others(bridge, tmp_path):
    bridge.load(put(tmp_path, "a.json", written("a")))
    before = Path(code._folder)
    shutil.rmtree(before)
    before.symlink_to(tmp_path)  # by somebody else
    bridge.load(put(tmp_path, "b.json", written("b")))
    before.unlink()
    assert mark(bridge, "b") == "b"
    assert sorted(os.listdir(tmp_path)) == ["a.json", "b.json"]


FORK = """
import os, sys
from tykbridge import Bridge
bridge = Bridge()
bridge.load(sys.argv[1])
if not os.fork():
    sys.exit()
os.wait()
[code] = bridge.chains["a"].codes
print(os.path.exists(os.path.join(code.folder, code.entry)))
"""


def test_regression_a_forked_child_took_the_code_of_definitions_with_it(tmp_path):
    file = put(tmp_path, "a.json", written("a"))
    done = subprocess.run([sys.executable, "-c", FORK, file], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_regression_a_reload_within_a_load_of_the_same_thread_waited_for_itself(tmp_path):
    """A signal handler, or a log that is written while a configuration is loaded."""
    refused = []

    def log(words, level):
        with pytest.raises(LoadError, match="in the middle of another one on the same thread"):
            bridge.reload()
        refused.append(words)

    bridge = Bridge(Services(log=log), tmp_path)
    bridge.load(put(tmp_path, "a.json", "{"))
    assert len(refused) == 1


def test_bundles(bridge, tmp_path):
    for name in ("one", "two"):
        folder = f"middleware/bundles/{hashlib.md5(name.encode()).hexdigest()}"
        put(tmp_path, f"{folder}/middleware.py", HOOK.format(name).replace("X-Mark", f"X-{name}"))
        section = {"driver": "python", "pre": [{"name": "mark"}]}
        put(tmp_path, f"{folder}/manifest.json", {"file_list": ["middleware.py"], "custom_middleware": section})
    definition = api(custom_middleware_bundle="one, two", custom_middleware={})
    assert bridge.load(json.dumps(definition)).not_loaded == ()
    outcome = bridge.request(Request("GET", "/"), "api")
    assert outcome.request.headers == (("X-one", "one"), ("X-two", "two"))


def test_what_cannot_be_loaded_says_why_and_stops_no_other(bridge, tmp_path, log):
    apis = tmp_path / "apis"
    put(tmp_path, "middleware/plugin.py", HOOK.format("good"))
    put(tmp_path, "middleware/broken.py", "import nowhere_to_be_found")
    put(apis, "a.json", api("a"))
    put(apis, "b.json", api("b", "missing.py"))
    put(apis, "c.json", api("c", "broken.py"))
    put(apis, "d.json", "{")
    put(apis, "e.json", api("e", custom_middleware_bundle="far", custom_middleware={}))
    put(apis, "f.json", api("f", "plugin.py", use_basic_auth=True, use_keyless=False))
    put(apis, "g.json", api("g", active=False))
    put(apis, "h.json", api("h", custom_middleware={"driver": "python", "pre": [{"name": "no", "path": "plugin.py"}]}))
    loaded = bridge.load(apis)
    assert loaded.apis == bridge.apis == ("a",)
    reasons = [item.reason for item in loaded.not_loaded]
    for words, reason in zip(
        [
            "missing.py",
            "nowhere_to_be_found",
            "expected JSON",
            'not loaded: needs a download of the bundle "far"',
            "not loaded: needs basic authentication",
            "not loaded: inactive",
            'has no hook "no" (hooks: mark)',
        ],
        reasons,
        strict=True,
    ):
        assert words in reason
    assert len(log) == len(reasons)
    assert mark(bridge, "a") == "good"


def test_reload_keeps_what_ran_when_the_new_version_is_bad(bridge, tmp_path):
    apis = tmp_path / "apis"
    put(tmp_path, "middleware/plugin.py", HOOK.format("first"))
    for name in ("a", "b", "c"):
        put(apis, f"{name}.json", api(name))
    assert bridge.load(apis).apis == ("a", "b", "c")
    put(tmp_path, "middleware/plugin.py", "syntax error")
    put(apis, "b.json", "{")
    (apis / "c.json").unlink()
    loaded = bridge.load(apis)
    assert loaded.apis == ("a", "b")
    assert [item.kept for item in loaded.not_loaded] == [True, True]
    assert mark(bridge, "a") == mark(bridge, "b") == "first"
    put(tmp_path, "middleware/plugin.py", HOOK.format("second"))
    loaded = bridge.load(apis)
    assert [mark(bridge, name) for name in loaded.apis] == ["second", "first"]


def test_code_that_no_chain_uses_is_unloaded(bridge, tmp_path):
    put(tmp_path, "middleware/plugin.py", HOOK.format("x"))

    def modules():
        gc.collect()
        return sum(name.startswith("_tykb_") for name in sys.modules)

    bridge.load(json.dumps(api()))
    before = modules()
    for _ in range(3):
        bridge.load(json.dumps(api()))
    assert modules() == before
    bridge.load(json.dumps(api(custom_middleware={})))
    assert modules() < before


STATE = """
import rules
from tyk.decorators import *

@Hook
def mark(request, session, spec):
    rules.calls += 1
    request.add_header("X-Mark", f"{rules.calls}")
    return request, session
"""


def bundle(tmp_path, name="one", code=STATE, **files):
    """A bundle's folder, named as Tyk names it, in the middleware folder."""
    folder = f"middleware/bundles/{hashlib.md5(name.encode()).hexdigest()}"
    section = {"driver": "python", "pre": [{"name": "mark"}]}
    put(tmp_path, f"{folder}/middleware.py", code)
    put(tmp_path, f"{folder}/rules.py", files.get("rules", "calls = 0"))
    put(tmp_path, f"{folder}/manifest.json", {"file_list": ["middleware.py"], "custom_middleware": section})
    return tmp_path / folder


def test_a_reload_leaves_alone_what_did_not_change(bridge, tmp_path):
    one, two = bundle(tmp_path, "one"), bundle(tmp_path, "two")
    code = base64.b64encode(b"from tyk.decorators import *\nclass rules: calls = 0\n" + STATE.encode()[13:]).decode()
    put(tmp_path, "middleware/file.py", STATE)
    put(tmp_path, "middleware/rules.py", "calls = 0")
    apis = {
        "one": {"custom_middleware_bundle": "one"},
        "two": {"custom_middleware_bundle": "two"},
        "code": {"custom_middleware": {"driver": "python", "pre": [{"name": "mark", "code": code}]}},
        "file": {"custom_middleware": {"driver": "python", "pre": [{"name": "mark", "path": "file.py"}]}},
    }
    for name, keys in apis.items():
        put(tmp_path, f"apis/{name}.json", api(name, **{"custom_middleware": {}, **keys}))
    assert bridge.load(tmp_path / "apis").not_loaded == ()
    assert [mark(bridge, name) for name in apis] == ["1", "1", "1", "1"]
    put(one, "data/beside.txt", "new")
    assert bridge.reload().not_loaded == ()
    # A file may use whatever lies beside it, so that nobody knows that nothing changed.
    assert [mark(bridge, name) for name in apis] == ["1", "2", "2", "1"]
    put(two, "rules.py", "calls = 10")
    bridge.load(tmp_path / "apis")
    assert [mark(bridge, name) for name in apis] == ["2", "11", "3", "1"]


def test_a_bundle_whose_content_is_known_is_not_read_for_it(tmp_path):
    folder = bundle(tmp_path)
    definition = read_text(json.dumps(api(custom_middleware={"driver": "python", "pre": [{"name": "mark"}]})))
    [hook] = definition.require().hooks(Phase.PRE)
    hook = msgspec.structs.replace(hook, bundle="one")
    digest = "sha256 of an archive"

    def load(*before):
        finder = types.SimpleNamespace(find=lambda bundle: Found(folder, digest))
        return Loader(str(tmp_path / "middleware"), before, finder).load(definition.require(), hook)

    first = load()
    assert (first.digest, first.folder) == ("sha256 of an archive", str(folder))
    put(folder, "data", "what an archive's digest does not know of")
    assert load(first) is first
    digest = "sha256 of another"
    assert load(first) is not first


def test_a_kept_bundle_without_the_hook_is_told_by_its_name_and_folder(bridge, tmp_path):
    folder = bundle(tmp_path)
    file = put(tmp_path, "api.json", api(custom_middleware_bundle="one", custom_middleware={}))
    bridge.load(file)
    put(folder, "manifest.json", {"custom_middleware": {"driver": "python", "pre": [{"name": "mark"}]}})
    bridge.reload()
    number = next(iter(bridge.chains.values())).codes[0].bundle.rpartition("#")[2]
    loader = Loader(str(tmp_path / "middleware"), bridge.chains["api"].codes)
    hook = msgspec.structs.replace(bridge.chains["api"].definition.hooks(Phase.PRE)[0], name="other")
    with pytest.raises(LoadError) as failure:
        loader.load(bridge.chains["api"].definition, hook)
    assert f"#{number}" not in failure.value.detail
    assert f'bundle "one" ({folder}) has no hook "other"' in failure.value.detail


def test_reload_loads_what_was_loaded_last(bridge, tmp_path, monkeypatch):
    with pytest.raises(NotFoundError, match="nothing to load again"):
        bridge.reload()
    put(tmp_path, "middleware/plugin.py", HOOK.format("1"))
    put(tmp_path, "apis/api.json", api())
    monkeypatch.chdir(tmp_path)
    bridge.load("apis")
    monkeypatch.chdir("/")
    put(tmp_path, "middleware/plugin.py", HOOK.format("2"))
    assert bridge.reload().apis == ("api",)
    assert mark(bridge) == "2"
    with pytest.raises(NotFoundError):
        bridge.load(tmp_path / "nowhere")
    (tmp_path / "apis").rename(tmp_path / "gone")
    with pytest.raises(NotFoundError, match=f"there is no definition {tmp_path}/apis"):
        bridge.reload()
    assert mark(bridge) == "2"
    (tmp_path / "gone").rename(tmp_path / "apis")
    put(tmp_path, "middleware/plugin.py", HOOK.format("3"))
    bridge.reload()
    assert mark(bridge) == "3"
    bridge.load(json.dumps(api("text")))
    assert bridge.reload().apis == ("text",)


def test_a_release_is_read_whole_and_read_on_from_its_own_folder(tmp_path, log):
    code = HOOK.replace('"{}"', 'pathlib.Path(__file__).with_name("data").read_text()').replace(
        "\n", "\nimport pathlib\n", 1
    )
    for release in ("1", "2", "3"):
        folder = bundle(tmp_path / release, code=code)
        put(folder, "data", release)
        put(tmp_path / release, "apis/api.json", api(custom_middleware_bundle="one", custom_middleware={}))
    put(tmp_path / "3", "apis/api.json", "{")

    def turn(release):
        (tmp_path / "next").symlink_to(release)
        (tmp_path / "next").replace(tmp_path / "current")

    turn("1")
    bridge = Bridge(Services(log=lambda words, level: log.append(words)), tmp_path / "current/middleware")
    bridge.load(tmp_path / "current/apis")
    before = bridge.chain_of("api")
    turn("2")
    assert mark(bridge) == "1"
    bridge.reload()
    assert mark(bridge) == "2"
    assert dict(before.request(Request("GET", "/")).request.headers) == {"X-Mark": "1"}
    turn("3")
    (problem,) = bridge.reload().not_loaded
    assert (problem.kept, problem.file) == (True, str(tmp_path / "3/apis/api.json"))
    assert mark(bridge) == "2"


def test_of_reloads_at_once_the_last_content_wins(bridge, tmp_path):
    put(tmp_path, "middleware/plugin.py", HOOK.format("x"))
    put(tmp_path, "apis/api.json", api())
    bridge.load(tmp_path / "apis")
    lock, numbers = threading.Lock(), iter(range(100))

    def deploy():
        for _ in range(10):
            with lock:
                version = next(numbers)
                (tmp_path / "next").write_text(json.dumps(api(config_data={"version": version})))
                (tmp_path / "next").replace(tmp_path / "apis/api.json")
            bridge.reload()
            assert bridge.chain_of("api").definition.config_data["version"] >= version

    faults = in_threads(deploy, 4)
    assert faults == []
    assert bridge.chain_of("api").definition.config_data == {"version": 39}


def in_threads(work, count):
    faults = []

    def run():
        try:
            work()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return faults


def test_hooks_that_reload_wait_for_nobody(bridge, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "tykbridge_reload", bridge.reload, raising=False)
    code = "import sys\n" + HOOK.format("x").replace("    return", "    sys.tykbridge_reload()\n    return")
    put(tmp_path, "middleware/plugin.py", code)
    bridge.load(json.dumps(api()))

    def send():
        for _ in range(5):
            assert mark(bridge) == "x"

    assert in_threads(send, 3) == []


def test_request_on_its_way_finishes_on_what_it_started_with(bridge, tmp_path):
    put(tmp_path, "middleware/plugin.py", HOOK.format("old"))
    bridge.load(json.dumps(api()))
    chain = bridge.chain(Request("GET", "/"), "api")
    put(tmp_path, "middleware/plugin.py", HOOK.format("new"))
    bridge.load(json.dumps(api()))
    assert dict(chain.request(Request("GET", "/")).request.headers) == {"X-Mark": "old"}
    assert mark(bridge) == "new"


def test_find(bridge, tmp_path):
    apis = tmp_path / "apis"
    for name, keys in {
        "root": {"proxy": {"listen_path": "/"}},
        "deep": {"proxy": {"listen_path": "/a/b/"}},
        "flat": {"proxy": {"listen_path": "/a"}},
        "domain": {"proxy": {"listen_path": "/"}, "domain": "Shop.test"},
    }.items():
        put(apis, f"{name}.json", api(name, custom_middleware={}, **keys))
    assert bridge.load(apis).not_loaded == ()
    asked = ["/", "/a", "/a?x", "/ab", "/a/b", "/a/b/c", "/a/bc"]
    assert [bridge.find(path) for path in asked] == ["root", "flat", "flat", "root", "deep", "deep", "flat"]
    assert bridge.find("/a", "shop.test:8080") == "domain"
    assert isinstance(bridge.request(Request("GET", "/a/b", (("Host", "x"),))), Continue)
    # As upstreams decode it; and what they may take for another API's is nobody's.
    assert [bridge.find(path) for path in ("/%61/b?/A", "//a/b", "/A/b", "/x/../a/b")] == ["deep", "", "", ""]
    with pytest.raises(NotFoundError, match="no API listens on //a/b"):
        bridge.request(Request("GET", "//a/b"))


def test_no_such_api(bridge):
    with pytest.raises(NotFoundError, match=r'there is no API "x" \(APIs: none\)'):
        bridge.request(Request("GET", "/"), "x")
    with pytest.raises(NotFoundError, match="no API listens on /x"):
        bridge.request(Request("GET", "/x?y"))


def test_no_such_place(bridge, tmp_path):
    bridge.load(json.dumps(api(custom_middleware={})))
    with pytest.raises(NotFoundError, match="there is no definition"):
        bridge.load(tmp_path / "nowhere")
    assert bridge.apis == ("api",)


def test_regression_a_folder_that_could_not_be_read_took_all_apis_with_it(bridge, tmp_path, monkeypatch):
    apis = put(tmp_path, "apis/a.json", written("a")).parent
    bridge.load(apis)
    listdir = os.listdir

    def refuse(folder):
        if folder == str(apis):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(NotFoundError, match=r"apis.*Too many open files"):
        bridge.reload()
    assert mark(bridge, "a") == "a"


def test_module_code_cannot_load_a_configuration(bridge, tmp_path):
    for call in ("load('{}')", "reload()"):
        put(tmp_path, "middleware/plugin.py", f"from tykbridge import Bridge\nBridge().{call}\n")
        loaded = bridge.load(json.dumps(api()))
        assert "cannot be done by the bundle" in loaded.not_loaded[0].reason
    assert issubclass(LoadError, Exception)


def test_who_looks_on_sees_every_hook_before_and_after(tmp_path, log):
    seen = []

    def watch(step, exchange):
        before = exchange.object.SerializeToString()
        try:
            edits = exchange.run((step.key,), move=False)
        except HookError as error:
            seen.append((step.name, str(error)))
            raise
        after = _bridge.message("Object", exchange.object.SerializeToString())
        assert not _bridge.message("Object", before).request.set_headers
        seen.append((step.name, dict(after.request.set_headers.items())))
        return edits

    put(tmp_path, "plugin.py", HOOK.format("1") + "@Hook\ndef fails(request, session, spec):\n    raise ValueError\n")
    pre = [{"name": name, "path": "plugin.py"} for name in ("mark", "mark", "fails", "mark")]
    definition = put(tmp_path, "api.json", api(custom_middleware={"driver": "python", "pre": pre}))
    services = Services(log=lambda words, level: log.append(words))
    bridges = [Bridge(replace(services, watch=each)) for each in (None, watch)]
    outcomes = []
    for bridge in bridges:
        assert bridge.load(definition).apis == ("api",)
        outcomes.append(bridge.request(Request("GET", "/"), "api"))
    assert outcomes[0] == outcomes[1]
    assert outcomes[1].response.status == 500
    assert seen[:2] == [("mark", {"X-Mark": "1"})] * 2
    assert seen[2][0] == "fails"
    assert len(seen) == 3


@pytest.mark.parametrize("is_watched", [False, True])
def test_who_takes_the_time_hears_of_every_hook_that_ran(tmp_path, log, is_watched):
    put(
        tmp_path,
        "plugin.py",
        HOOK.format("1")
        + """
@Hook
def fails(request, session, spec):
    raise ValueError

@Hook
def splits(request, session, spec):
    request.object.set_headers["X-Split"] = "a\\r\\nb"
    return request, session

@Hook
def checks(request, session, metadata, spec):
    metadata["token"] = request.get_header("X-Key") or ""
    return request, session, metadata
""",
    )
    code = base64.b64encode(b"function missed(request, session, config) { return TykJsResponse({}, {}); }").decode()
    other = {"response_function_name": "missed", "function_source_type": "blob", "function_source_uri": code}
    other |= {"path": "/other", "method": "GET"}
    versions = {"Default": {"name": "Default", "use_extended_paths": True, "extended_paths": {"virtual": [other]}}}
    heard = []

    def run(*names, key="k"):
        del heard[:]
        section = {"driver": "python", "auth_check": {"name": "checks", "path": "plugin.py"}}
        section["post"] = [{"name": name, "path": "plugin.py"} for name in names]
        changes = {"use_keyless": False, "custom_plugin_auth_enabled": True, "custom_middleware": section}
        changes["version_data"] = {"not_versioned": True, "versions": versions}
        watch = (lambda step, exchange: exchange.run((step.key,), move=False)) if is_watched else None
        timed = lambda step, seconds, failed: heard.append((step.api_id, step.hook_type, step.name, failed))  # noqa: E731
        bridge = Bridge(Services(log=lambda words, level: log.append(words), watch=watch, timed=timed))
        assert bridge.load(put(tmp_path, "api.json", api(**changes))).not_loaded == ()
        assert [step.name for step in bridge.chain_of("api").steps[Phase.POST] if step.answers] == ["missed"]
        return bridge.request(Request("GET", "/", (("X-Key", key),)), "api")

    assert isinstance(run("mark", "mark"), Continue)
    assert heard == [("api", 4, "checks", False), *[("api", 2, "mark", False)] * 2]  # the endpoint was not asked
    assert run("mark", "fails", "mark").response.status == 500
    assert heard[1:] == [("api", 2, "mark", False), ("api", 2, "fails", True)]
    assert run("splits").response.status == 500
    assert heard[1:] == [("api", 2, "splits", True)]
    assert run("mark", key="").response.status == 403
    assert heard == [("api", 4, "checks", False)]


def test_problems_and_needs_by_themselves(bridge, tmp_path):
    apis = tmp_path / "apis"
    put(apis, "plugin.py", HOOK.format("1"))
    put(apis, "broken.py", "\nimport nowhere_to_be_found")
    files = ("broken.py", "broken.py", "gone.py", "plugin.py")
    pre = [{"name": "mark", "path": path} for path in files]
    put(apis, "a.json", api("a", custom_middleware={"driver": "python", "pre": pre}))
    put(apis, "b.json", api("b", custom_middleware_bundle="far", custom_middleware={}))
    first, second = bridge.load(apis).not_loaded
    assert [problem.path for problem in first.problems] == [f"$.custom_middleware.pre[{i}]" for i in (0, 2)]
    assert [problem.place for problem in first.problems] == [f"{apis / 'broken.py'}:2", ""]
    assert first.reason == "refused: " + "; ".join(map(str, first.problems))
    assert (first.needs, second.problems) == ((), ())
    assert [(need.path, need.what) for need in second.needs] == [
        ("$.custom_middleware_bundle", 'a download of the bundle "far"')
    ]


def test_warnings_of_what_runs_are_in_the_log_when_it_is_loaded_and_not_again_until_it_changes(tmp_path):
    told = []
    bridge = Bridge(Services(log=lambda words, level: told.append((level, words))), tmp_path / "middleware")
    place = tmp_path / "apis"
    put(tmp_path, "middleware/plugin.py", HOOK)
    wrong = api("one", custom_middlewares={"pre": []}, Name="one")
    del wrong["custom_middleware"]["driver"], wrong["name"]  # both of which are inferred, and no mistake
    put(place, "one.json", json.dumps(wrong))
    off = api("off", enable_coprocess_auth=False, use_keyless=False, use_standard_auth=True)
    off["custom_middleware"]["auth_check"] = {"name": "check", "path": "gone.py"}
    put(place, "off.json", json.dumps({**off, "active": False}))
    line = f"{place / 'one.json'}: $.custom_middlewares: not a key that is known here, it has no effect; did you mean"

    def lines(loaded):
        words = [words for level, words in told if level == "warning"]
        told.clear()
        assert set(words) <= set(map(str, loaded.notices))  # the words of `check`
        return words

    [first] = lines(bridge.load(place))
    assert first == f'{line} "custom_middleware"?'
    assert [str(notice) for notice in bridge.notices("one") if not notice.inferred] == [first]
    assert len(bridge.notices("one")) == 3
    assert bridge.notices("off") == ()
    assert lines(bridge.reload()) == []
    put(place, "other.json", json.dumps(api("other")))  # another one
    assert lines(bridge.reload()) == []
    put(place, "one.json", json.dumps({**wrong, "Name": "changed"}))
    assert lines(bridge.reload()) == [first]
    put(place, "one.json", "{")  # the version before runs on, of which it is known
    assert lines(bridge.reload()) == []
    put(place, "one.json", json.dumps(api("one")))
    assert lines(bridge.reload()) == []
    put(place, "one.json", json.dumps(wrong))
    assert lines(bridge.reload()) == [first]


def test_warnings_of_what_is_refused_are_in_the_log_with_each_of_its_errors(tmp_path):
    told = []
    bridge = Bridge(Services(log=lambda words, level: told.append((level, words))), tmp_path / "middleware")
    put(tmp_path, "middleware/plugin.py", HOOK)
    file = tmp_path / "apis" / "one.json"
    wrong = api("one")
    wrong["proxy"]["listen_pth"] = wrong["proxy"].pop("listen_path")
    put(tmp_path, "apis/one.json", json.dumps(wrong))
    hint = f'{file}: $.proxy.listen_pth: not a key that is known here, it has no effect; did you mean "listen_path"?'
    for load in (lambda: bridge.load(tmp_path / "apis"), bridge.reload):  # as often as the error
        load()
        assert [words for level, words in told if level == "warning"] == [hint]
        assert [level for level, words in told if "$.proxy.listen_path: expected" in words] == ["error"]
        told.clear()


def test_a_warning_of_a_bundle_is_told_once_for_all_its_apis(tmp_path):
    told = []
    bridge = Bridge(Services(log=lambda words, level: told.append((level, words))), tmp_path / "middleware")
    folder = bundle(tmp_path)
    section = {"driver": "python", "pre": [{"name": "mark", "nmae": "x"}]}
    put(folder, "manifest.json", json.dumps({"file_list": ["middleware.py"], "custom_middleware": section}))
    for name in ("a", "b"):
        put(
            tmp_path / "apis",
            f"{name}.json",
            json.dumps(api(name, custom_middleware={}, custom_middleware_bundle="one")),
        )
    assert bridge.load(tmp_path / "apis").apis == ("a", "b")
    [(level, words)] = told
    assert level == "warning"
    assert words.startswith(f"{folder / 'manifest.json'}: $.custom_middleware.pre[0].nmae: not a key that is known")
    told.clear()
    bridge.reload()
    assert told == []
