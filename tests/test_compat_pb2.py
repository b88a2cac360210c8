from __future__ import annotations

import contextlib
import functools
import importlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from tykbridge import compat
from tykbridge.compat import _descriptors, pb2

PB2 = sorted(name for name in compat.NAMES if name.endswith("_pb2"))


def module(name: str) -> Any:
    return importlib.import_module(f"tykbridge.compat.{name}")


@pytest.mark.once
@pytest.mark.parametrize("generator", ["gen_descriptors.py", "gen_stubs.py"])
def test_what_is_generated_is_what_proto_says(root: Path, generator: str) -> None:
    done = subprocess.run([sys.executable, root / "tools" / generator, "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_there_is_a_module_for_each_file(root: Path) -> None:
    files = {path.stem for path in (root / "proto").glob("coprocess_*.proto")}
    assert {f"{stem}_pb2" for stem in files} == set(PB2)
    assert {name.removesuffix(".proto") for name in _descriptors.FILES} == files


@pytest.mark.parametrize("name", PB2)
def test_modules_hold_what_protoc_generates(name: str) -> None:
    found = module(name)
    assert found.DESCRIPTOR.name == f"{name.removesuffix('_pb2')}.proto"
    for message in found.DESCRIPTOR.message_types_by_name:
        kind = getattr(found, message)
        assert kind is pb2.message_class(message)
        assert issubclass(kind, Message)
        assert kind.DESCRIPTOR is pb2.descriptor(message)


def test_enums() -> None:
    common = module("coprocess_common_pb2")
    assert [common.Unknown, common.Pre, common.Post, common.PostKeyAuth] == [0, 1, 2, 3]
    assert (common.CustomKeyCheck, common.Response) == (4, 5)
    assert common.HookType.Name(3) == "PostKeyAuth"
    assert common.HookType.Value("Response") == 5


def test_messages_work() -> None:
    kind = module("coprocess_object_pb2").Object
    made = kind(hook_name="H", hook_type="Pre", spec={"a": "b"})
    made.session.metadata["token"] = "t"
    copy = kind.FromString(made.SerializeToString())
    assert copy == made
    assert isinstance(copy.session, module("coprocess_session_state_pb2").SessionState)


def test_the_default_pool_stays_empty() -> None:
    for name in PB2:
        module(name)
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("coprocess.Object")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("find", [pb2.message_class, pb2.descriptor])
def test_an_unknown_message(find: Any) -> None:
    with pytest.raises(KeyError):
        find("Nothing")


def test_protobuf_is_imported_at_first_need() -> None:
    code = (
        "import sys, tykbridge.runtime, tykbridge.compat.gateway, tykbridge.compat.pb2\n"
        "import tykbridge.compat.tyk.session as s\n"
        "s.TykSession(rate=1).rate\n"
        "sys.exit(any(name.startswith('google') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_regression_threads_that_came_first_at_once_made_a_pool_each(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    both = threading.Barrier(2)
    pool = descriptor_pool.DescriptorPool

    def counted() -> Any:
        made.append(None)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.2)  # passed only when two threads are here
        return pool()

    monkeypatch.setattr(pb2, "_only_pool", functools.cache(pb2._only_pool.__wrapped__))
    monkeypatch.setattr(descriptor_pool, "DescriptorPool", counted)
    threads = [threading.Thread(target=pb2._pool) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
