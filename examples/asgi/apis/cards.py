from tyk.decorators import *

CARDS = {"C-1815": "ada", "C-1906": "grace"}


@Hook
def CheckCard(request, session, metadata, spec):
    card = request.get_header("X-Card")
    if card in CARDS:
        session.alias = CARDS[card]
        metadata["token"] = card
    return request, session, metadata


@Hook
def Sign(request, response, session, metadata, spec):
    response.headers["X-Served-To"] = session.alias
    return response
