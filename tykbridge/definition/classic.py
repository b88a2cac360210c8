"""Reads a classic API definition into the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tykbridge import idextractor
from tykbridge.definition import checks, folders, targets, webhooks
from tykbridge.definition.fields import fill
from tykbridge.definition.model import (
    Auth,
    Bundle,
    Capabilities,
    Choices,
    Definition,
    EventHandler,
    Extractor,
    Hook,
    JavaScriptChoices,
    LuaChoices,
    NativeChoices,
    Phase,
    Section,
    TokenSource,
    VirtualEndpoint,
)
from tykbridge.definition.problems import Report, key


class _Extractor(msgspec.Struct, frozen=True):
    disabled: bool = False
    extract_from: str = ""
    extract_with: str = ""
    extractor_config: idextractor.Config = idextractor.Config()


class _Section(msgspec.Struct, frozen=True):
    pre: list[checks.HookDraft] = []
    auth_check: checks.HookDraft = checks.HookDraft()
    post_key_auth: list[checks.HookDraft] = []
    post: list[checks.HookDraft] = []
    response: list[checks.HookDraft] = []
    traffic_logs: checks.HookDraft = checks.HookDraft()
    driver: str = ""
    lua: LuaChoices = LuaChoices()
    javascript: JavaScriptChoices = JavaScriptChoices()
    goplugin: NativeChoices = NativeChoices()
    native: NativeChoices = NativeChoices()
    grpc: targets.Grpc = targets.Grpc()
    id_extractor: _Extractor = _Extractor()


class _AuthConfig(msgspec.Struct, frozen=True):
    auth_header_name: str = ""
    disable_header: bool = False
    use_param: bool = False
    param_name: str = ""
    use_cookie: bool = False
    cookie_name: str = ""
    use_certificate: bool = False
    validate_signature: bool = False


class _Enabled(msgspec.Struct, frozen=True):
    enabled: bool = False


class _Proxy(msgspec.Struct, frozen=True):
    listen_path: str = ""
    target_url: str = ""
    strip_listen_path: bool = False


class _EventHandler(msgspec.Struct, frozen=True):
    handler_name: str = ""
    handler_meta: dict[str, Any] = {}


class _Events(msgspec.Struct, frozen=True):
    events: dict[str, list[_EventHandler]] = {}


class _Virtual(msgspec.Struct, frozen=True):
    response_function_name: str = ""
    function_source_type: str = ""
    function_source_uri: str = ""
    path: str = ""
    method: str = ""
    use_session: bool = False
    proxy_on_error: bool = False
    disabled: bool = False


class _GoPlugin(msgspec.Struct, frozen=True):
    disabled: bool = False
    path: str = ""
    func_name: str = ""


class _ExtendedPaths(msgspec.Struct, frozen=True):
    virtual: list[_Virtual] = []
    go_plugin: list[_GoPlugin] = []
    white_list: list[_GoPlugin] = []
    black_list: list[_GoPlugin] = []


class _Version(msgspec.Struct, frozen=True):
    use_extended_paths: bool = False
    extended_paths: _ExtendedPaths = _ExtendedPaths()
    paths: dict[str, Any] = {}


class _Versions(msgspec.Struct, frozen=True):
    not_versioned: bool = False
    versions: dict[str, _Version] = {}


class _AnalyticsPlugin(msgspec.Struct, frozen=True):
    enable: bool = False


class _Classic(msgspec.Struct, frozen=True):
    api_id: str = ""
    org_id: str = ""
    name: str = ""
    active: bool = True
    listen_port: int = 0
    domain: str = ""
    domain_disabled: bool = False
    proxy: _Proxy = _Proxy()
    use_keyless: bool = False
    use_standard_auth: bool = False
    custom_plugin_auth_enabled: bool = False
    enable_coprocess_auth: bool = False
    use_go_plugin_auth: bool = False
    auth: _AuthConfig = _AuthConfig()
    auth_configs: dict[str, _AuthConfig] = {}
    base_identity_provided_by: str = ""
    strip_auth_data: bool = False
    custom_middleware: dict[str, Any] = {}
    custom_middleware_bundle: str = ""
    custom_middleware_bundle_disabled: bool = False
    config_data: dict[str, Any] = {}
    config_data_disabled: bool = False
    enable_context_vars: bool = False
    disable_rate_limit: bool = False
    disable_quota: bool = False
    session_lifetime: int = 0
    event_handlers: _Events = _Events()
    version_data: _Versions = _Versions()
    analytics_plugin: _AnalyticsPlugin = _AnalyticsPlugin()
    definition: _Enabled = _Enabled()
    # Authentication and access control that is not built: the API must not run without it.
    use_oauth2: bool = False
    use_openid: bool = False
    use_basic_auth: bool = False
    enable_jwt: bool = False
    enable_signature_checking: bool = False
    use_mutual_tls_auth: bool = False
    external_oauth: _Enabled = _Enabled()
    enable_ip_whitelisting: bool = False
    enable_ip_blacklisting: bool = False
    ip_access_control_disabled: bool = False
    graphql: _Enabled = _Enabled()


_FLAGS = ("custom_plugin_auth_enabled", "enable_coprocess_auth", "use_go_plugin_auth")

# Flag → (its name as base identity, words).
_METHODS = {
    "use_oauth2": ("oauth_key", "OAuth 2.0 authentication"),
    "external_oauth": ("oauth_key", "external OAuth authentication"),
    "use_openid": ("oidc_user", "OpenID Connect authentication"),
    "use_basic_auth": ("basic_auth_user", "basic authentication"),
    "enable_jwt": ("jwt_claim", "JWT authentication"),
    "enable_signature_checking": ("hmac_key", "HMAC request signatures"),
    "use_mutual_tls_auth": ("", "mutual TLS authentication"),
}

_PHASES = (Phase.PRE, Phase.AUTH_CHECK, Phase.POST_KEY_AUTH, Phase.POST, Phase.RESPONSE)

_SETTINGS = {name: f"extractor_config.{name}" for name in idextractor.Config.__struct_fields__}


def read(report: Report, document: dict[str, Any], capabilities: Capabilities) -> Definition:
    """Read a classic definition. What is wrong with it is in `report`; the result counts only when nothing is."""
    raw = fill(report, _Classic, document, "$")
    checks.api_id(report, "$.api_id", raw.api_id)
    checks.listen_path(report, "$.proxy.listen_path", raw.proxy.listen_path)
    checks.target(report, "$.proxy.target_url", raw.proxy.target_url)
    checks.domain(report, "$.domain", raw.domain)
    checks.at_least(report, "$.listen_port", raw.listen_port, 0, "a port, 0 to 65535", 65535)
    checks.at_least(report, "$.session_lifetime", raw.session_lifetime, 0, "a number of seconds, 0 or more")
    bundles: tuple[Bundle, ...] = ()
    if not raw.custom_middleware_bundle_disabled:
        bundles = checks.bundles(report, "$.custom_middleware_bundle", raw.custom_middleware_bundle)
    where = "$.custom_middleware"
    section = read_section(report, raw.custom_middleware, where, capabilities, in_bundle=bool(bundles))
    targets.check_hooks(report, section.hooks, section.targets)
    if bundles and section.hooks:
        report.notice(where, "the hooks of the bundle's manifest replace these")
    section = checks.isolated(section, capabilities)
    section = folders.with_hooks(report, section, raw.api_id, capabilities, bundled=bool(bundles))
    auth = _auth(report, raw, section, bool(bundles))
    events = checks.event_handlers(report, list(_events(report, raw.event_handlers)))
    virtual = tuple(_virtual(report, raw.version_data, capabilities))
    checks.needs(report, section, bundles, "$.custom_middleware_bundle", capabilities)
    checks.javascript(report, events, virtual, capabilities)
    _needs(report, raw)
    return Definition(
        form="classic",
        file=report.file,
        api_id=raw.api_id,
        org_id=raw.org_id,
        name=raw.name,
        active=raw.active,
        listen_path=raw.proxy.listen_path,
        strip_listen_path=raw.proxy.strip_listen_path,
        listen_port=raw.listen_port,
        domain="" if raw.domain_disabled else raw.domain,
        target_url=raw.proxy.target_url,
        auth=auth,
        section=section,
        bundles=bundles,
        config_data=None if raw.config_data_disabled else raw.config_data or None,
        context_vars=raw.enable_context_vars,
        disable_rate_limit=raw.disable_rate_limit,
        disable_quota=raw.disable_quota,
        session_lifetime=raw.session_lifetime,
        events=events,
        virtual=virtual,
        document=document,
    )


def read_section(
    report: Report, value: Any, where: str, capabilities: Capabilities, *, in_bundle: bool = False
) -> Section:
    """Read a custom_middleware section: that of a definition, or of a bundle's manifest."""
    raw = fill(report, _Section, value, where, closed=True)
    default = checks.driver(report, key(where, "driver"), raw.driver)
    unknown_driver = bool(raw.driver) and default is None
    hooks: list[Hook] = []
    for phase in _PHASES:
        place = key(where, phase)
        given = getattr(raw, phase)
        if phase is Phase.AUTH_CHECK:
            # Upstream's exports hold an empty object where there is no hook.
            drafts = [(given, place)] if given.name or given.path or given.code else []
        else:
            drafts = [(item, f"{place}[{index}]") for index, item in enumerate(given)]
        for draft, path in drafts:
            hooks.append(
                checks.hook(
                    report,
                    phase,
                    path,
                    draft,
                    checks.CLASSIC_KEYS,
                    default,
                    capabilities,
                    in_bundle=in_bundle or unknown_driver,
                )
            )
    logs = raw.traffic_logs
    if (logs.name or logs.path) and not logs.disabled:
        report.need(key(where, "traffic_logs"), "hooks on traffic logs")
    servers, server = targets.read(report, key(where, "grpc"), raw.grpc)
    return Section(
        driver=default,
        choices=Choices(
            lua=raw.lua,
            javascript=raw.javascript,
            goplugin=checks.isolation(report, key(where, "goplugin"), raw.goplugin),
            native=checks.isolation(report, key(where, "native"), raw.native),
        ),
        targets=servers,
        target=server,
        hooks=tuple(hooks),
        extractor=_extractor(report, raw.id_extractor, where),
    )


def _extractor(report: Report, raw: _Extractor, where: str) -> Extractor | None:
    if raw.disabled or not (raw.extract_from or raw.extract_with):
        return None
    return checks.extractor(
        report,
        key(where, "id_extractor"),
        (raw.extract_from, "extract_from"),
        (raw.extract_with, "extract_with"),
        raw.extractor_config,
        _SETTINGS,
    )


def _auth(report: Report, raw: _Classic, section: Section, bundled: bool) -> Auth:
    flags = [name for name in _FLAGS if getattr(raw, name)]
    others = []
    for name, (identity, what) in _METHODS.items():
        value = getattr(raw, name)
        if (value.enabled if isinstance(value, _Enabled) else value) and not raw.use_keyless:
            others.append(identity)
            report.need(f"$.{name}", what)
    token: TokenSource | None = None
    if not raw.use_keyless and (raw.use_standard_auth or not (flags or others)):
        config, where = raw.auth, "$.auth"
        if "authToken" in raw.auth_configs:
            config, where = raw.auth_configs["authToken"], "$.auth_configs.authToken"
        if config.use_certificate:
            report.need(key(where, "use_certificate"), "client certificates as keys")
        if config.validate_signature:
            report.need(key(where, "validate_signature"), "signatures of keys")
        token = checks.token_source(
            report,
            where,
            "" if config.disable_header else config.auth_header_name or "Authorization",
            (config.param_name or config.auth_header_name or "Authorization") if config.use_param else "",
            (config.cookie_name or config.auth_header_name or "Authorization") if config.use_cookie else "",
            ("auth_header_name", "param_name", "cookie_name"),
        )
    auth = Auth(
        keyless=raw.use_keyless,
        custom=bool(flags) and not raw.use_keyless,
        token=token,
        base_identity=raw.base_identity_provided_by,
        strip=raw.strip_auth_data,
    )
    paths = {
        "flag": f"$.{flags[0]}" if flags else "",
        "auth_check": "$.custom_middleware.auth_check",
        "base": "$.base_identity_provided_by",
    }
    checks.authentication(report, auth, section, bundled, paths, others)
    return auth


def _events(report: Report, raw: _Events) -> Iterator[tuple[EventHandler, str, str]]:
    for event, handlers in raw.events.items():
        for index, handler in enumerate(handlers):
            where = f"{key('$.event_handlers.events', event)}[{index}]"
            meta = handler.handler_meta
            disabled, is_webhook = meta.get("disabled") is True, handler.handler_name == "eh_web_hook_handler"
            yield (
                EventHandler(
                    event=event,
                    handler=handler.handler_name,
                    meta=meta,
                    where=where,
                    disabled=disabled,
                    webhook=webhooks.classic(report, meta, where) if is_webhook and not disabled else None,
                ),
                key(where, "handler_name"),
                f"{where}.handler_meta.{'prefix' if handler.handler_name == 'eh_log_handler' else 'name'}",
            )


def _virtual(report: Report, raw: _Versions, capabilities: Capabilities) -> Iterator[VirtualEndpoint]:
    for name, version in raw.versions.items():
        if not version.use_extended_paths:
            continue
        for index, item in enumerate(version.extended_paths.virtual):
            where = f"{key('$.version_data.versions', name)}.extended_paths.virtual[{index}]"
            if not item.response_function_name:
                report.problem(key(where, "response_function_name"), "a string, the name of the function", "none")
            code = b""
            if report.choice(key(where, "function_source_type"), item.function_source_type, ("file", "blob")):
                if not item.function_source_uri:
                    report.problem(key(where, "function_source_uri"), "the file, or the code in base64", "none")
                elif item.function_source_type == "blob":
                    code = checks.decode(report, key(where, "function_source_uri"), item.function_source_uri)
            endpoint = VirtualEndpoint(
                function=item.response_function_name,
                path=item.path,
                method=item.method,
                where=where,
                source="" if code else item.function_source_uri,
                code=code,
                use_session=item.use_session,
                proxy_on_error=item.proxy_on_error,
                disabled=item.disabled,
            )
            checks.endpoint(report, endpoint, (key(where, "path"), key(where, "method")), capabilities)
            yield endpoint


def _needs(report: Report, raw: _Classic) -> None:
    """List what narrows who may reach the API, or where it goes, and is not built: never run without it."""
    if not raw.ip_access_control_disabled:
        for name, what in (("enable_ip_whitelisting", "IP allow lists"), ("enable_ip_blacklisting", "IP block lists")):
            if getattr(raw, name):
                report.need(f"$.{name}", what)
    if raw.analytics_plugin.enable:
        report.need("$.analytics_plugin", "hooks on records of analytics: no records are made")
    if raw.graphql.enabled:
        report.need("$.graphql.enabled", "GraphQL")
    if raw.definition.enabled or (not raw.version_data.not_versioned and len(raw.version_data.versions) > 1):
        report.need("$.definition.enabled" if raw.definition.enabled else "$.version_data.versions", "API versions")
    for name, version in raw.version_data.versions.items():
        where = key("$.version_data.versions", name)
        lists = version.extended_paths if version.use_extended_paths else _ExtendedPaths()
        for rule, items in (("white_list", lists.white_list), ("black_list", lists.black_list)):
            if any(not item.disabled for item in items):
                report.need(f"{where}.extended_paths.{rule}", f"a {rule.replace('_', ' ')} of paths")
            if not version.use_extended_paths and version.paths.get(rule):
                report.need(f"{where}.paths.{rule}", f"a {rule.replace('_', ' ')} of paths")
        for index, item in enumerate(lists.go_plugin):
            if not item.disabled:
                report.need(f"{where}.extended_paths.go_plugin[{index}]", "plugins of single endpoints")
