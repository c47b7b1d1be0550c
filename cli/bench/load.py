"""The load generator: a process of its own with one native aiohttp client and a closed loop.

`python -m cli.bench.load` reads a job a line from stdin and answers with a result a line on stdout, both JSON
(see jobs.py). Closed loop: so many workers, each of which sends its next order when its last is
answered. Connections are kept from one job to the next.
"""

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict

import aiohttp

from cli.bench.jobs import Job, Result

TIMEOUT = aiohttp.ClientTimeout(total=30)


Send = Callable[[aiohttp.ClientSession, Job, str], Awaitable[str | None]]
"""Sends one order; returns what went wrong."""


async def run(session: aiohttp.ClientSession, job: Job) -> Result:
    """Do a job."""
    send = {"handfast": place, "raw": reserve_and_confirm}[job.kind]
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
        order_id = f"{job.name}-{number}"
        began = time.perf_counter()
        try:
            problem = await send(session, job, order_id)
        except (aiohttp.ClientError, TimeoutError) as failure:
            problem = type(failure).__name__
        if problem is None:
            result.latencies.append((time.perf_counter() - began) * 1000)
            result.accepted[order_id] = time.time() * 1000
        else:
            failures[problem] += 1


async def place(session: aiohttp.ClientSession, job: Job, order_id: str) -> str | None:
    """Place an order; it is accepted when it was answered 201, its outcome then being decided and durable."""
    body = {"orderId": order_id, "productId": job.product, "qty": 1, "paymentAmt": 1}
    async with session.post(f"{job.urls[0]}/api/v1/orders", json=body) as answer:
        text = await answer.read()
    return None if answer.status == 201 else f"{answer.status} {text[:120].decode(errors='replace')}"


async def reserve_and_confirm(session: aiohttp.ClientSession, job: Job, order_id: str) -> str | None:
    """Make the six calls of an order that nobody keeps safe: three Try at once, then three Confirm."""
    body = {"order_id": order_id, "customer_id": "guest", "product_id": "1", "qty": 1, "payment_amt": 1}

    async def call(method: str, url: str) -> int:
        sent = body if method == "POST" else None
        async with session.request(method, f"{url}/reservations/{order_id}", json=sent) as answer:
            await answer.json()
        return answer.status

    statuses = await asyncio.gather(*(call("POST", url) for url in job.urls))
    statuses += await asyncio.gather(*(call("PUT", url) for url in job.urls))
    return None if statuses == [201, 201, 201, 200, 200, 200] else f"{statuses}"


async def serve() -> None:
    """Do the jobs that stdin brings, one after the other."""
    loop = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            result = await run(session, Job(**json.loads(line)))
            sys.stdout.write(json.dumps(asdict(result)) + "\n")
            sys.stdout.flush()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    asyncio.run(serve())
