"""Keys as Tyk hashes them."""

import base64
import hashlib
import json

import pytest

from tests.token_api import ask, definition, start
from tykbridge.counters import MemoryCounters
from tykbridge.keys import Keys
from tykbridge.stores.memory import MemoryStore
from tykbridge.stores.opening import Stores

pytestmark = pytest.mark.once

# From the tests of github.com/spaolacci/murmur3, the implementation that Tyk uses (seed 0): 32 bits, the first and the
# second half of the 128. murmur64 is the first half.
MURMUR = [
    ("", 0x00000000, 0x0000000000000000, 0x0000000000000000),
    ("hello", 0x248BFA47, 0xCBD8A7B341BD9B02, 0x5B1E906A48AE1D19),
    ("hello, world", 0x149BBB7F, 0x342FAC623A5EBC8E, 0x4CDCBC079642414D),
    ("19 Jan 2038 at 3:14:07 AM", 0xE31E8A70, 0xB89E5988B737AFFC, 0x664FC2950231B2CB),
    ("The quick brown fox jumps over the lazy dog.", 0xD5C48BFC, 0xCD99481F9EE902C9, 0x695DA1A38987B6E7),
]
# FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(("key", "h32", "first", "second"), MURMUR)
def test_murmur3_of_published_vectors(key, h32, first, second):
    assert Keys(True).hashed(key) == Keys(True, "murmur32").hashed(key) == f"{h32:08x}"
    assert Keys(True, "murmur64").hashed(key) == f"{first:016x}"
    assert Keys(True, "murmur128").hashed(key) == f"{first:016x}{second:016x}"


def test_sha256_of_a_published_vector():
    assert Keys(True, "sha256").hashed("abc") == ABC


@pytest.mark.parametrize("function", ["", "murmur32", "sha256"])
def test_a_key_that_is_not_hashed_is_itself(function):
    assert Keys(False, function).hashed("abc") == "abc"
    assert Keys().hashed("abc") == "abc"


def test_keys_of_any_bytes_are_hashed():
    assert Keys(True, "sha256").hashed("\udcff") == hashlib.sha256(b"\xff").hexdigest()
    assert len(Keys(True).hashed("\ud800")) == 8


def made(content):
    text = content if isinstance(content, str) else json.dumps(content, separators=(",", ":"))
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("token", "digits"),
    [
        (made({"org": "o", "id": "i", "h": "murmur32"}), 8),
        (made({"org": "o", "id": "i", "h": "murmur64"}), 16),
        (made({"org": "o", "id": "i", "h": "murmur128"}), 32),
        (made({"org": "o", "id": "i", "h": "sha256"}), 64),
        (made({"org": "o", "id": "i", "h": "md5"}), 8),  # upstream: unknown ones fall back to murmur32
    ],
)
def test_a_token_names_its_own_function(token, digits):
    assert token.startswith("ey")
    for function in ("", "sha256", "murmur128"):
        assert len(Keys(True, function).hashed(token)) == digits


@pytest.mark.parametrize(
    "token",
    [
        "plain",
        "ey",
        "eyJ",  # cut off
        made({"org": "o", "id": "i"}),
        made({"h": ""}),
        made({"h": 7}),
        made({"h": None}),
        made('{"h": '),
        made('{"a":' * 5000),
        made({"h": "sha256"})[2:],
        made('{"":1}') + "!",
        "eyJhbGciOiJIUzI1NiJ9.eyJoIjoic2hhMjU2In0.c2ln",  # a JWT: not base64 as a whole
    ],
)
def test_any_other_token_is_hashed_with_the_configured_function(token):
    assert len(Keys(True).hashed(token)) == 8
    assert len(Keys(True, "murmur64").hashed(token)) == 16


def test_an_unknown_function_is_refused():
    with pytest.raises(ValueError, match=r'"md5" is none of murmur32, murmur64, murmur128, sha256'):
        Keys(True, "md5")


def test_functions_that_are_too_weak_are_told():
    assert "32 bits" in Keys(True).warning()
    assert "cryptographic" in Keys(True, "murmur128").warning()
    assert Keys(True, "sha256").warning() == ""
    assert Keys(False).warning() == ""


SESSION = b'{"org_id": "org", "rate": 5, "per": 60, "quota_max": 3, "quota_renewal_rate": 60}'


class Counters(MemoryCounters):
    def __init__(self):
        super().__init__()
        self.asked = set()

    def hit(self, key, limit, window):
        self.asked.add(key)
        return super().hit(key, limit, window)


def test_sessions_lie_and_are_counted_under_the_hashed_key(tmp_path):
    stores = Stores(MemoryStore(), Counters())
    bridge = start(tmp_path, stores, keys=Keys(True))
    stores.store.set("apikey-hello", SESSION)
    assert ask(bridge, "hello") == 403
    stores.store.set("apikey-248bfa47", SESSION)
    assert [ask(bridge, "hello") for _ in range(4)] == [200, 200, 200, 403]
    assert ask(bridge, "248bfa47") == 403  # what stands in the store opens nothing
    assert stores.counters.asked == {"rate-limit-248bfa47", "quota-248bfa47"}


HOOK = """
from tyk.decorators import *

@Hook
def check(request, session, metadata, spec):
    session.quota_max, session.quota_renewal_rate = 2, 60
    metadata["token"] = request.get_header("Authorization")
    return request, session, metadata
"""


def custom(folder, **more):
    (folder / "hooks.py").write_text(HOOK)
    section = {"driver": "python", "auth_check": {"name": "check", "path": str(folder / "hooks.py")}, **more}
    return definition(enable_coprocess_auth=True, custom_middleware=section)


def test_a_plugins_session_is_stored_under_the_hashed_key(tmp_path):
    stores = Stores(MemoryStore(), Counters())
    bridge = start(tmp_path, stores, custom(tmp_path), keys=Keys(True))
    assert [ask(bridge, "hello") for _ in range(3)] == [200, 200, 403]
    assert stores.store.get("apikey-248bfa47") is not None
    assert stores.store.get("apikey-hello") is None
    assert stores.counters.asked == {"quota-248bfa47"}


def test_an_extracted_session_is_stored_under_its_hashed_id(tmp_path):
    extractor = {
        "extract_from": "header",
        "extract_with": "value",
        "extractor_config": {"header_name": "Authorization"},
    }
    stores = Stores(MemoryStore(), Counters())
    bridge = start(tmp_path, stores, custom(tmp_path, id_extractor=extractor), keys=Keys(True, "sha256"))
    assert ask(bridge, "hello") == 200
    (place,) = stores.store._values
    assert len(place) == len("apikey-") + 64


def test_regression_an_id_with_the_hash_of_another_is_not_taken_for_it(tmp_path):
    one, other = "value-54310", "value-95568"
    assert len({Keys(True).hashed("org" + hashlib.md5(value.encode()).hexdigest()) for value in (one, other)}) == 1
    extractor = {
        "extract_from": "header",
        "extract_with": "value",
        "extractor_config": {"header_name": "Authorization"},
    }
    (tmp_path / "apis").mkdir()
    api = custom(tmp_path, id_extractor=extractor)
    (tmp_path / "hooks.py").write_text(f"""
from tyk.decorators import *

@Hook
def check(request, session, metadata, spec):
    if request.get_header("Authorization") == "{one}":
        session.id_extractor_deadline = 2**40
        metadata["token"] = "token"
    return request, session, metadata
""")
    stores = Stores(MemoryStore(), Counters())
    bridge = start(tmp_path / "apis", stores, api, keys=Keys(True))
    assert [ask(bridge, one), ask(bridge, one), ask(bridge, other), ask(bridge, one)] == [200, 200, 403, 200]
    assert len(stores.store) == 1


def test_a_known_key_is_not_hashed_again(tmp_path):
    class Counting(Keys):
        calls = 0

        def hashed(self, key):
            self.calls += 1
            return super().hashed(key)

    keys, stores = Counting(True), Stores(MemoryStore(), MemoryCounters())
    bridge = start(tmp_path, stores, keys=keys)
    stores.store.set("apikey-248bfa47", b'{"org_id": "org"}')
    assert ask(bridge, "hello") == 200
    before = keys.calls
    assert [ask(bridge, "hello") for _ in range(5)] == [200] * 5
    assert keys.calls == before
