"""The hooks that the table of cases puts together."""

from gateway import TykGateway as tyk
from tyk.decorators import Hook

# ---- Requests


@Hook
def nothing(request, session, spec):
    return request, session


@Hook
def add_header(request, session, spec):
    request.add_header("X-Added", "yes")
    return request, session


@Hook
def replace_header(request, session, spec):
    request.add_header("x-old", "new")
    return request, session


@Hook
def delete_header(request, session, spec):
    request.delete_header("X-OLD")
    return request, session


@Hook
def report_header(request, session, spec):
    request.add_header("X-Report", str(request.get_header("X-Added")))
    return request, session


@Hook
def see_own_header(request, session, spec):
    request.add_header("X-Added", "yes")
    request.add_header("X-Report", str(request.get_header("X-Added")))
    return request, session


@Hook
def write_headers_map(request, session, spec):
    request.object.headers["X-Added"] = "not applied"
    return request, session


@Hook
def set_body(request, session, spec):
    request.object.body = "from the hook"
    return request, session


@Hook
def set_raw_body(request, session, spec):
    request.object.raw_body = b"\xff\x00raw"
    return request, session


@Hook
def clear_body(request, session, spec):
    request.object.raw_body = b""
    return request, session


@Hook
def body_twice(request, session, spec):
    request.object.body = "first"
    request.object.raw_body = b"second"
    return request, session


@Hook
def report_body(request, session, spec):
    body = request.object.body
    request.add_header("X-Report", f"{body!r} {len(request.object.raw_body)}")
    return request, session


@Hook
def add_param(request, session, spec):
    request.add_param("added", "a b&c")
    return request, session


@Hook
def delete_param(request, session, spec):
    request.delete_param("a")
    return request, session


@Hook
def extend_param(request, session, spec):
    request.object.extended_params["b"] = "again"
    return request, session


@Hook
def report_params(request, session, spec):
    request.add_header("X-Report", " ".join(f"{k}={v}" for k, v in sorted(request.object.params.items())))
    return request, session


@Hook
def rewrite_path(request, session, spec):
    request.object.url = "/rewritten"
    return request, session


@Hook
def rewrite_query(request, session, spec):
    request.object.url = request.object.url.replace("a=2", "a=two")
    return request, session


@Hook
def set_method(request, session, spec):
    request.object.method = "PUT"
    return request, session


@Hook
def report_request(request, session, spec):
    seen = request.object
    request.add_header("X-Report", f"{seen.method} {seen.url} {seen.request_uri} {seen.scheme}")
    return request, session


@Hook
def report_spec(request, session, spec):
    request.add_header("X-Report", " ".join(f"{name}={spec[name]}" for name in sorted(spec)))
    return request, session


@Hook
def report_overrides(request, session, spec):
    request.add_header("X-Report", str(request.object.return_overrides.response_code))
    return request, session


@Hook
def report_session(request, session, spec):
    request.add_header("X-Report", f"{session.org_id} {session.alias} {session.metadata.get('token')} {session.rate:g}")
    return request, session


@Hook
def report_metadata(request, session, metadata, spec):
    request.add_header("X-Report", " ".join(f"{name}={metadata[name]}" for name in sorted(metadata)))
    return request, session, metadata


@Hook
def report_quota(request, session, spec):
    request.add_header("X-Quota", str(session.quota_remaining))
    return request, session


@Hook
def write_session(request, session, spec):
    session.rate = 1000000.0
    session.metadata["grade"] = "gold"
    return request, session


@Hook
def same_session(request, session, spec):
    session.alias = session.alias
    return request, session


@Hook
def context_variables(request, session, spec):
    names = ("path", "token", "headers_Accept", "none")
    request.add_header("X-Context", "|".join(f"$tyk_context.{name}" for name in names))
    request.object.url = "/to?all=$tyk_context.request_data"
    return request, session


@Hook
def context_in_header(request, session, spec):
    request.add_header("X-Context", "$tyk_context.request_data")
    return request, session


# ---- Overrides


@Hook
def respond_200(request, session, spec):
    request.object.return_overrides.headers["content-type"] = "application/json"
    request.object.return_overrides.response_code = 200
    request.object.return_overrides.response_error = '{"key": "value"}\n'
    return request, session


@Hook
def respond_body(request, session, spec):
    request.object.return_overrides.response_code = 201
    request.object.return_overrides.response_body = "made"
    return request, session


@Hook
def refuse_400(request, session, spec):
    request.object.return_overrides.headers["X-Why"] = "because"
    request.object.return_overrides.response_code = 400
    request.object.return_overrides.response_error = 'bad "thing"'
    return request, session


@Hook
def refuse_silently(request, session, spec):
    request.object.return_overrides.response_code = 401
    return request, session


@Hook
def override_error(request, session, spec):
    request.object.return_overrides.response_code = 418
    request.object.return_overrides.override_error = True
    request.object.return_overrides.response_body = "teapot"
    return request, session


# ---- Forms of return, and failures


@Hook
def return_message(request, session, spec):
    request.add_header("X-Added", "yes")
    return request.object, session


@Hook
def return_list(request, session, spec):
    request.add_header("X-Added", "yes")
    return [request, session]


@Hook
def return_none(request, session, spec):
    return None


@Hook
def return_text(request, session, spec):
    return "x", "y"


@Hook
def fail(request, session, spec):
    request.add_header("X-Added", "before it failed")
    raise ValueError("boom")


@Hook
def exit(request, session, spec):
    raise SystemExit(3)


@Hook
def bad_header_name(request, session, spec):
    request.add_header("X Bad", "1")
    return request, session


@Hook
def bad_header_value(request, session, spec):
    request.add_header("X-Bad", "1\r\nX-Smuggled: 1")
    return request, session


@Hook
def bad_method(request, session, spec):
    request.object.method = "GET / HTTP/1.1"
    return request, session


@Hook
def bad_url(request, session, spec):
    request.object.url = "no slash"
    return request, session


@Hook
def bad_status(request, session, spec):
    request.object.return_overrides.response_code = 101
    return request, session


@Hook
def framing(request, session, spec):
    request.add_header("Content-Length", "7")
    request.add_header("Transfer-Encoding", "chunked")
    request.add_header("X-Added", "yes")
    return request, session


# ---- Authentication


@Hook
def allow(request, session, metadata, spec):
    token = request.get_header("Authorization")
    if token:
        session.rate, session.per = 1000.0, 1.0
        session.alias = "alice"
        metadata["token"] = token
    return request, session, metadata


@Hook
def allow_session_token(request, session, metadata, spec):
    session.metadata["token"] = "token-in-session"
    return request, session, metadata


@Hook
def allow_dict(request, session, metadata, spec):
    return request, session, {"token": "token-in-dict", "colour": "red"}


@Hook
def allow_new_session(request, session, metadata, spec):
    from tyk.session import TykSession

    fresh = TykSession()
    fresh.alias = "fresh"
    metadata["token"] = "token-of-fresh"
    return request, fresh, metadata


@Hook
def allow_three(request, session, spec):
    session.metadata["token"] = "three"
    return request, session


@Hook
def allow_limited(request, session, metadata, spec):
    metadata["token"] = request.get_header("Authorization")
    session.quota_max, session.quota_renewal_rate = 2, 3600
    return request, session, metadata


@Hook
def allow_rated(request, session, metadata, spec):
    metadata["token"] = request.get_header("Authorization")
    session.rate, session.per = 2.0, 60.0
    return request, session, metadata


@Hook
def allow_expired(request, session, metadata, spec):
    metadata["token"], session.expires = "old", 1000
    return request, session, metadata


@Hook
def allow_inactive(request, session, metadata, spec):
    metadata["token"], session.is_inactive = "idle", True
    return request, session, metadata


@Hook
def allow_other_api(request, session, metadata, spec):
    metadata["token"] = "elsewhere"
    session.access_rights["another-api"].api_id = "another-api"
    return request, session, metadata


@Hook
def allow_edited(request, session, metadata, spec):
    request.add_header("X-User", "alice")
    request.delete_header("Authorization")
    metadata["token"] = "edited"
    return request, session, metadata


@Hook
def allow_policy(request, session, metadata, spec):
    metadata["token"] = "under-policy"
    session.apply_policies.append(request.get_header("X-Policy"))
    return request, session, metadata


@Hook
def allow_cached(request, session, metadata, spec):
    tyk.trigger_event("PluginCalled", request.object.url)
    metadata["token"] = "any"
    session.alias = request.get_header("Authorization") or "form"
    session.id_extractor_deadline = 2000000000
    return request, session, metadata


@Hook
def allow_briefly(request, session, metadata, spec):
    tyk.trigger_event("PluginCalled", request.object.url)
    metadata["token"] = "any"
    session.id_extractor_deadline = 1
    return request, session, metadata


@Hook
def no_token(request, session, metadata, spec):
    session.alias = "nobody"
    return request, session, metadata


# ---- Responses


@Hook
def add_response_header(request, response, session, metadata, spec):
    response.headers["injectedkey"] = "injectedvalue"
    return response


@Hook
def two_cookies(request, response, session, metadata, spec):
    new_header = response.multivalue_headers.add()
    new_header.key = "Set-Cookie"
    new_header.values.extend("sessionToken=abc123; HttpOnly; Secure")
    new_header.values.extend("language=en-US; Secure")
    return response


@Hook
def change_response(request, response, session, metadata, spec):
    response.status_code = 203
    response.raw_body = response.raw_body.replace(b"old", b"renewed")
    return response


@Hook
def text_response(request, response, session, metadata, spec):
    response.body = response.body.upper()
    return response


@Hook
def drop_response_header(request, response, session, metadata, spec):
    del response.headers["X-Old"]
    return response


@Hook
def report_response(request, response, session, metadata, spec):
    response.headers["X-Report"] = (
        f"{request.object.url} {session.alias} {metadata.get('token')} {response.status_code}"
    )
    return response


@Hook
def return_nothing(request, response, session, metadata, spec):
    response.headers["X-Added"] = "yes"


@Hook
def fail_response(request, response, session, metadata, spec):
    raise KeyError("gone")


@Hook
def bad_response_header(request, response, session, metadata, spec):
    response.headers["X-Bad"] = "a\nb"
    return response


@Hook
def bad_response_status(request, response, session, metadata, spec):
    response.status_code = 42
    return response


@Hook
def session_in_response(request, response, session, metadata, spec):
    session.alias = "changed"
    return response


# ---- The matrix: what the hooks above do, in authentication


@Hook
def auth_add_header(request, session, metadata, spec):
    metadata["token"] = "key"
    return *add_header(request, session, spec), metadata


@Hook
def auth_set_body(request, session, metadata, spec):
    metadata["token"] = "key"
    return *set_body(request, session, spec), metadata


@Hook
def auth_add_param(request, session, metadata, spec):
    metadata["token"] = "key"
    return *add_param(request, session, spec), metadata


@Hook
def auth_report_session(request, session, metadata, spec):
    report_session(request, session, spec)
    metadata["token"] = "key"
    return request, session, metadata


@Hook
def auth_write_session(request, session, metadata, spec):
    metadata["token"] = "key"
    return *write_session(request, session, spec), metadata
