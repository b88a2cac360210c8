"""Reads an OAS API definition (an OpenAPI document with x-tyk-api-gateway) into the model.

What an OAS definition leaves out is off, as in upstream: a plugin of a list without "enabled" does not run. Two things
that stand inside of something that is enabled already are on unless they say otherwise: authentication.custom.config
and its idExtractor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tykbridge import idextractor
from tykbridge.definition import checks, folders, targets, webhooks
from tykbridge.definition.fields import fill
from tykbridge.definition.model import (
    Auth,
    Capabilities,
    Choices,
    Definition,
    Driver,
    EventHandler,
    Extractor,
    JavaScriptChoices,
    LuaChoices,
    NativeChoices,
    Phase,
    Section,
    TokenSource,
    VirtualEndpoint,
)
from tykbridge.definition.problems import Report, describe, key, one_of

EXTENSION = "x-tyk-api-gateway"
_ROOT = f"$.{EXTENSION}"
_GLOBAL = f"{_ROOT}.middleware.global"
_AUTHENTICATION = f"{_ROOT}.server.authentication"


class _Enabled(msgspec.Struct, frozen=True):
    enabled: bool = False


class _Named(msgspec.Struct, frozen=True):
    enabled: bool = False
    name: str = ""


class _State(msgspec.Struct, frozen=True):
    active: bool = True


class _Info(msgspec.Struct, frozen=True, rename="camel"):
    id: str = ""
    org_id: str = ""
    name: str = ""
    state: _State = _State()
    versioning: _Enabled = _Enabled()


class _Upstream(msgspec.Struct, frozen=True):
    url: str = ""


class _ListenPath(msgspec.Struct, frozen=True):
    value: str = ""
    strip: bool = False


class _Config(msgspec.Struct, frozen=True, rename="camel"):
    header_name: str = ""
    form_param_name: str = ""
    regexp: str = ""
    regexp_match_index: int = 0
    x_path_exp: str = ""


class _Extractor(msgspec.Struct, frozen=True):
    enabled: bool = True
    source: str = ""
    with_: str = msgspec.field(default="", name="with")
    config: _Config = _Config()


class _Plugin(msgspec.Struct, frozen=True, rename="camel"):
    enabled: bool | None = None
    function_name: str = ""
    path: str = ""
    code: str = ""
    raw_body_only: bool = False
    require_session: bool = False
    driver: str = ""
    timeout_ms: int | None = None
    on_failure: str | None = None
    target: str = ""
    id_extractor: _Extractor = _Extractor()


class _Plugins(msgspec.Struct, frozen=True):
    plugins: list[_Plugin] = []


class _Custom(msgspec.Struct, frozen=True):
    enabled: bool = False
    config: _Plugin = _Plugin()


class _Scheme(msgspec.Struct, frozen=True):
    enabled: bool = False
    header: _Named = _Named()
    query: _Named = _Named()
    cookie: _Named = _Named()


class _Authentication(msgspec.Struct, frozen=True, rename="camel"):
    enabled: bool = False
    strip_authorization_data: bool = False
    base_identity_provider: str = ""
    custom: _Custom = _Custom()
    hmac: _Enabled = _Enabled()
    oidc: _Enabled = _Enabled()
    certificate_auth: _Enabled = _Enabled()
    security_schemes: dict[str, _Scheme] = {}


class _Server(msgspec.Struct, frozen=True, rename="camel"):
    listen_path: _ListenPath = _ListenPath()
    authentication: _Authentication = _Authentication()
    custom_domain: _Named = _Named()
    client_certificates: _Enabled = _Enabled()
    ip_access_control: _Enabled = _Enabled()
    event_handlers: list[dict[str, Any]] = []
    port: int = 0


class _Bundle(msgspec.Struct, frozen=True):
    enabled: bool = False
    path: str = ""


class _Data(msgspec.Struct, frozen=True):
    enabled: bool = False
    value: dict[str, Any] = {}


class _JavaScript(msgspec.Struct, frozen=True, rename="camel"):
    fresh_context: bool = False


class _PluginConfig(msgspec.Struct, frozen=True):
    driver: str = ""
    lua: LuaChoices = LuaChoices()
    goplugin: NativeChoices = NativeChoices()
    native: NativeChoices = NativeChoices()
    javascript: _JavaScript = _JavaScript()
    grpc: targets.OasGrpc = targets.OasGrpc()
    bundle: _Bundle = _Bundle()
    data: _Data = _Data()


class _TrafficLogs(msgspec.Struct, frozen=True):
    enabled: bool = False
    plugins: list[_Plugin] = []


class _Global(msgspec.Struct, frozen=True, rename="camel"):
    plugin_config: _PluginConfig = _PluginConfig()
    pre_plugins: list[_Plugin] = []
    pre_plugin: _Plugins = _Plugins()
    post_authentication_plugins: list[_Plugin] = []
    post_authentication_plugin: _Plugins = _Plugins()
    post_plugins: list[_Plugin] = []
    post_plugin: _Plugins = _Plugins()
    response_plugins: list[_Plugin] = []
    response_plugin: _Plugins = _Plugins()
    context_variables: _Enabled = _Enabled()
    traffic_logs: _TrafficLogs = _TrafficLogs()
    skip_rate_limit: bool = False
    skip_quota: bool = False


class _VirtualEndpoint(msgspec.Struct, frozen=True, rename="camel"):
    enabled: bool = False
    function_name: str = ""
    name: str = ""
    """What older versions of Tyk call it."""
    path: str = ""
    body: str = ""
    proxy_on_error: bool = False
    require_session: bool = False


class _Operation(msgspec.Struct, frozen=True, rename="camel"):
    allow: _Enabled = _Enabled()
    block: _Enabled = _Enabled()
    virtual_endpoint: _VirtualEndpoint = _VirtualEndpoint()
    post_plugins: list[_Plugin] = []


class _Middleware(msgspec.Struct, frozen=True):
    global_: _Global = msgspec.field(default=_Global(), name="global")
    operations: dict[str, _Operation] = {}


class _Extension(msgspec.Struct, frozen=True):
    info: _Info = _Info()
    upstream: _Upstream = _Upstream()
    server: _Server = _Server()
    middleware: _Middleware = _Middleware()


# The list of plugins → its phase; the older form is {"plugins": [...]} under the singular name.
_LISTS = (
    ("prePlugins", "pre_plugins", Phase.PRE),
    ("postAuthenticationPlugins", "post_authentication_plugins", Phase.POST_KEY_AUTH),
    ("postPlugins", "post_plugins", Phase.POST),
    ("responsePlugins", "response_plugins", Phase.RESPONSE),
)

_SETTINGS = {
    "header_name": "config.headerName",
    "param_name": "config.formParamName",
    "regex_expression": "config.regexp",
    "regex_match_index": "config.regexpMatchIndex",
    "xpath_expression": "config.xPathExp",
}

_HANDLERS = {"webhook": "eh_web_hook_handler", "custom": "eh_dynamic_handler", "log": "eh_log_handler"}


def read(report: Report, document: dict[str, Any], capabilities: Capabilities) -> Definition:
    """Read an OAS definition. What is wrong with it is in `report`; the result counts only when nothing is."""
    if document.get(EXTENSION) is None:
        report.problem(_ROOT, "an object, Tyk's part of the OpenAPI document", "none")
    raw = fill(report, _Extension, document.get(EXTENSION), _ROOT)
    checks.api_id(report, f"{_ROOT}.info.id", raw.info.id)
    checks.listen_path(report, f"{_ROOT}.server.listenPath.value", raw.server.listen_path.value)
    checks.target(report, f"{_ROOT}.upstream.url", raw.upstream.url)
    checks.domain(report, f"{_ROOT}.server.customDomain.name", raw.server.custom_domain.name)
    checks.at_least(report, f"{_ROOT}.server.port", raw.server.port, 0, "a port, 0 to 65535", 65535)
    config = raw.middleware.global_.plugin_config
    where = f"{_GLOBAL}.pluginConfig.bundle.path"
    bundles = checks.bundles(report, where, config.bundle.path) if config.bundle.enabled else ()
    section = _section(report, raw, capabilities, bool(bundles))
    if bundles and section.hooks:
        report.notice(_GLOBAL, "the hooks of the bundle's manifest replace these")
    section = checks.isolated(section, capabilities)
    section = folders.with_hooks(report, section, raw.info.id, capabilities, bundled=bool(bundles))
    auth = _auth(report, raw, section, bool(bundles), document)
    events = checks.event_handlers(report, list(_events(report, raw.server.event_handlers, section.driver)))
    virtual = tuple(_virtual(report, raw.middleware.operations, document, capabilities))
    checks.needs(report, section, bundles, where, capabilities)
    checks.javascript(report, events, virtual, capabilities)
    _needs(report, raw)
    return Definition(
        form="oas",
        file=report.file,
        api_id=raw.info.id,
        org_id=raw.info.org_id,
        name=raw.info.name,
        active=raw.info.state.active,
        listen_path=raw.server.listen_path.value,
        strip_listen_path=raw.server.listen_path.strip,
        listen_port=raw.server.port,
        domain=raw.server.custom_domain.name if raw.server.custom_domain.enabled else "",
        target_url=raw.upstream.url,
        auth=auth,
        section=section,
        bundles=bundles,
        config_data=config.data.value or None if config.data.enabled else None,
        context_vars=raw.middleware.global_.context_variables.enabled,
        disable_rate_limit=raw.middleware.global_.skip_rate_limit,
        disable_quota=raw.middleware.global_.skip_quota,
        events=events,
        virtual=virtual,
        document=document,
    )


def _section(report: Report, raw: _Extension, capabilities: Capabilities, bundled: bool) -> Section:
    given = raw.middleware.global_
    place = f"{_GLOBAL}.pluginConfig.driver"
    default = checks.driver(report, place, given.plugin_config.driver)
    unknown_driver = bool(given.plugin_config.driver) and default is None
    plugins: list[tuple[Phase, str, _Plugin, bool]] = []
    for name, field, phase in _LISTS[:1]:
        plugins += _list(report, given, name, field, phase)
    custom = raw.server.authentication.custom
    if custom.config.function_name or custom.config.path or custom.config.code:
        on = custom.config.enabled is not False
        plugins.append((Phase.AUTH_CHECK, f"{_AUTHENTICATION}.custom.config", custom.config, on))
    for name, field, phase in _LISTS[1:]:
        plugins += _list(report, given, name, field, phase)
    hooks = tuple(
        checks.hook(
            report,
            phase,
            where,
            checks.HookDraft(
                name=plugin.function_name,
                path=plugin.path,
                code=plugin.code,
                driver=plugin.driver,
                disabled=not on,
                require_session=plugin.require_session,
                raw_body_only=plugin.raw_body_only,
                timeout_ms=plugin.timeout_ms,
                on_failure=plugin.on_failure,
                target=plugin.target,
            ),
            checks.OAS_KEYS,
            default,
            capabilities,
            in_bundle=bundled or unknown_driver,
        )
        for phase, where, plugin, on in plugins
    )
    config = given.plugin_config
    javascript = JavaScriptChoices(fresh_context=config.javascript.fresh_context)
    choices = Choices(
        lua=config.lua,
        javascript=javascript,
        goplugin=checks.isolation(report, f"{_GLOBAL}.pluginConfig.goplugin", config.goplugin),
        native=checks.isolation(report, f"{_GLOBAL}.pluginConfig.native", config.native),
    )
    extractor = _extractor(report, custom.config.id_extractor)
    servers, server = targets.read(report, f"{_GLOBAL}.pluginConfig.grpc", given.plugin_config.grpc)
    targets.check_hooks(report, hooks, servers)
    return Section(driver=default, choices=choices, targets=servers, target=server, hooks=hooks, extractor=extractor)


def _list(
    report: Report, given: _Global, name: str, field: str, phase: Phase
) -> Iterator[tuple[Phase, str, _Plugin, bool]]:
    where, items = key(_GLOBAL, name), getattr(given, field)
    older = getattr(given, field[:-1]).plugins
    if older and items:
        report.notice(key(_GLOBAL, name[:-1]), f'"{name}" is there: this older form has no effect')
    elif older:
        where, items = f"{key(_GLOBAL, name[:-1])}.plugins", older
    for index, plugin in enumerate(items):
        if plugin.enabled is None:
            report.notice(f"{where}[{index}]", '"enabled" is missing: the plugin does not run')
        yield phase, f"{where}[{index}]", plugin, bool(plugin.enabled)


def _extractor(report: Report, raw: _Extractor) -> Extractor | None:
    if not raw.enabled or not (raw.source or raw.with_):
        return None
    config = idextractor.Config(
        header_name=raw.config.header_name,
        param_name=raw.config.form_param_name,
        regex_expression=raw.config.regexp,
        regex_match_index=raw.config.regexp_match_index,
        xpath_expression=raw.config.x_path_exp,
    )
    where = f"{_AUTHENTICATION}.custom.config.idExtractor"
    return checks.extractor(report, where, (raw.source, "source"), (raw.with_, "with"), config, _SETTINGS)


def _auth(report: Report, raw: _Extension, section: Section, bundled: bool, document: dict[str, Any]) -> Auth:
    given = raw.server.authentication
    keyless = not given.enabled
    others: list[str] = []
    token: TokenSource | None = None
    if not keyless:
        for name, on, identity, what in (
            ("hmac", given.hmac, "hmac_key", "HMAC request signatures"),
            ("oidc", given.oidc, "oidc_user", "OpenID Connect authentication"),
            ("certificateAuth", given.certificate_auth, "", "client certificates"),
        ):
            if on.enabled:
                others.append(identity)
                report.need(key(_AUTHENTICATION, name), what)
        for name, scheme in given.security_schemes.items():
            if scheme.enabled:
                read = _scheme(report, name, scheme, document)
                if isinstance(read, str):
                    others.append(read)
                else:
                    token = read or token
        if token is None and not given.custom.enabled and not others:
            token = TokenSource()
    auth = Auth(
        keyless=keyless,
        custom=given.custom.enabled and not keyless,
        token=token,
        base_identity=given.base_identity_provider,
        strip=given.strip_authorization_data,
    )
    paths = {
        "flag": f"{_AUTHENTICATION}.custom.enabled" if given.custom.enabled else "",
        "auth_check": f"{_AUTHENTICATION}.custom.config",
        "base": f"{_AUTHENTICATION}.baseIdentityProvider",
    }
    checks.authentication(report, auth, section, bundled, paths, others)
    return auth


def _scheme(report: Report, name: str, scheme: _Scheme, document: dict[str, Any]) -> TokenSource | str | None:
    """Where an apiKey scheme has its token; for another scheme its name as base identity, with the need reported."""
    where = key(f"{_AUTHENTICATION}.securitySchemes", name)
    place = key("$.components.securitySchemes", name)
    described = _at(document, "components", "securitySchemes", name)
    if not isinstance(described, dict):
        report.problem(place, f"an object, the security scheme that {where} turns on", _found(described))
        return None
    kind = described.get("type")
    if kind != "apiKey":
        bearer = kind == "http" and described.get("scheme") == "bearer"
        what = {"oauth2": "OAuth 2.0", "openIdConnect": "OpenID Connect"}.get(
            str(kind), "JWT" if bearer else "basic" if kind == "http" else f'"{kind}"'
        )
        report.need(where, f"{what} authentication")
        return {"oauth2": "oauth_key", "openIdConnect": "oidc_user"}.get(
            str(kind), "jwt_claim" if bearer else "basic_auth_user"
        )
    named = described.get("name")
    if not isinstance(named, str) or not named:
        report.problem(key(place, "name"), "a string, the name of the header, query parameter or cookie", _found(named))
        return None
    inside = described.get("in")
    if not isinstance(inside, str) or not report.choice(key(place, "in"), inside, ("header", "query", "cookie")):
        report.problem(key(place, "in"), 'one of "header", "query", "cookie"', _found(inside))
        return None
    places = {"header": "", "query": "", "cookie": ""}
    for kind_of, source in (("header", scheme.header), ("query", scheme.query), ("cookie", scheme.cookie)):
        if source.enabled:
            places[kind_of] = source.name or "Authorization"
    places[inside] = named
    return checks.token_source(
        report, where, places["header"], places["query"], places["cookie"], ("header.name", "query.name", "cookie.name")
    )


def _events(
    report: Report, raw: list[dict[str, Any]], default: Driver | None
) -> Iterator[tuple[EventHandler, str, str]]:
    for index, item in enumerate(raw):
        where = f"{_ROOT}.server.eventHandlers[{index}]"
        kind, trigger = item.get("type"), item.get("trigger")
        if not isinstance(trigger, str) or not trigger:
            report.problem(key(where, "trigger"), "a string, the name of an event", _found(trigger))
            continue
        if not isinstance(kind, str):
            report.problem(key(where, "type"), "a string, the type of the handler", _found(kind))
            continue
        if not report.choice(key(where, "type"), kind, _HANDLERS):
            continue
        meta = {name: value for name, value in item.items() if name not in ("enabled", "type", "trigger")}
        handler, disabled = _HANDLERS[kind], item.get("enabled") is not True
        if kind == "custom":
            meta["name"] = meta.get("functionName")
            if _is_coprocess(report, where, meta, default):
                handler = "cp_dynamic_handler"
        elif kind == "log":
            meta["prefix"] = meta.get("logPrefix")
        yield (
            EventHandler(
                event=trigger,
                handler=handler,
                meta=meta,
                where=where,
                disabled=disabled,
                webhook=webhooks.oas(report, item, where) if kind == "webhook" and not disabled else None,
            ),
            key(where, "type"),
            key(where, "logPrefix" if kind == "log" else "functionName"),
        )


def _is_coprocess(report: Report, where: str, meta: dict[str, Any], default: Driver | None) -> bool:
    """Tell whether a custom handler is in Python or Lua, or asked of a gRPC server.

    Its driver says so or, without one, its file's name or, without that, an API whose plugins are gRPC's.
    """
    driver, path = meta.get("driver"), meta.get("path")
    if driver is None:
        return path.endswith((".py", ".lua")) if isinstance(path, str) and path else default is Driver.GRPC
    choices = ("python", "lua", "grpc", "javascript")
    if not isinstance(driver, str):
        report.problem(key(where, "driver"), one_of(choices), describe(driver))
        return False
    return report.choice(key(where, "driver"), driver, choices) and driver != "javascript"


def _virtual(
    report: Report, raw: dict[str, _Operation], document: dict[str, Any], capabilities: Capabilities
) -> Iterator[VirtualEndpoint]:
    operations = {
        operation["operationId"]: (path, method.upper())
        for path, item in _members(document.get("paths"))
        for method, operation in _members(item)
        if isinstance(operation, dict) and isinstance(operation.get("operationId"), str)
    }
    for name, operation in raw.items():
        endpoint = operation.virtual_endpoint
        if endpoint == _VirtualEndpoint():
            continue
        where = f"{key(f'{_ROOT}.middleware.operations', name)}.virtualEndpoint"
        function = endpoint.function_name or endpoint.name
        if not function:
            report.problem(key(where, "functionName"), "a string, the name of the function", "none")
        if name not in operations:
            report.problem("$.paths", f'an operation with the operationId "{name}", for {where}', "none")
        code = checks.decode(report, key(where, "body"), endpoint.body)
        if not code and not endpoint.path:
            report.problem(where, '"path", or "body" in base64', "neither")
        if name not in operations:
            continue
        path, method = operations[name]
        drafted = VirtualEndpoint(
            function=function,
            path=path,
            method=method,
            where=where,
            source=endpoint.path if not code else "",
            code=code,
            use_session=endpoint.require_session,
            proxy_on_error=endpoint.proxy_on_error,
            disabled=not endpoint.enabled,
        )
        checks.endpoint(report, drafted, (key("$.paths", path), key("$.paths", path)), capabilities)
        yield drafted


def _needs(report: Report, raw: _Extension) -> None:
    """List what narrows who may reach the API, or where it goes, and is not built: never run without it."""
    for place, on, what in (
        ("info.versioning", raw.info.versioning, "API versions"),
        ("server.clientCertificates", raw.server.client_certificates, "mutual TLS authentication"),
        ("server.ipAccessControl", raw.server.ip_access_control, "IP access control"),
    ):
        if on.enabled:
            report.need(f"{_ROOT}.{place}", what)
    logs = raw.middleware.global_.traffic_logs
    if logs.enabled and any(plugin.enabled for plugin in logs.plugins):
        report.need(f"{_GLOBAL}.trafficLogs.plugins", "hooks on records of analytics: no records are made")
    for name, operation in raw.middleware.operations.items():
        where = key(f"{_ROOT}.middleware.operations", name)
        if operation.allow.enabled:
            report.need(key(where, "allow"), "an allow list of paths")
        if operation.block.enabled:
            report.need(key(where, "block"), "a block list of paths")
        if any(plugin.enabled for plugin in operation.post_plugins):
            report.need(key(where, "postPlugins"), "plugins of single endpoints")


def _members(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _found(value: Any) -> str:
    return "none" if value is None else describe(value)
