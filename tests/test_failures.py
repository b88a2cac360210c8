from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import trees
from tykbridge import failures
from tykbridge.bundle import source
from tykbridge.bundle.namespace import Namespace


def raised(function: Callable[..., Any], *arguments: Any) -> BaseException:
    with pytest.raises(BaseException) as failure:  # noqa: PT011
        function(*arguments)
    return failure.value


@pytest.fixture
def module(tmp_path: Path) -> Any:
    """A plugin whose functions fail in their ways."""
    code = """
        import json

        class PluginError(Exception): pass

        def plain(): raise PluginError("boom\\nand more")
        def deep(): json.loads("x")
        def recursion(): recursion()
        def chained():
            try:
                plain()
            except PluginError as error:
                raise KeyError("other") from error
        def group(): raise ExceptionGroup("several", [ValueError("a"), PluginError("b")])
        def silent(): raise ValueError
        def large(): raise ValueError("x" * 1_000_000)
        def broken():
            class Odd(Exception):
                def __str__(self): raise RuntimeError
            raise Odd
        def syntax(): exec("x = (")
        def import_(): import no_such_module
        def view():
            from tyk.session import TykSession
            TykSession().metadata.update({"a": 1})
    """
    namespace = Namespace("b", str(trees.write(tmp_path / "b", {"middleware.py": code})))
    namespace.open()
    yield namespace.load("middleware")
    namespace.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plain", "PluginError: boom and more"),
        ("deep", "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ("chained", "KeyError: 'other'"),
        ("silent", "ValueError"),
        ("broken", "broken.<locals>.Odd: (its text cannot be had: RuntimeError)"),
        ("syntax", "SyntaxError: '(' was never closed"),
        ("import_", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_what_happened(module: Any, name: str, words: str) -> None:
    assert failures.what(raised(getattr(module, name))) == words


@pytest.mark.parametrize(
    ("name", "line"), [("plain", 6), ("deep", 7), ("recursion", 8), ("chained", 13), ("import_", 22)]
)
def test_where_it_happened(module: Any, name: str, line: int) -> None:
    function = getattr(module, name)
    root = os.path.dirname(module.__file__)
    where = failures.line(raised(function), root)
    assert where is not None
    assert failures.short_path(where, root).startswith("middleware.py:")
    assert where.endswith(f":{line}")


def test_where_it_happened_without_a_folder(module: Any) -> None:
    where = failures.line(raised(module.plain), None)
    assert where == f"{module.__file__}:6"
    assert failures.short_path(where, None) == "middleware.py:6"
    assert failures.line(ValueError("never raised"), "folder") is None


def test_a_trace_has_the_plugin_s_frames_only(module: Any) -> None:
    # The import goes through tykbridge's own __import__, the other through compiled code.
    for function in (module.import_, module.view):
        text = failures.trace(raised(function))
        assert "middleware.py" in text
        assert source.__file__ not in text
        assert os.path.dirname(failures.__file__) not in text
        assert "_tykb_" not in text
        assert "tykbridge/_" not in text


def test_a_trace_tells_causes_and_groups(module: Any) -> None:
    chained = failures.trace(raised(module.chained))
    assert "PluginError: boom" in chained
    assert "The above exception was the direct cause" in chained
    assert chained.endswith("KeyError: 'other'")
    assert "PluginError: b" in failures.trace(raised(module.group))


def test_long_texts_are_cut(module: Any) -> None:
    error = raised(module.large)
    assert len(failures.what(error)) < failures.WORDS_LIMIT + 100
    assert "characters left out" in failures.what(error)
    assert len(failures.trace(error)) < failures.LOG_LIMIT + 100
    assert len(failures.trace(raised(module.recursion)).splitlines()) < 500


def test_deep_recursion_is_told_in_time(module: Any) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        text = failures.trace(raised(module.recursion))
    finally:
        sys.setrecursionlimit(before)
    assert "RecursionError" in text


def test_a_trace_quotes_the_version_that_runs(tmp_path: Path) -> None:
    code = """
        def fails(request):
            return request.no_such(
                request,
            )
        def chained(request):
            try:
                fails(request)
            except AttributeError as error:
                raise ExceptionGroup("both", [error]) from error
    """
    root = trees.write(tmp_path / "b", {"middleware.py": code, "other-name.py": code})
    namespace = Namespace("b", str(root))
    namespace.open()
    try:
        modules = [namespace.load("middleware"), namespace.load_file(str(root / "other-name.py"))]
        expected = [failures.trace(raised(module.chained, "")) for module in modules]
        for name in ("middleware.py", "other-name.py"):
            (root / name).write_text("# a line of another version\n" * 20)
        linecache.clearcache()
        for module, text in zip(modules, expected, strict=True):
            now = failures.trace(raised(module.chained, ""))
            assert now.count("return request.no_such(") == 2
            assert now.count("    ^^^^^") >= 2
            assert "another version" not in now
            assert now == text
    finally:
        namespace.close()
