cimport cython

from tykbridge._bridge cimport unix_time


@cython.final
@cython.freelist(8)
cdef class Hit:
    cdef readonly bint allowed
    cdef readonly long long passed
    cdef readonly double resets


cdef class _Window:
    cdef public long long passed
    cdef public double resets


cdef class MemoryCounters:
    cdef object _clock
    cdef dict _windows
    cdef Py_ssize_t _room

    @cython.locals(counted=_Window, now=double, resets=double, allowed=bint)
    cpdef Hit hit(self, str key, long long limit, double window)

    @cython.locals(counted=_Window)
    cdef _sweep(self, double now)
