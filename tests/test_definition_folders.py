"""Reading folders of definitions, and the manifests of their bundles."""

import json
from pathlib import Path

from tests.definitions import EVERYTHING, RESPONSE, read, smallest, smallest_oas
from tykbridge.definition import Driver, Phase, read_file, read_folder, read_text, with_manifests

# --- folders --------------------------------------------------------------------------------------------------------


def write(folder, **files):
    for name, document in files.items():
        (folder / f"{name}.json").write_text(json.dumps(document))


def test_a_folder(tmp_path):
    write(
        tmp_path,
        a=smallest(),
        b=smallest(api_id="b", proxy={"listen_path": "/b/"}, enable_jwt=True),
        c=smallest(api_id="c", proxy={"listen_path": "/c/"}, active=False),
        d={},
    )
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.json").write_text("x")
    catalog = read_folder(tmp_path)
    assert [Path(reading.file).name for reading in catalog.readings] == ["a.json", "b.json", "c.json", "d.json"]
    assert [definition.api_id for definition in catalog.definitions] == ["api"]
    assert [reading.verdict for reading in catalog.not_loaded] == [
        "not loaded: needs JWT authentication ($.enable_jwt)",
        "not loaded: inactive",
    ]
    assert catalog.readings[3].verdict == "refused: 2 problems"
    assert catalog.notices == ()


def test_files_that_fight_over_an_api_id_are_refused(tmp_path):
    write(tmp_path, a=smallest(), b=smallest(proxy={"listen_path": "/b/"}), c=smallest_oas(info={"id": "c"}))
    catalog = read_folder(tmp_path)
    assert catalog.definitions == ()
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in catalog.problems] == [
        'a.json: $.api_id: expected a value of its own, found "api", as in b.json',
        'a.json: $.proxy.listen_path: expected a value of its own, found "/api/", as in c.json',
        'b.json: $.api_id: expected a value of its own, found "api", as in a.json',
        'c.json: $.x-tyk-api-gateway.server.listenPath.value: expected a value of its own, found "/api/", as in a.json',
    ]


def test_files_that_fight_over_a_listen_path_are_refused(tmp_path):
    other = {"api_id": "b", "proxy": {"listen_path": "/api"}}
    write(tmp_path, a=smallest(), b=other)
    assert read_folder(tmp_path).definitions == ()
    write(tmp_path, b={**other, "domain": "b.example"})
    assert len(read_folder(tmp_path).definitions) == 2
    write(tmp_path, b={**other, "active": False})
    assert len(read_folder(tmp_path).definitions) == 1


def test_the_classic_half_of_an_oas_api_is_left_to_it(tmp_path):
    write(tmp_path, **{"api": smallest(is_oas=True), "api-oas": smallest_oas()})
    catalog = read_folder(tmp_path)
    assert [definition.form for definition in catalog.definitions] == ["oas"]
    assert catalog.problems == ()


# --- manifests ------------------------------------------------------------------------------------------------------


def manifest(**section):
    return {"file_list": ["middleware.py"], "custom_middleware": {"driver": "python", **section}}


def test_a_manifest_replaces_the_hooks():
    document = smallest(
        custom_middleware_bundle="a.zip", custom_plugin_auth_enabled=True, custom_middleware={"pre": [{"name": "own"}]}
    )
    reading = read(document, capabilities=EVERYTHING)
    (bundle,) = reading.require().bundles
    extractor = {"extract_from": "header", "extract_with": "value", "extractor_config": {"header_name": "A"}}
    merged = with_manifests(
        reading,
        [(bundle, manifest(pre=[{"name": "theirs"}], auth_check={"name": "check"}, id_extractor=extractor))],
        EVERYTHING,
    ).require()
    assert [(hook.name, hook.bundle, hook.driver) for hook in merged.section.hooks] == [
        ("theirs", "a.zip", Driver.PYTHON),
        ("check", "a.zip", Driver.PYTHON),
    ]
    assert merged.section.extractor.header_name == "A"


def test_manifests_of_several_bundles_are_put_together():
    reading = read(smallest(custom_middleware_bundle="a.zip,b.zip"), capabilities=EVERYTHING)
    manifests = [
        manifest(pre=[{"name": "a"}]),
        manifest(pre=[{"name": "b", "driver": "lua"}], auth_check={"name": "c"}),
    ]
    merged = with_manifests(reading, zip(reading.require().bundles, manifests, strict=True))
    assert [(hook.name, hook.bundle) for hook in merged.require().hooks(Phase.PRE)] == [("a", "a.zip"), ("b", "b.zip")]
    assert merged.verdict == "not loaded: needs the lua driver ($.custom_middleware.pre[0])"


def test_two_bundles_with_auth_check_are_refused():
    reading = read(smallest(custom_middleware_bundle="a.zip,b.zip"), capabilities=EVERYTHING)
    both = [manifest(auth_check={"name": "a"}), manifest(auth_check={"name": "b"})]
    merged = with_manifests(reading, zip(reading.require().bundles, both, strict=True))
    assert [str(problem) for problem in merged.problems] == [
        'b.zip/manifest.json: $.custom_middleware.auth_check: expected it in one bundle only, found one in "a.zip" too'
    ]


def test_custom_authentication_needs_a_bundle_with_auth_check():
    document = smallest(custom_middleware_bundle="a.zip", custom_plugin_auth_enabled=True)
    reading = read(document, capabilities=EVERYTHING)
    merged = with_manifests(reading, [(reading.require().bundles[0], manifest())])
    assert [str(problem) for problem in merged.problems] == [
        (
            "a.zip/manifest.json: $.custom_middleware.auth_check: expected a hook, because api.json turns custom "
            "authentication on, found none in any of the API's bundles"
        )
    ]


def test_where_a_hook_without_a_bundle_is_looked_for(tmp_path):
    file = tmp_path / "api.json"
    file.write_text(json.dumps(smallest(**RESPONSE)))
    definition = read_file(file).require()
    (hook,) = definition.hooks(Phase.RESPONSE)
    assert definition.places(hook, "/opt/tyk") == (
        tmp_path / "middleware/middleware.py",
        Path("/opt/tyk/middleware/middleware.py"),
    )
    text = read_text(json.dumps(smallest(**RESPONSE))).require()
    assert text.places(hook, "/opt/tyk") == (Path("/opt/tyk/middleware/middleware.py"),)
    absolute = read(smallest(custom_middleware={"pre": [{"name": "f", "path": "/x/f.py"}]})).require()
    assert absolute.places(absolute.section.hooks[0], "/opt/tyk") == (Path("/x/f.py"),)
