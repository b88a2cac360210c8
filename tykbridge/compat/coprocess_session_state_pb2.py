"""The classes of proto/coprocess_session_state.proto, as protoc would generate them."""

from tykbridge.compat import pb2

pb2.fill(globals(), "coprocess_session_state.proto")
