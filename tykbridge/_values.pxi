# Message types, their fields, and scalars on their way between the tree and Python.

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


cdef inline bint is_ascii(tykb_span text) noexcept:
    cdef uint64_t all = 0
    cdef size_t at = 0
    if text.size >= 8:
        while at + 8 < text.size:
            all |= tykb_wire_load64(text.data + at)
            at += 8
        all |= tykb_wire_load64(text.data + text.size - 8)
    else:
        while at < text.size:
            all |= text.data[at]
            at += 1
    return all & <uint64_t>0x8080808080808080 == 0


cdef inline object text_to_python(tykb_span text, const tykb_field *row):
    """A str. Nearly all texts of a message are short and ASCII: those are made without a decoder."""
    cdef object made
    if is_ascii(text):
        made = PyUnicode_New(<Py_ssize_t>text.size, 127)
        if text.size:
            memcpy(PyUnicode_DATA(made), text.data, text.size)
        return made
    return decode(text, row)


cdef object decode(tykb_span text, const tykb_field *row):
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


cdef inline int text_from_python(object value, tykb_span *text) except -1:
    """str, or bytes that are UTF-8, as protobuf accepts. Borrows from the object."""
    if is_plain(value):
        text[0] = span_of(<const char *>PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value))
        return 0
    return text_from_other(value, text)


cdef int text_from_other(object value, tykb_span *text) except -1:
    cdef Py_ssize_t size
    cdef char *data
    if PyUnicode_Check(value):
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


cdef int64_t enum_number(object label) except? -1:
    from tykbridge.compat import pb2

    label.encode()  # UnicodeEncodeError for what upb's look-up would make a SystemError of
    known = pb2.message_class("Object").DESCRIPTOR.fields_by_name["hook_type"].enum_type.values_by_name
    if label not in known:
        raise ValueError(f'unknown enum label "{label}"')
    return known[label].number
