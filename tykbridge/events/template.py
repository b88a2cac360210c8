"""Fills in the templates of webhooks: the part of Go's text/template that Tyk's own templates use."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SUPPORTED = '{{.Type}}, {{.TimeStamp}}, {{.Meta.X}}, {{if eq .Type "X"}}, {{else if eq .Type "X"}}, {{else}}, {{end}}'

_ACTION = re.compile(r"(\s*\{\{- |\{\{)(.*?)( -\}\}\s*|\}\})", re.DOTALL)  # "-" takes the space around
_FIELD = re.compile(r"\.(Type|TimeStamp|Meta(?:\.[A-Za-z_]\w*)+)")
_IF = re.compile(r'(?:else\s+)?if\s+eq\s+\.Type\s+"([^"\\]*)"')
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")
_COMMENT = re.compile(r"/\*.*\*/", re.DOTALL)


class TemplateError(ValueError):
    """A template that says what is not supported; `line` counts from 1."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line


@dataclass(frozen=True)
class _Field:
    path: tuple[str, ...]


@dataclass
class _Branch:
    """What stands between {{if}} or {{else}} and the next of them. `type` None: {{else}}."""

    type: str | None
    parts: list[_Part]


@dataclass
class _Choice:
    branches: list[_Branch]


_Part = str | _Field | _Choice


class Template:
    """A template, ready to be filled in.

    Raises:
        TemplateError: it says something else than SUPPORTED.
    """

    def __init__(self, text: str) -> None:
        self._parts: list[_Part] = []
        open_choices: list[tuple[_Choice, int]] = []
        parts, at = self._parts, 0
        for found in _ACTION.finditer(text):
            _add_text(parts, text[at : found.start()])
            at = found.end()
            inside, line = found[2].strip(), text.count("\n", 0, found.start(2)) + 1
            if field := _FIELD.fullmatch(inside):
                parts.append(_Field(tuple(field[1].split("."))))
            elif (condition := _IF.fullmatch(inside)) or inside == "else":
                branch = _Branch(condition[1] if condition else None, [])
                if inside.startswith("if"):
                    choice = _Choice([branch])
                    parts.append(choice)
                    open_choices.append((choice, line))
                elif open_choices and open_choices[-1][0].branches[-1].type is not None:
                    open_choices[-1][0].branches.append(branch)
                else:
                    raise TemplateError(line, f"{{{{{inside}}}}} belongs to no {{{{if}}}}")
                parts = branch.parts
            elif inside == "end":
                if not open_choices:
                    raise TemplateError(line, "{{end}} belongs to no {{if}}")
                open_choices.pop()
                parts = open_choices[-1][0].branches[-1].parts if open_choices else self._parts
            elif not _COMMENT.fullmatch(inside):
                raise TemplateError(line, f"{{{{{inside}}}}} is not supported; what is: {SUPPORTED}")
        _add_text(parts, text[at:])
        if open_choices:
            raise TemplateError(open_choices[-1][1], "{{if}} has no {{end}}")
        if "{{" in text[at:]:
            raise TemplateError(text.count("\n", 0, text.index("{{", at)) + 1, "{{ has no }}")

    def fill(self, fields: Mapping[str, Any], escape: Callable[[str], str]) -> str:
        """Fill in `fields` (Type, TimeStamp, Meta); what an event does not have is empty."""
        return "".join(_filled(self._parts, fields, escape))


def _add_text(parts: list[_Part], text: str) -> None:
    if text:
        parts.append(text)


def _filled(parts: list[_Part], fields: Mapping[str, Any], escape: Callable[[str], str]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, _Field):
            yield escape(_text(_value(fields, part.path)))
        else:
            chosen = next((branch for branch in part.branches if branch.type in (None, fields["Type"])), None)
            yield from _filled(chosen.parts if chosen else [], fields, escape)


def _value(fields: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = fields
    for name in path:
        if not isinstance(value, Mapping):
            return None
        # TriggerExceeded has JSON names, and a template says Go's: TriggerLimit is trigger_limit.
        value = value[name] if name in value else value.get(_WORD.sub("_", name).lower())
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def json_escape(text: str) -> str:
    """Make text fit for the inside of a JSON string."""
    return json.dumps(text)[1:-1]


html_escape = html.escape
"""Make text fit for XML and HTML, as upstream does in every template."""
