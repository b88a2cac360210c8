from tyk.object import AccessDefinition, AccessSpec, BasicAuthData, JWTData, Monitor, SessionState

__all__ = ["AccessDefinition", "AccessSpec", "BasicAuthData", "JWTData", "Monitor", "SessionState", "TykSession"]

TykSession = SessionState
