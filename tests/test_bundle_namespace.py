from __future__ import annotations

import builtins
import inspect
import json
import os
import pickle
import sys
import sysconfig
import traceback
import types
import typing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import trees
from tykbridge.bundle.namespace import Namespace, NamespaceFinder, plain

Open = Callable[..., Namespace]


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Open]:
    """Opens a namespace over a tree of files; another name, another folder."""
    opened: list[Namespace] = []

    def make(files: dict[str, str | bytes], name: str = "b") -> Namespace:
        namespace = Namespace(name, str(trees.write(tmp_path / name, files)))
        namespace.open()
        opened.append(namespace)
        return namespace

    before = set(sys.modules), list(sys.path)
    yield make
    for namespace in opened:
        namespace.close()
    left = set(sys.modules) - before[0]
    assert not [name for name in left if name.startswith("_tykb_")]
    # Whatever a test loads: no name of a plugin's, and no folder, is left in the process.
    assert not {"tyk", "gateway"} & set(sys.modules)
    assert not [name for name in sys.modules if name.startswith("coprocess_")]
    assert sys.path == before[1]


def test_two_bundles_each_have_their_rules(bundle: Open) -> None:
    files = {"middleware.py": "import rules\nfrom rules import NAME", "rules.py": "NAME = 'first'"}
    first = bundle(files, "first")
    second = bundle({**files, "rules.py": "NAME = 'second'"}, "second")
    assert (first.load("middleware").NAME, second.load("middleware").NAME) == ("first", "second")
    assert first.load("middleware").rules is first.load("rules")
    assert "rules" not in sys.modules


def test_one_name_twice_is_two_versions(bundle: Open, tmp_path: Path) -> None:
    old = bundle({"middleware.py": "VERSION = 1"})
    old.load("middleware")
    new = bundle({"middleware.py": "VERSION = 2"})
    assert (old.load("middleware").VERSION, new.load("middleware").VERSION) == (1, 2)


def test_sub_packages_and_relative_imports(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": """
                import lib.deep.leaf as leaf
                import lib.deep
                from lib import deep as same
                from . import helper
                from .lib.deep.leaf import VALUE
            """,
            "helper.py": "NAME = __name__",
            "lib/__init__.py": "",
            "lib/deep/__init__.py": "from .. import base\nfrom ..base import *",
            "lib/base.py": "X = 1\nimport helper",
            "lib/deep/leaf.py": "from . import X\nfrom ...helper import NAME\nVALUE = X + 1",
        }
    ).load("middleware")
    assert module.VALUE == 2
    assert module.lib.deep is module.same
    assert module.lib.base.helper is module.helper
    assert module.leaf.NAME == module.helper.NAME


def test_a_module_named_as_one_of_the_standard_library_wins_inside_only(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": "import token, tokenize, time\nfrom token import MARK",
            "token.py": "MARK = 'mine'",
            "time.py": "MARK = 'also mine'",
        }
    ).load("middleware")
    import time
    import token

    assert module.token.MARK == module.MARK == "mine"
    assert module.time.MARK == "also mine"
    assert module.tokenize.NAME == token.NAME  # the library's own modules keep the library's token
    assert sys.modules["token"] is token
    assert not hasattr(time, "MARK")


def test_sys_and_builtins_cannot_be_hidden(bundle: Open) -> None:
    module = bundle({"middleware.py": "import sys, builtins", "sys.py": "", "builtins.py": ""}).load("middleware")
    assert module.sys.version == sys.version
    assert module.builtins.len is len


def test_vendor_folders_hold_different_versions_side_by_side(bundle: Open) -> None:
    loaded = [
        bundle(
            {
                "middleware.py": "import dep.sub, dep",
                "vendor/dep/__init__.py": f"import other\n__version__ = '{version}'",
                "vendor/dep/sub.py": "from dep import __version__\nfrom . import other",
                "vendor/other.py": "",
            },
            f"b{version}",
        ).load("middleware")
        for version in (1, 2)
    ]
    assert [module.dep.__version__ for module in loaded] == ["1", "2"]
    assert [module.dep.sub.__version__ for module in loaded] == ["1", "2"]
    assert "dep" not in sys.modules


def test_the_root_wins_over_vendor_and_vendor_over_the_process(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": "import both, colorsys",
            "both.py": "PLACE = 'root'",
            "vendor/both.py": "PLACE = 'vendor'",
            "vendor/colorsys.py": "PLACE = 'vendor'",
        }
    ).load("middleware")
    assert (module.both.PLACE, module.colorsys.PLACE) == ("root", "vendor")


def test_wheels_in_vendor(bundle: Open, tmp_path: Path) -> None:
    trees.wheel(
        tmp_path / "b/vendor/dep-1.0-py3-none-any.whl",
        {"dep/__init__.py": "from .sub import X\nimport gateway", "dep/sub.py": "X = 1\ndef f():\n    1 / 0"},
    )
    module = bundle({"middleware.py": "import dep.sub\nfrom dep import X"}).load("middleware")
    assert module.X == 1
    assert "dep-1.0-py3-none-any.whl" in module.dep.__file__
    with pytest.raises(ZeroDivisionError) as failure:
        module.dep.sub.f()
    assert "1 / 0" in "".join(traceback.format_exception(failure.value))


def test_a_wheel_that_was_replaced_is_read_again(bundle: Open, tmp_path: Path) -> None:
    path = tmp_path / "b/vendor/dep.whl"
    for text in ("X = 1", "X = 222"):
        trees.wheel(path, {"dep.py": text})
        module = bundle({"middleware.py": "import dep"}).load("middleware")
        assert int(text[4:]) == module.dep.X


def test_a_wheel_with_compiled_parts_is_refused_with_the_reason(bundle: Open, tmp_path: Path) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    trees.wheel(tmp_path / "b/vendor/dep.whl", {"dep/__init__.py": "", f"dep/fast{suffix}": ""})
    with pytest.raises(ImportError, match=r'"dep" in .*dep\.whl is compiled: unpack the wheel into the vendor folder'):
        bundle({"middleware.py": "import dep"}).load("middleware")


def test_what_pip_installs_with_a_prefix(bundle: Open, tmp_path: Path) -> None:
    base = {"base": "vendor", "platbase": "vendor"}
    folder = sysconfig.get_path("purelib", "posix_prefix", base)
    module = bundle({"middleware.py": "import dep", f"{folder}/dep.py": "X = 1"}).load("middleware")
    assert module.dep.X == 1


@pytest.mark.parametrize(
    "edit",
    [
        "sys.path.append(libs)",
        "sys.path.insert(0, libs)",
        "sys.path = [libs]",
        "sys.path = [libs] + sys.path",
        "sys.path += [libs]",
        "sys.path[:] = [libs]",
        "from sys import path; path.append(libs)",
        "import site; site.addsitedir(libs)",
    ],
)
def test_edits_of_sys_path_count_for_the_bundle_only(bundle: Open, edit: str) -> None:
    files = {
        "middleware.py": f"""
            import os, sys
            libs = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libs")
            {edit}
            import extra
            from extra import later
        """,
        "libs/extra/__init__.py": "X = 1",
        "libs/extra/later.py": "import sys\nPATH = sys.path",
    }
    module = bundle(files).load("middleware")
    assert module.extra.X == 1
    assert module.libs in module.sys.path
    assert module.later.PATH is module.sys.path
    assert module.libs not in sys.path
    with pytest.raises(ModuleNotFoundError, match="No module named 'extra'"):
        bundle({"middleware.py": "import extra"}, "other").load("middleware")


def test_an_inserted_folder_wins_and_an_appended_one_loses(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": """
                import os, sys
                here = os.path.dirname(__file__)
                sys.path.insert(0, os.path.join(here, "early"))
                sys.path.append(os.path.join(here, "late"))
                import one, two
            """,
            "one.py": "PLACE = 'root'",
            "two.py": "PLACE = 'root'",
            "early/one.py": "PLACE = 'early'",
            "late/two.py": "PLACE = 'late'",
        }
    ).load("middleware")
    assert (module.one.PLACE, module.two.PLACE) == ("early", "root")


def test_the_root_counts_also_where_the_process_has_it(bundle: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = bundle({"middleware.py": "import rules", "rules.py": ""})
    monkeypatch.syspath_prepend(namespace.root)
    assert namespace.load("middleware").rules.__name__ == f"{namespace.package}.rules"


def test_sys_is_the_process_s_but_for_path_and_modules(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": """
                import sys
                sys.tykbridge_mark = 1
                seen = sys.tykbridge_mark
                del sys.tykbridge_mark
                same = sys.modules[__name__]
                names = set(sys.modules)
                absent = sys.modules.get("no_such_module")
                copied = sys.modules.copy()
            """
        }
    ).load("middleware")
    assert isinstance(module.sys, types.ModuleType)
    assert module.seen == 1
    assert not hasattr(sys, "tykbridge_mark")
    assert module.sys.stdout is sys.stdout
    assert module.same is module
    assert {"middleware", "json", "sys"} <= module.names
    assert module.absent is None
    assert module.copied["middleware"] is module
    assert "version" in dir(module.sys)


def test_aliases_that_packages_put_into_sys_modules(bundle: Open) -> None:
    # requests does this for requests.packages.urllib3.
    module = bundle(
        {
            "middleware.py": "import outer.packages.inner.leaf as leaf\nfrom outer.packages.inner.leaf import X",
            "vendor/inner/__init__.py": "",
            "vendor/inner/leaf.py": "X = 1",
            "vendor/outer/__init__.py": "from . import packages",
            "vendor/outer/packages.py": """
                import sys
                import inner.leaf
                for name in list(sys.modules):
                    if name == "inner" or name.startswith("inner."):
                        sys.modules[f"outer.packages.{name}"] = sys.modules[name]
            """,
        }
    ).load("middleware")
    assert module.X == 1
    assert module.leaf.__name__.endswith(".inner.leaf")
    assert not [name for name in sys.modules if name.startswith(("outer", "inner"))]


def test_import_hooks_of_a_bundle_go_with_it(bundle: Open) -> None:
    # six does this.
    namespace = bundle(
        {
            "middleware.py": """
                import sys, types, importlib.util
                class Finder:
                    def find_spec(self, name, path, target=None):
                        if name == __name__ + ".made":
                            return importlib.util.spec_from_loader(name, self)
                    def create_module(self, spec):
                        return None
                    def exec_module(self, module):
                        module.X = 1
                __path__ = []
                sys.meta_path.append(Finder())
                from middleware import made
            """
        }
    )
    assert namespace.load("middleware").made.X == 1
    before = len(sys.meta_path)
    namespace.close()
    assert len(sys.meta_path) == before - 1


def test_imports_by_name_in_code(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": """
                import importlib
                import importlib.util
                import importlib.resources
                import pkgutil
                from importlib import import_module
                from importlib.util import find_spec
                import rules

                by_module = importlib.import_module("rules")
                by_name = import_module("lib.deep")
                relative = import_module(".lib.deep", __package__)
                by_function = __import__("lib.deep")
                found = find_spec("rules"), importlib.util.find_spec("nothing_of_the_kind"), find_spec("json")
                compat = find_spec("tyk.decorators"), import_module("gateway")
                data = pkgutil.get_data("lib", "data.txt"), pkgutil.get_data(by_function.__name__, "data.txt")
                resource = importlib.resources.files("lib").joinpath("data.txt").read_text()
                here = importlib.resources.files(__package__).joinpath("middleware.py").is_file()
                folder = importlib.resources.files("texts").joinpath("a.txt").read_text()
                spec = importlib.util.spec_from_file_location("odd-name", __file__.replace("middleware", "odd-name"))
                odd = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(odd)
                exec("import rules as executed")
                reloaded = importlib.reload(rules)
            """,
            "rules.py": "X = 1",
            "odd-name.py": "import rules\nfrom tyk.decorators import Hook",
            "lib/__init__.py": "",
            "lib/deep.py": "",
            "lib/data.txt": "data",
            "texts/a.txt": "text",
        }
    ).load("middleware")
    assert module.by_module is module.rules is module.odd.rules is module.executed is module.reloaded
    assert module.by_name is module.relative is module.by_function.deep
    assert [spec and plain(spec.name) for spec in module.found] == ["rules", None, "json"]
    assert module.compat[0].name == "tykbridge.compat.tyk.decorators"
    assert module.compat[1].TykGateway
    assert module.data == (b"data", b"data")
    assert (module.resource, module.here, module.folder) == ("data", True, "text")


def test_metadata_of_vendored_distributions(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": "import importlib.metadata, dep\nPYTEST = importlib.metadata.version('pytest')",
            "vendor/dep.py": "from importlib.metadata import version\n__version__ = version('dep')",
            "vendor/dep-3.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: dep\nVersion: 3.1\n",
        }
    ).load("middleware")
    assert module.dep.__version__ == "3.1"
    assert pytest.__version__ == module.PYTEST
    assert module.importlib.metadata.metadata("dep")["Name"] == "dep"


def test_files_beside_a_module(bundle: Open) -> None:
    namespace = bundle(
        {
            "middleware.py": """
                import json, os, pathlib
                with open(os.path.join(os.path.dirname(__file__), "rules.json")) as file:
                    rules = json.load(file)
                text = pathlib.Path(__file__).with_name("rules.json").read_text()
            """,
            "rules.json": '{"a": 1}',
        }
    )
    module = namespace.load("middleware")
    assert module.rules == json.loads(module.text) == {"a": 1}
    assert module.__file__ == os.path.join(namespace.root, "middleware.py")


def test_classes_of_a_bundle_can_be_looked_through(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": """
                from __future__ import annotations
                import dataclasses, enum, pickle
                from typing import NamedTuple

                @dataclasses.dataclass
                class Rule:
                    name: str
                    next: Rule | None = None

                class Point(NamedTuple):
                    x: int

                class Colour(enum.Enum):
                    RED = 1

                copies = [pickle.loads(pickle.dumps(x)) for x in (Rule("a", Rule("b")), Point(1), Colour.RED)]
            """
        }
    ).load("middleware")
    assert module.copies == [module.Rule("a", module.Rule("b")), module.Point(1), module.Colour.RED]
    assert pickle.loads(pickle.dumps(module.Rule("c"))) == module.Rule("c")
    assert typing.get_type_hints(module.Rule) == {"name": str, "next": typing.Optional[module.Rule]}  # noqa: UP045
    assert inspect.getsource(module.Rule).startswith("@dataclasses.dataclass\nclass Rule:")
    assert inspect.getmodule(module.Rule) is module


def test_nothing_is_written_into_the_bundle(bundle: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    namespace = bundle(
        {"middleware.py": "import lib.a, dep", "lib/__init__.py": "", "lib/a.py": "", "vendor/dep.py": ""}
    )
    namespace.load("middleware")
    assert not list(Path(namespace.root).rglob("__pycache__"))


def test_a_change_within_one_tick_and_of_the_same_size_is_seen(bundle: Open) -> None:
    old = bundle({"middleware.py": "import rules\ndef f():\n    return rules.X", "rules.py": "X = 1"})
    path = Path(old.root, "rules.py")
    before = path.stat()
    assert old.load("middleware").f() == 1
    new = bundle({"rules.py": "X = 2"})
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert new.load("middleware").f() == 2
    assert old.load("middleware").f() == 1


def test_tracebacks_show_the_lines_of_the_current_version(bundle: Open) -> None:
    def trace(namespace: Namespace) -> str:
        with pytest.raises(ZeroDivisionError) as failure:
            namespace.load("middleware").f()
        return "".join(traceback.format_exception(failure.value))

    old = bundle({"middleware.py": "def f():\n    return 1 / 0  # 1"})
    path = Path(old.root, "middleware.py")
    before = path.stat()
    assert f'{path}", line 2, in f\n    return 1 / 0  # 1' in trace(old)
    new = bundle({"middleware.py": "def f():\n    return 1 / 0  # 2"})
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "return 1 / 0  # 2" in trace(new)


def test_a_plugin_s_builtins_are_its_own(bundle: Open) -> None:
    first = bundle({"middleware.py": "import builtins\nbuiltins._ = 'mine'\nX = _"}, "first")
    assert first.load("middleware").X == "mine"
    with pytest.raises(NameError):
        bundle({"middleware.py": "_"}, "second").load("middleware")
    assert not hasattr(builtins, "_") or builtins._ != "mine"


def test_a_folder_does_not_hide_a_module(bundle: Open) -> None:
    module = bundle(
        {"middleware.py": "import json, rules.a", "json/data.txt": "", "rules/a.py": "X = 1", "rules/b.txt": ""}
    ).load("middleware")
    assert module.json is json
    assert module.rules.a.X == 1


def test_a_folder_that_bundle_and_process_share(bundle: Open) -> None:
    # google is such a folder: distributions put their packages into it.
    module = bundle(
        {
            "middleware.py": """
                import google.mine
                import google.protobuf.message
                from google.protobuf import json_format
                from google.mine import X
            """,
            "vendor/google/mine/__init__.py": "import google.protobuf\nX = 1",
        }
    ).load("middleware")
    import google
    import google.protobuf.json_format

    assert module.X == 1
    assert module.json_format is google.protobuf.json_format
    assert module.google.protobuf is google.protobuf
    assert not hasattr(google, "mine")


def test_the_host_s_own_gateway_stays(bundle: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = types.ModuleType("gateway")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gateway", ours)
        module = bundle(
            {"middleware.py": "import gateway\nfrom gateway import TykGateway", "gateway.py": "MINE = 1"}
        ).load("middleware")
        assert module.TykGateway is module.gateway.TykGateway
        assert sys.modules["gateway"] is ours
        import gateway

        assert gateway is ours


def test_names_of_tyk(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": """
                import tyk
                import tyk.session
                from tyk.decorators import *
                from tyk.session import *
                from tyk.request import TykCoProcessRequest
                from gateway import TykGateway as gw
                from tyk.gateway import TykGateway
                import coprocess_object_pb2, coprocess_common_pb2
                from coprocess_session_state_pb2 import SessionState as Real
                try:
                    import tyk.nothing
                except ModuleNotFoundError as error:
                    missing = error
            """
        }
    ).load("middleware")
    assert module.tyk.session.TykSession is module.TykSession
    assert module.tyk.decorators.Hook is module.Hook
    assert module.gw is module.TykGateway
    assert module.coprocess_common_pb2.PostKeyAuth == 3
    assert isinstance(module.Real(), module.TykSession)
    assert (module.missing.name, str(module.missing)) == ("tyk.nothing", "No module named 'tyk.nothing'")


def test_what_is_missing_is_called_as_the_author_calls_it(bundle: Open) -> None:
    namespace = bundle({"a.py": "import lib.nope", "b.py": "import nope.x", "lib/__init__.py": ""})
    for name, missing in (("a", "lib.nope"), ("b", "nope")):
        with pytest.raises(ModuleNotFoundError) as failure:
            namespace.load(name)
        assert (failure.value.name, str(failure.value)) == (missing, f"No module named '{missing}'")


def test_a_module_that_failed_can_be_imported_later(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": """
                try:
                    import late
                except ImportError:
                    late = None
                import os, importlib
                with open(os.path.join(os.path.dirname(__file__), "late.py"), "w") as file:
                    file.write("X = 1")
                importlib.invalidate_caches()
                import late
            """
        }
    ).load("middleware")
    assert module.late.X == 1


def test_hyphens_and_dots_in_names(bundle: Open, tmp_path: Path) -> None:
    namespace = bundle({"my-hooks.py": "from . import rules", "hooks.v1.py": "import rules", "rules.py": ""}, "my-b.1")
    hyphen = namespace.load_file(os.path.join(namespace.root, "my-hooks.py"))
    dot = namespace.load_file(os.path.join(namespace.root, "hooks.v1.py"))
    assert hyphen.rules is dot.rules
    assert sys.modules[dot.__name__] is dot
    assert dot.__file__ == os.path.join(namespace.root, "hooks.v1.py")


def test_imports_in_a_function_long_after(bundle: Open) -> None:
    module = bundle(
        {
            "middleware.py": "def f():\n    import rules, json\n    from rules import X\n    return X, json",
            "rules.py": "X = 1",
        }
    ).load("middleware")
    for _ in range(2):
        assert module.f() == (1, json)


def test_one_finder_answers_for_all(bundle: Open) -> None:
    bundle({"middleware.py": ""}, "first")
    bundle({"middleware.py": ""}, "second")
    assert len([finder for finder in sys.meta_path if isinstance(finder, NamespaceFinder)]) == 1


def test_after_close_code_runs_on_and_nothing_can_be_imported(bundle: Open) -> None:
    namespace = bundle({"middleware.py": "import rules\ndef f():\n    return rules.X", "rules.py": "X = 1"})
    module = namespace.load("middleware")
    namespace.close()
    assert module.f() == 1
    assert not [name for name in sys.modules if name.startswith(namespace.package)]
    with pytest.raises(ModuleNotFoundError):
        __import__(f"{namespace.package}.rules")


def test_many_threads_import_at_once(bundle: Open) -> None:
    files = {"middleware.py": "import lib.a, lib.b", "lib/__init__.py": ""}
    files |= {"lib/a.py": "import threading, lib.b\nRUNS = []\nRUNS.append(1)", "lib/b.py": "from lib import a"}
    namespaces = [bundle(files, f"b{number}") for number in range(4)]
    with ThreadPoolExecutor(16) as pool:
        loaded = list(pool.map(lambda namespace: namespace.load("middleware"), namespaces * 8))
    for number, namespace in enumerate(namespaces):
        assert {id(module) for module in loaded[number::4]} == {id(namespace.load("middleware"))}
        assert namespace.load("lib.a").RUNS == [1]
