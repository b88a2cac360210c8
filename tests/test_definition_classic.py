"""Reading classic API definitions."""

import base64
import json
import sys

import msgspec
import pytest

from tests.definitions import (
    AUTH_HOOK,
    BASIC_USAGE,
    BROKEN,
    EVERYTHING,
    GO_BUNDLE,
    GOPLUGIN,
    RESPONSE,
    VIRTUAL,
    check_refused,
    names,
    read,
    smallest,
    virtual,
)
from tykbridge.definition import Bundle, Driver, Method, OnFailure, Phase, Source, TokenSource

# --- what the seeds print -------------------------------------------------------------------------------------------


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
            "plugins of single endpoints ($.version_data.versions.v.extended_paths.go_plugin[0])",
        ),
        (
            {"custom_middleware": {"traffic_logs": {"name": "f", "path": "f.so"}}},
            "hooks on traffic logs ($.custom_middleware.traffic_logs)",
        ),
        (
            {"analytics_plugin": {"enable": True, "plugin_path": "p.so", "func_name": "Mask"}},
            "hooks on records of analytics: no records are made ($.analytics_plugin)",
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
    (hook,) = reading.require().hooks(Phase.POST)
    assert (hook.name, hook.path, hook.driver, hook.endpoint) == ("f", "f.js", Driver.JAVASCRIPT, first)
    assert (hook.require_session, hook.on_failure) == (True, OnFailure.OPEN)


def blob(**keys):
    given = {"response_function_name": "f", "function_source_type": "blob", "function_source_uri": "YQ=="}
    return smallest(**virtual(**given, **keys), use_keyless=True)


def test_virtual_endpoints_stand_before_the_post_hooks():
    document = blob() | {"custom_middleware": {"driver": "javascript", "post": [{"name": "p", "path": "p.js"}]}}
    assert names(read(document, capabilities=EVERYTHING).require(), Phase.POST) == ["f", "p"]


def test_what_an_operator_says_of_javascript():
    capabilities = msgspec.structs.replace(EVERYTHING, endpoint_code=False)
    reading = read(blob(), capabilities=capabilities)
    words = "code in definitions, which disable_virtual_path_blobs turns off"
    assert reading.verdict == f"not loaded: needs {words} ({VIRTUAL})"
    hooks = {"driver": "otto", "pre": [{"name": "a", "path": "a.js"}]}
    off = msgspec.structs.replace(capabilities, drivers=frozenset({Driver.PYTHON}), missing={Driver.JAVASCRIPT: "why"})
    assert read(smallest(custom_middleware=hooks), capabilities=off).needs[0].what == "the javascript driver (why)"
    handler = {"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "f", "path": "f.js"}}
    document = smallest(event_handlers={"events": {"X": [handler]}})
    assert read(document, capabilities=off).needs[0].what == "the javascript driver (why)"


# --- broken definitions ---------------------------------------------------------------------------------------------


def test_there_are_fifty_broken_definitions():
    assert len(BROKEN) >= 50


@pytest.mark.parametrize(("changes", "path", "expected", "found"), BROKEN)
def test_broken_definition_is_refused_and_the_good_one_beside_it_loads(tmp_path, changes, path, expected, found):
    check_refused(tmp_path, smallest(**changes), path, expected, found)
