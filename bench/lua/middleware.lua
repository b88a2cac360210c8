function add_header(request, session, spec)
  request.set_headers["X-Added"] = "by the hook"
  return request, session
end
