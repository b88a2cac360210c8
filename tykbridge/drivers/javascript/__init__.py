"""Runs hooks in JavaScript: middlewares that a bundle's files make global, in QuickJS and within limits."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from tykbridge.definition.model import Driver
from tykbridge.drivers import Source

if TYPE_CHECKING:
    from tykbridge.drivers.javascript.script import Script


class JavaScript:
    """The driver."""

    name = Driver.JAVASCRIPT
    suffix = ".js"
    deadlines = True
    asks = True
    crosses = False
    waits = False

    def missing(self) -> str:
        """Say what to do where tykbridge was built without the engine."""
        if importlib.util.find_spec("tykbridge.drivers.javascript._quickjs"):
            return ""
        return "tykbridge was built where the source of QuickJS could not be had: build it again with access to PyPI"

    def load(self, source: Source) -> Script:
        """Run the files, and find the middlewares and handlers that they make global."""
        from tykbridge.drivers.javascript.script import Script  # where it is asked for: the engine may be missing

        return Script(source)


DRIVER = JavaScript()
