from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import trees
from tykbridge.bundle import manifest
from tykbridge.bundle.manifest import HookEntry
from tykbridge.errors import LoadError


def read(folder: Path, value: Any) -> manifest.Manifest:
    text = value if isinstance(value, str | bytes) else json.dumps(value)
    return manifest.read(trees.write(folder, {"manifest.json": text}) / "manifest.json")


def test_everything_that_a_manifest_says(tmp_path: Path) -> None:
    trees.write(tmp_path, {"a.py": "", "lib/b.py": ""})
    found = read(
        tmp_path,
        {
            "file_list": ["a.py", "lib/b.py"],
            "custom_middleware": {
                "post": [{"name": "D", "driver": "lua"}],
                "pre": [{"name": "A", "require_session": False}, {"name": "B", "disabled": True}],
                "post_key_auth": [{"name": "C", "path": "a.py"}],
                "auth_check": {"name": "Auth"},
                "response": [{"name": "E"}],
                "driver": "python",
                "id_extractor": {"extract_from": "header"},
            },
            "checksum": "d41d8cd98f00b204e9800998ecf8427e",
            "signature": "c2ln",
            "something": "else",
        },
    )
    assert found.files == ("a.py", "lib/b.py")
    assert found.driver == "python"
    assert (found.checksum, found.signature) == ("d41d8cd98f00b204e9800998ecf8427e", "c2ln")
    assert found.hooks == (
        HookEntry("custom_middleware.pre[0]", "A", "python"),
        HookEntry("custom_middleware.auth_check", "Auth", "python"),
        HookEntry("custom_middleware.post_key_auth[0]", "C", "python", "a.py"),
        HookEntry("custom_middleware.post[0]", "D", "lua"),
        HookEntry("custom_middleware.response[0]", "E", "python"),
    )


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"file_list": None, "custom_middleware": None, "checksum": None, "signature": None},
        {"file_list": [], "custom_middleware": {"pre": None, "auth_check": None, "driver": None}},
        {"custom_middleware": {"auth_check": {"name": "", "path": ""}}},
        "\ufeff{}",
    ],
)
def test_what_says_nothing_is_empty(tmp_path: Path, value: Any) -> None:
    found = read(tmp_path, value)
    assert (found.files, found.hooks, found.driver, found.checksum, found.signature) == ((), (), "", "", "")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[]", "the manifest must be an object, not a list"),
        ('{\n  "a": x\n}', r":2: not JSON: Expecting value \(column 8\)"),
        (b"\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ({"file_list": "a.py"}, "file_list must be a list, not a string"),
        ({"file_list": [1]}, r"file_list\[0\] must be a string, not a number"),
        ({"file_list": ["gone.py"]}, r'file_list\[0\]: the bundle has no file "gone\.py"'),
        ({"file_list": ["manifest.json", "../manifest.json"]}, r"file_list\[1\] must name a file below the bundle"),
        ({"file_list": ["/etc/passwd"]}, r"file_list\[0\] must name a file below"),
        ({"file_list": [""]}, r"file_list\[0\] must name a file below"),
        ({"file_list": ["\ud800"]}, r'file_list\[0\] must name a file below .*"\\ud800"'),
        ({"file_list": ["a\nERROR b"]}, r'file_list\[0\]: the bundle has no file "a\\nERROR b"$'),
        ({"custom_middleware": {"pre": [{"name": "a", "path": "../b.py"}]}}, r"pre\[0\]\.path must name a file below"),
        ({"custom_middleware": {"pre": [{"name": "a", "path": "/b.py"}]}}, r"pre\[0\]\.path must name a file below"),
        ({"custom_middleware": {"pre": [{"name": "a", "path": 1}]}}, r"pre\[0\]\.path must be a string, not a number"),
        ({"file_list": ["a\0"]}, r"file_list\[0\] must name a file below"),
        ({"file_list": ["a" * 5000]}, r"file_list\[0\]: .* cannot be read"),
        ({"custom_middleware": []}, "custom_middleware must be an object, not a list"),
        ({"custom_middleware": {"driver": 1}}, r"custom_middleware\.driver must be a string"),
        ({"custom_middleware": {"pre": {}}}, r"custom_middleware\.pre must be a list, not an object"),
        ({"custom_middleware": {"pre": [None]}}, r"custom_middleware\.pre\[0\] must be an object, not null"),
        ({"custom_middleware": {"post": [{"name": "a"}, {}]}}, r"custom_middleware\.post\[1\]\.name .* missing"),
        ({"custom_middleware": {"pre": [{"name": True}]}}, r"pre\[0\]\.name must be a string, not true or false"),
        ({"custom_middleware": {"pre": [{"name": "a", "disabled": 1}]}}, r"pre\[0\]\.disabled must be true or false"),
        ({"custom_middleware": {"auth_check": {"name": 1.5}}}, r"auth_check\.name must be a string, not a number"),
        ({"checksum": 1}, "checksum must be a string, not a number"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_path(tmp_path: Path, value: Any, words: str) -> None:
    with pytest.raises(LoadError, match=words) as failure:
        read(tmp_path, value)
    assert str(failure.value).startswith(str(tmp_path / "manifest.json"))


def test_a_file_that_is_not_there_is_named_with_the_one_that_is_meant(tmp_path: Path) -> None:
    trees.write(tmp_path, {"lib/plugin_v0.1.0_linux_amd64.so": "", "lib/plugin.py": "", "lib/other.so": ""})
    words = r'the bundle has no file "lib/plugin\.so"; there is "lib/plugin_v0\.1\.0_linux_amd64\.so"$'
    with pytest.raises(LoadError, match=words):
        read(tmp_path, {"file_list": ["lib/plugin.so"]})
    with pytest.raises(LoadError, match=r'the bundle has no file "lib/mine\.so"$'):
        read(tmp_path, {"file_list": ["lib/mine.so"]})


def test_a_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(LoadError, match=r"manifest\.json: cannot be read"):
        manifest.read(tmp_path / "manifest.json")


@pytest.mark.parametrize("target", ["../outside.py", "{outside}", "lib/../../outside.py", "way/outside.py", "other"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"file_list": ["link.py"]}, r"file_list\[0\]"),
        (
            {"custom_middleware": {"auth_check": {"name": "a", "path": "link.py"}}},
            r"custom_middleware\.auth_check\.path",
        ),
    ],
)
def test_links_that_leave_the_bundle_are_refused(tmp_path: Path, target: str, value: Any, words: str) -> None:
    outside = trees.write(tmp_path, {"outside.py": "secret", "bundle/lib/a.py": ""}) / "outside.py"
    folder = tmp_path / "bundle"
    (folder / "way").symlink_to("..")
    (folder / "other").symlink_to(outside)
    (folder / "link.py").symlink_to(target.format(outside=outside))
    with pytest.raises(
        LoadError, match=rf"{words} must name a file below the bundle's folder, and \"link\.py\" is not"
    ):
        read(folder, value)


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    """Kubernetes mounts a ConfigMap like that, and the bundle's folder may be a link itself."""
    folder = trees.write(tmp_path / "mounted", {"..2026/a.py": ""})
    (folder / "..data").symlink_to("..2026")
    (folder / "a.py").symlink_to("..data/a.py")
    (tmp_path / "bundle").symlink_to(folder)
    hook = {"name": "a", "path": "a.py"}
    found = read(tmp_path / "bundle", {"file_list": ["a.py"], "custom_middleware": {"pre": [hook]}})
    assert found.files == ("a.py",)
