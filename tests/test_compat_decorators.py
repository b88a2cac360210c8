from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from tykbridge.compat.tyk import decorators
from tykbridge.compat.tyk.decorators import CustomKeyCheck, Event, Hook, Post, PostKeyAuth, Pre

KINDS = [Hook, Pre, Post, PostKeyAuth, CustomKeyCheck, Event]


def sample(request: Any, session: Any, spec: Any = 3) -> tuple[Any, Any, Any]:
    """What it says."""
    return request, session, spec


def test_a_star_import_gives_the_decorators() -> None:
    names: dict[str, Any] = {}
    exec("from tykbridge.compat.tyk.decorators import *", names)
    assert {name for name in names if not name.startswith("__")} == {kind.__name__ for kind in KINDS}
    assert sorted(decorators.__all__) == decorators.__all__


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_marked_stays_what_it_was(kind: Any) -> None:
    marked = kind(sample)
    assert marked(1, 2) == marked(1, session=2) == (1, 2, 3)
    assert (marked.__name__, marked.__doc__, marked.__wrapped__) == ("sample", "What it says.", sample)
    assert marked.__module__ == __name__
    assert inspect.signature(marked) == inspect.signature(sample)
    assert inspect.getsource(marked).startswith("def sample")
    assert repr(marked) == f"<{kind.__name__} sample>"


def test_all_kinds_but_event_are_hooks() -> None:
    assert [kind for kind in KINDS if not issubclass(kind, Hook)] == [Event]


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (int, "@Hook marks a function, not the class int: write it above a def"),
        ("name", "@Hook marks a function, not a value of type str: write it above a def"),
        (None, "not a value of type NoneType"),
    ],
)
def test_what_cannot_be_marked(thing: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Hook(thing)


@pytest.mark.parametrize("arguments", [(), (sample, "more")])
def test_parentheses(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="write @PostKeyAuth without parentheses, above a def"):
        PostKeyAuth(*arguments)


def test_callables_without_a_name() -> None:
    assert Hook(functools.partial(sample, 1))(2) == (1, 2, 3)
    assert repr(Hook(functools.partial(sample, 1))) == "<Hook ?>"
