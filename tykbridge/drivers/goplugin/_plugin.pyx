# cython: language_level=3, binding=False, boundscheck=False, wraparound=False, nonecheck=False, auto_pickle=False
"""One native plugin: csrc/plugin.h for Python, and a message's views as items and back.

Python's lock is released while a plugin runs. What it asks of the host comes back on any thread, takes the lock for as
long as it needs, and is refused once the interpreter ends: a thread of Go's must not end where it waits for the lock.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EBUSY
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset, strcmp, strerror

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

from tykbridge.errors import UnavailableError
from tykbridge.crossing import current as current_crossing
from tykbridge.failures import ScriptError
from tykbridge.waiting import can_suspend, suspend

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
        TYKB_PLUGIN_KEPT
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

cdef extern from "lane.h" nogil:
    enum:
        TYKB_FRAME_INVOKE
        TYKB_FRAME_FORGET
        TYKB_LANE_OK
        TYKB_LANE_LATE
        TYKB_LANE_BROKEN
        TYKB_LANE_MEMORY
        TYKB_LANE_UNREAD

    struct tykb_frame:
        uint32_t kind
        uint32_t flags
        int64_t number
        int64_t other
        int64_t time
        uint64_t size
        uint64_t more

    struct tykb_lane:
        pass

    int64_t tykb_lane_now()
    int tykb_lane_send(tykb_lane *lane, const tykb_frame *frame, const void *data, const void *more, int64_t until)
    const tykb_frame *tykb_lane_frame(const tykb_lane *lane)
    uint8_t *tykb_lane_data(const tykb_lane *lane)

cdef extern from "process.h" nogil:
    struct tykb_process

    struct tykb_process_owner:
        void *context
        void (*resume)(void *, void *) noexcept nogil
        void (*ended)(void *) noexcept nogil

    struct tykb_process_end:
        int is_known
        int status
        int is_wanted
        int is_late
        int is_forked
        const char *printed
        size_t size

    int tykb_process_start(const char *program, const char *label, int library, const tykb_plugin_host *host,
                           const tykb_process_owner *owner, tykb_process **process)
    void tykb_process_free(tykb_process *process)
    int tykb_process_number(const tykb_process *process)
    int tykb_process_is_over(tykb_process *process)
    tykb_lane *tykb_process_enter(tykb_process *process, int *error)
    void tykb_process_leave(tykb_process *process, tykb_lane *lane, int is_done)
    int tykb_process_receive(tykb_process *process, tykb_lane *lane, int64_t until, int64_t brief)
    void tykb_process_watch(tykb_process *process, tykb_lane *lane, int64_t until, void *waiting)
    void tykb_process_retire(tykb_process *process, int late, int64_t grace)
    int tykb_process_ended(tykb_process *process, int64_t until, tykb_process_end *end)


cdef enum:
    ROOM = 4096  # bytes of a call, or of a reply, that lie on the stack


# ---- Rows of the table of fields

cdef const tykb_field *row_of(const tykb_type *type, const char *name) except NULL:
    for at in range(type.count):
        if strcmp(type.fields[at].name, name) == 0:
            return &type.fields[at]
    raise KeyError(name.decode())


# The table of the module that makes the messages: rows are told apart by their addresses, and this has a copy.
cdef Message any_object = new_message("Object")  # it holds the node that is asked
cdef const tykb_type *OBJECT = tykb_node_type(any_object.get_node())
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


include "_items.pxi"
include "_changes.pxi"
cdef class Asker:
    """Whom a plugin's questions are asked in the name of.

    Attributes:
        host: what the plugin may ask for: see `host.Host`.
    """
    cdef readonly object host


include "_host.pxi"


cdef class Plugin(Asker):
    """A plugin, wherever it runs: an open library where no subclass says otherwise.

    A library is never closed, and this lives as long: threads of its own may call the host at any time.
    """
    cdef const tykb_plugin *table
    cdef tykb_plugin_host offered

    def __cinit__(self, bytes path, host):
        """Opens a file, and lets it say what is in it. Its code runs. ScriptError: that cannot be done.

        None: it is a subclass's business where it runs.
        """
        self.host = host
        if path is not None:
            self.open(path)

    cdef int open(self, bytes path) except -1:
        cdef const char *name = path
        cdef void *library
        cdef void *found = NULL
        cdef const char *error = NULL
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
                f"it speaks version {self.table.abi} of csrc/plugin.h, and not {TYKB_PLUGIN_ABI}: build it again"
            )

    def manifest(self):
        """What is in it, as JSON."""
        cdef const char *text
        with nogil:
            text = self.table.manifest()
        if text == NULL:
            raise ScriptError("it does not say what is in it")
        return <bytes>text

    def start(self, bytes settings):
        """Lets it begin, once. `settings`: the gateway's, as JSON; None: there are none."""
        cdef Reply reply = Reply.__new__(Reply)
        cdef int status
        offer(&self.offered, self)
        if settings is not None:
            self.offered.settings = PyBytes_AS_STRING(settings)
        with nogil:
            status = self.table.start(&self.offered, &reply.reply)
        self.offered.settings = NULL
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

    def forget(self, uint64_t number):
        """Lets it forget what it kept under a number."""
        with nogil:
            self.table.fetch(number, NULL)

    def release(self, int64_t number):
        """Forgets an API."""
        with nogil:
            self.table.release(number)

    cdef Asker owner(self):
        """Whose what is kept of a request is."""
        return self

    cdef Asker invoke(
        self, tykb_plugin_call *call, tykb_plugin_reply *reply, Asker owner, uint8_t *kept, int *outcome
    ):
        """Runs a hook, and gives the owner who did. A longer reply than fits is in memory that the caller frees.

        `kept`: the number of `owner`'s in the call, NULL where there is none.
        """
        cdef int status
        cdef uint8_t *fetched
        with nogil:
            outcome[0] = self.table.invoke(call, reply)
        if reply.kept:
            fetched = <uint8_t *>malloc(reply.size)
            if fetched == NULL:
                self.table.fetch(reply.kept, NULL)
                raise MemoryError()
            reply.data, reply.capacity = fetched, reply.size
            with nogil:
                status = self.table.fetch(reply.kept, reply)
            if status < 0:
                raise ScriptError(f"its reply cannot be had: status {status} of csrc/plugin.h")
        if reply.size > reply.capacity:
            raise ScriptError("its reply is longer than the room for it")
        return owner


include "_process.pxi"


read_crossing = current_crossing.get

cdef list opened = []  # every library, for good: its host is called with the address of the Plugin


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
    cdef object defined  # keeps the API known to the plugin
    cdef int64_t definition
    cdef uint32_t phase
    cdef int64_t timeout_ns
    cdef bint is_response
    cdef object read_session
    cdef object write_session

    def __cinit__(self, Plugin plugin not None, int64_t number, defined, uint32_t phase, bint is_response,
                  read_session, write_session, int64_t timeout_ms=0):
        """`number` is of `lookup`, `defined.number` of `define` (None: no API), `phase` a coprocess.HookType or 0.

        `timeout_ms`: the time that it has; 0: as long as it likes, which no plugin has that runs elsewhere.
        read_session(serialised SessionState) gives its JSON and its token; write_session(message, phase, JSON or None,
        token or None, metadata) writes what the hook left.
        """
        self.plugin, self.number, self.defined, self.phase = plugin, number, defined, phase
        self.definition = 0 if defined is None else defined.number
        self.is_response, self.read_session, self.write_session = is_response, read_session, write_session
        self.timeout_ns = timeout_ms * 1_000_000

    def __call__(self, Message message not None):
        cdef tykb_node *root = message.get_node()
        cdef tykb_node *request
        cdef tykb_node *response = NULL
        cdef Out out
        cdef tykb_plugin_call call
        cdef tykb_plugin_reply reply
        cdef uint8_t room[ROOM]
        cdef Items items
        cdef int outcome
        cdef bytes session
        cdef object crossing = read_crossing()
        cdef Asker owner
        out.data, out.size, out.room = out.own, 0, ROOM
        items.items, items.count = items.own, 0
        reply.data, reply.capacity, reply.size, reply.kept = room, ROOM, 0, 0
        try:
            check(tykb_node_child(root, OBJECT_REQUEST, &request))
            put_request(&out, request, None if crossing is None else crossing.headers())
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
            owner = self.plugin.owner()
            if crossing is not None:
                put_kept(&out, crossing.kept(owner))
            call.size, call.phase, call.hook = sizeof(tykb_plugin_call), self.phase, self.number
            call.definition, call.timeout_ns = self.definition, self.timeout_ns
            call.data, call.data_size = out.data, out.size
            owner = self.plugin.invoke(
                &call, &reply, owner, NULL if crossing is None else out.data + out.size - 8, &outcome
            )
            if reply.size == 0 and outcome == TYKB_PLUGIN_CONTINUE:
                return
            read(&items, reply.data, reply.size)
            self.keep(crossing, owner, &items)
            if outcome < 0:
                failed(&items, outcome)
            if outcome > TYKB_PLUGIN_RESPOND:
                raise ScriptError(f"it came to an end that csrc/plugin.h does not know: {outcome}")
            self.apply(message, request, response, &items, outcome == TYKB_PLUGIN_RESPOND, crossing)
        finally:
            if out.data != out.own:
                free(out.data)
            if items.items != items.own:
                free(items.items)
            if reply.data != room:
                free(reply.data)

    cdef int apply(
        self, Message message, tykb_node *request, tykb_node *response, Items *items, bint is_answer, object crossing
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
            change_headers(request, items, TYKB_PLUGIN_HEADER, TYKB_PLUGIN_DELETE_HEADER, is_answer, crossing)
        if has_response_headers:
            change_headers(
                response, items, TYKB_PLUGIN_RESPONSE_HEADER, TYKB_PLUGIN_RESPONSE_DELETE_HEADER, is_answer, None
            )
        return 0

    cdef int keep(self, object crossing, Asker owner, Items *items) except -1:
        """Keeps the numbers of a reply, also of one that is refused: each is to be forgotten."""
        for at in range(items.count):
            if items.items[at].tag == TYKB_PLUGIN_KEPT:
                number = kept_in(&items.items[at])
                if crossing is None:
                    raise ScriptError("its reply keeps something of a request, and was not asked whether it does")
                crossing.keep(owner, number, owner.forget)
        return 0

    cdef int known(self, Item *item, bint is_answer) except -1:
        """Raises ScriptError for a change that cannot be made here."""
        cdef uint32_t tag = item.tag
        if tag == TYKB_PLUGIN_KEPT:
            return 0
        if tag not in (TYKB_PLUGIN_BODY, TYKB_PLUGIN_RESPONSE_BODY, TYKB_PLUGIN_RESPONSE_STATUS) and not (
            tykb_wire_is_utf8(item.name.data, item.name.size) and tykb_wire_is_utf8(item.value.data, item.value.size)
        ):
            raise ScriptError(f"its reply has an item {tag} that is not UTF-8, as all text of a message is")
        if tag in (TYKB_PLUGIN_SESSION, TYKB_PLUGIN_TOKEN, TYKB_PLUGIN_METADATA):
            return 0
        if tag in (TYKB_PLUGIN_RESPONSE_STATUS, TYKB_PLUGIN_RESPONSE_HEADER, TYKB_PLUGIN_RESPONSE_DELETE_HEADER,
                   TYKB_PLUGIN_RESPONSE_BODY):
            if self.is_response or is_answer:
                return 0
            raise ScriptError(
                "it changes the response without making one, and there is none yet: write the response with its "
                "status, or do it in a response hook"
            )
        if not self.is_response and not is_answer:
            if tag in (TYKB_PLUGIN_METHOD, TYKB_PLUGIN_URL, TYKB_PLUGIN_HOST, TYKB_PLUGIN_HEADER, TYKB_PLUGIN_BODY,
                       TYKB_PLUGIN_DELETE_HEADER):
                return 0
            if tag == TYKB_PLUGIN_TARGET:
                if (item.value.size > 0 and item.value.data[0] == c"/") and (
                    item.value.size == 1 or item.value.data[1] != c"/"
                ):
                    return 0
                raise ScriptError(
                    f"it sends the request to another server, {text_of(item.value)[:200]}, and only path and query "
                    "of a request can be rewritten here"
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


def end():
    """Refuse what plugins ask of the host from now on."""
    tykb_end()


def is_asked():
    """Whether something is on its way that a plugin asks of the host."""
    return tykb_busy()


def forked():
    """Forget, in a forked child, what threads asked for that are not there."""
    tykb_forked()
