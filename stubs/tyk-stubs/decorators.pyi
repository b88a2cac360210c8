from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

__all__ = ["CustomKeyCheck", "Event", "Hook", "Post", "PostKeyAuth", "Pre"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

class _Marked(Generic[_P, _R]):
    __wrapped__: Callable[_P, _R]
    __name__: str
    def __init__(self, function: Callable[_P, _R], /) -> None: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...

class Hook(_Marked[_P, _R]):
    """Marks a hook.

    Its form is `(request, session, spec)`, `(request, session, metadata, spec)` or, for responses,
    `(request, response, session, metadata, spec)`.
    """

class Pre(Hook[_P, _R]):
    """An older name of `Hook`."""

class Post(Hook[_P, _R]):
    """An older name of `Hook`."""

class PostKeyAuth(Hook[_P, _R]):
    """An older name of `Hook`."""

class CustomKeyCheck(Hook[_P, _R]):
    """An older name of `Hook`."""

class Event(_Marked[_P, _R]):
    """Marks an event handler: `(event, spec)`."""
