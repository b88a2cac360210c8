cimport cython


cdef class Request:
    cdef readonly str method
    cdef readonly str url
    cdef readonly tuple headers
    cdef readonly bytes body


cdef class Response:
    cdef readonly object status
    cdef readonly tuple headers
    cdef readonly bytes body


cdef class Continue:
    cdef readonly Request request
    cdef readonly bytes session


cdef class Respond:
    cdef readonly Response response
    cdef readonly str event
    cdef readonly str fault


cpdef Request with_headers(Request request, headers)


@cython.locals(wanted=dict, left=dict, made=list, pair=tuple, key=str, sizes=int)
cdef tuple _with(tuple headers, new)


@cython.locals(made=list, pair=tuple, is_told=bint)
cdef tuple _framed(tuple headers, Py_ssize_t length)


@cython.locals(pair=tuple)
cdef tuple _framed_request(tuple headers, bytes body)


cdef bint _frames(str name) except -1
