"""What the code would do without its safeguards: the other side of the ablations."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, cast
from unittest.mock import patch

from sqlalchemy import Connection, delete, select

import coordinator.branch
import coordinator.coordinator
import coordinator.driver
import coordinator.inquiries
import coordinator.log
import coordinator.repairs
import coordinator.transaction
import shared.tcc.branches
import shared.tcc.participant
from coordinator.branch import Branch, BranchState
from coordinator.caller import Attempts
from coordinator.tables import ENDED, TIMELINE, TRANSACTION
from coordinator.transaction import Transaction
from shared.clock import Millis
from shared.database.inline import InlineDatabase
from shared.messaging.consumer import Consumer
from shared.messaging.outbox import Outbox
from shared.retention import BATCH
from shared.tcc import fence
from shared.tcc.branches import Branches, Step, context_of
from shared.tcc.command import Answer
from shared.tcc.fence import Fence
from shared.tcc.forgetting import Forgetting
from shared.tcc.protocol import Phase, Verdict
from shared.tcc.protocol import State as Held

_ENTOMB: Final = Branches._entomb
_SAVE: Final = coordinator.log.save
_BEGIN: Final = coordinator.driver.Driver.begin
_CANCEL_UNKNOWN: Final = coordinator.inquiries.Inquiries._cancel_unknown
_JUDGE: Final = coordinator.transaction._judge
_DECIDED: Final = coordinator.branch.decided
_TAKE: Final = Consumer._take
_ADD: Final = Outbox.add
_WRITE_NOW: Final = InlineDatabase.write_now


def fence_unasked() -> AbstractContextManager[Any]:
    insert = fence.insert

    def always(connection: Connection, row: Fence) -> bool:
        insert(connection, row)
        return True

    return patch.object(fence, "insert", always)


def no_tombstone(self: Branches[Any], connection: Connection, command: Any, now: int) -> Step:
    with patch.object(fence, "insert", lambda *_: True):
        return _ENTOMB(self, connection, command, now)


def hold_again(self: Branches[Any], connection: Connection, command: Any, held: Fence, now: int) -> Step:
    assert command.phase is Phase.TRY
    moved = fence.move(connection, held, state=Held.TRIED, claim=self._fresh(command, now)[1].claim)
    self._participant.on_try(connection, command.claim, context_of(moved, now))
    return Step(Answer(Verdict.APPLY, moved))


async def try_before_row(self: Any, transaction: Transaction) -> Transaction | None:
    """Make the calls first, and write down the transaction with what they brought."""
    timeline = Attempts(self._clock)
    facts = await self._perform(transaction, self._calls(transaction), timeline)
    for fact in facts:
        transaction = coordinator.transaction.learn(transaction, fact, self._clock.now(), self._policy)
    return await _BEGIN(self, transaction)


def save_blindly(connection: Connection, outbox: Any, changes: Any, now: int) -> list[Any]:
    """Write over whatever version is there."""
    fresh = []
    for change in changes:
        found = coordinator.log.read(connection, change.transaction.transaction_id)
        assert found is not None
        fresh.append(change._replace(transaction=change.transaction._replace(version=found.version)))
    return list(_SAVE(connection, outbox, fresh, now))


@contextmanager
def outbox_apart() -> Iterator[None]:
    """Have messages survive the transaction that they belong to, where it is rolled back."""
    added: list[Callable[[Connection], None]] = []

    def add(self: Outbox, connection: Connection, messages: Any) -> None:
        added.append(partial(_ADD, self, messages=list(messages)))
        added[-1](connection)

    def write_now(self: InlineDatabase, work: Any) -> Any:
        added.clear()
        try:
            return _WRITE_NOW(self, work)
        except BaseException:
            for add_again in added:
                _WRITE_NOW(self, add_again)
            raise

    with patch.object(Outbox, "add", add), patch.object(InlineDatabase, "write_now", write_now):
        yield


async def expire_by_oneself(self: Any, held: Fence) -> None:
    await self._cancel(held, "expired")


async def answer_and_forget(self: Any, transaction_id: str) -> Transaction:
    class Nowhere:
        async def write(self, _work: Any) -> None:
            return None

    forgetful = SimpleNamespace(_clock=self._clock, _database=Nowhere())
    return await _CANCEL_UNKNOWN(cast(Any, forgetful), transaction_id)


def repeat_silently(_self: Any, _connection: Connection, _command: Any, held: Fence, _now: int) -> Step:
    return Step(Answer(Verdict.REPEAT, held))


@contextmanager
def published_once() -> Iterator[None]:
    def published(branch: Branch, now: int, _policy: Any) -> Branch:
        return branch._replace(attempts=branch.attempts + 1, due_at=now + 10**12)

    async def undriven(_self: Any, _transaction: Transaction) -> str:
        return "driven"

    with ExitStack() as patches:
        patches.enter_context(patch.object(coordinator.transaction, "published", published))
        # A reconciliation would have it published again, minutes later.
        patches.enter_context(patch.object(coordinator.repairs.Repairs, "_drive", undriven))
        yield


def commit_at_once(self: Any, arrived: Any, now: float) -> None:
    """Commit what was fetched before anything else happens to it."""
    _TAKE(self, arrived, now)
    offsets = {place: records[-1].offset + 1 for place, records in arrived.items()}
    for place, offset in offsets.items():
        self._states[place].committed = offset
    self._committing = asyncio.get_running_loop().create_task(self._commit_now(offsets))


def everybody_due(transaction: Transaction, now: int) -> list[Branch]:
    unsettled = coordinator.transaction._unsettled(transaction)
    return [one for one in unsettled if one.due_at <= now and one.dead_letter is None]


def judge_without_answers(transaction: Transaction, now: int) -> Transaction:
    for branch in transaction.branches:
        if branch.state is BranchState.TRYING and branch.attempts:
            tried = branch._replace(state=BranchState.TRIED)
            transaction = coordinator.transaction._put(transaction, branch, tried)
    return _JUDGE(transaction, now)


def cancel_only_what_answered(branch: Branch, confirm: bool, now: int) -> Branch:
    if not confirm and branch.state is BranchState.TRYING:
        return branch._replace(state=BranchState.CLOSED)
    return _DECIDED(branch, confirm, now)


@contextmanager
def branches_unjoined() -> Iterator[None]:
    def add(transaction: Transaction, branch: Branch) -> Transaction:
        return transaction._replace(
            state=coordinator.transaction.State.TRYING,
            branches=(*transaction.branches, branch._replace(added=True)),
        )

    with ExitStack() as patches:
        patches.enter_context(patch.object(coordinator.coordinator, "_joinable", lambda *_: None))
        patches.enter_context(patch.object(coordinator.coordinator, "add_branch", add))
        yield


@contextmanager
def no_savepoints() -> Iterator[None]:
    class Nothing:
        def __init__(self, _connection: Connection) -> None: ...

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    with ExitStack() as patches:
        patches.enter_context(patch.object(shared.tcc.participant, "Savepoint", Nothing))
        patches.enter_context(patch.object(shared.tcc.branches, "Savepoint", Nothing))
        yield


def delete_ended(connection: Connection, before: Millis, _now: Millis, most: int) -> int:
    """Instead of shrink: nothing stays of a transaction."""
    ended = select(TRANSACTION.c.id).where(ENDED, TRANSACTION.c.updated_at < before).limit(most)
    ids = list(connection.execute(ended).scalars())
    connection.execute(delete(TIMELINE).where(TIMELINE.c.transaction_id.in_(ids)))
    connection.execute(delete(TRANSACTION).where(TRANSACTION.c.id.in_(ids)))
    return len(ids)


@contextmanager
def retention_by_the_deadline() -> Iterator[None]:
    """A participant forgets what is past its deadline by its own clock, and asks nobody."""

    async def settled(self: Any, after: tuple[Millis, str]) -> list[Fence]:
        now = self._host.clock.now()
        found: list[Fence] = await self._host.database.read(
            lambda connection: fence.settled(connection, now, after, BATCH)
        )
        return found

    async def forgettable(self: Any, found: Sequence[Fence]) -> list[str]:
        now = self._host.clock.now()
        return [one.id for one in found if one.expires_at is not None and one.expires_at < now]

    with (
        patch.object(Forgetting, "_settled", settled),
        patch.object(Forgetting, "_forgettable", forgettable),
    ):
        yield
