# Several hooks on one message, for the chain: the message is read once, and nothing is written in between.

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


@cython.final
@cython.no_gc
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
            self.view = None
            end_frame(<Frame>frame)

    def close(self):
        """Ends the exchange. Views that a hook or the caller still has stay valid."""
        self.end()

    @property
    def object(self):
        """The message, as the hooks left it."""
        if self.frame == NULL:
            raise ValueError("the exchange is closed")
        if self.view is None:
            self.view = new_message((<Frame>self.frame).context, OBJECT, (<Frame>self.frame).root)
        return self.view

    def run(self, bytes bundle not None, bytes name not None):
        """Calls a hook. Returns what it changed: 0 for nothing, otherwise the sum of EDITED_*."""
        cdef CoProcessMessage out
        cdef PyObject *handler
        cdef Frame frame
        cdef int status
        if self.frame == NULL:
            raise ValueError("the exchange is closed")
        frame = <Frame>self.frame
        memset(&out, 0, sizeof(out))
        handler = find(
            span_of(PyBytes_AS_STRING(bundle), PyBytes_GET_SIZE(bundle)),
            span_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)),
        )
        if handler == NULL:
            from tykbridge import runtime

            raise runtime.missing(bundle.decode(), name.decode())
        Py_INCREF(handler)
        status = call(frame, <Handler>handler, &out)
        Py_DECREF(handler)
        if status == TYKB_OK and frame.request.message.node != NULL:
            status = tykb_node_settle_body(frame.request.message.node)
        if status == TYKB_OK and frame.response.node != NULL:
            status = tykb_node_settle_body(frame.response.node)
        if status != TYKB_OK:
            raise_failure(status, &out)
        return edits(frame)


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
