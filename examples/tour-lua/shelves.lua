-- Which shelf a path is about: a module of the bundle's own, required by middleware.lua.

local shelves = {}

-- The first part of a path, such as "poetry" of "/poetry/7".
function shelves.shelf_of(path)
  return path:match("^/*([^/]+)") or "all"
end

return shelves
