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
    if status == STORE_FAILED:
        from tykbridge.stores import StoreError

        raise errors.HookError(text) from StoreError(text)
    if status == DEADLINE_PASSED:
        raise errors.HookError(text) from errors.DeadlineError(text)
    if status == UNAVAILABLE:
        raise errors.HookError(text) from errors.UnavailableError(text)
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
        last hook called, the `at`-th, changed besides: 0 for nothing, otherwise the sum of EDITED_*, in which what was
        changed before may be, too. It ends before the last hook also when one kept a view: then `is_shared`.
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
            if (<Handler>handler).arity in (OBJECT_FORM, 5):
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
                if is_kept(frame):
                    return 0  # the next hook gets a message of its own
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
            size += entry_size(header.name, header.value)
            header = header.next
        return size

    cpdef bytes continued(self, bytes start, bytes session):
        """A reply that goes on: `start`, `headers` as an Object's request, and a serialised SessionState or b""."""
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
        """The bytes of a header's value as hooks see it, of its first spelling; None when there is none."""
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
        p = put_entry(p, 2, header.name, header.value)
        header = header.next
    return p


cpdef bytes quota_message(int64_t remaining, int64_t renews):
    """A serialised SessionState with what is left of a quota, and when it renews (unix seconds)."""
    cdef uint8_t room[22]
    cdef uint8_t *p = tykb_wire_put_varint(room, tykb_wire_tag(7, TYKB_WIRE_VARINT))
    p = tykb_wire_put_varint(tykb_wire_put_varint(p, <uint64_t>renews), tykb_wire_tag(8, TYKB_WIRE_VARINT))
    p = tykb_wire_put_varint(p, <uint64_t>remaining)
    return PyBytes_FromStringAndSize(<char *>room, p - room)


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
