"""tykbridge.endpoints: which requests a virtual endpoint answers."""

from types import SimpleNamespace

import pytest

from tykbridge.endpoints import Endpoint, compile_path
from tykbridge.regex import RegexError


def answers(path, url, method="GET", listen_path="/"):
    request = SimpleNamespace(method=method, url=url)
    return Endpoint("GET", path, listen_path).finder()(request)


@pytest.mark.parametrize(
    ("path", "url", "expected"),
    [
        ("/stock", "/stock", True),
        ("/stock", "/stock?a=b", True),
        ("/stock", "/v2/stock/7", True),
        ("/stock", "/stoc", False),
        ("/stock", "/x?y=/stock", False),
        ("/a b", "/a%20b", True),
        ("^/stock$", "/stock", True),
        ("^/stock$", "/v2/stock", False),
        ("/s.ock", "/stock", True),
        ("/items/{id}", "/items/7", True),
        ("/items/{id}", "/items/", False),
        ("^/items/{id}$", "/items/7/8", False),
        ("^/a/*/c$", "/a/b/c", True),
        ("^/a/*/c$", "/a/b/b/c", False),
        ("^/a/*$", "/a/b/c", True),
    ],
)
def test_paths(path, url, expected):
    assert answers(path, url) is expected


def test_what_is_no_expression():
    with pytest.raises(RegexError):
        compile_path("/a(")


def test_the_method_counts():
    assert not answers("/a", "/a", method="POST")
    assert not answers("/a", "/a", method="get")


@pytest.mark.parametrize(
    ("listen_path", "url", "expected"),
    [
        ("/api/", "/api/x", True),
        ("/api", "/api/x", True),
        ("/api/", "/x", True),
        ("/api/", "/api/", False),
        ("/api/", "/api/api/x", False),
    ],
)
def test_the_listen_path_is_not_a_part_of_it(listen_path, url, expected):
    assert answers("^/x$", url, listen_path=listen_path) is expected
