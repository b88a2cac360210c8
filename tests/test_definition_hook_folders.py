"""tykbridge.definition.folders: the JavaScript hooks that lie in folders of the middleware path."""

import msgspec
import pytest

from tests.definitions import AUTH_HOOK, EVERYTHING, names, read, smallest, smallest_oas
from tykbridge.definition import Driver, Phase


@pytest.fixture
def found(tmp_path):
    """Reads a definition where the folders of its API have files; gives the reading."""
    capabilities = msgspec.structs.replace(EVERYTHING, middleware_path=str(tmp_path))

    def make(document, *files, api_id="api"):
        for file in files:
            place = tmp_path / api_id / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("")
        return read(document, capabilities=capabilities)

    return make


FILES = (
    "pre/b.js",
    "pre/a.min.js",
    "auth/in.js",
    "post_auth/x.js",
    "post/y_with_session.js",
    "post/.z.js",
    "post/n.txt",
)


@pytest.mark.parametrize(
    "document",
    [
        smallest(custom_plugin_auth_enabled=True),
        smallest_oas(
            server={
                "listenPath": {"value": "/"},
                "authentication": {"enabled": True, "custom": {"enabled": True}},
            }
        ),
    ],
    ids=["classic", "oas"],
)
def test_each_file_is_a_hook(found, tmp_path, document):
    reading = found(document, *FILES)
    definition = reading.require()
    assert (reading.notices, reading.verdict) == ((), "loaded")
    assert {phase: names(definition, phase) for phase in Phase} == {
        Phase.PRE: ["a", "b"],
        Phase.AUTH_CHECK: ["in"],
        Phase.POST_KEY_AUTH: ["x"],
        Phase.POST: ["y_with_session"],
        Phase.RESPONSE: [],
    }
    (post,) = definition.hooks(Phase.POST)
    where = str(tmp_path / "api/post/y_with_session.js")
    assert (post.where, post.path, post.driver, post.require_session) == (where, where, Driver.JAVASCRIPT, True)
    assert not any(hook.require_session for hook in definition.section.hooks if hook is not post)


def test_they_stand_where_upstream_has_them(found):
    own = {
        phase: [{"name": f"own_{phase}", "path": "own.js"}] for phase in ("pre", "post_key_auth", "post", "response")
    }
    document = smallest(custom_middleware=own, use_standard_auth=True)
    definition = found(document, "pre/f.js", "post_auth/f.js", "post/f.js").require()
    assert names(definition, Phase.PRE) == ["own_pre", "f"]
    assert names(definition, Phase.POST_KEY_AUTH) == ["f", "own_post_key_auth"]
    assert names(definition, Phase.POST) == ["own_post", "f"]


def test_one_hook_authenticates(found, tmp_path):
    document = smallest(custom_plugin_auth_enabled=True)
    (problem,) = found(document, "auth/a.js", "auth/b.js").problems
    folder = tmp_path / "api" / "auth"
    assert (problem.path, problem.expected) == (f"{folder}/b.js", "one hook that authenticates")
    assert problem.found == f"another one at {folder}/a.js"
    own = smallest(custom_plugin_auth_enabled=True, api_id="other", custom_middleware=AUTH_HOOK)
    (problem,) = found(own, "auth/a.js", api_id="other").problems
    assert problem.path == str(tmp_path / "other/auth/a.js")
    assert problem.found == "another one at $.custom_middleware.auth_check"


def test_a_bundle_replaces_them(found, tmp_path):
    reading = found(smallest(custom_middleware_bundle="b.zip"), "pre/f.js")
    assert reading.require().section.hooks == ()
    (notice,) = reading.notices
    assert (notice.path, notice.text) == (
        str(tmp_path / "api/pre/f.js"),
        'the hook "f" does not run: the API has a bundle',
    )


def test_a_session_that_is_not_there_yet(found, tmp_path):
    (notice,) = found(smallest(use_keyless=True), "pre/f_with_session.js").notices
    assert notice.path == str(tmp_path / "api/pre/f_with_session.js")
    assert notice.text.startswith('there is no session for the hook "f_with_session" yet')


@pytest.mark.parametrize("api_id", ["..", "a/b", "/", "."])
def test_an_id_leads_to_no_other_folder(found, tmp_path, api_id):
    (tmp_path / "pre").mkdir()
    (tmp_path / "pre" / "f.js").write_text("")
    (tmp_path.parent / "pre").mkdir(exist_ok=True)
    (tmp_path.parent / "pre" / "f.js").write_text("")
    reading = found(smallest(api_id=api_id, use_keyless=True), "pre/f.js", api_id="a/b")
    assert reading.require().section.hooks == ()


def test_a_folder_that_cannot_be_read_is_a_problem(found, tmp_path, monkeypatch):
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "pre").symlink_to("pre")
    (problem,) = found(smallest()).problems
    assert problem.path == str(tmp_path / "api/pre")
    assert problem.expected == "a folder that can be read"


def test_files_in_their_place_are_none(found, tmp_path):
    (tmp_path / "api").write_text("")
    assert found(smallest(use_keyless=True)).require().section.hooks == ()


def test_without_a_middleware_path_nobody_looks(found, tmp_path, monkeypatch):
    found(smallest(), "pre/f.js")
    monkeypatch.chdir(tmp_path)
    assert read(smallest(use_keyless=True), capabilities=EVERYTHING).require().section.hooks == ()
