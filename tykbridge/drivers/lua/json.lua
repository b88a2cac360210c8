-- The module cjson, and how values of Python come into the state: as a row of tokens, which are asked for bit by bit.
local limits, host = ...

local type, error, pairs, tostring, select = type, error, pairs, tostring, select
local format, gsub, byte, concat, math_type = string.format, string.gsub, string.byte, table.concat, math.type
local rawget, rawset, pack, sort = rawget, rawset, table.pack, table.sort
local metatable_of, next = limits.metatable_of, limits.next
local DEPTH = 1000
local HUGE = math.huge

-- ---- From Python

local json = {}

-- Asks the host. It answers true and a value, false and what is wrong, or nil where there is no memory for the value.
function json.ask(f, ...)
  local ok, value = f(...)
  if ok then
    return value
  end
  if ok == nil then
    limits.collect()
    ok, value = f(...)
    if ok then
      return value
    end
    if ok == nil then
      limits.exceed("not enough memory")
    end
  end
  error(value, 0)
end
local ask = json.ask

local null = setmetatable({}, {
  __metatable = false,
  __tostring = function()
    return "null"
  end,
  __newindex = function()
    error("cjson.null cannot be changed", 2)
  end,
})

local tokens, at
local function token()
  if at == tokens.n then
    at = 1
    tokens = pack(host.more())
    if tokens[1] == nil then
      limits.collect()
      tokens = pack(host.more())
      if tokens[1] == nil then
        limits.exceed("not enough memory")
      end
    elseif tokens[1] == false then
      error(tokens[2], 0)
    end
  end
  at = at + 1
  return tokens[at]
end

local function value(depth)
  local kind = token()
  if kind == 1 then
    return token()
  elseif kind == 0 then
    return null
  end
  local made, count = {}, token()
  for i = 1, count do
    local key = i
    if kind == 2 then
      key = token()
    end
    rawset(made, key, value(depth + 1))
  end
  return made
end

-- Gives the value that the host has got ready.
function json.read()
  tokens, at = { n = 0 }, 0
  local made = value(0)
  tokens = nil -- it may hold much
  return made
end

-- ---- cjson

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["/"] = "\\/", ["\b"] = "\\b", ["\f"] = "\\f" }
ESCAPES["\n"], ESCAPES["\r"], ESCAPES["\t"] = "\\n", "\\r", "\\t"
for code = 0, 31 do
  local sign = string.char(code)
  ESCAPES[sign] = ESCAPES[sign] or format("\\u%04x", code)
end
ESCAPES["\127"] = "\\u007f"

local function quoted(text)
  return '"' .. gsub(text, '[%c"\\/]', ESCAPES) .. '"'
end

local function number(n)
  if math_type(n) == "integer" then
    return format("%d", n)
  end
  if n ~= n or n == HUGE or n == -HUGE then
    error("Cannot serialise number: must not be NaN or Infinity", 0)
  end
  return format("%.14g", n)
end

-- The length of a table whose keys are all positive whole numbers; nil for others, and for an empty one.
local function length(t)
  local count, most = 0, 0
  for key in next, t do
    if math_type(key) ~= "integer" or key < 1 then
      return nil
    end
    count = count + 1
    if key > most then
      most = key
    end
  end
  if count == 0 then
    return nil
  end
  if most > 10 and most > count * 2 then
    error("Cannot serialise table: excessively sparse array", 0)
  end
  return most
end

local function put(out, v, depth)
  local kind = type(v)
  if v == null or v == nil then
    out[#out + 1] = "null"
  elseif kind == "string" then
    out[#out + 1] = quoted(v)
  elseif kind == "number" then
    out[#out + 1] = number(v)
  elseif kind == "boolean" then
    out[#out + 1] = tostring(v)
  elseif kind ~= "table" then
    error("Cannot serialise " .. kind .. ": type not supported", 0)
  elseif depth >= DEPTH then
    error("Cannot serialise, excessive depth (" .. depth .. ")", 0)
  else
    local meta = metatable_of(v)
    if meta and rawget(meta, "__pairs") then -- what is of a message is there when it is asked for
      local copy = {}
      for key, item in pairs(v) do
        copy[key] = item
      end
      v = copy
    end
    local count = length(v)
    if count then
      for i = 1, count do
        out[#out + 1] = i == 1 and "[" or ","
        put(out, v[i], depth + 1)
      end
      out[#out + 1] = "]"
      return
    end
    local names, items, mark = {}, {}, "{"
    for key, item in next, v do
      local name = type(key) == "number" and number(key) or key
      if type(name) ~= "string" then
        error("Cannot serialise table: table key must be a number or string", 0)
      end
      names[#names + 1], items[name] = name, item
    end
    sort(names) -- else equal tables would not be equal texts
    for i = 1, #names do
      out[#out + 1] = mark .. quoted(names[i]) .. ":"
      put(out, items[names[i]], depth + 1)
      mark = ","
    end
    out[#out + 1] = mark == "{" and "{}" or "}"
  end
end

function json.encode(v)
  local out = {}
  put(out, v, 0)
  return concat(out)
end

cjson = {
  null = null,
  encode = function(...)
    if select("#", ...) ~= 1 then
      error("bad argument #1 to 'encode' (expected 1 argument)", 2)
    end
    return json.encode((...))
  end,
  decode = function(text)
    if type(text) ~= "string" then
      error("bad argument #1 to 'decode' (string expected, got " .. type(text) .. ")", 2)
    end
    if #text > 1000 then
      limits.check()
    end
    ask(host.decode, text)
    return json.read()
  end,
}
json.null = null

return json
