"""Tells, before a library is opened, whether it can be: opening runs code, and the loader's own words help nobody."""

from __future__ import annotations

import mmap
import platform
import struct
import sys
from collections.abc import Iterator

from tykbridge.errors import LoadError

# Numbers of elf.h. By machine: e_machine, bytes of an address * 8, byte order, what Go calls it.
_MACHINES = {
    "x86_64": (62, 64, "little", "amd64"),
    "aarch64": (183, 64, "little", "arm64"),
    "i686": (3, 32, "little", "386"),
    "armv7l": (40, 32, "little", "arm"),
    "ppc64le": (21, 64, "little", "ppc64le"),
    "riscv64": (243, 64, "little", "riscv64"),
    "s390x": (22, 64, "big", "s390x"),
}
_NAMES = {(number, bits, order): name for number, bits, order, name in _MACHINES.values()}
_SHARED = 3  # ET_DYN
_DYNSYM = 11  # SHT_DYNSYM
_OTHERS = {
    b"MZ": "a library for Windows",
    b"\xcf\xfa\xed\xfe": "a library for macOS",
    b"\xce\xfa\xed\xfe": "a library for macOS",
    b"\xca\xfe\xba\xbe": "a library for macOS",
    b"!<ar": "an archive for a linker (-buildmode=c-archive, or ar)",
    b"PK\x03\x04": "a zip archive",
}
_HASHES = (b"go:link.pkghash", b"go.link.pkghash")
"""What Go's package plugin compares when it opens one; before Go 1.20 the name had a dot."""

_GO = (b".go.buildinfo", b".note.go.buildid")
"""Sections of programs and libraries that Go's linker made."""

_BUILD = "tykbridge plugin build"


def goarch() -> str:
    """Give this machine's architecture, as Go and the names of libraries have it."""
    machine = platform.machine()
    return _MACHINES[machine][3] if machine in _MACHINES else machine


def check(data: bytes, name: str) -> None:
    """Refuse a file that is no plugin for this machine.

    Raises:
        LoadError: it is not; the words begin with `name`, and say what to do.
    """
    for head, what in _OTHERS.items():
        if data.startswith(head):
            raise LoadError(f"{name} is {what}, and this is linux/{goarch()}: build it with {_BUILD}")
    if not data.startswith(b"\x7fELF") or len(data) < 64:
        raise LoadError(f"{name} is no shared library: build it with {_BUILD}, or as csrc/plugin.h says")
    bits, order = 64 if data[4] == 2 else 32, "little" if data[5] == 1 else "big"
    kind, machine = struct.unpack_from("<HH" if order == "little" else ">HH", data, 16)
    known = _MACHINES.get(platform.machine())
    if known is not None and (machine, bits, order) != known[:3]:
        other = _NAMES.get((machine, bits, order), f"another machine (ELF {machine}, {bits} bits)")
        raise LoadError(
            f"{name} is for linux/{other}, and this is linux/{goarch()}: {_BUILD} NAME '' linux {goarch()} builds it"
        )
    if kind != _SHARED:
        raise LoadError(f"{name} is no shared library but another kind of ELF file: build it with {_BUILD}")
    if bits != struct.calcsize("P") * 8 or order != sys.byteorder:
        return  # the loader says it
    try:
        symbols = set(_symbols(data))
    except (struct.error, IndexError, ValueError) as error:
        raise LoadError(f"{name} is a broken ELF file: copy or build it again") from error
    if symbols and b"tykb_plugin" not in symbols:
        if any(symbol.startswith(_HASHES) for symbol in symbols):
            what = "a plugin for Tyk's own gateway (go build -buildmode=plugin), which only that very gateway can open"
            raise LoadError(f"{name} is {what}: compile its source, as it is, with {_BUILD}")
        raise LoadError(
            f'{name} is a shared library, but no plugin: it does not export "tykb_plugin" (csrc/plugin.h). '
            f"Build one in Go with {_BUILD}"
        )


def is_go(program: bytes | mmap.mmap) -> bool:
    """Whether a program for this machine has what Go's linker leaves, also where it was stripped."""
    if program[:4] != b"\x7fELF":
        return False
    wide = struct.calcsize("P") == 8
    at, entry, count, names = (
        (*struct.unpack_from("Q", program, 40), *struct.unpack_from("HHH", program, 58))
        if wide
        else (*struct.unpack_from("I", program, 32), *struct.unpack_from("HHH", program, 46))
    )
    form, field = ("Q", 24) if wide else ("I", 16)  # the address in the file, of a section's header
    try:
        start = struct.unpack_from(form, program, at + names * entry + field)[0]
        for number in range(count):
            place = start + struct.unpack_from("I", program, at + number * entry)[0]
            if program[place : program.find(b"\0", place)] in _GO:
                return True
    except (struct.error, IndexError):
        pass
    return False


def _symbols(data: bytes) -> Iterator[bytes]:
    """Give the names that a library for this machine exports, or none where its sections were stripped."""
    wide = struct.calcsize("P") == 8
    at, entry, count = (
        (*struct.unpack_from("Q", data, 40), *struct.unpack_from("HH", data, 58))
        if wide
        else (*struct.unpack_from("I", data, 32), *struct.unpack_from("HH", data, 46))
    )
    if not at:
        return
    # Type, address in the file, size, and the number of the section that a section is linked to.
    form, fields = ("IIQQQQI", (1, 4, 5, 6)) if wide else ("IIIIIII", (1, 4, 5, 6))
    sections = []
    for number in range(count):
        values = struct.unpack_from(f"={form}", data, at + number * entry)
        sections.append(tuple(values[field] for field in fields))
    for kind, start, size, link in sections:
        if kind != _DYNSYM:
            continue
        names = sections[link][1]
        for place in range(start, start + size, 24 if wide else 16):
            name = struct.unpack_from("I", data, place)[0]
            section = struct.unpack_from("H", data, place + (6 if wide else 14))[0]
            if section:  # defined here, not wanted of others
                yield data[names + name : data.index(b"\0", names + name)]
