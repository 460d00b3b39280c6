-- What wrk sends: the request targets in a file, one a line, each thread its own share of them.
--
-- In the environment: BENCH_METHOD, BENCH_TARGETS (a file), BENCH_BODY (a file, or empty),
-- BENCH_THREADS, BENCH_CONNECTIONS (of one thread), and BENCH_ONCE: "1" to send every line once and
-- then rest, "" to begin again at the end. A connection that rests has had its last answer; when
-- all rest, the thread prints "bench-finished". At the end one line, "bench-result" and JSON.
--
-- wrk calls request() of the first thread once to look at it, without sending the result. It has
-- no hook here that sees answers: that would cost more than sending. It counts what is not 2xx or
-- 3xx by itself.

local ffi = require("ffi")
ffi.cdef([[
  typedef struct { long seconds; long micros; } bench_time;
  int gettimeofday(bench_time *now, void *zone);
]])

local threads = {}

function setup(thread)
  thread:set("id", #threads)
  table.insert(threads, thread)
end

local function now()
  local time = ffi.new("bench_time")
  ffi.C.gettimeofday(time, nil)
  return tonumber(time.seconds) + tonumber(time.micros) / 1e6
end

local targets, at, claimed, parked = {}, 0, 0, 0
local head, tail, once, connections
started, ended = 0, 0

function init(args)
  local share, number = tonumber(os.getenv("BENCH_THREADS")), 0
  for line in io.lines(os.getenv("BENCH_TARGETS")) do
    if number % share == id then
      table.insert(targets, line)
    end
    number = number + 1
  end
  local body = ""
  if os.getenv("BENCH_BODY") ~= "" then
    local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
    body = file:read("*a")
    file:close()
  end
  local method = os.getenv("BENCH_METHOD")
  head = method .. " "
  tail = " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\n"
  if method == "PUT" then
    tail = tail .. "Content-Length: " .. #body .. "\r\n"
  end
  tail = tail .. "\r\n" .. body
  connections = tonumber(os.getenv("BENCH_CONNECTIONS"))
  if os.getenv("BENCH_ONCE") == "1" then
    delay = claim
  end
  if id == 0 then
    at = -1
  end
end

-- Before each request of a connection, in milliseconds: none, or for ever.
function claim()
  if claimed < #targets then
    claimed = claimed + 1
    return 0
  end
  parked = parked + 1
  if parked == connections then
    ended = now()
    io.stdout:write("bench-finished\n")
    io.stdout:flush()
  end
  return 1000000000
end

function request()
  if at < 0 then
    at = 0
    return head .. targets[1] .. tail
  end
  if started == 0 then
    started = now()
  end
  at = at % #targets + 1
  return head .. targets[at] .. tail
end

function done(summary, latency, requests)
  local first, last = math.huge, 0
  for _, thread in ipairs(threads) do
    first = math.min(first, thread:get("started"))
    last = math.max(last, thread:get("ended"))
  end
  local errors = summary.errors
  io.write(string.format(
    'bench-result {"requests": %d, "seconds": %.6f, "bytes": %d, "started": %.6f, "ended": %.6f, '
      .. '"p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "errors": {"connect": %d, "read": %d, '
      .. '"write": %d, "timeout": %d, "status": %d}}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, first, last,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
