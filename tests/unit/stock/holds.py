"""The strategies of holding as plain rules: what each does to one claim."""

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection

from shared.database.port import Savepoint
from shared.errors import Refused
from shared.tcc.participant import Context
from stock_service.claim import StockClaim
from stock_service.holding import atomic, gathered, optimistic, pessimistic

Act = Callable[[Connection, StockClaim, Context], None]


def hold_foreseen(connection: Connection, claim: StockClaim, context: Context) -> None:
    optimistic.hold(connection, claim, context._replace(foreseen=optimistic.look(connection, claim)))


def hold_gathered(connection: Connection, claim: StockClaim, context: Context) -> None:
    """A batch that doesn't fit is held one by one, which says why: here that has to refuse as well."""
    try:
        with Savepoint(connection):
            gathered.hold_all(connection, [(claim, context)])
    except Refused:
        atomic.hold(connection, claim, context)
        raise


HOLDS: Final[Mapping[str, Act]] = {
    "atomic": atomic.hold,
    "optimistic": hold_foreseen,
    "optimistic, unforeseen": optimistic.hold,
    "pessimistic": pessimistic.hold,
    "queue": hold_gathered,
}
