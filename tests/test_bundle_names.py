from __future__ import annotations

import pytest

from tykbridge.bundle import names

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a.zip",
        "a/b/c.zip",
        "my bundle.zip",
        "größe/日本.zip",
        "..zip",
        "a..b/...",
        "100%.zip",
        "%2e%2e/a",
        "a/b:c",
        "~x",
    ],
)
def test_names_that_may_be_downloaded(name: str) -> None:
    assert names.fault(name) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "it is empty"),
        ("/etc/passwd", "it is absolute"),
        ("//host/a", "it is absolute"),
        ("..", 'it has ".." between its slashes'),
        ("a/../b", 'it has ".." between its slashes'),
        ("a/..", 'it has ".." between its slashes'),
        ("./a", 'it has "." between its slashes'),
        ("a//b", "a part of it between slashes is empty"),
        ("a/", "a part of it between slashes is empty"),
        ("a\\..\\b", "it has a backslash"),
        ("a?b", "it has a ?"),
        ("a#b", "it has a #"),
        ("http://host/a", 'it begins with the scheme "http:"'),
        ("file:a", 'it begins with the scheme "file:"'),
        ("C:a", 'it begins with the scheme "C:"'),
        ("a\nb", "it has characters that cannot be printed"),
        ("a\0b", "it has characters that cannot be printed"),
        ("a\x7fb", "it has characters that cannot be printed"),
        ("a\u2028b", "it has characters that cannot be printed"),
        ("a\ud800", "it has characters that cannot be printed"),
    ],
)
def test_names_that_may_not(name: str, words: str) -> None:
    assert names.fault(name) == words
