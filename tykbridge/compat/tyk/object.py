"""`tyk.object`: the message types, for plugins that make messages or name their types (in annotations, most of all)."""

from tykbridge.compat.views import message_type

__all__ = [
    "AccessDefinition",
    "AccessSpec",
    "BasicAuthData",
    "Event",
    "EventReply",
    "Header",
    "JWTData",
    "MiniRequestObject",
    "Monitor",
    "Object",
    "ResponseObject",
    "ReturnOverrides",
    "SessionState",
    "StringSlice",
]

AccessDefinition = message_type("AccessDefinition")
AccessSpec = message_type("AccessSpec")
BasicAuthData = message_type("BasicAuthData")
Event = message_type("Event")
EventReply = message_type("EventReply")
Header = message_type("Header")
JWTData = message_type("JWTData")
MiniRequestObject = message_type("MiniRequestObject")
Monitor = message_type("Monitor")
Object = message_type("Object")
ResponseObject = message_type("ResponseObject")
ReturnOverrides = message_type("ReturnOverrides")
SessionState = message_type("SessionState")
StringSlice = message_type("StringSlice")
