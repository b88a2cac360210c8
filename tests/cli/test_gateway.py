"""What `check` and `run-hook` do with --conf, and with the archive of a bundle."""

import hashlib
import json
import zipfile

import pytest

from tests.cli.commands import definition, hooks, tykbridge, write
from tests.openssl import sealed
from tests.webserver import serving

pytestmark = pytest.mark.once

MARK = """
from gateway import TykGateway as tyk
from tyk.decorators import *

@Hook
def mark(request, session, spec):
    tyk.store_data("key", "value", 60)
    request.add_header("X-Mark", "{}" + tyk.get_data("key").decode())
    return request, session
"""
SERVED, ON_DISK = MARK.format("served "), MARK.format("on disk ")
MANIFEST = {"file_list": ["middleware.py"], "custom_middleware": hooks(path="", pre=["mark"])}
HASH = hashlib.md5(b"one.zip").hexdigest()


def archive(file, source=SERVED, manifest=MANIFEST, key=None):
    """Writes a bundle's archive, signed with a key."""
    files = {"manifest.json": json.dumps(manifest).encode(), "middleware.py": source.encode()}
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in (sealed(files, key) if key else files).items():
            packed.writestr(name, data)
    return file


@pytest.fixture
def place(tmp_path):
    """A folder with an API that names the bundle one.zip, and a server's folder that has it; `conf` writes tyk.conf."""
    archive(tmp_path / "served" / "one.zip")
    return write(tmp_path, {"apis/a.json": definition("a", custom_middleware_bundle="one.zip")})


@pytest.fixture
def conf(place):
    """Writes tyk.conf: bundles come from the folder `served`."""

    def write_conf(**settings):
        base = {"enable_bundle_downloader": True, "bundle_base_url": f"file://{place}/served"}
        write(place, {"tyk.conf": {**base, **settings}})

    write_conf()
    return write_conf


@pytest.fixture
def run(place):
    """Runs a command in the folder, with --conf and --json; gives its document. Nothing may be left of it."""
    temporary = place / "temporary"
    temporary.mkdir()

    def invoke(*words, status=0, **environment):
        result = tykbridge(*words, "--conf", "tyk.conf", "--json", cwd=place, TMPDIR=str(temporary), **environment)
        assert (result.status, result.errors) == (status, ""), result.words
        assert list(temporary.iterdir()) == []
        return result.document

    return invoke


def on_disk(place, source=ON_DISK, middleware="middleware"):
    """Writes the bundle as a gateway has it on its disk."""
    folder = f"{middleware}/bundles/{HASH}"
    write(place, {f"{folder}/manifest.json": MANIFEST, f"{folder}/middleware.py": source})


def tree(folder):
    """All that is in a folder."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
        if path.suffix != ".pyc" and path.name != "__pycache__"
    }


def marked(document):
    """What the hook has put into a header."""
    return dict(document["runs"][0]["upstream"]["headers"])["X-Mark"]


def item(document, name):
    (found,) = [item for item in document["items"] if item["file"].endswith(name)]
    return found


def messages(document, name, kind="problems"):
    return [(finding["path"], finding["message"]) for finding in item(document, name)[kind]]


# ---- Bundles


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "on-disk-too"])
def test_a_bundle_is_downloaded_and_the_middleware_folder_stays_as_it_is(run, conf, place, is_there):
    if is_there:
        on_disk(place)
    before = tree(place / "middleware")
    document = run("check", "apis")
    assert item(document, "a.json")["hooks"] == [{"phase": "pre", "name": "mark"}]
    assert (item(document, "tyk.conf")["kind"], document["counts"]["warnings"]) == ("settings", 0)
    assert marked(run("run-hook", "apis", "/a/")) == "served value"
    assert tree(place / "middleware") == before
    conf(enable_bundle_downloader=False)
    if is_there:
        assert marked(run("run-hook", "apis", "/a/")) == "on disk value"
    else:
        assert item(run("check", "apis"), "a.json")["status"] == "not loaded"


def test_a_server_that_gives_nothing(run, conf, place):
    with serving(404) as server:
        conf(bundle_base_url=server.url)
        document = run("check", "apis", status=1)
        ((path, words),) = messages(document, "a.json")
        assert path == "$.custom_middleware_bundle"
        assert f"{server.url}/one.zip" in words
        on_disk(place)
        document = run("check", "apis")
        assert item(document, "a.json")["status"] == "loaded"
        ((path, words),) = messages(document, "tyk.conf", "warnings")
        assert (path, "the version on disk is used" in words) == ("$", True)
        assert marked(run("run-hook", "apis", "/a/")) == "on disk value"


def test_what_is_wrong_with_a_download_is_told_of_its_url(run, conf, place):
    url = f"file://{place}/served/one.zip"
    archive(place / "served/one.zip", source="import nowhere\n")
    (problem,) = item(run("check", "apis", status=1), "a.json")["problems"]
    assert problem["place"] == f"{url}/middleware.py:1"
    assert "tykbridge-" not in problem["message"]
    section = {**MANIFEST["custom_middleware"], "pots": []}
    archive(place / "served/one.zip", manifest={**MANIFEST, "custom_middleware": section})
    (warning,) = item(run("check", "apis"), "a.json")["warnings"]
    assert warning["file"] == f"{url}/manifest.json"
    archive(place / "served/one.zip", source="import nowhere\n")
    assert (
        'error $.custom_middleware.pre[0]: bundle "one.zip": file:///'
        in tykbridge("check", "apis", "--conf", "tyk.conf", cwd=place).words
    )
    result = tykbridge("run-hook", "apis/a.json", "--conf", "tyk.conf", cwd=place)
    assert result.status == 2
    assert f"{url}/middleware.py:1" in result.words
    result = tykbridge("run-hook", "apis", "--conf", "tyk.conf", cwd=place)
    assert result.status == 2
    assert f"{url}/middleware.py:1" in result.words


def test_bundles_must_prove_what_the_settings_say(run, conf, place, keys):
    conf(public_key_path=str(keys / "key.public.pem"))
    ((_, words),) = messages(run("check", "apis", status=1), "a.json")
    assert "is not signed, and a public key is configured" in words
    archive(place / "served/one.zip", key=keys / "key.pem")
    assert item(run("check", "apis"), "a.json")["status"] == "loaded"
    on_disk(place)
    conf(public_key_path=str(keys / "key.public.pem"), enable_bundle_downloader=False)
    ((_, words),) = messages(run("check", "apis", status=1), "a.json")
    assert "is not signed, and a public key is configured" in words

    document = run("check", ".", status=1)  # nor is it loaded because it lies below what is checked
    assert [item["kind"] for item in document["items"]] == ["settings", "api"]


def test_the_middleware_folder_is_that_of_the_settings_unless_the_option_says_another(run, conf, place):
    for name in ("theirs", "ours", "middleware"):
        on_disk(place, MARK.format(f"{name} "), name)
    conf(enable_bundle_downloader=False, middleware_path="theirs")
    assert marked(run("run-hook", "apis", "/a/")) == "theirs value"
    assert marked(run("run-hook", "apis", "/a/", "--middleware-path", "ours")) == "ours value"
    conf(enable_bundle_downloader=False)
    assert marked(run("run-hook", "apis", "/a/")) == "middleware value"


# ---- The file


def test_what_is_wrong_with_the_settings_is_told_and_nothing_is_loaded(run, conf, place):
    write(place, {"apis/b.json": "{", "policies.json": {"gold": {"org_id": 5}}})
    conf(hash_keys="no", storage={"type": "mongo"})
    document = run("check", "apis", "--policies", "policies.json", status=1)
    assert [item["kind"] for item in document["items"]] == ["settings", "policies"]
    assert messages(document, "tyk.conf") == [
        ("$.hash_keys", 'expected true or false, found a string ("no")'),
        ("$.storage.type", 'expected one of "memory", "sqlite", "redis", found a string ("mongo")'),
    ]
    assert item(document, "tyk.conf")["file"] == str(place / "tyk.conf")
    assert "nothing was loaded" in messages(document, "tyk.conf", "warnings")[0][1]
    (place / "tyk.conf").write_text('{"storage":\n  }')
    (problem,) = item(run("check", "apis", status=1), "tyk.conf")["problems"]
    assert (problem["line"], problem["column"]) == (2, 3)
    result = tykbridge("run-hook", "apis", "--conf", "tyk.conf", cwd=place)
    assert (result.status, "tyk.conf:2:3: $: expected JSON" in result.words) == (2, True)
    (place / "tyk.conf").unlink()
    assert "file that can be read" in messages(run("check", "apis", status=1), "tyk.conf")[0][1]


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ({"public_key_path": "gone.pem"}, "$", "the key gone.pem cannot be read: No such file or directory"),
        ({"bundle_base_url": "ftp://x"}, "$", "bundle_base_url must be a URL with http, https or file"),
        ({"storage": {"type": "redis", "enable_cluster": True}}, "$.storage", "Cluster and Sentinel are not supported"),
    ],
)
def test_what_a_gateway_would_not_start_with_is_told(run, conf, settings, path, words):
    conf(**settings)
    ((found, message),) = messages(run("check", "apis", status=1), "tyk.conf")
    assert (found, words in message) == (path, True)


def test_notices_are_warnings_and_variables_count(run, conf):
    conf(mystery="hush", storage={"type": "redis"})
    document = run("check", "apis", TYK_GW_BUNDLEBASEURL="file:///nowhere", TYK_GW_NO="1", status=1)
    assert [path for path, _ in messages(document, "tyk.conf", "warnings")] == ["$.mystery", "TYK_GW_NO", "$"]
    assert 'hash_key_function "murmur32" is 32 bits long' in messages(document, "tyk.conf", "warnings")[2][1]
    assert "file:///nowhere/one.zip" in messages(document, "a.json")[0][1]


def test_without_a_file_no_variable_counts(place):
    result = tykbridge("check", "apis", "--json", cwd=place, TYK_GW_HASHKEYS="maybe", TYK_GW_ENABLEBUNDLEDOWNLOADER="1")
    assert (result.status, [item["kind"] for item in result.document["items"]]) == (0, ["api"])


def test_the_page_of_settings(conf, place):
    conf(mystery="hush")
    result = tykbridge("check", "apis", "--conf", "tyk.conf", cwd=place)
    assert result.output == (
        "tyk.conf\n  loaded      settings\n  warning     $.mystery: not a key that is known here, it has no effect\n\n"
        "apis/a.json\n  loaded      a: pre mark\n\n"
        "2 loaded: 0 problems, 1 warning\n"
    )


# ---- Stores


def test_a_redis_is_not_touched(run, conf, redis_server):
    conf(storage={"type": "redis", "port": redis_server.port})
    client = redis_server.client()
    client.flushall()
    connections = client.info("stats")["total_connections_received"]
    run("check", "apis")
    assert marked(run("run-hook", "apis", "/a/")) == "served value"
    assert client.dbsize() == 0
    assert client.info("stats")["total_connections_received"] == connections
    client.close()


def test_an_sqlite_file_is_not_made(run, conf, place):
    conf(storage={"type": "sqlite", "path": "sessions.db"})
    run("check", "apis")
    assert marked(run("run-hook", "apis", "/a/")) == "served value"
    assert not (place / "sessions.db").exists()


LOOK = """
import gc
from tyk.decorators import *
from tykbridge.stores.memory import MemoryStore

@Hook
def mark(request, session, spec):
    keys = [key for store in gc.get_objects() if isinstance(store, MemoryStore) for key in store._values]
    request.add_header("X-Mark", ",".join(keys))
    return request, session
"""


def test_keys_are_hashed_as_the_settings_say(run, conf, place):
    section = hooks(post=["mark"])
    protected = definition("b", use_keyless=False, use_standard_auth=True, custom_middleware=section)
    write(place, {"b/b.json": protected, "b/plugin.py": LOOK, "session.json": {"org_id": "org"}})
    conf(hash_key_function="sha256")
    call = ("run-hook", "b/b.json", "/b/", "-H", "Authorization: key", "--session", "session.json")
    assert marked(run(*call)) == f"apikey-{hashlib.sha256(b'key').hexdigest()}"
    conf(hash_keys=False)
    assert marked(run(*call)) == "apikey-key"


# ---- Archives


def test_an_archive_is_checked_and_run_like_a_folder(run, conf, place, keys):
    file = archive(place / "two.zip")
    document = run("check", "two.zip")
    assert {**item(document, "two.zip"), "warnings": []} == {
        "kind": "bundle",
        "file": str(file),
        "name": "two.zip",
        "status": "loaded",
        "hooks": [{"phase": "pre", "name": "mark"}],
        "needs": [],
        "problems": [],
        "warnings": [],
    }
    assert marked(run("run-hook", "two.zip", "/")) == "served value"
    assert marked(run("run-hook", "two.zip", "mark")) == "served value"
    conf(public_key_path=str(keys / "key.public.pem"))
    ((path, words),) = messages(run("check", "two.zip", status=1), "two.zip")
    assert (path, words.startswith("it is not signed, and a public key is configured")) == ("$", True)
    archive(file, key=keys / "key.pem")
    assert run("check", "two.zip")["ok"] is True


@pytest.mark.parametrize(
    ("options", "file", "path", "place_"),
    [
        ({"source": "\nimport nowhere\n"}, "two.zip/manifest.json", "$", "two.zip/middleware.py:2"),
        ({"manifest": {"file_list": [], "custom_middleware": {"pre": {}}}}, "two.zip", "$", ""),
        (
            {"manifest": {**MANIFEST, "custom_middleware": {"driver": "pyton", "pre": []}}},
            "two.zip/manifest.json",
            "$.custom_middleware.driver",
            "",
        ),
    ],
)
def test_what_is_wrong_in_an_archive_is_told_with_its_place(place, options, file, path, place_):
    archive(place / "two.zip", **options)
    result = tykbridge("check", "two.zip", "--json", cwd=place)
    (found,) = result.document["items"]
    assert (result.status, found["file"], found["status"]) == (1, str(place / "two.zip"), "refused")
    problem = found["problems"][0]
    assert (problem["file"], problem["path"]) == (str(place / file), path)
    assert problem["place"] == (str(place / place_) if place_ else "")
    assert "tykbridge-" not in json.dumps(found)
    result = tykbridge("run-hook", "two.zip", "mark", cwd=place)
    assert (result.status, "tykbridge-" in result.words) == (2, False)


def test_compiled_code_in_an_archive_needs_a_signature(place, conf, run):
    archive(place / "two.zip")
    with zipfile.ZipFile(place / "two.zip", "a") as packed:
        packed.writestr("fast.so", b"\x7fELF")
    assert "allow_native_code" in messages(run("check", "two.zip", status=1), "two.zip")[0][1]
    conf(tykbridge={"allow_native_code": True})
    assert run("check", "two.zip")["ok"] is True
