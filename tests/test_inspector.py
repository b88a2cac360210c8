"""The inspector's listener: who gets in, what it gives, what it sends again."""

import asyncio
import http.client
import json
import re
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.inspected import KEY, inspected
from tykbridge import Bridge
from tykbridge.gateway.inspector.server import Inspector, _Page
from tykbridge.gateway.server import Gateway
from tykbridge.gateway.trace import Tracer

MASK = "••••••••"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with inspected(tmp_path_factory.mktemp("inspected")) as started:
        yield started


@pytest.fixture(scope="module")
def page(gateway):
    parts = urlsplit(gateway.page)
    return SimpleNamespace(port=parts.port, path=parts.path, origin=f"http://127.0.0.1:{parts.port}")


def ask(page, name="", method="GET", body=None, path=None, **headers):
    """Ask the listener for something; gives status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    try:
        names = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request(method, page.path + name if path is None else path, body, names)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def post(page, name, document=None, **headers):
    """Do as the page does; gives status and JSON."""
    sent = {"Content_Type": "application/json", "Origin": page.origin, **headers}
    status, _, body = ask(page, name, "POST", json.dumps(document or {}), **sent)
    return status, json.loads(body) if body.startswith(b"{") else body


def requests(page):
    """What a page is told at first."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    try:
        connection.request("GET", page.path + "events")
        answer = connection.getresponse()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.readline() == b"event: all\n"
        return json.loads(answer.readline().removeprefix(b"data: "))["data"]["requests"]
    finally:
        connection.close()


def detail(page, revealed=False):
    """The detail of the last request, when it is over."""
    deadline = time.monotonic() + 60
    while True:
        number = requests(page)[-1]["number"]
        status, _, body = ask(page, f"requests/{number}" + ("?revealed=yes" if revealed else ""))
        assert status == 200
        document = json.loads(body)
        if document["seconds"] is not None:
            return document
        assert time.monotonic() < deadline


def hook(document, name):
    return next(step for step in document["steps"] if step["kind"] == "hook" and step["name"] == name)


# ---- Who gets in


def test_there_is_nothing_without_the_token(page):
    for path in ("/", "/events", "/style.css", "//", page.path[:-2] + "/", f"{page.path[:-1]}x/", page.path[:-1]):
        assert ask(page, path=path)[0] == 404, path
    assert len(page.path) > 40


def test_a_name_that_was_made_to_lead_here_leads_nowhere(page):
    for host in ("evil.example", f"evil.example:{page.port}", "127.0.0.1", f"127.0.0.1:{page.port + 1}", ""):
        assert ask(page, Host=host)[0] == 421, host
    for host in (f"127.0.0.1:{page.port}", f"localhost:{page.port}"):
        assert ask(page, Host=host)[0] == 200, host


def test_pages_of_others_get_nothing(page):
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{page.port}"},  # the same machine, but not the page's own name
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"},
    ):
        assert ask(page, "requests/0", **headers)[0] == 403, headers
        assert post(page, "clear", **{**headers, "Sec_Fetch_Mode": "navigate"})[0] == 403, headers
    # A link in a terminal that is a page itself opens the inspector, and nothing else of it.
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert ask(page, **link)[0] == 200
    assert ask(page, "requests/0", **link)[0] == 403


def test_what_changes_something_needs_the_page_itself(page, gateway):
    gateway.ask("/open/kept")
    assert ask(page, "clear", "POST", "{}", Content_Type="application/json")[0] == 403  # no Origin
    assert post(page, "clear", Content_Type="text/plain")[0] == 403  # what a form of another page could send
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert ask(page, "clear", method, Origin=page.origin)[0] == 403
    assert ask(page, "clear")[0] == 404
    assert requests(page)
    assert post(page, "clear") == (200, {})
    assert requests(page) == []


def test_every_answer_forbids_what_the_page_does_not_need(page):
    for path in (page.path, page.path + "app.js", page.path + "requests/0", "/"):
        _, headers, _ = ask(page, path=path)
        policy = headers["Content-Security-Policy"]
        for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"):
            assert rule in policy
        assert "unsafe" not in policy
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


def test_the_page_names_no_file_of_elsewhere(page):
    _, headers, html = ask(page)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    names = re.findall(rb'(?:src|href)="([^"]+)"', html)
    scripts = [name.decode() for name in names if name.endswith(b".js")]
    for script in scripts:
        scripts += [
            found for found in re.findall(r'from "\./([^"]+)"', ask(page, script)[2].decode()) if found not in scripts
        ]
    assert len(scripts) == 6
    for name in [*map(bytes.decode, names), *scripts]:
        assert ":" not in name
        status, _, data = ask(page, name)
        assert status == 200, name
        assert b"http://" not in data.replace(b'xmlns="http://www.w3.org/2000/svg"', b""), name
    assert ask(page, "../server.py")[0] == 404
    assert ask(page, "page/index.html")[0] == 404


# ---- What it gives


def test_a_request_is_described(page, gateway):
    gateway.order("/shop/orders?x=1")
    document = detail(page)
    assert (document["method"], document["url"], document["status"], document["api"]) == (
        *("POST", "/shop/orders?x=1", 200, "Shop"),
    )  # fmt: skip
    assert [(step["kind"], step.get("phase", "")) for step in document["steps"]] == [
        ("hook", "pre"),
        ("hook", "auth_check"),
        ("hook", "post"),
        ("upstream", ""),
        ("hook", "response"),
        ("client", ""),
    ]
    offsets = [step["offset"] for step in document["steps"] if "offset" in step]
    assert offsets == sorted(offsets)
    assert 0 < offsets[0] < offsets[-1] < document["length"]
    assert {step["driver"] for step in document["steps"] if step["kind"] == "hook"} == {"python"}
    upstream = document["steps"][3]
    assert upstream["request"]["url"] == f"{gateway.upstream.url}/orders?x=1"
    assert ["+", "X-Stamp", "42"] in upstream["request"]["headers"]
    assert ["-", "X-Debug", "1"] in upstream["request"]["headers"]
    assert json.loads(upstream["response"]["body"])["method"] == "POST"
    assert ["+", "X-Shop", "open"] in document["steps"][5]["response"]["headers"]
    assert {
        "group": "Session", "path": "session.alias", "old": None, "new": "ada", "acts": True
    } in hook(document, "Check")["changes"]  # fmt: skip


def test_secrets_are_given_to_those_who_ask_alone(page, gateway):
    gateway.order(
        "/shop/orders?access_token=hunter2-hunter2", X_From=f"{KEY} and hunter2-hunter2", Cookie="a=b; sid=s3cr3t-sid"
    )
    document = detail(page)
    assert document["hidden"]
    text = json.dumps(document, ensure_ascii=False)
    for secret in (KEY, "hunter2-hunter2", "s3cr3t-sid"):
        assert secret not in text
    headers = {name: value for _, name, value in document["request"]["headers"]}
    assert headers["Authorization"] == f"Bearer {MASK}"
    assert headers["Cookie"] == f"a={MASK}; sid={MASK}"
    assert document["url"] == f"/shop/orders?access_token={MASK}"
    assert hook(document, "Stamp")["log"] == [{"level": "info", "message": f"an order from {MASK} and {MASK}"}]
    revealed = json.dumps(detail(page, revealed=True))
    for secret in (KEY, "hunter2-hunter2", "s3cr3t-sid"):
        assert secret in revealed
    assert KEY not in json.dumps(requests(page))


def test_a_request_that_is_not_kept_is_said_to_be_gone(page):
    for number in ("999999", "0", "-1", "x", "1" * 40):
        status, _, body = ask(page, f"requests/{number}")
        assert (status, json.loads(body)) == (404, {"error": "this request is not kept any more"})


# ---- What it does


def test_a_request_is_sent_again_as_it_was(page, gateway):
    gateway.order("/shop/orders?x=1", X_From="Ada")
    first = detail(page)
    again = {
        "number": first["number"],
        "method": first["request"]["method"],
        "url": first["request"]["url"],
        "headers": [pair[1:] for pair in first["request"]["headers"]],
        "body": None,
    }
    status, answer = post(page, "resend", again)
    assert status == 200
    second = detail(page)
    assert answer == {"number": second["number"]}
    assert second["resent"] == first["number"]
    one, other = gateway.upstream.got[-2:]
    assert one.headers.pop("x-request-id") != other.headers.pop("x-request-id")
    assert (one.method, one.path, one.body) == (other.method, other.path, other.body)
    assert one.headers == other.headers
    assert other.headers["authorization"] == f"Bearer {KEY}"
    gateway.order()
    assert detail(page)["resent"] == 0


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({"number": 999999}, "not kept any more"),
        ({"number": "no"}, "not kept any more"),
        ({"method": "GE T"}, "the method must be a word"),
        ({"method": None}, "the method must be a word"),
        ({"url": "http://elsewhere.example/"}, "the url must begin with /"),
        ({"url": "/a\r\nX: y"}, "the url must begin with /"),
        ({"headers": [["X", "a\r\nY: b"]]}, 'the header "X" cannot be sent'),
        ({"headers": [["X Y", "a"]]}, 'the header "X Y" cannot be sent'),
        ({"headers": {"X": "a"}}, "the headers must be a list"),
        ({"headers": [["X"]]}, "the headers must be a list"),
        ({"headers": [["Authorization", f"Basic {MASK}"]]}, "show the secrets first"),
        ({"body": 7}, "the body must be a text"),
        ({"body": "\ud800"}, "the body has half of a character in it"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_words(page, gateway, edits, words):
    gateway.order()
    count = len(gateway.upstream.got)
    first = detail(page)
    document = {"number": first["number"], "method": "GET", "url": "/open/x", "headers": [["Host", "a"]], "body": ""}
    status, answer = post(page, "resend", document | edits)
    assert status == 422
    assert words in answer["error"]
    assert len(gateway.upstream.got) == count


def test_bytes_that_are_no_document_are_refused(page):
    for body in ("", "{", "[]", "[" * 100_000):
        status, _, answer = ask(page, "resend", "POST", body, Content_Type="application/json", Origin=page.origin)
        assert status == 422, body[:10]
        assert json.loads(answer)["error"]


def test_bytes_that_are_no_text_are_shown_and_sent_again(page, gateway):
    gateway.ask("/shop/x", b"\xff\x00\xfe", Authorization="Bearer nobody")
    first = detail(page)
    assert first["request"]["body"] == {"base64": "/wD+"}
    assert first["status"] == 403
    document = {"number": first["number"], "method": "POST", "url": "/shop/y", "headers": [["Host", "a"]], "body": None}
    assert post(page, "resend", document)[0] == 200
    assert detail(page)["request"]["body"] == {"base64": "/wD+"}


def test_a_link_for_a_command_line_works_once():
    async def follow():
        inspector = Inspector(Tracer(Bridge()), lambda: (0, ""))
        await inspector.start(Gateway(Bridge()))
        try:
            async with aiohttp.ClientSession() as client:
                link = inspector.link()
                assert urlsplit(inspector.url).path.strip("/") not in link
                found = []
                for _ in range(2):
                    async with client.get(link, allow_redirects=False) as answer:
                        found.append((answer.status, answer.headers.get("Location")))
                return found, urlsplit(inspector.url).path
        finally:
            await inspector.stop()

    found, path = asyncio.run(follow())
    assert found == [(303, path), (404, None)]


def test_a_page_that_reads_too_slowly_gets_the_list_anew():
    async def fall_behind():
        page = _Page(lambda: ("all", "everything"))
        for number in range(1500):
            page.put(("request", number))
        page.close()
        return [event async for event in page]

    events = asyncio.run(fall_behind())
    assert events[0] == ("all", "everything")
    assert events[-1] == ("request", 1499)
    assert len(events) < 1100


def test_a_terminal_is_told_where_it_is_and_the_gateway_ends_in_good_order(tmp_path):
    with inspected(tmp_path) as gateway:
        parts = urlsplit(gateway.page)
        connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=60)
        connection.request("GET", parts.path + "events")
        answer = connection.getresponse()
        assert answer.readline() == b"event: all\n"
        assert gateway.close() == 0  # a page that is open does not hold it up
        connection.close()
