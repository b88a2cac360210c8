"""Reading any text as a definition: its problems, notices and unknown keys."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.definitions import BASIC_USAGE, read, smallest, smallest_oas, virtual
from tykbridge.definition import DefinitionError, read_file, read_folder, read_text
from tykbridge.errors import LoadError


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "expected JSON (expecting value), found the end of the text"),
        ('{\n  "a": 1,\n  b}', "3:3", "expected JSON (expecting property name enclosed in double quotes), found 'b'"),
        ('{"a": 1', "1:8", "expected JSON (expecting ',' delimiter), found the end of the text"),
        ('{"a": 1} x', "1:10", "expected JSON (extra data), found 'x'"),
        ('{"a": "\t"}', "1:8", "found '\\t'"),
        (b'{\n"a": "\xff"}', "2:7", "expected UTF-8 text, found the byte 0xff"),
    ],
)
def test_text_that_is_no_json_has_line_and_column(text, place, words):
    (problem,) = read_text(text, "api.json").problems
    assert str(problem).startswith(f"api.json:{place}: $: ")
    assert words in str(problem)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "$: expected an object, the API definition, found a list"),
        ("null", "$: expected an object, the API definition, found null"),
        ("1", "$: expected an object, the API definition, found a number"),
        ('{"a": {"b": 1, "b": 2}}', '$.a.b: expected each key once, found "b" more than once'),
        ('{"a": [NaN]}', "$.a[0]: expected a number that JSON has and a computer can hold, found NaN"),
        ('{"a": 1e999}', "$.a: expected a number that JSON has and a computer can hold, found 1e999"),
        ('{"a": 1' + "0" * 5000 + "}", "$.a: expected a number that JSON has and a computer can hold, found 1000"),
        ('{"a": "\\ud800"}', "$.a: expected Unicode text, found the lone surrogate in '\\ud800'"),
        ('{"\\ud800": 1}', "$: expected keys that are Unicode text, found the lone surrogate in '\\ud800'"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "$: expected at most 200 levels of nesting, found more"),
        ('{"a": ' + "[" * 100000 + "]" * 100000 + "}", "$: expected at most 200 levels of nesting, found more"),
        (
            '{"openapi": "3.0.3"}',
            "$.x-tyk-api-gateway: expected an object, Tyk's part of the OpenAPI document, found none",
        ),
    ],
)
def test_json_that_is_no_definition(text, words):
    assert str(read_text(text, "api.json").problems[0]).startswith(f"api.json: {words}")


def test_a_file_that_is_too_large_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("tykbridge.definition.tree.MAX_BYTES", 50)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(smallest(name="x" * 50)))
    (problem,) = read_file(file).problems
    assert (problem.expected, problem.path) == ("at most 50 bytes", "$")


def test_all_problems_of_a_file_are_reported():
    document = smallest(
        api_id=1,
        domain=[],
        custom_middleware={"driver": "x", "pre": [{"name": 1}, {"name": ""}, {"name": "f", "path": 5, "code": "%"}]},
    )
    assert [problem.path for problem in read(document).problems] == [
        "$.api_id",
        "$.domain",
        "$.custom_middleware.pre[0].name",
        "$.custom_middleware.pre[2].path",
        "$.custom_middleware.driver",
        "$.custom_middleware.pre[1].name",
        "$.custom_middleware.pre[2].code",
    ]


def test_a_file_with_endless_problems_ends_early():
    problems = read(smallest(custom_middleware={"driver": "python", "pre": [{}] * 5000})).problems
    assert len(problems) == 100


def test_require_raises_all_the_reasons():
    with pytest.raises(DefinitionError) as caught:
        read({"name": 1}).require()
    assert [problem.path for problem in caught.value.problems] == ["$.name", "$.api_id", "$.proxy.listen_path"]
    assert str(caught.value).count("\n") == 2
    assert isinstance(caught.value, LoadError)


def test_a_file_that_is_not_there(tmp_path):
    (problem,) = read_file(tmp_path / "none.json").problems
    assert (
        str(problem)
        == f"{tmp_path / 'none.json'}: $: expected a file that can be read, found No such file or directory"
    )
    (problem,) = read_folder(tmp_path / "none").problems
    assert problem.expected == "a folder that can be read"
    (tmp_path / "folder.json").mkdir()
    assert read_folder(tmp_path).problems[0].found == "Is a directory"


# --- notices about keys ---------------------------------------------------------------------------------------------


def test_keys_in_another_case_are_read_as_upstream_does():
    reading = read({"API_ID": "api", "Proxy": {"Listen_Path": "/"}, "use_keyless": True})
    assert reading.require().listen_path == "/"
    assert [notice.text for notice in reading.notices] == [
        'read as "api_id"',
        'read as "proxy"',
        'read as "listen_path"',
    ]


def test_keys_that_look_mistyped_get_a_notice():
    document = smallest(
        custom_midleware={"pre": []}, upstream_certificates={}, custom_middleware={"post_auth": [], "zzz": 1}
    )
    texts = {notice.path: notice.text for notice in read(document).notices}
    no_effect = "not a key that is known here, it has no effect"
    assert texts == {
        "$.custom_midleware": f'{no_effect}; did you mean "custom_middleware"?',
        "$.custom_middleware.post_auth": f'{no_effect}; did you mean "post_key_auth"?',
        "$.custom_middleware.zzz": no_effect,
    }


# --- properties -----------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw):
    """A right definition of everything, with some of its values replaced, dropped or doubled."""
    document = copy.deepcopy(draw(st.sampled_from([FULL, FULL_OAS])))
    for _ in range(draw(st.integers(0, 4))):
        place = document
        while True:
            steps = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not steps:
                break
            step = draw(st.sampled_from(steps))
            if isinstance(place[step], dict | list) and place[step] and draw(st.booleans()):
                place = place[step]
                continue
            if draw(st.booleans()):
                place[step] = draw(json_values)
            elif isinstance(place, dict):
                del place[step]
            break
    return document


FULL = smallest(
    **{
        **BASIC_USAGE,
        "org_id": "o",
        "custom_plugin_auth_enabled": True,
        "auth_configs": {"authToken": {"use_param": True}},
        "use_standard_auth": True,
        "base_identity_provided_by": "auth_token",
        "custom_middleware_bundle": "a.zip",
        "config_data": {"a": 1},
        "event_handlers": {"events": {"X": [{"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "f"}}]}},
        **virtual(response_function_name="f", function_source_type="blob", function_source_uri="YQ=="),
    }
)
FULL["custom_middleware"] = {
    **FULL["custom_middleware"],
    "id_extractor": {
        "extract_from": "header",
        "extract_with": "regex",
        "extractor_config": {"header_name": "A", "regex_expression": "a+"},
    },
}
FULL_OAS = smallest_oas(
    server={
        "listenPath": {"value": "/"},
        "authentication": {
            "enabled": True,
            "custom": {
                "enabled": True,
                "config": {
                    "functionName": "f",
                    "idExtractor": {"source": "body", "with": "xpath", "config": {"xPathExp": "//a"}},
                },
            },
            "securitySchemes": {"s": {"enabled": True}},
        },
        "eventHandlers": [{"enabled": True, "trigger": "X", "type": "custom", "functionName": "f"}],
    },
    middleware={
        "global": {
            "pluginConfig": {"driver": "python", "data": {"enabled": True, "value": {"a": 1}}},
            "prePlugins": [{"enabled": True, "functionName": "f", "code": "YQ=="}],
        },
        "operations": {"o": {"virtualEndpoint": {"enabled": True, "functionName": "f", "path": "f.js"}}},
    },
)
FULL_OAS["components"] = {"securitySchemes": {"s": {"type": "apiKey", "in": "header", "name": "K"}}}
FULL_OAS["paths"] = {"/o": {"get": {"operationId": "o"}}}


def test_the_full_definitions_are_right():
    assert read(FULL).problems == ()
    assert read(FULL_OAS).problems == ()


@settings(deadline=None, max_examples=300)
@given(json_values | mutated())
def test_any_json_is_a_definition_or_has_problems(value):
    reading = read_text(json.dumps(value), "api.json")
    assert (reading.definition is None) == bool(reading.problems)
    if reading.definition is not None:
        assert reading.definition.document == json.loads(json.dumps(value))
        assert reading.verdict
    for problem in reading.problems:
        assert str(problem).startswith("api.json")
        assert problem.expected
        assert problem.found


@settings(deadline=None, max_examples=200)
@given(st.text() | st.binary())
def test_any_text_is_a_definition_or_has_problems(text):
    reading = read_text(text)
    assert (reading.definition is None) == bool(reading.problems)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.text(max_size=8).map("x_{}".format), json_values.filter(lambda value: value == value)))
def test_unknown_keys_survive_the_round_trip(unknown):
    text = json.dumps(unknown)
    unknown = json.loads(text) if "NaN" not in text and "Infinity" not in text else {}
    document = copy.deepcopy(FULL)
    for place in (document, document["proxy"], document["custom_middleware"], document["custom_middleware"]["pre"][0]):
        place.update(unknown)
    definition = read(document).require()
    assert definition.document == document
    again = read_text(json.dumps(definition.document), "api.json").require()
    assert again == definition
