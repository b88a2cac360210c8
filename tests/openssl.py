"""Makes keys and signatures with the program openssl, and bundles by the rules of Tyk's own builder."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.zips import DEFERRED, Entry, deflated, make


def openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=True).stdout


def make_keys(folder: Path) -> Path:
    """Fills a folder with keys, each in the forms that people have them in."""
    for name, bits in (("key", 2048), ("other", 2048), ("large", 3072), ("small", 1024)):
        openssl("genrsa", "-out", folder / f"{name}.pem", str(bits))
        openssl("pkey", "-in", folder / f"{name}.pem", "-pubout", "-out", folder / f"{name}.public.pem")
    openssl("rsa", "-in", folder / "key.pem", "-RSAPublicKey_out", "-out", folder / "key.pkcs1.pem")
    openssl("rsa", "-in", folder / "key.pem", "-traditional", "-out", folder / "key.traditional.pem")
    lock = ("-aes256", "-passout", "pass:secret", "-out")
    openssl("pkey", "-in", folder / "key.pem", *lock, folder / "locked.pem")
    openssl("rsa", "-in", folder / "key.pem", "-traditional", *lock, folder / "locked.traditional.pem")
    openssl("req", "-x509", "-key", folder / "key.pem", "-subj", "/CN=bundles", "-out", folder / "key.crt")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "ec.pem")
    openssl("pkey", "-in", folder / "ec.pem", "-pubout", "-out", folder / "ec.public.pem")
    return folder


def sign(key: Path, data: bytes) -> bytes:
    return openssl("dgst", "-sha256", "-sign", key, data=data)


def sealed(files: Mapping[str, bytes], key: Path | None = None) -> dict[str, bytes]:
    """Gives the files with SHA256SUMS, and with a key its signature."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
    sums = "".join(lines).encode()
    return {**files, "SHA256SUMS": sums, **({"SHA256SUMS.sig": sign(key, sums)} if key else {})}


def upstream_files(manifest: dict[str, Any], files: Mapping[str, bytes], key: Path | None = None) -> dict[str, bytes]:
    """Gives what Tyk's builder packs (cli/bundler/bundler.go): the files of file_list, then the manifest."""
    whole = b"".join(files[name] for name in manifest["file_list"])
    told = {
        **manifest,
        "checksum": hashlib.md5(whole).hexdigest(),
        "signature": base64.b64encode(sign(key, whole)).decode() if key else "",
    }
    listed = {name: files[name] for name in manifest["file_list"]}
    return {**listed, "manifest.json": json.dumps(told, separators=(",", ":")).encode()}


def zipped_by_go(files: Mapping[str, bytes]) -> bytes:
    """Gives a zip as Go's archive/zip writes it: each file's sizes behind its data, no mode."""
    entries = []
    for name, data in files.items():
        entry = Entry(name, data, mode=0)
        fields = entry.fields()
        sizes = b"".join(int(fields[key]).to_bytes(4, "little") for key in ("crc", "packed", "size"))
        entry.raw = deflated(data)
        entry.both = {"flags": fields["flags"] | DEFERRED}
        entry.local = {"crc": 0, "packed": 0, "size": 0}
        entry.after = b"PK\7\x08" + sizes
        entries.append(entry)
    return make(*entries)
