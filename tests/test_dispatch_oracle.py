"""Whole dispatches against google.protobuf: what a random hook left, as the full reply and as the delta."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from tests import hooks, oracle, programs
from tests.host.by_ctypes import CtypesHost
from tests.oracle import PB
from tests.test_views_oracle import profile
from tykbridge import _bridge

BODIES = ("body", "raw_body")
BUNDLE = "held-against-the-oracle"


@pytest.fixture(scope="module")
def dispatch(tmp_path_factory: Any) -> Any:
    """Dispatches a message, with a hook; gives the reply."""
    folder = tmp_path_factory.mktemp("oracle")
    (folder / "middleware.py").write_text(hooks.BUNDLE)
    manifest = {"file_list": ["middleware.py"], "custom_middleware": {"driver": "python"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    host = CtypesHost()
    assert host.init().status == 0
    reply = host.load_bundle(str(folder), BUNDLE)
    assert reply.status == 0, reply.words

    def run(sent: bytes, hook: Any, delta: bool = False) -> bytes:
        raised = []

        def caught(*arguments: Any) -> Any:
            try:
                return hook(*arguments)
            except BaseException as error:
                raised.append(error)
                raise

        hooks.hook = caught
        reply = host.dispatch(sent, delta)
        if raised:
            raise raised[0]
        assert reply.status == 0, reply.words
        return reply.data

    return run


def named(wire: bytes, hook: str) -> bytes:
    """The message, for a hook of the bundle: what comes last wins."""
    last = PB["Object"](hook_name=hook, spec={"bundle_hash": BUNDLE})
    return wire + last.SerializeToString()


def merged(sent: bytes, delta: bytes) -> Message:
    """What a host has after merging a delta into what it sent."""
    cleared = PB["Delta"].FromString(delta).cleared
    names = PB["Delta"](cleared=cleared).SerializeToString()
    assert delta.startswith(names)  # before everything else, for a host that reads from front to back
    have = PB["Object"].FromString(sent)
    for path in cleared:
        *above, last = path.split(".")
        target = have
        for name in above:
            target = getattr(target, name)
        target.ClearField(last)
    have.MergeFromString(delta[len(names) :])
    return have


def without_bodies(message: Message) -> dict[Any, Any]:
    held = oracle.content(message)
    for name in ("request", "response"):
        if held[name] is not None:
            held[name] = {key: value for key, value in held[name].items() if key not in BODIES}
    return held


def check_bodies(reply: Any, theirs: Any) -> None:
    """Section 13 of the contract: in the reply, both fields tell of the one that was written last."""
    for name in ("request", "response"):
        got, left = getattr(reply, name), getattr(theirs, name)
        raw = left.raw_body
        settled_raw = (raw.decode() if is_text(raw) else "", raw)
        settled_text = (left.body, left.body.encode())
        assert (got.body, got.raw_body) in [(left.body, left.raw_body), settled_raw, settled_text]


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# Not on the root, which no hook has.
in_hook = programs.programs("Object").map(lambda steps: [step for step in steps if step.path != ()])


def check_hook(dispatch: Any, sent: bytes, program: list[programs.Step]) -> None:
    """Lets a hook run the program: full reply, delta and the views that it kept must be as in google.protobuf."""
    worlds = []

    def hook(request: Any, response: Any, session: Any, metadata: Any, spec: Any) -> Any:
        theirs = PB["Object"].FromString(sent)
        root = SimpleNamespace(request=request.object, response=response, session=session, metadata=metadata, spec=spec)
        world = programs.World(_bridge.message, programs.Pair(root, theirs, "message", None, None))
        world.run(program)
        worlds.append(world)
        return response

    reply = PB["Object"].FromString(dispatch(sent, hook))
    delta = dispatch(sent, hook, delta=True)
    theirs = worlds[0].root.theirs
    assert without_bodies(reply) == without_bodies(theirs)
    check_bodies(reply, theirs)
    assert oracle.content(merged(sent, delta)) == oracle.content(reply)
    # What the hook kept is its own now: nothing of it may have gone with the message.
    for world in worlds:
        world.root = programs.Pair(_bridge.message("Header"), PB["Header"](), "message", None, None)
        for name in ("request", "response"):
            settle_kept(world, name)
        world.check()


@given(st.data())
@profile(6)
def test_replies_hold_what_a_random_hook_left(dispatch: Any, data: Any) -> None:
    sent = named(data.draw(oracle.wire("Object")), "five")
    check_hook(dispatch, sent, data.draw(in_hook))


# Few targets, each of which the message holds, and few steps: most of them meet bytes that nobody has read yet.
TARGETS: dict[str, list[tuple[str, ...]]] = {
    "text map": [("request", "headers"), ("session", "metadata"), ("metadata",)],
    "scalar list": [("request", "delete_headers"), ("session", "tags"), ("session", "monitor", "trigger_limits")],
    "message map": [("session", "access_rights")],
    "message list": [("response", "multivalue_headers")],
}


def occurrences(path: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """Some occurrences of the field at the path, each in a piece of its own of the messages above."""
    fields, descriptor = [], PB["Object"].DESCRIPTOR
    for name in path:
        fields.append(descriptor.fields_by_name[name])
        descriptor = fields[-1].message_type

    def wrapped(payload: bytes) -> bytes:
        for field in reversed(fields[:-1]):
            payload = oracle.delimited(field.number, payload)
        return payload

    return st.lists(oracle.value_bytes(fields[-1]).map(wrapped), min_size=1, max_size=4).map(b"".join)


present = st.tuples(*[occurrences(path) for paths in TARGETS.values() for path in paths]).map(b"".join)
few_steps = st.lists(
    st.one_of([programs.steps(kind, paths) for kind, paths in TARGETS.items()]), min_size=1, max_size=5
)


@given(wire=present, program=few_steps)
@profile(5)
def test_first_touches_of_what_came_with_the_message(dispatch: Any, wire: bytes, program: Any) -> None:
    check_hook(dispatch, named(wire, "five"), program)


FIT = programs.Fit("new", b"new", 7, 7.0)
NEW = programs.Other(7, FIT)
# What one does to a container, by name and arguments; "a" and the first elements came with the message.
OFTEN: dict[str, list[tuple[Any, ...]]] = {
    "text map": [
        ("set item", "a", FIT), ("set item", "n", FIT), ("get item", "a"), ("get item", "n"), ("get", "a"), ("in", "a"),
        ("delete", "a"), ("pop", "b"), ("clear",), ("len",), ("update keywords", FIT), ("set default", "a", FIT),
        ("dict",),
    ],
    "scalar list": [
        ("append", FIT), ("insert", 0, FIT), ("set item", 0, FIT), ("get item", 0), ("delete", 0), ("pop",),
        ("reverse",), ("len",), ("extend", programs.Many((FIT, FIT))), ("clear",), ("list",),
    ],
    "message map": [
        ("write", "a", "new"), ("write", "n", "new"), ("add", "a", "new"), ("delete", "a"), ("get item", "a"),
        ("clear",), ("len",),
    ],
    "message list": [
        ("add",), ("append", NEW), ("write", 0, "new"), ("delete", 0), ("reverse",), ("insert", 0, NEW), ("pop",),
        ("len",), ("clear",),
    ],
}  # fmt: skip


def held() -> bytes:
    """A message with something in each of the targets."""
    message: Any = PB["Object"](metadata={"a": "1", "b": "2"})
    message.request.headers.update({"a": "1", "b": "2"})
    message.request.delete_headers.extend(["x", "y", "z"])
    message.session.metadata.update({"a": "1", "b": "2"})
    message.session.tags.extend(["x", "y", "z"])
    message.session.monitor.trigger_limits.extend([1, 2, 3])
    for name in "ab":
        message.session.access_rights[name].api_name = name
        message.response.multivalue_headers.add(key=name, values=["v"])
    return bytes(message.SerializeToString())


@pytest.mark.parametrize("kind", OFTEN)
def test_every_pair_of_operations_on_what_was_not_read_yet(dispatch: Any, kind: str) -> None:
    sent = named(held(), "five")
    for path in TARGETS[kind]:
        for pair in itertools.product(OFTEN[kind], repeat=2):
            check_hook(dispatch, sent, [programs.Step(kind, path, name, tuple(arguments)) for name, *arguments in pair])


def settle_kept(world: programs.World, name: str) -> None:
    """The reply's settling is seen through what was kept as well: here only the other fields count."""
    kind = {"request": "MiniRequestObject", "response": "ResponseObject"}[name]
    for pair in world.kept.get("message", []):
        if pair.theirs.DESCRIPTOR.name == kind:
            pair.theirs.body, pair.theirs.raw_body = pair.mine.body, pair.mine.raw_body


writes = st.lists(st.one_of(st.tuples(st.just("body"), oracle.texts), st.tuples(st.just("raw_body"), oracle.blobs)))


@pytest.mark.parametrize("name", ["request", "response"])
@given(sent_bodies=writes, written=writes, padding=st.sampled_from([0, 5000]))
@profile(1)
def test_the_body_written_last_is_in_both_fields(
    dispatch: Any, name: str, sent_bodies: Any, written: Any, padding: int
) -> None:
    """The first of the two exceptions that section 13 of the contract makes from google.protobuf's ways."""
    before: Any = PB["Object"]()
    for field, value in sent_bodies:
        setattr(getattr(before, name), field, value)
    getattr(before, name).headers["padding"] = "x" * padding
    sent = named(before.SerializeToString(), "five")
    sent_pair = (getattr(before, name).body, getattr(before, name).raw_body)

    def hook(request: Any, response: Any, *_: Any) -> Any:
        message = request.object if name == "request" else response
        for field, value in written:
            setattr(message, field, value)
            assert getattr(message, field) == value
        return response

    if not written:
        expected = sent_pair
    elif written[-1][0] == "body":
        expected = (written[-1][1], written[-1][1].encode())
    else:
        raw = written[-1][1]
        expected = (raw.decode() if is_text(raw) else "", raw)
    full = getattr(PB["Object"].FromString(dispatch(sent, hook)), name)
    assert (full.body, full.raw_body) == expected
    again = getattr(merged(sent, dispatch(sent, hook, delta=True)), name)
    assert (again.body, again.raw_body) == expected


@given(values=st.lists(oracle.texts, max_size=2), text=oracle.texts, start=st.integers(-3, 3))
@profile(1)
def test_a_bare_str_is_one_value(dispatch: Any, values: list[str], text: str, start: int) -> None:
    """The second of the two exceptions: the seed's `values.extend("...")` adds one cookie, not one for each letter."""
    sent = named(PB["Object"](session={"tags": values}).SerializeToString(), "five")

    def hook(request: Any, response: Any, session: Any, *_: Any) -> Any:
        session.tags.extend(text)
        session.apply_policies[start:] = text
        response.multivalue_headers.add(key="Set-Cookie").values.extend(text)
        return response

    reply: Any = PB["Object"].FromString(dispatch(sent, hook))
    assert list(reply.session.tags) == [*values, text]
    assert list(reply.session.apply_policies) == [text]
    assert [list(header.values) for header in reply.response.multivalue_headers] == [[text]]


metadata = st.dictionaries(oracle.keys, oracle.texts, max_size=3)


@given(sent_metadata=metadata, own=st.none() | metadata, written=metadata, returned=metadata, how=st.integers(0, 3))
@profile(2)
def test_metadata_of_the_four_argument_form(
    dispatch: Any, sent_metadata: Any, own: Any, written: Any, returned: Any, how: int
) -> None:
    """What is returned is merged into the session's metadata, also into a new session's, whose own entries stay."""
    before: Any = PB["Object"]()
    if sent_metadata:
        before.session.metadata.update(sent_metadata)
    sent = named(before.SerializeToString(), "four")

    def hook(request: Any, session: Any, metadata: Any, spec: Any) -> Any:
        assert dict(metadata) == sent_metadata
        for key, value in written.items():
            metadata[key] = value
        given_back = metadata
        if own is not None:
            session = (_bridge.message("SessionState"), PB["SessionState"]())[how % 2]
            session.alias = "new"
            session.metadata.update(own)
        if how >= 2:
            given_back = returned
        return request, session, given_back

    expected = ({**sent_metadata, **written} if own is None else own) | (
        returned if how >= 2 else {**sent_metadata, **written}
    )
    reply: Any = PB["Object"].FromString(dispatch(sent, hook))
    assert dict(reply.session.metadata) == expected
    assert reply.session.alias == ("" if own is None else "new")
    again: Any = merged(sent, dispatch(sent, hook, delta=True))
    assert oracle.content(again) == oracle.content(reply)
