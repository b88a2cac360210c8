"""Times hooks on a gRPC server against bare calls of grpcio with the same bytes: CPU of this process, on all threads.

    .venv/bin/python bench/remote.py [--rounds N]

Prints "grpc contender nanoseconds" for each, the minimum per call over the rounds, in which they take turns. The
server answers from a process of its own with what it got. `driver` is all that the chain does for the hook: the message
is made, the hook found and called, and the answer taken over; `bare` sends and gets bytes, and no metadata.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc

from tykbridge import Bridge, _bridge, messages
from tykbridge.outcome import Request
from tykbridge.services import Services

CALLS = 100  # in a round
HEADERS = [(f"X-Header-{number}", f"value {number}") for number in range(20)]


def serve() -> None:
    """Answer until standard input ends."""
    from concurrent import futures

    server = grpc.server(futures.ThreadPoolExecutor(2))
    method = grpc.unary_unary_rpc_method_handler(lambda data, context: data)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("coprocess.Dispatcher", {"Dispatch": method}),)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()


def contenders(port: int) -> tuple[dict[str, Callable[[], object]], Bridge]:
    """Make what is timed, and what must stay while it is."""
    target = {"address": f"tcp://127.0.0.1:{port}"}
    section = {"driver": "grpc", "grpc": {"targets": {"t": target}}, "pre": [{"name": "add_header"}]}
    api = {"api_id": "a", "org_id": "o", "use_keyless": True, "proxy": {"listen_path": "/"}}
    bridge = Bridge(Services(queue=None))
    assert bridge.load(json.dumps({**api, "custom_middleware": section})).not_loaded == ()
    request = Request("GET", "/path?a=b", (("Host", "h"), ("Traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"), *HEADERS))
    shown = messages.request_message(request, "http", request.url, readable=True) + messages.NO_OVERRIDES
    data = _bridge.part(messages.REQUEST, shown) + messages.map_parts(messages.SPEC, {"APIID": "a", "OrgID": "o"})
    key = next(step.key for steps in bridge.chain_of("a").steps.values() for step in steps)

    def driver() -> None:
        exchange = _bridge.Exchange(data)
        exchange.run((key,))
        exchange.close()

    sent = data + b"\x08\x01" + _bridge.part(2, b"add_header")
    method = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary("/coprocess.Dispatcher/Dispatch")
    return {"bare": lambda: method(sent, 5), "driver": driver}, bridge


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        made, bridge = contenders(int(server.stdout.readline()))
        best = dict.fromkeys(made, float("inf"))
        for _ in range(options.rounds):
            for name, call in made.items():
                before = time.process_time_ns()
                for _ in range(CALLS):
                    call()
                best[name] = min(best[name], (time.process_time_ns() - before) / CALLS)
        del bridge
        assert server.stdin is not None
        server.stdin.close()
    for name, nanoseconds in best.items():
        print(f"grpc {name} {nanoseconds:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
