"""The coordinator's Kafka door: what participants report about the Confirms that were published."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from coordinator import log
from coordinator.branch import DeadLettered, Fact, Policy, Settled
from coordinator.caller import Attempts
from coordinator.driver import Driver
from coordinator.log import Change, Stale
from coordinator.transaction import Transaction, calls, learn
from shared.bell import Bell
from shared.clock import Clock
from shared.database.port import Database
from shared.errors import HandfastError
from shared.messaging.broker import Record
from shared.messaging.listener import Listener, Subject
from shared.messaging.outbox import Outbox
from shared.messaging.retry import Retry
from shared.tcc.confirmations import Outcome, read_outcome

TOPIC = "tcc-outcomes"

logger = logging.getLogger(__name__)


class UnknownBranch(HandfastError):
    """The outcome names a transaction or a branch that this coordinator never had."""


class Outcomes:
    """Takes outcomes into the log, a batch in one commit, and with them what follows."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        driver: Driver,
        policy: Policy,
        clock: Clock,
        bell: Bell,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._driver = driver
        self._policy = policy
        self._clock = clock
        self._bell = bell

    async def handle(self, records: Sequence[Record]) -> Sequence[Exception | None]:
        """Take in a batch; return for each record what was wrong with it, or None."""
        verdicts: list[Exception | None] = [None] * len(records)
        outcomes: list[tuple[int, Outcome]] = []
        for index, record in enumerate(records):
            try:
                outcomes.append((index, read_outcome(record)))
            except HandfastError as error:
                verdicts[index] = error
        if outcomes:
            await self._take_in(outcomes, verdicts)
        return verdicts

    async def _take_in(self, outcomes: list[tuple[int, Outcome]], verdicts: list[Exception | None]) -> None:
        def work(connection: Connection) -> tuple[list[Transaction], Mapping[str, Transaction]]:
            return self._apply(connection, [outcome for _, outcome in outcomes])

        try:
            saved, found = await self._database.write(work)
        except Stale as stale:
            for index, _ in outcomes:
                verdicts[index] = stale
            return
        for index, outcome in outcomes:
            verdicts[index] = _verdict(outcome, found.get(outcome.transaction_id))
        now = self._clock.now()
        for transaction in saved:
            self._bell.ring(transaction.transaction_id)
            if calls(transaction, now, self._policy):
                self._driver.drive_behind(transaction)

    def _apply(
        self, connection: Connection, outcomes: Sequence[Outcome]
    ) -> tuple[list[Transaction], Mapping[str, Transaction]]:
        now = self._clock.now()
        found = log.read_many(connection, {outcome.transaction_id for outcome in outcomes})
        timelines: dict[str, Attempts] = {}
        changed = dict(found)
        for outcome in outcomes:
            transaction = changed.get(outcome.transaction_id)
            if transaction is None:
                continue
            learned = learn(transaction, _fact(outcome), now, self._policy)
            if learned is not transaction:
                timeline = timelines.setdefault(outcome.transaction_id, Attempts(self._clock))
                timeline.note("outcome", **_what(transaction, outcome))
                changed[outcome.transaction_id] = learned
        changes = []
        for transaction_id, timeline in timelines.items():
            after, messages = self._driver.advanced(found[transaction_id], changed[transaction_id], timeline)
            changes.append(Change(after, messages, timeline.take()))
        return log.save(connection, self._outbox, changes, now), found


def outcome_listener(outcomes: Outcomes, retry: Retry) -> Listener:
    """Return the listener that brings tcc-outcomes to this door."""
    return Listener(
        topic=TOPIC,
        handle=outcomes.handle,
        subject=_subject,
        is_fatal=lambda error: not isinstance(error, Stale),
        retry=retry,
    )


def _subject(record: Record) -> Subject:
    outcome = read_outcome(record)
    return Subject(outcome.branch_id, outcome.transaction_id)


def _verdict(outcome: Outcome, transaction: Transaction | None) -> UnknownBranch | None:
    """Return what is wrong with an outcome that fits nothing here; None where it fits."""
    if transaction is None:
        unknown = UnknownBranch(f"There is no transaction {outcome.transaction_id}.")
    elif transaction.branches and transaction.branch(outcome.branch_id) is None:
        unknown = UnknownBranch(f"Transaction {outcome.transaction_id} has no branch {outcome.branch_id}.")
    else:
        return None
    if outcome.outcome == "dead-lettered":
        # The participant keeps the letter of the Confirm that fitted nothing; one letter of it is enough.
        logger.warning("A participant's dead letter fits nothing here: %s", unknown)
        return None
    return unknown


def _fact(outcome: Outcome) -> Fact:
    if outcome.outcome == "confirmed":
        return Settled(outcome.branch_id)
    return DeadLettered(outcome.branch_id, outcome.reason or "no reason given")


def _what(transaction: Transaction, outcome: Outcome) -> dict[str, Any]:
    branch = transaction.branch(outcome.branch_id)
    participant = branch.participant if branch else None
    reason = {"reason": outcome.reason} if outcome.reason else {}
    return {"outcome": outcome.outcome, "branchId": outcome.branch_id, "participant": participant, **reason}
