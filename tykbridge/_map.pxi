# Views of maps.

@cython.final
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
    cdef MapIterator iterator
    if view is None:
        raise TypeError("a view of a map's items needs a map")
    iterator = MapIterator.__new__(MapIterator)
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


class EntryClass:
    """google.protobuf's class of a message map's entries, which refuses a view as the value; this takes one."""

    def __init__(self, kind):
        self._kind = kind

    def __call__(self, **fields):
        if isinstance(fields.get("value"), Message):
            fields["value"] = pb_class((<Message>fields["value"]).info).FromString(fields["value"].SerializeToString())
        return self._kind(**fields)

    def __getattr__(self, name):
        if name == "_kind":
            raise AttributeError(name)  # a copy in the making has none yet
        return getattr(self._kind, name)


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
        kind = getattr(pb_class(self.field.owner), name)
        return kind if self.field.child is None else EntryClass(kind)

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
