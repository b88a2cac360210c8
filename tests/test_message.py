"""Holds the builder and the reader of api.h against google.protobuf, through ctypes as a host would call them."""

import ctypes
import functools
import struct
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import assume, given
from hypothesis import strategies as st

from tykbridge import installation
from tykbridge.compat.pb2 import message_class

Object, SessionState, AccessDefinition = map(message_class, ("Object", "SessionState", "AccessDefinition"))
RIGHTS = (4, 10)
MULTIVALUE = (7, 5)


class Message(ctypes.Structure):
    _fields_ = (("p_data", c_void_p), ("length", c_int))


class Slice(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("size", c_size_t))

    def read(self):
        return ctypes.string_at(self.data, self.size)


class Item(ctypes.Structure):
    _fields_ = (("path", c_uint32), ("key", Slice), ("value", Slice), ("number", c_int64), ("real", c_double))


class Reader(ctypes.Structure):
    _fields_ = (("private", c_uint64 * 24),)


C = ctypes.CDLL(str(installation.library()))
for name, (result, *arguments) in {
    "tykb_reader_init": (None, POINTER(Reader), POINTER(Message)),
    "tykb_reader_next": (c_int, POINTER(Reader), POINTER(Item)),
    "tykb_builder_new": (c_void_p,),
    "tykb_builder_free": (None, c_void_p),
    "tykb_builder_text": (None, c_void_p, c_uint32, c_char_p, c_size_t),
    "tykb_builder_number": (None, c_void_p, c_uint32, c_int64),
    "tykb_builder_real": (None, c_void_p, c_uint32, c_double),
    "tykb_builder_pair": (None, c_void_p, c_uint32, c_char_p, c_size_t, c_char_p, c_size_t),
    "tykb_builder_finish": (c_int, c_void_p, POINTER(Message)),
    "tykb_message_clear": (None, POINTER(Message)),
}.items():
    getattr(C, name).restype, getattr(C, name).argtypes = result, arguments


def numbers(path):
    """(3, 10, 1) for TYKB_PATH(3, 10, 1)."""
    return tuple(number for number in (path & 0xFF, path >> 8 & 0xFF, path >> 16) if number)


def path_of(numbers):
    return sum(number << 8 * level for level, number in enumerate(numbers))


def items(data):
    """Every item that the reader gives, and what it ends with."""
    reader, item = Reader(), Item()
    kept = ctypes.create_string_buffer(data, len(data))
    C.tykb_reader_init(reader, Message(ctypes.addressof(kept), len(data)))
    found = []
    while (status := C.tykb_reader_next(byref(reader), byref(item))) > 0:
        found.append((numbers(item.path), item.key.read(), item.value.read(), item.number, item.real))
    return found, status


# ---- What a message says, by path: of google.protobuf's, and of the items that the reader gives ----


def bits(real):
    return struct.pack("<d", real)


NOTHING = (b"", 0, bits(0.0), [], {})  # what a default says


def flat(message, path=()):
    """{path: what the field says} of what is set."""
    said = {}
    for field in message.DESCRIPTOR.fields:
        here, value = (*path, field.number), getattr(message, field.name)
        if here == MULTIVALUE:
            leaf = [(header.key.encode(), one.encode()) for header in value for one in header.values]
        elif is_map(field):
            leaf = {key.encode(): encoded(value[key]) for key in value}
        elif field.is_repeated:
            leaf = [encoded(one) for one in value]
        elif is_message(field):
            said |= flat(value, here)
            continue
        else:
            leaf = encoded(value)
        if leaf not in NOTHING:
            said[here] = leaf
    return said


def encoded(value):
    """A value as an item has it."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, float):
        return bits(value)
    return value if isinstance(value, bytes | int) else value.SerializeToString()


def field_at(path):
    descriptor = Object.DESCRIPTOR
    for number in path:
        field = descriptor.fields_by_number[number]
        descriptor = field.message_type
    return field


def folded(found):
    """What the items say when a later one wins over an earlier one."""
    said = {}
    for path, key, value, number, real in found:
        field = field_at(path)
        if path == MULTIVALUE:
            said.setdefault(path, []).append((key, value))
        elif is_map(field):
            said.setdefault(path, {})[key] = value
        elif is_message(field):
            assert (key, value, number, real) == (b"", b"", 0, 0.0)  # an empty one
        elif field.type == field.TYPE_DOUBLE:
            leaf = bits(real)
            said[path] = [*said.get(path, []), leaf] if field.is_repeated else leaf
        else:
            leaf = value if field.type in (field.TYPE_STRING, field.TYPE_BYTES) else number
            said[path] = [*said.get(path, []), leaf] if field.is_repeated else leaf
    return {path: leaf for path, leaf in said.items() if leaf not in NOTHING}


def parsed_rights(said):
    """access_rights in one spelling: their bytes may differ in the order of entries, and say the same."""
    if RIGHTS in said:
        said = {**said, RIGHTS: {key: canonical(AccessDefinition.FromString(one)) for key, one in said[RIGHTS].items()}}
    return said


def canonical(message):
    return message.SerializeToString(deterministic=True)


# ---- Any message ----

SCALARS = {
    FieldDescriptor.TYPE_STRING: st.text(max_size=5),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=5),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_ENUM: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
}


def values(field):
    """Any value of a field, one of those if it is repeated: for messages their bytes."""
    return messages(field.message_type.name) if field.message_type else SCALARS[field.type]


def is_map(field):
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def is_message(field):
    return bool(field.message_type) and not is_map(field)


@functools.cache
def messages(name):
    """The bytes of any message, some fields set."""
    cls = message_class(name)

    def one_of(field):
        if is_map(field):
            value = field.message_type.fields_by_name["value"]
            return st.dictionaries(st.text(max_size=3), st.deferred(lambda: values(value)), max_size=3)
        if field.is_repeated:
            return st.lists(st.deferred(lambda: values(field)), max_size=3)
        return st.deferred(lambda: values(field))

    def fill(chosen):
        message = cls()
        for field_name, value in chosen.items():
            field, held = cls.DESCRIPTOR.fields_by_name[field_name], getattr(message, field_name)
            if is_map(field) and field.message_type.fields_by_name["value"].message_type:
                for key, data in value.items():
                    held[key].MergeFromString(data)
            elif is_map(field):
                held.update(value)
            elif is_message(field) and field.is_repeated:
                for data in value:
                    held.add().MergeFromString(data)
            elif is_message(field):
                held.SetInParent()
                held.MergeFromString(value)
            elif field.is_repeated:
                held.extend(value)
            else:
                setattr(message, field_name, value)
        return message.SerializeToString()

    optional = {field.name: one_of(field) for field in cls.DESCRIPTOR.fields}
    return st.fixed_dictionaries({}, optional=optional).map(fill)


STRAY = [b"\xa0\x06\x01", b"\xa2\x06\x02ab", b"\x15abcd", b"\x1a\x00"]
GROUPS = [b"\xa3\x06\x08\x01\xa4\x06", b"\x1b\x1c"]


def odd_objects(stray):
    """As no serialiser writes them: in pieces, keys twice, unknown fields and strange wire types between."""
    return st.lists(st.one_of(messages("Object"), st.sampled_from(stray)), max_size=4).map(b"".join)


# ---- Reading ----


@given(messages("Object").map(Object.FromString))
def test_all_that_protobuf_writes_is_read(message):
    found, status = items(message.SerializeToString())
    assert status == 0
    assert parsed_rights(folded(found)) == parsed_rights(flat(message))


@given(odd_objects(STRAY + GROUPS))
def test_odd_bytes_are_read_as_protobuf_reads_them(data):
    found, status = items(data)
    said, expected = folded(found), flat(Object.FromString(data))
    assert status == 0
    assert parsed_rights(said) == parsed_rights(expected)


def test_an_empty_message_is_an_item():
    message = Object()
    message.session.SetInParent()
    message.request.return_overrides.SetInParent()
    found, status = items(message.SerializeToString())
    assert status == 0
    assert [path for path, *_ in found] == [(3, 10), (4,)]


# Without groups: in those, upb takes fields of the number 0, which nobody else does.
@given(odd_objects(STRAY), st.data())
def test_what_protobuf_takes_the_reader_takes(data, draw):
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 3))):
        if damaged:
            damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    assume(b"\xc2\x3e" not in damaged)  # the tag of a path to empty: a delta's own
    _, status = items(bytes(damaged))
    try:
        Object.FromString(bytes(damaged))
    except DecodeError:
        return  # not always a fault of the format: protobuf checks UTF-8 as well
    assert status == 0


# ---- Building ----


class Builder:
    def __init__(self):
        self._builder = C.tykb_builder_new()

    def add(self, path, leaf):
        """Adds what `flat` says of a field, by the function that its kind takes."""
        field, number = field_at(path), path_of(path)
        if is_map(field) or path == MULTIVALUE:
            for key, value in leaf.items() if isinstance(leaf, dict) else leaf:
                C.tykb_builder_pair(self._builder, number, key, len(key), value, len(value))
            return
        for one in leaf if field.is_repeated else [leaf]:
            if field.type == field.TYPE_DOUBLE:
                C.tykb_builder_real(self._builder, number, struct.unpack("<d", one)[0])
            elif isinstance(one, bytes):
                C.tykb_builder_text(self._builder, number, one, len(one))
            else:
                C.tykb_builder_number(self._builder, number, one)

    def finish(self):
        out = Message()
        status = C.tykb_builder_finish(self._builder, byref(out))
        data = ctypes.string_at(out.p_data, out.length)
        C.tykb_message_clear(byref(out))
        return status, data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        C.tykb_builder_free(self._builder)


def grouped(said):
    """The builder puts all values of a header under its first mention."""
    if MULTIVALUE in said:
        order = {key: at for at, (key, _) in reversed(list(enumerate(said[MULTIVALUE])))}
        said = {**said, MULTIVALUE: sorted(said[MULTIVALUE], key=lambda pair: order[pair[0]])}
    return said


@given(messages("Object").map(Object.FromString), st.data())
def test_all_that_is_built_protobuf_reads(message, draw):
    said = flat(message)
    with Builder() as builder:
        for path in draw.draw(st.permutations(sorted(said))):
            builder.add(path, said[path])
        status, data = builder.finish()
        assert status == 0, data
        assert parsed_rights(flat(Object.FromString(data))) == parsed_rights(grouped(said))
        assert builder.finish() == (0, b"")


@given(messages("Object"), st.lists(messages("SessionState"), max_size=3))
def test_serialised_messages_merge_as_protobuf_merges_them(data, sessions):
    expected = Object.FromString(data)
    request = expected.request.SerializeToString()
    with Builder() as builder:
        C.tykb_builder_text(builder._builder, path_of((3,)), request, len(request))
        for session in sessions:
            C.tykb_builder_text(builder._builder, path_of((4,)), session, len(session))
        status, built = builder.finish()
    merged = Object(request=expected.request)
    for session in sessions:
        merged.session.MergeFromString(session)
    assert status == 0, built
    assert canonical(Object.FromString(built)) == canonical(merged)


@pytest.mark.parametrize("value", [0.0, -0.0, float("nan"), float("inf"), 5e-324])
def test_doubles_keep_their_bits(value):
    with Builder() as builder:
        C.tykb_builder_real(builder._builder, path_of((4, 3)), value)
        _, data = builder.finish()
    assert bits(Object.FromString(data).session.rate) == bits(value)
