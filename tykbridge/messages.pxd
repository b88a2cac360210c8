cimport cython

from tykbridge._bridge cimport entries, part, text
from tykbridge.outcome cimport Request


cpdef bytes request_message(Request request, str scheme, str request_uri, bint readable=*)


@cython.locals(pair=tuple, first=dict)
cdef list _first(tuple pairs)


cpdef str readable_body(bytes body)
