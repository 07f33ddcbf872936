"""The script that Redis runs for limits: several operations, one after the other, as one step.

Its argument is JSON: the seconds of a lease, and the operations. It returns JSON: a result for each
operation, which is empty but for `take`. Keys are named by their place in `KEYS`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rag.gateway.buckets import Bucket, Permits, Taken

PREFIX = "plumbline:limits:"
_DONE = Taken(True, ())

# Times are those of Redis alone. A level is read once and written once, however many operations
# change it. `%.9f`: Lua would shorten numbers to 14 digits.
SCRIPT = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local given = cjson.decode(ARGV[1])
local lease, levels, changed, swept = given[1], {}, {}, {}

local function level_of(bucket)
  local at, rate, burst = bucket[1], bucket[3], bucket[4]
  if not levels[at] then
    local state = redis.call('HMGET', KEYS[at], 'level', 'at')
    local level = burst
    if state[1] then
      local passed = math.max(0, now - tonumber(state[2]))
      level = math.min(burst, tonumber(state[1]) + passed * rate)
    end
    levels[at] = level
  end
  return levels[at]
end

local function set_level(bucket, level)
  levels[bucket[1]] = level
  changed[bucket[1]] = bucket
end

local function held_of(key)
  if not swept[key] then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.6f', now))
    swept[key] = true
  end
  return redis.call('ZCARD', key)
end

local function hold(key, holder, only)
  local ends = string.format('%.6f', now + lease)
  if only then redis.call('ZADD', key, only, ends, holder)
  else redis.call('ZADD', key, ends, holder) end
  redis.call('PEXPIRE', key, math.ceil(lease * 1000))
end

local run = {}

function run.take(holder, buckets, permits)
  local ok, left, held = 1, {}, {}
  for i, bucket in ipairs(buckets) do
    left[i] = level_of(bucket)
    if left[i] < bucket[2] then ok = 0 end
  end
  for j, permit in ipairs(permits) do
    held[j] = held_of(KEYS[permit[1]])
    if held[j] >= permit[2] then ok = 0 end
  end
  if ok == 1 then
    for i, bucket in ipairs(buckets) do
      left[i] = left[i] - bucket[2]
      set_level(bucket, left[i])
    end
    for _, permit in ipairs(permits) do hold(KEYS[permit[1]], holder) end
  end
  for i, level in ipairs(left) do left[i] = string.format('%.9f', level) end
  return {ok, left, held}
end

function run.give(_, buckets)
  for _, bucket in ipairs(buckets) do
    set_level(bucket, math.min(bucket[4], level_of(bucket) + bucket[2]))
  end
end

function run.release(holder, _, permits)
  for _, permit in ipairs(permits) do redis.call('ZREM', KEYS[permit[1]], holder) end
end

function run.renew(holder, _, permits)
  for _, permit in ipairs(permits) do hold(KEYS[permit[1]], holder, 'XX') end
end

local results = {}
for i, each in ipairs(given[2]) do
  results[i] = run[each[1]](each[2], each[3], each[4]) or {}
end
for at, bucket in pairs(changed) do
  local level, rate, burst = levels[at], bucket[3], bucket[4]
  redis.call('HSET', KEYS[at], 'level', string.format('%.9f', level),
             'at', string.format('%.6f', now))
  redis.call('PEXPIRE', KEYS[at], math.ceil(((burst - level) / rate + 1) * 1000))
end
return cjson.encode(results)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A step of the script, on keys of one tenant."""

    kind: Literal["take", "give", "release", "renew"]
    amounts: Sequence[tuple[Bucket, float]] = ()
    permits: Sequence[Permits] = ()
    holder: str = ""

    @property
    def slot(self) -> str:
        """The part of its keys by which Redis Cluster keeps them together."""
        key = self.amounts[0][0].key if self.amounts else self.permits[0].key
        return key.partition("}")[0]


def written(operations: Sequence[Operation], *, lease: float) -> tuple[list[str], str]:
    """Returns the keys of the script and its argument."""
    places: dict[str, int] = {}

    def place(key: str) -> int:
        return places.setdefault(PREFIX + key, len(places) + 1)

    steps = [
        (
            each.kind,
            each.holder,
            [(place(b.key), amount, b.rate, b.burst) for b, amount in each.amounts],
            [(place(permit.key), permit.at_once) for permit in each.permits],
        )
        for each in operations
    ]
    return list(places), json.dumps((lease, steps))


def read(results: str | bytes) -> list[Taken]:
    """Returns the results of operations; those other than `take` have no levels."""
    found: list[Any] = json.loads(results)
    return [_taken(*each) if each else _DONE for each in found]


def _taken(ok: int, levels: Sequence[str], held: Sequence[int]) -> Taken:
    # Lua writes an empty list as an empty object, which is as empty.
    return Taken(bool(ok), tuple(map(float, levels)), tuple(map(int, held)))
