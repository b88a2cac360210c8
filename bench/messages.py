"""The messages that the benchmark dispatches, and the check that the contenders answer them alike.

    messages.py write FOLDER             writes every scenario's message, prints the scenarios' names
    messages.py compare FOLDER REPLIES   fails when full, delta and classic replies differ

Expects the modules that protoc generates from proto/ on sys.path.
"""

import struct
import sys
from pathlib import Path

from coprocess_common_pb2 import HookType
from coprocess_object_pb2 import Object
from tykbridge_delta_pb2 import Delta

SIZE = 855
BODY = bytes(range(256)) * 400  # 100 KB that are no text
# scenario: (hook, has the 100 KB body)
SCENARIOS = {
    "nothing": ("touch_nothing", False),
    "add_header": ("add_header", False),
    "read_three": ("read_three", False),
    "iterate": ("iterate_all", False),
    "set_metadata": ("set_metadata", False),
    "del_metadata": ("del_metadata", False),
    "auth": ("auth", False),
    "unread_body": ("add_header", True),
    "read_body": ("read_body", True),
    "replace_body": ("replace_body", True),
}
# API of bench/apis: the headers that its hooks set
CHAINS = {
    "chain_one": {"X-Added": "by the hook"},
    "chain_four": {
        "X-Added": "by the hook",
        "X-Second": "by the second hook",
        "X-Third": "by the third hook",
        "X-Fourth": "by the fourth hook",
    },
    "chain_lua": {"X-Added": "by the hook"},
    "chain_javascript": {"X-Added": "by the hook"},
    "chain_go": {"X-Added": "by the hook"},
    "chain_auth": {"X-Added": "by the hook", "X-Client": "alice", "X-Second": "by the second hook"},
}
# of a plugin alone: what its hook adds
PLUGINS = {"plugin_go": ("X-Added", "by the hook")}
HEADERS = {
    "Host": "api.example.org",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "application/json, text/plain;q=0.9",
    "Accept-Language": "en-GB,en;q=0.7",
    "Accept-Encoding": "gzip, deflate, br",
    "Authorization": "47a0c79c427728b3df4af62b9228c8ae",
    "Content-Type": "application/json",
    "Cookie": "theme=dark",
    "X-Request-Id": "7f3c1d1e-8a55-4f0b-9a3e-5d0c1b2a3f44",
    "X-Forwarded-For": "203.0.113.7, 198.51.100.23",
}


def build(scenario, bundle):
    """The serialised Object of a scenario for the bundle of that name: 855 bytes, and the body where there is one."""
    hook, with_body = SCENARIOS[scenario]
    message = Object(hook_name=hook)
    request = message.request
    request.headers.update(HEADERS)
    request.url = "/orders/list"
    request.method = "GET"
    request.request_uri = "/orders/list?page=2"
    request.scheme = "http"
    request.params["page"] = "2"
    request.return_overrides.response_code = -1
    message.spec.update(OrgID="53ac07777cbb8c2d53000002", APIID="0a1b2c3d4e5f", bundle_hash=bundle)
    message.spec["config_data"] = '{"limit": 10}'
    if hook == "auth":
        message.hook_type = HookType.CustomKeyCheck
        message.session.SetInParent()
    else:
        message.hook_type = HookType.PostKeyAuth
        session = message.session
        session.rate, session.per, session.allowance = 1000, 60, 1000
        session.quota_max, session.quota_remaining = 100_000, 99_000
        session.expires = session.quota_renews = 1_900_000_000
        session.org_id = "53ac07777cbb8c2d53000002"
        session.tags.append("gold")
        session.access_rights["0a1b2c3d4e5f"].api_name = "orders"
        session.access_rights["0a1b2c3d4e5f"].versions.append("Default")
        session.metadata.update(plan="gold", user="alice")
        message.metadata.update(session.metadata)
    padding = SIZE - message.ByteSize()
    assert 0 <= padding < 400, f"{scenario}: {padding} bytes of padding"
    request.headers["Cookie"] += "x" * padding
    while message.ByteSize() > SIZE:  # the lengths themselves took a byte more
        request.headers["Cookie"] = request.headers["Cookie"][:-1]
    assert message.ByteSize() == SIZE, message.ByteSize()
    if with_body:
        request.raw_body = BODY
    return message.SerializeToString(deterministic=True)


def build_request(api_id):
    """What a host sends for a request to an API: the same request, and nothing that the chain knows by itself."""
    message = Object.FromString(build("add_header", "bench"))
    message.request.ClearField("return_overrides")
    request = message.request
    message = Object(request=request)
    message.spec["APIID"] = api_id
    return message.SerializeToString(deterministic=True)


def item(tag, *texts):
    """An item of csrc/plugin.h: of a pair with the size of its name."""
    body = b"".join(text.encode() for text in texts)
    if len(texts) > 1:
        body = struct.pack("<I", len(texts[0].encode())) + body
    return struct.pack("<II", tag, len(body)) + body


def build_items():
    """The request of `build_request` as a plugin gets it."""
    request = Object.FromString(build_request("")).request
    host = request.headers.pop("Host")
    fields = [item(1, request.method), item(2, request.request_uri), item(3, request.scheme), item(4, host)]
    return b"".join(fields + [item(5, name, value) for name, value in request.headers.items()])


def empty(message, path):
    """Empties the field of a message that a path such as "session.metadata" names."""
    *parents, field = path.split(".")
    for parent in parents:
        message = getattr(message, parent)
    message.ClearField(field)


def merge(data, delta):
    """The Object that a host has after it has applied a delta to the message `data`."""
    message = Object.FromString(data)
    for path in Delta.FromString(delta).cleared:
        empty(message, path)
    message.MergeFromString(delta)
    message.DiscardUnknownFields()
    return message


def compare(messages, replies):
    """Exits with the scenario's name unless classic, full and delta say the same, and chains what their hooks do."""
    for scenario in SCENARIOS:
        sent = (messages / f"{scenario}.bin").read_bytes()
        answers = {name: (replies / f"{scenario}.{name}").read_bytes() for name in ("classic", "full", "delta")}
        classic = Object.FromString(answers["classic"])
        for name, answer in (("full", Object.FromString(answers["full"])), ("delta", merge(sent, answers["delta"]))):
            if answer != classic:
                sys.exit(
                    f"{scenario}: the {name} reply is not the classic one.\n{name}:\n{answer}\nclassic:\n{classic}"
                )
    for scenario, headers in CHAINS.items():
        reply = Object.FromString((replies / f"{scenario}.request").read_bytes())
        if dict(reply.request.set_headers) != headers:
            sys.exit(f"{scenario}: expected the headers {headers}, got:\n{reply}")
    for scenario, pair in PLUGINS.items():
        reply = (replies / f"{scenario}.plugin").read_bytes()
        if reply != item(5, *pair):
            sys.exit(f"{scenario}: expected the header {pair}, got the items {reply!r}")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        for scenario in SCENARIOS:
            (Path(sys.argv[2]) / f"{scenario}.bin").write_bytes(build(scenario, "bench"))
        for scenario in CHAINS:
            (Path(sys.argv[2]) / f"{scenario}.bin").write_bytes(build_request(scenario))
        for scenario in PLUGINS:
            (Path(sys.argv[2]) / f"{scenario}.bin").write_bytes(build_items())
        print(*SCENARIOS, *CHAINS, *PLUGINS)
    else:
        compare(Path(sys.argv[2]), Path(sys.argv[3]))
