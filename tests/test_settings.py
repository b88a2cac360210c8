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

# What Tyk's config package reads, of the master of 2026-08.
TYKS = """
hostname listen_address listen_port control_api_hostname control_api_port secret node_secret pid_file_location
allow_insecure_configs public_key_path allow_remote_config enable_config_inspection security external_services
http_server_options version_header suppress_redis_signal_reload reload_interval hash_keys
disable_key_actions_by_username hash_key_function basic_auth_hash_key_function hash_key_function_fallback
enable_hashed_keys_listing min_token_length template_path policies ports_whitelist disable_ports_whitelist app_path
use_db_app_configs db_app_conf_options storage disable_dashboard_zeroconf slave_options management_node auth_override
enforce_org_data_age enforce_org_data_detail_logging enforce_org_quotas experimental_process_org_off_thread monitor
max_idle_connections max_idle_connections_per_host max_conn_time close_connections enable_custom_domains
allow_master_keys service_discovery proxy_ssl_insecure_skip_verify proxy_enable_http2 proxy_ssl_min_version
proxy_ssl_max_version proxy_ssl_ciphers proxy_default_timeout proxy_ssl_disable_renegotiation proxy_close_connections
uptime_tests health_check health_check_endpoint_name readiness_check_endpoint_name graceful_shutdown_timeout_duration
graceful_shutdown_delay_seconds oauth_refresh_token_expire oauth_token_expire oauth_token_expired_retain_period
oauth_redirect_uri_separator oauth_error_status_code enable_key_logging ssl_force_common_name_check enable_analytics
analytics_config enable_separate_analytics_store analytics_storage liveness_check dns_cache disable_regexp_cache
regexp_cache_expire regexp_cache_max_entries disable_regexp_cache_bound disable_auto_max_procs local_session_cache
enable_separate_cache_store cache_storage enable_bundle_downloader bundle_base_url bundle_insecure_skip_verify
skip_verify_existing_plugin_bundle enable_jsvm jsvm_timeout disable_virtual_path_blobs tyk_js_path middleware_path
coprocess_options ignore_endpoint_case ignore_canonical_mime_header_key log_level log_format access_logs tracing
opentelemetry newrelic enable_http_profiler use_redis_log use_sentry sentry_code sentry_log_level use_syslog
syslog_transport syslog_network_addr use_graylog graylog_network_addr use_logstash logstash_transport
logstash_network_addr track_404_logs statsd_connection_string statsd_prefix event_handlers event_trigers_defunct
event_triggers_defunct hide_generator_header suppress_default_org_store legacy_enable_allowance_countdown
force_global_session_lifetime session_lifetime_respects_key_expiration global_session_lifetime consul vault file
stores kv secrets override_messages error_overrides cloud jwt_ssl_insecure_skip_verify resource_sync oas_config
streaming labs jwks allow_unsafe_policy_ids
"""
TYKS_OF_STORAGE = """
type host port hosts addrs master_name sentinel_password username password database optimisation_max_idle
optimisation_max_active timeout enable_cluster use_ssl ssl_insecure_skip_verify ca_file cert_file key_file
tls_max_version tls_min_version compress_api_definitions compress_policies max_decompressed_size iam_auth
"""
TYKS_OF_COPROCESS = """
enable_coprocess coprocess_grpc_server grpc_recv_max_size grpc_send_max_size grpc_authority
grpc_round_robin_load_balancing python_path_prefix python_version
"""


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


def test_no_key_of_tyks_is_taken_for_another_one_mistyped():
    """Null is no value, so that each key may stand there whatever it is."""
    whole, storage, coprocess = (dict.fromkeys(names.split()) for names in (TYKS, TYKS_OF_STORAGE, TYKS_OF_COPROCESS))
    notices = read(whole | {"storage": storage, "coprocess_options": coprocess})[1]
    assert {"$.node_secret", "$.storage.sentinel_password"} <= {notice.path for notice in notices}
    assert {notice.text for notice in notices} == {"not a key that is known here, it has no effect"}


def test_a_mistyped_key_is_told_which_one_it_looks_like():
    notices = read({"secert": "s", "storage": {"pasword": "p"}})[1]
    assert {notice.path: notice.text.partition("; ")[2] for notice in notices} == {
        "$.secert": 'did you mean "secret"?',
        "$.storage.pasword": 'did you mean "password"?',
    }


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


@pytest.mark.parametrize("source", ["", "file", "service", "rpc"])
def test_policies_are_a_file_s_or_told_to_be_none(source):
    section = {"policy_source": source, "policy_record_name": "policies.json"}
    as_variables = {f"TYK_GW_POLICIES_{name.replace('_', '').upper()}": value for name, value in section.items()}
    for settings, notices in (read({"policies": section}), read({}, **as_variables)):
        if source in ("service", "rpc"):
            assert settings.policies.file == ""
            [notice] = notices
            assert notice.path == "$.policies.policy_source"
            assert "write them to a file, and name it in policy_record_name" in notice.text
        else:
            assert (settings.policies.file, notices) == ("policies.json", ())


def test_a_variable_that_has_no_effect_is_told():
    _, notices = read({}, TYK_GW_PIDFILELOCATION="x")
    assert [(notice.path, notice.text) for notice in notices] == [
        ("TYK_GW_PIDFILELOCATION", "not a variable that is known here, it has no effect")
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("TYK_GW_STORAGE_PORT", "abc", "a whole number"),
        ("TYK_GW_STORAGE_TIMEOUT", "abc", "a number"),
        ("TYK_GW_HASHKEYS", "yes", "true or false"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value_and_not_as_the_file_s(tmp_path, name, text, expected):
    (tmp_path / "tyk.conf").write_text("{}")
    with pytest.raises(SettingsError) as caught:
        read_settings(tmp_path / "tyk.conf", {name: text})
    assert str(caught.value) == f'<environment>: {name}: expected {expected}, found a string ("{text}")'


def test_a_mistyped_variable_is_told_which_one_it_looks_like():
    wrong = {"SECERT": "SECRET", "STORAGE_PASWORD": "STORAGE_PASSWORD", "LISTEN_PORT": "LISTENPORT"}
    notices = read({}, **{f"TYK_GW_{name}": "x" for name in wrong})[1]
    assert {notice.path: notice.text.partition("; ")[2] for notice in notices} == {
        f"TYK_GW_{name}": f'did you mean "TYK_GW_{meant}"?' for name, meant in wrong.items()
    }
    assert {notice.file for notice in notices} == {"<environment>"}


def test_no_variable_of_tyks_is_taken_for_another_one_mistyped():
    known = {f"TYK_GW_{field.upper().replace('_', '')}" for field in Settings.__struct_fields__}
    names = {f"TYK_GW_{name.upper().replace('_', '')}" for name in TYKS.split()} - known
    notices = read({}, **dict.fromkeys(names, "x"))[1]
    assert len(notices) == len(names)
    assert {notice.text for notice in notices} == {"not a variable that is known here, it has no effect"}


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
