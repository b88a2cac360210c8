"""The hosts as fixtures: import `host` and `bundle` into a conftest.

A process has one bridge, so a test's bundles have names of their own, and the host table is taken back after it.
"""

import ctypes
import itertools
import json
from types import SimpleNamespace

import pytest

from tests.host.by_cffi import CffiHost
from tests.host.by_ctypes import CtypesHost
from tests.host.calls import OK
from tykbridge import _bridge

HOSTS = {
    "ctypes": lambda: CtypesHost(ctypes.CDLL),
    "ctypes-with-the-lock": lambda: CtypesHost(ctypes.PyDLL),
    "cffi": CffiHost,
}
_made = {}
_numbers = itertools.count(1)


@pytest.fixture(params=HOSTS)
def host(request):
    """A started host: tests.host.calls.Calls, with `logs` [(level, message)] and `events` [(name, payload)]."""
    if request.param not in _made:  # never freed: the library keeps the functions of every table it was given
        _made[request.param] = HOSTS[request.param]()
    made = _made[request.param]
    reply = made.init()
    assert reply.status == OK, reply.words
    made.logs, made.events = logs, events = [], []
    made.set_host(
        log=lambda message, level: logs.append((level, message)),
        trigger_event=lambda name, payload: events.append((name, payload)),
    )
    yield made
    assert made.unset_host() == OK


@pytest.fixture
def bundle(host, tmp_path):
    """Loads a bundle: `bundle(source)` or `bundle({"file.py": source}, manifest)`. Gives it with `name` and `run`.

    `run(hook, fill)` makes an Object, lets `fill` change it, dispatches it, and returns what was sent and the reply.
    """

    def load(files, **middleware):
        number = next(_numbers)
        name = f"bundle-{number}"
        folder = tmp_path / name
        files = {"middleware.py": files} if isinstance(files, str) else files
        for path, source in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(source)
        manifest = {"file_list": list(files), "custom_middleware": {**middleware, "driver": "python"}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        reply = host.load_bundle(str(folder), name)
        assert reply.status == OK, reply.words
        return SimpleNamespace(name=name, folder=folder, run=lambda *args, **fields: run(host, name, *args, **fields))

    return load


def new_object(name, hook, hook_type=1):
    """An Object as a gateway sends it to the hook of a bundle."""
    sent = _bridge.message("Object")
    sent.hook_type, sent.hook_name, sent.spec["bundle_hash"] = hook_type, hook, name
    sent.request.method, sent.request.url, sent.request.scheme = "GET", "/", "http"
    sent.request.return_overrides.response_code = -1
    return sent


def run(host, name, hook, fill=lambda sent: None, hook_type=1):
    sent = new_object(name, hook, hook_type)
    fill(sent)
    reply = host.dispatch(sent.SerializeToString())
    assert reply.status == OK, reply.words
    return sent, _bridge.message("Object", reply.data)
