"""What the module uses of C: the message tree (csrc/object.h), the library (api.h, table.h), and its own types."""

from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "api.h":
    enum:
        TYKB_OK
        TYKB_E_ARGUMENT
        TYKB_E_NO_MEMORY
        TYKB_E_MALFORMED
        TYKB_E_NOT_FOUND
        TYKB_E_HOOK
        TYKB_E_TOO_LARGE
        TYKB_E_GONE
        TYKB_E_INTERNAL
        TYKB_REPLY_FULL
        TYKB_REPLY_DELTA
        TYKB_STRICT
        TYKB_WATCH
        TYKB_CONTINUE
        TYKB_RESPOND

    struct CoProcessMessage:
        void *p_data
        int length

    struct tykb_host:
        pass

    ctypedef void (*tykb_done)(void *context, int status, CoProcessMessage *out) noexcept nogil

    struct tykb_configuration:
        uint32_t size
        uint32_t flags
        const char *source
        const char *middleware_path
        const char *policies
        const char *settings

    const char *tykb_status_name(int status)
    int tykb_set_host(const tykb_host *host)
    void CoProcessLog(char *msg, char *level) nogil
    void TykStoreData(char *key, char *value, int ttl) nogil
    char *TykGetData(char *key) nogil
    void TykTriggerEvent(char *event_name, char *payload) nogil


ctypedef void (*shutdown_function)() noexcept nogil


cdef extern from "table.h":
    enum:
        TYKB_TABLE_ABI
    const char *TYKB_TABLE_CAPSULE

    struct tykb_table:
        uint32_t abi
        uint32_t size
        const char *version
        int (*dispatch)(const void *data, size_t size, uint32_t flags, CoProcessMessage *out) noexcept
        int (*new_dispatcher)(const char *root, CoProcessMessage *out) noexcept
        int (*reload)(CoProcessMessage *out) noexcept
        int (*load_bundle)(const char *path, const char *name, CoProcessMessage *out) noexcept
        int (*dispatch_event)(const char *json, CoProcessMessage *out) noexcept
        int (*set_env)(const char *path, CoProcessMessage *out) noexcept
        int (*store_data)(const char *key, const char *value, int ttl) noexcept
        char *(*get_data)(const char *key) noexcept
        int (*set_host)(const tykb_host *host) noexcept
        int (*add_library)(shutdown_function) noexcept
        int (*load_configuration)(const tykb_configuration *configuration, CoProcessMessage *out) noexcept
        int (*run_request)(const void *data, size_t size, CoProcessMessage *out) noexcept
        int (*run_response)(const void *data, size_t size, CoProcessMessage *out) noexcept
        int (*reload_all)(CoProcessMessage *out) noexcept
        int (*start_request)(
            const void *data, size_t size, tykb_done done, void *context, CoProcessMessage *out
        ) noexcept
        int (*start_response)(
            const void *data, size_t size, tykb_done done, void *context, CoProcessMessage *out
        ) noexcept

    int tykb_register(const tykb_table *table, CoProcessMessage *out)
    void tykb_shutdown() nogil


cdef extern from "mem.h":
    void *tykb_mem_alloc(size_t size)
    void tykb_mem_free(void *block)
    void *tykb_reply_alloc(size_t size)


cdef extern from "wire.h":
    struct tykb_span:
        const uint8_t *data
        size_t size

    enum:
        TYKB_WIRE_VARINT
        TYKB_WIRE_LEN

    struct tykb_wire_field:
        uint32_t number
        uint32_t type
        tykb_span len

    const uint8_t *tykb_wire_next(const uint8_t *p, const uint8_t *end, tykb_wire_field *field)
    size_t tykb_wire_varint_size(uint64_t value)
    uint8_t *tykb_wire_put_varint(uint8_t *p, uint64_t value)
    uint8_t *tykb_wire_put_bytes(uint8_t *p, const void *data, size_t size)
    uint32_t tykb_wire_tag(uint32_t number, uint32_t type)
    uint64_t tykb_wire_load64(const uint8_t *p)
    uint32_t tykb_wire_load32(const uint8_t *p)
    bint tykb_wire_same(const uint8_t *a, const uint8_t *b, size_t size)
    bint tykb_wire_is_utf8(const uint8_t *data, size_t size)


cdef extern from "object.h":
    enum:
        TYKB_KIND_BOOL
        TYKB_KIND_INT32
        TYKB_KIND_INT64
        TYKB_KIND_ENUM
        TYKB_KIND_DOUBLE
        TYKB_KIND_STRING
        TYKB_KIND_BYTES
        TYKB_KIND_MESSAGE
        TYKB_SINGULAR
        TYKB_REPEATED
        TYKB_MAP

    struct tykb_field:
        const char *name
        uint32_t number
        uint8_t index
        uint8_t kind
        uint8_t shape
        const tykb_type *child

    struct tykb_type:
        const char *name
        const tykb_field *fields
        uint32_t count

    const tykb_type **tykb_types
    const tykb_type tykb_type_Object
    const tykb_type tykb_type_MiniRequestObject
    const tykb_type tykb_type_SessionState

    struct tykb_context
    struct tykb_node
    struct tykb_map
    struct tykb_list

    union tykb_value:
        int64_t number
        double real
        tykb_span text

    struct tykb_entry:
        tykb_span key
        tykb_span value
        bint live

    struct tykb_element:
        tykb_value value

    tykb_context *tykb_context_new()
    void tykb_context_free(tykb_context *context)
    void tykb_context_reset(tykb_context *context)
    tykb_node *tykb_context_root(tykb_context *context, const tykb_type *type, tykb_span input)
    int tykb_context_own_input(tykb_context *context)
    void tykb_context_lose_input(tykb_context *context)

    void **tykb_node_view(tykb_node *node)
    int tykb_node_get(tykb_node *node, const tykb_field *field, tykb_value *value)
    int tykb_node_set(tykb_node *node, const tykb_field *field, tykb_value value)
    int tykb_node_has(tykb_node *node, const tykb_field *field)
    int tykb_node_child(tykb_node *node, const tykb_field *field, tykb_node **child)
    int tykb_node_map(tykb_node *node, const tykb_field *field, tykb_map **map)
    int tykb_node_list(tykb_node *node, const tykb_field *field, tykb_list **list)
    int tykb_node_touch(tykb_node *node)
    int tykb_node_clear_field(tykb_node *node, const tykb_field *field)
    int tykb_node_clear(tykb_node *node)
    int tykb_node_merge(tykb_node *node, tykb_span bytes)
    int tykb_node_replace(tykb_node *node, const tykb_field *field, tykb_span bytes)
    bint tykb_node_changed(const tykb_node *node)
    uint32_t tykb_node_writes(const tykb_node *node)
    int tykb_node_write(tykb_node *node, uint32_t flags, void *(*alloc)(size_t), void **data, size_t *size)
    int tykb_node_settle_body(tykb_node *node)
    int tykb_type_check(const tykb_type *type, tykb_span data)
    int tykb_object_identify(tykb_node *root, tykb_span *hook, tykb_span *bundle)
    int tykb_node_find(tykb_node *node, const tykb_field *field, tykb_span key, tykb_span *value)

    void **tykb_map_view(tykb_map *map)
    uint32_t tykb_map_version(const tykb_map *map)
    int tykb_map_touch(tykb_map *map)
    int tykb_map_find(tykb_map *map, tykb_span key, tykb_entry **entry)
    int tykb_map_text(tykb_map *map, tykb_span key, tykb_span *value)
    int tykb_map_put(tykb_map *map, tykb_span key, tykb_span value)
    int tykb_map_node(tykb_map *map, tykb_span key, tykb_node **node)
    int tykb_map_remove(tykb_map *map, tykb_span key)
    int tykb_map_clear(tykb_map *map)
    int tykb_map_entries(tykb_map *map, tykb_entry **entries, size_t *slots, size_t *count)
    int tykb_map_entry_node(tykb_map *map, size_t slot, tykb_node **node)

    void **tykb_list_view(tykb_list *list)
    int tykb_list_touch(tykb_list *list)
    int tykb_list_elements(tykb_list *list, tykb_element **elements, size_t *count)
    int tykb_list_append(tykb_list *list, tykb_value value)
    int tykb_list_add(tykb_list *list, tykb_node **node)
    int tykb_list_node(tykb_list *list, size_t at, tykb_node **node)
    int tykb_list_set(tykb_list *list, size_t at, tykb_value value)
    int tykb_list_reorder(tykb_list *list, const size_t *order, size_t count)
    int tykb_list_remove(tykb_list *list, size_t at)


cdef extern from "tree.h":
    int tykb_entry_parse(tykb_span payload, tykb_span *key, tykb_span *value)


cdef extern from "headers.h":
    struct tykb_header:
        tykb_header *next
        tykb_span name
        tykb_span value

    struct tykb_headers:
        tykb_header *first

    int tykb_headers_take(tykb_node *request, uint32_t before, tykb_headers *set)
    int tykb_headers_find(tykb_node *request, tykb_span name, tykb_span *value)


cdef class Context:
    """Owns the memory of a tree. Views hold it; while a dispatch runs, the input is the host's."""
    cdef tykb_context *tree


cdef class TypeInfo:
    """A message type: its rows by name."""
    cdef const tykb_type *type
    cdef readonly str name
    cdef dict fields


cdef class Field:
    """A row of the table, as a Python object."""
    cdef const tykb_field *row
    cdef readonly str name
    cdef TypeInfo owner
    cdef TypeInfo child


cdef class Message:
    """A view of a message. `node` is NULL until the first use, where `parent` and `field` tell how to find it."""
    cdef Context context
    cdef TypeInfo info
    cdef tykb_node *node
    cdef tykb_node *parent
    cdef const tykb_field *field
    cdef tykb_node *get_node(self) except NULL


cdef class Map:
    """A view of a map. Found at the first use, as a message is."""
    cdef Context context
    cdef tykb_map *map
    cdef tykb_node *parent
    cdef Field field
    cdef tykb_map *get_map(self) except NULL
    cdef object lookup(self, object key)


cdef class List:
    """A view of a repeated field."""
    cdef Context context
    cdef tykb_list *list
    cdef Field field
    cdef int elements(self, tykb_element **elements, size_t *count) except -1
    cdef size_t place(self, object key) except? 0


cdef class Request:
    """What a hook gets as `request`."""
    cdef Message message


cdef class Generation:
    """One loaded version of a bundle: counts the calls in flight on it."""
    cdef Py_ssize_t users  # under Python's lock
    cdef bint retired
    cdef object on_drained
    cdef drained(self)


cdef class Handler:
    """A hook that can be dispatched to."""
    cdef readonly object function
    cdef readonly str bundle
    cdef readonly str name
    cdef readonly int arity
    cdef readonly Generation generation


cdef class Frame:
    """The views of one dispatch. Kept for the next one, unless the hook kept any of them."""
    cdef PyObject *next
    cdef Context context
    cdef tykb_node *root
    cdef Request request
    cdef Message response
    cdef Message session
    cdef Map metadata
    cdef Map spec


cdef class Exchange:
    """A message on which hooks run, one after the other."""
    cdef PyObject *frame  # NULL: closed
    cdef bytes data
    cdef bytes metadata  # None: shown, or not there
    cdef Message view
    cdef tykb_headers set  # of the frame's memory
    cdef readonly Py_ssize_t at
    cdef Frame opened(self)
    cpdef int run(self, tuple hooks, Py_ssize_t first=*, bint move=*) except -1
    cpdef bytes header(self, str name)
    cdef size_t changes_size(self) noexcept
    cpdef bytes continued(self, bytes start, bytes session)
    cpdef bint is_shared(self) except -1
    cpdef show_session(self, bytes session, bytes metadata)
    cdef int show_metadata(self) except -1
    cpdef show_quota(self, int64_t remaining, int64_t renews)
    cpdef close(self)
    cdef void end(self) noexcept


cpdef bytes part(uint32_t number, bytes data)
cpdef bytes entries(uint32_t number, list pairs)
cpdef str text(str value)
cpdef bytes quota_message(int64_t remaining, int64_t renews)
cpdef bytes with_text(bytes shown)
cpdef double unix_time() noexcept
