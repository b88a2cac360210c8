"""The failures that reach a host, each with its status of api.h."""

from __future__ import annotations

from typing import ClassVar


class BridgeError(Exception):
    """A failure whose text is meant for the host's log: what happened, where, what to do.

    Attributes:
        status: the number of `enum tykb_status` (csrc/api.h) that the host gets.
    """

    status: ClassVar[int] = -14  # TYKB_E_INTERNAL


class MalformedError(BridgeError):
    """Bytes or text from the host are not what they should be."""

    status = -5  # TYKB_E_MALFORMED


class NotFoundError(BridgeError):
    """No such folder, no such bundle, or no such hook in it."""

    status = -6  # TYKB_E_NOT_FOUND


class AmbiguousError(BridgeError):
    """No bundle is named, and several define what was asked for."""

    status = -7  # TYKB_E_AMBIGUOUS


class HookError(BridgeError):
    """A hook or an event handler raised, or returned what it may not return.

    Its `__cause__` is a `StoreError` where a hook of a chain let one go up, a `DeadlineError` where it took too long,
    an `UnavailableError` where what runs it cannot be had.
    """

    status = -8  # TYKB_E_HOOK


class LoadError(BridgeError):
    """A bundle could not be loaded.

    Attributes:
        place: "file:line" in the plugin's code that is to blame, "" where there is none.
        detail: the words without the bundle's name.
    """

    status = -9  # TYKB_E_LOAD

    def __init__(self, words: str = "", *, place: str = "", detail: str = "") -> None:
        super().__init__(words)
        self.place = place
        self.detail = detail or words


class GoneError(BridgeError):
    """The interpreter ends, or has ended."""

    status = -12  # TYKB_E_GONE


class DeadlineError(Exception):
    """A hook took longer than it may. What a driver raises for that is one as well."""


class UnavailableError(Exception):
    """What runs a hook cannot be had now: it is down, or has too much to do.

    Attributes:
        is_told: the log has it already, once for all that fail so.
    """

    is_told = False


def of(status: int, words: str) -> BridgeError:
    """Returns the error that a status of api.h stands for."""
    kinds = {
        kind.status: kind for kind in (MalformedError, NotFoundError, AmbiguousError, HookError, LoadError, GoneError)
    }
    return kinds.get(status, BridgeError)(words)
