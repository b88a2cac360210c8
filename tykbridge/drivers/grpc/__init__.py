"""Runs hooks on gRPC servers: each is asked of coprocess.Dispatcher by its name."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tykbridge.definition.model import Driver
from tykbridge.drivers import Source

if TYPE_CHECKING:
    from tykbridge.drivers.grpc.function import Function


class Grpc:
    """The driver."""

    name = Driver.GRPC
    suffix = ""
    deadlines = True
    asks = False
    crosses = False
    waits = True

    def missing(self) -> str:
        """Say how to install the engine, where it is not there."""
        return "" if importlib.util.find_spec("grpc") else "pip install 'tykbridge[grpc]'"

    def load(self, source: Source) -> Function:
        """Get ready to ask a server for a function. It is not connected to before the first call."""
        from tykbridge.drivers.grpc.function import Function  # where it is asked for: the engine is an extra

        assert source.asked is not None
        return Function(source.asked)

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Tell of every server that is in use, by its address, how its calls went; see `server.Counts`."""
        from tykbridge.drivers.grpc import server

        return server.counts()


DRIVER = Grpc()
