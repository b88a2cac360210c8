"""``tykbridge upstream``: an upstream to try plugins on, which answers with what it got."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import click

from tykbridge.cli.lines import clean

if TYPE_CHECKING:
    from tykbridge.gateway.echo import Echo

_EXAMPLES = """\b
Examples:
  tykbridge upstream                 where the APIs of `tykbridge new` send their requests
  tykbridge upstream --port 8081
"""


@click.command("upstream", epilog=_EXAMPLES)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port; 0: any.")
def command(port: int) -> None:
    """Answer every request with what came in, as JSON: an upstream to try plugins on.

    The answer is that of httpbin's /get: the query ("args"), the headers, the client ("origin") and the URL as the
    upstream got them, which is what the hooks before it left; the method and the body ("data", "json"), too, where
    there is a body or another method than GET. It listens on 127.0.0.1 until Ctrl-C.
    """
    try:
        from tykbridge.gateway.echo import Echo
    except ImportError as error:
        raise click.ClickException(f"it needs aiohttp: pip install 'tykbridge[gateway]' ({error})") from None
    try:
        echo = Echo(port, lambda method, url: click.echo(clean(f"{method} {url}")))
    except OSError as error:
        words = (
            f"127.0.0.1:{port}: {os.strerror(error.errno or 0)}; --port names another, --port 0 takes any that is free"
        )
        raise click.ClickException(words) from error
    asyncio.run(_serve(echo))


async def _serve(echo: Echo) -> None:
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    await echo.start()
    click.echo(f"{echo.url} answers with what it gets. Ctrl-C ends it.")
    await over.wait()
    await echo.stop()
