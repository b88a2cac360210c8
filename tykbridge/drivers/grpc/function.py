"""A function that a gRPC server is asked for: a hook, or a handler of events."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_from_bytes

from google.protobuf.message import DecodeError

from tykbridge import _bridge
from tykbridge.definition.model import Phase
from tykbridge.drivers import Asked
from tykbridge.drivers.grpc.server import Metadata, obtain
from tykbridge.failures import ScriptError
from tykbridge.flow import TYPES
from tykbridge.handlers import Marker

_CARRIED = (b"traceparent", b"tracestate", b"x-request-id")
"""Headers of a request that its hooks' calls carry: the trace that they belong to (W3C Trace Context), and its id."""


class Function:
    """One function of a server. Safe to use from any thread."""

    def __init__(self, asked: Asked) -> None:
        self._server = server = obtain(asked.target)
        name = asked.name.encode()
        self._named: Metadata = [(b"tykbridge-hook", _readable(name))]
        self._type = 0 if asked.phase is None else TYPES[asked.phase]
        # The chain's messages do not say which hook they are for: fields 1 and 2 do, behind all the others.
        self._tail = bytes((1 << 3, self._type)) + _bridge.part(2, name)
        self.others: Mapping[str, str] = {}
        if asked.phase is None:
            self.markers = [Marker(asked.name, self._event, 2, True, asked.label, "", "grpc")]
        else:
            whole, is_response = self._limited(server.target.timeout_ms), asked.phase is Phase.RESPONSE
            marker = Marker(asked.name, whole, 1, False, asked.label, "", "grpc", self._limited, is_response)
            self.markers = [marker]

    def close(self) -> None:
        """Do nothing: the server is closed when nobody has it any more, calls in flight included."""

    def _limited(self, timeout_ms: int) -> Any:
        return functools.partial(self._hook, timeout_ms / 1000)

    def _hook(self, timeout: float, message: Any) -> None:
        sent, api_id, metadata = _bridge.outgoing(message, self._tail, _CARRIED)
        metadata += self._named
        metadata.append((b"tykbridge-api-id", api_id if api_id.isascii() else _readable(api_id)))
        answer = self._server.dispatch(sent, timeout, metadata)
        try:
            if _bridge.answered(message, sent, answer, self._type):
                return
        except DecodeError:
            raise ScriptError("its answer is not a serialised coprocess.Object, or has strings without UTF-8") from None
        what = "response" if self._type == TYPES[Phase.RESPONSE] else "request"
        raise ScriptError(f"its answer has no {what}: a server answers with the Object that it got, and its changes")

    def _event(self, event: Any, spec: Mapping[str, Any]) -> None:
        metadata = [(b"tykbridge-api-id", _readable(str(spec.get("APIID", "")).encode())), *self._named]
        message = _bridge.part(1, json.dumps(event).encode())
        self._server.dispatch_event(message, self._server.target.timeout_ms / 1000, metadata)


def _readable(text: bytes) -> bytes:
    """Write what gRPC's metadata cannot carry, which is all but ASCII, as a URL does."""
    return quote_from_bytes(text, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}").encode()
