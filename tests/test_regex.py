"""Regular expressions on text from outside."""

import sys

import pytest

from tykbridge.regex import MissingEngineError, RegexError, compile_regex


def test_text_and_bytes():
    assert compile_regex("b+").search("abbc").group() == "bb"
    assert [match.group() for match in compile_regex("b+").finditer(b"abb\xffb")] == [b"bb", b"b"]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [("(", "missing ): ("), ("(?=a)", "invalid perl operator: (?="), ("\ud800", "not Unicode text")],
)
def test_what_is_no_expression_says_why(capfd, expression, reason):
    with pytest.raises(
        RegexError, match="^" + reason.replace("(", r"\(").replace(")", r"\)").replace("?", r"\?") + "$"
    ):
        compile_regex(expression)
    assert capfd.readouterr() == ("", "")


def test_without_the_engine_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(MissingEngineError, match=r"pip install 'tykbridge\[extractors\]'"):
        compile_regex("a")
