"""Reading of settings: tyk.conf and TYK_GW_* variables."""

import json

import msgspec
import pytest

from tykbridge.settings import Own, Settings, SettingsError, read_settings

TYK_CONF = {
    "listen_port": 8080,
    "node_secret": "hush",
    "middleware_path": "/opt/tyk-gateway/middleware/",
    "enable_bundle_downloader": True,
    "bundle_base_url": "http://bundles.test/b",
    "public_key_path": "/etc/tyk/key.pem",
    "hash_keys": False,
    "storage": {
        "type": "redis",
        "host": "redis.test",
        "port": 6380,
        "addrs": None,
        "password": "s3cret",
        "database": 2,
        "optimisation_max_idle": 2000,
    },
}


def read(conf, **environment):
    return read_settings(json.dumps(conf), environment)


def problems(conf, **environment):
    with pytest.raises(SettingsError) as caught:
        read(conf, **environment)
    return [(problem.path, problem.expected, problem.found) for problem in caught.value.problems]


def test_a_file_as_tyk_has_it(tmp_path):
    file = tmp_path / "tyk.conf"
    file.write_text(json.dumps(TYK_CONF))
    settings, notices = read_settings(file, {})
    assert settings.middleware_path == "/opt/tyk-gateway/middleware/"
    assert (settings.enable_bundle_downloader, settings.bundle_base_url) == (True, "http://bundles.test/b")
    assert (settings.public_key_path, settings.hash_keys) == ("/etc/tyk/key.pem", False)
    storage = settings.storage
    assert (storage.type, storage.host, storage.port, storage.password) == ("redis", "redis.test", 6380, "s3cret")
    assert storage.database == 2
    # Keys of Tyk's that nothing here reads are told, not silently dropped.
    assert {notice.path for notice in notices} == {"$.node_secret", "$.storage.optimisation_max_idle"}
    assert {notice.file for notice in notices} == {str(file)}


def test_nothing_said_is_memory_hashed_keys_and_no_download():
    settings, notices = read({})
    assert settings == Settings()
    assert (settings.storage.type, settings.hash_keys, settings.enable_bundle_downloader) == ("memory", True, False)
    assert notices == ()


def test_variables_win_over_the_file_and_are_named_as_tyk_names_them():
    settings, notices = read(
        TYK_CONF,
        TYK_GW_BUNDLEBASEURL="https://other.test",
        TYK_GW_STORAGE_HOST="other",
        TYK_GW_STORAGE_PORT="7000",
        TYK_GW_STORAGE_USESSL="1",
        TYK_GW_STORAGE_ADDRS="a:1,b:2",
        TYK_GW_STORAGE_HOSTS="c:3",
        TYK_GW_HASHKEYS="True",
        TYK_GW_TYKBRIDGE_BUNDLEAUTHORIZATION="Bearer t",
        HOME="/root",
    )
    assert settings.bundle_base_url == "https://other.test"
    assert (settings.storage.host, settings.storage.port, settings.storage.use_ssl) == ("other", 7000, True)
    assert settings.storage.addrs == ["a:1", "b:2"]
    assert settings.storage.hosts == {"c": "3"}
    assert settings.storage.password == "s3cret"  # what no variable names stays the file's
    assert settings.hash_keys is True
    assert settings.tykbridge == Own(bundle_authorization="Bearer t")
    assert not [notice for notice in notices if notice.path.startswith("TYK_GW_")]


def test_a_variable_that_has_no_effect_is_told():
    _, notices = read({}, TYK_GW_BUNDELBASEURL="http://x")
    assert [(notice.path, notice.text) for notice in notices] == [
        ("TYK_GW_BUNDELBASEURL", "not a variable that is known here, it has no effect")
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("TYK_GW_STORAGE_PORT", "s3cret", "a whole number"),
        ("TYK_GW_STORAGE_TIMEOUT", "s3cret", "a number"),
        ("TYK_GW_HASHKEYS", "yes", "true or false"),
    ],
)
def test_a_wrong_variable_is_named_and_its_value_not_repeated(name, text, expected):
    assert problems({}, **{name: text}) == [(name, expected, "something else")]


def test_regression_a_secret_that_is_no_text_is_not_repeated():
    conf = {"storage": {"password": 12345}, "tykbridge": {"bundle_authorization": 678}}
    assert problems(conf) == [
        ("$.storage.password", "a string", "something else"),
        ("$.tykbridge.bundle_authorization", "a string", "something else"),
    ]


def test_every_wrong_key_is_named():
    conf = {"hash_keys": "no", "storage": {"port": "x", "type": "mongo"}, "hash_key_function": "md5"}
    assert [path for path, _, _ in problems(conf)] == [
        "$.hash_keys",
        "$.storage.port",
        "$.hash_key_function",
        "$.storage.type",
    ]


def test_an_sqlite_store_needs_a_file():
    assert [path for path, _, _ in problems({"storage": {"type": "sqlite"}})] == ["$.storage.path"]
    assert read({"storage": {"type": "sqlite", "path": "/tmp/x"}})[0].storage.path == "/tmp/x"


def test_a_downloader_needs_to_know_where_bundles_are():
    conf = {"enable_bundle_downloader": True}
    assert problems(conf) == [("$.bundle_base_url", "a URL, because enable_bundle_downloader is set", "none")]
    assert read(conf, TYK_GW_BUNDLEBASEURL="file:///srv")[0].bundle_base_url == "file:///srv"


def test_what_is_no_file_or_no_json(tmp_path):
    with pytest.raises(SettingsError, match=r"nothing\.conf: \$: expected a file that can be read, found No such file"):
        read_settings(tmp_path / "nothing.conf", {})
    (tmp_path / "tyk.conf").write_text('{"storage":\n  }')
    with pytest.raises(SettingsError, match=r"tyk\.conf:2:3: \$: expected JSON"):
        read_settings(str(tmp_path / "tyk.conf"), {})
    with pytest.raises(SettingsError, match="each key once"):
        read_settings('{"hash_keys": true, "hash_keys": false}', {})


def test_each_setting_has_a_variable():
    """A new one of a type that no variable can give shows here."""

    def names(layout, prefix):
        for field in msgspec.structs.fields(layout):
            value, name = getattr(layout, field.name), prefix + field.encode_name.replace("_", "").upper()
            if isinstance(value, msgspec.Struct):
                yield from names(value, f"{name}_")
            else:
                yield name, {bool: "true", int: "1", float: "1.5", str: "memory"}.get(field.type, "a:1,b:2")

    variables = dict(names(Settings(), "TYK_GW_"))
    variables["TYK_GW_HASHKEYFUNCTION"] = "sha256"
    variables["TYK_GW_LOGLEVEL"], variables["TYK_GW_LOGFORMAT"] = "warn", "json"
    variables["TYK_GW_COPROCESSOPTIONS_COPROCESSGRPCSERVER"] = "tcp://127.0.0.1:5555"
    variables["TYK_GW_TYKBRIDGE_ISOLATION"] = "process"
    settings, notices = read({}, **variables)
    assert notices == ()
    assert settings.tykbridge.allow_native_code
    assert settings.hash_key_function == "sha256"
