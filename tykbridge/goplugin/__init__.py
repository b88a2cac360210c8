"""Go plugins: compiled into libraries with the ABI of plugin.h (README.md tells what is where)."""

from pathlib import Path

STAND_INS = tuple(sorted(path.parent for path in Path(__file__).parent.glob("*/go.mod")))
"""Folders with the Go modules that take the place of Tyk's own in a plugin."""


class BuildError(Exception):
    """A plugin cannot be built. The words say why, where, and what to do."""
