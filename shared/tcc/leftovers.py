"""What every participant checks of its own: dead letters of branches that are settled, and standalone
reservations that nobody looks at any more.

Here something can be merely late: a letter is settled a moment after its record was applied. So a letter that
was touched within the grace time, or a reservation whose time has only just run out, is left alone.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.messaging.letters import CLOSED, LETTER, settle_by_id
from shared.tcc.audit import Auditor, Discrepancy, Ledger, LedgerAudit, Verdict
from shared.tcc.fence import RESERVATION, is_holding
from shared.tcc.protocol import State


class SettledLetter(NamedTuple):
    """A letter that is not settled, of a branch that is."""

    letter_id: str
    branch_id: str
    letter_state: str
    branch_state: str


class Forgotten(NamedTuple):
    """A standalone reservation that holds something, and that no sweep comes to."""

    branch_id: str
    state: str
    expires_at: Millis | None


def leftovers(database: Database, clock: Clock, topic: str, grace_ms: Millis) -> list[Auditor]:
    """Return the checks of what the kit itself keeps. topic: of the Confirms; grace_ms: what is only late."""

    def since() -> Millis:
        return clock.now() - grace_ms

    def settled(connection: Connection, after: str, most: int) -> Sequence[SettledLetter]:
        place = {"topic": topic, "since": since(), "after": after, "most": most}
        return [SettledLetter(*row) for row in connection.execute(_SETTLED_LETTERS, place)]

    def forgotten(connection: Connection, after: str, most: int) -> Sequence[Forgotten]:
        place = {"since": since(), "after": after, "most": most}
        return [Forgotten(*row) for row in connection.execute(_FORGOTTEN, place)]

    return [
        LedgerAudit(Ledger("letters", settled, _judge_letter, _lock_letters, _settle), database, clock),
        LedgerAudit(
            Ledger("standalone", forgotten, _judge_forgotten, _lock_branches, _wake), database, clock
        ),
    ]


def _judge_letter(one: SettledLetter) -> list[Discrepancy]:
    evidence = {"branchId": one.branch_id, "branch": one.branch_state, "letter": one.letter_state}
    kind, verdict = "letter-of-settled-branch", Verdict.REPAIRABLE
    if one.branch_state != State.CONFIRMED:
        # It would confirm what was let go: somebody broke the protocol.
        kind, verdict = "letter-of-cancelled-branch", Verdict.PERSON
    return [Discrepancy(kind, f"letter {one.letter_id}", verdict, one.letter_id, evidence)]


def _judge_forgotten(one: Forgotten) -> list[Discrepancy]:
    subject, evidence = f"reservation {one.branch_id}", {"state": one.state, "expiresAt": one.expires_at}
    return [Discrepancy("standalone-dangling", subject, Verdict.REPAIRABLE, one.branch_id, evidence)]


def _lock_letters(connection: Connection, rows: Sequence[SettledLetter]) -> None:
    wanted = [row.letter_id for row in rows]
    connection.execute(
        select(LETTER.c.id).where(LETTER.c.id.in_(wanted)).order_by(LETTER.c.id).with_for_update()
    )


def _lock_branches(connection: Connection, rows: Sequence[Forgotten]) -> None:
    wanted = [row.branch_id for row in rows]
    statement = select(RESERVATION.c.id).where(RESERVATION.c.id.in_(wanted))
    connection.execute(statement.order_by(RESERVATION.c.id).with_for_update())


def _settle(connection: Connection, one: SettledLetter, now: Millis) -> bool:
    return settle_by_id(connection, [one.letter_id], now) == 1


def _wake(connection: Connection, one: Forgotten, now: Millis) -> bool:
    """Have the next sweep look at it, which knows what to do."""
    of_one = (
        RESERVATION.c.id == one.branch_id,
        RESERVATION.c.state == one.state,
        RESERVATION.c.due_at.is_(None),
    )
    return connection.execute(update(RESERVATION).where(*of_one).values(due_at=now)).rowcount == 1


_SETTLED_LETTERS: Any = (
    select(LETTER.c.id, LETTER.c.branch_id, LETTER.c.state, RESERVATION.c.state)
    .select_from(LETTER.join(RESERVATION, RESERVATION.c.id == LETTER.c.branch_id))
    .where(
        LETTER.c.topic == bindparam("topic"),
        LETTER.c.state.not_in([state.value for state in CLOSED]),
        LETTER.c.updated_at < bindparam("since"),
        RESERVATION.c.state.in_([State.CONFIRMED.value, State.CANCELLED.value]),
        LETTER.c.id > bindparam("after"),
    )
    .order_by(LETTER.c.id)
    .limit(bindparam("most"))
)
_FORGOTTEN: Any = (
    select(RESERVATION.c.id, RESERVATION.c.state, RESERVATION.c.expires_at)
    .where(
        is_holding(),
        RESERVATION.c.transaction_id.is_(None),
        RESERVATION.c.due_at.is_(None),
        RESERVATION.c.expires_at < bindparam("since"),
        RESERVATION.c.id > bindparam("after"),
    )
    .order_by(RESERVATION.c.id)
    .limit(bindparam("most"))
)
