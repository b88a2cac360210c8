"""Greets whoever calls: one header for the upstream, and one for the client."""

import json

from gateway import TykGateway as tyk
from tyk.decorators import Hook, Pre


@Pre
def greet(request, session, spec):
    """Tell the upstream who calls, in the words of the API's config_data."""
    config = json.loads(spec.get("config_data", "{}"))
    name = request.get_header("X-Name") or "stranger"
    request.add_header("X-Greeting", f"{config.get('greeting', 'Hello')}, {name}")
    tyk.log(f"greeted {name}", "info")
    return request, session


@Hook
def sign(request, response, session, metadata, spec):
    """Tell the client whose answer this is."""
    response.headers["X-Signed-By"] = "my-plugin"
    return response
