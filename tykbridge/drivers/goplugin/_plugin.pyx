# cython: language_level=3, binding=False, boundscheck=False, wraparound=False, auto_pickle=False
"""One native plugin: csrc/plugin.h for Python, and a message's views as items and back.

Python's lock is released while a plugin runs. What it asks of the host comes back on any thread, takes the lock for as long
as it needs, and is refused once the interpreter ends: a thread of Go's must not end where it waits for the lock.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset, strcmp

from tykbridge._bridge cimport (
    TYKB_E_NO_MEMORY,
    TYKB_E_NOT_FOUND,
    TYKB_OK,
    TYKB_REPLY_FULL,
    Message,
    tykb_element,
    tykb_entry,
    tykb_field,
    tykb_headers_find,
    tykb_list,
    tykb_list_add,
    tykb_list_append,
    tykb_list_elements,
    tykb_list_node,
    tykb_list_remove,
    tykb_map,
    tykb_map_entries,
    tykb_map_put,
    tykb_map_remove,
    tykb_mem_alloc,
    tykb_mem_free,
    tykb_node,
    tykb_node_child,
    tykb_node_clear_field,
    tykb_node_get,
    tykb_node_has,
    tykb_node_list,
    tykb_node_map,
    tykb_node_set,
    tykb_node_write,
    tykb_span,
    tykb_type,
    tykb_value,
    tykb_wire_is_utf8,
)

from tykbridge.failures import ScriptError

from tykbridge._bridge import message as new_message

cdef extern from "object.h":
    const tykb_type *tykb_node_type(const tykb_node *node)

cdef extern from "dlfcn.h" nogil:
    enum:
        RTLD_NOW
        RTLD_LOCAL
    void *dlopen(const char *name, int flags)
    void *dlsym(void *library, const char *name)
    int dlclose(void *library)
    char *dlerror()

cdef extern from *:
    """
    static int tykb_asking; /* calls of plugins to the host that may be in need of Python's lock */
    static int tykb_over;   /* the interpreter ends: no more of them */
    static inline int tykb_enter(void) {
      __atomic_add_fetch(&tykb_asking, 1, __ATOMIC_SEQ_CST);
      if (!__atomic_load_n(&tykb_over, __ATOMIC_SEQ_CST)) return 1;
      __atomic_sub_fetch(&tykb_asking, 1, __ATOMIC_SEQ_CST);
      return 0;
    }
    static inline void tykb_leave(void) { __atomic_sub_fetch(&tykb_asking, 1, __ATOMIC_SEQ_CST); }
    static inline void tykb_end(void) { __atomic_store_n(&tykb_over, 1, __ATOMIC_SEQ_CST); }
    static inline int tykb_busy(void) { return __atomic_load_n(&tykb_asking, __ATOMIC_SEQ_CST) > 0; }
    static inline void tykb_forked(void) { __atomic_store_n(&tykb_asking, 0, __ATOMIC_SEQ_CST); }
    """
    bint tykb_enter() nogil
    void tykb_leave() nogil
    void tykb_end() nogil
    bint tykb_busy() nogil
    void tykb_forked() nogil

cdef extern from "plugin.h" nogil:
    enum:
        TYKB_PLUGIN_ABI
        TYKB_PLUGIN_CONTINUE
        TYKB_PLUGIN_RESPOND
        TYKB_PLUGIN_E_ARGUMENT
        TYKB_PLUGIN_E_NOT_FOUND
        TYKB_PLUGIN_E_HOST
        TYKB_PLUGIN_IF_ABSENT
        TYKB_PLUGIN_METHOD
        TYKB_PLUGIN_URL
        TYKB_PLUGIN_SCHEME
        TYKB_PLUGIN_HOST
        TYKB_PLUGIN_HEADER
        TYKB_PLUGIN_DELETE_HEADER
        TYKB_PLUGIN_BODY
        TYKB_PLUGIN_RESPONSE_STATUS
        TYKB_PLUGIN_RESPONSE_HEADER
        TYKB_PLUGIN_RESPONSE_DELETE_HEADER
        TYKB_PLUGIN_RESPONSE_BODY
        TYKB_PLUGIN_SESSION
        TYKB_PLUGIN_TOKEN
        TYKB_PLUGIN_METADATA
        TYKB_PLUGIN_TARGET
        TYKB_PLUGIN_ERROR
        TYKB_PLUGIN_STACK

    struct tykb_plugin_reply:
        uint8_t *data
        size_t capacity
        size_t size
        uint64_t kept

    struct tykb_plugin_call:
        uint32_t size
        uint32_t phase
        int64_t hook
        int64_t definition
        int64_t timeout_ns
        const uint8_t *data
        size_t data_size

    struct tykb_plugin_host:
        uint32_t abi
        uint32_t size
        void *context
        const char *settings
        void (*log)(void *, const char *, const char *, size_t) noexcept nogil
        int (*trigger_event)(void *, const char *, size_t, const char *, size_t) noexcept nogil
        int64_t (*store_get)(void *, const char *, size_t, uint8_t *, size_t) noexcept nogil
        int (*store_set)(void *, const char *, size_t, const uint8_t *, size_t, int64_t, uint32_t) noexcept nogil
        int (*store_delete)(void *, const char *, size_t) noexcept nogil
        int (*store_increment)(void *, const char *, size_t, int64_t, int64_t, int64_t *) noexcept nogil
        int64_t (*store_ttl)(void *, const char *, size_t) noexcept nogil

    struct tykb_plugin:
        uint32_t abi
        uint32_t size
        const char *(*manifest)() noexcept nogil
        int (*start)(const tykb_plugin_host *, tykb_plugin_reply *) noexcept nogil
        int64_t (*define)(const char *, size_t, tykb_plugin_reply *) noexcept nogil
        void (*release)(int64_t) noexcept nogil
        int64_t (*lookup)(const char *, size_t, uint32_t) noexcept nogil
        int (*invoke)(const tykb_plugin_call *, tykb_plugin_reply *) noexcept nogil
        int (*fetch)(uint64_t, tykb_plugin_reply *) noexcept nogil


cdef enum:
    ROOM = 4096  # bytes of a call, or of a reply, that lie on the stack


# ---- Rows of the table of fields

cdef const tykb_field *row_of(const tykb_type *type, const char *name) except NULL:
    for at in range(type.count):
        if strcmp(type.fields[at].name, name) == 0:
            return &type.fields[at]
    raise KeyError(name.decode())


# The table of the module that makes the messages: rows are told apart by their addresses, and this has a copy.
cdef const tykb_type *OBJECT = tykb_node_type((<Message>new_message("Object")).get_node())
cdef const tykb_field *OBJECT_REQUEST = row_of(OBJECT, "request")
cdef const tykb_field *OBJECT_SESSION = row_of(OBJECT, "session")
cdef const tykb_field *OBJECT_METADATA = row_of(OBJECT, "metadata")
cdef const tykb_field *OBJECT_RESPONSE = row_of(OBJECT, "response")
cdef const tykb_type *REQUEST = OBJECT_REQUEST.child
cdef const tykb_field *HEADERS = row_of(REQUEST, "headers")
cdef const tykb_field *SET_HEADERS = row_of(REQUEST, "set_headers")
cdef const tykb_field *DELETE_HEADERS = row_of(REQUEST, "delete_headers")
cdef const tykb_field *BODY = row_of(REQUEST, "body")
cdef const tykb_field *RAW_BODY = row_of(REQUEST, "raw_body")
cdef const tykb_field *METHOD = row_of(REQUEST, "method")
cdef const tykb_field *URL = row_of(REQUEST, "url")
cdef const tykb_field *REQUEST_URI = row_of(REQUEST, "request_uri")
cdef const tykb_field *SCHEME = row_of(REQUEST, "scheme")
cdef const tykb_field *OVERRIDES = row_of(REQUEST, "return_overrides")
cdef const tykb_field *CODE = row_of(OVERRIDES.child, "response_code")
cdef const tykb_field *ANSWER = row_of(OVERRIDES.child, "response_body")
cdef const tykb_field *ANSWER_ERROR = row_of(OVERRIDES.child, "response_error")
cdef const tykb_field *ANSWER_HEADERS = row_of(OVERRIDES.child, "headers")
cdef const tykb_field *AS_IT_IS = row_of(OVERRIDES.child, "override_error")
cdef const tykb_field *STATUS = row_of(OBJECT_RESPONSE.child, "status_code")
cdef const tykb_field *RESPONSE_BODY = row_of(OBJECT_RESPONSE.child, "body")
cdef const tykb_field *RESPONSE_RAW_BODY = row_of(OBJECT_RESPONSE.child, "raw_body")
cdef const tykb_field *RESPONSE_HEADERS = row_of(OBJECT_RESPONSE.child, "headers")
cdef const tykb_field *SEVERAL = row_of(OBJECT_RESPONSE.child, "multivalue_headers")
cdef const tykb_field *KEY = row_of(SEVERAL.child, "key")
cdef const tykb_field *VALUES = row_of(SEVERAL.child, "values")


cdef int check(int status) except -1:
    if status == TYKB_OK:
        return 0
    if status == TYKB_E_NO_MEMORY:
        raise MemoryError()
    raise ScriptError(f"the message cannot be read: status {status} of csrc/api.h")


# ---- Text

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


# ---- Items that go in

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


cdef int put_request(Out *out, tykb_node *request) except -1:
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
    check(tykb_node_map(request, HEADERS, &map))
    check(tykb_map_entries(map, &entries, &slots, &count))
    for at in range(slots):
        if not entries[at].live:
            continue
        if not is_host(entries[at].key):
            put_pair(out, TYKB_PLUGIN_HEADER, entries[at].key, entries[at].value)
        elif not has_host:
            has_host = True
            put(out, TYKB_PLUGIN_HOST, entries[at].value)
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


# ---- Items that come back

cdef struct Item:
    uint32_t tag
    tykb_span name  # of a pair
    tykb_span value


cdef struct Items:
    Item *items  # `own`, until there are more
    size_t count
    Item own[32]


cdef int read(Items *items, const uint8_t *data, size_t size) except -1:
    """Finds the items of a reply."""
    cdef const uint8_t *at = data
    cdef const uint8_t *end = data + size
    cdef size_t room = 32, length, name
    cdef Item *item
    cdef Item *more
    while at < end:
        if end - at < 8 or number_at(at + 4) > <size_t>(end - at - 8):
            raise ScriptError("its reply is not made of items, as csrc/plugin.h has them")
        if items.count == room:
            room *= 2
            more = <Item *>malloc(room * sizeof(Item))
            if more == NULL:
                raise MemoryError()
            memcpy(more, items.items, items.count * sizeof(Item))
            if items.items != items.own:
                free(items.items)
            items.items = more
        item = &items.items[items.count]
        item.tag, length = number_at(at), number_at(at + 4)
        item.name, item.value = span_of(NULL, 0), span_of(at + 8, length)
        if item.tag in (TYKB_PLUGIN_HEADER, TYKB_PLUGIN_RESPONSE_HEADER, TYKB_PLUGIN_METADATA):
            name = number_at(at + 8) if length >= 4 else length
            if length < 4 or name > length - 4:
                raise ScriptError("its reply has a pair that is none, as csrc/plugin.h has them")
            item.name, item.value = span_of(at + 12, name), span_of(at + 12 + name, length - 4 - name)
        items.count += 1
        at += 8 + length
    return 0


cdef int failed(Items *items, int status) except -1:
    words, stack = "", ""
    for at in range(items.count):
        if items.items[at].tag == TYKB_PLUGIN_ERROR:
            words = text_of(items.items[at].value)
        elif items.items[at].tag == TYKB_PLUGIN_STACK:
            stack = text_of(items.items[at].value)
    words = words or f"it failed with the status {status} of csrc/plugin.h, and without words"
    raise ScriptError(words, trace=f"{words}\n{stack.rstrip()}" if stack else words)


cdef bint is_first(Items *items, size_t at, uint32_t add, uint32_t delete) noexcept:
    """Whether no item before is about the same header."""
    cdef tykb_span name = name_of(&items.items[at], add)
    for i in range(at):
        if items.items[i].tag in (add, delete) and same_name(name_of(&items.items[i], add), name):
            return False
    return True


cdef inline tykb_span name_of(Item *item, uint32_t add) noexcept:
    return item.name if item.tag == add else item.value


cdef int change_request_header(tykb_node *request, Items *items, size_t first) except -1:
    """Does what all items about one header say. A request's message has one value for each: several are joined."""
    cdef tykb_span name = name_of(&items.items[first], TYKB_PLUGIN_HEADER)
    cdef tykb_span value = span_of(NULL, 0)
    cdef tykb_value gone
    cdef tykb_map *map
    cdef tykb_list *names
    cdef bint deleted = False
    cdef int status
    cdef size_t count = 0
    cdef list values
    for at in range(first, items.count):
        if items.items[at].tag == TYKB_PLUGIN_HEADER and same_name(items.items[at].name, name):
            if count == 0:
                name, value = items.items[at].name, items.items[at].value
            count += 1
        elif items.items[at].tag == TYKB_PLUGIN_DELETE_HEADER and same_name(items.items[at].value, name):
            deleted = True
    if count == 0:
        check(tykb_node_list(request, DELETE_HEADERS, &names))
        gone.text = name
        return check(tykb_list_append(names, gone))
    check(tykb_node_map(request, SET_HEADERS, &map))
    values = []
    if not deleted:
        status = tykb_headers_find(request, name, &value)
        if status == TYKB_OK:
            values.append(bytes_of(value))
        elif status != TYKB_E_NOT_FOUND:
            check(status)
    if count + <size_t>len(values) == 1:
        for at in range(first, items.count):
            if items.items[at].tag == TYKB_PLUGIN_HEADER and same_name(items.items[at].name, name):
                value = items.items[at].value
        return check(tykb_map_put(map, name, value))
    for at in range(first, items.count):
        if items.items[at].tag == TYKB_PLUGIN_HEADER and same_name(items.items[at].name, name):
            values.append(bytes_of(items.items[at].value))
    # RFC 9110, section 5.3, and RFC 6265, section 5.4.
    joined = (b"; " if same_name(name, span_of(<const char *>b"cookie", 6)) else b", ").join(values)
    return check(tykb_map_put(map, name, span_of_bytes(joined)))


cdef int drop_values(tykb_list *several, tykb_span name) except -1:
    cdef tykb_element *elements
    cdef tykb_node *node
    cdef size_t count
    check(tykb_list_elements(several, &elements, &count))
    while count > 0:
        count -= 1
        check(tykb_list_node(several, count, &node))
        if same_name(text_in(node, KEY), name):
            check(tykb_list_remove(several, count))
    return 0


cdef list values_of(tykb_node *response, tykb_list *several, tykb_span name):
    """The values of a header of the response, in both places where they may be."""
    cdef tykb_map *map
    cdef tykb_list *inner
    cdef tykb_entry *entries
    cdef tykb_element *elements
    cdef tykb_element *texts
    cdef tykb_node *node
    cdef size_t slots, count, number
    cdef list found = []
    check(tykb_list_elements(several, &elements, &count))
    for at in range(count):
        check(tykb_list_node(several, at, &node))
        if same_name(text_in(node, KEY), name):
            check(tykb_node_list(node, VALUES, &inner))
            check(tykb_list_elements(inner, &texts, &number))
            found += [bytes_of(texts[i].value.text) for i in range(number)]
    if not found:
        check(tykb_node_map(response, RESPONSE_HEADERS, &map))
        check(tykb_map_entries(map, &entries, &slots, &count))
        found = [
            bytes_of(entries[at].value) for at in range(slots) if entries[at].live and same_name(entries[at].key, name)
        ]
    return found


cdef int drop_header(tykb_node *response, tykb_span name) except -1:
    """Takes a header out of the map of first values, in every spelling."""
    cdef tykb_map *map
    cdef tykb_entry *entries
    cdef size_t slots, count
    check(tykb_node_map(response, RESPONSE_HEADERS, &map))
    check(tykb_map_entries(map, &entries, &slots, &count))
    for spelled in [bytes_of(entries[at].key) for at in range(slots) if entries[at].live and same_name(entries[at].key, name)]:
        check(tykb_map_remove(map, span_of_bytes(spelled)))
    return 0


cdef int change_response_header(tykb_node *response, Items *items, size_t first, bint deleted) except -1:
    """Does what all items about one header say. Where values stay, the map of first values is left: it says nothing then."""
    cdef tykb_span name = name_of(&items.items[first], TYKB_PLUGIN_RESPONSE_HEADER)
    cdef tykb_list *several
    cdef tykb_list *texts
    cdef tykb_node *node
    cdef tykb_value text
    added = []
    for at in range(first, items.count):
        if items.items[at].tag == TYKB_PLUGIN_RESPONSE_HEADER and same_name(items.items[at].name, name):
            name = items.items[at].name
            added.append(bytes_of(items.items[at].value))
        elif items.items[at].tag == TYKB_PLUGIN_RESPONSE_DELETE_HEADER and same_name(items.items[at].value, name):
            deleted = True
    check(tykb_node_list(response, SEVERAL, &several))
    values = added if deleted else values_of(response, several, name) + added
    drop_values(several, name)
    if not values:
        return drop_header(response, name)
    check(tykb_list_add(several, &node))
    text.text = name
    check(tykb_node_set(node, KEY, text))
    check(tykb_node_list(node, VALUES, &texts))
    for value in values:
        text.text = span_of_bytes(value)
        check(tykb_list_append(texts, text))
    return 0


cdef int change_headers(tykb_node *node, Items *items, uint32_t add, uint32_t delete, bint is_answer) except -1:
    for at in range(items.count):
        if items.items[at].tag in (add, delete) and is_first(items, at, add, delete):
            if add == TYKB_PLUGIN_HEADER:
                change_request_header(node, items, at)
            else:
                change_response_header(node, items, at, is_answer)
    return 0


cdef int set_text(tykb_node *node, const tykb_field *field, tykb_span text) except -1:
    cdef tykb_value value
    value.text = text
    return check(tykb_node_set(node, field, value))


cdef int set_number(tykb_node *node, const tykb_field *field, int64_t number) except -1:
    cdef tykb_value value
    value.number = number
    return check(tykb_node_set(node, field, value))


cdef inline int64_t status_in(Item *item) except -1:
    if item.value.size != 4:
        raise ScriptError("its reply has a status that is no uint32, as csrc/plugin.h has it")
    return number_at(item.value.data)


cdef int answer(tykb_node *request, Items *items) except -1:
    """Makes a response to the client of a hook on requests the message's return_overrides."""
    cdef tykb_node *overrides
    cdef tykb_map *map
    cdef Item *item
    cdef int64_t code = 200
    check(tykb_node_child(request, OVERRIDES, &overrides))
    check(tykb_node_map(overrides, ANSWER_HEADERS, &map))
    spelled = set()
    for at in range(items.count):
        item = &items.items[at]
        if item.tag == TYKB_PLUGIN_RESPONSE_STATUS:
            code = status_in(item)
        elif item.tag == TYKB_PLUGIN_RESPONSE_BODY:
            if not tykb_wire_is_utf8(item.value.data, item.value.size):
                raise ScriptError("it answers with a body that is not UTF-8, which the response of a hook on requests must be")
            set_text(overrides, ANSWER, item.value)
        elif item.tag == TYKB_PLUGIN_RESPONSE_HEADER:
            name = other_spelling(bytes_of(item.name), spelled)
            spelled.add(name)
            check(tykb_map_put(map, span_of_bytes(name), item.value))
    set_number(overrides, CODE, code)
    set_text(overrides, ANSWER_ERROR, span_of(NULL, 0))
    return set_number(overrides, AS_IT_IS, True)  # its words are the body, and not a text for the error's template


cdef bytes other_spelling(bytes name, set taken):
    """A header's name, in other letters where it is taken: a map has one value for each, and HTTP does not mind."""
    if name not in taken:
        return name
    letters = [at for at in range(len(name)) if name[at:at + 1].isalpha()]
    for number in range(1, 1 << min(len(letters), 16)):
        other = bytearray(name.lower())
        for i, at in enumerate(letters):
            if number >> i & 1:
                other[at] -= 32
        if bytes(other) not in taken:
            return bytes(other)
    raise ScriptError(f"it answers with more values of the header {name.decode('utf-8', 'replace')} than a message holds")


cdef class Plugin:
    """An open library. It is never closed, and this lives as long: threads of its own may call the host at any time.

    Attributes:
        host: what the plugin may ask for: see `host.Host`.
    """
    cdef const tykb_plugin *table
    cdef tykb_plugin_host offered
    cdef readonly object host

    def __cinit__(self, bytes path not None, host):
        """Opens a file, and lets it say what is in it. Its code runs. ScriptError: that cannot be done."""
        cdef const char *name = path
        cdef void *library
        cdef void *found = NULL
        cdef const char *error = NULL
        self.host = host
        with nogil:  # what starts with the library runs here, and may call anything
            library = dlopen(name, RTLD_NOW | RTLD_LOCAL)
            if library == NULL:
                error = dlerror()
            else:
                found = dlsym(library, "tykb_plugin")
        if library == NULL:
            raise ScriptError(error.decode("utf-8", "replace") if error != NULL else "it cannot be opened")
        opened.append(self)
        if found == NULL:
            raise ScriptError('it does not export "tykb_plugin", which csrc/plugin.h asks for')
        self.table = <const tykb_plugin *>found
        if self.table.abi != TYKB_PLUGIN_ABI or self.table.size < sizeof(tykb_plugin):
            raise ScriptError(
                f"it speaks version {self.table.abi} of csrc/plugin.h, and this is version {TYKB_PLUGIN_ABI}: build it again"
            )

    def manifest(self):
        """What is in it, as JSON."""
        cdef const char *text
        with nogil:
            text = self.table.manifest()
        if text == NULL:
            raise ScriptError("it does not say what is in it")
        return <bytes>text

    def start(self):
        """Lets it begin, once."""
        cdef Reply reply = Reply.__new__(Reply)
        cdef int status
        memset(&self.offered, 0, sizeof(self.offered))
        self.offered.abi, self.offered.size = TYKB_PLUGIN_ABI, sizeof(tykb_plugin_host)
        self.offered.context = <void *>self
        self.offered.log = on_log
        self.offered.trigger_event = on_event
        self.offered.store_get = on_get
        self.offered.store_set = on_set
        self.offered.store_delete = on_delete
        self.offered.store_increment = on_increment
        self.offered.store_ttl = on_ttl
        with nogil:
            status = self.table.start(&self.offered, &reply.reply)
        reply.check(self, status)

    def lookup(self, bytes name not None, uint32_t kind):
        """The number of a hook, None where there is none."""
        cdef const char *text = name
        cdef size_t size = <size_t>PyBytes_GET_SIZE(name)
        cdef int64_t number
        with nogil:
            number = self.table.lookup(text, size, kind)
        return number if number > 0 else None

    def define(self, bytes json not None):
        """Makes an API known; gives its number."""
        cdef Reply reply = Reply.__new__(Reply)
        cdef const char *text = json
        cdef size_t size = <size_t>PyBytes_GET_SIZE(json)
        cdef int64_t number
        with nogil:
            number = self.table.define(text, size, &reply.reply)
        reply.check(self, <int>number if number < 0 else 0)
        return number

    def release(self, int64_t number):
        """Forgets an API."""
        with nogil:
            self.table.release(number)


cdef list opened = []
"""Every library, for good: its host is called with the address of the Plugin."""


cdef class Reply:
    """Where the rare calls' replies go."""
    cdef tykb_plugin_reply reply
    cdef uint8_t room[ROOM]

    def __cinit__(self):
        self.reply.data, self.reply.capacity = self.room, ROOM

    cdef int check(self, Plugin plugin, int status) except -1:
        cdef Items items
        if status >= 0 and not self.reply.kept:
            return 0
        items.items, items.count = items.own, 0
        if self.reply.kept:  # words of more than a page say little
            plugin.table.fetch(self.reply.kept, NULL)
            self.reply.size = 0
        if status >= 0:
            return 0
        try:
            read(&items, self.reply.data, self.reply.size if self.reply.size <= ROOM else 0)
            failed(&items, status)
        finally:
            if items.items != items.own:
                free(items.items)


cdef class Hook:
    """A hook's function, as one API runs it. Called with the whole message, it keeps nothing of it.

    Raises ScriptError.
    """
    cdef Plugin plugin
    cdef int64_t number
    cdef int64_t definition
    cdef uint32_t phase
    cdef bint is_response
    cdef object read_session
    cdef object write_session

    def __cinit__(self, Plugin plugin not None, int64_t number, int64_t definition, uint32_t phase, bint is_response,
                  read_session, write_session):
        """`number` is of `lookup`, `definition` of `define` (0: none), `phase` a coprocess.HookType or 0.

        read_session(serialised SessionState) gives its JSON and its token; write_session(message, JSON or None, token or
        None, metadata) writes what the hook left.
        """
        self.plugin, self.number, self.definition, self.phase = plugin, number, definition, phase
        self.is_response, self.read_session, self.write_session = is_response, read_session, write_session

    def __call__(self, Message message not None):
        cdef tykb_node *root = message.get_node()
        cdef tykb_node *request
        cdef tykb_node *response = NULL
        cdef Out out
        cdef tykb_plugin_call call
        cdef tykb_plugin_reply reply
        cdef uint8_t room[ROOM]
        cdef uint8_t *fetched = NULL
        cdef Items items
        cdef int outcome, status
        cdef const tykb_plugin *table = self.plugin.table
        cdef bytes session
        out.data, out.size, out.room = out.own, 0, ROOM
        items.items, items.count = items.own, 0
        try:
            check(tykb_node_child(root, OBJECT_REQUEST, &request))
            put_request(&out, request)
            if self.is_response:
                check(tykb_node_child(root, OBJECT_RESPONSE, &response))
                put_response(&out, response)
            session = session_of(root)
            if session:
                text, token = self.read_session(session)
                put(&out, TYKB_PLUGIN_SESSION, span_of_bytes(text))
                if token:
                    put(&out, TYKB_PLUGIN_TOKEN, span_of_bytes(token))
            put_metadata(&out, root)
            call.size, call.phase, call.hook = sizeof(tykb_plugin_call), self.phase, self.number
            call.definition, call.timeout_ns = self.definition, 0
            call.data, call.data_size = out.data, out.size
            reply.data, reply.capacity, reply.size, reply.kept = room, ROOM, 0, 0
            with nogil:
                outcome = table.invoke(&call, &reply)
            if reply.kept:
                fetched = <uint8_t *>malloc(reply.size)
                if fetched == NULL:
                    table.fetch(reply.kept, NULL)
                    raise MemoryError()
                reply.data, reply.capacity = fetched, reply.size
                with nogil:
                    status = table.fetch(reply.kept, &reply)
                if status < 0:
                    raise ScriptError(f"its reply cannot be had: status {status} of csrc/plugin.h")
            if reply.size > reply.capacity:
                raise ScriptError("its reply is longer than the room for it")
            if reply.size == 0 and outcome == TYKB_PLUGIN_CONTINUE:
                return
            read(&items, reply.data, reply.size)
            if outcome < 0:
                failed(&items, outcome)
            if outcome > TYKB_PLUGIN_RESPOND:
                raise ScriptError(f"it came to an end that csrc/plugin.h does not know: {outcome}")
            self.apply(message, request, response, &items, outcome == TYKB_PLUGIN_RESPOND)
        finally:
            if out.data != out.own:
                free(out.data)
            if items.items != items.own:
                free(items.items)
            free(fetched)

    cdef int apply(
        self, Message message, tykb_node *request, tykb_node *response, Items *items, bint is_answer
    ) except -1:
        cdef Item *item
        cdef bint has_request_headers = False, has_response_headers = False
        cdef object session = None, token = None, metadata = None
        for at in range(items.count):  # all of it is known before anything is changed
            self.known(&items.items[at], is_answer)
        for at in range(items.count):
            item = &items.items[at]
            if item.tag == TYKB_PLUGIN_SESSION:
                session = bytes_of(item.value)
            elif item.tag == TYKB_PLUGIN_TOKEN:
                token = text_of(item.value)
            elif item.tag == TYKB_PLUGIN_METADATA:
                metadata = metadata or {}
                metadata[text_of(item.name)] = text_of(item.value)
            elif item.tag in (TYKB_PLUGIN_HEADER, TYKB_PLUGIN_DELETE_HEADER):
                has_request_headers = True
            elif item.tag in (TYKB_PLUGIN_RESPONSE_HEADER, TYKB_PLUGIN_RESPONSE_DELETE_HEADER):
                has_response_headers = True
            elif item.tag == TYKB_PLUGIN_METHOD:
                set_text(request, METHOD, item.value)
            elif item.tag in (TYKB_PLUGIN_URL, TYKB_PLUGIN_TARGET):
                self.set_url(request, item.value)
            elif item.tag == TYKB_PLUGIN_BODY:
                set_text(request, RAW_BODY, item.value)
            elif item.tag == TYKB_PLUGIN_HOST:
                self.set_host(request, item.value)
            elif item.tag == TYKB_PLUGIN_RESPONSE_STATUS and response != NULL:
                set_number(response, STATUS, status_in(item))
            elif item.tag == TYKB_PLUGIN_RESPONSE_BODY and response != NULL:
                set_text(response, RESPONSE_RAW_BODY, item.value)
        if session is not None or token is not None or metadata is not None:
            self.write_session(message, self.phase, session, token, metadata or {})
        if is_answer and response == NULL:
            return answer(request, items)
        if is_answer:
            replace_headers(response, items)
        if has_request_headers:
            change_headers(request, items, TYKB_PLUGIN_HEADER, TYKB_PLUGIN_DELETE_HEADER, is_answer)
        if has_response_headers:
            change_headers(
                response, items, TYKB_PLUGIN_RESPONSE_HEADER, TYKB_PLUGIN_RESPONSE_DELETE_HEADER, is_answer
            )
        return 0

    cdef int known(self, Item *item, bint is_answer) except -1:
        """Raises ScriptError for a change that cannot be made here."""
        cdef uint32_t tag = item.tag
        if tag in (TYKB_PLUGIN_SESSION, TYKB_PLUGIN_TOKEN, TYKB_PLUGIN_METADATA):
            return 0
        if tag in (TYKB_PLUGIN_RESPONSE_STATUS, TYKB_PLUGIN_RESPONSE_HEADER, TYKB_PLUGIN_RESPONSE_DELETE_HEADER,
                   TYKB_PLUGIN_RESPONSE_BODY):
            if self.is_response or is_answer:
                return 0
            raise ScriptError(
                "it changes the response without making one, and there is none yet: write the response with its status, "
                "or do it in a response hook"
            )
        if not self.is_response and not is_answer:
            if tag in (TYKB_PLUGIN_METHOD, TYKB_PLUGIN_URL, TYKB_PLUGIN_HOST, TYKB_PLUGIN_HEADER, TYKB_PLUGIN_BODY,
                       TYKB_PLUGIN_DELETE_HEADER):
                return 0
            if tag == TYKB_PLUGIN_TARGET:
                if item.value.size and item.value.data[0] == c"/" and item.value.data[:2] != b"//":
                    return 0
                raise ScriptError(
                    f"it sends the request to another server, {text_of(item.value)[:200]}, and only path and query of a "
                    "request can be rewritten here"
                )
        raise ScriptError(f"its reply has an item {tag}, which nobody knows here: it may need a newer tykbridge")

    cdef int set_url(self, tykb_node *request, tykb_span now) except -1:
        cdef bytes url = bytes_of(now)
        cdef bytes before = bytes_of(text_in(request, URL))
        if b"?" in before and b"?" not in url:
            url += b"?"  # else the query that was there would be kept: contract, section 4
        return set_text(request, URL, span_of_bytes(url))

    cdef int set_host(self, tykb_node *request, tykb_span host) except -1:
        cdef tykb_map *map
        check(tykb_node_map(request, SET_HEADERS, &map))
        return check(tykb_map_put(map, span_of(<const char *>b"Host", 4), host))


cdef int replace_headers(tykb_node *response, Items *items) except -1:
    """Takes all headers away that the response of a hook does not have."""
    cdef tykb_map *map
    cdef tykb_entry *entries
    cdef size_t slots, count
    cdef bint stays
    check(tykb_node_clear_field(response, SEVERAL))
    check(tykb_node_map(response, RESPONSE_HEADERS, &map))
    check(tykb_map_entries(map, &entries, &slots, &count))
    gone = []
    for at in range(slots):
        if entries[at].live:
            stays = False
            for i in range(items.count):
                if items.items[i].tag == TYKB_PLUGIN_RESPONSE_HEADER and same_name(items.items[i].name, entries[at].key):
                    stays = True
            if not stays:
                gone.append(bytes_of(entries[at].key))
    for name in gone:
        check(tykb_map_remove(map, span_of_bytes(name)))
    return 0


# ---- What plugins ask of the host

cdef void on_log(void *context, const char *level, const char *message, size_t size) noexcept nogil:
    if tykb_enter():
        with gil:
            try:
                (<Plugin>context).host.log(
                    text_of(span_of(message, size)), (<bytes>level).decode("utf-8", "replace") if level != NULL else "info"
                )
            except BaseException:  # there is nobody who could be told
                pass
        tykb_leave()


cdef int on_event(void *context, const char *name, size_t name_size, const char *payload, size_t size) noexcept nogil:
    cdef int status = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        with gil:
            try:
                (<Plugin>context).host.trigger_event(text_of(span_of(name, name_size)), text_of(span_of(payload, size)))
                status = 0
            except BaseException as error:
                status = refused(context, "trigger an event", error)
        tykb_leave()
    return status


cdef int64_t on_get(void *context, const char *key, size_t key_size, uint8_t *value, size_t capacity) noexcept nogil:
    cdef int64_t result = TYKB_PLUGIN_E_HOST
    cdef tykb_span found
    if tykb_enter():
        with gil:
            try:
                data = (<Plugin>context).host.get(bytes_of(span_of(key, key_size)))
                if data is None:
                    result = TYKB_PLUGIN_E_NOT_FOUND
                else:
                    found = span_of_bytes(data)
                    result = <int64_t>found.size
                    if found.size and found.size <= capacity:
                        memcpy(value, found.data, found.size)
            except BaseException as error:
                result = refused(context, "read from the store", error)
        tykb_leave()
    return result


cdef int on_set(
    void *context, const char *key, size_t key_size, const uint8_t *value, size_t size, int64_t ttl_ms, uint32_t flags
) noexcept nogil:
    cdef int result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        with gil:
            try:
                result = (<Plugin>context).host.set(
                    bytes_of(span_of(key, key_size)), bytes_of(span_of(value, size)), ttl_ms,
                    bool(flags & TYKB_PLUGIN_IF_ABSENT),
                )
            except BaseException as error:
                result = refused(context, "write to the store", error)
        tykb_leave()
    return result


cdef int on_delete(void *context, const char *key, size_t key_size) noexcept nogil:
    cdef int result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        with gil:
            try:
                result = (<Plugin>context).host.delete(bytes_of(span_of(key, key_size)))
            except BaseException as error:
                result = refused(context, "delete from the store", error)
        tykb_leave()
    return result


cdef int on_increment(
    void *context, const char *key, size_t key_size, int64_t by, int64_t ttl_ms, int64_t *sum
) noexcept nogil:
    cdef int result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        with gil:
            try:
                sum[0] = (<Plugin>context).host.increment(bytes_of(span_of(key, key_size)), by, ttl_ms)
                result = 0
            except BaseException as error:
                result = refused(context, "count in the store", error)
        tykb_leave()
    return result


cdef int64_t on_ttl(void *context, const char *key, size_t key_size) noexcept nogil:
    cdef int64_t result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        with gil:
            try:
                left = (<Plugin>context).host.ttl(bytes_of(span_of(key, key_size)))
                result = TYKB_PLUGIN_E_NOT_FOUND if left is None else <int64_t>left
            except BaseException as error:
                result = refused(context, "ask the store", error)
        tykb_leave()
    return result


cdef int refused(void *context, str what, error) noexcept:
    try:
        (<Plugin>context).host.log(f"a native plugin could not {what}: {error}", "error")
    except BaseException:
        pass
    return TYKB_PLUGIN_E_HOST


def end():
    """Refuse what plugins ask of the host from now on."""
    tykb_end()


def is_asked():
    """Whether something is on its way that a plugin asks of the host."""
    return tykb_busy()


def forked():
    """Forget, in a forked child, what threads asked for that are not there."""
    tykb_forked()
