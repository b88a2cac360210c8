"""What operates the gateway: its log, its metrics and its control API, made as the settings say."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from tykbridge import hosted
from tykbridge.bridge import Bridge
from tykbridge.cli.host import Host
from tykbridge.errors import LoadError
from tykbridge.gateway.control import Control
from tykbridge.gateway.logs import LEVELS, Log
from tykbridge.gateway.metrics import Metrics
from tykbridge.gateway.recorder import Recorder
from tykbridge.settings import Settings

LEVEL = "TYK_LOGLEVEL"
"""The variable that says how much is logged, as in Tyk; it wins over log_level."""


class Operation:
    """Makes them, before anything is loaded: what is told of the loading goes to the log as well.

    Args:
        bridge: the APIs; its services get what they need.
        settings: those in use when it starts.
        log_format: "console" or "json"; None: what the settings say.

    Attributes:
        log: where lines go, those of plugins too.
        recorder: an observer of requests.
        control: the control API, not started yet.

    Raises:
        LoadError: there is no such level.
    """

    def __init__(self, bridge: Bridge, settings: Settings, log_format: str | None) -> None:
        level = os.environ.get(LEVEL, "").lower() or settings.log_level or "info"
        if level not in LEVELS:
            raise LoadError(f'{LEVEL} is "{level}", none of {", ".join(LEVELS)}')
        form = log_format or ("json" if settings.log_format == "json" else "console")
        self.log = Log(sys.stderr, form, level)
        self.log.attach()
        Host(self.log, self.log.event)  # the library keeps it
        metrics = Metrics(bridge)
        self.recorder = Recorder(self.log, metrics)
        bridge.services = replace(bridge.services, timed=self.recorder.hook, log=self.log)
        self.control = Control(bridge, hosted.settings, hosted.reload, metrics, self.log)
