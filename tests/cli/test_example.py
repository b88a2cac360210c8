"""tykbridge.cli.example: what it reads, and its words for what it cannot."""

import json

import pytest

from tykbridge.cli.example import Call, ExampleError, Hook, find, read
from tykbridge.outcome import Request, Response

MANIFEST = {
    "custom_middleware": {
        "pre": [{"name": "one", "raw_body_only": True}, {"name": "off", "disabled": True}],
        "post": [{"name": "last"}],
        "auth_check": {"name": "auth"},
        "post_key_auth": None,
        "response": [{"name": "back"}],
    }
}
SCENARIO = {
    "about": "a",
    "api": {
        "org_id": "o",
        "config_data": {"k": [1]},
        "event_handlers": {
            "events": {
                "E": [
                    {"handler_name": "eh_log_handler", "handler_meta": {"prefix": "x"}},
                    {"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "on_e"}},
                ]
            }
        },
    },
    "calls": [
        {
            "request": {"method": "PUT", "url": "/", "headers": {"A": ["1", "2"], "B": "3"}, "body": "ä"},
            "upstream": {"status": 201, "headers": {"C": "4"}},
        },
        {"about": "b", "request": {"method": "GET", "url": "/x"}},
    ],
}


@pytest.fixture
def written(tmp_path):
    """Writes an example; `change` edits its two tables before."""

    def write(change=lambda manifest, scenario: None):
        manifest, scenario = json.loads(json.dumps([MANIFEST, SCENARIO]))
        change(manifest, scenario)
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        (tmp_path / "request.json").write_text(json.dumps(scenario))
        return tmp_path

    return write


def test_all_that_is_read(written):
    example = read(written(), "n")
    assert (example.name, example.about, example.org_id, example.api_id) == ("n", "a", "o", "n")
    assert json.loads(example.config_data) == {"k": [1]}
    assert example.event_handlers == {"E": ("on_e",)}
    assert example.hooks == (
        Hook("pre", 1, "one", raw_body_only=True),
        Hook("auth_check", 4, "auth"),
        Hook("post", 2, "last"),
        Hook("response", 5, "back"),
    )
    assert example.calls == (
        Call(
            "",
            Request("PUT", "/", (("A", "1"), ("A", "2"), ("B", "3"), ("Content-Length", "2")), "ä".encode()),
            Response(201, (("C", "4"), ("Content-Length", "0"))),
        ),
        Call("b", Request("GET", "/x"), Response(200, (("Content-Length", "0"),)), answered=False),
    )


def test_an_auth_check_without_a_name_is_none(written):
    def change(manifest, scenario):
        manifest["custom_middleware"]["auth_check"] = {"name": "", "path": ""}

    assert "auth" not in [hook.name for hook in read(written(change), "n").hooks]


MISTAKES = {
    "a type": (
        lambda m, s: s["calls"][0]["request"].update(method=1),
        "request.json: calls[0].request.method: expected a text, not 1",
    ),
    "a missing value": (lambda m, s: s["calls"][1]["request"].pop("url"), "calls[1].request.url: missing"),
    "no calls": (lambda m, s: s.pop("calls"), "request.json: calls: missing"),
    "an entry": (lambda m, s: s["calls"].append("x"), 'request.json: calls[2]: expected an object, not "x"'),
    "a header": (
        lambda m, s: s["calls"][0]["upstream"]["headers"].update(C=[True]),
        "calls[0].upstream.headers.C: expected a text, not true",
    ),
    "a hook": (
        lambda m, s: m["custom_middleware"]["pre"][0].pop("name"),
        "manifest.json: custom_middleware.pre[0].name: missing",
    ),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_named_with_file_and_place(written, case):
    change, words = case
    with pytest.raises(ExampleError) as error:
        read(written(change), "n")
    assert str(error.value).startswith("/")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "not found; an example is a bundle with"), ("{", "request.json: "), ("[]", "expected an object")],
)
def test_a_file_that_cannot_be_read(written, text, words):
    file = written() / "request.json"
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(ExampleError, match=words):
        read(file.parent, "n")


def test_finding_bundles(tmp_path):
    for name in ("b/manifest.json", "a/c/manifest.json", "a/other.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert find(tmp_path) == [tmp_path / "a" / "c", tmp_path / "b"]
    assert find(tmp_path / "b") == [tmp_path / "b"]
    assert find(tmp_path / "nowhere") == []
