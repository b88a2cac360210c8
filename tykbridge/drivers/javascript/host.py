"""What JavaScript may ask of its host: the global functions of plugins, by name."""

from __future__ import annotations

import base64
import binascii
import math
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tykbridge import caller, runtime
from tykbridge.compat.gateway import TykGateway
from tykbridge.keydata import KeySessions
from tykbridge.session import SessionError, encode_whole
from tykbridge.stores import Store

if TYPE_CHECKING:
    from tykbridge.drivers.javascript.state import State

UNDERSCORE = "underscore.js"
"""The file beside this one that the build puts there."""

_DATA = "jsvm-store:"  # before a plugin's key
_MOST_KEY, _MOST_VALUE = 256, 64 << 10  # bytes; upstream's


def _text(value: Any) -> str:
    """Give a value as JavaScript's String does."""
    if isinstance(value, str):
        return value
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _number(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, minus = "".join(map(str, digits)), "-" * sign
    point = len(text) + int(exponent)  # where it is, counted from the first digit (ECMA-262, 6.1.6.1.20)
    if len(text) <= point <= 21:
        return minus + text.ljust(point, "0")
    if 0 < point <= 21:
        return f"{minus}{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    fraction = f".{text[1:]}" if text[1:] else ""
    return f"{minus}{text[0]}{fraction}e{point - 1:+d}"


def _log(state: State, words: Any = None, level: Any = "info", *_: Any) -> None:
    TykGateway.log(_text(words), _text(level))


def _log_info(state: State, words: Any = None, *_: Any) -> None:
    TykGateway.log(_text(words), "info")


def _trigger(state: State, name: Any = None, payload: Any = None, *_: Any) -> None:
    TykGateway.trigger_event(_text(name), "" if payload is None else _text(payload))


def _underscore(state: State, *_: Any) -> str:
    try:
        return Path(__file__).with_name(UNDERSCORE).read_text(encoding="utf-8")
    except FileNotFoundError:
        words = "tykbridge was built where underscore could not be had: build it again with access to npm's registry"
        raise LookupError(f"_ is not there: {words}") from None


def _encode(state: State, text: Any = None, *_: Any) -> str:
    return base64.b64encode(_text(text).encode()).decode()


def _encode_raw(state: State, text: Any = None, *_: Any) -> str:
    return _encode(state, text).rstrip("=")


def _decode(state: State, text: Any = None, *_: Any) -> str | None:
    given = _text(text).replace("\r", "").replace("\n", "")
    return _decoded(given if len(given) % 4 == 0 else given + "=" * (-len(given) % 4))


def _decode_raw(state: State, text: Any = None, *_: Any) -> str | None:
    given = _text(text).replace("\r", "").replace("\n", "")
    return _decoded(given + "=" * (-len(given) % 4) if "=" not in given else "=")


def _decoded(text: str) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError) as error:
        TykGateway.log(f"b64dec: this is not base64: {error}", "error")
        return None


# ---- Data of plugins


def _store(key: Any) -> tuple[Store, str]:
    text = _text(key)
    if len(text.encode("utf-8", "surrogatepass")) > _MOST_KEY:
        raise ValueError(f"a key has {_MOST_KEY} bytes at the most")
    return runtime.data_store(), _DATA + text


def _value(value: Any) -> bytes:
    data = _text(value).encode()
    if len(data) > _MOST_VALUE:
        raise ValueError(f"a value has {_MOST_VALUE} bytes at the most, not {len(data)}")
    return data


def _seconds(ttl: Any) -> float:
    if isinstance(ttl, str):  # as JavaScript makes numbers of them: what is to expire must
        try:
            ttl = float(ttl)
        except ValueError:
            return 0.0
    return max(0.0, math.floor(ttl)) if isinstance(ttl, float) and math.isfinite(ttl) else 0.0


def _storage_get(state: State, key: Any = None, *_: Any) -> str | None:
    store, name = _store(key)
    value = store.get(name)
    return None if value is None else value.decode("utf-8", "replace")


def _storage_set(state: State, key: Any = None, value: Any = None, ttl: Any = None, *_: Any) -> None:
    store, name = _store(key)
    store.set(name, _value(value), _seconds(ttl))


def _storage_set_nx(state: State, key: Any = None, value: Any = None, ttl: Any = None, *_: Any) -> bool:
    store, name = _store(key)
    return store.add(name, _value(value), _seconds(ttl))


def _storage_del(state: State, key: Any = None, *_: Any) -> None:
    store, name = _store(key)
    store.delete(name)


def _storage_ttl(state: State, key: Any = None, *_: Any) -> float:
    store, name = _store(key)
    left = store.ttl(name)
    return -2.0 if left is None else -1.0 if left == 0 else float(math.ceil(left))


def _storage_incr(state: State, key: Any = None, ttl: Any = None, *_: Any) -> str:
    store, name = _store(key)
    if store.add(name, b"1", _seconds(ttl)):
        return "1"
    return str(store.incr(name))


# ---- Sessions of keys

_NO_KEY = '{"status":"error","message":"Key not found"}'  # upstream's


def _sessions() -> KeySessions:
    api = caller.current.get()
    if api is None:
        raise LookupError("there are no keys here: this runs for no API, but in a dispatch by itself or as code loads")
    return api.sessions


def _get_key(state: State, key: Any = None, api_id: Any = None, *_: Any) -> str:
    # Which API it is for does not matter: an organisation's APIs share its keys.
    session = _sessions().get(_text(key))
    return _NO_KEY if session is None else encode_whole(session).decode()


def _set_key(state: State, key: Any = None, session: Any = None, suppress: Any = None, *_: Any) -> None:
    try:
        _sessions().set(_text(key), _text(session), reset=_text(suppress) != "1")
    except SessionError as error:  # a line of the log, and the hook goes on, as upstream has it
        TykGateway.log(f"TykSetKeyData: the session was not stored: {error}", "error")


# ---- Requests


def _make_request(state: State, wanted: Any = None, *_: Any) -> str | None:
    from tykbridge.drivers.javascript import http  # where there is one: urllib3 takes its time

    if wanted is None:  # nothing, and not a word, as upstream has it
        return None
    return http.make_request(_text(wanted), time.monotonic() + state.left, TykGateway.log)


def _make_batch(state: State, wanted: Any = None, *_: Any) -> str | None:
    from tykbridge.drivers.javascript import http

    return http.make_batch(_text(wanted), time.monotonic() + state.left, TykGateway.log)


FUNCTIONS: dict[str, Callable[..., str | float | bool | None]] = {
    "log": _log_info,
    "rawlog": _log_info,
    "b64enc": _encode,
    "b64dec": _decode,
    "rawb64enc": _encode_raw,
    "rawb64dec": _decode_raw,
    "TykMakeHttpRequest": _make_request,
    "TykBatchRequest": _make_batch,
    "TykTriggerEvent": _trigger,
    "TykGetKeyData": _get_key,
    "TykSetKeyData": _set_key,
    "TykStorageGet": _storage_get,
    "TykStorageSet": _storage_set,
    "TykStorageSetNX": _storage_set_nx,
    "TykStorageDel": _storage_del,
    "TykStorageTTL": _storage_ttl,
    "TykStorageIncr": _storage_incr,
    # The prelude's own, which it hides from plugins.
    "tykbridge_log": _log,
    "tykbridge_underscore": _underscore,
}
"""Each takes the state, whose `left` says for how long it may go on, and what it is called with: texts, floats, bools,
None for undefined and null, JSON for objects; as many as it was given, eight at the most. None becomes undefined; what
it raises, an Error. They run with Python's lock, and JavaScript waits for them."""
