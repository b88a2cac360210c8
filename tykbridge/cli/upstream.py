"""``tykbridge upstream``: an upstream to try plugins on, which answers with what it got."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import click

from tykbridge.cli.lines import clean

_EXAMPLES = """\b
Examples:
  tykbridge upstream                 where the APIs of `tykbridge new` send their requests
  tykbridge upstream --port 8081
"""
_BODY = 10 << 20  # bytes
_PATIENCE = 60  # seconds without a byte


@click.command("upstream", epilog=_EXAMPLES)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port; 0: any.")
def command(port: int) -> None:
    """Answer every request with what came in, as JSON: an upstream to try plugins on.

    The answer has the method, the path and query ("url", "args"), the headers and the body ("data", "json") as the
    upstream got them, which is what the hooks before it left. It listens on 127.0.0.1 until Ctrl-C.
    """
    try:
        server = _Server(("127.0.0.1", port), _Echo)
    except OSError as error:
        words = f"127.0.0.1:{port}: {error.strerror}; --port names another, --port 0 takes any that is free"
        raise click.ClickException(words) from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    click.echo(f"http://127.0.0.1:{server.server_port}/ answers with what it gets. Ctrl-C ends it.")
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in a line what became of a connection, which is mostly that the client has gone."""
        click.echo(f"{client_address[0]}: {sys.exc_info()[1]!r}", err=True)


class _Echo(BaseHTTPRequestHandler):
    """Answers requests of any method."""

    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE

    def version_string(self) -> str:
        """Name this."""
        return "tykbridge"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        body = self._body()
        if body is None:
            return
        headers: dict[str, Any] = {}
        for field, value in self.headers.items():
            known = headers.get(field)
            headers[field] = value if known is None else [*known, value] if isinstance(known, list) else [known, value]
        args = parse_qs(self.path.partition("?")[2], keep_blank_values=True)
        text = body.decode("utf-8", "backslashreplace")
        try:
            parsed = json.loads(body) if body else None
        except ValueError:
            parsed = None
        document = {
            "method": self.command,
            "url": self.path,
            "args": {name: values if len(values) > 1 else values[0] for name, values in args.items()},
            "headers": headers,
            "data": text,
            "json": parsed,
        }
        answer = json.dumps(document, indent=2).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    def _body(self) -> bytes | None:
        """Read the body; None: there is an answer already."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunks()
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _BODY:
            self._refuse()
            return None
        return self.rfile.read(int(length))

    def _chunks(self) -> bytes | None:
        body = b""
        while size := int(self.rfile.readline(100).partition(b";")[0], 16):
            if size < 0 or len(body) + size > _BODY:
                self._refuse()
                return None
            body += self.rfile.read(size)
            self.rfile.readline(3)
        while self.rfile.readline(_BODY).strip():  # trailers
            pass
        return body

    def _refuse(self) -> None:
        self.close_connection = True
        self.send_error(413)

    def log_message(self, format: str, *words: Any) -> None:
        """Write a line for each request."""
        click.echo(clean(format % words))
