"""Writes csrc/fields.c, the table that drives every view, from the .proto files.

    python tools/gen_fields.py            # rewrites csrc/fields.c
    python tools/gen_fields.py --check    # exit status 1 when the file is not what proto/ says

Needs grpcio-tools (its protoc). Run it after a change to proto/; a test holds the two together.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "csrc" / "fields.c"
PACKAGE = "coprocess"
KINDS = {
    FieldDescriptorProto.TYPE_BOOL: "TYKB_KIND_BOOL",
    FieldDescriptorProto.TYPE_INT32: "TYKB_KIND_INT32",
    FieldDescriptorProto.TYPE_INT64: "TYKB_KIND_INT64",
    FieldDescriptorProto.TYPE_ENUM: "TYKB_KIND_ENUM",
    FieldDescriptorProto.TYPE_DOUBLE: "TYKB_KIND_DOUBLE",
    FieldDescriptorProto.TYPE_STRING: "TYKB_KIND_STRING",
    FieldDescriptorProto.TYPE_BYTES: "TYKB_KIND_BYTES",
    FieldDescriptorProto.TYPE_MESSAGE: "TYKB_KIND_MESSAGE",
}


def descriptors() -> FileDescriptorSet:
    """Compiles proto/coprocess_*.proto and returns what protoc says of them, imports first."""
    files = sorted(path.name for path in (ROOT / "proto").glob("coprocess_*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        arguments = ["protoc", f"-I{ROOT / 'proto'}", "--include_imports", f"--descriptor_set_out={out}", *files]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc refused the .proto files")
        return FileDescriptorSet.FromString(out.read_bytes())


def messages() -> list[DescriptorProto]:
    """Every message, children before those that hold them."""
    found = {m.name: m for file in descriptors().file for m in file.message_type}
    ordered: list[DescriptorProto] = []

    def place(message: DescriptorProto) -> None:
        if message in ordered:
            return
        for field in message.field:
            child = child_name(message, field)
            if child is not None:
                place(found[child])
        ordered.append(message)

    for message in found.values():
        place(message)
    return ordered


def map_value(message: DescriptorProto, field: FieldDescriptorProto) -> FieldDescriptorProto | None:
    """The value field of a map's entry type, or None where the field is no map."""
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith("." + message.name + "." + nested.name):
            key, value = nested.field
            if key.type != FieldDescriptorProto.TYPE_STRING:
                raise SystemExit(f"{message.name}.{field.name}: only string keys are built for")
            return value
    return None


def child_name(message: DescriptorProto, field: FieldDescriptorProto) -> str | None:
    """The name of the message type below a field or a map's values."""
    value = map_value(message, field) or field
    if value.type != FieldDescriptorProto.TYPE_MESSAGE:
        return None
    return value.type_name.removeprefix(f".{PACKAGE}.")


def row(message: DescriptorProto, index: int, field: FieldDescriptorProto) -> str:
    """One line of a type's table."""
    value = map_value(message, field)
    if value is not None:
        shape = "TYKB_MAP"
    elif field.label == FieldDescriptorProto.LABEL_REPEATED:
        shape = "TYKB_REPEATED"
    else:
        shape = "TYKB_SINGULAR"
    child = child_name(message, field)
    pointer = f"&tykb_type_{child}" if child else "NULL"
    return f'    {{"{field.name}", {field.number}, {index}, {KINDS[(value or field).type]}, {shape}, {pointer}}},'


def table(message: DescriptorProto) -> list[str]:
    """The C definitions for one message type."""
    name = message.name
    rows = sorted(message.field, key=lambda field: field.number)
    numbers = [field.number for field in rows]
    top = max(numbers, default=0)
    by_number = ", ".join(str(numbers.index(n)) if n in numbers else "-1" for n in range(top + 1))
    names = [field.name for field in rows]
    pair = [names.index(n) if n in names else -1 for n in ("body", "raw_body")]
    lines = []
    fields = "NULL"
    if rows:
        lines += [f"static const struct tykb_field fields_{name}[] = {{"]
        lines += [row(message, index, field) for index, field in enumerate(rows)]
        lines += ["};"]
        fields = f"fields_{name}"
    lines += [f"static const int8_t by_number_{name}[] = {{{by_number}}};"]
    values = f'"{name}", {fields}, {len(rows)}, {top}, by_number_{name}, {pair[0]}, {pair[1]}'
    return [*lines, f"const struct tykb_type tykb_type_{name} = {{{values}}};", ""]


def generate() -> str:
    """The whole file."""
    types = messages()
    lines = [
        "/* The fields of every message. Written by tools/gen_fields.py from proto/: change those and run it. */",
        '#include "object.h"',
        "",
        "/* clang-format off */",
    ]
    lines += [f"extern const struct tykb_type tykb_type_{message.name};" for message in types] + [""]
    for message in types:
        lines += table(message)
    pointers = ", ".join(f"&tykb_type_{message.name}" for message in types)
    lines += [f"const struct tykb_type *const tykb_types[] = {{{pointers}, NULL}};", "/* clang-format on */", ""]
    return "\n".join(lines)


def main() -> int:
    """Writes the file, or with --check compares it."""
    text = generate()
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_text() != text:
            print(
                f"{TARGET.relative_to(ROOT)} is not what proto/ says: run python tools/gen_fields.py", file=sys.stderr
            )
            return 1
        return 0
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
