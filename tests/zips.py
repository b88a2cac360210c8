"""Writes zips field by field, so that a test can make any field of them wrong."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

STORED, DEFLATED = 0, 8
DEFERRED, UTF8 = 0x0008, 0x0800
FILE, FOLDER = 0o100644, 0o040755


@dataclass
class Entry:
    """One entry. `both` replaces fields, `local` those of the header before the data, `listed` those of the list.

    Fields: version, flags, method, crc, packed, size, name, extra; in the list disk, attributes and offset as well.
    """

    name: str | bytes
    data: bytes = b"contents\n"
    mode: int = FILE
    method: int = DEFLATED
    raw: bytes | None = None  # in place of what the method makes of the data
    after: bytes = b""  # between this entry's data and the next entry
    has_header: bool = True  # False: the list has the entry, and nothing else has
    both: dict[str, Any] = field(default_factory=dict)
    local: dict[str, Any] = field(default_factory=dict)
    listed: dict[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        raw = self.raw
        if raw is None:
            raw = deflated(self.data) if self.method == DEFLATED else self.data
        name = self.name.encode() if isinstance(self.name, str) else self.name
        return {
            "version": 20,
            "flags": UTF8 if isinstance(self.name, str) and not self.name.isascii() else 0,
            "method": self.method,
            "crc": zlib.crc32(self.data),
            "packed": len(raw),
            "size": len(self.data),
            "name": name,
            "extra": b"",
            "disk": 0,
            "attributes": self.mode << 16,
            "raw": raw,
            **self.both,
        }


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush()


def extra(kind: int, data: bytes) -> bytes:
    return struct.pack("<2H", kind, len(data)) + data


def make(*entries: Entry, before: bytes = b"", gap: bytes = b"", comment: bytes = b"", **end: int) -> bytes:
    """Gives a zip. `before` stands before the first entry, `gap` before the list; `end` are fields of the end record.

    Fields: disk, list_disk, here, number, length, start, comment.
    """
    out, central = bytearray(before), bytearray()
    for entry in entries:
        fields = {**entry.fields(), "offset": len(out), **entry.listed}
        if entry.has_header:
            local = {**entry.fields(), **entry.local}
            out += struct.pack(
                "<4s5H3L2H", b"PK\3\4", local["version"], local["flags"], local["method"], 0, 0x21,
                local["crc"], local["packed"], local["size"], len(local["name"]), len(local["extra"]),
            )  # fmt: skip
            out += local["name"] + local["extra"] + local["raw"] + entry.after
        central += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 0x0314, fields["version"], fields["flags"], fields["method"], 0, 0x21,
            fields["crc"], fields["packed"], fields["size"], len(fields["name"]), len(fields["extra"]), 0,
            fields["disk"], 0, fields["attributes"], fields["offset"],
        )  # fmt: skip
        central += fields["name"] + fields["extra"]
    out += gap
    record = {
        "disk": 0, "list_disk": 0, "here": len(entries), "number": len(entries),
        "length": len(central), "start": len(out), "comment": len(comment), **end,
    }  # fmt: skip
    return bytes(out + central) + struct.pack("<4s4H2LH", b"PK\5\6", *record.values()) + comment
