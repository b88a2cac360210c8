"""Writes tykbridge/compat/_descriptors.py, the compiled .proto files for plugins' pb2 modules.

    python tools/gen_descriptors.py            # rewrites the file
    python tools/gen_descriptors.py --check    # exit status 1 when the file is not what proto/ says

A test holds the two together.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gen_fields import ROOT, descriptors

TARGET = ROOT / "tykbridge" / "compat" / "_descriptors.py"
WIDTH = 110

HEAD = '''"""The compiled .proto files, each after those that it imports. Written by tools/gen_descriptors.py."""

from __future__ import annotations

FILES: dict[str, bytes] = {
'''


def literal(data: bytes) -> str:
    """A bytes literal, in the quotes that a formatter leaves alone: those with less to escape, else double ones."""
    quote = "'" if data.count(b'"') > data.count(b"'") else '"'
    text = repr(data)[2:-1].replace("\\'", "'").replace(quote, f"\\{quote}")
    return f"b{quote}{text}{quote}"


def pieces(data: bytes) -> list[str]:
    """The bytes as literals, each at most WIDTH wide; a new one begins where a name or a field may."""
    lines, piece = [], b""
    for at in range(len(data)):
        byte = data[at : at + 1]
        if (byte == b"\x12" and len(piece) >= 24) or len(literal(piece + byte)) > WIDTH:
            lines.append(literal(piece))
            piece = b""
        piece += byte
    return [*lines, literal(piece)]


def generate() -> str:
    """The whole file."""
    lines = [HEAD]
    for file in descriptors().file:
        lines.append(f'    "{file.name}": (\n')
        lines += [f"        {piece}\n" for piece in pieces(file.SerializeToString(deterministic=True))]
        lines.append("    ),\n")
    return "".join([*lines, "}\n"])


def finish(target: Path, text: str) -> int:
    """Writes a generated file, or with --check compares it."""
    if sys.argv[1:] == ["--check"]:
        if target.read_text(encoding="utf-8") != text:
            words = f"{target.relative_to(ROOT)} is not what proto/ says: run python {Path(sys.argv[0]).name}"
            print(words, file=sys.stderr)
            return 1
        return 0
    target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(finish(TARGET, generate()))
