"""`tyk.decorators`: marks the functions that a gateway may call.

All hook decorators mean the same: the number of parameters chooses the form, the API definition the place in the chain.
`Pre`, `Post`, `PostKeyAuth` and `CustomKeyCheck` are the older names.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

__all__ = ["CustomKeyCheck", "Event", "Hook", "Post", "PostKeyAuth", "Pre"]

P = ParamSpec("P")
R = TypeVar("R")


class Marked(Generic[P, R]):
    """A function that a decorator of this module has marked; calls through to it."""

    __wrapped__: Callable[P, R]

    def __init__(self, *functions: Callable[P, R]) -> None:
        decorator = f"@{type(self).__name__}"
        if len(functions) != 1:
            raise TypeError(f"write {decorator} without parentheses, above a def")
        (function,) = functions
        if inspect.isclass(function) or not callable(function):
            raise TypeError(f"{decorator} marks a function, not {_describe(function)}: write it above a def")
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.__wrapped__(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, '__qualname__', '?')}>"


def _describe(thing: object) -> str:
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a value of type {type(thing).__name__}"


class Hook(Marked[P, R]):
    """Marks a hook.

    Its form is `(request, session, spec)`, `(request, session, metadata, spec)` or, for responses,
    `(request, response, session, metadata, spec)`.
    """


class Pre(Hook[P, R]):
    """An older name of `Hook`."""


class Post(Hook[P, R]):
    """An older name of `Hook`."""


class PostKeyAuth(Hook[P, R]):
    """An older name of `Hook`."""


class CustomKeyCheck(Hook[P, R]):
    """An older name of `Hook`."""


class Event(Marked[P, R]):
    """Marks an event handler: `(event, spec)`."""
