"""Definitions that several test files read: the smallest ones, what the seeds print, and broken ones."""

import json

import pytest

from tykbridge.definition import Capabilities, Driver, read_folder, read_text

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


def oas_hooks(**lists):
    return {"middleware": {"global": {"pluginConfig": {"driver": "python"}, **lists}}}


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


# --- broken definitions ---------------------------------------------------------------------------------------------

AUTH_HOOK = {"driver": "python", "auth_check": {"name": "check"}}


def broken(changes, path, expected, found):
    return pytest.param(changes, path, expected, found, id=f"{path}-{found[:30]}")


def hooked(**hook):
    return {"custom_middleware": {"driver": "python", "pre": [hook]}}


def extracting(**extractor):
    return {"custom_middleware": {**AUTH_HOOK, "id_extractor": extractor}, "custom_plugin_auth_enabled": True}


def virtual(**endpoint):
    endpoint = {"path": "/v", "method": "GET", **endpoint}
    version = {"use_extended_paths": True, "extended_paths": {"virtual": [endpoint]}}
    return {"version_data": {"versions": {"v": version}}}


PRE = "$.custom_middleware.pre[0]"
EXTRACTOR = "$.custom_middleware.id_extractor"
VIRTUAL = "$.version_data.versions.v.extended_paths.virtual[0]"
DRIVERS = 'one of "python", "javascript", "lua", "grpc", "goplugin", "native", "otto"'

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
    broken(
        hooked(name="f", timeout_ms=2**31),
        f"{PRE}.timeout_ms",
        "a whole number of milliseconds, at most 2147483647",
        "a number (2147483648)",
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
        'a string ("../a.zip"): it has ".." between its slashes',
    ),
    broken(
        {"custom_middleware_bundle": "good.zip, https://elsewhere.example/a.zip"},
        "$.custom_middleware_bundle",
        "names of bundles, without .. and not absolute",
        'a string ("https://elsewhere.example/a.zip"): it begins with the scheme "https:"',
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
    broken(
        virtual(
            response_function_name="f",
            function_source_type="blob",
            function_source_uri="YQ==",
            path="/a(",
            method="GET",
        ),
        f"{VIRTUAL}.path",
        "a path, or a regular expression",
        'a string ("/a("): missing ): /a(',
    ),
    broken(
        virtual(response_function_name="f", function_source_type="blob", function_source_uri="YQ==", method=""),
        f"{VIRTUAL}.method",
        "the method that it answers",
        "none",
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


def check_refused(folder, document, path, expected, found):
    bad, good = folder / "bad.json", folder / "good.json"
    bad.write_text(json.dumps(document))
    good.write_text(json.dumps({"api_id": "good", "proxy": {"listen_path": "/good/"}}))
    catalog = read_folder(folder)
    assert [definition.api_id for definition in catalog.definitions] == ["good"]
    (problem,) = catalog.problems
    assert str(problem).startswith(f"{bad}: {path}: expected {expected}, found ")
    assert found in problem.found
