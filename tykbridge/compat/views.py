"""Message types as plugins construct them: calling one makes a view, such as a hook gets."""

from __future__ import annotations

from typing import Any

from tykbridge import _bridge
from tykbridge.compat import pb2


class MessageType(type):
    """The class of the types, which do what google.protobuf's message classes do, and make views."""

    def __call__(cls, **fields: Any) -> _bridge.Message:
        """Makes a message; the keywords are its fields, given as protobuf's constructors take them."""
        return _bridge.message(cls.__name__, **fields)

    def __instancecheck__(cls, instance: object) -> bool:
        """A view of this type is an instance, and so is google.protobuf's own message of it."""
        descriptor = getattr(instance, "DESCRIPTOR", None)
        return getattr(descriptor, "full_name", None) == f"{pb2.PACKAGE}.{cls.__name__}"

    def __getattr__(cls, name: str) -> Any:
        """DESCRIPTOR and the numbers of fields: as google.protobuf's class has them."""
        return getattr(pb2.message_class(cls.__name__), name)

    def FromString(cls, data: bytes) -> _bridge.Message:
        """Makes a message from serialised bytes.

        Raises:
            google.protobuf.message.DecodeError: the bytes are no such message.
        """
        return _bridge.message(cls.__name__, data)


def message_type(name: str) -> MessageType:
    """Returns the constructor of the messages of a type, such as "SessionState"."""
    return MessageType(name, (), {"__doc__": f"The message coprocess.{name}.", "__slots__": ()})
