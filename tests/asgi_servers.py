"""Real servers for ASGI applications, in threads of this process, and clients that send what they are told."""

import asyncio
import contextlib
import http.client
import socket
import threading

import hypercorn.asyncio
import hypercorn.config
import uvicorn

from tests.servers import until


@contextlib.contextmanager
def by_uvicorn(app, **options):
    """Gives the port where uvicorn serves an application."""
    options = {"http": "httptools", "server_header": False, "date_header": False, "log_level": "critical", **options}
    server = uvicorn.Server(uvicorn.Config(app, **options))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
        thread.start()
        until(lambda: server.started or not thread.is_alive())
        assert server.started, "uvicorn did not start"
        yield sock.getsockname()[1]
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@contextlib.contextmanager
def by_hypercorn(app):
    """Gives the port where Hypercorn serves an application."""
    loop, over, ports = asyncio.new_event_loop(), asyncio.Event(), []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        config = hypercorn.config.Config()
        config.bind, config.loglevel, config.include_server_header = [f"fd://{sock.detach()}"], "CRITICAL", False

        async def serve():
            serving = asyncio.ensure_future(hypercorn.asyncio.serve(app, config, shutdown_trigger=over.wait))
            await serving

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        ports.append(socket.socket(fileno=int(config.bind[0][5:])))
        port = ports[0].getsockname()[1]
        ports[0].detach()
        thread.start()
        yield port
        loop.call_soon_threadsafe(over.set)
        thread.join(30)
        assert not thread.is_alive()
        loop.close()


def ask(port, method="GET", url="/", headers=(), body=b""):
    """Sends exactly this, and the length of a body where none is named; gives status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest(method, url, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("utf-8", "surrogateescape"))
        if body and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()


def raw(port, data):
    """Sends bytes; gives all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(data)
        parts = []
        while part := sock.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)
