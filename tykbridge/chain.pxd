cimport cython

from tykbridge.auth cimport Authentication, Identity
from tykbridge.counters cimport Hit
from tykbridge.flow cimport Flow
from tykbridge.limits cimport Window, count


cdef class Chain:
    cdef readonly object definition
    cdef readonly object services
    cdef readonly bint strict
    cdef readonly dict steps
    cdef readonly bytes part
    cdef readonly object events
    cdef readonly object handlers
    cdef readonly tuple _pre
    cdef readonly tuple _post
    cdef readonly tuple _post_key_auth
    cdef readonly tuple _response
    cdef readonly tuple _auth_check
    cdef object _counters
    cdef object _caller
    cdef bint _crosses
    cdef bint _keyless
    cdef bint _has_variables
    cdef bint _strip
    cdef Authentication _auth

    cpdef run(self, Flow flow)
    cdef _run(self, Flow flow)

    @cython.locals(identity=Identity)
    cdef _admit(self, Flow flow)

    @cython.locals(quota=Window, hit=Hit, resets=double)
    cdef bytes _count(self, Flow flow, Identity identity)
