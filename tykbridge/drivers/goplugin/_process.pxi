# A plugin in a process of its own: process.h for Python, and the calls that wait for it.

cdef enum:
    SLACK_MS = 50  # a hook that keeps its time itself is let do so
    AT_ONCE_US = 200  # a call that takes longer gives its thread to other requests, where it can
    GRACE_S = 5  # for other calls in a process that is to be killed
    PATIENCE_S = 30  # for what is no hook, but says something to a plugin


cdef class Process(Asker):
    """One run of the program that opens the library. Its keeper holds it until it has ended.

    Attributes:
        hooks: the numbers of hooks in this process, by ours.
        definitions: the same of APIs.
    """
    cdef tykb_process *process
    cdef object on_end
    cdef bint is_for_one
    cdef readonly list hooks
    cdef readonly dict definitions

    def __cinit__(self, bytes program not None, bytes label not None, int library, host, on_end):
        """Starts it with the library in a descriptor. `on_end` is called with this when it has ended, on any thread.

        Raises OSError.
        """
        cdef tykb_plugin_host offered
        cdef tykb_process_owner owner
        cdef const char *path = program
        cdef const char *shown = label
        cdef int error
        self.host, self.on_end, self.hooks, self.definitions = host, on_end, [], {}
        offer(&offered, self)
        owner.context, owner.resume, owner.ended = <void *>self, on_resume, on_ended
        Py_INCREF(self)
        with nogil:
            error = tykb_process_start(path, shown, library, &offered, &owner, &self.process)
        if error:
            Py_DECREF(self)
            raise OSError(error, strerror(error).decode("utf-8", "replace"), os.fsdecode(program))

    def __dealloc__(self):
        if self.process != NULL:
            tykb_process_free(self.process)

    @property
    def number(self):
        """Its process id."""
        return tykb_process_number(self.process)

    @property
    def is_over(self):
        """It has ended, or takes no more calls, or is that of another process that was forked."""
        return bool(tykb_process_is_over(self.process))

    def retire(self):
        """Takes no more calls; it ends when the last one is back."""
        tykb_process_retire(self.process, 0, 0)

    def retire_after_one(self):
        """Takes one more call, and ends with it."""
        self.is_for_one = True

    def abandon(self):
        """Takes no more calls; it ends when the last one is back, or soon."""
        tykb_process_retire(self.process, 0, GRACE_S * <int64_t>1_000_000_000)

    def kill(self):
        """Ends it with all calls in it."""
        tykb_process_retire(self.process, 0, 1)

    def end(self, double seconds):
        """Waits for its end. None where it has not come by then, else (what, the status of waitpid or None).

        "wanted": it was retired; "late": it was to be killed; "forked": it is the parent's; "died": by itself.
        """
        cdef tykb_process_end end
        cdef int64_t until = tykb_lane_now() + <int64_t>(seconds * 1e9)
        cdef int is_there
        with nogil:
            is_there = tykb_process_ended(self.process, until, &end)
        if not is_there:
            return None
        what = "forked" if end.is_forked else "late" if end.is_late else "wanted" if end.is_wanted else "died"
        return what, end.status if end.is_known else None

    def printed(self):
        """What it printed last, once it has ended."""
        cdef tykb_process_end end
        if not tykb_process_ended(self.process, 0, &end):
            return b""
        return PyBytes_FromStringAndSize(end.printed, <Py_ssize_t>end.size)

    def ask(self, uint32_t kind, bytes data=b"", uint32_t flags=0, int64_t number=0):
        """Makes a call that is no hook's; gives what it returned, and the reply.

        Whoever asks may have locks: nobody else gets the thread meanwhile.

        Raises ScriptError; EndedError, GoneError: the process ended; OverdueError: it took too long.
        """
        cdef tykb_frame frame
        cdef tykb_lane *lane = self.enter()
        cdef bint is_done = False
        cdef int64_t until = tykb_lane_now() + PATIENCE_S * <int64_t>1_000_000_000
        memset(&frame, 0, sizeof(frame))
        frame.kind, frame.flags, frame.number = kind, flags, number
        frame.size = <uint64_t>PyBytes_GET_SIZE(data)
        try:
            self.send(lane, &frame, PyBytes_AS_STRING(data), until)
            self.receive(lane, until, False)
            is_done = True
            return tykb_lane_frame(lane).number, PyBytes_FromStringAndSize(
                <const char *>tykb_lane_data(lane), <Py_ssize_t>tykb_lane_frame(lane).size
            )
        except OverdueError:
            tykb_process_retire(self.process, 1, GRACE_S * <int64_t>1_000_000_000)
            raise
        finally:
            with nogil:
                tykb_process_leave(self.process, lane, is_done)

    def forget(self, uint64_t number):
        """Lets it forget what it kept under a number. It may have ended, and everything with it."""
        try:
            self.ask(TYKB_FRAME_FORGET, number=<int64_t>number)
        except (ScriptError, EndedError, GoneError, OverdueError):
            pass

    cdef tykb_lane *enter(self) except NULL:
        cdef tykb_lane *lane
        cdef int error
        with nogil:
            lane = tykb_process_enter(self.process, &error)
        if lane != NULL:
            if self.is_for_one:
                self.retire()
            return lane
        if error == 0:
            raise EndedError()
        if error == EBUSY:
            raise BusyError("its process has as many calls as it takes")
        raise BusyError(f"its process cannot be called: {strerror(error).decode('utf-8', 'replace')}")

    cdef int send(self, tykb_lane *lane, const tykb_frame *frame, const void *data, int64_t until) except -1:
        """EndedError: the process was gone before it had all of it, and has done nothing."""
        cdef int status
        with nogil:
            status = tykb_lane_send(lane, frame, data, NULL, until)
        if status == TYKB_LANE_MEMORY:
            raise MemoryError()
        if status == TYKB_LANE_LATE:
            raise OverdueError()
        if status != TYKB_LANE_OK:
            raise EndedError()
        return 0

    cdef int receive(self, tykb_lane *lane, int64_t until, bint is_brief) except -1:
        """Waits for the result; `is_brief`: others may have the thread meanwhile."""
        cdef int status
        while True:
            with nogil:
                status = tykb_process_receive(
                    self.process, lane, until, tykb_lane_now() + AT_ONCE_US * 1000 if is_brief else 0
                )
            if status == TYKB_LANE_OK:
                return 0
            if status != TYKB_LANE_LATE or not is_brief or tykb_lane_now() >= until:
                break
            is_brief = suspend(Waiting.make(self, lane, until))
        if status == TYKB_LANE_LATE:
            raise OverdueError()
        if status == TYKB_LANE_MEMORY:
            raise MemoryError()
        if status == TYKB_LANE_UNREAD:
            raise EndedError()
        if status == TYKB_LANE_BROKEN:
            tykb_process_retire(self.process, 0, 1)
            raise ScriptError("its process sent what is no answer, as lane.h has them, and was ended")
        raise GoneError()

    cdef int invoke(self, tykb_plugin_call *call, tykb_plugin_reply *reply) except? -99:
        """As csrc/plugin.h has it, but that a longer reply than fits is in memory that the caller frees."""
        cdef tykb_frame frame
        cdef const tykb_frame *result
        cdef int64_t until = 0
        cdef int outcome
        cdef bint is_done = False
        memset(&frame, 0, sizeof(frame))
        frame.kind, frame.flags, frame.time = TYKB_FRAME_INVOKE, call.phase, call.timeout_ns
        frame.number = self.hooks[call.hook]
        frame.other = self.definitions.get(call.definition, -1) if call.definition else 0
        frame.size = call.data_size
        cdef tykb_lane *lane = self.enter()
        try:
            until = tykb_lane_now() + call.timeout_ns + SLACK_MS * <int64_t>1_000_000
            self.send(lane, &frame, call.data, until)
            self.receive(lane, until, can_suspend())
            result = tykb_lane_frame(lane)
            reply.size, reply.kept = result.size, 0
            if result.size > reply.capacity:
                reply.data = <uint8_t *>malloc(result.size)
                if reply.data == NULL:
                    raise MemoryError()
                reply.capacity = result.size
            if result.size:
                memcpy(reply.data, tykb_lane_data(lane), result.size)
            outcome = <int>result.number
            is_done = True
            return outcome
        except OverdueError:
            tykb_process_retire(self.process, 1, GRACE_S * <int64_t>1_000_000_000)
            raise
        finally:
            tykb_process_leave(self.process, lane, is_done)


class EndedError(Exception):
    """The process ended before it had the call: another one may be asked."""


class GoneError(Exception):
    """The process ended with the call in it."""


class OverdueError(Exception):
    """The call was not back in time. Its process is to be killed."""


class BusyError(UnavailableError, ScriptError):
    """There cannot be one more call now."""


cdef class Waiting:
    """What a request waits for that gave its thread back."""
    cdef Process process
    cdef tykb_lane *lane
    cdef int64_t until
    cdef object resume

    @staticmethod
    cdef Waiting make(Process process, tykb_lane *lane, int64_t until):
        cdef Waiting made = Waiting.__new__(Waiting)
        made.process, made.lane, made.until = process, lane, until
        return made

    def __call__(self, resume):
        """Begins, for `waiting.suspend`."""
        self.resume = resume
        Py_INCREF(self)  # the keeper's
        tykb_process_watch(self.process.process, self.lane, self.until, <void *>self)


cdef void on_resume(void *context, void *waiting) noexcept nogil:
    if tykb_enter():
        go_on(waiting)
        tykb_leave()


cdef void go_on(void *waiting) noexcept with gil:
    try:
        (<Waiting>waiting).resume()
    except BaseException:  # the interpreter ends
        pass
    Py_DECREF(<Waiting>waiting)


cdef void on_ended(void *context) noexcept nogil:
    if tykb_enter():
        tell_end(context)
        tykb_leave()


cdef void tell_end(void *context) noexcept with gil:
    process = <Process>context
    try:
        process.on_end(process)
    except BaseException:  # there is nobody who could be told
        pass
    process.on_end = None
    Py_DECREF(process)


def error_of(bytes reply, int status):
    """The error that a reply of items is about."""
    cdef Items items
    items.items, items.count = items.own, 0
    try:
        read(&items, <const uint8_t *>PyBytes_AS_STRING(reply), <size_t>PyBytes_GET_SIZE(reply))
        failed(&items, status)
    except ScriptError as error:
        return error
    finally:
        if items.items != items.own:
            free(items.items)


cdef class Isolated(Plugin):
    """A plugin that is called in a process of its own, which is replaced when it ends: see `isolation.Isolated`.

    Attributes:
        current: the process that runs now. Written by the subclass.
    """
    cdef public Process current

    def running(self, over):
        """Gives the process that is to be called, another one than `over`."""
        raise NotImplementedError

    def failed(self, process, error, timeout_ms):
        """Gives the error of a call that did not come back."""
        raise NotImplementedError

    cdef Asker owner(self):
        cdef Process process = self.current
        return self.running(None) if process is None else process

    cdef Asker invoke(
        self, tykb_plugin_call *call, tykb_plugin_reply *reply, Asker owner, uint8_t *kept, int *outcome
    ):
        cdef Process process = <Process>owner
        while True:
            try:
                outcome[0] = process.invoke(call, reply)
                return process
            except EndedError:
                process = self.running(process)
                if kept != NULL:
                    memset(kept, 0, 8)  # the number was the other one's
            except (GoneError, OverdueError) as error:
                raise self.failed(process, error, call.timeout_ns // 1_000_000) from None
