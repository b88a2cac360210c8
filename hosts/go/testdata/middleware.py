"""The hooks of the Go host's own tests."""

import socket

from gateway import TykGateway as tyk
from tyk.decorators import Hook


@Hook
def nothing(request, session, spec):
    """Look, and change nothing."""
    return request, session


@Hook
def talk(request, session, spec):
    """Call everything that a host may have."""
    tyk.log("a line", "warning")
    tyk.trigger_event("Spoke", f"to {request.get_header('X-Name')}")
    tyk.store_data("key", "value", 60)
    request.add_header("X-Data", tyk.get_data("key").decode())
    return request, session


@Hook
def name(request, session, spec):
    """Send the client's own number back in another header and in the body."""
    number = request.get_header("X-Number")
    tyk.trigger_event("Number", number)
    request.add_header("X-Seen", number)
    request.object.raw_body = request.object.raw_body + number.encode()
    return request, session


@Hook
def user(request, session, spec):
    """Say who it is, as authentication does."""
    request.add_header("X-User", "alice")
    return request, session


@Hook
def report(request, session, spec):
    """Report the body's size and what the hook sees of the request."""
    request.add_header("X-Size", str(len(request.object.raw_body)))
    request.add_header("X-Url", request.object.url)
    request.add_header("X-Params", " ".join(f"{k}={v}" for k, v in sorted(request.object.params.items())))
    request.add_header("X-Latin", request.get_header("X-Name") or "")
    return request, session


@Hook
def ask(request, session, spec):
    """Add a parameter."""
    request.add_param("asked", f"over {request.object.scheme}")
    return request, session


@Hook
def move(request, session, spec):
    """Send the request elsewhere."""
    request.object.url = "/moved/"
    request.add_header("Host", "moved.test")
    return request, session


@Hook
def bad_escape(request, session, spec):
    """Write a url that net/http cannot send."""
    request.object.url = "/100%"
    return request, session


@Hook
def broken_pipe(request, session, spec):
    """Write to a socket that nobody reads any more."""
    ours, theirs = socket.socketpair()
    theirs.close()
    try:
        ours.sendall(b"x")
    except BrokenPipeError:
        request.add_header("X-Pipe", "broken")
    ours.close()
    return request, session


@Hook
def markup(request, session, spec):
    """Answer with a body that looks like HTML, and no type."""
    request.object.return_overrides.response_code = 200
    request.object.return_overrides.response_body = "<html><script>1</script>"
    return request, session


@Hook
def shout(request, response, session, metadata, spec):
    """Change the body of a response, and report what was asked for."""
    response.raw_body = response.raw_body.upper()
    response.headers["X-Asked"] = f"{request.get_header('Host')}{request.object.url}"
    return response


@Hook
def size(request, response, session, metadata, spec):
    """Report a response's size, and leave the rest."""
    response.headers["X-Size"] = str(len(response.raw_body))
    return response
