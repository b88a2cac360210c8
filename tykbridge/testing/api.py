"""An API under test: it is asked as a client asks a gateway, and its upstream is the test's."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack
from urllib.parse import urlencode

from tykbridge import auth
from tykbridge import session as sessions
from tykbridge.bridge import Bridge
from tykbridge.bundle import manifest
from tykbridge.chain import Chain
from tykbridge.cli.example import Call
from tykbridge.cli.runner import Run
from tykbridge.cli.source import Opened
from tykbridge.definition import Bundle, Definition
from tykbridge.definition.tree import is_json
from tykbridge.errors import NotFoundError
from tykbridge.failures import unnumbered
from tykbridge.gateway import upstreams, wire
from tykbridge.outcome import Request, Response
from tykbridge.policies import read_policies, read_policies_text
from tykbridge.runtime import DATA
from tykbridge.session import Session
from tykbridge.steps import ClientStep, NoteStep, Seen, UpstreamStep
from tykbridge.testing.messages import Answer, Event, HeaderInput, Headers, Line, Received, Reply, pairs_of, written
from tykbridge.testing.stage import Stage, Surroundings

StrPath: TypeAlias = str | os.PathLike[str]
Answering: TypeAlias = Callable[[Received], Answer | bytes | str]
"""Works out what the upstream answers to a request; bytes and text are the body of a 200."""


class Arguments(TypedDict, total=False):
    """What `Api.request` takes beside method and path, and tells of."""

    headers: HeaderInput
    params: Mapping[str, str | Iterable[str]]
    body: bytes | str
    json: Any
    form: Mapping[str, str | Iterable[str]]
    key: str
    scheme: str


class NotLoaded(Exception):
    """The API does not load; the words say everything that is wrong, with its place."""


class Upstream:
    """The upstream of an API: it answers what the test says, and keeps what it got.

    Attributes:
        requests: what it got so far, in order.
    """

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self._answering: Answering = lambda request: Answer()

    def answers(
        self,
        body: Answering | bytes | str = b"",
        status: int = 200,
        headers: HeaderInput = (),
        json: Any = None,
    ) -> None:
        """Say what it answers from now on; before, that is an empty 200.

        Args:
            body: the body, or a function that gets the request and returns an `Answer`, or a body.
            status: 100 to 599.
            headers: those of the answer.
            json: a value whose JSON is the body.
        """
        if callable(body):
            if status != 200 or pairs_of(headers) or json is not None:
                raise TypeError("what the function returns is the answer: leave status, headers and json out")
            self._answering = body
        else:
            answer = Answer(body, status, headers, json)
            answer.written()  # a mistake is told here, and not by the next request
            self._answering = lambda request: answer

    def _answer(self, request: Received) -> Response:
        self.requests.append(request)
        answer = self._answering(request)
        if not isinstance(answer, Answer):
            answer = Answer(answer)
        headers, body = answer.written()
        if request.method == "HEAD" or answer.status in wire.BODILESS:
            body = b""
        return Response(answer.status, headers, body)


class Data:
    """What plugins keep with store_data and find with get_data. Lasts as long as the test."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def get(self, key: str) -> bytes | None:
        """Give what is kept under a key; None where there is nothing, or its time is over."""
        return self._around.data.get(DATA + key)

    def set(self, key: str, value: bytes | str, ttl: float = 0) -> None:
        """Keep a value for `ttl` seconds; 0: for good."""
        self._around.data.set(DATA + key, value.encode() if isinstance(value, str) else value, ttl)

    def delete(self, key: str) -> bool:
        """Remove a key; tells whether it was there."""
        return self._around.data.delete(DATA + key)

    def ttl(self, key: str) -> float | None:
        """Give the seconds that a key has left: 0 for good, None where it is not there."""
        return self._around.data.ttl(DATA + key)


class Api:
    """An API under test.

    Attributes:
        id: its api_id.
        upstream: its upstream.
        data: what plugins keep.
        logs: all log lines so far, those of loading included.
        printed: all that plugins printed so far, by line, while they were loaded, too.
        runs: what became of each request, for whoever draws it.
    """

    def __init__(
        self,
        around: Surroundings,
        source: Mapping[str, Any] | StrPath,
        base: Path,
        *,
        api: str = "",
        policies: Mapping[str, Any] | StrPath | None = None,
        middleware_path: StrPath | None = None,
        bundles: Mapping[str, StrPath] | None = None,
        strict: bool = False,
    ) -> None:
        """Load it; `TykApi` tells what the arguments are. Raises NotLoaded."""
        self._around, self._stage = around, Stage(around, _policies(policies, base), strict)
        self.upstream, self.data = Upstream(), Data(around)
        self.logs: list[Line] = []
        self.printed: list[str] = []
        self.runs: list[Run] = []
        self._keys = 0
        self._base = os.path.join(os.path.realpath(base), "")  # which says nothing to people
        text, named = _source(source, base)
        bundles = {**named, **(bundles or {})}
        self._bundles = tempfile.TemporaryDirectory(prefix="tykbridge-") if bundles else None
        self._bridge: Bridge | None = Bridge(self._stage.services, base / (middleware_path or ""))
        try:
            if self._bundles is not None:
                self._bridge.bundles_path = self._bundles.name
                _lay_out(Path(self._bundles.name, "bundles"), bundles, base)
            self._seen(self._stage.aside(lambda: _load(self._bridge, text)))
            self.id = self._chosen(api)
            self._target = upstreams.Upstream(self._chain().definition)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the plugins."""
        self._bridge = None
        if self._bundles is not None:
            self._bundles.cleanup()

    # ---- Requests

    def request(
        self,
        method: str,
        path: str = "/",
        *,
        headers: HeaderInput = (),
        params: Mapping[str, str | Iterable[str]] | None = None,
        body: bytes | str = b"",
        json: Any = None,
        form: Mapping[str, str | Iterable[str]] | None = None,
        key: str = "",
        scheme: str = "http",
    ) -> Reply:
        """Send a request through the API's hooks, to its upstream and back.

        Args:
            method: such as "GET".
            path: below the place where the API listens, query included: "/x" is sent as "/my-api/x".
            headers: those of the client; a Host and what belongs to the body are added.
            params: parameters of the query, which come behind those of `path`.
            body: bytes, or text.
            json: a value whose JSON is the body.
            form: fields of an HTML form, which are the body.
            key: put where the API looks for its token; see `key`.
            scheme: what the client spoke: "http" or "https".
        """
        __tracebackhide__ = True
        chain = self._chain()
        definition = chain.definition
        pairs = pairs_of(headers)
        if form is not None:
            if body or json is not None:
                raise TypeError("a request has one of body, json and form")
            body = urlencode(form, doseq=True)
            if not _has(pairs, "Content-Type"):
                pairs.append(("Content-Type", "application/x-www-form-urlencoded"))
        content = written(pairs, body, json)
        url = definition.listen_path.rstrip("/") + "/" + path.removeprefix("/")
        if params:
            url = _with_query(url, urlencode(params, doseq=True))
        if key:
            url = _with_key(definition, pairs, url, key)
        if not _has(pairs, "Host"):
            pairs.insert(0, ("Host", definition.domain or "localhost"))
        if content and not _has(pairs, "Content-Length"):
            pairs.append(("Content-Length", str(len(content))))
        return self._sent(chain, Request(str(method), url, tuple(pairs), content), scheme)

    def get(self, path: str = "/", **arguments: Unpack[Arguments]) -> Reply:
        """Send a GET; the arguments are those of `request`."""
        return self.request("GET", path, **arguments)

    def head(self, path: str = "/", **arguments: Unpack[Arguments]) -> Reply:
        """Send a HEAD; the arguments are those of `request`."""
        return self.request("HEAD", path, **arguments)

    def post(self, path: str = "/", **arguments: Unpack[Arguments]) -> Reply:
        """Send a POST; the arguments are those of `request`."""
        return self.request("POST", path, **arguments)

    def put(self, path: str = "/", **arguments: Unpack[Arguments]) -> Reply:
        """Send a PUT; the arguments are those of `request`."""
        return self.request("PUT", path, **arguments)

    def patch(self, path: str = "/", **arguments: Unpack[Arguments]) -> Reply:
        """Send a PATCH; the arguments are those of `request`."""
        return self.request("PATCH", path, **arguments)

    def delete(self, path: str = "/", **arguments: Unpack[Arguments]) -> Reply:
        """Send a DELETE; the arguments are those of `request`."""
        return self.request("DELETE", path, **arguments)

    def options(self, path: str = "/", **arguments: Unpack[Arguments]) -> Reply:
        """Send an OPTIONS; the arguments are those of `request`."""
        return self.request("OPTIONS", path, **arguments)

    def _sent(self, chain: Chain, request: Request, scheme: str) -> Reply:
        __tracebackhide__ = True
        received: list[Received] = []

        def ask(sent: Request) -> Response:
            received.append(_received(self._target.sent(request.headers, sent)))
            return self.upstream._answer(received[-1])

        fired = len(self._stage.events)
        call = Call("", request, Response(200))
        run = self._stage.run(Opened(chain), call, scheme, None, ask)
        if handled := self._stage.handle_events():
            run.steps.append(NoteStep("handlers", handled))
            run.failures += [message for level, message in handled.logged if level == "error"]
        self.runs.append(run)
        seen = Seen()
        for step in run.steps:
            if not isinstance(step, UpstreamStep | ClientStep):
                seen.printed += step.seen.printed
                seen.logged += step.seen.logged
        logs, printed = self._seen(seen)
        response = next(step.response for step in run.steps if isinstance(step, ClientStep))
        return Reply(
            response.status,
            Headers(response.headers),
            response.body,
            tuple(step.name for step in run.hooks),
            tuple(unnumbered(words).replace(self._base, "") for words in run.failures),
            tuple(words for step in run.hooks for words in step.warnings),
            logs,
            printed,
            tuple(self._stage.events[fired:]),
            received[0] if received else None,
        )

    def _seen(self, seen: Seen) -> tuple[tuple[Line, ...], tuple[str, ...]]:
        logs = tuple(Line(level, message) for level, message in seen.logged)
        self.logs += logs
        self.printed += seen.printed
        return logs, tuple(seen.printed)

    # ---- What is around it

    @property
    def events(self) -> list[Event]:
        """All events so far, those of loading included."""
        return self._stage.events

    def key(self, token: str = "", **session: Any) -> str:
        """Store a session that may use this API, and give its key, for `request` and for headers.

        Args:
            token: the key; without it one is made up.
            session: fields, by the names of coprocess.SessionState or of Tyk's JSON: rate=5, per=60,
                metadata={"team": "a"}. Without access_rights and policies, this API is what it opens.

        Raises TypeError: the API is keyless, or the session has no such field.
        """
        chain = self._chain()
        if chain.definition.auth.keyless:
            raise TypeError(f'the API "{self.id}" is keyless: nobody looks at keys there')
        self._keys += 1
        token = token or f"key-{self._keys}"
        fields = _json_fields(session)
        if not fields.keys() & {"access_rights", "apply_policies", "apply_policy_id"}:
            fields["access_rights"] = {self.id: {"api_id": self.id, "api_name": chain.definition.name}}
        made = sessions.decode(json.dumps({"org_id": chain.definition.org_id, **fields}))
        self._around.sessions.set(self._place(token), sessions.encode(made), 0)
        return token

    def session(self, key: str) -> Session | None:
        """Give the session that is stored under a key, by `key` or by an auth_check hook; None for none."""
        data = self._around.sessions.get(self._place(key))
        return None if data is None else sessions.decode(data)

    def advance(self, seconds: float) -> None:
        """Set the time forward, for limits, quotas, sessions and stored data. Plugins' own clocks stay as they are."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._around.clock.ahead += seconds

    def _place(self, token: str) -> str:
        return auth.PREFIX + self._stage.services.keys.hashed(token)

    def _chain(self) -> Chain:
        if self._bridge is None:
            raise RuntimeError("the test that this API belongs to is over: ask for tyk_api in the test that uses it")
        return self._bridge.chain_of(self.id)

    def _chosen(self, wanted: str) -> str:
        """Find the API among those that were loaded."""
        assert self._bridge is not None
        there = self._bridge.apis
        if wanted in there:
            return wanted
        if not wanted and len(there) == 1:
            return there[0]
        if wanted or not there:
            words = f'there is no API "{wanted}"' if wanted else "there is no API"
            raise NotLoaded(f"{words} (there are: {', '.join(there) or 'none'})")
        raise NotLoaded(f'there are several APIs: say which one is meant with api="{there[0]}" ({", ".join(there)})')


def _load(bridge: Bridge | None, source: str) -> None:
    assert bridge is not None
    try:
        loaded = bridge.load(source)
    except NotFoundError as error:
        raise NotLoaded(str(error)) from None
    problems = [str(item) for item in loaded.not_loaded if item.problems or item.needs]
    if problems:
        raise NotLoaded("\n".join(problems))


def _source(source: Mapping[str, Any] | StrPath, base: Path) -> tuple[str, dict[str, StrPath]]:
    """Give what a bridge loads, and the bundle that is loaded with it where the source is one."""
    if isinstance(source, Mapping):
        return json.dumps(source), {}
    if isinstance(source, str) and is_json(source):
        return source, {}
    place = base / source
    if not (place / manifest.FILE_NAME).is_file():
        return str(place), {}
    name = place.resolve().name
    try:
        section = json.loads((place / manifest.FILE_NAME).read_bytes()).get("custom_middleware", {})
    except (OSError, ValueError, AttributeError):
        section = {}  # what is wrong with it is told when it is loaded
    checks = bool((section.get("auth_check") or {}).get("name"))
    return json.dumps(
        {
            "name": name,
            "api_id": name,
            "org_id": "",
            "use_keyless": not checks and not section.get("post_key_auth"),
            "enable_coprocess_auth": checks,
            "proxy": {"listen_path": "/", "target_url": "http://upstream.test/"},
            "custom_middleware_bundle": name,
        }
    ), {name: place}


def _lay_out(folder: Path, bundles: Mapping[str, StrPath], base: Path) -> None:
    """Make a folder of bundles as gateways have it."""
    folder.mkdir()
    for name, place in bundles.items():
        if not (base / place).is_dir():
            raise NotLoaded(f'{base / place}: the folder of the bundle "{name}" is not there')
        (folder / Bundle(name=name).hash).symlink_to((base / place).resolve())


def _policies(policies: Mapping[str, Any] | StrPath | None, base: Path) -> dict[str, Any]:
    if policies is None:
        return {}
    by_id = isinstance(policies, Mapping)
    read = read_policies_text(json.dumps(policies)) if by_id else read_policies(base / policies)  # type: ignore[operator]
    if read.problems:
        raise NotLoaded("\n".join(map(str, read.problems)))
    return read.policies


def _json_fields(session: Mapping[str, Any]) -> dict[str, Any]:
    """Name the fields of a session as Tyk's JSON does."""
    names = sessions.json_names()
    known = {**names, **{name: name for name in names.values()}}
    unknown = [name for name in session if name not in known]
    if unknown:
        raise TypeError(f"a session has no field {unknown[0]}; there are: {', '.join(sorted(names))}")
    return {known[name]: value for name, value in session.items()}


def _received(sent: Request) -> Received:
    return Received(sent.method, sent.url, Headers(list(sent.headers)), sent.body)


def _has(pairs: list[tuple[str, str]], name: str) -> bool:
    return any(key.lower() == name.lower() for key, _ in pairs)


def _with_query(url: str, query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{query}"


def _with_key(definition: Definition, pairs: list[tuple[str, str]], url: str, key: str) -> str:
    """Put a key where an API with auth tokens looks for it; gives the URL."""
    source = definition.auth.token
    if source is None:
        raise TypeError(f'the API "{definition.api_id}" has no auth tokens: give the hook what it looks for in headers')
    if source.header:
        pairs.append((source.header, key))
    elif source.param:
        return _with_query(url, urlencode({source.param: key}))
    else:
        pairs.append(("Cookie", f"{source.cookie}={key}"))
    return url
