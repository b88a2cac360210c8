"""Settings that a host gives with its configuration: stores, keys, downloads of bundles, signatures."""

import contextlib
import gc
import hashlib
import json
import os
import shutil
import types
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.host.calls import OK
from tykbridge import hosted, runtime
from tykbridge.bundle.signing import Trust
from tykbridge.outcome import Request
from tykbridge.services import Services
from tykbridge.stores.memory import MemoryStore
from tykbridge.stores.sqlite import SqliteStore

HOOK = """
from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def mark(request, session, spec):
    tyk.store_data("last", {version!r}, 0)
    request.add_header("X-Mark", {version!r})
    return request, session
"""


@pytest.fixture
def configured(host, tmp_path, monkeypatch):
    """What loads one API with one bundle, with settings. There is nothing else to reload."""
    monkeypatch.setattr(runtime.registry, "_named", {})
    monkeypatch.setattr(runtime.registry, "_root", None)
    monkeypatch.setattr(hosted, "_operation", None)
    monkeypatch.setattr(hosted, "_configuration", None)
    monkeypatch.setattr(hosted.bridge, "services", Services())
    monkeypatch.setattr(hosted.bridge, "downloader", None)
    monkeypatch.setattr(hosted.bridge, "trust", Trust())
    monkeypatch.setattr(runtime.registry, "trust", Trust())
    monkeypatch.setattr(runtime, "_store", MemoryStore())
    (tmp_path / "none").mkdir()
    assert host.load_configuration(str(tmp_path / "none")).status == OK
    api = {
        "api_id": "a",
        "org_id": "o",
        "active": True,
        "use_keyless": True,
        "proxy": {"listen_path": "/a/", "target_url": "http://upstream.test/"},
        "custom_middleware_bundle": "b.zip",
    }
    (tmp_path / "apis").mkdir()
    (tmp_path / "apis/a.json").write_text(json.dumps(api))

    def load(settings, **options):
        return host.load_configuration(
            str(tmp_path / "apis"), settings=settings if isinstance(settings, str) else json.dumps(settings), **options
        )

    return load


def pack(file, version):
    file.parent.mkdir(exist_ok=True)
    middleware = HOOK.format(version=version)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("middleware.py", middleware)
        archive.writestr("manifest.json", manifest(checksum=hashlib.md5(middleware.encode()).hexdigest()))


def manifest(**more):
    hooks = {"driver": "python", "pre": [{"name": "mark"}]}
    return json.dumps({"file_list": ["middleware.py"], "custom_middleware": hooks, **more})


def downloads(tmp_path, **more):
    return {
        "middleware_path": str(tmp_path / "middleware"),
        "enable_bundle_downloader": True,
        "bundle_base_url": f"file://{tmp_path}/served",
        **more,
    }


def mark():
    (chain,) = hosted.bridge.chains.values()
    return dict(chain.request(Request("GET", "/a/")).request.headers)["X-Mark"]


@contextlib.contextmanager
def without_collector():
    """Nothing may wait for the collector of cycles: it comes when it likes."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_a_bundle_is_downloaded_and_a_reload_takes_the_next_version(configured, host, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    assert configured(downloads(tmp_path)) == (OK, b"")
    assert mark() == "one"
    pack(tmp_path / "served/b.zip", "two")
    assert host.reload_all() == (OK, b"")
    assert mark() == "two"
    (tmp_path / "served/b.zip").write_bytes(b"nonsense")
    reply = host.reload_all()
    assert reply.status == 1
    assert "b.zip is refused" in reply.words
    assert "the version before goes on running" in reply.words
    assert mark() == "two"
    folder = tmp_path / "middleware/bundles" / hashlib.md5(b"b.zip").hexdigest()
    assert folder.is_symlink()
    assert "two" in (folder / "middleware.py").read_text()


def test_a_bundle_whose_code_does_not_load_leaves_the_link(configured, host, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    assert configured(downloads(tmp_path)).status == OK
    with zipfile.ZipFile(tmp_path / "served/b.zip", "w") as archive:
        archive.writestr("middleware.py", "def broken(:\n")
        archive.writestr("manifest.json", manifest())
    assert "middleware.py" in host.reload_all().words
    assert mark() == "one"
    folder = tmp_path / "middleware/bundles" / hashlib.md5(b"b.zip").hexdigest()
    assert "one" in (folder / "middleware.py").read_text()
    # The next start finds what works, should the server be down then.
    (tmp_path / "served/b.zip").unlink()
    assert configured(downloads(tmp_path)).status == OK
    assert mark() == "one"


def test_with_a_public_key_what_is_not_signed_is_refused(configured, keys, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    reply = configured(downloads(tmp_path, public_key_path=str(keys / "key.public.pem")))
    assert reply.status == 1
    assert "is not signed, and a public key is configured" in reply.words
    assert not hosted.bridge.chains
    assert not (tmp_path / "middleware/bundles" / hashlib.md5(b"b.zip").hexdigest()).exists()


def test_plugins_data_and_sessions_are_kept_where_settings_say(configured, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    settings = downloads(tmp_path, storage={"type": "sqlite", "path": str(tmp_path / "data.db")})
    assert configured(settings).status == OK
    assert mark() == "one"
    other = SqliteStore(str(tmp_path / "data.db"))
    try:
        assert other.get("coprocess-data:last") == b"one"
    finally:
        other.close()
    services = hosted.bridge.services
    assert services.sessions is services.counters
    assert services.keys.hashed("abc") == "b3dd93fa"  # murmur32, upstream's default
    # Another load with the same storage goes on with the same store.
    assert configured({**settings, "hash_keys": False}).status == OK
    assert hosted.bridge.services.sessions is services.sessions
    assert hosted.bridge.services.keys.hashed("abc") == "abc"
    services.sessions.close()


def test_what_is_in_memory_outlives_loads_and_reloads(configured, host, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    assert configured(downloads(tmp_path)).status == OK
    mark()
    assert isinstance(hosted.bridge.services.sessions, MemoryStore)
    assert host.reload_all().status == OK
    assert configured(downloads(tmp_path)).status == OK
    assert runtime.get_data("last") == b"one"


def test_settings_that_cannot_be_used_change_nothing(configured, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    assert configured(downloads(tmp_path)).status == OK
    before = hosted.bridge.services
    for settings, words in (
        (downloads(tmp_path, public_key_path="/nowhere.pem"), "the key /nowhere.pem cannot be read"),
        (downloads(tmp_path, storage={"type": "mongo"}), "$.storage.type"),
        (downloads(tmp_path, bundle_base_url="ftp://x"), "bundle_base_url must be a URL"),
        (str(tmp_path / "gone.conf"), "gone.conf: $: expected a file that can be read"),
    ):
        reply = configured(settings)
        assert reply.status < 0
        assert words in reply.words
        assert hosted.bridge.services is before
        assert mark() == "one"


def test_variables_count_where_there_are_settings_alone(configured, host, tmp_path, monkeypatch):
    pack(tmp_path / "served/b.zip", "one")
    for name, value in downloads(tmp_path).items():
        monkeypatch.setenv(f"TYK_GW_{name.replace('_', '').upper()}", str(value))
    reply = host.load_configuration(str(tmp_path / "apis"), middleware_path=str(tmp_path / "middleware"))
    assert reply.status == 1
    assert "needs a download" in reply.words
    assert configured("{}").status == OK
    assert mark() == "one"


def test_policies_of_the_file_that_settings_name(configured, host, tmp_path, monkeypatch):
    """A reload reads it again, which is watched; one that the host names counts instead."""
    monkeypatch.chdir(tmp_path)
    pack(tmp_path / "served/b.zip", "one")
    conf, told, file = tmp_path / "tyk.conf", [], tmp_path / "policies.json"
    conf.write_text(json.dumps(downloads(tmp_path, policies={"policy_record_name": "policies.json"})))
    file.write_text('{"gold": {}, "lead": {}}')
    assert configured(str(conf)) == (OK, b"")
    assert set(hosted.bridge.services.policies) == {"gold", "lead"}
    assert str(file) in hosted._places()
    monkeypatch.setattr(
        hosted.bridge, "services", replace(hosted.bridge.services, log=lambda words, level: told.append((level, words)))
    )
    file.write_text('{"gold": 1, "tin": {}}')
    reply = host.reload_all()
    assert reply.status == 1
    assert reply.words.startswith(f"{file}: $.gold: expected an object")
    assert told == [("error", reply.words)]
    assert set(hosted.bridge.services.policies) == {"gold", "tin"}  # the version before of the bad one
    (tmp_path / "own.json").write_text('{"iron": {}}')
    assert configured(str(conf), policies=str(tmp_path / "own.json")).status == OK
    assert set(hosted.bridge.services.policies) == {"iron"}
    assert str(file) not in hosted._places()
    conf.write_text(json.dumps(downloads(tmp_path)))
    assert configured(str(conf)).status == OK
    assert not hosted.bridge.services.policies


def test_a_zip_that_the_host_names(configured, host, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    assert host.load_bundle(str(tmp_path / "served/b.zip"), "zipped") == (OK, b"")
    root = runtime.registry.root_of("zipped")
    assert "one" in Path(root, "middleware.py").read_text()
    pack(tmp_path / "served/b.zip", "two")
    assert host.reload_all().status == OK
    fresh = runtime.registry.root_of("zipped")
    assert "two" in Path(fresh, "middleware.py").read_text()
    assert not Path(root).exists()  # nobody uses it any more
    (tmp_path / "served/b.zip").write_bytes(b"nonsense")
    reply = host.load_bundle(str(tmp_path / "served/b.zip"), "zipped")
    assert reply.status < 0
    assert "b.zip is refused: " in reply.words
    assert runtime.registry.root_of("zipped") == fresh
    runtime.registry.unload("zipped")


def test_settings_that_go_away_leave_memory(configured, host, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    configured(downloads(tmp_path, storage={"type": "sqlite", "path": str(tmp_path / "data.db")}))
    before = hosted.bridge.services.sessions
    host.load_configuration(str(tmp_path / "apis"), middleware_path=str(tmp_path / "middleware"))
    assert isinstance(hosted.bridge.services.sessions, MemoryStore)
    assert hosted.bridge.downloader is None
    assert mark() == "one"  # what was downloaded is on disk
    assert before.get("coprocess-data:last") is None
    before.close()


def test_regression_bundles_that_did_not_load_stayed_in_memory_and_on_disk(configured, host, tmp_path):
    served = tmp_path / "served/b.zip"
    pack(served, "one")
    assert configured(downloads(tmp_path)).status == OK
    with without_collector():
        files, old = len(os.listdir("/proc/self/fd")), []
        for version in range(4):
            old.append(weakref.ref(*hosted.bridge.chains.values()))
            pack(served, f"good {version}")
            assert host.reload_all().status == OK
            with zipfile.ZipFile(served, "w") as archive:
                archive.writestr("middleware.py", f"{version} / 0")
                archive.writestr("manifest.json", manifest())
            assert "ZeroDivisionError" in host.reload_all().words
            served.write_bytes(f"nonsense {version}".encode())
            assert "is refused" in host.reload_all().words
        assert [chain() for chain in old] == [None] * 4
        assert len(os.listdir("/proc/self/fd")) <= files  # what ran before may close some of its own
    versions = [name for name in os.listdir(tmp_path / "middleware/bundles/.versions") if not name.endswith(".json")]
    assert len(versions) == 1
    assert not runtime.registry._state.broken


def test_regression_a_bundle_from_before_the_key_was_used_by_its_hash(configured, host, keys, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    name = hashlib.md5(b"b.zip").hexdigest()
    assert host.load_bundle(str(tmp_path / "served/b.zip"), name).status == OK
    assert configured({"middleware_path": str(tmp_path / "middleware")}).status == OK
    reply = configured({"middleware_path": str(tmp_path / "middleware"), "public_key_path": f"{keys}/key.public.pem"})
    assert reply.status == 1
    assert "as the host has loaded it: " in reply.words
    assert "is not signed, and a public key is configured" in reply.words
    runtime.registry.unload(name)


def test_regression_an_archives_folder_went_while_an_api_used_it(configured, host, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    name = hashlib.md5(b"b.zip").hexdigest()
    assert host.load_bundle(str(tmp_path / "served/b.zip"), name).status == OK
    assert configured({"middleware_path": str(tmp_path / "middleware")}).status == OK
    folder = Path(hosted.bridge.chains["a"].codes[0].folder)
    pack(tmp_path / "served/b.zip", "two")
    assert host.load_bundle(str(tmp_path / "served/b.zip"), name).status == OK
    assert (mark(), folder.is_dir()) == ("one", True)
    assert host.reload_all().status == OK
    assert (mark(), folder.exists()) == ("two", False)
    runtime.registry.unload(name)


def test_regression_a_key_that_a_reload_brought_did_not_count_for_what_the_host_had_loaded(
    configured, host, keys, tmp_path
):
    pack(tmp_path / "served/b.zip", "one")
    (tmp_path / "root/bundle").mkdir(parents=True)
    (tmp_path / "root/bundle/middleware.py").write_text(HOOK.format(version="one"))
    conf = tmp_path / "tyk.conf"
    conf.write_text(json.dumps(downloads(tmp_path)))
    assert configured(str(conf)).status == OK
    assert host.load_bundle(str(tmp_path / "served/b.zip"), "zipped").status == OK
    assert host.load_bundle(str(tmp_path / "root/bundle"), "folder").status == OK
    assert host.new_dispatcher(str(tmp_path / "root")) == 0
    conf.write_text(json.dumps(downloads(tmp_path, public_key_path=str(keys / "key.public.pem"))))
    (tmp_path / "root/bundle/middleware.py").write_text(HOOK.format(version="two"))
    for _ in range(2):  # the second time, nothing has changed any more
        reply = host.reload_all()
        assert reply.status == 4
        assert reply.words.count("is not signed, and a public key is configured") == 4
        for name in ("bundle", "folder", "zipped"):
            assert f'bundle "{name}" cannot be loaded: ' in reply.words
            assert "'one'" in hooks(name)
    for name in ("zipped", "folder"):
        runtime.registry.unload(name)


def hooks(bundle):
    """Give what the function of a bundle's hook has for constants."""
    return repr(runtime.registry.hooks_of(bundle)["mark"].function.__code__.co_consts)


def test_regression_settings_that_cannot_be_used_fired_no_event(configured, host, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    conf = tmp_path / "tyk.conf"
    conf.write_text(json.dumps(downloads(tmp_path)))
    assert configured(str(conf)).status == OK
    fired = []
    sink = types.SimpleNamespace(fire=lambda event, api, org, meta: fired.append((event, meta["Message"])))
    hosted.bridge.services = replace(hosted.bridge.services, events=sink)
    conf.write_text("{")
    assert host.reload_all().status < 0
    [(event, words)] = fired
    assert event == "ReloadFailed"
    assert "tyk.conf" in words


def test_regression_a_store_that_was_opened_for_nothing_stayed_open(configured, host, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    conf = tmp_path / "tyk.conf"
    conf.write_text(json.dumps(downloads(tmp_path)))
    assert configured(str(conf)).status == OK
    files = len(os.listdir("/proc/self/fd"))
    conf.write_text(json.dumps(downloads(tmp_path, storage={"type": "sqlite", "path": str(tmp_path / "data.db")})))
    (tmp_path / "apis").rename(tmp_path / "gone")
    with without_collector():
        for _ in range(3):
            assert host.reload_all().status < 0
        assert len(os.listdir("/proc/self/fd")) <= files
    assert isinstance(hosted.bridge.services.sessions, MemoryStore)


def test_regression_an_archive_whose_folder_was_cleaned_up_stayed_without_it(configured, host, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    assert host.load_bundle(str(tmp_path / "served/b.zip"), "zipped").status == OK
    shutil.rmtree(runtime.registry.root_of("zipped"))
    assert host.reload_all() == (OK, b"")
    assert "one" in Path(runtime.registry.root_of("zipped"), "middleware.py").read_text()
    runtime.registry.unload("zipped")


def test_regression_a_store_that_was_replaced_stayed_open(configured, host, tmp_path):
    pack(tmp_path / "served/b.zip", "one")
    files = 0
    with without_collector():
        for number in range(3):
            configured(downloads(tmp_path, storage={"type": "sqlite", "path": str(tmp_path / f"{number}.db")}))
            assert mark() == "one"
            files = files or len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) <= files
    hosted.bridge.services.sessions.close()
