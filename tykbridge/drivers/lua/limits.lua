-- Keeps a bundle's code within its limits and, unless it is trusted, away from everything outside of its state.
--
-- A limit that is exceeded stays so until the call is over: whatever catches the error raises it again. Nothing of Lua
-- can be interrupted while it runs C code, so C functions whose work does not end with what they are given are bounded.
local trusted, now, MOST = ...

local debug, coroutine, string, table = debug, coroutine, string, table
local error, pcall, xpcall, type, select, rawlen = error, pcall, xpcall, type, select, rawlen
local setmetatable, rawget, tostring, tonumber = setmetatable, rawget, tostring, tonumber
local match, max, tointeger = string.match, math.max, math.tointeger
local sethook, metatable_of, getinfo = debug.sethook, debug.getmetatable, debug.getinfo
local unpack, resume, create = table.unpack, coroutine.resume, coroutine.create
local STEPS = 1000 -- instructions between two looks at the clock
local LARGE = 1000 -- elements or bytes from which a C function's work counts

local limits = {}
local HUGE = math.huge
local deadline, exceeded, allowed, late = HUGE, nil, 0, ""

-- Ends what runs at a time of the host's clock, which is so many milliseconds away.
function limits.start(moment, milliseconds)
  deadline = moment
  if allowed ~= milliseconds then -- made beforehand: when it is wanted there may be no memory
    allowed, late = milliseconds, "it ran longer than " .. milliseconds .. " ms"
  end
end

-- Gives what was exceeded, or false.
function limits.stop()
  local what = exceeded or false
  deadline, exceeded = HUGE, nil
  return what
end

function limits.exceed(what)
  exceeded = what
  error(what, 0)
end

function limits.exceeded()
  return exceeded
end

local function check()
  if exceeded then
    error(exceeded, 0)
  end
  if now() > deadline then
    limits.exceed(late)
  end
end

sethook(check, "", STEPS)

-- ---- What catches errors, and what runs beside

local function passed(...)
  if exceeded then
    error(exceeded, 0)
  end
  return ...
end

-- Where there is no memory left, nobody can look at the clock either.
local NO_MEMORY = "not enough memory"
local function caught(ok, ...)
  if not ok and (...) == NO_MEMORY then
    exceeded = exceeded or NO_MEMORY
  end
  passed()
  return ok, ...
end

function _G.pcall(...)
  return caught(pcall(...))
end

-- Whether an error was raised by the hook, or because there was no stack left to enter it.
local function is_in_hook()
  for level = 2, 6 do
    local info = getinfo(level, "n")
    if not info or info.namewhat == "hook" then
      return info ~= nil
    end
  end
  return false
end

function _G.xpcall(f, handler, ...)
  -- In the hook no hook runs: a handler would have no limit there.
  local function guarded(message)
    if exceeded or is_in_hook() then
      return message
    end
    return handler(message)
  end
  return caught(xpcall(f, guarded, ...))
end

local function ended(ok, ...)
  if ok then
    return ...
  end
  error((...), 0)
end

function coroutine.create(f)
  passed()
  if type(f) ~= "function" then
    create(f) -- says what is wrong
  end
  -- What is to be closed is closed before it dies: one that died in the hook has none any more while it is closed.
  local made = create(function(...)
    return ended(pcall(f, ...))
  end)
  sethook(made, check, "", STEPS)
  return made
end

function coroutine.resume(...)
  passed()
  return caught(resume(...))
end

local function unwrapped(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

local create_limited, resume_limited = coroutine.create, coroutine.resume
function coroutine.wrap(f)
  local made = create_limited(f)
  return function(...)
    return unwrapped(resume_limited(made, ...))
  end
end

local close = coroutine.close
function coroutine.close(made)
  passed()
  return caught(close(made))
end

-- ---- C functions with more work than their arguments hold

-- Puts something before a function, and after it. An error of C's names the field that was called: it is to be this one.
local function guard(library, name, before, after)
  local call = "own." .. name .. "(first, ...)"
  local code = "local own, before, after = ... return function(first, ...) before(first) return "
  code = code .. (after and "after(" .. call .. ")" or call) .. " end"
  library[name] = load(code, "=tykbridge")({ [name] = library[name] }, before, after)
end

local rep = string.rep
function string.rep(text, count, separator)
  local times = (type(count) == "number" or type(count) == "string") and tonumber(count)
  if times and times > 1 and (type(text) == "string" or type(text) == "number") then
    local each = #tostring(text) + #tostring(separator or "")
    if each == 0 then
      return ""
    end
    local size = each * (times + 0.0) -- which does not overflow
    if size > MOST then
      error("string.rep would make " .. tostring(size) .. " bytes, and " .. MOST .. " are allowed", 2)
    end
    if size > LARGE then
      check()
    end
  end
  return rep(text, count, separator)
end

-- A search for a text looks at most at as many bytes as both have, multiplied: this one looks at the clock between.
local find, sub = string.find, string.sub
local MANY = 1 << 27
local function search(text, wanted, from)
  local step = MANY // #wanted + 1
  for start = from < 0 and max(#text + from + 1, 1) or max(from, 1), #text - #wanted + 1, step do
    check()
    local first, last = find(sub(text, start, start + step + #wanted - 2), wanted, 1, true)
    if first then
      return start + first - 1, start + last - 1
    end
  end
  return nil
end

function string.find(text, wanted, from, is_plain)
  if type(text) == "string" and type(wanted) == "string" and #text * #wanted > MANY then
    local start = tointeger(tonumber(from or 1))
    if start and (is_plain or not find(wanted, "[%^$*+?.([%%-]")) then
      return search(text, wanted, start)
    end
  end
  return find(text, wanted, from, is_plain)
end

local matches = 0
local function before_match(text)
  matches = matches + 1
  if matches >= 8 or (type(text) == "string" and #text > 64) then
    matches = 0
    check()
  end
end
for _, name in pairs({ "find", "match", "gsub", "gmatch" }) do
  guard(string, name, before_match, passed)
end

-- Their work is as long as a text, or as what they make of it.
local function before_text(text)
  if type(text) == "string" and #text > LARGE then
    check()
  end
end
for _, name in pairs({ "lower", "upper", "reverse", "unpack" }) do
  guard(string, name, before_text)
end
guard(utf8, "len", before_text)
guard(utf8, "codepoint", before_text)

local format = string.format
function string.format(...)
  local made = format(...)
  if #made > LARGE then
    check()
  end
  return made
end

local function plain(t, name)
  if type(t) == "table" then
    local meta = metatable_of(t)
    if meta and rawget(meta, "__len") ~= nil then
      error("table." .. name .. ": a table whose metatable has __len may be of any length", 3)
    end
    if rawlen(t) > LARGE then
      check()
    end
  end
end

for _, name in pairs({ "insert", "remove", "sort", "concat", "unpack" }) do
  guard(table, name, function(t)
    return plain(t, name)
  end)
end

local move = table.move
function table.move(from, first, last, to, into)
  local count = (tonumber(last) or 0) + 0.0 - (tonumber(first) or 0) -- texts count as numbers do
  if count >= LARGE then
    if count > MOST / 16 then
      error("table.move of " .. tostring(count) .. " elements is more than a state can hold", 2)
    end
    check()
  end
  return move(from, first, last, to, into or from)
end

-- ---- What is not there

local set = setmetatable
function _G.setmetatable(t, meta)
  -- Finalizers run without a hook.
  if type(meta) == "table" and rawget(meta, "__gc") ~= nil then
    error("__gc is not allowed: finalizers run without limits", 2)
  end
  return set(t, meta)
end

local collect = collectgarbage
limits.collect = function()
  collect("collect")
end
limits.check = check
limits.load, limits.getinfo, limits.traceback = load, getinfo, debug.traceback
limits.unpack, limits.match = unpack, match
limits.metatable_of, limits.pcall, limits.xpcall, limits.next = metatable_of, pcall, xpcall, next

metatable_of("").__metatable = false
python = nil
limits.kept = "debug" -- looked up before each call, where there must be nothing to allocate

-- Before each call the host's library looks for the global "debug", where an error, of a metamethod or for memory, ends
-- the process. It is to look into a table that no code can reach.
local registry, GLOBALS = debug.getregistry(), 2
function limits.hide()
  local hidden = {}
  if trusted then -- what its `load` and `require` give finds the globals through it
    hidden.debug = {}
    for name, f in pairs(debug) do
      hidden.debug[name] = f
    end
    set(hidden, { __index = _G, __newindex = _G })
  end
  registry[GLOBALS] = hidden
end

if not trusted then
  local clock, date, time, difftime = os.clock, os.date, os.time, os.difftime
  os = { clock = clock, date = date, time = time, difftime = difftime }
  io, package, _G.debug, load, loadfile, dofile, require, warn = nil, nil, nil, nil, nil, nil, nil, nil
  string.dump = nil
  function collectgarbage(what)
    if what == nil or what == "collect" or what == "count" then
      check()
      return collect(what)
    end
    error('collectgarbage can "collect" and "count", and nothing else', 2)
  end
end

return limits
