"""tykbridge.gateway.secrets: what is masked where it stands, and wherever else it turns up."""

import base64

import pytest

from tykbridge.changes import Change
from tykbridge.definition import Phase, read_text
from tykbridge.gateway.secrets import MASK, Secrets
from tykbridge.gateway.trace import Record
from tykbridge.gateway.visit import Visit
from tykbridge.outcome import Request, Response
from tykbridge.steps import ClientStep, HookStep, Seen, UpstreamStep

DEFINITION = """{
  "api_id": "api", "org_id": "org", "use_keyless": false,
  "auth": {"auth_header_name": "X-Door", "use_param": true, "param_name": "door"},
  "proxy": {"listen_path": "/api/", "target_url": "http://127.0.0.1:1/"}
}"""


def record(url="/", headers=(), body=b"", steps=(), definition=None):
    request = Request("GET", url, tuple(headers), body)
    made = Record(1, Visit("GET", url, ""), definition, False, {}, request)
    made.steps += steps
    return made


def hook(changes=(), **more):
    return HookStep(Phase.PRE, "hook", 0.0, more.pop("seen", Seen()), tuple(changes), **more)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", "Bearer abcdefgh", f"Bearer {MASK}"),
        ("authorization", "abcdefgh", MASK),
        ("Authorization", "Bearer ab", f"Bearer {MASK}"),
        ("Authorization", "", ""),
        ("Proxy-Authorization", "Basic YTpi", f"Basic {MASK}"),
        ("X-Api-Key", "abcdefgh", MASK),
        ("Cookie", "a=1; sid=abcdefgh", f"a={MASK}; sid={MASK}"),
        ("Set-Cookie", "sid=abcdefgh; Path=/; HttpOnly", f"sid={MASK}; Path=/; HttpOnly"),
        ("X-Other", "abcdefgh", "abcdefgh"),
    ],
)
def test_headers_are_masked_by_their_names(name, value, shown):
    made = record(headers=[(name, value)])
    assert Secrets(made).request(made.request).headers == ((name, shown),)


def test_a_flood_of_cookies_hides_no_token_and_is_not_looked_for_everywhere():
    cookies = "; ".join(f"c={number:06d}" for number in range(7000))
    made = record(
        "/?" + "&".join(f"a{number:06d}" for number in range(7000)),
        [("Cookie", cookies), ("Authorization", "Bearer abcdefgh"), ("X-Other", "abcdefgh")],
        body=b"abcdefgh " * 7000,
    )
    secrets = Secrets(made)
    assert len(secrets._words) <= 200
    shown = secrets.request(made.request)
    assert dict(shown.headers) == {
        "Cookie": "; ".join(["c=" + MASK] * 7000), "Authorization": f"Bearer {MASK}", "X-Other": MASK
    }  # fmt: skip
    assert b"abcdefgh" not in shown.body


def test_where_the_definition_expects_its_token_there_is_a_secret():
    definition = read_text(DEFINITION, "api.json").require()
    made = record(
        "/api/?door=open-sesame&x=1", [("X-Door", "open-sesame"), ("X-Else", "open-sesame!")], definition=definition
    )
    shown = Secrets(made).request(made.request)
    assert shown.url == f"/api/?door={MASK}&x=1"
    assert shown.headers == (("X-Door", MASK), ("X-Else", f"{MASK}!"))


def test_a_secret_is_masked_wherever_it_turns_up():
    step = hook(
        [
            Change('request.set_headers["X-Copy"]', None, "got abcdefgh"),
            Change("request.raw_body", b"-", b"is abcdefgh"),
            Change("request.url", "/", "/?token=ijklmnop"),
            Change("request.delete_headers", None, ["abcdefgh"]),
        ],
        seen=Seen(["print abcdefgh"], [("info", "log abcdefgh")], [("Event", "abcdefgh")]),
        failure="failed for abcdefgh",
        fault="refused abcdefgh",
        warnings=("warned of abcdefgh",),
        token="abcdefgh",
    )
    upstream = UpstreamStep(Request("GET", "http://u/abcdefgh", (), b"abcdefgh"), Response(200, (), b"abcdefgh"))
    client = ClientStep(Response(200, (("X-Echo", "abcdefgh"),), b"abcdefgh"), True)
    made = record(headers=[("Authorization", "Bearer abcdefgh")], body=b"abcdefgh", steps=[step, upstream, client])
    secrets = Secrets(made)
    assert b"abcdefgh" not in secrets.request(made.request).body
    for shown in map(secrets.step, made.steps):
        assert "abcdefgh" not in repr(shown)
        assert "ijklmnop" not in repr(shown)
        assert MASK in repr(shown) or MASK.encode().__repr__()[2:-1] in repr(shown)


def test_the_password_in_basic_is_found_where_it_stands_decoded():
    sent = base64.b64encode(b"ada:correct horse").decode()
    made = record(headers=[("Authorization", f"Basic {sent}")])
    assert Secrets(made).text("logged in with correct horse") == f"logged in with {MASK}"
    assert Secrets(record(headers=[("Authorization", "Basic !!!")])).text("x") == "x"


@pytest.mark.parametrize(
    "path",
    [
        "session.hmac_secret",
        "session.basic_auth_data.password",
        "session.jwt_data.secret",
        'session.metadata["token"]',
        'metadata["token"]',
        'request.params["access_token"]',
    ],
)
def test_fields_are_masked_by_their_names(path):
    change = Change(path, "abc", "abcdefgh")
    made = record(steps=[hook([change])])
    (shown,) = Secrets(made).step(made.steps[0]).changes
    assert (shown.old, shown.new) == (MASK, MASK)
    assert Secrets(made).text("abcdefgh") == MASK


def test_what_is_no_secret_is_shown():
    change = Change("session.alias", None, "abcdefgh")
    made = record(
        "/?q=abcdefgh", [("X-Name", "abcdefgh"), ("Cookie", "short=1")], b"abcdefgh 1", steps=[hook([change])]
    )
    secrets = Secrets(made)
    assert secrets.request(made.request) == Request(
        "GET", "/?q=abcdefgh", (("X-Name", "abcdefgh"), ("Cookie", f"short={MASK}")), b"abcdefgh 1"
    )
    assert secrets.step(made.steps[0]) == made.steps[0]


def test_a_secret_in_another_is_hidden_with_it():
    made = record(headers=[("Authorization", "Bearer abcdefgh-long"), ("X-Api-Key", "abcdefgh")])
    assert Secrets(made).text("abcdefgh-long, abcdefgh") == f"{MASK}, {MASK}"


def test_bytes_that_are_no_text_are_no_trouble():
    made = record("/?token=\udcff\udcfe", [("Authorization", "\udcff" * 8)], b"\xff" * 8 + b"!")
    shown = Secrets(made).request(made.request)
    assert shown.body == MASK.encode() + b"!"
    assert shown.url == f"/?token={MASK}"


def test_the_login_of_an_upstream_is_masked():
    secrets = Secrets(record())
    assert secrets.url("https://ada:secret@host/a@b?x=c@d") == f"https://{MASK}@host/a@b?x=c@d"
    assert secrets.url("/a//b:c@d") == "/a//b:c@d"
