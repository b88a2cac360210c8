"""Reading OAS API definitions."""

import pytest

from tests.definitions import OAS_BROKEN, check_refused, names, oas_hooks, read, smallest_oas
from tykbridge.definition import Driver, Phase, TokenSource


def test_oas_as_the_contract_prints_it():
    plugin = {"enabled": True, "functionName": "f", "path": "f.py", "rawBodyOnly": True, "requireSession": True}
    extractor = {"source": "header", "with": "value", "config": {"headerName": "Authorization"}}
    document = smallest_oas(
        server={
            "listenPath": {"value": "/x/", "strip": True},
            "customDomain": {"enabled": True, "name": "a.example"},
            "authentication": {
                "enabled": True,
                "custom": {
                    "enabled": True,
                    "config": {"functionName": "check", "path": "f.py", "idExtractor": extractor},
                },
            },
        },
        middleware={
            "global": {
                "pluginConfig": {"driver": "python", "data": {"enabled": True, "value": {"a": 1}}},
                "prePlugins": [plugin, {**plugin, "enabled": False, "functionName": "off"}],
                "postAuthenticationPlugins": [{**plugin, "functionName": "after"}],
                "postPlugins": [{**plugin, "functionName": "post"}],
                "responsePlugins": [{**plugin, "functionName": "answer"}],
                "contextVariables": {"enabled": True},
            }
        },
    )
    reading = read(document)
    assert reading.verdict == "loaded"
    assert reading.notices == ()
    definition = reading.require()
    assert (definition.form, definition.api_id, definition.org_id, definition.name) == ("oas", "api", "org", "Name")
    assert (definition.listen_path, definition.strip_listen_path, definition.domain) == ("/x/", True, "a.example")
    assert definition.target_url == "http://upstream/"
    assert [names(definition, phase) for phase in Phase] == [["f"], ["check"], ["after"], ["post"], ["answer"]]
    first = definition.hooks(Phase.PRE)[0]
    assert (first.path, first.raw_body_only, first.require_session, first.driver) == ("f.py", True, True, Driver.PYTHON)
    assert definition.config_data == {"a": 1}
    assert definition.context_vars
    assert definition.auth.custom
    assert definition.section.extractor.header_name == "Authorization"


def test_oas_bundle_and_data_are_off_unless_enabled():
    config = {"bundle": {"path": "a.zip"}, "data": {"value": {"a": 1}}}
    definition = read(smallest_oas(middleware={"global": {"pluginConfig": config}})).require()
    assert (definition.bundles, definition.config_data) == ((), None)
    config = {"bundle": {"enabled": True, "path": "a.zip, b.zip"}}
    definition = read(smallest_oas(middleware={"global": {"pluginConfig": config}})).require()
    assert [bundle.name for bundle in definition.bundles] == ["a.zip", "b.zip"]


def test_oas_plugin_without_enabled_does_not_run_and_is_said_so():
    reading = read(smallest_oas(**oas_hooks(prePlugins=[{"functionName": "f"}])))
    assert names(reading.require(), Phase.PRE) == []
    assert [str(notice) for notice in reading.notices] == [
        'api.json: $.x-tyk-api-gateway.middleware.global.prePlugins[0]: "enabled" is missing: the plugin does not run'
    ]


def test_oas_older_form_of_plugin_lists():
    older = {"prePlugin": {"plugins": [{"enabled": True, "functionName": "f"}]}}
    (hook,) = read(smallest_oas(**oas_hooks(**older))).require().hooks(Phase.PRE)
    assert hook.where == "$.x-tyk-api-gateway.middleware.global.prePlugin.plugins[0]"
    both = {**older, "prePlugins": [{"enabled": True, "functionName": "g"}]}
    reading = read(smallest_oas(**oas_hooks(**both)))
    assert names(reading.require(), Phase.PRE) == ["g"]
    assert len(reading.notices) == 1


def test_oas_without_authentication_is_keyless():
    assert read(smallest_oas()).require().auth.keyless


def oas_scheme(scheme, described):
    authentication = {"enabled": True, "securitySchemes": {"s": {"enabled": True, **scheme}}}
    document = smallest_oas(server={"listenPath": {"value": "/"}, "authentication": authentication})
    return {**document, "components": {"securitySchemes": {"s": described}}}


def test_oas_token():
    scheme = {"query": {"enabled": True, "name": "key"}, "header": {"enabled": False, "name": "no"}}
    reading = read(oas_scheme(scheme, {"type": "apiKey", "in": "header", "name": "X-Key"}))
    assert reading.require().auth.token == TokenSource(header="X-Key", param="key")
    assert reading.verdict == "loaded"


@pytest.mark.parametrize(
    ("described", "what"),
    [
        ({"type": "http", "scheme": "bearer"}, "JWT"),
        ({"type": "http", "scheme": "basic"}, "basic"),
        ({"type": "oauth2"}, "OAuth 2.0"),
        ({"type": "openIdConnect"}, "OpenID Connect"),
        ({"type": "mutualTLS"}, '"mutualTLS"'),
    ],
)
def test_oas_schemes_that_are_not_built(described, what):
    reading = read(oas_scheme({}, described))
    place = "$.x-tyk-api-gateway.server.authentication.securitySchemes.s"
    assert reading.verdict == f"not loaded: needs {what} authentication ({place})"
    assert reading.require().auth == read(oas_scheme({}, described)).require().auth
    assert reading.require().auth.token is None


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ({"info": {"id": "a", "versioning": {"enabled": True}}}, "API versions"),
        ({"server": {"listenPath": {"value": "/"}, "ipAccessControl": {"enabled": True}}}, "IP access control"),
        ({"server": {"listenPath": {"value": "/"}, "clientCertificates": {"enabled": True}}}, "mutual TLS"),
        ({"middleware": {"operations": {"o": {"allow": {"enabled": True}}}}}, "an allow list of paths"),
        ({"middleware": {"operations": {"o": {"block": {"enabled": True}}}}}, "a block list of paths"),
        (
            {"middleware": {"operations": {"o": {"postPlugins": [{"enabled": True, "functionName": "f"}]}}}},
            "plugins of single endpoints",
        ),
        (
            {
                "middleware": {
                    "global": {"trafficLogs": {"enabled": True, "plugins": [{"enabled": True, "path": "p.so"}]}}
                }
            },
            "hooks on records of analytics: no records are made",
        ),
    ],
)
def test_oas_access_control_that_is_not_built(parts, what):
    assert read(smallest_oas(**parts)).verdict.startswith(f"not loaded: needs {what}")


def test_oas_event_handlers_and_virtual_endpoints():
    handlers = [
        {"enabled": True, "trigger": "AuthFailure", "type": "webhook", "name": "w", "url": "http://h/"},
        {"enabled": True, "trigger": "KeyExpired", "type": "custom", "functionName": "f", "path": "f.js"},
        {"enabled": False, "trigger": "KeyExpired", "type": "log", "logPrefix": "p"},
    ]
    endpoint = {"enabled": True, "functionName": "v", "path": "v.js", "requireSession": True}
    document = smallest_oas(
        server={"listenPath": {"value": "/"}, "eventHandlers": handlers},
        middleware={"operations": {"getIt": {"virtualEndpoint": endpoint}}},
    )
    document["paths"] = {"/it": {"get": {"operationId": "getIt"}, "summary": "text"}}
    reading = read(document)
    definition = reading.require()
    assert [(item.event, item.handler, item.disabled) for item in definition.events] == [
        ("AuthFailure", "eh_web_hook_handler", False),
        ("KeyExpired", "eh_dynamic_handler", False),
        ("KeyExpired", "eh_log_handler", True),
    ]
    assert definition.events[0].meta == {"name": "w", "url": "http://h/"}
    assert definition.events[1].meta["name"] == "f"
    (virtual,) = definition.virtual
    assert (virtual.function, virtual.path, virtual.method, virtual.source) == ("v", "/it", "GET", "v.js")
    assert [need.what for need in reading.needs] == ["the javascript driver"] * 2


@pytest.mark.parametrize(("parts", "path", "expected", "found"), OAS_BROKEN)
def test_broken_oas_definition_is_refused_and_the_good_one_beside_it_loads(tmp_path, parts, path, expected, found):
    check_refused(tmp_path, smallest_oas(**parts), path, expected, found)
