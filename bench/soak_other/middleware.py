"""A second bundle, which is loaded again and again while its hook runs."""

from gateway import TykGateway as tyk
from tyk.decorators import Hook


@Hook
def echo(request, session, spec):
    name = request.get_header("X-Id")
    thread = name.split("-")[0]
    tyk.store_data(thread, name, 60)
    request.add_header("X-Echo", name)
    request.add_header("X-Size", str(len(request.object.raw_body)))
    session.metadata["echo"] = tyk.get_data(thread).decode()
    return request, session
