cdef class MemoryStore:
    cdef object _clock
    cdef object _lock
    cdef bint _closed
    cdef readonly dict _values
    cdef readonly list _deadlines
    cpdef get(self, str key)
