"""tykbridge.outcome, case by case, with google.protobuf's messages and with the bridge's views."""

import json
import subprocess
import sys

import pytest

from tykbridge import _bridge, outcome
from tykbridge.compat import pb2
from tykbridge.outcome import Continue, Request, Respond, Response

PRE, POST, POST_KEY_AUTH, AUTH, RESPONSE = 1, 2, 3, 4, 5

REQUEST = Request(
    "GET",
    "/a?b=1&a=2&b=3",
    (("Host", "api.test"), ("Accept", "text/html"), ("accept", "*/*"), ("X-Old", "1")),
)


@pytest.fixture(params=["protobuf", "view"])
def new_object(request):
    """Makes an empty Object of either kind."""
    if request.param == "protobuf":
        return lambda data=b"": pb2.message_class("Object").FromString(data)
    return lambda data=b"": _bridge.message("Object", data)


@pytest.fixture
def exchange(new_object):
    """Makes (sent, reply) for a hook that does `edit(reply)`."""

    def make(sent, edit):
        reply = new_object(sent.SerializeToString())
        edit(reply)
        return sent, reply

    return make


@pytest.fixture
def ask(new_object, exchange):
    """Runs `edit(request)` as a request hook on `request` and gives the outcome."""

    def run(edit, request=REQUEST, hook_type=PRE):
        sent = new_object()
        sent.hook_type, sent.hook_name = hook_type, "MyHook"
        for name, value in reversed(request.headers):
            sent.request.headers[name] = value
        sent.request.url, sent.request.method = request.url, request.method
        sent.request.raw_body, sent.request.body = request.body, request.body.decode()
        sent.request.return_overrides.response_code = -1
        if hook_type == AUTH:
            sent.session.SetInParent()
        return outcome.after_request(request, *exchange(sent, edit))

    return run


def continued(result):
    assert isinstance(result, Continue), result
    return result.request


def refused(result):
    assert isinstance(result, Respond), result
    return result.response.status, json.loads(result.response.body)["error"]


# ---- Section 4: requests


MANY = """
from tykbridge import outcome
from tykbridge.compat import pb2
Object = pb2.message_class("Object")
names = [f"X-{n}" for n in range(200_000)]
request = outcome.Request("GET", "/", (("Host", "h"), *((name, "old") for name in names[::2])))
edits = dict.fromkeys(names, "v")
after = Object(request=dict(url="/", method="GET", set_headers=edits, add_params=edits))
made = outcome.after_request(request, Object(request=dict(url="/", method="GET")), after).request
print(len(made.headers), len(set(made.headers)), made.url.count("&"))
before = Object(response=dict(status_code=200))
after = Object(response=dict(status_code=200, headers=dict.fromkeys(names, "v")))
response = outcome.Response(200, request.headers, b"")
print(len(outcome.after_response(response, before, after).response.headers))
"""


def test_many_edits_take_no_more_than_their_share():
    """An answer of 4 MiB, a target's default, has room for 200,000; each by itself would take minutes."""
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert lines == ["200001 200001 199999", "200002"], done.stderr


def test_untouched_request_goes_on_as_it_came(ask):
    assert continued(ask(lambda reply: None)) == REQUEST


HEADER_EDITS = {
    "add": ({"X-New": "v"}, [], [*REQUEST.headers, ("X-New", "v")]),
    "replace takes the first one's place": (
        {"ACCEPT": "text/css"},
        [],
        [("Host", "api.test"), ("ACCEPT", "text/css"), ("X-Old", "1")],
    ),
    "delete takes all": ({}, ["aCCept"], [("Host", "api.test"), ("X-Old", "1")]),
    "delete what is not there": ({}, ["No-Such"], list(REQUEST.headers)),
    "delete comes before set": (
        {"X-Old": "2"},
        ["x-old"],
        [("Host", "api.test"), ("Accept", "text/html"), ("accept", "*/*"), ("X-Old", "2")],
    ),
    "framing is not the hook's": (
        {"Content-Length": "7", "Transfer-Encoding": "chunked"},
        ["content-length"],
        list(REQUEST.headers),
    ),
    "an empty value is a value": ({"X-Old": ""}, [], [*REQUEST.headers[:3], ("X-Old", "")]),
}


@pytest.mark.parametrize("case", HEADER_EDITS.values(), ids=HEADER_EDITS.keys())
def test_headers_of_a_request(ask, case):
    added, deleted, expected = case

    def edit(reply):
        for name, value in added.items():
            reply.request.set_headers[name] = value
        reply.request.delete_headers.extend(deleted)

    assert list(continued(ask(edit)).headers) == expected


def test_a_header_with_a_long_name(ask):
    name = "X-" + "o" * 70
    request = Request("GET", "/", (("X-Old", "1"), (name.upper(), "1"), ("Host", "api.test"), (name, "2")))
    left = continued(ask(lambda reply: reply.request.set_headers.update({name: "3"}), request))
    assert left.headers == (("X-Old", "1"), (name, "3"), ("Host", "api.test"))


@pytest.mark.parametrize("name", ["Content-length", "TRANSFER-Encoding"])
def test_framing_of_a_body_that_is_not_there(ask, name):
    request = Request("GET", "/", (("X-Framing-Name", "1"), (name, "chunked"), ("X-Framing-Names-", "1")))
    told = {"Content-length": (("Content-length", "0"),), "TRANSFER-Encoding": ()}[name]
    left = continued(ask(lambda reply: reply.request.set_headers.update({"X-Framing-Name": "2"}), request))
    last = () if told else (("Content-Length", "0"),)
    assert left.headers == (("X-Framing-Name", "2"), *told, ("X-Framing-Names-", "1"), *last)


def test_headers_map_of_a_request_is_what_came(ask):
    """Only set_headers and delete_headers act, as upstream: what a hook writes into `headers` is not applied."""

    def edit(reply):
        reply.request.headers["X-New"] = "v"
        del reply.request.headers["Host"]
        reply.request.params["b"] = "9"

    assert continued(ask(edit)) == REQUEST


PARAM_EDITS = {
    "add": ({"c": "4"}, {}, [], "/a?b=1&a=2&b=3&c=4"),
    "add replaces, in the first one's place": ({"b": "9"}, {}, [], "/a?b=9&a=2"),
    "extended adds further values": ({}, {"b": "9"}, [], "/a?b=1&a=2&b=3&b=9"),
    "add, then extend": ({"c": "1"}, {"c": "2"}, [], "/a?b=1&a=2&b=3&c=1&c=2"),
    "delete takes all": ({}, {}, ["b"], "/a?a=2"),
    "delete comes before add": ({"a": "5"}, {}, ["a"], "/a?b=1&b=3&a=5"),
    "delete everything": ({}, {}, ["a", "b"], "/a"),
    "delete what is not there": ({}, {}, ["B"], "/a?b=1&a=2&b=3"),
    "values are encoded": ({"q r": "ä&=+ #\r\n"}, {}, [], "/a?b=1&a=2&b=3&q+r=%C3%A4%26%3D%2B+%23%0D%0A"),
}


@pytest.mark.parametrize("case", PARAM_EDITS.values(), ids=PARAM_EDITS.keys())
def test_parameters(ask, case):
    added, further, deleted, expected = case

    def edit(reply):
        for name, value in added.items():
            reply.request.add_params[name] = value
        for name, value in further.items():
            reply.request.extended_params[name] = value
        reply.request.delete_params.extend(deleted)

    assert continued(ask(edit)).url == expected


def test_parameters_keep_their_spelling_and_names_compare_decoded(ask):
    odd = Request("GET", "/a?x%20y=1&&keep=%7e+%7E&flag&x+y=2")

    def edit(reply):
        reply.request.delete_params.append("x y")

    assert continued(ask(edit, odd)).url == "/a?&keep=%7e+%7E&flag"


def test_first_parameter_of_a_url_without_query(ask):
    def edit(reply):
        reply.request.add_params["a"] = "1"

    assert continued(ask(edit, Request("GET", "/a"))).url == "/a?a=1"


URLS = {
    "another path keeps the query, as upstream": ("/new", "/new?b=1&a=2&b=3"),
    "another path with a query": ("/new?x=1", "/new?x=1"),
    "another path without query, said so": ("/new?", "/new?"),
    "an edit of the query": ("/a?b=1&a=2&b=3&c=4", "/a?b=1&a=2&b=3&c=4"),
    "order of the query": ("/a?z=1&y=2&z=0", "/a?z=1&y=2&z=0"),
    "removal of the query": ("/a", "/a"),
    "only path and query of a whole url": ("https://user@evil.test:1/new?x=1#top", "/new?x=1"),
    "a whole url without a path": ("http://evil.test?x=1", "/?x=1"),
    "two slashes are a path": ("//evil.test/x?", "//evil.test/x?"),
    "no fragment": ("/new?x=1#frag", "/new?x=1"),
    "spaces and letters are encoded, the encoded stays": ("/n ew/ä%20?q=a b", "/n%20ew/%C3%A4%20?q=a%20b"),
}


@pytest.mark.parametrize("case", URLS.values(), ids=URLS.keys())
def test_url(ask, case):
    written, expected = case

    def edit(reply):
        reply.request.url = written

    assert continued(ask(edit)).url == expected


def test_url_and_parameters_of_one_hook_are_both_kept(ask):
    def edit(reply):
        reply.request.add_params["c"] = "4"
        reply.request.delete_params.append("a")
        reply.request.url = "/new?a=1&z=2"

    assert continued(ask(edit)).url == "/new?z=2&c=4"


def test_method(ask):
    def edit(reply):
        reply.request.method = "PATCH"

    assert continued(ask(edit)).method == "PATCH"


BODIES = {
    "raw_body": ({"raw_body": b"\xff\x00", "body": ""}, b"\xff\x00"),
    "both alike, as the bridge replies": ({"raw_body": b"new", "body": "new"}, b"new"),
    "body alone, as a driver without the bridge replies": ({"body": "grün"}, "grün".encode()),
    "both unlike": ({"raw_body": b"raw", "body": "text"}, b"raw"),
    "emptied": ({"raw_body": b"", "body": ""}, b""),
}


@pytest.mark.parametrize("case", BODIES.values(), ids=BODIES.keys())
def test_body_of_a_request_takes_its_length_along(ask, case):
    fields, expected = case
    posted = Request("POST", "/a", (("content-length", "3"), ("X", "1"), ("Transfer-Encoding", "chunked")), b"old")

    def edit(reply):
        for name, value in fields.items():
            setattr(reply.request, name, value)

    result = continued(ask(edit, posted))
    assert result.body == expected
    assert result.headers == (("content-length", str(len(expected))), ("X", "1"))


def test_body_that_a_request_did_not_have(ask):
    def edit(reply):
        reply.request.body = "new"

    assert continued(ask(edit)).headers == (*REQUEST.headers, ("Content-Length", "3"))


# ---- Section 5: ReturnOverrides


OVERRIDES = {
    "200 with text": (dict(response_code=200, response_body="hi"), 200, b"hi"),
    "response_error replaces response_body": (
        dict(response_code=200, response_body="no", response_error="yes"),
        200,
        b"yes",
    ),
    "an empty response_error does not": (dict(response_code=302, response_body="b", response_error=""), 302, b"b"),
    "399 is no error": (dict(response_code=399, response_body="b"), 399, b"b"),
    "400 is": (dict(response_code=400, response_body="b"), 400, b'{"error": "b"}'),
    "an error's text is escaped": (dict(response_code=500, response_error='"\n'), 500, b'{"error": "\\"\\n"}'),
    "an error's text by default": (dict(response_code=403), 403, b'{"error": "Key not authorised"}'),
    "override_error sends the text as it is": (
        dict(response_code=403, response_error='{"own": 1}', override_error=True),
        403,
        b'{"own": 1}',
    ),
    "override_error without a text": (dict(response_code=403, override_error=True), 403, b""),
    "override_error of a success": (dict(response_code=201, response_body="b", override_error=True), 201, b"b"),
}


@pytest.mark.parametrize("hook_type", [PRE, AUTH, POST_KEY_AUTH, POST])
@pytest.mark.parametrize("case", OVERRIDES.values(), ids=OVERRIDES.keys())
def test_overrides(ask, case, hook_type):
    fields, status, body = case

    def edit(reply):
        for name, value in fields.items():
            setattr(reply.request.return_overrides, name, value)
        reply.request.return_overrides.headers["X-Mine"] = "1"
        reply.request.return_overrides.headers["content-length"] = "99"

    result = ask(edit, hook_type=hook_type)
    assert isinstance(result, Respond)
    assert (result.response.status, result.response.body) == (status, body)
    headers = [(name.lower(), value) for name, value in result.response.headers]
    assert ("x-mine", "1") in headers
    assert [value for name, value in headers if name == "content-length"] == [str(len(body))]
    template = status >= 400 and not fields.get("override_error")
    assert result.event == ("AuthFailure" if template and hook_type == AUTH else "")
    assert result.fault == ""


@pytest.mark.parametrize("code", [0, -1, -403])
def test_code_of_zero_or_less_goes_on(ask, code):
    def edit(reply):
        reply.request.return_overrides.response_code = code
        reply.request.return_overrides.response_error = "never sent"

    assert continued(ask(edit)) == REQUEST


def test_template_is_json_whatever_type_the_hook_named(ask):
    def edit(reply):
        reply.request.return_overrides.response_code = 403
        reply.request.return_overrides.headers["content-type"] = "text/html"

    headers = ask(edit).response.headers
    assert headers == (("Content-Type", "application/json"), ("Content-Length", "31"))


@pytest.mark.parametrize("code", [204, 304])
def test_a_status_without_a_body_has_none(ask, code):
    def edit(reply):
        reply.request.return_overrides.response_code = code
        reply.request.return_overrides.response_body = "text"

    assert ask(edit).response == Response(code)


# ---- Section 6: custom authentication


TOKENS = {
    "in the session's metadata": ("session", "t-1", 0),
    "in the object's metadata": ("metadata", "t-1", 0),
    "empty": ("session", "", 403),
    "nowhere": ("nowhere", "t-1", 403),
    "without a session": ("no session", "t-1", 403),
}


@pytest.mark.parametrize("case", TOKENS.values(), ids=TOKENS.keys())
def test_token(ask, case):
    place, token, status = case

    def edit(reply):
        if place == "session":
            reply.session.metadata["token"] = token
        elif place != "nowhere":
            reply.metadata["token"] = token
        if place == "no session":
            reply.ClearField("session")

    result = ask(edit, hook_type=AUTH)
    if status == 0:
        assert continued(result) == REQUEST
    else:
        assert refused(result) == (403, "Key not authorised")
        assert result.event == "AuthFailure"


# ---- Section 13: what a request hook may not write


FAULTS = {
    "header name": (lambda r: r.set_headers.update({"X Y": "1"}), "set a header whose name is no token: 'X Y'"),
    "empty header name": (lambda r: r.set_headers.update({"": "1"}), "set a header whose name is no token: ''"),
    "header name with a colon": (lambda r: r.set_headers.update({"A:": "1"}), "header whose name is no token: 'A:'"),
    "CR": (lambda r: r.set_headers.update({"X": "1\r"}), "set the header X to a value with CR, LF or NUL"),
    "LF": (lambda r: r.set_headers.update({"X": "1\nEvil: 1"}), "set the header X to a value with CR, LF or NUL"),
    "NUL": (lambda r: r.set_headers.update({"X": "\0"}), "set the header X to a value with CR, LF or NUL"),
    "framing header": (lambda r: r.set_headers.update({"Content-Length": "1\r\n"}), "set the header Content-Length"),
    "method": (lambda r: setattr(r, "method", "GET /x"), "set a method that is no token: 'GET /x'"),
    "no method": (lambda r: setattr(r, "method", ""), "set a method that is no token: ''"),
    "url with LF": (lambda r: setattr(r, "url", "/a\nb"), "set a url with a control character: '/a\\nb'"),
    "relative url": (lambda r: setattr(r, "url", "a/b"), "set a url that does not start with a slash: 'a/b'"),
    "query alone": (lambda r: setattr(r, "url", "?a"), "set a url that does not start with a slash: '?a'"),
    "no url": (lambda r: setattr(r, "url", ""), "set a url that does not start with a slash: ''"),
    "status below": (lambda r: setattr(r.return_overrides, "response_code", 1), "set the status 1, which is not"),
    "interim status": (lambda r: setattr(r.return_overrides, "response_code", 199), "set the status 199, which is not"),
    "status above": (lambda r: setattr(r.return_overrides, "response_code", 600), "set the status 600, which is not"),
}


@pytest.mark.parametrize("hook_type", [PRE, AUTH])
@pytest.mark.parametrize("case", FAULTS.values(), ids=FAULTS.keys())
def test_fault_of_a_request_hook(ask, case, hook_type):
    wrong, words = case

    def edit(reply):
        reply.session.metadata["token"] = "t"
        wrong(reply.request)

    result = ask(edit, hook_type=hook_type)
    status, error = refused(result)
    assert status == 500
    assert error.startswith("Middleware error: ")
    assert result.fault.startswith('hook "MyHook" ')
    assert words in result.fault
    assert result.fault in error


def test_fault_in_the_headers_of_overrides(ask):
    def edit(reply):
        reply.request.return_overrides.response_code = 200
        reply.request.return_overrides.headers["Set-Cookie"] = "a=b\r\nX: y"

    assert refused(ask(edit))[0] == 500


def test_headers_that_the_client_sent_are_not_the_hooks_fault(ask):
    odd = Request("M-SEARCH", "/a", (("X Y", "\x01"),))
    assert continued(ask(lambda reply: None, odd)) == odd


def test_a_reply_that_is_empty_is_no_request(new_object):
    sent = new_object()
    sent.request.method, sent.request.url = "GET", "/"
    assert refused(outcome.after_request(REQUEST, sent, new_object()))[0] == 500


# ---- Section 7: responses


RESPONSE_HEADERS = (
    ("Content-Type", "text/plain"),
    ("Set-Cookie", "a=1"),
    ("Content-Length", "5"),
    ("set-cookie", "b=2"),
    ("X-Old", "1"),
)
HELLO = Response(200, RESPONSE_HEADERS, b"hello")


@pytest.fixture
def answer(new_object, exchange):
    """Runs `edit(response)` as a response hook and gives the outcome."""

    def run(edit, response=HELLO, method="GET", multivalue=True):
        sent = new_object()
        sent.hook_type, sent.hook_name, sent.request.method = RESPONSE, "MyHook", method
        sent.response.status_code, sent.response.raw_body = response.status, response.body
        sent.response.body = response.body.decode()
        values = {}
        for name, value in response.headers:
            values.setdefault(name.title(), []).append(value)
        for name, several in values.items():
            sent.response.headers[name] = several[0]
            if multivalue:
                sent.response.multivalue_headers.add(key=name, values=several)
        return outcome.after_response(response, *exchange(sent, lambda reply: edit(reply.response)))

    return run


def add_values(response, key, *values):
    entry = response.multivalue_headers.add()
    entry.key = key
    entry.values.extend(values)


def entry_of(response, key):
    return next(entry for entry in response.multivalue_headers if entry.key == key)


def drop_entry(response, key):
    kept = [(entry.key, list(entry.values)) for entry in response.multivalue_headers if entry.key != key]
    del response.multivalue_headers[:]
    for name, values in kept:
        add_values(response, name, *values)


def both_edits(response):
    """What both examples of the seed do, in one hook."""
    response.headers["injectedkey"] = "injectedvalue"
    add_values(response, "Set-Cookie", "sessionToken=abc123; HttpOnly; Secure", "language=en-US; Secure")


RESPONSE_EDITS = {
    "nothing": (lambda r: None, list(RESPONSE_HEADERS)),
    "a header more": (
        lambda r: r.headers.update({"injectedkey": "injectedvalue"}),
        [*RESPONSE_HEADERS, ("injectedkey", "injectedvalue")],
    ),
    "a changed header replaces all its values": (
        lambda r: r.headers.update({"Set-Cookie": "c=3"}),
        [RESPONSE_HEADERS[0], ("Set-Cookie", "c=3"), RESPONSE_HEADERS[2], RESPONSE_HEADERS[4]],
    ),
    "a changed header, spelled another way": (
        lambda r: r.headers.update({"content-type": "text/css"}),
        [("content-type", "text/css"), *RESPONSE_HEADERS[1:]],
    ),
    "a removed header": (
        lambda r: r.headers.pop("Set-Cookie"),
        [*RESPONSE_HEADERS[:1], *RESPONSE_HEADERS[2:3], RESPONSE_HEADERS[4]],
    ),
    "a removed header that comes back spelled another way": (
        lambda r: (r.headers.pop("X-Old"), r.headers.update({"x-old": "2"})),
        [*RESPONSE_HEADERS[:4], ("x-old", "2")],
    ),
    "one value more": (
        lambda r: entry_of(r, "Set-Cookie").values.append("c=3"),
        [
            RESPONSE_HEADERS[0],
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Set-Cookie", "c=3"),
            RESPONSE_HEADERS[2],
            RESPONSE_HEADERS[4],
        ],
    ),
    "a second entry adds up": (
        lambda r: add_values(r, "set-cookie", "c=3"),
        [
            RESPONSE_HEADERS[0],
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("set-cookie", "c=3"),
            RESPONSE_HEADERS[2],
            RESPONSE_HEADERS[4],
        ],
    ),
    "a new entry": (
        lambda r: add_values(r, "Vary", "a", "b"),
        [*RESPONSE_HEADERS, ("Vary", "a"), ("Vary", "b")],
    ),
    "an entry that is gone": (lambda r: drop_entry(r, "X-Old"), list(RESPONSE_HEADERS[:4])),
    "an entry without values": (
        lambda r: entry_of(r, "X-Old").values.__delitem__(slice(None)),
        list(RESPONSE_HEADERS[:4]),
    ),
    "the map wins over the list": (
        lambda r: (r.headers.update({"Vary": "map"}), add_values(r, "vary", "list")),
        [*RESPONSE_HEADERS, ("Vary", "map")],
    ),
    "framing is not the hook's": (
        lambda r: (
            r.headers.update({"Content-Length": "99", "transfer-encoding": "chunked"}),
            add_values(r, "Transfer-Encoding", "chunked"),
        ),
        list(RESPONSE_HEADERS),
    ),
    "framing cannot be removed": (
        lambda r: (r.headers.pop("Content-Length"), drop_entry(r, "Content-Length")),
        list(RESPONSE_HEADERS),
    ),
    "both edits of the seed in one hook": (
        both_edits,
        [
            RESPONSE_HEADERS[0],
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Set-Cookie", "sessionToken=abc123; HttpOnly; Secure"),
            ("Set-Cookie", "language=en-US; Secure"),
            RESPONSE_HEADERS[2],
            RESPONSE_HEADERS[4],
            ("injectedkey", "injectedvalue"),
        ],
    ),
}


@pytest.mark.parametrize("case", RESPONSE_EDITS.values(), ids=RESPONSE_EDITS.keys())
def test_headers_of_a_response(answer, case):
    edit, expected = case
    result = answer(edit)
    assert result == Respond(Response(200, tuple(expected), b"hello"))


def test_a_host_that_fills_only_the_map_keeps_its_headers(answer):
    result = answer(both_edits, Response(200, (("Server", "x"), ("Content-Length", "0"))), multivalue=False)
    assert result.response.headers == (
        ("Server", "x"),
        ("Content-Length", "0"),
        ("Set-Cookie", "sessionToken=abc123; HttpOnly; Secure"),
        ("Set-Cookie", "language=en-US; Secure"),
        ("injectedkey", "injectedvalue"),
    )


@pytest.mark.parametrize("case", BODIES.values(), ids=BODIES.keys())
def test_body_of_a_response_takes_its_length_along(answer, case):
    fields, expected = case

    def edit(response):
        for name, value in fields.items():
            setattr(response, name, value)

    result = answer(edit).response
    assert result.body == expected
    assert [v for n, v in result.headers if n == "Content-Length"] == [str(len(expected))]


def test_chunked_response_gets_a_length(answer):
    chunked = Response(200, (("Transfer-Encoding", "chunked"), ("X", "1")), b"hello")
    assert answer(lambda r: None, chunked).response.headers == (("X", "1"), ("Content-Length", "5"))


def test_status_of_a_response(answer):
    def edit(response):
        response.status_code = 418

    assert answer(edit).response.status == 418


def test_answer_to_head_keeps_the_length_of_its_missing_body(answer):
    head = Response(200, RESPONSE_HEADERS)
    assert answer(lambda r: r.headers.update({"Content-Length": "7"}), head, "HEAD").response == head


def test_response_that_becomes_bodiless(answer):
    def edit(response):
        response.status_code = 204

    assert answer(edit, Response(200, (("Content-Length", "5"), ("X", "1")), b"hello")).response == Response(
        204, (("X", "1"),)
    )


RESPONSE_FAULTS = {
    "status 0": (lambda r: setattr(r, "status_code", 0), "set the status 0,"),
    "interim status": (lambda r: setattr(r, "status_code", 103), "set the status 103, which is not within 200 to 599"),
    "status 1000": (lambda r: setattr(r, "status_code", 1000), "set the status 1000,"),
    "name in the map": (lambda r: r.headers.update({"X\n": "1"}), "set a header whose name is no token: 'X\\n'"),
    "value in the map": (lambda r: r.headers.update({"X": "a\nb"}), "set the header X to a value with CR, LF or NUL"),
    "name in the list": (lambda r: add_values(r, "", "1"), "set a header whose name is no token: ''"),
    "value in the list": (lambda r: add_values(r, "X", "1", "\0"), "set the header X to a value with"),
}


@pytest.mark.parametrize("case", RESPONSE_FAULTS.values(), ids=RESPONSE_FAULTS.keys())
def test_fault_of_a_response_hook(answer, case):
    edit, words = case
    result = answer(edit)
    assert refused(result)[0] == 500
    assert 'hook "MyHook" ' + words in result.fault


def test_return_overrides_of_a_response_hook_do_not_act(new_object, exchange):
    def edit(reply):
        reply.request.return_overrides.response_code = 403

    sent = new_object()
    sent.hook_type, sent.response.status_code = RESPONSE, 200
    response = Response(200, (("Content-Length", "0"),))
    assert outcome.after_response(response, *exchange(sent, edit)) == Respond(response)


# ---- The rest


@pytest.mark.parametrize(
    ("hook_type", "status", "text"),
    [
        (PRE, 500, "Middleware error"),
        (AUTH, 403, "Key not authorised"),
        (POST_KEY_AUTH, 500, "Middleware error"),
        (POST, 500, "Middleware error"),
        (RESPONSE, 500, "Middleware error"),
    ],
)
def test_hook_that_did_not_reply(hook_type, status, text):
    assert refused(outcome.after_failure(hook_type)) == (status, text)


def test_request_and_response_of_a_message(new_object):
    sent = new_object()
    sent.request.method, sent.request.url, sent.request.body = "PUT", "/x?y=1", "ä"
    sent.request.headers["Host"] = "h"
    sent.response.status_code, sent.response.raw_body = 201, b"\xff"
    sent.response.headers["Server"] = "s"
    sent.response.headers["set-cookie"] = "a=1"
    add_values(sent.response, "Set-Cookie", "a=1", "b=2")
    assert outcome.request_of(sent) == Request("PUT", "/x?y=1", (("Host", "h"),), "ä".encode())
    assert outcome.response_of(sent) == Response(
        201, (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Server", "s")), b"\xff"
    )
