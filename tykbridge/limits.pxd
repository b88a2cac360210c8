cimport cython

from tykbridge.counters cimport Hit, MemoryCounters


cdef class Window:
    cdef readonly str key
    cdef readonly object limit
    cdef readonly double seconds
    cdef readonly bint is_quota
    cdef readonly bint is_own


@cython.locals(window=Window, hit=Hit, memory=MemoryCounters)
cpdef count(tuple limits, counters)
