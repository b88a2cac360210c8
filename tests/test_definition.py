"""Reading classic and OAS API definitions."""

import base64
import copy
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tykbridge.definition import (
    Bundle,
    Capabilities,
    DefinitionError,
    Driver,
    Method,
    OnFailure,
    Phase,
    Source,
    TokenSource,
    read_file,
    read_folder,
    read_text,
    with_manifests,
)
from tykbridge.errors import LoadError

EVERYTHING = Capabilities(drivers=frozenset(Driver), deadlines=frozenset(Driver), bundles=True)


def smallest(**changes):
    return {"api_id": "api", "proxy": {"listen_path": "/api/"}, **changes}


def smallest_oas(**parts):
    extension = {
        "info": {"id": "api", "orgId": "org", "name": "Name"},
        "upstream": {"url": "http://upstream/"},
        "server": {"listenPath": {"value": "/api/", "strip": True}},
        **parts,
    }
    return {"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": {}, "x-tyk-api-gateway": extension}


def read(document, **options):
    return read_text(json.dumps(document), "api.json", **options)


def names(definition, phase):
    return [hook.name for hook in definition.hooks(phase)]


# --- what the seeds print -------------------------------------------------------------------------------------------

BASIC_USAGE = json.loads("""{
"custom_middleware": {
  "pre": [
    {
      "name": "MyPreMiddleware",
      "require_session": false
    },
    {
      "name": "AnotherPreMiddleware",
      "require_session": false
    }
  ],
  "post": [
    {
      "name": "MyPostMiddleware",
      "require_session": false
    }
  ],
  "post_key_auth": [
    {
      "name": "MyPostKeyAuthMiddleware",
      "require_session": true
    }
  ],
  "auth_check": {
    "name": "MyAuthCheck"
  },
  "driver": "python"
}
}""")

RESPONSE = json.loads("""{
    "custom_middleware": {
        "response": [
            {
                "name": "ResponseHook",
                "path": "middleware/middleware.py"
            }
        ],
        "driver": "python"
    }
}""")

GOPLUGIN = json.loads("""{
"custom_middleware": {
"pre": [],
"post_key_auth": [],
"auth_check": {},
"post": [
{
"name": "AddFooBarHeader",
"path": "<path>/plugin.so"
}
],
"driver": "goplugin"
},
"use_keyless": true,
"proxy": {"listen_path": "/my_api_name/", "target_url": "http://httpbin.org/"}
}""")

GO_BUNDLE = json.loads("""{"custom_middleware_bundle": "FooBarBundle.zip"}""")


def test_seed_basic_usage():
    reading = read(smallest(**BASIC_USAGE, custom_plugin_auth_enabled=True))
    definition = reading.require()
    assert reading.verdict == "loaded"
    assert reading.notices == ()
    assert names(definition, Phase.PRE) == ["MyPreMiddleware", "AnotherPreMiddleware"]
    assert names(definition, Phase.AUTH_CHECK) == ["MyAuthCheck"]
    assert names(definition, Phase.POST_KEY_AUTH) == ["MyPostKeyAuthMiddleware"]
    assert names(definition, Phase.POST) == ["MyPostMiddleware"]
    assert [hook.require_session for hook in definition.section.hooks] == [False, False, False, True, False]
    assert {hook.driver for hook in definition.section.hooks} == {Driver.PYTHON}


def test_seed_basic_usage_without_the_flag_says_that_auth_check_is_off():
    reading = read(smallest(**BASIC_USAGE))
    assert names(reading.require(), Phase.AUTH_CHECK) == []
    assert [str(notice) for notice in reading.notices] == [
        'api.json: $.custom_middleware.auth_check: custom authentication is off: the hook "MyAuthCheck" does not run'
    ]


def test_seed_response_hook():
    definition = read(smallest(**RESPONSE)).require()
    (hook,) = definition.hooks(Phase.RESPONSE)
    assert (hook.name, hook.path, hook.driver) == ("ResponseHook", "middleware/middleware.py", Driver.PYTHON)
    assert hook.where == "$.custom_middleware.response[0]"


def test_seed_go_plugin_waits_for_its_driver():
    reading = read({"api_id": "api", **GOPLUGIN})
    assert reading.verdict == "not loaded: needs the goplugin driver ($.custom_middleware.post[0])"
    definition = reading.require()
    assert definition.auth.keyless
    assert definition.target_url == "http://httpbin.org/"
    assert names(definition, Phase.POST) == ["AddFooBarHeader"]
    assert names(definition, Phase.AUTH_CHECK) == []
    assert read({"api_id": "api", **GOPLUGIN}, capabilities=EVERYTHING).verdict == "loaded"


def test_seed_go_bundle_waits_for_its_download():
    reading = read(smallest(**GO_BUNDLE))
    needs = 'a download of the bundle "FooBarBundle.zip" ($.custom_middleware_bundle)'
    assert reading.verdict == f"not loaded: needs {needs}"
    assert reading.require().bundles == (Bundle(name="FooBarBundle.zip"),)
    assert read(smallest(**GO_BUNDLE), capabilities=EVERYTHING).verdict == "loaded"


# --- classic, key by key --------------------------------------------------------------------------------------------


def test_identity_and_routing():
    definition = read(
        smallest(
            org_id="org",
            name="Name",
            domain="api.example.com",
            listen_port=8443,
            proxy={"listen_path": "/x/", "strip_listen_path": True, "target_url": "https://up:8080/base"},
            session_lifetime=60,
            enable_context_vars=True,
            disable_rate_limit=True,
            disable_quota=True,
        )
    ).require()
    assert (definition.form, definition.file, definition.api_id, definition.org_id) == (
        "classic",
        "api.json",
        "api",
        "org",
    )
    assert (definition.name, definition.domain, definition.listen_port) == ("Name", "api.example.com", 8443)
    assert (definition.listen_path, definition.strip_listen_path) == ("/x/", True)
    assert definition.target_url == "https://up:8080/base"
    assert (definition.session_lifetime, definition.context_vars) == (60, True)
    assert (definition.disable_rate_limit, definition.disable_quota) == (True, True)


def test_a_disabled_domain_is_none():
    assert read(smallest(domain="a.example", domain_disabled=True)).require().domain == ""


def test_null_is_the_default_as_in_exports():
    section = {"pre": None, "post": None, "auth_check": None, "driver": None, "id_extractor": None}
    reading = read(smallest(custom_middleware=section, config_data=None, org_id=None, event_handlers={"events": None}))
    assert reading.verdict == "loaded"
    assert reading.require().section.hooks == ()


def test_disabled_hooks_stay_and_do_not_run():
    section = {"driver": "python", "pre": [{"name": "off", "disabled": True}, {"name": "on"}]}
    definition = read(smallest(custom_middleware=section)).require()
    assert [hook.name for hook in definition.section.hooks] == ["off", "on"]
    assert names(definition, Phase.PRE) == ["on"]


def test_a_disabled_hook_needs_nothing():
    section = {"driver": "lua", "pre": [{"name": "off", "disabled": True}]}
    assert read(smallest(custom_middleware=section)).verdict == "loaded"


@pytest.mark.parametrize(
    ("path", "driver"),
    [
        ("a/b.py", Driver.PYTHON),
        ("b.js", Driver.JAVASCRIPT),
        ("b.lua", Driver.LUA),
        ("b.v1.so", Driver.GOPLUGIN),
    ],
)
def test_an_empty_driver_is_inferred_and_said_so(path, driver):
    reading = read(smallest(custom_middleware={"pre": [{"name": "f", "path": path}], "driver": ""}))
    assert reading.require().section.hooks[0].driver is driver
    assert [str(notice) for notice in reading.notices] == [
        f'api.json: $.custom_middleware.pre[0]: no driver is named: "{driver}", from the suffix of "{path}"'
    ]


def test_otto_is_javascript():
    section = {"driver": "otto", "pre": [{"name": "f", "path": "f.js"}]}
    reading = read(smallest(custom_middleware=section))
    assert reading.require().section.driver is Driver.JAVASCRIPT
    assert reading.verdict == "not loaded: needs the javascript driver ($.custom_middleware.pre[0])"


def test_a_hook_may_have_a_driver_of_its_own():
    section = {"driver": "python", "pre": [{"name": "a"}, {"name": "b", "driver": "grpc"}]}
    drivers = [hook.driver for hook in read(smallest(custom_middleware=section)).require().section.hooks]
    assert drivers == [Driver.PYTHON, Driver.GRPC]


def test_deadline_and_failure_of_a_hook():
    section = {"driver": "grpc", "pre": [{"name": "a", "timeout_ms": 20, "on_failure": "open"}]}
    (hook,) = read(smallest(custom_middleware=section), capabilities=EVERYTHING).require().hooks(Phase.PRE)
    assert (hook.timeout_ms, hook.on_failure) == (20, OnFailure.OPEN)


def test_code_and_raw_body():
    code = base64.b64encode(b"var a = 1;").decode()
    section = {"driver": "otto", "post": [{"name": "a", "code": code[:4] + "\n" + code[4:], "raw_body_only": True}]}
    (hook,) = read(smallest(custom_middleware=section)).require().section.hooks
    assert (hook.code, hook.raw_body_only) == (b"var a = 1;", True)


def test_code_beside_a_path_gets_a_notice():
    section = {"driver": "otto", "post": [{"name": "a", "code": "YQ==", "path": "a.js"}]}
    (notice,) = read(smallest(custom_middleware=section)).notices
    assert str(notice) == (
        'api.json: $.custom_middleware.post[0]: the hook has code and a path: the code runs, "a.js" only names it'
    )


def test_bundles_are_a_list_with_commas():
    definition = read(smallest(custom_middleware_bundle=" a.zip, ,b/c.zip,")).require()
    assert [bundle.name for bundle in definition.bundles] == ["a.zip", "b/c.zip"]
    assert definition.bundles[0].hash == "bebeee37288e699f78f2e4d27ac4ceed"


def test_disabled_bundles_are_none():
    definition = read(smallest(custom_middleware_bundle="a.zip", custom_middleware_bundle_disabled=True)).require()
    assert definition.bundles == ()


def test_hooks_beside_a_bundle_are_replaced_and_said_so():
    section = {"driver": "lua", "pre": [{"name": "a"}]}
    reading = read(smallest(custom_middleware=section, custom_middleware_bundle="a.zip"))
    assert [str(notice) for notice in reading.notices] == [
        "api.json: $.custom_middleware: the hooks of the bundle's manifest replace these"
    ]
    assert [need.what for need in reading.needs] == ['a download of the bundle "a.zip"']


def test_config_data():
    data = {"a": [1, None, {"b": "ü"}]}
    definition = read(smallest(org_id="org", config_data=data)).require()
    assert definition.config_data == data
    spec = definition.spec(Bundle(name="b.zip"))
    assert json.loads(spec.pop("config_data")) == data
    assert spec == {"OrgID": "org", "APIID": "api", "bundle_hash": "a2bfc162fe5785e50946cccfb192a8b6"}


@pytest.mark.parametrize("changes", [{"config_data": {"a": 1}, "config_data_disabled": True}, {"config_data": {}}, {}])
def test_config_data_that_is_off_or_empty_is_none(changes):
    definition = read(smallest(**changes)).require()
    assert definition.config_data is None
    assert "config_data" not in definition.spec()


# --- authentication -------------------------------------------------------------------------------------------------

AUTH_HOOK = {"driver": "python", "auth_check": {"name": "check"}}


@pytest.mark.parametrize("flag", ["custom_plugin_auth_enabled", "enable_coprocess_auth", "use_go_plugin_auth"])
def test_each_flag_turns_custom_authentication_on(flag):
    definition = read(smallest(custom_middleware=AUTH_HOOK, **{flag: True})).require()
    assert (definition.auth.custom, definition.auth.keyless, definition.auth.token) == (True, False, None)
    assert names(definition, Phase.AUTH_CHECK) == ["check"]


def test_keyless_wins_over_custom_authentication():
    section = {**AUTH_HOOK, "post_key_auth": [{"name": "after"}], "post": [{"name": "post"}]}
    reading = read(smallest(custom_middleware=section, use_keyless=True, enable_coprocess_auth=True))
    definition = reading.require()
    assert (definition.auth.keyless, definition.auth.custom, definition.auth.token) == (True, False, None)
    assert names(definition, Phase.AUTH_CHECK) == names(definition, Phase.POST_KEY_AUTH) == []
    assert names(definition, Phase.POST) == ["post"]
    assert {notice.path for notice in reading.notices} == {
        "$.enable_coprocess_auth",
        "$.custom_middleware.auth_check",
        "$.custom_middleware.post_key_auth[0]",
    }


def test_a_protected_api_without_a_method_uses_standard_tokens():
    assert read(smallest()).require().auth.token == TokenSource(header="Authorization")


def test_where_the_token_is():
    auth = {"auth_header_name": "X-Key", "use_param": True, "use_cookie": True, "cookie_name": "key"}
    token = read(smallest(auth=auth)).require().auth.token
    assert token == TokenSource(header="X-Key", param="X-Key", cookie="key")
    configs = {"authToken": {"disable_header": True, "use_param": True, "param_name": "k"}}
    token = read(smallest(auth=auth, auth_configs=configs)).require().auth.token
    assert token == TokenSource(header="", param="k")


def test_two_methods_and_the_base_identity():
    both = smallest(custom_middleware=AUTH_HOOK, custom_plugin_auth_enabled=True, use_standard_auth=True)
    reading = read({**both, "base_identity_provided_by": "custom_auth", "strip_auth_data": True})
    auth = reading.require().auth
    assert (auth.custom, auth.token, auth.base_identity, auth.strip) == (True, TokenSource(), "custom_auth", True)
    assert reading.notices == ()
    (notice,) = read(both).notices
    assert notice.text == 'no base identity is named: the session is that of "auth_token"'


@pytest.mark.parametrize(
    ("changes", "need"),
    [
        ({"enable_jwt": True}, "JWT authentication ($.enable_jwt)"),
        ({"use_oauth2": True}, "OAuth 2.0 authentication ($.use_oauth2)"),
        ({"external_oauth": {"enabled": True}}, "external OAuth authentication ($.external_oauth)"),
        ({"use_openid": True}, "OpenID Connect authentication ($.use_openid)"),
        ({"use_basic_auth": True}, "basic authentication ($.use_basic_auth)"),
        ({"enable_signature_checking": True}, "HMAC request signatures ($.enable_signature_checking)"),
        ({"use_mutual_tls_auth": True}, "mutual TLS authentication ($.use_mutual_tls_auth)"),
        ({"auth": {"use_certificate": True}}, "client certificates as keys ($.auth.use_certificate)"),
        ({"auth": {"validate_signature": True}}, "signatures of keys ($.auth.validate_signature)"),
        ({"enable_ip_whitelisting": True}, "IP allow lists ($.enable_ip_whitelisting)"),
        ({"enable_ip_blacklisting": True}, "IP block lists ($.enable_ip_blacklisting)"),
        ({"graphql": {"enabled": True}}, "GraphQL ($.graphql.enabled)"),
        ({"definition": {"enabled": True}}, "API versions ($.definition.enabled)"),
        ({"version_data": {"versions": {"1": {}, "2": {}}}}, "API versions ($.version_data.versions)"),
        (
            {"version_data": {"versions": {"v": {"paths": {"white_list": ["/a"]}}}}},
            "a white list of paths ($.version_data.versions.v.paths.white_list)",
        ),
        (
            {
                "version_data": {
                    "versions": {"v": {"use_extended_paths": True, "extended_paths": {"black_list": [{"path": "/a"}]}}}
                }
            },
            "a black list of paths ($.version_data.versions.v.extended_paths.black_list)",
        ),
        (
            {
                "version_data": {
                    "versions": {
                        "v": {"use_extended_paths": True, "extended_paths": {"go_plugin": [{"func_name": "f"}]}}
                    }
                }
            },
            "the goplugin driver ($.version_data.versions.v.extended_paths.go_plugin[0])",
        ),
        (
            {"custom_middleware": {"traffic_logs": {"name": "f", "path": "f.so"}}},
            "hooks on traffic logs ($.custom_middleware.traffic_logs)",
        ),
    ],
)
def test_what_protects_an_api_and_is_not_built_keeps_it_from_loading(changes, need):
    reading = read(smallest(**changes))
    assert reading.verdict == f"not loaded: needs {need}"
    assert not reading.loadable
    assert reading.require().auth.custom is False


def test_a_version_without_lists_needs_nothing():
    paths = {"ignored": [], "white_list": [], "black_list": []}
    version = {"name": "Default", "use_extended_paths": True, "extended_paths": paths, "paths": paths}
    document = smallest(version_data={"not_versioned": True, "versions": {"Default": version}})
    assert read(document).verdict == "loaded"


# --- extractors, events, virtual endpoints --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "method", "config"),
    [
        ("header", "value", {"header_name": "Authorization"}),
        ("form", "value", {"param_name": "auth"}),
        ("body", "value", {}),
        ("header", "regex", {"header_name": "A", "regex_expression": "[^-]+$", "regex_match_index": 0}),
        ("body", "xpath", {"xpath_expression": "//User/*[1]"}),
    ],
)
def test_id_extractors(source, method, config):
    section = {
        **AUTH_HOOK,
        "id_extractor": {"extract_from": source, "extract_with": method, "extractor_config": config},
    }
    definition = read(smallest(custom_middleware=section, custom_plugin_auth_enabled=True)).require()
    extractor = definition.section.extractor
    assert (extractor.source, extractor.method) == (Source(source), Method(method))
    assert extractor.header_name == config.get("header_name", "")
    assert extractor.param_name == config.get("param_name", "")
    assert extractor.regex == config.get("regex_expression", "")
    assert extractor.xpath == config.get("xpath_expression", "")


def test_a_disabled_extractor_is_none():
    section = {**AUTH_HOOK, "id_extractor": {"disabled": True, "extract_from": "nowhere"}}
    assert read(smallest(custom_middleware=section)).require().section.extractor is None


def test_an_extractor_waits_for_its_engine(monkeypatch):
    monkeypatch.setitem(sys.modules, "re2", None)
    config = {"regex_expression": "a"}
    extractor = {"extract_from": "body", "extract_with": "regex", "extractor_config": config}
    section = {**AUTH_HOOK, "id_extractor": extractor}
    reading = read(smallest(custom_middleware=section, custom_plugin_auth_enabled=True))
    assert reading.verdict == (
        "not loaded: needs RE2 for regular expressions: pip install 'tykbridge[extractors]' "
        "($.custom_middleware.id_extractor)"
    )


def test_event_handlers():
    events = {
        "AuthFailure": [
            {"handler_name": "eh_log_handler", "handler_meta": {"prefix": "x"}},
            {"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "on_failure"}},
        ],
        "MyEvent": [{"handler_name": "eh_web_hook_handler", "handler_meta": {"disabled": True}}],
    }
    reading = read(smallest(event_handlers={"events": events}))
    assert reading.verdict == "loaded"
    handlers = reading.require().events
    assert [(item.event, item.handler, item.disabled) for item in handlers] == [
        ("AuthFailure", "eh_log_handler", False),
        ("AuthFailure", "cp_dynamic_handler", False),
        ("MyEvent", "eh_web_hook_handler", True),
    ]
    assert handlers[1].meta == {"name": "on_failure"}


def test_javascript_event_handlers_wait_for_the_driver():
    events = {"AuthFailure": [{"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "f", "path": "f.js"}}]}
    verdict = read(smallest(event_handlers={"events": events})).verdict
    assert verdict == "not loaded: needs the javascript driver ($.event_handlers.events.AuthFailure[0])"


def test_virtual_endpoints_are_kept():
    virtual = [
        {
            "response_function_name": "f",
            "function_source_type": "file",
            "function_source_uri": "f.js",
            "path": "/v",
            "method": "GET",
            "use_session": True,
            "proxy_on_error": True,
        },
        {
            "response_function_name": "g",
            "function_source_type": "blob",
            "function_source_uri": "YQ==",
            "disabled": True,
        },
    ]
    version = {"use_extended_paths": True, "extended_paths": {"virtual": virtual}}
    reading = read(smallest(version_data={"versions": {"Default": version}}))
    place = "$.version_data.versions.Default.extended_paths.virtual[0]"
    assert reading.verdict == f"not loaded: needs the javascript driver ({place})"
    first, second = reading.require().virtual
    assert (first.function, first.path, first.method, first.source) == ("f", "/v", "GET", "f.js")
    assert (first.use_session, first.proxy_on_error, first.disabled) == (True, True, False)
    assert (second.code, second.source, second.disabled) == (b"a", "", True)


# --- OAS ------------------------------------------------------------------------------------------------------------


def oas_hooks(**lists):
    return {"middleware": {"global": {"pluginConfig": {"driver": "python"}, **lists}}}


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


# --- broken definitions ---------------------------------------------------------------------------------------------


def broken(changes, path, expected, found):
    return pytest.param(changes, path, expected, found, id=f"{path}-{found[:30]}")


def hooked(**hook):
    return {"custom_middleware": {"driver": "python", "pre": [hook]}}


def extracting(**extractor):
    return {"custom_middleware": {**AUTH_HOOK, "id_extractor": extractor}, "custom_plugin_auth_enabled": True}


def virtual(**endpoint):
    version = {"use_extended_paths": True, "extended_paths": {"virtual": [endpoint]}}
    return {"version_data": {"versions": {"v": version}}}


PRE = "$.custom_middleware.pre[0]"
EXTRACTOR = "$.custom_middleware.id_extractor"
VIRTUAL = "$.version_data.versions.v.extended_paths.virtual[0]"
DRIVERS = 'one of "python", "javascript", "lua", "grpc", "goplugin", "otto"'

BROKEN = [
    broken({"api_id": ""}, "$.api_id", "a string, the API's id", "none"),
    broken({"api_id": 7}, "$.api_id", "a string", "a number (7)"),
    broken(
        {"api_id": "a\nb"}, "$.api_id", "an id without control characters or spaces around it", 'a string ("a\\nb")'
    ),
    broken({"api_id": " a"}, "$.api_id", "an id without control characters or spaces around it", 'a string (" a")'),
    broken({"org_id": ["a"]}, "$.org_id", "a string", "a list of 1"),
    broken({"name": {}}, "$.name", "a string", "an empty object"),
    broken({"active": "true"}, "$.active", "true or false", 'a string ("true")'),
    broken({"proxy": []}, "$.proxy", "an object", "an empty list"),
    broken({"proxy": {}}, "$.proxy.listen_path", "a path that starts with /", "none"),
    broken(
        {"proxy": {"listen_path": "api"}},
        "$.proxy.listen_path",
        "a path that starts with / and has no space, ? or #",
        'a string ("api")',
    ),
    broken(
        {"proxy": {"listen_path": "/a?b"}},
        "$.proxy.listen_path",
        "a path that starts with / and has no space, ? or #",
        'a string ("/a?b")',
    ),
    broken({"proxy": {"listen_path": True}}, "$.proxy.listen_path", "a string", "true"),
    broken(
        {"proxy": {"listen_path": "/", "target_url": "upstream/"}},
        "$.proxy.target_url",
        "a URL with scheme and host (http://host/)",
        'a string ("upstream/")',
    ),
    broken(
        {"proxy": {"listen_path": "/", "strip_listen_path": 1}},
        "$.proxy.strip_listen_path",
        "true or false",
        "a number (1)",
    ),
    broken({"domain": "http://a"}, "$.domain", "a host name, without scheme and path", 'a string ("http://a")'),
    broken({"listen_port": 70000}, "$.listen_port", "a port, 0 to 65535", "a number (70000)"),
    broken({"listen_port": 1.5}, "$.listen_port", "a whole number", "a number (1.5)"),
    broken({"session_lifetime": -1}, "$.session_lifetime", "a number of seconds, 0 or more", "a number (-1)"),
    broken({"use_keyless": 0}, "$.use_keyless", "true or false", "a number (0)"),
    broken({"config_data": [1]}, "$.config_data", "an object", "a list of 1"),
    broken({"enable_context_vars": "yes"}, "$.enable_context_vars", "true or false", 'a string ("yes")'),
    broken({"custom_middleware": "x"}, "$.custom_middleware", "an object", 'a string ("x")'),
    broken({"custom_middleware": {"pre": {}}}, "$.custom_middleware.pre", "a list of objects", "an empty object"),
    broken({"custom_middleware": {"pre": ["f"]}}, PRE, "an object", 'a string ("f")'),
    broken(
        {"custom_middleware": {"driver": "pyton"}},
        "$.custom_middleware.driver",
        DRIVERS,
        'a string ("pyton"); did you mean "python"?',
    ),
    broken({"custom_middleware": {"driver": 1}}, "$.custom_middleware.driver", "a string", "a number (1)"),
    broken(hooked(), f"{PRE}.name", "a string, the name of the hook's function", "none"),
    broken(hooked(name=None), f"{PRE}.name", "a string, the name of the hook's function", "none"),
    broken(hooked(name="a\0"), f"{PRE}.name", "a name without control characters", 'a string ("a\\u0000")'),
    broken(hooked(name="f", path="a\0.py"), f"{PRE}.path", "a path without NUL", 'a string ("a\\u0000.py")'),
    broken(hooked(name="f", path=3), f"{PRE}.path", "a string", "a number (3)"),
    broken(hooked(name="f", disabled="no"), f"{PRE}.disabled", "true or false", 'a string ("no")'),
    broken(hooked(name="f", driver="ruby"), f"{PRE}.driver", DRIVERS, 'a string ("ruby")'),
    broken(hooked(name="f", code="%"), f"{PRE}.code", "base64", 'a string ("%")'),
    broken(hooked(name="f", on_failure="opne"), f"{PRE}.on_failure", 'one of "closed", "open"', 'did you mean "open"?'),
    broken(
        hooked(name="f", timeout_ms=0),
        f"{PRE}.timeout_ms",
        "a whole number of milliseconds, at least 1",
        "a number (0)",
    ),
    broken(hooked(name="f", timeout_ms="1s"), f"{PRE}.timeout_ms", "a whole number", 'a string ("1s")'),
    broken(
        hooked(name="f", timeout_ms=10),
        f"{PRE}.timeout_ms",
        "no deadline: the python driver cannot keep one (drivers that can: none yet)",
        "a number (10)",
    ),
    broken(
        {"custom_middleware": {"pre": [{"name": "f"}]}},
        f"{PRE}.driver",
        "a driver, or a path whose suffix names one (.py, .js, .lua, .so)",
        "neither",
    ),
    broken(
        {"custom_middleware": {"pre": [{"name": "f", "path": "f.rb"}]}},
        f"{PRE}.driver",
        "a driver, or a path whose suffix names one (.py, .js, .lua, .so)",
        'the path "f.rb"',
    ),
    broken(
        {"custom_middleware": {"driver": "python", "auth_check": [{"name": "f"}]}},
        "$.custom_middleware.auth_check",
        "an object",
        "a list of 1",
    ),
    broken(
        {
            "custom_middleware": {"driver": "python", "auth_check": {"name": "f", "on_failure": "open"}},
            "custom_plugin_auth_enabled": True,
        },
        "$.custom_middleware.auth_check.on_failure",
        '"closed": authentication that fails lets nobody through',
        '"open"',
    ),
    broken(
        {"custom_plugin_auth_enabled": True},
        "$.custom_middleware.auth_check",
        "a hook, because $.custom_plugin_auth_enabled is set",
        "none",
    ),
    broken(
        {
            "use_go_plugin_auth": True,
            "custom_middleware": {"driver": "python", "auth_check": {"name": "f", "disabled": True}},
        },
        "$.custom_middleware.auth_check",
        "a hook, because $.use_go_plugin_auth is set",
        "a disabled hook",
    ),
    broken(
        {"custom_middleware_bundle": "../a.zip"},
        "$.custom_middleware_bundle",
        "names of bundles, without .. and not absolute",
        'a string ("../a.zip")',
    ),
    broken(
        {"custom_middleware_bundle": "a.zip,a.zip"},
        "$.custom_middleware_bundle",
        "each bundle once",
        '"a.zip" more than once',
    ),
    broken({"custom_middleware_bundle": ["a.zip"]}, "$.custom_middleware_bundle", "a string", "a list of 1"),
    broken(
        extracting(extract_from="heder", extract_with="value"),
        f"{EXTRACTOR}.extract_from",
        'one of "header", "form", "body"',
        'did you mean "header"?',
    ),
    broken(
        extracting(extract_from="header", extract_with="json"),
        f"{EXTRACTOR}.extract_with",
        'one of "value", "regex", "xpath"',
        'a string ("json")',
    ),
    broken(
        extracting(extract_from="header", extract_with="value"),
        f"{EXTRACTOR}.extractor_config.header_name",
        "a string, the name of the header",
        "none",
    ),
    broken(
        extracting(extract_from="form", extract_with="value"),
        f"{EXTRACTOR}.extractor_config.param_name",
        "a string, the name of the parameter",
        "none",
    ),
    broken(
        extracting(extract_from="body", extract_with="regex", extractor_config={"regex_expression": "("}),
        f"{EXTRACTOR}.extractor_config.regex_expression",
        "a regular expression (RE2 syntax)",
        '"(": missing ): (',
    ),
    broken(
        extracting(
            extract_from="body",
            extract_with="regex",
            extractor_config={"regex_expression": "a", "regex_match_index": -1},
        ),
        f"{EXTRACTOR}.extractor_config.regex_match_index",
        "a whole number, 0 for the first match",
        "-1",
    ),
    broken(
        extracting(extract_from="body", extract_with="xpath", extractor_config={"xpath_expression": "//["}),
        f"{EXTRACTOR}.extractor_config.xpath_expression",
        "an XPath 1.0 expression",
        '"//[": Invalid expression',
    ),
    broken(
        {"auth": {"auth_header_name": "X Key"}},
        "$.auth.auth_header_name",
        "the name of a header",
        'a string ("X Key")',
    ),
    broken(
        {"auth_configs": {"authToken": {"disable_header": True}}},
        "$.auth_configs.authToken",
        "a header, a parameter or a cookie that holds the token",
        "all of them off",
    ),
    broken(
        {"base_identity_provided_by": "custom_auth"},
        "$.base_identity_provided_by",
        'a method of authentication that is on ("auth_token")',
        '"custom_auth"',
    ),
    broken({"event_handlers": {"events": []}}, "$.event_handlers.events", "an object", "an empty list"),
    broken(
        {"event_handlers": {"events": {"X": [{"handler_name": "eh_lgo_handler"}]}}},
        "$.event_handlers.events.X[0].handler_name",
        'one of "eh_log_handler", "eh_web_hook_handler", "eh_dynamic_handler", "cp_dynamic_handler"',
        'did you mean "eh_log_handler"?',
    ),
    broken(
        {"event_handlers": {"events": {"X": [{"handler_name": "cp_dynamic_handler"}]}}},
        "$.event_handlers.events.X[0].handler_meta.name",
        "a string, the name of the handler's function",
        "none",
    ),
    broken(
        virtual(function_source_type="file", function_source_uri="f.js"),
        f"{VIRTUAL}.response_function_name",
        "a string, the name of the function",
        "none",
    ),
    broken(
        virtual(response_function_name="f", function_source_type="url"),
        f"{VIRTUAL}.function_source_type",
        'one of "file", "blob"',
        'a string ("url")',
    ),
    broken(
        virtual(response_function_name="f", function_source_type="blob", function_source_uri="!"),
        f"{VIRTUAL}.function_source_uri",
        "base64",
        'a string ("!")',
    ),
    broken({"Proxy": {}}, "$.Proxy", '"proxy" once', '"proxy" and "Proxy"'),
]

OAS_BROKEN = [
    broken({"info": {}}, "$.x-tyk-api-gateway.info.id", "a string, the API's id", "none"),
    broken({"info": {"id": 1}}, "$.x-tyk-api-gateway.info.id", "a string", "a number (1)"),
    broken({"server": {}}, "$.x-tyk-api-gateway.server.listenPath.value", "a path that starts with /", "none"),
    broken(
        {"upstream": {"url": "x"}},
        "$.x-tyk-api-gateway.upstream.url",
        "a URL with scheme and host (http://host/)",
        'a string ("x")',
    ),
    broken(
        oas_hooks(prePlugins=[{"enabled": True}]),
        "$.x-tyk-api-gateway.middleware.global.prePlugins[0].functionName",
        "a string, the name of the hook's function",
        "none",
    ),
    broken(
        oas_hooks(postPlugins=[{"enabled": True, "functionName": "f", "timeoutMs": 5}]),
        "$.x-tyk-api-gateway.middleware.global.postPlugins[0].timeoutMs",
        "no deadline: the python driver cannot keep one (drivers that can: none yet)",
        "a number (5)",
    ),
    broken(
        {"server": {"listenPath": {"value": "/"}, "authentication": {"enabled": True, "custom": {"enabled": True}}}},
        "$.x-tyk-api-gateway.server.authentication.custom.config",
        "a hook, because $.x-tyk-api-gateway.server.authentication.custom.enabled is set",
        "none",
    ),
    broken(
        {
            "server": {
                "listenPath": {"value": "/"},
                "authentication": {"enabled": True, "securitySchemes": {"a b": {"enabled": True}}},
            }
        },
        '$.components.securitySchemes["a b"]',
        'an object, the security scheme that $.x-tyk-api-gateway.server.authentication.securitySchemes["a b"] turns on',
        "none",
    ),
    broken(
        {"server": {"listenPath": {"value": "/"}, "eventHandlers": [{"trigger": "X", "type": "mail"}]}},
        "$.x-tyk-api-gateway.server.eventHandlers[0].type",
        'one of "webhook", "custom", "log"',
        'a string ("mail")',
    ),
    broken(
        {"middleware": {"operations": {"o": {"virtualEndpoint": {"functionName": "f", "path": "f.js"}}}}},
        "$.paths",
        'an operation with the operationId "o", for $.x-tyk-api-gateway.middleware.operations.o.virtualEndpoint',
        "none",
    ),
]


def test_there_are_fifty_broken_definitions():
    assert len(BROKEN) >= 50


@pytest.mark.parametrize(("changes", "path", "expected", "found"), BROKEN)
def test_broken_definition_is_refused_and_the_good_one_beside_it_loads(tmp_path, changes, path, expected, found):
    check_refused(tmp_path, smallest(**changes), path, expected, found)


@pytest.mark.parametrize(("parts", "path", "expected", "found"), OAS_BROKEN)
def test_broken_oas_definition_is_refused_and_the_good_one_beside_it_loads(tmp_path, parts, path, expected, found):
    check_refused(tmp_path, smallest_oas(**parts), path, expected, found)


def check_refused(folder, document, path, expected, found):
    bad, good = folder / "bad.json", folder / "good.json"
    bad.write_text(json.dumps(document))
    good.write_text(json.dumps({"api_id": "good", "proxy": {"listen_path": "/good/"}}))
    catalog = read_folder(folder)
    assert [definition.api_id for definition in catalog.definitions] == ["good"]
    (problem,) = catalog.problems
    assert str(problem).startswith(f"{bad}: {path}: expected {expected}, found ")
    assert found in problem.found


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "expected JSON (expecting value), found the end of the text"),
        ('{\n  "a": 1,\n  b}', "3:3", "expected JSON (expecting property name enclosed in double quotes), found 'b'"),
        ('{"a": 1', "1:8", "expected JSON (expecting ',' delimiter), found the end of the text"),
        ('{"a": 1} x', "1:10", "expected JSON (extra data), found 'x'"),
        ('{"a": "\t"}', "1:8", "found '\\t'"),
        (b'{\n"a": "\xff"}', "2:7", "expected UTF-8 text, found the byte 0xff"),
    ],
)
def test_text_that_is_no_json_has_line_and_column(text, place, words):
    (problem,) = read_text(text, "api.json").problems
    assert str(problem).startswith(f"api.json:{place}: $: ")
    assert words in str(problem)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "$: expected an object, the API definition, found a list"),
        ("null", "$: expected an object, the API definition, found null"),
        ("1", "$: expected an object, the API definition, found a number"),
        ('{"a": {"b": 1, "b": 2}}', '$.a.b: expected each key once, found "b" more than once'),
        ('{"a": [NaN]}', "$.a[0]: expected a number that JSON has and a computer can hold, found NaN"),
        ('{"a": 1e999}', "$.a: expected a number that JSON has and a computer can hold, found 1e999"),
        ('{"a": 1' + "0" * 5000 + "}", "$.a: expected a number that JSON has and a computer can hold, found 1000"),
        ('{"a": "\\ud800"}', "$.a: expected Unicode text, found the lone surrogate in '\\ud800'"),
        ('{"\\ud800": 1}', "$: expected keys that are Unicode text, found the lone surrogate in '\\ud800'"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "$: expected at most 200 levels of nesting, found more"),
        ('{"a": ' + "[" * 100000 + "]" * 100000 + "}", "$: expected at most 200 levels of nesting, found more"),
        (
            '{"openapi": "3.0.3"}',
            "$.x-tyk-api-gateway: expected an object, Tyk's part of the OpenAPI document, found none",
        ),
    ],
)
def test_json_that_is_no_definition(text, words):
    assert str(read_text(text, "api.json").problems[0]).startswith(f"api.json: {words}")


def test_a_file_that_is_too_large_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("tykbridge.definition.tree.MAX_BYTES", 50)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(smallest(name="x" * 50)))
    (problem,) = read_file(file).problems
    assert (problem.expected, problem.path) == ("at most 50 bytes", "$")


def test_all_problems_of_a_file_are_reported():
    document = smallest(
        api_id=1,
        domain=[],
        custom_middleware={"driver": "x", "pre": [{"name": 1}, {"name": ""}, {"name": "f", "path": 5, "code": "%"}]},
    )
    assert [problem.path for problem in read(document).problems] == [
        "$.api_id",
        "$.domain",
        "$.custom_middleware.pre[0].name",
        "$.custom_middleware.pre[2].path",
        "$.custom_middleware.driver",
        "$.custom_middleware.pre[1].name",
        "$.custom_middleware.pre[2].code",
    ]


def test_a_file_with_endless_problems_ends_early():
    problems = read(smallest(custom_middleware={"driver": "python", "pre": [{}] * 5000})).problems
    assert len(problems) == 100


def test_require_raises_all_the_reasons():
    with pytest.raises(DefinitionError) as caught:
        read({"name": 1}).require()
    assert [problem.path for problem in caught.value.problems] == ["$.name", "$.api_id", "$.proxy.listen_path"]
    assert str(caught.value).count("\n") == 2
    assert isinstance(caught.value, LoadError)


def test_a_file_that_is_not_there(tmp_path):
    (problem,) = read_file(tmp_path / "none.json").problems
    assert (
        str(problem)
        == f"{tmp_path / 'none.json'}: $: expected a file that can be read, found No such file or directory"
    )
    (problem,) = read_folder(tmp_path / "none").problems
    assert problem.expected == "a folder that can be read"
    (tmp_path / "folder.json").mkdir()
    assert read_folder(tmp_path).problems[0].found == "Is a directory"


# --- notices about keys ---------------------------------------------------------------------------------------------


def test_keys_in_another_case_are_read_as_upstream_does():
    reading = read({"API_ID": "api", "Proxy": {"Listen_Path": "/"}, "use_keyless": True})
    assert reading.require().listen_path == "/"
    assert [notice.text for notice in reading.notices] == [
        'read as "api_id"',
        'read as "proxy"',
        'read as "listen_path"',
    ]


def test_keys_that_look_mistyped_get_a_notice():
    document = smallest(
        custom_midleware={"pre": []}, upstream_certificates={}, custom_middleware={"post_auth": [], "zzz": 1}
    )
    texts = {notice.path: notice.text for notice in read(document).notices}
    no_effect = "not a key that is known here, it has no effect"
    assert texts == {
        "$.custom_midleware": f'{no_effect}; did you mean "custom_middleware"?',
        "$.custom_middleware.post_auth": f'{no_effect}; did you mean "post_key_auth"?',
        "$.custom_middleware.zzz": no_effect,
    }


# --- folders --------------------------------------------------------------------------------------------------------


def write(folder, **files):
    for name, document in files.items():
        (folder / f"{name}.json").write_text(json.dumps(document))


def test_a_folder(tmp_path):
    write(
        tmp_path,
        a=smallest(),
        b=smallest(api_id="b", proxy={"listen_path": "/b/"}, enable_jwt=True),
        c=smallest(api_id="c", proxy={"listen_path": "/c/"}, active=False),
        d={},
    )
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.json").write_text("x")
    catalog = read_folder(tmp_path)
    assert [Path(reading.file).name for reading in catalog.readings] == ["a.json", "b.json", "c.json", "d.json"]
    assert [definition.api_id for definition in catalog.definitions] == ["api"]
    assert [reading.verdict for reading in catalog.not_loaded] == [
        "not loaded: needs JWT authentication ($.enable_jwt)",
        "not loaded: inactive",
    ]
    assert catalog.readings[3].verdict == "refused: 2 problems"
    assert catalog.notices == ()


def test_files_that_fight_over_an_api_id_are_refused(tmp_path):
    write(tmp_path, a=smallest(), b=smallest(proxy={"listen_path": "/b/"}), c=smallest_oas(info={"id": "c"}))
    catalog = read_folder(tmp_path)
    assert catalog.definitions == ()
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in catalog.problems] == [
        'a.json: $.api_id: expected a value of its own, found "api", as in b.json',
        'a.json: $.proxy.listen_path: expected a value of its own, found "/api/", as in c.json',
        'b.json: $.api_id: expected a value of its own, found "api", as in a.json',
        'c.json: $.x-tyk-api-gateway.server.listenPath.value: expected a value of its own, found "/api/", as in a.json',
    ]


def test_files_that_fight_over_a_listen_path_are_refused(tmp_path):
    other = {"api_id": "b", "proxy": {"listen_path": "/api"}}
    write(tmp_path, a=smallest(), b=other)
    assert read_folder(tmp_path).definitions == ()
    write(tmp_path, b={**other, "domain": "b.example"})
    assert len(read_folder(tmp_path).definitions) == 2
    write(tmp_path, b={**other, "active": False})
    assert len(read_folder(tmp_path).definitions) == 1


def test_the_classic_half_of_an_oas_api_is_left_to_it(tmp_path):
    write(tmp_path, **{"api": smallest(is_oas=True), "api-oas": smallest_oas()})
    catalog = read_folder(tmp_path)
    assert [definition.form for definition in catalog.definitions] == ["oas"]
    assert catalog.problems == ()


# --- manifests ------------------------------------------------------------------------------------------------------


def manifest(**section):
    return {"file_list": ["middleware.py"], "custom_middleware": {"driver": "python", **section}}


def test_a_manifest_replaces_the_hooks():
    document = smallest(
        custom_middleware_bundle="a.zip", custom_plugin_auth_enabled=True, custom_middleware={"pre": [{"name": "own"}]}
    )
    reading = read(document, capabilities=EVERYTHING)
    (bundle,) = reading.require().bundles
    extractor = {"extract_from": "header", "extract_with": "value", "extractor_config": {"header_name": "A"}}
    merged = with_manifests(
        reading,
        [(bundle, manifest(pre=[{"name": "theirs"}], auth_check={"name": "check"}, id_extractor=extractor))],
        EVERYTHING,
    ).require()
    assert [(hook.name, hook.bundle, hook.driver) for hook in merged.section.hooks] == [
        ("theirs", "a.zip", Driver.PYTHON),
        ("check", "a.zip", Driver.PYTHON),
    ]
    assert merged.section.extractor.header_name == "A"


def test_manifests_of_several_bundles_are_put_together():
    reading = read(smallest(custom_middleware_bundle="a.zip,b.zip"), capabilities=EVERYTHING)
    manifests = [
        manifest(pre=[{"name": "a"}]),
        manifest(pre=[{"name": "b", "driver": "lua"}], auth_check={"name": "c"}),
    ]
    merged = with_manifests(reading, zip(reading.require().bundles, manifests, strict=True))
    assert [(hook.name, hook.bundle) for hook in merged.require().hooks(Phase.PRE)] == [("a", "a.zip"), ("b", "b.zip")]
    assert merged.verdict == "not loaded: needs the lua driver ($.custom_middleware.pre[0])"


def test_two_bundles_with_auth_check_are_refused():
    reading = read(smallest(custom_middleware_bundle="a.zip,b.zip"), capabilities=EVERYTHING)
    both = [manifest(auth_check={"name": "a"}), manifest(auth_check={"name": "b"})]
    merged = with_manifests(reading, zip(reading.require().bundles, both, strict=True))
    assert [str(problem) for problem in merged.problems] == [
        'b.zip/manifest.json: $.custom_middleware.auth_check: expected it in one bundle only, found one in "a.zip" too'
    ]


def test_custom_authentication_needs_a_bundle_with_auth_check():
    document = smallest(custom_middleware_bundle="a.zip", custom_plugin_auth_enabled=True)
    reading = read(document, capabilities=EVERYTHING)
    merged = with_manifests(reading, [(reading.require().bundles[0], manifest())])
    assert [str(problem) for problem in merged.problems] == [
        (
            "a.zip/manifest.json: $.custom_middleware.auth_check: expected a hook, because api.json turns custom "
            "authentication on, found none in any of the API's bundles"
        )
    ]


def test_where_a_hook_without_a_bundle_is_looked_for(tmp_path):
    file = tmp_path / "api.json"
    file.write_text(json.dumps(smallest(**RESPONSE)))
    definition = read_file(file).require()
    (hook,) = definition.hooks(Phase.RESPONSE)
    assert definition.places(hook, "/opt/tyk") == (
        tmp_path / "middleware/middleware.py",
        Path("/opt/tyk/middleware/middleware.py"),
    )
    text = read_text(json.dumps(smallest(**RESPONSE))).require()
    assert text.places(hook, "/opt/tyk") == (Path("/opt/tyk/middleware/middleware.py"),)
    absolute = read(smallest(custom_middleware={"pre": [{"name": "f", "path": "/x/f.py"}]})).require()
    assert absolute.places(absolute.section.hooks[0], "/opt/tyk") == (Path("/x/f.py"),)


# --- properties -----------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw):
    """A right definition of everything, with some of its values replaced, dropped or doubled."""
    document = copy.deepcopy(draw(st.sampled_from([FULL, FULL_OAS])))
    for _ in range(draw(st.integers(0, 4))):
        place = document
        while True:
            steps = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not steps:
                break
            step = draw(st.sampled_from(steps))
            if isinstance(place[step], dict | list) and place[step] and draw(st.booleans()):
                place = place[step]
                continue
            if draw(st.booleans()):
                place[step] = draw(json_values)
            elif isinstance(place, dict):
                del place[step]
            break
    return document


FULL = smallest(
    **{
        **BASIC_USAGE,
        "org_id": "o",
        "custom_plugin_auth_enabled": True,
        "auth_configs": {"authToken": {"use_param": True}},
        "use_standard_auth": True,
        "base_identity_provided_by": "auth_token",
        "custom_middleware_bundle": "a.zip",
        "config_data": {"a": 1},
        "event_handlers": {"events": {"X": [{"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "f"}}]}},
        **virtual(response_function_name="f", function_source_type="blob", function_source_uri="YQ=="),
    }
)
FULL["custom_middleware"] = {
    **FULL["custom_middleware"],
    "id_extractor": {
        "extract_from": "header",
        "extract_with": "regex",
        "extractor_config": {"header_name": "A", "regex_expression": "a+"},
    },
}
FULL_OAS = smallest_oas(
    server={
        "listenPath": {"value": "/"},
        "authentication": {
            "enabled": True,
            "custom": {
                "enabled": True,
                "config": {
                    "functionName": "f",
                    "idExtractor": {"source": "body", "with": "xpath", "config": {"xPathExp": "//a"}},
                },
            },
            "securitySchemes": {"s": {"enabled": True}},
        },
        "eventHandlers": [{"enabled": True, "trigger": "X", "type": "custom", "functionName": "f"}],
    },
    middleware={
        "global": {
            "pluginConfig": {"driver": "python", "data": {"enabled": True, "value": {"a": 1}}},
            "prePlugins": [{"enabled": True, "functionName": "f", "code": "YQ=="}],
        },
        "operations": {"o": {"virtualEndpoint": {"enabled": True, "functionName": "f", "path": "f.js"}}},
    },
)
FULL_OAS["components"] = {"securitySchemes": {"s": {"type": "apiKey", "in": "header", "name": "K"}}}
FULL_OAS["paths"] = {"/o": {"get": {"operationId": "o"}}}


def test_the_full_definitions_are_right():
    assert read(FULL).problems == ()
    assert read(FULL_OAS).problems == ()


@settings(deadline=None, max_examples=300)
@given(json_values | mutated())
def test_any_json_is_a_definition_or_has_problems(value):
    reading = read_text(json.dumps(value), "api.json")
    assert (reading.definition is None) == bool(reading.problems)
    if reading.definition is not None:
        assert reading.definition.document == json.loads(json.dumps(value))
        assert reading.verdict
    for problem in reading.problems:
        assert str(problem).startswith("api.json")
        assert problem.expected
        assert problem.found


@settings(deadline=None, max_examples=200)
@given(st.text() | st.binary())
def test_any_text_is_a_definition_or_has_problems(text):
    reading = read_text(text)
    assert (reading.definition is None) == bool(reading.problems)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.text(max_size=8).map("x_{}".format), json_values.filter(lambda value: value == value)))
def test_unknown_keys_survive_the_round_trip(unknown):
    text = json.dumps(unknown)
    unknown = json.loads(text) if "NaN" not in text and "Infinity" not in text else {}
    document = copy.deepcopy(FULL)
    for place in (document, document["proxy"], document["custom_middleware"], document["custom_middleware"]["pre"][0]):
        place.update(unknown)
    definition = read(document).require()
    assert definition.document == document
    again = read_text(json.dumps(definition.document), "api.json").require()
    assert again == definition
