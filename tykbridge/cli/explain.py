"""Writes what requests went through, one block each, as `run-hook` shows a rehearsal."""

from __future__ import annotations

import contextlib

from rich.console import Console

from tykbridge.cli.screen import Screen
from tykbridge.gateway.secrets import Secrets
from tykbridge.gateway.trace import Record
from tykbridge.steps import NoteStep


class Explainer:
    """Draws a record when it is over, so that requests which overlap stay apart. Secrets are masked."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._screen = Screen(console)

    def heard(self, what: str, record: Record | None) -> None:
        """Hear from a Tracer."""
        if what == "ended" and record is not None:
            with contextlib.suppress(OSError):  # nobody reads any more
                self._draw(record)

    def _draw(self, record: Record) -> None:
        secrets, screen = Secrets(record), self._screen
        definition = record.definition
        screen.section(f"{record.number}  {(definition.name or definition.api_id) if definition else 'no API'}")
        screen.call("", secrets.request(record.request))
        for step in list(record.steps):
            if not isinstance(step, NoteStep) or step.seen:
                screen.step(secrets.step(step))
        if record.visit.failure:
            screen.failure(secrets.text(record.visit.failure))
