-- Says whose request it has.
function tell(request, session, spec)
  request.set_headers["X-Lua"] = request.headers["X-Id"]
  return request, session
end
