"""The configuration that a host loads through the C library, and its requests and responses as messages.

The compiled module calls these functions for tykb_load_configuration, tykb_reload, tykb_run_request and
tykb_run_response (api.h).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError

from tykbridge import _bridge, messages, runtime, watch
from tykbridge._bridge import part
from tykbridge.bridge import Bridge
from tykbridge.bundle.loader import refuse_while_loading
from tykbridge.chain import Chain
from tykbridge.definition.tree import is_json
from tykbridge.errors import BridgeError, MalformedError
from tykbridge.flow import Flow
from tykbridge.operating import NONE, Operation, prepare, read_operation, turn, using
from tykbridge.outcome import Request, request_of, response_of
from tykbridge.policies import Policy, read_policies
from tykbridge.services import Mode
from tykbridge.settings import Settings

bridge = Bridge()


@dataclass(frozen=True)
class Configuration:
    """What a host asked for, the paths absolute.

    Attributes:
        source: a folder of definitions, a file, or JSON text.
        middleware_path: the folder of bundles and of relative paths.
        policies: a file of policies; "" for that of the settings.
        strict: whether a session that a hook may not change fails the request.
        settings: a tyk.conf, or its text; "" for none.
    """

    source: str
    middleware_path: str
    policies: str
    strict: bool
    settings: str


_configuration: Configuration | None = None  # in use; by who has the turn, as the watcher and the operation
_operation: Operation | None = None  # None: there were no settings yet
_policies = ""  # the file of those in use; "": there is none
_watcher: watch.Watcher | None = None


def load_configuration(
    source: str, middleware_path: str, policies: str, strict: bool, watched: bool = False, settings: str = ""
) -> tuple[int, str]:
    """Load a configuration in place of the one before; sessions and counters stay, unless settings name another store.

    Args:
        source: a folder of definitions, a file, or JSON text.
        middleware_path: the folder of bundles and of relative paths; "" for that of the settings, else "middleware" in
            the working directory.
        policies: a file of policies; "" for that of the settings, else none.
        strict: whether a session that a hook may not change fails the request.
        watched: whether everything that is loaded is loaded again when files change.
        settings: a tyk.conf, or its text; "" for none, and then no variable counts either.

    Returns:
        How many definitions and policies are not in use, and why, one a line.

    Raises:
        NotFoundError: there is no such source. Nothing changes.
        LoadError: called by a bundle's module code, files cannot be watched here, or the settings cannot be used.
            Nothing changes.
    """
    global _configuration, _watcher
    refuse_while_loading("loading a configuration")
    if watched:
        watch.require()
    wanted = Configuration(
        _absolute(source),
        middleware_path and os.path.abspath(middleware_path),
        policies and os.path.abspath(policies),
        strict,
        settings and _absolute(settings),
    )
    with turn:
        lines = _use(wanted, _prepared(wanted))
        _configuration = wanted
        if _watcher is not None:
            _watcher.stop(wait=False)  # it may be waiting for its turn
            _watcher = None
        if watched:
            _watcher = watch.Watcher(_places, reload_all, bridge.services.log, lambda: bridge.managed)
            _watcher.start()
    return len(lines), "\n".join(lines)


def _absolute(source: str) -> str:
    return source if is_json(source) else os.path.abspath(source)


def _prepared(wanted: Configuration) -> Operation | None:
    """Make what the settings ask for; None: there are none, and were none. Needs the turn."""
    if not wanted.settings and _operation is None:
        return None
    log = bridge.services.log
    try:
        return read_operation(wanted.settings, _operation, log) if wanted.settings else prepare(NONE, _operation, log)
    except BridgeError as error:
        bridge.tell_failure(str(error))
        raise


def _use(wanted: Configuration, operation: Operation | None) -> list[str]:
    """Load a configuration, and say what of it is not in use. Needs the turn."""
    global _operation, _policies
    named = wanted.policies or ("" if operation is None else operation.settings.policies.file)
    named = named and os.path.abspath(named)
    known: Mapping[str, Policy] = {}
    lines: list[str] = []
    if named:
        file = read_policies(named)
        known = file.over(bridge.services.policies if named == _policies else {})
        kept = len(known) - len(file.policies)
        lines = [f"{problem}" + (f"; {kept} policies stay as they were" if kept else "") for problem in file.problems]
    mode = Mode.STRICT if wanted.strict else Mode.COMPATIBLE
    with using(bridge, operation, _operation, wanted.middleware_path):
        bridge.services = replace(bridge.services, policies=known, mode=mode)
        loaded = bridge.load(wanted.source)
    _policies = named
    if operation is not None:
        _operation = operation
    for line in lines:
        bridge.services.log(line, "error")  # the bridge has told of definitions
    return lines + [str(item) for item in loaded.not_loaded]


def settings() -> Settings:
    """Give the settings in use."""
    operation = _operation
    return NONE if operation is None else operation.settings


def reload() -> tuple[int, str]:
    """Read again everything that the process has loaded: the root, the bundles, the configuration.

    Each of them is built aside and put in place in one step; what cannot be read stays as it is.

    Returns:
        How many things are not in use or kept at their earlier version, and why, one a line.

    Raises:
        BridgeError: nothing at all could be read, or a bundle's module code called this. Nothing changes.
    """
    refuse_while_loading("a reload")
    lines: list[str] = []
    failed: list[BridgeError] = []
    with turn:
        steps = runtime.registry.reloads
        parts = len(steps) + (_configuration is not None)
        trust = runtime.registry.trust
        if _configuration is not None:
            wanted = _configuration
            try:
                operation = _prepared(wanted)
            except BridgeError as error:
                failed.append(error)
            else:
                steps.append(lambda: _use(wanted, operation))
                if operation is not None:  # a key that is new counts for all that is read now
                    runtime.registry.trust = operation.trust
        try:
            for step in steps:
                try:
                    lines += step()
                except BridgeError as error:
                    failed.append(error)
        finally:
            runtime.registry.trust = trust if _operation is None else _operation.trust
        if failed and len(failed) == parts:
            raise failed[0]
    for failure in failed:
        lines.append(f"{failure}; what was loaded before stays in use")
        _bridge.log(lines[-1], "error")
    return len(lines), "\n".join(lines)


def reload_all() -> tuple[str, int]:
    """Do what `reload` does, and give what is in use then, in words, and how many things are not or as before."""
    count, _ = reload()
    bundles = runtime.registry.bundles
    parts = [f"APIs {', '.join(bridge.apis)}"] if bridge.apis else []
    parts += [f"bundles {', '.join(bundles)}"] if bundles else []
    return "; ".join(parts), count


def _places() -> list[str]:
    wanted, operation = _configuration, _operation
    files = [] if wanted is None else [_policies, wanted.settings]
    if operation is not None and operation.settings.public_key_path:
        files.append(os.path.abspath(operation.settings.public_key_path))
    return [*bridge.places, *runtime.registry.places, *(file for file in files if file and not is_json(file))]


def run_request(data: bytes, sent: tuple[str, bytes, bool] | None) -> bytes | tuple[bytes]:
    """Run a request: `sent` is what `_bridge.incoming` says of it or, where that is None, `data` the message itself.

    Returns:
        An Object: with the changes where the request goes on, or in a tuple the response that ends it.

    Raises:
        MalformedError: `data` is no Object.
        NotFoundError: there is no such API.
    """
    if sent is None:
        flow, chain = _started(data)
    else:
        api_id, wire, has_body = sent
        chain = bridge.chains.get(api_id) or bridge.chain_of(api_id)
        flow = Flow(chain.services, chain.strict, wire, has_body)
    try:
        end = chain.run(flow)
        if isinstance(end, bytes):
            return flow.continued(chain.part, end)
        return (part(messages.RESPONSE, messages.response_whole(end.response)),)
    finally:
        flow.drop()


def _started(data: bytes) -> tuple[Flow, Chain]:
    """Start with a message that holds more or less than hooks get to see."""
    sent, request, chain = _read(data)
    message = sent.request
    flow = Flow.of(chain.services, chain.strict, request, message.scheme, message.request_uri or request.url)
    return flow, chain


def run_response(data: bytes) -> bytes:
    """Run a response. Gives the response for the client as an Object.

    Raises:
        MalformedError: `data` is no Object.
        NotFoundError: there is no such API.
    """
    sent, request, chain = _read(data)
    session = sent.session.SerializeToString() if sent.HasField("session") else b""
    answer = chain.response(request, response_of(sent), session, sent.request.scheme)
    return part(messages.RESPONSE, messages.response_whole(answer.response))


def _read(data: bytes) -> tuple[Any, Request, Chain]:
    """Give the message, its request, and the chain for it."""
    try:
        sent = _bridge.message("Object", data)
        request, api_id = request_of(sent), sent.spec.get("APIID", "")
    except (DecodeError, UnicodeDecodeError) as error:
        raise _malformed(error) from error
    return sent, request, bridge.chain(request, api_id)


def _malformed(error: Exception) -> MalformedError:
    return MalformedError(f"the message is not a serialised coprocess.Object: {error}")
