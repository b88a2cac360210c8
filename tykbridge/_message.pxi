# Views of messages, and the context whose memory all views of a tree share.

@cython.final
@cython.no_gc
cdef class Context:
    def __cinit__(self):
        self.tree = tykb_context_new()
        if self.tree == NULL:
            raise MemoryError()

    def __dealloc__(self):
        tykb_context_free(self.tree)


cdef Message new_message(Context context, TypeInfo info, tykb_node *node):
    """The view of a node: one as long as anybody holds it."""
    cdef void **known = tykb_node_view(node)
    cdef Message view
    if known[0] != NULL:
        return <Message>known[0]
    view = Message.__new__(Message)
    view.context = context
    view.info = info
    view.node = node
    known[0] = <void *>view
    return view


cdef Map new_map(Context context, Field field, tykb_map *map):
    cdef void **known = tykb_map_view(map)
    cdef Map view
    if known[0] != NULL:
        return <Map>known[0]
    view = Map.__new__(Map)
    view.context = context
    view.field = field
    view.map = map
    known[0] = <void *>view
    return view


cdef List new_list(Context context, Field field, tykb_list *list):
    cdef void **known = tykb_list_view(list)
    cdef List view
    if known[0] != NULL:
        return <List>known[0]
    view = List.__new__(List)
    view.context = context
    view.field = field
    view.list = list
    known[0] = <void *>view
    return view


def message(str type_name, data=b"", /, **fields):
    """A message of its own: of no dispatch.

    type_name: such as "SessionState" or "Object". data: serialised bytes to start from, copied. fields: values, as
    protobuf's constructors take them.
    Raises KeyError for an unknown type, google.protobuf.message.DecodeError for bytes that are no such message.
    """
    cdef TypeInfo info = TYPES[type_name]
    cdef Message view = standalone(info)
    if data:
        view.ParseFromString(data)
    if fields:
        assign_fields(view, fields)
    return view


cdef Message standalone(TypeInfo info):
    cdef Context context = Context()
    cdef tykb_node *root = tykb_context_root(context.tree, info.type, span_of(NULL, 0))
    if root == NULL:
        raise MemoryError()
    return new_message(context, info, root)


cdef object serialised(object other, TypeInfo info, str method):
    """The bytes of a message of the same type, a view or google.protobuf's."""
    cdef Message view
    if isinstance(other, Message):
        view = <Message>other
        if view.info is info:
            return view.SerializeToString()
    elif getattr(getattr(other, "DESCRIPTOR", None), "full_name", "") == f"coprocess.{info.name}":
        return buffer_bytes(other.SerializePartialToString())  # anything may have such a descriptor
    if other is None and method == "append":
        raise TypeError("Expected a message object, but got None.")
    name = "MergeFrom" if method == "append" else method
    raise TypeError(
        f"Parameter to {name}() must be instance of same class: expected coprocess.{info.name} got {type(other)}."
    )


cdef int check_bytes(TypeInfo info, object data) except -1:
    """DecodeError for bytes that are no message of the type: before anything is given up for them."""
    cdef int status = tykb_type_check(info.type, span_of(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)))
    if status != TYKB_OK:
        failed(status, info.name)
    return 0


cdef object buffer_bytes(object data):
    if isinstance(data, bytes):
        return data
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"expected bytes, {type(data).__name__} found")


cdef int assign_field(Message message, Field field, object value) except -1:
    """One keyword of a constructor or of add(): what protobuf accepts there."""
    if value is None:
        return 0
    cdef int shape = field.row.shape
    if shape == TYKB_MAP:
        target = read_field(message, field)
        if field.child is None:
            target.update(value)
        else:
            for key, item in dict(value).items():
                assign_message(target[key], item)
    elif shape == TYKB_REPEATED:
        target = read_field(message, field)
        if field.child is None:
            target.extend(value)
        else:
            for item in value:
                if isinstance(item, Mapping):
                    target.add(**item)
                else:
                    target.append(item)
    elif field.child is not None:
        assign_message(read_field(message, field), value)
    else:
        write_field(message, field, value)
    return 0


cdef int assign_message(Message target, object value) except -1:
    if isinstance(value, Mapping):
        assign_fields(target, dict(value))
        tykb_node_touch(target.get_node())
    else:
        target.CopyFrom(value)
    return 0


cdef int assign_fields(Message message, dict fields) except -1:
    for name in fields:
        if name not in message.info.fields:
            raise ValueError(f'Protocol message {message.info.name} has no "{name}" field.')
    for name, value in fields.items():
        assign_field(message, <Field>message.info.fields[name], value)
    return 0


cdef object read_field(Message message, Field field):
    cdef tykb_node *node = message.get_node()
    cdef const tykb_field *row = field.row
    cdef tykb_value value
    cdef tykb_node *child
    cdef tykb_map *map
    cdef tykb_list *list
    cdef int status
    if row.shape == TYKB_MAP:
        status = tykb_node_map(node, row, &map)
        if status == TYKB_OK:
            return new_map(message.context, field, map)
    elif row.shape == TYKB_REPEATED:
        status = tykb_node_list(node, row, &list)
        if status == TYKB_OK:
            return new_list(message.context, field, list)
    elif row.kind == TYKB_KIND_MESSAGE:
        status = tykb_node_child(node, row, &child)
        if status == TYKB_OK:
            return new_message(message.context, field.child, child)
    else:
        status = tykb_node_get(node, row, &value)
        if status == TYKB_OK:
            return to_python(row, value)
    failed(status, message.info.name)


cdef int write_field(Message message, Field field, object value) except -1:
    cdef tykb_value raw
    cdef int status
    if field.row.shape != TYKB_SINGULAR:
        raise AttributeError(
            f'Assignment not allowed to map, or repeated field "{field.name}" in protocol message object.'
        )
    if field.row.kind == TYKB_KIND_MESSAGE:
        raise AttributeError(f'Assignment not allowed to message field "{field.name}" in protocol message object.')
    from_python(field, value, &raw)
    status = tykb_node_set(message.get_node(), field.row, raw)
    if status != TYKB_OK:
        failed(status, message.info.name)
    return 0


cdef str elsewhere(Message message, str name, str before, str after):
    """Says where that is which is no field, or "". Cheap: a hook may ask for what may be missing, with each request."""
    meant = getattr(Request, name, None) if message.info is REQUEST and not name.startswith("_") else None
    if meant is not None:
        return before + (meant.words if isinstance(meant, Elsewhere) else f"it is request.{name}") + after
    near = [field for field in message.info.fields if len(name) > 2 and (name in field or field in name)]
    return f'{before}there is {", ".join(near)}{after}' if near else ""


@cython.final
@cython.no_gc
@cython.freelist(16)
cdef class Message:
    """A coprocess message, as google.protobuf's Python classes show one."""

    cdef tykb_node *get_node(self) except NULL:
        cdef int status
        if self.node == NULL:
            status = tykb_node_child(self.parent, self.field, &self.node)
            if status != TYKB_OK:
                failed(status, "Object")
            tykb_node_view(self.node)[0] = <void *>self
        return self.node

    def __dealloc__(self):
        if self.node != NULL and self.context is not None and tykb_node_view(self.node)[0] == <void *>self:
            tykb_node_view(self.node)[0] = NULL

    def __getattribute__(self, str name):
        cdef PyObject *field = PyDict_GetItemWithError(self.info.fields, name)
        if field != NULL:
            return read_field(self, <Field>field)
        return PyObject_GenericGetAttr(self, name)

    def __getattr__(self, str name):
        if name.endswith("_FIELD_NUMBER") or name.endswith("Entry"):
            return getattr(pb_class(self.info), name)
        raise AttributeError(f"{name} is no field of {self.info.name}{elsewhere(self, name, ': ', '')}")

    def __setattr__(self, str name, value):
        cdef PyObject *field = PyDict_GetItemWithError(self.info.fields, name)
        if field == NULL:
            words = f'Protocol message {self.info.name} has no "{name}" field.'
            raise AttributeError(words + elsewhere(self, name, " (", ")"))
        write_field(self, <Field>field, value)

    def __delattr__(self, str name):
        raise AttributeError("Cannot delete field attribute")

    def __dir__(self):
        return sorted({*object.__dir__(self), *self.info.fields})

    @property
    def __class__(self):
        return pb_class(self.info)

    @property
    def DESCRIPTOR(self):
        """The message's descriptor, of the pool that plugins' own pb2 modules use."""
        return pb_class(self.info).DESCRIPTOR

    def SerializeToString(self, *, deterministic=None):
        """The message's bytes. deterministic: with map keys in order."""
        cdef void *data
        cdef size_t size
        cdef int status
        if deterministic:
            return pb_class(self.info).FromString(self.SerializeToString()).SerializeToString(deterministic=True)
        status = tykb_node_write(self.get_node(), TYKB_REPLY_FULL, tykb_mem_alloc, &data, &size)
        if status == TYKB_E_TOO_LARGE:
            raise ValueError(f"{self.info.name}: more than 2 GiB when serialised")
        if status != TYKB_OK:
            failed(status, self.info.name)
        try:
            return PyBytes_FromStringAndSize(<char *>data, <Py_ssize_t>size)
        finally:
            tykb_mem_free(data)

    SerializePartialToString = SerializeToString

    def ByteSize(self):
        """The length of the message's bytes."""
        return len(self.SerializeToString())

    def MergeFromString(self, data):
        """Merges serialised bytes in; returns how many there were. DecodeError changes nothing."""
        cdef object kept = buffer_bytes(data)
        cdef int status = tykb_node_merge(self.get_node(), span_of(PyBytes_AS_STRING(kept), PyBytes_GET_SIZE(kept)))
        if status != TYKB_OK:
            failed(status, self.info.name)
        return PyBytes_GET_SIZE(kept)

    def ParseFromString(self, data):
        """Takes over serialised bytes; returns how many there were. DecodeError changes nothing."""
        cdef object kept = buffer_bytes(data)
        check_bytes(self.info, kept)
        self.Clear()
        return self.MergeFromString(kept)

    def FromString(self, data):
        """A new message from serialised bytes."""
        made = standalone(self.info)
        made.MergeFromString(data)
        return made

    def MergeFrom(self, other):
        """Merges a message of the same type in, a view or google.protobuf's."""
        self.MergeFromString(serialised(other, self.info, "MergeFrom"))

    def CopyFrom(self, other):
        """Takes over a message of the same type, a view or google.protobuf's."""
        if other is self:
            return
        data = serialised(other, self.info, "CopyFrom")
        check_bytes(self.info, data)  # a view that nobody read may hold anything
        self.Clear()
        self.MergeFromString(data)

    def Clear(self):
        """Sets every field to its default."""
        cdef int status = tykb_node_clear(self.get_node())
        if status != TYKB_OK:
            failed(status, self.info.name)

    def ClearField(self, name):
        """Sets one field to its default. ValueError for a name that is none."""
        cdef int status = tykb_node_clear_field(self.get_node(), field_named(self, name).row)
        if status != TYKB_OK:
            failed(status, self.info.name)

    def HasField(self, name):
        """Whether a sub-message is present. ValueError for a field that has no presence, or none."""
        cdef Field field = field_named(self, name)
        cdef int status
        if field.row.shape != TYKB_SINGULAR or field.row.kind != TYKB_KIND_MESSAGE:
            raise ValueError(f"Field coprocess.{self.info.name}.{field.name} does not have presence.")
        status = tykb_node_has(self.get_node(), field.row)
        if status < 0:
            failed(status, self.info.name)
        return status == 1

    def __contains__(self, name):
        return self.HasField(name)

    def WhichOneof(self, name):
        """ValueError: no coprocess message has a oneof."""
        if isinstance(name, bytes):
            name = name.decode()
        raise ValueError(f'Protocol message {self.info.name} has no "{name}" field.')

    def ListFields(self):
        """(descriptor, value) of every field that is set, in the order of their numbers."""
        by_name = self.DESCRIPTOR.fields_by_name
        found = []
        for field in (<dict>self.info.fields).values():
            status = tykb_node_has(self.get_node(), (<Field>field).row)
            if status < 0:
                failed(status, self.info.name)
            if status:
                found.append((by_name[(<Field>field).name], read_field(self, <Field>field)))
        return found

    def SetInParent(self):
        """Makes the message present in the one that holds it."""
        tykb_node_touch(self.get_node())

    def IsInitialized(self, errors=None):
        """True: proto3 has no required fields."""
        return True

    def FindInitializationErrors(self):
        """Empty: proto3 has no required fields."""
        return []

    def DiscardUnknownFields(self):
        """Drops fields that no coprocess message has."""
        known = pb_class(self.info).FromString(self.SerializeToString())
        size = known.ByteSize()
        known.DiscardUnknownFields()
        if known.ByteSize() != size:  # else nothing changes, and what was taken out of the message stays part of it
            self.CopyFrom(known)

    def UnknownFields(self):
        """NotImplementedError, as in google.protobuf: use unknown_fields.UnknownFieldSet on a parsed copy."""
        raise NotImplementedError("unknown field accessor")

    def __eq__(self, other):
        if other is self:
            return True
        try:
            data = serialised(other, self.info, "==")
        except TypeError:
            return NotImplemented
        kind = pb_class(self.info)
        return kind.FromString(self.SerializeToString()) == kind.FromString(data)

    def __hash__(self):
        raise TypeError(f"unhashable type: '{self.info.name}'")

    def __bool__(self):
        return True

    def __repr__(self):
        return str(pb_class(self.info).FromString(self.SerializeToString()))

    def __str__(self):
        return repr(self)

    def __copy__(self):
        return self.FromString(self.SerializeToString())

    def __deepcopy__(self, memo):
        return self.FromString(self.SerializeToString())

    def __reduce__(self):
        return message, (self.info.name, self.SerializeToString())


cdef Field field_named(Message message, object name):
    if isinstance(name, bytes):
        name = name.decode()
    if not isinstance(name, str):
        raise ValueError("Expected a field name, but got non-string argument 1.")
    field = message.info.fields.get(name)
    if field is None:
        raise ValueError(f'Protocol message {message.info.name} has no "{name}" field.')
    return <Field>field
