"""The participants over which the one contract suite runs, each with what a test has to know of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from pydantic import SecretStr
from sqlalchemy import Connection, Table, func, select, update
from sqlmodel import Field, SQLModel

from order_service.domain import Status
from order_service.participant import order
from order_service.tables import ORDERS
from order_service.tables import TABLES as ORDER_TABLES
from payment_service import accounts, cards
from payment_service.cards import CardRow
from payment_service.participant import payment, payment_through
from payment_service.stripe import StripeApi
from payment_service.stripe_gateway import stripe_gateway
from payment_service.tables import ACCOUNT, DEPOSIT
from payment_service.tables import TABLES as PAYMENT_TABLES
from shared.database.port import Database, table_of
from shared.errors import Refused
from shared.http.caller import Caller
from shared.http.model import Body, Quantity
from shared.identity import Id
from shared.messaging.ledger import LEDGER
from shared.messaging.letters import LETTER
from shared.messaging.outbox import OUTBOX
from shared.tcc.effects import ExternalEffect
from shared.tcc.fence import RESERVATION
from shared.tcc.participant import Context, Participant
from stock_service.participant import BY_STRATEGY, Strategy
from stock_service.tables import PRODUCT
from stock_service.tables import TABLES as STOCK_TABLES
from tests.cards.stand_in import KEY, StripeStandIn
from tests.contract.gateway import Gateway


class Ledger(NamedTuple):
    """What a participant holds and has kept for good, in units of one claim. held: None: it can't tell."""

    held: int | None
    kept: int


class Case(Protocol):
    """One participant under the suite.

    standalone: whether it knows reservations without a transaction; effect_timeout: the bound on one exchange
    of its external effect, in seconds.
    """

    participant: Participant[Any]
    tables: Sequence[Table]
    standalone: bool
    effect_timeout: float

    def prepare(self, connection: Connection) -> None:
        """Put down whatever the claims need to be there."""
        ...

    def claim(self, transaction_id: str) -> Mapping[str, Any]:
        """Return a claim that can be held."""
        ...

    def other_claim(self, transaction_id: str) -> Mapping[str, Any]:
        """Return a claim that differs from `claim`."""
        ...

    def refused_claim(self, transaction_id: str) -> Mapping[str, Any]:
        """Return a claim that business refuses."""
        ...

    def ledger(self, connection: Connection) -> Ledger: ...


class ToyRow(SQLModel, table=True):
    """The toy's counters."""

    __tablename__ = "toy"

    name: str = Field(primary_key=True)
    free: int
    held: int
    kept: int


TOY = table_of(ToyRow)
KIT_TABLES = (RESERVATION, OUTBOX, LETTER, LEDGER)


class ToyClaim(Body):
    name: Id
    count: Quantity


def take(connection: Connection, claim: ToyClaim, _context: Context) -> None:
    # It writes before it refuses: what it wrote has to be undone.
    _shift(connection, claim, free=-1, held=1)
    free = connection.execute(select(TOY.c.free).where(TOY.c.name == claim.name)).scalar_one()
    if free < 0:
        raise Refused("out-of-toys", "There are not so many toys.", free=free + claim.count)


def keep(connection: Connection, claim: ToyClaim, _context: Context) -> None:
    _shift(connection, claim, held=-1, kept=1)


def give_back(connection: Connection, claim: ToyClaim, _context: Context) -> None:
    _shift(connection, claim, free=1, held=-1)


def _shift(connection: Connection, claim: ToyClaim, **signs: int) -> None:
    changes = {name: TOY.c[name] + sign * claim.count for name, sign in signs.items()}
    assert connection.execute(update(TOY).where(TOY.c.name == claim.name).values(changes)).rowcount == 1


def toy(gateway: ExternalEffect[ToyClaim] | None = None) -> Participant[ToyClaim]:
    return Participant(
        name="toy",
        collection="toys",
        topic="toy-confirmation",
        claim=ToyClaim,
        on_try=take,
        on_confirm=keep,
        on_cancel=give_back,
        key=lambda _branch_id, claim: claim.name,
        effect=gateway,
    )


@dataclass
class ToyCase:
    """A participant of nothing but counters; with a gateway, one whose counters are mirrored outside."""

    gateway: Gateway | None = None
    participant: Participant[Any] = field(init=False)
    tables: Sequence[Table] = (TOY, *KIT_TABLES)
    standalone: bool = True
    effect_timeout: float = 0.02

    def __post_init__(self) -> None:
        self.participant = toy(self.gateway)

    def prepare(self, connection: Connection) -> None:
        connection.execute(TOY.insert(), {"name": "bear", "free": 100, "held": 0, "kept": 0})

    def claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"name": "bear", "count": 1}

    def other_claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"name": "bear", "count": 2}

    def refused_claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"name": "bear", "count": 101}

    def ledger(self, connection: Connection) -> Ledger:
        row = connection.execute(select(TOY)).one()
        assert row.free + row.held + row.kept == 100
        if self.gateway is not None:
            outside = (self.gateway.held, self.gateway.kept)
            assert (row.held, row.kept) == outside, f"inside {row.held, row.kept}, outside {outside}"
        return Ledger(row.held, row.kept)


@dataclass
class StockCase:
    """Stock, held by one of the strategies."""

    strategy: Strategy = "atomic"
    participant: Participant[Any] = field(init=False)
    tables: Sequence[Table] = STOCK_TABLES
    standalone: bool = True
    effect_timeout: float = 0.02

    def __post_init__(self) -> None:
        self.participant = BY_STRATEGY[self.strategy]

    def prepare(self, connection: Connection) -> None:
        row = {"product_id": "1", "name": "One", "on_hand": 100, "held": 0, "sold": 0, "purchase_limit": None}
        row |= {"frozen": False, "version": 1, "created_at": 0, "updated_at": 0}
        connection.execute(PRODUCT.insert(), row)

    def claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"productId": "1", "qty": 1, "customerId": "ann"}

    def other_claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"productId": "1", "qty": 2, "customerId": "ann"}

    def refused_claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"items": [{"productId": "1", "qty": 1}, {"productId": "unheard-of", "qty": 1}]}

    def ledger(self, connection: Connection) -> Ledger:
        row = connection.execute(select(PRODUCT)).one()
        assert row.on_hand + row.sold == 100
        return Ledger(row.held, row.sold)


@dataclass
class PaymentCase:
    participant: Participant[Any] = payment
    tables: Sequence[Table] = PAYMENT_TABLES
    standalone: bool = True
    effect_timeout: float = 0.02

    def prepare(self, connection: Connection) -> None:
        row = {"customer_id": "guest", "balance": 100, "held": 0, "captured": 0, "refunded": 0}
        row |= {"version": 1, "created_at": 0, "updated_at": 0}
        connection.execute(ACCOUNT.insert(), row)

    def claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"paymentAmt": 1}

    def other_claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"paymentAmt": 2}

    def refused_claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"paymentAmt": 101}

    def ledger(self, connection: Connection) -> Ledger:
        row = connection.execute(select(ACCOUNT)).one()
        assert row.balance + row.captured == 100
        return Ledger(row.held, row.captured)


@dataclass
class CardCase:
    """Payment again, where the money is at Stripe: what the books say is what the stand-in has."""

    stripe: StripeStandIn
    database: Database
    caller: Caller
    participant: Participant[Any] = field(init=False)
    tables: Sequence[Table] = PAYMENT_TABLES
    standalone: bool = True
    effect_timeout: float = 2.0

    def __post_init__(self) -> None:
        api = StripeApi(self.caller, self.stripe.url, SecretStr(KEY), self.effect_timeout)
        self.participant = payment_through(stripe_gateway(api, self.database, "eur"))

    def prepare(self, connection: Connection) -> None:
        self.stripe.forget()
        accounts.put(connection, "guest", None, deposit_id="none", now=0)
        cards.register(connection, CardRow("guest", self.stripe.card(), None, 0))

    def claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"paymentAmt": 1}

    def other_claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"paymentAmt": 2}

    def refused_claim(self, _transaction_id: str) -> Mapping[str, Any]:
        return {"paymentAmt": 1, "customerId": "without-a-card"}

    def ledger(self, connection: Connection) -> Ledger:
        row = connection.execute(select(ACCOUNT)).one()
        outside = self.stripe.money()
        assert (row.held, row.captured) == outside[:2], f"inside {row.held, row.captured}, outside {outside}"
        paid_in = connection.execute(select(func.coalesce(func.sum(DEPOSIT.c.delta), 0))).scalar_one()
        assert (row.balance, row.balance + row.captured) == (row.held, paid_in)
        return Ledger(row.held, row.captured)


@dataclass
class OrderCase:
    """Orders change when they are confirmed or cancelled only, and belong to a transaction each."""

    participant: Participant[Any] = order
    tables: Sequence[Table] = ORDER_TABLES
    standalone: bool = False
    effect_timeout: float = 0.02

    def prepare(self, connection: Connection) -> None:
        for transaction_id in ("tx-1", "tx-2"):
            connection.execute(ORDERS.insert(), self._row(transaction_id))

    def claim(self, transaction_id: str) -> Mapping[str, Any]:
        return {"orderId": f"order-of-{transaction_id}"}

    def other_claim(self, transaction_id: str) -> Mapping[str, Any]:
        return {"orderId": f"other-order-of-{transaction_id}"}

    def refused_claim(self, transaction_id: str) -> Mapping[str, Any]:
        return {"orderId": f"unheard-of-{transaction_id}"}

    def ledger(self, connection: Connection) -> Ledger:
        states = connection.execute(select(ORDERS.c.status)).scalars().all()
        return Ledger(None, states.count(Status.CONFIRMED.value))

    def _row(self, transaction_id: str) -> dict[str, Any]:
        return {
            "order_id": f"order-of-{transaction_id}",
            "transaction_id": transaction_id,
            "customer_id": "guest",
            "items": "[]",
            "payment_amt": 1,
            "body_hash": "",
            "status": Status.PENDING.value,
            "attempts": 0,
            "created_at": 0,
            "updated_at": 0,
        }
