"""Opens plugins: each content once in a process, and for good.

A private copy is what is opened, under a name of its content. Opening one path twice gives the code of the first time,
and writing to a file that is open ends the process (SIGBUS); a copy of our own suffers neither. It is gone from the
disk as soon as it is mapped, so that no end of the process leaves it behind.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tykbridge import _bridge, locks
from tykbridge.bundle.alone import remove_own
from tykbridge.drivers.goplugin import _plugin, elf, isolation
from tykbridge.drivers.goplugin.host import Host, known_settings
from tykbridge.errors import LoadError
from tykbridge.failures import ScriptError

_MANY = 16
"""Libraries after which, and after each doubling, the log hears of it."""

_WAIT = 5.0  # seconds, at the end, for what plugins have asked already


@dataclass(frozen=True)
class Library:
    """A plugin that is open.

    Attributes:
        plugin: its functions.
        hooks: what its manifest says of them: name, kind, and where there is one, file and line.
    """

    plugin: _plugin.Plugin
    hooks: tuple[dict[str, Any], ...]


class Shared:
    """A plugin in a process of its own, and how many use it. The process ends with the last."""

    def __init__(self, digest: str, library: Library) -> None:
        self.library = library
        self._digest, self._users = digest, 0

    def open(self) -> None:
        """Count a user. Under the lock."""
        self._users += 1
        self.plugin.open()

    def close(self) -> None:
        """Let a user go."""
        with _sharing:
            self._users -= 1
            if self._users == 0:
                if _isolated.get(self._digest) is self:
                    del _isolated[self._digest]
                self.plugin.close()

    @property
    def plugin(self) -> isolation.Isolated:
        """The plugin, as what it is."""
        assert isinstance(self.library.plugin, isolation.Isolated)
        return self.library.plugin


_lock = locks.lock()  # of what follows; held while a library is opened, so that each is opened once
_open: dict[str, Library | LoadError] = {}  # by the sum of its content
_host = Host()

# Of the next, and of their numbers of users. A collection may let go of one in the middle of another's turn.
_sharing = locks.reentrant()
_isolated: dict[str, Shared] = {}  # by the sum of its content


def obtain(file: Path) -> Library:
    """Give the plugin in a file: the open one, where the content is the same. Its code runs when it is opened.

    Raises:
        LoadError: it cannot be read or used; the words name the file.
    """
    data, digest = _read(file)
    with _lock:
        known = _open.get(digest)
        if known is None:
            elf.check(data, str(file))
            plugin = _mapped(data, digest, file)
            try:
                known = _begun(plugin)
            except ScriptError as error:
                # It is there for good, and would begin no better a second time.
                known = LoadError(f"{file} cannot be used: {error}")
            _open[digest] = known
            _warn(len(_open))
    if isinstance(known, LoadError):
        raise LoadError(str(known))
    return known


def obtain_isolated(file: Path) -> Shared:
    """Give the plugin in a file, in a process of its own: the running one, where the content is the same.

    Whoever gets it calls `Shared.close` once.

    Raises:
        LoadError: it cannot be read or used; the words name the file.
    """
    data, digest = _read(file)
    with _sharing:
        known = _isolated.get(digest)
        if known is None:
            elf.check(data, str(file))
            known = Shared(digest, _begun_apart(data, file))
            _isolated[digest] = known
        known.open()
    return known


def _begun_apart(data: bytes, file: Path) -> Library:
    plugin = isolation.Isolated(data, file.name, _host, known_settings())
    try:
        return _begun(plugin)
    except ScriptError as error:
        plugin.close()
        words = re.sub(r"/proc/self/fd/\d+", file.name, str(error))
        raise LoadError(f"{file} cannot be used: {words}{_hint(words)}") from None


def _begun(plugin: _plugin.Plugin) -> Library:
    manifest = plugin.manifest()
    try:
        told = json.loads(manifest)["hooks"]
        hooks = tuple({**hook, "name": str(hook["name"]), "kind": str(hook["kind"])} for hook in told)
    except (ValueError, KeyError, TypeError) as error:
        raise ScriptError(f"its manifest is not what csrc/plugin.h says: {error!r}") from error
    plugin.start(known_settings())
    return Library(plugin, hooks)


def _read(file: Path) -> tuple[bytes, str]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise LoadError(f"{file} cannot be read: {error.strerror}") from error
    return data, hashlib.sha256(data).hexdigest()


def _hint(words: str) -> str:
    if "failed to map segment" in words or "Operation not permitted" in words:
        return f"; {tempfile.gettempdir()} may be mounted with noexec: name another folder with TMPDIR"
    if "GLIBC_" in words:
        return "; it was built on a newer Linux: build it with --glibc, such as --glibc 2.17"
    return ""


def _mapped(data: bytes, digest: str, file: Path) -> _plugin.Plugin:
    folder = ""
    try:
        try:
            folder = tempfile.mkdtemp(prefix="tykbridge-")  # nobody else's: mode 0700
            copy = Path(folder, f"{file.stem[:64]}-{digest[:32]}.so")
            copy.write_bytes(data)
        except OSError as error:
            where = error.filename or tempfile.gettempdir()
            raise LoadError(f"{file} cannot be copied, and only a copy is opened: {where}: {error.strerror}") from error
        try:
            return _plugin.Plugin(os.fsencode(copy), _host)
        except ScriptError as error:
            words = str(error).replace(str(copy), file.name)
            raise LoadError(f"{file} cannot be opened: {words}{_hint(words)}") from None
    finally:
        if folder:
            remove_own(folder, os.getpid())


def _warn(count: int) -> None:
    if count >= _MANY and count & (count - 1) == 0:
        words = (
            f"{count} versions of native plugins are loaded, of 4 MB and more each, and none ever leaves the process"
        )
        _bridge.log(f"{words}: restart it at a good time", "warning")


def _forked() -> None:
    # What is open does not run in a child that is Go's; another copy of it does.
    _open.clear()
    _plugin.forked()


def _end() -> None:
    """Keep plugins' threads away from an interpreter that ends: waiting for its lock, they would be ended with it.

    The host may live on: what runs in processes of its own ends here.
    """
    _plugin.end()
    for shared in list(_isolated.values()):
        shared.plugin.close()
    until = time.monotonic() + _WAIT
    while _plugin.is_asked() and time.monotonic() < until:
        time.sleep(0.001)


os.register_at_fork(after_in_child=_forked)
atexit.register(_end)
