-- What wrk sends for scripts/soak: requests of many kinds, each as often as its weight says.
--
-- Arguments: the number of the first request, a file of tokens as for bench.lua, and a file of kinds, one a line, parted
-- by tabs: weight, method, path, body, and headers as "Name: value". In all but the weight stand for themselves in
-- braces: n, the request's number; micros, six digits of it; slot, an id out of 2 000; source, an address made of n; and
-- of a token taken at random: id, name, auth.

local number
local tokens, kinds, total = {}, {}, 0
-- wrk parses the first request itself, and gives up when it does not know the method.
local looked_at = false

local function parts(line)
  local found = {}
  for part in (line .. "\t"):gmatch("(.-)\t") do
    found[#found + 1] = part
  end
  return found
end

function setup(thread)
  driver = thread
end

function init(args)
  number = tonumber(args[1])
  for line in io.lines(args[2]) do
    local id, name, auth = line:match("^(.-)\t(.-)\t(.-)$")
    tokens[#tokens + 1] = { id = id, name = name, auth = auth }
  end
  for line in io.lines(args[3]) do
    local part = parts(line)
    local kind = { method = part[2], path = part[3], body = part[4], headers = {} }
    for place = 5, #part do
      local name, value = part[place]:match("^(.-): (.*)$")
      kind.headers[name] = value
    end
    total = total + tonumber(part[1])
    kind.upto = total
    kinds[#kinds + 1] = kind
  end
  math.randomseed(number)
  statuses = {}
end

local function drawn()
  local at = math.random() * total
  for _, kind in ipairs(kinds) do
    if at < kind.upto then
      return kind
    end
  end
  return kinds[#kinds]
end

function request()
  local kind, values = looked_at and drawn() or kinds[1], tokens[math.random(#tokens)]
  looked_at = true
  values.n = number
  values.micros = string.format("%06d", number % 1000000)
  values.slot = string.format("%08x-0000-4000-8000-000000000000", math.random(2000))
  values.source = string.format("10.%d.%d.%d", number / 65536 % 256, number / 256 % 256, number % 256)
  number = number + 1
  local sent = {}
  for name, value in pairs(kind.headers) do
    sent[name] = value:gsub("{(%w+)}", values)
  end
  local target = kind.path:gsub("{(%w+)}", values)
  local content = kind.body ~= "" and kind.body:gsub("{(%w+)}", values) or nil
  return wrk.format(kind.method, target, sent, content)
end

function response(status)
  statuses[status] = (statuses[status] or 0) + 1
end

function done(summary)
  local errors, counts = summary.errors, {}
  for status, count in pairs(driver:get("statuses")) do
    counts[#counts + 1] = string.format('"%d": %d', status, count)
  end
  io.write(string.format(
    '\n{"requests": %d, "micros": %d, "statuses": {%s}, "broken": %d}\n', summary.requests, summary.duration,
    table.concat(counts, ", "), errors.connect + errors.read + errors.write + errors.timeout))
end
