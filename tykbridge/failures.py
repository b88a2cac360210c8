"""Words for a plugin's failures: short ones for the caller, a traceback for the log."""

from __future__ import annotations

import os
import re
import sys
import traceback
from types import FrameType

from tykbridge.bundle.namespace import plain
from tykbridge.bundle.source import SourceLoader

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_COMPILED = re.compile(r"(^|/)tykbridge/_\w+\.(pyx|pxi|pxd)$")  # how compiled frames call their files
_NUMBER = re.compile(r'#\d+\.\d+"')  # of a loading, and of a bundle in it

WORDS_LIMIT = 2_000  # characters; a plugin's exception may hold a whole body
LOG_LIMIT = 32_000
_FRAMES = 100  # of the innermost; recursion has thousands


class ScriptError(Exception):
    """What went wrong in code that is not Python's; its text has no place.

    Attributes:
        place: "file:line", "" where there is none.
        trace: what a plugin's author wants to see: the text, and the engine's own traceback.
    """

    def __init__(self, words: str, place: str = "", trace: str = "") -> None:
        super().__init__(words)
        self.place, self.trace = place, trace or words


def one_line(text: str, limit: int = WORDS_LIMIT) -> str:
    """Returns `text` on one line, cut in the middle where it is longer than `limit` characters."""
    return _cut(" ".join(text.split()), limit)


def what(error: BaseException) -> str:
    """Returns type and text of an exception, such as "ValueError: boom"."""
    try:
        text = one_line(plain(error.msg if isinstance(error, SyntaxError) else str(error)))
    except BaseException as broken:  # an exception's __str__ is the plugin's code
        text = f"(its text cannot be had: {type(broken).__name__})"
    if isinstance(error, ScriptError):
        return text
    name = type(error).__qualname__
    return f"{name}: {text}" if text else name


def line(error: BaseException, root: str | None) -> str | None:
    """Returns "file:line" of the innermost frame in the bundle, or of a fault in the source; None when there is none.

    Args:
        error: what was raised.
        root: the bundle's folder; with None any frame that is not tykbridge's own will do.
    """
    if isinstance(error, ScriptError):
        return error.place or None
    if isinstance(error, SyntaxError) and error.filename and _is_in(error.filename, root):
        return f"{error.filename}:{error.lineno or 1}"
    frames = traceback.extract_tb(error.__traceback__, limit=-_FRAMES)
    for frame in reversed(frames):
        if not _is_ours(frame) and _is_in(frame.filename, root):
            return f"{frame.filename}:{frame.lineno}"
    return None


def _is_in(path: str, root: str | None) -> bool:
    return root is None or path.startswith(root + os.sep)


def short_path(path: str, root: str | None) -> str:
    """Returns a path as seen from the bundle's folder, when it lies there."""
    return path.removeprefix(root + os.sep) if root is not None else os.path.basename(path)


def trace(error: BaseException) -> str:
    """Returns the traceback that a plugin's author wants to see: without tykbridge's own frames."""
    if isinstance(error, ScriptError):
        return _cut(error.trace, LOG_LIMIT)
    summary = traceback.TracebackException.from_exception(error, limit=-_FRAMES)
    pending: list[tuple[traceback.TracebackException | None, BaseException | None]] = [(summary, error)]
    texts: dict[int, list[str]] = {}
    seen = set()
    while pending:
        part, raised = pending.pop()
        if part is None or raised is None or id(part) in seen:
            continue
        seen.add(id(part))
        frames = [frame for frame, _ in traceback.walk_tb(raised.__traceback__)][-_FRAMES:]
        pairs = zip(part.stack, frames, strict=False)  # another thread may raise it again meanwhile
        part.stack[:] = [_quoted(entry, frame, texts) for entry, frame in pairs if not _is_ours(entry)]
        pending += [(part.__cause__, raised.__cause__), (part.__context__, raised.__context__)]
        if isinstance(raised, BaseExceptionGroup):
            pending += zip(part.exceptions or (), raised.exceptions, strict=False)
    return _cut(plain("".join(summary.format()).rstrip()), LOG_LIMIT)


def _quoted(entry: traceback.FrameSummary, frame: FrameType, texts: dict[int, list[str]]) -> traceback.FrameSummary:
    """Returns an entry of a traceback with the lines that run: the file may hold those of another version by now.

    `texts` has the lines of each loader, by its id.
    """
    loader = dict.get(frame.f_globals, "__loader__")  # whose own `get` may be a plugin's code
    if type(loader) is not SourceLoader or loader.path != entry.filename or entry.lineno is None:
        return entry
    lines = texts.get(id(loader))
    if lines is None:
        lines = texts[id(loader)] = loader.lines()
    first, last = entry.lineno, entry.lineno
    if sys.version_info >= (3, 13):  # which shows all lines of what failed
        last = entry.end_lineno or first
    text = "".join(f"{line.rstrip()}\n" for line in lines[first - 1 : last])
    return traceback.FrameSummary(
        entry.filename,
        first,
        entry.name,
        lookup_line=False,
        line=text,
        end_lineno=entry.end_lineno,
        colno=entry.colno,
        end_colno=entry.end_colno,
    )


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_PACKAGE) or _COMPILED.search(frame.filename) is not None


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} ... [{len(text) - 2 * half} characters left out] ... {text[-half:]}"


def unnumbered(words: str) -> str:
    """Returns words without the numbers that bundles get when they are loaded, which say nothing to people."""
    return _NUMBER.sub('"', words)
