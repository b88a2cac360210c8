"""Reads the settings of a gateway: Tyk's tyk.conf, and the TYK_GW_* variables that win over it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, get_origin

import msgspec

from tykbridge.definition import Calling, Notice, Problem, Target, targets, tree
from tykbridge.definition.fields import fill
from tykbridge.definition.model import NONE, PROCESS
from tykbridge.definition.problems import Report, describe, guess
from tykbridge.errors import LoadError
from tykbridge.keys import FUNCTIONS
from tykbridge.stores.opening import TYPES, Storage

PREFIX = "TYK_GW_"
TEXT = "<settings>"
"""The file name of settings that came as text."""
ENVIRONMENT = "<environment>"
"""The file name of what came as a variable."""

_TYPING_ERROR = 0.9
"""How alike two variables are when one looks like the other, mistyped (difflib's ratio); Tyk's others are less so."""

_SECRETS = ("$.secret", "$.storage.password", "$.tykbridge.bundle_authorization")

_UPSTREAMS = {
    name: f"$.coprocess_options.grpc_{name}"
    for name in ("recv_max_size", "send_max_size", "authority", "round_robin_load_balancing")
} | {"address": "$.coprocess_options.coprocess_grpc_server"}
"""Where a Target's fields stand that Tyk has keys for."""

_TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}
"""What Go's ParseBool, and so Tyk, takes for a bool."""


LOG_LEVELS = ("debug", "info", "warn", "error")
"""What may be said in log_level, as in Tyk."""
LOG_FORMATS = ("default", "json")
"""What may be said in log_format, as in Tyk."""


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's control API, beside what Tyk has settings for."""

    socket: str = ""
    """The path of a socket to listen on in place of a port."""
    allow_remote: bool = False
    """An address that other machines reach is listened on, without TLS."""
    open_metrics: bool = False
    """/metrics asks for no secret, and is there without one."""


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """What Tyk has no settings for."""

    bundle_authorization: str = ""
    """The Authorization header that the server of bundles gets. It is sent to the origin of bundle_base_url alone."""
    accept_old_signatures: bool = False
    """A bundle whose signature does not cover its manifest and further files is taken, although there is a key."""
    allow_native_code: bool = False
    """Compiled code in a bundle is taken that no signature covers."""
    control: Control = Control()
    """The gateway's control API."""
    isolation: str = ""
    """Where Go plugins and native ones run: "none" is this process, "process" one of their own; "": see the drivers."""
    grpc: Calling = Calling()
    """How coprocess_grpc_server is called."""


class Coprocess(msgspec.Struct, frozen=True, kw_only=True):
    """The gRPC server of hooks whose definition names none."""

    coprocess_grpc_server: str = ""
    """tcp://host:port, dns:///name:port or unix:///path."""
    grpc_recv_max_size: int = 0
    """Bytes of an answer, at most; 0: 4 MiB."""
    grpc_send_max_size: int = 0
    """Bytes of a message, at most; 0: any number."""
    grpc_authority: str = ""
    """The :authority of calls; "": the address's."""
    grpc_round_robin_load_balancing: bool = False
    """Calls go to all addresses of the name in turn."""


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """Where the policies are that sessions name."""

    OTHERS: ClassVar = frozenset(("allow_explicit_policy_id", "policy_connection_string", "policy_path"))

    policy_source: str = ""
    """file, which is also "" and what is none of Tyk's; from "service" and "rpc" nothing is fetched."""
    policy_record_name: str = ""
    """The file, where the host names none."""

    @property
    def file(self) -> str:
        """The path of the file; "" for none."""
        return "" if self.policy_source in _REMOTE else self.policy_record_name


_REMOTE = ("service", "rpc")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, named and defaulting as in Tyk's tyk.conf. Relative paths are the working directory's."""

    OTHERS: ClassVar = frozenset(
        (
            "basic_auth_hash_key_function",
            "cache_storage",
            "enable_key_logging",
            "hash_key_function_fallback",
            "http_server_options",
            "jwt_ssl_insecure_skip_verify",
            "node_secret",
            "proxy_close_connections",
            "proxy_ssl_insecure_skip_verify",
            "secrets",
            "security",
            "sentry_log_level",
            "slave_options",
            "stores",
            "streaming",
            "template_path",
        )
    )
    """Keys of Tyk's without effect here, which `fill` would take for mistyped ones of these."""

    listen_address: str = ""
    """Where `tykbridge serve` listens; "": this machine only (in Tyk: everywhere)."""
    listen_port: int = 0
    """0: a default. It and its three neighbours are for `tykbridge serve`; other hosts listen themselves."""
    app_path: str = ""
    """The folder of definitions, where the command line names none."""
    proxy_default_timeout: float = 30.0
    """Seconds that an upstream may take until it answers; 0: any number."""
    secret: str = ""
    """What x-tyk-authorization must say for the control API; without it there is none."""
    control_api_hostname: str = ""
    """The address of the control API; "": 127.0.0.1."""
    control_api_port: int = 0
    """Its port; 0: 9181, or the next one that is free. In Tyk 0 is the port of the APIs."""
    allow_master_keys: bool = False
    """The control API makes keys without access_rights and policies, which open every API."""
    enable_hashed_keys_listing: bool = False
    """The control API lists keys where they are hashed: their hashes."""
    log_level: str = ""
    """debug, info (also ""), warn or error."""
    log_format: str = ""
    """default (also "") or json."""
    middleware_path: str = ""
    enable_bundle_downloader: bool = False
    bundle_base_url: str = ""
    """Where bundles are: http, https or file."""
    bundle_insecure_skip_verify: bool = False
    """The certificate of the server of bundles is not looked at."""
    public_key_path: str = ""
    """A PEM file. With it, bundles must be signed."""
    hash_keys: bool = True
    """Keys are hashed before they name anything in the store."""
    hash_key_function: str = ""
    """murmur32 (also ""), murmur64, murmur128 or sha256; see `keys.Keys`."""
    enable_jsvm: bool = True
    """APIs may run JavaScript. In Tyk it is off where nobody turns it on."""
    jsvm_timeout: int = 5
    """Seconds that a hook or a handler in JavaScript may take where it has no timeout_ms; 0 or less: 5."""
    disable_virtual_path_blobs: bool = False
    """Virtual endpoints whose code stands in a definition are not run."""
    storage: Storage = Storage()
    policies: Policies = Policies()
    coprocess_options: Coprocess = Coprocess()
    tykbridge: Own = Own()

    @property
    def target(self) -> Target | None:
        """The gRPC server of hooks whose definition names none; None where there is no such."""
        given = self.coprocess_options
        if not given.coprocess_grpc_server:
            return None
        return Target(
            address=given.coprocess_grpc_server,
            authority=given.grpc_authority,
            recv_max_size=given.grpc_recv_max_size,
            send_max_size=given.grpc_send_max_size,
            round_robin_load_balancing=given.grpc_round_robin_load_balancing,
            **msgspec.structs.asdict(self.tykbridge.grpc),
        )


class SettingsError(LoadError):
    """Settings that cannot be used. `problems` has every reason; the message holds one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def read_settings(
    source: str | os.PathLike[str], environment: Mapping[str, str] = os.environ
) -> tuple[Settings, tuple[Notice, ...]]:
    """Read settings, and what is worth knowing of them: keys and variables that have no effect here.

    Args:
        source: the path of a tyk.conf, or its text, which starts with "{".
        environment: where variables are looked for; that of storage.host is TYK_GW_STORAGE_HOST.

    Raises:
        SettingsError: the file cannot be read, or something in it, or in a variable, is wrong. None of it counts then.
    """
    report = Report(TEXT if tree.is_json(source) else os.fspath(source))
    settings = fill(report, Settings, _parse(source, report), "$", closed=True)
    settings = _overlaid(report, settings, environment)
    _check(report, settings)
    if report.problems:
        raise SettingsError(_unsaid(problem) if problem.path in _SECRETS else problem for problem in report.problems)
    return settings, tuple(report.notices)


def whole(source: str | os.PathLike[str], settings: Settings) -> bytes:
    """Give settings that were read as Tyk's JSON, with what has no effect here: `settings` over what their source says.

    What Tyk has no settings for is left out.
    """
    told = msgspec.to_builtins(settings)
    del told["tykbridge"]
    given = _parse(source, Report("")) or {}
    given.pop("tykbridge", None)
    return msgspec.json.encode(_over(given, told))


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    made = dict(below)
    for name, value in above.items():
        before = made.get(name)
        made[name] = _over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return made


def _parse(source: str | os.PathLike[str], report: Report) -> dict[str, Any] | None:
    text: bytes | str = os.fspath(source)
    if not tree.is_json(source):
        try:
            with open(source, "rb") as stream:
                text = stream.read(tree.MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            report.problem("$", "a file that can be read", str(getattr(error, "strerror", None) or error))
            return None
    return tree.parse(text, report, "the settings")


def _overlaid(report: Report, settings: Settings, environment: Mapping[str, str]) -> Settings:
    """Put the variables over the settings. What is wrong with them is none of the file's."""
    given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    own = Report(ENVIRONMENT)
    overlaid: Settings = _overlay(own, settings, PREFIX, given)
    known = list(_variables(settings, PREFIX)) if given else []
    others = {_variable(PREFIX, key) for key in Settings.OTHERS}
    for name in sorted(given):
        hint = "" if name in others else guess(name, known, _TYPING_ERROR)
        own.notice(name, f"not a variable that is known here, it has no effect{hint}")
    report.problems += own.problems
    report.notices += own.notices
    return overlaid


def _variables(layout: Any, prefix: str) -> Iterator[str]:
    for field in msgspec.structs.fields(layout):
        name, value = _variable(prefix, field.encode_name), getattr(layout, field.name)
        if isinstance(value, msgspec.Struct):
            yield from _variables(value, f"{name}_")
        else:
            yield name


def _variable(prefix: str, key: str) -> str:
    return prefix + key.replace("_", "").upper()


def _overlay(report: Report, layout: Any, prefix: str, given: dict[str, str]) -> Any:
    """Give a Struct with what `given` says of it, taking that out of there."""
    changes: dict[str, Any] = {}
    for field in msgspec.structs.fields(layout):
        name, before = _variable(prefix, field.encode_name), getattr(layout, field.name)
        if isinstance(before, msgspec.Struct):
            changes[field.name] = _overlay(report, before, f"{name}_", given)
        elif name in given:
            changes[field.name] = _value(report, name, field.type, given.pop(name), before)
    return msgspec.structs.replace(layout, **changes)


def _value(report: Report, name: str, kind: Any, text: str, before: Any) -> Any:
    """Read a variable as Tyk does; a wrong one is reported with its value: secrets are text, which is never wrong."""
    if kind is bool and text not in _TRUTHS:
        report.problem(name, "true or false", describe(text))
    elif kind is bool:
        return _TRUTHS[text]
    elif get_origin(kind) is list:
        return [item for item in text.split(",") if item]
    elif get_origin(kind) is dict:
        pairs = [item.partition(":") for item in text.split(",") if item]
        return {key: value for key, _, value in pairs}
    else:
        try:
            return msgspec.convert(text, kind, strict=False)
        except msgspec.ValidationError:
            report.problem(name, "a whole number" if kind is int else "a number", describe(text))
    return before


def _unsaid(problem: Problem) -> Problem:
    return msgspec.structs.replace(problem, found="something else")


def _check(report: Report, settings: Settings) -> None:
    if not 0 <= settings.listen_port < 1 << 16:
        report.problem("$.listen_port", "a port, 0 to 65535", f"a number ({settings.listen_port})")
    if settings.proxy_default_timeout < 0:
        report.problem("$.proxy_default_timeout", "seconds, or 0", f"a number ({settings.proxy_default_timeout:g})")
    if settings.enable_bundle_downloader and not settings.bundle_base_url:
        report.problem("$.bundle_base_url", "a URL, because enable_bundle_downloader is set", "none")
    if settings.hash_key_function:
        report.choice("$.hash_key_function", settings.hash_key_function, FUNCTIONS)
    if settings.tykbridge.isolation:
        report.choice("$.tykbridge.isolation", settings.tykbridge.isolation, (NONE, PROCESS))
    if settings.target is not None:
        where = {name: f"$.tykbridge.grpc.{name}" for name in Target.__struct_fields__}
        where |= _UPSTREAMS
        targets.check(report, where, settings.target)
    if settings.log_level:
        report.choice("$.log_level", settings.log_level, LOG_LEVELS)
    if settings.log_format:
        report.choice("$.log_format", settings.log_format, LOG_FORMATS)
    if not 0 <= settings.control_api_port < 1 << 16:
        report.problem("$.control_api_port", "a port, 0 to 65535", str(settings.control_api_port))
    if settings.policies.policy_source in _REMOTE:
        words = (
            'no policies are fetched from there: write them to a file, and name it in policy_record_name, with "file"'
        )
        report.notice("$.policies.policy_source", f"{words} here, or to the host (--policies)")
    storage = settings.storage
    if report.choice("$.storage.type", storage.type, TYPES) and storage.type == "sqlite" and not storage.path:
        report.problem("$.storage.path", "the path of a file, because the type is sqlite", "none")
