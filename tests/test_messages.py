"""The message that shows hooks a request: `messages.request_message`, read with google.protobuf."""

import pytest

from tykbridge import _bridge, messages
from tykbridge.compat import pb2
from tykbridge.outcome import Request


def read(request):
    return pb2.message_class("MiniRequestObject").FromString(messages.request_message(request, "http", request.url))


@pytest.mark.parametrize("others", [0, 40])
def test_hooks_see_the_first_value_of_a_header_whatever_its_case(others):
    more = [(f"X-{number:03}", str(number)) for number in range(others)]
    headers = (("X-Name", "1"), *more, ("x-name", "2"), ("X-Nama", "3"), ("X-NAME", "4"))
    seen = read(Request("GET", "/", headers)).headers
    assert dict(seen) == {"X-Name": "1", **dict(more), "X-Nama": "3"}


def test_text_of_any_language_and_bytes_that_are_none():
    headers = (("Ä", "grün"), ("Long", "ü" * 300), ("Raw", b"\xff!".decode("utf-8", "surrogateescape")), ("Empty", ""))
    message = read(Request("GET", "/?ü=%C3%A4&ü=2&a", headers))
    assert dict(message.headers) == {"Ä": "grün", "Long": "ü" * 300, "Raw": "?!", "Empty": ""}
    assert dict(message.params) == {"ü": "ä", "a": ""}


WRONG = {
    "a number": ((("A", 1),), TypeError),
    "nothing": (((None, "1"),), AttributeError),
    "no value": ((("A",),), ValueError),
    "no pair": ((1,), TypeError),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_header_is_refused(case):
    headers, error = case
    with pytest.raises(error):
        messages.request_message(Request("GET", "/", headers), "http", "/")


@pytest.mark.parametrize("pairs", [[("A",)], [("A", "1", "2")], [["A", "1"]], [None]])
def test_what_is_no_entry_is_refused(pairs):
    with pytest.raises((TypeError, ValueError)):
        _bridge.entries(1, pairs)


@pytest.mark.parametrize("number", [0, 16])
def test_fields_whose_tag_takes_more_than_a_byte_are_refused(number):
    with pytest.raises(ValueError, match="from 1 to 15"):
        _bridge.entries(number, [("A", "1")])
    with pytest.raises(ValueError, match="from 1 to 15"):
        _bridge.part(number, b"")


def test_no_request_is_no_crash():
    with pytest.raises(AttributeError):
        messages.request_message(None, "http", "/")
