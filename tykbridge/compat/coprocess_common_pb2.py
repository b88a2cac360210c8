"""The classes of proto/coprocess_common.proto, as protoc would generate them."""

from tykbridge.compat import pb2

pb2.fill(globals(), "coprocess_common.proto")
