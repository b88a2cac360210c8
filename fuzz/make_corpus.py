"""Writes the inputs that the fuzzers start from, from messages such as gateways send: python fuzz/make_corpus.py

The same files each time. Run it when a fuzzer's input changes its form or a field is added, and commit what it writes.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from google.protobuf.message import Message

from tykbridge.compat.pb2 import message_class

CORPUS = Path(__file__).resolve().parent / "corpus"
HOOKS = 8  # of fuzz_dispatch.c
SCRIPTS = 3  # of fuzz_object, for each message
SCRIPT_SIZE = 160


def messages() -> dict[str, Message]:
    """A message of each hook type, and odd ones."""
    new = message_class("Object")
    pre = new(hook_type=1, hook_name="MyPreMiddleware")
    pre.request.headers.update({"Host": "example.org", "Accept": "*/*", "Authorization": "Bearer abc"})
    pre.request.params.update({"a": "1", "b": ""})
    pre.request.MergeFrom(type(pre.request)(url="/a?b=1", method="POST", request_uri="/a?b=1", scheme="https"))
    pre.request.raw_body, pre.request.body = b'{"a": 1}', '{"a": 1}'
    pre.request.return_overrides.response_code = -1
    pre.spec.update({"OrgID": "o", "APIID": "a", "bundle_hash": "b", "config_data": "{}"})

    auth = new(hook_type=4, hook_name="MyAuth", request=pre.request, spec=pre.spec)
    auth.session.SetInParent()

    post = new(hook_type=3, hook_name="MyPostKeyAuth", request=pre.request, spec=pre.spec)
    session = post.session
    session.rate, session.per, session.allowance = 1000.0, 60.0, 999.5
    session.quota_max, session.quota_renews, session.expires = -1, 1893456000, 0
    session.org_id, session.key_id, session.hmac_enabled = "o", "k", True
    session.metadata.update({"token": "t", "plan": "gold"})
    session.tags.extend(["a", "b"])
    session.apply_policies.append("p")
    session.oauth_keys["k"] = "v"
    session.basic_auth_data.hash = "bcrypt"
    session.jwt_data.secret = "s"
    session.monitor.trigger_limits.extend([80.0, 60.0])
    right = session.access_rights["a"]
    right.api_name, right.api_id = "n", "a"
    right.versions.append("Default")
    right.allowed_urls.add(url="/a", methods=["GET", "POST"])
    post.metadata.update(session.metadata)

    merge = new(hook_type=1, request=pre.request, session=session)
    merge.request.raw_body = session.SerializeToString(deterministic=True)

    response = new(hook_type=5, hook_name="MyResponse", request=pre.request, session=session, spec=pre.spec)
    response.response.status_code, response.response.raw_body, response.response.body = 200, b"ok", "ok"
    response.response.headers.update({"Content-Type": "text/plain", "Set-Cookie": "a=1"})
    response.response.multivalue_headers.add(key="Set-Cookie", values=["a=1", "b=2"])
    response.response.multivalue_headers.add(key="Content-Type", values=["text/plain"])
    return {"empty": new(), "pre": pre, "auth": auth, "post_key_auth": post, "merge": merge, "response": response}


def inputs() -> dict[str, bytes]:
    """What the messages are as bytes, and bytes that no serialiser would write."""
    usual = {name: message.SerializeToString(deterministic=True) for name, message in messages().items()}
    odd = {
        "pieces": usual["pre"] + usual["post_key_auth"] + usual["response"],
        "unknown": b"\xa0\x06\x01" + usual["pre"] + b"\xa3\x06\xa0\x06\x01\xa4\x06",
        "cut": usual["response"][:-7],
        "cleared": b"\xc2\x3e\x10session.metadata\xc2\x3e\x07request" + usual["pre"],
    }
    return usual | odd


def main() -> None:
    """Writes the files anew."""
    shutil.rmtree(CORPUS, ignore_errors=True)
    for name in ("fuzz_object", "fuzz_dispatch"):
        (CORPUS / name).mkdir(parents=True)
    chance = random.Random(1)
    for name, data in inputs().items():
        for script in range(SCRIPTS):
            head = bytes([0]) + len(data).to_bytes(2, "big")
            (CORPUS / "fuzz_object" / f"{name}-{script}").write_bytes(head + data + chance.randbytes(SCRIPT_SIZE))
        for hook in {4, *chance.sample(range(HOOKS), 3)} if name == "merge" else chance.sample(range(HOOKS), 3):
            (CORPUS / "fuzz_dispatch" / f"{name}-{hook}").write_bytes(bytes([hook, 0]) + data)
    scarce = bytes([0x40 | 2, 40])  # memory runs out in the hook Write
    (CORPUS / "fuzz_dispatch" / "scarce").write_bytes(scarce + inputs()["response"])


if __name__ == "__main__":
    main()
