-- The message as tables: what is touched is fetched, and what became different is given back when the hook is over.
--
-- A message and a map are empty tables at first, whose metatables fetch a field or an entry, once. Lists, and fields
-- with messages in maps and lists, are fetched whole, and compared in the end.
local limits, host, json, layout = ...

local type, error, pairs, setmetatable, rawget, rawset = type, error, pairs, setmetatable, rawget, rawset
local tostring, next = tostring, limits.next
local ask, read, encode = json.ask, json.read, json.encode

-- layout: a line for each field: number of its message, name of its message, its own name, kind, number of its child.
local messages, nodes = {}, {}
for line in string.gmatch(layout, "[^\n]+") do
  local id, owner, name, kind, child = string.match(line, "(%d+) (%S+) (%S+) (%S+) (%d+)")
  id = math.tointeger(id)
  nodes[id] = nodes[id] or { id = id, name = owner, fields = {}, order = {} }
  nodes[id].fields[name] = { kind = kind, child = math.tointeger(child) }
  nodes[id].order[#nodes[id].order + 1] = name
end

local UNREAD, GONE = {}, {} -- what a field or an entry was before that nobody read; a value that is nil
local current -- what belongs to the call that runs: by its table
local all

local function state_of(t)
  local state = current and current[t]
  if not state then
    error("this is part of a message whose hook is over: take what you need out of it", 3)
  end
  return state
end

local MESSAGE, MAP = { __metatable = false }, { __metatable = false }

local function track(proxy, state)
  state.proxy, state.before = proxy, {}
  current[proxy] = state
  all[#all + 1] = state
  return proxy
end

local function message(id)
  return track(setmetatable({}, MESSAGE), { node = nodes[id] })
end

local function map(id, name)
  return track(setmetatable({}, MAP), { id = id, field = name, name = nodes[id].name .. "." .. name })
end

local function fetch(state, name, field)
  local id, kind = state.node.id, field.kind
  if kind == "value" then
    local value = ask(host.get, id, name)
    state.before[name] = value
    return value
  end
  local made
  if kind == "map" then
    made = map(id, name)
  elseif kind == "message" then
    made = message(field.child)
  else
    ask(host.get_all, id, name)
    made = read()
    state.copies = state.copies or {}
    state.copies[name] = encode(made)
  end
  state.before[name] = made
  return made
end

function MESSAGE.__index(proxy, name)
  local state = state_of(proxy)
  local field = state.node.fields[name]
  if not field or state.before[name] ~= nil then
    return nil
  end
  local value = fetch(state, name, field)
  rawset(proxy, name, value)
  return value
end

function MESSAGE.__newindex(proxy, name, value)
  local state = state_of(proxy)
  if not state.node.fields[name] then
    error(state.node.name .. " has no field " .. tostring(name), 2)
  end
  if state.before[name] == nil then
    state.before[name] = UNREAD
  end
  rawset(proxy, name, value)
end

function MESSAGE.__pairs(proxy)
  local state = state_of(proxy)
  for _, name in pairs(state.node.order) do
    local _ = proxy[name]
  end
  return next, proxy
end

function MAP.__index(proxy, key)
  local state = state_of(proxy)
  if state.whole or type(key) ~= "string" or state.before[key] ~= nil then
    return nil
  end
  local value = ask(host.get_entry, state.id, state.field, key)
  state.before[key] = value == nil and GONE or value
  if value ~= nil then
    rawset(proxy, key, value)
  end
  return value
end

function MAP.__newindex(proxy, key, value)
  local state = state_of(proxy)
  if state.before[key] == nil then
    state.before[key] = UNREAD
  end
  rawset(proxy, key, value)
end

local function load_map(proxy, state)
  if state.whole then
    return
  end
  ask(host.get_all, state.id, state.field)
  for key, value in next, read() do
    if state.before[key] == nil then
      rawset(proxy, key, value)
    end
    if state.before[key] == nil or state.before[key] == UNREAD then
      state.before[key] = value
    end
  end
  state.whole = true
end

function MAP.__pairs(proxy)
  load_map(proxy, state_of(proxy))
  return next, proxy
end

function _G.next(t, key)
  local state = current and current[t]
  if state and key == nil then
    if state.node then
      MESSAGE.__pairs(t)
    else
      load_map(t, state)
    end
  end
  return next(t, key)
end

-- ---- What became different: five values for each change

local out

local function put(what, id, name, key, value)
  local count = #out
  out[count + 1], out[count + 2], out[count + 3], out[count + 4], out[count + 5] = what, id, name, key, value
end

local function wrong(name, wanted, value)
  error(name .. " must be " .. wanted .. ", not " .. (value == nil and "nil" or "a " .. type(value)), 0)
end

local function text_of(name, key, value)
  if type(key) ~= "string" then
    wrong("a key of " .. name, "a string", key)
  end
  if type(value) ~= "string" then
    wrong(name .. '["' .. key .. '"]', "a string", value)
  end
  return value
end

local function collect_map(state)
  for key, value in next, state.proxy do
    if state.before[key] ~= value then
      put("entry", state.id, state.field, key, text_of(state.name, key, value))
    end
  end
  for key, value in next, state.before do
    if value ~= GONE and rawget(state.proxy, key) == nil then
      put("gone", state.id, state.field, key, false)
    end
  end
end

local function collect_field(state, name, field, value)
  local id, full, kind = state.node.id, state.node.name .. "." .. name, type(value)
  if field.kind == "value" then
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      wrong(full, "a string, a number or a boolean", value)
    end
    put("value", id, name, value, false)
  elseif kind ~= "table" or (current[value] and field.kind ~= "map") then
    wrong(full, "a table of its own", value)
  elseif field.kind == "map" then
    put("clear", id, name, false, false)
    for key, item in pairs(value) do
      put("entry", id, name, key, text_of(full, key, item))
    end
  elseif field.kind == "message" then
    messages.assign(message(field.child), value) -- looked at in its turn
  else
    put("json", id, name, encode(value), false)
  end
end

local function collect_message(state)
  for name, value in next, state.proxy do
    local field = state.node.fields[name]
    if not field then
      error(state.node.name .. " has no field " .. tostring(name), 0)
    end
    local copy = state.copies and state.copies[name]
    if state.before[name] ~= value or (copy and copy ~= encode(value)) then
      collect_field(state, name, field, value)
    end
  end
  for name in next, state.before do
    if rawget(state.proxy, name) == nil then
      put("clear", state.node.id, name, false, false)
    end
  end
end

-- Whether a map is still the one of its message: another table may have been put in its place.
local function is_in_place(state)
  if state.id == 0 then
    return state.field ~= "spec"
  end
  for i = 1, #all do
    local node = all[i].node
    if node and node.id == state.id and rawget(all[i].proxy, state.field) == state.proxy then
      return true
    end
  end
  return false
end

-- Sets the fields that a table has, which a hook returned or assigned in the place of a message.
function messages.assign(proxy, given)
  for name, value in pairs(given) do
    local field = state_of(proxy).node.fields[name]
    local mine = field and field.kind == "message" and type(value) == "table" and proxy[name]
    if mine and mine ~= value then
      messages.assign(mine, value)
    else
      proxy[name] = value
    end
  end
end

function messages.open()
  current, all, out = {}, {}, {}
end

function messages.close()
  current, all = nil, nil
end

function messages.collect()
  local i = 1
  while i <= #all do -- there may be more of them meanwhile
    local state = all[i]
    if state.node then
      collect_message(state)
    elseif is_in_place(state) then
      collect_map(state)
    end
    i = i + 1
  end
  return out
end

messages.message, messages.map = message, map

return messages
