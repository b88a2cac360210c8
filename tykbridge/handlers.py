"""Finds the functions of a module that decorators have marked, and checks their form."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tykbridge.compat.tyk.decorators import Event, Marked
from tykbridge.definition.model import Definition, Hook
from tykbridge.errors import LoadError

HOOK_FORMS = {
    3: "(request, session, spec)",
    4: "(request, session, metadata, spec)",
    5: "(request, response, session, metadata, spec)",
}
EVENT_FORMS = {2: "(event, spec)"}

# What a hook returns, by its number of parameters.
RETURN_FORMS = {3: "request, session", 4: "request, session, metadata", 5: "response"}


@dataclass(frozen=True)
class Marker:
    """A marked function.

    Attributes:
        name: the name that it has in its module, by which a host calls it.
        function: the function itself, without its decorator.
        arity: how many positional parameters it takes: of a hook in another language than Python always 1, the message.
        is_event: marked by @Event rather than by a hook decorator.
        place: where it is defined: "/path/file.py:12".
        decorator: what marks it: "Hook", "Pre" ... "Event"; "" in a language without marks.
        driver: the driver that runs it.
        is_response: takes a response, where the arity does not say it.
        limited: gives the function with a time limit, in milliseconds; None where the driver keeps none.
        is_endpoint: it is no hook, but a function that answers requests: it sets return_overrides, whatever they are.
        fitted: gives the function as one hook of one API runs it; None where it is the same for all.
    """

    name: str
    function: Callable[..., Any]
    arity: int
    is_event: bool
    place: str
    decorator: str = "Hook"
    driver: str = "python"
    limited: Callable[[int], Callable[..., Any]] | None = None
    is_response: bool = False
    is_endpoint: bool = False
    fitted: Callable[[Hook, Definition], Callable[..., Any]] | None = None


def read(module: ModuleType) -> list[Marker]:
    """Returns the marked functions among the names of `module`, in the order in which they were defined.

    Raises:
        LoadError: a function has a form that no gateway could call.
    """
    return [_check(name, value) for name, value in vars(module).items() if isinstance(value, Marked)]


def place(function: Callable[..., Any]) -> str:
    """Returns "file:line" of a function's definition, or what can be told of a callable that has none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def is_text(name: str) -> bool:
    """Whether a message can hold `name`, which is to be UTF-8: a str may have half of a surrogate pair."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check(name: str, marked: Marked[..., Any]) -> Marker:
    if type(name) is not str or not is_text(name):  # put into globals() by hand
        where = place(marked)
        raise LoadError(f"{where}: {name!a} cannot be a hook's or handler's name: no message can hold it", place=where)
    is_event = isinstance(marked, Event)
    kind, forms = ("event handler", EVENT_FORMS) if is_event else ("hook", HOOK_FORMS)
    function: Callable[..., Any] = marked
    while isinstance(function, Marked):  # @Hook above @Pre: once is enough
        function = function.__wrapped__
    where = place(function)
    right = " or ".join(f"def {name}{form}" for form in forms.values())
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        words = f'{where}: the {kind} "{name}" is async, but is called by a gateway that cannot await: {right}'
        raise LoadError(words, place=where)
    if inspect.isgeneratorfunction(function):
        words = f'{where}: the {kind} "{name}" is a generator, but its result is needed at once: {right}'
        raise LoadError(words, place=where)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        words = f'{where}: the parameters of the {kind} "{name}" cannot be read: {error}'
        raise LoadError(words, place=where) from error
    kinds = [parameter.kind for parameter in parameters]
    arity = sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
    missing = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if arity not in forms or missing:
        found = f"takes {arity} positional parameter{'' if arity == 1 else 's'}"
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            found += " and *, which says nothing about the form"
        if missing:
            found += f" and needs the keyword {missing[0]}, which no gateway gives"
        raise LoadError(f'{where}: the {kind} "{name}" {found}; write {right}', place=where)
    return Marker(name, function, arity, is_event, where, type(marked).__name__)
