"""Runs hooks in Go: libraries that `tykbridge plugin build` makes, behind the ABI of csrc/plugin.h."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tykbridge.definition.model import Driver
from tykbridge.drivers import Source

if TYPE_CHECKING:
    from tykbridge.drivers.goplugin.hooks import Hooks


class Native:
    """The driver of Go plugins, and that of libraries in other languages, which are loaded in the same way."""

    suffix = ".so"
    deadlines = True  # in a process of its own; in this one a hook cannot be stopped, and a deadline is refused
    asks = False
    crosses = True
    waits = False

    def __init__(self, name: Driver) -> None:
        self.name = name

    def missing(self) -> str:
        """Say where such libraries do not run."""
        return "" if sys.platform == "linux" else "native plugins run on Linux only"

    def load(self, source: Source) -> Hooks:
        """Open the libraries, and find the hooks that they export."""
        from tykbridge.drivers.goplugin.hooks import Hooks  # where it is asked for: opening is prepared for then

        return Hooks(source, self.name)


DRIVER = Native(Driver.GOPLUGIN)
