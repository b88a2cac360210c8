"""Writes stubs/tyk-stubs/object.pyi, the types of the messages that plugins see, from the .proto files.

    python tools/gen_stubs.py            # rewrites the file
    python tools/gen_stubs.py --check    # exit status 1 when the file is not what proto/ says

A test holds the two together.
"""

from __future__ import annotations

from gen_descriptors import finish
from gen_fields import ROOT, child_name, map_value, messages
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

TARGET = ROOT / "stubs" / "tyk-stubs" / "object.pyi"

SCALARS = {
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_INT32: "int",
    FieldDescriptorProto.TYPE_INT64: "int",
    FieldDescriptorProto.TYPE_ENUM: "int",
    FieldDescriptorProto.TYPE_DOUBLE: "float",
    FieldDescriptorProto.TYPE_STRING: "str",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
}

# Views and google.protobuf's own messages have these in common.
HEAD = '''\
# The types of the messages. Written by tools/gen_stubs.py from proto/: change those and run it.
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any, Generic, Self, TypeVar, overload

_T = TypeVar("_T")
_M = TypeVar("_M", bound=_Message)

class _Message:
    DESCRIPTOR: Any
    @classmethod
    def FromString(cls, data: bytes, /) -> Self: ...
    def SerializeToString(self, *, deterministic: bool | None = ...) -> bytes: ...
    def ParseFromString(self, data: bytes, /) -> int: ...
    def MergeFromString(self, data: bytes, /) -> int: ...
    def MergeFrom(self, other: Self, /) -> None: ...
    def CopyFrom(self, other: Self, /) -> None: ...
    def Clear(self) -> None: ...
    def ClearField(self, name: str, /) -> None: ...
    def HasField(self, name: str, /) -> bool: ...
    def ListFields(self) -> list[tuple[Any, Any]]: ...
    def SetInParent(self) -> None: ...
    def ByteSize(self) -> int: ...
    def IsInitialized(self) -> bool: ...

class _Texts(MutableMapping[str, str]):
    """A map of texts by text."""

    def __getitem__(self, key: str, /) -> str: ...
    def __setitem__(self, key: str, value: str, /) -> None: ...
    def __delitem__(self, key: str, /) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def MergeFrom(self, other: Mapping[str, str], /) -> None: ...

class _Messages(Mapping[str, _M], Generic[_M]):
    """A map of messages by text; reading a key that is missing makes an empty message."""

    def __getitem__(self, key: str, /) -> _M: ...
    def __delitem__(self, key: str, /) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def get_or_create(self, key: str, /) -> _M: ...
    def MergeFrom(self, other: Mapping[str, _M], /) -> None: ...
    def clear(self) -> None: ...

class _Values(MutableSequence[_T], Generic[_T]):
    """A list of texts or numbers. A bare text given to `extend` is one value."""

    @overload
    def __getitem__(self, index: int, /) -> _T: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[_T]: ...
    @overload
    def __setitem__(self, index: int, value: _T, /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[_T], /) -> None: ...
    def __delitem__(self, index: int | slice, /) -> None: ...
    def __len__(self) -> int: ...
    def insert(self, index: int, value: _T, /) -> None: ...
    def MergeFrom(self, other: Iterable[_T], /) -> None: ...
    def sort(self, *, key: Callable[[_T], Any] | None = ..., reverse: bool = ...) -> None: ...

class _List(Sequence[_M], Generic[_M]):
    """A list of messages."""

    @overload
    def __getitem__(self, index: int, /) -> _M: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[_M]: ...
    def __delitem__(self, index: int | slice, /) -> None: ...
    def __len__(self) -> int: ...
    def add(self, **fields: Any) -> _M:
        """A new message at the end."""
    def append(self, value: _M, /) -> None: ...
    def insert(self, index: int, value: _M, /) -> None: ...
    def extend(self, values: Iterable[_M], /) -> None: ...
    def pop(self, index: int = ..., /) -> _M: ...
    def remove(self, value: _M, /) -> None: ...
    def MergeFrom(self, other: Iterable[_M], /) -> None: ...
    def sort(self, *, key: Callable[[_M], Any] | None = ..., reverse: bool = ...) -> None: ...
    def reverse(self) -> None: ...
    def clear(self) -> None: ...
'''


def field_types(message: DescriptorProto, field: FieldDescriptorProto) -> tuple[str, str, bool]:
    """What reading a field gives, what a constructor takes for it, and whether it can be assigned."""
    child = child_name(message, field)
    value = map_value(message, field)
    if value is not None:
        if child:
            return f"_Messages[{child}]", f"Mapping[str, {child} | Mapping[str, Any]]", False
        return "_Texts", "Mapping[str, str]", False
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        if child:
            return f"_List[{child}]", f"Iterable[{child} | Mapping[str, Any]]", False
        return f"_Values[{SCALARS[field.type]}]", f"Iterable[{SCALARS[field.type]}]", False
    if child:
        return child, f"{child} | Mapping[str, Any]", False
    return SCALARS[field.type], SCALARS[field.type], True


def message_class(message: DescriptorProto) -> str:
    """The stub of a message's class."""
    lines = [f"class {message.name}(_Message):"]
    fields = sorted(message.field, key=lambda field: field.number)
    for field in fields:
        read, _, assignable = field_types(message, field)
        if assignable:
            lines.append(f"    {field.name}: {read}")
        else:
            lines += ["    @property", f"    def {field.name}(self) -> {read}: ..."]
    if fields:
        lines += ["    def __init__(", "        self,", "        *,"]
        lines += [f"        {field.name}: {field_types(message, field)[1]} | None = ...," for field in fields]
        lines.append("    ) -> None: ...")
    else:
        lines[0] += " ..."
    return "\n".join(lines)


def message_classes() -> str:
    """The stubs of all messages, children before those that hold them."""
    return "\n\n".join(message_class(message) for message in messages())


def generate() -> str:
    """The whole file."""
    return f"{HEAD}\n{message_classes()}\n"


if __name__ == "__main__":
    raise SystemExit(finish(TARGET, generate()))
