"""Hostile archives: what each is, how it is made, and the words with which it is refused."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable

from tests.zips import DEFERRED, FOLDER, STORED, UTF8, Entry, deflated, extra, make

MIB = 1 << 20
MANIFEST = Entry("manifest.json", b"{}")


def with_entry(*arguments: object, **keys: object) -> Callable[[], bytes]:
    """A good manifest, and one more entry."""
    return lambda: make(MANIFEST, Entry(*arguments, **keys))  # type: ignore[arg-type]


def named(name: str | bytes) -> Callable[[], bytes]:
    return with_entry(name)


def pair(first: str, second: str) -> Callable[[], bytes]:
    return lambda: make(MANIFEST, Entry(first), Entry(second))


def sizes(crc: int, packed: int, size: int, mark: bytes = b"PK\7\x08") -> bytes:
    return mark + struct.pack("<3L", crc, packed, size)


def deferred(**wrong: int) -> bytes:
    """An archive as Go writes it: the sizes of an entry follow its data. `wrong` are the ones that lie there."""
    data = b"x" * 50
    told = {"crc": zlib.crc32(data), "packed": len(deflated(data)), "size": len(data), **wrong}
    entry = Entry("a", data, both={"flags": DEFERRED}, local={"crc": 0, "packed": 0, "size": 0}, after=sizes(**told))
    return make(MANIFEST, entry)


def shared() -> bytes:
    """David Fifield's bomb: many entries of the list have the same data."""
    return make(
        MANIFEST,
        Entry("a", b"x" * 100),
        Entry("b", b"x" * 100, has_header=False, listed={"offset": len(local_part(MANIFEST))}),
    )


def quoted() -> bytes:
    """Entries inside of each other: the data of one is the header and the data of the next."""
    inner = local_part(Entry("b", b"x" * 100))
    return make(
        MANIFEST,
        Entry("a", inner, method=STORED),
        Entry("b", b"x" * 100, has_header=False, listed={"offset": len(local_part(MANIFEST)) + 30 + len("a")}),
    )


def local_part(entry: Entry) -> bytes:
    return make(entry)[: -22 - 46 - len(entry.fields()["name"])]


def central_changed(at: int, value: bytes) -> bytes:
    whole = bytearray(make(MANIFEST))
    start = whole.rindex(b"PK\1\2")
    whole[start + at : start + at + len(value)] = value
    return bytes(whole)


def zip64_by_python() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("manifest.json", "{}")
        with archive.open("big", "w", force_zip64=True) as entry:
            entry.write(b"x")
    return target.getvalue()


def zip64_end() -> bytes:
    """The end record points to one of zip64, which would count."""
    whole = make(MANIFEST)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    return whole[:-22] + locator + whole[-22:]


def bomb(more: int = 0, **told: int) -> Callable[[], bytes]:
    """64 MiB, which is what a file may have, out of 64 KiB."""
    return lambda: make(MANIFEST, Entry("a", bytes(64 * MIB + more), both=told))


# What it is, how it is made, the words of the refusal.
HOSTILE: list[tuple[str, Callable[[], bytes], str]] = [
    # ---- names
    ("a parent folder", named("../evil"), r"'\.\./evil': the entry's name has \"\.\.\""),
    ("a parent folder further in", named("a/../../evil"), r"'a/\.\./\.\./evil': .* has \"\.\.\""),
    ("a parent folder at the end", named("a/.."), r"'a/\.\.': .* has \"\.\.\""),
    ("only a parent folder", with_entry("../", b"", FOLDER), r"'\.\./': .* has \"\.\.\""),
    ("an absolute path", named("/etc/cron.d/evil"), "'/etc/cron.d/evil': .* is an absolute path"),
    ("an absolute path behind a dot", named(".//etc/evil"), "'.//etc/evil': .* is an absolute path"),
    ("two slashes before it", named("//host/share"), "'//host/share': .* is an absolute path"),
    ("a drive", named("C:/evil"), "'C:/evil': .* starts with a drive"),
    ("a drive without a slash", named("c:evil"), "'c:evil': .* starts with a drive"),
    ("a drive behind a dot", named("./C:/evil"), "starts with a drive"),
    ("backslashes", named("a\\..\\..\\evil"), r"holds a backslash; folders are separated with /"),
    ("a share", named("\\\\host\\share"), "holds a backslash"),
    ("a NUL", named(b"manifest.json\0.txt"), r"'manifest\.json\\x00\.txt': .* holds a control character"),
    ("a line break", named("a\nERROR forged line"), r"'a\\nERROR forged line': .* holds a control character"),
    ("an escape sequence", named("a\x1b[2J"), r"'a\\x1b\[2J': .* holds a control character"),
    ("a DEL", named("a\x7f"), r"'a\\x7f': .* holds a control character"),
    ("a C1 control", named("a\x9b2J"), r"'a\\x9b2J': .* holds a control character"),
    ("text that runs backwards", named("a\u202eyp.evil"), r"'a\\u202eyp\.evil': .* holds a control character"),
    ("no UTF-8", named(b"a\xff\xfe"), r"'a\\udcff\\udcfe': the entry's name is not UTF-8"),
    (
        "no UTF-8, but flagged so",
        with_entry(b"a\xff", both={"flags": UTF8}),
        "its list of entries cannot be read: .*utf-8",
    ),
    ("a surrogate", named(b"a\xed\xa0\x80"), "the entry's name is not UTF-8"),
    ("no name", named(""), "'': an entry needs a name"),
    ("a dot for a name", with_entry("./", b"", FOLDER), "'./': an entry needs a name"),
    ("an empty part", named("a//b"), "'a//b': .* has an empty part"),
    ("a dot for a part", named("a/./b"), "'a/./b': .* has an empty part"),
    ("a part that is too long", named("a" * 256), "'a{200}...': the entry's name is too long: 255 bytes a part"),
    ("a part too long in bytes", named("é" * 128), "the entry's name is too long: 255 bytes a part"),
    ("a path that is too long", named("/".join(["a" * 200] * 6)), "the entry's name is too long: .* 1024 in all"),
    (
        "a second name",
        with_entry("a", both={"extra": extra(0x7075, b"\1\0\0\0\0../evil")}),
        r"'a' has a second name, '\.\./evil'",
    ),
    # ---- kinds
    (
        "a symbolic link",
        with_entry("a", b"/etc/passwd", stat.S_IFLNK | 0o777),
        "'a' is a symbolic link; a bundle has files",
    ),
    (
        "a link for the manifest",
        lambda: make(Entry("manifest.json", b"/etc/passwd", stat.S_IFLNK | 0o777)),
        "'manifest.json' is a symbolic link",
    ),
    (
        "a link, and a file behind it",
        lambda: make(MANIFEST, Entry("a", b"/tmp", stat.S_IFLNK), Entry("a/evil")),
        "'a' is a symbolic link",
    ),
    (
        "a hard link of PKZIP",
        with_entry("a", b"", both={"extra": extra(0x000D, bytes(12) + b"/etc/passwd")}),
        "'a' is a link or a device",
    ),
    (
        "a link of ASi",
        with_entry("a", b"", both={"extra": extra(0x756E, bytes(14) + b"/etc/passwd")}),
        "'a' is a link or a device",
    ),
    (
        "a link before the data only",
        with_entry("a", b"", local={"extra": extra(0x000D, bytes(12) + b"/etc")}),
        "'a' is a link or a device",
    ),
    ("a character device", with_entry("a", b"", stat.S_IFCHR | 0o666), "'a' is a device"),
    ("a block device", with_entry("a", b"", stat.S_IFBLK | 0o666), "'a' is a device"),
    ("a named pipe", with_entry("a", b"", stat.S_IFIFO | 0o666), "'a' is a named pipe"),
    ("a socket", with_entry("a", b"", stat.S_IFSOCK | 0o666), "'a' is a socket"),
    ("an unknown kind", with_entry("a", b"", 0o170000), "'a' is no file; a bundle has"),
    ("a folder by its mode", with_entry("a", b"", FOLDER), "'a': its name and its mode do not agree"),
    ("a file by its mode", with_entry("a/", b""), "'a/': its name and its mode do not agree"),
    (
        "a folder of MS-DOS",
        with_entry("a", b"", listed={"attributes": 0x10}),
        "'a': its name and its mode do not agree",
    ),
    ("a folder with contents", with_entry("a/", b"data", FOLDER), "'a/' is a folder, and has contents"),
    # ---- names among each other
    ("a name twice", pair("a", "a"), "'a' is there twice"),
    ("a name twice, with ./", pair("a", "./a"), "'./a' is there twice"),
    ("two manifests", lambda: make(MANIFEST, MANIFEST), "'manifest.json' is there twice"),
    (
        "a folder twice",
        lambda: make(MANIFEST, Entry("a/", b"", FOLDER), Entry("a/", b"", FOLDER)),
        "'a/' is there twice",
    ),
    (
        "upper and lower case",
        pair("rules.py", "RULES.py"),
        "'RULES.py' and 'rules.py' are the same name on some file systems",
    ),
    ("upper and lower case of a folder", pair("lib/a", "LIB/b"), "'LIB' and 'lib' are the same name"),
    ("two manifests by case", pair("a", "Manifest.json"), "'Manifest.json' and 'manifest.json' are the same name"),
    ("composed and decomposed", pair("\u00e9", "e\u0301"), "are the same name on some file systems"),
    ("one letter for two", pair("stra\u00dfe", "STRASSE"), "are the same name on some file systems"),
    ("a file where a folder is needed", pair("a", "a/b"), "'a' is a file and a folder"),
    ("a folder where a file is needed", pair("a/b", "a"), "'a' is a file and a folder"),
    ("the manifest as a folder", pair("a", "manifest.json/b"), "'manifest.json' is a file and a folder"),
    # ---- the manifest
    ("no manifest", lambda: make(Entry("a")), "it has no manifest.json at its root$"),
    ("an empty archive", make, "it has no manifest.json at its root$"),
    (
        "a manifest in a folder",
        lambda: make(Entry("hello/manifest.json")),
        "no manifest.json at its root; it has 'hello/manifest.json'",
    ),
    (
        "a manifest in capitals",
        lambda: make(Entry("MANIFEST.JSON")),
        "no manifest.json at its root; it has 'MANIFEST.JSON'",
    ),
    (
        "a folder for a manifest",
        lambda: make(Entry("manifest.json/", b"", FOLDER)),
        "it has no manifest.json at its root$",
    ),
    # ---- what is in an entry
    ("encrypted", with_entry("a", both={"flags": 1}), "'a' is encrypted"),
    ("strongly encrypted", with_entry("a", both={"flags": 0x41}), "'a' is encrypted"),
    ("a masked header", with_entry("a", both={"flags": 0x2000}), "'a' is encrypted"),
    ("a patch", with_entry("a", both={"flags": 0x20}), r"'a' needs features of zip \(flags 0x0020\)"),
    ("bzip2", with_entry("a", both={"method": 12}), r"'a' is compressed with method 12; use deflate \(8\)"),
    ("lzma", with_entry("a", both={"method": 14}), "'a' is compressed with method 14"),
    ("deflate64", with_entry("a", both={"method": 9}), "'a' is compressed with method 9"),
    ("of a zip yet to come", with_entry("a", both={"version": 99}), "its list of entries cannot be read: .*9.9"),
    (
        "extra fields cut off",
        with_entry("a", local={"extra": b"\x01\x02\xff\x00x"}),
        "'a': its extra fields are cut off",
    ),
    ("half an extra field", with_entry("a", local={"extra": b"\x01"}), "'a': its extra fields are cut off"),
    ("another disk for an entry", with_entry("a", listed={"disk": 1}), r"'a' lies on another disk \(1\)"),
    # ---- lies about sizes and contents
    ("a wrong CRC", with_entry("a", both={"crc": 1}), "'a' is damaged: its CRC is [0-9a-f]{8}, and should be 00000001"),
    ("a wrong CRC, stored", with_entry("a", method=STORED, both={"crc": 1}), "'a' is damaged: its CRC"),
    (
        "more than it tells of",
        with_entry("a", b"x" * 100, both={"size": 10, "crc": zlib.crc32(b"x" * 10)}),
        "'a' unpacks to more than the 10 bytes that it tells of",
    ),
    (
        "a bomb that tells of little",
        bomb(size=1000),
        "'a' unpacks to more than the 1000 bytes",
    ),
    (
        "less than it tells of",
        with_entry("a", b"x" * 10, both={"size": 100}),
        "'a' unpacks to 10 bytes, and tells of 100",
    ),
    (
        "two sizes of what is stored",
        with_entry("a", method=STORED, both={"size": 100}),
        "'a' is not compressed, and has two sizes: 9 and 100",
    ),
    ("no deflate", with_entry("a", raw=b"\xff\xff\xff\xff"), "'a' is damaged: Error -3 while decompressing"),
    (
        "deflate that ends too early",
        with_entry("a", b"x" * 5000, raw=deflated(b"x" * 5000)[:-3]),
        "'a' is damaged: its compressed data ends too early",
    ),
    (
        "bytes after the compressed data",
        with_entry("a", b"x", raw=deflated(b"x") + b"hidden"),
        "'a' has bytes after the end of its compressed data",
    ),
    ("no compressed data at all", with_entry("a", b"", raw=b""), "'a' is damaged: its compressed data ends too early"),
    ("a bomb", bomb(), r"'a' unpacks \d+ bytes to 67108864, more than 200 times as many"),
    ("a file that is too large", bomb(1), "'a' unpacks to 67108865 bytes; 67108864 are allowed"),
    (
        "too much in all",
        lambda: make(MANIFEST, *(Entry(f"f{i}", b"", both={"size": 60 * MIB, "packed": MIB}) for i in range(5))),
        "it unpacks to 314572802 bytes; 268435456 are allowed",
    ),
    (
        "too many entries",
        lambda: make(MANIFEST, *(Entry(f"f{i}", b"") for i in range(10_000))),
        "it has 10001 entries; 10000 are allowed",
    ),
    (
        "too many folders",
        lambda: make(MANIFEST, *(Entry("/".join([f"f{i}", *"a" * 500]), b"") for i in range(20))),
        "it has more than 10000 files and folders",
    ),
    # ---- the list against what it lists
    ("another name before the data", with_entry("a", local={"name": b"b"}), "'a' is called 'b' before its data"),
    (
        "a way out before the data",
        with_entry("a.b/evil", local={"name": b"../.evil"}),
        r"'a\.b/evil' is called '\.\./\.evil' before its data",
    ),
    (
        "other flags before the data",
        with_entry("a", local={"flags": 1}),
        "'a': its flags before the data is 0x1, in the list 0x0",
    ),
    (
        "another method before the data",
        with_entry("a", local={"method": 0}),
        "'a': its method before the data is 0x0, in the list 0x8",
    ),
    (
        "another CRC before the data",
        with_entry("a", local={"crc": 1}),
        "'a': its CRC before the data is 0x1, in the list",
    ),
    ("another size before the data", with_entry("a", local={"size": 10**9}), "'a': its size before the data is"),
    (
        "another packed size before the data",
        with_entry("a", local={"packed": 1}),
        "'a': its packed size before the data is",
    ),
    (
        "sizes after the data that lie",
        lambda: deferred(size=10**6),
        "'a': the sizes and CRC after its data are not those of the list",
    ),
    ("a CRC after the data that lies", lambda: deferred(crc=1), "'a': the sizes and CRC after its data are not"),
    (
        "no sizes after the data",
        with_entry("a", both={"flags": DEFERRED}),
        "'a': the sizes and CRC after its data are not",
    ),
    ("no entry where the list says", with_entry("a", listed={"offset": 3}), "'a' shares bytes with 'manifest.json'"),
    (
        "an entry past the end",
        with_entry("a", has_header=False, listed={"offset": 10**6}),
        "'manifest.json' and 'a' belong to no entry",
    ),
    ("an entry in the list", with_entry("a", has_header=False), r"'a': there is no entry where the list says"),
    (
        "data that reaches into the list",
        with_entry("a", b"x" * 1000, method=STORED, raw=b"x", both={"packed": 1000}),
        "'a' reaches into the list of entries, or past the end",
    ),
    ("data shared by two entries", shared, "'b' shares bytes with 'a'"),
    ("an entry inside of another", quoted, "'b' shares bytes with 'a'"),
    (
        "a second list",
        lambda: make(MANIFEST, gap=make(Entry("evil"))),
        r"bytes after 'manifest\.json' belong to no entry",
    ),
    (
        "bytes between entries",
        lambda: make(Entry("manifest.json", b"{}", after=b"hidden"), Entry("a")),
        "6 bytes between 'manifest.json' and 'a' belong to no entry",
    ),
    (
        "bytes before the first entry",
        lambda: make(MANIFEST, before=b"#!/bin/sh\n"),
        "10 bytes before 'manifest.json', its first entry belong to no entry",
    ),
    ("a program before the archive", lambda: b"\x7fELF" + make(MANIFEST), "its list of entries ends at"),
    # ---- the end record
    ("no zip", lambda: b"<html>404 Not Found</html>", "it is not a zip archive, or its end is missing"),
    ("nothing at all", lambda: b"", "it is not a zip archive"),
    ("cut in the end record", lambda: make(MANIFEST)[:-5], "it is not a zip archive, or its end is missing"),
    ("cut in the list", lambda: make(MANIFEST, Entry("a"))[:-60], "it is not a zip archive, or its end is missing"),
    (
        "cut in the comment",
        lambda: make(MANIFEST, comment=b"0123456789")[:-5],
        "its end is missing: fetch or build it again",
    ),
    ("bytes after the end", lambda: make(MANIFEST) + b"hidden", "6 bytes follow its end record"),
    (
        "another archive after it",
        lambda: make(MANIFEST) + make(Entry("manifest.json", b"{ }")),
        "its list of entries ends at",
    ),
    ("an end record in the comment", lambda: make(MANIFEST, comment=make()), "its list of entries ends at 0"),
    ("more disks", lambda: make(MANIFEST, disk=1), "it is one part of an archive on several disks"),
    ("the list on another disk", lambda: make(MANIFEST, list_disk=2), "it is one part of an archive on several disks"),
    ("fewer entries here than in all", lambda: make(MANIFEST, here=0), "it is one part of an archive on several disks"),
    ("a list elsewhere", lambda: make(MANIFEST, start=7), "its list of entries ends at"),
    ("a list past the end", lambda: make(MANIFEST, start=10**9), "its list of entries ends at"),
    ("a longer list", lambda: make(MANIFEST, length=10**6), "its list of entries ends at"),
    (
        "fewer entries told of",
        lambda: make(MANIFEST, Entry("a"), here=1, number=1),
        "tells of 1 entries, and its list has 2",
    ),
    ("more entries told of", lambda: make(MANIFEST, here=9, number=9), "tells of 9 entries, and its list has 1"),
    ("a broken list", lambda: central_changed(0, b"PK\0\0"), "its list of entries cannot be read: Bad magic number"),
    (
        "a name past the list",
        lambda: central_changed(28, b"\xff\xff"),
        "the last entry of its list is cut off: 65522 bytes are missing",
    ),
    ("zip64 by Python", zip64_by_python, "'big' is in the zip64 form"),
    (
        "zip64 before the data only",
        with_entry("a", local={"extra": extra(1, struct.pack("<2Q", 1, 1))}),
        "'a' is in the zip64 form",
    ),
    (
        "zip64 that lies",
        with_entry("a", both={"extra": extra(1, struct.pack("<2Q", 1 << 60, 1 << 60)), "size": 0xFFFFFFFF}),
        "zip64|its list of entries cannot be read",
    ),
    (
        "zip64 without its field",
        with_entry("a", both={"size": 0xFFFFFFFF}),
        "'a' unpacks to 4294967295 bytes; 67108864 are allowed",
    ),
    ("a locator of zip64", zip64_end, "it is in the zip64 form, which a bundle is too small to need"),
    ("numbers of zip64", lambda: make(MANIFEST, here=0xFFFF, number=0xFFFF), "it is in the zip64 form"),
    ("a place of zip64", lambda: make(MANIFEST, start=0xFFFFFFFF), "it is in the zip64 form"),
]  # fmt: skip
