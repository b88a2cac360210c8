"""Reloads when files change."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import zipfile

import pytest

from tykbridge import Bridge, watch
from tykbridge.bundle.download import Downloader
from tykbridge.errors import LoadError
from tykbridge.outcome import Request
from tykbridge.services import Services

HOOK = """
from tyk.decorators import *
@Hook
def mark(request, session, spec):
    request.add_header("X-Mark", "{}")
    return request, session
"""


def put(file, text):
    """Write a file in one step."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f".{file.name}")
    half.write_text(text)
    half.replace(file)


def api(name="api", path="plugin.py"):
    section = {"driver": "python", "pre": [{"name": "mark", "path": str(path)}]}
    proxy = {"listen_path": f"/{name}/", "target_url": "http://upstream.test/"}
    return json.dumps(
        {"api_id": name, "active": True, "use_keyless": True, "proxy": proxy, "custom_middleware": section}
    )


def until(check):
    limit = time.monotonic() + 60
    while not check():
        assert time.monotonic() < limit
        time.sleep(0.005)


class Place:
    """A folder with definitions, one with hooks, and the bridge that has loaded them."""

    def __init__(self, folder):
        self.apis, self.middleware = folder / "apis", folder / "middleware"
        self.log = []
        self.bridge = Bridge(Services(log=lambda words, level: self.log.append((words, level))), self.middleware)

    def mark(self, name="api"):
        return dict(self.bridge.request(Request("GET", "/"), name).request.headers)["X-Mark"]

    def told(self):
        return [words for words, _ in self.log if words.startswith("files changed")]


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    put(made.apis / "api.json", api())
    put(made.middleware / "plugin.py", HOOK.format(1))
    assert made.bridge.load(made.apis).not_loaded == ()
    return made


def test_each_change_is_loaded_and_told(place, tmp_path):
    with watch.watching(place.bridge):
        put(place.middleware / "plugin.py", HOOK.format(2))
        until(lambda: place.mark() == "2")
        until(place.told)
        assert place.log == [("files changed: loaded again; in use: APIs api", "info")]
        put(place.apis / "other.json", api("other", tmp_path / "far" / "plugin.py"))
        until(lambda: len(place.told()) == 2)
        assert place.log[-1] == (
            "files changed: loaded again; in use: APIs api; not in use or as before: 1, for the reasons above",
            "warning",
        )
        assert "far/plugin.py" in place.log[-2][0]
        put(tmp_path / "far" / "plugin.py", HOOK.format(3))
        put(place.apis / "api.json", api())
        until(lambda: "other" in place.bridge.apis)
        put(tmp_path / "far" / "plugin.py", HOOK.format(4))  # a folder that only that definition names
        until(lambda: place.mark("other") == "4")
        (place.apis / "api.json").unlink()
        until(lambda: place.bridge.apis == ("other",))


def test_a_half_written_file_changes_nothing_and_the_rest_mends_it(place):
    with watch.watching(place.bridge):
        whole = HOOK.format(2)
        with (place.middleware / "plugin.py").open("w") as file:
            file.write(whole[:60])
            file.flush()
            until(place.told)
            assert place.log[-1][1] == "warning"
            assert place.mark() == "1"
            file.write(whole[60:])
        until(lambda: place.mark() == "2")


def test_a_source_that_goes_away_and_comes_back(place, tmp_path):
    with watch.watching(place.bridge):
        place.apis.rename(tmp_path / "elsewhere")
        until(place.told)
        words, level = place.log[-1]
        assert words.startswith("files changed, but nothing was loaded again: there is no definition")
        assert level == "error"
        assert place.mark() == "1"
        put(tmp_path / "new" / "api.json", api("new"))
        (tmp_path / "new").rename(place.apis)
        until(lambda: place.bridge.apis == ("new",))


def test_a_link_that_is_turned(tmp_path):
    for release in "12":
        put(tmp_path / "releases" / release / "apis" / "api.json", api())
        put(tmp_path / "releases" / release / "middleware" / "plugin.py", HOOK.format(release))
    (tmp_path / "releases" / "current").symlink_to("1")
    (tmp_path / "deployed").symlink_to("releases/current")
    place = Place(tmp_path / "deployed")
    place.bridge.load(place.apis)
    with watch.watching(place.bridge):
        (tmp_path / "next").symlink_to("2")
        (tmp_path / "next").replace(tmp_path / "releases" / "current")
        until(lambda: place.mark() == "2")


def test_what_does_not_count_loads_nothing(place):
    (place.middleware / ".git").mkdir()
    with watch.watching(place.bridge):
        for name in (".plugin.py.swp", "plugin.py~", "4913", "#plugin.py#", "x.tmp", "x.log", ".git/index"):
            put(place.middleware / name, "")
        put(place.middleware / "__pycache__" / "a.pyc", "")
        put(place.middleware / "bundles" / ".versions" / "x" / "middleware.py", "")
        os.utime(place.apis)
        until(lambda: place.told())  # the folder "bundles" is new, and counts
        put(place.middleware / "bundles" / ".versions" / "y" / "middleware.py", "")
        put(place.middleware / "plugin.py~", "again")
        put(place.middleware / "plugin.py", HOOK.format(2))
        until(lambda: len(place.told()) == 2)
        assert place.mark() == "2"
    assert len(place.told()) == 2


OUTPUT = """
import sys
from tests.test_watch import until
from tykbridge import watch
looks, reloads = [], []
def places():
    looks.append(len(looks))
    return sys.argv[1:]
def reload():
    reloads.append(len(looks))
    return "", 0
def looked():
    print("a line", file=sys.stdout, flush=True)
    print("a line", file=sys.stderr, flush=True)
    return len(looks) > 6
watcher = watch.Watcher(places, reload, lambda words, level: None)
watcher.start()
until(looked)
watcher.stop()
sys.exit(len(reloads))
"""


@pytest.mark.parametrize("end", ["stdout", "stderr"])
def test_regression_output_into_the_watched_folder_was_loaded_again_and_again(tmp_path, end):
    with (tmp_path / "output.txt").open("w") as file:
        ends = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, end: file}
        done = subprocess.run([sys.executable, "-c", OUTPUT, tmp_path], timeout=60, **ends)
    assert done.returncode == 0
    assert (tmp_path / "output.txt").read_text().startswith("a line\n")


def test_regression_a_relative_folder_was_watched_in_vain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "bundles/one.py", "1")
    seen = []
    watcher = watch.Watcher(lambda: ["bundles"], lambda: (seen.append(1) or "", 0), lambda words, level: None)
    watcher.start()
    try:
        put(tmp_path / "bundles/one.py", "22")
        until(lambda: seen)
    finally:
        watcher.stop()


def test_what_changes_before_the_watch_is_in_place_is_seen(place, monkeypatch):
    notify = watch.require()

    def late(*arguments):
        if place.mark() == "1":
            put(place.middleware / "plugin.py", HOOK.format(2))
        return notify(*arguments)

    monkeypatch.setattr(watch, "require", lambda: late)
    with watch.watching(place.bridge):
        until(lambda: place.mark() == "2")


def test_where_the_system_cannot_watch_files_are_looked_at(place, monkeypatch):
    def refuse(*arguments):
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watch, "require", lambda: refuse)
    monkeypatch.setattr(watch, "_PAUSE", 0.01)
    with watch.watching(place.bridge):
        put(place.middleware / "plugin.py", HOOK.format(2))
        until(lambda: place.mark() == "2")
    assert [level for words, level in place.log if "OS file watch limit reached" in words] == ["warning"]


def test_regression_a_folder_whose_name_is_no_text_made_it_wait_for_ever(place, monkeypatch):
    monkeypatch.setattr(watch, "_PAUSE", 0.01)
    os.mkdir(os.fsencode(place.middleware) + b"/\xff")
    with watch.watching(place.bridge):
        put(place.middleware / "plugin.py", HOOK.format(2))
        until(lambda: place.mark() == "2")
    assert [level for words, level in place.log if "files cannot be watched" in words] == ["warning"]


def test_regression_what_a_reload_writes_was_loaded_again(place, tmp_path):
    """Also by another process that has the same middleware folder and another server: they took turns, without end."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    put(
        place.apis / "bundled.json",
        api("bundled").replace('"custom_middleware"', '"custom_middleware_bundle": "b", "x"'),
    )
    place.bridge.downloader = Downloader(f"file://{shelf}")

    def publish(version):
        with zipfile.ZipFile(shelf / "b", "w") as archive:
            archive.writestr("middleware.py", HOOK.format(version))
            hooks = {"driver": "python", "pre": [{"name": "mark"}]}
            archive.writestr("manifest.json", json.dumps({"custom_middleware": hooks}))

    publish(1)
    assert not place.bridge.load(place.apis).not_loaded
    with watch.watching(place.bridge):
        for version in (2, 3):
            publish(version)
            put(place.middleware / "plugin.py", HOOK.format(version))
            until(lambda wanted=version: len(place.told()) == wanted - 1)
            assert (place.mark(), place.mark("bundled")) == (str(version), str(version))
            before = watch._look(place.bridge.places, place.bridge.managed)
            publish(f"another process's {version}")
            Bridge(middleware_path=place.middleware, downloader=place.bridge.downloader).load(place.apis)
            assert watch._look(place.bridge.places, place.bridge.managed) == before
    assert len(place.told()) == 2


def test_polling_is_asked_for_as_watchfiles_has_it(place, monkeypatch):
    asked = []
    notify = watch.require()
    monkeypatch.setattr(watch, "require", lambda: lambda *arguments: asked.append(arguments[2]) or notify(*arguments))
    for value in ("", "true"):
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", value)
        with watch.watching(place.bridge):
            pass
    assert asked == [False, True]


def test_the_thread_ends_with_the_block(place):
    with pytest.raises(ZeroDivisionError), watch.watching(place.bridge) as watcher:  # noqa: PT012
        assert watcher._thread.is_alive()
        raise ZeroDivisionError
    assert not watcher._thread.is_alive()
    assert not [thread for thread in threading.enumerate() if thread.name == "tykbridge-watch"]
    watcher.stop()


def test_a_reload_may_stop_its_watcher(place):
    watchers = []

    def reload():
        watchers[0].stop()
        return "", 0

    watchers.append(watch.Watcher(lambda: [str(place.apis)], reload, lambda words, level: None))
    watchers[0].start()
    put(place.apis / "x.json", "{}")
    until(lambda: not watchers[0]._thread.is_alive())


def test_without_watchfiles_it_is_told_what_to_install(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles._rust_notify", None)
    with (
        pytest.raises(LoadError, match=r"pip install 'tykbridge\[watch\]'"),
        watch.watching(place.bridge),
        contextlib.suppress(BaseException),
    ):
        pytest.fail("nothing can be watched")


ENDS = """
import atexit, os, sys, warnings
atexit.register(lambda: print("watching" if watcher._inside.locked() else "over"))  # called last
warnings.simplefilter("ignore")
from tykbridge import Bridge, watch
bridge = Bridge()
bridge.load(sys.argv[1])
context = watch.watching(bridge)
watcher = context.__enter__()
{}
"""


@pytest.mark.parametrize(
    "end",
    [
        "",  # with the watch in place
        "child = os.fork()\nif child: assert os.waitpid(child, 0)[1] == 0",
        "child = os.fork()\nif child: assert os.waitpid(child, 0)[1] == 0\nelse: watcher.stop(); bridge.reload()",
    ],
    ids=["exit", "fork", "stop-in-the-child"],
)
def test_a_process_that_is_watching_ends(place, end):
    done = subprocess.run(
        [sys.executable, "-c", ENDS.format(end), place.apis], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, {*done.stdout.split()}) == (0, {"over"}), done.stderr
