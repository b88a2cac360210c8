"""A host in ctypes: calls libtykbridge as any gateway calls it, through csrc/api.h."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from tykbridge import installation

Listener = Callable[[str, str], None]
"""Gets a log line's message and level, or an event's name and payload."""

_LOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
_EVENT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)


class _Message(ctypes.Structure):
    _fields_ = (("p_data", ctypes.c_void_p), ("length", ctypes.c_int))


class _HostTable(ctypes.Structure):
    """struct tykb_host. The members for data stay NULL: the library's own store serves."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("log", _LOG),
        ("trigger_event", _EVENT),
        ("store_data", ctypes.c_void_p),
        ("get_data", ctypes.c_void_p),
    )


class CallError(Exception):
    """A call that failed, in the library's words. `status` is the name of one of enum tykb_status."""

    def __init__(self, status: str, words: str) -> None:
        super().__init__(words)
        self.status = status


class Host:
    """The library in this process, with this host's functions for log lines and events.

    Both are called from whatever thread a plugin runs on. The library keeps them for good, and so does this class.
    """

    _kept: list[_HostTable] = []  # noqa: RUF012

    def __init__(self, on_log: Listener, on_event: Listener) -> None:
        """Start the library with this host's functions."""
        self._library = ctypes.CDLL(str(installation.library()))
        self._library.tykb_version.restype = ctypes.c_char_p
        self._library.tykb_abi.restype = ctypes.c_uint32
        self._library.tykb_status_name.restype = ctypes.c_char_p
        self._library.tykb_message_clear.restype = None
        self._library.Python_DispatchEvent.restype = None
        self._table = _HostTable(
            ctypes.sizeof(_HostTable),
            None,
            _LOG(lambda _, message, level: on_log(_text(message), _text(level))),
            _EVENT(lambda _, name, payload: on_event(_text(name), _text(payload))),
        )
        self._kept.append(self._table)
        self.attach()
        out = _Message()
        self._checked(self._library.tykb_init(ctypes.byref(out)), out)

    def attach(self) -> None:
        """Be the library's host from now on, again where another one has come in between."""
        self._checked(self._library.tykb_set_host(ctypes.byref(self._table)), _Message())

    def detach(self) -> None:
        """Leave the library without a host: log lines go to standard error then."""
        self._checked(self._library.tykb_set_host(None), _Message())

    @property
    def version(self) -> str:
        """The library's release."""
        return _text(self._library.tykb_version())

    @property
    def abi(self) -> int:
        """The number of the library's interface."""
        return int(self._library.tykb_abi())

    def load_bundle(self, path: os.PathLike[str], name: str) -> None:
        """Load the folder `path` as the bundle `name`.

        Raises CallError: it does not load.
        """
        out = _Message()
        self._checked(self._library.tykb_load_bundle(os.fsencode(path), name.encode(), ctypes.byref(out)), out)

    def dispatch(self, sent: bytes) -> bytes:
        """Run the hook that a serialised Object names, and give the whole Object back.

        Raises CallError: the hook failed, or there is none.
        """
        message = _Message(ctypes.cast(ctypes.c_char_p(sent), ctypes.c_void_p), len(sent))
        out = _Message()
        return self._checked(self._library.tykb_dispatch(ctypes.byref(message), 0, ctypes.byref(out)), out)

    def dispatch_event(self, event: str) -> None:
        """Hand an event, as JSON, to its handler."""
        self._library.Python_DispatchEvent(event.encode())

    def _checked(self, status: int, out: _Message) -> bytes:
        data = ctypes.string_at(out.p_data, out.length) if out.p_data else b""
        self._library.tykb_message_clear(ctypes.byref(out))
        if status != 0:
            raise CallError(_text(self._library.tykb_status_name(status)), _text(data))
        return data


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")
