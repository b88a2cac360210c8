"""Tyk's rich plugins for any host."""

from typing import TYPE_CHECKING, Any

from tykbridge._version import __version__

if TYPE_CHECKING:
    from tykbridge.bridge import Bridge

__all__ = ["Bridge", "__version__"]


def __getattr__(name: str) -> Any:
    # At first use: a host that dispatches hooks by itself needs nothing of the chain.
    if name == "Bridge":
        from tykbridge.bridge import Bridge

        return Bridge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
