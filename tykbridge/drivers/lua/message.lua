-- The message as tables: what is touched is fetched, and what became different is given back when the hook is over.
--
-- A message and a map are empty tables at first, whose metatables fetch a field or an entry, once. Lists, and fields
-- with messages in maps and lists, are fetched whole, and compared in the end. Bodies never stand in their table: which
-- of the two was written last counts.
local limits, host, json, layout = ...

local type, error, pairs, setmetatable, rawget, rawset = type, error, pairs, setmetatable, rawget, rawset
local sort = table.sort
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
  nodes[id].fields[name].place = #nodes[id].order
end

local UNREAD, GONE = {}, {} -- what a field or an entry was before that nobody read; a value that is nil
-- The tables of the call that runs: from 1 to count in the order in which they were made; and by each its state.
local current, count

local function state_of(t)
  local state = current and current[t]
  if not state then
    error("this is part of a message whose hook is over: take what you need out of it", 3)
  end
  return state
end

local MESSAGE, MAP = { __metatable = false }, { __metatable = false }

local NOTHING = {} -- what was there before, where nothing was touched

local function track(proxy, state)
  current[proxy] = state
  count = count + 1
  current[count] = proxy
  return proxy
end

-- Notes what a field or an entry was; of entries the order as well, in which they are given back.
local function note(state, name, value)
  local before, keys = state.before, state.keys
  if before == NOTHING then
    state.before = { [name] = value }
    state.keys = state.id and { name }
    return
  end
  if keys and before[name] == nil then
    keys[#keys + 1] = name
  end
  before[name] = value
end

local function message(id)
  return track(setmetatable({}, MESSAGE), { node = nodes[id], before = NOTHING })
end

local function map(id, name)
  return track(setmetatable({}, MAP), { id = id, field = name, before = NOTHING })
end

local function fetch(state, name, field)
  local id, kind = state.node.id, field.kind
  if kind == "body" then
    state.bodies = state.bodies or {}
    state.bodies[name] = ask(host.get, id, name)
    return state.bodies[name]
  elseif kind == "value" then
    local value = ask(host.get, id, name)
    note(state, name, value)
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
  note(state, name, made)
  return made
end

function MESSAGE.__index(proxy, name)
  local state = state_of(proxy)
  local field = state.node.fields[name]
  if not field or state.before[name] ~= nil then
    return nil
  end
  if field.kind == "body" then
    if state.wrote and state.wrote[name] then
      return state.wrote[name].value
    end
    return state.bodies and state.bodies[name] or fetch(state, name, field)
  end
  local value = fetch(state, name, field)
  rawset(proxy, name, value)
  return value
end

function MESSAGE.__newindex(proxy, name, value)
  local state = state_of(proxy)
  local field = state.node.fields[name]
  if not field then
    error(state.node.name .. " has no field " .. tostring(name), 2)
  end
  if field.kind == "body" then
    state.wrote = state.wrote or {}
    state.wrote[name], state.last = { value = value }, name
    return
  end
  if state.before[name] == nil then
    note(state, name, UNREAD)
  end
  rawset(proxy, name, value)
end

-- The field after another one, and its value.
local function next_field(proxy, name)
  local node = state_of(proxy).node
  local place = name == nil and 0 or node.fields[name].place
  for i = place + 1, #node.order do
    local value = proxy[node.order[i]]
    if value ~= nil then
      return node.order[i], value
    end
  end
end

function MESSAGE.__pairs(proxy)
  return next_field, proxy
end

function MAP.__index(proxy, key)
  local state = state_of(proxy)
  if state.whole or type(key) ~= "string" or state.before[key] ~= nil then
    return nil
  end
  local value = ask(host.get_entry, state.id, state.field, key)
  note(state, key, value == nil and GONE or value)
  if value ~= nil then
    rawset(proxy, key, value)
  end
  return value
end

function MAP.__newindex(proxy, key, value)
  local state = state_of(proxy)
  if state.before[key] == nil then
    note(state, key, UNREAD)
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
      note(state, key, value)
    end
  end
  state.whole = true
end

function MAP.__pairs(proxy)
  load_map(proxy, state_of(proxy))
  return next, proxy
end

function _G.next(t, key)
  local state = type(t) == "table" and current and current[t]
  if state and state.node then
    return next_field(t, key)
  elseif state and key == nil then
    load_map(t, state)
  end
  return next(t, key)
end

-- ---- What became different: five values for each change

local out

local function put(what, id, name, key, value)
  out = out or {}
  local n = #out
  out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5] = what, id, name, key, value
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

-- The keys of a table that stands for a map, in their order: a table has none.
function messages.keys(t, name)
  local keys = {}
  for key, value in pairs(t) do
    text_of(name, key, value)
    keys[#keys + 1] = key
  end
  sort(keys)
  return keys
end

local function collect_map(proxy, state)
  local before = state.before
  if before == NOTHING and next(proxy) == nil then
    return
  end
  local name = nodes[state.id].name .. "." .. state.field
  for _, key in pairs(state.keys or NOTHING) do
    local value = rawget(proxy, key)
    if value == nil and before[key] ~= GONE and type(key) == "string" then
      put("gone", state.id, state.field, key, false)
    elseif value ~= nil and before[key] ~= value then
      put("entry", state.id, state.field, key, text_of(name, key, value))
    end
  end
  for key, value in next, proxy do
    if before[key] == nil then -- by rawset
      put("entry", state.id, state.field, key, text_of(name, key, value))
    end
  end
end

local function collect_field(state, name, field, value)
  local id, full, kind = state.node.id, state.node.name .. "." .. name, type(value)
  if field.kind == "value" or field.kind == "body" then
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      wrong(full, "a string, a number or a boolean", value)
    end
    put("value", id, name, value, false)
  elseif kind ~= "table" or (current[value] and field.kind ~= "map") then
    wrong(full, "a table of its own", value)
  elseif field.kind == "map" then
    put("clear", id, name, false, false)
    for _, key in pairs(messages.keys(value, full)) do
      put("entry", id, name, key, text_of(full, key, value[key]))
    end
  elseif field.kind == "message" then
    messages.assign(message(field.child), value) -- looked at in its turn
  else
    put("json", id, name, encode(value), false)
  end
end

local function collect_bodies(state)
  for i = 1, 2 do
    for name, written in next, state.wrote do
      if (name == state.last) == (i == 2) then
        if written.value == nil then
          put("clear", state.node.id, name, false, false)
        else
          collect_field(state, name, state.node.fields[name], written.value)
        end
      end
    end
  end
end

local function collect_message(proxy, state)
  local before = state.before
  if state.wrote then
    collect_bodies(state)
  end
  if before == NOTHING and next(proxy) == nil then
    return
  end
  for name, value in next, proxy do
    local field = state.node.fields[name]
    if not field then
      error(state.node.name .. " has no field " .. tostring(name), 0)
    end
    local copy = state.copies and state.copies[name]
    if before[name] ~= value or (copy and copy ~= encode(value)) then
      collect_field(state, name, field, value)
    end
  end
  for name in next, before do
    if rawget(proxy, name) == nil then
      put("clear", state.node.id, name, false, false)
    end
  end
end

-- Whether a map is still the one of its message: another table may have been put in its place.
local function is_in_place(proxy, state)
  if state.id == 0 then
    return state.field ~= "spec"
  end
  for i = 1, count do
    local owner = current[i]
    local node = current[owner].node
    if node and node.id == state.id and rawget(owner, state.field) == proxy then
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
  current, out, count = {}, nil, 0
end

function messages.close()
  current = nil
end

function messages.collect()
  local i = 1
  while i <= count do -- there may be more of them meanwhile
    local proxy = current[i]
    local state = current[proxy]
    if state.node then
      collect_message(proxy, state)
    elseif is_in_place(proxy, state) then
      collect_map(proxy, state)
    end
    i = i + 1
  end
  return out
end

messages.message, messages.map = message, map

return messages
