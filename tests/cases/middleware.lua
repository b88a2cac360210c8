-- The hooks that the table of cases puts together, in Lua.

local function none(value)
  return value == nil and "None" or value
end

local function joined(map)
  local pairs_of = {}
  for name, value in pairs(map) do
    table.insert(pairs_of, name .. "=" .. value)
  end
  table.sort(pairs_of)
  return table.concat(pairs_of, " ")
end

local function report(request, text)
  request.set_headers["X-Report"] = text
end

-- ---- Requests

function nothing(request, session, spec)
  return request, session
end

function add_header(request, session, spec)
  request.set_headers["X-Added"] = "yes"
  return request, session
end

function replace_header(request, session, spec)
  tyk.req.set_header("x-old", "new")
  return request, session
end

function delete_header(request, session, spec)
  table.insert(request.delete_headers, "X-OLD")
  return request, session
end

function report_header(request, session, spec)
  report(request, none(request.headers["X-Added"]))
  return request, session
end

function see_own_header(request, session, spec)
  request.set_headers["X-Added"] = "yes"
  report(request, none(tyk.req.get_header("X-Added")))
  return request, session
end

function write_headers_map(request, session, spec)
  request.headers["X-Added"] = "not applied"
  return request, session
end

function set_body(request, session, spec)
  request.body = "from the hook"
  return request, session
end

function set_raw_body(request, session, spec)
  request.raw_body = "\xff\x00raw"
  return request, session
end

function clear_body(request, session, spec)
  request.raw_body = ""
  return request, session
end

function body_twice(request, session, spec)
  request.body = "first"
  request.raw_body = "second"
  return request, session
end

function report_body(request, session, spec)
  report(request, "'" .. request.body .. "' " .. #request.raw_body)
  return request, session
end

function add_param(request, session, spec)
  request.add_params.added = "a b&c"
  return request, session
end

function delete_param(request, session, spec)
  request.delete_params[#request.delete_params + 1] = "a"
  return request, session
end

function extend_param(request, session, spec)
  request.extended_params["b"] = "again"
  return request, session
end

function report_params(request, session, spec)
  report(request, joined(request.params))
  return request, session
end

function rewrite_path(request, session, spec)
  request.url = "/rewritten"
  return request, session
end

function rewrite_query(request, session, spec)
  request.url = (request.url:gsub("a=2", "a=two"))
  return request, session
end

function set_method(request, session, spec)
  request.method = "PUT"
  return request, session
end

function report_request(request, session, spec)
  report(request, table.concat({ request.method, request.url, request.request_uri, request.scheme }, " "))
  return request, session
end

function report_spec(request, session, spec)
  report(request, joined(spec))
  return request, session
end

function report_overrides(request, session, spec)
  report(request, tostring(request.return_overrides.response_code))
  return request, session
end

function report_session(request, session, spec)
  local rate = string.format("%g", session.rate)
  report(request, table.concat({ session.org_id, session.alias, none(session.metadata.token), rate }, " "))
  return request, session
end

function report_metadata(request, session, metadata, spec)
  report(request, joined(metadata))
  return request, session, metadata
end

function report_quota(request, session, spec)
  request.set_headers["X-Quota"] = tostring(session.quota_remaining)
  return request, session
end

function write_session(request, session, spec)
  session.rate = 1000000
  session.metadata.grade = "gold"
  return request, session
end

function same_session(request, session, spec)
  session.alias = session.alias
  return request, session
end

function context_variables(request, session, spec)
  local names = {}
  for i, name in ipairs({ "path", "token", "headers_Accept", "none" }) do
    names[i] = "$tyk_context." .. name
  end
  request.set_headers["X-Context"] = table.concat(names, "|")
  request.url = "/to?all=$tyk_context.request_data"
  return request, session
end

function context_in_header(request, session, spec)
  request.set_headers["X-Context"] = "$tyk_context.request_data"
  return request, session
end

-- ---- Overrides

function respond_200(request, session, spec)
  request.return_overrides.headers["content-type"] = "application/json"
  request.return_overrides.response_code = 200
  request.return_overrides.response_error = '{"key": "value"}\n'
  return request, session
end

function respond_body(request, session, spec)
  request.return_overrides = { response_code = 201, response_body = "made" }
  return request, session
end

function refuse_400(request, session, spec)
  local overrides = request.return_overrides
  overrides.headers = { ["X-Why"] = "because" }
  overrides.response_code = 400
  overrides.response_error = 'bad "thing"'
  return request, session
end

function refuse_silently(request, session, spec)
  request.return_overrides.response_code = 401
  return request, session
end

function override_error(request, session, spec)
  request.return_overrides.response_code = 418
  request.return_overrides.override_error = true
  request.return_overrides.response_body = "teapot"
  return request, session
end

-- ---- Forms of return, and failures

function return_message(request, session, spec)
  return { set_headers = { ["X-Added"] = "yes" } }, session
end

function return_list(request, session, spec)
  request.set_headers = { ["X-Added"] = "yes" }
  return request, {}
end

function return_none(request, session, spec)
  return nil
end

function return_text(request, session, spec)
  return "x", "y"
end

function fail(request, session, spec)
  request.set_headers["X-Added"] = "before it failed"
  error("boom")
end

function exit(request, session, spec)
  os.exit(3)
end

function bad_header_name(request, session, spec)
  request.set_headers["X Bad"] = "1"
  return request, session
end

function bad_header_value(request, session, spec)
  request.set_headers["X-Bad"] = "1\r\nX-Smuggled: 1"
  return request, session
end

function bad_method(request, session, spec)
  request.method = "GET / HTTP/1.1"
  return request, session
end

function bad_url(request, session, spec)
  request.url = "no slash"
  return request, session
end

function bad_status(request, session, spec)
  request.return_overrides.response_code = 101
  return request, session
end

function framing(request, session, spec)
  request.set_headers["Content-Length"] = "7"
  request.set_headers["Transfer-Encoding"] = "chunked"
  request.set_headers["X-Added"] = "yes"
  return request, session
end

-- ---- Authentication

function allow(request, session, metadata, spec)
  local token = request.headers.Authorization
  if token and token ~= "" then
    session.rate, session.per = 1000.0, 1.0
    session.alias = "alice"
    metadata.token = token
  end
  return request, session, metadata
end

function allow_session_token(request, session, metadata, spec)
  session.metadata.token = "token-in-session"
  return request, session, metadata
end

function allow_dict(request, session, metadata, spec)
  return request, session, { token = "token-in-dict", colour = "red" }
end

function allow_new_session(request, session, metadata, spec)
  metadata.token = "token-of-fresh"
  return request, { alias = "fresh" }, metadata
end

function allow_three(request, session, spec)
  session.metadata.token = "three"
  return request, session
end

function allow_limited(request, session, metadata, spec)
  metadata.token = request.headers.Authorization
  session.quota_max, session.quota_renewal_rate = 2, 3600
  return request, session, metadata
end

function allow_rated(request, session, metadata, spec)
  metadata.token = request.headers.Authorization
  session.rate, session.per = 2.0, 60.0
  return request, session, metadata
end

function allow_expired(request, session, metadata, spec)
  metadata.token, session.expires = "old", 1000
  return request, session, metadata
end

function allow_inactive(request, session, metadata, spec)
  metadata.token, session.is_inactive = "idle", true
  return request, session, metadata
end

function allow_other_api(request, session, metadata, spec)
  metadata.token = "elsewhere"
  session.access_rights["another-api"] = { api_id = "another-api" }
  return request, session, metadata
end

function allow_edited(request, session, metadata, spec)
  request.set_headers["X-User"] = "alice"
  tyk.req.clear_header("Authorization")
  metadata.token = "edited"
  return request, session, metadata
end

function allow_policy(request, session, metadata, spec)
  metadata.token = "under-policy"
  table.insert(session.apply_policies, request.headers["X-Policy"])
  return request, session, metadata
end

function allow_cached(request, session, metadata, spec)
  tyk.trigger_event("PluginCalled", request.url)
  metadata.token = "any"
  session.alias = request.headers.Authorization or "form"
  session.id_extractor_deadline = 2000000000
  return request, session, metadata
end

function allow_briefly(request, session, metadata, spec)
  tyk.trigger_event("PluginCalled", request.url)
  metadata.token = "any"
  session.id_extractor_deadline = 1
  return request, session, metadata
end

function no_token(request, session, metadata, spec)
  session.alias = "nobody"
  return request, session, metadata
end

-- ---- Responses

function add_response_header(request, response, session, metadata, spec)
  response.headers.injectedkey = "injectedvalue"
  return response
end

function two_cookies(request, response, session, metadata, spec)
  local values = { "sessionToken=abc123; HttpOnly; Secure", "language=en-US; Secure" }
  table.insert(response.multivalue_headers, { key = "Set-Cookie", values = values })
  return response
end

function change_response(request, response, session, metadata, spec)
  response.status_code = 203
  response.raw_body = response.raw_body:gsub("old", "renewed")
  return response
end

function text_response(request, response, session, metadata, spec)
  return { body = response.body:upper() }
end

function drop_response_header(request, response, session, metadata, spec)
  response.headers["X-Old"] = nil
  return response
end

function report_response(request, response, session, metadata, spec)
  local words = { request.url, session.alias, none(metadata.token), tostring(response.status_code) }
  response.headers["X-Report"] = table.concat(words, " ")
  return response
end

function return_nothing(request, response, session, metadata, spec)
  response.headers["X-Added"] = "yes"
end

function fail_response(request, response, session, metadata, spec)
  error({ code = "gone" })
end

function bad_response_header(request, response, session, metadata, spec)
  response.headers["X-Bad"] = "a\nb"
  return response
end

function bad_response_status(request, response, session, metadata, spec)
  response.status_code = 42
  return response
end

function session_in_response(request, response, session, metadata, spec)
  session.alias = "changed"
  return response
end

-- ---- The matrix: what the hooks above do, in authentication

function auth_add_header(request, session, metadata, spec)
  metadata.token = "key"
  add_header(request, session, spec)
  return request, session, metadata
end

function auth_set_body(request, session, metadata, spec)
  metadata.token = "key"
  set_body(request, session, spec)
  return request, session, metadata
end

function auth_add_param(request, session, metadata, spec)
  metadata.token = "key"
  add_param(request, session, spec)
  return request, session, metadata
end

function auth_report_session(request, session, metadata, spec)
  report_session(request, session, spec)
  metadata.token = "key"
  return request, session, metadata
end

function auth_write_session(request, session, metadata, spec)
  metadata.token = "key"
  write_session(request, session, spec)
  return request, session, metadata
end
