"""gRPC servers in definitions of both forms, in manifests and in settings."""

import json

import pytest

from tykbridge.definition import Bundle, Capabilities, Driver, Target, read_text, with_manifests
from tykbridge.settings import SettingsError, read_settings

pytestmark = pytest.mark.once

CAPABILITIES = Capabilities(drivers=frozenset({Driver.GRPC}), deadlines=frozenset({Driver.GRPC}))


def classic(grpc, *hooks):
    section = {"driver": "grpc", "grpc": grpc, "pre": list(hooks)}
    api = {"api_id": "a", "use_keyless": True, "proxy": {"listen_path": "/"}, "custom_middleware": section}
    return read_text(json.dumps(api), capabilities=CAPABILITIES)


def oas(grpc, *plugins):
    middleware = {"global": {"pluginConfig": {"driver": "grpc", "grpc": grpc}, "prePlugins": list(plugins)}}
    api = {"info": {"id": "a"}, "server": {"listenPath": {"value": "/"}}, "middleware": middleware}
    return read_text(json.dumps({"openapi": "3.0.3", "x-tyk-api-gateway": api}), capabilities=CAPABILITIES)


def problems(reading):
    return [f"{problem.path}: {problem.expected}; {problem.found}" for problem in reading.problems]


def refusal(**target):
    """What is wrong with a target: path within it, and words."""
    found = problems(classic({"targets": {"t": target}}))
    assert all(line.startswith("$.custom_middleware.grpc.targets.t.") for line in found)
    return [line.removeprefix("$.custom_middleware.grpc.targets.t.") for line in found]


def test_the_classic_form_names_targets_and_each_hook_may_name_one():
    two = {"one": {"address": "tcp://127.0.0.1:1"}, "two": {"address": "unix:///run/two", "timeout_ms": 100}}
    section = (
        classic({"targets": two, "target": "one"}, {"name": "H"}, {"name": "J", "target": "two"}).require().section
    )
    assert section.targets == {
        "one": Target(address="tcp://127.0.0.1:1"),
        "two": Target(address="unix:///run/two", timeout_ms=100),
    }
    assert section.target == "one"
    assert [hook.target for hook in section.hooks] == ["", "two"]


def test_the_oas_form_spells_keys_its_own_way():
    target = {"address": "dns:///h:1", "serverName": "s", "maxInFlight": 3, "roundRobinLoadBalancing": True}
    reading = oas({"targets": {"t": target}}, {"enabled": True, "functionName": "H", "target": "t"})
    assert reading.require().section.targets == {
        "t": Target(address="dns:///h:1", server_name="s", max_in_flight=3, round_robin_load_balancing=True)
    }
    assert reading.require().section.hooks[0].target == "t"
    [line] = problems(oas({"targets": {"t": {"address": "dns:///h:1"}}}))
    assert line.startswith("$.x-tyk-api-gateway.middleware.global.pluginConfig.grpc.targets.t.address: TLS")
    assert '"allowPlaintext": true' in line


def test_the_only_target_is_that_of_hooks_that_name_none():
    assert classic({"targets": {"t": {"address": "unix:///x"}}}).require().section.target == "t"
    two = {"a": {"address": "unix:///x"}, "b": {"address": "unix:///y"}}
    assert classic({"targets": two}).require().section.target == ""


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tcp://[::1]:1", "tcp://localhost:1", "dns:///localhost:1", "unix:///x"],
)
def test_what_stays_on_this_machine_may_be_plain(address):
    assert refusal(address=address) == []


@pytest.mark.parametrize(
    "address",
    [
        "tcp://10.0.0.1:1",
        "tcp://plugins.internal:1",
        "dns:///plugins.internal:1",
        "tcp://localhost.example.org:1",
        "tcp://[2001:db8::1]:1",
        "dns://10.0.0.1/localhost:1",  # another machine says what it means
        "tcp://localhost.:1",
        "tcp://127.1:1",
        "tcp://0x7f.1:1",
        "tcp://2130706433:1",
        "tcp://0.0.0.0:1",
        "tcp://[::]:1",
    ],
)
def test_what_leaves_it_needs_tls_or_the_word_of_whoever_runs_it(address):
    [words] = refusal(address=address)
    assert words.startswith('address: TLS ("tls": true, or a "ca"), because messages carry sessions;')
    assert words.endswith(f'"allow_plaintext": true; a string ("{address}") without TLS')
    assert refusal(address=address, allow_plaintext=True) == []
    assert refusal(address=address, tls=True) == []
    assert refusal(address=address, ca="ca.pem") == []
    assert refusal(address=address, server_name="s") == []


@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "127.0.0.1:1",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:1/x",
            "http://h:1",
            "unix://x",
            "dns://h:1",
            "tcp://:1",
        ),
        *("tcp://127.0.0.1:1/", "tcp://127.0.0.1:0", "tcp://127.0.0.1:65536", "dns:///localhost:0", "dns:///h:99999"),
        *("tcp://[127.0.0.1]:1", "tcp://u:p@127.0.0.1:1", "tcp://\u217cocalhost:1", "tcp://localhost:\uff11"),
        *("unix:///a?b", "unix:///a#b", f"unix:///{'x' * 107}"),
    ],
)
def test_an_address_is_one_of_the_three_forms(address):
    [words] = refusal(address=address)
    assert words.startswith('address: "tcp://host:port", "dns:///name:port" or "unix:///path"; ')


def test_a_certificate_needs_its_key_and_numbers_their_sense():
    assert refusal(address="unix:///x", cert="c.pem") == ['key: a PEM file, because "cert" is set; none']
    assert refusal(address="unix:///x", key="k.pem") == ['cert: a PEM file, because "key" is set; none']
    assert refusal(address="unix:///x", timeout_ms=0) == ["timeout_ms: a whole number, at least 1; a number (0)"]
    assert refusal(address="unix:///x", max_in_flight=0) == ["max_in_flight: a whole number, at least 1; a number (0)"]


@pytest.mark.parametrize(
    "name",
    ["recv_max_size", "send_max_size", "timeout_ms", "max_in_flight", "breaker_failures", "breaker_ms", "keepalive_ms"],
)
def test_numbers_are_those_that_grpc_takes(name):
    assert refusal(address="unix:///x", **{name: 2**31 - 1}) == []
    [words] = refusal(address="unix:///x", **{name: 2**31})
    assert words == f"{name}: a whole number, at most 2147483647; a number (2147483648)"


@pytest.mark.parametrize("name", ["authority", "server_name", "health_check"])
@pytest.mark.parametrize("text", ["a\nb", "a\0b", "\u00e9"])
def test_what_travels_in_a_header_is_printable(name, text):
    [words] = refusal(address="unix:///x", **{name: text})
    assert words.startswith(f"{name}: printable ASCII; a string (")


def test_a_target_that_is_not_there():
    grpc = {"targets": {"plugins": {"address": "unix:///x"}}, "target": "plugin"}
    assert problems(classic(grpc)) == [
        '$.custom_middleware.grpc.target: one of "plugins"; a string ("plugin"); did you mean "plugins"?'
    ]
    assert problems(classic({}, {"name": "H", "target": "t"})) == [
        '$.custom_middleware.pre[0].target: the name of one of "grpc.targets" of the API\'s definition; a string ("t")'
    ]
    notices = classic(
        grpc | {"target": ""}, {"name": "H", "driver": "python", "path": "x.py", "target": "plugins"}
    ).notices
    assert [notice.path for notice in notices] == ["$.custom_middleware.pre[0].target"]


def test_a_manifest_names_targets_of_the_definition_and_brings_none():
    bundle = Bundle(name="b")

    def merged(**section):
        reading = classic({"targets": {"t": {"address": "unix:///x"}}})
        return with_manifests(reading, [(bundle, {"custom_middleware": section})], CAPABILITIES)

    section = merged(driver="grpc", pre=[{"name": "H", "target": "t"}]).require().section
    assert section.targets["t"].address == "unix:///x"
    assert (section.driver, section.hooks[0].target) == (Driver.GRPC, "t")
    [line] = problems(merged(driver="grpc", grpc={"targets": {"t": {"address": "unix:///y"}}}))
    assert line == "$.custom_middleware.grpc: it in <text> alone; an object"
    [line] = problems(merged(driver="grpc", pre=[{"name": "H", "target": "u"}]))
    assert line.startswith('$.custom_middleware.pre[0].target: one of "t"')


def test_the_gateways_server_is_in_its_settings():
    options = {"coprocess_grpc_server": "dns:///plugins:1", "grpc_recv_max_size": 9, "grpc_authority": "a"}
    text = json.dumps({"coprocess_options": options, "tykbridge": {"grpc": {"ca": "ca.pem", "timeout_ms": 7}}})
    settings, notices = read_settings(text, {"TYK_GW_COPROCESSOPTIONS_GRPCROUNDROBINLOADBALANCING": "true"})
    assert notices == ()
    assert settings.target == Target(
        address="dns:///plugins:1",
        recv_max_size=9,
        authority="a",
        round_robin_load_balancing=True,
        ca="ca.pem",
        timeout_ms=7,
    )
    assert read_settings("{}", {})[0].target is None
    with pytest.raises(
        SettingsError, match=r"\$\.coprocess_options\.coprocess_grpc_server: expected TLS .*without TLS"
    ):
        read_settings('{"coprocess_options": {"coprocess_grpc_server": "tcp://plugins:1"}}', {})
