"""`tyk.session`: the session and its parts."""

from tykbridge.compat.views import message_type

__all__ = ["AccessDefinition", "AccessSpec", "BasicAuthData", "JWTData", "Monitor", "SessionState", "TykSession"]

AccessDefinition = message_type("AccessDefinition")
AccessSpec = message_type("AccessSpec")
BasicAuthData = message_type("BasicAuthData")
JWTData = message_type("JWTData")
Monitor = message_type("Monitor")
SessionState = message_type("SessionState")
TykSession = SessionState
