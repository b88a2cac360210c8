"""Makes a chain of what a path on the command line means: a bundle, a file of hooks, or API definitions."""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import msgspec

from tykbridge import drivers
from tykbridge.bridge import Bridge, HookProblem, Loaded
from tykbridge.bundle import manifest
from tykbridge.bundle.alone import Unpacked, unpack_alone
from tykbridge.bundle.signing import Trust
from tykbridge.chain import Chain
from tykbridge.cli.gateway import Gateway, renamed
from tykbridge.code import Code, Loader
from tykbridge.definition import (
    Auth,
    Bundle,
    Definition,
    DefinitionError,
    Driver,
    Hook,
    Need,
    Notice,
    Phase,
    Problem,
    Reading,
    Section,
    TokenSource,
    VirtualEndpoint,
    read_manifest,
    with_manifests,
)
from tykbridge.definition.problems import guess
from tykbridge.endpoints import Endpoint
from tykbridge.errors import BridgeError, LoadError, NotFoundError
from tykbridge.flow import Step
from tykbridge.handlers import Marker
from tykbridge.outcome import Request
from tykbridge.runtime import registry
from tykbridge.services import Services

_DECORATORS = {
    "Pre": Phase.PRE,
    "CustomKeyCheck": Phase.AUTH_CHECK,
    "PostKeyAuth": Phase.POST_KEY_AUTH,
    "Post": Phase.POST,
}


_OF_DEFINITIONS = ("api_id", "proxy", "openapi", "x-tyk-api-gateway")  # keys that other JSON has not


class Refusal(click.ClickException):
    """What keeps a command from doing anything, in words for people. The exit status is that of wrong usage."""

    exit_code = 2


class Kind(enum.Enum):
    """What a path on the command line means."""

    BUNDLE = "bundle"
    FILE = "file"
    APIS = "apis"


def kind_of(place: Path) -> Kind:
    """Tell what `place` is. A folder with a manifest.json is a bundle, one with other JSON files has definitions.

    Raises Refusal: it is none of them.
    """
    if place.is_dir():
        if (place / manifest.FILE_NAME).is_file():
            return Kind.BUNDLE
        if _has(place, ".json"):
            return Kind.APIS
        if any(_has(place, engine.suffix) for engine in drivers.engines().values() if engine.suffix):
            return Kind.BUNDLE
        raise Refusal(f"{place}: no manifest.json and no middleware.py (a bundle), and no *.json (API definitions)")
    if not place.exists():
        raise Refusal(f"{place}: there is no such file or folder")
    if place.name == manifest.FILE_NAME:
        return Kind.BUNDLE
    kind = Kind.FILE if drivers.of_file(place.name) else {".json": Kind.APIS, ".zip": Kind.BUNDLE}.get(place.suffix)
    if kind is None:
        raise Refusal(f"{place}: expected a bundle's folder or .zip, a .py, .js or .lua file, or API definitions")
    return kind


def _has(folder: Path, suffix: str) -> bool:
    return any(name.endswith(suffix) and not name.startswith(".") for name in os.listdir(folder))


def has_definition(place: Path) -> bool:
    """Tell whether a folder or a file has what its author means to be an API's definition, right or wrong."""
    files = place.glob("*.json") if place.is_dir() else [place] if place.suffix == ".json" else []
    return any(_is_meant(file) for file in files if file.name != manifest.FILE_NAME and not file.name.startswith("."))


def _is_meant(file: Path) -> bool:
    try:
        return any(key in read_manifest(file) for key in _OF_DEFINITIONS)
    except DefinitionError:  # no JSON, which has been told: nothing says that it should not be one
        return True


# ---- Bundles


@dataclass(frozen=True)
class Plugin:
    """A bundle or a file, and what came of reading and loading it. With problems nothing of it is of use.

    Attributes:
        file: the manifest; without one the folder or file itself; of an archive the archive.
        name: the bundle's name; "" for a file.
        loaded_as: the name under which its hooks are called.
        section: what the manifest says.
        hooks: what its code marks.
        unpacked: an archive's files.
        names: what people know the folder of those by: the archive.
    """

    file: str
    name: str
    loaded_as: str
    section: Section = field(default_factory=Section)
    hooks: Mapping[str, Marker] = field(default_factory=dict)
    problems: tuple[Problem | HookProblem, ...] = ()
    notices: tuple[Notice, ...] = ()
    needs: tuple[Need, ...] = ()
    unpacked: Unpacked | None = None
    names: Mapping[str, str] = field(default_factory=dict)


def load_plugin(place: Path, kind: Kind, trust: Trust) -> Plugin:
    """Read and load a bundle or a file. An archive has to prove what `trust` says; a folder is its author's."""
    if place.suffix != ".zip" or place.is_dir():
        folder = place if place.is_dir() else place.parent
        return _load(folder, place, kind, folder.resolve().name or "bundle")
    try:
        unpacked = unpack_alone(place, trust)
    except BridgeError as error:
        words = str(error).removeprefix(f"{place} is refused: ").removeprefix(f"{place}: ")
        return Plugin(str(place), place.name, "", problems=(HookProblem(str(place), "$", words),))
    folder = unpacked.folder.resolve()
    plugin = _load(folder, folder, kind, place.name)
    return replace(plugin, file=str(place), unpacked=unpacked, names={str(folder): str(place)})


def _load(folder: Path, place: Path, kind: Kind, name: str) -> Plugin:
    entry = place.name if kind is Kind.FILE else ""
    bundle = Bundle(name=name)
    described = folder / manifest.FILE_NAME
    if entry or not described.exists():
        file, reading = str(place), _empty(bundle, str(place))
    else:
        file = str(described)
        reading = _described(bundle, file)
    name, loaded_as = ("", str(place.absolute())) if entry else (bundle.name, bundle.hash)
    problems: tuple[Problem | HookProblem, ...] = reading.problems
    if not problems:
        try:
            registry.load_code(str(folder), loaded_as, entry)
        except LoadError as error:
            problems = (HookProblem(file, "$", error.detail, error.place),)
        except BridgeError as error:
            problems = (HookProblem(file, "$", str(error)),)
    section = Section() if reading.definition is None else reading.definition.section
    found = registry.hooks_of(loaded_as)
    return Plugin(file, name, loaded_as, section, found, problems, reading.notices, reading.needs)


def _described(bundle: Bundle, file: str) -> Reading:
    try:
        tree = read_manifest(file)
    except DefinitionError as error:
        return Reading(file=file, problems=error.problems)
    return with_manifests(_empty(bundle, file), [(bundle, tree)], drivers.capabilities(), {bundle.name: file})


def _empty(bundle: Bundle, file: str) -> Reading:
    return Reading(file=file, definition=_definition(bundle, file, Section(), Auth(keyless=True)))


def _definition(bundle: Bundle, file: str, section: Section, auth: Auth, **keys: Any) -> Definition:
    return Definition(
        form="classic",
        file=file,
        api_id=keys.pop("api_id", "") or bundle.name,
        name=bundle.name,
        listen_path="/",
        auth=auth,
        section=section,
        document={},
        **keys,
    )


# ---- Chains


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for: a hook, or all of them with "", in the API that it names."""

    hook: str = ""
    phase: Phase | None = None
    api_id: str = ""
    url: str = ""


@dataclass(frozen=True)
class Settings:
    """What an API says of a bundle: what hooks find in `spec`, and its virtual endpoints.

    `config_data` is JSON text, "" for none.
    """

    org_id: str = ""
    api_id: str = ""
    config_data: str = ""
    endpoints: tuple[VirtualEndpoint, ...] = ()


@dataclass(frozen=True)
class Opened:
    """A chain, and the hook of it that is run alone; None: all of them. `codes` is what would go otherwise.

    `notices` has a line for each thing in the definition or manifest that has no effect.
    """

    chain: Chain
    phase: Phase | None = None
    step: Step | None = None
    codes: tuple[Code, ...] = ()
    notices: tuple[str, ...] = ()


def open_plugin(
    place: Path, kind: Kind, wanted: Wanted, settings: Settings, services: Services, gateway: Gateway
) -> Opened:
    """Make a chain of a bundle's or a file's hooks.

    Raises Refusal: it does not load, or has no such hook.
    """
    plugin = load_plugin(place, kind, gateway.trust)
    if plugin.problems:
        raise _not_loaded(str(place), plugin.problems, plugin.names)
    section, auth, phase = plugin.section, Auth(keyless=True), None
    if wanted.hook:
        hook = _hook_of(plugin, wanted, place)
        section, phase = Section(hooks=(hook,)), hook.phase
    elif plugin.needs:
        raise Refusal(f"{plugin.file}: not loaded: needs " + ", ".join(map(str, plugin.needs)))
    elif not section.hooks:
        names = ", ".join(plugin.hooks) or "none"
        raise Refusal(f"{place}: no manifest.json says which hooks run and when, so name one (there are: {names})")
    phases = {hook.phase for hook in section.hooks if not hook.disabled}
    if Phase.AUTH_CHECK in phases:
        auth = Auth(custom=True)
    elif Phase.POST_KEY_AUTH in phases:
        auth = Auth(token=TokenSource())
    bundle = Bundle(name=plugin.name or place.stem)
    definition = _definition(
        bundle,
        plugin.file,
        section,
        auth,
        api_id=settings.api_id,
        org_id=settings.org_id,
        config_data=json.loads(settings.config_data) if settings.config_data else None,
        virtual=() if wanted.hook else settings.endpoints,
    )
    loader, codes = Loader("", target=gateway.settings.target), []

    def called(hook: Hook) -> str:
        if hook.driver is not Driver.GRPC:
            return _called(plugin, hook, definition)
        codes.append(loader.load(definition, hook))
        return codes[-1].called(hook, definition)

    try:
        chain = Chain(definition, called, services)
    except LoadError as error:
        raise Refusal(f"{plugin.file}: {error.detail}") from error
    except NotFoundError as error:
        raise Refusal(f"{plugin.file}: {error}") from error
    finally:
        loader.close()
    notices = _told(plugin.notices, plugin.names)
    return Opened(chain, phase, None if phase is None else chain.steps[phase][0], tuple(codes), notices)


def _told(notices: Iterable[Notice], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(renamed(str(notice), names) for notice in notices if not notice.inferred)


def _called(plugin: Plugin, hook: Hook, definition: Definition) -> str:
    """Give the name under which a hook is called: for this API, with its time limit, and where it answers alone."""
    if hook.endpoint is not None:
        registry.check_endpoint(plugin.loaded_as, hook.name)
        place = Endpoint(hook.endpoint.method, hook.endpoint.path, "/")
        return registry.answering(plugin.loaded_as, hook.name, place)
    registry.check_hook(plugin.loaded_as, hook.name)
    return registry.fitted(plugin.loaded_as, hook, definition)


def _hook_of(plugin: Plugin, wanted: Wanted, place: Path) -> Hook:
    """Find a hook, and its phase: as asked for, as the manifest has it, as its decorator is named, as its form is."""
    name = wanted.hook
    described = [hook for hook in plugin.section.hooks if hook.name == name]
    asked = [hook for hook in described if hook.driver is Driver.GRPC]
    if name not in plugin.hooks and not asked:
        raise _unknown(place, name, plugin.hooks)
    for hook in described:
        if wanted.phase in (None, hook.phase):
            return msgspec.structs.replace(hook, disabled=False)
    if asked:
        return msgspec.structs.replace(asked[0], disabled=False, phase=wanted.phase)
    marker = plugin.hooks[name]
    by_form = Phase.RESPONSE if marker.arity == 5 or marker.is_response else Phase.PRE
    phase = wanted.phase or _DECORATORS.get(marker.decorator) or by_form
    return Hook(phase=phase, name=name, where="$", driver=Driver(marker.driver), bundle=plugin.name)


def open_api(place: Path, wanted: Wanted, services: Services, gateway: Gateway) -> Opened:
    """Load API definitions, and find the chain of one.

    Raises Refusal: it is not there or does not load, or has no such hook.
    """
    bridge = gateway.bridge(services)
    loaded = bridge.load(place)
    api_id = wanted.api_id
    if not api_id and len(loaded.apis) == 1 and not (loaded.not_loaded and wanted.url):
        (api_id,) = loaded.apis
        if left_out := _left_out(place, loaded, gateway):
            click.echo(f"note: {left_out}", err=True)
    try:
        chain = bridge.chain(Request("GET", wanted.url or "/"), api_id)
    except NotFoundError as error:
        raise _no_api(place, str(error), bridge, loaded, gateway) from error
    notices = _told(bridge.notices(chain.definition.api_id), gateway.names)
    if not wanted.hook:
        return Opened(chain, notices=notices)
    running = {(step.name, phase): step for phase, steps in chain.steps.items() for step in steps}
    for (name, phase), step in running.items():
        if name == wanted.hook and wanted.phase in (None, phase):
            return Opened(chain, phase, step, notices=notices)
    if any(hook.name == wanted.hook for hook in chain.definition.section.hooks):
        when = f" as {wanted.phase}" if wanted.phase else ""
        notes = [f"\n  {note}" for note in loaded.notices if f'"{wanted.hook}"' in note.text]
        raise Refusal(f'{place}: the hook "{wanted.hook}" does not run{when} in this API' + "".join(notes))
    raise _unknown(place, wanted.hook, dict.fromkeys(name for name, _ in running))


def _no_api(place: Path, words: str, bridge: Bridge, loaded: Loaded, gateway: Gateway) -> Refusal:
    """Say which APIs there are; of a definition by itself, what is wrong with it."""
    if not place.is_dir():
        (item,) = loaded.not_loaded or (None,)
        if item is not None and item.problems:
            return _not_loaded(str(place), item.problems, gateway.names)
        return Refusal(words if item is None else f"{place}: {item.reason}")
    if loaded.not_loaded and not loaded.apis:
        wrong = [problem for item in loaded.not_loaded for problem in item.problems]
        lacking = [str(item) for item in loaded.not_loaded if not item.problems]
        return _not_loaded(str(place), wrong, gateway.names) if wrong else Refusal("\n".join(lacking))
    there = [bridge.chain(Request("GET", "/"), name).definition for name in loaded.apis]
    lines = [f"{place}: {words}", *(f"{api.api_id} listens on {api.listen_path}" for api in there)]
    if len(loaded.apis) > 1:
        lines.append("say which one with --api, or with the path of the URL")
    if left_out := _left_out(place, loaded, gateway):
        lines.append(left_out)
    return Refusal("\n  ".join(lines))


def _left_out(place: Path, loaded: Loaded, gateway: Gateway) -> str:
    """Say what could not be loaded, "" where everything was."""
    if not loaded.not_loaded:
        return ""
    files = ", ".join(os.path.basename(item.file) for item in loaded.not_loaded)
    conf = f" --conf {gateway.conf}" if gateway.conf else ""
    return f"not loaded: {files}; `tykbridge check {place}{conf}` says why"


def _unknown(place: Path, name: str, there: Iterable[str]) -> Refusal:
    names = list(there)
    return Refusal(f'{place}: there is no hook "{name}"{guess(name, names)} (hooks: {", ".join(names) or "none"})')


def _not_loaded(place: str, problems: Iterable[Problem | HookProblem], names: Mapping[str, str]) -> Refusal:
    words = [
        problem.text if isinstance(problem, HookProblem) and problem.path == "$" else str(problem)
        for problem in problems
    ]
    return Refusal(renamed("\n  ".join([f"{place} does not load:", *words]), names))
