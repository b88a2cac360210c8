"""Writes lines of text to a console: for people, whatever their terminal, and whatever stands in the text."""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console
from rich.text import Text

_PIPED_WIDTH = 100

color_option = click.option(
    "--color/--no-color", default=None, help="Colour, whatever standard output is. [default: in a terminal]"
)


def console(color: bool | None) -> Console:
    """Give a console on standard output as it is now: while a hook runs, what it prints goes elsewhere."""
    made = Console(
        file=sys.stdout,
        force_terminal=color,
        no_color=False if color else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        made.width = _PIPED_WIDTH
    return made


def count(number: int, noun: str) -> str:
    """Give the words for a number of things."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def clean(text: str, keep: str = "") -> str:
    """Spell out what a terminal would obey rather than show."""
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def fold(line: Text, room: int) -> list[Text]:
    """Cut a line where it is full, after a space if there is one; what follows stands further in. Nothing is lost."""
    hang = Text("")
    parts: list[Text] = []
    while hang.cell_len + line.cell_len > room:
        cut = len(line)
        while cut > 1 and hang.cell_len + line[:cut].cell_len > room:
            cut -= 1
        space = line.plain.rfind(" ", 0, cut)
        if space > cut // 2:
            cut = space + 1
        parts.append(Text.assemble(hang, line[:cut]))
        line, hang = line[cut:], Text("    ")
    return [*parts, Text.assemble(hang, line)]
