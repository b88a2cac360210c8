from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, MessageToJson
from google.protobuf.message import DecodeError

from tykbridge import _bridge
from tykbridge.compat import pb2
from tykbridge.compat.tyk import object as messages
from tykbridge.compat.tyk import session
from tykbridge.compat.tyk.request import TykCoProcessRequest
from tykbridge.compat.tyk.session import (
    AccessDefinition,
    AccessSpec,
    BasicAuthData,
    JWTData,
    Monitor,
    SessionState,
    TykSession,
)

FIELDS: dict[str, Any] = {
    "rate": 10,
    "per": 1.5,
    "expires": 2**40,
    "is_inactive": True,
    "org_id": "org",
    "metadata": {"token": "t"},
    "tags": ["a", "b"],
    "basic_auth_data": {"password": "p"},
    "monitor": {"trigger_limits": [0.5, 1]},
    "access_rights": {"1": {"api_id": "1", "versions": ["v"], "allowed_urls": [{"url": "/", "methods": ["GET"]}]}},
    "jwt_data": None,
}


def test_constructors_take_what_protobuf_s_take() -> None:
    made = TykSession(**FIELDS)
    assert isinstance(made, _bridge.Message)
    assert made.SerializeToString(deterministic=True) == pb2.message_class("SessionState")(**FIELDS).SerializeToString(
        deterministic=True
    )
    assert (made.rate, made.metadata["token"], list(made.tags)) == (10, "t", ["a", "b"])
    assert not made.HasField("jwt_data")


def test_messages_go_into_messages() -> None:
    made = TykSession(
        jwt_data=JWTData(secret="s"),
        monitor=Monitor(trigger_limits=[1]),
        basic_auth_data=pb2.message_class("BasicAuthData")(hash="h"),
        access_rights={"1": AccessDefinition(api_id="1", allowed_urls=[AccessSpec(url="/", methods=["GET"])])},
    )
    assert MessageToDict(made) == {
        "jwtData": {"secret": "s"},
        "monitor": {"triggerLimits": [1.0]},
        "basicAuthData": {"hash": "h"},
        "accessRights": {"1": {"apiId": "1", "allowedUrls": [{"url": "/", "methods": ["GET"]}]}},
    }


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"nothing": 1}, ValueError, 'Protocol message SessionState has no "nothing" field'),
        ({"org_id": 1}, TypeError, None),
        ({"rate": "x"}, TypeError, None),
        ({"metadata": {"a": 1}}, TypeError, None),
    ],
)
def test_fields_of_wrong_types(fields: dict[str, Any], error: type[Exception], words: str | None) -> None:
    with pytest.raises(error, match=words):
        pb2.message_class("SessionState")(**fields)
    with pytest.raises(error, match=words):
        TykSession(**fields)


def test_instances() -> None:
    made = TykSession()
    real = pb2.message_class("SessionState")()
    for message in (made, real):
        assert isinstance(message, TykSession)
        assert isinstance(message, SessionState)
        assert isinstance(message, type(real))
        assert not isinstance(message, BasicAuthData)
    assert not isinstance(None, TykSession)
    assert not isinstance({}, TykSession)


def test_the_classes_do_what_protobuf_s_do() -> None:
    data = TykSession(rate=1).SerializeToString()
    assert TykSession.FromString(data) == TykSession(rate=1)
    with pytest.raises(DecodeError):
        TykSession.FromString(b"\xff")
    assert TykSession.DESCRIPTOR is pb2.descriptor("SessionState")
    assert TykSession.METADATA_FIELD_NUMBER == 23
    assert TykSession.__name__ == "SessionState"
    with pytest.raises(AttributeError):
        _ = TykSession.nothing


def test_a_star_import_of_the_session() -> None:
    names: dict[str, Any] = {}
    exec("from tykbridge.compat.tyk.session import *", names)
    assert {name for name in names if not name.startswith("__")} == {
        "AccessDefinition",
        "AccessSpec",
        "BasicAuthData",
        "JWTData",
        "Monitor",
        "SessionState",
        "TykSession",
    }
    assert session.TykSession is SessionState


def test_every_message_has_its_type() -> None:
    names = {name for file in _files() for name in file.message_types_by_name}
    assert set(messages.__all__) == names
    for name in names:
        made = getattr(messages, name)()
        assert made.DESCRIPTOR is pb2.descriptor(name)
        assert MessageToJson(made) == "{}"


def _files() -> list[Any]:
    seen: dict[str, Any] = {}

    def add(file: Any) -> None:
        seen[file.name] = file
        for dependency in file.dependencies:
            add(dependency)

    add(pb2.descriptor("Object").file)
    return list(seen.values())


def test_the_request_s_type() -> None:
    assert TykCoProcessRequest is _bridge.Request
