"""The transactional outbox: a message is a row, written in the transaction whose news it carries."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pydantic_core
from sqlalchemy import BigInteger, Connection, Integer, LargeBinary, bindparam, delete, select
from sqlmodel import Field, SQLModel

from shared.clock import Clock
from shared.database.port import announce, table_of
from shared.database.prepared import Prepared
from shared.messaging.broker import Headers, Message


class OutboxRow(SQLModel, table=True):
    """One message that waits to be published. Its columns are what an outbox event router expects."""

    __tablename__ = "outbox"

    # SQLite numbers rows by itself only for INTEGER, PostgreSQL wants 64 bits.
    id: int | None = Field(
        default=None,
        primary_key=True,
        sa_type=BigInteger().with_variant(Integer, "sqlite"),
    )
    topic: str = Field(max_length=249)
    partition: int | None = None
    key: bytes | None = Field(default=None, sa_type=LargeBinary)
    value: bytes | None = Field(default=None, sa_type=LargeBinary)
    headers: bytes = Field(sa_type=LargeBinary)
    created_at: int = Field(sa_type=BigInteger)


_OUTBOX = table_of(OutboxRow)
_INSERT = Prepared(_OUTBOX.insert().inline(), ("topic", "partition", "key", "value", "headers", "created_at"))
_OLDEST = (
    select(
        _OUTBOX.c.id,
        _OUTBOX.c.topic,
        _OUTBOX.c.key,
        _OUTBOX.c.value,
        _OUTBOX.c.headers,
        _OUTBOX.c.partition,
    )
    .order_by(_OUTBOX.c.id)
    .limit(bindparam("most"))
)
_READ_OLDEST = Prepared(_OLDEST)
_OLDEST_ELSEWHERE = _OLDEST.where(_OUTBOX.c.topic.not_in(bindparam("without", expanding=True)))
_DELETE = Prepared(delete(_OUTBOX).where(_OUTBOX.c.id == bindparam("row")))


class Outbox:
    """Writes messages into the outbox of the transaction at hand."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def add(self, connection: Connection, messages: Iterable[Message]) -> None:
        """Insert the messages; the relay publishes them after the commit."""
        now = self._clock.now()
        rows = [
            {
                "topic": message.topic,
                "partition": message.partition,
                "key": message.key,
                "value": message.value,
                "headers": encode_headers(message.headers),
                "created_at": now,
            }
            for message in messages
        ]
        if rows:
            _INSERT.run_many(connection, rows)
            announce(connection)


def oldest(connection: Connection, most: int, *, without: Collection[str] = ()) -> list[tuple[int, Message]]:
    """Return up to `most` rows in the order they were written. without: topics to leave out."""
    rows: Iterable[Sequence[Any]]
    if without:
        rows = connection.execute(_OLDEST_ELSEWHERE, {"most": most, "without": list(without)})
    else:
        rows = _READ_OLDEST.rows(connection, {"most": most})
    return [
        (row, Message(topic, key, value, decode_headers(headers), partition))
        for row, topic, key, value, headers, partition in rows
    ]


def remove(connection: Connection, rows: Collection[int]) -> None:
    """Remove rows that the broker has acknowledged."""
    if rows:
        _DELETE.run_many(connection, [{"row": row} for row in rows])


def encode_headers(headers: Headers) -> bytes:
    """Write headers as JSON, names as they are and values in Latin-1, which keeps any byte."""
    return pydantic_core.to_json([(name, value.decode("latin-1")) for name, value in headers])


def decode_headers(encoded: bytes) -> Headers:
    return tuple((name, value.encode("latin-1")) for name, value in pydantic_core.from_json(encoded))
