cimport cython


cdef str _name(str host)


@cython.locals(domain=str, place=str, route=tuple)
cdef tuple _first(list places, str path, str name)


cdef bint _is_on(str path, str place) except -1
