"""SHA256SUMS is read strictly, and is what sha256sum writes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.signed_bundles import refused

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("sums", "words"),
    [
        (b"", "SHA256SUMS does not list 'a'"),
        (b"%s  a", "its last line is not ended: it may be cut off"),
        (b"%s  a\n\n", r':2: must be "<SHA-256, hexadecimal>  <path>", and is \'\''),
        (b"%s *a\n", r"SHA256SUMS:1: must be .* \*a"),
        (b"%s a\n", "SHA256SUMS:1: must be"),
        (b"%s\ta\n", "SHA256SUMS:1: must be"),
        (b"\\%s  a\\\\b\n", "SHA256SUMS:1: must be"),
        (b"SHA256 (a) = %s\n", "SHA256SUMS:1: must be"),
        (b"%s  a\r\n", r"SHA256SUMS lists 'a\\r', which the bundle does not have"),
        (b"%s  ./a\n", r"SHA256SUMS lists './a', which the bundle does not have"),
        (b"%s  a\n%s  ../evil\n", r"SHA256SUMS lists '\.\./evil', which the bundle does not have"),
        (b"%s  a\n%s  SHA256SUMS\n", "SHA256SUMS lists 'SHA256SUMS', which the bundle does not have"),
        (b"%s  a\n%s  a\n", "SHA256SUMS:2: 'a' is there twice"),
        (b"%s  a\n# comment\n", "SHA256SUMS:2: must be .*, and is '# comment'"),
        (b"\xef\xbb\xbf%s  a\n", "SHA256SUMS:1: must be"),
        (b"%s  \xff\n", "SHA256SUMS is not UTF-8"),
        (b"0%s  a\n", "SHA256SUMS:1: must be"),
        (b"%s  a\n" + b"x" * 1000 + b"\n", "SHA256SUMS:2: must be .*xxx\\.\\.\\.'$"),
    ],
)
def test_the_list_is_read_strictly(tmp_path: Path, sums: bytes, words: str) -> None:
    digest = hashlib.sha256(b"").hexdigest().encode()
    refused(tmp_path, {"a": b"", "SHA256SUMS": sums.replace(b"%s", digest)}, words)


def test_digests_in_capitals_are_not_the_format(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"").hexdigest().upper()
    refused(tmp_path, {"a": b"", "SHA256SUMS": f"{digest}  a\n"}, "SHA256SUMS:1: must be")
