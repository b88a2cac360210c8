"""Loads a bundle: chooses the files that each driver runs, and puts together what the drivers find in them."""

from __future__ import annotations

import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tykbridge import drivers, failures
from tykbridge.bundle import content, manifest
from tykbridge.bundle.manifest import Manifest
from tykbridge.definition.model import NO_CHOICES, Choices, Driver
from tykbridge.drivers import Asked, Loaded, Source
from tykbridge.drivers.goplugin import files as libraries
from tykbridge.errors import LoadError, NotFoundError
from tykbridge.handlers import Marker, is_text

_loading = threading.local()  # .name: the bundle whose code runs on this thread for the first time


@dataclass(frozen=True)
class Bundle:
    """One loaded version of a bundle.

    Attributes:
        name: what dispatches call it; its bundle hash.
        root: its folder, without links: what a link is turned to later is another version's; "" without one.
        digest: what its content is known by (`bundle.content`); "" when that is not known, and equals no other then.
        manifest: what its manifest.json says; None when it has none.
        hooks: the hooks by name.
        events: the event handlers by name.
        endpoints: the functions that answer requests, by name.
        others: why further names that its code has are neither.
    """

    name: str
    root: str
    digest: str
    manifest: Manifest | None
    hooks: Mapping[str, Marker]
    events: Mapping[str, Marker]
    endpoints: Mapping[str, Marker]
    others: Mapping[str, str]
    _parts: Sequence[Loaded]

    def close(self) -> None:
        """Lets go of what the version shares with others, such as sys.modules. Calls in flight go on as before."""
        for part in self._parts:
            part.close()


def refuse_while_loading(what: str) -> None:
    """Refuses work that would load bundles from inside the module code of one that is being loaded on this thread.

    Raises:
        LoadError: that is so.
    """
    name = getattr(_loading, "name", None)
    if name is not None:
        raise LoadError(f'{what} cannot be done by the bundle "{name}" while it is being loaded: do it from a hook')


def load(
    path: str,
    name: str,
    entry: str = "",
    digest: str | None = None,
    driver: Driver | None = None,
    choices: Choices = NO_CHOICES,
) -> Bundle:
    """Loads the folder `path` as the bundle `name`.

    With `entry`, a file in the folder, that file is run and no manifest counts, by `driver` or the one that its suffix
    names. `digest` says what the content is known by; without it the folder is read for one, but for an `entry`: what
    such a file reads in a folder that is not its own, be it all definitions, nobody knows. `choices`: what the
    definition says of the engines.
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
        if entry:
            entries = {driver or drivers.of_file(entry) or Driver.PYTHON: [root / entry]}
        else:
            entries = _entries(root, described)
        before = content.known(root) if digest is None and not entry else ""
    except LoadError as error:
        raise LoadError(f'bundle "{name}" cannot be loaded: {error}', place=error.place, detail=error.detail) from error
    except OSError as error:
        raise LoadError(f'bundle "{name}" cannot be loaded: {root} cannot be read: {error}') from error
    parts: list[Loaded] = []
    _loading.name = name
    try:
        for language, files in entries.items():
            parts.append(_load(language, Source(name, str(root), files, choices)))
        found = _collect(parts, described)
        bundle = Bundle(
            name,
            str(root),
            # Files that changed while they were loaded: nobody can say which content this version is of.
            digest or (before if before and content.known(root) == before else ""),
            described,
            {marker.name: marker for marker in found if not (marker.is_event or marker.is_endpoint)},
            {marker.name: marker for marker in found if marker.is_event},
            {marker.name: marker for marker in found if marker.is_endpoint},
            {other: why for part in parts for other, why in part.others.items()},
            parts,
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
            for part in parts:
                part.close()
        raise LoadError(f'bundle "{name}" cannot be loaded: {detail}', place=place, detail=detail) from error
    finally:
        _loading.name = None


def ask(language: Driver, asked: Asked, name: str, digest: str) -> Bundle:
    """Makes a bundle, of the name `name`, of one function that a server is asked for. The server need not be there yet.

    Raises:
        LoadError: the driver is not there, or a file that its target names cannot be used.
    """
    try:
        part = _load(language, Source(name, "", (), asked=asked))
    except LoadError:
        raise
    except Exception as error:  # such as that of a library that does not fit this system
        raise LoadError(f"the {language} driver cannot be used: {failures.what(error)}") from error
    return Bundle(
        name,
        "",
        digest,
        None,
        {marker.name: marker for marker in part.markers if not marker.is_event},
        {marker.name: marker for marker in part.markers if marker.is_event},
        {},
        part.others,
        [part],
    )


def _load(language: Driver, source: Source) -> Loaded:
    engine = drivers.engines()[language]
    if hint := engine.missing():
        raise LoadError(f"it needs the {language} driver: {hint}")
    return engine.load(source)


def _entries(root: pathlib.Path, described: Manifest | None) -> dict[Driver, list[pathlib.Path]]:
    """Returns the files that each driver runs."""
    if described is not None:
        return {language: _listed(root, described, language) for language in _languages(described)}
    for language, engine in drivers.engines().items():
        suffix = engine.suffix
        if not suffix:
            continue
        standard = root / f"middleware{suffix}"
        files = [standard] if standard.is_file() else sorted(root.glob(f"*{suffix}"))
        files = [file for file in files if file.name != "__init__.py"]
        if len(files) == 1:
            return {language: [_own(root, files[0])]}
        if files:
            found = f"its {suffix} files are {', '.join(file.name for file in files)}"
            raise LoadError(
                f"{root} has neither a middleware{suffix} nor a manifest.json that says what to run, and {found}"
            )
    raise LoadError(
        f"{root} has neither a middleware.py nor a manifest.json that says what to run, and it has no .py file"
    )


def _listed(root: pathlib.Path, described: Manifest, language: Driver) -> list[pathlib.Path]:
    """Returns what a driver runs of a bundle with a manifest: middleware.py, else the .py files of file_list.

    The hooks of JavaScript name their files, as in upstream: then those are run, and what file_list has besides.
    """
    suffix = drivers.engines()[language].suffix
    if not suffix:
        return []
    if suffix == ".so":
        return _libraries(root, described, language)
    named = _named(described, suffix) if language is Driver.JAVASCRIPT else []
    standard = root / f"middleware{suffix}"
    if standard.is_file() and named in ([], [standard.name]):
        return [_own(root, standard)]
    listed = [name for name in described.files if name.endswith(suffix) and name != "__init__.py"]
    listed += [name for name in named if name not in listed]
    files = [root / name for name in listed if pathlib.PurePosixPath(name).parts[0] != "vendor"]
    asked = (language, "") if language is Driver.PYTHON else (language,)
    if not files and any(hook.driver in asked for hook in described.hooks):
        raise LoadError(
            f"{described.file}: it names {language.capitalize()} hooks, but there is no middleware{suffix}, "
            f"nor a {suffix} file in file_list"
        )
    return files


def _libraries(root: pathlib.Path, described: Manifest, language: Driver) -> list[pathlib.Path]:
    """Returns the libraries that hooks name, or the only one; a bundle may have builds for several machines."""
    found: list[pathlib.Path] = []
    listed = [name for name in described.files if name.endswith(".so")]
    for hook in described.hooks:
        if hook.driver != language:
            continue
        name = hook.file or (listed[0] if len(listed) == 1 else "middleware.so")
        file = libraries.find(root / name)
        if file is None or not manifest.is_inside(root, file.relative_to(root).as_posix()):
            looked = ", ".join(libraries.names(name))
            words = f"the bundle has none of the files {looked} for the hook {hook.name!a}"
            raise LoadError(f"{described.file}: {hook.path}.path: {words}")
        found.append(file)
    return list(dict.fromkeys(found))


def _named(described: Manifest, suffix: str) -> list[str]:
    """Returns the files that hooks name. One name in two files would be one function: they share their globals."""
    owners: dict[str, str] = {}
    for hook in described.hooks:
        if hook.driver != Driver.JAVASCRIPT or not hook.file.endswith(suffix):
            continue
        if owners.setdefault(hook.name, hook.file) != hook.file:
            words = f'the hook "{hook.name}" is in {owners[hook.name]} already, and {hook.file} would replace it'
            raise LoadError(f"{described.file}: {hook.path}: {words}; rename one")
        if not (described.file.parent / hook.file).is_file():
            raise LoadError(f'{described.file}: {hook.path}.path: the bundle has no file "{hook.file}"')
    return list(dict.fromkeys(owners.values()))


def _own(root: pathlib.Path, file: pathlib.Path) -> pathlib.Path:
    if not manifest.is_inside(root, file.name):
        raise LoadError(f"{file} is a link that leaves the bundle's folder; put the file itself there")
    return file


def _languages(described: Manifest) -> list[Driver]:
    """Returns the drivers of this build that a manifest asks for, without those whose code lies in no bundle."""
    named = {described.driver, *(hook.driver for hook in described.hooks)} - {""}
    # Nothing names a driver: then it is a Python bundle when it has Python files.
    engines = drivers.engines()
    return [name for name in engines if name in (named or {Driver.PYTHON}) and engines[name].suffix]


def _collect(parts: Sequence[Loaded], described: Manifest | None) -> list[Marker]:
    """Puts together what the drivers found. The manifest says whose a hook is; else a name is one function's."""
    owners = {hook.name: hook.driver for hook in described.hooks if hook.driver} if described is not None else {}
    found: dict[tuple[str, bool], Marker] = {}
    for part in parts:
        for marker in part.markers:
            if not marker.is_event and owners.get(marker.name, marker.driver) != marker.driver:
                continue
            other = found.setdefault((marker.name, marker.is_event), marker)
            if other is not marker:
                raise LoadError(f'"{marker.name}" is defined twice: {other.place} and {marker.place}; rename one')
    return list(found.values())


def _check_manifest(described: Manifest, bundle: Bundle, entries: Mapping[Driver, list[pathlib.Path]]) -> None:
    for hook in described.hooks:
        language = hook.driver or Driver.PYTHON
        if language not in entries or hook.name in bundle.hooks or (not hook.driver and not any(entries.values())):
            continue
        files = ", ".join(entry.relative_to(bundle.root).as_posix() for entry in entries[Driver(language)])
        there = ", ".join(bundle.hooks) or "none"
        if hook.name in bundle.others:
            what = bundle.others[hook.name]
        elif language != Driver.PYTHON:
            what = f"there is no function of this name in {files} (hooks there: {there})"
        elif hook.name in bundle.events:
            what = f"{bundle.events[hook.name].place} marks it with @Event; a hook is marked with @Hook"
        else:
            what = f"no function of this name is marked with @Hook in {files} (hooks there: {there})"
        raise LoadError(f'{described.file}: {hook.path} names the hook "{hook.name}", but {what}')


def _words(error: BaseException, line: str | None) -> str:
    """Says where in the bundle an error came from, and what it is."""
    if line is None:  # a check's words need no type
        return str(error) if isinstance(error, LoadError) else failures.what(error)
    return f"{line}: {failures.what(error)}"
