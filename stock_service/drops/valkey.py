"""Passes in Valkey (or Redis): two keys a drop, and a script for each step that must not be torn.

`handfast:drop:{CODE}:epoch` is the number of the epoch, `handfast:drop:{CODE}:passes` a hash whose fields are
the customers' places (`CUSTOMER#1`, `CUSTOMER#2`, ...) and whose values are the claims that hold them, with
the instant since when (`CLAIM:MILLISECONDS`). So its length is what is taken, and one structure holds both
the count and the once-per-customer. A server that was emptied, or restarted without its memory, has no epoch,
and the scripts refuse to count.
"""

import logging
from collections.abc import Awaitable, Sequence
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from shared.messaging.failure import redact
from stock_service.drops.domain import MOST_PER_CUSTOMER
from stock_service.drops.passes import Answer, Ask, GateUnavailable, Pass

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 2.0
"""How long one command may take; it is tried twice."""
PAGE: Final = 500
STAGED_SECONDS: Final = 60
"""How long passes are kept that were laid ready for an epoch which never began."""

_log = logging.getLogger(__name__)


class ValkeyPasses:
    """Passes in the server at a URL: redis://, rediss:// or unix://. Nothing connects before it is used.

    Raises ValueError for a URL that is none.
    """

    def __init__(self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._client = Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            # One more attempt, at once, for a connection that broke since it was used last. Every script may
            # be run twice: a pass is known by its claim.
            retry=Retry(NoBackoff(), 1),
        )
        self._hashes: dict[str, str] = {}

    async def enter(self, asks: Sequence[Ask]) -> list[list[Answer] | None]:
        calls = [
            (
                _keys(ask.code),
                [ask.epoch, ask.quantity, ask.per_customer, *_flat(ask.passes)],
            )
            for ask in asks
        ]
        answers = await _reached(self._run(_ENTER, calls))
        return [None if answer is None else [Answer(one) for one in answer] for answer in answers]

    async def give_back(self, code: str, passes: Sequence[Pass]) -> int:
        (taken,) = await _reached(self._run(_GIVE_BACK, [(_keys(code), [MOST_PER_CUSTOMER, *_flat(passes)])]))
        return int(taken)

    async def stage(self, code: str, epoch: int, passes: Sequence[Pass]) -> None:
        key = _staged(code, epoch)
        fields: Any = {f"{one.customer_id}#{one.slot}": f"{one.claim_id}:{one.at}" for one in passes}
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hset(key, mapping=fields)
            pipeline.expire(key, STAGED_SECONDS)
            await _reached(pipeline.execute())

    async def install(self, code: str, epoch: int, count: int) -> bool:
        keys = [*_keys(code), _staged(code, epoch)]
        (installed,) = await _reached(self._run(_INSTALL, [(keys, [epoch, count])]))
        return bool(installed)

    async def epoch(self, code: str) -> int | None:
        found = await _reached(self._client.get(_keys(code)[0]))
        return int(found) if found is not None and found.isdigit() else None

    async def page(self, code: str, cursor: int) -> tuple[int, list[Pass]]:
        scanned: Any = await _reached(self._client.hscan(_keys(code)[1], cursor, count=PAGE))
        following, found = scanned
        return int(following), [_pass(field, value) for field, value in found.items()]

    async def lacking(self, code: str, passes: Sequence[Pass]) -> list[Pass]:
        (found,) = await _reached(self._run(_LACKING, [(_keys(code), [MOST_PER_CUSTOMER, *_flat(passes)])]))
        return [passes[index - 1] for index in found]

    async def restore(self, code: str, epoch: int, passes: Sequence[Pass]) -> int:
        (restored,) = await _reached(
            self._run(_RESTORE, [(_keys(code), [epoch, MOST_PER_CUSTOMER, *_flat(passes)])])
        )
        return int(restored)

    async def ping(self) -> None:
        # A server that is full, or only follows another, can still be read, and keeps no passes.
        await _reached(self._client.set("handfast:drop", 1))

    async def close(self) -> None:
        await self._client.aclose()

    async def _run(self, script: str, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        """Run a script for each of the calls, all in one round trip."""
        name = self._hashes.get(script) or await self._load(script)
        try:
            return await self._send(name, calls)
        except NoScriptError:
            # The server was restarted, or its scripts were flushed.
            return await self._send(await self._load(script), calls)

    async def _send(self, name: str, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        if len(calls) == 1:
            keys, arguments = calls[0]
            return [await self._client.evalsha(name, len(keys), *keys, *arguments)]
        async with self._client.pipeline(transaction=False) as pipeline:
            for keys, arguments in calls:
                pipeline.evalsha(name, len(keys), *keys, *arguments)
            results: list[Any] = await pipeline.execute()
        return results

    async def _load(self, script: str) -> str:
        name: str = await self._client.script_load(script)
        self._hashes[script] = name
        return name


async def _reached(answer: Awaitable[T]) -> T:
    """Wait for an answer. What went wrong is for the log: the address is nobody's business outside."""
    try:
        return await answer
    except (RedisError, OSError, TimeoutError) as error:
        _log.debug("The gate failed: %s: %s", type(error).__name__, redact(str(error)))
        raise GateUnavailable from error


def _keys(code: str) -> list[str]:
    # The braces keep both keys of a drop together where a cluster spreads keys.
    return [f"handfast:drop:{{{code}}}:epoch", f"handfast:drop:{{{code}}}:passes"]


def _staged(code: str, epoch: int) -> str:
    return f"handfast:drop:{{{code}}}:passes:{epoch}"


def _flat(passes: Sequence[Pass]) -> list[Any]:
    return [part for one in passes for part in (one.claim_id, one.customer_id, one.at)]


def _pass(field: bytes, value: bytes) -> Pass:
    claim_id, _, at = value.decode().rpartition(":")
    return Pass(claim_id, field.decode().rpartition("#")[0], int(at))


_FIND: Final = """
-- Returns the field in which a claim's pass is, and the first of the customer's that is free.
local function find(passes, claim, customer, most)
  local free
  for place = 1, most do
    local field = customer .. '#' .. place
    local held = redis.call('HGET', passes, field)
    if not held then
      free = free or field
    elseif string.sub(held, 1, #claim + 1) == claim .. ':' then
      return field, free
    end
  end
  return nil, free
end
"""

_ENTER: Final = (
    _FIND
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local quantity, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local taken = redis.call('HLEN', KEYS[2])
local answers = {}
for i = 4, #ARGV, 3 do
  local held, free = find(KEYS[2], ARGV[i], ARGV[i + 1], most)
  if held then
    answers[#answers + 1] = 0
  elseif not free then
    answers[#answers + 1] = 2
  elseif taken >= quantity then
    answers[#answers + 1] = 1
  else
    redis.call('HSET', KEYS[2], free, ARGV[i] .. ':' .. ARGV[i + 2])
    taken = taken + 1
    answers[#answers + 1] = 0
  end
end
return answers
"""
)

_GIVE_BACK: Final = (
    _FIND
    + """
local gone = 0
for i = 2, #ARGV, 3 do
  local held = find(KEYS[2], ARGV[i], ARGV[i + 1], tonumber(ARGV[1]))
  if held then gone = gone + redis.call('HDEL', KEYS[2], held) end
end
return gone
"""
)

_LACKING: Final = (
    _FIND
    + """
local lacking = {}
for i = 2, #ARGV, 3 do
  if not find(KEYS[2], ARGV[i], ARGV[i + 1], tonumber(ARGV[1])) then
    lacking[#lacking + 1] = (i + 1) / 3
  end
end
return lacking
"""
)

_INSTALL: Final = """
local current = tonumber(redis.call('GET', KEYS[1]) or 0)
if current and current >= tonumber(ARGV[1]) then return 0 end
if redis.call('HLEN', KEYS[3]) ~= tonumber(ARGV[2]) then return 0 end
redis.call('DEL', KEYS[2])
if tonumber(ARGV[2]) > 0 then
  redis.call('RENAME', KEYS[3], KEYS[2])
  redis.call('PERSIST', KEYS[2])
end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""

_RESTORE: Final = (
    _FIND
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local restored = 0
for i = 3, #ARGV, 3 do
  local held, free = find(KEYS[2], ARGV[i], ARGV[i + 1], tonumber(ARGV[2]))
  if not held and free then
    redis.call('HSET', KEYS[2], free, ARGV[i] .. ':' .. ARGV[i + 2])
    restored = restored + 1
  end
end
return restored
"""
)
