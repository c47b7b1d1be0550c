"""The strategies of holding as plain rules: what each does to one claim."""

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection

from shared.tcc.participant import Context
from stock_service.claim import StockClaim
from stock_service.holding import atomic, gathered, optimistic, pessimistic

Act = Callable[[Connection, StockClaim, Context], None]


def hold_foreseen(connection: Connection, claim: StockClaim, context: Context) -> None:
    optimistic.hold(connection, claim, context._replace(foreseen=optimistic.look(connection, claim)))


def hold_gathered(connection: Connection, claim: StockClaim, context: Context) -> None:
    gathered.hold_all(connection, [(claim, context)])


HOLDS: Final[Mapping[str, Act]] = {
    "atomic": atomic.hold,
    "optimistic": hold_foreseen,
    "optimistic, unforeseen": optimistic.hold,
    "pessimistic": pessimistic.hold,
    "queue": hold_gathered,
}
