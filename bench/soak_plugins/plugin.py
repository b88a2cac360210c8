"""Says of which version it is and whose request it has; what raises and what sleeps stand beside."""

import time

from tyk.decorators import CustomKeyCheck, Hook

VERSION = "000000"


@Hook
def Before(request, session, spec):
    request.add_header("X-Python", f"{VERSION} {request.get_header('X-Id')}")
    return request, session


@CustomKeyCheck
def Check(request, session, metadata, spec):
    session.rate, session.per = 1e9, 1.0
    metadata["token"] = request.get_header("Authorization")
    return request, session, metadata


@Hook
def Fails(request, session, spec):
    raise ValueError(f"it fails for {request.get_header('X-Id')}")


@Hook
def Slow(request, session, spec):
    time.sleep(0.3)
    return request, session


@Hook
def Answer(request, response, session, metadata, spec):
    """Tells the client what the hooks before left on the request."""
    headers = request.object.headers
    for name in ("X-Python", "X-JavaScript", "X-Lua", "X-Go", "X-Server"):
        if name in headers:
            response.headers[name] = headers[name]
    response.headers["X-Answer"] = f"{VERSION} {headers['X-Id']}"
    return response
