"""Keys: which are read, which are refused, and that openssl and tykbridge mean the same."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import pytest

from tests import trees
from tests.openssl import openssl, sealed, sign
from tests.signed_bundles import PLAIN, check
from tykbridge.bundle import rsa
from tykbridge.bundle.signing import Trust
from tykbridge.errors import LoadError

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", ["key.public.pem", "key.pkcs1.pem", "key.crt"])
def test_forms_of_a_public_key(tmp_path: Path, keys: Path, name: str) -> None:
    trust = Trust(str(keys / name))
    assert trust.has_key
    trees.write(tmp_path, sealed(PLAIN, keys / "key.pem"))
    assert trust.check(tmp_path).form == "sha256-signed"
    assert trust.key is not None
    der = openssl("pkey", "-pubin", "-in", keys / "key.public.pem", "-outform", "DER")
    assert trust.key.fingerprint == hashlib.sha256(der).hexdigest()


def test_without_a_key_there_is_none() -> None:
    assert not Trust().has_key


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "small.public.pem",
            r"small\.public\.pem: the key has 1024 bits; fewer than 2048 are not safe: make a new one",
        ),
        ("ec.public.pem", r"ec\.public\.pem holds a key of another kind than RSA"),
        ("key.pem", r"key\.pem holds a private key; name the public key"),
        ("locked.pem", r"locked\.pem holds a private key"),
        ("gone.pem", r"the key .*gone\.pem cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
        ("text.pem", r"text\.pem holds no public key in PEM form"),
        ("cut.pem", r"cut\.pem holds no public key in PEM form"),
        ("cut.crt", r"cut\.crt holds no public key in PEM form"),
        ("nul\0.pem", "cannot be read"),
    ],
)
def test_keys_that_cannot_be_used(keys: Path, name: str, words: str) -> None:
    (keys / "text.pem").write_text("ssh-rsa AAAA")
    (keys / "cut.pem").write_bytes((keys / "key.public.pem").read_bytes()[:-60])
    (keys / "cut.crt").write_bytes((keys / "key.crt").read_bytes()[:100])
    with pytest.raises(LoadError, match=words):
        Trust(str(keys / name))


def test_the_key_is_read_once(tmp_path: Path, keys: Path) -> None:
    shutil.copy(keys / "key.public.pem", tmp_path / "k.pem")
    trust = Trust(str(tmp_path / "k.pem"))
    (tmp_path / "k.pem").unlink()
    trees.write(tmp_path, sealed(PLAIN, keys / "key.pem"))
    assert trust.check(tmp_path).form == "sha256-signed"


# ---- Private keys


def nobody() -> str | None:
    raise AssertionError("no passphrase is needed")


@pytest.mark.parametrize("name", ["key.pem", "key.traditional.pem"])
def test_it_signs_as_openssl_does(keys: Path, name: str) -> None:
    assert rsa.read_private(str(keys / name), nobody).sign(b"data") == sign(keys / "key.pem", b"data")


@pytest.mark.parametrize("name", ["locked.pem", "locked.traditional.pem"])
def test_a_protected_key_takes_its_passphrase(keys: Path, name: str) -> None:
    key = rsa.read_private(str(keys / name), lambda: "secret")
    assert key.sign(b"data") == sign(keys / "key.pem", b"data")
    with pytest.raises(LoadError, match=r"locked.*\.pem: the passphrase is wrong, or the key is damaged"):
        rsa.read_private(str(keys / name), lambda: "wrong")
    for nothing in ("", None):
        with pytest.raises(LoadError, match=r"is protected by a passphrase, and none was given: set TYKB_KEY_PASS"):
            rsa.read_private(str(keys / name), lambda: nothing)  # noqa: B023


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("small.pem", "the key has 1024 bits; fewer than 2048"),
        ("ec.pem", "holds a key of another kind than RSA"),
        ("key.public.pem", "holds no private key in PEM form"),
        ("gone.pem", "cannot be read: No such file"),
    ],
)
def test_private_keys_that_cannot_be_used(keys: Path, name: str, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        rsa.read_private(str(keys / name), nobody)


def test_a_new_key_is_one_for_openssl(tmp_path: Path) -> None:
    private, public = rsa.generate()
    (tmp_path / "k.pem").write_bytes(private)
    (tmp_path / "k.public.pem").write_bytes(public)
    assert b"3072 bit" in openssl("pkey", "-in", tmp_path / "k.pem", "-noout", "-text")
    assert openssl("pkey", "-in", tmp_path / "k.pem", "-pubout") == public
    (tmp_path / "signature").write_bytes(rsa.read_private(str(tmp_path / "k.pem"), nobody).sign(b"data"))
    verify = ("-verify", tmp_path / "k.public.pem", "-signature", tmp_path / "signature")
    assert openssl("dgst", "-sha256", *verify, data=b"data") == b"Verified OK\n"


def test_cryptography_is_needed_for_a_key_only(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert check(tmp_path, sealed(PLAIN, keys / "key.pem")) == "sha256"
    needs = (
        lambda: Trust(str(keys / "key.public.pem")),
        lambda: rsa.read_private(str(keys / "key.pem"), nobody),
        rsa.generate,
    )
    for need in needs:
        with pytest.raises(LoadError, match=r"pip install 'tykbridge\[signatures\]'"):
            need()
