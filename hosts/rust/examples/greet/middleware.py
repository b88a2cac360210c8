"""Greets who gives a name, and answers who does not."""

from gateway import TykGateway as tyk
from tyk.decorators import Hook


@Hook
def greet(request, session, spec):
    """Add a greeting, or respond without an upstream."""
    name = request.get_header("X-Name")
    if name:
        request.add_header("X-Greeting", f"Hello, {name}")
        request.add_param("greeted", "yes")
        tyk.log(f"greeted {name}", "info")
    else:
        request.object.return_overrides.response_code = 400
        request.object.return_overrides.response_error = "who is there?"
    return request, session
