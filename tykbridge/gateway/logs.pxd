cimport cython


cdef class Log:
    cdef object _stream
    cdef int _least
    cdef public list listeners
    cdef public list event_listeners
    cdef object _write
    cdef object _console
    cdef tuple _second
    cdef object _lock

    @cython.locals(now=double, second=long)
    cdef str _now(self)
    cdef _put(self, str line)


@cython.locals(tail=str, name=str)
cdef str _tail(dict more)

cdef str _visible(str text)
