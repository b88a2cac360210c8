"""The ASGI middleware in front of applications of Starlette, FastAPI and Django, behind real servers."""

import json
import os
import re
import runpy
import threading
from contextlib import ExitStack

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests import asgi_applications, asgi_servers
from tests.asgi_applications import SECRET, STREAMED
from tests.asgi_servers import by_hypercorn, by_uvicorn, raw
from tests.test_readme import blocks
from tykbridge.asgi import TykMiddleware

pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore::DeprecationWarning:(websockets|uvicorn).*")]

HOOKS = """
from tyk.decorators import Hook

@Hook
def check(request, session, metadata, spec):
    if request.get_header("Authorization") == "key":
        session.alias = "alice"
        metadata["token"] = "key"
    return request, session, metadata

@Hook
def sign(request, response, session, metadata, spec):
    response.headers["X-Signed"] = str(len(response.raw_body))
    return response

@Hook
def same(request, session, spec):
    return request, session
"""

HOST = ("Host", "api.test")
KEY = [("Authorization", "key")]


def ask(port, method="GET", url="/", headers=(), body=b""):
    return asgi_servers.ask(port, method, url, [HOST, *headers], body)


APIS = {
    "rest": ("/", {}),
    "admin": ("/admin/", {"auth_check": "check"}),
    "who": ("/who", {"auth_check": "check"}),
    "chat": ("/chat", {"auth_check": "check"}),
    "echo": ("/echo", {"pre": ["same"]}),
    "later": ("/later", {"response": ["sign"]}),
    "file": ("/file", {"response": ["sign"]}),
}


@pytest.fixture(scope="module")
def apis(tmp_path_factory):
    """Definitions that protect /admin, and let everything else to everybody."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "hooks.py").write_text(HOOKS)
    (folder / "apis").mkdir()

    def hook(name):
        return {"name": name, "path": str(folder / "hooks.py")}

    for api_id, (path, hooks) in APIS.items():
        section = {
            phase: hook(names) if isinstance(names, str) else [hook(name) for name in names]
            for phase, names in hooks.items()
        }
        definition = {
            "name": api_id,
            "api_id": api_id,
            "active": True,
            "use_keyless": "auth_check" not in hooks,
            "enable_coprocess_auth": "auth_check" in hooks,
            "proxy": {"listen_path": path, "target_url": "http://ignored.test/"},
            "custom_middleware": {"driver": "python", **section},
        }
        (folder / "apis" / f"{api_id}.json").write_text(json.dumps(definition))
    return folder / "apis"


def added(app, apis):
    """As the frameworks of Starlette's family have it."""
    app.add_middleware(TykMiddleware, source=apis, body_limit=200_000)
    return app


def wrapped(app, apis):
    return TykMiddleware(app, apis, body_limit=200_000)


@pytest.fixture(scope="module")
def done():
    return threading.Event()


@pytest.fixture(scope="module")
def ports(apis, done):
    """The ports where the applications are served, by name, each with what another one has not."""
    with ExitStack() as served:
        starlette, fastapi = asgi_applications.starlette, asgi_applications.fastapi
        django = asgi_applications.django_application()
        yield {
            "starlette": served.enter_context(by_uvicorn(added(starlette(done), apis))),
            "starlette, h11": served.enter_context(by_uvicorn(wrapped(starlette(done), apis), http="h11")),
            "starlette, hypercorn": served.enter_context(by_hypercorn(wrapped(starlette(done), apis))),
            "starlette, root_path": served.enter_context(by_uvicorn(wrapped(starlette(done), apis), root_path="/base")),
            "fastapi": served.enter_context(by_uvicorn(added(fastapi(done), apis))),
            "django": served.enter_context(by_uvicorn(wrapped(django, apis))),
            "django, root_path": served.enter_context(by_uvicorn(wrapped(django, apis), root_path="/base")),
            "bare starlette": served.enter_context(by_uvicorn(starlette(done))),
            "bare django": served.enter_context(by_uvicorn(django)),
        }


APPLICATIONS = [
    "starlette",
    "starlette, h11",
    "starlette, hypercorn",
    "starlette, root_path",
    "fastapi",
    "django",
    "django, root_path",
]
BARE = {"starlette": "bare starlette", "django": "bare django"}


@pytest.fixture(params=APPLICATIONS)
def port(request, ports):
    return ports[request.param]


def test_with_and_without_a_key(port):
    for path in ("/admin", "/admin/deep"):
        assert ask(port, url=path)[::2] == (403, b'{"error": "Key not authorised"}')
        status, _, body = ask(port, url=path, headers=KEY)
        assert (status, SECRET in body.decode()) == (200, True)
    assert ask(port, url="/who", headers=KEY)[::2] == (200, b"alice")
    assert b"for all" in ask(port, url="/public")[2]


DISGUISES = [
    *("//admin", "/./admin", "/public/../admin", "/../admin", "/ADMIN", "/Admin/deep", "/%61dmin", "/%61dmin/deep"),
    *("/admin%0a", "/admin%0A", "/admin%00", "/admin%20", "/admin;x", "/;x/admin", "/public/%2e%2e/admin", "/%2fadmin"),
    *("/public%2f..%2fadmin", "/%5cadmin", "/public%5c..%5cadmin", "/%2561dmin", "/admin%2fdeep", "/admin/%64eep"),
    *("/admin//deep", "/admin/./deep", "/public;/../admin", "/x?/../admin", "/admin?x", "/admin#x", "/base/admin"),
    *("/base//admin", "/base/base/admin", "//base/admin", "/base%2fadmin", "/baseadmin", "http://api.test/admin"),
    *("http://api.test//admin", "/%EF%BC%8Fadmin", "/%ef%bd%81dmin", "/admin%ff", "/%C0%AFadmin", "*", "admin"),
]


def test_no_disguise_of_a_path_gets_by(port):
    for target in DISGUISES:
        for method in ("GET", "HEAD", "get"):
            for more in ("", "X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-Forwarded-Prefix: /admin\r\n"):
                request = f"{method} {target} HTTP/1.1\r\nHost: api.test\r\n{more}Connection: close\r\n\r\n"
                answer = raw(port, request.encode())
                assert SECRET.encode() not in answer, target
                assert b" 500 " not in answer.partition(b"\r\n")[0], target


@pytest.mark.parametrize(
    ("name", "path"), [("starlette", "/admin%0a"), ("starlette", "/%61dmin"), ("django", "/%61dmin")]
)
def test_some_of_them_would_get_by(ports, name, path):
    """An application answers to these as to /admin: that they reach nothing above is the middleware's work."""
    assert ask(ports[BARE[name]], url=path)[::2] == (200, SECRET.encode())


def test_bodies(port):
    body = b"x" * 100_000
    assert ask(port, "POST", "/echo", body=body)[::2] == (200, body)


def test_bodies_in_chunks(port):
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(port, head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"abcde" in answer


def test_a_body_that_is_too_long(port):
    assert ask(port, "POST", "/echo", body=b"x" * 200_001)[0] == 413
    head = (
        b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 300000\r\nExpect: 100-continue\r\n\r\n"
    )
    assert b"HTTP/1.1 413" in raw(port, head)  # without a byte of it


def test_streams(port):
    assert ask(port, url="/stream")[::2] == (200, STREAMED)


def test_files_past_response_hooks(port):
    with open(asgi_applications.__file__, "rb") as file:
        content = file.read()
    status, headers, body = ask(port, url="/file")
    assert (status, body, dict(headers)["x-signed"]) == (200, content, str(len(content)))


@pytest.mark.parametrize("name", ["starlette", "starlette, h11", "starlette, hypercorn"])
def test_the_head_of_a_file(ports, name):
    status, headers, body = ask(ports[name], "HEAD", "/file")
    assert (status, body) == (200, b"")
    assert dict(headers)["content-length"] == str(os.path.getsize(asgi_applications.__file__))


@pytest.mark.parametrize("name", ["starlette", "starlette, hypercorn", "fastapi"])
def test_background_tasks(ports, done, name):
    done.clear()
    status, headers, body = ask(ports[name], url="/later")
    assert (status, dict(headers)["x-signed"], b"soon" in body) == (200, str(len(body)), True)
    assert done.wait(60)


@pytest.mark.parametrize("name", ["starlette", "starlette, h11", "fastapi"])
def test_websockets(ports, name):
    url = f"ws://127.0.0.1:{ports[name]}/chat"
    with pytest.raises(InvalidStatus) as refused:
        connect(url)
    assert (refused.value.response.status_code, refused.value.response.body) == (
        403,
        b'{"error": "Key not authorised"}',
    )
    with connect(url, additional_headers=KEY) as socket:
        socket.send("hello")
        assert socket.recv() == "alice: hello"


def test_stripped_listen_paths_are_mounts(apis, tmp_path, done):
    definition = json.loads((apis / "rest.json").read_text())
    definition["proxy"] |= {"listen_path": "/shop/", "strip_listen_path": True}
    (tmp_path / "shop.json").write_text(json.dumps(definition))
    with by_uvicorn(wrapped(asgi_applications.starlette(done), tmp_path)) as port:
        assert ask(port, url="/shop/public")[::2] == (200, b"for all")
        assert ask(port, url="/shop/where")[2] == b"http://api.test/shop/public"
        assert ask(port, url="/public")[0] == 404


def test_the_page(root, tmp_path, done):
    """The definition, the hook and the request that it has to copy."""
    found = blocks(root / "docs" / "asgi.md")
    [definition], [_, hooks], [asked] = found["json"], found["python"], found["sh"]
    (tmp_path / "all.json").write_text(definition)
    (tmp_path / "hooks.py").write_text(hooks)
    with by_uvicorn(wrapped(asgi_applications.starlette(done), tmp_path)) as port:
        path = re.fullmatch(r"curl -i http://127.0.0.1:8080(\S+)\n", asked)[1]
        assert dict(ask(port, url=path)[1])["x-signed"] == "yes"


def test_the_example(root):
    """What its README says, word for word."""
    example = root / "examples" / "asgi"
    app = runpy.run_path(str(example / "app.py"))["app"]
    commands = re.findall(
        r"curl -i http://127.0.0.1:8080(\S+)(?: -H '(.+?): (.+?)')?", (example / "README.md").read_text()
    )
    with by_uvicorn(app) as port:
        answers = [ask(port, url=path, headers=[(name, value)] if name else []) for path, name, value in commands]
    assert [json.loads(body) for _, _, body in answers] == [
        {"welcome": "everybody"},
        {"error": "Key not authorised"},
        {"order": 7, "for": "ada"},
    ]
    assert dict(answers[2][1])["x-served-to"] == "ada"
