from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import trees

GOOD = """
from gateway import TykGateway as tyk
from tyk.decorators import *
from tyk.object import ResponseObject
from tyk.request import TykCoProcessRequest
from tyk.session import AccessDefinition, AccessSpec, TykSession

@Hook
def Start(
    request: TykCoProcessRequest, session: TykSession, spec: dict[str, str]
) -> tuple[TykCoProcessRequest, TykSession]:
    request.object.return_overrides.headers["content-type"] = "application/json"
    request.object.return_overrides.response_code = 200
    request.object.raw_body = request.object.body.encode()
    request.add_header("a", request.get_header("b") or "")
    for name, value in request.object.headers.items():
        tyk.log(f"{name}: {value}", "info")
    tyk.store_data("key", "value", 10)
    tyk.log(tyk.get_data("key").decode(), "debug")
    return request, session

@Hook
def Auth(
    request: TykCoProcessRequest, session: TykSession, metadata: dict[str, str], spec: dict[str, str]
) -> tuple[TykCoProcessRequest, TykSession, dict[str, str]]:
    right = AccessDefinition(api_id="1", allowed_urls=[AccessSpec(url="/", methods=["GET"])])
    session = TykSession(rate=10, per=1, tags=["a"], access_rights={"1": right, "2": {"api_id": "2"}})
    session.metadata["token"] = "t"
    session.access_rights["1"].versions.append("v1")
    session.monitor.trigger_limits.extend([0.5, 1])
    return request, session, metadata

@Hook
def Answer(
    request: TykCoProcessRequest,
    response: ResponseObject,
    session: TykSession,
    metadata: dict[str, str],
    spec: dict[str, str],
) -> ResponseObject:
    header = response.multivalue_headers.add()
    header.key = "Set-Cookie"
    header.values.extend(["a=1", "b=2"])
    copy = ResponseObject()
    copy.CopyFrom(response)
    return copy
"""


Check = Callable[[str], str]


@pytest.fixture
def check(root: Path, tmp_path: Path) -> Check:
    """What mypy --strict says of a plugin, "" when it is content."""
    places = tmp_path / "stubs"
    places.mkdir()
    for package in (root / "stubs").glob("*-stubs"):
        (places / package.name.removesuffix("-stubs")).symlink_to(package)

    def run(code: str) -> str:
        plugin = trees.write(tmp_path, {"plugin.py": code}) / "plugin.py"
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-color-output", "plugin.py"],
            cwd=plugin.parent,
            env={"MYPYPATH": str(places), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""
        return done.stdout

    return run


@pytest.mark.once
def test_a_good_plugin(check: Check) -> None:
    assert check(GOOD) == ""


@pytest.mark.once
def test_this_environment_has_the_stubs(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(GOOD)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "plugin.py"]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.once
def test_what_is_wrong_is_flagged(check: Check) -> None:
    head = [
        "from gateway import TykGateway as tyk",
        "from tyk.object import ReturnOverrides",
        "from tyk.request import TykCoProcessRequest",
        "from tyk.session import TykSession",
        "def f(request: TykCoProcessRequest, session: TykSession) -> None:",
    ]
    wrong = {
        "request.object.return_overrides.respnse_code = 200": '"ReturnOverrides" has no attribute "respnse_code"',
        "request.object.return_overrides.response_code = '200'": "Incompatible types in assignment",
        "request.object.return_overrides = ReturnOverrides()": "read-only",
        "request.headers": '"TykCoProcessRequest" has no attribute "headers"',
        "session.metadata['a'] = 1": "Incompatible types in assignment",
        "session.tags.append(1)": 'has incompatible type "int"',
        "TykSession(rates=1)": 'Unexpected keyword argument "rates"',
        "tyk.log('a', 'fatal')": "has incompatible type",
        "tyk.log(b'a', 'info')": "has incompatible type",
        "tyk.get_data('a').encode()": '"bytes" has no attribute "encode"',
    }
    out = check("\n".join([*head, *(f"    {line}" for line in wrong)])).splitlines()
    found = {int(line.split(":")[1]): line for line in out if ": error: " in line}
    for at, (line, words) in enumerate(wrong.items(), len(head) + 1):
        assert words in found.get(at, ""), f"{line}: {found.get(at)}"


@pytest.mark.once
def test_stubs_and_modules_have_the_same_names(root: Path) -> None:
    for stub in sorted((root / "stubs").rglob("*.pyi")):
        parts = [part.removesuffix("-stubs") for part in stub.relative_to(root / "stubs").with_suffix("").parts]
        name = ".".join(part for part in parts if part != "__init__")
        real = importlib.import_module(f"tykbridge.compat.{name}")
        told = {node.name for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ClassDef)}
        told = {public for public in told if not public.startswith("_")}
        if told:
            assert told == set(getattr(real, "__all__", told)), name
        for public in told:
            assert hasattr(real, public), f"{name}.{public}"
