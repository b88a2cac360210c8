"""Makes the JSON documents that `run-hook --json` and `check --json` print; docs/cli.md describes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from tykbridge.changes import Value
from tykbridge.cli.checks import INACTIVE, LOADED, NOT_LOADED, REFUSED, Item
from tykbridge.cli.runner import Run
from tykbridge.outcome import Request, Response
from tykbridge.steps import ClientStep, HookStep, NoteStep, Seen, UpstreamStep

Document = dict[str, Any]


def text_of(document: Document) -> str:
    """Write a document on one line. ASCII alone, so that no terminal's or pipe's encoding matters."""
    return json.dumps(document)


def run_hook(api_id: str, loading: Seen, runs: Iterable[Run]) -> Document:
    """Describe what `run-hook` ran."""
    made = [_run(run) for run in runs]
    return {"ok": not any(run["failures"] for run in made), "api": api_id, "loading": _seen(loading), "runs": made}


def _run(run: Run) -> Document:
    document: Document = {
        "about": run.call.about,
        "request": _http(run.call.request),
        "hooks": [_hook(step) for step in run.hooks],
        "log": [],
        "upstream": None,
        "response": None,
        "event": "",
        "failures": run.failures,
    }
    for step in run.steps:
        match step:
            case UpstreamStep():
                document["upstream"] = None if step.request is None else _http(step.request)
            case ClientStep():
                document["response"], document["event"] = _http(step.response), step.event
            case NoteStep():
                document["log"] += _seen(step.seen)["log"]
    return document


def _hook(step: HookStep) -> Document:
    return {
        "phase": str(step.phase),
        "name": step.name,
        "seconds": round(step.seconds, 9),
        "changes": [
            {"path": change.path, "old": _value(change.old), "new": _value(change.new), "acts": change.acts}
            for change in step.changes or ()
        ],
        "token": step.token,
        "failure": step.failure,
        "refused": step.fault,
        "warnings": list(step.warnings),
        **_seen(step.seen),
    }


def _seen(seen: Seen) -> Document:
    return {
        "printed": seen.printed,
        "log": [{"level": level, "message": message} for level, message in seen.logged],
        "events": [{"name": name, "payload": payload} for name, payload in seen.events],
    }


def _http(message: Request | Response) -> Document:
    first: Document = (
        {"method": message.method, "url": message.url} if isinstance(message, Request) else {"status": message.status}
    )
    return {**first, "headers": [list(pair) for pair in message.headers], "body": _value(message.body)}


def _value(value: Value | None) -> Any:
    """Give bytes as text, or as {"base64": ...} where they are not UTF-8."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def check(items: Sequence[Item]) -> Document:
    """Describe what `check` found."""
    return {
        "ok": not any(item.problems for item in items),
        "counts": counts(items),
        "items": [
            {
                "kind": item.kind,
                "file": item.file,
                "name": item.name,
                "status": item.status,
                "hooks": [{"phase": phase, "name": name} for phase, name in item.hooks],
                "needs": [{"path": need.path, "what": need.what} for need in item.needs],
                "problems": [asdict(problem) for problem in item.problems],
                "warnings": [asdict(warning) for warning in item.warnings],
            }
            for item in items
        ],
    }


def counts(items: Sequence[Item]) -> dict[str, int]:
    """Count what `check` found: items by status, problems, warnings."""
    states = [item.status for item in items]
    return {
        **{status.replace(" ", "_"): states.count(status) for status in (LOADED, NOT_LOADED, INACTIVE, REFUSED)},
        "problems": sum(len(item.problems) for item in items),
        "warnings": sum(len(item.warnings) for item in items),
    }
