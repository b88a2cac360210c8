cimport cython

from tykbridge._bridge cimport Exchange, part, quota_message, text, with_text
from tykbridge.messages cimport request_message
from tykbridge.outcome cimport Request, with_headers


cdef class Run:
    cdef readonly tuple steps
    cdef readonly tuple keys
    cdef readonly tuple alone
    cdef readonly bytes parts
    cdef readonly bint readable


cdef class Shown:
    cdef readonly bytes message
    cdef readonly bytes metadata
    cdef readonly bytes parts


@cython.final
@cython.freelist(8)
@cython.no_gc
cdef class Flow:
    cdef object _services
    cdef bint _strict
    cdef object _watch
    cdef object _timed
    cdef double _seconds
    cdef bytes _sent
    cdef bytes _readable
    cdef bytes _raw
    cdef Request _first
    cdef Request _request
    cdef str _scheme
    cdef str _request_uri
    cdef Exchange _exchange
    cdef Py_ssize_t _at
    cdef Run _open
    cdef Shown _session
    cdef bytes _quota
    cdef bytes _response_wire
    cdef set _touched
    cdef readonly str key
    cdef readonly object reply
    cdef readonly bint failed
    cdef readonly bint answered
    cdef public object response
    cdef public object variables
    cdef public object crossing

    cpdef _start(self, Request request, str scheme, str request_uri)
    cdef _replace(self, Request request)
    cdef _touch(self, names)

    @cython.locals(request=Request, headers=list)
    cdef _settle(self)

    @cython.locals(request=Request, message=bytes, wire=bytes)
    cdef bytes _make(self, bint readable)

    @cython.locals(run=Run, edits=int)
    cpdef run(self, tuple together)

    @cython.locals(exchange=Exchange, move=bint, start=double)
    cdef int _call(self, Run run) except? -1
    cpdef Exchange prepare(self, Run run)
    cpdef show(self, Shown session, str key)
    cpdef bytes show_quota(self, long long remaining, long long renews)
    cpdef header(self, str name)
    cpdef bytes continued(self, bytes start, bytes session)
    cpdef close(self)
    cpdef drop(self)
