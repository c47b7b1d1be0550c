"""The sweeper: what is to be done about branches about which nothing was heard in time.

A coordinated reservation past its expiry is never cancelled by the clock: the coordinator is asked, and while
it is out of reach the reservation is held and shown as in doubt. A standalone one expires by itself unless it
is CONFIRMING; then its Confirm is published again. An external effect without an answer is looked up.
"""

import asyncio
import logging
import random
from typing import Final, Generic

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Connection, bindparam, select

from shared.clock import Millis
from shared.errors import HandfastError, Transient, Unreachable
from shared.messaging import letters
from shared.tcc import fence
from shared.tcc.command import C, Command
from shared.tcc.fence import Fence
from shared.tcc.inquiry import Asks, Decision
from shared.tcc.participant import ParticipantHost
from shared.tcc.protocol import Phase, State

_log = logging.getLogger(__name__)

BATCH: Final = 200
CONCURRENCY: Final = 16
CLAIM_MS: Final = 5_000
"""How long other sweepers leave alone what one has taken up."""
FIRST_BACK_OFF_MS: Final = 1_000
LONGEST_BACK_OFF_MS: Final = 60_000
EXPIRED: Final = "expired"
"""The reason of a reservation that was cancelled because its time was up."""


class Sweeper(Generic[C]):
    """Sweeps the branches of one participant.

    sweep_seconds: the pause between two sweeps; republish_ms and republish_max_ms: the first and the longest
    pause before a standalone Confirm is published again; registry: where inquiries are counted.
    """

    def __init__(
        self,
        host: ParticipantHost[C],
        inquirer: Asks,
        *,
        randomness: random.Random,
        sweep_seconds: float = 1.0,
        republish_ms: Millis = 10_000,
        republish_max_ms: Millis = 300_000,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._host = host
        self._inquirer = inquirer
        self._randomness = randomness
        self._sweep_seconds = sweep_seconds
        self._republish_ms = republish_ms
        self._republish_max_ms = republish_max_ms
        self._at_once = asyncio.Semaphore(CONCURRENCY)
        self._inquiries: Counter | None = None
        if registry is not None:
            self._inquiries = Counter(
                "handfast_inquiries",
                "What the coordinator was asked about expired reservations, by its answer.",
                ["participant", "answer"],
                registry=registry,
            )

    async def run(self) -> None:
        """Sweep until cancelled; while the database is away, try again at the next sweep."""
        while True:
            try:
                swept = await self.sweep()
            except Transient as error:
                _log.warning("The sweep of %s is put off: %s", self._host.participant.name, error.detail)
                swept = 0
            if swept < BATCH:
                await asyncio.sleep(self._sweep_seconds)

    async def sweep(self) -> int:
        """Attend to what is due, up to BATCH branches at once; return how many there were."""
        now = self._host.clock.now()
        due = await self._host.database.write(
            lambda connection: fence.claim_due(connection, now, now + CLAIM_MS, BATCH)
        )
        await asyncio.gather(*(self._attend(held) for held in due))
        return len(due)

    async def _attend(self, held: Fence) -> None:
        async with self._at_once:
            try:
                await self._act(held)
            except HandfastError as error:
                # Where it was settled in between, nothing is postponed any more.
                _log.info("Reservation %s is looked at again later: %s", held.id, error.detail)
                await self._postpone(held, in_doubt=isinstance(error, Unreachable))
            except Exception:  # noqa: BLE001 - one broken reservation must not stop the others
                _log.exception("Reservation %s could not be swept.", held.id)
                await self._postpone(held, in_doubt=held.in_doubt)

    async def _act(self, held: Fence) -> None:
        expired = held.expires_at is not None and held.expires_at <= self._host.clock.now()
        if held.intent is not None and not (held.intent is Phase.TRY and expired and not held.undo):
            await self._recover(held)
        elif held.state in (State.TRIED, State.TRYING):
            await self._expire(held)
        elif held.state is State.CONFIRMING and held.transaction_id is None:
            await self._publish_again(held)
        else:
            await self._forget(held)

    async def _recover(self, held: Fence) -> None:
        answer = await self._host.recover(held.id)
        if answer is not None and answer.state is State.CONFIRMED:
            await self._settle_letters(held)

    async def _expire(self, held: Fence) -> None:
        if held.transaction_id is None:
            await self._cancel(held, EXPIRED)
            return
        decision = await self._ask(held.transaction_id, held.id)
        if decision.decision == "wait":
            await self._postpone(held, in_doubt=held.intent is not None, until=decision.deadline_at)
        elif decision.decision == "cancel":
            await self._cancel(held, decision.reason or EXPIRED)
        else:
            await self._confirm(held)

    async def _ask(self, transaction_id: str, branch_id: str) -> Decision:
        try:
            decision = await self._inquirer.ask(transaction_id, branch_id)
        except Unreachable:
            self._count("unreachable")
            raise
        self._count(decision.decision)
        return decision

    async def _cancel(self, held: Fence, reason: str) -> None:
        command: Command[C] = Command(
            phase=Phase.CANCEL, branch_id=held.id, transaction_id=held.transaction_id, reason=reason
        )
        await self._host.handle(command)

    async def _confirm(self, held: Fence) -> None:
        command: Command[C] = Command(
            phase=Phase.CONFIRM, branch_id=held.id, transaction_id=held.transaction_id
        )
        await self._host.handle(command)
        await self._settle_letters(held)

    async def _settle_letters(self, held: Fence) -> None:
        """A dead letter of a Confirm that was applied after all has nothing left to do."""
        topic, now = self._host.participant.topic, self._host.clock.now()
        await self._host.database.write(lambda connection: letters.settle(connection, topic, (held.id,), now))

    async def _publish_again(self, held: Fence) -> None:
        def publish_again(connection: Connection) -> None:
            current = fence.read(connection, held.id)
            if current is None or current.state is not State.CONFIRMING or current.due_at != held.due_at:
                return
            now = self._host.clock.now()
            attempts = current.attempts + 1
            pause = min(self._republish_ms << min(attempts, 16), self._republish_max_ms)
            fence.move(
                connection, current, attempts=attempts, due_at=now + pause, updated_at=current.updated_at
            )
            if not _has_open_letter(connection, self._host.participant.topic, held.id):
                self._host.branches.publish_confirm(connection, current, None)

        await self._host.database.write(publish_again)

    async def _postpone(self, held: Fence, *, in_doubt: bool, until: Millis | None = None) -> None:
        """Look again later, unless the branch has moved on; until: not before that, if it is near."""
        jitter = self._randomness.uniform(0.5, 1.0)

        def postpone(connection: Connection) -> None:
            current = fence.read(connection, held.id)
            if current is None or current.state is not held.state or current.due_at != held.due_at:
                return
            now = self._host.clock.now()
            pause = round(min(FIRST_BACK_OFF_MS << min(current.attempts, 16), LONGEST_BACK_OFF_MS) * jitter)
            if until is not None:
                pause = max(pause, min(until - now, LONGEST_BACK_OFF_MS))
            fence.move(
                connection,
                current,
                in_doubt=in_doubt,
                attempts=current.attempts + 1,
                due_at=now + pause,
            )

        await self._host.database.write(postpone)

    async def _forget(self, held: Fence) -> None:
        """Drop a date that means nothing any more."""
        _log.error("Reservation %s is %s and needs no sweeping.", held.id, held.state.value)

        def forget(connection: Connection) -> None:
            current = fence.read(connection, held.id)
            if current is not None and current.state is held.state and current.due_at == held.due_at:
                fence.move(connection, current, due_at=None)

        await self._host.database.write(forget)

    def _count(self, answer: str) -> None:
        if self._inquiries is not None:
            self._inquiries.labels(self._host.participant.name, answer).inc()


_OPEN_LETTER = (
    select(letters.LETTER.c.id)
    .where(
        letters.LETTER.c.topic == bindparam("topic"),
        letters.LETTER.c.branch_id == bindparam("branch"),
        letters.UNSETTLED,
    )
    .limit(1)
)


def _has_open_letter(connection: Connection, topic: str, branch_id: str) -> bool:
    found = connection.execute(_OPEN_LETTER, {"topic": topic, "branch": branch_id})
    return found.first() is not None
