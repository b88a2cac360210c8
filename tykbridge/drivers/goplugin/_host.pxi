# What plugins ask of the host, on any thread: Python's lock is taken for as long as it needs.

cdef void offer(tykb_plugin_host *table, Asker asker) noexcept:
    memset(table, 0, sizeof(tykb_plugin_host))
    table.abi, table.size, table.context = TYKB_PLUGIN_ABI, sizeof(tykb_plugin_host), <void *>asker
    table.log, table.trigger_event = on_log, on_event
    table.store_get, table.store_set, table.store_delete = on_get, on_set, on_delete
    table.store_increment, table.store_ttl = on_increment, on_ttl


cdef void on_log(void *context, const char *level, const char *message, size_t size) noexcept nogil:
    if tykb_enter():
        with gil:
            try:
                named = (<bytes>level).decode("utf-8", "replace") if level != NULL else "info"
                (<Asker>context).host.log(text_of(span_of(message, size)), named)
            except BaseException:  # there is nobody who could be told
                pass
        tykb_leave()


cdef int on_event(void *context, const char *name, size_t name_size, const char *payload, size_t size) noexcept nogil:
    cdef int status = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        with gil:
            try:
                (<Asker>context).host.trigger_event(text_of(span_of(name, name_size)), text_of(span_of(payload, size)))
                status = 0
            except BaseException as error:
                status = refused(context, "trigger an event", error)
        tykb_leave()
    return status


cdef int64_t on_get(void *context, const char *key, size_t key_size, uint8_t *value, size_t capacity) noexcept nogil:
    cdef int64_t result = TYKB_PLUGIN_E_HOST
    cdef tykb_span found
    if tykb_enter():
        with gil:
            try:
                data = (<Asker>context).host.get(bytes_of(span_of(key, key_size)))
                if data is None:
                    result = TYKB_PLUGIN_E_NOT_FOUND
                else:
                    found = span_of_bytes(data)
                    result = <int64_t>found.size
                    if found.size and found.size <= capacity:
                        memcpy(value, found.data, found.size)
            except BaseException as error:
                result = refused(context, "read from the store", error)
        tykb_leave()
    return result


cdef int on_set(
    void *context, const char *key, size_t key_size, const uint8_t *value, size_t size, int64_t ttl_ms, uint32_t flags
) noexcept nogil:
    cdef int result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        with gil:
            try:
                result = (<Asker>context).host.set(
                    bytes_of(span_of(key, key_size)), bytes_of(span_of(value, size)), ttl_ms,
                    bool(flags & TYKB_PLUGIN_IF_ABSENT),
                )
            except BaseException as error:
                result = refused(context, "write to the store", error)
        tykb_leave()
    return result


cdef int on_delete(void *context, const char *key, size_t key_size) noexcept nogil:
    cdef int result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        with gil:
            try:
                result = (<Asker>context).host.delete(bytes_of(span_of(key, key_size)))
            except BaseException as error:
                result = refused(context, "delete from the store", error)
        tykb_leave()
    return result


cdef int on_increment(
    void *context, const char *key, size_t key_size, int64_t by, int64_t ttl_ms, int64_t *sum
) noexcept nogil:
    cdef int result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        with gil:
            try:
                sum[0] = (<Asker>context).host.increment(bytes_of(span_of(key, key_size)), by, ttl_ms)
                result = 0
            except BaseException as error:
                result = refused(context, "count in the store", error)
        tykb_leave()
    return result


cdef int64_t on_ttl(void *context, const char *key, size_t key_size) noexcept nogil:
    cdef int64_t result = TYKB_PLUGIN_E_HOST
    if tykb_enter():
        with gil:
            try:
                left = (<Asker>context).host.ttl(bytes_of(span_of(key, key_size)))
                result = TYKB_PLUGIN_E_NOT_FOUND if left is None else <int64_t>left
            except BaseException as error:
                result = refused(context, "ask the store", error)
        tykb_leave()
    return result


cdef int refused(void *context, str what, error) noexcept:
    try:
        (<Asker>context).host.log(f"a native plugin could not {what}: {error}", "error")
    except BaseException:
        pass
    return TYKB_PLUGIN_E_HOST
