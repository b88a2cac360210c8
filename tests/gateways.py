"""A bridge in a process of its own, for tests that load native plugins: these never leave a process."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import re
import shutil
import sys
import threading
from pathlib import Path

from tests.host.by_ctypes import CtypesHost
from tests.plugins import Child, serve
from tests.test_asgi import Echo, answer, drive, scope_of
from tykbridge import Bridge, _bridge
from tykbridge.asgi import TykMiddleware
from tykbridge.bundle.download import Downloader
from tykbridge.bundle.signing import Trust
from tykbridge.services import Services


def gateway(folder, **env):
    """Start one, whose definitions and files lie in a folder."""
    return Child(folder, "tests.gateways", **env)


def definition(api_id="api", **changes):
    listen = {"listen_path": f"/{api_id}/", "target_url": "http://127.0.0.1:1/"}
    return {"api_id": api_id, "org_id": "org", "proxy": listen, "use_keyless": True, **changes}


def hooks(driver, **phases):
    """A section whose hooks are ("name", "path")."""
    lists = {
        phase: [{"name": name, "path": path} for name, path in found] if phase != "auth_check" else
        {"name": found[0], "path": found[1]}
        for phase, found in phases.items()
    }  # fmt: skip
    return {"driver": driver, **lists}


class Gateway:
    """The bridge, and what it logged."""

    def __init__(self, folder):
        self.folder, self.lines = Path(folder), []
        self.bridge = Bridge(Services(log=self._log), folder)
        _bridge.log = self._log  # what plugins write

    def _log(self, words, level):
        self.lines.append((level, words))

    def log(self):
        lines, self.lines = self.lines, []
        return lines

    def load(self, *documents):
        """Load APIs; gives why some of them are not."""
        apis = self.folder / "apis"
        apis.mkdir(exist_ok=True)
        for old in apis.iterdir():
            old.unlink()
        for document in documents:
            (apis / f"{document['api_id']}.json").write_text(json.dumps(document))
        return [item.reason for item in self.bridge.load(apis).not_loaded]

    def reload(self):
        return [item.reason for item in self.bridge.reload().not_loaded]

    def download_from(self, url, allow_native_code):
        self.bridge.downloader = Downloader(url)
        self.bridge.trust = Trust(allow_native_code=allow_native_code)

    def request(self, request, api="api"):
        return self.bridge.request(request, api)

    def response(self, request, response, api="api"):
        return self.bridge.response(request, response, b"", api).response

    def request_many(self, request, threads, calls, api="api", reloads=0):
        """Run a request from several threads, while one loads again; gives the distinct outcomes."""
        outcomes = set()

        def work():
            for _ in range(calls):
                outcomes.add(self.request(request, api))

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for _ in range(reloads):
            assert self.reload() == []
        for worker in workers:
            worker.join()
        return outcomes

    def swap_under_load(self, request, files, reloads, workers):
        """Put the files in each other's place again and again; gives the versions seen, and those that were wrong."""
        seen, wrong, over = set(), [], threading.Event()
        plugin, fresh = self.folder / "plugin.so", self.folder / "plugin.so.new"

        def version():
            return dict(self.request(request).request.headers)["X-Version"]

        def work():
            while not over.is_set():
                seen.add(version())

        threads = [threading.Thread(target=work) for _ in range(workers)]
        for worker in threads:
            worker.start()
        numbers = sorted(files)
        for at in range(reloads):
            number = numbers[at % len(numbers)]
            shutil.copy(files[number], fresh)
            fresh.replace(plugin)
            assert self.reload() == []
            if (found := version()) != number:
                wrong.append((at, number, found))
        over.set()
        for worker in threads:
            worker.join()
        return seen, wrong

    def keep_session(self, key, session):
        services = self.bridge.services
        services.sessions.set(f"apikey-{services.keys.hashed(key)}", json.dumps(session).encode())

    def mapped(self):
        """The private copies that are mapped, by their names."""
        text = Path("/proc/self/maps").read_text()
        return sorted(set(re.findall(r"/tykbridge-[^/]*/(\S+\.so)", text)))

    def children(self):
        """The processes that plugins run in."""
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return [number for number in listed if b"tykbridge-plugin" in Path(f"/proc/{number}/cmdline").read_bytes()]

    def temporary(self):
        return [name for name in os.listdir(os.environ["TMPDIR"]) if name.startswith("tykbridge-")]

    def in_a_forked_child(self, request):
        """What a request comes to in a forked child, before and after it loads again."""
        there, back = os.pipe()
        child = os.fork()
        if not child:
            before = self.request(request)
            words = [words for _, words in self.log()]
            answers = before, words, self.reload(), self.request(request)
            os.write(back, pickle.dumps(answers))
            os._exit(0)
        os.close(back)
        with os.fdopen(there, "rb") as stream:
            said = stream.read()
        os.waitpid(child, 0)
        return pickle.loads(said)

    def hosted(self, document, message, response=False, settings=None):
        """Load an API through the C library, as a host does, and run a message; gives words and the reply."""
        host = CtypesHost(ctypes.CDLL)
        host.init()
        loaded = host.load_configuration(json.dumps(document), middleware_path=str(self.folder), settings=settings)
        run = host.run_response if response else host.run_request
        return loaded.words, run(message).data

    def behind_asgi(self, document, conf):
        """Load an API before an application of this process, and ask for its listen path; gives status and body."""
        middleware = TykMiddleware(Echo(), json.dumps(document), conf=conf)
        return answer(drive(middleware, scope_of(path=document["proxy"]["listen_path"])))[::2]


if __name__ == "__main__":
    serve(lambda: Gateway(sys.argv[1]))
