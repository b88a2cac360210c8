"""Takes the ID out of a request under which the session of a custom authentication is kept.

A stored session whose deadline lies ahead is used instead of calling the plugin. What is extracted comes from the
client and is hostile: regular expressions run on RE2 (linear time, and the syntax of upstream's Go); XML is read
without DTD, entities and network, and only up to `MAX_XML` bytes.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tykbridge.regex import MissingEngineError, RegexError, compile_regex

if TYPE_CHECKING:
    from lxml.etree import XMLParser

MAX_XML = 256 * 1024
"""Bytes of XML that an XPath extractor reads. A larger value has no ID (400)."""

MAX_FORM_FIELDS = 1000
"""Fields of a form that are read. A larger form has no ID (400)."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an extractor, named as in the classic form's extractor_config."""

    header_name: str = ""
    param_name: str = ""
    regex_expression: str = ""
    regex_match_index: int = 0
    xpath_expression: str = ""


class Source(Protocol):
    """What an extractor asks of a request."""

    def header(self, name: str) -> bytes | None:
        """Give the first value of a header, None without one. Its name's case does not count."""

    @property
    def query(self) -> str:
        """The part of the URL after "?", as it came."""

    @property
    def body(self) -> bytes:
        """The request's body."""


class ConfigError(Exception):
    """The extractor's settings cannot work: `setting` is the wrong one."""

    def __init__(self, setting: str, expected: str, found: str) -> None:
        super().__init__(f"{setting}: expected {expected}, found {found}")
        self.setting, self.expected, self.found = setting, expected, found


class ExtractionError(Exception):
    """The request holds no ID. The client gets `status` and `text`; the reason is for the log."""

    status = 400
    text = "Authorization field missing"


Find = Callable[[bytes], bytes]


_KEPT, _SHORT = 4096, 256  # how many ids are kept, of values of how many bytes


class CompiledExtractor:
    """An extractor that is ready to read requests. Safe to use from any thread."""

    def __init__(self, read: Callable[[Source], bytes], find: Find, header: str = "") -> None:
        self._read = read
        self._header = header  # the value is a whole header's, the commonest form
        self._find = find
        # Ids made before, by the value. An extractor belongs to one API, and so to one org.
        self._ids: dict[bytes, str] = {}
        self._org_id = ""

    def value(self, request: Source) -> bytes:
        """Give the extracted value. Raises `ExtractionError` when there is none, or an empty one."""
        value = self._find(self._read(request))
        if not value:
            # md5("") would be one session for everybody.
            raise ExtractionError("the extracted value is empty")
        return value

    def session_id(self, request: Source, org_id: str) -> str:
        """Give the ID under which the session is stored: org id and hex md5 of the value (contract, section 6)."""
        value = request.header(self._header) if self._header else None
        if not value:
            value = self.value(request)
        if org_id != self._org_id:
            self._ids, self._org_id = {}, org_id
        known = self._ids.get(value)
        if known is None:
            known = org_id + hashlib.md5(value, usedforsecurity=False).hexdigest()
            if len(value) <= _SHORT:
                if len(self._ids) >= _KEPT:
                    self._ids = {}
                self._ids[value] = known
        return known


def compile_extractor(source: str, method: str, config: Config) -> CompiledExtractor:
    """Make an extractor of `source` (header, form, body) and `method` (value, regex, xpath).

    Raises `ConfigError` for settings that cannot work and `MissingEngineError` when an optional package is missing.
    """
    if source == "header":
        name = config.header_name
        if not name:
            raise ConfigError("header_name", "a string, the name of the header", "none")
        read = _header_reader(name)
    elif source == "form":
        if not config.param_name:
            raise ConfigError("param_name", "a string, the name of the parameter", "none")
        read = _form_reader(config.param_name)
    elif source == "body":
        read = _read_body
    else:
        raise ConfigError("extract_from", '"header", "form" or "body"', f'"{source}"')
    if method == "value":
        return CompiledExtractor(read, _whole, config.header_name if source == "header" else "")
    if method == "regex":
        return CompiledExtractor(read, _regex(config.regex_expression, config.regex_match_index))
    if method == "xpath":
        return CompiledExtractor(read, _xpath(config.xpath_expression))
    raise ConfigError("extract_with", '"value", "regex" or "xpath"', f'"{method}"')


def _whole(value: bytes) -> bytes:
    return value


def _header_reader(name: str) -> Callable[[Source], bytes]:
    def read(request: Source) -> bytes:
        value = request.header(name)
        if not value:
            raise ExtractionError(f"no header {name}")
        return value

    return read


def _form_reader(name: str) -> Callable[[Source], bytes]:
    # As Go's Request.Form: the values of the body come before those of the query, and all of them are joined.
    wanted = name.encode()

    def read(request: Source) -> bytes:
        values: list[bytes] = []
        kind = request.header("Content-Type") or b""
        parts = [_bytes(request.query)]
        if kind.partition(b";")[0].strip().lower() == b"application/x-www-form-urlencoded":
            parts.insert(0, request.body)
        for part in parts:
            try:
                fields = urllib.parse.parse_qsl(
                    part.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=MAX_FORM_FIELDS
                )
            except ValueError:
                raise ExtractionError(f"a form of more than {MAX_FORM_FIELDS} fields") from None
            values += [value.encode("latin-1") for key, value in fields if key.encode("latin-1") == wanted]
        if not values:
            raise ExtractionError(f"no form value {name}")
        return b"".join(values)

    return read


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ExtractionError("a text with a lone surrogate") from None


def _read_body(request: Source) -> bytes:
    if not request.body:
        raise ExtractionError("the request has no body")
    return request.body


def _regex(expression: str, index: int) -> Find:
    if not expression:
        raise ConfigError("regex_expression", "a regular expression", "none")
    if index < 0:
        raise ConfigError("regex_match_index", "a whole number, 0 for the first match", str(index))
    try:
        compiled = compile_regex(expression)
    except RegexError as error:
        expected = "a regular expression (RE2 syntax)"
        raise ConfigError("regex_expression", expected, f'"{expression}": {error}') from None

    def find(value: bytes) -> bytes:
        for number, match in enumerate(compiled.finditer(value)):
            if number == index:
                found: bytes = match.group()
                return found
        raise ExtractionError(f"the regular expression has no match {index}")

    return find


def _xpath(expression: str) -> Find:
    if not expression:
        raise ConfigError("xpath_expression", "an XPath expression", "none")
    try:
        from lxml import etree
    except ImportError as error:
        raise MissingEngineError("lxml for XPath: pip install 'tykbridge[extractors]'") from error
    try:
        path = etree.XPath(expression, smart_strings=False, regexp=False)
        path(etree.Element("empty"))  # names prefixes and functions that nobody defines
    except (etree.XPathError, ValueError) as error:
        raise ConfigError("xpath_expression", "an XPath 1.0 expression", f'"{expression}": {error}') from None

    def find(value: bytes) -> bytes:
        if len(value) > MAX_XML:
            raise ExtractionError(f"XML of more than {MAX_XML} bytes")
        if b"<!DOCTYPE" in value:
            # Entities come from a DTD alone. The text is read as UTF-8 whatever it declares, so nothing hides one.
            raise ExtractionError("XML with a DTD")
        try:
            root = etree.fromstring(value, _parser())
            if b"xmlns" in value:
                _drop_namespaces(root)
            result = path(root)
        except (etree.LxmlError, ValueError) as error:
            raise ExtractionError(f"no XML that the expression can read: {error}") from None
        return _string(result).encode()

    return find


def _parser() -> XMLParser:
    # A parser of its own for each call: a shared one makes threads wait for each other.
    from lxml import etree

    return etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
    )


def _drop_namespaces(root: Any) -> None:
    # Upstream compares local names alone: //token finds <soap:token>.
    for element in root.iter("{*}*"):
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if name[:1] == "{"]:
            element.attrib[name.rpartition("}")[2]] = element.attrib.pop(name)


def _string(result: Any) -> str:
    """XPath's string(): of the first node of a set, or of a value."""
    if isinstance(result, list):
        if not result:
            raise ExtractionError("the XPath expression finds nothing")
        first = result[0]
        if isinstance(first, str):
            return first
        text = first.xpath("string()", smart_strings=False)
        return str(text)
    if isinstance(result, bool):
        return "true" if result else "false"
    if isinstance(result, float):
        return str(int(result)) if result.is_integer() else repr(result)
    return str(result)
