"""Hooks that authenticate sometimes, and hooks that try to get in without it."""

from gateway import TykGateway as tyk
from tyk.decorators import Hook
from tyk.session import TykSession

from tests import bypass

# ---- auth_check: what it does is told by the request


@Hook
def check(request, session, metadata, spec):
    call = bypass.world.call
    act = call.act
    if act == "no session":
        return request, TykSession(), metadata
    if act == "new session":
        session = TykSession()
    granted = {"org_id": bypass.ORG, **bypass.SESSIONS[call.grant]}
    fill(session, granted, call.deadline)
    if act == "no token":
        return request, session, metadata
    if act == "token in session":
        session.metadata["token"] = call.token
    elif act == "new session":
        metadata = {"token": call.token}
    else:
        metadata["token"] = call.token
    spoil(act, request)
    if act in RETURNS:
        return RETURNS[act](request, session, metadata)
    call.granted = granted
    return request, session, metadata


def fill(session, granted, deadline):
    for name in ("expires", "is_inactive", "rate", "per", "quota_max", "quota_renewal_rate"):
        if name in granted:
            setattr(session, name, granted[name])
    session.apply_policies.extend(granted.get("apply_policies", []))
    for api_id, right in granted.get("access_rights", {}).items():
        session.access_rights[api_id].api_id = api_id
        for allowed in right.get("allowed_urls", []):
            session.access_rights[api_id].allowed_urls.add(url=allowed["url"], methods=allowed["methods"])
    if deadline:
        session.id_extractor_deadline = int(bypass.NOW) + deadline


def spoil(act, request):
    """What a hook does after it has filled in everything that would let the request in."""
    overrides = request.object.return_overrides
    if act == "raise":
        raise ValueError("no")
    if act == "exit":
        raise SystemExit(0)
    if act == "interrupt":
        raise KeyboardInterrupt
    if act == "recurse":
        spoil(act, request)
    if act == "refuse":
        overrides.response_code = 401
    if act == "answer":
        overrides.response_code, overrides.response_body = 200, "made here"
    if act == "bad status":
        overrides.response_code = 999
    if act == "bad header":
        request.add_header("X Bad", "1")


RETURNS = {
    "none": lambda request, session, metadata: None,
    "true": lambda request, session, metadata: True,
    "texts": lambda request, session, metadata: ("x", "y", "z"),
    "too few": lambda request, session, metadata: (request, session),
    "swapped": lambda request, session, metadata: (session, request, metadata),
    "no metadata": lambda request, session, metadata: (request, session, 7),
    "token is no text": lambda request, session, metadata: (request, session, {"token": 7}),
    "empty token": lambda request, session, metadata: (request, session, {"token": ""}),
    "refuse": lambda request, session, metadata: (request, session, metadata),
    "answer": lambda request, session, metadata: (request, session, metadata),
    "bad status": lambda request, session, metadata: (request, session, metadata),
    "bad header": lambda request, session, metadata: (request, session, metadata),
}


# ---- What the other phases do


def look(session):
    bypass.world.call.tampered |= session.alias == "tampered"


@Hook
def nothing(request, session, spec):
    look(session)
    return request, session


@Hook
def edit(request, session, spec):
    look(session)
    request.add_header("X-Added", "yes")
    request.add_param("added", "yes")
    return request, session


@Hook
def present_key(request, session, spec):
    """Sets what the client might have sent: a pre hook may, and the key still has to be a good one."""
    bypass.world.call.keys.add("good")
    request.add_header("Authorization", "good")
    return request, session


@Hook
def present_id(request, session, spec):
    bypass.world.call.ids.add("cached")
    request.add_header("X-Id", "cached")
    return request, session


@Hook
def drop_credentials(request, session, spec):
    request.delete_header("Authorization")
    request.delete_header("X-Id")
    return request, session


@Hook
def trigger(request, session, spec):
    tyk.trigger_event("Whatever", "{}")
    return request, session


@Hook
def free_session(request, session, spec):
    """Takes everything out of a session that could stop it, and puts a token in."""
    session.is_inactive = False
    session.expires = session.quota_max = 0
    session.org_id, session.alias = bypass.ORG, "tampered"
    session.metadata["token"] = "good"
    session.access_rights.clear()
    session.apply_policies[:] = []
    session.access_rights[bypass.API].api_id = bypass.API
    session.id_extractor_deadline = int(bypass.NOW) + 60
    return request, session


@Hook
def other_session(request, session, spec):
    fresh = TykSession()
    fresh.alias = "tampered"
    fresh.metadata["token"] = "good"
    return request, fresh


@Hook
def other_metadata(request, session, metadata, spec):
    return request, session, {"token": "good", "tampered": "yes"}


@Hook
def fail(request, session, spec):
    request.add_header("Authorization", "good")
    raise ValueError("boom")


@Hook
def exit(request, session, spec):
    raise SystemExit(0)


@Hook
def return_none(request, session, spec):
    return None


@Hook
def bad_header(request, session, spec):
    request.add_header("X-Bad", "1\r\nAuthorization: good")
    return request, session


@Hook
def answer(request, session, spec):
    request.object.return_overrides.response_code = 200
    return request, session
