"""Archives that we build: what is in them, that others can check them, and what is not built."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests import trees
from tests.openssl import openssl
from tykbridge.bundle import archive, loader, rsa
from tykbridge.bundle.build import Built, build
from tykbridge.bundle.rsa import PrivateKey
from tykbridge.bundle.signing import Trust
from tykbridge.errors import LoadError

pytestmark = pytest.mark.once

HOOKS = {"driver": "python", "pre": [{"name": "mark"}]}
FILES = {"middleware.py": "import lib.rules\n", "lib/rules.py": "rules = []\n"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of a bundle without a manifest."""
    return trees.write(tmp_path / "source", FILES)


@pytest.fixture
def key(keys: Path) -> PrivateKey:
    return rsa.read_private(str(keys / "key.pem"), lambda: None)


def build_it(source: Path, key: PrivateKey | None = None, **manifest: Any) -> Built:
    """Writes a manifest, and builds bundle.zip beside the folder."""
    text = json.dumps({"file_list": list(FILES), "custom_middleware": HOOKS} | manifest)
    (source / "manifest.json").write_text(text)
    return build(source / "manifest.json", source.parent / "bundle.zip", key)


def entries(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def unpacked(file: Path, folder: Path) -> Path:
    folder.mkdir()
    archive.unpack(file, folder)
    return folder


def test_an_archive_has_what_upstreams_has(source: Path) -> None:
    built = build_it(source)
    found = entries(built.file)
    assert list(found) == ["SHA256SUMS", "lib/rules.py", "manifest.json", "middleware.py"]
    whole = FILES["middleware.py"] + FILES["lib/rules.py"]
    checksum = hashlib.md5(whole.encode()).hexdigest()
    assert json.loads(found["manifest.json"]) == {
        "file_list": ["middleware.py", "lib/rules.py"],
        "custom_middleware": HOOKS,
        "checksum": checksum,
        "signature": "",
    }
    assert {name: found[name].decode() for name in FILES} == FILES
    assert built == Built(
        source.parent / "bundle.zip", built.file.stat().st_size, ("middleware.py", "lib/rules.py"), checksum, False
    )


def test_openssl_and_sha256sum_check_what_was_signed(source: Path, key: PrivateKey, keys: Path, tmp_path: Path) -> None:
    folder = unpacked(build_it(source, key).file, tmp_path / "unpacked")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    public = ("dgst", "-sha256", "-verify", keys / "key.public.pem", "-signature")
    assert openssl(*public, folder / "SHA256SUMS.sig", folder / "SHA256SUMS") == b"Verified OK\n"
    old = base64.b64decode(json.loads((folder / "manifest.json").read_bytes())["signature"])
    (tmp_path / "old.sig").write_bytes(old)
    whole = b"".join((folder / name).read_bytes() for name in FILES)
    assert openssl(*public, tmp_path / "old.sig", data=whole) == b"Verified OK\n"
    assert Trust(str(keys / "key.public.pem")).check(folder).form == "sha256-signed"


def test_what_was_built_loads(root: Path, tmp_path: Path, key: PrivateKey) -> None:
    built = build(root / "examples" / "tour" / "manifest.json", tmp_path / "tour.zip", key)
    bundle = loader.load(str(unpacked(built.file, tmp_path / "tour")), "tour")
    assert "check_card" in bundle.hooks
    bundle.close()


def test_the_manifest_given_stays_and_its_unknown_keys_go_along(source: Path) -> None:
    more = {"x-note": {"by": "ünï", "at": [1, 2.5, None, 10**30]}, "checksum": "old", "signature": "old"}
    file = build_it(source, **more).file
    assert json.loads((source / "manifest.json").read_text())["signature"] == "old"
    written = json.loads(entries(file)["manifest.json"])
    assert written["x-note"] == more["x-note"]
    assert written["signature"] == ""
    assert written["checksum"] != "old"


def test_the_same_files_give_the_same_bytes(source: Path, key: PrivateKey, tmp_path: Path) -> None:
    first = build_it(source, key).file.read_bytes()
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(source, copy)
    for path in copy.rglob("*.py"):
        os.utime(path, (10**9, 10**9))
        path.chmod(0o755)
    unmasked = os.umask(0o077)
    try:
        assert build_it(copy, key).file.read_bytes() == first
    finally:
        os.umask(unmasked)


def test_no_exec_bits_get_in(source: Path) -> None:
    (source / "middleware.py").chmod(0o4755)
    with zipfile.ZipFile(build_it(source).file) as zipped:
        assert {info.external_attr >> 16 for info in zipped.infolist()} == {0o100644}


def test_a_folder_stands_for_its_files(source: Path) -> None:
    vendor = {"b/z.py": "", "b/a.txt": "a", "a.py": "", "__pycache__/a.pyc": "x", "b/__pycache__/z.pyc": "x"}
    trees.write(source / "vendor", vendor)
    file = build_it(source, file_list=["./middleware.py", "vendor/", "vendor/a.py", "lib"]).file
    listed = json.loads(entries(file)["manifest.json"])["file_list"]
    assert listed == ["middleware.py", "vendor/a.py", "vendor/b/a.txt", "vendor/b/z.py", "lib/rules.py"]
    assert set(listed) < set(entries(file))
    assert not any("__pycache__" in name for name in entries(file))


def test_a_manifest_by_another_name_and_no_files(source: Path) -> None:
    manifest = {"custom_middleware": {"driver": "grpc", "auth_check": {"name": "check"}}}
    (source / "grpc.json").write_text(json.dumps(manifest))
    built = build(source / "grpc.json", source.parent / "grpc.zip")
    assert built.checksum == hashlib.md5(b"").hexdigest()
    assert list(entries(built.file)) == ["SHA256SUMS", "manifest.json"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"file_list": ["gone.py"]}, r'manifest\.json: file_list\[0\]: the bundle has no file "gone\.py"'),
    ({"file_list": ["middleware.py", "../secret"]}, r'file_list\[1\] must name a file below .* "\.\./secret" is not'),
    ({"file_list": ["/etc/passwd"]}, r"file_list\[0\] must name a file below the bundle's folder"),
    ({"file_list": ["."]}, r"file_list\[0\] must name a file below the bundle's folder"),
    ({"file_list": ["\ud800"]}, r"file_list\[0\] must name a file below .*ud800"),
    ({"file_list": "middleware.py"}, "file_list must be a list, not a string"),
    ({"file_list": ["manifest.json"]}, r'file_list\[0\]: "manifest\.json" is written by the build itself'),
    ({"file_list": ["SHA256SUMS"]}, r'file_list\[0\]: "SHA256SUMS" is written by the build itself'),
    ({"file_list": ["empty"]}, r'file_list\[0\]: the folder "empty" has no files'),
    ({"file_list": ["link.py"]}, r'file_list\[0\]: "link\.py" is a link; put what it leads to in its place'),
    ({"file_list": ["out.py"]}, r"file_list\[0\] must name a file below .*links are followed"),
    ({"file_list": ["linked"]}, r'file_list\[0\]: "linked" is a link'),
    ({"file_list": ["linked/rules.py"]}, r'file_list\[0\]: "linked" is a link'),
    ({"file_list": ["links"]}, r'file_list\[0\]: "links/rules\.py" is a link'),
    ({"file_list": ["pipes"]}, r'file_list\[0\]: "pipes/pipe" is no file, but a device'),
    ({"file_list": ["large"]}, r'file_list\[0\]: "large" has 67108865 bytes; 67108864 are allowed'),
    ({"file_list": ["zeros"]}, r"bundle\.zip: 'zeros' unpacks \d+ bytes to 2097152, more than 200 times"),
    ({"file_list": ["a\nb"]}, r"could not be loaded: .*bundle\.zip: 'a\\nb': the entry's name holds a control char"),
    ({"file_list": ["Lib", "lib"]}, r"are the same name on some file systems: rename one"),
    ({"file_list": ["own"]}, r'file_list\[0\]: "own/bundle\.zip" is what is to be written'),
    ({"custom_middleware": {"driver": "python"}}, r"manifest\.json: custom_middleware names no hook"),
    ({"custom_middleware": {"pre": [{"name": "a"}]}}, r"custom_middleware\.pre\[0\] has no driver"),
    ({"custom_middleware": {"pre": [{}]}}, r"custom_middleware\.pre\[0\]\.name"),
    ({"custom_middleware": {"pre": [{"name": "a", "path": "../a.py"}]}}, r"pre\[0\]\.path must name a file below"),
    ({"x": float("inf")}, r"manifest\.json: cannot be written again: Out of range"),
    ({"x": "\ud800"}, r"manifest\.json: cannot be written again"),
]


@pytest.mark.parametrize(("manifest", "words"), BAD, ids=[words for _, words in BAD])
def test_what_cannot_be_built_is_told_and_leaves_the_old_archive(
    source: Path, tmp_path: Path, manifest: dict[str, Any], words: str
) -> None:
    output = tmp_path / "bundle.zip"
    output.write_bytes(b"the archive of yesterday")
    trees.write(source, {"SHA256SUMS": "", "a\nb": "", "Lib/x.py": "", "zeros": bytes(2 << 20)})
    for folder in ("empty", "links", "pipes", "own"):
        (source / folder).mkdir()
    (source / "link.py").symlink_to("middleware.py")
    (tmp_path / "outside").write_text("secret")
    (source / "out.py").symlink_to(tmp_path / "outside")
    (source / "linked").symlink_to("lib")
    (source / "links" / "rules.py").symlink_to("../lib/rules.py")
    os.mkfifo(source / "pipes" / "pipe")
    with open(source / "large", "wb") as large:
        large.truncate((64 << 20) + 1)
    os.link(output, source / "own" / "bundle.zip")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(LoadError, match=words):
        build_it(source, **manifest)
    assert output.read_bytes() == b"the archive of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_where_it_cannot_be_written(source: Path) -> None:
    (source / "manifest.json").write_text(json.dumps({"custom_middleware": HOOKS}))
    with pytest.raises(LoadError, match=r"nowhere/bundle\.zip cannot be built: .*: No such file or directory"):
        build(source / "manifest.json", source / "nowhere" / "bundle.zip")
    with pytest.raises(LoadError, match=r"gone\.json: cannot be read"):
        build(source / "gone.json", source / "bundle.zip")


def test_a_folder_in_the_place_of_the_archive(source: Path) -> None:
    (source.parent / "bundle.zip").mkdir()
    with pytest.raises(LoadError, match=r"bundle\.zip cannot be built: .*: Is a directory"):
        build_it(source)
    assert sorted(path.name for path in source.parent.iterdir()) == ["bundle.zip", "source"]
