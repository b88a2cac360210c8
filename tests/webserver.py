"""A web server that answers as a test says, and remembers what it was sent."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Got:
    """A request."""

    def __init__(self, handler, body):
        self.method, self.path, self.body = handler.command, handler.path, body
        self.headers = {name.lower(): value for name, value in handler.headers.items()}


class Server(ThreadingHTTPServer):
    """Answers request number n with the n-th of `answers`, and the last from then on.

    An answer is a status, a status with headers, or a function that gets the handler and does it all.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *answers, context=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server_port}"
        self.answers, self.got, self.lock = list(answers or [200]), [], threading.Lock()

    def handle_error(self, request, client_address):
        """A client that goes is no news."""


class _Handler(BaseHTTPRequestHandler):
    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            answer = self.server.answers[min(len(self.server.got), len(self.server.answers) - 1)]
            self.server.got.append(Got(self, body))
        if callable(answer):
            answer(self)
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, *_):
        """Silence."""


@contextlib.contextmanager
def serving(*answers, **options):
    """Runs a server."""
    with Server(*answers, **options) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
