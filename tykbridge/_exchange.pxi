# Several hooks on one message, for the chain: the message is read once, and nothing is written in between.

cdef extern from *:
    """
    #include <time.h>
    #ifndef CLOCK_REALTIME_COARSE /* Linux's own */
    #define CLOCK_REALTIME_COARSE CLOCK_REALTIME
    #endif
    static double unix_seconds(void) {
      struct timespec now;
      clock_gettime(CLOCK_REALTIME_COARSE, &now);
      return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }
    """
    double unix_seconds()


cpdef double unix_time() noexcept:
    """Unix seconds, as of the system's last tick (4 ms at the most), at a fraction of time.time's cost."""
    return unix_seconds()


cdef enum:
    EDITED_OTHER = 1
    EDITED_REQUEST = 2
    EDITED_SESSION = 4
    EDITED_RESPONSE = 8


cdef int raise_failure(int status, CoProcessMessage *out) except -1:
    """Raises the BridgeError of a status, with its words, which are freed."""
    from tykbridge import errors

    text = ""
    if out.p_data != NULL:
        text = PyBytes_FromStringAndSize(<char *>out.p_data, out.length).decode()
        free(out.p_data)
        out.p_data = NULL
    if status == TYKB_E_NO_MEMORY:
        raise MemoryError(text)
    raise errors.of(status, text or tykb_status_name(status).decode())


cdef const tykb_field *QUOTA_RENEWS = row_of(SESSION, "quota_renews")
cdef const tykb_field *QUOTA_REMAINING = row_of(SESSION, "quota_remaining")


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class Exchange:
    def __cinit__(self, bytes data not None):
        global idle
        cdef CoProcessMessage out
        cdef int status = TYKB_E_NO_MEMORY
        cdef PyObject *frame = idle
        memset(&out, 0, sizeof(out))
        if frame != NULL:
            idle = (<Frame>frame).next
        else:
            frame = another_frame(&out, &status)
            if frame == NULL:
                raise_failure(status, &out)
        self.frame = frame
        self.data = data  # the tree borrows the bytes
        if start_frame(<Frame>frame, PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data)) == NULL:
            raise MemoryError()

    def __dealloc__(self):
        self.end()

    cdef void end(self) noexcept:
        cdef PyObject *frame = self.frame
        if frame != NULL:
            self.frame = NULL
            self.set.first = NULL
            self.view = None
            self.metadata = None
            end_frame(<Frame>frame)

    cpdef close(self):
        """Ends the exchange. Views that a hook or the caller still has stay valid."""
        self.end()

    @property
    def object(self):
        """The message, as the hooks left it."""
        cdef Frame frame = self.opened()
        self.show_metadata()
        if self.view is None:
            self.view = new_message(frame.context, OBJECT, frame.root)
        return self.view

    cdef Frame opened(self):
        if self.frame == NULL:
            raise ValueError("the exchange is closed")
        return <Frame>self.frame

    cpdef int run(self, tuple hooks, Py_ssize_t first=0, bint move=True) except -1:
        """Calls hooks, (bundle, name) each, from the first-th on, until one changes more than headers of the request.

        With `move`, headers that a hook sets are put where the next one sees them; `headers` has them. Returns what the
        last hook called, the `at`-th, changed besides: 0 when all are through, otherwise the sum of EDITED_*, in which
        what was changed before may be, too.
        """
        cdef CoProcessMessage out
        cdef PyObject *handler
        cdef Frame frame = self.opened()
        cdef uint32_t before
        cdef int status, taken
        cdef bytes bundle, name
        memset(&out, 0, sizeof(out))
        for self.at in range(first, len(hooks)):
            bundle, name = <tuple>hooks[self.at]
            handler = find(
                span_of(PyBytes_AS_STRING(bundle), PyBytes_GET_SIZE(bundle)),
                span_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)),
            )
            if handler == NULL:
                from tykbridge import runtime

                raise runtime.missing(bundle.decode(), name.decode())
            if (<Handler>handler).arity == 5:
                self.show_metadata()
            before = tykb_node_writes(frame.root)
            Py_INCREF(handler)
            status = call(frame, <Handler>handler, &out)
            Py_DECREF(handler)
            if status == TYKB_OK and frame.request.message.node != NULL:
                status = tykb_node_settle_body(frame.request.message.node)
            if status == TYKB_OK and frame.response.node != NULL:
                status = tykb_node_settle_body(frame.response.node)
            if status != TYKB_OK:
                raise_failure(status, &out)
            if tykb_node_writes(frame.root) == before:
                continue
            taken = 0
            # A view that somebody keeps must not see it when headers move.
            if move and frame.request.message.node != NULL and self.view is None and not is_kept(frame):
                taken = tykb_headers_take(frame.request.message.node, before, &self.set)
            if taken < 0:
                failed(taken, REQUEST.name)
            if taken == 0:
                return edits(frame)
        return 0

    @property
    def headers(self):
        """The headers that hooks set and that were put in place: (name, value), each name once, whatever its case."""
        cdef tykb_header *header
        found = []
        if self.frame != NULL:
            header = self.set.first
            while header != NULL:
                name = text_to_python(header.name, SET_HEADERS.row)
                found.append((name, text_to_python(header.value, SET_HEADERS.row)))
                header = header.next
        return found

    cdef size_t changes_size(self) noexcept:
        cdef tykb_header *header = self.set.first if self.frame != NULL else NULL
        cdef size_t size = 0
        while header != NULL:
            size += 1 + tykb_wire_varint_size(entry_size(header)) + entry_size(header)
            header = header.next
        return size

    cpdef bytes changes(self):
        """`headers` as the set_headers of a serialised MiniRequestObject."""
        cdef size_t size = self.changes_size()
        cdef bytes made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
        if size:
            put_changes(<uint8_t *>PyBytes_AS_STRING(made), self.set.first)
        return made

    cpdef bytes continued(self, bytes start, bytes session):
        """A reply that goes on: `start`, `changes` as the request of an Object, and a serialised SessionState or b""."""
        cdef tykb_header *header = self.set.first if self.frame != NULL else NULL
        cdef size_t size = self.changes_size(), kept = <size_t>PyBytes_GET_SIZE(session), total
        cdef bytes made
        cdef uint8_t *p
        total = <size_t>PyBytes_GET_SIZE(start)
        if size:
            total += 1 + tykb_wire_varint_size(size) + size
        if kept:
            total += 1 + tykb_wire_varint_size(kept) + kept
        made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>total)
        p = <uint8_t *>PyBytes_AS_STRING(made)
        p = tykb_wire_put_bytes(p, PyBytes_AS_STRING(start), <size_t>PyBytes_GET_SIZE(start))
        if size:
            p = tykb_wire_put_varint(tykb_wire_put_varint(p, tykb_wire_tag(3, TYKB_WIRE_LEN)), size)
            p = put_changes(p, header)
        if kept:
            put_text(p, 4, span_of(PyBytes_AS_STRING(session), PyBytes_GET_SIZE(session)))
        return made

    cpdef bytes header(self, str name):
        """The bytes of a header's value as hooks see it: of that spelling, else of any; None when there is none."""
        cdef tykb_span key, value
        cdef int status
        text_from_python(name, &key)
        status = tykb_headers_find(self.opened().request.message.get_node(), key, &value)
        if status == TYKB_E_NOT_FOUND:
            return None
        if status != TYKB_OK:
            failed(status, REQUEST.name)
        return bytes_of(value)

    cpdef bint is_shared(self) except -1:
        """Whether a hook kept a view, which would see what is put into the message from now on."""
        return is_kept(self.opened())

    cpdef show_session(self, bytes session, bytes metadata):
        """Puts a serialised SessionState into the message, and parts of an Object that hold its metadata."""
        place_message(self.opened().session, session)
        self.metadata = metadata

    cdef int show_metadata(self) except -1:
        """Puts the metadata in, which few hooks are shown."""
        cdef bytes parts = self.metadata
        cdef int status
        if parts is None:
            return 0
        self.metadata = None
        status = tykb_node_merge((<Frame>self.frame).root, span_of(PyBytes_AS_STRING(parts), PyBytes_GET_SIZE(parts)))
        if status != TYKB_OK:
            failed(status, OBJECT.name)
        return 0

    cpdef show_quota(self, int64_t remaining, int64_t renews):
        """Sets what is left of the session's quota, and when it renews (unix seconds)."""
        cdef tykb_node *session = self.opened().session.get_node()
        cdef tykb_value value
        cdef int status
        value.number = remaining
        status = tykb_node_set(session, QUOTA_REMAINING, value)
        value.number = renews
        if status == TYKB_OK:
            status = tykb_node_set(session, QUOTA_RENEWS, value)
        if status != TYKB_OK:
            failed(status, SESSION.name)


cdef uint8_t *put_changes(uint8_t *p, tykb_header *header) noexcept:
    while header != NULL:
        p = tykb_wire_put_varint(tykb_wire_put_varint(p, tykb_wire_tag(2, TYKB_WIRE_LEN)), entry_size(header))
        p = put_text(put_text(p, 1, header.name), 2, header.value)
        header = header.next
    return p


cdef inline size_t entry_size(tykb_header *header) noexcept:
    cdef size_t name = header.name.size, value = header.value.size
    return 2 + tykb_wire_varint_size(name) + name + tykb_wire_varint_size(value) + value


cdef inline uint8_t *put_text(uint8_t *p, uint32_t number, tykb_span text) noexcept:
    """Writes a text field."""
    p = tykb_wire_put_varint(tykb_wire_put_varint(p, tykb_wire_tag(number, TYKB_WIRE_LEN)), text.size)
    return tykb_wire_put_bytes(p, text.data, text.size)


cpdef bytes quota_message(int64_t remaining, int64_t renews):
    """A serialised SessionState with what is left of a quota, and when it renews (unix seconds)."""
    cdef uint8_t room[22]
    cdef uint8_t *p = tykb_wire_put_varint(room, tykb_wire_tag(7, TYKB_WIRE_VARINT))
    p = tykb_wire_put_varint(tykb_wire_put_varint(p, <uint64_t>renews), tykb_wire_tag(8, TYKB_WIRE_VARINT))
    p = tykb_wire_put_varint(p, <uint64_t>remaining)
    return PyBytes_FromStringAndSize(<char *>room, p - room)


cpdef bytes part(uint32_t number, bytes data):
    """The bytes of a field that holds a message, text or bytes; empty ones are written too. `number`: 1 to 15."""
    cdef size_t size = <size_t>PyBytes_GET_SIZE(data)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(1 + tykb_wire_varint_size(size) + size))
    put_text(<uint8_t *>PyBytes_AS_STRING(made), number, span_of(PyBytes_AS_STRING(data), <Py_ssize_t>size))
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

    None where hooks cannot be shown that as it is: the request comes in pieces or with edits, leaves out its
    parameters, has its body as text, or names no API. MalformedError where the fields of message or request cannot be
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
    if api.size == 0 or pieces != 1 or form == OTHERWISE:
        return None
    return (text_to_python(api, OBJECT_SPEC), shown_request(request, span_of(NULL, 0)), form == PLAIN_WITH_BODY)


cpdef bytes with_text(bytes shown):
    """What `incoming` gave, with the body as text, too; the same where the body is not UTF-8."""
    cdef tykb_wire_field wire
    cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(shown)
    cdef const uint8_t *end = p + PyBytes_GET_SIZE(shown)
    cdef tykb_span request, body = span_of(NULL, 0)
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
    """Whether a request has no edits, names its parameters, and has its body as bytes alone."""
    cdef const uint8_t *p = request.data
    cdef const uint8_t *end = p + request.size
    cdef tykb_wire_field wire
    cdef bint query = False, params = False, edited = False, body = False
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
        elif wire.number == 14:
            body = wire.len.size != 0
        elif wire.number in (2, 3, 7, 8, 9, 10) or (wire.number == 4 and wire.len.size):
            edited = True
    if edited or (query and not params):
        return OTHERWISE
    return PLAIN_WITH_BODY if body else PLAIN


cdef inline int edits(Frame frame) noexcept:
    cdef int found = 0
    if tykb_node_changed(frame.root):
        found = EDITED_OTHER
        if frame.request.message.node != NULL and tykb_node_changed(frame.request.message.node):
            found |= EDITED_REQUEST
        if frame.session.node != NULL and tykb_node_changed(frame.session.node):
            found |= EDITED_SESSION
        if frame.response.node != NULL and tykb_node_changed(frame.response.node):
            found |= EDITED_RESPONSE
    return found
