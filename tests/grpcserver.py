"""Plugin servers for gRPC, made of a function; as a program, one in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from tykbridge import _bridge
from tykbridge.errors import BridgeError

Answer = Callable[[bytes, grpc.ServicerContext], bytes]


def handler(answer: Answer, event: Answer | None = None) -> grpc.GenericRpcHandler:
    methods = {"Dispatch": answer, "DispatchEvent": event or (lambda data, context: b"")}
    return grpc.method_handlers_generic_handler(
        "coprocess.Dispatcher", {name: grpc.unary_unary_rpc_method_handler(each) for name, each in methods.items()}
    )


@contextlib.contextmanager
def serving(
    answer: Answer, event: Answer | None = None, address: str = "127.0.0.1:0", credentials: Any = None, **options: int
) -> Iterator[str]:
    """Serves in this process; gives the address as definitions write it."""
    server = grpc.server(
        futures.ThreadPoolExecutor(8),
        options=[("grpc.so_reuseport", 0), *((f"grpc.{name}", value) for name, value in options.items())],
    )
    server.add_generic_rpc_handlers((handler(answer, event), *_more))
    secure = credentials is not None
    port = server.add_secure_port(address, credentials) if secure else server.add_insecure_port(address)
    server.start()
    try:
        yield address if address.startswith("unix:") else f"tcp://{address.rpartition(':')[0]}:{port}"
    finally:
        server.stop(None).wait()


_more: list[grpc.GenericRpcHandler] = []


@contextlib.contextmanager
def beside(*handlers: grpc.GenericRpcHandler) -> Iterator[None]:
    """Lets servers that start meanwhile serve more."""
    _more.extend(handlers)
    try:
        yield
    finally:
        del _more[:]


def through(bundle: str) -> Answer:
    """Answers with what the Python hooks of a bundle do that is loaded here."""

    def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
        exchange = _bridge.Exchange(data)
        name = exchange.object.hook_name.encode()
        try:
            exchange.run(((bundle.encode(), name),), move=False)
            return bytes(exchange.object.SerializeToString())
        except BridgeError as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
            raise AssertionError from error
        finally:
            exchange.close()

    return answer


class Program:
    """A server in a process of its own that answers with what it got, after so many milliseconds."""

    def __init__(self, delay_ms: int = 0, port: int = 0) -> None:
        arguments = [sys.executable, str(Path(__file__).resolve()), str(delay_ms), str(port)]
        self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.address = f"tcp://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        """Lets it do nothing any more, without its connections being closed."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Ends it as a crash does; it may be over already."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


async def _serve(delay: float, port: int) -> None:
    async def answer(data: bytes, context: Any) -> bytes:
        if delay:
            await asyncio.sleep(delay)
        return data

    pending = [("grpc.server.max_pending_requests", 1 << 16), ("grpc.server.max_pending_requests_hard_limit", 1 << 16)]
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *pending])  # none of a burst is given up
    server.add_generic_rpc_handlers((handler(answer, answer),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]) / 1000, int(sys.argv[2])))
