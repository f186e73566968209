-- Requests the page as each of the users in turn, and prints one line of JSON. The
-- lines of standard input are the users' cookies.
local requests, last = {}, 0

function init()
  for cookie in io.lines() do
    requests[#requests + 1] = wrk.format("GET", nil, {Cookie = cookie})
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end

function done(summary, latency)
  local e = summary.errors
  print(string.format('{"pages": %d, "failed": %d, "seconds": %f, "p50": %f, "p99": %f}',
    summary.requests, e.status + e.connect + e.read + e.write + e.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
