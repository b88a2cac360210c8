"""A library's door in Python; README.md tells what it does."""

from gateway import TykGateway as tyk
from tyk.decorators import *

CARDS = {"L-1815": "Ada", "L-1906": "Grace"}


@Pre
def tidy(request, session, spec):
    request.add_header("X-Plugin", "library")
    if "q" in request.object.params:
        request.delete_param("q")
        request.add_param("query", request.object.params["q"])
    return request, session


@CustomKeyCheck
def check_card(request, session, metadata, spec):
    card = request.get_header("X-Library-Card")
    if card not in CARDS:
        overrides = request.object.return_overrides
        overrides.response_code = 401
        overrides.response_error = "Please show your library card"
        overrides.headers["WWW-Authenticate"] = "LibraryCard"
        return request, session, metadata
    session.alias = CARDS[card]
    session.tags.append("reader")
    metadata["token"] = card
    metadata["reader"] = CARDS[card]
    return request, session, metadata


@Hook
def stamp(request, response, session, metadata, spec):
    reader = session.metadata.get("reader", "nobody")
    response.headers["X-Reader"] = reader
    response.raw_body += f"Read by {reader}.\n".encode()
    return response


@Event
def on_stranger(event, spec):
    tyk.log(f"a stranger: {event['message']['Type']} in {spec['APIID']}", "info")
