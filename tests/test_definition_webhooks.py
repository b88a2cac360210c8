"""What a definition may say of webhooks and other handlers of events."""

import pytest

from tests.definitions import read, smallest, smallest_oas
from tykbridge.definition import Webhook

pytestmark = pytest.mark.once
URL = "http://h:1/p"


def classic(handler="eh_web_hook_handler", **meta):
    return read(smallest(event_handlers={"events": {"E": [{"handler_name": handler, "handler_meta": meta}]}}))


def oas(kind="webhook", **item):
    item = {"enabled": True, "trigger": "E", "type": kind, **item}
    return read(smallest_oas(server={"listenPath": {"value": "/"}, "eventHandlers": [item]}))


def webhook(reading):
    assert reading.problems == ()
    return reading.require().events[0].webhook


def test_everything_in_both_forms():
    expected = Webhook(url=URL, method="POST", headers=(("A", "b"),), template="t", cooldown=10, name="n")
    names = {"id": "i", "name": "n", "method": "post"}
    more = {"template_path": "t", "header_map": {"A": "b"}, "event_timeout": 10, "disabled": False}
    assert webhook(classic(target_path=URL, **names, **more)) == expected
    more = {"bodyTemplate": "t", "headers": [{"name": "A", "value": "b"}], "cooldownPeriod": "10s"}
    assert webhook(oas(url=URL, **names, **more)) == expected
    assert webhook(oas(url=URL, **names, **{**more, "headers": {"A": "b"}})) == expected


def test_what_may_be_left_out():
    for reading, where in (
        (classic(target_path=URL), "$.event_handlers.events.E[0].handler_meta.method"),
        (oas(url=URL), "$.x-tyk-api-gateway.server.eventHandlers[0].method"),
    ):
        assert webhook(reading) == Webhook(url=URL)
        assert [(notice.path, notice.text) for notice in reading.notices] == [
            (where, "missing: GET is sent, as upstream does")
        ]


def test_a_disabled_one_is_not_read():
    assert webhook(classic(target_path=7, disabled=True)) is None
    assert webhook(oas(url=7, enabled=False)) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0), ("0", 0), ("0s", 0), ("10s", 10), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25)]
)
def test_durations(text, seconds):
    assert webhook(oas(url=URL, cooldownPeriod=text)).cooldown == seconds


@pytest.mark.parametrize(
    ("meta", "path", "expected", "found"),
    [
        ({}, "target_path", "a URL with scheme and host (https://host/path)", "none"),
        ({"target_path": 7}, "target_path", "a string", "a number (7)"),
        ({"target_path": "h/p"}, "target_path", "a URL with scheme and host", 'a string ("h/p")'),
        ({"target_path": "ftp://h/"}, "target_path", "a URL with scheme and host", 'a string ("ftp://h/")'),
        ({"target_path": "http:///p"}, "target_path", "a URL with scheme and host", 'a string ("http:///p")'),
        ({"target_path": "http://h:x/"}, "target_path", "a URL with scheme and host", 'a string ("http://h:x/")'),
        ({"target_path": "http://h/a b"}, "target_path", "a URL with scheme and host", 'a string ("http://h/a b")'),
        ({"method": "FETCH"}, "method", 'one of "GET", "PUT", "POST", "DELETE", "PATCH"', 'a string ("FETCH")'),
        ({"header_map": []}, "header_map", "an object", "an empty list"),
        ({"header_map": {"A b": ""}}, 'header_map["A b"]', "the name of a header", 'a string ("A b")'),
        ({"header_map": {"A": "b\r\nC: d"}}, "header_map.A", "a string without line breaks", "something else"),
        ({"header_map": {"Content-Length": "1"}}, "header_map.Content-Length", "a header that does not", "a string"),
        ({"event_timeout": -1}, "event_timeout", "a number of seconds, 0 or more", "a number (-1)"),
        ({"event_timeout": "10"}, "event_timeout", "a whole number", 'a string ("10")'),
    ],
)
def test_what_is_wrong_in_the_classic_form(meta, path, expected, found):
    reading = classic(**{"target_path": URL, **meta} if meta else {})
    assert reading.definition is None
    (problem,) = reading.problems
    assert problem.path == f"$.event_handlers.events.E[0].handler_meta.{path}"
    assert problem.expected.startswith(expected)
    assert problem.found.startswith(found)


@pytest.mark.parametrize(
    ("item", "path", "expected", "found"),
    [
        ({}, "url", "a URL with scheme and host", "none"),
        ({"id": "i"}, "url", "a URL", 'none (what "id" names lies in Tyk\'s Dashboard, which is not asked)'),
        ({"url": URL, "cooldownPeriod": "soon"}, "cooldownPeriod", "a duration (10s, 1m30s, 2h)", 'a string ("soon")'),
        ({"url": URL, "cooldownPeriod": 10}, "cooldownPeriod", "a string", "a number (10)"),
        ({"url": URL, "headers": "A: b"}, "headers", 'a list of objects with "name" and "value"', 'a string ("A: b")'),
        ({"url": URL, "headers": [7]}, "headers[0]", "an object", "a number (7)"),
        ({"url": URL, "headers": {"A": 7}}, "headers.A", "a string without line breaks", "something else"),
    ],
)
def test_what_is_wrong_in_the_oas_form(item, path, expected, found):
    reading = oas(**item)
    assert reading.definition is None
    problem = reading.problems[0]
    assert problem.path == f"$.x-tyk-api-gateway.server.eventHandlers[0].{path}"
    assert problem.expected.startswith(expected)
    assert problem.found == found


def test_a_typing_error_is_told():
    (notice,) = classic(target_path=URL, method="GET", event_timout=10).notices
    assert notice.text == 'not a key that is known here, it has no effect; did you mean "event_timeout"?'


@pytest.mark.parametrize(
    ("handler", "meta", "path", "expected"),
    [
        ("eh_log_handler", {"prefix": 7}, "prefix", "a string, with which the line begins"),
        ("cp_dynamic_handler", {"name": "f", "path": 7}, "path", "a string, the file"),
        ("cp_dynamic_handler", {"path": "f.py"}, "name", "a string, the name of the handler's function"),
    ],
)
def test_what_is_wrong_with_other_handlers(handler, meta, path, expected):
    (problem,) = classic(handler, **meta).problems
    assert (problem.path, problem.expected) == (f"$.event_handlers.events.E[0].handler_meta.{path}", expected)


@pytest.mark.parametrize(
    ("item", "handler"),
    [
        ({"driver": "lua"}, "cp_dynamic_handler"),
        ({"path": "f.lua"}, "cp_dynamic_handler"),
        ({"path": "f.py"}, "cp_dynamic_handler"),
        ({"driver": "python"}, "cp_dynamic_handler"),
        ({"driver": "grpc"}, "cp_dynamic_handler"),
        ({"path": "f.js"}, "eh_dynamic_handler"),
        ({}, "eh_dynamic_handler"),
        ({"driver": "javascript", "path": "f.py"}, "eh_dynamic_handler"),
    ],
)
def test_whose_a_custom_handler_of_the_oas_form_is(item, handler):
    reading = oas("custom", functionName="f", **item)
    (found,) = reading.require().events
    assert (found.handler, found.meta["name"]) == (handler, "f")
    assert [need.what for need in reading.needs] == ["the javascript driver"] * (handler == "eh_dynamic_handler")


@pytest.mark.parametrize("driver", ["ruby", 7])
def test_another_driver_of_a_custom_handler(driver):
    (problem,) = oas("custom", functionName="f", driver=driver).problems
    assert problem.path == "$.x-tyk-api-gateway.server.eventHandlers[0].driver"
    assert problem.expected == 'one of "python", "lua", "grpc", "javascript"'


def test_the_prefix_of_the_oas_form():
    assert oas("log", logPrefix="p").require().events[0].meta["prefix"] == "p"
    (problem,) = oas("log", logPrefix=7).problems
    assert problem.path == "$.x-tyk-api-gateway.server.eventHandlers[0].logPrefix"
