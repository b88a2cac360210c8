cimport cython


cdef class Log:
    cdef object _stream
    cdef int _least
    cdef public list listeners
    cdef public list event_listeners
    cdef public object earlier
    cdef object _write
    cdef object _console
    cdef tuple _second
    cdef object _lock

    @cython.locals(second=long)
    cdef str _clock(self, double at)
    cdef _put(self, str line)


@cython.locals(tail=str, name=str)
cdef str _tail(dict more)

cdef str _visible(str text)
