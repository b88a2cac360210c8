"""Native plugins in processes of their own: what one does to its process, and what becomes of the host and others."""

import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.gateways import definition, gateway, hooks
from tests.servers import until
from tests.test_drivers_native import compiled
from tykbridge import Bridge, _bridge, waiting
from tykbridge.bundle.signing import Trust
from tykbridge.drivers.goplugin import isolation, library
from tykbridge.errors import LoadError
from tykbridge.operating import prepare
from tykbridge.outcome import Request
from tykbridge.services import Services
from tykbridge.settings import SettingsError, read_settings
from tykbridge.stores.memory import MemoryStore

pytestmark = pytest.mark.once

HOST = ("Host", "api.example.org")
SOON = 300  # ms
NEVER = 60_000  # ms; longer than any test


@pytest.fixture(scope="module")
def builds(root, tmp_path_factory):
    """The plugin of tests/native/hostile.c, in three versions."""
    folder = tmp_path_factory.mktemp("hostile")
    source = root / "tests/native/hostile.c"
    lanes = f"-I{root / 'tykbridge/drivers/goplugin'}"
    return {number: compiled(source, folder / f"{number}.so", f'-DVERSION="{number}"', lanes) for number in "123"}


class Place:
    """A bridge with an API for each hook, and what the log heard."""

    def __init__(self, folder, builds, monkeypatch, driver="native"):
        self.folder, self.builds, self.lines, self.driver = folder, builds, [], driver
        self.data = MemoryStore()
        monkeypatch.setattr(_bridge, "log", self._log)
        monkeypatch.setattr("tykbridge.runtime.data_store", lambda: self.data)
        self.put("1")
        self.bridge = Bridge(Services(log=self._log), folder)

    def _log(self, words, level):
        self.lines.append((level, words))

    def put(self, number):
        (self.folder / "new.so").write_bytes(self.builds[number].read_bytes())
        (self.folder / "new.so").replace(self.folder / "plugin.so")

    def load(self, *names, timeout_ms=None, mode="process"):
        """An API for each of the hooks, of the same name; gives why some are not loaded."""
        apis = self.folder / "apis"
        apis.mkdir(exist_ok=True)
        for name in names or ("Tell",):
            section = hooks(self.driver, pre=[(name, "plugin.so")])
            section[self.driver] = {"isolation": mode}
            if timeout_ms is not None:
                section["pre"][0]["timeout_ms"] = timeout_ms
            (apis / f"{name}.json").write_text(json.dumps(definition(name, custom_middleware=section)))
        return [item.reason for item in self.bridge.load(apis).not_loaded]

    def load_one(self, **phases):
        """One more API, "Several", with hooks, ("other", NAME): of the second version."""
        apis = self.folder / "apis"
        apis.mkdir(exist_ok=True)
        (self.folder / "other.so").write_bytes(self.builds["2"].read_bytes())
        named = {
            phase: [(name, "plugin.so") if isinstance(name, str) else (name[1], "other.so") for name in names]
            for phase, names in phases.items()
        }
        section = {**hooks(self.driver, **named), self.driver: {"isolation": "process"}}
        (apis / "Several.json").write_text(json.dumps(definition("Several", custom_middleware=section)))
        assert self.bridge.load(apis).not_loaded == ()

    def run(self, name="Tell", body=b""):
        return self.bridge.request(Request("POST" if body else "GET", f"/{name}/", (HOST,), body), name)

    def told(self, name="Tell"):
        """The process's number, its version, and the calls before."""
        number, version, calls = self.run(name).response.body.split()
        return int(number), version.decode(), int(calls)

    def begin(self, name="Wait", count=1):
        """Start requests on threads of their own, see that all are in the plugin, and give their end, to be called."""
        answers, threads = [], []
        before = int(self.data.get("native-store:waiting") or 0)
        for _ in range(count):
            threads.append(threading.Thread(target=lambda: answers.append(self.run(name))))
            threads[-1].start()
        until(lambda: int(self.data.get("native-store:waiting") or 0) == before + count)

        def end():
            for thread in threads:
                thread.join()
            return answers

        return end

    def go(self):
        self.data.set("native-store:go", b"1", 0)

    def end(self):
        """Let the APIs go, and see that their processes do."""
        self.go()
        (self.folder / "none").mkdir()
        assert self.bridge.load(self.folder / "none").not_loaded == ()
        gc.collect()
        assert {"plugin.so", "other.so"}.isdisjoint(one.plugin.label for one in library._isolated.values())

    def errors(self):
        return [words for level, words in self.lines if level == "error"]


@pytest.fixture
def place(tmp_path, builds, monkeypatch):
    made = Place(tmp_path, builds, monkeypatch)
    yield made
    made.end()


def is_there(number):
    """Whether a process runs, or waits for its parent."""
    return os.path.exists(f"/proc/{number}")


def is_alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---- One process for all calls


def test_calls_share_a_process_that_is_not_the_hosts(place):
    assert place.load() == []
    first, second = place.told(), place.told()
    assert first[0] == second[0] != os.getpid()
    assert (first[2], second[2]) == (0, 1)
    assert "plugin.so" not in Path("/proc/self/maps").read_text()


def test_eight_calls_at_once_and_none_waits_for_another(place):
    assert place.load("Tell", "Wait", timeout_ms=NEVER) == []
    end = place.begin(count=8)
    number, _, _ = place.told()
    place.go()
    assert {int(answer.response.body.split()[0]) for answer in end()} == {number}


def test_requests_that_were_started_wait_without_a_thread(place):
    assert place.load("Tell", "Wait", timeout_ms=NEVER) == []
    count = 3 * waiting.THREADS
    begun = [waiting.call(lambda: place.run("Wait")) for _ in range(count)]
    until(lambda: int(place.data.get("native-store:waiting") or 0) == count)
    assert waiting.call(place.told).result()[0] == place.told()[0]
    place.go()
    assert {answer.result().response.status for answer in begun} == {200}


def test_a_started_request_whose_time_is_over(place):
    assert place.load("Loop", timeout_ms=SOON) == []
    assert waiting.call(lambda: place.run("Loop")).result().response.status == 504


def test_what_other_threads_of_a_plugin_ask(place):
    assert place.load("Aside") == []
    place.run("Aside")
    until(lambda: ("warning", "aside") in place.lines)
    assert place.data.get("native-store:aside") == b"100"


def test_a_process_inherits_nothing(place, tmp_path):
    with open(tmp_path / "secret", "w") as secret:
        os.set_inheritable(secret.fileno(), True)
        assert place.load("List") == []
        names = place.run("List").response.body.decode().split()
    assert all(name.startswith(("/dev/null", "pipe:", "socket:")) for name in names), names
    assert len(names) == 6  # standard input, output and error, the control socket, two lanes


# ---- Its end


@pytest.mark.parametrize(
    ("hook", "how"),
    [
        ("Exit", "exit status 3"),
        ("Abort", "signal 6 (SIGABRT)"),
        ("Fall", "signal 6 (SIGABRT)"),
        ("Print", "exit status 4"),
    ],
)
def test_a_hook_that_ends_its_process(place, hook, how):
    assert place.load("Tell", hook) == []
    number, _, _ = place.told()
    assert place.run(hook).response.status == 500
    assert any(hook in words and f"its process ended during the call: {how}" in words for words in place.errors())
    until(lambda: any(f"the process {number} of plugin.so ended: {how}" in words for words in place.errors()))
    other, _, calls = place.told()
    assert (other != number, calls) == (True, 0)
    until(lambda: not is_there(number))


def test_what_it_printed_last_is_in_the_log(place, capfd):
    assert place.load("Print") == []
    place.run("Print")
    until(lambda: any("it printed last:\nto standard output\nto standard error" in words for words in place.errors()))
    assert "to standard error\n" in capfd.readouterr().err


def test_other_calls_in_a_process_that_ends(place):
    assert place.load("Tell", "Wait", "Exit", timeout_ms=NEVER) == []
    end = place.begin(count=2)
    assert place.run("Exit").response.status == 500
    assert [answer.response.status for answer in end()] == [500, 500]
    assert sum("its process ended during the call: exit status 3" in words for words in place.errors()) == 3
    assert place.told()[2] == 0


def test_an_endless_loop_and_other_calls_in_its_process(place):
    assert place.load("Tell", "Wait", timeout_ms=NEVER) == []
    assert place.load("Loop", timeout_ms=SOON) == []
    end = place.begin()
    number, _, _ = place.told()
    assert place.run("Loop").response.status == 504
    assert any(f"it ran longer than {SOON} ms" in words for words in place.errors())
    assert place.told()[0] != number  # a new process takes the new calls
    assert is_there(number)
    place.go()
    [answer] = end()
    assert int(answer.response.body.split()[0]) == number  # and the old one ends what it began
    until(lambda: not is_there(number))


def test_a_limit_where_nobody_names_one(place, monkeypatch):
    monkeypatch.setattr(isolation, "TIMEOUT_MS", SOON)
    assert place.load("Loop") == []
    assert place.run("Loop").response.status == 504


def test_a_process_that_somebody_kills(place):
    assert place.load() == []
    number, _, _ = place.told()
    os.kill(number, signal.SIGKILL)
    until(lambda: any(f"the process {number} of plugin.so ended: signal 9" in words for words in place.errors()))
    assert place.told()[0] != number


def test_a_process_that_is_killed_before_anybody_heard_of_it(place):
    assert place.load() == []
    for _ in range(20):
        number, _, _ = place.told()
        library._isolated[next(iter(library._isolated))].plugin._started = -100.0  # it has been there for long
        os.kill(number, signal.SIGKILL)
        until(lambda number=number: not is_alive(number))
        assert place.told()[0] != number


def test_one_that_does_not_stay_is_put_off(place):
    assert place.load("Tell", "Exit") == []
    for _ in range(2):  # the first end is forgiven
        place.told()
        assert place.run("Exit").response.status == 500
    refused = place.run()
    assert refused.response.status == 503
    assert "the process of plugin.so ended 2 times in a row, at last: exit status 3" in place.errors()[-1]
    until(lambda: place.run().response.status == 200)


def test_nonsense_from_a_process(place):
    assert place.load("Tell", "Babble") == []
    number, _, _ = place.told()
    assert place.run("Babble").response.status == 500
    until(lambda: not is_there(number))
    assert place.told()[0] != number


def test_nonsense_again_and_again_is_put_off(place):
    assert place.load("Tell", "Babble") == []
    for _ in range(2):
        number, _, _ = place.told()
        assert place.run("Babble").response.status == 500
        until(lambda number=number: not is_there(number))
    assert place.run().response.status == 503
    assert "ended 2 times in a row, at last: signal 9 (SIGKILL)" in place.errors()[-1]
    until(lambda: place.run().response.status == 200)


def test_a_process_that_leaves_a_child_with_its_sockets(place):
    assert place.load("Tell", "Fork", timeout_ms=NEVER) == []
    number, _, _ = place.told()
    assert place.run("Fork").response.status == 500
    os.kill(int(place.data.get("native-store:child")), signal.SIGKILL)  # it was there until now
    assert any("its process ended during the call: exit status 5" in words for words in place.errors())
    assert place.told()[0] != number
    until(lambda: not is_there(number))


def test_a_request_that_is_too_large_for_one_that_does_not_read(place):
    assert place.load("Tell", "Stop", timeout_ms=SOON) == []
    number, _, _ = place.told()
    place.run("Stop")
    until(lambda: Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    assert place.run("Tell", b"x" * (4 << 20)).response.status == 504
    until(lambda: not is_there(number))
    assert place.told()[0] != number


def test_a_process_that_closes_its_lanes(place, monkeypatch):
    monkeypatch.setattr(isolation, "_REPORT", 0.05)
    assert place.load("Tell", "Close", timeout_ms=NEVER) == []
    number, _, _ = place.told()
    assert place.run("Close").response.status == 500
    assert place.told()[0] != number
    until(lambda: not is_there(number))


def test_part_of_an_answer_holds_no_thread(place):
    assert place.load("Hang", "Drip", timeout_ms=NEVER) == []
    place.load_one(pre=[("other", "Wait")])
    count = 3 * waiting.THREADS
    hang = [waiting.call(lambda: place.run("Hang")) for _ in range(count)]
    wait = [waiting.call(lambda: place.run("Several")) for _ in range(count)]
    until(lambda: int(place.data.get("native-store:waiting") or 0) == 2 * count)
    drip = waiting.call(lambda: place.run("Drip"))
    until(lambda: place.data.get("native-store:dripped"))
    place.go()
    assert {answer.result().response.status for answer in wait} == {200}
    assert not any(answer.done() for answer in hang)
    [plugin] = [one.plugin for one in library._isolated.values() if one.plugin.label == "plugin.so"]
    os.kill(plugin.current.number, signal.SIGKILL)
    assert {answer.result().response.status for answer in [*hang, drip]} == {500}


def test_requests_that_were_started_while_a_process_starts(place, monkeypatch):
    assert place.load() == []
    number, _, _ = place.told()
    monkeypatch.setenv("HOSTILE_SLOW", "1")
    os.kill(number, signal.SIGKILL)
    begun = [waiting.call(place.told) for _ in range(6 * waiting.THREADS)]
    assert len({answer.result()[0] for answer in begun}) == 1


def test_questions_that_nobody_may_ask(place):
    assert place.load("Tell", "Lie") == []
    number, _, _ = place.told()
    assert int(place.run("Lie").response.body.split()[0]) == number
    assert place.told()[0] == number


def test_what_is_kept_of_a_request(place):
    place.load_one(pre=["Keep"], post=["Kept"])
    assert place.run("Several").response.body == str(2**64 - 1).encode()
    assert place.lines.count(("info", f"forgot {2**64 - 1}")) == 1
    place.load_one(pre=["Keep", "KeepNone"], post=["Kept"])
    assert place.run("Several").response.body == b"0"
    assert [words for _, words in place.lines if "forgot" in words] == [f"forgot {2**64 - 1}"] * 2
    assert place.errors() == []


def test_what_is_kept_of_a_request_ends_with_its_process(place):
    place.load_one(pre=["Mark", "Keep", ("other", "Keep"), ("other", "Kill")], post=["Kept"])
    assert place.run("Several").response.body == b"0"
    place.load_one(pre=["Mark", "Keep", ("other", "Keep"), ("other", "Kill")], post=[("other", "Kept")])
    assert place.run("Several").response.body == str(2**64 - 1).encode()


# ---- Its life with the host's


def test_processes_end_with_the_interpreter(tmp_path, builds):
    (tmp_path / "plugin.so").write_bytes(builds["1"].read_bytes())
    script = """
import atexit, os, sys, time
def look():
    until = time.monotonic() + 30
    while os.path.exists(f"/proc/{number}") and time.monotonic() < until:
        os.sched_yield()
    print("there" if os.path.exists(f"/proc/{number}") else "gone")
atexit.register(look)
from pathlib import Path
from tykbridge.drivers.goplugin import library
shared = library.obtain_isolated(Path(sys.argv[1]))
number = shared.plugin.current.number
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "plugin.so"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "gone\n"


def test_a_plugins_thread_does_not_wait_for_an_interpreter_that_ends(tmp_path, builds):
    (tmp_path / "plugin.so").write_bytes(builds["1"].read_bytes())
    script = """
import atexit, ctypes, sys
from pathlib import Path
atexit.register(lambda: print(ctypes.PYFUNCTYPE(ctypes.c_int64)(address)()))  # has Python's lock
from tykbridge.drivers.goplugin import library
address = library.obtain(Path(sys.argv[1])).plugin.define(b"address")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "plugin.so"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "-20\n"


def test_versions_end_with_their_last_call(place):
    assert place.load("Tell", "Wait", timeout_ms=NEVER) == []
    number, version, _ = place.told()
    end = place.begin()
    place.put("2")
    assert place.bridge.reload().not_loaded == ()
    assert place.told()[1] == "2"
    assert (version, is_there(number)) == ("1", True)
    place.go()
    assert end()[0].response.body.split()[1] == b"1"
    until(lambda: not is_there(number))


def test_the_same_content_stays_in_its_process(place):
    assert place.load() == []
    number, _, _ = place.told()
    place.put("1")
    assert place.bridge.reload().not_loaded == ()
    assert place.told() == (number, "1", 1)


def test_sixty_reloads_among_three_contents_under_load(place):
    assert place.load() == []
    seen, over = set(), threading.Event()

    def work():
        while not over.is_set():
            seen.add(place.told()[:2])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    wrong = []
    for at in range(60):
        place.put("123"[at % 3])
        assert place.bridge.reload().not_loaded == ()
        if (found := place.told()[1]) != "123"[at % 3]:
            wrong.append((at, found))
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    last, _, _ = place.told()
    until(lambda: [number for number, _ in seen if is_there(number) and number != last] == [])
    assert place.errors() == []


def test_nothing_is_left_when_no_api_has_it(place):
    assert place.load() == []
    number, _, _ = place.told()
    (place.folder / "apis" / "Tell.json").unlink()
    place.bridge.reload()
    until(lambda: not is_there(number))
    assert library._isolated == {}


def test_a_host_that_is_killed_leaves_nothing(tmp_path, builds):
    remote = gateway(tmp_path)
    (tmp_path / "plugin.so").write_bytes(builds["1"].read_bytes())
    section = hooks("native", pre=[("Tell", "plugin.so")], post=[("Loop", "plugin.so")])
    section["native"] = {"isolation": "process"}
    assert remote.load(definition(custom_middleware=section)) == []
    number = int(remote.request(Request("GET", "/api/", (HOST,))).response.body.split()[0])
    assert is_there(number)
    remote._process.kill()
    remote.close()
    until(lambda: not is_there(number))


def test_a_forked_child_starts_its_own(tmp_path, builds):
    remote = gateway(tmp_path)
    (tmp_path / "plugin.so").write_bytes(builds["1"].read_bytes())
    section = hooks("native", pre=[("Tell", "plugin.so")])
    section["native"] = {"isolation": "process"}
    assert remote.load(definition(custom_middleware=section)) == []
    asked = Request("GET", "/api/", (HOST,))

    def told(answer):
        return answer.response.body.split()

    number = told(remote.request(asked))[0]
    before, _, reloaded, after = remote.in_a_forked_child(asked)
    assert (told(before)[0] != number, told(before)[2]) == (True, b"0")
    assert (reloaded, told(after)[0]) == ([], told(before)[0])
    assert told(remote.request(asked)) == [number, b"1", b"1"]
    until(lambda: not is_there(int(told(before)[0])))
    assert remote.close() == 0
    until(lambda: not is_there(int(number)))


def test_a_host_that_lets_the_system_wait_for_its_children(place):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert place.load("Tell", "Exit") == []
        number, _, _ = place.told()
        assert place.run("Exit").response.status == 500
        assert any("ended during the call: how is not known" in words for words in place.errors())
        assert place.told()[0] != number
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_children_of_the_hosts_own_are_the_hosts(place):
    own = subprocess.Popen(["sleep", "60"])
    assert place.load("Tell", "Exit") == []
    place.run("Exit")
    place.told()
    own.kill()
    assert own.wait() == -signal.SIGKILL


# ---- Who says it


def test_the_settings_say_it_where_a_definition_does_not(place):
    settings, _ = read_settings('{"tykbridge": {"isolation": "process"}}', {})
    place.bridge.capabilities = prepare(settings, None, place._log).capabilities
    assert place.load(mode="") == []
    assert place.told()[0] != os.getpid()
    assert place.load(mode="none") == []
    assert place.told()[0] == os.getpid()
    settings, _ = read_settings("{}", {"TYK_GW_TYKBRIDGE_ISOLATION": "none"})
    place.bridge.capabilities = prepare(settings, None, place._log).capabilities
    assert place.load(mode="") == []
    assert place.told()[0] == os.getpid()
    with pytest.raises(SettingsError, match=r"\$.tykbridge.isolation"):
        read_settings('{"tykbridge": {"isolation": "container"}}', {})


def test_the_oas_form_says_it(place):
    plugin = {"enabled": True, "functionName": "Tell", "path": "plugin.so"}
    document = {
        "openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": {},
        "x-tyk-api-gateway": {
            "info": {"name": "Tell", "id": "Tell", "orgId": "org", "state": {"active": True}},
            "server": {"listenPath": {"value": "/Tell/"}}, "upstream": {"url": "http://127.0.0.1:1/"},
            "middleware": {"global": {
                "pluginConfig": {"driver": "native", "native": {"isolation": "process"}}, "prePlugins": [plugin],
            }},
        },
    }  # fmt: skip
    assert place.bridge.load(json.dumps(document)).not_loaded == ()
    assert place.told()[0] != os.getpid()


def test_a_bundle_does_not_say_it(place):
    folder = place.folder / "bundles" / hashlib.md5(b"b").hexdigest()
    folder.mkdir(parents=True)
    (folder / "plugin.so").write_bytes(place.builds["1"].read_bytes())
    section = {**hooks("native", pre=[("Tell", "plugin.so")]), "native": {"isolation": "none"}}
    (folder / "manifest.json").write_text(json.dumps({"file_list": ["plugin.so"], "custom_middleware": section}))
    document = definition("Tell", custom_middleware_bundle="b", custom_middleware={"native": {"isolation": "process"}})
    [item] = place.bridge.load(json.dumps(document)).not_loaded
    assert "$.custom_middleware.native.isolation: expected it in <text> alone" in item.reason
    del section["native"]
    place.bridge.trust = Trust(allow_native_code=True)
    (folder / "manifest.json").write_text(json.dumps({"file_list": ["plugin.so"], "custom_middleware": section}))
    assert place.bridge.load(json.dumps(document)).not_loaded == ()
    assert place.told()[0] != os.getpid()


# ---- What is refused


def test_a_deadline_in_this_process(place):
    [reason] = place.load(timeout_ms=5, mode="none")
    assert "nothing can stop one that runs in this process" in reason
    assert '"isolation": "process"' in reason


def test_a_place_that_nobody_knows(place):
    [reason] = place.load(mode="proces")
    assert '$.custom_middleware.native.isolation: expected one of "none", "process"' in reason, reason


def test_a_library_that_does_not_begin(place, monkeypatch):
    monkeypatch.setenv("HOSTILE_START", "1")
    [reason] = place.load()
    assert "plugin.so cannot be used: it failed with the status -9" in reason


def test_a_library_that_cannot_be_opened(tmp_path):
    source = tmp_path / "lost.c"
    source.write_text(
        "extern int nowhere(void);\nint tykb_plugin(void);\nint tykb_plugin(void) { return nowhere(); }\n"
    )
    compiled(source, tmp_path / "lost.so")
    with pytest.raises(LoadError) as caught:
        library.obtain_isolated(tmp_path / "lost.so")
    assert "lost.so cannot be used: lost.so: undefined symbol: nowhere" in str(caught.value)
