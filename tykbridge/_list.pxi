# Views of repeated fields.

cdef object element_to_python(List view, tykb_element *elements, size_t at):
    cdef tykb_node *node
    cdef int status
    if view.field.child is None:
        return to_python(view.field.row, elements[at].value)
    status = tykb_list_node(view.list, at, &node)
    if status != TYKB_OK:
        failed(status, view.field.name)
    return new_message(view.context, view.field.child, node)


cdef int reorder(List view, list order) except -1:
    cdef size_t count = <size_t>len(order), i
    cdef size_t *places = <size_t *>tykb_mem_alloc((count or 1) * sizeof(size_t))
    cdef int status
    if places == NULL:
        raise MemoryError()
    try:
        for i in range(count):
            places[i] = order[i]
        status = tykb_list_reorder(view.list, places, count)
    finally:
        tykb_mem_free(places)
    if status != TYKB_OK:
        failed(status, view.field.name)
    return 0


cdef list values_of(List view, object values):
    """What extend and slice assignment take: a bare str is one value (contract: the seed's Set-Cookie example)."""
    if isinstance(values, str) and view.field.row.kind == TYKB_KIND_STRING:
        return [values]
    try:
        return list(values)
    except TypeError:
        raise TypeError("must assign iterable") from None


cdef int append_all(List view, list values) except -1:
    """Appends all values or, where one is refused, none."""
    cdef tykb_value raw
    cdef int status
    if view.field.child is not None:
        values = [serialised(value, view.field.child, "append") for value in values]
    else:
        for value in values:
            from_python(view.field, value, &raw)
    for value in values:
        append_one(view, value)
    return 0


cdef int append_one(List view, object value) except -1:
    """A scalar, or a message's bytes."""
    cdef tykb_value raw
    cdef tykb_node *node
    cdef int status
    if view.field.child is None:
        from_python(view.field, value, &raw)
        status = tykb_list_append(view.list, raw)
    else:
        status = tykb_list_add(view.list, &node)
        if status == TYKB_OK:
            status = tykb_node_merge(node, span_of(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)))
    if status != TYKB_OK:
        failed(status, view.field.name)
    return 0


cdef object as_index(object key):
    if not hasattr(key, "__index__"):
        raise TypeError("list indices must be integers")
    return key.__index__()


@cython.final
@cython.no_gc
@cython.freelist(16)
cdef class List:
    """A repeated field, as google.protobuf's Python containers show one."""

    cdef int elements(self, tykb_element **elements, size_t *count) except -1:
        cdef int status = tykb_list_elements(self.list, elements, count)
        if status != TYKB_OK:
            failed(status, self.field.name)
        return 0

    def __dealloc__(self):
        if self.list != NULL and self.context is not None and tykb_list_view(self.list)[0] == <void *>self:
            tykb_list_view(self.list)[0] = NULL

    def __len__(self):
        cdef tykb_element *elements
        cdef size_t count
        self.elements(&elements, &count)
        return <Py_ssize_t>count

    cdef size_t place(self, object key) except? 0:
        at = as_index(key)  # first: it may run code that changes the list
        size = len(self)
        if at < 0:
            at += size
        if not 0 <= at < size:
            raise IndexError("list index out of range")
        return at

    def __getitem__(self, key):
        cdef tykb_element *elements
        cdef size_t count
        if isinstance(key, slice):
            return list(self)[key]
        at = self.place(key)
        self.elements(&elements, &count)
        return element_to_python(self, elements, at)

    def __setitem__(self, key, value):
        cdef tykb_value raw
        cdef int status
        if self.field.child is not None:
            raise TypeError(f"'{self.field.name}' object does not support item assignment")
        if not isinstance(key, slice):
            at = self.place(key)
            from_python(self.field, value, &raw)
            status = tykb_list_set(self.list, at, raw)
            if status != TYKB_OK:
                failed(status, self.field.name)
            return
        size = len(self)
        order = list(range(size))
        values = values_of(self, value)
        order[key] = range(size, size + len(values))
        append_all(self, values)
        reorder(self, order)

    def __delitem__(self, key):
        cdef int status
        if isinstance(key, slice):
            order = list(range(len(self)))
            del order[key]
            reorder(self, order)
            return
        status = tykb_list_remove(self.list, self.place(key))
        if status != TYKB_OK:
            failed(status, self.field.name)

    def __iter__(self):
        cdef Py_ssize_t at = 0
        while at < len(self):
            yield self[at]
            at += 1

    def __contains__(self, value):
        return any(item is value or item == value for item in self)

    def append(self, value):
        """Adds a value at the end; a message is copied."""
        append_all(self, [value])

    def extend(self, values):
        """Adds all values at the end, or none when one is refused. A bare str is one value."""
        append_all(self, values_of(self, values))
        touch_list(self)

    def MergeFrom(self, other):
        """As extend."""
        self.extend(other)

    def insert(self, index, value):
        """Adds a value before `index`."""
        at = as_index(index)
        order = list(range(len(self)))
        order.insert(at, len(self))
        append_all(self, [value])
        reorder(self, order)

    def add(self, *values, **fields):
        """A new message at the end, with fields set by keyword; returns it."""
        cdef tykb_node *node
        cdef Message made
        cdef int status
        if self.field.child is None:
            raise AttributeError("add")
        if values:
            raise TypeError("No positional arguments allowed")
        made = standalone(self.field.child)
        assign_fields(made, fields)
        status = tykb_list_add(self.list, &node)
        if status != TYKB_OK:
            failed(status, self.field.name)
        view = new_message(self.context, self.field.child, node)
        if fields:
            view.MergeFrom(made)
        return view

    def pop(self, index=-1):
        """Removes a value and returns it. IndexError when there is none."""
        at = self.place(index)
        value = self[at]
        del self[at]
        return value

    def remove(self, value):
        """Removes the first value that is equal. ValueError when there is none."""
        for at, item in enumerate(self):
            if item == value:
                del self[at]
                return
        raise ValueError("remove(x): x not in container")

    def sort(self, *args, key=None, reverse=False):
        """Sorts in place."""
        if args:
            raise TypeError("sort() takes no positional arguments")
        items = list(self)
        order = sorted(range(len(items)), key=(lambda i: items[i]) if key is None else lambda i: key(items[i]),
                       reverse=reverse)
        if order != list(range(len(items))):
            reorder(self, order)

    def reverse(self):
        """Turns the order round."""
        reorder(self, list(range(len(self) - 1, -1, -1)))

    def clear(self):
        """Removes every value."""
        if len(self):
            reorder(self, [])

    def __eq__(self, other):
        if not isinstance(other, (list, List)) and type(other).__name__ not in (
            "RepeatedScalarContainer", "RepeatedCompositeContainer"
        ):
            return NotImplemented
        return list(self) == list(other)

    def __hash__(self):
        raise TypeError("unhashable type: 'List'")

    def __repr__(self):
        return repr(list(self))

    def __deepcopy__(self, memo):
        holder = standalone(self.field.owner)
        copy = read_field(holder, self.field)
        copy.extend(list(self))
        return copy

    def __copy__(self):
        return self.__reduce__()

    def __reduce__(self):
        import pickle

        raise pickle.PickleError("can't pickle repeated message fields, convert to list first")


cdef int touch_list(List view) except -1:
    cdef int status = tykb_list_touch(view.list)
    if status != TYKB_OK:
        failed(status, view.field.name)
    return 0


MutableSequence.register(List)
