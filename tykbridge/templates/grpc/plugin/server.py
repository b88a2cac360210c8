"""Greets whoever calls: one header for the upstream, and one for the client."""

import json
import sys

from tykbridge.grpc import Plugin, serve


class Greetings(Plugin):
    """Each method is a hook, which the API's definition calls by its name."""

    def greet(self, object):
        """Tell the upstream who calls, in the words of the API's config_data."""
        config = json.loads(object.spec.get("config_data", "{}"))
        name = object.request.headers.get("X-Name", "stranger")
        object.request.set_headers["X-Greeting"] = f"{config.get('greeting', 'Hello')}, {name}"
        print("greeted", name, flush=True)
        return object

    def sign(self, object):
        """Tell the client whose answer this is."""
        object.response.headers["X-Signed-By"] = "my-plugin"
        return object


if __name__ == "__main__":
    serve(Greetings(), address=sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555")
