from __future__ import annotations

import json

import pytest

from tykbridge.errors import MalformedError
from tykbridge.events import dispatched
from tykbridge.events.dispatched import Content, Event


def test_an_event() -> None:
    text = (
        '{"message": {"Type": "T", "Meta": {"Message": "é"}}, "handler_name": "H", "spec": {"APIID": "1"}, "more": 1}'
    )
    event = dispatched.parse(text)
    assert event == Event("H", Content(json.loads(text)), {"APIID": "1"})
    assert event.content["message"] == event.content.message == {"Type": "T", "Meta": {"Message": "é"}}
    assert event.content.handler_name == "H"
    with pytest.raises(AttributeError, match="the event has no 'other'"):
        _ = event.content.other


@pytest.mark.parametrize("spec", ["", ', "spec": null', ', "spec": {}'])
def test_without_a_spec(spec: str) -> None:
    assert dispatched.parse(f'{{"message": {{}}, "handler_name": "H"{spec}}}').spec == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON: Expecting value"),
        ('{"message": {}', "is not JSON"),
        ("[" * 100_000, "is not JSON that can be read: it is nested too deeply"),
        ('{"a": "\udcff"}', "is not UTF-8 text"),
        ("[]", "is no object"),
        ('{"message": {}}', "has no handler_name"),
        ('{"message": {}, "handler_name": ""}', "has no handler_name"),
        ('{"message": {}, "handler_name": 1}', "has no handler_name"),
        ('{"handler_name": "H"}', 'the event for "H" must be .*, and its message is no object'),
        ('{"message": "x", "handler_name": "H"}', "its message is no object"),
        ('{"message": {}, "handler_name": "H", "spec": []}', "its spec is no object"),
    ],
)
def test_what_is_no_event(text: str, words: str) -> None:
    with pytest.raises(MalformedError, match=words):
        dispatched.parse(text)
