"""`$tyk_context` in headers and urls."""

import uuid
from urllib.parse import unquote

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tykbridge import _bridge
from tykbridge.context_variables import LIMIT, ContextVariables
from tykbridge.outcome import Continue, Request, after_request

FORM = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")


def get(name, url="/", headers=(), body=b"", method="GET"):
    return ContextVariables(Request(method, url, tuple(headers), body)).get(name)


def filled(request, headers=(), url=None):
    """What a hook's headers and url become; a str is what is wrong with them."""
    message = _bridge.message("MiniRequestObject")
    message.set_headers.update(dict(headers))
    message.url = request.url if url is None else url
    fault = ContextVariables(request).fill(message, request.url)
    return fault or (dict(message.set_headers), message.url)


# ---- The values


@pytest.mark.parametrize(
    ("url", "path", "parts"),
    [
        ("/", "/", ","),
        ("/a/b%20c?d=/e", "/a/b c", ",a,b c"),
        ("/a%2Fb/", "/a/b/", ",a,b,"),
    ],
)
def test_path(url, path, parts):
    assert (get("path", url), get("path_parts", url)) == (path, parts)


@pytest.mark.parametrize(
    ("request_", "data"),
    [
        (Request("GET", "/"), ""),
        (Request("GET", "/?b=1&a=x+y&b=%26&c"), "b:1,&;a:x y;c:"),
        (Request("POST", "/?a=1&q=2", (FORM,), b"a=3&b=4"), "a:3,1;b:4;q:2"),
        (Request("GET", "/?a=1", (FORM,), b"a=3"), "a:1"),
        (Request("POST", "/?a=1", (("Content-Type", "text/plain"),), b"a=3"), "a:1"),
        (Request("POST", "/", (FORM,), b"a=\xff"), "a:\ufffd"),
    ],
)
def test_request_data(request_, data):
    assert ContextVariables(request_).get("request_data") == data


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("headers_X_Api_Key", "first"),
        ("headers_Host", "api.test"),
        ("headers_X_custom", "under"),
        ("headers_x_api_key", ""),
        ("headers_X-Api-Key", ""),
        ("headers_", ""),
        ("headers", ""),
    ],
)
def test_headers(name, value):
    headers = [("Host", "api.test"), ("x-API-key", "first"), ("X-Api-Key", "second"), ("x_custom", "under")]
    assert get(name, headers=headers) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cookies_a", "1=2"),
        ("cookies_my_cookie", "quoted"),
        ("cookies_A", ""),
        ("cookies_twice", "later"),
        ("cookies_bare", ""),
        ("cookies_half", '"'),
    ],
)
def test_cookies(name, value):
    headers = [("cookie", 'a=1=2; my-cookie="quoted";twice=1; bare; half="'), ("Cookie", "twice=later")]
    assert get(name, headers=headers) == value


def test_remote_addr():
    forwarded = ("X-Forwarded-For", "10.0.0.1, 10.0.0.2")
    assert get("remote_addr") == ""
    assert get("remote_addr", headers=[forwarded]) == "10.0.0.1"
    assert get("remote_addr", headers=[forwarded, ("X-Real-IP", "10.0.0.3")]) == "10.0.0.3"


def test_request_id_is_one_for_each_request():
    variables = ContextVariables(Request("GET", "/"))
    first = variables.get("request_id")
    assert uuid.UUID(first).version == 4
    assert variables.get("request_id") == first
    assert get("request_id") != first


def test_token_is_what_authentication_found():
    variables = ContextVariables(Request("GET", "/", (("Authorization", "key"),)))
    assert variables.get("token") == ""
    variables.token = "key"
    assert variables.get("token") == "key"


@pytest.mark.parametrize("name", ["", "nothing", "jwt_claims_sub", "path.", "path-", "tokens", "PATH"])
def test_what_is_not_there_is_empty(name):
    assert get(name, "/a", [("Authorization", "key")]) == ""


# ---- Where they are filled in


def test_headers_and_url_of_a_hook():
    request = Request("GET", "/a b?x=1", (("X-In", "i/n"),))
    headers = {"X-Out": "<$tyk_context.path> <$tyk_context.headers_X_In>", "X-Plain": "$tyk_meta.path $1"}
    assert filled(request, headers, "/$tyk_context.headers_X_In/$tyk_context.none?p=$tyk_context.path#$") == (
        {"X-Out": "</a b> <i/n>", "X-Plain": "$tyk_meta.path $1"},
        "/i%2Fn/?p=%2Fa%20b#$",
    )


def test_a_clients_own_variables_are_text():
    request = Request("GET", "/$tyk_context.path?x=$tyk_context.path", (("X-In", "$tyk_context.path"),))
    headers = {"X-Out": "$tyk_context.headers_X_In$tyk_context.request_data"}
    assert filled(request, headers) == ({"X-Out": "$tyk_context.pathx:$tyk_context.path"}, request.url)
    assert filled(request, {}, "/?$tyk_context.headers_X_In")[1] == "/?%24tyk_context.path"


def test_two_values_do_not_make_a_variable():
    request = Request("GET", "/", (("A", "$tyk_"), ("B", "context.path")))
    assert filled(request, {"X": "$tyk_context.headers_A$tyk_context.headers_B"})[0] == {"X": "$tyk_context.path"}


def test_bytes_that_are_no_text_become_question_marks():
    request = Request("GET", "/", (("X-In", "\udcff"),))
    assert filled(request, {"X": "$tyk_context.headers_X_In"}, "/?$tyk_context.headers_X_In") == ({"X": "?"}, "/?%3F")


@pytest.mark.parametrize("value", [".", "..", "%2e%2E"])
@pytest.mark.parametrize("step", ["$tyk_context.headers_V", "$tyk_context.none$tyk_context.headers_V"])
def test_no_step_up(value, step):
    request = Request("GET", "/", (("V", value),))
    outcome = filled(request, url=f"/a/{step}/b")
    if value.startswith("%"):  # encoded once more it is a name
        assert outcome[1] == "/a/%252e%252E/b"
    else:
        assert outcome == f"set a url whose path goes up, by way of {step!r}"
    assert filled(request, url=f"/a/x{step}/../b?{step}")[1].startswith("/a/x")


def test_halves_of_a_step_up():
    request = Request("GET", "/", (("V", "."),))
    assert "goes up" in filled(request, url="/.$tyk_context.headers_V/")
    assert "goes up" in filled(request, url="/%2e$tyk_context.headers_V/")


# ---- How much


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
def test_length_is_bounded(size):
    request = Request("GET", "/", (("V", "v" * (size - 2)),))
    good = size == LIMIT
    outcome = filled(request, {"X": "<$tyk_context.headers_V>"})
    if good:
        assert outcome == ({"X": f"<{'v' * (size - 2)}>"}, "/")
    else:
        assert outcome == f"set the header 'X' to more than {LIMIT} characters, by way of $tyk_context.*"
    outcome = filled(request, url="/$tyk_context.headers_V?")
    if good:
        assert outcome == ({}, f"/{'v' * (size - 2)}?")
    else:
        assert outcome == f"set a url of more than {LIMIT} characters, by way of $tyk_context.*"


def test_many_of_a_large_value_are_not_put_together():
    """A client that has one value of a megabyte, and a thousand places for it, costs no gigabyte."""
    request = Request("POST", "/", (FORM,), b"a=" + b"x" * 1_000_000)
    assert "to more than" in filled(request, {"X": "$tyk_context.request_data" * 1000})
    request = Request("GET", "/", (("V", "v" * 10_000),))
    assert "to more than" in filled(request, {"X": "$tyk_context.headers_V" * 100_000})


# ---- Any client


variables = ["path", "path_parts", "request_data", "headers_V", "cookies_v", "remote_addr", "token", "none"]
values = st.sampled_from(["..", ".", "/../", "a/b?c#d"]) | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@given(
    template=st.lists(st.sampled_from([*(f"$tyk_context.{name}" for name in variables), "/", "x", "?", "&q="])),
    value=values,
)
def test_a_url_keeps_the_hooks_shape(template, value):
    """Whatever a client sent: as many steps, one query, no control character."""
    url = "/" + "".join(template)
    request = Request("GET", "/", (("V", value), ("Cookie", f"v={value}"), ("X-Real-IP", value)))
    outcome = filled(request, url=url)
    if isinstance(outcome, str):
        assert "goes up" in outcome
        return
    made = outcome[1]
    assert made.isascii()
    assert [made.count(sign) for sign in "#\r\n\0"] == [0] * 4
    assert made.partition("?")[0].count("/") == url.partition("?")[0].count("/")
    assert made.count("?") == url.count("?")
    assert made.count("&") == url.count("&")
    assert not {".", ".."} & {unquote(step) for step in made.partition("?")[0].split("/")}
    assert unquote(filled(request, url="/?$tyk_context.headers_V")[1]) == f"/?{value}"


@given(value=values)
def test_a_header_passes_the_same_check_as_a_hooks_own(value):
    request = Request("GET", "/", (("V", value),))
    sent, reply = _bridge.message("Object"), _bridge.message("Object")
    for message in (sent, reply):
        message.request.url, message.request.method = "/", "GET"
    reply.request.set_headers["X"] = "a$tyk_context.headers_V"
    assert ContextVariables(request).fill(reply.request, "/") == ""
    outcome = after_request(request, sent, reply)
    if any(sign in value for sign in "\r\n\0"):
        assert "CR, LF or NUL" in outcome.fault
    else:
        assert isinstance(outcome, Continue)
        assert outcome.request.headers[-1] == ("X", f"a{value}")
