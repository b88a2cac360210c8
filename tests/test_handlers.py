from __future__ import annotations

import functools
import types
from typing import Any

import pytest

from tykbridge import handlers
from tykbridge.compat.tyk.decorators import CustomKeyCheck, Event, Hook, Pre
from tykbridge.errors import LoadError
from tykbridge.handlers import Marker


def module(**names: Any) -> types.ModuleType:
    made = types.ModuleType("plugin")
    vars(made).update(names)
    return made


def read(function: Any, name: str = "H") -> Marker:
    (marker,) = handlers.read(module(**{name: function}))
    return marker


def three(request, session, spec): ...  # type: ignore[no-untyped-def]


def four(request, session, metadata, spec): ...  # type: ignore[no-untyped-def]


def five(request, response, session, metadata, spec): ...  # type: ignore[no-untyped-def]


def two(event, spec): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(("function", "arity"), [(three, 3), (four, 4), (five, 5)])
@pytest.mark.parametrize("decorator", [Hook, Pre, CustomKeyCheck])
def test_the_number_of_parameters_chooses_the_form(function: Any, arity: int, decorator: Any) -> None:
    marker = read(decorator(function))
    assert (marker.name, marker.function, marker.arity, marker.is_event) == ("H", function, arity, False)
    assert marker.place == f"{__file__}:{function.__code__.co_firstlineno}"


def test_events() -> None:
    marker = read(Event(two))
    assert (marker.arity, marker.is_event) == (2, True)


def test_names_are_those_of_the_module_in_order() -> None:
    hook = Hook(three)
    found = handlers.read(module(Z=hook, other=three, A=hook, E=Event(two), n=1))
    assert [marker.name for marker in found] == ["Z", "A", "E"]


def timed(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class Bound:
    def hook(self, request: Any, session: Any, spec: Any) -> None: ...

    def __call__(self, request: Any, session: Any, spec: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "arity"),
    [
        (timed(three), 3),
        (Hook(four), 4),
        (functools.partial(five, None), 4),
        (functools.partial(four, metadata=1), 0),  # the rest can be given by keyword only
        (Bound().hook, 3),
        (Bound(), 3),
        (lambda request, session, spec, extra=None: None, 4),
        (lambda request, session, spec, *rest, key=None, **more: None, 3),
        (lambda request, session, spec, /: None, 3),
    ],
)
def test_what_counts_as_a_parameter(function: Any, arity: int) -> None:
    if arity:
        assert read(Hook(function)).arity == arity
    else:
        with pytest.raises(LoadError, match=r"takes 2 positional parameters and needs the keyword spec"):
            read(Hook(function))


@pytest.mark.parametrize(
    ("marked", "words"),
    [
        (
            Hook(two),
            r'the hook "H" takes 2 positional parameters; write def H\(request, session, spec\) or def H\(request,',
        ),
        (Hook(lambda: None), 'the hook "H" takes 0 positional parameters; write'),
        (Hook(lambda a, b, c, d, e, f: None), 'the hook "H" takes 6 positional parameters; write'),
        (Hook(lambda *args: None), r"takes 0 positional parameters and \*, which says nothing about the form"),
        (
            Hook(lambda a, b, c, *, key: None),
            "takes 3 positional parameters and needs the keyword key, which no gateway",
        ),
        (Event(three), r'the event handler "H" takes 3 positional parameters; write def H\(event, spec\)$'),
        (Event(lambda a: None), r"takes 1 positional parameter; write"),
    ],
)
def test_a_wrong_form_is_refused_with_the_right_ones(marked: Any, words: str) -> None:
    with pytest.raises(LoadError, match=words) as failure:
        read(marked)
    assert str(failure.value).startswith(f"{__file__}:")


async def waits(request, session, spec): ...  # type: ignore[no-untyped-def]


def yields(request, session, spec):  # type: ignore[no-untyped-def]
    yield request, session


async def both(request, session, spec):  # type: ignore[no-untyped-def]
    yield request, session


@pytest.mark.parametrize(
    ("function", "words"), [(waits, "is async"), (both, "is async"), (yields, "is a generator"), (print, None)]
)
def test_functions_that_no_gateway_can_call(function: Any, words: str | None) -> None:
    with pytest.raises(LoadError, match=words or "print"):
        read(Hook(function))
