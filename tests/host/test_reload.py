"""tykb_reload through every host of the tests, and TYKB_WATCH."""

import json
import os
import sys
import threading
import time

import pytest

from tests.host.calls import E_LOAD, E_NOT_FOUND, OK
from tests.host.fixtures import new_object
from tykbridge import _bridge, hosted, runtime
from tykbridge.services import Services

HOOK = """
from tyk.decorators import *
@Hook
def Mark(request, session, spec):
    request.add_header("X-Mark", "{}")
    return request, session
"""


@pytest.fixture
def loaded(host, tmp_path, monkeypatch):
    """A root with the bundle "root", the bundle "named", and a configuration with policies; nothing else is loaded."""
    named = {name: runtime._Named(known.number) for name, known in runtime.registry._named.items()}
    monkeypatch.setattr(runtime.registry, "_named", named)
    monkeypatch.setattr(runtime.registry, "_root", None)
    monkeypatch.setattr(hosted, "_configuration", None)
    hosted.bridge.services = Services()
    return Loaded(host, tmp_path)


class Loaded:
    """What is loaded, its files, and what it answers."""

    def __init__(self, host, folder):
        self.host, self.folder = host, folder
        self.policies = folder / "policies.json"

    def load(self, **options):
        self.write("1")
        self.write_policies("one", "two")
        assert self.host.new_dispatcher(str(self.folder / "root")) == OK
        assert self.host.load_bundle(str(self.folder / "named"), "named").status == OK
        assert self.configure(policies=str(self.policies), **options) == (OK, b"")

    def configure(self, **options):
        middleware = str(self.folder / "middleware")
        return self.host.load_configuration(str(self.folder / "apis"), middleware_path=middleware, **options)

    def write(self, version, *names):
        code = HOOK.format(version) if version else "not = Python"
        for name in names or ("root/root", "named", "middleware"):
            put(self.folder / name / "middleware.py", code)
        section = {"driver": "python", "pre": [{"name": "Mark", "path": "middleware.py"}]}
        proxy = {"listen_path": "/api/", "target_url": "http://upstream.test/"}
        definition = {"api_id": "api", "active": True, "use_keyless": True, "proxy": proxy}
        put(self.folder / "apis/api.json", json.dumps({**definition, "custom_middleware": section}))

    def write_policies(self, *names):
        put(self.policies, json.dumps({name: {"rate": 1, "per": 1} for name in names}))

    def answers(self):
        dispatched = [self.host.dispatch(new_object(name, "Mark").SerializeToString()) for name in ("root", "named")]
        found = [_bridge.message("Object", reply.data) for reply in dispatched]
        sent = _bridge.message("Object")
        sent.spec["APIID"] = "api"
        found.append(_bridge.message("Object", self.host.run_request(sent.SerializeToString()).data))
        return [message.request.set_headers.get("X-Mark") for message in found]


def put(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f"{file.name}.tmp")
    half.write_text(text)
    half.replace(file)


def test_everything_is_read_again(loaded):
    assert loaded.host.reload_all() == (OK, b"")  # nothing is there yet
    loaded.load()
    assert loaded.answers() == ["1", "1", "1"]
    loaded.write("2")
    loaded.write_policies("three")
    loaded.host.reload()  # the root alone
    assert loaded.answers() == ["2", "1", "1"]
    assert loaded.host.reload_all() == (OK, b"")
    assert loaded.answers() == ["2", "2", "2"]
    assert list(hosted.bridge.services.policies) == ["three"]


def test_what_is_bad_stays_as_it_was_and_is_counted(loaded):
    loaded.load()
    loaded.write("")
    reply = loaded.host.reload_all()
    lines = reply.words.splitlines()
    assert reply.status == len(lines) == 3
    for line, place in zip(lines, ("root/root", "named", "middleware"), strict=True):
        assert f"{loaded.folder}/{place}/middleware.py:1: " in line
        assert "version" in line.rpartition("; ")[2]
    assert loaded.answers() == ["1", "1", "1"]
    loaded.write("2", "named")
    assert loaded.host.reload_all().status == 2
    assert loaded.answers() == ["1", "2", "1"]


def test_what_is_gone_stays_as_it_was(loaded):
    loaded.load()
    loaded.write("2")
    (loaded.folder / "apis").rename(loaded.folder / "elsewhere")
    reply = loaded.host.reload_all()
    assert (reply.status, len(reply.words.splitlines())) == (1, 1)
    assert reply.words == (
        f"there is no definition {loaded.folder}/apis, neither a file nor a folder; what was loaded before stays in use"
    )
    assert ("error", reply.words) in loaded.host.logs
    assert loaded.answers() == ["2", "2", "1"]


def test_when_all_is_gone_nothing_changes(loaded):
    loaded.write("1")
    assert loaded.configure().status == OK
    (loaded.folder / "apis").rename(loaded.folder / "elsewhere")
    reply = loaded.host.reload_all()
    assert (reply.status, "there is no definition" in reply.words) == (E_NOT_FOUND, True)
    assert hosted.bridge.apis == ("api",)


def test_policies_that_cannot_be_read_stay_as_they_were(loaded):
    loaded.load()
    loaded.policies.write_text('{"one": {"rate": ')  # an editor is at work
    reply = loaded.host.reload_all()
    assert (reply.status, reply.words.rpartition("; ")[2]) == (1, "2 policies stay as they were")
    assert list(hosted.bridge.services.policies) == ["one", "two"]
    loaded.policies.write_text('{"one": {"rate": "much"}, "three": {}}')
    reply = loaded.host.reload_all()
    assert (reply.status, reply.words.rpartition("; ")[2]) == (1, "1 policies stay as they were")
    known = hosted.bridge.services.policies
    assert (sorted(known), known["one"].rate) == (["one", "three"], 1)
    # Another file is not a new version of this one.
    put(loaded.folder / "other", "{")
    assert loaded.configure(policies=str(loaded.folder / "other")).status == 1
    assert hosted.bridge.services.policies == {}


def test_strictness_and_paths_stay(loaded, monkeypatch, tmp_path):
    loaded.write("1")
    monkeypatch.chdir(tmp_path)
    assert loaded.host.load_configuration("apis", strict=True, middleware_path="middleware") == (OK, b"")
    monkeypatch.chdir("/")
    loaded.write("2")
    assert loaded.host.reload_all() == (OK, b"")
    assert hosted.bridge.services.mode == "strict"


@pytest.mark.parametrize("name", ["hook", "module"])
def test_a_hook_may_reload_and_module_code_may_not(loaded, name):
    loaded.load()
    call = "from tykbridge import hosted\n"
    if name == "module":
        put(loaded.folder / "root" / "root" / "middleware.py", call + "hosted.reload()\n")
        reply = loaded.host.reload_all()
        assert (reply.status, "do it from a hook" in reply.words) == (1, True)
        assert loaded.answers() == ["1", "1", "1"]
    else:
        code = HOOK.format("2").replace("    return", "    hosted.reload()\n    return")
        put(loaded.folder / "root" / "root" / "middleware.py", call + code)
        assert loaded.host.reload_all().status == OK
        threads = [threading.Thread(target=loaded.answers) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert loaded.answers()[0] == "2"


def until(check):
    limit = time.monotonic() + 60
    while not check():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_files_are_watched_until_a_configuration_is_loaded_without(loaded):
    loaded.load(watch=True)
    watcher = hosted._watcher
    for number, name in enumerate(("root/root", "named", "middleware"), 2):
        loaded.write(str(number), name)
        until(lambda: str(number) in loaded.answers())  # noqa: B023
    loaded.write_policies("three")
    until(lambda: list(hosted.bridge.services.policies) == ["three"])
    until(lambda: loaded.host.logs)
    assert {level for level, _ in loaded.host.logs} == {"info"}
    assert loaded.host.logs[-1][1].startswith("files changed: loaded again; in use: APIs api; bundles ")
    assert "root" in loaded.host.logs[-1][1]
    assert loaded.configure().status == OK
    until(lambda: not watcher._thread.is_alive())
    assert hosted._watcher is None


def test_without_watchfiles_nothing_is_watched_and_nothing_changes(loaded, monkeypatch):
    loaded.write("1")
    assert loaded.configure().status == OK
    os.remove(loaded.folder / "apis/api.json")
    monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", None)
    reply = loaded.configure(watch=True)
    assert (reply.status, "pip install 'tykbridge[watch]'" in reply.words) == (E_LOAD, True)
    assert hosted.bridge.apis == ("api",)
