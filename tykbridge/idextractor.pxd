cdef class CompiledExtractor:
    cdef object _read
    cdef object _find
    cdef str _header
    cdef dict _ids
    cdef str _org_id

    cpdef bytes value(self, request)
    cpdef str session_id(self, request, str org_id)
