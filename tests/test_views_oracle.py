"""The views against google.protobuf: random objects, random programs, the same results on both sides."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import oracle, programs
from tests.oracle import NAMES, PB
from tykbridge import _bridge

# A profile with so many examples (--hypothesis-profile=soak) takes new ones each time.
SOAK = 1000


def profile(times: int) -> Any:
    """So many times the examples of the profile in force: few for another Python, many for a soak."""
    return settings(
        max_examples=settings.default.max_examples * times,
        derandomize=settings.default.max_examples < SOAK,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@given(st.data())
@profile(3)
def test_every_field_reads_as_in_the_oracle(data: Any) -> None:
    name = data.draw(st.sampled_from(NAMES))
    wire = data.draw(oracle.wire(name))
    theirs = PB[name].FromString(wire)
    mine = _bridge.message(name, wire)
    assert oracle.view_content(mine, theirs.DESCRIPTOR) == oracle.known(oracle.content(theirs))
    # Reading changed nothing: what goes out is what came in.
    assert oracle.content(PB[name].FromString(mine.SerializeToString())) == oracle.content(theirs)


def check_program(data: Any, name: str) -> None:
    world = programs.World.of(_bridge.message, name, data.draw(oracle.wire(name)))
    world.run(data.draw(programs.programs(name)))
    world.check()


@given(st.data())
@profile(6)
def test_an_object_takes_any_program_as_the_oracle_does(data: Any) -> None:
    check_program(data, "Object")


@given(st.data())
@profile(4)
def test_every_other_message_does_too(data: Any) -> None:
    check_program(data, data.draw(st.sampled_from(NAMES)))


@given(st.data())
@profile(3)
def test_long_programs_on_one_message(data: Any) -> None:
    name = data.draw(st.sampled_from(["SessionState", "ResponseObject", "AccessDefinition", "ReturnOverrides"]))
    world = programs.World.of(_bridge.message, name, data.draw(oracle.wire(name)))
    world.run(data.draw(programs.programs(name, most=60)))
    world.check()


@given(st.data())
@profile(4)
def test_writing_to_what_was_not_read_yet(data: Any) -> None:
    """Lazily decoded maps and lists, written to as the first thing that happens to them."""
    name = data.draw(st.sampled_from(["ReturnOverrides", "AccessSpec", "Monitor", "AccessDefinition", "SessionState"]))
    kinds = ("text map", "scalar list", "message map")
    world = programs.World.of(_bridge.message, name, data.draw(oracle.wire(name)))
    more = data.draw(st.just(b"") | oracle.wire(name))
    world.root.mine.MergeFromString(more)
    world.root.theirs.MergeFromString(more)
    world.run(data.draw(programs.programs(name, kinds=kinds, most=4)))
    world.check()


@given(st.data())
@profile(4)
def test_malformed_bytes_read_as_in_the_oracle_or_raise(data: Any) -> None:
    """Lazy reading may find less wrong than a parser that reads everything; it never makes anything up or crashes."""
    name = data.draw(st.sampled_from(NAMES))
    whole = data.draw(oracle.wire(name))
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole)))))
    wire = whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:]
    try:
        theirs: Any = PB[name].FromString(wire)
    except DecodeError:
        theirs = None
    try:
        mine = _bridge.message(name, wire)
        seen = oracle.view_content(mine, PB[name].DESCRIPTOR)
        out = mine.SerializeToString()
    except (DecodeError, UnicodeDecodeError):
        assert theirs is None
        return
    if theirs is not None:
        assert seen == oracle.known(oracle.content(theirs))
        assert oracle.content(PB[name].FromString(out)) == oracle.content(theirs)


@given(st.binary(max_size=64), st.sampled_from(NAMES), st.data())
@profile(3)
def test_programs_on_malformed_bytes_never_crash(wire: bytes, name: str, data: Any) -> None:
    try:
        mine = _bridge.message(name, wire)
    except DecodeError:
        return
    other = PB[name]()
    world = programs.World(_bridge.message, programs.Pair(mine, other, "message", None, None))
    for step in data.draw(programs.programs(name)):
        try:
            world.run([step])
        except (programs.Differs, DecodeError, UnicodeDecodeError):
            continue  # the other side is another message: only a crash, or an exception of no known kind, tells


@pytest.mark.parametrize("name", NAMES)
def test_every_message_type_can_be_made(name: str) -> None:
    assert _bridge.message(name, b"").SerializeToString() == b""
    assert _bridge.message(name).DESCRIPTOR.full_name == "coprocess." + name
