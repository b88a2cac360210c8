from __future__ import annotations

import ctypes
import errno
import gc
import itertools
import json
import linecache
import os
import re
import sys
import threading
import time
import types
import zipimport
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import trees
from tykbridge import _bridge, errors, runtime
from tykbridge.bundle import held, loader
from tykbridge.cli.host import CallError, Host, _Message
from tykbridge.compat import pb2
from tykbridge.errors import AmbiguousError, BridgeError, HookError, LoadError, MalformedError, NotFoundError

HOOK = """
from tyk.decorators import *
@Hook
def H(request, session, spec):
    request.add_header("v", "{}")
    return request, session
"""


class Watched(Host):
    """A host that keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        super().__init__(lambda message, level: self.lines.append((message, level)), lambda name, payload: None)

    def run(self, hook: str, bundle: str | None) -> Any:
        """Dispatches to a hook and returns the reply as a message."""
        message = pb2.message_class("Object")(hook_name=hook)
        if bundle is not None:
            message.spec["bundle_hash"] = bundle  # type: ignore[attr-defined]
        return pb2.message_class("Object").FromString(self.dispatch(message.SerializeToString()))

    def value(self, bundle: str, hook: str = "H") -> str:
        """What the hook of HOOK put into its header."""
        found: str = self.run(hook, bundle).request.set_headers["v"]
        return found


_others: set[str] = set()  # modules of bundles that other tests of this process left loaded


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    _others.update(modules())
    monkeypatch.setattr(runtime, "registry", runtime.Registry())
    made = Watched()
    yield made
    made._library.tykb_set_host(None)
    registry = runtime.registry
    _bridge.publish([])
    for version in registry._state.versions.values():
        version.retire()
    assert not modules()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder for bundles."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("_tykb_")} - _others


def words(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(CallError) as failure:
        call()
    return failure.value.status, str(failure.value)


def test_statuses_are_those_of_the_header(root: Path, request: pytest.FixtureRequest) -> None:
    header = (request.config.rootpath / "csrc" / "api.h").read_text()
    kinds = [BridgeError, *BridgeError.__subclasses__()]
    names = ["INTERNAL", "MALFORMED", "NOT_FOUND", "AMBIGUOUS", "HOOK", "LOAD", "GONE"]
    assert {kind.__name__ for kind in kinds} == {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, BridgeError)
    }
    for kind, name in zip(kinds, names, strict=True):
        assert f"TYKB_E_{name} = {kind.status}" in header


def test_a_root_of_bundles(host: Watched, root: Path) -> None:
    trees.write(root, {"a/middleware.py": HOOK.format("a"), "b-1/middleware.py": HOOK.format("b"), "file": ""})
    trees.write(root, {".hidden/x.py": "1 / 0", "__pycache__/x.pyc": ""})
    runtime.new_dispatcher(str(root))
    assert (host.value("a"), host.value("b-1")) == ("a", "b")
    assert host.lines == []


def test_a_broken_bundle_fails_its_own_dispatches_only(host: Watched, root: Path) -> None:
    trees.write(root, {"good/middleware.py": HOOK.format("1"), "bad/middleware.py": "import nothing_of_it"})
    runtime.new_dispatcher(str(root))
    assert host.value("good") == "1"
    reason = f'bundle "bad" cannot be loaded: {root}/bad/middleware.py:1: ModuleNotFoundError: No module named '
    assert host.lines == [(reason + "'nothing_of_it'", "error")]
    status, text = words(lambda: host.value("bad"))
    assert status == "TYKB_E_LOAD"
    assert text == f"hook \"H\" cannot run: {reason}'nothing_of_it'"


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_root_that_cannot_be_read(host: Watched, tmp_path: Path, kind: str) -> None:
    trees.write(tmp_path, {"file": "", "root/a/middleware.py": HOOK.format("1")})
    runtime.new_dispatcher(str(tmp_path / "root"))
    with pytest.raises(NotFoundError, match=f"the bundles' folder {tmp_path}/{kind} cannot be read: "):
        runtime.new_dispatcher(str(tmp_path / kind))
    assert host.value("a") == "1"
    runtime.reload()
    assert host.value("a") == "1"


def test_reload_reads_the_root_again(host: Watched, root: Path) -> None:
    trees.write(root, {f"{name}/middleware.py": HOOK.format("old") for name in ("changed", "gone", "broken")})
    runtime.new_dispatcher(str(root))
    trees.write(root, {"changed/middleware.py": HOOK.format("new"), "added/middleware.py": HOOK.format("first")})
    trees.write(root, {"broken/middleware.py": "x = (", "fresh/middleware.py": "1 / 0"})
    (root / "gone" / "middleware.py").unlink()
    (root / "gone").rmdir()
    runtime.reload()
    assert [host.value(name) for name in ("changed", "added", "broken")] == ["new", "first", "old"]
    assert words(lambda: host.value("gone"))[0] == "TYKB_E_NOT_FOUND"
    assert words(lambda: host.value("fresh"))[0] == "TYKB_E_LOAD"
    assert [(line.rpartition("; ")[2][:35], level) for line, level in host.lines] == [
        ("the version loaded before stays in ", "error"),
        (f'bundle "fresh" cannot be loaded: {root}'[:35], "error"),
    ]
    # The next one heals what is mended.
    trees.write(root, {"broken/middleware.py": HOOK.format("mended"), "fresh/middleware.py": HOOK.format("mended")})
    runtime.reload()
    assert (host.value("broken"), host.value("fresh")) == ("mended", "mended")


STATE = """
    from tyk.decorators import *
    import rules
    @Hook
    def H(request, session, spec):
        rules.calls += 1
        request.add_header("v", str(rules.calls))
        return request, session
"""


def test_a_reload_leaves_alone_what_did_not_change(host: Watched, root: Path) -> None:
    named = root.with_name("named")
    for folder in (root / "kept", root / "changed", named):
        trees.write(folder, {"middleware.py": STATE, "rules.py": "calls = 0"})
    runtime.new_dispatcher(str(root))
    runtime.load_bundle(str(named), "named")
    names = ("kept", "changed", "named")
    assert [host.value(name) for name in names] == ["1", "1", "1"]
    trees.write(root, {"changed/vendor/data/x": "new", "kept/__pycache__/x.pyc": "new"})
    os.utime(root / "kept" / "rules.py", (1, 1))
    runtime.reload()
    assert [host.value(name) for name in names] == ["2", "1", "2"]
    assert runtime.registry.reload_named() == []
    assert [host.value(name) for name in names] == ["3", "2", "3"]
    trees.write(named, {"rules.py": "calls = 10"})
    runtime.reload()  # is about the root alone
    assert host.value("named") == "4"
    assert runtime.registry.reload_named() == []
    assert [host.value(name) for name in names] == ["4", "3", "11"]
    runtime.load_bundle(str(named), "named")  # a host that asks for it gets it
    assert host.value("named") == "11"
    trees.write(named, {"rules.py": "calls = ("})
    (line,) = runtime.registry.reload_named()
    assert line.startswith(f'bundle "named" cannot be loaded: {named}/rules.py:1: SyntaxError: ')
    assert line.endswith("; the version loaded before stays in use")
    assert host.lines == [(line, "error")]
    assert host.value("named") == "12"


def test_the_same_content_in_another_folder_is_loaded(host: Watched, tmp_path: Path) -> None:
    for release in ("1", "2"):
        trees.write(tmp_path, {f"{release}/b/middleware.py": STATE, f"{release}/b/rules.py": "calls = 0"})
    (tmp_path / "root").symlink_to("1")
    runtime.new_dispatcher(str(tmp_path / "root"))
    assert host.value("b") == "1"
    runtime.reload()
    assert host.value("b") == "2"
    (tmp_path / "next").symlink_to("2")
    os.replace(tmp_path / "next", tmp_path / "root")
    runtime.reload()  # whoever swaps folders removes the old one some day
    assert host.value("b") == "1"
    assert runtime.registry.root_of("b") == str(tmp_path / "2" / "b")


def test_a_version_whose_files_changed_while_it_was_loaded_is_loaded_again(host: Watched, root: Path) -> None:
    grow = "import pathlib\nfile = pathlib.Path(__file__).with_name('data')\nfile.write_text(file.read_text() + 'x')\n"
    count = 'from tyk.decorators import *\n@Hook\ndef H(request, session, spec):\n    request.add_header("v", '
    count += "str(len(file.read_text())))\n    return request, session\n"
    trees.write(root, {"b/middleware.py": grow + count, "b/data": ""})
    runtime.new_dispatcher(str(root))
    assert host.value("b") == "1"
    runtime.reload()
    assert host.value("b") == "2"


def test_a_version_of_two_contents_is_loaded_again_when_the_first_is_back(host: Watched, root: Path) -> None:
    change = "import pathlib\nfile = pathlib.Path(__file__).with_name('data')\nfile.write_text('2')\n"
    trees.write(root, {"b/middleware.py": change + HOOK.format("1"), "b/data": "1"})
    runtime.new_dispatcher(str(root))
    before = runtime.registry._state.versions["b"]
    trees.write(root, {"b/data": "1"})
    runtime.reload()
    assert runtime.registry._state.versions["b"] is not before


def test_a_named_bundle_keeps_its_folder_when_a_link_is_turned(host: Watched, tmp_path: Path) -> None:
    trees.write(tmp_path, {f"{release}/middleware.py": HOOK.format(release) for release in "12"})
    (tmp_path / "current").symlink_to("1")
    runtime.load_bundle(str(tmp_path / "current"), "b")
    (tmp_path / "next").symlink_to("2")
    os.replace(tmp_path / "next", tmp_path / "current")
    assert runtime.registry.root_of("b") == str(tmp_path / "1")
    assert runtime.registry.reload_named() == []
    assert (host.value("b"), runtime.registry.root_of("b")) == ("2", str(tmp_path / "2"))


def test_what_is_to_stay_and_is_replaced_meanwhile_is_read_again(
    host: Watched, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.write(root, {"a/middleware.py": HOOK.format("1"), "b/middleware.py": HOOK.format("1")})
    runtime.new_dispatcher(str(root))
    known = runtime._is_current
    others: list[int] = []

    def overtaken(version: Any, folder: str) -> bool:
        found = known(version, folder)
        if folder.endswith("/a") and not others:
            others.append(1)
            trees.write(root, {"a/middleware.py": HOOK.format("2")})
            thread = threading.Thread(target=runtime.new_dispatcher, args=(str(root),))
            thread.start()
            thread.join()
            runtime.registry._root = runtime._Root(str(root), 0)  # as if that one had started earlier
        return found

    monkeypatch.setattr(runtime, "_is_current", overtaken)
    runtime.reload()
    assert [host.value(name) for name in "ab"] == ["2", "1"]
    assert len(modules()) == 4


def test_reload_when_the_root_is_gone_changes_nothing(host: Watched, root: Path) -> None:
    trees.write(root, {"a/middleware.py": HOOK.format("1")})
    runtime.new_dispatcher(str(root))
    os.rename(root, root.with_name("elsewhere"))
    with pytest.raises(NotFoundError, match="cannot be read: No such file or directory"):
        runtime.reload()
    assert host.value("a") == "1"


def test_reload_without_a_root(host: Watched, root: Path) -> None:
    runtime.load_bundle(str(trees.write(root, {"middleware.py": HOOK.format("1")})), "a")
    runtime.reload()
    assert host.value("a") == "1"


def test_a_new_root_takes_the_place_of_the_old(host: Watched, tmp_path: Path) -> None:
    trees.write(tmp_path, {"one/a/middleware.py": HOOK.format("1"), "one/b/middleware.py": HOOK.format("1")})
    trees.write(tmp_path, {"two/b/middleware.py": "1 / 0", "two/c/middleware.py": HOOK.format("2")})
    runtime.load_bundle(str(tmp_path / "one" / "a"), "named")
    runtime.new_dispatcher(str(tmp_path / "one"))
    runtime.new_dispatcher(str(tmp_path / "two"))
    assert (host.value("c"), host.value("named")) == ("2", "1")
    assert words(lambda: host.value("a"))[0] == "TYKB_E_NOT_FOUND"
    # b is another bundle here: what ran from the other root must not stand in for it.
    assert words(lambda: host.value("b"))[0] == "TYKB_E_LOAD"


def test_load_bundle(host: Watched, root: Path) -> None:
    trees.write(root, {"a/middleware.py": HOOK.format("root"), "x/middleware.py": HOOK.format("named")})
    runtime.new_dispatcher(str(root))
    runtime.load_bundle(str(root / "x"), "a")
    assert host.value("a") == "named"
    runtime.reload()
    assert host.value("a") == "named"
    trees.write(root, {"x/middleware.py": "1 / 0"})
    with pytest.raises(LoadError, match=r'bundle "a" cannot be loaded: .*/x/middleware\.py:1: ZeroDivisionError'):
        runtime.load_bundle(str(root / "x"), "a")
    assert host.value("a") == "named"
    with pytest.raises(LoadError):
        runtime.load_bundle(str(root / "x"), "new")
    assert words(lambda: host.value("new"))[0] == "TYKB_E_LOAD"
    with pytest.raises(NotFoundError, match="there is no folder"):
        runtime.load_bundle(str(root / "nowhere"), "other")
    assert words(lambda: host.value("other"))[0] == "TYKB_E_NOT_FOUND"


def test_words_for_what_is_missing(host: Watched, root: Path) -> None:
    event = "from tyk.decorators import *\n@Event\ndef E(event, spec): pass\n"
    trees.write(root, {"a/middleware.py": HOOK.format("1"), "b/middleware.py": HOOK.format("2") + event})
    assert words(lambda: host.run("H", "a")) == ("TYKB_E_NOT_FOUND", 'there is no bundle "a" (bundles: none)')
    runtime.new_dispatcher(str(root))
    assert words(lambda: host.run("H", "c")) == ("TYKB_E_NOT_FOUND", 'there is no bundle "c" (bundles: a, b)')
    found = words(lambda: host.run("X", "a"))
    assert found == ("TYKB_E_NOT_FOUND", f'bundle "a" ({root}/a) has no hook "X" (hooks: H)')
    found = words(lambda: host.run("E", "b"))
    assert found[1] == f'"E" of bundle "b" is no hook: {root}/b/middleware.py:8 marks it with @Event, not @Hook'
    assert words(lambda: host.run("X", None)) == (
        "TYKB_E_NOT_FOUND",
        'no bundle defines the hook "X" (bundles: a, b)',
    )
    assert words(lambda: host.run("", "a")) == (
        "TYKB_E_NOT_FOUND",
        "the message names no hook: its hook_name is empty",
    )
    assert words(lambda: host.run("H", None)) == (
        "TYKB_E_AMBIGUOUS",
        'hook "H" is defined by several bundles: a, b; spec["bundle_hash"] must name one',
    )
    trees.write(root, {"broken/middleware.py": "1 / 0"})
    runtime.reload()
    assert words(lambda: host.run("X", None))[1].endswith("; not loaded because broken: broken")


def test_words_for_a_hook_of_another_driver(host: Watched, root: Path) -> None:
    manifest = '{"custom_middleware": {"post": [{"name": "H"}], "driver": "pyton"}}'
    trees.write(root, {"middleware.py": HOOK.format("1"), "manifest.json": manifest})
    described = f"{root}/manifest.json: custom_middleware.post[0]"
    runtime.load_bundle(str(root), "b")
    assert words(lambda: host.run("H", "b")) == (
        "TYKB_E_NOT_FOUND",
        f'"H" of bundle "b" cannot be run by this build: {described} has the driver "pyton"',
    )


def test_an_empty_hash_names_no_bundle(host: Watched, root: Path) -> None:
    runtime.load_bundle(str(trees.write(root, {"middleware.py": HOOK.format("1")})), "b")
    assert host.value("") == "1"
    assert words(lambda: host.run("X", "")) == ("TYKB_E_NOT_FOUND", 'no bundle defines the hook "X" (bundles: b)')
    with pytest.raises(LoadError, match="a bundle needs a name"):
        runtime.load_bundle(str(root), "")


def test_a_hook_that_was_loaded_between_the_call_and_its_words(host: Watched, root: Path) -> None:
    runtime.load_bundle(str(trees.write(root, {"middleware.py": HOOK.format("1")})), "b")
    assert str(runtime.missing("b", "H")) == 'hook "H" of bundle "b" was not loaded yet when it was called'


def test_many_names_are_cut(host: Watched, root: Path) -> None:
    trees.write(root, {f"bundle-{number:02}/middleware.py": HOOK.format("1") for number in range(25)})
    runtime.new_dispatcher(str(root))
    text = words(lambda: host.run("H", "x"))[1]
    assert text.endswith("bundle-18, bundle-19 and 5 more)")


def test_a_failed_hook_is_logged_with_its_traceback(host: Watched, root: Path) -> None:
    code = """
        from tyk.decorators import *
        import rules
        @Hook
        def Fails(request, session, spec):
            rules.check(spec)
        @Hook
        def Exits(request, session, spec):
            raise SystemExit(2)
    """
    trees.write(root, {"b/middleware.py": code, "b/rules.py": "def check(spec):\n    raise ValueError('boom')\n"})
    runtime.new_dispatcher(str(root))
    expected = 'hook "Fails" of bundle "b": ValueError: boom (rules.py:2)'
    assert words(lambda: host.run("Fails", "b")) == ("TYKB_E_HOOK", expected)
    ((line, level),) = host.lines
    assert level == "error"
    marks = re.compile(r"^ +[~^]+\n", re.MULTILINE)  # from 3.13 on, here
    assert marks.sub("", line) == (
        f'{expected}\nTraceback (most recent call last):\n  File "{root}/b/middleware.py", line 6, in Fails\n'
        f"    rules.check(spec)\n  File \"{root}/b/rules.py\", line 2, in check\n    raise ValueError('boom')\n"
        "ValueError: boom"
    )
    found = words(lambda: host.run("Exits", "b"))
    assert found == ("TYKB_E_HOOK", 'hook "Exits" of bundle "b": SystemExit: 2 (middleware.py:9)')


@pytest.mark.parametrize(
    ("form", "result", "expected"),
    [
        ("request, session, spec", "None", "returned None; a hook with 3 parameters returns request, session"),
        ("request, session, spec", "request", "returned a value of type Request; a hook with 3 parameters returns"),
        ("request, session, spec", "('x', 'y')", "returned a tuple of (str, str); a hook with 3 parameters"),
        ("request, session, spec", "session, request", "returned a tuple of (SessionState, Request); a hook with 3"),
        ("request, session, metadata, spec", "request, session", "parameters returns request, session, metadata"),
        ("request, response, session, metadata, spec", "1", "a hook with 5 parameters returns response"),
    ],
)
def test_a_wrong_return_value_is_told_and_logged(
    host: Watched, root: Path, form: str, result: str, expected: str
) -> None:
    code = f"from tyk.decorators import *\n@Hook\ndef H({form}):\n    return {result}\n"
    runtime.load_bundle(str(trees.write(root, {"middleware.py": code})), "b")
    status, text = words(lambda: host.run("H", "b"))
    assert status == "TYKB_E_HOOK"
    assert expected in text
    assert text.endswith("(middleware.py:2)")
    assert host.lines == [(text, "error")]


BLOCKING = """
    import threading
    from tyk.decorators import *
    entered, leave = threading.Event(), threading.Event()
    @Hook
    def Waits(request, session, spec):
        entered.set()
        leave.wait()
        import late
        request.add_header("v", late.X)
        return request, session
    @Event
    def Listens(event, spec):
        entered.set()
        leave.wait()
        import late
        event["message"]["seen"].append(late.X)
"""


@pytest.mark.parametrize("kind", ["hook", "event"])
def test_calls_in_flight_finish_on_what_they_started_with(
    host: Watched, root: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    trees.write(root, {"b/middleware.py": BLOCKING, "b/late.py": "X = 'old'"})
    runtime.new_dispatcher(str(root))
    (old,) = runtime.registry._state.versions.values()
    scope = old.bundle.hooks["Waits"].function.__globals__
    results: list[str] = []

    def call() -> None:
        if kind == "hook":
            results.append(host.value("b", "Waits"))
        else:
            runtime.dispatch_event('{"message": {"seen": []}, "handler_name": "Listens", "spec": {}}')
            results.append("done")

    thread = threading.Thread(target=call)
    thread.start()
    assert scope["entered"].wait(60)
    package = scope["__name__"].partition(".")[0]
    trees.write(root, {"b/middleware.py": HOOK.format("new")})
    runtime.reload()
    assert host.value("b") == "new"
    assert package in sys.modules
    scope["leave"].set()
    thread.join()
    assert results == ["old" if kind == "hook" else "done"]
    assert not [name for name in sys.modules if name.partition(".")[0] == package]


def test_replaced_versions_leave_nothing(host: Watched, root: Path) -> None:
    # Not isinstance: that asks other libraries' lazy objects what they are.
    before = [thing for thing in gc.get_objects() if type(thing) is runtime._Version]
    trees.write(root, {"b/middleware.py": "import rules\n" + HOOK.format("1"), "b/rules.py": ""})
    runtime.new_dispatcher(str(root))
    assert len(modules()) == 3
    for number in range(5):
        trees.write(root, {"b/middleware.py": "import rules\n" + HOOK.format(number)})
        runtime.reload()
        assert host.value("b") == str(number)
    assert len(modules()) == 3
    gc.collect()
    alive = [thing for thing in gc.get_objects() if type(thing) is runtime._Version]
    assert len(alive) == len(before) + 1


def test_regression_replaced_versions_left_sources_and_archives_in_memory(host: Watched, root: Path) -> None:
    for number in range(3):
        folder = root / f"v{number}"
        trees.write(folder, {"middleware.py": "import rules\n" + HOOK.replace("return", "1 / 0  #")})
        trees.wheel(folder / "vendor/rules-1-py3-none-any.whl", {"rules.py": ""})
        runtime.load_bundle(str(folder), "b")
        function = runtime.registry.hooks_of("b")["H"].function
        with pytest.raises(ZeroDivisionError) as failure:
            function(types.SimpleNamespace(add_header=print), None, None)
        runtime.hook_failed("b", "H", function, failure.value)  # its traceback shows the source
        trees.write(folder, {"middleware.py": "import rules\n1 / 0\n"})
        with pytest.raises(LoadError):
            runtime.load_bundle(str(folder), "b")
    for cache in (linecache.cache, zipimport._zip_directory_cache):  # type: ignore[attr-defined]
        assert {Path(name).relative_to(root).parts[0] for name in cache if name.startswith(str(root))} <= {"v2"}


def test_regression_a_link_to_a_folder_that_cannot_be_read_kept_a_root_from_loading(
    host: Watched, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.write(root, {"a/middleware.py": HOOK.format("a")})
    (root / "link").symlink_to("a")

    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(held, "share", refuse)
    runtime.new_dispatcher(str(root))
    assert host.value("a") == "a"
    assert any('bundle "link" cannot be loaded: ' in line and "Permission denied" in line for line, _ in host.lines)


def test_a_hook_that_reloads_and_loads(host: Watched, root: Path) -> None:
    other = trees.write(root.with_name("other"), {"middleware.py": HOOK.format("other")})
    code = f"""
        import pathlib
        from tyk.decorators import *
        from tykbridge import runtime
        @Hook
        def H(request, session, spec):
            for text in ("changed", "changed again"):  # what did not change, is not loaded again
                pathlib.Path({str(root / "b" / "data")!r}).write_text(text)
                runtime.reload()
            runtime.load_bundle({str(other)!r}, "other")
            runtime.new_dispatcher({str(root)!r})
            import rules
            request.add_header("v", rules.X)
            return request, session
    """
    trees.write(root, {"b/middleware.py": code, "b/rules.py": "X = 'mine'"})
    runtime.new_dispatcher(str(root))
    assert host.value("b") == "mine"
    assert host.value("other") == "other"
    assert len(modules()) == 4  # the version that ran has gone: b and its middleware, other and its middleware


@pytest.mark.parametrize("call", ["reload()", "new_dispatcher('/')", "load_bundle('/', 'x')"])
def test_module_code_that_reloads_is_refused(host: Watched, root: Path, call: str) -> None:
    trees.write(root, {"good/middleware.py": HOOK.format("1")})
    runtime.new_dispatcher(str(root))
    trees.write(root, {"bad/middleware.py": f"from tykbridge import runtime\nruntime.{call}"})
    runtime.reload()
    ((line, _),) = host.lines
    assert f"{root}/bad/middleware.py:2: LoadError: " in line
    assert 'cannot be done by the bundle "bad" while it is being loaded: do it from a hook' in line
    assert host.value("good") == "1"


def test_a_finalizer_in_the_middle_of_a_swap_is_refused_not_blocked(host: Watched, root: Path) -> None:
    trees.write(root, {"middleware.py": HOOK.format("1")})
    with runtime.registry._swapping(), pytest.raises(LoadError, match="by the same thread"):
        runtime.load_bundle(str(root), "b")
    assert modules() == set()
    runtime.load_bundle(str(root), "b")
    assert host.value("b") == "1"


def test_a_slow_load_does_not_undo_a_later_one(host: Watched, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    started = threading.Event()
    monkeypatch.setattr(sys, "tykbridge_gate", (started, gate), raising=False)
    slow = "import sys\nstarted, gate = sys.tykbridge_gate\nstarted.set()\ngate.wait()\n" + HOOK.format("slow")
    trees.write(root, {"slow/middleware.py": slow, "quick/middleware.py": HOOK.format("quick")})
    thread = threading.Thread(target=runtime.load_bundle, args=(str(root / "slow"), "b"))
    thread.start()
    assert started.wait(60)
    runtime.load_bundle(str(root / "quick"), "b")  # nothing holds it up
    assert host.value("b") == "quick"
    gate.set()
    thread.join()
    assert host.value("b") == "quick"
    assert len(modules()) == 2


def test_threads_that_reload_dispatch_and_fire_events(host: Watched, root: Path) -> None:
    event = "@Event\ndef E(event, spec): event['message']['seen'].append(1)\n"
    trees.write(root, {f"{name}/middleware.py": HOOK.format(name) for name in "ab"})
    trees.write(root, {"c/middleware.py": "from tyk.decorators import *\n" + event})
    runtime.new_dispatcher(str(root))
    faults: list[BaseException] = []
    until = time.monotonic() + 1.5

    def repeat(work: Callable[[], object]) -> None:
        try:
            while time.monotonic() < until:
                work()
        except BaseException as error:
            faults.append(error)

    def dispatch(name: str) -> None:
        assert host.value(name) == name

    def fire() -> None:
        runtime.dispatch_event(json.dumps({"message": {"seen": []}, "handler_name": "E", "spec": {}}))

    numbers = itertools.count()

    def change() -> None:
        trees.write(root, {"a/data": str(next(numbers)), "c/data": str(next(numbers))})
        runtime.reload()

    work: list[Callable[[], object]] = [runtime.reload, change, fire, fire]
    work += [lambda: runtime.load_bundle(str(root / "a"), "named"), lambda: dispatch("a"), lambda: dispatch("b")]
    threads = [threading.Thread(target=repeat, args=(item,)) for item in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert host.lines == []
    assert len(modules()) == 8


EVENTS = """
    from tyk.decorators import *
    seen = []
    @Event
    def {}(event, spec):
        seen.append((event, spec))
        if event.message.get("Type") == "fail":
            raise ValueError("boom")
"""


def fire(name: str, kind: str = "AuthFailure") -> None:
    message = {"Type": kind, "Meta": {"Message": "m", "OriginatingRequest": ""}}
    runtime.dispatch_event(json.dumps({"message": message, "handler_name": name, "spec": {"APIID": "1", "OrgID": "2"}}))


def test_events_reach_their_handler(host: Watched, root: Path) -> None:
    runtime.load_bundle(str(trees.write(root, {"middleware.py": EVENTS.format("Mine")})), "b")
    fire("Mine")
    scope = runtime.registry._state.versions["b"].bundle.events["Mine"].function.__globals__
    ((event, spec),) = scope["seen"]
    message = {"Type": "AuthFailure", "Meta": {"Message": "m", "OriginatingRequest": ""}}
    assert event == {"message": message, "handler_name": "Mine", "spec": spec}
    assert event.message == message
    assert spec == {"APIID": "1", "OrgID": "2"}


def test_events_that_reach_none(host: Watched, root: Path) -> None:
    trees.write(root, {"a/middleware.py": EVENTS.format("Twice"), "b/middleware.py": EVENTS.format("Twice")})
    trees.write(root, {"c/middleware.py": HOOK.format("1"), "d/middleware.py": "1 / 0"})
    runtime.new_dispatcher(str(root))
    with pytest.raises(AmbiguousError, match='event handler "Twice" is defined by several bundles: a, b; rename all'):
        fire("Twice")
    with pytest.raises(
        NotFoundError, match=r'no bundle defines the event handler "X" \(there are: Twice\); not loaded'
    ):
        fire("X")
    with pytest.raises(NotFoundError, match='bundle "c" marks it with @Hook, a handler is marked with @Event'):
        fire("H")
    with pytest.raises(MalformedError):
        runtime.dispatch_event("{")
    seen = [
        v.bundle.events["Twice"].function.__globals__["seen"]
        for n, v in sorted(runtime.registry._state.versions.items())
        if n in "ab"
    ]
    assert seen == [[], []]


def test_an_event_handler_that_fails(host: Watched, root: Path) -> None:
    runtime.load_bundle(str(trees.write(root, {"middleware.py": EVENTS.format("Mine")})), "b")
    with pytest.raises(HookError, match=r'event handler "Mine" of bundle "b": ValueError: boom \(middleware\.py:8\)'):
        fire("Mine", "fail")
    ((line, level),) = host.lines
    assert level == "error"
    assert "Traceback (most recent call last)" in line
    host.lines.clear()
    host.dispatch_event('{"message": {"Type": "fail"}, "handler_name": "Mine", "spec": {}}')
    assert len(host.lines) == 1  # the library adds none


def test_set_env(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/a", "/b"])
    path = sys.path
    runtime.set_env("/c:/b::/d")
    assert path == ["/c", "/b", "/d", "/a"]
    runtime.set_env("/c")
    assert path == ["/c", "/b", "/d", "/a"]


def test_the_embedded_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_store", runtime.MemoryStore())
    assert runtime.get_data("a") == b""
    runtime.store_data("a", b"1", 0)
    assert runtime.get_data("a") == b"1"


def test_regression_a_bundle_that_could_not_be_closed_hid_the_failure_of_its_hook(
    host: Watched, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
    from tyk.decorators import *
    from tykbridge import runtime
    @Hook
    def H(request, session, spec):
        runtime.load_bundle({!r}, "a")
        raise ValueError("refused")
    """
    trees.write(root, {"a/middleware.py": source.format(str(root / "a"))})
    runtime.load_bundle(str(root / "a"), "a")
    told: list[Any] = []
    close = loader.Bundle.close

    def interrupted(bundle: loader.Bundle) -> None:
        close(bundle)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda failure: told.append(failure.exc_type))
        patch.setattr(loader.Bundle, "close", interrupted)
        status, text = words(lambda: host.run("H", "a"))
    assert (status, told) == ("TYKB_E_HOOK", [KeyboardInterrupt])
    assert "ValueError: refused" in text


def test_long_names_are_cut_in_words(host: Watched, root: Path) -> None:
    status, text = words(lambda: host.run("H" * 100_000, "b" * 100_000))
    assert status == "TYKB_E_NOT_FOUND"
    assert text == f'there is no bundle "{"b" * 256}..." (bundles: none)'


BROKEN_TREES: dict[str, dict[str, str]] = {
    "a number of 5000 digits": {"manifest.json": '{"checksum": ' + "1" * 5000 + "}", "middleware.py": ""},
    "a hook without a name": {"middleware.py": HOOK + "globals()[1] = H\n"},
    "a hook whose name is no text": {"middleware.py": HOOK + "globals()['\\ud800'] = H\n"},
}


@pytest.mark.parametrize("files", BROKEN_TREES.values(), ids=list(BROKEN_TREES))
def test_regression_a_broken_bundle_kept_a_root_from_loading(host: Watched, root: Path, files: dict[str, str]) -> None:
    trees.write(root, {"good/middleware.py": HOOK.format("1")})
    trees.write(root / "bad", files)
    runtime.new_dispatcher(str(root))
    assert host.value("good") == "1"
    assert words(lambda: host.run("H", "bad"))[0] == "TYKB_E_LOAD"
    assert [line.partition(": ")[0] for line, _ in host.lines] == ['bundle "bad" cannot be loaded']


def test_regression_a_folder_with_a_name_that_is_no_text_kept_a_root_from_loading(host: Watched, root: Path) -> None:
    trees.write(root, {"good/middleware.py": HOOK.format("1")})
    trees.write(root / os.fsdecode(b"\xff"), {"middleware.py": HOOK.format("1")})
    (root / "loop").symlink_to("loop")
    runtime.new_dispatcher(str(root))
    assert host.value("good") == "1"
    assert len(host.lines) == 1
    assert "is not UTF-8" in host.lines[0][0]


def test_regression_a_vendor_folder_that_cannot_be_read_kept_a_root_from_loading(
    host: Watched, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.write(root, {"good/middleware.py": HOOK.format("1"), "bad/middleware.py": "", "bad/vendor/x": ""})
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("vendor"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    runtime.new_dispatcher(str(root))
    assert host.value("good") == "1"
    assert [line.partition(": ")[0] for line, _ in host.lines] == ['bundle "bad" cannot be loaded']


def test_a_bundle_s_name_that_is_no_text_is_a_load_error(host: Watched, root: Path) -> None:
    trees.write(root, {"middleware.py": HOOK.format("1")})
    out = _Message()
    status = host._library.tykb_load_bundle(os.fsencode(root), b"\xff", ctypes.byref(out))
    told = ctypes.string_at(out.p_data, out.length).decode()
    host._library.tykb_message_clear(ctypes.byref(out))
    assert (status, told) == (
        LoadError.status,
        "a bundle's name must be text that a message can hold, and '\\udcff' is not UTF-8",
    )
