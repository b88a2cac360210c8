"""A gateway with its inspector, in a process of its own: an API of a shop, whose hooks do what there is to show."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request

from tests import webserver
from tests.cli.commands import UNWANTED, write

KEY = "open-sesame-4711"

PLUGIN = f"""\
import json

from tyk.decorators import *
from gateway import TykGateway as tyk


@Hook
def Stamp(request, session, spec):
    tyk.log("an order from " + (request.get_header("X-From") or "somewhere"), "info")
    request.add_header("X-Stamp", "42")
    request.delete_header("X-Debug")
    return request, session


@Hook
def Check(request, session, metadata, spec):
    if request.get_header("Authorization") == "Bearer {KEY}":
        session.rate, session.per, session.alias = 1000.0, 1.0, "ada"
        metadata["token"] = "{KEY}"
    return request, session, metadata


@Hook
def Price(request, session, spec):
    if request.object.body:
        order = json.loads(request.object.body)
        print("pricing", order["count"], "pieces")
        order["price"] = 12.5 * order["count"]
        request.object.body = json.dumps(order, indent=2)
    return request, session


@Hook
def Label(request, response, session, metadata, spec):
    response.headers["X-Shop"] = "open"
    return response
"""


def shop(target):
    """Give the definition of the API."""
    by_phase = {"pre": ["Stamp"], "post": ["Price"], "response": ["Label"]}
    lists = {phase: [{"name": name, "path": "shop.py"} for name in names] for phase, names in by_phase.items()}
    return {
        "name": "Shop",
        "api_id": "shop",
        "org_id": "org",
        "use_keyless": False,
        "enable_coprocess_auth": True,
        "auth": {"auth_header_name": "Authorization"},
        "proxy": {"listen_path": "/shop/", "target_url": target, "strip_listen_path": True},
        "custom_middleware": {"driver": "python", "auth_check": {"name": "Check", "path": "shop.py"}, **lists},
    }


def open_(target):
    """Give the definition of an API without hooks, whose bodies nobody reads."""
    return {
        "name": "Open",
        "api_id": "open",
        "org_id": "org",
        "use_keyless": True,
        "proxy": {"listen_path": "/open/", "target_url": target, "strip_listen_path": True},
    }


def echo(handler):
    """Answer with what came."""
    got = handler.server.got[-1]
    data = json.dumps({"method": got.method, "path": got.path, "body": got.body.decode("utf-8", "replace")}, indent=2)
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data.encode())))
    handler.end_headers()
    handler.wfile.write(data.encode())


class Inspected:
    """The gateway.

    Attributes:
        folder: has apis/ and middleware/shop.py.
        url: where it listens.
        page: where its inspector is.
        upstream: what the APIs lead to.
        output: what it wrote so far on standard output, by lines. Its log is in the file "log".
    """

    def __init__(self, folder, upstream, options, plugin):
        self.folder, self.upstream, self.output = folder, upstream, []
        self.url = self.page = ""
        write(
            folder,
            {
                "apis/shop.json": shop(upstream.url),
                "apis/open.json": open_(upstream.url),
                "middleware/shop.py": plugin,
            },
        )
        words = ["serve", "apis", "--middleware-path", "middleware", "--port", "0", *options]
        env = {name: value for name, value in os.environ.items() if name not in UNWANTED}
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tykbridge", *words],
                cwd=folder,
                env=env,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            )
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        self.url = self.wait(r"listens on (\S+)")
        if "--inspect" in options:
            self.page = self.wait(r"inspector +(\S+)")

    def _read(self):
        for line in self._process.stdout:
            with self._news:
                self.output.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.output.append(None)  # its end
            self._news.notify_all()

    def wait(self, pattern, seconds=60):
        """Wait for a line that has a pattern; gives its first group, or all of it."""

        def found():
            return next((re.search(pattern, line) for line in self.output if re.search(pattern, line or "")), None)

        with self._news:
            self._news.wait_for(lambda: found() or None in self.output, seconds)
            match = found()
        assert match, (pattern, self.output)
        return match.group(1) if match.groups() else match.group()

    def ask(self, path, body=None, method=None, **headers):
        """Send a request through the gateway; gives status and body."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body.encode() if isinstance(body, str) else body
        return get(urllib.request.Request(self.url + path, data, names, method=method))

    def order(self, path="/shop/orders", count=3, method=None, **headers):
        """Send an order that the shop takes."""
        body = json.dumps({"id": 7, "count": count})
        return self.ask(path, body, method, Authorization=f"Bearer {KEY}", X_Debug="1", **headers)

    def close(self):
        """End it; gives its exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(30)
        finally:
            self._process.kill()
            self._thread.join()
            self._process.stdout.close()
        return status


def get(request):
    """Give an answer's status and body, whatever the status is."""
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@contextlib.contextmanager
def inspected(folder, *options, plugin=PLUGIN):
    """Run one, and its upstream."""
    with webserver.serving(echo) as upstream:
        gateway = Inspected(folder, upstream, options or ("--inspect",), plugin)
        try:
            yield gateway
        finally:
            gateway.close()
