"""A library's door, shelves and stamp: one plugin that uses most of what Tyk offers to plugins.

A reader shows a library card. The cards are in the API's config_data, so no code changes when one is issued. Visits are
counted in the gateway's data store, and the second one fires an event, which this bundle hears as well.
"""

import json

from gateway import TykGateway as tyk
from tyk.decorators import *

from .shelves import shelf_of

HOUR = 3600


@CustomKeyCheck
def check_card(request, session, metadata, spec):
    """Authenticate: whoever shows a card that config_data knows gets a session."""
    cards = json.loads(spec["config_data"])["cards"]
    card = request.get_header("X-Library-Card")
    if card not in cards:
        tyk.log("a visitor without a card", "warning")
        request.object.return_overrides.headers["WWW-Authenticate"] = "LibraryCard"
        request.object.return_overrides.response_code = 401
        request.object.return_overrides.response_error = "Please show your library card"
        return request, session, metadata

    session.alias = cards[card]["name"]
    session.rate = cards[card]["books"]
    session.per = 60
    session.tags.append("reader")
    metadata["token"] = card  # the gateway keeps the session under this name
    metadata["language"] = cards[card]["language"]
    return request, session, metadata


@PostKeyAuth
def count_visits(request, session, spec):
    """Count, in data that outlives the request, and tell the world when a reader comes back."""
    key = "visits:" + session.metadata["token"]
    visits = int(tyk.get_data(key) or 0) + 1
    tyk.store_data(key, str(visits), HOUR)
    request.add_header("X-Visits", str(visits))
    if visits == 2:
        tyk.trigger_event("ReaderReturned", json.dumps({"reader": session.alias}))
    return request, session


@Post
def prepare(request, session, spec):
    """Make the request what the upstream expects: no card, a language, a shelf."""
    request.delete_header("X-Library-Card")
    request.add_header("Accept-Language", session.metadata["language"])
    request.add_param("shelf", shelf_of(request.object.url.partition("?")[0]))
    request.delete_param("debug")
    request.object.url = "/v2" + request.object.url
    return request, session


@Hook
def sign(request, response, session, metadata, spec):
    """Stamp the answer. Its length follows by itself."""
    answer = json.loads(response.raw_body)
    answer["reader"] = session.alias
    response.body = json.dumps(answer)
    response.headers["Cache-Control"] = "private"
    return response


@Event
def on_reader_returned(event, spec):
    """Hear of the event, as a bundle of somebody else's could."""
    news = json.loads(event["message"]["Meta"]["Message"])
    tyk.log("{reader} is back: send a bookmark".format(**news), "info")
