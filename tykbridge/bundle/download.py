"""Fetches bundles from a web server or a folder: one archive into one file, or a failure that says what to do."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import http.client
import os
import random
import ssl
import stat
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, IncompleteRead, LocationParseError, NameResolutionError, NewConnectionError
from urllib3.util import Url, parse_url

from tykbridge import _bridge
from tykbridge._version import __version__
from tykbridge.bundle import bounded, names
from tykbridge.errors import LoadError

MAX_SIZE = 64 << 20
"""Bytes of an archive, compressed, unless told otherwise."""
TOTAL_TIME = 120.0
"""Seconds for a bundle, with every try and every wait in between, unless told otherwise."""

_CONNECT_TIME = 5.0  # seconds until a connection stands, TLS included
_LONGEST_WAIT = 30.0  # seconds between two tries, whatever Retry-After asks for
_FIRST_WAIT = 0.5
_REDIRECTS = 5
_CHUNK = 1 << 16
_AGAIN = frozenset((429, 500, 502, 503, 504))
_MOVED = frozenset((301, 302, 303, 307, 308))
_PORTS = {"http": 80, "https": 443}


class UnavailableError(LoadError):
    """Nothing came, or could not be kept. It says nothing against what was fetched before."""


class _TryAgainError(Exception):
    """A try failed, and another may not. `wait`: seconds that the server asks for."""

    def __init__(self, words: str, wait: float = 0.0) -> None:
        super().__init__(words)
        self.wait = wait


@dataclass(frozen=True)
class Validators:
    """What a server said with a bundle, to be asked with for a newer one. "" where it said nothing."""

    etag: str = ""
    last_modified: str = ""

    def __post_init__(self) -> None:
        """Drops what no header can hold, whoever it comes from."""
        for name in ("etag", "last_modified"):
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > 1024 or not (value.isascii() and value.isprintable()):
                object.__setattr__(self, name, "")


@dataclass(frozen=True)
class Fetched:
    """An archive that was fetched.

    Attributes:
        size: bytes.
        sha256: of them, in hexadecimal.
        validators: for the next time.
    """

    size: int
    sha256: str
    validators: Validators


class Downloader:
    """Fetches the bundles below one URL. Safe to use from any thread.

    Environment variables that name proxies are not followed: the server named is the one that is asked.

    Args:
        base_url: http, https or file. A bundle's URL is this, "/" and its name, each part of it percent-encoded.
            User and password in it are sent as basic authorization, unless `authorization` is given.
        insecure_skip_verify: takes any certificate. A log line warns of it.
        authorization: the Authorization header's value. It is for this origin; redirects to others are not followed.
        max_size: bytes of an archive, compressed.
        total_time: seconds for one bundle, with all tries and waits.
        tries: how often a bundle is asked for, when it may help.
        log: gets warnings.
        sleep: waits between tries, for seconds.

    Raises:
        LoadError: the URL or the header's value cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        insecure_skip_verify: bool = False,
        authorization: str = "",
        max_size: int = MAX_SIZE,
        total_time: float = TOTAL_TIME,
        tries: int = 4,
        log: Callable[[str, str], None] = _bridge.log,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base = _parse_base(base_url)
        self._max_size, self._total_time, self._tries, self._sleep = max_size, total_time, tries, sleep
        self._down = False  # the fetch before ended without an answer; written by any thread, and any order does
        self._headers = {"User-Agent": f"tykbridge/{__version__}", "Accept-Encoding": "identity"}
        if authorization:
            if not (authorization.isascii() and authorization.isprintable()):
                raise LoadError("bundle_authorization must be printable ASCII, as a header's value is")
            self._headers["Authorization"] = authorization
        elif self._base.auth:
            user = urllib.parse.unquote_to_bytes(self._base.auth)
            self._headers["Authorization"] = f"Basic {base64.b64encode(user).decode()}"
        self._tls = ssl.create_default_context() if self._base.scheme == "https" else None
        if self._tls is not None and insecure_skip_verify:
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
            log(
                f"bundle_insecure_skip_verify: whoever can pose as {self._base.host} chooses the code of bundles "
                "from there, unless public_key_path is set",
                "warning",
            )

    def url(self, name: str) -> str:
        """Gives the URL of a bundle, without user and password.

        Raises:
            LoadError: the name is none that may be downloaded.
        """
        if wrong := names.fault(name):
            raise LoadError(f"the bundle {name!a} cannot be downloaded: {wrong}; a name is a path such as team/a.zip")
        path = "/".join(urllib.parse.quote(part, safe="") for part in name.split("/"))
        return _shown(self._base._replace(path=f"{(self._base.path or '').rstrip('/')}/{path}"))

    def fetch(self, name: str, into: Path, known: Validators | None = None) -> Fetched | None:
        """Fetches a bundle into the file `into`, which is there afterwards only when something was fetched.

        Args:
            name: the bundle's.
            into: the file; one that is there is written over.
            known: what the server said with the version at hand.

        Returns:
            What was fetched; None: the version at hand is the newest.

        Raises:
            UnavailableError: the server gave nothing, or it could not be kept here.
            LoadError: what it gave is refused.
        """
        done = False
        try:
            found = self._copy(name, into) if self._base.scheme == "file" else self._ask(name, into, known)
            done = found is not None
            return found
        finally:
            if not done:
                with contextlib.suppress(OSError):
                    into.unlink(missing_ok=True)

    def _copy(self, name: str, into: Path) -> Fetched:
        url = self.url(name)
        try:
            # realpath, since Path.resolve raises no OSError where links go in a circle.
            base = Path(os.path.realpath(urllib.parse.unquote(self._base.path or "/")))
            path = Path(os.path.realpath(base / name))
            if not path.is_relative_to(base):
                raise UnavailableError(f"{url}: a link leads out of {base}; nothing outside of it is read")
            # Not blocking, for a pipe that nobody writes to.
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as source:
                if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                    raise UnavailableError(f"{url}: {path} is no file; a bundle is a zip file")
                return self._keep(url, iter(lambda: source.read(_CHUNK), b""), into, Validators())
        except _TryAgainError as error:
            raise UnavailableError(f"{url}: {error}") from error
        except OSError as error:
            raise UnavailableError(f"{url}: cannot be read: {error.strerror}") from error

    def _ask(self, name: str, into: Path, known: Validators | None) -> Fetched | None:
        url = self.url(name)
        end = time.monotonic() + self._total_time
        tries = 1 if self._down else self._tries  # many bundles, one server: what is down is not waited for each time
        number = 0
        while True:
            number += 1
            try:
                found = self._try(url, into, known, end)
            except _TryAgainError as failure:
                wait = _FIRST_WAIT * 2 ** (number - 1) * random.uniform(0.5, 1.5)
                wait = min(max(wait, failure.wait), _LONGEST_WAIT)
                in_time = time.monotonic() + wait < end
                if number < tries and in_time:
                    self._sleep(wait)
                    continue
                self._down = True
                times = ("1 try" if number == 1 else f"{number} tries") + ("" if in_time else ", and the time is over")
                raise UnavailableError(
                    f"{url}: {failure} (after {times}); see that the server runs and can be reached from here"
                ) from failure
            self._down = False
            return found

    def _try(self, url: str, into: Path, known: Validators | None, end: float) -> Fetched | None:
        place = parse_url(url)
        for _ in range(_REDIRECTS + 1):
            with self._response(place, known, end) as response:
                if response.status in _MOVED:
                    place = self._follow(url, place, response.headers.get("Location", ""))
                    continue
                if response.status == 304 and known is not None:
                    return None
                self._check(url, response)
                said = response.headers
                validators = Validators(said.get("ETag", ""), said.get("Last-Modified", ""))
                return self._keep(url, _body(response), into, validators)
        raise UnavailableError(f"{url}: more than {_REDIRECTS} redirects; give the bundle a URL of its own")

    @contextlib.contextmanager
    def _response(self, place: Url, known: Validators | None, end: float) -> Iterator[urllib3.BaseHTTPResponse]:
        """Sends a request. What goes wrong with the connection while this is open is a _TryAgainError."""
        headers = dict(self._headers)
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        if known is not None and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        with contextlib.ExitStack() as open_now:
            try:
                connection = self._connection(place, min(_CONNECT_TIME, bounded.left(end)))
                open_now.callback(connection.close)
                connection.connect()
                assert connection.sock is not None
                open_now.callback(connection.sock.close)
                # What frames the archive counts as well: headers, the sizes of chunks.
                budget = self._max_size + self._max_size // 8 + _CHUNK
                connection.sock = bounded.Socket(connection.sock, end, budget)
                target = place.request_uri
                connection.request("GET", target, headers=headers, preload_content=False, decode_content=False)
                with contextlib.closing(connection.getresponse()) as response:
                    yield response
            except bounded.TooLargeError as error:
                raise self._too_large(_shown(place)) from error
            except bounded.OverLimitError as error:
                raise _TryAgainError(str(error)) from error
            except ssl.SSLCertVerificationError as error:
                raise UnavailableError(
                    f"{_shown(place)}: its certificate is not trusted: {error.verify_message}; add its CA to the "
                    "system's, or name a file of CAs in the environment variable SSL_CERT_FILE"
                ) from error
            except (HTTPError, http.client.HTTPException, OSError) as error:
                raise _TryAgainError(reason(error)) from error

    def _connection(self, place: Url, timeout: float) -> HTTPConnection:
        host = (place.host or "").strip("[]")
        if self._tls is None:
            return HTTPConnection(host, place.port or 80, timeout=timeout)
        return HTTPSConnection(host, place.port or 443, timeout=timeout, ssl_context=self._tls)

    def _follow(self, url: str, place: Url, location: str) -> Url:
        try:
            target = parse_url(urllib.parse.urljoin(place.url, location))
        except (LocationParseError, ValueError):
            target = Url()
        if not location or not target.host:
            raise UnavailableError(f"{url}: is redirected to nowhere: the server sends no Location that can be read")
        if _origin(target) != _origin(self._base):
            raise UnavailableError(
                f"{url}: is redirected to {_shown(target)}, and redirects are followed on the same server alone; "
                "if that is where bundles are, set bundle_base_url to it"
            )
        return target._replace(auth=None, fragment=None)

    def _check(self, url: str, response: urllib3.BaseHTTPResponse) -> None:
        """Refuses every answer but a whole archive as it is."""
        status = response.status
        said = f"the server answers {status} {response.reason or ''}".rstrip()
        if status in _AGAIN:
            raise _TryAgainError(said, _retry_after(response.headers.get("Retry-After", "")))
        if status in (401, 403):
            raise UnavailableError(f"{url}: {said}; set bundle_authorization to what it lets in")
        if status in (404, 410):
            raise UnavailableError(f"{url}: {said}; see that the bundle is there under this name")
        if status != 200:
            raise UnavailableError(f"{url}: {said}, and a bundle comes with 200")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity":
            raise UnavailableError(f"{url}: the server sends it in the encoding {encoding!a}; have it sent as it is")
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:20]) > self._max_size:
            raise self._too_large(url)

    def _keep(self, url: str, chunks: Iterator[bytes], into: Path, validators: Validators) -> Fetched:
        """Writes an archive down."""
        digest, size = hashlib.sha256(), 0
        with _writing(url, into) as file:
            for chunk in chunks:
                size += len(chunk)
                if size > self._max_size:
                    raise self._too_large(url)
                digest.update(chunk)
                with _local(url, into):
                    file.write(chunk)
        if not size:  # headers that end in their middle count as such that end
            raise _TryAgainError("what comes is empty")
        return Fetched(size, digest.hexdigest(), validators)

    def _too_large(self, url: str) -> LoadError:
        return LoadError(f"{url}: is larger than {self._max_size} bytes, the most that is fetched; make it smaller")


def _parse_base(text: str) -> Url:
    """Reads the base URL. Its text is in no error: it may hold a password."""
    try:
        base = parse_url(text.strip())
    except LocationParseError:
        base = Url()
    if base.scheme not in ("http", "https", "file") or (base.scheme != "file" and not base.host):
        raise LoadError("bundle_base_url must be a URL with http, https or file, such as https://host/bundles")
    if base.query is not None or base.fragment is not None:
        raise LoadError(f"bundle_base_url must have neither ? nor #: {_shown(base)}; names are put behind it")
    if base.scheme == "file" and (base.host not in (None, "", "localhost") or not base.path):
        raise LoadError("bundle_base_url with file must name a folder of this machine: file:///folder")
    return base


def _shown(place: Url) -> str:
    """Gives a URL without what may be secret in it."""
    return place._replace(auth=None, query=None, fragment=None).url


def _origin(place: Url) -> tuple[str | None, str | None, int | None]:
    return place.scheme, place.host, place.port or _PORTS.get(place.scheme or "")


def reason(error: Exception) -> str:
    """Says what happened to a connection, without the objects that urllib3 puts into its words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NameResolutionError):
            return "its host has no address that can be found"
        late = isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError)
        if late and not isinstance(cause, NewConnectionError):  # which is a time-out to urllib3, whatever it is
            return "the server does not answer in time"
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
        if isinstance(cause, IncompleteRead | http.client.IncompleteRead):
            return "the server closes the connection before all of it has come"
        cause = cause.__cause__ or cause.__context__
    return f"the server's answer is not HTTP: {type(error).__name__}"


def _body(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        yield from response.stream(_CHUNK, decode_content=False)
    except ValueError as error:  # a chunk of less than no length
        raise _TryAgainError(f"the server's answer is not HTTP: {error}") from error


def _retry_after(value: str) -> float:
    """Reads Retry-After: seconds, or a date (RFC 9110, section 10.2.3). 0 for what is neither."""
    if value.isdecimal():
        return float(value[:9])
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


@contextlib.contextmanager
def _local(url: str, path: Path) -> Iterator[None]:
    """Tells a full disk from a broken connection: both are an OSError."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{url}: {path} cannot be written: {error.strerror}; make room there, or see to its permissions"
        ) from error


@contextlib.contextmanager
def _writing(url: str, path: Path) -> Iterator[BinaryIO]:
    with _local(url, path):
        file = path.open("wb")
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError):  # what the buffer still holds is not wanted
            file.close()
        raise
    with _local(url, path):
        file.close()
