"""The load generator: a process of its own with one native aiohttp client and a closed loop.

`python -m cli.bench.load` reads a job a line from stdin and answers with a result a line on stdout, both JSON
(see jobs.py). Closed loop: so many workers, each of which sends its next order when its last is
answered. Connections are kept from one job to the next.
"""

import asyncio
import json
import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass

import aiohttp

from cli.bench.jobs import Job, Result

TIMEOUT = aiohttp.ClientTimeout(total=30)


class Unexpected(Exception):
    """Something else was answered than should be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, as it should be. id: of what was accepted; None: refused, with `why`."""

    id: str | None
    why: str = ""


Send = Callable[[aiohttp.ClientSession, Job, int], Awaitable[Answer]]
"""Sends order number so-and-so; raises Unexpected."""


async def run(session: aiohttp.ClientSession, job: Job) -> Result:
    """Do a job."""
    send = {"handfast": place, "raw": reserve_and_confirm, "claims": claim, "post": reserve}[job.kind]
    result = Result()
    failures: Counter[str] = Counter()
    numbers = iter(range(job.orders))
    began, cpu = time.perf_counter(), _cpu()
    workers = [_work(session, job, send, numbers, result, failures) for _ in range(job.in_flight)]
    await asyncio.gather(*workers)
    result.seconds, result.cpu = time.perf_counter() - began, _cpu() - cpu
    result.failures = dict(failures)
    return result


async def _work(
    session: aiohttp.ClientSession,
    job: Job,
    send: Send,
    numbers: Iterator[int],
    result: Result,
    failures: Counter[str],
) -> None:
    for number in numbers:
        began = time.perf_counter()
        try:
            answer = await send(session, job, number)
        except Unexpected as unexpected:
            failures[str(unexpected)] += 1
        except (aiohttp.ClientError, TimeoutError) as failure:
            failures[type(failure).__name__] += 1
        else:
            result.latencies.append((time.perf_counter() - began) * 1000)
            if answer.id is None:
                result.refused[answer.why] = result.refused.get(answer.why, 0) + 1
            else:
                result.accepted[answer.id] = time.time() * 1000


async def place(session: aiohttp.ClientSession, job: Job, number: int) -> Answer:
    """Place an order; it is accepted when it was answered 201, its outcome then being decided and durable."""
    order_id = f"{job.name}-{number}"
    body = {"orderId": order_id, "productId": job.product, "qty": 1, "paymentAmt": 1}
    headers = {"Authorization": f"Bearer {job.token}"} if job.token else None
    async with session.post(f"{job.urls[0]}/api/v1/orders", json=body, headers=headers) as answer:
        text = await answer.read()
    if answer.status != 201:
        raise _unexpected(answer.status, text)
    return Answer(order_id)


async def claim(session: aiohttp.ClientSession, job: Job, number: int) -> Answer:
    """Claim a unit of a drop; sold out and claimed already are answers, too."""
    body = {"customerId": f"c{customer_of(number, job.orders, job.customers)}"}
    async with session.post(f"{job.urls[0]}/api/v1/drops/{job.product}/claims", json=body) as answer:
        text = await answer.read()
    if answer.status == 202:
        return Answer(json.loads(text)["claimId"])
    for why in ("sold-out", "already-claimed"):
        if answer.status == 409 and f"urn:handfast:problem:{why}".encode() in text:
            return Answer(None, why)
    raise _unexpected(answer.status, text)


def customer_of(number: int, claims: int, customers: int) -> int:
    """Return who makes a claim: everybody claims, and who claims more often comes again at any time."""
    step = next(step for step in (7_919, 7_927, 1) if math.gcd(step, claims) == 1)
    return number * step % claims % customers


async def reserve(session: aiohttp.ClientSession, job: Job, number: int) -> Answer:
    """Make one bare POST, of which nothing is kept."""
    reservation_id = f"{job.name}-{number}"
    url = f"{job.urls[0]}/reservations/{reservation_id}"
    async with session.post(url, json=_reservation(reservation_id)) as answer:
        text = await answer.read()
    if answer.status != 201:
        raise _unexpected(answer.status, text)
    return Answer(reservation_id)


async def reserve_and_confirm(session: aiohttp.ClientSession, job: Job, number: int) -> Answer:
    """Make the six calls of an order that nobody keeps safe: three Try at once, then three Confirm."""
    order_id = f"{job.name}-{number}"
    body = _reservation(order_id)

    async def call(method: str, url: str) -> int:
        sent = body if method == "POST" else None
        async with session.request(method, f"{url}/reservations/{order_id}", json=sent) as answer:
            await answer.json()
        return answer.status

    statuses = await asyncio.gather(*(call("POST", url) for url in job.urls))
    statuses += await asyncio.gather(*(call("PUT", url) for url in job.urls))
    if statuses != [201, 201, 201, 200, 200, 200]:
        raise Unexpected(f"{statuses}")
    return Answer(order_id)


async def serve() -> None:
    """Do the jobs that stdin brings, one after the other."""
    loop = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            result = await run(session, Job(**json.loads(line)))
            sys.stdout.write(json.dumps(asdict(result)) + "\n")
            sys.stdout.flush()


def _reservation(order_id: str) -> dict[str, str | int]:
    return {"order_id": order_id, "customer_id": "guest", "product_id": "1", "qty": 1, "payment_amt": 1}


def _unexpected(status: int, text: bytes) -> Unexpected:
    return Unexpected(f"{status} {text[:120].decode(errors='replace')}")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    asyncio.run(serve())
