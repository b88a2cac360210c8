"""Taking the ID out of a request."""

import contextlib
import hashlib
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tykbridge.idextractor import (
    MAX_FORM_FIELDS,
    MAX_XML,
    Config,
    ConfigError,
    ExtractionError,
    compile_extractor,
)
from tykbridge.regex import MissingEngineError


class Request:
    """What an extractor asks of a request."""

    def __init__(self, headers=(), query="", body=b""):
        self.headers, self.query, self.body = dict(headers), query, body

    def header(self, name):
        return next((text.encode() for key, text in self.headers.items() if key.lower() == name.lower()), None)


FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


def value(source, method, request, **config):
    return compile_extractor(source, method, Config(**config)).value(request)


def refused(source, method, request, **config):
    with pytest.raises(ExtractionError) as caught:
        value(source, method, request, **config)
    assert (caught.value.status, caught.value.text) == (400, "Authorization field missing")
    return str(caught.value)


XML = b"<Envelope><Header><Token id='t1'>secret</Token><Token>other</Token></Header><n>3</n></Envelope>"

READS = {
    "header": (Request(headers={"X-Auth": "abc-def"}), {"header_name": "X-Auth"}),
    "form": (Request(headers=FORM, body=b"auth=abc-def&b=1"), {"param_name": "auth"}),
    "body": (Request(headers={}, body=b"abc-def"), {}),
}


@pytest.mark.parametrize("source", READS)
def test_value(source):
    request, config = READS[source]
    assert value(source, "value", request, **config) == b"abc-def"


@pytest.mark.parametrize("source", READS)
@pytest.mark.parametrize(("index", "found"), [(0, b"abc"), (1, b"def")])
def test_regex(source, index, found):
    request, config = READS[source]
    assert value(source, "regex", request, regex_expression="[a-z]+", regex_match_index=index, **config) == found


@pytest.mark.parametrize(
    ("source", "request_", "config"),
    [
        ("header", Request(headers={"X-Auth": XML.decode()}), {"header_name": "X-Auth"}),
        ("form", Request(headers={}, query="auth=" + XML.decode().replace(" ", "+")), {"param_name": "auth"}),
        ("body", Request(headers={}, body=XML), {}),
    ],
)
def test_xpath(source, request_, config):
    assert value(source, "xpath", request_, xpath_expression="//Token", **config) == b"secret"


def test_the_id_is_org_and_md5_of_the_value():
    extractor = compile_extractor("header", "value", Config(header_name="A"))
    session_id = extractor.session_id(Request(headers={"A": "tök"}), "org1")
    assert session_id == "org1" + hashlib.md5("tök".encode()).hexdigest()


# --- header ---------------------------------------------------------------------------------------------------------


def test_header_names_are_compared_without_case():
    assert value("header", "value", Request(headers={"x-AUTH": "a"}), header_name="X-Auth") == b"a"


@pytest.mark.parametrize("headers", [{}, {"X-Other": "a"}, {"X-Auth": ""}])
def test_a_missing_or_empty_header_is_refused(headers):
    assert refused("header", "value", Request(headers=headers), header_name="X-Auth") == "no header X-Auth"


def test_ids_that_were_made_before_are_of_one_org():
    extractor = compile_extractor("header", "value", Config(header_name="A"))
    ids = [extractor.session_id(Request({"A": value}), org) for org in "oop" for value in "xyx"]
    assert ids == [org + hashlib.md5(value.encode()).hexdigest() for org in "oop" for value in "xyx"]


def test_ids_are_kept_within_bounds(monkeypatch):
    monkeypatch.setattr("tykbridge.idextractor._KEPT", 2)
    extractor = compile_extractor("header", "value", Config(header_name="A"))
    for value in ("a", "b", "c", "a", "c" * 1000):
        expected = "org" + hashlib.md5(value.encode()).hexdigest()
        assert extractor.session_id(Request({"A": value}), "org") == expected


# --- form -----------------------------------------------------------------------------------------------------------


def test_form_values_are_joined_the_bodys_first():
    request = Request(headers=FORM, query="a=3&b=x", body=b"a=1&a=2")
    assert value("form", "value", request, param_name="a") == b"123"


def test_form_values_are_decoded_as_bytes():
    assert value("form", "value", Request(headers={}, query="%61=%FF+b"), param_name="a") == b"\xff b"


def test_a_body_that_is_no_form_is_not_read():
    request = Request(headers={"Content-Type": "text/plain"}, body=b"a=1")
    assert refused("form", "value", request, param_name="a") == "no form value a"


def test_an_empty_form_value_is_refused():
    request = Request(headers={}, query="a=&b=1")
    assert refused("form", "value", request, param_name="a") == "the extracted value is empty"


def test_a_form_of_too_many_fields_is_refused():
    request = Request(headers={}, query="a=1&" + "b&" * MAX_FORM_FIELDS)
    assert "more than" in refused("form", "value", request, param_name="a")


# --- body -----------------------------------------------------------------------------------------------------------


def test_an_empty_body_is_refused():
    assert refused("body", "value", Request(headers={})) == "the request has no body"


def test_any_bytes_are_a_value():
    assert value("body", "value", Request(headers={}, body=b"\xff\x00")) == b"\xff\x00"


# --- regular expressions --------------------------------------------------------------------------------------------


def test_a_missing_match_is_refused():
    request = Request(headers={}, body=b"abc")
    reason = refused("body", "regex", request, regex_expression="[a-z]+", regex_match_index=1)
    assert reason == "the regular expression has no match 1"


def test_an_empty_match_is_refused():
    request = Request(headers={}, body=b"abc")
    assert refused("body", "regex", request, regex_expression="x*") == "the extracted value is empty"


def test_the_whole_match_counts_not_its_groups():
    request = Request(headers={}, body=b"Bearer tok")
    assert value("body", "regex", request, regex_expression=r"Bearer (\w+)$") == b"Bearer tok"


def test_gos_syntax():
    request = Request(headers={}, body=b"id=\xff12;")
    assert value("body", "regex", request, regex_expression=r"[[:digit:]]+(?P<rest>\z)?") == b"12"


def test_a_regular_expression_that_explodes_elsewhere_ends():
    request = Request(headers={"A": "a" * 50_000 + "!"})
    refused("header", "regex", request, header_name="A", regex_expression="^(a+)+$")


@pytest.mark.parametrize("expression", ["(", "(?=a)", r"\1", "[z-a]", "a" * 10 + "{1001}", "\ud800"])
def test_expressions_that_are_none(expression):
    with pytest.raises(ConfigError) as caught:
        compile_extractor("body", "regex", Config(regex_expression=expression))
    assert caught.value.setting == "regex_expression"
    assert caught.value.expected == "a regular expression (RE2 syntax)"


# --- XPath ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("/Envelope/Header/Token[2]", b"other"),
        ("//Token/@id", b"t1"),
        ("//Token/text()", b"secret"),
        ("/Envelope/Header", b"secretother"),
        ("string(//n)", b"3"),
        ("count(//Token)", b"2"),
        ("//n div 2", b"1.5"),
        ("boolean(//n)", b"true"),
        ("count(//Token) = 1", b"false"),
    ],
)
def test_xpath_results_are_strings(expression, found):
    assert value("body", "xpath", Request(headers={}, body=XML), xpath_expression=expression) == found


def test_names_match_whatever_their_namespace():
    body = b'<s:E xmlns:s="urn:s" xmlns:w="urn:w"><w:Token w:id="7">tok</w:Token></s:E>'
    assert value("body", "xpath", Request(headers={}, body=body), xpath_expression="/E/Token") == b"tok"
    assert value("body", "xpath", Request(headers={}, body=body), xpath_expression="//Token/@id") == b"7"


@pytest.mark.parametrize(
    "body",
    [
        b"<a><b/></a>",
        b"<a><t></t></a>",
        b"no xml",
        b"<a>",
        b"<t>\xff</t>",
        "<t>a</t>".encode("utf-16"),
        b"<t>&unknown;</t>",
        b"<x>" * 300 + b"<t>a</t>" + b"</x>" * 300,
        b"<t>" + b"a" * MAX_XML + b"</t>",
        b"<t>a</t>\0",
    ],
)
def test_xml_without_the_value_is_refused(body):
    assert refused("body", "xpath", Request(headers={}, body=body), xpath_expression="//t")


BOMB = b'<!DOCTYPE t [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><t>&b;</t>'
OUTSIDE = b'<!DOCTYPE t [<!ENTITY a SYSTEM "file:///etc/passwd">]><t>&a;</t>'


@pytest.mark.parametrize("body", [BOMB, OUTSIDE, b'<?xml version="1.0" encoding="UTF-7"?>' + OUTSIDE])
def test_xml_with_a_dtd_is_refused(body):
    reason = refused("body", "xpath", Request(headers={}, body=body), xpath_expression="//t")
    assert reason == "XML with a DTD"


def test_a_dtd_in_another_encoding_is_no_xml():
    body = '<?xml version="1.0" encoding="UTF-16"?>'.encode("utf-16") + OUTSIDE.decode().encode("utf-16-le")
    refused("body", "xpath", Request(headers={}, body=body), xpath_expression="//t")


@pytest.mark.parametrize("expression", ["//[", "p:a", "document('x')", "$v", "1 +", "\0"])
def test_xpath_expressions_that_are_none(expression):
    with pytest.raises(ConfigError) as caught:
        compile_extractor("body", "xpath", Config(xpath_expression=expression))
    assert caught.value.setting == "xpath_expression"


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "method", "config", "setting"),
    [
        ("header", "value", {}, "header_name"),
        ("form", "value", {}, "param_name"),
        ("body", "regex", {}, "regex_expression"),
        ("body", "regex", {"regex_expression": "a", "regex_match_index": -1}, "regex_match_index"),
        ("body", "xpath", {}, "xpath_expression"),
        ("query", "value", {}, "extract_from"),
        ("body", "json", {}, "extract_with"),
    ],
)
def test_settings_that_cannot_work(source, method, config, setting):
    with pytest.raises(ConfigError) as caught:
        compile_extractor(source, method, Config(**config))
    assert caught.value.setting == setting
    assert str(caught.value).startswith(f"{setting}: expected ")


@pytest.mark.parametrize(
    ("engine", "method", "config"),
    [("re2", "regex", {"regex_expression": "a"}), ("lxml", "xpath", {"xpath_expression": "a"})],
)
def test_a_missing_engine_says_which_extra_has_it(monkeypatch, engine, method, config):
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(MissingEngineError, match=r"pip install 'tykbridge\[extractors\]'"):
        compile_extractor("body", method, Config(**config))


# --- properties -----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.sampled_from(["header", "form", "body"]),
    st.sampled_from(["value", "regex", "xpath"]),
    st.text(),
    st.text(),
    st.binary() | st.sampled_from([XML, BOMB]),
)
def test_any_request_has_a_value_or_is_refused(source, method, header, query, body):
    config = Config(header_name="A", param_name="a", regex_expression="[^ ]+", xpath_expression="//Token")
    extractor = compile_extractor(source, method, config)
    request = Request(headers={"A": header, **FORM}, query=query, body=body)
    with contextlib.suppress(ExtractionError):
        assert extractor.value(request)
