"""Finds the file of a native plugin: builds for several gateways and machines may lie in one folder."""

from __future__ import annotations

from pathlib import Path

from tykbridge import __version__
from tykbridge.drivers.goplugin.elf import goarch


def names(path: str) -> list[str]:
    """List what a plugin's file may be called, first choice first: as `tykbridge plugin build` names it, then exactly.

    `plugin.so` may be `plugin_v1.2.0_linux_amd64.so` or `plugin_1.2.0_linux_amd64.so`.
    """
    root = path.removesuffix(".so")
    return [f"{root}_{mark}{__version__}_linux_{goarch()}.so" for mark in ("v", "")] + [path]


def find(place: Path) -> Path | None:
    """Give the file that a path stands for; None where it is not there."""
    return next((file for name in names(place.name) if (file := place.with_name(name)).is_file()), None)
