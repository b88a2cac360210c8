"""A small bundle, and how tests hold it against what it must prove."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import trees
from tykbridge.bundle.signing import Trust
from tykbridge.errors import LoadError

MANIFEST = {
    "file_list": ["middleware.py", "lib/rules.py"],
    "custom_middleware": {"driver": "python", "pre": [{"name": "mark"}]},
}
FILES = {"middleware.py": b"import lib.rules\n", "lib/rules.py": b"rules = []\n"}
PLAIN = {**FILES, "manifest.json": json.dumps(MANIFEST).encode()}

Files = dict[str, bytes]


def check(folder: Path, files: Mapping[str, str | bytes], public: Path | None = None, **options: bool) -> str:
    """Writes a bundle's folder and checks it; gives the form that held."""
    trees.write(folder, files)
    return Trust(str(public or ""), **options).check(folder).form


def refused(
    folder: Path, files: Mapping[str, str | bytes], words: str, public: Path | None = None, **options: bool
) -> None:
    with pytest.raises(LoadError, match=words) as refusal:
        check(folder, files, public, **options)
    assert str(refusal.value).isprintable()
    assert str(folder) in str(refusal.value)
