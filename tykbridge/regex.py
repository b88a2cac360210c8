"""Regular expressions that run on text from outside.

RE2: linear time whatever the text, and the syntax of upstream's Go, in which the expressions of definitions and
sessions are written. Python's own engine can be held up for hours by a text made for it.
"""

from __future__ import annotations

from typing import Any


class RegexError(Exception):
    """The text is no regular expression; the message says why."""


class MissingEngineError(Exception):
    """An optional engine is not installed; the message says which extra has it."""


def compile_regex(expression: str) -> Any:
    """Compile a regular expression; the result has `search` and `finditer`, for str and bytes.

    Raises `RegexError`, or `MissingEngineError` without google-re2.
    """
    try:
        import re2
    except ImportError as error:
        raise MissingEngineError("RE2 for regular expressions: pip install 'tykbridge[extractors]'") from error
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(expression, options)
    except UnicodeError:
        raise RegexError("not Unicode text") from None
    except re2.error as error:
        raise RegexError(error.args[0].decode(errors="replace")) from None
