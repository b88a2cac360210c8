from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import trees
from tykbridge.bundle import loader
from tykbridge.bundle.loader import Bundle
from tykbridge.errors import LoadError, NotFoundError

Load = Callable[..., Bundle]

HOOK = "from tyk.decorators import *\n@Hook\ndef {}(request, session, spec):\n    return request, session\n"


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Loads a tree of files as a bundle; a manifest is given as Python data."""
    loaded: list[Bundle] = []
    before = set(sys.modules)

    def make(files: dict[str, Any], name: str = "b") -> Bundle:
        if "manifest.json" in files and not isinstance(files["manifest.json"], str):
            files = {**files, "manifest.json": json.dumps(files["manifest.json"])}
        loaded.append(loader.load(str(trees.write(tmp_path / name, files)), name))
        return loaded[-1]

    yield make
    for bundle in loaded:
        bundle.close()
    assert not [name for name in set(sys.modules) - before if name.startswith("_tykb_")]


def manifest(*files: str, driver: str | None = "python", **sections: Any) -> dict[str, Any]:
    return {"file_list": list(files), "custom_middleware": {**sections, **({"driver": driver} if driver else {})}}


def test_middleware_py_is_enough(load: Load) -> None:
    bundle = load({"middleware.py": HOOK.format("A") + "@Event\ndef E(event, spec): pass\n", "other.py": "1 / 0"})
    assert list(bundle.hooks) == ["A"]
    assert list(bundle.events) == ["E"]
    assert (bundle.hooks["A"].arity, bundle.events["E"].arity) == (3, 2)
    assert bundle.manifest is None


def test_middleware_py_before_the_files_of_the_manifest(load: Load) -> None:
    bundle = load(
        {
            "middleware.py": HOOK.format("A"),
            "other.py": "1 / 0",
            "manifest.json": manifest("other.py", "middleware.py", pre=[{"name": "A"}]),
        }
    )
    assert list(bundle.hooks) == ["A"]


def test_the_only_python_file_of_the_manifest(load: Load) -> None:
    bundle = load(
        {
            "my-hooks.py": HOOK.format("A"),
            "data.json": "{}",
            "unlisted.py": "1 / 0",
            "manifest.json": manifest("data.json", "my-hooks.py", pre=[{"name": "A"}]),
        },
        "bundle-with-hyphens",
    )
    assert list(bundle.hooks) == ["A"]


def test_several_files_of_the_manifest_in_order(load: Load) -> None:
    bundle = load(
        {
            "z.py": "import order\norder.RAN.append('z')\n" + HOOK.format("Z"),
            "a.py": "import order\norder.RAN.append('a')\nfrom z import Z\n" + HOOK.format("A"),
            "lib/__init__.py": "",
            "lib/c.py": "import order\norder.RAN.append('c')\n" + HOOK.format("C"),
            "order.py": "RAN = []",
            "vendor/dep.py": "1 / 0",
            "manifest.json": manifest(
                "z.py", "a.py", "lib/__init__.py", "lib/c.py", "vendor/dep.py", pre=[{"name": "C"}, {"name": "A"}]
            ),
        }
    )
    assert list(bundle.hooks) == ["Z", "A", "C"]
    assert bundle.hooks["Z"].function.__globals__["order"].RAN == ["z", "a", "c"]


def test_without_a_manifest_the_only_python_file(load: Load, tmp_path: Path) -> None:
    assert list(load({"hooks.py": HOOK.format("A"), "__init__.py": ""}).hooks) == ["A"]
    with pytest.raises(
        LoadError, match=r"neither a middleware\.py nor a manifest\.json .* its \.py files are a\.py, b\.py"
    ):
        load({"a.py": "", "b.py": ""}, "two")
    with pytest.raises(LoadError, match=r"neither a middleware\.py .* it has no \.py file"):
        load({"readme.txt": ""}, "none")


def test_python_hooks_without_a_python_file(load: Load) -> None:
    with pytest.raises(LoadError, match=r"manifest\.json: it names Python hooks, but there is no middleware\.py"):
        load({"a.txt": "", "manifest.json": manifest("a.txt", pre=[{"name": "A"}])})


def test_a_bundle_for_another_driver_expects_no_python(load: Load) -> None:
    bundle = load(
        {"middleware.txt": "", "tool.py": "1 / 0", "manifest.json": manifest(driver="grpc", pre=[{"name": "A"}])}
    )
    assert not bundle.hooks


def test_drivers_of_single_hooks(load: Load) -> None:
    hooks = [{"name": "A", "driver": "python"}, {"name": "Asked"}]
    files = {"hooks.py": HOOK.format("A"), "manifest.json": manifest("hooks.py", driver="grpc", pre=hooks)}
    assert list(load(files).hooks) == ["A"]


def test_without_a_driver_python_files_mean_python(load: Load) -> None:
    hooks = [{"name": "A"}]
    assert list(load({"a.py": HOOK.format("A"), "manifest.json": manifest("a.py", driver=None, pre=hooks)}).hooks) == [
        "A"
    ]
    with pytest.raises(LoadError, match='names the hook "B"'):
        load({"a.py": HOOK.format("A"), "manifest.json": manifest("a.py", driver=None, pre=[{"name": "B"}])}, "c")


def test_a_hook_that_no_file_defines_is_refused(load: Load, tmp_path: Path) -> None:
    files = {"middleware.py": HOOK.format("A") + HOOK.format("B"), "manifest.json": manifest(post=[{"name": "C"}])}
    with pytest.raises(LoadError) as failure:
        load(files)
    assert str(failure.value) == (
        f'bundle "b" cannot be loaded: {tmp_path}/b/manifest.json: custom_middleware.post[0] names the hook "C", but '
        "no function of this name is marked with @Hook in middleware.py (hooks there: A, B)"
    )


def test_an_event_handler_is_no_hook(load: Load) -> None:
    code = "from tyk.decorators import *\n@Event\ndef E(event, spec): pass"
    with pytest.raises(LoadError, match=r"middleware\.py:2 marks it with @Event; a hook is marked with @Hook"):
        load({"middleware.py": code, "manifest.json": manifest(pre=[{"name": "E"}])})


def test_one_name_for_two_hooks_is_refused(load: Load) -> None:
    files = {"a.py": HOOK.format("A"), "b.py": HOOK.format("A"), "manifest.json": manifest("a.py", "b.py")}
    with pytest.raises(LoadError, match=r'"A" is defined twice: .*/a\.py:2 and .*/b\.py:2; rename one'):
        load(files)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1\ndef f(:\n", "middleware.py:2: SyntaxError: "),
        ("if True:\nx = 1", "middleware.py:2: IndentationError: "),
        ("x = 1\nimport no_such_module", "middleware.py:2: ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "import rules\nfrom rules import nothing",
            "middleware.py:2: ImportError: cannot import name 'nothing' from 'rules'",
        ),
        ("import rules\nrules.fail()", "rules.py:3: ZeroDivisionError: division by zero"),
        ("import json\njson.loads('x')", "middleware.py:2: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ("import sys\nsys.exit(3)", "middleware.py:2: SystemExit: 3"),
        ("raise KeyboardInterrupt", "middleware.py:1: KeyboardInterrupt"),
        (
            "class Odd(Exception):\n    def __str__(self): raise SystemExit\nraise Odd",
            "middleware.py:3: Odd: (its text cannot be",
        ),
        ("raise ValueError('a\\nb' + 'x' * 100_000)", "middleware.py:1: ValueError: a bxxx"),
        ("def f(): f()\nf()", "middleware.py:1: RecursionError: "),
        (
            "from tyk.decorators import *\n@Hook\nclass A: pass",
            "middleware.py:2: TypeError: @Hook marks a function, not the class A",
        ),
        (
            "from tyk.decorators import *\n\n@Hook()\ndef A(): pass",
            "middleware.py:3: TypeError: write @Hook without parentheses",
        ),
        (
            "from tyk.decorators import *\n@Hook\ndef A(request): pass",
            'middleware.py:2: the hook "A" takes 1 positional',
        ),
        ("x = 1\0", "middleware.py:1: SyntaxError: source code "),
    ],
)
def test_load_errors_name_file_and_line(load: Load, tmp_path: Path, code: str, words: str) -> None:
    other = load({"middleware.py": HOOK.format("A")}, "other")
    modules = set(sys.modules)
    with pytest.raises(LoadError) as failure:
        load({"middleware.py": code, "rules.py": "# rules\ndef fail():\n    1 / 0\n"})
    text = str(failure.value)
    assert text.startswith(f'bundle "b" cannot be loaded: {tmp_path}/b/{words}')
    assert "_tykb_" not in text
    assert len(text) < 3000
    assert failure.value.__cause__ is not None
    assert {name for name in set(sys.modules) - modules if name.startswith("_tykb_")} == set()
    assert other.hooks["A"].function(1, 2, 3) == (1, 2)


def test_what_cannot_be_read_is_a_load_error(load: Load, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=f'bundle "x": there is no folder {tmp_path}/gone'):
        loader.load(str(tmp_path / "gone"), "x")
    with pytest.raises(LoadError, match=r"middleware\.py:\d: SyntaxError: .*utf-8"):
        load({"middleware.py": b'x = "\xff"\n'})


@pytest.mark.parametrize("name", ["middleware.py", "only.py"])
def test_a_link_that_leaves_the_bundle_is_not_run(tmp_path: Path, name: str) -> None:
    outside = trees.write(tmp_path, {"outside.py": HOOK.format("A"), "b/notes.txt": ""}) / "outside.py"
    (tmp_path / "b" / name).symlink_to(outside)
    with pytest.raises(LoadError, match=rf"b/{name} is a link that leaves the bundle's folder; put the file itself"):
        loader.load(str(tmp_path / "b"), "b")


def test_a_link_inside_is_run(tmp_path: Path, load: Load) -> None:
    trees.write(tmp_path / "b" / "..2026", {"middleware.py": HOOK.format("A")})
    (tmp_path / "b" / "middleware.py").symlink_to("..2026/middleware.py")
    assert list(load({}).hooks) == ["A"]


def test_modules_that_do_work_at_import(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = load(
        {
            "middleware.py": """
                from tyk.decorators import Hook
                import threading
                from gateway import TykGateway as tyk
                tyk.log("loading", "info")
                tyk.store_data("loader-test", "kept", 0)
                DATA = tyk.get_data("loader-test")
                results = []
                def work():
                    import rules
                    results.append(rules.X)
                thread = threading.Thread(target=work)
                thread.start()
                thread.join()
                @Hook
                def A(request, session, spec):
                    return request, session
            """,
            "rules.py": "X = 1",
        }
    )
    found = bundle.hooks["A"].function.__globals__
    assert found["DATA"] == b"kept"
    assert found["results"] == [1]
    assert "loading" in capfd.readouterr().err


def test_loading_from_module_code_is_refused_and_leaves_the_loader_usable(load: Load, tmp_path: Path) -> None:
    code = f"from tykbridge.bundle import loader\nloader.load({str(tmp_path)!r}, 'inner')"
    with pytest.raises(LoadError, match='loading "inner" cannot be done by the bundle "b" while it is being loaded'):
        load({"middleware.py": code})
    assert load({"middleware.py": HOOK.format("A")}, "c").hooks


def test_another_thread_may_load_meanwhile(load: Load, tmp_path: Path) -> None:
    # A bundle whose import waits for one that loads on another thread: nothing may be held that stops the other.
    inner = trees.write(tmp_path / "inner", {"middleware.py": HOOK.format("A")})
    done: list[Bundle] = []
    sys_path = f"""
        import threading
        from tykbridge.bundle import loader
        loaded = []
        thread = threading.Thread(target=lambda: loaded.append(loader.load({str(inner)!r}, "inner")))
        thread.start()
        thread.join()
        loaded[0].close()
    """
    done.append(load({"middleware.py": sys_path}, "outer"))
    assert threading.active_count() >= 1
    assert done[0].name == "outer"
