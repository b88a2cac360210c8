"""The classes of proto/coprocess_mini_request_object.proto, as protoc would generate them."""

from tykbridge.compat import pb2

pb2.fill(globals(), "coprocess_mini_request_object.proto")
