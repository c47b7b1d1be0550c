"""The desk before the gate: whoever waits is taken along, all of them in one go.

While the gate decides about one batch, the next one gathers; so the busier it is, the more share one script
call and one commit.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Histogram

from shared.errors import Transient
from stock_service.drops.entry import Declined, Entered, Stale, Verdict, Want
from stock_service.drops.gate import Gate

BATCH: Final = 512
"""The most claims that go to the gate together."""
MOST_WAITING: Final = 10_000
"""More than so many that wait are turned away."""

MOST_ASKED: Final = 5
"""How often a claim is asked for whose gate was built anew in between."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    want: Want
    done: "asyncio.Future[Entered]"
    asked: int = 0


class Desk:
    """Brings claims before a gate, in the order in which they come."""

    def __init__(self, gate: Gate, registry: CollectorRegistry | None = None) -> None:
        self._gate = gate
        self._waiting: deque[_Waiting] = deque()
        self._serving: asyncio.Task[None] | None = None
        self._sizes = Histogram(
            "handfast_drop_batch_claims",
            "Claims that went to the gate together.",
            buckets=(1, 4, 16, 64, 256, BATCH),
            registry=registry,
        )

    async def claim(self, want: Want) -> Entered:
        """Return the claim once it is journaled; raise Refused or Transient where it isn't let in."""
        if len(self._waiting) >= MOST_WAITING:
            raise Transient("Too many claims wait; nothing was claimed. Try again later.", "overloaded")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Entered] = loop.create_future()
        self._waiting.append(_Waiting(want, done))
        if self._serving is None or self._serving.done():
            # In a context of its own: it serves many requests, and belongs to the trace of none.
            self._serving = loop.create_task(self._serve_all(), name="drop-desk", context=Context())
        return await done

    async def _serve_all(self) -> None:
        while self._waiting:
            # Whatever arrived together shall go together.
            await asyncio.sleep(0)
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._sizes.observe(len(batch))
            verdicts = await self._ask([one.want for one in batch])
            again = []
            for one, verdict in zip(batch, verdicts, strict=True):
                one.asked += 1
                if isinstance(verdict, Stale) and one.asked < MOST_ASKED:
                    again.append(one)
                else:
                    _answer(one.done, verdict)
            self._waiting.extendleft(reversed(again))

    async def _ask(self, wants: Sequence[Want]) -> Sequence[Verdict | Stale | Exception]:
        """Return one verdict each. A batch over which the gate fails unexpectedly is asked for one by one."""
        try:
            return await self._gate.enter(wants)
        except Transient as error:
            return [error] * len(wants)
        except Exception as error:  # noqa: BLE001 - whoever waits must learn what became of the claim
            if len(wants) == 1:
                return [error]
            _log.exception("The gate failed over %d claims; they are asked for alone.", len(wants))
            return [(await self._ask([want]))[0] for want in wants]


def _answer(done: "asyncio.Future[Entered]", verdict: Verdict | Stale | Exception) -> None:
    if done.done():  # Whoever asked has gone; a claim that was let in stands.
        return
    if isinstance(verdict, Entered):
        done.set_result(verdict)
    elif isinstance(verdict, Stale):
        done.set_exception(Transient("The gate is being built; nothing was claimed. Try again."))
    else:
        done.set_exception(verdict.error if isinstance(verdict, Declined) else verdict)
