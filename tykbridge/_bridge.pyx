# cython: language_level=3, binding=False, boundscheck=False, wraparound=False, initializedcheck=False
# cython: auto_pickle=False, embedsignature=True
"""The hot path: message views, and the dispatch of a message to a hook.

The views behave as google.protobuf's Python messages, maps and repeated fields do, over the lazy tree of csrc/object.h.
What they do differently is named in docs/views.md. Everything runs under Python's lock, which also guards the trees.
"""

from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, MutableSequence, ValuesView

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_AsStringAndSize, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject, PyObject_GenericGetAttr
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from tykbridge._version import __version__

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    object PyObject_Vectorcall(object function, PyObject **arguments, size_t count, PyObject *names)
    Py_ssize_t Py_REFCNT(object thing)
    bint PyTuple_CheckExact(object thing)
    Py_ssize_t PyTuple_GET_SIZE(object thing)
    PyObject *PyTuple_GET_ITEM(object thing, Py_ssize_t at)


# ---- Types ------------------------------------------------------------------------------------------------------------

cdef dict TYPES = {}  # by name


cdef Field new_field(TypeInfo owner, const tykb_field *row):
    cdef Field field = Field.__new__(Field)
    field.row = row
    field.name = row.name.decode()
    field.owner = owner
    if row.kind == TYKB_KIND_MESSAGE:
        field.child = TYPES[(<const tykb_type *>row.child).name.decode()]
    return field


cdef load_types():
    cdef size_t i = 0, row
    cdef TypeInfo info
    while tykb_types[i] != NULL:  # children come first
        info = TypeInfo.__new__(TypeInfo)
        info.type = tykb_types[i]
        info.name = info.type.name.decode()
        info.fields = {}
        for row in range(info.type.count):
            field = new_field(info, &info.type.fields[row])
            info.fields[field.name] = field
        TYPES[info.name] = info
        i += 1


@cython.final
cdef class TypeInfo:
    pass


@cython.final
cdef class Field:
    pass


load_types()
cdef TypeInfo OBJECT = TYPES["Object"], REQUEST = TYPES["MiniRequestObject"]
cdef TypeInfo SESSION = TYPES["SessionState"], RESPONSE = TYPES["ResponseObject"]


cdef const tykb_field *row_of(TypeInfo info, str name):
    return (<Field>info.fields[name]).row


cdef const tykb_field *OBJECT_HOOK_NAME = row_of(OBJECT, "hook_name")
cdef const tykb_field *OBJECT_REQUEST = row_of(OBJECT, "request")
cdef const tykb_field *OBJECT_SESSION = row_of(OBJECT, "session")
cdef const tykb_field *OBJECT_RESPONSE = row_of(OBJECT, "response")
cdef const tykb_field *OBJECT_SPEC = row_of(OBJECT, "spec")
cdef Field OBJECT_METADATA_FIELD = OBJECT.fields["metadata"], OBJECT_SPEC_FIELD = OBJECT.fields["spec"]
cdef Field SESSION_METADATA = SESSION.fields["metadata"]
cdef Field HEADERS = REQUEST.fields["headers"], SET_HEADERS = REQUEST.fields["set_headers"]
cdef Field DELETE_HEADERS = REQUEST.fields["delete_headers"]
cdef Field ADD_PARAMS = REQUEST.fields["add_params"], DELETE_PARAMS = REQUEST.fields["delete_params"]


cdef object pb_class(TypeInfo info):
    """google.protobuf's class of a type: for what is not hot."""
    from tykbridge.compat import pb2

    return pb2.message_class(info.name)


cdef int failed(int status, str where) except -1:
    """Raises what a status of the tree means to a plugin."""
    if status == TYKB_E_NO_MEMORY:
        raise MemoryError()
    if status == TYKB_E_MALFORMED:
        from google.protobuf.message import DecodeError

        raise DecodeError(f"Error parsing message: the bytes of {where} are not a protobuf message")
    raise RuntimeError(f"{where}: {tykb_status_name(status).decode()}")


# ---- Values -----------------------------------------------------------------------------------------------------------

cdef inline tykb_span span_of(const char *data, Py_ssize_t size):
    cdef tykb_span span
    span.data = <const uint8_t *>data
    span.size = <size_t>size
    return span


cdef const char *EMPTY = ""


cdef inline const char *start_of(tykb_span text) noexcept:
    """Never NULL: an empty span may have no address."""
    return <const char *>text.data if text.size else EMPTY


cdef inline bytes bytes_of(tykb_span text):
    return PyBytes_FromStringAndSize(start_of(text), <Py_ssize_t>text.size)


cdef object text_to_python(tykb_span text, const tykb_field *row):
    try:
        return PyUnicode_DecodeUTF8(start_of(text), <Py_ssize_t>text.size, NULL)
    except UnicodeDecodeError as error:
        reason = f"{error.reason}, in {row.name.decode()}"
        raise UnicodeDecodeError(error.encoding, error.object, error.start, error.end, reason) from None


cdef object to_python(const tykb_field *row, tykb_value value):
    cdef int kind = row.kind
    if kind == TYKB_KIND_STRING:
        return text_to_python(value.text, row)
    if kind == TYKB_KIND_BYTES:
        return bytes_of(value.text)
    if kind == TYKB_KIND_DOUBLE:
        return value.real
    if kind == TYKB_KIND_BOOL:
        return value.number != 0
    return value.number


cdef int text_from_python(object value, tykb_span *text) except -1:
    """str, or bytes that are UTF-8, as protobuf accepts. Borrows from the object."""
    cdef Py_ssize_t size
    cdef char *data
    if isinstance(value, str):
        text.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(value, &size)
        text.size = <size_t>size
        return 0
    if isinstance(value, bytes):
        PyBytes_AsStringAndSize(value, &data, &size)
        if not tykb_wire_is_utf8(<const uint8_t *>data, <size_t>size):
            (<bytes>value).decode()
        text[0] = span_of(data, size)
        return 0
    raise TypeError(f"bad argument type for built-in operation: expected str, {type(value).__name__} found")


cdef int from_python(Field field, object value, tykb_value *out) except -1:
    """What protobuf accepts for a scalar, and its errors for the rest. Text is borrowed from the object."""
    cdef int kind = field.row.kind
    cdef Py_ssize_t size
    cdef char *data
    memset(out, 0, sizeof(tykb_value))
    if kind == TYKB_KIND_STRING:
        return text_from_python(value, &out.text)
    if kind == TYKB_KIND_BYTES:
        if not isinstance(value, bytes):
            raise TypeError(f"expected bytes, {type(value).__name__} found")
        PyBytes_AsStringAndSize(value, &data, &size)
        out.text = span_of(data, size)
        return 0
    if kind == TYKB_KIND_DOUBLE:
        if isinstance(value, (str, bytes, bytearray)):
            raise TypeError(f"must be real number, not {type(value).__name__}")
        out.real = value
        return 0
    if kind == TYKB_KIND_BOOL:
        out.number = 1 if as_long(value.__index__() if hasattr(value, "__index__") else not_integer(value)) else 0
        return 0
    if isinstance(value, bool):
        raise TypeError(
            f"Field coprocess.{field.owner.name}.{field.name}: Expected an int, got a boolean."
        )
    if kind == TYKB_KIND_ENUM and isinstance(value, str):
        out.number = enum_number(value)
        return 0
    number = value.__index__() if hasattr(value, "__index__") else not_integer(value)
    if kind == TYKB_KIND_INT64:
        if not -(1 << 63) <= number < 1 << 63:
            raise ValueError(f"Value out of range: {number}")
    elif not -(1 << 31) <= number < 1 << 31:
        raise ValueError(f"Value out of range: {number}")
    out.number = number
    return 0


cdef object not_integer(object value):
    raise TypeError(f"'{type(value).__name__}' object cannot be interpreted as an integer")


cdef long as_long(object value) except? -1:
    return value


cdef int64_t enum_number(str label) except? -1:
    from tykbridge.compat import pb2

    known = pb2.message_class("Object").DESCRIPTOR.fields_by_name["hook_type"].enum_type.values_by_name
    if label not in known:
        raise ValueError(f'unknown enum label "{label}"')
    return known[label].number


# ---- Context ----------------------------------------------------------------------------------------------------------

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


def message(str type_name, data=b""):
    """A message of its own: of no dispatch.

    type_name: such as "SessionState" or "Object". data: serialised bytes to start from, copied.
    Raises KeyError for an unknown type, google.protobuf.message.DecodeError for bytes that are no such message.
    """
    cdef TypeInfo info = TYPES[type_name]
    cdef Message view = standalone(info)
    if data:
        view.ParseFromString(data)
    return view


cdef Message standalone(TypeInfo info):
    cdef Context context = Context()
    cdef tykb_node *root = tykb_context_root(context.tree, info.type, span_of(NULL, 0))
    if root == NULL:
        raise MemoryError()
    return new_message(context, info, root)


# ---- Messages ---------------------------------------------------------------------------------------------------------

cdef object serialised(object other, TypeInfo info, str method):
    """The bytes of a message of the same type, a view or google.protobuf's."""
    cdef Message view
    if isinstance(other, Message):
        view = <Message>other
        if view.info is info:
            return view.SerializeToString()
    elif getattr(getattr(other, "DESCRIPTOR", None), "full_name", "") == f"coprocess.{info.name}":
        return other.SerializePartialToString()
    if other is None and method == "append":
        raise TypeError("Expected a message object, but got None.")
    name = "MergeFrom" if method == "append" else method
    raise TypeError(
        f"Parameter to {name}() must be instance of same class: expected coprocess.{info.name} got {type(other)}."
    )


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
        raise AttributeError(name)

    def __setattr__(self, str name, value):
        cdef PyObject *field = PyDict_GetItemWithError(self.info.fields, name)
        if field == NULL:
            raise AttributeError(f'Protocol message {self.info.name} has no "{name}" field.')
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
        standalone(self.info).MergeFromString(kept)
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
        known.DiscardUnknownFields()
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


# ---- Maps -------------------------------------------------------------------------------------------------------------

cdef class MapIterator:
    """Walks a map's entries; a changed set of keys ends it, as in protobuf."""

    cdef Map map
    cdef size_t at
    cdef uint32_t version
    cdef int what  # 0: keys, 1: values, 2: both

    def __iter__(self):
        return self

    def __next__(self):
        cdef tykb_entry *entries
        cdef size_t slots, count
        cdef tykb_map *map = self.map.get_map()
        cdef int status = tykb_map_entries(map, &entries, &slots, &count)
        if status != TYKB_OK:
            failed(status, self.map.field.name)
        if tykb_map_version(map) != self.version:
            raise RuntimeError("Map modified during iteration.")
        while self.at < slots and not entries[self.at].live:
            self.at += 1
        if self.at >= slots:
            raise StopIteration
        self.at += 1
        return entry_to_python(self.map, map, &entries[self.at - 1], self.at - 1, self.what)


cdef object entry_to_python(Map view, tykb_map *map, tykb_entry *entry, size_t slot, int what):
    cdef tykb_node *node
    key = value = None
    if what != 1:
        key = text_to_python(entry.key, view.field.row)
        if what == 0:
            return key
    if view.field.child is None:
        value = text_to_python(entry.value, view.field.row)
    else:
        status = tykb_map_entry_node(map, slot, &node)
        if status != TYKB_OK:
            failed(status, view.field.name)
        value = new_message(view.context, view.field.child, node)
    return value if what == 1 else (key, value)


cdef MapIterator iterate(Map view, int what):
    cdef MapIterator iterator = MapIterator.__new__(MapIterator)
    cdef tykb_entry *entries
    cdef size_t slots, count
    cdef int status = tykb_map_entries(view.get_map(), &entries, &slots, &count)
    if status != TYKB_OK:
        failed(status, view.field.name)
    iterator.map = view
    iterator.version = tykb_map_version(view.map)
    iterator.what = what
    return iterator


class MapValues(ValuesView):
    """The live values of a map."""

    __slots__ = ()

    def __iter__(self):
        return iterate(self._mapping, 1)


class MapItems(ItemsView):
    """The live items of a map."""

    __slots__ = ()

    def __iter__(self):
        return iterate(self._mapping, 2)


@cython.final
@cython.no_gc
@cython.freelist(16)
cdef class Map:
    """A map field, as google.protobuf's Python maps show one. Keys come in the order of insertion."""

    cdef tykb_map *get_map(self) except NULL:
        cdef int status
        if self.map == NULL:
            status = tykb_node_map(self.parent, self.field.row, &self.map)
            if status != TYKB_OK:
                failed(status, self.field.name)
            tykb_map_view(self.map)[0] = <void *>self
        return self.map

    def __dealloc__(self):
        if self.map != NULL and self.context is not None and tykb_map_view(self.map)[0] == <void *>self:
            tykb_map_view(self.map)[0] = NULL

    cdef object lookup(self, object key):
        """The value, or None. Adds nothing."""
        cdef tykb_span name, value
        cdef tykb_entry *entry
        cdef tykb_node *node
        cdef tykb_map *map = self.get_map()
        cdef int status
        text_from_python(key, &name)
        if self.field.child is None:
            status = tykb_map_text(map, name, &value)
            if status == TYKB_OK:
                return text_to_python(value, self.field.row)
            if status == TYKB_E_NOT_FOUND:
                return None
        else:
            status = tykb_map_find(map, name, &entry)
            if status == TYKB_OK and entry == NULL:
                return None
            if status == TYKB_OK:
                status = tykb_map_node(map, name, &node)
            if status == TYKB_OK:
                return new_message(self.context, self.field.child, node)
        failed(status, self.field.name)

    def __getitem__(self, key):
        cdef tykb_span name
        cdef tykb_node *node
        cdef int status
        found = self.lookup(key)
        if found is not None:
            return found
        text_from_python(key, &name)
        if self.field.child is None:
            status = tykb_map_put(self.get_map(), name, span_of(NULL, 0))
            if status == TYKB_OK:
                return ""
        else:
            status = tykb_map_node(self.get_map(), name, &node)
            if status == TYKB_OK:
                return new_message(self.context, self.field.child, node)
        failed(status, self.field.name)

    def __setitem__(self, key, value):
        cdef tykb_span name, text
        cdef int status
        if self.field.child is not None:
            raise ValueError("Message objects may not be assigned")
        text_from_python(key, &name)
        text_from_python(value, &text)
        status = tykb_map_put(self.get_map(), name, text)
        if status != TYKB_OK:
            failed(status, self.field.name)

    def __delitem__(self, key):
        cdef tykb_span name
        cdef int status
        text_from_python(key, &name)
        status = tykb_map_remove(self.get_map(), name)
        if status == TYKB_E_NOT_FOUND:
            raise KeyError("Key not present in map")
        if status != TYKB_OK:
            failed(status, self.field.name)

    def __contains__(self, key):
        cdef tykb_span name
        cdef tykb_entry *entry
        text_from_python(key, &name)
        cdef int status = tykb_map_find(self.get_map(), name, &entry)
        if status != TYKB_OK:
            failed(status, self.field.name)
        return entry != NULL

    def __len__(self):
        cdef tykb_entry *entries
        cdef size_t slots, count
        cdef int status = tykb_map_entries(self.get_map(), &entries, &slots, &count)
        if status != TYKB_OK:
            failed(status, self.field.name)
        return <Py_ssize_t>count

    def __iter__(self):
        return iterate(self, 0)

    def get(self, key, default=None):
        """The value of a key, or `default`. Adds nothing."""
        found = self.lookup(key)
        return default if found is None else found

    def keys(self):
        """A live view of the keys."""
        return KeysView(self)

    def values(self):
        """A live view of the values."""
        return MapValues(self)

    def items(self):
        """A live view of the items."""
        return MapItems(self)

    def pop(self, key, default=None):
        """Removes a key and returns its value; of a missing key the default value of the map's kind, as protobuf."""
        value = self[key]
        del self[key]
        return value

    def popitem(self):
        """Removes some key and returns it with its value. KeyError when there is none."""
        for key in self:
            return key, self.pop(key)
        raise KeyError("popitem(): the map is empty")

    def setdefault(self, key, value=None):
        """The value of a key, which is set first when it is missing. ValueError without a value to set."""
        if self.field.child is not None:
            raise NotImplementedError("Set message map value directly is not supported.")
        if value is None:
            raise ValueError("The value for scalar map setdefault must be set.")
        if key not in self:
            self[key] = value
        return self[key]

    def update(self, other=(), /, **more):
        """Sets keys from a mapping, from pairs and from keywords."""
        MutableMapping.update(self, other, **more)

    def get_or_create(self, key):
        """The message of a key, made when it is missing."""
        if self.field.child is None:
            raise AttributeError("get_or_create")
        return self[key]

    def clear(self):
        """Removes every key."""
        cdef int status = tykb_map_clear(self.get_map())
        if status != TYKB_OK:
            failed(status, self.field.name)

    def MergeFrom(self, other):
        """Sets keys from another map field; its values win."""
        cdef Map source
        if isinstance(other, dict):
            raise AttributeError("Merging of dict is not allowed")
        if isinstance(other, Map):
            source = <Map>other
            if (source.field.child is None) != (self.field.child is None) or source.field.child is not self.field.child:
                raise TypeError("Parameter to MergeFrom() must be a map of the same kind")
        elif not hasattr(other, "GetEntryClass"):
            raise TypeError(f"Parameter to MergeFrom() must be a map, got {type(other)}")
        items = list(other.items())
        if self.field.child is None:
            for key, value in items:
                self[key] = value
        else:
            for key, value in items:
                self[key].CopyFrom(value)
        touch_map(self)

    def GetEntryClass(self):
        """The class of the map's entries, which text_format makes."""
        name = "".join(word.capitalize() for word in self.field.name.split("_")) + "Entry"
        return getattr(pb_class(self.field.owner), name)

    def __eq__(self, other):
        if self is other:
            return True
        if not isinstance(other, Mapping):
            return NotImplemented
        return dict(self.items()) == dict(other.items())

    def __hash__(self):
        return <Py_hash_t><size_t><void *>self >> 4

    def __repr__(self):
        return repr(dict(self.items()))

    def __copy__(self):
        raise TypeError("cannot pickle 'Map' object: take dict(m)")

    def __reduce__(self):
        raise TypeError("cannot pickle 'Map' object: take dict(m)")


cdef int touch_map(Map view) except -1:
    """A merge makes the message present, also where it brought nothing."""
    cdef int status = tykb_map_touch(view.get_map())
    if status != TYKB_OK:
        failed(status, view.field.name)
    return 0


MutableMapping.register(Map)


# ---- Lists ------------------------------------------------------------------------------------------------------------

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
        size = len(self)
        at = as_index(key)
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
        order = list(range(len(self)))
        if isinstance(key, slice):
            del order[key]
        else:
            at = self.place(key)
            del order[at]
        reorder(self, order)

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
        if self is other:
            return True
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


# ---- What a hook gets ------------------------------------------------------------------------------------------------

cdef inline int put_pair(Message message, Field field, object key, object value) except -1:
    cdef tykb_map *map
    cdef tykb_span name, text
    text_from_python(key, &name)
    text_from_python(value, &text)
    cdef int status = tykb_node_map(message.get_node(), field.row, &map)
    if status == TYKB_OK:
        status = tykb_map_put(map, name, text)
    if status != TYKB_OK:
        failed(status, field.name)
    return 0


cdef inline int put_item(Message message, Field field, object value) except -1:
    cdef tykb_list *list
    cdef tykb_value raw
    from_python(field, value, &raw)
    cdef int status = tykb_node_list(message.get_node(), field.row, &list)
    if status == TYKB_OK:
        status = tykb_list_append(list, raw)
    if status != TYKB_OK:
        failed(status, field.name)
    return 0


@cython.final
@cython.no_gc
cdef class Request:
    """The request, as a hook gets it: `object` is the MiniRequestObject, the methods are Tyk's."""

    @property
    def object(self):
        """The message itself."""
        self.message.get_node()
        return self.message

    def add_header(self, key, value):
        """Sets a header of the request to the upstream."""
        put_pair(self.message, SET_HEADERS, key, value)

    def delete_header(self, key):
        """Removes a header of the request to the upstream."""
        put_item(self.message, DELETE_HEADERS, key)

    def get_header(self, key):
        """The value of a header as it came, None without one. The name's case counts."""
        cdef tykb_span name, value
        text_from_python(key, &name)
        cdef int status = tykb_node_find(self.message.get_node(), HEADERS.row, name, &value)
        if status == TYKB_OK:
            return text_to_python(value, HEADERS.row)
        if status != TYKB_E_NOT_FOUND:
            failed(status, "headers")
        return None

    def add_param(self, key, value):
        """Sets a parameter of the request to the upstream."""
        put_pair(self.message, ADD_PARAMS, key, value)

    def delete_param(self, key):
        """Removes a parameter of the request to the upstream."""
        put_item(self.message, DELETE_PARAMS, key)

    def __repr__(self):
        return repr(self.object)


@cython.final
cdef class Generation:
    def __cinit__(self, on_drained=None):
        self.on_drained = on_drained

    def retire(self):
        """No new call will come. `on_drained` is called once, as soon as none is in flight."""
        if not self.retired:
            self.retired = True
            if self.users == 0:
                self.drained()

    cdef drained(self):
        done, self.on_drained = self.on_drained, None
        if done is not None:
            done()


@cython.final
cdef class Handler:
    def __cinit__(self, function, str bundle, str name, int arity, Generation generation not None):
        if arity not in (3, 4, 5):
            raise ValueError(f"a hook takes 3, 4 or 5 arguments, not {arity}")
        self.function = function
        self.bundle = bundle
        self.name = name
        self.arity = arity
        self.generation = generation


# ---- The table of hooks ----------------------------------------------------------------------------------------------

# Keys are the name's bytes behind the bundle's: found without making a str. Replaced as a whole under Python's lock.
cdef struct Row:
    uint32_t hash
    uint32_t bundle_size
    tykb_span key
    PyObject *handler  # borrowed from `published`

cdef Row *table = NULL
cdef size_t table_mask = 0
cdef object published = ()
cdef dict by_name = {}  # hooks of messages that name no bundle: the handler, or None where several bundles have it


cdef inline uint32_t row_hash(tykb_span bundle, tykb_span name) noexcept:
    cdef uint32_t code = 2166136261u
    cdef size_t i
    # The ends tell names apart best, and both are short. No hostile keys: these are the host's own.
    for i in range(name.size):
        code = (code ^ name.data[i]) * 16777619u
    i = bundle.size - 8 if bundle.size > 8 else 0
    while i < bundle.size:
        code = (code ^ bundle.data[i]) * 16777619u
        i += 1
    return code ^ code >> 15


cdef inline bint same_bytes(const uint8_t *a, const uint8_t *b, size_t size) noexcept:
    return size == 0 or memcmp(a, b, size) == 0


cdef PyObject *find(tykb_span bundle, tykb_span name) noexcept:
    """The handler, borrowed, or NULL."""
    cdef uint32_t code
    cdef size_t at
    cdef Row *row
    if table == NULL:
        return NULL
    code = row_hash(bundle, name)
    at = code & table_mask
    while table[at].handler != NULL:
        row = &table[at]
        if (row.hash == code and row.bundle_size == bundle.size and row.key.size == bundle.size + name.size
                and same_bytes(row.key.data, bundle.data, bundle.size)
                and same_bytes(row.key.data + bundle.size, name.data, name.size)):
            return row.handler
        at = (at + 1) & table_mask
    return NULL


def publish(handlers):
    """Replaces the whole table of hooks in one step. Calls in flight finish on what they started with."""
    global table, table_mask, published, by_name
    cdef list rows = list(handlers)
    cdef size_t size = 8, at
    cdef Handler handler
    cdef Row *fresh
    cdef tykb_span bundle, name
    cdef uint32_t code
    keys = []
    names = {}
    while size < 2 * <size_t>len(rows):
        size *= 2
    for handler in rows:
        key = handler.name.encode()
        keys.append((handler.bundle.encode(), key))
        names[key] = None if key in names else handler
    joined = [a + b for a, b in keys]
    fresh = <Row *>tykb_mem_alloc(size * sizeof(Row))
    if fresh == NULL:
        raise MemoryError()
    memset(fresh, 0, size * sizeof(Row))
    for (bundle_key, name_key), key, handler in zip(keys, joined, rows):
        bundle = span_of(PyBytes_AS_STRING(bundle_key), PyBytes_GET_SIZE(bundle_key))
        name = span_of(PyBytes_AS_STRING(name_key), PyBytes_GET_SIZE(name_key))
        code = row_hash(bundle, name)
        at = code & (size - 1)
        while fresh[at].handler != NULL:
            at = (at + 1) & (size - 1)
        fresh[at].hash = code
        fresh[at].bundle_size = <uint32_t>bundle.size
        fresh[at].key = span_of(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        fresh[at].handler = <PyObject *>handler
    # The old rows are let go last: that can run anybody's code.
    old_table, old = <size_t>table, published
    table, table_mask, published, by_name = fresh, size - 1, (rows, joined), names
    tykb_mem_free(<void *><size_t>old_table)
    del old


# ---- Dispatch ---------------------------------------------------------------------------------------------------------

@cython.final
cdef class Frame:
    pass


cdef list frames = []  # ready for a dispatch; as many as ever ran at once


cdef Frame new_frame():
    cdef Frame frame = Frame.__new__(Frame)
    cdef Context context = Context()
    frame.context = context
    frame.request = Request.__new__(Request)
    frame.request.message = bare_message(context, REQUEST, OBJECT_REQUEST)
    frame.response = bare_message(context, RESPONSE, OBJECT_RESPONSE)
    frame.session = bare_message(context, SESSION, OBJECT_SESSION)
    frame.metadata = bare_map(context, OBJECT_METADATA_FIELD)
    frame.spec = bare_map(context, OBJECT_SPEC_FIELD)
    return frame


cdef enum:
    FRAME_VIEWS = 6  # references to a frame's context when nobody else has any: the frame's own and its views'


cdef Message bare_message(Context context, TypeInfo info, const tykb_field *field):
    cdef Message view = Message.__new__(Message)
    view.context = context
    view.info = info
    view.field = field
    return view


cdef Map bare_map(Context context, Field field):
    cdef Map view = Map.__new__(Map)
    view.context = context
    view.field = field
    return view


cdef inline int start_frame(Frame frame, const void *data, size_t size) except -1:
    cdef tykb_node *root = tykb_context_root(
        frame.context.tree, &tykb_type_Object, span_of(<const char *>data, <Py_ssize_t>size)
    )
    if root == NULL:
        raise MemoryError()
    frame.root = root
    frame.request.message.parent = root
    frame.response.parent = root
    frame.session.parent = root
    frame.metadata.parent = root
    frame.spec.parent = root
    return 0


cdef inline void end_frame(Frame frame) noexcept:
    """Makes the frame ready for the next dispatch or, when a hook kept a view, gives that one its own memory."""
    frame.session_metadata = None
    if (Py_REFCNT(frame.context) == FRAME_VIEWS and Py_REFCNT(frame.request) == 1 and Py_REFCNT(frame.session) == 1
            and Py_REFCNT(frame.spec) == 1 and Py_REFCNT(frame.metadata) == 1 and Py_REFCNT(frame.response) == 1
            and Py_REFCNT(frame.request.message) == 1):
        frame.request.message.node = NULL
        frame.response.node = NULL
        frame.session.node = NULL
        frame.metadata.map = NULL
        frame.spec.map = NULL
        tykb_context_reset(frame.context.tree)
        frames.append(frame)
    else:
        keep_frame(frame)


cdef void keep_frame(Frame frame) noexcept:
    # A view that was never used has no node yet, and finds it by its parent, which stays.
    if tykb_context_own_input(frame.context.tree) == TYKB_OK:
        return
    # No memory for the copy. The bytes are the host's and will be gone: the views must not reach them.
    forget_input(frame)


cdef void forget_input(Frame frame) noexcept:
    tykb_context_lose_input(frame.context.tree)


cdef int set_words(CoProcessMessage *out, object words) except -1:
    """Puts a failure's words into `out`: UTF-8 without a NUL."""
    cdef bytes text
    if out == NULL:
        return 0
    text = str(words).replace("\0", "\\0").encode("utf-8", "backslashreplace")
    out.p_data = tykb_reply_alloc(<size_t>PyBytes_GET_SIZE(text) or 1)
    if out.p_data == NULL:
        return 0
    memcpy(out.p_data, PyBytes_AS_STRING(text), <size_t>PyBytes_GET_SIZE(text))
    out.length = <int>PyBytes_GET_SIZE(text)
    return 0


cdef int explain(object error, CoProcessMessage *out) noexcept:
    """The status of an exception, its words in `out`."""
    try:
        set_words(out, error if str(error) else type(error).__name__)
        if isinstance(error, MemoryError):
            return TYKB_E_NO_MEMORY
        status = getattr(error, "status", TYKB_E_INTERNAL)
        return status if isinstance(status, int) and status < 0 else TYKB_E_INTERNAL
    except BaseException:
        return TYKB_E_INTERNAL


cdef int malformed(CoProcessMessage *out, str what) except 1:
    set_words(out, f"the message is not a serialised coprocess.Object: {what}")
    return TYKB_E_MALFORMED


cdef str text_of(tykb_span text):
    return bytes_of(text).decode("utf-8", "backslashreplace")


cdef int dispatch(const void *data, size_t size, uint32_t flags, CoProcessMessage *out) noexcept:
    """struct tykb_table.dispatch: runs the hook that a message names."""
    cdef Frame frame
    cdef int status
    try:
        frame = <Frame>frames.pop() if frames else new_frame()
        status = start_frame(frame, data, size)
        try:
            status = run(frame, flags, out)
        finally:
            end_frame(frame)
        return status
    except BaseException as error:
        return explain(error, out)


cdef int run(Frame frame, uint32_t flags, CoProcessMessage *out) except 1:
    cdef tykb_span bundle
    cdef tykb_value name
    cdef PyObject *found
    cdef Handler handler
    cdef void *reply
    cdef size_t size
    cdef int status = tykb_node_find(frame.root, OBJECT_SPEC, span_of("bundle_hash", 11), &bundle)
    if status == TYKB_E_NOT_FOUND:
        bundle = span_of(NULL, 0)
        status = TYKB_OK
    if status == TYKB_OK:
        status = tykb_node_get(frame.root, OBJECT_HOOK_NAME, &name)
    if status == TYKB_E_MALFORMED:
        return malformed(out, "its fields cannot be read")
    if status != TYKB_OK:
        failed(status, "Object")
    found = find(bundle, name.text)
    if found == NULL:
        handler = find_otherwise(bundle, name.text)
    else:
        handler = <Handler>found
    handler.generation.users += 1
    try:
        status = call(frame, handler, out)
    finally:
        handler.generation.users -= 1
        if handler.generation.retired and handler.generation.users == 0:
            handler.generation.drained()
    if status != TYKB_OK:
        return status
    if tykb_node_changed(frame.root):
        settle(frame)
    status = tykb_node_write(frame.root, flags, tykb_reply_alloc, &reply, &size)
    if status == TYKB_E_TOO_LARGE:
        set_words(out, f'hook "{handler.name}" of bundle "{handler.bundle}": its reply has more than 2 GiB')
        return status
    if status != TYKB_OK:
        failed(status, "the reply")
    out.p_data = reply
    out.length = <int>size
    return TYKB_OK


cdef Handler find_otherwise(tykb_span bundle, tykb_span name):
    """For a message without bundle_hash, the one hook of that name; otherwise raises what is missing."""
    from tykbridge import runtime

    if bundle.data == NULL:
        handler = by_name.get(bytes_of(name))
        if handler is not None:
            return <Handler>handler
    raise runtime.missing(text_of(bundle) if bundle.data != NULL else None, text_of(name))


cdef int settle(Frame frame) except -1:
    cdef int status = TYKB_OK
    if frame.request.message.node != NULL:
        status = tykb_node_settle_body(frame.request.message.node)
    if status == TYKB_OK and frame.response.node != NULL:
        status = tykb_node_settle_body(frame.response.node)
    if status != TYKB_OK:
        failed(status, "the body")
    return 0


cdef int call(Frame frame, Handler handler, CoProcessMessage *out) except 1:
    """Calls the hook and takes over what it returned."""
    cdef PyObject *arguments[5]
    cdef object result
    cdef int arity = handler.arity
    arguments[0] = <PyObject *>frame.request
    arguments[1] = <PyObject *>frame.session
    try:
        if arity == 3:
            arguments[2] = <PyObject *>frame.spec
        elif arity == 4:
            frame.session_metadata = read_field(frame.session, SESSION_METADATA)
            arguments[2] = <PyObject *>frame.session_metadata
            arguments[3] = <PyObject *>frame.spec
        else:
            arguments[1] = <PyObject *>frame.response
            arguments[2] = <PyObject *>frame.session
            arguments[3] = <PyObject *>frame.metadata
            arguments[4] = <PyObject *>frame.spec
        result = PyObject_Vectorcall(handler.function, arguments, <size_t>arity, NULL)
        if (arity == 3 and PyTuple_CheckExact(result) and PyTuple_GET_SIZE(result) == 2
                and PyTuple_GET_ITEM(result, 0) == arguments[0] and PyTuple_GET_ITEM(result, 1) == arguments[1]):
            return TYKB_OK
        if take_result(frame, arity, result):
            return TYKB_OK
    except BaseException as error:
        from tykbridge import runtime

        words = runtime.hook_failed(handler.bundle, handler.name, handler.function, error)
        # The traceback's frames hold the views: let them go before the frame is looked at.
        error.__traceback__ = None
        set_words(out, words)
        return TYKB_E_HOOK
    from tykbridge import runtime

    raise runtime.bad_return(handler.bundle, handler.name, handler.function, arity, result)


cdef bint take_result(Frame frame, int arity, object result) except -1:
    """Takes over what a hook returned; False where no hook may return that."""
    cdef Message session
    if arity == 5:
        return take_response(frame, result)
    if not isinstance(result, (tuple, list)) or len(result) != arity - 1:
        return False
    if not is_message(result[0], REQUEST) and not isinstance(result[0], Request):
        return False
    if not is_message(result[1], SESSION):
        return False
    if arity == 4 and not (isinstance(result[2], Map) and (<Map>result[2]).field.child is None) \
            and not isinstance(result[2], Mapping):
        return False
    request = (<Request>result[0]).message if isinstance(result[0], Request) else result[0]
    take_message(frame.request.message, request)
    take_message(frame.session, result[1])
    if arity == 4:
        merge_metadata(frame, result[2])
    return True


cdef int merge_metadata(Frame frame, object metadata) except -1:
    cdef Map mine = read_field(frame.session, SESSION_METADATA)
    if metadata is mine:
        return 0
    for key, value in list(metadata.items()):
        if not isinstance(value, str) or not isinstance(key, str):
            raise TypeError(
                f"metadata[{key!r}] is {type(value).__name__}: keys and values of metadata must be str"
            )
        mine[key] = value
    return 0


cdef bint take_response(Frame frame, object result) except -1:
    if result is None:
        return True
    if is_message(result, RESPONSE):
        take_message(frame.response, result)
        return True
    if isinstance(result, (tuple, list)):
        responses = [item for item in result if is_message(item, RESPONSE)]
        if len(responses) == 1:
            take_message(frame.response, responses[0])
            return True
    return False


cdef bint is_message(object value, TypeInfo info):
    if isinstance(value, Message):
        return (<Message>value).info is info
    return getattr(getattr(value, "DESCRIPTOR", None), "full_name", "") == f"coprocess.{info.name}"


cdef int take_message(Message place, object value) except -1:
    """A message that the hook returned in place of the one it got."""
    cdef bytes data
    cdef int status
    if value is place or (isinstance(value, Message) and (<Message>value).node == place.node
                          and (<Message>value).context is place.context and place.node != NULL):
        return 0
    data = serialised(value, place.info, "CopyFrom")
    status = tykb_node_replace(place.parent, place.field, span_of(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)))
    if status != TYKB_OK:
        failed(status, place.info.name)
    if place.node != NULL:
        tykb_node_view(place.node)[0] = NULL
        place.node = NULL
    place.get_node()
    return 0


# ---- The table for the library, and what plugins call -----------------------------------------------------------------

cdef int cold(str name, tuple arguments, CoProcessMessage *out) noexcept:
    """Calls a function of tykbridge.runtime for the library."""
    try:
        from tykbridge import runtime

        getattr(runtime, name)(*arguments)
        return TYKB_OK
    except BaseException as error:
        return explain(error, out)


cdef int cold_text(str name, const char *text, CoProcessMessage *out) noexcept:
    try:
        decoded = (<bytes>text).decode("utf-8", "surrogateescape")
    except BaseException as error:
        return explain(error, out)
    return cold(name, (decoded,), out)


cdef int c_new_dispatcher(const char *root, CoProcessMessage *out) noexcept:
    return cold_text("new_dispatcher", root, out)


cdef int c_reload(CoProcessMessage *out) noexcept:
    return cold("reload", (), out)


cdef int c_load_bundle(const char *path, const char *name, CoProcessMessage *out) noexcept:
    try:
        arguments = ((<bytes>path).decode("utf-8", "surrogateescape"), (<bytes>name).decode())
    except BaseException as error:
        return explain(error, out)
    return cold("load_bundle", arguments, out)


cdef int c_dispatch_event(const char *json, CoProcessMessage *out) noexcept:
    return cold_text("dispatch_event", json, out)


cdef int c_set_env(const char *path, CoProcessMessage *out) noexcept:
    return cold_text("set_env", path, out)


cdef int c_store_data(const char *key, const char *value, int ttl) noexcept:
    try:
        arguments = ((<bytes>key).decode("utf-8", "surrogateescape"), <bytes>value, ttl)
    except BaseException as error:
        return explain(error, NULL)
    return cold("store_data", arguments, NULL)


cdef char *c_get_data(const char *key) noexcept:
    cdef bytes value = b""
    cdef char *copy
    try:
        from tykbridge import runtime

        value = runtime.get_data((<bytes>key).decode("utf-8", "surrogateescape"))
    except BaseException as error:
        log(f"get_data: {error}", "error")
    copy = <char *>tykb_reply_alloc(<size_t>len(value) + 1)
    if copy != NULL:
        memcpy(copy, PyBytes_AS_STRING(value), <size_t>len(value) + 1)
    return copy


cdef int c_set_host(const tykb_host *host) noexcept:
    return tykb_set_host(host)


cdef enum:
    LIBRARIES = 16

cdef shutdown_function libraries[LIBRARIES]
cdef int library_count = 0


cdef int c_add_library(shutdown_function shutdown) noexcept:
    global library_count
    for i in range(library_count):
        if libraries[i] == shutdown:
            return TYKB_OK
    if library_count == LIBRARIES:
        return TYKB_E_ARGUMENT
    libraries[library_count] = shutdown
    library_count += 1
    return TYKB_OK


def _shut_down():
    """At the interpreter's exit: no library may start another call, and those in flight come back."""
    cdef shutdown_function shutdown
    with nogil:
        tykb_shutdown()
    for i in range(library_count):
        shutdown = libraries[i]
        with nogil:
            shutdown()


cdef bytes c_text(str text, str what):
    if "\0" in text:
        raise ValueError(f"{what} must not contain a NUL: it crosses C as a string")
    return text.encode("utf-8", "surrogateescape")


def log(str message not None, str level not None):
    """Writes a log line through the host. level: debug, info, warning or error."""
    cdef bytes words = message.replace("\0", "\\0").encode("utf-8", "backslashreplace")
    cdef bytes kind = level.replace("\0", "").encode("utf-8", "backslashreplace")
    cdef char *c_words = words
    cdef char *c_kind = kind
    with nogil:
        CoProcessLog(c_words, c_kind)


def store_data(str key not None, value, int ttl):
    """Stores a str, or bytes without a NUL, under a key for `ttl` seconds (0 or less: for good), through the host."""
    cdef bytes name = c_text(key, "the key")
    cdef bytes text
    if isinstance(value, str):
        text = c_text(value, "the value")
    elif isinstance(value, bytes):
        text = value
        if b"\0" in text:
            raise ValueError("the value must not contain a NUL: it crosses C as a string")
    else:
        raise TypeError(f"the value must be str or bytes, not {type(value).__name__}")
    cdef char *c_name = name
    cdef char *c_value = text
    with nogil:
        TykStoreData(c_name, c_value, ttl)


def get_data(str key not None):
    """The bytes under a key, b"" when it is missing, through the host."""
    cdef bytes name = c_text(key, "the key")
    cdef char *c_name = name
    cdef char *value
    with nogil:
        value = TykGetData(c_name)
    if value == NULL:
        return b""
    try:
        return <bytes>value
    finally:
        free(value)


def trigger_event(str name not None, str payload not None):
    """Fires an event through the host."""
    cdef bytes event = c_text(name, "the event's name")
    cdef bytes text = c_text(payload, "the payload")
    cdef char *c_event = event
    cdef char *c_payload = text
    with nogil:
        TykTriggerEvent(c_event, c_payload)


cdef bytes version = __version__.encode()
cdef tykb_table exported
memset(&exported, 0, sizeof(exported))
exported.abi = TYKB_TABLE_ABI
exported.size = sizeof(exported)
exported.version = version
exported.dispatch = dispatch
exported.new_dispatcher = c_new_dispatcher
exported.reload = c_reload
exported.load_bundle = c_load_bundle
exported.dispatch_event = c_dispatch_event
exported.set_env = c_set_env
exported.store_data = c_store_data
exported.get_data = c_get_data
exported.set_host = c_set_host
exported.add_library = c_add_library
_table = PyCapsule_New(&exported, TYKB_TABLE_CAPSULE, NULL)


def _register():
    import atexit

    cdef CoProcessMessage words
    memset(&words, 0, sizeof(words))
    if tykb_register(&exported, &words) != TYKB_OK:
        text = PyBytes_FromStringAndSize(<char *>words.p_data, words.length).decode() if words.p_data else ""
        free(words.p_data)
        raise ImportError(f"libtykbridge and the tykbridge package do not fit: {text}")
    atexit.register(_shut_down)


_register()
