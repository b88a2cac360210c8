"""google.protobuf's own classes for the messages, in a descriptor pool of their own.

A host may well have the same messages in the default pool, where a name can be defined only once. google.protobuf is
imported at first need: plugins that do without it do not pay for it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tykbridge import locks
from tykbridge.compat import _descriptors

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FileDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

PACKAGE = "coprocess"


# functools.cache lets several threads make a first value each, and messages of two pools do not fit together.
_lock = locks.reentrant()


@functools.cache
def _only_pool() -> DescriptorPool:
    from google.protobuf import descriptor_pool

    pool = descriptor_pool.DescriptorPool()
    for data in _descriptors.FILES.values():
        pool.AddSerializedFile(data)
    return pool


def _pool() -> DescriptorPool:
    with _lock:
        return _only_pool()


@functools.cache
def descriptor(type_name: str) -> Descriptor:
    """Returns the descriptor of a message.

    Args:
        type_name: the name without its package, such as "SessionState".

    Raises:
        KeyError: there is no such message.
    """
    return _pool().FindMessageTypeByName(f"{PACKAGE}.{type_name}")


@functools.cache
def message_class(type_name: str) -> type[Message]:
    """Returns google.protobuf's class of a message; the same one at each call.

    Args:
        type_name: the name without its package, such as "SessionState".

    Raises:
        KeyError: there is no such message.
    """
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(descriptor(type_name))


def fill(module: dict[str, Any], file_name: str) -> None:
    """Puts what protoc generates for a file into a module's globals: DESCRIPTOR, messages, enums, their values."""
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

    file: FileDescriptor = _pool().FindFileByName(file_name)
    module["DESCRIPTOR"] = file
    for name in file.message_types_by_name:
        module[name] = message_class(name)
    for name, enum in file.enum_types_by_name.items():
        module[name] = EnumTypeWrapper(enum)
        module.update((value.name, value.number) for value in enum.values)
