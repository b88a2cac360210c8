# cython: language_level=3, binding=False, boundscheck=False, wraparound=False, initializedcheck=False
# cython: nonecheck=False, auto_pickle=False, embedsignature=True
"""The hot path: message views, and the dispatch of a message to a hook.

The views behave as google.protobuf's Python messages, maps and repeated fields do, over the lazy tree of csrc/object.h.
What they do differently is named in docs/views.md. Everything runs under Python's lock, which also guards the trees.
"""

from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, MutableSequence, ValuesView

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_AsStringAndSize, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject, PyObject_GenericGetAttr
from cpython.pycapsule cimport PyCapsule_New
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.limits cimport INT_MAX
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp, memcpy, memset

from tykbridge._version import __version__

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    PyObject *PyObject_Vectorcall(PyObject *function, PyObject **arguments, size_t count, PyObject *names)
    void Py_INCREF(PyObject *thing)
    void Py_DECREF(PyObject *thing)
    bint PyUnicode_Check(object thing)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 highest)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    Py_ssize_t Py_REFCNT(PyObject *thing)  # an `object` argument would count itself
    bint PyTuple_CheckExact(PyObject *thing)
    Py_ssize_t PyTuple_GET_SIZE(PyObject *thing)
    PyObject *PyTuple_GET_ITEM(PyObject *thing, Py_ssize_t at)

cdef extern from *:
    """
    /* Only the module itself makes them, through the C function that was tp_new. */
    static int refuse_calls(PyTypeObject *type) {
      type->tp_new = NULL;
      type->tp_vectorcall = NULL; /* Cython's short cut to it */
      type->tp_flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
      if (PyDict_DelItemString(type->tp_dict, "__new__") < 0) return -1;
      PyType_Modified(type);
      return 0;
    }
    """
    int refuse_calls(PyTypeObject *type) except -1
    ctypedef struct PyTypeObject

cdef extern from *:
    """
    /* Whether this thread is in store_data() or get_data(), and what the embedded store raised meanwhile (owned). */
    static _Thread_local int asks_store;
    static _Thread_local PyObject *store_failure;
    """
    int asks_store
    PyObject *store_failure


# One compilation unit, so that a view reaches the tree without a call between modules. In the order of use:
include "_values.pxi"
include "_message.pxi"
include "_map.pxi"
include "_list.pxi"


# ---- What a hook gets ------------------------------------------------------------------------------------------------

# They take the Request and a row, since Cython counts a reference to whatever else is handed to a function.

cdef inline tykb_node *node_of(Request request) except NULL:
    return request.message.node if request.message.node != NULL else request.message.get_node()


cdef inline int put_pair(Request request, const tykb_field *row, object key, object value) except -1:
    cdef tykb_map *map
    cdef tykb_span name, text
    text_from_python(key, &name)
    text_from_python(value, &text)
    cdef int status = tykb_node_map(node_of(request), row, &map)
    if status == TYKB_OK:
        status = tykb_map_put(map, name, text)
    if status != TYKB_OK:
        failed(status, row.name.decode())
    return 0


cdef inline int put_item(Request request, const tykb_field *row, object value) except -1:
    cdef tykb_list *list
    cdef tykb_value raw
    text_from_python(value, &raw.text)
    cdef int status = tykb_node_list(node_of(request), row, &list)
    if status == TYKB_OK:
        status = tykb_list_append(list, raw)
    if status != TYKB_OK:
        failed(status, row.name.decode())
    return 0


# Not Request.__getattr__: with one, every lookup of a method makes an object.
class Elsewhere:
    """An attribute that hooks look for in the wrong place: no attribute, but words that say where it is."""

    def __init__(self, name, words):
        self.name, self.words = name, words

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        raise AttributeError(f'a hook\'s request has no "{self.name}": {self.words}')

    def __set__(self, instance, value):
        self.__get__(instance)


@cython.final
@cython.no_gc
cdef class Request:
    """The request, as a hook gets it: `object` is the MiniRequestObject, the methods are Tyk's."""

    headers = Elsewhere(
        "headers",
        "get_header(name) gives one or None, add_header(name, value) sets one; all as they came are in "
        "request.object.headers, where a write has no effect",
    )
    set_header = Elsewhere("set_header", "it is request.add_header(name, value), which replaces")
    cookies = Elsewhere("cookies", 'they are in request.get_header("Cookie"), which is None without any')
    body = Elsewhere("body", "it is request.object.body, or raw_body there, which is bytes")
    raw_body = Elsewhere("raw_body", "it is request.object.raw_body")
    data = Elsewhere("data", "it is request.object.raw_body, which is bytes, or body there, which is text")
    json = Elsewhere("json", "it is json.loads(request.object.raw_body)")
    method = Elsewhere("method", "it is request.object.method")
    url = Elsewhere("url", "it is request.object.url, which is path and query")
    path = Elsewhere("path", 'it is request.object.url.partition("?")[0]')
    params = Elsewhere("params", "they are request.object.params; request.add_param(name, value) sets one")
    args = Elsewhere("args", "it is request.object.params")
    query = Elsewhere("query", "it is request.object.params")
    return_overrides = Elsewhere("return_overrides", "they are request.object.return_overrides")

    @property
    def object(self):
        """The message itself."""
        self.message.get_node()
        return self.message

    def add_header(self, key, value):
        """Sets a header of the request to the upstream."""
        put_pair(self, SET_HEADERS.row, key, value)

    def delete_header(self, key):
        """Removes a header of the request to the upstream."""
        put_item(self, DELETE_HEADERS.row, key)

    def get_header(self, key):
        """The value of a header as it came, None without one. The name's case counts."""
        cdef tykb_span name, value
        text_from_python(key, &name)
        cdef int status = tykb_node_find(node_of(self), HEADERS.row, name, &value)
        if status == TYKB_OK:
            return text_to_python(value, HEADERS.row)
        if status != TYKB_E_NOT_FOUND:
            failed(status, "headers")
        return None

    def add_param(self, key, value):
        """Sets a parameter of the request to the upstream."""
        put_pair(self, ADD_PARAMS.row, key, value)

    def delete_param(self, key):
        """Removes a parameter of the request to the upstream."""
        put_item(self, DELETE_PARAMS.row, key)

    def __repr__(self):
        return repr(self.object)


@cython.final
cdef class Generation:
    def __cinit__(self, on_drained=None):
        self.on_drained = on_drained

    def retire(self):
        """No new call will come. `on_drained` is called once, as soon as none is in flight."""
        if not self.retired:
            self.retired = True
            if self.users == 0:
                end_generation(self)

    cdef drained(self):
        done, self.on_drained = self.on_drained, None
        if done is not None:
            done()


cdef enum:
    OBJECT_FORM = 1  # the arity of a driver's function: it gets the whole message, and changes it in place


@cython.final
cdef class Handler:
    def __cinit__(self, function, str bundle, str name, int arity, Generation generation not None):
        if arity not in (OBJECT_FORM, 3, 4, 5):
            raise ValueError(f"a hook takes 1, 3, 4 or 5 arguments, not {arity}")
        self.function = function
        self.bundle = bundle
        self.name = name
        self.arity = arity
        self.generation = generation


# ---- The table of hooks ----------------------------------------------------------------------------------------------

# Keys are the name's bytes behind the bundle's: found without making a str. Replaced as a whole under Python's lock.
cdef struct Row:
    uint32_t hash
    uint32_t bundle_size
    tykb_span key
    PyObject *handler  # borrowed from `published`

cdef Row *table = NULL
cdef size_t table_mask = 0
cdef object published = ()
cdef dict by_name = {}  # hooks of messages that name no bundle: the handler, or None where several bundles have it


cdef inline uint64_t ends(tykb_span text) noexcept:
    """Up to eight bytes from each end: names differ there, and none is hostile, since the table is the host's own."""
    cdef uint64_t head = 0, tail = 0
    if text.size >= 8:
        head = tykb_wire_load64(text.data)
        tail = tykb_wire_load64(text.data + text.size - 8)
    elif text.size >= 4:
        head = tykb_wire_load32(text.data)
        tail = tykb_wire_load32(text.data + text.size - 4)
    elif text.size:
        head = text.data[0]
        tail = text.data[text.size // 2] << 8 | text.data[text.size - 1]
    return (head ^ text.size) * <uint64_t>0x9E3779B97F4A7C15 + tail


cdef inline uint32_t row_hash(tykb_span bundle, tykb_span name) noexcept:
    cdef uint64_t code = (ends(name) ^ ends(bundle) >> 7) * <uint64_t>0xE7037ED1A0B428DB
    return <uint32_t>(code >> 32)


cdef PyObject *find(tykb_span bundle, tykb_span name) noexcept:
    """The handler, borrowed, or NULL."""
    cdef uint32_t code
    cdef size_t at
    cdef Row *row
    if table == NULL:
        return NULL
    code = row_hash(bundle, name)
    at = code & table_mask
    while table[at].handler != NULL:
        row = &table[at]
        if (row.hash == code and row.bundle_size == bundle.size and row.key.size == bundle.size + name.size
                and tykb_wire_same(row.key.data, bundle.data, bundle.size)
                and tykb_wire_same(row.key.data + bundle.size, name.data, name.size)):
            return row.handler
        at = (at + 1) & table_mask
    return NULL


def publish(handlers):
    """Replaces the whole table of hooks in one step. Calls in flight finish on what they started with."""
    global table, table_mask, published, by_name
    cdef list rows = list(handlers)
    cdef size_t size = 8, at
    cdef Handler handler
    cdef Row *fresh
    cdef tykb_span bundle, name
    cdef uint32_t code
    keys = []
    names = {}
    while size < 2 * <size_t>len(rows):
        size *= 2
    for handler in rows:
        key = handler.name.encode()
        keys.append((handler.bundle.encode(), key))
        if "\0" not in handler.bundle:  # else a hook once more, with a time limit
            names[key] = None if key in names else handler
    joined = [a + b for a, b in keys]
    fresh = <Row *>tykb_mem_alloc(size * sizeof(Row))
    if fresh == NULL:
        raise MemoryError()
    memset(fresh, 0, size * sizeof(Row))
    for (bundle_key, name_key), key, handler in zip(keys, joined, rows):
        bundle = span_of(PyBytes_AS_STRING(bundle_key), PyBytes_GET_SIZE(bundle_key))
        name = span_of(PyBytes_AS_STRING(name_key), PyBytes_GET_SIZE(name_key))
        code = row_hash(bundle, name)
        at = code & (size - 1)
        while fresh[at].handler != NULL:
            at = (at + 1) & (size - 1)
        fresh[at].hash = code
        fresh[at].bundle_size = <uint32_t>bundle.size
        fresh[at].key = span_of(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        fresh[at].handler = <PyObject *>handler
    # The old rows are let go last: that can run anybody's code.
    old_table, old = <size_t>table, published
    table, table_mask, published, by_name = fresh, size - 1, (rows, joined), names
    tykb_mem_free(<void *><size_t>old_table)
    del old


# ---- Dispatch --------------------------------------------------------------------------------------------------------

# Hidden from the collector: it could hand an idle frame's views to a plugin, and they would reach freed memory. A frame
# is in no cycle.
@cython.final
@cython.no_gc
cdef class Frame:
    pass


cdef PyObject *idle = NULL  # frames ready for a dispatch, each with a reference, linked by `next`


cdef Frame new_frame():
    cdef Frame frame = Frame.__new__(Frame)
    cdef Context context = Context()
    frame.context = context
    frame.request = Request.__new__(Request)
    frame.request.message = bare_message(context, REQUEST, OBJECT_REQUEST)
    frame.response = bare_message(context, RESPONSE, OBJECT_RESPONSE)
    frame.session = bare_message(context, SESSION, OBJECT_SESSION)
    frame.metadata = bare_map(context, OBJECT_METADATA_FIELD)
    frame.spec = bare_map(context, OBJECT_SPEC_FIELD)
    return frame


cdef enum:
    FRAME_VIEWS = 6  # references to a frame's context when nobody else has any: the frame's own and its views'


cdef Message bare_message(Context context, TypeInfo info, const tykb_field *field):
    cdef Message view = Message.__new__(Message)
    view.context = context
    view.info = info
    view.field = field
    return view


cdef Map bare_map(Context context, Field field):
    cdef Map view = Map.__new__(Map)
    view.context = context
    view.field = field
    return view


cdef PyObject *another_frame(CoProcessMessage *out, int *status) noexcept:
    """A frame where none is idle: there are as many as dispatches ever ran at once."""
    cdef Frame frame
    try:
        frame = new_frame()
    except BaseException as error:
        status[0] = explain(error, out)
        return NULL
    Py_INCREF(<PyObject *>frame)
    return <PyObject *>frame


cdef inline tykb_node *start_frame(Frame frame, const void *data, size_t size) noexcept:
    cdef tykb_node *root = tykb_context_root(
        frame.context.tree, &tykb_type_Object, span_of(<const char *>data, <Py_ssize_t>size)
    )
    frame.root = root
    frame.request.message.parent = root
    frame.response.parent = root
    frame.session.parent = root
    frame.metadata.parent = root
    frame.spec.parent = root
    return root


cdef inline bint is_kept(Frame frame) noexcept:
    """Whether anybody else holds a view of it."""
    return not (
        Py_REFCNT(<PyObject *>frame.context) == FRAME_VIEWS and Py_REFCNT(<PyObject *>frame.request) == 1
        and Py_REFCNT(<PyObject *>frame.request.message) == 1 and Py_REFCNT(<PyObject *>frame.session) == 1
        and Py_REFCNT(<PyObject *>frame.spec) == 1 and Py_REFCNT(<PyObject *>frame.metadata) == 1
        and Py_REFCNT(<PyObject *>frame.response) == 1
    )


cdef inline void end_frame(Frame frame) noexcept:
    """Makes the frame ready for the next dispatch or, when a hook kept a view, gives that one its own memory."""
    global idle
    if not is_kept(frame):
        frame.request.message.node = NULL
        frame.response.node = NULL
        frame.session.node = NULL
        frame.metadata.map = NULL
        frame.spec.map = NULL
        tykb_context_reset(frame.context.tree)
        frame.next = idle
        idle = <PyObject *>frame
    else:
        keep_frame(frame)
        Py_DECREF(<PyObject *>frame)


cdef void keep_frame(Frame frame) noexcept:
    # A view that was never used has no node yet, and finds it by its parent, which stays.
    if tykb_context_own_input(frame.context.tree) == TYKB_OK:
        return
    # No memory for the copy. The bytes are the host's and will be gone: the views must not reach them.
    forget_input(frame)


cdef void forget_input(Frame frame) noexcept:
    tykb_context_lose_input(frame.context.tree)


cdef enum:
    NAME_LIMIT = 256  # bytes of a name in an error's words
    WORDS_LIMIT = 65536  # characters of an error's words


cdef int set_words(CoProcessMessage *out, object words) except -1:
    """Puts a failure's words into `out`: UTF-8 without a NUL."""
    cdef bytes text
    if out == NULL:
        return 0
    text = str(words)[:WORDS_LIMIT].replace("\0", "\\0").encode("utf-8", "backslashreplace")
    out.p_data = tykb_reply_alloc(<size_t>PyBytes_GET_SIZE(text) or 1)
    if out.p_data == NULL:
        return 0
    memcpy(out.p_data, PyBytes_AS_STRING(text), <size_t>PyBytes_GET_SIZE(text))
    out.length = <int>PyBytes_GET_SIZE(text)
    return 0


cdef int explain(object error, CoProcessMessage *out) noexcept:
    """The status of an exception, its words in `out`."""
    try:
        set_words(out, error if str(error) else type(error).__name__)
        if isinstance(error, MemoryError):
            return TYKB_E_NO_MEMORY
        status = getattr(error, "status", TYKB_E_INTERNAL)
        return status if isinstance(status, int) and status < 0 else TYKB_E_INTERNAL
    except BaseException:
        return TYKB_E_INTERNAL


cdef str text_of(tykb_span text):
    """What a message says, for the words of an error: as much of it as a name can be long."""
    cut = text.size > NAME_LIMIT
    if cut:
        text.size = NAME_LIMIT
    return bytes_of(text).decode("utf-8", "backslashreplace") + ("..." if cut else "")


cdef int dispatch(const void *data, size_t size, uint32_t flags, CoProcessMessage *out) noexcept:
    """struct tykb_table.dispatch: runs the hook that a message names.

    What can raise is in functions of its own, so that the usual way sets up no handler for it.
    """
    global idle
    cdef tykb_span bundle, name
    cdef PyObject *frame = idle
    cdef PyObject *handler = NULL
    cdef int status = TYKB_E_NO_MEMORY
    if frame != NULL:
        idle = (<Frame>frame).next
    else:
        frame = another_frame(out, &status)
        if frame == NULL:
            return status
    if start_frame(<Frame>frame, data, size) != NULL:
        status = tykb_object_identify((<Frame>frame).root, &name, &bundle)
    if status != TYKB_OK:
        refuse(status, out)
    else:
        handler = find(bundle, name)
        if handler == NULL:
            handler = find_otherwise(bundle, name, out, &status)
    if handler != NULL:
        Py_INCREF(handler)
        status = call(<Frame>frame, <Handler>handler, out)
        if status == TYKB_OK:
            status = reply(<Frame>frame, <Handler>handler, flags, out)
        elif status <= STORE_FAILED:
            status = TYKB_E_HOOK
        Py_DECREF(handler)
    end_frame(<Frame>frame)
    return status


cdef void refuse(int status, CoProcessMessage *out) noexcept:
    """The words for a message that is none, or that there is no memory for."""
    try:
        if status == TYKB_E_MALFORMED:
            set_words(out, "the message is not a serialised coprocess.Object: its fields cannot be read")
    except BaseException as error:
        explain(error, out)


cdef PyObject *find_otherwise(tykb_span bundle, tykb_span name, CoProcessMessage *out, int *status) noexcept:
    """For a message without bundle_hash, or an empty one, the one hook of that name; else NULL and what is missing."""
    try:
        from tykbridge import runtime

        if bundle.size == 0:
            handler = by_name.get(bytes_of(name))
            if handler is not None:
                return <PyObject *>handler  # `by_name` holds it
        error = runtime.missing(text_of(bundle) if bundle.size else None, text_of(name))
        status[0] = explain(error, out)
    except BaseException as failure:
        status[0] = explain(failure, out)
    return NULL


cdef inline int call(Frame frame, Handler handler, CoProcessMessage *out) noexcept:
    """Calls the hook and takes over what it returned."""
    cdef PyObject *arguments[3]
    cdef PyObject *result
    cdef int status
    handler.generation.users += 1
    if handler.arity == 3:
        arguments[0] = <PyObject *>frame.request
        arguments[1] = <PyObject *>frame.session
        arguments[2] = <PyObject *>frame.spec
        result = PyObject_Vectorcall(<PyObject *>handler.function, arguments, 3, NULL)
        if (result != NULL and PyTuple_CheckExact(result) and PyTuple_GET_SIZE(result) == 2
                and PyTuple_GET_ITEM(result, 0) == arguments[0] and PyTuple_GET_ITEM(result, 1) == arguments[1]):
            status = TYKB_OK
        else:
            status = take_three(frame, handler, result, out)
        if result != NULL:
            Py_DECREF(result)
    else:
        status = call_more(frame, handler, out)
    handler.generation.users -= 1
    if handler.generation.retired and handler.generation.users == 0:
        end_generation(handler.generation)
    return status


cdef void end_generation(Generation generation) noexcept:
    """What fails here is told to sys.unraisablehook: it is not the failure of the hook or reload that it ends with."""
    generation.drained()


cdef int take_three(Frame frame, Handler handler, PyObject *result, CoProcessMessage *out) noexcept:
    """What a hook with three arguments returned, other than what it got; NULL where it raised."""
    try:
        if result == NULL:
            pending_error()
        return take_result(frame, handler, <object>result, out)
    except BaseException as error:
        return hook_failed(handler, error, out)


cdef int pending_error() except -1:
    """Lets an error that C left pending go on as an exception."""
    return -1


cdef int call_more(Frame frame, Handler handler, CoProcessMessage *out) noexcept:
    try:
        if handler.arity == OBJECT_FORM:
            call_object(frame, handler)
            return TYKB_OK
        if handler.arity == 4:
            metadata = read_field(frame.session, SESSION_METADATA)
            result = handler.function(frame.request, frame.session, metadata, frame.spec)
        else:
            result = handler.function(frame.request, frame.response, frame.session, frame.metadata, frame.spec)
        return take_result(frame, handler, result, out)
    except BaseException as error:
        return hook_failed(handler, error, out)


cdef int call_object(Frame frame, Handler handler) except -1:
    """Calls a driver's function with the whole message, whose parts are the frame's own views."""
    frame.request.message.get_node()
    frame.session.get_node()
    frame.response.get_node()
    handler.function(new_message(frame.context, OBJECT, frame.root))
    return 0


cdef enum:
    # TYKB_E_HOOK, inside of this module alone: by a StoreError that the hook let go up, by a DeadlineError, and by an
    # UnavailableError.
    STORE_FAILED = -1000
    DEADLINE_PASSED = -1001
    UNAVAILABLE = -1002


cdef int hook_failed(Handler handler, object error, CoProcessMessage *out) noexcept:
    cdef int status = TYKB_E_HOOK
    try:
        from tykbridge import runtime
        from tykbridge.errors import DeadlineError, UnavailableError
        from tykbridge.stores import StoreError

        if isinstance(error, StoreError):
            status = STORE_FAILED
        elif isinstance(error, DeadlineError):
            status = DEADLINE_PASSED
        elif isinstance(error, UnavailableError):
            status = UNAVAILABLE
        words = runtime.hook_failed(handler.bundle, handler.name, handler.function, error)
        # The traceback's frames hold the views: let them go before the frame is looked at.
        error.__traceback__ = None
        set_words(out, words)
    except BaseException as second:
        explain(second, out)
    return status


cdef inline int reply(Frame frame, Handler handler, uint32_t flags, CoProcessMessage *out) noexcept:
    cdef void *data
    cdef size_t size
    cdef int status = TYKB_OK
    if frame.request.message.node != NULL:
        status = tykb_node_settle_body(frame.request.message.node)
    if status == TYKB_OK and frame.response.node != NULL:
        status = tykb_node_settle_body(frame.response.node)
    if status == TYKB_OK:
        status = tykb_node_write(frame.root, flags, tykb_reply_alloc, &data, &size)
    if status == TYKB_OK:
        out.p_data = data
        out.length = <int>size
    else:
        no_reply(handler, status, out)
    return status


cdef void no_reply(Handler handler, int status, CoProcessMessage *out) noexcept:
    try:
        why = "it has more than 2 GiB" if status == TYKB_E_TOO_LARGE else tykb_status_name(status).decode()
        set_words(out, f'the reply of hook "{handler.name}" of bundle "{handler.bundle}" cannot be written: {why}')
    except BaseException as error:
        explain(error, out)


cdef int take_result(Frame frame, Handler handler, object result, CoProcessMessage *out) except 1:
    """Takes over what a hook returned, or says what it must return."""
    if take(frame, handler.arity, result):
        return TYKB_OK
    from tykbridge import runtime

    return explain(runtime.bad_return(handler.bundle, handler.name, handler.function, handler.arity, result), out)


cdef bint take(Frame frame, int arity, object result) except -1:
    """Takes over what a hook returned; False where no hook may return that."""
    if arity == 5:
        return take_response(frame, result)
    if not isinstance(result, (tuple, list)):
        return False
    items = tuple(result)  # a list may change while what is in it is asked what it is
    if len(items) != arity - 1:
        return False
    request, session, metadata = items if arity == 4 else (*items, None)
    if isinstance(request, Request):
        request = (<Request>request).message
    if not is_message(request, REQUEST) or not is_message(session, SESSION):
        return False
    if arity == 4 and not (isinstance(metadata, Map) and (<Map>metadata).field.child is None) \
            and not isinstance(metadata, Mapping):
        return False
    take_message(frame.request.message, request)
    take_message(frame.session, session)
    if arity == 4:
        merge_metadata(frame, metadata)
    return True


cdef int merge_metadata(Frame frame, object metadata) except -1:
    cdef Map mine = read_field(frame.session, SESSION_METADATA)
    if metadata is mine:
        return 0
    for key, value in list(metadata.items()):
        if not isinstance(value, str) or not isinstance(key, str):
            raise TypeError(
                f"metadata[{key!r}] is {type(value).__name__}: keys and values of metadata must be str"
            )
        mine[key] = value
    return 0


cdef bint take_response(Frame frame, object result) except -1:
    if result is None:
        return True
    if is_message(result, RESPONSE):
        take_message(frame.response, result)
        return True
    if isinstance(result, (tuple, list)):
        responses = [item for item in result if is_message(item, RESPONSE)]
        if len(responses) == 1:
            take_message(frame.response, responses[0])
            return True
    return False


cdef bint is_message(object value, TypeInfo info):
    if isinstance(value, Message):
        return (<Message>value).info is info
    return getattr(getattr(value, "DESCRIPTOR", None), "full_name", "") == f"coprocess.{info.name}"


cdef int take_message(Message place, object value) except -1:
    """A message that the hook returned in place of the one it got."""
    cdef int status
    if value is place or (isinstance(value, Message) and (<Message>value).node == place.node
                          and (<Message>value).context is place.context and place.node != NULL):
        return 0
    if isinstance(value, Message):  # it knows which body was written last; its bytes do not
        status = tykb_node_settle_body((<Message>value).get_node())
        if status != TYKB_OK:
            failed(status, place.info.name)
    return place_message(place, serialised(value, place.info, "CopyFrom"))


cdef int place_message(Message place, bytes data) except -1:
    """Puts serialised bytes in place of a message of the frame."""
    cdef int status = tykb_node_replace(
        place.parent, place.field, span_of(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    )
    if status != TYKB_OK:
        failed(status, place.info.name)
    if place.node != NULL:
        tykb_node_view(place.node)[0] = NULL
        place.node = NULL
    place.get_node()
    return 0


include "_incoming.pxi"


include "_exchange.pxi"


include "_remote.pxi"


include "_library.pxi"
include "_baton.pxi"
