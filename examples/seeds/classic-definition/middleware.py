# The page prints the definition, which manifest.json holds as it stands there; these are hooks of the names in it.
from tyk.decorators import *
from gateway import TykGateway as tyk


@Hook
def MyPreMiddleware(request, session, spec):
    tyk.log("MyPreMiddleware is called", "info")
    request.add_header("X-Pre", "MyPreMiddleware")
    return request, session


@Hook
def AnotherPreMiddleware(request, session, spec):
    # Hooks chain: this one sees what the one before it added.
    request.add_header("X-Pre", request.get_header("X-Pre") + ", AnotherPreMiddleware")
    return request, session


@Hook
def MyAuthCheck(request, session, metadata, spec):
    if request.get_header("Authorization") == "secret":
        session.rate = 1000.0
        session.per = 1.0
        metadata["token"] = "secret"
    return request, session, metadata


@Hook
def MyPostKeyAuthMiddleware(request, session, spec):
    # After the authentication, hooks see its session.
    request.add_header("X-Rate", f"{session.rate:.0f} per {session.per:.0f} s")
    return request, session


@Hook
def MyPostMiddleware(request, session, spec):
    request.delete_header("Authorization")
    return request, session
