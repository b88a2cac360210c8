"""Checks what a definition says, in whichever form it was written, and makes the model's parts of it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import msgspec

from tykbridge import endpoints, idextractor
from tykbridge.bundle import names as names_of_bundles
from tykbridge.definition.model import (
    NONE,
    PROCESS,
    Auth,
    Bundle,
    Capabilities,
    Driver,
    EventHandler,
    Extractor,
    Hook,
    Method,
    NativeChoices,
    OnFailure,
    Phase,
    Section,
    Source,
    TokenSource,
    VirtualEndpoint,
)
from tykbridge.definition.problems import Report, describe, key
from tykbridge.regex import MissingEngineError, RegexError

SUFFIXES = {".py": Driver.PYTHON, ".js": Driver.JAVASCRIPT, ".lua": Driver.LUA, ".so": Driver.GOPLUGIN}
_DRIVERS = [*Driver, "otto"]
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+\S*")
_DOMAIN = re.compile(r"[^\s/]+")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

HANDLERS = ("eh_log_handler", "eh_web_hook_handler", "eh_dynamic_handler", "cp_dynamic_handler")


_LONGEST = 2**31 - 1
"""Milliseconds of a time limit, at most: 24 days, which every engine can count."""


class HookKeys(msgspec.Struct, frozen=True):
    """How the two forms spell a hook's keys, for the JSON paths in messages."""

    name: str
    timeout_ms: str
    on_failure: str


CLASSIC_KEYS = HookKeys("name", "timeout_ms", "on_failure")
OAS_KEYS = HookKeys("functionName", "timeoutMs", "onFailure")


class HookDraft(msgspec.Struct, frozen=True):
    """A hook as written, its types checked and nothing else. The keys are those of the classic form."""

    name: str = ""
    path: str = ""
    code: str = ""
    driver: str = ""
    disabled: bool = False
    require_session: bool = False
    raw_body_only: bool = False
    timeout_ms: int | None = None
    on_failure: str | None = None
    target: str = ""


def driver(report: Report, where: str, name: str) -> Driver | None:
    """Give the driver that a section or a hook names; None for "" and for what is none."""
    if not name or not report.choice(where, name, _DRIVERS):
        return None
    return Driver.JAVASCRIPT if name == "otto" else Driver(name)


def hook(
    report: Report,
    phase: Phase,
    where: str,
    draft: HookDraft,
    keys: HookKeys,
    default: Driver | None,
    capabilities: Capabilities,
    *,
    in_bundle: bool,
) -> Hook:
    """Check one hook. Without any driver, the suffix of its path says it; in a bundle the manifest may."""
    if not draft.name and not draft.disabled:
        report.problem(key(where, keys.name), "a string, the name of the hook's function", "none")
    elif not draft.name.isprintable():
        report.problem(key(where, keys.name), "a name without control characters", describe(draft.name))
    if "\0" in draft.path:
        report.problem(key(where, "path"), "a path without NUL", describe(draft.path))
    language = driver(report, key(where, "driver"), draft.driver) or (None if draft.driver else default)
    if language is None and not draft.driver:
        language = SUFFIXES.get(PurePosixPath(draft.path).suffix)
        if language is not None:
            words = f'no driver is named: "{language}", from the suffix of "{draft.path}"'
            report.notice(where, words, inferred=True)
        elif not in_bundle and not draft.disabled:
            suffixes = ", ".join(SUFFIXES)
            found = f'the path "{draft.path}"' if draft.path else "neither"
            report.problem(key(where, "driver"), f"a driver, or a path whose suffix names one ({suffixes})", found)
    failure = OnFailure.CLOSED
    if draft.on_failure is not None and report.choice(key(where, keys.on_failure), draft.on_failure, OnFailure):
        failure = OnFailure(draft.on_failure)
        if failure is OnFailure.OPEN and phase is Phase.AUTH_CHECK:
            report.problem(
                key(where, keys.on_failure), '"closed": authentication that fails lets nobody through', '"open"'
            )
    _deadline(report, key(where, keys.timeout_ms), draft.timeout_ms, language, capabilities)
    if draft.target and language is not Driver.GRPC and not (language is None and in_bundle):
        report.notice(key(where, "target"), "it has no effect: the hook is not asked of a gRPC server")
    code = decode(report, key(where, "code"), draft.code)
    if code and draft.path:
        report.notice(where, f'the hook has code and a path: the code runs, "{draft.path}" only names it')
    return Hook(
        phase=phase,
        name=draft.name,
        where=where,
        driver=language,
        path=draft.path,
        code=code,
        disabled=draft.disabled,
        require_session=draft.require_session,
        raw_body_only=draft.raw_body_only,
        timeout_ms=draft.timeout_ms,
        on_failure=failure,
        target=draft.target,
    )


def _deadline(
    report: Report, where: str, timeout_ms: int | None, language: Driver | None, capabilities: Capabilities
) -> None:
    if timeout_ms is None:
        return
    if timeout_ms < 1:
        report.problem(where, "a whole number of milliseconds, at least 1", describe(timeout_ms))
    elif timeout_ms > _LONGEST:
        report.problem(where, f"a whole number of milliseconds, at most {_LONGEST}", describe(timeout_ms))
    elif language is not None and language not in capabilities.deadlines:
        able = ", ".join(sorted(capabilities.deadlines)) or "none yet"
        report.problem(
            where,
            f"no deadline: the {language} driver cannot keep one (drivers that can: {able})",
            describe(timeout_ms),
        )


def isolation(report: Report, where: str, given: NativeChoices) -> NativeChoices:
    """Check what is said of native code."""
    if given.isolation:
        report.choice(key(where, "isolation"), given.isolation, (NONE, PROCESS))
    return given


def isolated(section: Section, capabilities: Capabilities) -> Section:
    """Give an API's section with the settings' word, where it has none of its own."""
    default, choices = NativeChoices(capabilities.isolation), section.choices
    changed = {
        name: default for name in ("goplugin", "native") if not getattr(choices, name).isolation and default.isolation
    }
    return msgspec.structs.replace(section, choices=msgspec.structs.replace(choices, **changed))


def decode(report: Report, where: str, text: str) -> bytes:
    """Decode base64, line breaks allowed as in Go; b"" for what is none."""
    try:
        return base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        report.problem(where, "base64", describe(text))
        return b""


def extractor(
    report: Report,
    where: str,
    source: tuple[str, str],
    method: tuple[str, str],
    config: idextractor.Config,
    names: dict[str, str],
) -> Extractor | None:
    """Check an ID extractor, its expressions included.

    `source` and `method` are the value and its key; `names` spells the settings' keys, which stand in "config".
    """
    good = report.choice(key(where, source[1]), source[0], Source)
    if not report.choice(key(where, method[1]), method[0], Method) or not good:
        return None
    try:
        idextractor.compile_extractor(source[0], method[0], config)
    except MissingEngineError as error:
        report.need(where, str(error))
    except idextractor.ConfigError as error:
        report.problem(f"{where}.{names[error.setting]}", error.expected, error.found)
        return None
    return Extractor(
        source=Source(source[0]),
        method=Method(method[0]),
        header_name=config.header_name,
        param_name=config.param_name,
        regex=config.regex_expression,
        match_index=config.regex_match_index,
        xpath=config.xpath_expression,
        where=where,
    )


def bundles(report: Report, where: str, text: str) -> tuple[Bundle, ...]:
    """Split a comma-separated list of bundles. Spaces and empty entries are dropped, as upstream does."""
    names = [name for name in (part.strip() for part in text.split(",")) if name]
    for name in names:
        if wrong := names_of_bundles.fault(name):
            report.problem(where, "names of bundles, without .. and not absolute", f"{describe(name)}: {wrong}")
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        report.problem(where, "each bundle once", f'"{doubled[0]}" more than once')
    return tuple(Bundle(name=name) for name in names)


def api_id(report: Report, where: str, value: str) -> None:
    """Check an API's id, which also names things in stores and logs."""
    if not value:
        report.problem(where, "a string, the API's id", "none")
    elif not value.isprintable() or value != value.strip():
        report.problem(where, "an id without control characters or spaces around it", describe(value))


def listen_path(report: Report, where: str, value: str) -> None:
    """Check the path under which an API is reached."""
    if not value:
        report.problem(where, "a path that starts with /", "none")
    elif not value.startswith("/") or any(sign in value for sign in "?# \t\r\n\0"):
        report.problem(where, "a path that starts with / and has no space, ? or #", describe(value))


def target(report: Report, where: str, value: str) -> None:
    """Check the upstream's URL; "" is allowed, for hosts that know their upstream themselves."""
    if value and not _URL.fullmatch(value):
        report.problem(where, "a URL with scheme and host (http://host/)", describe(value))


def domain(report: Report, where: str, value: str) -> None:
    """Check a custom domain."""
    if value and not _DOMAIN.fullmatch(value):
        report.problem(where, "a host name, without scheme and path", describe(value))


def header(report: Report, where: str, value: str) -> None:
    """Check the name of a header."""
    if value and not _HEADER.fullmatch(value):
        report.problem(where, "the name of a header", describe(value))


def at_least(report: Report, where: str, value: int, least: int, what: str, most: int | None = None) -> None:
    """Check a number's bounds."""
    if value < least or (most is not None and value > most):
        report.problem(where, what, describe(value))


def event_handlers(report: Report, handlers: Sequence[tuple[EventHandler, str, str]]) -> tuple[EventHandler, ...]:
    """Check event handlers; with each come the JSON paths of its handler's name, and of its function or prefix."""
    for handler, where, function in handlers:
        if not handler.event:
            report.problem(handler.where, "the name of an event", "an empty string")
        if not report.choice(where, handler.handler, HANDLERS) or handler.disabled:
            continue
        name, prefix, path = (handler.meta.get(name) for name in ("name", "prefix", "path"))
        if handler.handler in ("eh_dynamic_handler", "cp_dynamic_handler"):
            if not (isinstance(name, str) and name):
                found = "none" if name is None else describe(name)
                report.problem(function, "a string, the name of the handler's function", found)
            if path is not None and not isinstance(path, str):
                report.problem(f"{function.rpartition('.')[0]}.path", "a string, the file", describe(path))
        elif handler.handler == "eh_log_handler" and prefix is not None and not isinstance(prefix, str):
            report.problem(function, "a string, with which the line begins", describe(prefix))
    return tuple(handler for handler, _, _ in handlers)


def authentication(
    report: Report, auth: Auth, section: Section, bundled: bool, paths: dict[str, str], others: Iterable[str]
) -> None:
    """Check that the authentication which is on can work, and says which hooks will not run.

    `paths` has the JSON paths of "auth_check" and "base", and of "flag", the key that turns custom authentication on
    ("" when none does). `others` names the methods that are on and not built.
    """
    checks = [item for item in section.hooks if item.phase is Phase.AUTH_CHECK]
    on = [check for check in checks if not check.disabled]
    if auth.keyless:
        idle = [item for item in section.hooks if item.phase in (Phase.AUTH_CHECK, Phase.POST_KEY_AUTH)]
        for item in idle:
            report.notice(item.where, f'the API is keyless: the hook "{item.name}" does not run')
        if paths["flag"]:
            report.notice(paths["flag"], "the API is keyless: custom authentication is off")
    elif auth.custom and not on and not bundled:
        found = "a disabled hook" if checks else "none"
        report.problem(paths["auth_check"], f"a hook, because {paths['flag']} is set", found)
    elif not auth.custom:
        for check in on:
            report.notice(check.where, f'custom authentication is off: the hook "{check.name}" does not run')
    if section.extractor is not None and (auth.keyless or not auth.custom):
        report.notice(section.extractor.where, "custom authentication is off: the ID extractor is not used")
    methods = [*others, *(["custom_auth"] if auth.custom else []), *(["auth_token"] if auth.token else [])]
    if auth.base_identity and not auth.keyless and report.choice(paths["base"], auth.base_identity, _IDENTITIES):
        if auth.base_identity not in methods:
            on_now = " or ".join(f'"{name}"' for name in methods)
            report.problem(
                paths["base"], f"a method of authentication that is on ({on_now})", f'"{auth.base_identity}"'
            )
    elif len(methods) > 1 and not auth.keyless and not auth.base_identity:
        words = f'no base identity is named: the session is that of "{methods[-1]}"'
        report.notice(paths["base"], words, inferred=True)


_IDENTITIES = ("auth_token", "custom_auth", "hmac_key", "basic_auth_user", "jwt_claim", "oidc_user", "oauth_key")


def needs(report: Report, section: Section, used: tuple[Bundle, ...], where: str, capabilities: Capabilities) -> None:
    """List the drivers and downloads that the API waits for."""
    for bundle in used if not capabilities.bundles else ():
        report.need(where, f'a download of the bundle "{bundle.name}"')
    for item in section.hooks if not used else ():
        if not item.disabled and item.driver is not None and item.driver not in capabilities.drivers:
            report.need(item.where, _driver(item.driver, capabilities))


def _driver(name: Driver, capabilities: Capabilities) -> str:
    hint = capabilities.missing.get(name)
    return f"the {name} driver" + (f" ({hint})" if hint else "")


def endpoint(report: Report, drafted: VirtualEndpoint, paths: tuple[str, str], capabilities: Capabilities) -> None:
    """Check where a virtual endpoint is. `paths` are the JSON paths of its path and its method."""
    if drafted.disabled:
        return
    if not drafted.method:
        report.problem(paths[1], "the method that it answers", "none")
    if not drafted.path:
        report.problem(paths[0], "the path that it answers", "none")
    try:
        endpoints.compile_path(drafted.path)
    except MissingEngineError as error:
        report.need(paths[0], str(error))
    except RegexError as error:
        report.problem(paths[0], "a path, or a regular expression", f"{describe(drafted.path)}: {error}")
    if drafted.code and not capabilities.endpoint_code:
        report.need(drafted.where, "code in definitions, which disable_virtual_path_blobs turns off")


def javascript(
    report: Report, events: tuple[EventHandler, ...], virtual: tuple[VirtualEndpoint, ...], capabilities: Capabilities
) -> None:
    """List the event handlers and endpoints that wait for the JavaScript driver."""
    if Driver.JAVASCRIPT in capabilities.drivers:
        return
    waiting = [handler.where for handler in events if _is_javascript(handler) and not handler.disabled]
    waiting += [endpoint.where for endpoint in virtual if not endpoint.disabled]
    for where in waiting:
        report.need(where, _driver(Driver.JAVASCRIPT, capabilities))


def _is_javascript(handler: EventHandler) -> bool:
    if handler.handler == "cp_dynamic_handler":
        return SUFFIXES.get(PurePosixPath(str(handler.meta.get("path"))).suffix) is Driver.JAVASCRIPT
    return handler.handler == "eh_dynamic_handler"


def token_source(
    report: Report, where: str, header_name: str, param: str, cookie: str, names: tuple[str, str, str]
) -> TokenSource:
    """Check where a standard auth token is looked for: `names` are the keys of header, parameter and cookie."""
    for value, name in ((header_name, names[0]), (cookie, names[2])):
        header(report, f"{where}.{name}", value)
    if not (header_name or param or cookie):
        report.problem(where, "a header, a parameter or a cookie that holds the token", "all of them off")
    return TokenSource(header=header_name, param=param, cookie=cookie)
