"""Runs hooks in Lua 5.4: global functions of a bundle's files, in a sandbox and within limits."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from tykbridge.definition.model import Driver
from tykbridge.drivers import Source

if TYPE_CHECKING:
    from tykbridge.drivers.lua.script import Script


class Lua:
    """The driver."""

    name = Driver.LUA
    suffix = ".lua"
    deadlines = True
    asks = False
    crosses = False
    waits = False

    def missing(self) -> str:
        """Say how to install the engine, where it is not there."""
        return "" if importlib.util.find_spec("lupa") else "pip install 'tykbridge[lua]'"

    def load(self, source: Source) -> Script:
        """Run the files, and find the functions that they make global."""
        from tykbridge.drivers.lua.script import Script  # where it is asked for: the engine is an extra

        return Script(source)


DRIVER = Lua()
