"""``tykbridge completion``: what a shell needs to complete commands, options and files."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_TYKBRIDGE_COMPLETE"  # by which click knows that a shell asks
_INSTALL = {
    "bash": "tykbridge completion bash >> ~/.bashrc",
    "zsh": "tykbridge completion zsh >> ~/.zshrc    # below compinit",
    "fish": "tykbridge completion fish > ~/.config/fish/completions/tykbridge.fish",
}

_EXAMPLES = f"""\b
To have it in every shell from now on:
  {_INSTALL["bash"]}
  {_INSTALL["zsh"]}
  {_INSTALL["fish"]}

\b
To try it in this one:
  eval "$(tykbridge completion bash)"       (zsh the same)
  tykbridge completion fish | source
"""


@click.command("completion", epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(list(_INSTALL)), required=False)
def command(shell: str | None) -> None:
    """Print what lets SHELL complete tykbridge's commands and options, and files where they want some.

    SHELL is bash (4.4 or later), zsh or fish; without it, the one that $SHELL names.
    """
    from tykbridge.cli import main

    shell = shell or os.path.basename(os.environ.get("SHELL", ""))
    kind = get_completion_class(shell) if shell in _INSTALL else None
    if kind is None:
        raise click.UsageError(f"say which shell: {', '.join(_INSTALL)}")
    click.echo(kind(main, {}, "tykbridge", _VARIABLE).source().strip())
    click.echo(f"# To have this in every shell: {_INSTALL[shell]}")
