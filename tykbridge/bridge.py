"""Runs APIs: loads their definitions, and puts requests and responses through their chains."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec

from tykbridge import drivers, idextractor, locks, regex, waiting
from tykbridge.bundle import manifest
from tykbridge.bundle.depot import Depot, Finder
from tykbridge.bundle.download import Downloader
from tykbridge.bundle.loader import refuse_while_loading
from tykbridge.bundle.signing import Trust
from tykbridge.chain import Chain
from tykbridge.code import Code, Loader
from tykbridge.definition import (
    Bundle,
    Capabilities,
    Catalog,
    Definition,
    DefinitionError,
    Hook,
    Need,
    Notice,
    Phase,
    Problem,
    Reading,
    Target,
    read_file,
    read_folder,
    read_manifest,
    read_text,
    with_manifests,
)
from tykbridge.definition.tree import is_json
from tykbridge.errors import LoadError, NotFoundError
from tykbridge.events import own
from tykbridge.events.handlers import Handlers, make
from tykbridge.outcome import Outcome, Request, Respond, Response
from tykbridge.routes import Routes
from tykbridge.services import Services

_Result = TypeVar("_Result")

_BUNDLES_AT = {
    "classic": "$.custom_middleware_bundle",
    "oas": "$.x-tyk-api-gateway.middleware.global.pluginConfig.bundle.path",
}


@dataclass(frozen=True)
class HookProblem:
    """A hook, or a handler of events, whose code or template cannot be used.

    Attributes:
        file: the file that asks for it.
        path: its JSON path there.
        text: what is wrong.
        place: "file:line" in the plugin's code, "" where there is none.
    """

    file: str
    path: str
    text: str
    place: str = ""

    def __str__(self) -> str:
        """One line, for the log."""
        return f"{self.file}: {self.path}: {self.text}"


@dataclass(frozen=True)
class NotLoaded:
    """A definition whose API does not run.

    Attributes:
        file: its file.
        reason: "refused: ..." with every problem, "not loaded: needs ...", or "not loaded: inactive".
        kept: an earlier version of the API goes on running.
        problems: why it is refused.
        needs: what it waits for.
        notices: those of `Loaded.notices` that are about it.
    """

    file: str
    reason: str
    kept: bool = False
    problems: tuple[Problem | HookProblem, ...] = ()
    needs: tuple[Need, ...] = ()
    notices: tuple[Notice, ...] = ()

    def __str__(self) -> str:
        """One line or more, for the log."""
        # Each problem names the file as well.
        reason = self.reason.replace(f"{self.file}: ", "") if self.problems else self.reason
        return f"{self.file}: {reason}" + ("; the version before goes on running" if self.kept else "")


@dataclass(frozen=True)
class Loaded:
    """What came of loading a configuration.

    Attributes:
        apis: the ids of the APIs that run.
        not_loaded: the definitions that do not, each with its reason.
        notices: what is worth knowing of those that were read.
    """

    apis: tuple[str, ...]
    not_loaded: tuple[NotLoaded, ...]
    notices: tuple[Notice, ...]


class _Api(Chain):
    """A chain, the code that its hooks need, where in the source it is defined, and what is worth knowing of it."""

    def __init__(
        self,
        definition: Definition,
        place: str,
        notices: tuple[Notice, ...],
        codes: Mapping[Hook, Code],
        services: Services,
        handlers: Handlers,
    ) -> None:
        self.place, self.notices = place, notices
        self.codes = tuple(dict.fromkeys([*codes.values(), *handlers.codes]))
        super().__init__(definition, lambda hook: codes[hook].called(hook, definition), services, handlers)


@dataclass(frozen=True)
class _State:
    """The APIs in use. Never changed, only replaced."""

    by_id: Mapping[str, _Api] = field(default_factory=dict)
    routes: Routes[_Api] = field(default_factory=Routes)


class Bridge:
    """The APIs of a configuration. Safe to use from any thread.

    Args:
        services: stores, counters, policies and events; each chain of this bridge shares them.
        middleware_path: where bundles and files of hooks are looked for, besides the definitions' own folders.
        downloader: asked for the bundles that definitions name; None: those on disk are all there are.
        trust: what bundles must prove.
        target: the gRPC server of hooks whose definition names none; None: there is no such.

    All of them are attributes as well; a change of them counts from the next `load` on.

    Attributes:
        bundles_path: the folder that has `bundles/`; "" is `middleware_path`. Counts from the next `load` on, too.
        capabilities: what an operator lets definitions ask for; None: all that this build can. Counts from then, too.
        chains: those of the APIs in use, by API id. Never changed, only replaced.
    """

    def __init__(
        self,
        services: Services | None = None,
        middleware_path: str | os.PathLike[str] = "middleware",
        downloader: Downloader | None = None,
        trust: Trust | None = None,
        target: Target | None = None,
    ) -> None:
        self.services = services or Services()
        self.middleware_path = os.path.abspath(os.fspath(middleware_path))
        self.downloader, self.trust, self.target = downloader, trust or Trust(), target
        self.bundles_path = ""
        self.capabilities: Capabilities | None = None
        self._state = _State()
        self.chains: Mapping[str, Chain] = {}
        self._source: str | None = None
        self._turn = locks.Turn("a loading")  # what is read last is put in place last

    def load(self, source: str | os.PathLike[str]) -> Loaded:
        """Load a configuration in place of the one before: a folder of definitions, one file, or JSON text.

        Everything is built aside and put in place in one step; requests on their way finish on what they started with.
        A bad definition stops no other; an API that ran before goes on running when its new version is bad. Why it is
        bad goes to the log as an error, and what has no effect in definitions as a warning, unless it runs and the
        version before was the same. `Loaded.notices` has what was inferred, too.

        Raises:
            NotFoundError: there is no such file or folder. Nothing changes.
            LoadError: called by a bundle's module code, or in the middle of another loading on the same thread.
        """
        refuse_while_loading("loading a configuration")
        with self._turn:
            return self._load(source if is_json(source) else os.path.abspath(os.fspath(source)))

    def reload(self) -> Loaded:
        """Load again what `load` was given last. Bundles whose content is the same stay as they are.

        Raises:
            NotFoundError: it is not there any more, or `load` was not called yet. Nothing changes.
            LoadError: called by a bundle's module code, or in the middle of another loading on the same thread.
        """
        refuse_while_loading("a reload")
        with self._turn:
            if self._source is None:
                raise NotFoundError("there is nothing to load again: no configuration was loaded yet")
            return self._load(self._source)

    def _load(self, source: str) -> Loaded:
        """Needs the turn."""
        before = self._state
        path, middleware_path = _settled("" if is_json(source) else source, os.path.abspath(self.middleware_path))
        try:
            capabilities = msgspec.structs.replace(
                self.capabilities or drivers.capabilities(), middleware_path=middleware_path
            )
            catalog = _read(path or source, capabilities)
        except NotFoundError as error:
            self.tell_failure(str(error))
            raise
        depot = Depot(self.bundles_path or middleware_path, self.downloader, self.trust, self.services.log)
        in_use = (code for api in before.by_id.values() for code in api.codes)
        loader = Loader(middleware_path, in_use, Finder(depot), self.trust, self.target)
        try:
            return self._put(before, catalog, capabilities, path, source, depot, loader)
        finally:
            loader.close()

    def _put(
        self,
        before: _State,
        catalog: Catalog,
        capabilities: Capabilities,
        path: str,
        source: str,
        depot: Depot,
        loader: Loader,
    ) -> Loaded:
        """Build what was read, and put it in place. Needs the turn."""
        apis: dict[str, _Api] = {}
        refused: list[tuple[Reading, tuple[Notice, ...], _NotLoadedError]] = []
        notices: list[Notice] = []
        for reading in catalog.readings:
            whole = reading
            try:
                whole = _bundled(reading, loader, capabilities)
                api = self._build(whole, _place(reading.file, path, source), loader)
            except _NotLoadedError as error:
                refused.append((reading, whole.notices, error.alone()))
            else:
                apis[api.definition.api_id] = api
            notices += whole.notices
        built = tuple(apis.values())
        not_loaded = [
            NotLoaded(problem.file, str(problem), problems=(problem,)) for problem in _folder_problems(catalog)
        ]
        for reading, told, why in refused:
            kept = (
                None if _is_inactive(reading) else _earlier(before, reading, _place(reading.file, path, source), apis)
            )
            if kept is not None:
                apis[kept.definition.api_id] = kept
            not_loaded.append(NotLoaded(reading.file, str(why), kept is not None, why.problems, why.needs, told))
        self._state = _State(apis, Routes((api.definition, api) for api in apis.values()))
        self.chains = apis
        self._source = source
        for bundle in {bundle.name: bundle for api in built for bundle in api.definition.bundles}.values():
            loader.find(bundle).commit()
        if self.downloader is not None:
            depot.sweep()
        loaded = Loaded(tuple(apis), tuple(not_loaded), tuple(notices))
        self._tell(before, built, [(reading, why) for reading, _, why in refused], loader, loaded)
        return loaded

    def _tell(
        self,
        before: _State,
        built: Iterable[_Api],
        refused: Iterable[tuple[Reading, _NotLoadedError]],
        loader: Loader,
        loaded: Loaded,
    ) -> None:
        """Write to the log, and fire events of, what a loading came to."""
        notices = [*_fresh_notices(before, built), *_notices_of_refused(loaded.not_loaded)]
        for notice in dict.fromkeys(notices):  # several APIs may have one bundle
            self.services.log(str(notice), "warning")
        for item in loaded.not_loaded:
            self.services.log(str(item), "error")
        in_use_before = {code for api in before.by_id.values() for code in api.codes}
        for api in built:
            fresh = {code.folder for code in api.codes if code not in in_use_before}
            own.bundles_loaded(api, (item for item in api.definition.bundles if str(loader.find(item).folder) in fresh))
        for reading, why in refused:
            if reading.loadable and (definition := reading.require()).bundles:
                kept = self._state.by_id.get(definition.api_id)
                own.bundles_failed(self.services, definition, str(why), kept)
        if before.by_id:
            own.reloaded(self.services, self._state.by_id.values(), len(loaded.not_loaded))

    def _build(self, reading: Reading, place: str, loader: Loader) -> _Api:
        if reading.problems:
            raise _refused(*reading.problems)
        if not reading.loadable:
            raise _NotLoadedError(reading.verdict, needs=reading.needs)
        definition = reading.require()
        codes: dict[Hook, Code] = {}
        problems: dict[str, HookProblem] = {}  # by their text: what breaks a file is told once, not for each hook in it
        for hook in (hook for phase in Phase for hook in definition.hooks(phase)):
            try:
                codes[hook] = loader.load(definition, hook)
            except LoadError as error:
                problem = HookProblem(definition.file, hook.where, error.detail, error.place)
                problems.setdefault(problem.text, problem)
        handlers = Handlers(self.services.queue, self.services.clock)
        for handler in (handler for handler in definition.events if not handler.disabled):
            try:
                handlers.add(handler.event, make(definition, handler, loader, self.services))
            except LoadError as error:
                problem = HookProblem(definition.file, handler.where, error.detail, error.place)
                problems.setdefault(problem.text, problem)
        if problems:
            raise _refused(*problems.values())
        where = definition.section.extractor.where if definition.section.extractor else "$"
        try:
            return _Api(definition, place, reading.notices, codes, self.services, handlers)
        except idextractor.ConfigError as error:
            raise _refused(HookProblem(definition.file, where, f"the ID extractor: {error}")) from error
        except regex.MissingEngineError as error:
            raise _needed(Need(path=where, what=str(error))) from error

    def tell_failure(self, why: str) -> None:
        """Fire the event of a configuration that could not be read at all, where another one runs on."""
        if self._state.by_id:
            own.reload_failed(self.services, self._state.by_id.values(), why)

    @property
    def places(self) -> tuple[str, ...]:
        """What a reload reads: the source, the middleware folder, and folders outside of both that hooks come from."""
        source = self._source if self._source is not None and not is_json(self._source) else ""
        known = [place for place in (source, os.path.abspath(self.middleware_path)) if place]
        inside = tuple(os.path.join(os.path.realpath(place), "") for place in known)
        folders = {code.folder for api in self._state.by_id.values() for code in api.codes if not code.is_written}
        return (*known, *sorted(folder for folder in folders if not os.path.join(folder, "").startswith(inside)))

    @property
    def managed(self) -> tuple[str, ...]:
        """The folder of bundles where a server gives them: this bridge writes there, and so may others that share it.

        Whoever watched it would reload what a reload has written, and two such processes each other without an end.
        """
        return (os.path.join(os.path.abspath(self.middleware_path), "bundles"),) if self.downloader else ()

    @property
    def apis(self) -> tuple[str, ...]:
        """The ids of the APIs that run."""
        return tuple(self._state.by_id)

    def find(self, path: str, host: str = "") -> str:
        """Give the id of the API that listens on a path, "" for none. The longest listen path counts.

        `path` is that of a request, as it came. `host` is the Host header; APIs with a domain answer to that alone, and
        before those without one. A path that upstreams might take for another API's is nobody's (`routes.Routes.find`).
        """
        chain = self.chain_at(unquote(path.partition("?")[0]), host)
        return "" if chain is None else chain.definition.api_id

    def chain_at(self, path: str, host: str = "") -> Chain | None:
        """Give the chain of the API that listens on a path, None for none: as `find`, but the path is decoded."""
        return self._state.routes.find(path, host)

    def request(self, request: Request, api_id: str = "", scheme: str = "http") -> Outcome:
        """Run a request through its API's chain.

        Args:
            request: method, path and query, headers with repeats in their order, body.
            api_id: the API; without it, `find` says it.
            scheme: "http" or "https".

        Returns:
            `Continue`, with the request for the upstream (its path is not stripped of the listen path), or `Respond`,
            with the response for the client.

        Raises:
            NotFoundError: there is no such API.
        """
        return self.chain(request, api_id).request(request, scheme)

    def response(
        self, request: Request, response: Response, session: bytes = b"", api_id: str = "", scheme: str = "http"
    ) -> Respond:
        """Run the upstream's response through its API's response hooks.

        Args:
            request: the request that the upstream got, `Continue.request`.
            response: what it answered.
            session: `Continue.session`.
            api_id: the API; without it, `find` says it.
            scheme: "http" or "https".

        Raises:
            NotFoundError: there is no such API.
        """
        return self.chain(request, api_id).response(request, response, session, scheme)

    async def request_async(self, request: Request, api_id: str = "", scheme: str = "http") -> Outcome:
        """Run a request as `request` does, on a thread of the bridge's own (tykbridge.waiting), from an event loop.

        Given up, by `asyncio.wait_for` say, it runs to its end all the same, and nobody hears of it.

        Raises:
            NotFoundError: there is no such API.
            GoneError: the interpreter is ending.
        """
        return await _result(waiting.call(lambda: self.request(request, api_id, scheme), api_id))

    async def response_async(
        self, request: Request, response: Response, session: bytes = b"", api_id: str = "", scheme: str = "http"
    ) -> Respond:
        """Run a response as `response` does, on a thread of the bridge's own, from an event loop.

        Raises:
            NotFoundError: there is no such API.
            GoneError: the interpreter is ending.
        """
        return await _result(waiting.call(lambda: self.response(request, response, session, api_id, scheme), api_id))

    def notices(self, api_id: str) -> tuple[Notice, ...]:
        """Give what is worth knowing of an API's definition, and of its bundles; () where there is no such API."""
        found = self._state.by_id.get(api_id)
        return () if found is None else tuple(dict.fromkeys(found.notices))

    def chain(self, request: Request, api_id: str = "") -> Chain:
        """Give the chain that a request goes through.

        Raises:
            NotFoundError: there is no such API.
        """
        if not api_id:
            host = next((value for name, value in request.headers if name.lower() == "host"), "")
            api_id = self.find(request.url, host)
        if not api_id and api_id not in self._state.by_id:
            raise NotFoundError(f"no API listens on {request.url.partition('?')[0]} ({self._there()})")
        return self.chain_of(api_id)

    def chain_of(self, api_id: str) -> Chain:
        """Give the chain of an API.

        Raises:
            NotFoundError: there is no such API.
        """
        found = self._state.by_id.get(api_id)
        if found is None:
            raise NotFoundError(f'there is no API "{api_id}" ({self._there()})')
        return found

    def _there(self) -> str:
        return f"APIs: {', '.join(self._state.by_id) or 'none'}"


async def _result(future: Future[_Result]) -> _Result:
    import asyncio  # where there is a loop, it is there; others need not wait for it

    return await asyncio.wrap_future(future)


class _NotLoadedError(Exception):
    """Why an API does not run."""

    def __init__(
        self, words: str, problems: tuple[Problem | HookProblem, ...] = (), needs: tuple[Need, ...] = ()
    ) -> None:
        super().__init__(words)
        self.problems, self.needs = problems, needs

    def alone(self) -> _NotLoadedError:
        """Give it without tracebacks, which have all that was on the stack, code of failed versions too."""
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)


def _refused(*problems: Problem | HookProblem) -> _NotLoadedError:
    return _NotLoadedError("refused: " + "; ".join(map(str, problems)), problems=problems)


def _needed(need: Need) -> _NotLoadedError:
    return _NotLoadedError(f"not loaded: needs {need}", needs=(need,))


def _settled(*paths: str) -> list[str]:
    """Give paths without links, all as they were at one moment; "" stays.

    A deployment turns a link to another folder while this reads. Everything is then of the one or of the other.
    """
    while True:
        found = [path and os.path.realpath(path) for path in paths]
        if found == [path and os.path.realpath(path) for path in paths]:
            return found


def _place(file: str, path: str, source: str) -> str:
    """Name a definition's file as the source has it, wherever a link in that has led to."""
    return os.path.normpath(os.path.join(source, os.path.relpath(file, path))) if path else file


def _read(source: str, capabilities: Capabilities) -> Catalog:
    if is_json(source):
        reading = read_text(source, capabilities=capabilities)
        return Catalog((reading,), reading.problems)
    if os.path.isdir(source):
        catalog = read_folder(source, capabilities)
        unread = next((problem for problem in catalog.problems if problem.file == source), None)
        if unread is not None:  # that is not the same as a folder without definitions
            raise NotFoundError(f"{unread}")
        return catalog
    if not os.path.exists(source):
        raise NotFoundError(f"there is no definition {source}, neither a file nor a folder")
    reading = read_file(source, capabilities)
    return Catalog((reading,), reading.problems)


def _fresh_notices(before: _State, built: Iterable[_Api]) -> Iterator[Notice]:
    """Give the notices of what has changed: nobody wants to read those of all others again at each reload."""
    for api in built:
        mistakes = [notice for notice in api.notices if not notice.inferred]
        if not mistakes:
            continue
        earlier = before.by_id.get(api.definition.api_id)
        if earlier is None or (earlier.notices, earlier.definition) != (api.notices, api.definition):
            yield from mistakes


def _notices_of_refused(not_loaded: Iterable[NotLoaded]) -> Iterator[Notice]:
    """Give what may be the reason of a problem: a key is missing, and another one looks like it."""
    for item in not_loaded:
        if item.problems:
            yield from (notice for notice in item.notices if not notice.inferred)


def _folder_problems(catalog: Catalog) -> list[Any]:
    files = {reading.file for reading in catalog.readings}
    return [problem for problem in catalog.problems if problem.file not in files]


def _bundled(reading: Reading, loader: Loader, capabilities: Capabilities) -> Reading:
    """Put the hooks of an API's bundles into its definition."""
    if not reading.loadable or not reading.require().bundles:
        return reading
    manifests: list[tuple[Bundle, dict[str, Any]]] = []
    files: dict[str, str] = {}
    where = _BUNDLES_AT[reading.require().form]
    for bundle in reading.require().bundles:
        try:
            file = os.path.join(loader.find(bundle).folder, manifest.FILE_NAME)
            manifests.append((bundle, read_manifest(file)))
        except NotFoundError as error:
            raise _needed(Need(path=where, what=str(error))) from error
        except DefinitionError as error:
            raise _refused(*error.problems) from error
        except LoadError as error:
            raise _refused(HookProblem(reading.file, where, str(error), error.place)) from error
        files[bundle.name] = file
    return with_manifests(reading, manifests, capabilities, files)


def _is_inactive(reading: Reading) -> bool:
    return reading.definition is not None and not reading.definition.active


def _earlier(state: _State, reading: Reading, place: str, apis: Mapping[str, _Api]) -> _Api | None:
    """Find the running version of an API whose new one is bad: by its id, or, where that cannot be read, its file."""
    if reading.definition is not None:
        found = state.by_id.get(reading.definition.api_id)
    else:
        found = next((api for api in state.by_id.values() if api.place == place), None)
    return None if found is None or found.definition.api_id in apis else found
