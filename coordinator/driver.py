"""The driver: takes a transaction, does what is next, writes down what it learned, until nothing is due.

A fresh request, a retry after a crash and an operator's retry are the same circle (`drive`). A lease keeps
two drivers from doing the same work; what makes them safe is the compare-and-set in the log.

What waits for a participant that answers nobody is left alone in the log, and taken up once it answers again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from coordinator import log
from coordinator.branch import Answered, Branch, BranchState, Fact, Policy
from coordinator.caller import Attempts, ParticipantCaller
from coordinator.log import Change, Stale
from coordinator.participants import Registry
from coordinator.transaction import UNDECIDED, Call, State, Transaction, advance, calls, heard_of, learn
from shared.bell import Bell
from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.errors import Transient
from shared.messaging.broker import Message
from shared.messaging.outbox import Outbox
from shared.tcc.confirmations import confirm_message
from shared.tcc.protocol import Phase, Sort

logger = logging.getLogger(__name__)

BATCH: Final = 100
"""How many due transactions are taken at a time; with the pause between, the limit on re-publication."""
MOST_PAUSES: Final = 10
"""The longest wait between two looks while the database is away, in usual ones."""
LOOK_SECONDS: Final = 5.0
"""So often is looked for what others left waiting for participants of which this driver knows no trouble."""


class Driver:
    """Drives transactions and finds those that nobody drives any more.

    lease: milliseconds for which a transaction at work is left alone by others; poll: seconds between looks
    for what is due; most: transactions that recovery drives at the same time.
    """

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        caller: ParticipantCaller,
        registry: Registry,
        policy: Policy,
        clock: Clock,
        bell: Bell,
        source: str = "coordinator",
        lease: Millis = 5_000,
        poll: float = 0.1,
        most: int = 1_000,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._caller = caller
        self._registry = registry
        self._policy = policy
        self._clock = clock
        self._bell = bell
        self._source = source
        self._lease = lease
        self._poll = poll
        self._most = most
        self._driving: set[str] = set()
        self._left: set[str] = set()  # What was being driven and wasn't driven to its end.
        self._tasks: set[asyncio.Task[None]] = set()
        self._recovered: dict[str, Millis] = {}  # Participants, and when they were heard of again.
        self._put_off: set[str] = set()  # Participants for which this driver itself has put something off.
        self._next_look = 0.0
        caller.on_recovery(self._note_recovery)

    async def begin(self, transaction: Transaction) -> Transaction | None:
        """Make a new transaction durable before its first Try leaves, then drive it until it is decided.

        Returns it as it is then; None where its id is taken.
        """
        timeline = Attempts(self._clock)
        timeline.note("state", state=transaction.state.value)
        held_back = self._clock.now() + self._lease
        change = Change(transaction, events=timeline.take(), due_at=held_back)
        taken = await self._database.write(lambda connection: log.create(connection, change))
        if taken is not None:
            return None
        return await self.drive(transaction, until_decided=True)

    async def drive(self, transaction: Transaction, *, until_decided: bool = False) -> Transaction:
        """Do all that is due now. until_decided: return with the decision and do the rest behind."""
        transaction_id = transaction.transaction_id
        if transaction_id in self._driving:
            return transaction
        self._driving.add(transaction_id)
        self._left.add(transaction_id)
        try:
            transaction = await self._circle(transaction, until_decided)
            self._left.discard(transaction_id)
        finally:
            self._driving.discard(transaction_id)
        if until_decided and self._calls(transaction):
            self.drive_behind(transaction)
        return transaction

    def drive_behind(self, transaction: Transaction) -> None:
        """Drive it in a task of its own."""
        task = asyncio.create_task(self._drive_safely(transaction))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def change(
        self, transaction_id: str, change: Callable[[Transaction], Transaction], **event: Any
    ) -> Transaction:
        """Apply a pure change to a transaction by compare-and-set, with all that follows from it.

        The change may raise Refused: then nothing is written. Raises KeyError for an unknown id.
        """
        timeline = Attempts(self._clock)

        def work(connection: Any) -> tuple[Transaction, Transaction]:
            found = log.read(connection, transaction_id)
            if found is None:
                raise KeyError(transaction_id)
            timeline.take()
            if event:
                timeline.note(**event)
            changed = change(found)
            after, messages = self.advanced(found, changed, timeline)
            if after is found and not event:
                return found, found
            [saved] = log.save(
                connection,
                self._outbox,
                [Change(after, messages, timeline.take(), self._held_back(after))],
                self._clock.now(),
            )
            return found, saved

        before, after = await self._until_fresh(lambda: self._database.write(work))
        if after.state is not before.state or after.version != before.version:
            self._bell.ring(transaction_id)
        return after

    def advanced(
        self, before: Transaction, changed: Transaction, timeline: Attempts
    ) -> tuple[Transaction, list[Message]]:
        """Take the steps that follow by themselves; note them, and make the messages that they publish."""
        now = self._clock.now()
        after, published = advance(changed, now, self._policy)
        _note_change(before, after, published, timeline)
        return after, [self.confirm_of(after, branch, now) for branch in published]

    def confirm_of(self, transaction: Transaction, branch: Branch, now: Millis) -> Message:
        """Return the message that confirms a branch; it is the same one whenever it is published."""
        topic = self._registry.find(branch.participant).topic
        assert topic is not None, f"{branch.participant} takes no Confirm over Kafka"
        return confirm_message(
            topic=topic,
            key=branch.key or branch.branch_id,
            transaction_id=transaction.transaction_id,
            reservation_id=branch.branch_id,
            decided_at=transaction.decided_at or now,
            source=self._source,
            traceparent=transaction.traceparent,
        )

    def stalled(self, transaction: Transaction) -> bool:
        """Say whether a Try of it waits for a participant that answers nobody, so that it takes long."""
        return any(
            branch.state is BranchState.TRYING and self._caller.silent(branch.participant)
            for branch in transaction.branches
        )

    async def run(self) -> None:
        """Find what is due and nobody drives, until cancelled. What is under way then goes on: see stop.

        While the database is away, look again after a pause that doubles up to MOST_PAUSES of the usual ones.
        """
        pauses = 1
        while True:
            try:
                for take in (self._take_due, self._take_waiting):
                    for transaction in await take():
                        self.drive_behind(transaction)
                pauses = 1
            except Transient as error:
                logger.warning("What is due can't be looked for now: %s", error.detail)
                pauses = min(2 * pauses, MOST_PAUSES)
            await asyncio.sleep(pauses * self._poll)

    async def stop(self) -> None:
        """Stop what is under way, and hand it back at once to whoever looks next."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left, self._left = self._left, set()
        now = self._clock.now()
        if left:
            try:
                await self._database.write(
                    lambda connection: log.hand_back(connection, left, now, now + self._lease)
                )
            except Transient as error:
                logger.info("What was under way is free when its leases end: %s", error.detail)

    async def _circle(self, transaction: Transaction, until_decided: bool) -> Transaction:
        timeline = Attempts(self._clock)
        while True:
            facts: list[Fact] = []
            due = self._calls(transaction)
            if due:
                answers = await self._perform(transaction, due, timeline)
                facts.extend(answers)
                if any(answer.silent for answer in answers):
                    self._put_off.update(call.branch.participant for call in due)
            before, transaction = transaction, await self._save(transaction, facts, timeline)
            decided = transaction.state not in UNDECIDED or transaction.state is State.TRIED
            if (until_decided and decided) or transaction is before or not self._calls(transaction):
                return transaction

    async def _save(self, transaction: Transaction, facts: Sequence[Fact], timeline: Attempts) -> Transaction:
        """Commit what was learned and what follows from it; where somebody was faster, on top of theirs."""
        while True:
            now = self._clock.now()
            changed, happened = transaction, len(timeline.events)
            for fact in facts:
                changed = learn(changed, fact, now, self._policy)
            after, messages = self.advanced(transaction, changed, timeline)
            if after is transaction:
                return transaction
            change = Change(after, messages, timeline.events, self._held_back(after))
            try:
                [saved] = await self._database.write(
                    lambda connection, change=change, now=now: log.save(  # type: ignore[misc]
                        connection, self._outbox, [change], now
                    )
                )
            except Stale:
                del timeline.events[happened:]  # What would have followed never came true.
                found = await self._read(transaction.transaction_id)
                assert found is not None, f"{transaction.transaction_id} has vanished"
                transaction = found
                continue
            timeline.take()
            if saved.state is not transaction.state:
                self._bell.ring(saved.transaction_id)
            return saved

    async def _perform(
        self, transaction: Transaction, due: Sequence[Call], timeline: Attempts
    ) -> list[Answered]:
        """Make the calls in parallel. The first refused Try ends the wait for the others."""
        if len(due) == 1:
            return [await self._caller.call(transaction, due[0], timeline)]
        loop = asyncio.get_running_loop()
        enough: asyncio.Future[None] = loop.create_future()
        tasks = [loop.create_task(self._caller.call(transaction, call, timeline)) for call in due]
        waiting = len(tasks)

        def ended(task: asyncio.Task[Answered]) -> None:
            nonlocal waiting
            waiting -= 1
            lost = task.cancelled() or task.exception() is not None
            refused = not lost and task.result().sort is Sort.REFUSED and due[0].phase is Phase.TRY
            if (waiting == 0 or lost or refused) and not enough.done():
                enough.set_result(None)

        for task in tasks:
            task.add_done_callback(ended)
        try:
            await enough
        finally:
            abandoned = [task for task in tasks if not task.done()]
            for task in abandoned:
                task.cancel()
            if abandoned:
                await asyncio.gather(*abandoned, return_exceptions=True)
        return [task.result() for task in tasks if not task.cancelled()]

    async def _take_due(self) -> list[Transaction]:
        now = self._clock.now()
        room = self._most - len(self._tasks)
        if room <= 0:
            return []
        taken = await self._database.write(
            lambda connection: log.lease_due(connection, now, now + self._lease, min(room, BATCH))
        )
        return [one for one in taken if one.transaction_id not in self._driving]

    def _note_recovery(self, participant: str) -> None:
        self._recovered[participant] = self._clock.now()

    async def _take_waiting(self) -> list[Transaction]:
        """Take up what waits for participants that may be called (again), as many as each has room for."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next_look:
            self._next_look = loop.time() + LOOK_SECONDS
            self._put_off.update(one.name for one in self._registry)
        found: list[Transaction] = []
        for participant in [one.name for one in self._registry]:
            room = min(self._caller.room(participant), self._most - len(self._tasks) - len(found), BATCH)
            if room > 0:
                found += await self._take_waiting_for(participant, room)
        return found

    async def _take_waiting_for(self, participant: str, room: int) -> list[Transaction]:
        now = self._clock.now()
        recovered = self._recovered.get(participant)
        if self._caller.silent(participant):
            return await self._lease_waiting(participant, now, self._lease, room)  # The probe.
        if recovered is not None:
            taken = await self._lease_waiting(participant, recovered, self._lease, room)
            if len(taken) < room:
                del self._recovered[participant]
            return taken
        if participant not in self._put_off:
            return []
        # What is due beyond any back-off of its own was put off.
        taken = await self._lease_waiting(participant, now, self._policy.retry_cap, room)
        if len(taken) < room:
            self._put_off.discard(participant)
        return taken

    async def _lease_waiting(
        self, participant: str, since: Millis, beyond: Millis, room: int
    ) -> list[Transaction]:
        now = self._clock.now()
        taken = await self._database.write(
            lambda connection: log.lease_waiting(
                connection, participant, beyond=now + beyond, since=since, until=now + self._lease, most=room
            )
        )
        return [heard_of(one, participant, now) for one in taken]

    async def _drive_safely(self, transaction: Transaction) -> None:
        try:
            await self.drive(transaction)
        # It stays in the log and is due again when its lease ends.
        except Transient as error:
            logger.warning(
                "transaction %s could not be driven on: %s", transaction.transaction_id, error.detail
            )
        except Exception:
            logger.exception("transaction %s could not be driven on", transaction.transaction_id)

    async def _read(self, transaction_id: str) -> Transaction | None:
        return await self._database.read(lambda connection: log.read(connection, transaction_id))

    async def _until_fresh(
        self, attempt: Callable[[], Awaitable[tuple[Transaction, Transaction]]]
    ) -> tuple[Transaction, Transaction]:
        while True:
            try:
                return await attempt()
            except Stale:
                logger.debug("a transaction changed under a change; reading it again")

    def _calls(self, transaction: Transaction) -> tuple[Call, ...]:
        return calls(transaction, self._clock.now(), self._policy)

    def _held_back(self, transaction: Transaction) -> Millis | None:
        """Keep others away while this driver has calls to make; else let the transaction's own time count."""
        return self._clock.now() + self._lease if self._calls(transaction) else None


def _note_change(
    before: Transaction, after: Transaction, published: Sequence[Branch], timeline: Attempts
) -> None:
    if after.state is not before.state:
        timeline.note("state", state=after.state.value, **({"reason": after.reason} if after.reason else {}))
    for branch in published:
        timeline.note(
            "published",
            branchId=branch.branch_id,
            participant=branch.participant,
            attempt=branch.attempts + 1,
        )
    if after.attention != before.attention:
        timeline.note("attention", attention=after.attention)
