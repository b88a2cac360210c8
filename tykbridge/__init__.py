"""Tyk's rich plugins for any host."""

from tykbridge._version import __version__

__all__ = ["__version__"]
