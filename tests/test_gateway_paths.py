"""What one API protects is not reached by way of another: upstreams read paths in ways of their own."""

import json

import pytest

from tests.asgi_servers import ask
from tykbridge import Bridge
from tykbridge.gateway.echo import Echo
from tykbridge.gateway.server import Gateway, running

pytestmark = pytest.mark.once

ADMIN = ["/admin/x", "/admin", "/%61dmin/x", "/admin%2fx"]
NOBODYS = [
    "//admin/x",
    "/./admin/x",
    "/x/../admin",
    "/x/%2e%2e/admin",
    "/ADMIN/x",
    "/%2561dmin",
    "/admin%0a",
    "/x/..%5cadmin",
]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A gateway whose keyless API on / and its API on /admin/ have the same upstream."""
    folder, echo = tmp_path_factory.mktemp("apis"), Echo()
    for name, keys in (("rest", {"use_keyless": True}), ("admin", {"use_standard_auth": True, "use_keyless": False})):
        proxy = {"listen_path": "/" if name == "rest" else "/admin/", "target_url": echo.url}
        definition = {"name": name, "api_id": name, "org_id": "org", "active": True, "proxy": proxy, **keys}
        (folder / f"{name}.json").write_text(json.dumps({**definition, "auth": {"auth_header_name": "Authorization"}}))
    bridge = Bridge()
    assert bridge.load(folder).not_loaded == ()
    with running(Gateway(bridge, port=0, parts=[echo])) as gateway:
        yield gateway.port


def test_by_the_path_as_upstreams_decode_it(port):
    assert {path: ask(port, url=path, headers=[("Host", "h")])[0] for path in ADMIN} == dict.fromkeys(ADMIN, 401)


def test_not_by_another_reading_of_it(port):
    assert {path: ask(port, url=path, headers=[("Host", "h")])[0] for path in NOBODYS} == dict.fromkeys(NOBODYS, 404)


def test_other_paths_go_on_as_they_came(port):
    for path in ("/x%2Fy?a=%2e%2e", "/x//y/../z", "/X/%61", "/?/../admin"):
        status, _, body = ask(port, url=path, headers=[("Host", "h")])
        assert (status, json.loads(body)["url"].partition("127.0.0.1:")[2].partition("/")[2]) == (200, path[1:]), path
