-- Greets whoever calls: one header for the upstream, and one for the client.

-- Tell the upstream who calls, in the words of the API's config_data.
function greet(request, session, spec)
  local config = cjson.decode(spec.config_data or "{}")
  local name = request.headers["X-Name"] or "stranger"
  request.set_headers["X-Greeting"] = (config.greeting or "Hello") .. ", " .. name
  tyk.log("greeted " .. name, "info")
  return request, session
end

-- Tell the client whose answer this is.
function sign(request, response, session, metadata, spec)
  response.headers["X-Signed-By"] = "my-plugin"
  return response
end
