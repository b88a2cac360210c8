"""``tykbridge doctor``: says what is wrong with an installation, and how to mend it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text

from tykbridge.cli.diagnosis import NOTE, OK, PROBLEM, Finding, diagnose
from tykbridge.cli.lines import clean, color_option, console, count, fold

_COLOURS = {OK: "green", NOTE: "yellow", PROBLEM: "red"}
_WIDEST = 110
_LABEL, _ABOUT = 9, 18  # columns

_EXAMPLES = """\b
Examples:
  tykbridge doctor
  tykbridge doctor --conf tyk.conf
  tykbridge doctor --json

Exit status: 0 without problems, notes or not; 1 with one.
"""


@click.command("doctor", epilog=_EXAMPLES)
@click.option(
    "--conf",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A tyk.conf to look into as well, and whether its Redis answers.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output (docs/cli.md).")
@color_option
def command(conf: Path | None, as_json: bool, color: bool | None) -> None:
    """Look at Python, this installation and what it finds on this machine, and say how to mend what is wrong.

    A problem keeps something from working. A note is worth knowing: an extra that is not installed, say, which somebody
    may need. Nothing is changed.
    """
    findings = diagnose(conf)
    problems = [finding for finding in findings if finding.status == PROBLEM]
    if as_json:
        click.echo(json.dumps({"ok": not problems, "findings": [asdict(finding) for finding in findings]}))
    else:
        _write(findings, color)
    sys.exit(1 if problems else 0)


def _write(findings: list[Finding], color: bool | None) -> None:
    screen = console(color)
    width = min(screen.width, _WIDEST)
    indent = " " * (_LABEL + _ABOUT)
    for finding in findings:
        lines = fold(Text(clean(finding.words)), width - len(indent))
        if finding.mend:
            for words in finding.mend.splitlines():
                lines += fold(Text(clean(words), "cyan"), width - len(indent))
        label = Text.assemble((f"{finding.status:<{_LABEL}}", _COLOURS[finding.status]), f"{finding.about:<{_ABOUT}}")
        for i, line in enumerate(lines):
            whole = Text.assemble(indent if i else label, line)
            whole.rstrip()
            screen.print(whole, soft_wrap=True)
    number = {status: sum(finding.status == status for finding in findings) for status in (PROBLEM, NOTE)}
    screen.print()
    words = f"{count(number[PROBLEM], 'problem')}, {count(number[NOTE], 'note')}"
    screen.print(Text(words, "bold red" if number[PROBLEM] else "bold"))
