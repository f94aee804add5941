-- What wrk sends: GET of the paths in a file, one after the other, or POST of bodies of which no two are the same.
-- Arguments: get FILE | post BYTES SEED
local requests, body, seed = {}, nil, nil
local sent = 0

function init(args)
  if args[1] == "get" then
    for path in io.lines(args[2]) do requests[#requests + 1] = wrk.format("GET", path) end
    sent = #requests > 16 and math.random(#requests) or 0
  else
    seed = args[3]
    local bytes = tonumber(args[2])
    math.randomseed(#seed)
    local block = {}
    for i = 1, 4096 do block[i] = string.char(math.random(0, 255)) end
    body = string.rep(table.concat(block), math.ceil(bytes / 4096)):sub(33, bytes)
    wrk.headers["Content-Type"] = "application/octet-stream"
  end
end

function request()
  sent = sent + 1
  if body == nil then return requests[(sent - 1) % #requests + 1] end
  return wrk.format("POST", "/", wrk.headers, string.format("%-20.20s%012d", seed, sent) .. body)
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('RESULT {"requests":%d,"seconds":%f,"bytes":%d,"p50Us":%d,"p99Us":%d,"p999Us":%d,"errors":%d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9), e.connect + e.read + e.write + e.status + e.timeout))
end
