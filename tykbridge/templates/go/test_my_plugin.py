"""What the plugin does, seen from both ends: the client, and the upstream that the tests put behind it."""

import pytest

pytest_plugins = ["tykbridge.testing"]


@pytest.fixture
def api(tyk_api):
    return tyk_api("api.json")


def test_the_upstream_hears_who_calls(api):
    reply = api.get("/", headers={"X-Name": "Ada"})
    assert reply.status == 200
    assert reply.upstream.headers["X-Greeting"] == "Hello, Ada"
    assert ("info", "greeted Ada") in reply.logs


def test_strangers_are_greeted_too(api):
    assert api.get("/").upstream.headers["X-Greeting"] == "Hello, stranger"


def test_the_client_gets_a_signed_answer(api):
    api.upstream.answers("What the upstream says.")
    reply = api.get("/")
    assert reply.text == "What the upstream says."
    assert reply.headers["X-Signed-By"] == "my-plugin"


def test_the_bundle_runs_the_same_hooks(tyk_api):
    """manifest.json names them once more, for gateways that get the plugin as a bundle."""
    bundled, api = (tyk_api(source).get("/").hooks for source in ("plugin", "api.json"))
    assert bundled == api, "a hook that api.json names: name it in plugin/manifest.json too, in the same order"
