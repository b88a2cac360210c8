from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import trees
from tykbridge.bundle import shared
from tykbridge.bundle.namespace import Namespace

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
SOURCE = """
#include <Python.h>
static PyObject *number(PyObject *self, PyObject *unused) { return PyLong_FromLong(NUMBER); }
static PyMethodDef functions[] = {{"number", number, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static int start(PyObject *self) {
  PyObject *needed = sizeof(NEEDS) > 1 ? PyImport_ImportModule(NEEDS) : Py_NewRef(Py_None);
  Py_XDECREF(needed);
  return needed ? 0 : -1;
}
static PyModuleDef_Slot slots[] = {{Py_mod_exec, start}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "fast", NULL, 0, functions, slots, NULL, NULL, NULL};
PyMODINIT_FUNC INIT(void) { return PyModuleDef_Init(&definition); }
"""

Compile = Callable[..., bytes]
Open = Callable[..., Namespace]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compiles the extension module `name`, whose number() is `number`, and which imports `needs` from C."""
    made: dict[tuple[str, int, str], bytes] = {}

    def build(name: str, number: int, needs: str = "") -> bytes:
        key = (name, number, needs)
        if key not in made:
            folder = tmp_path_factory.mktemp("extension")
            source, target = folder / "fast.c", folder / "fast.so"
            source.write_text(SOURCE)
            defines = [f"-DNUMBER={number}", f"-DINIT=PyInit_{name}", f'-DNEEDS="{needs}"']
            include = f"-I{sysconfig.get_paths()['include']}"
            subprocess.run(["cc", "-shared", "-fPIC", include, *defines, source, "-o", target], check=True)
            made[key] = target.read_bytes()
        return made[key]

    return build


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens a namespace over a tree of files. The process forgets afterwards what was shared."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    before, path, packages = set(sys.modules), list(sys.path), dict(shared._packages)
    opened: list[Namespace] = []

    def make(files: dict[str, str | bytes], name: str = "b") -> Namespace:
        namespace = Namespace(name, str(trees.write(tmp_path / name, files)))
        namespace.open()
        opened.append(namespace)
        return namespace

    yield make
    for namespace in opened:
        namespace.close()
    assert sys.path == path
    assert not list(tmp_path.rglob("__pycache__"))
    for name in set(sys.modules) - before:
        if name.startswith("cx_"):
            del sys.modules[name]
    shared._packages.clear()
    shared._packages.update(packages)


def package(compiled: Compile, name: str, number: int) -> dict[str, str | bytes]:
    """A package with a compiled part, which imports itself by its real name."""
    return {
        f"vendor/{name}/__init__.py": f"import {name}.util\nfrom {name}._fast import number",
        f"vendor/{name}/_fast{SUFFIX}": compiled("_fast", number),
        f"vendor/{name}/util.py": f"from . import _fast\nimport {name}\nX = 1",
        f"vendor/{name}/later.py": f"from {name} import number",
        f"vendor/{name}/lazy.py": f"def f():\n    import {name}_neighbour\n    return {name}_neighbour.X",
        f"vendor/{name}_neighbour.py": "X = 5",
    }


def test_a_compiled_package_is_loaded_under_its_real_name(bundle: Open, compiled: Compile) -> None:
    files = package(compiled, "cx_one", 1)
    module = bundle(
        {
            **files,
            "middleware.py": """
                import cx_one, cx_one.later, cx_one.lazy
                from cx_one import number, util
                from cx_one.later import number as again
                import importlib
                by_name = importlib.import_module("cx_one.util")
            """,
        }
    ).load("middleware")
    assert module.number() == module.again() == 1
    assert module.cx_one is sys.modules["cx_one"]
    assert module.by_name is module.util is sys.modules["cx_one.util"]
    assert module.cx_one.lazy.f() == 5


def test_the_same_content_is_shared(bundle: Open, compiled: Compile) -> None:
    files = {**package(compiled, "cx_two", 1), "middleware.py": "import cx_two"}
    first, second = bundle(files, "first"), bundle(files, "second")
    assert first.load("middleware").cx_two is second.load("middleware").cx_two
    first.close()  # what is shared stays
    third = bundle(files, "third").load("middleware")
    assert third.cx_two.number() == 1
    assert third.cx_two.__file__.startswith(first.root)


def test_other_content_is_refused_with_the_reason(bundle: Open, compiled: Compile) -> None:
    first = bundle({**package(compiled, "cx_three", 1), "middleware.py": "import cx_three"}, "first")
    second = bundle({**package(compiled, "cx_three", 2), "middleware.py": "import cx_three"}, "second")
    assert first.load("middleware").cx_three.number() == 1
    with pytest.raises(ImportError) as failure:
        second.load("middleware")
    words = str(failure.value)
    assert '"cx_three" has compiled parts, which a process can load only once' in words
    assert f"{first.root}/vendor/cx_three; the bundle brings {second.root}/vendor/cx_three" in words
    assert "Bring the same build in every bundle" in words
    assert first.load("middleware").cx_three.number() == 1


def test_a_changed_build_is_refused_on_reload(bundle: Open, compiled: Compile) -> None:
    bundle({**package(compiled, "cx_four", 1), "middleware.py": "import cx_four"}).load("middleware")
    again = bundle({**package(compiled, "cx_four", 1)})
    assert again.load("middleware").cx_four.number() == 1
    shutil.rmtree(again.root)
    changed = bundle({**package(compiled, "cx_four", 2), "middleware.py": "import cx_four"})
    with pytest.raises(ImportError, match="a changed build needs a new process"):
        changed.load("middleware")


def test_a_name_that_the_host_has_from_elsewhere_is_refused(
    bundle: Open, compiled: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.write(tmp_path / "host", {"cx_five/__init__.py": "WHOSE = 'host'"})
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path / "host"))
    import cx_five  # type: ignore[import-not-found]

    namespace = bundle({**package(compiled, "cx_five", 1), "middleware.py": "import cx_five"})
    with pytest.raises(ImportError, match=f'another "cx_five" already: {tmp_path}/host/cx_five/__init__.py'):
        namespace.load("middleware")
    assert sys.modules["cx_five"] is cx_five
    monkeypatch.undo()
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path / "host")]


def test_what_the_host_has_from_the_same_folder_is_shared(bundle: Open, compiled: Compile) -> None:
    namespace = bundle({**package(compiled, "cx_six", 1), "middleware.py": "import cx_six"})
    spec = namespace.find_spec("cx_six", None)
    assert spec is not None
    first = namespace.load("cx_six")
    shared._packages.clear()  # as if the host had imported it by itself
    assert bundle({}, "b").load("cx_six") is first


def test_a_compiled_module_alone_and_what_it_needs_from_beside_it(bundle: Open, compiled: Compile) -> None:
    module = bundle(
        {
            "middleware.py": "import cx_seven\nimport cx_beside",
            f"vendor/cx_seven{SUFFIX}": compiled("cx_seven", 7, "cx_beside"),
            "vendor/cx_beside.py": "X = 1",
        }
    ).load("middleware")
    assert module.cx_seven.number() == 7
    assert sys.modules["cx_beside"].X == 1  # C code imports by real names
    assert module.cx_beside is not sys.modules["cx_beside"]


def test_what_fails_to_load_leaves_nothing(bundle: Open, compiled: Compile) -> None:
    broken = bundle(
        {
            **package(compiled, "cx_eight", 1),
            "vendor/cx_eight/__init__.py": "import cx_eight.util\n1 / 0",
            "middleware.py": "import cx_eight",
        },
        "first",
    )
    with pytest.raises(ZeroDivisionError):
        broken.load("middleware")
    assert not [name for name in sys.modules if name.startswith("cx_eight")]
    # Nothing stands in another bundle's way.
    good = bundle({**package(compiled, "cx_eight", 2), "middleware.py": "import cx_eight"}, "second")
    assert good.load("middleware").cx_eight.number() == 2


def test_a_build_for_another_python_beside_a_fallback_does_no_harm(bundle: Open) -> None:
    versions = []
    for name in ("first", "second"):
        module = bundle(
            {
                "middleware.py": "import cx_nine",
                "vendor/cx_nine/__init__.py": f"X = '{name}'",
                "vendor/cx_nine/_fast.cpython-36m-x86_64-linux-gnu.so": b"of another Python",
            },
            name,
        ).load("middleware")
        versions.append(module.cx_nine.X)
    assert versions == ["first", "second"]
    assert "cx_nine" not in sys.modules


def test_a_compiled_package_in_a_shared_folder_is_refused(bundle: Open, compiled: Compile) -> None:
    namespace = bundle(
        {
            "middleware.py": "import cx_space.ten",
            f"vendor/cx_space/ten/_fast{SUFFIX}": compiled("_fast", 1),
            "vendor/cx_space/ten/__init__.py": "",
        }
    )
    with pytest.raises(
        ImportError, match=r'"cx_space\.ten" in .* is compiled: compiled modules work in a bundle as top'
    ):
        namespace.load("middleware")
