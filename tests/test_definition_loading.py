"""Definitions through the loading of a whole configuration, by tykbridge.Bridge and by the C library.

What the seeds print runs, or is listed with what it needs; what is broken is refused with its reason and its place; and
the good ones beside them answer.
"""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.definitions import (
    BASIC_USAGE,
    BROKEN,
    GO_BUNDLE,
    GOPLUGIN,
    OAS_BROKEN,
    RESPONSE,
    smallest,
    smallest_oas,
)
from tests.host.calls import OK
from tykbridge import Bridge, _bridge, drivers, hosted
from tykbridge.drivers.goplugin.files import names
from tykbridge.outcome import Continue, Request, Response
from tykbridge.services import Services

SEEDS = Path(__file__).resolve().parent.parent / "examples/seeds"
CONTINUE = 0

HOOK = """
from tyk.decorators import *

@Hook
def name_api(request, session, spec):
    request.add_header("X-Api", spec["APIID"])
    return request, session
"""

CASES = [(smallest, case.values) for case in BROKEN] + [(smallest_oas, case.values) for case in OAS_BROKEN]


ABLE = ", ".join(sorted(drivers.capabilities().deadlines)) or "none yet"


def quiet(words, level):
    """A log that nobody reads."""


def good(form, name):
    """A definition of either form, whose hook names the API."""
    section = {"driver": "python", "pre": [{"name": "name_api", "path": "plugin.py"}]}
    if form is smallest:
        proxy = {"listen_path": f"/{name}/"}
        return smallest(api_id=name, proxy=proxy, use_keyless=True, custom_middleware=section)
    plugin = {"enabled": True, "functionName": "name_api", "path": "plugin.py"}
    return smallest_oas(
        info={"id": name},
        server={"listenPath": {"value": f"/{name}/"}},
        middleware={"global": {"pluginConfig": {"driver": "python"}, "prePlugins": [plugin]}},
    )


@pytest.fixture
def mixed(tmp_path):
    """A folder of all the broken definitions, with a good one of the same form behind every fifth of them.

    Gives it; the broken files, each with path, what is expected and what is found; and the ids of the good APIs.
    """
    (tmp_path / "plugin.py").write_text(HOOK)
    broken, names = {}, []
    for number, (form, (changes, *said)) in enumerate(CASES):
        file = tmp_path / f"{number:03}-bad.json"
        file.write_text(json.dumps(form(**changes)))
        broken[str(file)] = [words.replace("none yet", ABLE) for words in said]
        if number % 5 == 0:
            names.append(f"good-{number}")
            (tmp_path / f"{number:03}-good.json").write_text(json.dumps(good(form, names[-1])))
    return tmp_path, broken, names


def test_fifty_broken_definitions_are_refused_and_the_good_ones_beside_them_run(mixed):
    folder, broken, names = mixed
    assert len(broken) >= 50
    bridge = Bridge(Services(log=quiet))
    loaded = bridge.load(folder)
    assert loaded.apis == bridge.apis == tuple(names)
    assert [item.file for item in loaded.not_loaded] == list(broken)
    for item, (path, expected, found) in zip(loaded.not_loaded, broken.values(), strict=True):
        assert item.reason.startswith(f"refused: {item.file}: {path}: expected {expected}, found ")
        assert found in item.reason
        assert not item.kept
    for name in names:
        outcome = bridge.request(Request("GET", f"/{name}/x"))
        assert isinstance(outcome, Continue)
        assert dict(outcome.request.headers) == {"X-Api": name}


def test_fifty_broken_definitions_through_the_c_library(host, mixed):
    folder, broken, names = mixed
    hosted.bridge.services = Services()
    reply = host.load_configuration(str(folder))
    lines = reply.words.splitlines()
    assert reply.status == len(lines) == len(broken)
    for line, file, (path, expected, found) in zip(lines, broken, broken.values(), strict=True):
        assert line.startswith(f"{file}: refused: {path}: expected {expected}, found ")
        assert line.count(file) == 1
        assert found in line
    for name in names:
        sent = _bridge.message("Object")
        sent.request.method, sent.request.url = "GET", f"/{name}/x"
        reply = host.run_request(sent.SerializeToString())
        assert reply.status == CONTINUE, reply.words
        assert dict(_bridge.message("Object", reply.data).request.set_headers) == {"X-Api": name}


@pytest.fixture
def seeds(tmp_path):
    """The seeds' fragments, each set into the smallest definition; and the folder of bundles and files beside them."""
    apis, middleware = tmp_path / "apis", tmp_path / "middleware"
    bundle = middleware / "bundles" / hashlib.md5(b"basic").hexdigest()
    shutil.copytree(SEEDS / "classic-definition", bundle)
    assert json.loads((bundle / "manifest.json").read_text())["custom_middleware"] == BASIC_USAGE["custom_middleware"]
    (apis / "middleware").mkdir(parents=True)
    shutil.copy(SEEDS / "response-hook/middleware.py", apis / "middleware/middleware.py")
    documents = {
        "basic": {**BASIC_USAGE, "custom_middleware_bundle": "basic", "custom_plugin_auth_enabled": True},
        "basic-alone": {**BASIC_USAGE, "custom_plugin_auth_enabled": True},
        "response": {**RESPONSE, "use_keyless": True},
        "goplugin": GOPLUGIN,
        "go-bundle": GO_BUNDLE,
    }
    for name, fragment in documents.items():
        document = {"proxy": {"listen_path": f"/{name}/"}, **fragment, "api_id": name}
        (apis / f"{name}.json").write_text(json.dumps(document))
    return apis, middleware


NOT_LOADED = {
    "basic-alone": "refused: "
    + "; ".join(
        f'{{file}}: $.custom_middleware.{place}: the hook "{name}" has neither a path nor code, '
        "and the API has no bundle"
        for place, name in (
            ("pre[0]", "MyPreMiddleware"),
            ("pre[1]", "AnotherPreMiddleware"),
            ("auth_check", "MyAuthCheck"),
            ("post_key_auth[0]", "MyPostKeyAuthMiddleware"),
            ("post[0]", "MyPostMiddleware"),
        )
    ),
    "go-bundle": 'not loaded: needs a download of the bundle "FooBarBundle.zip" ($.custom_middleware_bundle)',
    "goplugin": 'refused: {file}: $.custom_middleware.post[0]: the file of the hook "AddFooBarHeader" is not there: '
    "{looked}; `tykbridge plugin build` makes it",
}


def reasons(apis, middleware):
    folders = [folder / "<path>" for folder in (apis, middleware, Path.cwd())]
    looked = " nor ".join(str(folder / name) for folder in folders for name in names("plugin.so"))
    return {name: reason.format(file=apis / f"{name}.json", looked=looked) for name, reason in NOT_LOADED.items()}


def test_the_seeds_definitions(seeds):
    apis, middleware = seeds
    bridge = Bridge(Services(log=quiet), middleware)
    loaded = bridge.load(apis)
    assert loaded.apis == ("basic", "response")
    assert {Path(item.file).stem: item.reason for item in loaded.not_loaded} == reasons(apis, middleware)
    assert bridge.request(Request("GET", "/basic/")).response.status == 403
    outcome = bridge.request(Request("GET", "/basic/", (("Authorization", "secret"),)))
    assert outcome.request.headers == (
        ("X-Pre", "MyPreMiddleware, AnotherPreMiddleware"),
        ("X-Rate", "1000 per 1 s"),
    )
    answer = bridge.response(Request("GET", "/response/"), Response(200, (("Server", "books"),)))
    assert answer.response.headers[:2] == (("Server", "books"), ("injectedkey", "injectedvalue"))


def test_the_seeds_definitions_through_the_c_library(host, seeds):
    apis, middleware = seeds
    hosted.bridge.services = Services()
    reply = host.load_configuration(str(apis), middleware_path=str(middleware))
    assert reply.status == len(NOT_LOADED)
    assert reply.words.splitlines() == [
        f"{apis / name}.json: {reason.replace(f'{apis / name}.json: ', '')}"
        for name, reason in reasons(apis, middleware).items()
    ]
    sent = _bridge.message("Object")
    sent.request.method, sent.request.url = "GET", "/response/"
    sent.response.status_code = 200
    reply = host.run_response(sent.SerializeToString())
    assert reply.status == OK
    response = _bridge.message("Object", reply.data).response
    assert {item.key: list(item.values) for item in response.multivalue_headers}["injectedkey"] == ["injectedvalue"]
