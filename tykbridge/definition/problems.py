"""Says what is wrong with a definition, where, and what was expected there."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SHOWN = 60  # characters of a wrong value that a message repeats
_MOST = 100  # problems of one file that are kept


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for which a file is refused.

    `path` is a JSON path ("$.custom_middleware.pre[0].name"). `line` and `column` count from 1 and are there when the
    text is not JSON at all.
    """

    file: str
    path: str
    expected: str
    found: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {self.path}: expected {self.expected}, found {self.found}"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the author should know: what was inferred, and what was read but has no effect.

    `inferred` tells the two apart: who left something out that can be inferred has made no mistake.
    """

    file: str
    path: str
    text: str
    inferred: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.path}: {self.text}"


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a right definition asks for and that is not built yet, so that the API is not loaded."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.what} ({self.path})"


class Report:
    """Collects what one file's reading found.

    The first problem of a place wins, for what is inside of it too: a name that is a number is not also an empty name,
    and a hook that is a string is not also a hook without a name.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.notices: list[Notice] = []
        self.needs: list[Need] = []
        self._blamed: list[str] = []

    def problem(self, path: str, expected: str, found: str, line: int | None = None, column: int | None = None) -> None:
        """Refuse the file because of `path`, unless the path or one around it is blamed already."""
        if len(self.problems) < _MOST and not any(
            path == blamed or path.startswith((f"{blamed}.", f"{blamed}[")) for blamed in self._blamed
        ):
            self._blamed.append(path)
            self.problems.append(
                Problem(file=self.file, path=path, expected=expected, found=found, line=line, column=column)
            )

    def notice(self, path: str, text: str, *, inferred: bool = False) -> None:
        """Tell the author something about `path`; the file stays good."""
        self.notices.append(Notice(file=self.file, path=path, text=text, inferred=inferred))

    def need(self, path: str, what: str) -> None:
        """Keep the API from being loaded until `what` exists; the file stays good."""
        self.needs.append(Need(path=path, what=what))

    def choice(self, path: str, value: str, choices: Iterable[str]) -> bool:
        """Check that `value` is one of `choices`, and guesses what was meant when it is not."""
        names = list(choices)
        if value in names:
            return True
        self.problem(path, one_of(names), describe(value) + guess(value.lower(), names))
        return False


def key(path: str, name: str) -> str:
    """Give the JSON path of member `name` of the object at `path`."""
    return f"{path}.{name}" if _PLAIN_KEY.fullmatch(name) else f"{path}[{json.dumps(name)}]"


def one_of(names: Iterable[str]) -> str:
    """Give the words for a choice: one of "a", "b"."""
    return "one of " + ", ".join(f'"{name}"' for name in names)


def guess(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Give words that follow an unknown name: which of `names` it looks like, "" for none.

    `cutoff` says how alike they are at least: difflib's ratio, from 0 to 1.
    """
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return f'; did you mean "{close[0]}"?' if close else ""


def describe(value: Any) -> str:
    """Give the words for a JSON value that was found in a wrong place."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"a number ({_short(str(value))})"
    if isinstance(value, str):
        return f"a string ({_short(json.dumps(value))})" if value else "an empty string"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    return "an object" if value else "an empty object"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
