"""What a client lists in Connection is its own: it takes nothing away that a hook has set."""

import json

import pytest

from tests.asgi_servers import ask
from tests.cli.commands import definition, hooks
from tykbridge import Bridge
from tykbridge.gateway.echo import Echo
from tykbridge.gateway.server import Gateway, running

pytestmark = pytest.mark.once

HOOK = """
from tyk.decorators import Hook

@Hook
def stamp(request, session, spec):
    request.add_header("X-Saw", str(request.get_header("X-Own")))
    request.add_header("X-User", "alice")
    return request, session
"""


def test_a_hooks_header_stays(tmp_path):
    echo = Echo()
    (tmp_path / "plugin.py").write_text(HOOK)
    api = definition("api", custom_middleware=hooks(post=["stamp"]), active=True)
    api["proxy"]["target_url"] = echo.url
    (tmp_path / "api.json").write_text(json.dumps(api))
    bridge = Bridge()
    assert bridge.load(tmp_path / "api.json").not_loaded == ()
    sent = [("Host", "h"), ("Connection", "close, X-User, X-Own"), ("X-User", "mallory"), ("X-Own", "1")]
    with running(Gateway(bridge, port=0, parts=[echo])) as gateway:
        got = json.loads(ask(gateway.port, url="/api/", headers=sent)[2])["headers"]
    assert (got["X-User"], got["X-Saw"], got.get("X-Own")) == ("alice", "None", None)
