"""``tykbridge check``: loads API definitions, bundles and hooks, and tells every problem with its place."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from tykbridge.cli import documents
from tykbridge.cli.checks import INACTIVE, LOADED, NOT_LOADED, REFUSED, Finding, Item, check
from tykbridge.cli.options import gateway_options
from tykbridge.cli.screen import clean, color_option, console, count, fold
from tykbridge.cli.witness import Witness

_PATH = click.Path(path_type=Path)

_EXAMPLES = """\b
Examples:
  tykbridge check apis --policies policies.json
  tykbridge check apis/orders.json --middleware-path /opt/tyk/middleware
  tykbridge check apis --conf tyk.conf
  tykbridge check bundles/hello
  tykbridge check bundle.zip
  tykbridge check middleware.py --json

What only a run can show is for `tykbridge run-hook`.

Exit status: 0 when nothing is refused, 1 when there are problems, 2 when there is nothing to check.
"""

_STATUS = {LOADED: "green", REFUSED: "red", NOT_LOADED: "yellow", INACTIVE: "dim"}
_WIDEST = 110


@click.command("check", epilog=_EXAMPLES)
@click.argument("source", type=_PATH)
@gateway_options
@click.option("--require-all", is_flag=True, help="Exit with 1 also when something is right, but not loaded.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output (docs/cli.md).")
@color_option
def command(
    source: Path,
    conf: Path | None,
    middleware_path: Path | None,
    policies: Path | None,
    require_all: bool,
    as_json: bool,
    color: bool | None,
) -> None:
    """Load what SOURCE holds, and tell every problem with its place.

    \b
    SOURCE is
      a folder        of API definitions, as a gateway's app_path, of bundles
                      (each has a manifest.json), or of folders of both
      a *.json file   one API definition
      a .zip file     a bundle's archive
      a .py, .js, .lua  a file of hooks

    Hooks are loaded as a gateway loads them, so the code of modules runs; no hook is called. What a definition asks for
    and this release cannot do, or a bundle that is not on this machine, is listed as "not loaded: needs ...", and is no
    problem unless --require-all says so.

    The files of --conf and --policies are checked too. With --conf, bundles are downloaded and verified as it says,
    into a temporary folder: a check changes nothing of what a gateway finds. When it cannot be used, nothing is loaded.
    """  # noqa: D301 (click's mark for lines that stay as they are)
    with Witness().watching():  # what modules print and log while they load
        items = check(source, policies, conf, middleware_path)
    if as_json:
        click.echo(documents.text_of(documents.check(items)))
    else:
        _Page(console(color)).write(items)
    failing = {REFUSED, NOT_LOADED} if require_all else {REFUSED}
    sys.exit(1 if any(item.status in failing for item in items) else 0)


class _Page:
    """Writes what was found, file by file."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(console.width, _WIDEST)

    def write(self, items: Sequence[Item]) -> None:
        for item in items:
            self._console.print(Text(clean(_short(item.file)), "bold"), soft_wrap=True)
            self._line(item.status, _STATUS[item.status], _about(item))
            for problem in item.problems:
                self._line("error", "red", _words(item, problem))
            for warning in item.warnings:
                self._line("warning", "yellow", _words(item, warning))
            self._console.print()
        self._console.print(Text(_summary(items), "bold"), soft_wrap=True)

    def _line(self, label: str, colour: str, words: str) -> None:
        for i, part in enumerate(fold(Text(clean(_short(words))), max(20, self._width - 14))):
            head = Text(f"  {label if i == 0 else '':<12}", colour)
            whole = Text.assemble(head, part)
            whole.rstrip()
            self._console.print(whole, soft_wrap=True)


def _short(words: str) -> str:
    """Write paths below the working directory as people write them there."""
    return re.sub(f"(?<!/){re.escape(os.getcwd() + os.sep)}", "", words)  # file:///place stays a URL


def _about(item: Item) -> str:
    if item.needs:
        return "needs " + ", ".join(map(str, item.needs))
    if item.status != LOADED:
        return ""
    hooks = ", ".join(f"{phase} {name}".strip() for phase, name in item.hooks)
    return item.kind if item.kind in ("policies", "settings") else f"{item.name}: {hooks or 'no hooks'}"


def _words(item: Item, finding: Finding) -> str:
    if finding.line is not None:
        return f"{finding.file}:{finding.line}:{finding.column}: {finding.message}"
    file = "" if finding.file == item.file else f"{finding.file}: "
    return f"{file}{finding.path}: {finding.message}"


def _summary(items: Sequence[Item]) -> str:
    counts = documents.counts(items)
    states = [f"{counts[key]} {key.replace('_', ' ')}" for key in ("loaded", "not_loaded", "inactive", "refused")]
    told = ", ".join(state for state in states if not state.startswith("0 "))
    return f"{told or 'nothing'}: {count(counts['problems'], 'problem')}, {count(counts['warnings'], 'warning')}"
