# What the library and the module call of each other: the table, and the exported functions that plugins reach.

cdef int cold(str name, tuple arguments, CoProcessMessage *out) noexcept:
    """Calls a function of tykbridge.runtime for the library."""
    try:
        from tykbridge import runtime

        getattr(runtime, name)(*arguments)
        return TYKB_OK
    except BaseException as error:
        return explain(error, out)


cdef int cold_text(str name, const char *text, CoProcessMessage *out) noexcept:
    try:
        decoded = (<bytes>text).decode("utf-8", "surrogateescape")
    except BaseException as error:
        return explain(error, out)
    return cold(name, (decoded,), out)


cdef int c_new_dispatcher(const char *root, CoProcessMessage *out) noexcept:
    return cold_text("new_dispatcher", root, out)


cdef int c_reload(CoProcessMessage *out) noexcept:
    return cold("reload", (), out)


cdef int c_load_bundle(const char *path, const char *name, CoProcessMessage *out) noexcept:
    try:
        arguments = ((<bytes>path).decode("utf-8", "surrogateescape"), (<bytes>name).decode("utf-8", "surrogateescape"))
    except BaseException as error:
        return explain(error, out)
    return cold("load_bundle", arguments, out)


cdef str path_of(const char *text):
    return (<bytes>text).decode("utf-8", "surrogateescape") if text != NULL else ""


cdef int c_load_configuration(const tykb_configuration *configuration, CoProcessMessage *out) noexcept:
    try:
        from tykbridge import hosted

        count, words = hosted.load_configuration(
            path_of(configuration.source),
            path_of(configuration.middleware_path),
            path_of(configuration.policies),
            configuration.flags & TYKB_STRICT != 0,
            configuration.flags & TYKB_WATCH != 0,
            path_of(configuration.settings),
        )
        if words:
            set_words(out, words)
        return count
    except BaseException as error:
        return explain(error, out)


cdef int c_reload_all(CoProcessMessage *out) noexcept:
    try:
        from tykbridge import hosted

        count, words = hosted.reload()
        if words:
            set_words(out, words)
        return count
    except BaseException as error:
        return explain(error, out)


cdef int set_reply(CoProcessMessage *out, bytes data) noexcept:
    cdef size_t size = <size_t>PyBytes_GET_SIZE(data)
    if size > <size_t>INT_MAX:
        return TYKB_E_TOO_LARGE
    out.p_data = tykb_reply_alloc(size or 1)
    if out.p_data == NULL:
        return TYKB_E_NO_MEMORY
    memcpy(out.p_data, PyBytes_AS_STRING(data), size)
    out.length = <int>size
    return TYKB_OK


cdef object run_hosted = None  # hosted.run_request, once it was asked for


cdef int c_run_request(const void *data, size_t size, CoProcessMessage *out) noexcept:
    global run_hosted
    cdef int status
    try:
        if run_hosted is None:
            from tykbridge.hosted import run_request

            run_hosted = run_request
        sent = arrived(span_of(<const char *>data, <Py_ssize_t>size))
        # Of a message that hooks can be shown as it is, nothing more than that is copied.
        whole = PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>size) if sent is None else b""
        reply = run_hosted(whole, sent)
        if type(reply) is bytes:
            status = set_reply(out, reply)
            return TYKB_CONTINUE if status == TYKB_OK else status
        (response,) = reply
        status = set_reply(out, response)
        return TYKB_RESPOND if status == TYKB_OK else status
    except BaseException as error:
        return explain(error, out)


cdef int c_run_response(const void *data, size_t size, CoProcessMessage *out) noexcept:
    try:
        from tykbridge import hosted

        return set_reply(out, hosted.run_response(PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>size)))
    except BaseException as error:
        return explain(error, out)


cdef extern from *:
    """
    #include <unistd.h>
    /* A thread that wants the GIL of an interpreter that is over is ended by pthread_exit, which unwinds its stack.
     * greenlet's frames would touch Python's objects then: the thread stays here instead, until the process is over. */
    static void stay(int *is_over) {
      while (!*is_over) pause();
    }
    static PyObject *call_to_its_end(PyObject *function, PyObject *argument) {
      int is_over __attribute__((cleanup(stay))) = 0;
      PyObject *result = PyObject_CallOneArg(function, argument);
      is_over = 1;
      return result;
    }
    """
    object call_to_its_end(object function, object argument)


def to_its_end(function, argument):
    """Calls a function in a greenlet, whose thread the interpreter's end may find in it: it stays there for ever."""
    return call_to_its_end(function, argument)


@cython.final
cdef class Started:
    """A request or a response that a host has started: runs it, and hands over what came of it, once."""

    cdef bytes data
    cdef bint is_request
    cdef tykb_done done  # NULL: it was called; under the GIL
    cdef void *context

    def run(self):
        cdef CoProcessMessage out
        cdef const char *data = PyBytes_AS_STRING(self.data)
        cdef size_t size = <size_t>PyBytes_GET_SIZE(self.data)
        memset(&out, 0, sizeof(out))
        self.hand_over(c_run_request(data, size, &out) if self.is_request else c_run_response(data, size, &out), &out)

    def abandon(self):
        cdef CoProcessMessage out
        memset(&out, 0, sizeof(out))
        set_words(&out, "the interpreter ended before the request did")
        self.hand_over(TYKB_E_GONE, &out)

    cdef void hand_over(self, int status, CoProcessMessage *out) noexcept:
        cdef tykb_done done = self.done
        self.done = NULL
        if done == NULL:
            free(out.p_data)
            return
        with nogil:
            done(self.context, status, out)


cdef int start_one(
    bint is_request, const void *data, size_t size, tykb_done done, void *context, CoProcessMessage *out
) noexcept:
    cdef Started started
    try:
        from tykbridge import waiting

        started = Started.__new__(Started)
        started.data = PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>size)
        started.is_request, started.done, started.context = is_request, done, context
        waiting.start(started)
        return TYKB_OK
    except BaseException as error:
        return explain(error, out)


cdef int c_start_request(
    const void *data, size_t size, tykb_done done, void *context, CoProcessMessage *out
) noexcept:
    return start_one(True, data, size, done, context, out)


cdef int c_start_response(
    const void *data, size_t size, tykb_done done, void *context, CoProcessMessage *out
) noexcept:
    return start_one(False, data, size, done, context, out)


cdef int c_dispatch_event(const char *json, CoProcessMessage *out) noexcept:
    return cold_text("dispatch_event", json, out)


cdef int c_set_env(const char *path, CoProcessMessage *out) noexcept:
    return cold_text("set_env", path, out)


cdef bint is_told(object error) noexcept:
    """Keeps a failure of the embedded store for `store_data` and `get_data` of this thread, where one of them asked.

    TykStoreData and TykGetData, which lie between, cannot say it. For a host there is a line in the log.
    """
    global store_failure
    if not asks_store:
        return False
    if store_failure != NULL:
        Py_DECREF(store_failure)
    Py_INCREF(<PyObject *>error)
    store_failure = <PyObject *>error
    return True


cdef struct Asked:
    int asks
    PyObject *failure


cdef Asked ask_store() noexcept:
    """Lets this thread be told of failures, up to `asked_store`, which gets what is returned: a host may call back."""
    global asks_store, store_failure
    cdef Asked outer
    outer.asks, outer.failure = asks_store, store_failure
    asks_store, store_failure = True, NULL
    return outer


cdef int asked_store(Asked outer) except -1:
    """Raises what the embedded store raised meanwhile."""
    global asks_store, store_failure
    cdef PyObject *failure = store_failure
    asks_store, store_failure = outer.asks, outer.failure
    if failure != NULL:
        error = <object>failure
        Py_DECREF(failure)
        raise error
    return 0


cdef int c_store_data(const char *key, const char *value, int ttl) noexcept:
    try:
        from tykbridge import runtime

        runtime.store_data((<bytes>key).decode("utf-8", "surrogateescape"), <bytes>value, ttl)
        return TYKB_OK
    except BaseException as error:
        return TYKB_OK if is_told(error) else explain(error, NULL)


cdef char *c_get_data(const char *key) noexcept:
    cdef bytes value = b""
    cdef char *copy
    try:
        from tykbridge import runtime

        value = runtime.get_data((<bytes>key).decode("utf-8", "surrogateescape"))
    except BaseException as error:
        if not is_told(error):
            log(f"get_data: {error}", "error")
    copy = <char *>tykb_reply_alloc(<size_t>len(value) + 1)
    if copy != NULL:
        memcpy(copy, PyBytes_AS_STRING(value), <size_t>len(value) + 1)
    return copy


cdef int c_set_host(const tykb_host *host) noexcept:
    return tykb_set_host(host)


cdef enum:
    LIBRARIES = 16

cdef shutdown_function libraries[LIBRARIES]
cdef int library_count = 0


cdef int c_add_library(shutdown_function shutdown) noexcept:
    global library_count
    for i in range(library_count):
        if libraries[i] == shutdown:
            return TYKB_OK
    if library_count == LIBRARIES:
        return TYKB_E_ARGUMENT
    libraries[library_count] = shutdown
    library_count += 1
    return TYKB_OK


def _shut_down():
    """At the interpreter's exit: no library may start another call, and those in flight come back."""
    cdef shutdown_function shutdown
    with nogil:
        tykb_shutdown()
    for i in range(library_count):
        shutdown = libraries[i]
        with nogil:
            shutdown()


cdef bytes c_text(str text, str what):
    if "\0" in text:
        raise ValueError(f"{what} must not contain a NUL: it crosses C as a string")
    return text.encode("utf-8", "surrogateescape")


def log(str message not None, str level not None):
    """Writes a log line through the host. level: debug, info, warning or error."""
    cdef bytes words = message.replace("\0", "\\0").encode("utf-8", "backslashreplace")
    cdef bytes kind = level.replace("\0", "").encode("utf-8", "backslashreplace")
    cdef char *c_words = words
    cdef char *c_kind = kind
    with nogil:
        CoProcessLog(c_words, c_kind)


def store_data(str key not None, value, int ttl):
    """Stores a str, or bytes without a NUL, under a key for `ttl` seconds (0 or less: for good), through the host.

    Raises StoreError where the embedded store fails; a host's own function has no way to say that it did.
    """
    cdef bytes name = c_text(key, "the key")
    cdef bytes text
    if isinstance(value, str):
        text = c_text(value, "the value")
    elif isinstance(value, bytes):
        text = value
        if b"\0" in text:
            raise ValueError("the value must not contain a NUL: it crosses C as a string")
    else:
        raise TypeError(f"the value must be str or bytes, not {type(value).__name__}")
    cdef char *c_name = name
    cdef char *c_value = text
    cdef Asked outer = ask_store()
    with nogil:
        TykStoreData(c_name, c_value, ttl)
    asked_store(outer)


def get_data(str key not None):
    """The bytes under a key, b"" when it is missing, through the host. Raises StoreError as `store_data` does."""
    cdef bytes name = c_text(key, "the key")
    cdef char *c_name = name
    cdef char *value
    cdef Asked outer = ask_store()
    with nogil:
        value = TykGetData(c_name)
    try:
        asked_store(outer)
        return <bytes>value if value != NULL else b""
    finally:
        free(value)


def trigger_event(str name not None, str payload not None):
    """Fires an event through the host."""
    cdef bytes event = c_text(name, "the event's name")
    cdef bytes text = c_text(payload, "the payload")
    cdef char *c_event = event
    cdef char *c_payload = text
    with nogil:
        TykTriggerEvent(c_event, c_payload)


# `type(session)()` would be a view of nothing, and its first use a crash.
for made_here in (List, Map, MapIterator, Message, Request):
    refuse_calls(<PyTypeObject *>made_here)
del made_here

cdef bytes version = __version__.encode()
cdef tykb_table exported
memset(&exported, 0, sizeof(exported))
exported.abi = TYKB_TABLE_ABI
exported.size = sizeof(exported)
exported.version = version
exported.dispatch = dispatch
exported.new_dispatcher = c_new_dispatcher
exported.reload = c_reload
exported.load_bundle = c_load_bundle
exported.dispatch_event = c_dispatch_event
exported.set_env = c_set_env
exported.store_data = c_store_data
exported.get_data = c_get_data
exported.set_host = c_set_host
exported.add_library = c_add_library
exported.load_configuration = c_load_configuration
exported.run_request = c_run_request
exported.run_response = c_run_response
exported.reload_all = c_reload_all
exported.start_request = c_start_request
exported.start_response = c_start_response
_table = PyCapsule_New(&exported, TYKB_TABLE_CAPSULE, NULL)


def _register():
    import atexit

    cdef CoProcessMessage words
    memset(&words, 0, sizeof(words))
    if tykb_register(&exported, &words) != TYKB_OK:
        text = PyBytes_FromStringAndSize(<char *>words.p_data, words.length).decode() if words.p_data else ""
        free(words.p_data)
        raise ImportError(f"libtykbridge and the tykbridge package do not fit: {text}")
    atexit.register(_shut_down)


_register()
