"""Makes the JSON documents of the inspector's page out of records."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from tykbridge.changes import Change, Value, marked
from tykbridge.gateway.secrets import Secrets
from tykbridge.gateway.trace import Record
from tykbridge.outcome import Headers, Request, Response
from tykbridge.steps import ClientStep, HookStep, NoteStep, Seen, Step, UpstreamStep

Document = dict[str, Any]

# What a change is about, by how its path begins; the first that fits.
_GROUPS = (
    ("request.return_overrides", "Answer"),
    ("request.set_headers", "Headers"),
    ("request.delete_headers", "Headers"),
    ("request.headers", "Headers"),
    ("request.body", "Body"),
    ("request.raw_body", "Body"),
    ("request.", "Request"),
    ("session", "Session"),
    ("metadata", "Metadata"),
    ("response.headers", "Response headers"),
    ("response.multivalue_headers", "Response headers"),
    ("response.body", "Response body"),
    ("response.raw_body", "Response body"),
    ("response.", "Response"),
)


def text_of(document: Document) -> str:
    """Write a document on one line, ASCII alone: bytes that are not UTF-8 survive as lone surrogates."""
    return json.dumps(document)


def summary(record: Record) -> Document:
    """Describe a record in a line of the list."""
    hooks = [step for step in list(record.steps) if isinstance(step, HookStep)]
    definition, visit, secrets = record.definition, record.visit, Secrets(record)
    return {
        "number": record.number,
        "id": visit.request_id,
        "began": visit.at,
        "method": record.request.method,
        "url": secrets.url(record.request.url),
        "api": "" if definition is None else definition.name or definition.api_id,
        "status": visit.status or None,
        "seconds": visit.ended - visit.began if visit.ended else None,
        "hooks": len(hooks),
        "failed": any(step.failure or step.fault for step in hooks),
        "failure": secrets.text(visit.failure),
        "resent": record.resent,
    }


def detail(record: Record, revealed: bool) -> Document:
    """Describe all that is kept of a record. `revealed`: its secrets, too."""
    secrets = Secrets(record)
    steps = [step for step in list(record.steps) if not isinstance(step, NoteStep) or step.seen]
    request, masked = secrets.request(record.request), [secrets.step(step) for step in steps]
    hidden = request != record.request or masked != steps
    if revealed:
        request, masked = record.request, steps
    answers = [step.response for step in masked if isinstance(step, UpstreamStep) and step.response is not None]
    return {
        **summary(record),
        "client": record.visit.client,
        "remark": record.remark,
        "whole": record.whole,
        "hidden": hidden,
        "revealed": revealed,
        "length": (record.visit.ended or time.perf_counter()) - record.visit.began,
        "request": _http(request),
        "steps": [_step(step, record, request, answers[0] if answers else None) for step in masked],
    }


def _step(step: Step, record: Record, request: Request, answer: Response | None) -> Document:
    """Describe a step. Upstream's request stands beside the client's, the client's answer beside upstream's."""
    match step:
        case HookStep():
            return {
                "kind": "hook",
                "phase": str(step.phase),
                "name": step.name,
                "driver": step.driver,
                "offset": step.began - record.visit.began,
                "seconds": step.seconds,
                "changes": None if step.changes is None else [_change(change) for change in step.changes],
                "token": step.token,
                "lacks_token": step.lacks_token,
                "failure": step.failure,
                "fault": step.fault,
                "warnings": list(step.warnings),
                **_seen(step.seen),
            }
        case UpstreamStep():
            return {
                "kind": "upstream",
                "offset": step.began - record.visit.began,
                "seconds": step.seconds,
                "request": step.request and _http(step.request, request.headers),
                "response": step.response and _http(step.response),
                "remark": step.remark,
                "failure": step.failure,
            }
        case ClientStep():
            before = answer.headers if answer is not None else None
            return {
                "kind": "client",
                "response": _http(step.response, before),
                "asked_upstream": step.asked_upstream,
                "event": step.event,
                "remark": step.remark,
            }
        case NoteStep():
            return {"kind": "note", "about": step.about, **_seen(step.seen)}
    raise AssertionError(f"no step of a request: {step!r}")


def _change(change: Change) -> Document:
    group = next((name for start, name in _GROUPS if change.path.startswith(start)), "Other")
    path = change.path.removeprefix("request.").removeprefix("response.")
    return {
        "group": group,
        "path": path,
        "old": _value(change.old),
        "new": _value(change.new),
        "acts": change.acts,
    }


def _seen(seen: Seen) -> Document:
    return {
        "printed": seen.printed,
        "log": [{"level": level, "message": message} for level, message in seen.logged],
        "events": [{"name": name, "payload": payload} for name, payload in seen.events],
    }


def _http(message: Request | Response, before: Headers | None = None) -> Document:
    first: Document = (
        {"method": message.method, "url": message.url} if isinstance(message, Request) else {"status": message.status}
    )
    headers = [[mark, name, value] for mark, (name, value) in marked(before, message.headers)]
    return {**first, "headers": headers, "body": _value(message.body)}


def _value(value: Value | None) -> Any:
    """Give bytes as text, or as {"base64": ...} where they are not UTF-8."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        if error.start >= len(value) - 3 and error.reason == "unexpected end of data":
            return value[: error.start].decode()  # a letter that was cut in two
        return {"base64": base64.b64encode(value).decode()}
