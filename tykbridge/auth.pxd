cimport cython

from tykbridge._bridge cimport unix_time
from tykbridge.flow cimport Flow, Shown
from tykbridge.idextractor cimport CompiledExtractor
from tykbridge.stores.memory cimport MemoryStore


cdef class Identity:
    cdef readonly str key
    cdef readonly str place
    cdef readonly bytes stored
    cdef readonly object session
    cdef readonly Shown shown
    cdef readonly tuple windows
    cdef readonly dict triggers
    cdef readonly long long fresh_until
    cdef readonly long long expires
    cdef readonly bint is_guarded


cdef class Authentication:
    cdef object _definition
    cdef object _auth
    cdef object _store
    cdef MemoryStore _memory
    cdef object _keys
    cdef object _policies
    cdef object _clock
    cdef object _log
    cdef CompiledExtractor _extractor
    cdef str _org_id
    cdef bint _is_custom
    cdef object _token_source
    cdef dict _known
    cdef dict _given
    cdef object _lock

    cpdef check(self, Flow flow, run_hook)
    cdef str _extract(self, Flow flow)

    @cython.locals(known=Identity, memory=MemoryStore)
    cdef _load(self, str key)
    cdef _custom(self, Flow flow, run_hook)

    @cython.locals(identity=Identity, now=double)
    cdef _cached(self, str key, bytes stored)

    @cython.locals(known=Identity, identity=Identity)
    cdef Identity _identity(self, str key, bytes data)
