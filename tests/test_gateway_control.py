"""The control API: who may use it, what it answers, and that what it says holds for requests from then on."""

import contextlib
import json
import os
import re
import socket
import stat

import msgspec
import pytest
from click.testing import CliRunner

from tests.gatewayed import SECRET, Served, ask, definition, operated, write
from tests.rawhttp import exchange, request
from tests.webserver import serving
from tykbridge.cli import new
from tykbridge.errors import LoadError

pytestmark = pytest.mark.once

RIGHTS = {"org_id": "org", "access_rights": {"api": {"api_id": "api", "api_name": "Api"}}}
HOOKS = """
from tyk.decorators import *

@Hook
def Mark(request, session, spec):
    request.add_header("X-Mark", "yes")
    return request, session

@Hook
def Break(request, session, spec):
    if request.get_header("X-Break"):
        raise ValueError("as it was told")
    return request, session
"""


@pytest.fixture(scope="module")
def upstream():
    with serving(200) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    """One that most tests share, with an API `api` and no key that lasts longer than its test."""
    folder = tmp_path_factory.mktemp("gateway")
    policies = {"gold": {"id": "gold", "org_id": "org", "rate": 5, "per": 60, "access_rights": RIGHTS["access_rights"]}}
    with operated(folder, definition(target=upstream.url), policies=json.dumps(policies)) as found:
        yield found


def fresh(gateway, session=RIGHTS):
    answer = gateway.control("/tyk/keys", "POST", session)
    assert answer.status == 200, answer.body
    return answer.json["key"]


# ---- Who may


@pytest.mark.parametrize("path", ["/tyk/keys/a", "/tyk/reload", "/tyk/apis", "/metrics", "/nothing", "/"])
def test_without_the_secret_every_path_is_forbidden(gateway, path):
    for secret in ("", "wrong", SECRET + "x", SECRET[:-1], SECRET.upper()):
        answer = gateway.control(path, secret=secret)
        assert answer.status == 403
        words = "Attempted administrative access with invalid or missing key!"
        assert answer.json == {"status": "error", "message": words}


def test_two_secrets_are_none(gateway):
    assert gateway.control("/tyk/apis", X_Tyk_Authorization="other").status == 403
    assert gateway.control("/tyk/apis").status == 200


def test_a_secret_in_bytes_that_are_no_utf8_is_wrong_and_no_error(gateway):
    answer = ask(gateway.control_url + "/tyk/apis", headers={"X-Tyk-Authorization": b"\xff\xfe"})
    assert answer.status == 403


def test_bearer_is_for_metrics_alone(gateway):
    bearer = {"Authorization": f"Bearer {SECRET}"}
    assert gateway.control("/metrics", secret="", **bearer).status == 200
    assert gateway.control("/tyk/apis", secret="", **bearer).status == 403


def test_neither_secrets_nor_keys_are_in_the_log(gateway):
    key = fresh(gateway)
    gateway.control("/tyk/apis", secret="the-wrong-secret")
    gateway.get("/api/x?token=in-the-query", key)
    gateway.control(f"/tyk/keys/{key}", "DELETE")
    log = "".join(gateway.lines)
    assert "Attempted administrative access" in log
    assert f"****{key[-4:]}" in log
    for hidden in (key, SECRET, "the-wrong-secret", "in-the-query"):
        assert hidden not in log


def test_what_is_no_http_is_told_without_the_secret(gateway):
    port = int(gateway.control_url.rpartition(":")[2])
    before = len(gateway.lines)
    data = request(b"GET /metrics", b"X-Tyk-Authorization: %b\x01" % SECRET.encode())
    assert exchange(port, data).status == 400
    assert len(gateway.lines) == before + 1
    assert "control API: a request from 127.0.0.1 is no HTTP: Invalid header value char" in gateway.lines[-1]


def test_answers_are_not_kept_and_other_origins_are_not_let_in(gateway):
    answer = gateway.control("/tyk/apis", Origin="http://evil.example")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert gateway.control("/tyk/keys", "OPTIONS").json == {"status": "error", "message": "Method not supported"}


def test_a_head_does_not_reload(gateway):
    assert gateway.control("/tyk/reload", "HEAD").status == 405
    assert gateway.control("/tyk/nothing").json == {"status": "error", "message": "Not Found"}


def test_the_secret_is_that_of_the_settings_in_use(gateway):
    before = gateway.settings[0]
    gateway.settings[0] = msgspec.structs.replace(before, secret="another-secret-of-tests")
    try:
        assert gateway.control("/tyk/apis").status == 403
        assert gateway.control("/tyk/apis", secret="another-secret-of-tests").status == 200
        gateway.settings[0] = msgspec.structs.replace(before, secret="")
        assert gateway.control("/tyk/apis", secret="").status == 404
        assert gateway.control("/metrics", secret="").status == 404
    finally:
        gateway.settings[0] = before


# ---- Keys


def test_a_key_opens_its_api_until_it_is_deleted(gateway):
    answer = gateway.control("/tyk/keys", "POST", RIGHTS)
    key = answer.json["key"]
    assert answer.json == {"key": key, "status": "ok", "action": "added", "key_hash": answer.json["key_hash"]}
    assert key.startswith("org")
    assert len(answer.json["key_hash"]) == 8
    assert gateway.get("/api/x", key).status == 200
    session = gateway.control(f"/tyk/keys/{key}").json
    assert session["org_id"] == "org"
    assert session["access_rights"]["api"]["api_name"] == "Api"
    assert session["date_created"]
    assert gateway.control(f"/tyk/keys/{key}", "DELETE").json == {"key": key, "status": "ok", "action": "deleted"}
    assert gateway.get("/api/x", key).status == 403
    gone = gateway.control(f"/tyk/keys/{key}")
    assert (gone.status, gone.json) == (404, {"status": "error", "message": "Key not found"})
    gone = gateway.control(f"/tyk/keys/{key}", "DELETE")
    assert (gone.status, gone.json) == (404, {"status": "error", "message": "There is no such key found"})


def test_a_key_may_be_chosen_and_changed(gateway):
    assert gateway.control("/tyk/keys/my%2Fown", "PUT", RIGHTS).json["message"] == "Key is not found"
    assert gateway.control("/tyk/keys/my%2Fown", "POST", RIGHTS).json["key"] == "my/own"
    assert gateway.get("/api/x", "my/own").status == 200
    changed = gateway.control("/tyk/keys/my%2Fown", "PUT", {**RIGHTS, "is_inactive": True})
    assert changed.json == {"key": "my/own", "status": "ok", "action": "modified"}
    assert gateway.get("/api/x", "my/own").status == 403
    gateway.control("/tyk/keys/my%2Fown", "DELETE")


def test_a_change_keeps_when_the_key_was_created(gateway):
    key = fresh(gateway)
    before = gateway.control(f"/tyk/keys/{key}").json["date_created"]
    gateway.control(f"/tyk/keys/{key}", "PUT", {**RIGHTS, "alias": "ann"})
    after = gateway.control(f"/tyk/keys/{key}").json
    assert (after["alias"], after["date_created"]) == ("ann", before)


def test_a_change_begins_the_quota_anew_unless_it_says_not(gateway):
    limited = {**RIGHTS, "quota_max": 1, "quota_renewal_rate": 3600}
    key = fresh(gateway, limited)
    assert [gateway.get("/api/x", key).status for _ in range(2)] == [200, 403]
    assert gateway.control(f"/tyk/keys/{key}?suppress_reset=1", "PUT", limited).status == 200
    assert gateway.get("/api/x", key).status == 403
    assert gateway.control(f"/tyk/keys/{key}", "PUT", limited).status == 200
    assert gateway.get("/api/x", key).status == 200
    gateway.control(f"/tyk/keys/{key}", "DELETE")
    again = gateway.control(f"/tyk/keys/{key}", "POST", limited).json["key"]
    assert gateway.get("/api/x", again).status == 200  # deleted with what was counted on it


def test_a_policy_is_applied_in_what_is_shown_and_not_in_what_is_stored(gateway):
    key = fresh(gateway, {"org_id": "org", "apply_policies": ["gold"]})
    assert gateway.control(f"/tyk/keys/{key}").json["rate"] == 5
    assert [gateway.get("/api/x", key).status for _ in range(6)] == [200] * 5 + [429]
    assert b'"rate"' not in gateway.made.stores.store.get("apikey-" + gateway.made.keys.hashed(key))


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (b"{", "Request malformed: a session that is no JSON"),
        (b"[]", "Request malformed: a session that is no JSON object"),
        ({**RIGHTS, "rate": "many"}, "`$.rate`"),
        ({"access_rights": {"api": {"versions": "v1"}}}, "`$.access_rights[...].versions`"),
        ({"org_id": "org"}, "keys must have at least one Access Rights record set"),
        ({**RIGHTS, "basic_auth_data": {"password": "p"}}, "no basic authentication"),
        ({"org_id": "org", "apply_policies": ["silver"]}, 'policy "silver" is not known'),
        ({"org_id": "other", "apply_policies": ["gold"]}, 'is of organisation "org"'),
    ],
)
def test_a_session_that_is_wrong_says_where_and_is_not_stored(gateway, session, words):
    for path, method in (("/tyk/keys", "POST"), ("/tyk/keys/wrong", "POST"), ("/tyk/keys/wrong", "PUT")):
        answer = gateway.control(path, method, session)
        assert answer.status == 400
        assert answer.json["status"] == "error"
        assert words in answer.json["message"]
    assert gateway.control("/tyk/keys/wrong").status == 404


@pytest.mark.parametrize("key", ["%20a", "a%0ab", "%00"])
def test_a_key_that_no_header_can_carry_is_refused(gateway, key):
    assert gateway.control(f"/tyk/keys/{key}", "POST", RIGHTS).status == 400


def test_a_body_is_bounded(gateway):
    answer = gateway.control("/tyk/keys", "POST", b'{"alias":"' + b"a" * (1 << 20) + b'"}')
    assert (answer.status, answer.json["status"]) == (413, "error")


def test_an_origin_cannot_be_claimed(gateway):
    claimed = {**RIGHTS, "tykbridge_origin": "extractor", "tykbridge_api": "api", "tykbridge_id": "x"}
    key = fresh(gateway, claimed)
    assert b"extractor" not in gateway.made.stores.store.get("apikey-" + gateway.made.keys.hashed(key))
    assert gateway.get("/api/x", key).status == 200


def test_an_extractors_session_becomes_no_key(gateway):
    place = "apikey-" + gateway.made.keys.hashed("extracted")
    stored = {"org_id": "org", "tykbridge_origin": "extractor", "tykbridge_api": "api", "tykbridge_id": "extracted"}
    gateway.made.stores.store.set(place, json.dumps(stored).encode())
    for method in ("POST", "PUT"):
        answer = gateway.control("/tyk/keys/extracted", method, RIGHTS)
        assert answer.status == 400
        assert "ID extractor" in answer.json["message"]
    assert gateway.control("/tyk/keys/extracted", "DELETE").status == 200  # so that its plugin is asked again


def test_what_the_page_says_of_keys_opens_the_plugin_that_it_names(tmp_path, upstream, root):
    page = (root / "docs/operating.md").read_text()
    session = json.loads(re.search(r"/tyk/keys -d '(\{.*?^\})'", page, flags=re.MULTILINE | re.DOTALL)[1])
    path, header = re.search(
        r"^curl http://127.0.0.1:8181(\S+) -H '(\w+): default29f4...'", page, flags=re.MULTILINE
    ).groups()
    assert CliRunner().invoke(new.command, [str(tmp_path / path.strip("/"))]).exit_code == 0
    api = json.loads((tmp_path / path.strip("/") / "api.json").read_bytes())
    del api["custom_middleware"]
    api["proxy"]["target_url"] = upstream.url
    with operated(tmp_path, {**api, "use_keyless": False}) as gateway:
        assert gateway.get(path).status == 401
        assert gateway.get(path, **{header: fresh(gateway, session)}).status == 200
        said = gateway.control("/tyk/keys", "POST", {**session, "rate": "5"}).json["message"]
        assert said in page.replace("\n", " ")


def test_hashes_stand_for_keys(gateway):
    made = gateway.control("/tyk/keys", "POST", RIGHTS).json
    key, name = made["key"], made["key_hash"]
    assert gateway.control(f"/tyk/keys/{name}?hashed=true").json["org_id"] == "org"
    assert gateway.control(f"/tyk/keys/{name}").status == 404
    assert gateway.control(f"/tyk/keys/{name}?hashed=true", "PUT", {**RIGHTS, "alias": "b"}).status == 200
    assert gateway.control(f"/tyk/keys/{key}").json["alias"] == "b"
    assert gateway.control(f"/tyk/keys/{name}?hashed=true", "DELETE").json["action"] == "deleted"
    assert gateway.get("/api/x", key).status == 403


def test_hashes_are_listed_where_that_is_on(gateway):
    words = "Hashed key listing is disabled in config (enable_hashed_keys_listing)"
    assert gateway.control("/tyk/keys").json == {"status": "error", "message": words}
    before = gateway.settings[0]
    gateway.settings[0] = msgspec.structs.replace(before, enable_hashed_keys_listing=True)
    try:
        name = gateway.control("/tyk/keys", "POST", RIGHTS).json["key_hash"]
        assert name in gateway.control("/tyk/keys").json["keys"]
    finally:
        gateway.settings[0] = before


def test_keys_as_they_come(tmp_path):
    with operated(tmp_path, definition(), hash_keys=False, allow_master_keys=True) as gateway:
        assert gateway.control("/tyk/keys/b", "POST", {}).json == {"key": "b", "status": "ok", "action": "added"}
        gateway.control("/tyk/keys/a1", "POST", RIGHTS)
        gateway.control("/tyk/keys/a2", "POST", RIGHTS)
        assert gateway.control("/tyk/keys/").json == {"keys": ["a1", "a2", "b"]}
        assert gateway.control("/tyk/keys?filter=a").json == {"keys": ["a1", "a2"]}
        assert gateway.control("/tyk/keys/b?hashed=true").status == 400


def test_keys_name_their_hash_function_and_are_found_by_what_was_chosen(tmp_path):
    with operated(tmp_path, definition(), hash_key_function="sha256") as gateway:
        made = gateway.control("/tyk/keys", "POST", RIGHTS).json
        assert made["key"].startswith("ey")
        assert len(made["key_hash"]) == 64
        # As a Tyk gateway on the same store writes a key that its operator chose.
        from tykbridge.gateway.keyring import token

        chosen = token("org", "mine", "sha256")
        gateway.made.stores.store.set("apikey-" + gateway.made.keys.hashed(chosen), json.dumps(RIGHTS).encode())
        assert gateway.control("/tyk/keys/mine").status == 404
        assert gateway.control("/tyk/keys/mine?org_id=org").status == 200
        assert gateway.control("/tyk/keys/mine?api_id=api").status == 200
        assert gateway.control("/tyk/keys/mine?api_id=api", "DELETE").json["key"] == chosen


def test_a_store_that_fails_is_503_and_says_which(tmp_path):
    with operated(tmp_path, definition()) as gateway:
        gateway.made.stores.store.close()
        answer = gateway.control("/tyk/keys", "POST", RIGHTS)
        assert (answer.status, answer.json["message"]) == (503, "the store is closed")


# ---- APIs and reloads


def test_apis_are_told_as_they_stand_in_their_files(gateway, upstream):
    assert gateway.control("/tyk/apis").json == [definition(target=upstream.url)]
    assert gateway.control("/tyk/apis/api").json == definition(target=upstream.url)
    assert gateway.control("/tyk/apis/none").json == {"status": "error", "message": "API not found"}


def test_a_reload_puts_in_use_what_changed_and_says_what_it_could_not(tmp_path, upstream):
    keyless = definition("one", upstream.url, use_keyless=True)
    with operated(tmp_path, keyless) as gateway:
        assert gateway.get("/two/").status == 404
        write(tmp_path, keyless, definition("two", upstream.url, use_keyless=True))
        assert gateway.control("/tyk/reload/").json == {"status": "ok", "message": ""}
        assert gateway.get("/two/").status == 200
        write(tmp_path, keyless, definition("two", upstream.url, use_keyless="yes"))
        answer = gateway.control("/tyk/reload/group")
        assert answer.status == 500
        assert answer.json["status"] == "error"
        assert "two.json: refused: $.use_keyless" in answer.json["message"]
        assert gateway.get("/two/").status == 200  # as before
        write(tmp_path, keyless, definition("two", upstream.url, active=False))
        answer = gateway.control("/tyk/reload")
        assert answer.status == 200
        assert "inactive" in answer.json["message"]
        assert gateway.get("/two/").status == 404


# ---- Where it listens


def test_a_socket_is_for_its_owner_and_goes_with_the_gateway(tmp_path):
    path = tmp_path / "control"
    conf = {"tykbridge": {"control": {"socket": str(path)}}}
    with operated(tmp_path, definition(), **conf) as gateway:
        assert gateway.control_url == f"unix:{path}"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert gateway.control("/tyk/apis").status == 200
        assert gateway.control("/tyk/apis", secret="").status == 403
        with (
            pytest.raises(LoadError, match="another process does"),
            operated(tmp_path, definition(), **conf),
        ):
            pass
        assert gateway.control("/tyk/apis").status == 200
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))  # as a process that was killed leaves it
    with operated(tmp_path, definition(), **conf) as gateway:
        assert gateway.control("/tyk/apis").status == 200
    path.write_text("precious")
    with pytest.raises(LoadError, match="a file that is no socket"), operated(tmp_path, definition(), **conf):
        pass
    assert path.read_text() == "precious"


def test_a_socket_whose_path_is_too_long_says_so(tmp_path):
    conf = {"tykbridge": {"control": {"socket": str(tmp_path / ("a" * 120))}}}
    with pytest.raises(LoadError, match="path too long"), operated(tmp_path, definition(), **conf):
        pass


@pytest.mark.parametrize("name", ["0.0.0.0", "::"])
def test_other_machines_are_let_in_only_where_that_is_said(tmp_path, name):
    with pytest.raises(LoadError, match="allow_remote"), operated(tmp_path, definition(), control_api_hostname=name):
        pass


def test_where_it_is_said_they_are(tmp_path):
    conf = {"control_api_hostname": "0.0.0.0", "tykbridge": {"control": {"allow_remote": True}}}
    with operated(tmp_path, definition(), **conf) as gateway:
        url = gateway.control_url.replace("0.0.0.0", "127.0.0.1")
        assert ask(f"{url}/tyk/apis", headers={"X-Tyk-Authorization": SECRET}).status == 200


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LoadError, match=f"127.0.0.1:{port}"), operated(tmp_path, control_api_port=port):
            pass


def test_without_a_secret_nothing_listens(tmp_path):
    with operated(tmp_path, definition(), secret="") as gateway:
        assert gateway.control_url == ""
        assert any("no control API" in line for line in gateway.lines)


def test_a_secret_that_can_be_guessed_is_warned_about(tmp_path):
    for secret, why in (
        ("short5", "it is short:"),
        ("352d20ee67be67f6340b4c0605b044b7", "the one of Tyk's sample file"),
    ):
        with operated(tmp_path, definition(), secret=secret) as gateway:
            assert [line for line in gateway.lines if "can be guessed" in line and why in line]
            assert secret not in "".join(gateway.lines)


# ---- Metrics


def metric(gateway, line, **options):
    """The value of a metric; None where it is not there."""
    text = gateway.control("/metrics", **options).body.decode()
    return next((float(item.rpartition(" ")[2]) for item in text.splitlines() if item.startswith(f"{line} ")), None)


def test_requests_and_hooks_are_counted(tmp_path, upstream):
    (tmp_path / "hooks.py").write_text(HOOKS)
    section = {"driver": "python", "pre": [{"name": name, "path": "hooks.py"} for name in ("Mark", "Break")]}
    api = definition(target=upstream.url, use_keyless=True, custom_middleware=section)
    with operated(tmp_path, api, definition("idle")) as gateway:
        assert gateway.get("/api/x").status == 200
        assert upstream.got[-1].headers["x-mark"] == "yes"
        assert gateway.get("/api/x", **{"X-Break": "1"}).status == 500
        assert gateway.get("/nowhere").status == 404
        assert metric(gateway, 'tykbridge_requests_total{api_id="api",status="200"}') == 1
        assert metric(gateway, 'tykbridge_requests_total{api_id="api",status="500"}') == 1
        assert metric(gateway, 'tykbridge_requests_total{api_id="",status="404"}') == 1
        assert metric(gateway, 'tykbridge_request_seconds_count{api_id="api"}') == 2
        for hook, failures in (("Mark", 0), ("Break", 1)):
            labels = f'{{api_id="api",hook="{hook}",phase="pre"}}'
            assert metric(gateway, f"tykbridge_hook_seconds_count{labels}") == 2
            assert metric(gateway, f"tykbridge_hook_failures_total{labels}") == failures
            assert 0 < metric(gateway, f"tykbridge_hook_seconds_sum{labels}") < 60
        assert metric(gateway, "tykbridge_apis") == 2
        assert metric(gateway, "tykbridge_requests_in_progress") == 0
        assert metric(gateway, "process_resident_memory_bytes") > 0
        # What the configuration does not name any more goes.
        write(tmp_path, {**api, "custom_middleware": {"driver": "python", "pre": section["pre"][:1]}})
        gateway.control("/tyk/reload")
        assert metric(gateway, 'tykbridge_hook_seconds_count{api_id="api",hook="Mark",phase="pre"}') == 2
        assert metric(gateway, 'tykbridge_hook_seconds_count{api_id="api",hook="Break",phase="pre"}') is None
        write(tmp_path, definition("other"))
        gateway.control("/tyk/reload")
        assert 'api_id="api"' not in gateway.control("/metrics").body.decode()


def test_the_page_has_each_metric_with_its_labels_and_no_other(gateway, root):
    gateway.get("/api/x")
    text = gateway.control("/metrics").body.decode()
    exposed = dict(re.findall(r"^# TYPE (tykbridge_\w+) (\w+)$", text, flags=re.MULTILINE))
    page = (root / "docs/operating.md").read_text()
    said = dict(re.findall(r"^\| `(tykbridge_\w+)` \| (.*?) ?\|", page, flags=re.MULTILINE))
    assert said.keys() == exposed.keys()
    labels = {name: set(re.findall(r"`(\w+)`", words)) for name, words in said.items()}
    for name, shown in re.findall(r"^(tykbridge_\w+?)(?:_bucket|_count|_sum)?\{(.*)\} ", text, flags=re.MULTILINE):
        assert set(re.findall(r"(\w+)=", shown)) - {"le"} == labels[name]


def test_metrics_may_be_open_and_are_then_for_this_hosts_names_alone(tmp_path):
    conf = {"secret": "", "tykbridge": {"control": {"open_metrics": True}}}
    with operated(tmp_path, definition(), **conf) as gateway:
        port = gateway.control_url.rpartition(":")[2]
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "10.0.0.1"):
            assert gateway.control("/metrics", secret="", Host=host).status == 200
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "[evil", ""):
            assert gateway.control("/metrics", secret="", Host=host).status == 403
        assert gateway.control("/tyk/apis", secret="").status == 404


# ---- Gateways that share a store


def check_sharing(tmp_path, storage, upstream):
    api = definition(target=upstream.url)
    with contextlib.ExitStack() as stack:
        one, two = (
            stack.enter_context(operated(tmp_path, api, storage=storage, enable_hashed_keys_listing=True))
            for _ in range(2)
        )
        made = one.control("/tyk/keys", "POST", {**RIGHTS, "quota_max": 2, "quota_renewal_rate": 60}).json
        key = made["key"]
        assert [gateway.get("/api/x", key).status for gateway in (two, one, two)] == [200, 200, 403]
        assert two.control("/tyk/keys").json == {"keys": [made["key_hash"]]}
        assert two.control(f"/tyk/keys/{key}", "DELETE").status == 200
        assert one.get("/api/x", key).status == 403
        assert one.control(f"/tyk/keys/{key}").status == 404
        assert one.control("/tyk/reload/group").status == 501  # the other one would not hear of it


def test_gateways_share_an_sqlite_file(tmp_path, upstream):
    check_sharing(tmp_path, {"type": "sqlite", "path": str(tmp_path / "data")}, upstream)


def test_gateways_share_a_redis(tmp_path, upstream, redis_server):
    check_sharing(tmp_path, {"type": "redis", "host": redis_server.path}, upstream)


# ---- The program


def test_the_program_reloads_with_its_settings_and_ends_in_good_order(tmp_path, upstream):
    write(tmp_path, definition(target=upstream.url))
    conf = {"secret": SECRET, "storage": {"type": "sqlite", "path": "data"}}
    conf["tykbridge"] = {"control": {"socket": "control"}}
    with Served(tmp_path, conf=conf) as gateway:
        gateway.control_url = f"unix:{tmp_path}/control"
        key = fresh(gateway)
        assert gateway.get("/api/x", key).status == 200
        (tmp_path / "tyk.conf").write_text(json.dumps({**conf, "secret": "another-secret-of-tests"}))
        assert gateway.control("/tyk/reload").json == {"status": "ok", "message": ""}
        assert gateway.control(f"/tyk/keys/{key}").status == 403
        assert gateway.control(f"/tyk/keys/{key}", secret="another-secret-of-tests").status == 200
        (tmp_path / "tyk.conf").write_text("{")
        answer = gateway.control("/tyk/reload", secret="another-secret-of-tests")
        assert answer.status == 500
        assert answer.json["message"].startswith("Nothing changed: ")
        assert gateway.get("/api/x", key).status == 200
    assert gateway.status == 0
    assert not (tmp_path / "control").exists()


def test_the_program_takes_a_secret_from_its_environment(tmp_path):
    write(tmp_path, definition())
    with Served(tmp_path, TYK_GW_SECRET=SECRET) as gateway:
        assert gateway.control("/tyk/apis").status == 200
