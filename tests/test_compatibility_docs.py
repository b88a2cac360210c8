"""What docs/compatibility.md says of each key: it is given to the reader, and the page's verdict is the reader's.

"works": the key makes another definition of it, or settings. "ignored": nothing comes of it. "warned": nothing but a
notice. "refused": the file is refused, or its API is not loaded.
"""

import copy
import functools
import json
import re
import typing
from pathlib import Path

import msgspec
import pytest

from tests import openssl, signed_bundles
from tykbridge import drivers
from tykbridge.definition import classic, oas, read_text
from tykbridge.settings import Settings, SettingsError, read_settings
from tykbridge.stores import StoreError
from tykbridge.stores.opening import open_stores

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
VERDICTS = ("works", "ignored", "warned", "refused")
BASE64 = "eA=="

# ---- A classic definition: key → a value that tells, or (value, what it needs beside it) -----------------------------

HOOKS = {"custom_middleware": {"driver": "python", "pre": [{"name": "H"}]}}
JAVASCRIPT = {"custom_middleware": {"driver": "javascript", "pre": [{"name": "H"}]}}
TARGETS = {"t": {"address": "unix:///s"}, "u": {"address": "unix:///u"}}
GRPC = {
    "custom_middleware": {
        "driver": "grpc",
        "pre": [{"name": "H"}],
        "grpc": {"targets": {"t": {"address": "unix:///s"}}},
    }
}
AUTH = {"use_keyless": False, "custom_plugin_auth_enabled": True}
CHECK = AUTH | {"custom_middleware": {"driver": "python", "auth_check": {"name": "A"}}}
TOKEN = {"use_keyless": False, "use_standard_auth": True}
EXTRACTOR = {"extract_from": "header", "extract_with": "value", "extractor_config": {"header_name": "X"}}


def extractor(source, method, **config):
    wanted = {"extract_from": source, "extract_with": method, "extractor_config": config}
    return AUTH | {"custom_middleware": CHECK["custom_middleware"] | {"id_extractor": wanted}}


VIRTUAL = {
    "version_data": {
        "not_versioned": True,
        "versions": {
            "Default": {
                "use_extended_paths": True,
                "extended_paths": {
                    "virtual": [
                        {
                            "path": "/v",
                            "method": "GET",
                            "response_function_name": "v",
                            "function_source_type": "file",
                            "function_source_uri": "v.js",
                        }
                    ]
                },
            }
        },
    }
}
EXTENDED = {"version_data": {"not_versioned": True, "versions": {"Default": {"use_extended_paths": True}}}}
HANDLER = {"event_handlers": {"events": {"E": [{"handler_name": "eh_log_handler", "handler_meta": {"prefix": "p"}}]}}}

CLASSIC = {
    "api_id": "other",
    "org_id": "other",
    "name": "other",
    "active": False,
    "listen_port": 9000,
    "domain": "example.org",
    "domain_disabled": (True, {"domain": "example.org"}),
    "proxy.listen_path": "/other/",
    "proxy.target_url": "http://other/",
    "proxy.strip_listen_path": True,
    "use_keyless": (True, {"use_keyless": False}),
    "use_standard_auth": (True, CHECK),
    "custom_plugin_auth_enabled": (True, {"use_keyless": False, "custom_middleware": CHECK["custom_middleware"]}),
    "enable_coprocess_auth": (True, {"use_keyless": False, "custom_middleware": CHECK["custom_middleware"]}),
    "use_go_plugin_auth": (True, {"use_keyless": False, "custom_middleware": CHECK["custom_middleware"]}),
    "auth.auth_header_name": ("X-Key", TOKEN),
    "auth.disable_header": (True, TOKEN | {"auth": {"use_param": True}}),
    "auth.use_param": (True, TOKEN),
    "auth.param_name": ("key", TOKEN | {"auth": {"use_param": True}}),
    "auth.use_cookie": (True, TOKEN),
    "auth.cookie_name": ("key", TOKEN | {"auth": {"use_cookie": True}}),
    "auth.use_certificate": (True, TOKEN),
    "auth.validate_signature": (True, TOKEN),
    "auth_configs.authToken": ({"auth_header_name": "X-Key"}, TOKEN),
    "base_identity_provided_by": ("custom_auth", CHECK | {"use_standard_auth": True}),
    "strip_auth_data": (True, TOKEN),
    "custom_middleware_bundle": "b.zip",
    "custom_middleware_bundle_disabled": (True, {"custom_middleware_bundle": "b.zip"}),
    "config_data": {"a": 1},
    "config_data_disabled": (True, {"config_data": {"a": 1}}),
    "enable_context_vars": True,
    "disable_rate_limit": True,
    "disable_quota": True,
    "session_lifetime": 60,
    "event_handlers.events.E[].handler_name": ("eh_log_handler", HANDLER),
    "event_handlers.events.E[].handler_meta": ({"prefix": "q"}, HANDLER),
    "version_data.not_versioned": (False, {"version_data": {"versions": {"a": {}, "b": {}}}}),
    "version_data.versions.Default.use_extended_paths": (True, VIRTUAL),
    "version_data.versions.Default.extended_paths.virtual[].response_function_name": ("w", VIRTUAL),
    "version_data.versions.Default.extended_paths.virtual[].function_source_type": ("file", VIRTUAL),
    "version_data.versions.Default.extended_paths.virtual[].function_source_uri": ("w.js", VIRTUAL),
    "version_data.versions.Default.extended_paths.virtual[].path": ("/w", VIRTUAL),
    "version_data.versions.Default.extended_paths.virtual[].method": ("PUT", VIRTUAL),
    "version_data.versions.Default.extended_paths.virtual[].use_session": (True, VIRTUAL),
    "version_data.versions.Default.extended_paths.virtual[].proxy_on_error": (True, VIRTUAL),
    "version_data.versions.Default.extended_paths.virtual[].disabled": (True, VIRTUAL),
    "version_data.versions.Default.extended_paths.go_plugin": ([{"path": "/x", "func_name": "F"}], EXTENDED),
    "version_data.versions.Default.extended_paths.white_list": ([{"path": "/x"}], EXTENDED),
    "version_data.versions.Default.extended_paths.black_list": ([{"path": "/x"}], EXTENDED),
    "version_data.versions.Default.extended_paths.transform_headers": ([{"path": "/x"}], EXTENDED),
    "version_data.versions.Default.extended_paths.validate_json": ([{"path": "/x"}], EXTENDED),
    "version_data.versions.Default.paths": {"white_list": ["/x"]},
    "definition.enabled": True,
    "use_oauth2": (True, TOKEN),
    "use_openid": (True, TOKEN),
    "use_basic_auth": (True, TOKEN),
    "enable_jwt": (True, TOKEN),
    "enable_signature_checking": (True, TOKEN),
    "use_mutual_tls_auth": (True, TOKEN),
    "external_oauth.enabled": (True, TOKEN),
    "enable_ip_whitelisting": True,
    "enable_ip_blacklisting": True,
    "ip_access_control_disabled": (True, {"enable_ip_whitelisting": True}),
    "graphql.enabled": True,
    "analytics_plugin.enable": True,
    "custom_middleware.driver": ("lua", {"custom_middleware": {"pre": [{"name": "H", "path": "h.py"}]}}),
    "custom_middleware.pre": ([{"name": "H"}], {"custom_middleware": {"driver": "python"}}),
    "custom_middleware.post_key_auth": ([{"name": "H"}], TOKEN | {"custom_middleware": {"driver": "python"}}),
    "custom_middleware.post": ([{"name": "H"}], {"custom_middleware": {"driver": "python"}}),
    "custom_middleware.response": ([{"name": "H"}], {"custom_middleware": {"driver": "python"}}),
    "custom_middleware.auth_check": ({"name": "A"}, AUTH | {"custom_middleware": {"driver": "python"}}),
    "custom_middleware.traffic_logs": ({"name": "T"}, HOOKS),
    "custom_middleware.pre[].name": ("I", HOOKS),
    "custom_middleware.pre[].path": ("h.py", HOOKS),
    "custom_middleware.pre[].code": (BASE64, HOOKS),
    "custom_middleware.pre[].disabled": (True, HOOKS),
    "custom_middleware.pre[].require_session": (True, HOOKS),
    "custom_middleware.pre[].raw_body_only": (True, HOOKS),
    "custom_middleware.pre[].driver": ("lua", HOOKS),
    "custom_middleware.pre[].timeout_ms": (100, JAVASCRIPT),
    "custom_middleware.pre[].on_failure": ("open", HOOKS),
    "custom_middleware.pre[].target": ("t", GRPC),
    "custom_middleware.goplugin.isolation": ("process", HOOKS),
    "custom_middleware.native.isolation": ("process", HOOKS),
    "custom_middleware.lua.trusted": (True, HOOKS),
    "custom_middleware.javascript.fresh_context": (True, HOOKS),
    "custom_middleware.grpc.target": ("t", {"custom_middleware": {"grpc": {"targets": TARGETS}}}),
    "custom_middleware.grpc.targets": ({"t": {"address": "unix:///s"}}, HOOKS),
    "custom_middleware.id_extractor.disabled": (True, extractor("header", "value", header_name="X")),
    "custom_middleware.id_extractor.extract_from": ("header", extractor("header", "value", header_name="X")),
    "custom_middleware.id_extractor.extract_with": ("value", extractor("header", "value", header_name="X")),
    "custom_middleware.id_extractor.extractor_config.header_name": ("X", extractor("header", "value")),
    "custom_middleware.id_extractor.extractor_config.param_name": ("x", extractor("form", "value")),
    "custom_middleware.id_extractor.extractor_config.regex_expression": ("x", extractor("body", "regex")),
    "custom_middleware.id_extractor.extractor_config.regex_match_index": (
        1,
        extractor("body", "regex", regex_expression="x(y)"),
    ),
    "custom_middleware.id_extractor.extractor_config.xpath_expression": ("//x", extractor("body", "xpath")),
    "custom_middleware.no_such_key": (True, HOOKS),
    "response_processors": [{"name": "header_injector", "options": {}}],
    "CORS.enable": True,
    "cache_options.enable_cache": True,
    "global_rate_limit.rate": 5,
    "do_not_track": True,
    "tags": ["edge"],
}

# ---- An OAS definition, below x-tyk-api-gateway ----------------------------------------------------------------------

PLUGIN = {"enabled": True, "functionName": "H"}
GLOBAL = {"middleware": {"global": {"pluginConfig": {"driver": "python"}, "prePlugins": [PLUGIN]}}}
OAS_JAVASCRIPT = {"middleware": {"global": {"pluginConfig": {"driver": "javascript"}, "prePlugins": [PLUGIN]}}}
OAS_GRPC = {
    "middleware": {
        "global": {
            "pluginConfig": {"driver": "grpc", "grpc": {"targets": {"t": {"address": "unix:///s"}}}},
            "prePlugins": [PLUGIN],
        }
    }
}
DRIVER = {"middleware": {"global": {"pluginConfig": {"driver": "python"}}}}
ON = {"server": {"authentication": {"enabled": True}}}
SCHEME = {"server": {"authentication": {"enabled": True, "securitySchemes": {"key": {"enabled": True}}}}}


def custom(**config):
    """An API with custom authentication."""
    return DRIVER | {
        "server": {
            "authentication": {"enabled": True, "custom": {"enabled": True, "config": {"functionName": "A"} | config}}
        }
    }


def oas_extractor(source, method, **config):
    return custom(idExtractor={"source": source, "with": method, "config": config})


def endpoint(**more):
    return {
        "middleware": {
            "operations": {"op": {"virtualEndpoint": {"enabled": True, "functionName": "v", "path": "v.js"} | more}}
        }
    }


CONFIG = "server.authentication.custom.config"
OAS = {
    "info.id": "other",
    "info.orgId": "other",
    "info.name": "other",
    "info.state.active": False,
    "info.versioning.enabled": True,
    "upstream.url": "http://other/",
    "server.listenPath.value": "/other/",
    "server.listenPath.strip": True,
    "server.port": 9000,
    "server.customDomain.enabled": (True, {"server": {"customDomain": {"name": "example.org"}}}),
    "server.customDomain.name": ("example.org", {"server": {"customDomain": {"enabled": True}}}),
    "server.clientCertificates.enabled": True,
    "server.ipAccessControl.enabled": True,
    "server.eventHandlers": [{"enabled": True, "trigger": "E", "type": "log", "logPrefix": "p"}],
    "server.authentication.enabled": True,
    "server.authentication.stripAuthorizationData": (True, ON),
    "server.authentication.baseIdentityProvider": (
        "custom_auth",
        DRIVER
        | {
            "server": {
                "authentication": {
                    "enabled": True,
                    "custom": {"enabled": True, "config": {"functionName": "A"}},
                    "securitySchemes": {"key": {"enabled": True}},
                }
            }
        },
    ),
    "server.authentication.hmac.enabled": (True, ON),
    "server.authentication.oidc.enabled": (True, ON),
    "server.authentication.certificateAuth.enabled": (True, ON),
    "server.authentication.securitySchemes.key.enabled": (True, custom()),
    "server.authentication.securitySchemes.key.header": ({"enabled": True, "name": "X"}, SCHEME),
    "server.authentication.securitySchemes.key.query": ({"enabled": True, "name": "k"}, SCHEME),
    "server.authentication.securitySchemes.key.cookie": ({"enabled": True, "name": "k"}, SCHEME),
    "server.authentication.custom.enabled": (True, custom()),
    f"{CONFIG}.enabled": (
        False,
        {"server": {"authentication": {"custom": {"config": {"functionName": "A"}}}}} | DRIVER,
    ),
    f"{CONFIG}.functionName": ("A", custom()),
    f"{CONFIG}.path": ("a.py", custom()),
    f"{CONFIG}.code": (BASE64, custom()),
    f"{CONFIG}.rawBodyOnly": (True, custom()),
    f"{CONFIG}.requireSession": (True, custom()),
    f"{CONFIG}.driver": ("lua", custom()),
    f"{CONFIG}.timeoutMs": (100, custom(driver="javascript")),
    f"{CONFIG}.onFailure": ("open", custom()),
    f"{CONFIG}.target": ("t", {"middleware": OAS_GRPC["middleware"], "server": custom(driver="grpc")["server"]}),
    f"{CONFIG}.idExtractor.enabled": (False, oas_extractor("header", "value", headerName="X")),
    f"{CONFIG}.idExtractor.source": ("header", oas_extractor("header", "value", headerName="X")),
    f"{CONFIG}.idExtractor.with": ("value", oas_extractor("header", "value", headerName="X")),
    f"{CONFIG}.idExtractor.config.headerName": ("X", oas_extractor("header", "value")),
    f"{CONFIG}.idExtractor.config.formParamName": ("x", oas_extractor("form", "value")),
    f"{CONFIG}.idExtractor.config.regexp": ("x", oas_extractor("body", "regex")),
    f"{CONFIG}.idExtractor.config.regexpMatchIndex": (1, oas_extractor("body", "regex", regexp="x(y)")),
    f"{CONFIG}.idExtractor.config.xPathExp": ("//x", oas_extractor("body", "xpath")),
    "middleware.global.pluginConfig.driver": (
        "lua",
        {"middleware": {"global": {"prePlugins": [PLUGIN | {"path": "h.py"}]}}},
    ),
    "middleware.global.pluginConfig.bundle.enabled": (
        True,
        {"middleware": {"global": {"pluginConfig": {"bundle": {"path": "b.zip"}}}}},
    ),
    "middleware.global.pluginConfig.bundle.path": (
        "b.zip",
        {"middleware": {"global": {"pluginConfig": {"bundle": {"enabled": True}}}}},
    ),
    "middleware.global.pluginConfig.data.enabled": (
        True,
        {"middleware": {"global": {"pluginConfig": {"data": {"value": {"a": 1}}}}}},
    ),
    "middleware.global.pluginConfig.data.value": (
        {"a": 1},
        {"middleware": {"global": {"pluginConfig": {"data": {"enabled": True}}}}},
    ),
    "middleware.global.pluginConfig.goplugin.isolation": ("process", GLOBAL),
    "middleware.global.pluginConfig.native.isolation": ("process", GLOBAL),
    "middleware.global.pluginConfig.lua.trusted": (True, GLOBAL),
    "middleware.global.pluginConfig.javascript.freshContext": (True, GLOBAL),
    "middleware.global.pluginConfig.grpc.target": (
        "t",
        {"middleware": {"global": {"pluginConfig": {"grpc": {"targets": TARGETS}}}}},
    ),
    "middleware.global.pluginConfig.grpc.targets": ({"t": {"address": "unix:///s"}}, GLOBAL),
    "middleware.global.prePlugins": ([PLUGIN], DRIVER),
    "middleware.global.postAuthenticationPlugins": ([PLUGIN], ON | DRIVER),
    "middleware.global.postPlugins": ([PLUGIN], DRIVER),
    "middleware.global.responsePlugins": ([PLUGIN], DRIVER),
    "middleware.global.prePlugin.plugins": ([PLUGIN], DRIVER),
    "middleware.global.postAuthenticationPlugin.plugins": ([PLUGIN], ON | DRIVER),
    "middleware.global.postPlugin.plugins": ([PLUGIN], DRIVER),
    "middleware.global.responsePlugin.plugins": ([PLUGIN], DRIVER),
    "middleware.global.prePlugins[].enabled": (True, GLOBAL),
    "middleware.global.prePlugins[].functionName": ("I", GLOBAL),
    "middleware.global.prePlugins[].path": ("h.py", GLOBAL),
    "middleware.global.prePlugins[].code": (BASE64, GLOBAL),
    "middleware.global.prePlugins[].rawBodyOnly": (True, GLOBAL),
    "middleware.global.prePlugins[].requireSession": (True, GLOBAL),
    "middleware.global.prePlugins[].idExtractor": ({"source": "header", "with": "value"}, GLOBAL),
    "middleware.global.prePlugins[].driver": ("lua", GLOBAL),
    "middleware.global.prePlugins[].timeoutMs": (100, OAS_JAVASCRIPT),
    "middleware.global.prePlugins[].onFailure": ("open", GLOBAL),
    "middleware.global.prePlugins[].target": ("t", OAS_GRPC),
    "middleware.global.contextVariables.enabled": True,
    "middleware.global.skipRateLimit": True,
    "middleware.global.skipQuota": True,
    "middleware.global.trafficLogs.enabled": True,
    "middleware.global.trafficLogs.plugins": (
        [PLUGIN],
        {"middleware": {"global": {"pluginConfig": {"driver": "goplugin"}, "trafficLogs": {"enabled": True}}}},
    ),
    "middleware.global.cors.enabled": True,
    "middleware.operations.op.allow.enabled": True,
    "middleware.operations.op.block.enabled": True,
    "middleware.operations.op.postPlugins": [PLUGIN],
    "middleware.operations.op.validateRequest.enabled": True,
    "middleware.operations.op.virtualEndpoint.enabled": (True, endpoint()),
    "middleware.operations.op.virtualEndpoint.functionName": ("w", endpoint()),
    "middleware.operations.op.virtualEndpoint.name": ("w", endpoint(functionName="")),
    "middleware.operations.op.virtualEndpoint.path": ("w.js", endpoint()),
    "middleware.operations.op.virtualEndpoint.body": (BASE64, endpoint()),
    "middleware.operations.op.virtualEndpoint.proxyOnError": (True, endpoint()),
    "middleware.operations.op.virtualEndpoint.requireSession": (True, endpoint()),
}

# ---- tyk.conf --------------------------------------------------------------------------------------------------------

DOWNLOADS = {"bundle_base_url": "https://example.org/b"}
SETTINGS = {
    "listen_address": "0.0.0.0",
    "listen_port": 9000,
    "app_path": "apps",
    "proxy_default_timeout": 5,
    "secret": "s",
    "control_api_hostname": "localhost",
    "control_api_port": 9000,
    "allow_master_keys": True,
    "enable_hashed_keys_listing": True,
    "log_level": "debug",
    "log_format": "json",
    "middleware_path": "elsewhere",
    "enable_bundle_downloader": (True, DOWNLOADS),
    "bundle_base_url": "https://example.org/b",
    "bundle_insecure_skip_verify": True,
    "public_key_path": "key.pem",
    "hash_keys": False,
    "hash_key_function": "sha256",
    "enable_jsvm": False,
    "jsvm_timeout": 7,
    "disable_virtual_path_blobs": True,
    "storage.type": "redis",
    "storage.host": "other",
    "storage.port": 6380,
    "storage.addrs": ["a:1"],
    "storage.hosts": {"a": "1"},
    "storage.username": "u",
    "storage.password": "p",
    "storage.database": 2,
    "storage.use_ssl": True,
    "storage.ssl_insecure_skip_verify": True,
    "storage.ca_file": "f",
    "storage.cert_file": "f",
    "storage.key_file": "f",
    "storage.optimisation_max_active": 9,
    "storage.timeout": 3,
    "storage.enable_cluster": (True, {"storage": {"type": "redis"}}),
    "storage.master_name": ("m", {"storage": {"type": "redis"}}),
    "storage.optimisation_max_idle": 5,
    "policies.policy_source": "service",
    "policies.policy_record_name": "policies.json",
    "policies.policy_path": "policies",
    "policies.policy_connection_string": "http://d/",
    "policies.allow_explicit_policy_id": True,
    "coprocess_options.coprocess_grpc_server": "unix:///s",
    "coprocess_options.grpc_recv_max_size": 1024,
    "coprocess_options.grpc_send_max_size": 1024,
    "coprocess_options.grpc_authority": "a",
    "coprocess_options.grpc_round_robin_load_balancing": True,
    "coprocess_options.enable_coprocess": True,
    "coprocess_options.python_path_prefix": "/opt/tyk",
    "coprocess_options.python_version": "3.9",
    "tyk_js_path": "js/tyk.js",
    "event_handlers": {"events": {}},
    "hash_key_function_fallback": ["murmur32"],
    "local_session_cache.disable_cached_session_state": True,
    "suppress_redis_signal_reload": True,
}


@functools.cache
def page():
    """Each chapter's keys with their verdicts."""
    chapters = {}
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \| (\w+) \| ", part, flags=re.MULTILINE)
        keys = [(key, verdict) for cell, verdict in rows for key in re.findall(r"`([^`]+)`", cell)]
        assert len(dict(keys)) == len(keys), "a key stands there twice"
        chapters[part.partition("\n")[0]] = dict(keys)
    return chapters


def said(word):
    [keys] = [keys for title, keys in page().items() if word in title]
    return keys


def put(document, path, value):
    """Set a key, with "[]" the first of a list."""
    *places, last = re.split(r"\.", path)
    for place in places:
        name = place.removesuffix("[]")
        document = document.setdefault(name, [{}] if place != name else {})
        document = document[0] if place != name else document
    document[last] = value


def taken(document, path):
    *places, last = path.split(".")
    for place in places:
        document = document.get(place.removesuffix("[]"), {})
        document = document[0] if place.endswith("[]") and document else document
    if isinstance(document, dict):
        document.pop(last, None)


def merged(below, over):
    both = copy.deepcopy(below)
    for key, value in over.items():
        both[key] = merged(both.get(key, {}), value) if isinstance(value, dict) else copy.deepcopy(value)
    return both


def both(base, examples, path):
    """The document with a key, and the one without."""
    example = examples[path]
    value, context = example if isinstance(example, tuple) else (example, {})
    having = merged(base, context)
    lacking = copy.deepcopy(having)
    put(having, path, value)
    taken(lacking, path)
    return having, lacking


def verdict_of_definitions(having, lacking, path):
    """What a reader makes of a key."""
    with_it, without = (read_text(json.dumps(item), capabilities=drivers.capabilities()) for item in (having, lacking))
    if with_it.problems or with_it.needs:
        return "refused"
    if without.problems or without.needs:
        return "works"
    meanings = [
        reading.definition and msgspec.structs.replace(reading.definition, document={})
        for reading in (with_it, without)
    ]
    if meanings[0] != meanings[1] and not is_kept_only(path):
        return "works"
    return "warned" if len(with_it.notices) > len(without.notices) else "ignored"


def is_kept_only(path):
    """Tell of a key that the model has and nobody asks for."""
    return path.rpartition(".")[2] in ("require_session", "requireSession", "use_session") and not sessions_are_asked()


@functools.cache
def sessions_are_asked():
    sources = [*ROOT.glob("tykbridge/**/*.py"), *ROOT.glob("tykbridge/**/*.p[yx][xi]")]
    outside = [source for source in sources if "definition" not in source.parts]
    return any(".require_session" in source.read_text(encoding="utf-8") for source in outside)


BASE = {
    "api_id": "a",
    "org_id": "o",
    "use_keyless": True,
    "proxy": {"listen_path": "/a/", "target_url": "http://u/"},
    "version_data": {"not_versioned": True, "versions": {"Default": {}}},
}


@pytest.mark.parametrize("path", CLASSIC)
def test_a_key_of_a_classic_definition(path):
    assert said("classic")[path] == verdict_of_definitions(*both(BASE, CLASSIC, path), path)


OAS_BASE = {
    "info": {"id": "a", "orgId": "o", "name": "n"},
    "upstream": {"url": "http://u/"},
    "server": {"listenPath": {"value": "/a/"}},
}


@pytest.mark.parametrize("path", OAS)
def test_a_key_of_an_oas_definition(path):
    scheme = {"type": "apiKey", "in": "query" if path.endswith(".header") else "header", "name": "X-Key"}
    around = {
        "openapi": "3.0.3",
        "info": {"title": "a", "version": "1"},
        "paths": {"/v": {"get": {"operationId": "op"}}},
        "components": {"securitySchemes": {"key": scheme}},
    }
    documents = [around | {oas.EXTENSION: item} for item in both(OAS_BASE, OAS, path)]
    assert said("OAS")[path] == verdict_of_definitions(*documents, path)


@pytest.mark.parametrize("path", SETTINGS)
def test_a_key_of_tyk_conf(path):
    having, lacking = both({}, SETTINGS, path)
    before, _ = read_settings(json.dumps(lacking), {})
    try:
        after, notices = read_settings(json.dumps(having), {})
    except SettingsError:
        verdict = "refused"
    else:
        verdict = "works" if after != before else "warned" if notices else "ignored"
    if path in ("storage.enable_cluster", "storage.master_name"):
        with pytest.raises(StoreError):  # it is the store that refuses these
            open_stores(after.storage)
        verdict = "refused"
    assert said("tyk.conf")[path] == verdict


def test_each_key_of_a_manifest_counts(tmp_path):
    """With a wrong one the bundle is refused."""
    assert said("manifest.json") == dict.fromkeys(("file_list", "custom_middleware", "checksum", "signature"), "works")
    key = openssl.make_keys(tmp_path)
    signed_bundles.refused(tmp_path / "1", signed_bundles.PLAIN | manifest(file_list=["gone.py"]), "gone.py")
    signed_bundles.refused(tmp_path / "2", signed_bundles.PLAIN | manifest(custom_middleware=[]), "custom_middleware")
    signed_bundles.refused(tmp_path / "3", signed_bundles.PLAIN | manifest(checksum="0" * 32), "checksum")
    wrong = signed_bundles.PLAIN | manifest(signature=BASE64)
    signed_bundles.refused(tmp_path / "4", wrong, "signature", key / "key.public.pem", accept_old_signatures=True)


def manifest(**changed):
    return {"manifest.json": json.dumps(signed_bundles.MANIFEST | changed)}


def leaves(kind, path=""):
    """Every key that a reader's struct has; those that stand for any name are "*"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list and arguments[0] is not typing.Any:
        yield from leaves(arguments[0], f"{path}[]")
    elif origin is dict and arguments[1] is not typing.Any:
        yield from leaves(arguments[1], f"{path}.*")
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield from leaves(field.type, f"{path}.{field.encode_name}" if path else field.encode_name)
    else:
        yield path


def covered(key, keys):
    """Tell whether a key is there, or one around it that has no members there."""
    if any(other.startswith(f"{key}.") for other in keys):
        return True
    around = [key[: end.start()] for end in re.finditer(r"\[\]|\.|$", key)]
    patterns = [re.escape(part).replace(r"\*", r"[^.\[]+") for part in around]
    found = [other for other in keys if any(re.fullmatch(pattern, other) for pattern in patterns)]
    return any(not any(other.startswith((f"{one}.", f"{one}[")) for other in keys) for one in found)


@pytest.mark.parametrize(
    ("kind", "prefix", "word", "examples"),
    [
        (classic._Classic, "", "classic", CLASSIC),
        (classic._Section, "custom_middleware", "classic", CLASSIC),
        (oas._Extension, "", "OAS", OAS),
        (Settings, "", "tyk.conf", SETTINGS),
    ],
)
def test_the_page_has_each_key_that_is_read_and_each_of_the_page_is_tried(kind, prefix, word, examples):
    keys = said(word)
    assert set(keys) == set(examples)
    assert set(keys.values()) <= set(VERDICTS)
    missing = [key for key in leaves(kind, prefix) if not key.startswith(OURS) and not covered(key, keys)]
    assert not missing


OURS = ("tykbridge.", "storage.path")
"""Settings that Tyk does not have; docs/settings.md has them."""
