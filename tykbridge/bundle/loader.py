"""Loads a bundle: chooses its entry files, runs them, collects what they mark."""

from __future__ import annotations

import os
import pathlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from tykbridge import failures, handlers
from tykbridge.bundle import content, manifest
from tykbridge.bundle.manifest import Manifest
from tykbridge.bundle.namespace import Namespace
from tykbridge.errors import LoadError, NotFoundError
from tykbridge.handlers import Marker, is_text

_loading = threading.local()  # .name: the bundle whose code runs on this thread for the first time


@dataclass(frozen=True)
class Bundle:
    """One loaded version of a bundle.

    Attributes:
        name: what dispatches call it; its bundle hash.
        root: its folder, without links: what a link is turned to later is another version's.
        digest: what its content is known by (`bundle.content`); "" when that is not known, and equals no other then.
        manifest: what its manifest.json says; None when it has none.
        hooks: the hooks by name.
        events: the event handlers by name.
    """

    name: str
    root: str
    digest: str
    manifest: Manifest | None
    hooks: Mapping[str, Marker]
    events: Mapping[str, Marker]
    _namespace: Namespace

    def close(self) -> None:
        """Takes the version's modules out of sys.modules. Its functions can be called as before."""
        self._namespace.close()


def refuse_while_loading(what: str) -> None:
    """Refuses work that would load bundles from inside the module code of one that is being loaded on this thread.

    Raises:
        LoadError: that is so.
    """
    name = getattr(_loading, "name", None)
    if name is not None:
        raise LoadError(f'{what} cannot be done by the bundle "{name}" while it is being loaded: do it from a hook')


def load(path: str, name: str, entry: str = "", digest: str | None = None) -> Bundle:
    """Loads the folder `path` as the bundle `name`.

    With `entry`, a file in the folder, that file is run and no manifest counts. `digest` says what the content is known
    by; without it the folder is read for one, but for an `entry`: what such a file reads in a folder that is not its
    own, be it all definitions, nobody knows.
    The code of the bundle runs on this thread, whatever it does; nothing else is affected by it.

    Raises:
        NotFoundError: there is no such folder.
        LoadError: it cannot be loaded; the words name file and line.
    """
    refuse_while_loading(f'loading "{name}"')
    if not name:  # a message without a bundle's hash would mean it
        raise LoadError(f"a bundle needs a name: {path} was given none")
    if not is_text(name):
        raise LoadError(f"a bundle's name must be text that a message can hold, and {name!a} is not UTF-8")
    root = pathlib.Path(os.path.realpath(path))
    if not root.is_dir():
        raise NotFoundError(f'bundle "{name}": there is no folder {root}')
    try:
        file = root / manifest.FILE_NAME
        described = manifest.read(file) if not entry and file.exists() else None
        entries = [root / entry] if entry else _entries(root, described)
        namespace = Namespace(name, str(root))
        before = content.known(root) if digest is None and not entry else ""
    except LoadError as error:
        raise LoadError(f'bundle "{name}" cannot be loaded: {error}', place=error.place, detail=error.detail) from error
    except OSError as error:
        raise LoadError(f'bundle "{name}" cannot be loaded: {root} cannot be read: {error}') from error
    namespace.open()
    _loading.name = name
    try:
        found = _collect(namespace, entries)
        bundle = Bundle(
            name,
            str(root),
            # Files that changed while they were loaded: nobody can say which content this version is of.
            digest or (before if before and content.known(root) == before else ""),
            described,
            {marker.name: marker for marker in found if not marker.is_event},
            {marker.name: marker for marker in found if marker.is_event},
            namespace,
        )
        if described is not None:
            _check_manifest(described, bundle, entries)
        return bundle
    except BaseException as error:  # SystemExit and KeyboardInterrupt as well: a bundle cannot end its host
        try:
            line = failures.line(error, str(root))
            place = error.place if line is None and isinstance(error, LoadError) else line or ""
            detail = _words(error, line)
        finally:
            namespace.close()
        raise LoadError(f'bundle "{name}" cannot be loaded: {detail}', place=place, detail=detail) from error
    finally:
        _loading.name = None


def _entries(root: pathlib.Path, described: Manifest | None) -> list[pathlib.Path]:
    """Returns the files that are run."""
    if described is not None and not _wants_python(described):
        return []
    standard = root / "middleware.py"
    if standard.is_file():
        return [_own(root, standard)]
    if described is not None:
        listed = [name for name in described.files if name.endswith(".py") and name != "__init__.py"]
        files = [root / name for name in listed if pathlib.PurePosixPath(name).parts[0] != "vendor"]
        if not files and any(hook.driver in ("", "python") for hook in described.hooks):
            raise LoadError(
                f"{described.file}: it names Python hooks, but there is no middleware.py, nor a .py file in file_list"
            )
        return files
    files = sorted(path for path in root.glob("*.py") if path.name != "__init__.py")
    if len(files) != 1:
        found = f"its .py files are {', '.join(path.name for path in files)}" if files else "it has no .py file"
        raise LoadError(f"{root} has neither a middleware.py nor a manifest.json that says what to run, and {found}")
    return [_own(root, files[0])]


def _own(root: pathlib.Path, file: pathlib.Path) -> pathlib.Path:
    if not manifest.is_inside(root, file.name):
        raise LoadError(f"{file} is a link that leaves the bundle's folder; put the file itself there")
    return file


def _wants_python(described: Manifest) -> bool:
    if any(hook.driver == "python" for hook in described.hooks) or described.driver == "python":
        return True
    # Nothing names a driver: then it is a Python bundle when it has Python files.
    return not described.driver and all(not hook.driver for hook in described.hooks)


def _collect(namespace: Namespace, entries: list[pathlib.Path]) -> list[Marker]:
    found: dict[str, Marker] = {}
    for entry in entries:
        for marker in handlers.read(namespace.load_file(str(entry))):
            other = found.setdefault(marker.name, marker)
            if other.function is not marker.function:
                raise LoadError(f'"{marker.name}" is defined twice: {other.place} and {marker.place}; rename one')
    return list(found.values())


def _check_manifest(described: Manifest, bundle: Bundle, entries: list[pathlib.Path]) -> None:
    for hook in described.hooks:
        if hook.driver not in ("", "python") or hook.name in bundle.hooks or (not hook.driver and not entries):
            continue
        if hook.name in bundle.events:
            what = f"{bundle.events[hook.name].place} marks it with @Event; a hook is marked with @Hook"
        else:
            files = ", ".join(entry.relative_to(bundle.root).as_posix() for entry in entries)
            there = ", ".join(bundle.hooks) or "none"
            what = f"no function of this name is marked with @Hook in {files} (hooks there: {there})"
        raise LoadError(f'{described.file}: {hook.path} names the hook "{hook.name}", but {what}')


def _words(error: BaseException, line: str | None) -> str:
    """Says where in the bundle an error came from, and what it is."""
    if line is None:  # a check's words need no type
        return str(error) if isinstance(error, LoadError) else failures.what(error)
    return f"{line}: {failures.what(error)}"
