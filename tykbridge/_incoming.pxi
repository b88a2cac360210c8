# The parts that the chain's messages are made of: what a host's message says of a request, as hooks are shown it.

cdef inline uint8_t *put_text(uint8_t *p, uint32_t number, tykb_span text) noexcept:
    """Writes a text field."""
    p = tykb_wire_put_varint(tykb_wire_put_varint(p, tykb_wire_tag(number, TYKB_WIRE_LEN)), text.size)
    return tykb_wire_put_bytes(p, text.data, text.size)


cdef inline int check_number(uint32_t number) except -1:
    """Sizes are worked out for tags of one byte."""
    if not 1 <= number <= 15:
        raise ValueError(f"{number}: a part's field has a number from 1 to 15")
    return 0


cpdef bytes part(uint32_t number, bytes data):
    """The bytes of a field that holds a message, text or bytes; empty ones are written too. `number`: 1 to 15."""
    cdef size_t size = <size_t>PyBytes_GET_SIZE(data)
    cdef bytes made
    check_number(number)
    made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(1 + tykb_wire_varint_size(size) + size))
    put_text(<uint8_t *>PyBytes_AS_STRING(made), number, span_of(PyBytes_AS_STRING(data), <Py_ssize_t>size))
    return made


cdef inline size_t entry_inside(tykb_span key, tykb_span value) noexcept:
    return 2 + tykb_wire_varint_size(key.size) + key.size + tykb_wire_varint_size(value.size) + value.size


cdef inline size_t entry_size(tykb_span key, tykb_span value) noexcept:
    """Bytes of an entry of a map from text to text."""
    cdef size_t inside = entry_inside(key, value)
    return 1 + tykb_wire_varint_size(inside) + inside


cdef inline uint8_t *put_entry(uint8_t *p, uint32_t number, tykb_span key, tykb_span value) noexcept:
    p = tykb_wire_put_varint(tykb_wire_put_varint(p, tykb_wire_tag(number, TYKB_WIRE_LEN)), entry_inside(key, value))
    return put_text(put_text(p, 1, key), 2, value)


cdef inline bint is_plain(object value) noexcept:
    return PyUnicode_Check(value) and PyUnicode_IS_COMPACT_ASCII(value)


cpdef str text(str value):
    """Text that a message can hold: a lone surrogate, from bytes that are not UTF-8, becomes "?"."""
    return value if is_plain(value) else value.encode("utf-8", "replace").decode()


cpdef bytes entries(uint32_t number, list pairs):
    """The bytes of a map from text to text, of its keys and values. `number`: 1 to 15."""
    cdef tykb_span key, value
    cdef size_t size = 0
    cdef bytes made
    cdef uint8_t *p
    cdef tuple pair  # which says the same each time
    check_number(number)
    for pair in pairs:
        name, words = pair
        if not (is_plain(name) and is_plain(words)):
            pairs = [(text(name), text(words)) for name, words in pairs]
            break
    for pair in pairs:
        name, words = pair
        text_from_python(name, &key)
        text_from_python(words, &value)
        size += entry_size(key, value)
    made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    p = <uint8_t *>PyBytes_AS_STRING(made)
    for pair in pairs:
        name, words = pair
        text_from_python(name, &key)
        text_from_python(words, &value)
        p = put_entry(p, number, key, value)
    return made


NO_OVERRIDES = b"\x52\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
cdef tykb_span no_overrides = span_of(PyBytes_AS_STRING(NO_OVERRIDES), PyBytes_GET_SIZE(NO_OVERRIDES))


cdef enum:
    OTHERWISE = 0
    PLAIN = 1
    PLAIN_WITH_BODY = 2


cdef int malformed() except -1:
    from tykbridge.errors import MalformedError

    raise MalformedError("the message is not a serialised coprocess.Object: its fields cannot be read")


def incoming(bytes data not None):
    """What a host's Object is about: the id of its API, the part that shows hooks the request, and if it has a body.

    None where hooks cannot be shown that as it is: the request comes in pieces or with edits, leaves out parameters or
    request_uri, has its body as text, or names no API. MalformedError where the fields of message or request cannot be
    told apart; what is in them is looked at when it is read.
    """
    return arrived(span_of(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)))


cdef tuple arrived(tykb_span data):
    cdef const uint8_t *p = data.data
    cdef const uint8_t *end = p + data.size
    cdef tykb_wire_field wire
    cdef tykb_span request = span_of(NULL, 0), api = span_of(NULL, 0), key, value
    cdef int pieces = 0, form
    while p < end:
        p = tykb_wire_next(p, end, &wire)
        if p == NULL:
            malformed()
        if wire.type != TYKB_WIRE_LEN:
            continue
        if wire.number == 3:
            pieces += 1
            request = wire.len
        elif wire.number == 6:
            if tykb_entry_parse(wire.len, &key, &value) != TYKB_OK:
                malformed()
            if key.size == 5 and memcmp(key.data, <const char *>b"APIID", 5) == 0:
                api = value
    form = form_of(request)
    if not tykb_wire_is_utf8(api.data, api.size):
        malformed()
    if api.size == 0 or pieces != 1 or form == OTHERWISE:
        return None
    return (text_to_python(api, OBJECT_SPEC), shown_request(request, span_of(NULL, 0)), form == PLAIN_WITH_BODY)


cpdef bytes with_text(bytes shown):
    """What `incoming` gave, with the body as text, too; the same where the body is not UTF-8."""
    cdef tykb_wire_field wire
    cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(shown)
    cdef const uint8_t *end = p + PyBytes_GET_SIZE(shown)
    cdef tykb_span request, body = span_of(NULL, 0)
    if p >= end:
        return shown
    tykb_wire_next(p, end, &wire)
    request = wire.len
    request.size -= no_overrides.size
    p, end = request.data, request.data + request.size
    while p < end:
        p = tykb_wire_next(p, end, &wire)
        if wire.number == 14 and wire.type == TYKB_WIRE_LEN:
            body = wire.len
    return shown_request(request, body) if tykb_wire_is_utf8(body.data, body.size) else shown


cdef bytes shown_request(tykb_span request, tykb_span text):
    """The part of an Object that shows hooks a request: with overrides that override nothing, and maybe with text."""
    cdef size_t body = 1 + tykb_wire_varint_size(text.size) + text.size if text.size else 0
    cdef size_t size = request.size + body + no_overrides.size
    cdef bytes shown = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(1 + tykb_wire_varint_size(size) + size))
    cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(shown)
    to = tykb_wire_put_varint(tykb_wire_put_varint(to, tykb_wire_tag(3, TYKB_WIRE_LEN)), size)
    to = tykb_wire_put_bytes(to, request.data, request.size)
    if body:
        to = put_text(to, 4, text)
    tykb_wire_put_bytes(to, no_overrides.data, no_overrides.size)
    return shown


cdef int form_of(tykb_span request) except -1:
    """Whether a request has no edits, names its parameters and its uri, and has its body as bytes alone."""
    cdef const uint8_t *p = request.data
    cdef const uint8_t *end = p + request.size
    cdef tykb_wire_field wire
    cdef bint query = False, params = False, edited = False, body = False, uri = False
    while p < end:
        p = tykb_wire_next(p, end, &wire)
        if p == NULL:
            malformed()
        if wire.type != TYKB_WIRE_LEN or wire.number == 1:
            continue
        if wire.number == 5:
            query = wire.len.size != 0 and memchr(wire.len.data, 63, wire.len.size) != NULL  # "?"
        elif wire.number == 6:
            params = True
        elif wire.number == 12:
            uri = wire.len.size != 0
        elif wire.number == 14:
            body = wire.len.size != 0
        elif wire.number in (2, 3, 7, 8, 9, 10) or (wire.number == 4 and wire.len.size):
            edited = True
    if edited or not uri or (query and not params):
        return OTHERWISE
    return PLAIN_WITH_BODY if body else PLAIN
