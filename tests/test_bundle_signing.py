"""Checksums and signatures of bundles. Keys and signatures come from the program openssl."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import trees
from tests.openssl import openssl, sealed, sign, upstream_files, zipped_by_go
from tests.signed_bundles import FILES, MANIFEST, PLAIN, Files, check, refused
from tykbridge.bundle import archive, loader
from tykbridge.bundle.signing import Trust
from tykbridge.errors import LoadError

pytestmark = pytest.mark.once


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "bundle"
    made.mkdir()
    return made


# ---- Forms that hold


def test_a_bundle_with_nothing_to_check(folder: Path) -> None:
    assert check(folder, PLAIN) == "none"


def test_a_bundle_of_upstream(folder: Path, keys: Path) -> None:
    assert check(folder, upstream_files(MANIFEST, FILES)) == "md5"
    public = keys / "key.public.pem"
    signed = upstream_files(MANIFEST, FILES, keys / "key.pem")
    assert check(folder, signed) == "md5"
    assert check(folder, signed, public, accept_old_signatures=True) == "md5-signed"
    refused(
        folder, signed, r"is signed in the old form only, which does not cover the manifest \(accept_old_sig", public
    )


def test_a_signature_of_openssl_over_all_files(folder: Path, keys: Path) -> None:
    assert check(folder, sealed(PLAIN)) == "sha256"
    signed = sealed({**PLAIN, "vendor/extra.py": b"x = 1\n", "empty": b""}, keys / "key.pem")
    assert check(folder, signed) == "sha256"
    assert check(folder, signed, keys / "key.public.pem") == "sha256-signed"
    assert check(folder, signed, keys / "key.public.pem", accept_old_signatures=True) == "sha256-signed"


def test_both_forms_in_one_bundle(folder: Path, keys: Path) -> None:
    both = sealed(upstream_files(MANIFEST, FILES, keys / "key.pem"), keys / "key.pem")
    assert check(folder, both) == "sha256"
    assert check(folder, both, keys / "key.public.pem") == "sha256-signed"
    del both["SHA256SUMS.sig"]
    (folder / "SHA256SUMS.sig").unlink()
    assert check(folder, both, keys / "key.public.pem", accept_old_signatures=True) == "md5-signed"
    refused(folder, both, "in the old form only", keys / "key.public.pem")


def test_the_program_sha256sum_makes_and_checks_the_list(folder: Path, keys: Path) -> None:
    trees.write(folder, PLAIN)
    script = "find . -type f ! -name 'SHA256SUMS*' -printf '%P\\0' | sort -z | xargs -0 sha256sum >SHA256SUMS"
    os.system(f"cd '{folder}' && {script}")
    signature = ("dgst", "-sha256", "-sign", keys / "key.pem", "-out", folder / "SHA256SUMS.sig", folder / "SHA256SUMS")
    openssl(*signature)
    assert Trust(str(keys / "key.public.pem")).check(folder).form == "sha256-signed"


@pytest.mark.parametrize("seed", ["classic-definition", "response-hook", "return-overrides", "set-cookie"])
def test_the_seeds_packed_as_upstream_does_it_are_unpacked_checked_and_loaded(
    root: Path, tmp_path: Path, folder: Path, keys: Path, seed: str
) -> None:
    source = root / "examples" / "seeds" / seed
    manifest = json.loads((source / "manifest.json").read_text())
    files = {name: (source / name).read_bytes() for name in manifest["file_list"]}
    (tmp_path / "bundle.zip").write_bytes(zipped_by_go(upstream_files(manifest, files, keys / "key.pem")))
    archive.unpack(tmp_path / "bundle.zip", folder)
    trust = Trust(str(keys / "key.public.pem"), accept_old_signatures=True)
    assert trust.check(folder).form == "md5-signed"
    bundle = loader.load(str(folder), "seed")
    assert bundle.hooks
    bundle.close()


# ---- A key, and no signature of it


def test_unsigned_bundles_are_refused_where_a_key_is_configured(folder: Path, keys: Path) -> None:
    public = keys / "key.public.pem"
    for accept in (False, True):
        refused(folder, PLAIN, "is not signed, and a public key is configured", public, accept_old_signatures=accept)
    refused(folder, upstream_files(MANIFEST, FILES), "is not signed", public, accept_old_signatures=True)
    refused(folder, sealed(PLAIN), "is not signed", public, accept_old_signatures=True)


def test_a_folder_without_a_manifest(folder: Path, keys: Path) -> None:
    assert check(folder, {"middleware.py": b""}) == "none"
    refused(folder, {}, "is not signed", keys / "key.public.pem", accept_old_signatures=True)


# ---- Tampering


def changed(name: str, data: bytes) -> Callable[[Files, Path], None]:
    return lambda files, keys: files.update({name: data})


def edited(name: str, old: bytes, new: bytes) -> Callable[[Files, Path], None]:
    def edit(files: Files, keys: Path) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new)

    return edit


def by_another_key(files: Files, keys: Path) -> None:
    files["SHA256SUMS.sig"] = sign(keys / "other.pem", files["SHA256SUMS"])


def by_a_larger_key(files: Files, keys: Path) -> None:
    files["SHA256SUMS.sig"] = sign(keys / "large.pem", files["SHA256SUMS"])


def with_another_digest(files: Files, keys: Path) -> None:
    files["SHA256SUMS.sig"] = openssl("dgst", "-sha512", "-sign", keys / "key.pem", data=files["SHA256SUMS"])


def relisted(files: Files, keys: Path) -> None:
    """A file is changed, and the list with it; its signature is not."""
    new = sealed({**{k: v for k, v in files.items() if not k.startswith("SHA256")}, "middleware.py": b"evil\n"})
    files.update(new)


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (
            changed("middleware.py", b"evil\n"),
            "'middleware.py' was changed: its SHA-256 is [0-9a-f]{64}, and in SHA256SUMS",
        ),
        (changed("lib/rules.py", b""), "'lib/rules.py' was changed"),
        (edited("manifest.json", b'"mark"', b'"evil"'), "'manifest.json' was changed"),
        (changed("vendor/new.py", b"evil"), "SHA256SUMS does not list 'vendor/new.py', which the bundle has"),
        (changed("a\nb", b"evil"), r"SHA256SUMS does not list 'a\\nb'"),
        (
            lambda files, keys: files.pop("lib/rules.py"),
            "SHA256SUMS lists 'lib/rules.py', which the bundle does not have",
        ),
        (
            lambda files, keys: files.pop("SHA256SUMS"),
            "SHA256SUMS.sig signs SHA256SUMS, which the bundle does not have",
        ),
        (lambda files, keys: files.pop("SHA256SUMS.sig"), "is not signed"),
        (relisted, "SHA256SUMS.sig: the signature is not by the key in .*key.public.pem, or what it signs was changed"),
        (edited("SHA256SUMS", b"lib/rules.py", b"lib/rulez.py"), "the signature is not by the key"),
        (by_another_key, "the signature is not by the key in .*key.public.pem"),
        (
            by_a_larger_key,
            "the signature has 384 bytes, and one by the key in .* has 256: it is cut off, or by another key",
        ),
        (with_another_digest, "the signature is not by the key"),
        (
            lambda files, keys: files.update({"SHA256SUMS.sig": files["SHA256SUMS.sig"][:-1]}),
            "has 255 bytes, and one by the",
        ),
        (changed("SHA256SUMS.sig", b""), "the signature has 0 bytes"),
        (changed("SHA256SUMS.sig", bytes(256)), "the signature is not by the key"),
        (changed("SHA256SUMS.sig", b"\xff" * 256), "the signature is not by the key"),
        (
            lambda files, keys: files.update({"SHA256SUMS.sig": base64.b64encode(files["SHA256SUMS.sig"])}),
            "the signature has 344 bytes",
        ),
    ],
)
def test_tampering_with_what_sha256sums_covers(
    folder: Path, keys: Path, tamper: Callable[[Files, Path], Any], words: str
) -> None:
    files = sealed(PLAIN, keys / "key.pem")
    tamper(files, keys)
    refused(folder, files, words, keys / "key.public.pem", allow_native_code=True)


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (
            changed("middleware.py", b"evil\n"),
            r"manifest\.json: checksum is '[0-9a-f]{32}', and the md5 of the files of file_list is '[0-9a-f]{32}'",
        ),
        (edited("manifest.json", b'"signature":"', b'"signature":"!'), r"manifest\.json: signature is not base64"),
        (
            edited("manifest.json", b'"signature":"', b'"signature":"AAAA'),
            r"manifest\.json: signature (has 259 bytes|is not base64)",
        ),
        (edited("manifest.json", b'"signature":"', b'"x":"'), "is not signed"),
        (
            edited("manifest.json", b'["middleware.py","lib/rules.py"]', b'["lib/rules.py","middleware.py"]'),
            "checksum is",
        ),
        (edited("manifest.json", b'["middleware.py","lib/rules.py"]', b'["middleware.py"]'), "checksum is"),
        (edited("manifest.json", b'"checksum":"', b'"checksum":"\\n'), r"checksum is '\\n[0-9a-f]{32}'"),
        (changed("json.py", b"evil"), "'json.py' is not in file_list, so that the old signature does not cover it"),
        (changed("vendor/evil.so", b"evil"), "'vendor/evil.so' is not in file_list"),
        (lambda files, keys: files.pop("lib/rules.py"), r"file_list\[1\]: the bundle has no file \"lib/rules.py\""),
    ],
)
def test_tampering_with_what_the_old_signature_covers(
    folder: Path, keys: Path, tamper: Callable[[Files, Path], Any], words: str
) -> None:
    files = upstream_files(MANIFEST, FILES, keys / "key.pem")
    tamper(files, keys)
    refused(folder, files, words, keys / "key.public.pem", accept_old_signatures=True)


def resigned(signature: str, **keys: str) -> Files:
    files = upstream_files(MANIFEST, FILES)
    manifest = json.loads(files["manifest.json"]) | {"signature": signature} | keys
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def test_old_signatures_that_are_none(folder: Path, keys: Path) -> None:
    whole = b"".join(FILES.values())
    good, other = (base64.b64encode(sign(keys / f"{name}.pem", whole)).decode() for name in ("key", "other"))
    public = keys / "key.public.pem"
    assert check(folder, resigned(good), public, accept_old_signatures=True) == "md5-signed"
    assert check(folder, resigned(good, checksum=""), public, accept_old_signatures=True) == "md5-signed"
    folded = "\r\n".join(good[at : at + 64] for at in range(0, len(good), 64))  # as `openssl base64` prints it
    assert check(folder, resigned(folded), public, accept_old_signatures=True) == "md5-signed"
    for signature, words in (
        (other, r"manifest\.json: signature is not by the key in .*key\.public\.pem, or what it signs was changed"),
        (good[:200], "signature has 150 bytes, and one by the key in .* has 256: it is cut off"),
        (good[:-1], "signature is not base64"),
        ("\u00e9", "signature is not base64"),
        ("\ud800", "signature is not base64"),
        ("====", "signature (is not base64|has 0 bytes)"),
        (f" {good}", "signature is not base64"),
    ):
        refused(folder, resigned(signature), words, public, accept_old_signatures=True)


def test_whatever_is_there_must_hold(folder: Path, keys: Path) -> None:
    """SHA256SUMS is right and signed; the manifest's own checksum or signature is not."""
    wrong = sealed(resigned("", checksum="0" * 32), keys / "key.pem")
    refused(folder, wrong, "checksum is '00000000000000000000000000000000', and", keys / "key.public.pem")
    refused(folder, wrong, "checksum is '00000000000000000000000000000000', and")
    other = base64.b64encode(sign(keys / "other.pem", b"".join(FILES.values()))).decode()
    refused(folder, sealed(resigned(other), keys / "key.pem"), "signature is not by the key", keys / "key.public.pem")


# ---- Links and the like


def test_sha256sums_covers_no_links(folder: Path) -> None:
    trees.write(folder, sealed(PLAIN))
    (folder / "alias.py").symlink_to("middleware.py")
    refused(folder, {}, "'alias.py' is a link, which SHA256SUMS cannot cover")


def test_the_old_signature_covers_no_links(folder: Path, keys: Path) -> None:
    trees.write(folder, upstream_files(MANIFEST, FILES, keys / "key.pem"))
    (folder / "json").symlink_to("lib")
    refused(folder, {}, "'json' is not in file_list", keys / "key.public.pem", accept_old_signatures=True)


@pytest.mark.parametrize("target", ["..", "../outside", "/etc/passwd", "lib/../../outside"])
def test_links_that_leave_the_folder_are_refused(folder: Path, target: str) -> None:
    (folder.parent / "outside").write_text("secret")
    trees.write(folder, PLAIN)
    (folder / "way").symlink_to(target)
    refused(folder, {}, "'way' is a link that leaves the bundle's folder")


def test_links_inside_are_kept_to(folder: Path) -> None:
    trees.write(folder, PLAIN)
    (folder / "alias.py").symlink_to("lib/rules.py")
    (folder.parent / "same").symlink_to(folder)
    assert Trust().check(folder.parent / "same").form == "none"


def test_a_pipe_is_refused(folder: Path) -> None:
    trees.write(folder, PLAIN)
    os.mkfifo(folder / "pipe")
    refused(folder, {}, "'pipe' is neither a file nor a folder")


def test_what_cannot_be_read_is_told(folder: Path) -> None:
    with pytest.raises(LoadError, match=r"gone cannot be read: No such file"):
        Trust().check(folder / "gone")
