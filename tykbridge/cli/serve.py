"""``tykbridge serve``: a gateway on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shlex
import signal
import sys
import webbrowser
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from tykbridge import __version__, drivers, hosted, waiting, watch
from tykbridge.bundle import manifest
from tykbridge.cli.screen import clean, color_option, console
from tykbridge.cli.source import has_definition
from tykbridge.definition import Definition, Phase, TokenSource
from tykbridge.errors import BridgeError
from tykbridge.settings import PREFIX, read_settings
from tykbridge.stores.opening import Storage, unreachable

if TYPE_CHECKING:
    from rich.console import Console

    from tykbridge.gateway.inspector.server import Inspector
    from tykbridge.gateway.logs import Log
    from tykbridge.gateway.server import Gateway, Part
    from tykbridge.gateway.trace import Tracer
    from tykbridge.gateway.visit import Observer

_PATH = click.Path(path_type=Path)
_FILES = 1 << 16
_KEY = "<a key>"
_PATIENCE = 2.0  # seconds that the start waits for Redis
_NO_FILE = "{}"  # settings of which only the variables count

_EXAMPLES = """\b
Examples:
  tykbridge serve apis
  tykbridge serve apis --watch --port 8080
  tykbridge serve --conf tyk.conf

Then: curl -i http://127.0.0.1:8181/my-api/get
"""


@click.command("serve", epilog=_EXAMPLES)
@click.argument("source", type=_PATH, required=False)
@click.option("--host", help="The address to listen on. [default: that of --conf, else 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The port; 0: any. [default: that of --conf, else 8181, or the next one that is free]",
)
@click.option("--conf", type=_PATH, metavar="FILE", help="A tyk.conf: stores, keys, bundles (docs/settings.md).")
@click.option("--middleware-path", type=_PATH, metavar="DIR", help="Where bundles and files of hooks are.")
@click.option(
    "--policies", type=_PATH, metavar="FILE", help="The policies that sessions name. [default: those of --conf]"
)
@click.option("--watch", "watched", is_flag=True, help="Load again what changes.")
@click.option("--explain", is_flag=True, help="Show for each request what each hook changed.")
@click.option("--inspect", is_flag=True, help="Show requests on a page in the browser, as they come.")
@click.option("--strict", is_flag=True, help="A hook that changes a session without the right to fails the request.")
@click.option(
    "--log-format", type=click.Choice(["console", "json"]), help="How log lines are written. [default: as --conf says]"
)
@color_option
def command(
    source: Path | None,
    host: str | None,
    port: int | None,
    conf: Path | None,
    middleware_path: Path | None,
    policies: Path | None,
    watched: bool,
    explain: bool,
    inspect: bool,
    strict: bool,
    log_format: str | None,
    color: bool | None,
) -> None:
    """Serve the APIs that SOURCE defines: a folder of definitions, or one file. [default: the app_path of --conf]

    --explain and --inspect show what becomes of each request, with secrets masked (docs/inspector.md).

    Requests go through the hooks of their API to its target, answers through the response hooks back. SIGHUP loads
    everything again. SIGTERM and Ctrl-C end it when the requests on their way are answered; the second one at once.
    """
    try:
        from tykbridge.gateway.operation import Operation
        from tykbridge.gateway.proxy import Limits
        from tykbridge.gateway.server import Gateway
    except ImportError as error:
        raise click.ClickException(f"the gateway needs aiohttp: pip install 'tykbridge[gateway]' ({error})") from None

    screen = console(color)
    given = str(conf) if conf is not None else _NO_FILE if any(name.startswith(PREFIX) for name in os.environ) else ""
    try:
        settings = read_settings(given or _NO_FILE, os.environ if given else {})[0]
        wanted = str(source or settings.app_path)
        if not wanted:
            raise click.UsageError(
                "nothing says which APIs: name a folder of definitions (. is this one), or a --conf with an app_path"
            )
        operation = Operation(hosted.bridge, settings, log_format)
        tracer = _tracer(strict, operation.log, screen if explain else None) if explain or inspect else None
        inspector = _inspector(tracer) if tracer is not None and inspect else None
        count, _ = hosted.load_configuration(
            wanted, str(middleware_path or ""), str(policies or ""), strict, watched, given
        )
    except BridgeError as error:
        raise click.ClickException(str(error)) from None
    if not hosted.bridge.apis:
        raise click.ClickException(
            ("no API can be served, for the reasons above" if count else f"there is no API in {wanted}")
            + _hint(Path(wanted))
        )
    _tell_of_store(hosted.settings().storage, operation.log)
    observers: list[Observer] = [operation.recorder]
    parts: list[Part] = [operation.recorder]
    if given:  # nobody misses it where nothing is set
        parts.append(operation.control)
    if tracer is not None:
        observers.append(tracer)
    if inspector is not None:
        parts.append(inspector)
    host = host or settings.listen_address or "127.0.0.1"
    wanted_port = port if port is not None else settings.listen_port or None
    gateway = Gateway(
        hosted.bridge,
        host=host,
        port=wanted_port,
        limits=Limits(answer=settings.proxy_default_timeout),
        observers=observers,
        parts=parts,
    )
    _allow_files()
    try:
        _run(lambda signals: _serve(gateway, screen, watched, count, inspector, signals))
    except BridgeError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        where = host if wanted_port is None else f"{host}:{wanted_port}"
        raise click.ClickException(f"cannot listen on {where}: {_advice(error)}") from None


def _hint(place: Path) -> str:
    """Say what is meant instead of bundles or a file of hooks, which are taken for definitions easily."""
    if has_definition(place):
        return ""
    is_bundle = place.name == manifest.FILE_NAME or place.suffix == ".zip" or (place / manifest.FILE_NAME).is_file()
    if is_bundle or drivers.of_file(place.name) is not None:
        what = "is a plugin: name the definition of its API"
    elif any(place.glob(f"*/{manifest.FILE_NAME}")):
        what = "has plugins: name the definition of their API"
    else:
        return ""
    return f"; {place} {what}, a *.json file, or a folder of such"


def _tell_of_store(storage: Storage, log: Log) -> None:
    """Say that Redis cannot be reached before requests do. It may come up later, so that this is no reason to end."""
    try:
        words = waiting.apart(lambda: unreachable(storage, _PATIENCE / 2)).result(_PATIENCE)
    except TimeoutError:  # the name of its host is looked up for longer
        words = f"Redis at {storage.host}: nothing was heard of it within {_PATIENCE:g} s"
    if words:
        log(f"$.storage: {words}; requests that need it are refused with 503 until it can be reached", "error")


def _tracer(strict: bool, log: Log, screen: Console | None) -> Tracer:
    """Make what looks on at hooks, and hears what they print, log and fire; `screen` gets a block for each request."""
    from tykbridge.cli.explain import Explainer
    from tykbridge.gateway.trace import Tracer, hear_prints

    # A block has what its request's hooks said; on the same terminal nobody wants to read it twice.
    told_once = screen is not None and screen.is_terminal and sys.stderr.isatty()
    tracer = Tracer(hosted.bridge, strict, told_once)
    log.listeners.append(tracer.logged)
    log.event_listeners.append(tracer.fired)
    hosted.bridge.services = replace(hosted.bridge.services, watch=tracer.watch)
    if screen is not None:
        tracer.listeners.append(lambda *_: log.earlier())  # its line in the log comes before its block
        tracer.listeners.append(Explainer(screen).heard)
    hear_prints(passing_on=screen is None)
    return tracer


def _inspector(tracer: Tracer) -> Inspector:
    from tykbridge.gateway.inspector.server import Inspector

    return Inspector(tracer, hosted.reload)


def _allow_files() -> None:
    """Let it have as many connections as the system allows; the limit for those who do not ask is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _FILES)), hard))


def _advice(error: OSError) -> str:
    words = (error.strerror or str(error)).lower()
    if isinstance(error, PermissionError):
        return f"{words}; take a port above 1023"
    return f"{words}; --port names another, --port 0 takes any that is free" if "in use" in words else words


def _run(main: Callable[[asyncio.Queue[int]], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine, which gets the signals that are to end it, on a loop whose threads are none of this one's."""
    from tykbridge.gateway.loop import Loop

    loop, signals, process = Loop(), asyncio.Queue[int](), os.getpid()
    does: dict[int, Callable[[int], object]] = {
        signal.SIGINT: signals.put_nowait,
        signal.SIGTERM: signals.put_nowait,
        signal.SIGHUP: lambda _: waiting.apart(_reload),
    }

    def hear(number: int, _: object) -> None:
        if os.getpid() != process:  # a child that a hook forked, whose signals are its own
            give_back()
            signal.raise_signal(number)
            return
        with contextlib.suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(does[number], number)

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, hear) for number in does}
    try:
        loop.begin(main(signals))
        loop.join()
    finally:
        give_back()


async def _serve(
    gateway: Gateway,
    screen: Console,
    watched: bool,
    missing: int,
    inspector: Inspector | None,
    signals: asyncio.Queue[int],
) -> None:
    """Run until a signal says it is enough; the second signal cuts off what is on its way."""
    await gateway.start()
    _tell(screen, gateway, watched, missing)
    if inspector is not None:
        _open(screen, inspector)
    await signals.get()
    stopping = asyncio.ensure_future(gateway.stop())
    again = asyncio.ensure_future(signals.get())
    await asyncio.wait([stopping, again], return_when=asyncio.FIRST_COMPLETED)
    again.cancel()
    if not stopping.done():
        stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopping


def _open(screen: Console, inspector: Inspector) -> None:
    """Say where the inspector is, and open it where there is a browser with a window of its own."""
    screen.print(Text.assemble("inspector  ", (inspector.url, "bold green")), soft_wrap=True)
    if screen.is_terminal and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        asyncio.get_running_loop().run_in_executor(None, webbrowser.open, inspector.link())


def _reload() -> None:
    try:
        line, level = watch.summary(*hosted.reload_all())
        hosted.bridge.services.log(f"SIGHUP: {line}", level)
    except BridgeError:
        pass  # it is in the log
    except Exception as error:  # of which nobody else hears
        hosted.bridge.services.log(f"internal error: the reload broke off: {error!r}", "error")


def _tell(screen: Console, gateway: Gateway, watched: bool, missing: int) -> None:
    """Write what listens where, with which hooks, and how to ask it."""
    from tykbridge.gateway.server import PORT

    screen.print(Text.assemble((f"tykbridge {__version__}", "bold"), " listens on ", (gateway.url, "bold green")))
    if gateway.is_elsewhere:
        screen.print(Text(f"port {PORT} is taken, this is the next one that is free", "yellow"))
    table = Table(box=None, pad_edge=False, show_header=False)
    definitions = sorted(
        (chain.definition for chain in hosted.bridge.chains.values()), key=lambda item: (item.domain, item.listen_path)
    )
    for definition in definitions:
        table.add_row(
            Text(clean(definition.domain + definition.listen_path), "bold"),
            Text(clean(definition.name or definition.api_id)),
            Text.assemble(("to ", "dim"), clean(definition.target_url or "nowhere: it names no target")),
            _hooks(definition),
        )
    screen.print()
    screen.print(table)
    if missing:
        screen.print(Text(f"{missing} not in use, for the reasons above", "yellow"))
    screen.print()
    screen.print(Text(f"  {_curl(gateway, definitions)}", "cyan"), soft_wrap=True)
    screen.print(
        Text(("What changes is loaded again. " if watched else "SIGHUP loads it again. ") + "Ctrl-C ends it.", "dim")
    )


def _hooks(definition: Definition) -> Text:
    phases = []
    for phase in Phase:
        names = ", ".join(clean(hook.name) for hook in definition.hooks(phase))
        if names:
            phases.append(Text.assemble((f"{phase} ", "dim"), names))
    return Text("  ").join(phases) if phases else Text("no hooks", "dim")


def _curl(gateway: Gateway, definitions: Sequence[Definition]) -> str:
    """Give a command that asks an API, one without keys where there is such."""
    definition = next((each for each in definitions if each.auth.keyless), definitions[0])
    auth, url = definition.auth, gateway.url + definition.listen_path
    words = ["curl", "-i"]
    if definition.domain:
        words += "-H", f"Host: {definition.domain}"
    # An auth_check hook looks where it likes, which mostly is where tokens are.
    token = TokenSource(header="") if auth.keyless else auth.token or TokenSource()
    if token.header:
        words += "-H", f"{token.header}: {_KEY}"
    elif token.param:
        url += f"?{token.param}={_KEY}"
    elif token.cookie:
        words += "-b", f"{token.cookie}={_KEY}"
    return shlex.join([*words, url])
