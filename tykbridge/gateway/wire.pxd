cimport cython


cdef class Fields:
    cdef readonly tuple kept
    cdef readonly dict first
    cdef readonly Py_ssize_t hosts
    cdef readonly str upgrade
    cdef readonly bint is_coded


cdef class Onward:
    cdef readonly tuple headers
    cdef readonly tuple sent
    cdef readonly str host
    cdef readonly bint has_login
    cdef readonly bint is_text


@cython.locals(total=Py_ssize_t, name=bytes, value=bytes)
cpdef Py_ssize_t size(raw) except -1


@cython.locals(name=bytes, value=bytes)
cpdef tuple text(raw)


cpdef bytes octets(str words)


cpdef bint is_text(str words) except -1


@cython.locals(key=str, words=str)
cpdef str value(tuple headers, str name)


@cython.locals(pair=tuple)
cpdef tuple forwardable(tuple headers)


cdef bint _is_hop_by_hop(str name) except -1


@cython.locals(pair=tuple, name=str)
cpdef tuple unmistaken(tuple came, tuple headers)


@cython.locals(data=bytes, lines=list, name=str, words=str)
cpdef bytes head(int status, reason, headers)
