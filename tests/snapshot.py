"""What the four programs have, as plain rows of one moment: what the invariants are checked over."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Order:
    """items: units by product; amount: minor units."""

    order_id: str
    transaction_id: str
    customer_id: str
    items: Mapping[str, int]
    amount: int
    status: str


@dataclass(frozen=True, slots=True)
class Branch:
    branch_id: str
    participant: str
    state: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """history: every state it was seen in by its own timeline, the oldest first; empty: not asked for."""

    transaction_id: str
    state: str
    branches: tuple[Branch, ...]
    history: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reservation:
    """transaction_id: None for a standalone one; items, amount: what it claims of stock, of money."""

    participant: str
    reservation_id: str
    state: str
    transaction_id: str | None
    customer_id: str = ""
    items: Mapping[str, int] = field(default_factory=dict)
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Product:
    """Units. adjusted: the sum of all recorded adjustments, the first stock included."""

    product_id: str
    on_hand: int
    held: int
    available: int
    sold: int
    adjusted: int
    purchase_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Minor units. deposited: all that was ever paid in, withdrawals subtracted."""

    customer_id: str
    balance: int
    held: int
    available: int
    captured: int
    refunded: int
    deposited: int


@dataclass(frozen=True, slots=True)
class Letter:
    letter_id: str
    program: str
    topic: str
    state: str
    branch_id: str | None
    transaction_id: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the four programs have, at one moment."""

    orders: tuple[Order, ...] = ()
    transactions: tuple[Transaction, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    products: tuple[Product, ...] = ()
    accounts: tuple[Account, ...] = ()
    letters: tuple[Letter, ...] = ()
