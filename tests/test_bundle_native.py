"""Native code in bundles: found by what it is, allowed where a signature covers it."""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests import trees
from tests.openssl import sealed, upstream_files
from tests.signed_bundles import FILES, MANIFEST, PLAIN, check, refused

pytestmark = pytest.mark.once


def wheel(method: int = zipfile.ZIP_DEFLATED, **files: bytes) -> bytes:
    with zipfile.ZipFile(target := io.BytesIO(), "w", method) as made:
        for name, data in files.items():
            made.writestr(name.replace("__", "/") + (".so" if name.endswith("_so") else ""), data)
    return target.getvalue()


def pe() -> bytes:
    return b"MZ" + bytes(58) + (128).to_bytes(4, "little") + bytes(64) + b"PE\0\0" + bytes(100)


NATIVE: list[tuple[str, bytes, str]] = [
    (
        "vendor/x.txt",
        b"\x7fELF\2\1\1" + bytes(100),
        r"'vendor/x\.txt' \(ELF\) is native code, or may hold it",
    ),
    ("x", b"\xcf\xfa\xed\xfe" + bytes(100), r"'x' \(Mach-O\) is native code"),
    ("x", b"\xfe\xed\xfa\xce" + bytes(100), r"'x' \(Mach-O\)"),
    ("x", b"\xca\xfe\xba\xbe\0\0\0\2" + bytes(100), r"'x' \(Mach-O\)"),
    ("x.exe", pe(), r"'x\.exe' \(PE\)"),
    ("x.so", b"", r"'x\.so' \(by its name\)"),
    ("libx.so.1.2.3", b"text", r"'libx\.so\.1\.2\.3' \(by its name\)"),
    ("x.cpython-312-x86_64-linux-gnu.so", b"", "by its name"),
    ("X.DLL", b"", r"'X\.DLL' \(by its name\)"),
    ("x.pyd", b"", "by its name"),
    ("x.dylib", b"", "by its name"),
    ("vendor/x.whl", wheel(pkg__x=b"\x7fELF" + bytes(10)), r"'vendor/x\.whl' \(ELF: 'pkg/x' in it\)"),
    ("vendor/x.whl", wheel(pkg__x_so=b""), r"'vendor/x\.whl' \(by its name: 'pkg/x_so\.so' in it\)"),
    ("hidden.txt", b"text before it" + wheel(x=b"\x7fELF"), r"'hidden\.txt' \(ELF: 'x' in it\)"),
    ("bzip2.whl", wheel(zipfile.ZIP_BZIP2, x=b"x"), r"'bzip2\.whl' \('x' in it cannot be looked into\)"),
    ("broken.whl", wheel(x=b"\x7fELF")[10:], r"'broken\.whl' \(an archive that cannot be looked into\)"),
]


@pytest.mark.parametrize(("name", "data", "words"), NATIVE)
def test_native_code_needs_a_signature(tmp_path: Path, keys: Path, name: str, data: bytes, words: str) -> None:
    files = {**PLAIN, name: data}
    refused(tmp_path, files, words)
    assert check(tmp_path, files, allow_native_code=True) == "none"
    refused(tmp_path, sealed(files), words)
    signed = sealed(files, keys / "key.pem")
    refused(tmp_path, signed, words)  # nobody checked the signature
    assert check(tmp_path, signed, keys / "key.public.pem") == "sha256-signed"


def test_a_real_library_is_native_code(tmp_path: Path) -> None:
    trees.write(tmp_path, PLAIN)
    shutil.copy(sys.executable, tmp_path / "data.bin")
    refused(tmp_path, {}, r"'data\.bin' \(ELF\) is native code")


def test_native_code_that_the_old_signature_covers(tmp_path: Path, keys: Path) -> None:
    manifest = {**MANIFEST, "file_list": ["middleware.py", "x.so"]}
    files = upstream_files(manifest, {**FILES, "x.so": b"\x7fELF"}, keys / "key.pem")
    refused(tmp_path, files, "is native code")
    assert check(tmp_path, files, keys / "key.public.pem", accept_old_signatures=True) == "md5-signed"


def test_what_is_not_native_code(tmp_path: Path) -> None:
    harmless = {
        "a.class": b"\xca\xfe\xba\xbe\0\0\0\x3d" + bytes(100),
        "notes.txt": b"MZ is how a letter may begin" + b"." * 100,
        "so": b"",
        "x.so.txt": b"",
        "lib.source": b"",
        "vendor/pure.whl": wheel(pkg__x=b"x = 1\n", empty=b""),
    }
    assert check(tmp_path, {**PLAIN, **harmless}) == "none"
