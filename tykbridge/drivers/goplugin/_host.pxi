# What plugins ask of the host, on any thread: Python's lock is taken for as long as it needs.
#
# Each question is two functions: Cython takes the lock once more at the end of one that has objects and a block
# `with gil`, which would be behind `tykb_leave`, and where `tykb_enter` refused, too.

cdef void offer(tykb_plugin_host *table, Asker asker) noexcept:
    memset(table, 0, sizeof(tykb_plugin_host))
    table.abi, table.size, table.context = TYKB_PLUGIN_ABI, sizeof(tykb_plugin_host), <void *>asker
    table.log, table.trigger_event = on_log, on_event
    table.store_get, table.store_set, table.store_delete = on_get, on_set, on_delete
    table.store_increment, table.store_ttl = on_increment, on_ttl


cdef void on_log(void *context, const char *level, const char *message, size_t size) noexcept nogil:
    if tykb_enter():
        log_line(context, level, message, size)
        tykb_leave()


cdef void log_line(void *context, const char *level, const char *message, size_t size) noexcept with gil:
    try:
        named = (<bytes>level).decode("utf-8", "replace") if level != NULL else "info"
        (<Asker>context).host.log(text_of(span_of(message, size)), named)
    except BaseException:  # there is nobody who could be told
        pass


cdef int on_event(void *context, const char *name, size_t name_size, const char *payload, size_t size) noexcept nogil:
    cdef int status = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        status = trigger(context, name, name_size, payload, size)
        tykb_leave()
    return status


cdef int trigger(void *context, const char *name, size_t name_size, const char *payload, size_t size) noexcept with gil:
    try:
        (<Asker>context).host.trigger_event(text_of(span_of(name, name_size)), text_of(span_of(payload, size)))
        return 0
    except BaseException as error:
        return refused(context, "trigger an event", error)


cdef int64_t on_get(void *context, const char *key, size_t key_size, uint8_t *value, size_t capacity) noexcept nogil:
    cdef int64_t result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        result = get_value(context, key, key_size, value, capacity)
        tykb_leave()
    return result


cdef int64_t get_value(
    void *context, const char *key, size_t key_size, uint8_t *value, size_t capacity
) noexcept with gil:
    cdef tykb_span found
    try:
        data = (<Asker>context).host.get(bytes_of(span_of(key, key_size)))
        if data is None:
            return TYKB_PLUGIN_E_NOT_FOUND
        found = span_of_bytes(data)
        if found.size and found.size <= capacity:
            memcpy(value, found.data, found.size)
        return <int64_t>found.size
    except BaseException as error:
        return refused(context, "read from the store", error)


cdef int on_set(
    void *context, const char *key, size_t key_size, const uint8_t *value, size_t size, int64_t ttl_ms, uint32_t flags
) noexcept nogil:
    cdef int result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        result = set_value(context, key, key_size, value, size, ttl_ms, flags)
        tykb_leave()
    return result


cdef int set_value(
    void *context, const char *key, size_t key_size, const uint8_t *value, size_t size, int64_t ttl_ms, uint32_t flags
) noexcept with gil:
    try:
        return (<Asker>context).host.set(
            bytes_of(span_of(key, key_size)), bytes_of(span_of(value, size)), ttl_ms,
            bool(flags & TYKB_PLUGIN_IF_ABSENT),
        )
    except BaseException as error:
        return refused(context, "write to the store", error)


cdef int on_delete(void *context, const char *key, size_t key_size) noexcept nogil:
    cdef int result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        result = delete_value(context, key, key_size)
        tykb_leave()
    return result


cdef int delete_value(void *context, const char *key, size_t key_size) noexcept with gil:
    try:
        return (<Asker>context).host.delete(bytes_of(span_of(key, key_size)))
    except BaseException as error:
        return refused(context, "delete from the store", error)


cdef int on_increment(
    void *context, const char *key, size_t key_size, int64_t by, int64_t ttl_ms, int64_t *sum
) noexcept nogil:
    cdef int result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        result = increment(context, key, key_size, by, ttl_ms, sum)
        tykb_leave()
    return result


cdef int increment(
    void *context, const char *key, size_t key_size, int64_t by, int64_t ttl_ms, int64_t *sum
) noexcept with gil:
    try:
        sum[0] = (<Asker>context).host.increment(bytes_of(span_of(key, key_size)), by, ttl_ms)
        return 0
    except BaseException as error:
        return refused(context, "count in the store", error)


cdef int64_t on_ttl(void *context, const char *key, size_t key_size) noexcept nogil:
    cdef int64_t result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        result = ttl_of(context, key, key_size)
        tykb_leave()
    return result


cdef int64_t ttl_of(void *context, const char *key, size_t key_size) noexcept with gil:
    try:
        left = (<Asker>context).host.ttl(bytes_of(span_of(key, key_size)))
        return TYKB_PLUGIN_E_NOT_FOUND if left is None else <int64_t>left
    except BaseException as error:
        return refused(context, "ask the store", error)


cdef int refused(void *context, str what, error) noexcept:
    try:
        (<Asker>context).host.log(f"a native plugin could not {what}: {error}", "error")
    except BaseException:
        pass
    return TYKB_PLUGIN_E_HOST
