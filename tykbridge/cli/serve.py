"""``tykbridge serve``: a gateway on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tykbridge import hosted
from tykbridge.errors import BridgeError

if TYPE_CHECKING:
    from tykbridge.gateway.server import Gateway

_PATH = click.Path(path_type=Path)

_EXAMPLES = """\b
Examples:
  tykbridge serve apis
  tykbridge serve apis --watch --port 8080
  tykbridge serve apis --conf tyk.conf --policies policies.json

Then: curl -i http://127.0.0.1:8181/my-api/get
"""


@click.command("serve", epilog=_EXAMPLES)
@click.argument("source", type=_PATH)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port. [default: 8181, or the next one that is free]")
@click.option("--conf", type=_PATH, metavar="FILE", help="A tyk.conf: stores, keys, bundles (docs/settings.md).")
@click.option("--middleware-path", type=_PATH, metavar="DIR", help="Where bundles and files of hooks are.")
@click.option("--policies", type=_PATH, metavar="FILE", help="The policies that sessions name.")
@click.option("--watch", "watched", is_flag=True, help="Load again what changes.")
@click.option("--strict", is_flag=True, help="A hook that changes a session without the right to fails the request.")
def command(
    source: Path,
    host: str,
    port: int | None,
    conf: Path | None,
    middleware_path: Path | None,
    policies: Path | None,
    watched: bool,
    strict: bool,
) -> None:
    """Serve the APIs that SOURCE defines: a folder of definitions, or one file.

    Requests go through the hooks of their API to its target, answers through the response hooks back. SIGHUP loads
    everything again, SIGTERM and Ctrl-C end it when the requests on their way are answered.
    """
    try:
        import aiohttp  # noqa: F401 (an extra)
    except ImportError:
        raise click.ClickException("the gateway needs aiohttp: pip install 'tykbridge[gateway]'") from None
    from tykbridge.gateway.server import Gateway

    try:
        count, words = hosted.load_configuration(
            str(source),
            str(middleware_path or ""),
            str(policies or ""),
            strict,
            watched,
            str(conf or ""),
        )
    except BridgeError as error:
        raise click.ClickException(str(error)) from None
    if count and not hosted.bridge.apis:
        raise click.ClickException(f"no API can be served:\n{words}")
    gateway = Gateway(host, port, hosted.bridge.services.log)
    try:
        asyncio.run(_serve(gateway))
    except OSError as error:
        raise click.ClickException(f"{host}:{port}: {error.strerror}") from None


async def _serve(gateway: Gateway) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, _reload))
    await gateway.start()
    for chain in hosted.bridge.chains.values():
        definition = chain.definition
        click.echo(f"{gateway.url}{definition.listen_path}  {definition.name or definition.api_id} -> {definition.target_url}")
    await over.wait()
    await gateway.stop()


def _reload() -> None:
    with contextlib.suppress(BridgeError):  # it is in the log
        hosted.reload()
