# Messages that a server answers: what it gets of one, and what its answer makes of it. Nothing is decoded on the way.

cdef enum:
    CARRIED_LIMIT = 512  # bytes of a value that travels beside a message; a client chose it
    CUSTOM_KEY_CHECK = 4
    RESPONSE_HOOK = 5

cdef const tykb_field *REQUEST_BODY = row_of(REQUEST, "body")
cdef const tykb_field *REQUEST_RAW_BODY = row_of(REQUEST, "raw_body")
cdef const tykb_field *RESPONSE_BODY = row_of(RESPONSE, "body")
cdef const tykb_field *RESPONSE_RAW_BODY = row_of(RESPONSE, "raw_body")


def outgoing(Message message not None, bytes tail not None, tuple names not None):
    """What a server gets of an Object: its bytes and `tail`; the id of its API; and (name, value) of some headers.

    The headers are those of its request that are among `names`, whatever their case. One that is longer than what such
    headers hold, or has bytes that gRPC's metadata cannot, is left out.
    """
    cdef tykb_node *root = message.get_node()
    cdef tykb_node *request
    cdef tykb_span value, api = span_of(NULL, 0)
    cdef void *data
    cdef size_t size
    cdef bytes made, name
    cdef list headers = []
    cdef int status = tykb_node_child(root, OBJECT_REQUEST, &request)
    if status != TYKB_OK:
        failed(status, OBJECT.name)
    for name in names:
        status = tykb_headers_find(request, span_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)), &value)
        if status == TYKB_OK:
            if value.size <= CARRIED_LIMIT and is_printable(value):
                headers.append((name, bytes_of(value)))
        elif status != TYKB_E_NOT_FOUND:
            failed(status, REQUEST.name)
    status = tykb_node_find(root, OBJECT_SPEC, span_of(<const char *>b"APIID", 5), &api)
    if status != TYKB_OK and status != TYKB_E_NOT_FOUND:
        failed(status, OBJECT.name)
    status = tykb_node_write(root, TYKB_REPLY_FULL, tykb_mem_alloc, &data, &size)
    if status != TYKB_OK:
        failed(status, OBJECT.name)
    try:
        made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(size + <size_t>PyBytes_GET_SIZE(tail)))
        memcpy(PyBytes_AS_STRING(made), data, size)
        memcpy(PyBytes_AS_STRING(made) + size, PyBytes_AS_STRING(tail), <size_t>PyBytes_GET_SIZE(tail))
    finally:
        tykb_mem_free(data)
    return made, bytes_of(api), headers


cdef inline bint is_printable(tykb_span text) noexcept:
    cdef size_t at
    for at in range(text.size):
        if text.data[at] < 0x20 or text.data[at] > 0x7E:
            return False
    return True


cdef struct Piece:
    tykb_span bytes  # of the last field with the number
    int count


cdef void collect(bytes data, Piece *pieces) noexcept:
    """Finds the fields of an Object that hold messages. The bytes were checked, or written here."""
    cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef const uint8_t *end = p + PyBytes_GET_SIZE(data)
    cdef tykb_wire_field wire
    memset(pieces, 0, 8 * sizeof(Piece))
    while p != NULL and p < end:
        p = tykb_wire_next(p, end, &wire)
        if p != NULL and wire.type == TYKB_WIRE_LEN and wire.number < 8:
            pieces[wire.number].bytes = wire.len
            pieces[wire.number].count += 1


def answered(Message message not None, bytes sent not None, bytes answer not None, int hook_type):
    """Makes an Object what a server made of it; False where the answer has not what the hook is about.

    That is the response for a response hook (hook_type 5), otherwise the request. What is as it was `sent` is left
    alone. A missing session says something where a hook authenticates (4) only, and metadata count there alone.
    Raises google.protobuf's DecodeError for an answer that is no Object.
    """
    cdef Piece before[8]
    cdef Piece after[8]
    check_bytes(OBJECT, answer)
    collect(sent, before)
    collect(answer, after)
    if after[OBJECT_RESPONSE.number if hook_type == RESPONSE_HOOK else OBJECT_REQUEST.number].count == 0:
        return False
    if hook_type == RESPONSE_HOOK:
        put_answer(message, OBJECT_RESPONSE, RESPONSE_BODY, RESPONSE_RAW_BODY, before, after, answer)
    else:
        put_answer(message, OBJECT_REQUEST, REQUEST_BODY, REQUEST_RAW_BODY, before, after, answer)
    if after[OBJECT_SESSION.number].count:
        put_answer(message, OBJECT_SESSION, NULL, NULL, before, after, answer)
    elif hook_type == CUSTOM_KEY_CHECK:
        message.ClearField("session")
    if hook_type == CUSTOM_KEY_CHECK:
        put_metadata(message, answer)
    return True


cdef int put_answer(
    Message message, const tykb_field *row, const tykb_field *body, const tykb_field *raw_body, Piece *before,
    Piece *after, bytes answer
) except -1:
    """Puts a message of the answer in the place of the one that was sent."""
    cdef Piece *old = &before[row.number]
    cdef Piece *new = &after[row.number]
    cdef tykb_node *root = message.get_node()
    cdef tykb_node *gone
    cdef tykb_node *node
    cdef tykb_value old_text, old_raw
    cdef bytes whole
    cdef void *known
    cdef int status
    if old.count == 1 and new.count == 1 and old.bytes.size == new.bytes.size \
            and memcmp(old.bytes.data, new.bytes.data, new.bytes.size) == 0:
        return 0
    status = tykb_node_child(root, row, &gone)
    if status == TYKB_OK and body != NULL:
        status = tykb_node_get(gone, body, &old_text)
        if status == TYKB_OK:
            status = tykb_node_get(gone, raw_body, &old_raw)
    if new.count > 1:
        whole = joined(answer, row.number)
        new.bytes = span_of(PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole))
    if status == TYKB_OK:
        status = tykb_node_replace(root, row, new.bytes)
    if status == TYKB_OK:
        status = tykb_node_child(root, row, &node)
    if status == TYKB_OK and body != NULL:
        status = settle_answer(node, body, raw_body, old_text.text, old_raw.text)
    if status != TYKB_OK:
        failed(status, OBJECT.name)
    known = tykb_node_view(gone)[0]
    if known != NULL:  # the dispatch's own view of it
        tykb_node_view(gone)[0] = NULL
        (<Message>known).node = node
        tykb_node_view(node)[0] = known
    return 0


cdef bytes joined(bytes answer, uint32_t number):
    """All fields of an Object with a number: one message behind the other is one message."""
    cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(answer)
    cdef const uint8_t *end = p + PyBytes_GET_SIZE(answer)
    cdef tykb_wire_field wire
    pieces = []
    while p < end:
        p = tykb_wire_next(p, end, &wire)
        if wire.number == number and wire.type == TYKB_WIRE_LEN:
            pieces.append(bytes_of(wire.len))
    return b"".join(pieces)


cdef int settle_answer(
    tykb_node *node, const tykb_field *body, const tykb_field *raw_body, tykb_span old_text, tykb_span old_raw
) noexcept:
    """Lets the body that the server changed win, raw_body where it changed both: an answer says nothing of an order."""
    cdef tykb_value text, raw
    cdef int status = tykb_node_get(node, body, &text)
    if status == TYKB_OK:
        status = tykb_node_get(node, raw_body, &raw)
    if status != TYKB_OK:
        return status
    if not same_text(raw.text, old_raw):
        return tykb_node_set(node, raw_body, raw) if raw.text.size == 0 else TYKB_OK  # else it counts by itself
    return TYKB_OK if same_text(text.text, old_text) else tykb_node_set(node, body, text)


cdef inline bint same_text(tykb_span one, tykb_span other) noexcept:
    return one.size == other.size and (one.size == 0 or memcmp(one.data, other.data, one.size) == 0)


cdef int put_metadata(Message message, bytes answer) except -1:
    cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(answer)
    cdef const uint8_t *end = p + PyBytes_GET_SIZE(answer)
    cdef const tykb_field *row = OBJECT_METADATA_FIELD.row
    cdef tykb_node *root = message.get_node()
    cdef tykb_wire_field wire
    cdef tykb_span key, value
    cdef tykb_map *map
    cdef int status = tykb_node_clear_field(root, row)
    if status == TYKB_OK:
        status = tykb_node_map(root, row, &map)
    while p < end and status == TYKB_OK:
        p = tykb_wire_next(p, end, &wire)
        if wire.number == row.number and wire.type == TYKB_WIRE_LEN:
            status = tykb_entry_parse(wire.len, &key, &value)
            if status == TYKB_OK:
                status = tykb_map_put(map, key, value)
    if status != TYKB_OK:
        failed(status, OBJECT.name)
    return 0
