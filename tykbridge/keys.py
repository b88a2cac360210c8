"""Hashes keys, so that stores and logs do not hold what clients show.

Functions and forms are upstream's (its storage package): hexadecimal digits of MurmurHash3, or of SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable

import mmh3

from tykbridge.stores import wire


def _murmur64(data: bytes) -> str:
    return f"{mmh3.hash64(data, signed=False)[0]:016x}"  # upstream's 64 bits are the first half of the 128


def _murmur128(data: bytes) -> str:
    first, second = mmh3.hash64(data, signed=False)
    return f"{first:016x}{second:016x}"


_DEFAULT = "murmur32"
_FUNCTIONS: dict[str, Callable[[bytes], str]] = {
    "murmur32": lambda data: f"{mmh3.hash(data, signed=False):08x}",
    "murmur64": _murmur64,
    "murmur128": _murmur128,
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
}
FUNCTIONS = tuple(_FUNCTIONS)
"""Names of the functions."""


class Keys:
    """How the keys of sessions are written in stores: `hash_keys` and `hash_key_function` of a tyk.conf.

    A token that upstream made with such a function is base64 of a JSON object and names the function in its "h"; that
    one counts, as upstream has it. Any other token is hashed with `function`, where upstream always takes murmur32.

    Args:
        hashed: keys are hashed.
        function: murmur32, murmur64, murmur128 or sha256; "" is murmur32, upstream's default.

    Raises:
        ValueError: there is no such function.
    """

    def __init__(self, hashed: bool = False, function: str = "") -> None:
        if function and function not in _FUNCTIONS:
            raise ValueError(f'hash_key_function: "{function}" is none of {", ".join(_FUNCTIONS)}')
        self._hashes = hashed
        self._function = function or _DEFAULT

    def __repr__(self) -> str:
        return f"Keys({self._hashes}, {self._function!r})"

    @property
    def hashes(self) -> bool:
        """Whether keys are hashed."""
        return self._hashes

    def hashed(self, key: str) -> str:
        """Returns what stands for a key in stores: its hash, or the key itself where keys are not hashed."""
        if not self._hashes:
            return key
        data = wire(key)
        named = _named(data)
        name = named if named in _FUNCTIONS else _DEFAULT  # as upstream takes a name that it does not know
        return _FUNCTIONS[name if named else self._function](data)

    def warning(self) -> str:
        """Returns what whoever runs this should be told of the function, for the log; "" where it will do."""
        if not self._hashes or self._function == "sha256":
            return ""
        if self._function == "murmur32":
            why = "32 bits long: with ten thousand keys, one in 430,000 made up tokens opens somebody's session"
        else:
            why = "no cryptographic hash: whoever sees a hashed key can make up a token that opens it"
        return f'hash_key_function "{self._function}" is {why}; "sha256" is the one to take'


def _named(token: bytes) -> str:
    """Returns the function that a token names, "" where it names none."""
    if not token.startswith(b"ey"):  # '{"'
        return ""
    try:
        content = json.loads(base64.b64decode(token, validate=True))
    except (ValueError, RecursionError):
        return ""
    name = content.get("h") if isinstance(content, dict) else None
    return name if isinstance(name, str) else ""
