"""The hooks of the soak programs: what plugins do, and every way to fail."""

import time

from gateway import TykGateway as tyk
from google.protobuf.json_format import MessageToJson
from tyk.decorators import Event, Hook
from tyk.session import TykSession

# The program that reloads writes other digits here.
VERSION = "000000"

kept = [None] * 64


@Hook
def echo(request, session, spec):
    """Answers with what only this request has, and leaves room in between for other threads."""
    version = VERSION
    name = request.get_header("X-Id")
    thread = name.split("-")[0]
    tyk.store_data(thread, name, 60)
    body = request.object.raw_body
    if name.endswith("7"):
        time.sleep(0)
    request.add_header("X-Echo", name)
    request.add_header("X-Size", str(len(body)))
    session.metadata["echo"] = tyk.get_data(thread).decode()
    request.add_header("X-Version", version if version == VERSION else "changed under the hook")
    return request, session


@Hook
def nothing(request, session, spec):
    return request, session


@Hook
def add_header(request, session, spec):
    request.add_header("X-Echo", request.get_header("X-Id"))
    return request, session


@Hook
def iterate(request, session, spec):
    for key, value in request.object.headers.items():
        if key == "X-Id":
            request.object.set_headers["X-Echo"] = value
    request.delete_header("X-Gone")
    request.add_param("page", "3")
    request.delete_param("debug")
    return request, session


@Hook
def metadata(request, session, spec):
    session.metadata["added"] = "yes"
    del session.metadata["plan"]
    request.add_header("X-Echo", request.get_header("X-Id"))
    return request, session


@Hook
def override(request, session, spec):
    overrides = request.object.return_overrides
    overrides.response_code = 403
    overrides.response_error = "no"
    overrides.headers["Content-Type"] = "text/plain"
    request.add_header("X-Echo", request.get_header("X-Id"))
    return request, session


@Hook
def big_body(request, session, spec):
    request.object.raw_body = request.object.raw_body * 100
    request.add_header("X-Echo", request.get_header("X-Id"))
    return request, session


@Hook
def remove(request, session, spec):
    del request.object.headers["User-Agent"]
    request.object.ClearField("params")
    request.add_header("X-Echo", request.get_header("X-Id"))
    return request, session


@Hook
def keep(request, session, spec):
    """Views outlive the call: of the request, of a map, of the session."""
    name = request.get_header("X-Id")
    kept[len(request.object.raw_body) % 64] = request.object, request.object.headers, session.access_rights
    request.add_header("X-Echo", name)
    return request, session


@Hook
def to_json(request, session, spec):
    if request.get_header("X-Id") not in MessageToJson(request.object):
        raise ValueError("the header is not in the JSON")
    request.add_header("X-Echo", request.get_header("X-Id"))
    return request, session


@Hook
def auth(request, session, metadata, spec):
    session = TykSession()
    session.rate = 10.0
    session.tags.extend(["a", "b"])
    session.access_rights["api"].versions.append("Default")
    metadata["token"] = request.get_header("X-Id")
    request.add_header("X-Echo", request.get_header("X-Id"))
    return request, session, metadata


@Hook
def response(request, response, session, metadata, spec):
    response.headers["X-Echo"] = request.get_header("X-Id") if hasattr(request, "get_header") else ""
    cookie = response.multivalue_headers.add()
    cookie.key = "Set-Cookie"
    cookie.values.extend(["a=b", "c=d"])
    response.raw_body = b"changed"
    return response


@Event
def on_event(event, spec):
    tyk.trigger_event("seen", event["message"]["Meta"]["Message"])


@Hook
def fail_value(request, session, spec):
    raise ValueError(request.get_header("X-Id"))


@Hook
def fail_chained(request, session, spec):
    try:
        request.object.url = 5
    except TypeError as error:
        raise RuntimeError(request.get_header("X-Id")) from error


@Hook
def fail_exit(request, session, spec):
    raise SystemExit(3)


@Hook
def fail_interrupt(request, session, spec):
    raise KeyboardInterrupt


@Hook
def fail_recursion(request, session, spec):
    return fail_recursion(request, session, spec)


@Hook
def fail_return(request, session, spec):
    request.add_header("X-Half", "done")
    return "x", "y"


@Hook
def fail_type(request, session, spec):
    session.metadata["count"] = 3
    return request, session
