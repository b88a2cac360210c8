"""Templates of webhooks."""

import json

import pytest

from tykbridge.events.template import SUPPORTED, Template, TemplateError, html_escape, json_escape

pytestmark = pytest.mark.once


def fill(text, escape=json_escape, type="AuthFailure", **meta):
    return Template(text).fill({"Type": type, "TimeStamp": "now", "Meta": meta}, escape)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", ""),
        ("{{.Type}} at {{.TimeStamp}}", "AuthFailure at now"),
        ("{{ .Type }}{{\t.Type\n}}", "AuthFailureAuthFailure"),
        ("<{{.Meta.Path}}>", "</a>"),
        ("<{{.Meta.Missing}}{{.Meta.Path.Deeper}}>", "<>"),
        ("{{.Meta.Host.Name}} {{.Meta.Number}} {{.Meta.Yes}}", "h 7 true"),
        ("{{.Meta.TriggerLimit}} {{.Meta.OrgID}}", "80 o"),
        ("a  {{- .Type -}}\n b", "aAuthFailureb"),
        ("a {{/* what it is */}}b", "a b"),
        ('{{if eq .Type "X"}}x{{end}}y', "y"),
        ('{{ if eq .Type "AuthFailure"}}1{{else}}2{{ end }}', "1"),
        ('{{if eq .Type "X"}}1{{else if eq .Type "AuthFailure"}}2{{else}}3{{end}}', "2"),
        ('{{if eq .Type "X"}}1{{else if eq .Type "Y"}}2{{else}}3{{.Type}}{{end}}', "3AuthFailure"),
        ('{{if eq .Type "X"}}1{{else}}{{if eq .Type "AuthFailure"}}2{{end}}3{{end}}4', "234"),
        ("} }} {", "} }} {"),
    ],
)
def test_what_is_filled_in(text, filled):
    meta = {"Path": "/a", "Host": {"Name": "h"}, "Number": 7, "Yes": True, "trigger_limit": 80, "org_id": "o"}
    assert fill(text, **meta) == filled


@pytest.mark.parametrize("value", ['"', "\\", "a\nb\0", "</script>", "é\u2028", "\udc80", '", "admin": "yes'])
def test_a_value_stays_inside_of_its_json_string(value):
    body = fill('{"message": "{{.Meta.Message}}"}', Message=value)
    assert json.loads(body) == {"message": value}
    assert body.isascii()


def test_a_value_stays_inside_of_its_element():
    assert fill("<m>{{.Meta.Message}}</m>", html_escape, Message='<"&') == "<m>&lt;&quot;&amp;</m>"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a\n\n{{.Foo}}", 3, "{{.Foo}} is not supported; what is: " + SUPPORTED),
        ("{{.Meta.X | js}}", 1, "{{.Meta.X | js}} is not supported"),
        ("{{.Meta}}", 1, "is not supported"),
        ("{{range .Meta}}{{end}}", 1, "{{range .Meta}} is not supported"),
        ("{{if .Type}}{{end}}", 1, "{{if .Type}} is not supported"),
        ("\n{{else}}", 2, "{{else}} belongs to no {{if}}"),
        ("\n{{end}}", 2, "{{end}} belongs to no {{if}}"),
        ('{{if eq .Type "X"}}{{else}}{{else}}{{end}}', 1, "belongs to no {{if}}"),
        ('{{if eq .Type "X"}}{{else}}{{else if eq .Type "Y"}}{{end}}', 1, "belongs to no {{if}}"),
        ('a\n{{if eq .Type "X"}}\n', 2, "{{if}} has no {{end}}"),
        ("a\n{{.Type", 2, "{{ has no }}"),
    ],
)
def test_what_is_not_supported_is_told_with_its_line(text, line, words):
    with pytest.raises(TemplateError) as error:
        Template(text)
    assert error.value.line == line
    assert words in str(error.value)
