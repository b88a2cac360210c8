-- A library's door in Lua; README.md tells what it does.

local CARDS = { ["L-1815"] = "Ada", ["L-1906"] = "Grace" }

function tidy(request, session, spec)
  request.set_headers["X-Plugin"] = "library"
  local value = request.params.q
  if value then
    table.insert(request.delete_params, "q")
    request.add_params.query = value
  end
  return request, session
end

function check_card(request, session, metadata, spec)
  local card = request.headers["X-Library-Card"]
  local reader = CARDS[card]
  if not reader then
    local overrides = request.return_overrides
    overrides.response_code = 401
    overrides.response_error = "Please show your library card"
    overrides.headers["WWW-Authenticate"] = "LibraryCard"
    return request, session, metadata
  end
  session.alias = reader
  table.insert(session.tags, "reader")
  metadata.token = card
  metadata.reader = reader
  return request, session, metadata
end

function stamp(request, response, session, metadata, spec)
  local reader = session.metadata.reader or "nobody"
  response.headers["X-Reader"] = reader
  response.raw_body = response.raw_body .. "Read by " .. reader .. ".\n"
  return response
end

function on_stranger(event, spec)
  tyk.log("a stranger: " .. event.message.Type .. " in " .. spec.APIID, "info")
end
