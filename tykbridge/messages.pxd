cimport cython

from tykbridge._bridge cimport part


@cython.locals(first=dict, pair=tuple)
cdef list _first(tuple pairs)


@cython.locals(made=list, name=str, value=str)
cdef bytes _entries(int number, list pairs)


cpdef str readable_body(bytes body)


cpdef str text(str value)
