# What goes into a plugin: a message's fields as items of csrc/plugin.h.

cdef inline tykb_span span_of(const void *data, size_t size) noexcept:
    cdef tykb_span span
    span.data = <const uint8_t *>data
    span.size = size
    return span


cdef inline tykb_span span_of_bytes(bytes text) noexcept:
    return span_of(PyBytes_AS_STRING(text), <size_t>PyBytes_GET_SIZE(text))


cdef inline bytes bytes_of(tykb_span text):
    return PyBytes_FromStringAndSize(<const char *>text.data, <Py_ssize_t>text.size) if text.size else b""


cdef inline str text_of(tykb_span text):
    return bytes_of(text).decode("utf-8", "replace")


cdef inline bint same_name(tykb_span one, tykb_span other) noexcept:
    cdef uint8_t a, b
    if one.size != other.size:
        return False
    for at in range(one.size):
        a, b = one.data[at], other.data[at]
        if 65 <= a <= 90:
            a |= 0x20
        if 65 <= b <= 90:
            b |= 0x20
        if a != b:
            return False
    return True


cdef inline bint is_host(tykb_span name) noexcept:
    return name.size == 4 and same_name(name, span_of(<const char *>b"host", 4))


cdef inline uint32_t number_at(const uint8_t *data) noexcept:
    return data[0] | <uint32_t>data[1] << 8 | <uint32_t>data[2] << 16 | <uint32_t>data[3] << 24


cdef struct Out:
    uint8_t *data  # `own`, until that is too small
    size_t size
    size_t room
    uint8_t own[ROOM]


cdef uint8_t *grown(Out *out, size_t size) except NULL:
    """Makes room for `size` more bytes, and gives where they go."""
    cdef size_t room
    cdef uint8_t *data
    if out.room - out.size < size:
        room = 2 * (out.size + size)
        if out.data == out.own:
            data = <uint8_t *>malloc(room)
            if data != NULL:
                memcpy(data, out.own, out.size)
        else:
            data = <uint8_t *>realloc(out.data, room)
        if data == NULL:
            raise MemoryError()
        out.data, out.room = data, room
    data = out.data + out.size
    out.size += size
    return data


cdef inline void put_number(uint8_t *data, size_t number) noexcept:
    data[0], data[1] = <uint8_t>number, <uint8_t>(number >> 8)
    data[2], data[3] = <uint8_t>(number >> 16), <uint8_t>(number >> 24)


cdef inline int put(Out *out, uint32_t tag, tykb_span text) except -1:
    cdef uint8_t *data = grown(out, 8 + text.size)
    put_number(data, tag)
    put_number(data + 4, text.size)
    if text.size:
        memcpy(data + 8, text.data, text.size)
    return 0


cdef inline int put_pair(Out *out, uint32_t tag, tykb_span name, tykb_span value) except -1:
    cdef uint8_t *data = grown(out, 12 + name.size + value.size)
    put_number(data, tag)
    put_number(data + 4, 4 + name.size + value.size)
    put_number(data + 8, name.size)
    if name.size:
        memcpy(data + 12, name.data, name.size)
    if value.size:
        memcpy(data + 12 + name.size, value.data, value.size)
    return 0


cdef inline tykb_span text_in(tykb_node *node, const tykb_field *field) except *:
    cdef tykb_value value
    check(tykb_node_get(node, field, &value))
    return value.text


cdef inline bytes text_to_bytes(str text):
    return text.encode("utf-8", "replace")  # as the message has it: a lone surrogate becomes "?"


cdef inline bint put_header(Out *out, tykb_span name, tykb_span value, bint has_host) except? True:
    """Writes a header, and tells whether there was a host. Only the first one counts."""
    if not is_host(name):
        put_pair(out, TYKB_PLUGIN_HEADER, name, value)
    elif not has_host:
        has_host = True
        put(out, TYKB_PLUGIN_HOST, value)
    return has_host


cdef int put_kept(Out *out, uint64_t number) except -1:
    cdef uint8_t *data = grown(out, 16)
    put_number(data, TYKB_PLUGIN_KEPT)
    put_number(data + 4, 8)
    put_number(data + 8, number & 0xFFFFFFFF)
    put_number(data + 12, number >> 32)
    return 0


cdef int put_request(Out *out, tykb_node *request, headers) except -1:
    """`headers`: all of them, (name, value) each, where the message has not; else None."""
    cdef tykb_span text
    cdef tykb_map *map
    cdef tykb_entry *entries
    cdef size_t slots, count
    cdef bint has_host = False
    put(out, TYKB_PLUGIN_METHOD, text_in(request, METHOD))
    text = text_in(request, URL)
    if text.size == 0:
        text = text_in(request, REQUEST_URI)
    put(out, TYKB_PLUGIN_URL, text if text.size else span_of(<const char *>b"/", 1))
    text = text_in(request, SCHEME)
    if text.size:
        put(out, TYKB_PLUGIN_SCHEME, text)
    if headers is None:
        check(tykb_node_map(request, HEADERS, &map))
        check(tykb_map_entries(map, &entries, &slots, &count))
        for at in range(slots):
            if entries[at].live:
                has_host = put_header(out, entries[at].key, entries[at].value, has_host)
    else:
        for name, value in headers:
            key, data = text_to_bytes(name), text_to_bytes(value)
            has_host = put_header(out, span_of_bytes(key), span_of_bytes(data), has_host)
    text = text_in(request, RAW_BODY)
    if text.size == 0:
        text = text_in(request, BODY)
    if text.size:
        put(out, TYKB_PLUGIN_BODY, text)
    return 0


cdef bint has_values(tykb_list *several, tykb_span name) except -1:
    cdef tykb_element *elements
    cdef tykb_node *node
    cdef size_t count
    check(tykb_list_elements(several, &elements, &count))
    for at in range(count):
        check(tykb_list_node(several, at, &node))
        if same_name(text_in(node, KEY), name):
            return True
    return False


cdef int put_response(Out *out, tykb_node *response) except -1:
    cdef tykb_value status
    cdef tykb_span text
    cdef tykb_map *map
    cdef tykb_list *several
    cdef tykb_list *values
    cdef tykb_entry *entries
    cdef tykb_element *elements
    cdef tykb_element *texts
    cdef tykb_node *node
    cdef size_t slots, count, number
    cdef uint8_t *data = grown(out, 12)
    check(tykb_node_get(response, STATUS, &status))
    put_number(data, TYKB_PLUGIN_RESPONSE_STATUS)
    put_number(data + 4, 4)
    put_number(data + 8, <size_t>status.number)
    check(tykb_node_list(response, SEVERAL, &several))
    check(tykb_list_elements(several, &elements, &count))
    for at in range(count):
        check(tykb_list_node(several, at, &node))
        check(tykb_node_list(node, VALUES, &values))
        check(tykb_list_elements(values, &texts, &number))
        for i in range(number):
            put_pair(out, TYKB_PLUGIN_RESPONSE_HEADER, text_in(node, KEY), texts[i].value.text)
    check(tykb_node_map(response, RESPONSE_HEADERS, &map))
    check(tykb_map_entries(map, &entries, &slots, &number))
    for at in range(slots):
        if entries[at].live and (count == 0 or not has_values(several, entries[at].key)):
            put_pair(out, TYKB_PLUGIN_RESPONSE_HEADER, entries[at].key, entries[at].value)
    text = text_in(response, RESPONSE_RAW_BODY)
    if text.size == 0:
        text = text_in(response, RESPONSE_BODY)
    if text.size:
        put(out, TYKB_PLUGIN_RESPONSE_BODY, text)
    return 0


cdef int put_metadata(Out *out, tykb_node *root) except -1:
    cdef tykb_map *map
    cdef tykb_entry *entries
    cdef size_t slots, count
    cdef int has = tykb_node_has(root, OBJECT_METADATA)
    if has <= 0:
        return check(has)
    check(tykb_node_map(root, OBJECT_METADATA, &map))
    check(tykb_map_entries(map, &entries, &slots, &count))
    for at in range(slots):
        if entries[at].live:
            put_pair(out, TYKB_PLUGIN_METADATA, entries[at].key, entries[at].value)
    return 0


cdef bytes session_of(tykb_node *root):
    """The bytes of the session, b"" where there is none, or an empty one."""
    cdef tykb_node *node
    cdef void *data
    cdef size_t size
    cdef int has = tykb_node_has(root, OBJECT_SESSION)
    if has <= 0:
        check(has)
        return b""
    check(tykb_node_child(root, OBJECT_SESSION, &node))
    check(tykb_node_write(node, TYKB_REPLY_FULL, tykb_mem_alloc, &data, &size))
    try:
        return PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>size)
    finally:
        tykb_mem_free(data)
