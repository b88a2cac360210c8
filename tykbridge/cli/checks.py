"""Loads API definitions, bundles, files of hooks and policies, and collects what is wrong with them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from tykbridge.bridge import Bridge, HookProblem, NotLoaded
from tykbridge.bundle import manifest
from tykbridge.cli.source import Kind, kind_of, load_plugin
from tykbridge.definition import Definition, Need, Notice, Phase, Problem
from tykbridge.outcome import Request
from tykbridge.policies import read_policies
from tykbridge.services import Services

LOADED, REFUSED, NOT_LOADED, INACTIVE = "loaded", "refused", "not loaded", "inactive"

_DEFINITION_KEYS = frozenset({"api_id", "custom_middleware", "custom_middleware_bundle", "x-tyk-api-gateway"})
_MANIFEST_KEYS = frozenset({"custom_middleware", "file_list"})
_NOT_OURS = ("__pycache__", "node_modules")


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
        kind: "api", "bundle", "file" or "policies".
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


def check(place: Path, policies: Path | None, middleware_path: Path) -> list[Item]:
    """Load everything that `place` is or holds: definitions and bundles, in folders below as well.

    Raises Refusal: there is nothing.
    """
    items = [] if policies is None else [_policies(policies)]
    apis, bundles = _find(place)
    if not apis and not bundles:
        kind = kind_of(place)
        return items + (_apis(place, middleware_path) if kind is Kind.APIS else [_plugin(place, kind)])
    for folder in apis:
        items += _apis(folder, middleware_path)
    told = {os.path.realpath(file) for item in items for file in item.files}
    return items + [
        _plugin(folder, Kind.BUNDLE) for folder in bundles if os.path.realpath(folder / manifest.FILE_NAME) not in told
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


def _policies(file: Path) -> Item:
    read = read_policies(file)
    problems = [_problem(problem) for problem in read.problems]
    return Item("policies", os.path.abspath(file), "", REFUSED if problems else LOADED, problems=problems)


def _plugin(place: Path, kind: Kind) -> Item:
    plugin = load_plugin(place, kind)
    hooks = [(str(hook.phase), hook.name) for hook in plugin.section.hooks if not hook.disabled]
    return Item(
        kind.value,
        os.path.abspath(plugin.file),
        plugin.name or place.name,
        REFUSED if plugin.problems else NOT_LOADED if plugin.needs else LOADED,
        hooks or [("", name) for name in plugin.hooks],
        [_problem(problem) for problem in plugin.problems],
        [_warning(notice) for notice in plugin.notices],
        list(plugin.needs),
    )


def _apis(place: Path, middleware_path: Path) -> list[Item]:
    # No queue: a check calls no handler, not even those of what is told of a load.
    bridge = Bridge(Services(log=lambda words, level: None, queue=None), middleware_path)
    loaded = bridge.load(place)
    definitions = [bridge.chain(Request("GET", "/"), api_id).definition for api_id in loaded.apis]
    items = [_running(definition, bridge.middleware_path) for definition in definitions]
    items += [_waiting(item) for item in loaded.not_loaded]
    for item in items:
        if item.status == LOADED:  # several APIs may have one bundle
            item.warnings = [_warning(notice) for notice in dict.fromkeys(loaded.notices) if notice.file in item.files]
    return sorted(items, key=lambda item: item.file)


def _running(definition: Definition, middleware_path: str) -> Item:
    hooks = [(str(hook.phase), hook.name) for phase in Phase for hook in definition.hooks(phase)]
    folders = [os.path.join(middleware_path, "bundles", bundle.hash) for bundle in definition.bundles]
    manifests = [os.path.join(folder, manifest.FILE_NAME) for folder in folders]
    return Item("api", definition.file, definition.api_id, hooks=hooks, manifests=manifests)


def _waiting(item: NotLoaded) -> Item:
    status = REFUSED if item.problems else NOT_LOADED if item.needs else INACTIVE
    problems = [_problem(problem) for problem in item.problems]
    warnings = [_warning(notice) for notice in item.notices]
    return Item("api", item.file, "", status, problems=problems, warnings=warnings, needs=list(item.needs))


def _problem(problem: Problem | HookProblem) -> Finding:
    file = os.path.abspath(problem.file)
    if isinstance(problem, HookProblem):
        return Finding(file, problem.path, problem.text, place=problem.place)
    message = f"expected {problem.expected}, found {problem.found}"
    return Finding(file, problem.path, message, problem.line, problem.column)


def _warning(notice: Notice) -> Finding:
    return Finding(os.path.abspath(notice.file), notice.path, notice.text)
