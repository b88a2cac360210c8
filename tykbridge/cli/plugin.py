"""``tykbridge plugin``: compiles plugins in Go."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tykbridge import __version__
from tykbridge.cli.screen import clean
from tykbridge.goplugin import BuildError
from tykbridge.goplugin.compiler import Order, build
from tykbridge.goplugin.toolchain import Target

_EXAMPLES = """\b
In the folder of the plugin's package main:
  tykbridge plugin build plugin.so                                   for this machine
  tykbridge plugin build plugin.so "$build_id" linux arm64           for another one
  tykbridge plugin build plugin.so --glibc 2.17                      for an older Linux

docs/go-plugins.md tells what plugins may import, and what becomes of their mistakes.
"""


@click.group("plugin", epilog=_EXAMPLES, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Compile plugins in Go."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _say(text: str) -> None:
    for line in text.splitlines():
        click.echo(clean(line), err=True)


def _asked(name: str) -> bool:
    # Many programs look at DEBUG, each for words of its own: those are no mistake here.
    return os.environ.get(name) in ("1", "true")


_BUILD = """\b
Examples:
  tykbridge plugin build plugin.so
  tykbridge plugin build plugin.so --source hello --debug
  tykbridge plugin build plugin.so "" linux arm64

Next: name plugin.so as a hook's "path" in the API's definition, and tykbridge check it. A bundle's file_list has the
whole name, as it is printed.
"""


@command.command("build", epilog=_BUILD)
@click.argument("plugin_name")
@click.argument("build_id", required=False, default="")
@click.argument("goos", required=False, default="linux", envvar="GOOS")
@click.argument("goarch", required=False, envvar="GOARCH")
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="The folder of the plugin's package main.  [default: this folder]",
)
@click.option("--gw-version", default=f"v{__version__}", show_default=True, help="The version in the library's name.")
@click.option("--glibc", metavar="VERSION", default="", help="The oldest glibc that it is to run with, such as 2.17.")
@click.option("--tidy", is_flag=True, default=lambda: _asked("GO_TIDY"), help="Run go mod tidy.  [env: GO_TIDY=1]")
@click.option("--get", is_flag=True, default=lambda: _asked("GO_GET"), help="Run go get.  [env: GO_GET=1]")
@click.option(
    "--debug", is_flag=True, default=lambda: _asked("DEBUG"), help="Say what is done, keep debug data.  [env: DEBUG=1]"
)
def _build(
    plugin_name: str,
    build_id: str,
    goos: str,
    goarch: str | None,
    source: Path,
    gw_version: str,
    glibc: str,
    tidy: bool,
    get: bool,
    debug: bool,
) -> None:
    """Compile a plugin's package main, as it is, into a shared library.

    PLUGIN_NAME is the library's name without what is added: plugin.so becomes plugin_VERSION_GOOS_GOARCH.so. BUILD_ID
    makes the library differ from others of the same source. GOOS and GOARCH say what it is for, this machine without
    them; the environment's variables of these names do, too.

    The source's folder is not changed; --tidy and --get change a copy of go.mod. The C compiler is that of CC, else the
    machine's, else Zig's.

    Exit status: 0 when it is built, 1 when it cannot be.
    """
    try:
        target = Target(goos, goarch or Target.here(), glibc)
        order = Order(plugin_name, target, source, build_id, gw_version, tidy, get, debug)
        made = build(order, _say)
    except BuildError as error:
        raise click.ClickException("\n".join(clean(line) for line in str(error).splitlines())) from error
    needs = f", glibc {made.glibc} or later" if made.glibc else ""
    click.echo(f"{made.file}: {goos}/{target.goarch}{needs}")
    for hook in made.hooks:
        click.echo(f"  {hook.kind:<9}  {hook.name}  {hook.file}:{hook.line}")
