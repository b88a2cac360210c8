# What two threads hand each other their turn with, so that the one is not woken for a GIL that the other still has.

cdef extern from "Python.h" nogil:
    ctypedef void *PyThread_type_lock
    ctypedef enum PyLockStatus:
        PY_LOCK_ACQUIRED
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    void PyThread_release_lock(PyThread_type_lock lock)
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interruptible)


cdef class Baton:
    """Is there or not. One thread waits for it, any may give it; to give what is there already may be lost."""

    cdef PyThread_type_lock _lock

    def __cinit__(self):
        self._lock = PyThread_allocate_lock()
        if self._lock == NULL:
            raise MemoryError
        PyThread_acquire_lock_timed(self._lock, 0, 0)

    def __dealloc__(self):
        if self._lock != NULL:
            PyThread_free_lock(self._lock)

    def give(self):
        """Lets it be there."""
        PyThread_release_lock(self._lock)

    def take(self, long long microseconds=-1):
        """Waits until it is there, for so long at the most, and takes it; tells whether it was. -1: for ever."""
        cdef bint taken
        with nogil:
            taken = PyThread_acquire_lock_timed(self._lock, microseconds, 0) == PY_LOCK_ACQUIRED
        return taken

    def give_and_take(self, Baton other not None, long long microseconds=-1):
        """Gives another one, then takes this one as `take` does, without the GIL from the first to the last."""
        cdef bint taken
        with nogil:
            PyThread_release_lock(other._lock)
            taken = PyThread_acquire_lock_timed(self._lock, microseconds, 0) == PY_LOCK_ACQUIRED
        return taken
