"""Stands in for a gateway of which --conf and --middleware-path speak, and leaves no trace of it.

Sessions, counters and data are kept in memory, whatever store the settings name. Bundles are downloaded and verified as
the settings say, into a folder that goes with this process: in the middleware folder everything stays as it is.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from tykbridge.bridge import Bridge, HookProblem
from tykbridge.bundle.alone import remove_own
from tykbridge.bundle.depot import origins
from tykbridge.definition import Notice, Problem
from tykbridge.drivers.goplugin.host import use_settings
from tykbridge.drivers.javascript.limits import use_timeout
from tykbridge.errors import LoadError
from tykbridge.operating import NONE, prepare
from tykbridge.services import Services
from tykbridge.settings import SettingsError, read_settings, whole
from tykbridge.stores import StoreError
from tykbridge.stores.opening import Storage, open_stores


class ConfError(Exception):
    """Settings that cannot be used; `problems` has every reason."""

    def __init__(self, *problems: Problem | HookProblem) -> None:
        self.problems = problems
        super().__init__("\n  ".join(map(str, problems)))


class Gateway:
    """What a gateway with such settings has.

    Args:
        conf: a tyk.conf, over which TYK_GW_* variables win; None: no settings, and no variable counts.
        middleware_path: None: that of the settings, else "middleware".

    Attributes:
        conf: the file.
        settings: the settings, as they stand in the file.
        notices: what is worth knowing of the file.
        warnings: log lines about what was made of it, and of downloads.
        keys: how keys of sessions are written.
        trust: what bundles must prove.

    Raises ConfError: the settings cannot be used.
    """

    def __init__(self, conf: Path | None, middleware_path: Path | None) -> None:
        self.conf = conf
        self.settings, self.notices = NONE, tuple[Notice, ...]()
        self.warnings: list[str] = []
        self._aside = ""
        if conf is not None:
            try:
                self.settings, self.notices = read_settings(conf)
                use_timeout(self.settings.jsvm_timeout)
                use_settings(whole(conf, self.settings))
            except SettingsError as error:
                raise ConfError(*error.problems) from error
        try:
            self._made = made = prepare(msgspec.structs.replace(self.settings, storage=Storage()), None, self.log)
        except LoadError as error:
            raise ConfError(HookProblem(str(conf), "$", str(error))) from error
        self.keys, self.trust = made.keys, made.trust
        if self.settings.storage.type != "memory" and (words := self.keys.warning()):
            self.log(words, "warning")
        self._middleware_path = os.path.abspath(middleware_path or self.settings.middleware_path or "middleware")
        if made.downloader is not None:
            self._aside = os.path.realpath(tempfile.mkdtemp(prefix="tykbridge-"))
            weakref.finalize(self, remove_own, self._aside, os.getpid())
            _lay_over(Path(self._middleware_path, "bundles"), Path(self._aside, "bundles"))

    def log(self, words: str, level: str) -> None:
        """Keep what a gateway would warn of."""
        if level == "warning" and words not in self.warnings and not (self._aside and self._aside in words):
            self.warnings.append(words)

    def forget(self, lines: Collection[str]) -> None:
        """Drop lines that are told where they belong."""
        self.warnings = [words for words in self.warnings if words not in lines]

    def bridge(self, services: Services) -> Bridge:
        """Make what loads and runs API definitions with these settings."""
        bridge = Bridge(services, self._middleware_path)
        self._made.fit(bridge)
        bridge.bundles_path = self._aside
        return bridge

    def store_problems(self) -> list[str]:
        """Say why a gateway could not use its store, as far as that is known without touching it."""
        if self.settings.storage.type != "redis":  # opening an SQLite file would make it
            return []
        try:
            open_stores(self.settings.storage).store.close()
        except StoreError as error:
            return [str(error).removeprefix("storage: ")]
        return []

    def keeps(self, folder: Path) -> bool:
        """Whether this is one of the bundles on a gateway's disk, which its settings say what to think of."""
        if self.conf is None:
            return False
        return folder.resolve().is_relative_to(os.path.realpath(os.path.join(self._middleware_path, "bundles")))

    @property
    def policies(self) -> Path | None:
        """The file of policies that the settings name."""
        return Path(self.settings.policies.file) if self.settings.policies.file else None

    @property
    def bundles_path(self) -> str:
        """The folder that has `bundles/`."""
        return self._aside or self._middleware_path

    @property
    def names(self) -> Mapping[str, str]:
        """What people know the folders of downloaded bundles by: the URL."""
        return origins(self._aside) if self._aside else {}


def _lay_over(there: Path, here: Path) -> None:
    """Make a folder of bundles in which those of another one are."""
    here.mkdir()
    with contextlib.suppress(OSError):  # there is none, or nobody may read it
        for entry in there.iterdir():
            if not entry.name.startswith("."):
                (here / entry.name).symlink_to(entry)


def renamed(words: str, names: Mapping[str, str]) -> str:
    """Put what people know in the place of folders that are gone when they read this."""
    for folder, name in names.items():
        words = words.replace(folder, name)
    return words
