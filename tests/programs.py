"""Random programs of reads and writes that run on a view and on google.protobuf's message side by side."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from tests import oracle
from tests.oracle import PB

# ---- Arguments: what stands for a value until the target is known ----


@dataclass(frozen=True)
class Fit:
    """A value for whatever kind of field it meets."""

    text: str
    data: bytes
    number: int
    real: float

    def value(self, kind: int) -> Any:
        if kind == FieldDescriptor.TYPE_STRING:
            return self.text
        if kind == FieldDescriptor.TYPE_BYTES:
            return self.data
        if kind == FieldDescriptor.TYPE_DOUBLE:
            return self.real
        if kind == FieldDescriptor.TYPE_BOOL:
            return bool(self.number & 1)
        if kind == FieldDescriptor.TYPE_INT64:
            return self.number << 20
        return self.number


@dataclass(frozen=True)
class Field:
    """One of the target's fields, whatever the target is."""

    at: int

    def name(self, descriptor: Descriptor) -> str:
        return str(descriptor.fields[self.at % len(descriptor.fields)].name)


@dataclass(frozen=True)
class Many:
    """A list of values."""

    items: tuple[Any, ...]


@dataclass(frozen=True)
class Pairs:
    """A dict."""

    items: tuple[tuple[Any, Any], ...]


@dataclass(frozen=True)
class Other:
    """A message of the target's type (or of its elements' type): one met earlier, or a new one."""

    at: int
    fit: Fit
    wrong: bool = False  # one of another type


@dataclass(frozen=True)
class Container:
    """A map or list met earlier, of the same class as the target."""

    at: int


class Index:
    """Neither an int nor a float, but usable as one."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"Index({self.value})"


fits = st.builds(Fit, oracle.texts, oracle.blobs, oracle.int32s, oracle.doubles)
junk = st.sampled_from(
    [None, 1, -1, 2.5, 2.0, "s", "Pre", b"b", b"\xff", True, bytearray(b"x"), Index(7), Index(2**40), (), "\ud800",
     2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 2**64, 10**400, float("nan"), 1e400, object()]
)  # fmt: skip
values = st.one_of(fits, fits, fits, junk)
keys = st.one_of(oracle.keys, oracle.keys, oracle.keys, junk.filter(lambda value: not isinstance(value, bytearray)))
fields = st.builds(Field, st.integers(0, 33))
names = st.one_of(fields, fields, fields, fields, st.sampled_from(["nope", "", 1, None]))
others = st.builds(Other, st.integers(0, 7), fits, st.sampled_from([False] * 9 + [True]))
# google.protobuf leaves an empty message in a list that refused one of another type: none of those there.
siblings = st.builds(Other, st.integers(0, 7), fits)
indices = st.one_of(st.integers(-3, 3), st.sampled_from([7, -8, None, "a", 1.0, True, Index(1)]))
bounds = st.one_of(st.none(), st.integers(-4, 4))
slices = st.builds(slice, bounds, bounds, st.sampled_from([None, None, None, 1, 2, -1, -2]))
many = st.lists(values, max_size=3).map(tuple).map(Many)
# google.protobuf leaves defaults in a list where a slice's new values were refused half-way: none of those there.
good = st.lists(fits, max_size=3).map(tuple).map(Many)

# ---- What can be done to a target ----

Operation = Callable[..., Any]


def _set(message: Any, name: Any, value: Any) -> None:
    setattr(message, name, value)


def _list_fields(message: Any) -> list[Any]:
    return [(found.name, found.number, value) for found, value in message.ListFields()]


def _texts(message: Any) -> list[Message]:
    """What the text forms say (the order of a map's entries is nobody's business)."""
    cls = PB[message.DESCRIPTOR.name]
    return [
        text_format.Parse(text, cls()) for text in (str(message), repr(message), text_format.MessageToString(message))
    ]


def _json(message: Any) -> list[Any]:
    plain = json_format.MessageToDict(message)
    every = json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        use_integers_for_enums=True,
    )
    return [plain, every]


def _pop(target: Any, *at: Any) -> Any:
    # Past the end google.protobuf warns and gives the last one; here that is an IndexError, as a list's.
    size = len(target)
    if at and size and hasattr(at[0], "__index__") and not -size <= at[0].__index__() < size:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return target.pop(*at)


def _grow_while_iterating(target: Any) -> int:
    seen = 0
    for _ in target:
        seen += 1
        target["grown"]
    return seen


def _rewrite_while_iterating(target: Any, value: Any) -> None:
    for key in target:
        target[key] = value
    for key in list(target):  # google.protobuf's walk may have passed over some
        target[key] = value


def _extend(target: Any, values: Any) -> Any:
    # One value here, several for google.protobuf: an exception of the contract (section 13), with a test of its own.
    return target.extend([values] if isinstance(values, str) else values)


def _assign_slice(target: Any, at: slice, values: Any) -> None:
    target[at] = [values] if isinstance(values, str) else values


def _assign(target: Any, at: Any, value: Any) -> None:
    target[at] = value


def _assign_message(target: Any, at: int, value: Any) -> None:
    if target:  # an index past the end is refused as such, or as any index: either will do
        target[at % len(target)] = value


def _add(target: Any, name: str, value: Any) -> Any:
    # As _extend: a bare str is one value here.
    return target.add(**{name: [value] if isinstance(value, str) and name in ("values", "methods") else value})


def _delete(target: Any, at: Any) -> None:
    del target[at]


def _delete_at(target: Any, at: Any) -> None:
    # google.protobuf reads memory that is not its own when such a slice is empty and its step is not 1.
    if not isinstance(at, slice) or range(len(target))[at]:
        del target[at]


def _sort_key(element: Any) -> Any:
    if isinstance(element, str | float):
        return str(element)[::-1]
    name = element.DESCRIPTOR.fields[0].name
    return getattr(element, name)


def _copies(target: Any, one: Any) -> Any:
    """The copy is apart from what it was taken of."""
    target.append(one)
    return target[len(target) - 1] is one


MESSAGE: dict[str, tuple[Operation, tuple[Any, ...]]] = {
    "get": (getattr, (names,)),
    "set": (_set, (names, values)),
    "set again": (_set, (fields, fits)),
    "has": (lambda m, name: m.HasField(name), (names,)),
    "clear field": (lambda m, name: m.ClearField(name), (names,)),
    "clear": (lambda m: m.Clear(), ()),
    "list": (_list_fields, ()),
    "copy from": (lambda m, other: m.CopyFrom(other), (others,)),
    "merge from": (lambda m, other: m.MergeFrom(other), (others,)),
    "merge self": (lambda m: m.MergeFrom(m), ()),
    "copy self": (lambda m: m.CopyFrom(m), ()),
    "present": (lambda m: m.SetInParent(), ()),
    "round trip": (lambda m: m.ParseFromString(m.SerializeToString()) >= 0, ()),
    "reparse": (lambda m: m.MergeFromString(m.SerializeToString(deterministic=True)) >= 0, ()),
    "size": (lambda m: m.ByteSize() == len(m.SerializeToString()), ()),
    "copy": (copy.copy, ()),
    "deep copy": (copy.deepcopy, ()),
    "equal": (lambda m, other: (m == other, m != other), (others,)),
    "equal none": (lambda m: (m == None, m == {}, m == m, bool(m)), ()),  # noqa: E711
    "text": (_texts, ()),
    "json": (_json, ()),
    "discard": (lambda m: m.DiscardUnknownFields(), ()),
    "initialised": (lambda m: m.IsInitialized(), ()),
    "delete": (lambda m, name: delattr(m, name), (fields,)),
    "other": (lambda m, other: other, (others,)),
}

MAP: dict[str, tuple[Operation, tuple[Any, ...]]] = {
    "get item": (lambda m, key: m[key], (keys,)),
    "get": (lambda m, key: m.get(key), (keys,)),
    "get default": (lambda m, key: m.get(key, "none"), (keys,)),
    "in": (lambda m, key: key in m, (oracle.keys,)),
    "delete": (_delete, (keys,)),
    "pop": (lambda m, key: m.pop(key), (keys,)),
    "pop default": (lambda m, key: m.pop(key, "none"), (keys,)),
    "clear": (lambda m: m.clear(), ()),
    "len": (len, ()),
    "bool": (bool, ()),
    "keys": (lambda m: sorted(m.keys()), ()),
    "iterate": (sorted, ()),
    "items": (lambda m: [key for key, _ in sorted((key, str(type(value))) for key, value in m.items())], ()),
    "values": (lambda m: len(list(m.values())), ()),
    "dict": (dict, ()),
    "equal": (lambda m: (m == dict(m), m == {}, dict(m) == m, m != dict(m), m == 5), ()),
    "equal other": (lambda m, other: m == other, (st.builds(Container, st.integers(0, 5)),)),
    "merge": (lambda m, other: m.MergeFrom(other), (st.builds(Container, st.integers(0, 5)),)),
    "merge dict": (lambda m: m.MergeFrom({}), ()),
    "grow": (_grow_while_iterating, ()),
}

TEXT_MAP: dict[str, tuple[Operation, tuple[Any, ...]]] = MAP | {
    "set item": (_assign, (keys, values)),
    "set item again": (_assign, (oracle.keys, fits)),
    "set default": (lambda m, key, value: (m.setdefault(key, value), m[key])[1], (keys, values)),
    "update": (lambda m, more: m.update(more), (st.lists(st.tuples(oracle.keys, values), max_size=3).map(
        lambda pairs: Pairs(tuple(pairs))),)),
    "update keywords": (lambda m, value: m.update(a=value), (fits,)),
    "update other": (lambda m, other: m.update(other), (st.builds(Container, st.integers(0, 5)),)),
    "rewrite": (_rewrite_while_iterating, (fits,)),
}  # fmt: skip

MESSAGE_MAP: dict[str, tuple[Operation, tuple[Any, ...]]] = MAP | {
    "get or create": (lambda m, key: m.get_or_create(key), (keys,)),
    "set item": (_assign, (oracle.keys, others)),
    "set default": (lambda m, key, value: m.setdefault(key, value), (keys, others)),
    "write": (lambda m, key, fit: setattr(m[key], "api_id", fit), (oracle.keys, oracle.texts)),
    "add": (lambda m, key, fit: m[key].allowed_urls.add(url=fit), (oracle.keys, oracle.texts)),
    "identity": (lambda m, key: m[key] is m[key], (oracle.keys,)),
}

LIST: dict[str, tuple[Operation, tuple[Any, ...]]] = {
    "get item": (lambda c, at: c[at], (st.one_of(indices, slices),)),
    "delete": (_delete_at, (st.one_of(indices, slices),)),
    "pop": (_pop, ()),
    "pop at": (_pop, (indices,)),
    "len": (len, ()),
    "bool": (bool, ()),
    "list": (list, ()),
    "reversed": (lambda c: list(reversed(c)), ()),
    "reverse": (lambda c: c.reverse(), ()),
    "sort": (lambda c: c.sort(key=_sort_key), ()),
    "sort down": (lambda c: c.sort(key=_sort_key, reverse=True), ()),
    "sort plain": (lambda c: c.sort(), ()),
    "sort wrong": (lambda c: c.sort(_sort_key) if c else None, ()),
    "clear": (lambda c: c.clear(), ()),
    "equal": (lambda c: (c == list(c), c == tuple(c), c == [], c != list(c), c == 5), ()),
    "equal other": (lambda c, other: c == other, (st.builds(Container, st.integers(0, 5)),)),
    "plus": (lambda c: c.__add__([]), ()),
    "deep copy": (lambda c: copy.deepcopy(c) == c, ()),
    "hash": (hash, ()),
}

SCALAR_LIST: dict[str, tuple[Operation, tuple[Any, ...]]] = LIST | {
    "append": (lambda c, value: c.append(value), (values,)),
    "append again": (lambda c, value: c.append(value), (fits,)),
    "insert": (lambda c, at, value: c.insert(at, value), (indices, values)),
    "set item": (_assign, (indices, values)),
    "set slice": (_assign_slice, (slices, st.one_of(good, fits))),
    "extend": (_extend, (st.one_of(many, values),)),
    "extend self": (lambda c: c.extend(c), ()),
    "merge": (lambda c, values: c.MergeFrom(values), (many,)),
    "in": (lambda c, value: value in c, (values,)),
    "remove": (lambda c, value: c.remove(value), (values,)),
    "repr": (repr, ()),
}

MESSAGE_LIST: dict[str, tuple[Operation, tuple[Any, ...]]] = LIST | {
    "add": (lambda c: c.add(), ()),
    "add key": (_add, (fields, values)),
    "add wrong": (lambda c: c.add(nope=1), ()),
    "append": (_copies, (siblings,)),
    "insert": (lambda c, at, other: c.insert(at, other), (indices, siblings)),
    "set item": (_assign_message, (st.integers(0, 3), siblings)),
    "extend": (lambda c, items: c.extend(items), (st.lists(siblings, max_size=3).map(tuple).map(Many),)),
    "extend wrong": (lambda c, value: c.extend(value), (st.sampled_from([None, 5]),)),
    "in": (lambda c, other: other in c, (siblings,)),
    "remove": (lambda c, other: c.remove(other), (siblings,)),
    "write": (lambda c, at, text: setattr(c[at], c[at].DESCRIPTOR.fields[0].name, text), (indices, oracle.texts)),
    "identity": (lambda c: [one is c[at] for at, one in enumerate(c)], ()),
}

# The messages' operations that empty or replace a message.
REPLACES = ("clear", "copy from", "copy self", "round trip")

TABLES = {
    "message": MESSAGE,
    "text map": TEXT_MAP,
    "message map": MESSAGE_MAP,
    "scalar list": SCALAR_LIST,
    "message list": MESSAGE_LIST,
}


def kind_of(found: FieldDescriptor) -> str | None:
    """What a field's value is to a program; None for a plain scalar."""
    if oracle.is_map(found):
        return "message map" if oracle.value_field(found).message_type is not None else "text map"
    if found.is_repeated:
        return "message list" if found.message_type is not None else "scalar list"
    return "message" if found.message_type is not None else None


def _paths(descriptor: Descriptor, before: tuple[Any, ...] = ()) -> Iterator[tuple[str, tuple[Any, ...]]]:
    yield "message", before
    for found in descriptor.fields:
        kind, path = kind_of(found), (*before, found.name)
        if kind is None:
            continue
        if kind == "message":
            yield from _paths(found.message_type, path)
            continue
        yield kind, path
        for step in {"message map": ["a", "x"], "message list": [0, -1]}.get(kind, []):
            yield from _paths(oracle.value_field(found).message_type, (*path, step))


@dataclass(frozen=True)
class Step:
    """One operation. `path` leads from the root to the target; a number leads to one kept from an earlier step."""

    kind: str
    path: tuple[Any, ...] | int
    name: str
    arguments: tuple[Any, ...]


def steps(kind: str, paths: list[tuple[Any, ...]]) -> st.SearchStrategy[Step]:
    """Any operation on a target of the kind, at one of the paths or kept from an earlier step."""
    where = st.one_of(st.sampled_from(paths), st.integers(0, 9))
    return st.one_of(
        [
            st.builds(Step, st.just(kind), where, st.just(name), st.tuples(*arguments))
            for name, (_, arguments) in TABLES[kind].items()
        ]
    )


@functools.cache  # making a strategy costs more than drawing from it
def programs(name: str, kinds: tuple[str, ...] = tuple(TABLES), most: int = 16) -> st.SearchStrategy[list[Step]]:
    """Programs for a root of the type `name`."""
    by_kind: dict[str, list[tuple[Any, ...]]] = {}
    for kind, path in _paths(PB[name].DESCRIPTOR):
        by_kind.setdefault(kind, []).append(path)
    any_kind = [steps(kind, paths) for kind, paths in by_kind.items() if kind in kinds]
    return st.lists(st.one_of(any_kind), max_size=most)


# ---- Running them ----


@dataclass
class Pair:
    """The same thing on both sides."""

    mine: Any
    theirs: Any
    kind: str
    found: FieldDescriptor | None  # a map's or list's field
    owner: Pair | None  # a map's or list's message


class Differs(AssertionError):
    """The two sides did not do the same."""


@dataclass
class World:
    """A view, google.protobuf's message, and what a program has taken out of them."""

    make: Callable[[str, bytes], Any]
    root: Pair
    kept: dict[str, list[Pair]] = field(default_factory=dict)

    @classmethod
    def of(cls, make: Callable[[str, bytes], Any], name: str, data: bytes) -> World:
        return cls(make, Pair(make(name, data), PB[name].FromString(data), "message", None, None))

    def keep(self, pair: Pair) -> Pair:
        kept = self.kept.setdefault(pair.kind, [])
        if len(kept) < 24 and not any(pair.theirs is other.theirs for other in kept):
            kept.append(pair)
        return pair

    def run(self, program: list[Step]) -> None:
        for step in program:
            target = self._find(step)
            if target is not None:
                self._do(target, step)

    def _find(self, step: Step) -> Pair | None:
        if isinstance(step.path, int):
            kept = self.kept.get(step.kind)
            return kept[step.path % len(kept)] if kept else None
        pair = self.root
        for part in step.path:
            if isinstance(part, str) and pair.kind == "message":
                mine, theirs = getattr(pair.mine, part), getattr(pair.theirs, part)
                found = pair.theirs.DESCRIPTOR.fields_by_name[part]
                kind = kind_of(found) or ""
                pair = Pair(mine, theirs, kind, *((None, None) if kind == "message" else (found, pair)))
                continue
            sides = [_outcome(lambda c, at: c[at], side, (part,)) for side in (pair.mine, pair.theirs)]
            self._same(sides[0], sides[1], step)
            if isinstance(sides[1], BaseException):
                return None
            pair = Pair(sides[0], sides[1], "message", None, None)
        return self.keep(pair)

    def _do(self, target: Pair, step: Step) -> None:
        operation, _ = TABLES[step.kind][step.name]
        mine = _outcome(operation, target.mine, self._arguments(target, step, mine=True))
        theirs = _outcome(operation, target.theirs, self._arguments(target, step, mine=False))
        self._same(mine, theirs, step)
        self._keep_result(target, step, mine, theirs)
        if step.kind == "message" and step.name in REPLACES:
            self._forget_empty()
        if step.name == "discard":
            # Here it replaces a message that has unknown fields; there it makes an absent one present.
            self.kept.clear()
            target.mine.SetInParent()
            target.theirs.SetInParent()
        if isinstance(theirs, BaseException):
            # google.protobuf makes a message present before it finds out that a value is wrong; nobody relies on it.
            owner = target.owner or target
            if owner is not self.root:
                owner.mine.SetInParent()
                owner.theirs.SetInParent()

    def _forget_empty(self) -> None:
        """What holds nothing when its message is emptied or replaced may or may not belong to it afterwards.

        google.protobuf says so for maps and no for messages, yes after CopyFrom and no after Clear.
        """
        for kind, kept in self.kept.items():
            self.kept[kind] = [
                pair for pair in kept if (pair.theirs.ByteSize() if kind == "message" else len(pair.theirs))
            ]

    def _keep_result(self, target: Pair, step: Step, mine: Any, theirs: Any) -> None:
        if step.name == "text":
            return  # google.protobuf's messages on both sides
        if isinstance(theirs, Message):
            self.keep(Pair(mine, theirs, "message", None, None))
        elif isinstance(theirs, list):
            for one, other in zip(mine, theirs, strict=True):
                self._keep_result(target, step, one, other)
        elif step.kind == "message" and step.name == "get" and not isinstance(theirs, BaseException):
            name = step.arguments[0].name(target.theirs.DESCRIPTOR) if isinstance(step.arguments[0], Field) else None
            found = target.theirs.DESCRIPTOR.fields_by_name.get(name)
            if found is not None and kind_of(found) not in (None, "message"):
                self.keep(Pair(mine, theirs, kind_of(found) or "", found, target))

    def _arguments(self, target: Pair, step: Step, mine: bool) -> tuple[Any, ...]:
        found, out = target.found, []
        for argument in step.arguments:
            if isinstance(argument, Field):
                name = argument.name(self._descriptor(target))
                found = self._descriptor(target).fields_by_name[name]
                out.append(name)
            else:
                out.append(self._argument(argument, target, found, mine))
        return tuple(out)

    def _descriptor(self, target: Pair) -> Descriptor:
        return oracle.value_field(target.found).message_type if target.found else target.theirs.DESCRIPTOR

    def _argument(self, argument: Any, target: Pair, found: FieldDescriptor | None, mine: bool) -> Any:
        def side(pair: Pair) -> Any:
            return pair.mine if mine else pair.theirs

        match argument:
            case Fit():
                if found is None or kind_of(found) == "message":
                    return argument.text
                return argument.value(oracle.value_field(found).type)
            case Many(items):
                return [self._argument(item, target, found, mine) for item in items]
            case Pairs(items):
                return {key: self._argument(value, target, found, mine) for key, value in items}
            case Other(at, fit, wrong):
                descriptor = self._descriptor(target)
                same = [
                    pair
                    for pair in self.kept.get("message", [])
                    if (pair.theirs.DESCRIPTOR is descriptor) != wrong and pair.theirs is not target.theirs
                ]
                if at < len(same):
                    return side(same[at])
                name = ("StringSlice" if descriptor.name != "StringSlice" else "Monitor") if wrong else descriptor.name
                new = self.make(name, b"") if mine else PB[name]()
                for one in new.DESCRIPTOR.fields:
                    if kind_of(one) is None:
                        setattr(new, one.name, fit.value(one.type))
                        break
                return new
            case Container(at):
                same = [pair for pair in self.kept.get(target.kind, []) if pair.found.type == target.found.type]  # type: ignore[union-attr]
                # Not the target itself: merging one of its lists into itself never ends in google.protobuf.
                return side(same[at % len(same)]) if same else None
        return argument

    def _same(self, mine: Any, theirs: Any, step: Step) -> None:
        if not _equal(mine, theirs):
            raise Differs(f"{step}\n  view:            {_show(mine)}\n  google.protobuf: {_show(theirs)}")

    def check(self) -> None:
        """Holds all that either side has against the other: the root, and everything that was kept."""
        for pair in [self.root, *(pair for kept in self.kept.values() for pair in kept)]:
            if pair.kind == "message":
                theirs = oracle.content(pair.theirs)
                assert oracle.view_content(pair.mine, pair.theirs.DESCRIPTOR) == oracle.known(theirs)
                written = type(pair.theirs).FromString(pair.mine.SerializeToString())
                assert oracle.content(written) == theirs
            else:
                assert _equal(pair.mine, pair.theirs)


def _outcome(operation: Operation, target: Any, arguments: tuple[Any, ...]) -> Any:
    try:
        return operation(target, *arguments)
    except Exception as error:
        return error


def _show(value: Any) -> str:
    return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else repr(value)


def _equal(mine: Any, theirs: Any) -> bool:
    if isinstance(theirs, BaseException):
        return type(mine) is type(theirs)
    if isinstance(theirs, Message):
        if isinstance(mine, BaseException) or mine.DESCRIPTOR.full_name != theirs.DESCRIPTOR.full_name:
            return False
        return oracle.content(type(theirs).FromString(mine.SerializeToString())) == oracle.content(theirs)
    if isinstance(theirs, list | tuple) and type(mine) is type(theirs):
        return len(mine) == len(theirs) and all(map(_equal, mine, theirs))
    if isinstance(theirs, dict) and type(mine) is dict:
        return mine.keys() == theirs.keys() and all(_equal(mine[key], theirs[key]) for key in theirs)
    if hasattr(theirs, "keys"):
        return hasattr(mine, "keys") and _equal(dict(mine), dict(theirs))
    if hasattr(theirs, "append"):
        return hasattr(mine, "append") and _equal(list(mine), list(theirs))
    return oracle.scalar(mine) == oracle.scalar(theirs)
