"""google.protobuf's own messages, compiled by protoc from proto/: what the views are held against."""

from __future__ import annotations

import functools
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.internal import api_implementation
from google.protobuf.message import Message
from hypothesis import strategies as st

PROTO = Path(__file__).parent.parent / "proto"

# upb is what Tyk's users run; the pure-Python runtime differs in details, and would be no oracle for those.
assert api_implementation.Type() == "upb"


def _compile() -> dict[str, type[Message]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "descriptors"
        files = [str(path) for path in sorted(PROTO.glob("*.proto"))]
        arguments = [f"-I{PROTO}", "--include_imports", f"--descriptor_set_out={out}", *files]
        subprocess.run([sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", *arguments], check=True)
        described = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in described.file:
        pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([file.name for file in described.file], pool)
    return {name.rpartition(".")[2]: cls for name, cls in classes.items()}


# Every message by its name without the package: PB["SessionState"].
PB = _compile()
NAMES = sorted(name for name in PB if name not in ("Event", "EventReply", "Delta"))


def is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def is_message(field: FieldDescriptor) -> bool:
    return field.message_type is not None and not is_map(field)


def value_field(field: FieldDescriptor) -> FieldDescriptor:
    """The field that tells of a field's values: a map's are its entry's second."""
    return field.message_type.fields_by_name["value"] if is_map(field) else field


# ---- What a message holds, in plain Python ----


def scalar(value: Any) -> Any:
    """A value that == compares as the wire would: two NaN are equal, 0.0 and -0.0 are not, True is not 1."""
    if isinstance(value, float):
        return ("double", struct.pack("<d", value))
    return (type(value).__name__, value)


def _unknown(fields: Any) -> list[Any]:
    found = [
        (field.field_number, field.wire_type, field.data if field.wire_type != 3 else _unknown(field.data))
        for field in fields
    ]
    return sorted(found, key=lambda field: field[0])


UNKNOWN = ("unknown fields",)  # a key that no field and no map has


def content(message: Message) -> dict[Any, Any]:
    """All that one of google.protobuf's messages holds, unknown fields (in the order of their numbers) included."""
    held = {field.name: field_content(message, field, content) for field in message.DESCRIPTOR.fields}
    held[UNKNOWN] = _unknown(unknown_fields.UnknownFieldSet(message))
    return held


def view_content(view: Any, descriptor: Descriptor) -> dict[str, Any]:
    """What a view shows of every field, read as a plugin reads it."""
    return {
        field.name: field_content(view, field, lambda child, f=field: view_content(child, value_field(f).message_type))
        for field in descriptor.fields
    }


def known(held: Any) -> Any:
    """`content` without the unknown fields, which a view does not show."""
    if isinstance(held, dict):
        return {name: known(value) for name, value in held.items() if name is not UNKNOWN}
    return [known(value) for value in held] if isinstance(held, list) else held


def field_content(message: Any, field: FieldDescriptor, child: Any) -> Any:
    value = getattr(message, field.name)
    leaf = child if value_field(field).message_type is not None else scalar
    if is_map(field):
        return {"map": {key: leaf(value[key]) for key in list(value)}}
    if field.is_repeated:
        return [leaf(one) for one in value]
    if is_message(field):
        return leaf(value) if message.HasField(field.name) else None
    return scalar(value)


# ---- Bytes on the wire, also such as no serialiser would write ----


def varint(number: int) -> bytes:
    out = bytearray()
    number &= (1 << 64) - 1
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def delimited(number: int, payload: bytes) -> bytes:
    return tag(number, 2) + varint(len(payload)) + payload


texts = st.one_of(
    st.sampled_from(["", "a", "b", "X-Key", "\x00", "é", "héllo\u2028", "\U0001f600", "x" * 200]), st.text(max_size=6)
)
keys = st.one_of(st.sampled_from(["a", "b", "x", "", "X-Key", "é"]), st.text(max_size=3))
blobs = st.one_of(st.sampled_from([b"", b"\xff\xfe", b"a\x00b", b"plain"]), st.binary(max_size=8))
int32s = st.one_of(st.sampled_from([0, 1, -1, 200, 2**31 - 1, -(2**31)]), st.integers(-(2**31), 2**31 - 1))
int64s = st.one_of(st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]), st.integers(-(2**63), 2**63 - 1))
doubles = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e22, float("inf"), float("nan")]), st.floats())

_KINDS = {
    FieldDescriptor.TYPE_STRING: texts,
    FieldDescriptor.TYPE_BYTES: blobs,
    FieldDescriptor.TYPE_INT32: int32s,
    FieldDescriptor.TYPE_ENUM: int32s,
    FieldDescriptor.TYPE_INT64: int64s,
    FieldDescriptor.TYPE_DOUBLE: doubles,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
}


def _scalar_bytes(field: FieldDescriptor) -> st.SearchStrategy[bytes]:
    def encode(value: Any) -> bytes:
        if isinstance(value, str | bytes):
            return delimited(field.number, value.encode() if isinstance(value, str) else value)
        if isinstance(value, float):
            return tag(field.number, 1) + struct.pack("<d", value)
        return tag(field.number, 0) + varint(int(value))

    return _KINDS[field.type].map(encode)


def _packed_bytes(field: FieldDescriptor) -> st.SearchStrategy[bytes]:
    return st.lists(doubles, max_size=3).map(
        lambda reals: delimited(field.number, b"".join(struct.pack("<d", real) for real in reals))
    )


def _entry_bytes(field: FieldDescriptor, odd: bool) -> st.SearchStrategy[bytes]:
    # Few keys, so that programs meet those that came with the bytes.
    pieces = [keys.map(lambda key: delimited(1, key.encode())), value_bytes(value_field(field), odd)]
    usual = st.tuples(*pieces).map(b"".join)
    # Either half missing, both twice, the value first: parsers take the last of each.
    payload = st.one_of(usual, usual, st.lists(st.one_of(pieces), max_size=4).map(b"".join)) if odd else usual
    return payload.map(lambda body: delimited(field.number, body))


def value_bytes(field: FieldDescriptor, odd: bool = True) -> st.SearchStrategy[bytes]:
    """One occurrence of a field, tag included."""
    if is_map(field):
        return _entry_bytes(field, odd)
    if field.message_type is not None:
        return wire(field.message_type.name, odd).map(lambda body: delimited(field.number, body))
    if field.type == FieldDescriptor.TYPE_DOUBLE and field.is_repeated:
        return st.one_of(_scalar_bytes(field), _packed_bytes(field))
    return _scalar_bytes(field)


def _stray_bytes(descriptor: Descriptor) -> st.SearchStrategy[bytes]:
    """A field that the message does not know: a strange number, or a known one with a wire type not its own."""
    strange = st.sampled_from([35, 99, 1000, 2**29 - 1])
    fixed32 = st.sampled_from([field.number for field in descriptor.fields] or [1])
    return st.one_of(
        st.tuples(strange, int64s).map(lambda pair: tag(pair[0], 0) + varint(pair[1])),
        st.tuples(strange, blobs).map(lambda pair: delimited(*pair)),
        st.tuples(strange, int64s).map(lambda pair: tag(pair[0], 3) + tag(1, 0) + varint(pair[1]) + tag(pair[0], 4)),
        fixed32.map(lambda number: tag(number, 5) + b"abcd"),
    )


@functools.cache  # making a strategy costs more than drawing from it
def wire(name: str, odd: bool = True) -> st.SearchStrategy[bytes]:
    """A well-formed message of type `name`; an odd one in any order, in pieces, with unknown fields and keys twice."""
    descriptor = PB[name].DESCRIPTOR
    fields = [st.deferred(lambda f=field: value_bytes(f, odd)) for field in descriptor.fields]
    if odd:
        fields.append(_stray_bytes(descriptor))
    return st.lists(st.one_of(fields), max_size=6).map(b"".join)
