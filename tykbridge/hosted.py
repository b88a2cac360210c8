"""The configuration that a host loads through the C library, and its requests and responses as messages.

The compiled module calls these functions for tykb_load_configuration, tykb_run_request and tykb_run_response (api.h).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from google.protobuf.message import DecodeError

from tykbridge import _bridge, messages
from tykbridge._bridge import part
from tykbridge.bridge import Bridge
from tykbridge.chain import Chain
from tykbridge.errors import MalformedError
from tykbridge.flow import Flow
from tykbridge.outcome import Request, request_of, response_of
from tykbridge.policies import Policy, read_policies
from tykbridge.services import Mode

bridge = Bridge()
_lock = threading.Lock()


def load_configuration(source: str, middleware_path: str, policies: str, strict: bool) -> tuple[int, str]:
    """Load a configuration in place of the one before; sessions and counters stay.

    Args:
        source: a folder of definitions, a file, or JSON text.
        middleware_path: the folder of bundles and of relative paths; "" for "middleware" in the working directory.
        policies: a file of policies; "" for none.
        strict: whether a session that a hook may not change fails the request.

    Returns:
        How many definitions and policies are not in use, and why, one a line.

    Raises:
        NotFoundError: there is no such source. Nothing changes.
    """
    known: Mapping[str, Policy] = {}
    lines: list[str] = []
    if policies:
        file = read_policies(policies)
        known, lines = file.policies, [str(problem) for problem in file.problems]
    with _lock:
        before = bridge.services, bridge.middleware_path
        mode = Mode.STRICT if strict else Mode.COMPATIBLE
        bridge.services = replace(bridge.services, policies=known, mode=mode)
        bridge.middleware_path = middleware_path or "middleware"
        try:
            loaded = bridge.load(source)
        except BaseException:
            bridge.services, bridge.middleware_path = before
            raise
    lines += [str(item) for item in loaded.not_loaded]
    return len(lines), "\n".join(lines)


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
