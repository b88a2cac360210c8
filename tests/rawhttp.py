"""HTTP/1.1 byte by byte, for tests: a client and an upstream that neither add, nor repair, nor hide anything."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

TIMEOUT = 60  # seconds; for what hangs

Headers = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """A request or response as it came.

    Attributes:
        first: its first line.
        headers: with repeats, in their order.
        body: without its framing.
        is_whole: it came to its end; a body without a length ends with the connection.
    """

    first: bytes
    headers: Headers
    body: bytes = b""
    is_whole: bool = True
    parts: list[bytes] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.first.split(b" ")[1])

    @property
    def method(self) -> bytes:
        return self.first.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.first.split(b" ")[1]

    def all(self, name: str) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]

    def get(self, name: str) -> bytes | None:
        return next(iter(self.all(name)), None)


class Reader:
    """Reads messages from a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.rest = sock, b""

    def more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        self.rest += data
        return bool(data)

    def until(self, mark: bytes) -> bytes | None:
        while mark not in self.rest:
            if not self.more():
                return None
        found, _, self.rest = self.rest.partition(mark)
        return found

    def exactly(self, size: int) -> bytes | None:
        while len(self.rest) < size:
            if not self.more():
                return None
        found, self.rest = self.rest[:size], self.rest[size:]
        return found

    def head(self) -> Message | None:
        """Read a head; None: the connection ended before."""
        head = self.until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.split(b"\r\n")
        return Message(first, [(name, value.strip(b" \t")) for name, _, value in (x.partition(b":") for x in lines)])

    def body(self, message: Message, ends_by_close: bool) -> Message:
        """Read the body that a head announces."""
        if b"chunked" in b",".join(message.all("transfer-encoding")):
            while True:
                line = self.until(b"\r\n")
                size = int(line.split(b";")[0], 16) if line else 0
                part = self.exactly(size + 2) if line else None
                if part is None:
                    message.is_whole = False
                    break
                if not size:
                    break
                message.parts.append(part[:-2])
            message.body = b"".join(message.parts)
        elif (length := message.get("content-length")) is not None:
            body = self.exactly(int(length))
            message.body, message.is_whole = (self.rest, False) if body is None else (body, True)
        elif ends_by_close:
            while self.more():
                pass
            message.body, self.rest = self.rest, b""
        return message


class Client:
    """A connection of a client's."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self.reader = Reader(self.sock)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *pieces: bytes) -> Client:
        for piece in pieces:
            self.sock.sendall(piece)
        return self

    def receive(self, method: bytes = b"GET") -> Message | None:
        """Read a response; None: the connection ended before its head did."""
        message = self.reader.head()
        if message is None or method == b"HEAD" or message.status in (204, 304) or message.status < 200:
            return message
        return self.reader.body(message, ends_by_close=True)

    def is_over(self) -> bool:
        """Wait for more from the other side; whether it closed instead."""
        return not self.reader.rest and not self.reader.more()


def request(first: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """Write a request; one with a body gets its length, unless a header frames it."""
    lines = [
        first + b" HTTP/1.1",
        *(headers if any(h.lower().startswith(b"host:") for h in headers) else (b"Host: h", *headers)),
    ]
    if body and not any(h.lower().startswith((b"content-length:", b"transfer-encoding:")) for h in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def exchange(port: int, data: bytes) -> Message:
    """Send a request on a connection of its own, and read the response."""
    with Client(port) as client:
        answer = client.send(data).receive(data.split(b" ")[0])
        assert answer is not None, "the connection ended without a response"
        return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answers = Callable[[Message], bytes | Iterable[bytes]]


class Upstream:
    """An upstream on a port of its own, a thread for each connection.

    Attributes:
        answers: gives the bytes of the answer to a request, in one or several pieces; b"" closes the connection.
        reads_body: it reads a body before it answers.
        asked: the requests so far.
        heads: the requests of which the head is there.
    """

    def __init__(self) -> None:
        self.answers: Answers = lambda message: OK
        self.reads_body = True
        self.asked: list[Message] = []
        self.arrived = threading.Condition()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(TIMEOUT)

    def wait_for(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.asked) >= count, TIMEOUT)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            self._open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            sock.settimeout(TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = Reader(sock)
            while (message := reader.head()) is not None:
                message.reader = reader  # type: ignore[attr-defined]
                if self.reads_body:
                    reader.body(message, ends_by_close=False)
                with self.arrived:
                    self.asked.append(message)
                    self.arrived.notify_all()
                answer = self.answers(message)
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    if not piece:
                        return
                    sock.sendall(piece)
        self._open.discard(sock)


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    """Run one."""
    with Upstream() as made:
        yield made
