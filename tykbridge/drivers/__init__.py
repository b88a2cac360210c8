"""What a driver of hooks is: one module of this package for each language, which is all that there is to add."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tykbridge.definition.model import NO_CHOICES, Capabilities, Choices, Definition, Driver, Phase, Target
from tykbridge.errors import LoadError
from tykbridge.handlers import Marker


@dataclass(frozen=True)
class Asked:
    """A function that lies in no bundle: a server is asked for it by its name.

    Attributes:
        target: the server, its files named by absolute paths.
        label: what the server is called in the log.
        name: the function's name.
        phase: when it runs; None for a handler of events.
    """

    target: Target
    label: str
    name: str
    phase: Phase | None


@dataclass(frozen=True)
class Source:
    """What a driver is to load: its part of one bundle.

    Attributes:
        bundle: the bundle's name.
        root: its folder, without links.
        files: what is to be run, in this order.
        choices: what the API's definition says of the engines.
        asked: in place of files, for a driver whose code lies in no bundle.
    """

    bundle: str
    root: str
    files: Sequence[Path]
    choices: Choices = NO_CHOICES
    asked: Asked | None = None

    def texts(self) -> list[tuple[str, bytes]]:
        """Read the files: their paths from the root on, and what they hold. Raises LoadError: one is not below it."""
        try:
            return [(file.relative_to(self.root).as_posix(), file.read_bytes()) for file in self.files]
        except ValueError as error:
            raise LoadError(str(error)) from error


class Loaded(Protocol):
    """The code of one bundle in one language."""

    @property
    def markers(self) -> Sequence[Marker]:
        """Its hooks, handlers of events and functions for virtual endpoints, each name once.

        A hook's function, and that of an endpoint, takes the whole message, a view of a coprocess.Object (arity 1),
        changes it in place and keeps nothing of it; what it raises is a failed hook. A handler's takes the event and
        its spec, as JSON has them. Python's own hooks are called by the compiled module, in their forms of 3 to 5
        arguments.
        """

    @property
    def others(self) -> Mapping[str, str]:
        """Why further names that are there are neither."""

    def close(self) -> None:
        """Let go of what is shared with other bundles. Functions may be called to their end, by calls in flight."""


class Engine(Protocol):
    """A driver. The module has one as `DRIVER`. Safe to use from any thread."""

    name: Driver
    suffix: str
    """That of the files which have its code: ".lua"; "" when its code lies in no bundle."""
    deadlines: bool
    """It keeps a hook's timeout_ms: `Marker.limited`."""
    asks: bool
    """Its code may ask the API in whose hooks it runs, `caller.current`, for more than to take events."""
    crosses: bool
    """Its hooks see more of a request than its message holds: `crossing.current`."""
    waits: bool
    """Its hooks wait for an answer from outside, and leave their thread to others: `waiting.suspend`."""

    def missing(self) -> str:
        """Say what is to be done where the engine is not there, "" where it is: "pip install 'tykbridge[lua]'"."""

    def load(self, source: Source) -> Loaded:
        """Load code, which runs on this thread. Raises `failures.ScriptError` and `LoadError`, or what Python does."""


@functools.cache
def engines() -> Mapping[Driver, Engine]:
    """Give every driver of this package, Python first."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    found = {module.DRIVER.name: module.DRIVER for module in modules}
    return {name: found[name] for name in Driver if name in found}


def of_file(name: str) -> Driver | None:
    """Give the driver whose code a file has, by its suffix; None for other files."""
    return next((engine.name for engine in engines().values() if engine.suffix == Path(name).suffix != ""), None)


def ask(definition: Definition) -> bool:
    """Tell whether a hook of an API may ask it for more than to take events."""
    return any(engine.asks for engine in _engines_of(definition))


def cross(definition: Definition) -> bool:
    """Tell whether a hook of an API sees more of a request than its message holds."""
    return any(engine.crosses for engine in _engines_of(definition))


def wait(definition: Definition) -> bool:
    """Tell whether a hook of an API waits for an answer from outside."""
    return any(engine.waits for engine in _engines_of(definition))


def _engines_of(definition: Definition) -> list[Engine]:
    named = {hook.driver for phase in Phase for hook in definition.hooks(phase)}
    return [engine for name, engine in engines().items() if name in named]


@functools.cache
def capabilities() -> Capabilities:
    """Tell what hooks can be run here. Bundles are the business of whoever asks, and are left on."""
    missing = {engine.name: words for engine in engines().values() if (words := engine.missing())}
    there = frozenset(engines()) - missing.keys()
    deadlines = frozenset(name for name in there if engines()[name].deadlines)
    return Capabilities(drivers=there, deadlines=deadlines, bundles=True, missing=missing)
