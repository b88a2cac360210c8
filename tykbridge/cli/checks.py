"""Loads API definitions, bundles, files of hooks and policies, and collects what is wrong with them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tykbridge.bridge import HookProblem, NotLoaded
from tykbridge.bundle import manifest
from tykbridge.cli.gateway import ConfError, Gateway, renamed
from tykbridge.cli.source import Kind, kind_of, load_plugin
from tykbridge.definition import Definition, Need, Notice, Phase, Problem
from tykbridge.outcome import Request
from tykbridge.policies import read_policies
from tykbridge.services import Services

LOADED, REFUSED, NOT_LOADED, INACTIVE = "loaded", "refused", "not loaded", "inactive"

_DEFINITION_KEYS = frozenset({"api_id", "custom_middleware", "custom_middleware_bundle", "x-tyk-api-gateway"})
_MANIFEST_KEYS = frozenset({"custom_middleware", "file_list"})
_NOT_OURS = ("__pycache__", "node_modules")
_NO_NAMES: Mapping[str, str] = {}


@dataclass(frozen=True)
class Finding:
    """A problem, or a warning.

    Attributes:
        file: where it is, an absolute path.
        path: JSON path in it; "$" stands for all of it.
        message: what was expected and found, or what is wrong.
        line: in a text that is no JSON, and column; from 1.
        place: "file:line" in a plugin's code, "" where that is not to blame.
    """

    file: str
    path: str
    message: str
    line: int | None = None
    column: int | None = None
    place: str = ""


@dataclass
class Item:
    """One thing that was checked.

    Attributes:
        kind: "settings", "api", "bundle", "file" or "policies".
        file: its file or folder, an absolute path.
        name: the API's id, or the bundle's name; "" where that could not be read.
        status: LOADED, REFUSED (there are problems), NOT_LOADED (it needs what is not built or not here) or INACTIVE.
        hooks: phase ("" where nobody says it) and name of those that run.
        manifests: those of an API's bundles.
    """

    kind: str
    file: str
    name: str = ""
    status: str = LOADED
    hooks: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)

    @property
    def files(self) -> set[str]:
        """The files that this speaks of."""
        return {self.file, *self.manifests, *(finding.file for finding in (*self.problems, *self.warnings))}


def check(place: Path, policies: Path | None, conf: Path | None, middleware_path: Path | None) -> list[Item]:
    """Load everything that `place` is or holds: definitions and bundles, in folders below as well.

    With settings that cannot be used nothing is loaded: what bundles must prove is unknown, and they run when loaded.

    Raises Refusal: there is nothing.
    """
    try:
        gateway = Gateway(conf, middleware_path)
    except ConfError as error:
        file = os.path.abspath(str(conf))
        problems = [_problem(problem) for problem in error.problems]
        rest = Finding(file, "$", "nothing was loaded, because these settings say what may be")
        return [Item("settings", file, "", REFUSED, problems=problems, warnings=[rest]), *_policies(policies)]
    items = [*_policies(policies or gateway.policies), *_sources(place, gateway)]
    if conf is not None:
        items.insert(0, _settings(conf, gateway))  # last, when it is known what the downloader warns of
    return items


def _sources(place: Path, gateway: Gateway) -> list[Item]:
    apis, bundles = _find(place)
    bundles = [folder for folder in bundles if not gateway.keeps(folder)]  # definitions lead to those that may run
    if not apis and not bundles:
        kind = kind_of(place)
        return _apis(place, gateway) if kind is Kind.APIS else [_plugin(place, kind, gateway)]
    items = [item for folder in apis for item in _apis(folder, gateway)]
    told = {os.path.realpath(file) for item in items for file in item.files}
    return items + [
        _plugin(folder, Kind.BUNDLE, gateway)
        for folder in bundles
        if os.path.realpath(folder / manifest.FILE_NAME) not in told
    ]


def _find(place: Path) -> tuple[list[Path], list[Path]]:
    """Find the folders of definitions and those of bundles, `place` included; what is inside of a bundle is its own.

    Folders hold other JSON files, too. One that is no JSON may be anything: in `place` itself it is a definition, and
    with a manifest's name a manifest.
    """
    apis, bundles = [], []
    for folder, folders, files in os.walk(place):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NOT_OURS)
        if manifest.FILE_NAME in files and _has_key(here / manifest.FILE_NAME, _MANIFEST_KEYS) is not False:
            bundles.append(here)
            folders.clear()
            continue
        found = {
            _has_key(here / name, _DEFINITION_KEYS)
            for name in files
            if name.endswith(".json") and not name.startswith(".")
        }
        if True in found or (None in found and here == place):
            apis.append(here)
    return apis, bundles


def _has_key(file: Path, keys: frozenset[str]) -> bool | None:
    """Tell whether a JSON object has one of `keys`; None for what is no JSON."""
    try:
        tree = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return isinstance(tree, dict) and not keys.isdisjoint(tree)


def _policies(file: Path | None) -> list[Item]:
    if file is None:
        return []
    read = read_policies(file)
    problems = [_problem(problem) for problem in read.problems]
    return [Item("policies", os.path.abspath(file), "", REFUSED if problems else LOADED, problems=problems)]


def _settings(conf: Path, gateway: Gateway) -> Item:
    file = os.path.abspath(conf)
    problems = [Finding(file, "$.storage", words) for words in gateway.store_problems()]
    warnings = [_warning(notice) for notice in gateway.notices]
    warnings += [Finding(file, "$", words) for words in gateway.warnings]
    return Item("settings", file, "", REFUSED if problems else LOADED, problems=problems, warnings=warnings)


def _plugin(place: Path, kind: Kind, gateway: Gateway) -> Item:
    plugin = load_plugin(place, kind, gateway.trust)
    hooks = [(str(hook.phase), hook.name) for hook in plugin.section.hooks if not hook.disabled]
    names = {folder: os.path.abspath(name) for folder, name in plugin.names.items()}
    return Item(
        kind.value,
        os.path.abspath(plugin.file),
        plugin.name or place.name,
        REFUSED if plugin.problems else NOT_LOADED if plugin.needs else LOADED,
        hooks or [("", name) for name in plugin.hooks],
        [_problem(problem, names) for problem in plugin.problems],
        [_warning(notice, names) for notice in plugin.notices],
        list(plugin.needs),
    )


def _apis(place: Path, gateway: Gateway) -> list[Item]:
    # No queue: a check calls no handler, not even those of what is told of a load.
    bridge = gateway.bridge(Services(log=gateway.log, queue=None))
    loaded = bridge.load(place)
    gateway.forget({str(notice) for notice in loaded.notices})  # each is told with its file
    names = gateway.names
    definitions = [bridge.chain(Request("GET", "/"), api_id).definition for api_id in loaded.apis]
    items = [_running(definition, gateway.bundles_path) for definition in definitions]
    items += [_waiting(item, names) for item in loaded.not_loaded]
    for item in items:
        if item.status == LOADED:  # several APIs may have one bundle
            told = [notice for notice in dict.fromkeys(loaded.notices) if notice.file in item.files]
            item.warnings = [_warning(notice, names) for notice in told]
    return sorted(items, key=lambda item: item.file)


def _running(definition: Definition, bundles_path: str) -> Item:
    hooks = [(str(hook.phase), hook.name) for phase in Phase for hook in definition.hooks(phase)]
    folders = [os.path.realpath(os.path.join(bundles_path, "bundles", bundle.hash)) for bundle in definition.bundles]
    manifests = [os.path.join(folder, manifest.FILE_NAME) for folder in folders]
    return Item("api", definition.file, definition.api_id, hooks=hooks, manifests=manifests)


def _waiting(item: NotLoaded, names: Mapping[str, str]) -> Item:
    status = REFUSED if item.problems else NOT_LOADED if item.needs else INACTIVE
    problems = [_problem(problem, names) for problem in item.problems]
    warnings = [_warning(notice, names) for notice in item.notices]
    return Item("api", item.file, "", status, problems=problems, warnings=warnings, needs=list(item.needs))


def _problem(problem: Problem | HookProblem, names: Mapping[str, str] = _NO_NAMES) -> Finding:
    file = renamed(os.path.abspath(problem.file), names)
    if isinstance(problem, HookProblem):
        return Finding(file, problem.path, renamed(problem.text, names), place=renamed(problem.place, names))
    message = f"expected {problem.expected}, found {problem.found}"
    return Finding(file, problem.path, message, problem.line, problem.column)


def _warning(notice: Notice, names: Mapping[str, str] = _NO_NAMES) -> Finding:
    return Finding(renamed(os.path.abspath(notice.file), names), notice.path, notice.text)
