-- What wrk sends for scripts/bench: one request again and again, with what differs from one to the next filled in.
--
-- Arguments: a method, a path, a body, the number of the first request, a file, and headers as "Name: value".
-- In path, body and headers stand for themselves in braces: n, the request's number; uuid, an id made of it; micros,
-- six digits of it; and of a line of the file, taken at random: id, name, auth.

local method, path, body, number
local headers, lines = {}, {}

function init(args)
  method, path, body, number = args[1], args[2], args[3], tonumber(args[4])
  for line in io.lines(args[5]) do
    local id, name, auth = line:match("^(.-)\t(.-)\t(.-)$")
    lines[#lines + 1] = { id = id, name = name, auth = auth }
  end
  for place = 6, #args do
    local name, value = args[place]:match("^(.-): (.*)$")
    headers[name] = value
  end
  math.randomseed(number)
end

function request()
  local values = lines[math.random(#lines)]
  values.n = number
  values.uuid = string.format("%08x-0000-4000-8000-%012x", number, number)
  values.micros = string.format("%06d", number % 1000000)
  number = number + 1
  local sent = {}
  for name, value in pairs(headers) do
    sent[name] = value:gsub("{(%w+)}", values)
  end
  local target = path:gsub("{(%w+)}", values)
  local content = body ~= "" and body:gsub("{(%w+)}", values) or nil
  return wrk.format(method, target, sent, content)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "micros": %d, "p50": %d, "p99": %d, "max": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
