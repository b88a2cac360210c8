"""The hooks that the benchmark times; both the bridge and the classic dispatcher load this file."""

from tyk.decorators import Hook

BODY = bytes(range(256)) * 400


@Hook
def touch_nothing(request, session, spec):
    return request, session


@Hook
def add_header(request, session, spec):
    request.add_header("X-Added", "by the hook")
    return request, session


@Hook
def read_three(request, session, spec):
    agent = request.get_header("User-Agent")
    language = request.get_header("Accept-Language")
    if request.get_header("Authorization"):
        request.add_header("X-Client", agent + language)
    return request, session


@Hook
def iterate_all(request, session, spec):
    size = 0
    for name, value in request.object.headers.items():
        size += len(name) + len(value)
    request.add_header("X-Size", str(size))
    return request, session


@Hook
def set_metadata(request, session, spec):
    session.metadata["seen"] = "yes"
    return request, session


@Hook
def del_metadata(request, session, spec):
    del session.metadata["plan"]
    return request, session


@Hook
def read_body(request, session, spec):
    if len(request.object.raw_body) < 100_000:
        raise ValueError("the body is cut short")
    return request, session


@Hook
def replace_body(request, session, spec):
    request.object.raw_body = BODY
    return request, session


@Hook
def auth(request, session, metadata, spec):
    token = request.get_header("Authorization")
    if token is not None:
        session.rate = 1000.0
        session.per = 60.0
        session.expires = 1_900_000_000
        session.quota_max = 100_000
        session.quota_renews = 1_900_000_000
        session.quota_remaining = 99_000
        session.quota_renewal_rate = 3600
        session.id_extractor_deadline = 1_900_000_000
        session.org_id = "53ac07777cbb8c2d53000002"
        session.alias = "alice"
        session.tags.extend(["gold", "eu"])
        session.apply_policies.append("gold-plan")
        rights = session.access_rights["0a1b2c3d4e5f"]
        rights.api_name = "orders"
        rights.api_id = "0a1b2c3d4e5f"
        rights.versions.append("Default")
        metadata["token"] = token
    return request, session, metadata


# ---- For the chains of bench/apis


@Hook
def add_second(request, session, spec):
    request.add_header("X-Second", "by the second hook")
    return request, session


@Hook
def add_third(request, session, spec):
    request.add_header("X-Third", "by the third hook")
    return request, session


@Hook
def add_fourth(request, session, spec):
    request.add_header("X-Fourth", "by the fourth hook")
    return request, session


@Hook
def identify(request, session, metadata, spec):
    """Called once: from then on the ID extractor finds the session."""
    session.rate = session.quota_max = 1 << 50
    session.per = session.quota_renewal_rate = 3600
    session.id_extractor_deadline = 4_000_000_000
    session.alias = "alice"
    session.tags.extend(["gold", "eu"])
    rights = session.access_rights["chain_auth"]
    rights.api_name, rights.api_id = "bench auth", "chain_auth"
    rights.versions.append("Default")
    metadata["token"] = request.get_header("Authorization")
    return request, session, metadata


@Hook
def name_client(request, session, spec):
    request.add_header("X-Client", session.alias)
    return request, session
