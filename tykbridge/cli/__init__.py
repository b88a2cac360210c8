"""The command line: ``tykbridge`` and ``python -m tykbridge``."""

import difflib
from collections.abc import Callable
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from tykbridge import __version__, installation

# Each command is a module here, which holds a click command called `command`; it is imported when it is called, so that
# a host's build does not wait for what it does not ask for. The words are the command's line in the list.
_SECTIONS = {
    "Write a plugin": {
        "new": "Begin a plugin: with an API, a test and a README that work at once.",
        "check": "Load API definitions, bundles and hooks, and tell every problem with its place.",
        "run-hook": "Run one hook, or a whole API, on a request, and show what each hook changes.",
        "play": "Play the requests that lie beside plugins, and show what each hook does.",
        "serve": "Serve APIs over HTTP on this machine.",
        "upstream": "Answer requests with what came in: an upstream to try plugins on.",
    },
    "Ship it": {
        "plugin": "Compile plugins in Go.",
        "bundle": "Build, sign, verify and show the archives of bundles.",
    },
    "Help": {
        "tour": "Watch a gateway at work, with requests that show what each hook does.",
        "doctor": "Say what is wrong with this installation, and how to mend it.",
        "completion": "Print what lets bash, zsh or fish complete commands and options.",
    },
}
_COMMANDS = {name: words for commands in _SECTIONS.values() for name, words in commands.items()}


class _Commands(click.Group):
    """Imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, sorted."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"tykbridge.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; guesses which one was meant when there is none of that name."""
        if args[0] not in _COMMANDS and (close := difflib.get_close_matches(args[0], _COMMANDS, n=1)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]!r}?")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes a command's name without importing the commands."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found = [CompletionItem(name, help=_COMMANDS[name]) for name in names]
        return found + super(click.Group, self).shell_complete(ctx, incomplete)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands before the options, which are for those who build hosts."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list without importing the commands."""
        widest = max(map(len, _COMMANDS))
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{widest}}", words) for name, words in commands.items()])


# What a host's build asks for: an option each, in the order in which answers are printed.
_ANSWERS: dict[str, tuple[Callable[[], object], str]] = {
    "cflags": (installation.cflags, "Print what the C compiler needs."),
    "libs": (installation.libs, "Print what the linker needs."),
    "library": (installation.library, "Print the path of libtykbridge.so.1."),
    "include": (installation.include, "Print the folder of tykbridge/api.h."),
    "pkgconfig": (installation.pkgconfig, "Print the folder for PKG_CONFIG_PATH."),
    "version": (lambda: __version__, "Print the release."),
}


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A host is built with: cc host.c $(tykbridge --cflags --libs)",
)
@click.pass_context
def main(ctx: click.Context, /, **asked: bool) -> None:
    """Tyk's rich plugins for any host: begin one, try it, serve it, ship it.

    \b
    First steps:
      tykbridge new hello                     a plugin, an API and a test
      cd hello
      tykbridge run-hook . -H 'X-Name: Ada'   shows what each hook changes
      python -m pytest                        runs its test
      tykbridge upstream                      answers with what it gets
      tykbridge serve . --watch               in a second terminal
      curl -i http://127.0.0.1:8181/hello/    in a third

    `tykbridge COMMAND --help` has examples of each.
    """  # noqa: D301 (click's mark for lines that stay as they are)
    answers = [str(answer()) for name, (answer, _) in _ANSWERS.items() if asked[name]]
    if answers:
        click.echo(" ".join(answers))
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for _name, (_, _words) in _ANSWERS.items():
    main = click.option(f"--{_name}", is_flag=True, help=_words)(main)
