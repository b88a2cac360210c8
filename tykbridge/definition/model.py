"""The one typed model that classic and OAS API definitions are read into.

The model is what the chain reads; it is immutable. `Definition.document` is the JSON tree as it stood in the file, with
every key that nobody here knows: who edits a definition edits the document and reads it again.
"""

from __future__ import annotations

import enum
import hashlib
from pathlib import Path
from typing import Any

import msgspec


class Phase(enum.StrEnum):
    """When a hook runs, in the order of a request's way."""

    PRE = "pre"
    AUTH_CHECK = "auth_check"
    POST_KEY_AUTH = "post_key_auth"
    POST = "post"
    RESPONSE = "response"


class Driver(enum.StrEnum):
    """The language that a hook is written in. Upstream's older name of JavaScript, "otto", is read as it."""

    PYTHON = "python"
    JAVASCRIPT = "javascript"
    LUA = "lua"
    GRPC = "grpc"
    GOPLUGIN = "goplugin"
    NATIVE = "native"


class OnFailure(enum.StrEnum):
    """What a failed hook means: the request fails, or it goes on without the hook."""

    CLOSED = "closed"
    OPEN = "open"


class Source(enum.StrEnum):
    """Where an ID extractor looks."""

    HEADER = "header"
    FORM = "form"
    BODY = "body"


class Method(enum.StrEnum):
    """How an ID extractor takes the value out of what it found."""

    VALUE = "value"
    REGEX = "regex"
    XPATH = "xpath"


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that an API names. Its manifest's hooks replace those of the definition."""

    name: str

    @property
    def hash(self) -> str:
        """The name of the bundle's folder, and spec["bundle_hash"]: hex md5 of the name."""
        return hashlib.md5(self.name.encode(), usedforsecurity=False).hexdigest()


class Calling(msgspec.Struct, frozen=True, kw_only=True):
    """How a gRPC server is called, as far as Tyk has no settings for it. Files are PEM."""

    allow_plaintext: bool = False
    """Messages, which carry sessions, may travel to another machine as they are."""
    tls: bool = False
    """TLS; any of the next four turns it on as well."""
    ca: str = ""
    """File with the certificates of those who may have signed the server's; "": the ones that gRPC brings along."""
    cert: str = ""
    """File with our own certificate, for servers that ask for one."""
    key: str = ""
    """File with its private key."""
    server_name: str = ""
    """The name that the server's certificate must have, in place of the address's."""
    wait_for_ready: bool = False
    """Calls wait, for as long as they may take, while nothing listens; otherwise they fail at once."""
    timeout_ms: int = 5_000
    """Milliseconds that a call may take where the hook has no timeout_ms; as of upstream's JavaScript."""
    max_in_flight: int = 4_096
    """Calls at one time; what comes beyond is refused at once."""
    breaker_failures: int = 5
    """So many failures in a row open the breaker; 0: there is none."""
    breaker_ms: int = 1_000
    """Milliseconds for which it stays open before a call tries again."""
    keepalive_ms: int = 0
    """Milliseconds without traffic after which the connection is probed; 0: never."""
    health_check: str | None = None
    """The service whose grpc.health.v1 status is watched, "" is the server's; None: none is."""


class Target(Calling, frozen=True, kw_only=True):
    """A gRPC server that hooks are asked of."""

    address: str = ""
    """tcp://host:port, dns:///name:port, dns://server/name:port or unix:///path."""
    authority: str = ""
    """The :authority of calls; "": the address's."""
    recv_max_size: int = 0
    """Bytes of an answer, at most; 0: 4 MiB, as gRPC has it."""
    send_max_size: int = 0
    """Bytes of a message, at most; 0: any number."""
    round_robin_load_balancing: bool = False
    """Calls go to all addresses of a name in turn, not to the first that is up."""

    @property
    def is_secure(self) -> bool:
        """Whether the connection is TLS."""
        return bool(self.tls or self.ca or self.cert or self.key or self.server_name)


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin function in one phase of one API."""

    phase: Phase
    name: str
    where: str
    """JSON path of the hook in its file."""
    driver: Driver | None = None
    """None: the manifest of the API's bundle says it."""
    path: str = ""
    code: bytes = b""
    """Source text that the definition itself carries (base64 there)."""
    bundle: str = ""
    """Name of the bundle whose manifest has the hook; "" for a hook of the definition."""
    disabled: bool = False
    require_session: bool = False
    raw_body_only: bool = False
    timeout_ms: int | None = None
    on_failure: OnFailure = OnFailure.CLOSED
    target: str = ""
    """The name of the gRPC server that is asked for it; "": the section's."""
    endpoint: VirtualEndpoint | None = None
    """Where it answers in the place of the upstream; None for a hook that sees every request."""


class Extractor(msgspec.Struct, frozen=True, kw_only=True):
    """The ID extractor of an API (contract, section 6)."""

    source: Source
    method: Method
    header_name: str = ""
    param_name: str = ""
    regex: str = ""
    match_index: int = 0
    """Which match of the regular expression is the value, from 0."""
    xpath: str = ""
    where: str = ""


class LuaChoices(msgspec.Struct, frozen=True):
    """What a definition says of hooks in Lua."""

    trusted: bool = False
    """The sandbox is lifted."""


class JavaScriptChoices(msgspec.Struct, frozen=True):
    """What a definition says of hooks in JavaScript."""

    fresh_context: bool = False
    """Each call starts with the globals that the code made when it was loaded."""


NONE, PROCESS = "none", "process"
"""Where native code runs: in the host's process, or in one of its own."""


class NativeChoices(msgspec.Struct, frozen=True):
    """What a definition says of hooks in Go, or of those in other libraries."""

    isolation: str = ""
    """NONE or PROCESS; "": as the settings say, else as the host needs it."""


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What a definition says of the languages' engines, for everything that it loads."""

    lua: LuaChoices = LuaChoices()
    javascript: JavaScriptChoices = JavaScriptChoices()
    goplugin: NativeChoices = NativeChoices()
    native: NativeChoices = NativeChoices()


NO_CHOICES = Choices()


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """The hooks of a definition, or of a bundle's manifest."""

    driver: Driver | None = None
    choices: Choices = NO_CHOICES
    """Of a definition's own section only, never of a manifest."""
    targets: dict[str, Target] = {}
    """gRPC servers by name; of a definition's own section only, never of a manifest."""
    target: str = ""
    """The one of them for hooks that name none; "": the gateway's."""
    hooks: tuple[Hook, ...] = ()
    extractor: Extractor | None = None


class TokenSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a standard auth token is looked for, in this order. "" means not there."""

    header: str = "Authorization"
    param: str = ""
    cookie: str = ""


class Auth(msgspec.Struct, frozen=True, kw_only=True):
    """How an API is protected. What is neither keyless, custom nor token is a `Need`, and the API is not loaded."""

    keyless: bool = False
    custom: bool = False
    """The auth_check hook decides."""
    token: TokenSource | None = None
    """Standard auth tokens; None when the API does not use them."""
    base_identity: str = ""
    """Whose session counts when several methods are on: "auth_token", "custom_auth", or "" (the last one's)."""
    strip: bool = False
    """The token is taken out of the request before it goes upstream."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is sent at an event."""

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    template: str = ""
    """Path of the template of its body; "" for the default one."""
    cooldown: float = 0
    """Seconds in which the same event is not sent again."""
    name: str = ""


class EventHandler(msgspec.Struct, frozen=True, kw_only=True):
    """What happens at one of an API's events."""

    event: str
    handler: str
    """eh_log_handler, eh_web_hook_handler, eh_dynamic_handler (JavaScript) or cp_dynamic_handler."""
    meta: dict[str, Any]
    where: str
    disabled: bool = False
    webhook: Webhook | None = None
    """What an eh_web_hook_handler sends; None for other handlers, and where it is disabled."""


class VirtualEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A path that a function answers instead of the upstream."""

    function: str
    path: str
    method: str
    where: str
    source: str = ""
    """Path of the JavaScript file; "" when `code` holds it."""
    code: bytes = b""
    use_session: bool = False
    proxy_on_error: bool = False
    disabled: bool = False

    @property
    def hook(self) -> Hook:
        """The hook that this is: it runs for requests to this path alone, and what it answers is no refusal."""
        return Hook(
            phase=Phase.POST,
            name=self.function,
            where=self.where,
            driver=Driver.JAVASCRIPT,
            path=self.source,
            code=self.code,
            require_session=self.use_session,
            on_failure=OnFailure.OPEN if self.proxy_on_error else OnFailure.CLOSED,
            endpoint=self,
        )


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One API: where it listens, who may call it, and which hooks run."""

    form: str
    """"classic" or "oas"."""
    file: str
    api_id: str
    org_id: str = ""
    name: str = ""
    active: bool = True
    listen_path: str
    strip_listen_path: bool = False
    listen_port: int = 0
    """0: the gateway's own port."""
    domain: str = ""
    target_url: str = ""
    auth: Auth
    section: Section
    bundles: tuple[Bundle, ...] = ()
    """When there are any, the manifests' hooks replace `section` (`with_manifests`)."""
    config_data: dict[str, Any] | None = None
    """None when empty or disabled: hooks then get no config_data."""
    context_vars: bool = False
    disable_rate_limit: bool = False
    disable_quota: bool = False
    session_lifetime: int = 0
    """Seconds that a stored session lives; 0: as long as its key."""
    events: tuple[EventHandler, ...] = ()
    virtual: tuple[VirtualEndpoint, ...] = ()
    document: dict[str, Any]

    def hooks(self, phase: Phase) -> tuple[Hook, ...]:
        """Give the hooks that run in `phase`, in order: disabled ones and those of a phase that is off are left out.

        Virtual endpoints come before the post hooks, as upstream has it.
        """
        if phase is Phase.AUTH_CHECK and not self.auth.custom:
            return ()
        if phase is Phase.POST_KEY_AUTH and self.auth.keyless:
            return ()
        hooks = tuple(hook for hook in self.section.hooks if hook.phase is phase and not hook.disabled)
        if phase is Phase.POST:
            hooks = tuple(endpoint.hook for endpoint in self.virtual if not endpoint.disabled) + hooks
        return hooks

    def spec(self, bundle: Bundle | None = None) -> dict[str, str]:
        """Make the `spec` map that a hook gets (contract, section 4)."""
        spec = {"OrgID": self.org_id, "APIID": self.api_id}
        if bundle is not None:
            spec["bundle_hash"] = bundle.hash
        if self.config_data:
            spec["config_data"] = msgspec.json.encode(self.config_data).decode()
        return spec

    def places(self, hook: Hook, middleware_path: str | Path) -> tuple[Path, ...]:
        """List where the file of a hook without a bundle may be, first choice first (contract, section 12)."""
        return self.paths(hook.path, middleware_path)

    def paths(self, name: str, middleware_path: str | Path) -> tuple[Path, ...]:
        """List where a file that the definition names may be, first choice first."""
        path = Path(name)
        if path.is_absolute():
            return (path,)
        folders = (
            [Path(middleware_path)] if self.file.startswith("<") else [Path(self.file).parent, Path(middleware_path)]
        )
        return tuple(folder / path for folder in folders)


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What this build can run; the rest is "not loaded: needs ..."."""

    drivers: frozenset[Driver] = frozenset({Driver.PYTHON})
    deadlines: frozenset[Driver] = frozenset()
    """Drivers that keep a hook's timeout_ms."""
    bundles: bool = False
    """Bundles can be fetched."""
    isolation: str = ""
    """That of native hooks whose definition names none: see `NativeChoices`."""
    endpoint_code: bool = True
    """Virtual endpoints may have their code in the definition."""
    middleware_path: str = ""
    """The folder in which those of APIs may have hooks (`folders`); "" where nobody looks."""
    missing: dict[Driver, str] = {}
    """What is to be done for drivers that are known and cannot run: "pip install 'tykbridge[lua]'"."""
