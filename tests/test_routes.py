"""Which API a path belongs to, and paths that some upstream might take for another API's."""

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from tests.definitions import read, smallest
from tykbridge.routes import Routes, plain

pytestmark = pytest.mark.once


def routes(**apis):
    """Routes of APIs by name, each listening on a path, or on a domain and a path."""
    made = []
    for name, place in apis.items():
        domain, _, path = place.partition("/")
        proxy = {"listen_path": f"/{path}", "target_url": "http://upstream.test"}
        made.append((read(smallest(domain=domain, proxy=proxy)).require(), name))
    return Routes(made)


SHOP = routes(rest="/", admin="/admin/", files="/files/", deep="/admin/deep/", own="own.test/")


@pytest.mark.parametrize(
    ("path", "host", "api"),
    [
        ("/admin", "", "admin"),
        ("/admin/", "", "admin"),
        ("/admin/x?/deep/", "", "admin"),  # decoded: a question mark is one of the path's letters
        ("/admin/deep", "", "deep"),
        ("/admin/deeper", "", "admin"),
        ("/administration", "", "rest"),
        ("/", "other.test", "rest"),
        ("/admin", "own.test", "own"),
        ("/admin", "OWN.test:8080", "own"),
        ("/admin", "own.test.", "own"),
        ("/admin", "own.test.:80", "own"),
        ("*", "", None),
        ("http://own.test/", "", None),
    ],
)
def test_find(path, host, api):
    assert SHOP.find(path, host) == api


@pytest.mark.parametrize(
    "path",
    [
        "/files/a//b",
        "/files/./a",
        "/files/A",
        "/files/%41",
        "/files/a;b",
        "/files/100%",
        "/files/a b",
        "/files/a/../b",
        "/x//y",
    ],
)
def test_odd_paths_within_an_api_stay_usable(path):
    assert SHOP.find(path) == ("rest" if path.startswith("/x") else "files")


@pytest.mark.parametrize(
    "path",
    [
        "//admin/x",
        "/./admin/x",
        "/x/../admin/x",
        "/../admin",
        "/ADMIN/x",
        "/%61dmin",
        "/%2561dmin",
        "/x/%2e%2e/admin",
        "/x%2f..%2fadmin",
        "/admin\n",
        "/admin%0a",
        "/admin%00",
        "/admin ",
        "/adm\tin",
        "/admin;x/y",
        "/\\admin",
        "/x\\..\\admin",
        "/\uff41dmin",
        "/files/../admin/x",
        "/admin/../files",
        "/admin/x/../../y",
        "/%2525252525252561dmin",
    ],
)
def test_paths_that_may_be_anothers(path):
    assert SHOP.find(path) is None


def test_another_reading_that_is_nobodys():
    """What no API is for is not reached by way of an API either."""
    assert routes(files="/files/").find("/files/../internal") is None


def test_listen_paths_that_differ_in_case_alone():
    both = routes(one="/Files/", other="/files/", rest="/")
    assert [both.find(path) for path in ("/Files/x", "/files/x", "/FILES/x", "/x")] == [
        "one",
        "other",
        None,
        "rest",
    ]


TRICKS = st.sampled_from(
    ["/", "/./", "/x/../", "/%2e/", "//", "/x/%2E%2e/", "/;a=b/", "/x\\..\\", "/ ", "/\x00", "/\n/"]
)


@st.composite
def disguises(draw):
    """A path that a careless upstream takes for /admin/deep, decoded once, in some case, with detours."""
    path = ""
    for segment in ("admin", "deep"):
        path += draw(st.just("/") | TRICKS)
        for letter in segment:
            way = draw(st.sampled_from(["as it is", "as it is", "upper", "encoded", "twice"]))
            code = f"%{ord(letter):02x}"
            path += {"upper": letter.upper(), "encoded": code, "twice": code.replace("%", "%25")}.get(way, letter)
    return path + draw(st.sampled_from(["", "/", "/x", "/..%2fdeep", "\n", ";a"]))


@given(disguises())
@example("/admin/deep")
def test_no_disguise_reaches_another_api(path):
    assert plain(path) in ("/admin/deep", "/admin/deep/x")
    assert SHOP.find(path) in ("deep", None)


@given(st.text(st.sampled_from("/.%2eEfF;\\aA \n?\u017f")).map(lambda text: f"/{text}"))
def test_plain_is_plain(path):
    found = plain(path)
    if found is not None:
        assert "//" not in found
        assert not {".", ".."} & {*found.split("/")}
