# cython: language_level=3, binding=False, boundscheck=False, wraparound=False, nonecheck=False, auto_pickle=False
"""One JavaScript state: engine.h for Python, and a message's views for engine.h."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from tykbridge._bridge cimport Message, tykb_node, tykb_span

cdef extern from "Python.h":
    ctypedef struct PyThreadState
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)

cdef extern from "engine.h":
    enum:
        TYKB_JS_NOTHING
        TYKB_JS_BOOL
        TYKB_JS_NUMBER
        TYKB_JS_TEXT

    struct tykb_js

    struct tykb_js_word:
        int kind
        double number
        tykb_span text

    struct tykb_js_host:
        void *(*unlock)() noexcept
        void (*lock)(void *) noexcept
        int (*ask)(void *, int, const tykb_js_word *, int, tykb_js_word *) noexcept

    struct tykb_js_error:
        tykb_span words
        tykb_span stack
        bint late
        bint full

    tykb_js *tykb_js_new(const tykb_js_host *host, void *owner, size_t memory)
    void tykb_js_free(tykb_js *js)
    void tykb_js_last_error(tykb_js *js, tykb_js_error *error)
    bint tykb_js_exceeded(const tykb_js *js)
    size_t tykb_js_used(const tykb_js *js)
    double tykb_js_left(const tykb_js *js)
    void tykb_js_collect(tykb_js *js)
    int tykb_js_add_function(tykb_js *js, const char *name, int number)
    int tykb_js_run(tykb_js *js, const char *name, const char *source, size_t size, double seconds)
    int tykb_js_prepare(tykb_js *js, const char *source, size_t size)
    int tykb_js_ask(tykb_js *js, const char *name, const tykb_span *arguments, int count, double seconds,
                    tykb_js_word *answer)
    int tykb_js_bind(tykb_js *js, const char *name, double seconds)
    int tykb_js_call(tykb_js *js, unsigned int number, tykb_node *root, double seconds)


class Failure(Exception):
    """A call failed.

    Attributes:
        words: why.
        stack: the engine's traceback, "" where there is none.
        late: the time limit was exceeded.
        cause: what a host's function raised last in this call, or None.
    """

    def __init__(self, words, stack, late, cause):
        super().__init__(words)
        self.words, self.stack, self.late, self.cause = words, stack, late, cause


cdef void *unlock() noexcept:
    return <void *>PyEval_SaveThread()


cdef void lock(void *unlocked) noexcept:
    PyEval_RestoreThread(<PyThreadState *>unlocked)


cdef int ask(void *owner, int number, const tykb_js_word *arguments, int count, tykb_js_word *answer) noexcept:
    cdef Engine engine = <Engine>owner
    try:
        return engine.asked(number, arguments, count, answer)
    except BaseException as error:  # as of a hook in Python, none of them ends its host
        return engine.failed(error, answer)


cdef tykb_js_host HOST
HOST.unlock = unlock
HOST.lock = lock
HOST.ask = ask


cdef str text_of(tykb_span text):
    return PyBytes_FromStringAndSize(<const char *>text.data, <Py_ssize_t>text.size).decode("utf-8", "replace")


cdef tykb_span span_of(bytes text):
    cdef tykb_span span
    span.data = <const unsigned char *>PyBytes_AS_STRING(text)
    span.size = <size_t>PyBytes_GET_SIZE(text)
    return span


cdef class Engine:
    """A state. One thread at a time; Failure is what its calls raise.

    Python's collector does not see what JavaScript holds, which is nothing of Python's.
    """
    cdef tykb_js *js
    cdef tuple functions
    cdef bytes answer
    cdef object cause

    def __cinit__(self, functions, bytes prelude not None, size_t memory):
        """`functions`: (name, function) each, which are global there; texts, numbers, booleans and None come and go."""
        self.functions = tuple(function for _, function in functions)
        self.js = tykb_js_new(&HOST, <void *>self, memory)
        if self.js == NULL:
            raise MemoryError("there is no memory for a JavaScript state")
        for number, (name, _) in enumerate(functions):
            self.check(tykb_js_add_function(self.js, name.encode(), number))
        self.check(tykb_js_prepare(self.js, PyBytes_AS_STRING(prelude), <size_t>PyBytes_GET_SIZE(prelude)))

    def __dealloc__(self):
        tykb_js_free(self.js)

    cdef int check(self, int status) except -1:
        cdef tykb_js_error error
        # A call that is over holds nothing: the frames of what was raised hold the message.
        cause, self.cause, self.answer = self.cause, None, None
        if status == 0:
            return 0
        tykb_js_last_error(self.js, &error)
        raise Failure(text_of(error.words), text_of(error.stack), error.late, cause)

    cdef int asked(self, int number, const tykb_js_word *arguments, int count, tykb_js_word *answer) except -2:
        given = []
        for i in range(count):
            if arguments[i].kind == TYKB_JS_TEXT:
                given.append(text_of(arguments[i].text))
            elif arguments[i].kind == TYKB_JS_BOOL:
                given.append(arguments[i].number != 0)
            elif arguments[i].kind == TYKB_JS_NUMBER:
                given.append(arguments[i].number)
            else:
                given.append(None)
        value = self.functions[number](*given)
        if value is None:
            return 0
        if isinstance(value, str):
            self.answer = value.encode("utf-8", "replace")
            answer.kind = TYKB_JS_TEXT
            answer.text = span_of(self.answer)
        else:
            answer.kind = TYKB_JS_BOOL if isinstance(value, bool) else TYKB_JS_NUMBER
            answer.number = value
        return 0

    cdef int failed(self, object error, tykb_js_word *answer) noexcept:
        try:
            self.cause = error
            words = str(error) or type(error).__name__
            self.answer = words.encode("utf-8", "replace")
        except BaseException:
            self.answer = b"an error whose text cannot be had"
        answer.kind = TYKB_JS_TEXT
        answer.text = span_of(self.answer)
        return -1

    def run(self, bytes name not None, bytes source not None, double seconds):
        """Run a file."""
        self.check(tykb_js_run(
            self.js, PyBytes_AS_STRING(name), PyBytes_AS_STRING(source), <size_t>PyBytes_GET_SIZE(source), seconds
        ))

    def ask(self, bytes name not None, arguments, double seconds):
        """Call a function of the prelude with texts; gives a str, float, bool or None."""
        cdef tykb_span texts[4]
        cdef tykb_js_word answer
        kept = [text.encode("utf-8", "replace") for text in arguments[:4]]
        for i, text in enumerate(kept):
            texts[i] = span_of(text)
        self.check(tykb_js_ask(self.js, PyBytes_AS_STRING(name), texts, <int>len(kept), seconds, &answer))
        if answer.kind == TYKB_JS_TEXT:
            return text_of(answer.text)
        if answer.kind == TYKB_JS_BOOL:
            return answer.number != 0
        return answer.number if answer.kind == TYKB_JS_NUMBER else None

    def bind(self, bytes name not None, double seconds):
        """Give the next hook its number: that of the calls of `bind` before."""
        self.check(tykb_js_bind(self.js, PyBytes_AS_STRING(name), seconds))

    def call(self, unsigned int number, Message message not None, double seconds):
        """Run a hook on an Object."""
        self.check(tykb_js_call(self.js, number, message.get_node(), seconds))

    def collect(self):
        """Free what only cycles keep."""
        tykb_js_collect(self.js)

    @property
    def left(self):
        """Seconds that are left of the call in progress."""
        return tykb_js_left(self.js)

    @property
    def used(self):
        """Bytes that it holds."""
        return tykb_js_used(self.js)

    @property
    def exceeded(self):
        """Whether a limit was exceeded: then it must not be used again."""
        return tykb_js_exceeded(self.js)
