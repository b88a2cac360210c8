# What threads wait for each other with, at the least cost.

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
        """Gives another one, then takes this one as `take` does, without the GIL from the first to the last.

        Who is woken by a thread that has the GIL finds it taken, and sleeps once more.
        """
        cdef bint taken
        with nogil:
            PyThread_release_lock(other._lock)
            taken = PyThread_acquire_lock_timed(self._lock, microseconds, 0) == PY_LOCK_ACQUIRED
        return taken


cdef extern from *:
    """
    /* Written with the GIL, read without it. */
    static inline long long tykb_watch_get(const long long *value) { return __atomic_load_n(value, __ATOMIC_RELAXED); }
    static inline void tykb_watch_set(long long *value, long long to) { __atomic_store_n(value, to, __ATOMIC_RELAXED); }
    """
    long long tykb_watch_get(const long long *value) noexcept nogil
    void tykb_watch_set(long long *value, long long to) noexcept nogil


cdef enum:
    _IDLE = 4  # looks after which nothing has begun


cdef class Watch:
    """Lets one thread look whether another one is with the same thing for too long, and take its place then.

    The one that is watched pays a few instructions for each thing; the other looks now and then, without the GIL, and
    sleeps when nothing has begun for a while. What changes, changes with the GIL, in steps that do not let go of it: so
    either the one ends a thing, or the other takes it.
    """

    cdef PyThread_type_lock _bell
    cdef long long _thing  # the number of what it is with; 0: nothing
    cdef long long _begun
    cdef bint _sleeps
    cdef bint _closed

    def __cinit__(self):
        self._bell = PyThread_allocate_lock()
        if self._bell == NULL:
            raise MemoryError
        PyThread_acquire_lock_timed(self._bell, 0, 0)

    def __dealloc__(self):
        if self._bell != NULL:
            PyThread_free_lock(self._bell)

    def begin(self):
        """Begins something, and gives its number. By the thread that is watched."""
        tykb_watch_set(&self._begun, self._begun + 1)
        tykb_watch_set(&self._thing, self._begun)
        if self._sleeps:
            self._ring()
        return self._begun

    def end(self, long long number):
        """Ends it; tells whether it was not taken. By the thread that began it: another one may be watched by now."""
        if self._thing != number:
            return False
        tykb_watch_set(&self._thing, 0)
        return True

    def wait(self, long long microseconds):
        """Waits until something has not ended for so long, twice that at the most, and takes it. False: closed."""
        cdef long long seen = 0, begun = 0, thing = 0
        cdef int idle = 0
        while not self._closed:
            with nogil:
                while idle < _IDLE and PyThread_acquire_lock_timed(self._bell, microseconds, 0) != PY_LOCK_ACQUIRED:
                    thing = tykb_watch_get(&self._thing)
                    if thing != 0 and thing == seen:
                        break
                    seen = thing
                    idle = idle + 1 if tykb_watch_get(&self._begun) == begun else 0
                    begun = tykb_watch_get(&self._begun)
            if self._thing != 0 and self._thing == seen:
                tykb_watch_set(&self._thing, 0)
                return True
            if idle == _IDLE and self._thing == 0 and self._begun == begun:
                self._sleeps = True
                with nogil:
                    PyThread_acquire_lock_timed(self._bell, -1, 0)
            idle = 0
        return False

    def close(self):
        """Lets `wait` end. From any thread."""
        self._closed = True
        self._ring()

    cdef void _ring(self) noexcept:
        self._sleeps = False
        PyThread_acquire_lock_timed(self._bell, 0, 0)  # it is rung already
        PyThread_release_lock(self._bell)
