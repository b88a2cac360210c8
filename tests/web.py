"""A web server for tests, which answers exactly the bytes that it is told to, on plain sockets and on TLS."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Asked:
    """A request as it came. `headers` has their names in lower case."""

    target: str
    headers: dict[str, str]


Answer = bytes | Iterable[bytes]


def answer(body: bytes = b"", status: str = "200 OK", **headers: object) -> bytes:
    """Writes a response whose length is true, unless a `Content_Length` is given; None leaves a header out."""
    lines = {"Content_Length": len(body), **headers}
    head = [f"{name.replace('_', '-')}: {value}" for name, value in lines.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status}", *head, "", ""]).encode() + body


class Server:
    """Serves on a port of its own, a thread for each connection, one request on each.

    Attributes:
        answers: gives the answer to a request; pieces of one are sent one by one.
        asked: the requests so far.
        stopped: set when the server ends; to wait for it is how an answer is slow.
    """

    def __init__(self, answers: Callable[[Asked], Answer], tls: ssl.SSLContext | None = None) -> None:
        self.answers, self._tls = answers, tls
        self.asked: list[Asked] = []
        self.stopped = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def drip(self, data: bytes, every: float = 0.005) -> Iterator[bytes]:
        """Gives data byte by byte, slowly, and goes on until the server ends."""
        for at in range(len(data)):
            if self.stopped.wait(every):
                return
            yield data[at : at + 1]

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                connected, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connected,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):  # clients go away as they like
            plain.settimeout(10)
            connected = stack.enter_context(plain)
            if self._tls is not None:
                connected = stack.enter_context(self._tls.wrap_socket(plain, server_side=True))
            head = b""
            while b"\r\n\r\n" not in head:
                data = connected.recv(4096)
                if not data:
                    return
                head += data
            first, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            asked = Asked(first.split(" ")[1], {name.lower(): value for name, value in headers.items()})
            self.asked.append(asked)
            said = self.answers(asked)
            for piece in [said] if isinstance(said, bytes) else said:
                connected.sendall(piece)
            if self._tls is None:
                connected.shutdown(socket.SHUT_WR)
                connected.recv(1)  # a close with bytes unread would be a reset


@dataclass(frozen=True)
class Authority:
    """A certificate authority of one server, 127.0.0.1. `file` is its certificate, as SSL_CERT_FILE wants it."""

    file: Path
    context: ssl.SSLContext


def authority(folder: Path) -> Authority:
    """Makes one."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    certificate = folder / "ca.pem"
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return Authority(certificate, context)
