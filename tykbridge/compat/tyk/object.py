"""`tyk.object`: the messages that make up a call, for plugins that name them (in annotations, most of all)."""

from tykbridge.compat.tyk.session import SessionState
from tykbridge.compat.views import message_type

__all__ = ["Header", "MiniRequestObject", "Object", "ResponseObject", "ReturnOverrides", "SessionState"]

Header = message_type("Header")
MiniRequestObject = message_type("MiniRequestObject")
Object = message_type("Object")
ResponseObject = message_type("ResponseObject")
ReturnOverrides = message_type("ReturnOverrides")
