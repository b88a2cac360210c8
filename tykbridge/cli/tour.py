"""``tykbridge tour``: a gateway with the plugins of Tyk's own pages, and requests that show what each hook does."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import tykbridge
from tykbridge import hosted, watch
from tykbridge.cli.explain import Explainer
from tykbridge.cli.host import Host
from tykbridge.cli.screen import Screen, color_option, console
from tykbridge.errors import BridgeError, LoadError
from tykbridge.outcome import Headers, Response
from tykbridge.steps import ClientStep, HookStep, NoteStep, Step, UpstreamStep

if TYPE_CHECKING:
    from tykbridge.gateway.echo import Echo
    from tykbridge.gateway.server import Gateway
    from tykbridge.gateway.trace import Record

_PATIENCE = 60.0  # seconds that a request of the tour may take
_TOLD = 10.0  # seconds after its answer until the gateway has told all of it


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Attributes:
        status, headers, body: what the client got.
        upstream: what the upstream got, as it said it; None: it was not asked.
    """

    status: int
    headers: Headers
    body: bytes
    upstream: dict[str, Any] | None

    def at_upstream(self, name: str) -> str | None:
        """A header as the upstream got it, None without one."""
        headers = (self.upstream or {}).get("headers", {})
        return next((value for key, value in headers.items() if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        """The values of a header that the client got."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass(frozen=True)
class Call:
    """A request of the tour, and what must come of it: words, and whether that is so."""

    about: str
    path: str
    headers: dict[str, str]
    expected: tuple[tuple[str, Callable[[Answer], bool]], ...]


@dataclass(frozen=True)
class Stop:
    """An API of the tour: its listen path, the example that has its plugin, and the requests to it."""

    path: str
    example: str
    about: str
    calls: tuple[Call, ...]
    is_protected: bool = False


STOPS = (
    Stop(
        "/classic/",
        "classic-definition",
        "Hooks in four places, and one that decides who may pass. A request goes past two pre hooks, past MyAuthCheck, "
        "past a hook that sees the session which that made, and past a post hook to the upstream.",
        (
            Call(
                "With the key that MyAuthCheck wants:",
                "get?b=1&a=2",
                {"Authorization": "secret"},
                (
                    (
                        "The second pre hook saw what the first one added.",
                        lambda got: got.at_upstream("X-Pre") == "MyPreMiddleware, AnotherPreMiddleware",
                    ),
                    (
                        "MyAuthCheck returned a token, so its session is valid, and the next hook could read it.",
                        lambda got: got.at_upstream("X-Rate") == "1000 per 1 s",
                    ),
                    (
                        "The post hook took the key away: the upstream never sees it.",
                        lambda got: got.upstream is not None and got.at_upstream("Authorization") is None,
                    ),
                    (
                        "What no hook touched is as it came, and the upstream's answer is the client's.",
                        lambda got: got.status == 200 and json.loads(got.body)["args"] == {"a": "2", "b": "1"},
                    ),
                ),
            ),
            Call(
                "The same without a key:",
                "get",
                {},
                (
                    (
                        "MyAuthCheck returned no token: 403, and neither later hooks nor the upstream heard of it.",
                        lambda got: (got.status, got.upstream) == (403, None),
                    ),
                ),
            ),
        ),
        is_protected=True,
    ),
    Stop(
        "/response/",
        "response-hook",
        "A hook behind the upstream: it gets the answer, and may change status, headers and body.",
        (
            Call(
                "",
                "get",
                {},
                (
                    ("The client got the hook's header.", lambda got: got.all("injectedkey") == ["injectedvalue"]),
                    ("The upstream got nothing of it.", lambda got: got.at_upstream("injectedkey") is None),
                ),
            ),
        ),
    ),
    Stop(
        "/cookies/",
        "set-cookie",
        "One header with several values: what a hook adds to multivalue_headers.",
        (
            Call(
                "",
                "get",
                {},
                (
                    (
                        "The client got two cookies.",
                        lambda got: (
                            got.all("Set-Cookie") == ["sessionToken=abc123; HttpOnly; Secure", "language=en-US; Secure"]
                        ),
                    ),
                ),
            ),
        ),
    ),
    Stop(
        "/overrides/",
        "return-overrides",
        "A hook that answers the client itself: status, headers and body come from return_overrides.",
        (
            Call(
                "",
                "get",
                {},
                (
                    (
                        "The client got the hook's own answer.",
                        lambda got: (
                            (got.status, got.body) == (200, b'{"key": "value"}\n')
                            and got.all("Content-Type") == ["application/json"]
                        ),
                    ),
                    ("The upstream was not asked.", lambda got: got.upstream is None),
                ),
            ),
        ),
    ),
    Stop(
        "/javascript/",
        "return-overrides-javascript",
        "The same in JavaScript: APIs choose a driver, and may mix them.",
        (
            Call(
                "",
                "get",
                {},
                (
                    (
                        "ResponseError is not empty, so it is the body, and the headers are the hook's.",
                        lambda got: (got.status, got.body, got.all("X-Foo")) == (200, b"Foobarbaz", ["Bar"]),
                    ),
                    ("The upstream was not asked.", lambda got: got.upstream is None),
                ),
            ),
        ),
    ),
)


_EXAMPLES = """\b
Examples:
  tykbridge tour
  tykbridge tour --port 8080

Exit status: 0 when everything did what it should, 1 when something did not, or nothing could listen.
"""


@click.command("tour", epilog=_EXAMPLES)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The gateway's port; 0: any. [default: 8181, or the next free one]"
)
@color_option
def command(port: int | None, color: bool | None) -> None:
    """Watch a gateway at work: plugins of Tyk's pages, an upstream, and requests that show what each hook does.

    Everything runs here, over real connections, and needs no configuration. On a terminal the gateway stays up for
    requests of your own until Ctrl-C.
    """
    try:
        from tykbridge.gateway.echo import Echo
        from tykbridge.gateway.trace import hear_prints
    except ImportError as error:
        raise click.ClickException(f"the gateway needs aiohttp: pip install 'tykbridge[gateway]' ({error})") from None
    made = console(color)
    stays = made.is_terminal and sys.stdout.isatty()
    folder = Path(tempfile.mkdtemp(prefix="tykbridge-tour-"))
    try:
        tour = _Tour(Screen(made), Explainer(made), folder, Echo())
        hear_prints(passing_on=False)
        failed = asyncio.run(tour.run(port, stays))
    except BridgeError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot listen on 127.0.0.1:{port}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if failed else 0)


class _Tour:
    """One tour. For one event loop."""

    def __init__(self, screen: Screen, explainer: Explainer, folder: Path, echo: Echo) -> None:
        self._screen, self._explainer, self._folder, self._echo = screen, explainer, folder, echo
        self._ended: asyncio.Queue[Record] = asyncio.Queue()
        self._failures: list[str] = []
        self._hooks = 0

    async def run(self, port: int | None, stays: bool) -> list[str]:
        """Show it all; gives what did not do what it should. Raises BridgeError and OSError: it cannot begin."""
        from tykbridge.gateway.logs import Log
        from tykbridge.gateway.server import Gateway
        from tykbridge.gateway.trace import Tracer
        from tykbridge.gateway.visit import current

        log = Log(sys.stderr)
        Host(log, log.event)  # the library keeps it
        tracer = Tracer(hosted.bridge, told_once=True)
        log.listeners.append(tracer.logged)
        # A chain's own event stands in what its request came to.
        log.event_listeners.append(lambda name, payload: tracer.fired(name, payload) or current.get() is not None)
        tracer.listeners.append(self._heard)
        hosted.bridge.services = replace(hosted.bridge.services, log=log, watch=tracer.watch)
        is_watched = self._load(stays)
        gateway = Gateway(hosted.bridge, port=port, observers=[tracer], parts=[self._echo])
        over, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, over.set)
        await gateway.start()
        try:
            told = asyncio.ensure_future(self._show(gateway))
            ending = asyncio.ensure_future(over.wait())
            await asyncio.wait([told, ending], return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                told.cancel()
                with suppress(asyncio.CancelledError):
                    await told
                return ["it was ended before its end"]
            await told
            if stays:
                tracer.listeners[:] = [self._explainer.heard]
                self._invite(gateway, is_watched)
                await ending
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)  # the second one ends it at once
            await gateway.stop()
        return self._failures

    def _load(self, stays: bool) -> bool:
        """Write definitions and plugins where the reader finds them, and load them; tells whether they are watched."""
        examples = Path(tykbridge.__file__).parent / "examples"
        if not examples.is_dir():  # a checkout
            examples = Path(tykbridge.__file__).resolve().parents[1] / "examples" / "seeds"
        for stop in STOPS:
            shutil.copytree(examples / stop.example, self._folder / stop.example)
            definition = _definition(stop, self._folder / stop.example, self._echo.url)
            (self._folder / f"{stop.example}.json").write_text(json.dumps(definition, indent=2) + "\n")
        is_watched = stays
        if stays:
            try:
                watch.require()
            except LoadError:
                is_watched = False
        count, words = hosted.load_configuration(str(self._folder), str(self._folder), "", False, is_watched)
        if count:
            raise LoadError(f"not everything of the tour can be loaded:\n{words}")
        return is_watched

    # ---- The tour

    def _heard(self, what: str, record: Record | None) -> None:
        if what == "ended" and record is not None:
            self._ended.put_nowait(record)

    async def _show(self, gateway: Gateway) -> None:
        import aiohttp

        self._screen.remark(
            f"A gateway on {gateway.url}, an upstream on {self._echo.url} that answers with what it is asked, and the "
            "plugins of Tyk's own pages in between."
        )
        number, began = 0, time.perf_counter()
        timeout = aiohttp.ClientTimeout(total=_PATIENCE)
        own = ("Accept", "Accept-Encoding", "User-Agent")
        async with aiohttp.ClientSession(timeout=timeout, skip_auto_headers=own) as client:
            for stop in STOPS:
                self._screen.section(f"{stop.example}  {stop.path}", stop.about)
                for call in stop.calls:
                    number += 1
                    url = gateway.url + stop.path + call.path
                    try:
                        await self._call(client, url, call, stop)
                    except (aiohttp.ClientError, TimeoutError) as error:
                        self._failures.append(f"{url} gave no answer: {error!r}")
        counts = [(len(STOPS), "API"), (number, "request"), (self._hooks, "hook")]
        self._screen.summary(counts, time.perf_counter() - began, self._failures)

    async def _call(self, client: Any, url: str, call: Call, stop: Stop) -> None:
        asked = self._echo.count
        async with client.get(url, headers=call.headers) as response:
            body = await response.read()
            status, headers = response.status, tuple(response.headers.items())
        async with asyncio.timeout(_TOLD):
            while not url.endswith((record := await self._ended.get()).request.url):
                pass  # the reader's own, already
        self._screen.call(call.about, record.request)
        for step in record.steps:
            if isinstance(step, HookStep):
                self._hooks += 1
            if not isinstance(step, NoteStep) or step.seen:
                self._screen.step(_whole(step, body))
        upstream = self._echo.got if self._echo.count > asked else None
        answer = Answer(status, headers, body, upstream)
        verdicts = [(words, _is_so(holds, answer)) for words, holds in call.expected]
        self._screen.verdicts(verdicts)
        where = f"{stop.example}, {record.request.url}"
        self._failures += [f"{where}: this is not so: {words}" for words, is_so in verdicts if not is_so]

    def _invite(self, gateway: Gateway, is_watched: bool) -> None:
        self._screen.section("Your turn", "The gateway is still there, and shows what becomes of requests of yours:")
        self._screen.commands(
            [
                f"curl -i {gateway.url}/classic/get -H 'Authorization: secret'",
                f"curl -i '{gateway.url}/response/get?your=own'",
                f"curl -i {gateway.url}/overrides/anything",
            ]
        )
        again = ": change one, save it, and ask again" if is_watched else ""
        self._screen.remark(f"Its definitions and plugins are here as long as it runs{again}.")
        self._screen.commands([f"{self._folder}/response-hook/middleware.py"])
        self._screen.remark("Ctrl-C ends it. `tykbridge serve DIR` serves definitions of your own.")


def _definition(stop: Stop, folder: Path, target: str) -> dict[str, Any]:
    """Make the definition of an API: with the hooks of its example's manifest, whose code lies beside it."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    section = manifest["custom_middleware"]
    for hook in _hooks(section):
        hook["path"] = f"{folder.name}/{manifest['file_list'][0]}"
    return {
        "name": stop.example,
        "api_id": stop.example,
        "org_id": "tour",
        "active": True,
        "use_keyless": not stop.is_protected,
        "enable_coprocess_auth": stop.is_protected,
        "proxy": {"listen_path": stop.path, "target_url": target, "strip_listen_path": True},
        "custom_middleware": section,
    }


def _hooks(section: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for value in section.values():
        if isinstance(value, dict):
            yield value
        elif isinstance(value, list):
            yield from value


def _whole(step: Step, body: bytes) -> Step:
    """Put the body that went past into a step: here it is known, because the client is."""
    if isinstance(step, UpstreamStep | ClientStep) and step.remark and isinstance(step.response, Response):
        return replace(step, response=replace(step.response, body=body), remark="")
    return step


def _is_so(holds: Callable[[Answer], bool], answer: Answer) -> bool:
    try:
        return holds(answer)
    except (ValueError, LookupError, TypeError):  # it is of another form altogether
        return False
