"""What plugins import by Tyk's names: `tyk`, `gateway` and the `coprocess_*_pb2` modules.

They live under this package, so nothing of these names appears in the process's own sys.modules; `bundle.namespace`
hands them to bundle code.
"""

from __future__ import annotations

NAMES = frozenset(
    {
        "tyk",
        "gateway",
        "coprocess_common_pb2",
        "coprocess_mini_request_object_pb2",
        "coprocess_object_pb2",
        "coprocess_response_object_pb2",
        "coprocess_return_overrides_pb2",
        "coprocess_session_state_pb2",
    }
)
