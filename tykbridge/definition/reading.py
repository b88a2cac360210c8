"""Reads definitions from text, from a file and from a folder: one bad definition never stops the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from tykbridge.definition import checks, classic, oas, targets, tree
from tykbridge.definition.model import Bundle, Capabilities, Choices, Definition, Driver, Extractor, Hook, Phase
from tykbridge.definition.problems import Need, Notice, Problem, Report, describe
from tykbridge.errors import LoadError

TEXT = "<text>"
"""The file name of a definition that came as text."""

DEFAULT = Capabilities()


class DefinitionError(LoadError):
    """A definition that cannot be used. `problems` has every reason; the message holds one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one file: a definition, or the reasons why there is none."""

    file: str
    definition: Definition | None = None
    problems: tuple[Problem, ...] = ()
    notices: tuple[Notice, ...] = ()
    needs: tuple[Need, ...] = ()

    @property
    def loadable(self) -> bool:
        """Whether the API can run: its definition is right, active, and needs nothing that is not built."""
        return self.definition is not None and self.definition.active and not self.needs

    @property
    def verdict(self) -> str:
        """One line for people: "loaded", "not loaded: needs ...", "not loaded: inactive", or the number of problems."""
        if self.definition is None:
            count = len(self.problems)
            return f"refused: {count} problem{'s' if count != 1 else ''}"
        if self.needs:
            return "not loaded: needs " + ", ".join(str(need) for need in self.needs)
        return "loaded" if self.definition.active else "not loaded: inactive"

    def require(self) -> Definition:
        """Give the definition; raises `DefinitionError` with all the problems when there is none."""
        if self.definition is None:
            raise DefinitionError(self.problems)
        return self.definition


class Catalog(msgspec.Struct, frozen=True):
    """All the readings of a folder, in the order of the file names."""

    readings: tuple[Reading, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Every problem, those of the folder itself first."""

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """The definitions whose APIs can run."""
        return tuple(reading.require() for reading in self.readings if reading.loadable)

    @property
    def not_loaded(self) -> tuple[Reading, ...]:
        """Right definitions that wait for something, and inactive ones: `verdict` says which."""
        return tuple(item for item in self.readings if item.definition is not None and not item.loadable)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Every file's notices."""
        return tuple(notice for reading in self.readings for notice in reading.notices)


def read_text(text: bytes | str, file: str = TEXT, capabilities: Capabilities = DEFAULT) -> Reading:
    """Read one definition out of JSON text, classic or OAS. Never raises for what the text holds.

    `file` names the text in messages; a relative path of a hook is looked up beside it.
    """
    report = Report(file)
    document = tree.parse(text, report)
    return _finish(report) if document is None else _read(report, document, capabilities)


def read_file(path: str | os.PathLike[str], capabilities: Capabilities = DEFAULT) -> Reading:
    """Read one definition out of a file. A file that cannot be read is a problem as well, never an exception."""
    file = os.fspath(path)
    report = Report(file)
    text = _bytes_of(file, report)
    return _finish(report) if text is None else read_text(text, file, capabilities)


def read_folder(path: str | os.PathLike[str], capabilities: Capabilities = DEFAULT) -> Catalog:
    """Read every *.json of a folder (not of folders inside), as upstream's app_path.

    Files that fight over an api_id, or over a listen_path of the same domain and port, are all refused: which of them
    is meant is not for us to guess.
    """
    folder = os.fspath(path)
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith("."))
    except (OSError, ValueError) as error:
        report = Report(folder)
        report.problem("$", "a folder that can be read", str(getattr(error, "strerror", None) or error))
        return Catalog((), tuple(report.problems))
    readings = [read_file(os.path.join(folder, name), capabilities) for name in names]
    return _settle(_companions(readings))


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a bundle's manifest.json, for `with_manifests`, which checks what it says.

    Raises `DefinitionError`: it cannot be read, or is no JSON object.
    """
    file = os.fspath(path)
    report = Report(file)
    text = _bytes_of(file, report)
    document = None if text is None else tree.parse(text, report, "the manifest")
    if document is None:
        raise DefinitionError(report.problems)
    return document


def with_manifests(
    reading: Reading,
    manifests: Iterable[tuple[Bundle, dict[str, Any]]],
    capabilities: Capabilities = DEFAULT,
    files: Mapping[str, str] | None = None,
) -> Reading:
    """Put the hooks of the bundles' manifests in the place of the definition's own.

    `manifests` holds the API's bundles in its order, each with the JSON object of its manifest. Lists are put one after
    the other; auth_check and the ID extractor may come from one bundle only. `files` has the manifests' paths, by the
    bundles' names, for messages.
    """
    definition = reading.require()
    hooks: list[Hook] = []
    extractor: Extractor | None = None
    owner = {"auth_check": "", "id_extractor": ""}
    reports: list[Report] = []
    named: set[Driver | None] = set()
    for bundle, manifest in manifests:
        report = Report((files or {}).get(bundle.name) or f"{bundle.name}/manifest.json")
        section = classic.read_section(report, manifest.get("custom_middleware"), "$.custom_middleware", capabilities)
        checks.needs(report, section, (), "", capabilities)
        # Who writes a bundle is whom the sandbox is for; and one bundle's choice would be that of the others, too.
        for driver in msgspec.structs.fields(Choices):
            for choice, value in msgspec.structs.asdict(getattr(section.choices, driver.name)).items():
                if value:
                    where = f"$.custom_middleware.{driver.name}.{choice}"
                    report.problem(where, f"it in {definition.file} alone", describe(value))
        if section.targets or section.target:  # where sessions go to
            report.problem("$.custom_middleware.grpc", f"it in {definition.file} alone", "an object")
        if definition.document:  # a bundle by itself has none
            targets.check_hooks(report, section.hooks, definition.section.targets)
        has_check = any(hook.phase is Phase.AUTH_CHECK and not hook.disabled for hook in section.hooks)
        for what, there in (("auth_check", has_check), ("id_extractor", section.extractor is not None)):
            if there and owner[what]:
                report.problem(f"$.custom_middleware.{what}", "it in one bundle only", f'one in "{owner[what]}" too')
            elif there:
                owner[what] = bundle.name
        hooks += [msgspec.structs.replace(hook, bundle=bundle.name) for hook in section.hooks]
        extractor = section.extractor or extractor
        named.add(section.driver)
        reports.append(report)
    if definition.auth.custom and not owner["auth_check"] and reports:
        expected = f"a hook, because {definition.file} turns custom authentication on"
        reports[0].problem("$.custom_middleware.auth_check", expected, "none in any of the API's bundles")
    problems = tuple(problem for report in reports for problem in report.problems)
    merged = msgspec.structs.replace(
        definition.section,
        driver=named.pop() if len(named) == 1 else None,
        hooks=tuple(hooks),
        extractor=extractor,
    )
    return Reading(
        file=reading.file,
        definition=None if problems else msgspec.structs.replace(definition, section=merged),
        problems=problems,
        notices=reading.notices + tuple(notice for report in reports for notice in report.notices),
        needs=reading.needs + tuple(need for report in reports for need in report.needs),
    )


def _bytes_of(file: str, report: Report) -> bytes | None:
    try:
        with open(file, "rb") as stream:
            return stream.read(tree.MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        report.problem("$", "a file that can be read", str(getattr(error, "strerror", None) or error))
        return None


def _read(report: Report, document: dict[str, Any], capabilities: Capabilities) -> Reading:
    reader: Callable[[Report, dict[str, Any], Capabilities], Definition] = classic.read
    if oas.EXTENSION in document or "openapi" in document:
        reader = oas.read
    definition = reader(report, document, capabilities)
    return _finish(report, definition)


def _finish(report: Report, definition: Definition | None = None) -> Reading:
    return Reading(
        file=report.file,
        definition=None if report.problems else definition,
        problems=tuple(report.problems),
        notices=tuple(report.notices),
        needs=tuple(report.needs) if not report.problems else (),
    )


def _companions(readings: list[Reading]) -> list[Reading]:
    """Drop the classic halves of OAS APIs: upstream writes x.json (is_oas) beside x-oas.json."""
    files = {reading.file for reading in readings}

    def is_half(reading: Reading) -> bool:
        definition = reading.definition
        return (
            definition is not None
            and definition.form == "classic"
            and definition.document.get("is_oas") is True
            and reading.file.removesuffix(".json") + "-oas.json" in files
        )

    return [reading for reading in readings if not is_half(reading)]


def _settle(readings: list[Reading]) -> Catalog:
    ids: dict[str, list[str]] = {}
    routes: dict[tuple[int, str, str], list[str]] = {}
    for reading in readings:
        if reading.definition is not None and reading.definition.active:
            ids.setdefault(reading.definition.api_id, []).append(reading.file)
            routes.setdefault(_route(reading.definition), []).append(reading.file)
    settled = [_conflicts(reading, ids, routes) for reading in readings]
    return Catalog(tuple(settled), tuple(problem for reading in settled for problem in reading.problems))


def _route(definition: Definition) -> tuple[int, str, str]:
    return definition.listen_port, definition.domain.lower(), definition.listen_path.rstrip("/")


def _conflicts(reading: Reading, ids: dict[str, list[str]], routes: dict[tuple[int, str, str], list[str]]) -> Reading:
    definition = reading.definition
    if definition is None or not definition.active:
        return reading
    report = Report(reading.file)
    is_oas = definition.form == "oas"
    for value, users, classic_path, oas_path in (
        (definition.api_id, ids[definition.api_id], "$.api_id", "info.id"),
        (definition.listen_path, routes[_route(definition)], "$.proxy.listen_path", "server.listenPath.value"),
    ):
        others = [os.path.basename(file) for file in users if file != reading.file]
        if others:
            path = f"$.{oas.EXTENSION}.{oas_path}" if is_oas else classic_path
            report.problem(path, "a value of its own", f'"{value}", as in {", ".join(others)}')
    if not report.problems:
        return reading
    return Reading(file=reading.file, problems=tuple(report.problems), notices=reading.notices)
