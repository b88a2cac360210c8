"""The classes of proto/coprocess_return_overrides.proto, as protoc would generate them."""

from tykbridge.compat import pb2

pb2.fill(globals(), "coprocess_return_overrides.proto")
