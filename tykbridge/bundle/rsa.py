"""Reads RSA keys out of PEM files, signs with them, and checks signatures.

A signature is RSA PKCS#1 v1.5 over SHA-256, as Tyk's (github.com/TykTechnologies/goverify) and as
`openssl dgst -sha256 -sign` makes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tykbridge.errors import LoadError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

SMALLEST = 2048
"""Bits of the smallest key that is accepted."""

_NEW = 3072  # bits: 128 bits of security, NIST SP 800-57 part 1


class PublicKey:
    """What checks signatures.

    Attributes:
        file: where it came from.
        fingerprint: hexadecimal SHA-256 of the key in DER (SubjectPublicKeyInfo), as
            `openssl pkey -pubin -in FILE -outform DER | sha256sum` prints it.
    """

    def __init__(self, file: str, key: rsa.RSAPublicKey) -> None:
        from cryptography.hazmat.primitives import serialization

        self.file = file
        self._key = key
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.fingerprint = hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()

    def fault(self, signature: bytes, digest: bytes) -> str:
        """Says what is wrong with a signature of data whose SHA-256 is `digest`; "" for nothing."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, utils

        expected = (self._key.key_size + 7) // 8
        if len(signature) != expected:
            what = f"has {len(signature)} bytes, and one by the key in {self.file} has {expected}"
            return f"{what}: it is cut off, or by another key"
        try:
            self._key.verify(signature, digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
        except InvalidSignature:
            return f"is not by the key in {self.file}, or what it signs was changed"
        return ""


class PrivateKey:
    """What signs."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    def sign(self, data: bytes) -> bytes:
        """Gives the signature of `data`; the same each time."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def read_public(file: str) -> PublicKey:
    """Reads a public key: PEM, either "PUBLIC KEY", "RSA PUBLIC KEY", or the one of a "CERTIFICATE".

    Raises:
        LoadError: it cannot be read, is no RSA key, or too small a one; or the package that reads it is missing.
    """
    data = _pem(file)
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    if b"PRIVATE KEY-----" in data:
        raise LoadError(f"{file} holds a private key; name the public key, and keep the private one away from gateways")
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            key: Any = x509.load_pem_x509_certificate(data).public_key()
        else:
            key = serialization.load_pem_public_key(data)
    except Exception as error:  # UnsupportedAlgorithm is no ValueError
        raise LoadError(f"{file} holds no public key in PEM form (-----BEGIN PUBLIC KEY-----)") from error
    return PublicKey(file, _checked(file, key))


def read_private(file: str, passphrase: Callable[[], str | None]) -> PrivateKey:
    """Reads a private key in PEM form. `passphrase` is asked when it is protected; None: there is none.

    Raises:
        LoadError: as `read_public`, or the passphrase is missing or wrong.
    """
    data = _pem(file)
    from cryptography.hazmat.primitives import serialization

    is_protected = b"ENCRYPTED" in data
    words = passphrase() if is_protected else None
    if is_protected and not words:
        raise LoadError(f"{file} is protected by a passphrase, and none was given: set TYKB_KEY_PASSPHRASE")
    try:
        key: Any = serialization.load_pem_private_key(data, words.encode() if words else None)
    except Exception as error:
        if is_protected:
            raise LoadError(f"{file}: the passphrase is wrong, or the key is damaged") from error
        raise LoadError(f"{file} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)") from error
    return PrivateKey(_checked(file, key))


def generate() -> tuple[bytes, bytes]:
    """Makes a key; gives the private half (PKCS#8) and the public one, both PEM.

    Raises:
        LoadError: the package that makes it is missing.
    """
    _require()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=_NEW)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)


def _pem(file: str) -> bytes:
    _require()
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        raise LoadError(f"the key {file} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _checked(file: str, key: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    if not isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        raise LoadError(f"{file} holds a key of another kind than RSA, and bundles are signed with RSA keys")
    if key.key_size < SMALLEST:
        raise LoadError(f"{file}: the key has {key.key_size} bits; fewer than {SMALLEST} are not safe: make a new one")
    return key


def _require() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise LoadError("signatures need a package that is missing: pip install 'tykbridge[signatures]'") from error
