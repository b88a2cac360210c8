-- What the host calls: loads a bundle's code, calls its functions; and what plugins call: tyk, require, print.
local limits, host, json, messages = ...

local type, error, pairs, select, tostring, rawget = type, error, pairs, select, tostring, rawget
local xpcall, pcall, load, getinfo, traceback = limits.xpcall, limits.pcall, limits.load, limits.getinfo, limits.traceback
local sub, match, insert, unpack, concat = string.sub, limits.match, table.insert, limits.unpack, table.concat
local math_type = math.type
local ask, next, G = json.ask, limits.next, _G

-- ---- What plugins call

local current_request

local function request()
  return current_request or error("there is no request here: tyk.req is for hooks", 3)
end

local function text(name, value)
  if type(value) == "string" then
    return value
  end
  if type(value) == "number" then
    return tostring(value)
  end
  error(name .. " must be a string, not a " .. type(value), 3)
end

tyk = { req = {} }

function tyk.req.get_headers()
  return request().headers
end

function tyk.req.get_header(name)
  return request().headers[text("name", name)]
end

function tyk.req.set_header(name, value)
  request().set_headers[text("name", name)] = text("value", value)
end

function tyk.req.clear_header(name)
  insert(request().delete_headers, text("name", name))
end

function tyk.req.get_params()
  return request().params
end

function tyk.req.get_param(name)
  return request().params[text("name", name)]
end

function tyk.req.set_param(name, value)
  request().add_params[text("name", name)] = text("value", value)
end

function tyk.req.clear_param(name)
  insert(request().delete_params, text("name", name))
end

function tyk.req.get_body()
  return request().raw_body
end

function tyk.req.set_body(body)
  request().raw_body = text("body", body)
end

function tyk.req.get_method()
  return request().method
end

function tyk.req.set_method(method)
  request().method = text("method", method)
end

function tyk.req.get_url()
  return request().url
end

function tyk.req.set_url(url)
  request().url = text("url", url)
end

function tyk.log(message, level)
  ask(host.log, text("message", message), level == nil and "info" or text("level", level))
end

function tyk.get_data(key)
  return ask(host.get_data, text("key", key))
end

function tyk.store_data(key, value, ttl)
  if ttl ~= nil and math_type(ttl) ~= "integer" then
    error("ttl must be a whole number of seconds", 2)
  end
  ask(host.store_data, text("key", key), text("value", value), ttl or 0)
end

function tyk.trigger_event(name, payload)
  ask(host.trigger_event, text("name", name), text("payload", payload))
end

function print(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = tostring((select(i, ...)))
  end
  ask(host.log, concat(words, "\t"), "info")
end

local LOADING, modules = {}, {}
for _, name in pairs({ "string", "table", "math", "coroutine", "utf8", "os", "cjson", "tyk" }) do
  modules[name] = G[name]
end

local syntax, syntax_file -- the words of the last file that could not be compiled

local function compiled(name, source)
  local chunk, words = load(source, "@" .. name, "t", G)
  if not chunk then
    syntax, syntax_file = words, name
    error(words, 0)
  end
  return chunk
end

local outside = G.require -- of a trusted bundle

function require(name)
  name = text("name", name)
  local known = modules[name]
  if known == LOADING then
    error('module "' .. name .. '" requires itself', 2)
  end
  if known ~= nil then
    return known
  end
  local file = ask(host.find_module, name)
  if not file then
    if outside then
      return outside(name)
    end
    error('the bundle has no module "' .. name .. '"', 2)
  end
  local chunk = compiled(file, ask(host.read_module, file))
  modules[name] = LOADING
  local ok, made = pcall(chunk, name, file)
  if not ok or limits.exceeded() then
    modules[name] = nil
    error(made, 0)
  end
  modules[name] = made == nil and true or made
  return modules[name]
end

-- ---- What the host calls

-- Tells of an error: its words, the place of the innermost function of the bundle, and where that was called from.
local function told(problem)
  if problem == syntax and syntax then
    local line, rest = match(syntax, "^.-:(%d+): (.*)$")
    return { rest or syntax, syntax_file, line or "", syntax }
  end
  local words = problem
  if type(problem) ~= "string" then
    local ok, made = pcall(tostring, problem)
    words = ok and made or "an error whose text cannot be had"
    if type(problem) == "table" and sub(words, 1, 6) == "table:" then
      words = "an error that is a table"
    end
  end
  words = match(words, "^tykbridge:%d+: (.*)$") or words -- raised below a function of the driver's
  local level, info = 2, nil
  repeat
    info = getinfo(level, "Sl")
    level = level + 1
  until not info or (sub(info.source, 1, 1) == "@" and info.currentline > 0)
  local file, line = "", ""
  if info then
    file, line = sub(info.source, 2), tostring(info.currentline)
    local prefix = info.short_src .. ":" .. line .. ": "
    if sub(words, 1, #prefix) == prefix then
      words = sub(words, #prefix + 1)
    end
  end
  return { words, file, line, traceback(words, 2) }
end

local function call(moment, milliseconds, f, ...)
  limits.start(moment, milliseconds)
  syntax = nil
  local ok, result = xpcall(f, told, ...)
  local exceeded = limits.stop()
  messages.close()
  current_request = nil
  if ok then
    if result then
      return true, unpack(result)
    end
    return true
  end
  if type(result) ~= "table" then -- what is raised where no handler is called
    result = { tostring(result), "", "", tostring(result) }
  end
  return false, exceeded, unpack(result)
end

local entry, names, known = {}, {}, {}

for name in next, G do
  known[name] = G[name]
end

-- Gives the functions that the code has made global: name, parameters (-1: any number), file and line of each.
function entry.load(file, source, moment, milliseconds)
  return call(moment, milliseconds, function()
    compiled(file, source)()
    local found = {}
    for name, f in next, G do
      if type(name) == "string" and type(f) == "function" and known[name] ~= f then
        local info = getinfo(f, "Su")
        if info.what == "Lua" and sub(info.source, 1, 1) == "@" then
          local count = #found
          found[count + 1], found[count + 2] = name, info.isvararg and -1 or info.nparams
          found[count + 3], found[count + 4] = sub(info.source, 2), info.linedefined
        end
      end
    end
    return found
  end)
end

function entry.name(id, name)
  names[id] = name
end

local function described(...)
  local kinds = {}
  for i = 1, select("#", ...) do
    kinds[i] = type((select(i, ...)))
  end
  return #kinds == 0 and "nothing" or concat(kinds, ", ")
end

local function taken(f, forms, ...)
  local wanted = forms == 3 and "request, session" or forms == 4 and "request, session, metadata" or "response"
  local info = getinfo(f, "S")
  local place = info and (sub(info.source, 2) .. ":" .. info.linedefined) or "?"
  error("returned " .. described(...) .. "; a hook with " .. forms .. " parameters returns " .. wanted .. " (" .. place .. ")", 0)
end

local function replace(mine, given)
  if given ~= mine then
    messages.assign(mine, given)
  end
end

local function finish(f, forms, mine, mine_too, my_response, ...)
  if forms == 5 then
    local response = ...
    if response ~= nil then
      if type(response) ~= "table" then
        taken(f, forms, ...)
      end
      replace(my_response, response)
    end
    return messages.collect()
  end
  local request, session, metadata = ...
  if type(request) ~= "table" or type(session) ~= "table" or (forms == 4 and type(metadata) ~= "table") then
    taken(f, forms, ...)
  end
  replace(mine, request)
  replace(mine_too, session)
  if forms == 4 and mine_too.metadata ~= metadata then
    for _, key in pairs(messages.keys(metadata, "metadata")) do
      mine_too.metadata[key] = metadata[key]
    end
  end
  return messages.collect()
end

local function run(id, forms)
  local f = rawget(G, names[id])
  if type(f) ~= "function" then
    error("the global " .. names[id] .. " is no function any more", 0)
  end
  messages.open()
  local request, session, spec = messages.message(1), messages.message(2), messages.map(0, "spec")
  current_request = request
  if forms == 3 then
    return finish(f, forms, request, session, nil, f(request, session, spec))
  elseif forms == 4 then
    return finish(f, forms, request, session, nil, f(request, session, session.metadata, spec))
  end
  local response = messages.message(3)
  local metadata = messages.map(0, "metadata")
  return finish(f, forms, request, session, response, f(request, response, session, metadata, spec))
end

function entry.call(id, forms, moment, milliseconds)
  return call(moment, milliseconds, run, id, forms)
end

local function run_event(id)
  ask(host.event)
  local both = json.read()
  rawget(G, names[id])(both.event, both.spec)
end

function entry.event(id, moment, milliseconds)
  return call(moment, milliseconds, run_event, id)
end

limits.hide()

return entry.load, entry.name, entry.call, entry.event, limits.collect
