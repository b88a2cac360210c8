# What comes back of a plugin: items of csrc/plugin.h, and the writes to a message that they stand for.

cdef enum:
    MOST_ITEMS = 4096  # of a reply; no server takes as many headers


cdef struct Item:
    uint32_t tag
    tykb_span name  # of a pair
    tykb_span value
    size_t next  # while headers are changed: the next item about the same one; `count`: there is none


cdef struct Items:
    Item *items  # `own`, until there are more
    size_t count
    Item own[32]


cdef int read(Items *items, const uint8_t *data, size_t size) except -1:
    """Finds the items of a reply."""
    cdef const uint8_t *at = data
    cdef const uint8_t *end = data + size
    cdef size_t room = 32, length, name
    cdef Item *item
    cdef Item *more
    while at < end:
        if end - at < 8 or number_at(at + 4) > <size_t>(end - at - 8):
            raise ScriptError("its reply is not made of items, as csrc/plugin.h has them")
        if items.count == MOST_ITEMS:
            raise ScriptError(f"its reply has more than {MOST_ITEMS} items")
        if items.count == room:
            room *= 2
            more = <Item *>malloc(room * sizeof(Item))
            if more == NULL:
                raise MemoryError()
            memcpy(more, items.items, items.count * sizeof(Item))
            if items.items != items.own:
                free(items.items)
            items.items = more
        item = &items.items[items.count]
        item.tag, length = number_at(at), number_at(at + 4)
        item.name, item.value = span_of(NULL, 0), span_of(at + 8, length)
        if item.tag in (TYKB_PLUGIN_HEADER, TYKB_PLUGIN_RESPONSE_HEADER, TYKB_PLUGIN_METADATA):
            name = number_at(at + 8) if length >= 4 else length
            if length < 4 or name > length - 4:
                raise ScriptError("its reply has a pair that is none, as csrc/plugin.h has them")
            item.name, item.value = span_of(at + 12, name), span_of(at + 12 + name, length - 4 - name)
        items.count += 1
        at += 8 + length
    return 0


cdef int failed(Items *items, int status) except -1:
    words, stack = "", ""
    for at in range(items.count):
        if items.items[at].tag == TYKB_PLUGIN_ERROR:
            words = text_of(items.items[at].value)
        elif items.items[at].tag == TYKB_PLUGIN_STACK:
            stack = text_of(items.items[at].value)
    words = words or f"it failed with the status {status} of csrc/plugin.h, and without words"
    raise ScriptError(words, trace=f"{words}\n{stack.rstrip()}" if stack else words)


cdef list linked(Items *items, uint32_t add, uint32_t delete):
    """Links the items about each header, and gives where the first ones are."""
    cdef dict last = {}
    cdef list firsts = []
    cdef bytes name
    cdef size_t at
    for at in range(items.count):
        if items.items[at].tag in (add, delete):
            items.items[at].next = items.count
            name = bytes_of(name_of(&items.items[at], add)).lower()
            before = last.get(name)
            if before is None:
                firsts.append(at)
            else:
                items.items[<size_t>before].next = at
            last[name] = at
    return firsts


cdef inline tykb_span name_of(Item *item, uint32_t add) noexcept:
    return item.name if item.tag == add else item.value


cdef int change_request_header(tykb_node *request, Items *items, size_t first, crossing, dict known) except -1:
    """Does what all items about one header say. `known`: the request's headers, where a message has not all of them.

    A request's message has one value for each: several are joined there, and go beside it as they are.
    """
    cdef tykb_span name = name_of(&items.items[first], TYKB_PLUGIN_HEADER)
    cdef tykb_span value = span_of(NULL, 0)
    cdef tykb_span before
    cdef tykb_value gone
    cdef tykb_map *map
    cdef tykb_list *names
    cdef bint deleted = False
    cdef int status
    cdef size_t count = 0, at = first
    cdef list values
    while at < items.count:
        if items.items[at].tag == TYKB_PLUGIN_DELETE_HEADER:
            deleted = True
        else:
            if count == 0:
                name = items.items[at].name
            value = items.items[at].value
            count += 1
        at = items.items[at].next
    if count == 0:
        check(tykb_node_list(request, DELETE_HEADERS, &names))
        gone.text = name
        return check(tykb_list_append(names, gone))
    check(tykb_node_map(request, SET_HEADERS, &map))
    values = []
    if not deleted and known is not None:
        values += known.get(text_of(name).lower(), ())
    elif not deleted:
        status = tykb_headers_find(request, name, &before)
        if status == TYKB_OK:
            values.append(bytes_of(before))
        elif status != TYKB_E_NOT_FOUND:
            check(status)
    if count + <size_t>len(values) == 1:
        return check(tykb_map_put(map, name, value))
    at = first
    while at < items.count:
        if items.items[at].tag == TYKB_PLUGIN_HEADER:
            values.append(bytes_of(items.items[at].value))
        at = items.items[at].next
    # RFC 9110, section 5.3, and RFC 6265, section 5.4.
    if crossing is not None:
        spelled = text_of(name)
        crossing.several[spelled.lower()] = [(spelled, one.decode("utf-8")) for one in values]
        # A write to something else: the message is not to go on to the next hook as it is.
        set_text(request, METHOD, span_of_bytes(bytes_of(text_in(request, METHOD))))
    joined = (b"; " if same_name(name, span_of(<const char *>b"cookie", 6)) else b", ").join(values)
    return check(tykb_map_put(map, name, span_of_bytes(joined)))


cdef int drop_values(tykb_list *several, tykb_span name) except -1:
    cdef tykb_element *elements
    cdef tykb_node *node
    cdef size_t count
    check(tykb_list_elements(several, &elements, &count))
    while count > 0:
        count -= 1
        check(tykb_list_node(several, count, &node))
        if same_name(text_in(node, KEY), name):
            check(tykb_list_remove(several, count))
    return 0


cdef list values_of(tykb_node *response, tykb_list *several, tykb_span name):
    """The values of a header of the response, in both places where they may be."""
    cdef tykb_map *map
    cdef tykb_list *inner
    cdef tykb_entry *entries
    cdef tykb_element *elements
    cdef tykb_element *texts
    cdef tykb_node *node
    cdef size_t slots, count, number
    cdef list found = []
    check(tykb_list_elements(several, &elements, &count))
    for at in range(count):
        check(tykb_list_node(several, at, &node))
        if same_name(text_in(node, KEY), name):
            check(tykb_node_list(node, VALUES, &inner))
            check(tykb_list_elements(inner, &texts, &number))
            found += [bytes_of(texts[i].value.text) for i in range(number)]
    if not found:
        check(tykb_node_map(response, RESPONSE_HEADERS, &map))
        check(tykb_map_entries(map, &entries, &slots, &count))
        found = [
            bytes_of(entries[at].value) for at in range(slots) if entries[at].live and same_name(entries[at].key, name)
        ]
    return found


cdef int drop_header(tykb_node *response, tykb_span name) except -1:
    """Takes a header out of the map of first values, in every spelling."""
    cdef tykb_map *map
    cdef tykb_entry *entries
    cdef size_t slots, count
    check(tykb_node_map(response, RESPONSE_HEADERS, &map))
    check(tykb_map_entries(map, &entries, &slots, &count))
    spellings = [
        bytes_of(entries[at].key) for at in range(slots) if entries[at].live and same_name(entries[at].key, name)
    ]
    for spelled in spellings:
        check(tykb_map_remove(map, span_of_bytes(spelled)))
    return 0


cdef int change_response_header(tykb_node *response, Items *items, size_t first, bint deleted) except -1:
    """Does what all items about one header say. Where values stay, the map of first values is left as it is."""
    cdef tykb_span name = name_of(&items.items[first], TYKB_PLUGIN_RESPONSE_HEADER)
    cdef tykb_list *several
    cdef tykb_list *texts
    cdef tykb_node *node
    cdef tykb_value text
    cdef size_t at = first
    added = []
    while at < items.count:
        if items.items[at].tag == TYKB_PLUGIN_RESPONSE_HEADER:
            name = items.items[at].name
            added.append(bytes_of(items.items[at].value))
        else:
            deleted = True
        at = items.items[at].next
    check(tykb_node_list(response, SEVERAL, &several))
    values = added if deleted else values_of(response, several, name) + added
    drop_values(several, name)
    if not values:
        return drop_header(response, name)
    check(tykb_list_add(several, &node))
    text.text = name
    check(tykb_node_set(node, KEY, text))
    check(tykb_node_list(node, VALUES, &texts))
    for value in values:
        text.text = span_of_bytes(value)
        check(tykb_list_append(texts, text))
    return 0


cdef int change_headers(tykb_node *node, Items *items, uint32_t add, uint32_t delete, bint is_answer,
                        crossing) except -1:
    cdef dict known = None
    headers = None if crossing is None else crossing.headers()
    if headers is not None:
        known = {}
        for name, value in headers:
            known.setdefault(name.lower(), []).append(text_to_bytes(value))
    for first in linked(items, add, delete):
        if add == TYKB_PLUGIN_HEADER:
            change_request_header(node, items, first, crossing, known)
        else:
            change_response_header(node, items, first, is_answer)
    return 0


cdef int set_text(tykb_node *node, const tykb_field *field, tykb_span text) except -1:
    cdef tykb_value value
    value.text = text
    return check(tykb_node_set(node, field, value))


cdef int set_number(tykb_node *node, const tykb_field *field, int64_t number) except -1:
    cdef tykb_value value
    value.number = number
    return check(tykb_node_set(node, field, value))


cdef inline int64_t status_in(Item *item) except -1:
    if item.value.size != 4:
        raise ScriptError("its reply has a status that is no uint32, as csrc/plugin.h has it")
    return number_at(item.value.data)


cdef inline uint64_t kept_in(Item *item) except? 0:
    if item.value.size != 8:
        raise ScriptError("its reply keeps a number that is no uint64, as csrc/plugin.h has it")
    return number_at(item.value.data) | <uint64_t>number_at(item.value.data + 4) << 32


cdef int answer(tykb_node *request, Items *items) except -1:
    """Makes a response to the client of a hook on requests the message's return_overrides."""
    cdef tykb_node *overrides
    cdef tykb_map *map
    cdef Item *item
    cdef int64_t code = 200
    check(tykb_node_child(request, OVERRIDES, &overrides))
    check(tykb_node_map(overrides, ANSWER_HEADERS, &map))
    cdef set spelled = set()
    cdef dict tried = {}
    for at in range(items.count):
        item = &items.items[at]
        if item.tag == TYKB_PLUGIN_RESPONSE_STATUS:
            code = status_in(item)
        elif item.tag == TYKB_PLUGIN_RESPONSE_BODY:
            if not tykb_wire_is_utf8(item.value.data, item.value.size):
                raise ScriptError("it answers with a body that is not UTF-8, which that of a hook on requests must be")
            set_text(overrides, ANSWER, item.value)
        elif item.tag == TYKB_PLUGIN_RESPONSE_HEADER:
            name = other_spelling(bytes_of(item.name), spelled, tried)
            spelled.add(name)
            check(tykb_map_put(map, span_of_bytes(name), item.value))
    set_number(overrides, CODE, code)
    set_text(overrides, ANSWER_ERROR, span_of(NULL, 0))
    return set_number(overrides, AS_IT_IS, True)  # its words are the body, and not a text for the error's template


cdef bytes other_spelling(bytes name, set taken, dict tried):
    """A header's name, in other letters where it is taken: a map has one value for each, and HTTP does not mind.

    `tried`: by lower-case name, the number of the last spelling that was tried.
    """
    if name not in taken:
        return name
    cdef bytes lower = name.lower()
    letters = [at for at in range(min(len(name), 64)) if name[at:at + 1].isalpha()][:16]
    for number in range(tried.get(lower, 0) + 1, 1 << len(letters)):
        tried[lower] = number
        other = bytearray(lower)
        for i, at in enumerate(letters):
            if number >> i & 1:
                other[at] -= 32
        if bytes(other) not in taken:
            return bytes(other)
    shown = name.decode("utf-8", "replace")
    raise ScriptError(f"it answers with more values of the header {shown} than a message holds")


cdef int replace_headers(tykb_node *response, Items *items) except -1:
    """Takes all headers away that the response of a hook does not have."""
    cdef tykb_map *map
    cdef tykb_entry *entries
    cdef size_t slots, count
    cdef bint stays
    cdef Item *item
    check(tykb_node_clear_field(response, SEVERAL))
    check(tykb_node_map(response, RESPONSE_HEADERS, &map))
    check(tykb_map_entries(map, &entries, &slots, &count))
    gone = []
    for at in range(slots):
        if entries[at].live:
            stays = False
            for i in range(items.count):
                item = &items.items[i]
                if item.tag == TYKB_PLUGIN_RESPONSE_HEADER and same_name(item.name, entries[at].key):
                    stays = True
            if not stays:
                gone.append(bytes_of(entries[at].key))
    for name in gone:
        check(tykb_map_remove(map, span_of_bytes(name)))
    return 0
