"""One request on its way through the gateway, as those see it who watch: its id, its API, what came of it."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aiohttp import web

    from tykbridge.outcome import Outcome, Request, Response

_START = secrets.token_hex(4)  # ids of two runs of a gateway, whose lines are in one file, differ
_numbers = itertools.count(1)
_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # nothing that a log or a shell could take for something else


class Notes(Protocol):
    """Takes down what a request carries, on the event loop: it must neither wait nor raise."""

    def came(self, incoming: web.BaseRequest) -> None:
        """The request, whose body is not read yet."""

    def read(self, body: bytes) -> None:
        """Its body, for hooks; a body that nobody is shown goes past."""

    def decided(self, outcome: Outcome) -> None:
        """What its hooks, or those of the response, came to."""

    def asked(self, request: Request, keeps_host: bool) -> None:
        """What the upstream gets; `url` is the whole URL, Host the client's, which it gets with `keeps_host` alone."""

    def answered(self, response: Response, streamed: bool) -> None:
        """What the upstream answers. `streamed`: the body goes past."""

    def gave(self, response: Response) -> None:
        """What the client gets; of a response that goes past the head."""


class Visit:
    """One request. Written by the event loop alone, but for `hooks`; hooks' threads read it.

    Attributes:
        id: names it in this process; unlike that of any other.
        request_id: names it in logs, and for hooks and upstreams: the client's X-Request-ID, otherwise `id`.
        method: its method.
        target: path and query as they came; may hold what nobody else should read (tokens).
        client: the address that it came from, "" for a socket without one.
        api_id: the API that it is for, "" for none.
        began: when, by `time.perf_counter`.
        at: when, in unix seconds.
        ended: when it was over, by `time.perf_counter`; 0.0 before that.
        status: of the answer; 0 before there is one, and where the client went away first.
        sent: bytes of the answer's body that went to the client, as it asked for them (not of framing).
        hooks: seconds that its hooks took so far; written by their threads, of which one runs at a time.
        upstream: the URL that was asked, "" where nobody was.
        failure: why the gateway itself refused or broke it off, "" where it did not.
        notes: an observer's, which it sets at the beginning; None: nobody takes any.
    """

    __slots__ = (
        "api_id",
        "at",
        "began",
        "client",
        "ended",
        "failure",
        "hooks",
        "id",
        "method",
        "notes",
        "request_id",
        "sent",
        "status",
        "target",
        "upstream",
    )

    def __init__(self, method: str, target: str, client: str, sent_id: str = "") -> None:
        self.id = f"{_START}-{next(_numbers)}"
        self.request_id = sent_id if _SANE.fullmatch(sent_id) else self.id
        self.method, self.target, self.client = method, target, client
        self.began, self.at, self.ended = time.perf_counter(), time.time(), 0.0
        self.status = self.sent = 0
        self.hooks = 0.0
        self.api_id = self.upstream = self.failure = ""
        self.notes: Notes | None = None


class Observer(Protocol):
    """Hears of requests, on the event loop: it must neither wait nor raise."""

    def begin(self, visit: Visit) -> None:
        """A request has come, and its API is known; nothing has run yet."""

    def end(self, visit: Visit) -> None:
        """It is over: the answer is sent, or the client is gone."""


current: ContextVar[Visit | None] = ContextVar("tykbridge_visit", default=None)
"""The request that is being answered, on the event loop, and in the threads that its hooks run on; None: none is."""
