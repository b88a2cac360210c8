"""The views' behaviour, word by word: what google.protobuf's messages do, and the few things done better on purpose."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Mapping, MutableMapping, MutableSequence
from typing import Any

import pytest
from google.protobuf import json_format, text_format
from google.protobuf.message import DecodeError

from tests.oracle import NAMES, PB
from tykbridge import _bridge
from tykbridge.compat import pb2


class Index:
    def __index__(self) -> int:
        return 7


class Real:
    def __float__(self) -> float:
        return 2.5


class Text(str):
    __slots__ = ()


def view(name: str) -> Any:
    return _bridge.message(name)


def filled(make: Any) -> Any:
    """An Object with something in every kind of field."""
    made = make("Object")
    made.hook_type, made.hook_name = 4, "MyAuth"
    made.request.headers["Host"], made.request.raw_body = "example.org", b"\xff\x00"
    made.request.return_overrides.response_code = -1
    made.metadata["token"] = "t"
    made.session.rate, made.session.expires, made.session.hmac_enabled = 1.5, -1, True
    made.session.tags.extend(["a", "é"])
    made.session.monitor.trigger_limits.append(0.5)
    made.session.access_rights["api"].allowed_urls.add(url="/", methods=["GET"])
    made.response.multivalue_headers.add(key="Set-Cookie", values=["a=1", "b=2"])
    return made


def both(expression: str, words: bool) -> None:
    """Runs an expression on both sides: same result, or same exception and, where asked for, same words."""
    results = []
    for make in (view, lambda name: PB[name]()):
        o = filled(make)
        names = {"o": o, "q": o.request, "s": o.session, "r": o.response, "ov": o.request.return_overrides,
                 "m": o.metadata, "mm": o.session.access_rights, "l": o.session.tags, "copy": copy,
                 "d": o.session.monitor.trigger_limits, "c": o.response.multivalue_headers, "make": make,
                 "Index": Index, "Real": Real, "Text": Text}  # fmt: skip
        try:
            *statements, last = expression.split(";")
            for statement in statements:
                exec(statement.strip(), names)
            result = eval(last.strip(), names)
            results.append((type(result).__name__, result))
        except Exception as error:
            results.append((type(error).__name__, str(error) if words else ""))
    mine, theirs = results
    if words and mine[0] == theirs[0] and isinstance(theirs[1], str) and theirs[1]:
        # Ours may say more.
        mine = (mine[0], mine[1][: len(theirs[1])])
    assert mine == theirs


def assignments() -> list[str]:
    values = ["None", "1", "-1", "2.5", "2.0", "'s'", "'Pre'", "b'b'", r"b'\xff'", "True", "bytearray(b'x')", "()",
              "memoryview(b'x')", "Index()", "Real()", "[]", "{}", "Text('x')", r"'\ud800'", r"'\x00'", "2**31",
              "-2**31-1", "2**63", "-2**63-1", "2**64", "10**400", "float('inf')", "object()"]  # fmt: skip
    fields = [
        "o.hook_name",
        "q.raw_body",
        "ov.response_code",
        "s.expires",
        "s.rate",
        "ov.override_error",
        "o.hook_type",
    ]
    return [f"{field} = {value}; {field}" for field in fields for value in values]


@pytest.mark.parametrize("expression", assignments())
def test_assignment_takes_and_refuses_what_the_oracle_does(expression: str) -> None:
    both(expression, words=False)


# The same words too.
WORDS = """
o.request = None; 0
o.request = o.request; 0
o.metadata = {}; 0
s.tags = ['a']; 0
s.access_rights = s.access_rights; 0
r.multivalue_headers = []; 0
del o.request; 0
del o.nope; 0
o.nope
o.nope = 1; 0
o._x = 1; 0
getattr(o, 'nope', 5)
hasattr(o, 'request'), hasattr(o, 'nope')
o.HOOK_NAME_FIELD_NUMBER
ov.response_code = True; 0
ov.response_code = 2**31; 0
ov.response_code = 1.0; 0
o.hook_type = 'Nope'; 0
o.hook_type = 'Post'; o.hook_type
o.hook_type = 99; o.hook_type
s.rate = '5'; 0
q.raw_body = 'text'; 0
q.raw_body = None; 0
ov.override_error = 2.5; 0
o.hook_name = b'bytes'; o.hook_name
o.HasField('hook_name')
o.HasField('metadata')
s.HasField('tags')
o.HasField('nope')
o.HasField(1)
o.HasField(b'request')
'request' in o
'nope' in o
o.ClearField('nope')
o.ClearField(1)
o.WhichOneof('x')
o.SetInParent()
o.IsInitialized(), o.FindInitializationErrors()
o.UnknownFields()
o.ParseFromString('text')
o.ParseFromString(None)
o.ParseFromString(b'')
o.MergeFromString(b'\\x12\\x01a'), o.hook_name
o.MergeFromString(bytearray(b'\\x12\\x01a')), o.hook_name
o.FromString(b'\\x12\\x01a').hook_name
make('Object') == make('Object'), make('Object') != make('Object'), make('Object') == None
make('Object') == make('SessionState')
bool(make('Object'))
[(f.name, f.number) for f, _ in o.ListFields()]
o.ListFields()[0][1]
make('Object').ListFields()
m['missing'], len(m)
m.get('missing'), m.get('missing', 'd'), m.get('token'), m.get(key='token', default='x'), len(m)
m.get(1)
m[1]
m[None]
1 in m
m[b'token']
m[b'\\xff']
m['k'] = 1; 0
m['k'] = None; 0
m['k'] = b'v'; m['k']
m['k'] = b'\\xff'; 0
m[Text('k')] = Text('v'); type(m['k']).__name__
del m['zz']; 0
del m[1]; 0
m.pop('token'), len(m)
m.pop('zz'), m.pop('zz', 'default'), len(m)
m.pop(1, None)
m.popitem(), len(m)
m.setdefault('token', 'q')
m.setdefault('zz', 'q'), m['zz']
m.setdefault('zz')
m.setdefault('token')
m.update({'a': '1'}, b='2'); dict(m)
m.update([('a', '1')]); dict(m)
m.update(None)
m.update({'a': '1', 'z': 5})
m.MergeFrom({'a': '1'})
m.MergeFrom(o.spec); dict(m)
m == {'token': 't'}, {'token': 't'} == m, m == dict(m), m == 5, m == None, m != {}
repr(m), str(m)
sorted(m.keys()), list(m.values()), list(m.items())
repr(m.keys())
m.keys() & {'token'}, ('token', 't') in m.items(), 't' in m.values()
{**m}, dict(m), list(m), len(m), bool(m), bool(o.spec)
isinstance(hash(m), int)
[m.__setitem__('n' + k, '1') for k in m]
[m.__delitem__(k) for k in m]
[m['u' + k] for k in m]
[m.__setitem__(k, '1') for k in m]
mm['n'] = 5; 0
mm['api'] = mm['api']; 0
mm.update({'n': 5})
mm.update({})
mm.setdefault('n')
mm['n'].api_id, len(mm)
mm.get_or_create('new').api_id, len(mm)
mm.get('n'), len(mm)
mm['api'] is mm['api'], mm.get('api') is mm['api'], list(mm.values())[0] is mm['api']
mm.MergeFrom({})
mm.pop('api').allowed_urls[0].url, len(mm)
a = mm['api']; del mm['api']; a.allowed_urls[0].url, len(mm)
a = mm['api']; mm.clear(); a.api_id = 'x'; a.api_id, len(mm)
mm == mm, mm == {}, mm == {'api': mm['api']}
[mm['y' + k] for k in mm]
l[0], l[-1], l[Index.__index__(0) - 7]
l[2]
l[-3]
l['a']
l[None]
l[1.0]
l[:], l[::-1], l[5:], l[True]
l[::0]
l[0] = 1; 0
l[9] = 'z'; 0
l['a'] = 'z'; 0
l[0:1] = ['p', 'q']; list(l)
l[::2] = ['p']; list(l)
l[0:1] = 5; 0
l[0:1] = [1]; 0
l[2:1] = ['w']; list(l)
l[1:] = l; list(l)
del l[0]; list(l)
del l[9]; 0
del l[::-2]; list(l)
l.append(1)
l.append(b'z'); list(l)
l.append('\\ud800')
l.insert(0, 'z'); l.insert(99, 'y'); l.insert(-99, 'x'); list(l)
l.extend(None)
l.extend(5)
l.extend(0)
l.extend(b'ab')
l.extend({'k': 'v'}); list(l)
l.extend(x for x in 'gh'); list(l)
l.extend(l); list(l)
l.MergeFrom(['z']); list(l)
l.pop(), list(l)
l.pop(0), list(l)
l.remove('é'); list(l)
l.remove('zz')
l.remove(None)
l.sort(reverse=True); list(l)
l.sort(key=lambda x: -ord(x)); list(l)
l.sort(lambda x: x)
l.reverse(); list(l)
l.clear(); list(l)
l == ['a', 'é'], ['a', 'é'] == l, l == ('a', 'é'), l == 5, l != []
'a' in l, 5 in l, None in l, b'a' in l
repr(l), ','.join(l), sorted(l), list(reversed(l)), len(l), bool(l)
copy.deepcopy(l) == l, copy.deepcopy(l) is l
a = copy.deepcopy(l); a.append('x'); len(a), len(l)
o.ClearField('session'); list(l)
s.ClearField('tags'); l.append('q'); list(l), list(s.tags)
d.append('a')
d.append(True); d.append(Real()); d.append(Index()); list(d)
d.extend(b'12'); list(d)
d.append(10**400)
d.append(float('nan')); d == d
repr(d)
c[5]
c['a']
c.add(nope=1)
c.add(key=1)
c.add(5)
c.add(key=None).key, len(c)
c.add(key='z') is c[-1], c[0] is c[0]
c.append(None)
c.extend([]); len(c)
c.remove(5)
c.sort()
c.add(key='a'); c.sort(key=lambda h: h.key, reverse=True); [h.key for h in c]
c.add(key='a'); a = c[1]; c.reverse(); c[0] is a
c.add(key='a'); a = c[1]; del c[0]; c[0] is a
a = c[0]; del c[0]; a.key = 'Q'; a.key, len(c)
a = c[0]; c.append(a); a.key = 'Q'; c[1].key
c.pop().key, len(c)
c == list(c), c == tuple(c), c == [], c != []
len(c[0:1]), type(c[0:1]).__name__
a = o.request; o.ClearField('request'); a.headers['Host'], o.HasField('request'), o.request is a
a = o.request; o.Clear(); a.headers['Host'], len(o.request.headers)
a = o.request; o.CopyFrom(make('Object')); a.headers['Host'], len(o.request.headers)
o.CopyFrom(o); o.hook_name
o.MergeFrom(o); list(l)
copy.copy(o) == o, copy.deepcopy(o) == o, copy.copy(o) is o
a = copy.copy(o); a.metadata['x'] = 'y'; len(m)
o.request is o.request, o.metadata is o.metadata
a = make('Object'); a.request.url; a.HasField('request')
a = make('Object'); a.request.url = ''; a.HasField('request')
a = make('Object'); a.request.headers; a.HasField('request')
a = make('Object'); a.request.headers['a']; a.HasField('request')
a = make('Object'); a.request.headers.get('a'); a.HasField('request')
a = make('Object'); 'a' in a.request.headers; a.HasField('request')
a = make('Object'); a.request.delete_headers.append('x'); a.HasField('request')
a = make('Object'); len(a.request.delete_headers); a.HasField('request')
a = make('Object'); a.request.SetInParent(); a.HasField('request')
a = make('Object'); a.request.CopyFrom(make('MiniRequestObject')); a.HasField('request')
a = make('Object'); a.session.monitor.trigger_limits.append(1); a.HasField('session'), a.session.HasField('monitor')
a = make('Object'); a.request.HasField('return_overrides'); a.HasField('request')
s.rate = -0.0; [f.name for f, _ in s.ListFields()][:1]
""".strip().splitlines()

# Where the words name a class or a module, ours differ in that name.
SAME_TYPE = """
m.clear(); m.popitem()
m | {}
m.get()
l.insert('a', 'z')
l.pop('a')
c[0] = c[0]; 0
c[0:1] = []; 0
c.extend(None)
c.extend(5)
o.CopyFrom(None)
o.CopyFrom(s)
o.CopyFrom({})
o.MergeFrom('x')
o.MergeFromString('x')
o.ParseFromString(b'\\xff')
o.ParseFromString(b'\\x12\\x01\\xff')
o.FromString(b'\\x08')
o.SerializeToString(foo=1)
o.CopyFrom()
hash(o)
len(o)
iter(o)
o['a']
o < o
hash(l)
hash(c)
l + ['a']
l * 2
l += ['a']; 0
s.tags += ['a']; 0
c + c
l.index('a')
l.count('a')
l.add()
l.nope
l.nope = 1; 0
c.nope = 1; 0
m.nope
m.nope = 1; 0
mm.nope = 1; 0
m < m
m.copy()
m.CopyFrom(o.spec)
copy.copy(m)
copy.deepcopy(m)
copy.copy(l)
m.MergeFrom(None)
m.MergeFrom(mm)
mm.MergeFrom(m)
m[:]
m.update({}, {})
m.popitem(1)
l.append()
l.append('a', 'b')
l.insert(0)
l.reverse(1)
c.append(s)
c.append({})
c.append({'key': 'x'})
c.insert(0, None)
c.extend([{}])
c.extend('a')
c.append(key='x')
l.get_or_create
""".strip().splitlines()


@pytest.mark.parametrize("expression", WORDS)
def test_results_and_words(expression: str) -> None:
    both(expression, words=True)


@pytest.mark.parametrize("expression", SAME_TYPE)
def test_kinds_of_exceptions(expression: str) -> None:
    both(expression, words=False)


@pytest.mark.parametrize("name", NAMES)
def test_json_and_text_forms(name: str) -> None:
    mine, theirs = (fill_all(make(name)) for make in (view, lambda name: PB[name]()))
    assert json_format.MessageToDict(mine) == json_format.MessageToDict(theirs)
    assert json_format.MessageToJson(mine, sort_keys=True) == json_format.MessageToJson(theirs, sort_keys=True)
    assert json_format.MessageToDict(
        mine, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    ) == json_format.MessageToDict(
        theirs, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )  # fmt: skip
    assert str(mine) == repr(mine) == str(theirs)
    assert text_format.MessageToString(mine) == text_format.MessageToString(theirs)
    assert text_format.MessageToString(mine, as_one_line=True) == text_format.MessageToString(theirs, as_one_line=True)


@pytest.mark.parametrize("name", NAMES)
def test_parsing_json_and_text_into_a_view(name: str) -> None:
    theirs = fill_all(PB[name]())
    parsed = [
        json_format.Parse(json_format.MessageToJson(theirs), view(name)),
        json_format.ParseDict(json_format.MessageToDict(theirs), view(name)),
        text_format.Parse(str(theirs), view(name)),
        text_format.Merge(str(theirs), view(name)),
    ]
    for mine in parsed:
        assert PB[name].FromString(mine.SerializeToString()) == theirs


def fill_all(message: Any) -> Any:
    """Sets every field, at every depth."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if isinstance(value, Mapping) or hasattr(value, "keys"):
            if hasattr(value, "get_or_create"):
                try:
                    fill_all(value["key"])
                except (AttributeError, TypeError):
                    value["key"] = "é"
            else:
                value["key"] = "é"
        elif hasattr(value, "append"):
            if field.message_type is not None:
                fill_all(value.add())
            else:
                value.append(1.5 if field.type == field.TYPE_DOUBLE else "é")
        elif field.message_type is not None:
            fill_all(value)
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, 'text "é"')
        elif field.type == field.TYPE_BYTES:
            setattr(message, field.name, b"\xff\x00'\"")
        else:
            setattr(message, field.name, 1)
    return message


def test_a_view_passes_for_the_pb2_class() -> None:
    for name in NAMES:
        assert isinstance(view(name), pb2.message_class(name))
        assert view(name).DESCRIPTOR is pb2.message_class(name).DESCRIPTOR
    assert not isinstance(view("Object"), pb2.message_class("Header"))


def test_containers_are_registered_with_collections() -> None:
    o = view("Object")
    assert isinstance(o.metadata, MutableMapping)
    assert isinstance(o.session.tags, MutableSequence)
    assert isinstance(o.response.multivalue_headers, MutableSequence)


def test_google_messages_and_views_take_each_others_content() -> None:
    theirs = filled(lambda name: pb2.message_class(name)())
    mine = view("Object")
    mine.CopyFrom(theirs)
    assert PB["Object"].FromString(mine.SerializeToString()) == PB["Object"].FromString(theirs.SerializeToString())
    mine.session.MergeFrom(theirs.session)
    assert list(mine.session.tags) == ["a", "é", "a", "é"]
    mine.response.multivalue_headers.append(theirs.response.multivalue_headers[0])
    mine.response.multivalue_headers.extend(theirs.response.multivalue_headers)
    assert len(mine.response.multivalue_headers) == 3
    assert mine.response.multivalue_headers[0] == theirs.response.multivalue_headers[0]
    assert theirs.response == theirs.response
    assert pb2.message_class("Object").FromString(mine.SerializeToString()).hook_name == "MyAuth"


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_apart(take: Any) -> None:
    mine = filled(view)
    other = take(mine)
    assert other == mine
    other.session.tags.append("x")
    other.metadata["token"] = "other"
    assert list(mine.session.tags) == ["a", "é"]
    assert mine.metadata["token"] == "t"


def test_dir_names_fields_and_methods() -> None:
    assert {"request", "hook_name", "SerializeToString", "HasField", "DESCRIPTOR"} <= set(dir(view("Object")))


# ---- Where ours is better on purpose ----


def test_a_refused_value_changes_nothing() -> None:
    """google.protobuf leaves half of it behind: the elements before, an empty message, defaults."""
    o = filled(view)
    before = o.SerializeToString()
    attempts = [
        lambda: o.session.tags.extend(["ok", 1]),
        lambda: o.session.tags.__setitem__(slice(0, 1), ["ok", 1]),
        lambda: o.session.tags.insert(0, 1),
        lambda: o.response.multivalue_headers.append(o.session),
        lambda: o.response.multivalue_headers.extend([o.response.multivalue_headers[0], None]),
        lambda: o.response.multivalue_headers.insert(0, {}),
        lambda: o.response.multivalue_headers.add(key="k", values=1),
        lambda: setattr(o.request, "url", 1),
        lambda: o.session.CopyFrom(o.request),
    ]
    for attempt in attempts:
        with pytest.raises(TypeError):
            attempt()
        assert o.SerializeToString() == before
    for attempt in (lambda: o.ParseFromString(b"\xff"), lambda: o.session.MergeFromString(b"\xc2\x01\x01\xff")):
        with pytest.raises(DecodeError):
            attempt()
        assert o.SerializeToString() == before


def test_a_message_list_takes_itself() -> None:
    """google.protobuf never comes back from it."""
    c = filled(view).response.multivalue_headers
    c.extend(c)
    c.MergeFrom(c)
    assert [h.key for h in c] == ["Set-Cookie"] * 4


@pytest.mark.parametrize("at", [9, -9])
def test_popping_past_the_end(at: int) -> None:
    """google.protobuf warns and gives the last one."""
    o = filled(view)
    for target in (o.session.tags, o.response.multivalue_headers):
        with pytest.raises(IndexError):
            target.pop(at)


def test_deleting_any_slice_of_an_empty_list() -> None:
    """google.protobuf reads memory that is not its own."""
    c = view("ResponseObject").multivalue_headers
    for step in (-2, 2):
        del c[slice(3, -3, step)]
    assert len(c) == 0


def test_maps_keep_the_order_of_insertion() -> None:
    m = view("Object").metadata
    names = [f"key{number * 7919 % 101}" for number in range(100)]
    for name in names:
        m[name] = ""
    assert list(m) == names


def test_a_failed_iteration_leaves_the_map_usable() -> None:
    m = filled(view).metadata
    with pytest.raises(RuntimeError):
        [m.__setitem__("new " + key, "x") for key in m]
    assert dict(m) == {"token": "t", "new token": "x"}


# ---- Hostile bytes ----


def test_text_that_is_not_utf8_is_an_error_where_it_is_read() -> None:
    """Through a dispatch nothing is checked before a hook reads it; a parse by the plugin itself checks everything."""
    with pytest.raises(DecodeError):
        _bridge.message("Object", b"\x12\x01\xff")
    with pytest.raises(DecodeError):
        _bridge.message("Object").ParseFromString(b"\x2a\x03\x0a\x01\xff")


@pytest.mark.parametrize("data", [b"\xff", b"\x12\x05a", b"\x00", b"\x0b", b"\x0c", b"\x08", b"\x9b\x06\xa4\x06"])
def test_bytes_that_are_no_message(data: bytes) -> None:
    with pytest.raises(DecodeError):
        _bridge.message("Object", data)


def test_deep_groups_do_not_exhaust_the_stack() -> None:
    nested = b"\xfb\xff\xff\xff\x0f" * 100_000
    with pytest.raises(DecodeError):
        _bridge.message("Object", nested)


def test_unknown_types_are_key_errors() -> None:
    with pytest.raises(KeyError):
        _bridge.message("NoSuchMessage")


# ---- Lives ----


def test_regression_a_view_made_by_calling_its_type_crashed() -> None:
    o = filled(view)
    things = [o, o.metadata, o.session.tags, iter(o.metadata)]
    for kind in [*map(type, things), _bridge.Request]:
        with pytest.raises(TypeError, match="cannot create"):
            kind()
        with pytest.raises(TypeError, match="is not safe"):
            kind.__new__(kind)
    with pytest.raises(TypeError, match="needs a map"):
        iter(type(o.metadata.items())(None))
    entry = o.session.access_rights.GetEntryClass()
    assert copy.copy(entry)(key="a").key == "a"


def test_parts_outlive_their_message() -> None:
    o = filled(view)
    parts = o.metadata, o.session.tags, o.session.access_rights["api"], o.response.multivalue_headers[0].values
    walk = iter(o.metadata.items())
    del o
    gc.collect()
    assert dict(parts[0]) == {"token": "t"}
    assert next(walk) == ("token", "t")
    parts[1].append("late")
    assert list(parts[1]) == ["a", "é", "late"]
    assert parts[2].allowed_urls[0].url == "/"
    assert list(parts[3]) == ["a=1", "b=2"]


def test_many_threads_on_one_message() -> None:
    """Python's lock guards a message: nothing is lost."""
    o = view("Object")

    def work(name: str) -> None:
        for number in range(300):
            o.metadata[f"{name}{number}"] = "x"
            o.session.tags.append(name)
            o.request.headers["shared"] = name
            assert o.SerializeToString()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(o.metadata) == 1200
    assert sorted(o.session.tags) == sorted("abcd" * 300)


def test_regression_an_index_that_empties_the_list_was_checked_before() -> None:
    tags = view("SessionState").tags
    tags.extend(["a"] * 100)

    class Emptying:
        def __index__(self) -> int:
            tags.clear()
            return 99

    with pytest.raises(IndexError):
        tags[Emptying()]
    tags.extend(["a"] * 100)
    with pytest.raises(IndexError):
        del tags[Emptying()]


def test_regression_what_only_claims_to_be_a_message_was_taken_for_bytes() -> None:
    class Claiming:
        DESCRIPTOR = PB["Header"].DESCRIPTOR

        def SerializePartialToString(self) -> str:
            return "text"

    values = view("ResponseObject").multivalue_headers
    with pytest.raises(TypeError, match="expected bytes, str found"):
        values.append(Claiming())
    assert len(values) == 0


def test_regression_an_idle_frame_could_be_had_from_the_collector(host: Any, bundle: Any) -> None:
    loaded = bundle("from tyk.decorators import *\n@Hook\ndef H(request, session, spec): return request, session\n")
    loaded.run("H")
    assert not [kind for kind in map(type, gc.get_objects()) if kind.__name__ == "Frame"]


def test_regression_a_malformed_source_left_its_target_empty() -> None:
    class Malformed:
        DESCRIPTOR = PB["MiniRequestObject"].DESCRIPTOR

        def SerializePartialToString(self) -> bytes:
            return b"\x0a\xff"

    target = _bridge.message("MiniRequestObject", url="/kept")
    with pytest.raises(DecodeError):
        target.CopyFrom(Malformed())
    assert target.url == "/kept"
