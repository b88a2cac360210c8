"""A library's door as a gRPC plugin server in Python; examples/grpc/README.md tells what it does."""

import sys

from tykbridge.grpc import Plugin, serve

CARDS = {"L-1815": "Ada", "L-1906": "Grace"}


class Library(Plugin):
    def tidy(self, object):
        request = object.request
        request.set_headers["X-Plugin"] = "library"
        if "q" in request.params:
            request.delete_params.append("q")
            request.add_params["query"] = request.params["q"]
        return object

    def check_card(self, object):
        card = object.request.headers.get("X-Library-Card")
        if card not in CARDS:
            overrides = object.request.return_overrides
            overrides.response_code = 401
            overrides.response_error = "Please show your library card"
            overrides.headers["WWW-Authenticate"] = "LibraryCard"
            return object
        session = object.session
        session.alias = CARDS[card]
        session.tags.append("reader")
        session.metadata["token"] = card
        session.metadata["reader"] = CARDS[card]
        return object

    def stamp(self, object):
        reader = object.session.metadata.get("reader", "nobody")
        response = object.response
        response.headers["X-Reader"] = reader
        response.raw_body += f"Read by {reader}.\n".encode()
        return object

    def on_stranger(self, event, spec):
        print("a stranger:", event["message"]["Type"], "in", spec["APIID"], flush=True)


if __name__ == "__main__":
    port = sys.argv[1] if len(sys.argv) > 1 else "5555"
    serve(Library(), address=f"tcp://127.0.0.1:{port}")
