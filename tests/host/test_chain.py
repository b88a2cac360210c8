"""The table of cases through the C library, and what else its calls for whole APIs do."""

import base64
import json
import queue

import pytest

from tests import cases
from tests.host.calls import E_MALFORMED, E_NOT_FOUND, OK
from tykbridge import _bridge, hosted
from tykbridge.services import Services

CONTINUE, RESPOND = 0, 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases") / "table"
    cases.write(folder)
    return folder


@pytest.fixture
def fresh():
    """Sessions and counters of no earlier test."""
    hosted.bridge.services = Services()


def body_of(item):
    return base64.b64decode(item["body_base64"]) if "body_base64" in item else item["body"].encode()


def request_message(item, api_id):
    """The message that a host makes of a request: the first value of each header."""
    sent = _bridge.message("Object")
    sent.spec["APIID"] = api_id
    request = sent.request
    request.method, request.url, request.scheme = item["method"], item["url"], "http"
    request.request_uri = item.get("request_uri", item["url"])
    for name, value in item["headers"]:
        if name.lower() not in {key.lower() for key in request.headers}:
            request.headers[name] = value
    request.raw_body = body_of(item)
    return sent


def applied(item, data):
    """What a host sends to the upstream: the request as it came, with the changes of a reply."""
    changes = _bridge.message("Object", data)
    assert not changes.response.SerializeToString()
    edits = changes.request
    headers = [pair for pair in item["headers"] if pair[0].lower() not in {n.lower() for n in edits.delete_headers}]
    for name, value in edits.set_headers.items():
        places = [at for at, pair in enumerate(headers) if pair[0].lower() == name.lower()]
        if places:
            headers[places[0]] = [name, value]
            headers = [pair for at, pair in enumerate(headers) if at not in places[1:]]
        else:
            headers.append([name, value])
    gone = b"\x72\x00" in data  # raw_body is there, and empty
    body = edits.raw_body or (b"" if gone else body_of(item))
    return edits.method or item["method"], edits.url or item["url"], unframed(headers), body


def unframed(headers):
    """Headers whose order does not tell anything, without the one that is the host's own."""
    return sorted(pair for pair in map(tuple, headers) if pair[0].lower() != "content-length")


def patched(item, changes):
    item = {**item, **changes}
    if "body" in changes:
        item.pop("body_base64", None)
    return item


def client_of(reply):
    response = _bridge.message("Object", reply.data).response
    headers = [(header.key, value) for header in response.multivalue_headers for value in header.values]
    return response.status_code, headers, response.raw_body


def check_case(host, case):
    api_id = case["definition"]["api_id"]
    for exchange in case["exchanges"]:
        del host.logs[:], host.events[:]
        sent = request_message(exchange["request"], api_id)
        reply = host.run_request(sent.SerializeToString())
        assert reply.status in (CONTINUE, RESPOND), reply.words
        if "upstream" in exchange:
            assert reply.status == CONTINUE, (client_of(reply), host.logs)
            changes = _bridge.message("Object", reply.data)
            expected = patched(exchange["request"], exchange["upstream"])
            upstream = expected["method"], expected["url"], unframed(expected["headers"]), body_of(expected)
            assert applied(exchange["request"], reply.data) == upstream
        if "response" in exchange:
            sent = request_message(patched(exchange["request"], exchange["upstream"]), "")
            sent.spec.MergeFrom(changes.spec)
            if changes.HasField("session"):
                sent.session.CopyFrom(changes.session)
            sent.response.status_code = exchange["response"]["status"]
            sent.response.raw_body = body_of(exchange["response"])
            for name, value in exchange["response"]["headers"]:
                sent.response.multivalue_headers.add(key=name, values=[value])
                sent.response.headers.setdefault(name, value)
            reply = host.run_response(sent.SerializeToString())
            assert reply.status == OK, reply.words
        if "client" in exchange:
            template = isinstance(exchange["client"].get("body"), dict)
            before = exchange["response"] if "response" in exchange and not template else {}
            check_client(client_of(reply), {**before, **exchange["client"]})
        if "events" in exchange:
            assert [name for name, _ in host.events] == exchange["events"]
        if "log" in exchange:
            assert exchange["log"] in "\n".join(words for _, words in host.logs)


def check_client(got, expected):
    status, headers, body = got
    assert status == expected["status"]
    if "headers" in expected:
        assert sorted(headers) == sorted(map(tuple, expected["headers"]))
    if isinstance(expected.get("body"), dict):
        assert json.loads(body) == expected["body"]
    elif "body" in expected:
        assert body == expected["body"].encode()


class Starting:
    """A host that starts its calls, and waits until they are over."""

    def __init__(self, host):
        self._host = host

    def __getattr__(self, name):
        return getattr(self._host, name)

    def run_request(self, sent):
        return self._started(self._host.start_request, sent)

    def run_response(self, sent):
        return self._started(self._host.start_response, sent)

    def _started(self, call, sent):
        replies = queue.SimpleQueue()
        assert call(sent, replies.put) == (OK, b"")
        return replies.get(timeout=60)


@pytest.mark.parametrize("host_of", [lambda host: host, Starting], ids=["run", "start"])
@pytest.mark.parametrize("mode", ["compatible", "strict"])
def test_table_of_cases(host, folder, fresh, mode, host_of):
    host = host_of(host)
    loaded = host.load_configuration(str(folder / "apis"), strict=mode == "strict")
    assert loaded == (0, b"")
    failed = {}
    for case in json.loads((folder / "cases.json").read_text()):
        if case["mode"] == mode:
            try:
                check_case(host, case)
            except AssertionError as error:
                failed[case["name"]] = str(error)
    assert not failed


def api(**keys):
    return json.dumps(
        {
            "name": "api",
            "api_id": "api",
            "active": True,
            "use_keyless": True,
            "proxy": {"listen_path": "/api/", "target_url": "http://upstream.test/"},
            **keys,
        }
    )


def test_what_is_not_in_use_is_counted(host, fresh, tmp_path):
    (tmp_path / "a.json").write_text(api())
    (tmp_path / "b.json").write_text("{")
    policies = tmp_path / "policies"
    policies.write_text('{"bad": 1}')
    reply = host.load_configuration(str(tmp_path), policies=str(policies))
    assert reply.status == 2
    assert ["$.bad" in reply.words.splitlines()[0], "b.json" in reply.words.splitlines()[1]] == [True, True]


def test_api_is_found_by_its_path(host, fresh):
    assert host.load_configuration(api()).status == OK
    sent = _bridge.message("Object")
    sent.request.method, sent.request.url = "GET", "/api/x"
    reply = host.run_request(sent.SerializeToString())
    assert (reply.status, _bridge.message("Object", reply.data)) == (
        CONTINUE,
        _bridge.message("Object", spec={"APIID": "api"}),
    )
    sent.request.url = "/other"
    sent.response.status_code = 200
    answer = host.run_response(sent.SerializeToString() + reply.data)  # a hook may have rewritten the url
    assert (answer.status, client_of(answer)[0]) == (OK, 200)
    reply = host.run_request(sent.SerializeToString())
    assert (reply.status, reply.words) == (E_NOT_FOUND, "no API listens on /other (APIs: api)")
    reply = host.run_response(sent.SerializeToString())
    assert reply.status == E_NOT_FOUND


def test_source_that_is_not_there_changes_nothing(host, fresh, tmp_path):
    assert host.load_configuration(api()).status == OK
    reply = host.load_configuration(str(tmp_path / "nowhere"))
    assert (reply.status, "nowhere" in reply.words) == (E_NOT_FOUND, True)
    assert hosted.bridge.apis == ("api",)


def test_started_calls_that_fail(host, fresh):
    assert host.load_configuration(api()).status == OK
    starting = Starting(host)
    assert starting.run_request(b"\xff").status == E_MALFORMED
    sent = _bridge.message("Object", spec={"APIID": "other"})
    reply = starting.run_response(sent.SerializeToString())
    assert (reply.status, reply.words) == (E_NOT_FOUND, 'there is no API "other" (APIs: api)')


@pytest.mark.parametrize("data", [b"\xff", b"\x1a\x02\x2a\xff", b"\x1a\x03\x2a\x01\xff"], ids=["tag", "length", "utf8"])
def test_bytes_that_are_no_message(host, fresh, data):
    assert host.load_configuration(api()).status == OK
    assert host.run_request(data).status == E_MALFORMED
    assert host.run_response(data).status == E_MALFORMED


def test_a_hosts_session_and_edits_do_not_count(host, fresh):
    """What a message may hold besides the request lets nobody in, and reaches no hook."""
    definition = json.loads(api(use_keyless=False, use_standard_auth=True, auth={"auth_header_name": "Authorization"}))
    assert host.load_configuration(json.dumps(definition)).status == OK
    sent = _bridge.message("Object")
    sent.request.method, sent.request.url = "GET", "/api/x"
    sent.session.org_id = "org"
    sent.session.metadata["token"] = sent.metadata["token"] = "key"
    sent.request.set_headers["Authorization"] = "key"
    sent.request.return_overrides.response_code = 200
    reply = host.run_request(sent.SerializeToString())
    assert (reply.status, client_of(reply)[0]) == (RESPOND, 401)
