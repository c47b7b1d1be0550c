"""Long after their end, transactions shrink: what they claimed and what happened to them goes, and what was
decided stays for ever (rule 8).

That a transaction is shrunk is also what lets participants forget its branches (`may_be_forgotten`): so its
retention is counted once, by one clock, from its end, and every decision outlives its fences.
"""

from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, update

from coordinator import log
from coordinator.branch import remembered
from coordinator.tables import ENDED, TIMELINE, TRANSACTION
from shared.clock import Millis
from shared.database.prepared import Prepared


def shrink(connection: Connection, before: Millis, now: Millis, most: int) -> int:
    """Shrink up to `most` transactions that ended before an instant, oldest first; return how many.

    What another instance is shrinking is left to it. A driver that read one before can't write over it: its
    version rises.
    """
    found = connection.execute(_OLDEST, {"before": before, "most": most}).all()
    for row in found:
        branches = [remembered(branch) for branch in log.decode_branches(row.branches)]
        shrunk = {"wanted": row.id, "new_branches": log.encode_branches(branches), "at": now}
        _SHRINK.run(connection, shrunk)
    if found:
        gone = [row.id for row in found]
        connection.execute(delete(TIMELINE).where(TIMELINE.c.transaction_id.in_(gone)))
    return len(found)


_OLDEST: Final = (
    select(TRANSACTION.c.id, TRANSACTION.c.branches)
    .where(ENDED, TRANSACTION.c.updated_at < bindparam("before"))
    .order_by(TRANSACTION.c.updated_at, TRANSACTION.c.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_SHRINK: Final = Prepared(
    update(TRANSACTION)
    .where(TRANSACTION.c.id == bindparam("wanted"))
    .values(
        branches=bindparam("new_branches"),
        traceparent=None,
        shrunk_at=bindparam("at"),
        version=TRANSACTION.c.version + 1,
    )
)
