"""Options that commands share which run API definitions as a gateway does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

_FILE = click.Path(path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., object])

_OPTIONS = (
    click.option(
        "--conf",
        type=_FILE,
        metavar="FILE",
        help="A tyk.conf: where bundles are downloaded from, what they must prove, how keys are hashed. "
        "Its store is not touched, memory takes its place.",
    ),
    click.option(
        "--middleware-path",
        type=_FILE,
        metavar="DIR",
        help="Where definitions find bundles and files of hooks. [default: that of --conf, else middleware]",
    ),
    click.option(
        "--policies", type=_FILE, metavar="FILE", help="The policies that sessions name. [default: those of --conf]"
    ),
)


def gateway_options(function: _Command) -> _Command:
    """Give a command --conf, --middleware-path and --policies."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
