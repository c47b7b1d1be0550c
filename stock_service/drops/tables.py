"""The tables of drops. Instants are milliseconds since the epoch, quantities are units."""

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from shared.database.port import table_of

LIVE: Final = text("state <> 'RETURNED'")
"""What holds a unit. Written out in statements, so that they can use the index."""

OWED: Final = text("owed")
"""What a gate outside has to be told of, written out for the same reason."""

_PENDING = text("state = 'PENDING'")


class DropOffer(SQLModel, table=True):
    """A drop: its terms and its counters.

    taken: live claims, moved by conditional updates; issued: counted anew with each batch; epoch: rises with
    every change of the terms and with every gate that is built from the journal, so that nobody writes down
    what an older gate has decided.
    """

    __tablename__ = "drop_offer"
    __table_args__ = (
        CheckConstraint("taken >= 0 AND taken <= quantity", name="drop_offer_taken"),
        CheckConstraint("issued >= 0 AND issued <= taken", name="drop_offer_issued"),
    )

    code: str = Field(primary_key=True, max_length=64)
    quantity: int = Field(sa_type=BigInteger)
    per_customer: int
    opens_at: int | None = Field(default=None, sa_type=BigInteger)
    closes_at: int | None = Field(default=None, sa_type=BigInteger)
    taken: int = Field(sa_type=BigInteger)
    issued: int = Field(sa_type=BigInteger)
    epoch: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


class DropClaim(SQLModel, table=True):
    """The journal: a claim of one unit.

    slot: which of the customer's units it is, 1 to perCustomer; due_at: when a PENDING one is published
    again; owed: RETURNED, and a gate outside this database doesn't know of it yet.
    """

    __tablename__ = "drop_claim"
    __table_args__ = (
        CheckConstraint("slot >= 1", name="drop_claim_slot"),
        Index(
            "drop_claim_live",
            "code",
            "customer_id",
            "slot",
            unique=True,
            sqlite_where=LIVE,
            postgresql_where=LIVE,
        ),
        Index("drop_claim_by_drop", "code", "id"),
        Index("drop_claim_by_state", "code", "state", "id"),
        Index("drop_claim_by_customer", "code", "customer_id", "id"),
        Index("drop_claim_due", "due_at", sqlite_where=_PENDING, postgresql_where=_PENDING),
        Index("drop_claim_owed", "id", sqlite_where=OWED, postgresql_where=OWED),
    )

    id: str = Field(primary_key=True, max_length=64)
    code: str = Field(max_length=64)
    customer_id: str = Field(max_length=64)
    slot: int
    state: str = Field(max_length=10)
    reason: str | None = Field(default=None, max_length=64)
    publications: int
    due_at: int = Field(sa_type=BigInteger)
    owed: bool
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


DROP_OFFER: Final = table_of(DropOffer)
DROP_CLAIM: Final = table_of(DropClaim)
