-- A library's door, shelves and stamp: the plugin of examples/tour, in Lua.
--
-- A reader shows a library card. The cards are in the API's config_data, so no code changes when one is issued. Visits
-- are counted in the gateway's data store, and the second one fires an event, which this bundle hears as well.

local shelf_of = require("shelves").shelf_of

local HOUR = 3600

-- Authenticate: whoever shows a card that config_data knows gets a session.
function check_card(request, session, metadata, spec)
  local cards = cjson.decode(spec.config_data).cards
  local number = request.headers["X-Library-Card"]
  local card = cards[number]
  if not card then
    tyk.log("a visitor without a card", "warning")
    request.return_overrides.headers["WWW-Authenticate"] = "LibraryCard"
    request.return_overrides.response_code = 401
    request.return_overrides.response_error = "Please show your library card"
    return request, session, metadata
  end

  session.alias = card.name
  session.rate = card.books
  session.per = 60
  table.insert(session.tags, "reader")
  metadata.token = number -- the gateway keeps the session under this name
  metadata.language = card.language
  return request, session, metadata
end

-- Count, in data that outlives the request, and tell the world when a reader comes back.
function count_visits(request, session, spec)
  local key = "lua-visits:" .. session.metadata.token
  local visits = (tonumber(tyk.get_data(key)) or 0) + 1
  tyk.store_data(key, tostring(visits), HOUR)
  request.set_headers["X-Visits"] = tostring(visits)
  if visits == 2 then
    tyk.trigger_event("ReaderReturned", cjson.encode({ reader = session.alias }))
  end
  return request, session
end

-- Make the request what the upstream expects: no card, a language, a shelf.
function prepare(request, session, spec)
  table.insert(request.delete_headers, "X-Library-Card")
  request.set_headers["Accept-Language"] = session.metadata.language
  request.add_params.shelf = shelf_of(request.url:match("^[^?]*"))
  table.insert(request.delete_params, "debug")
  request.url = "/v2" .. request.url
  return request, session
end

-- Stamp the answer. Its length follows by itself.
function sign(request, response, session, metadata, spec)
  local answer = cjson.decode(response.raw_body)
  answer.reader = session.alias
  response.body = cjson.encode(answer)
  response.headers["Cache-Control"] = "private"
  return response
end

-- Hear of the event, as a bundle of somebody else's could.
function on_reader_returned(event, spec)
  local news = cjson.decode(event.message.Meta.Message)
  tyk.log(news.reader .. " is back: send a bookmark", "info")
end
