"""The transactional outbox: a message is a row, written in the transaction whose news it carries.

Who publishes it is a setting. The relay reads the rows that are there and removes what is published. Or
events are captured from the database's log (adr/0023): their rows are removed in the transaction that writes
them, so that they are in the log alone, and each header of an event is a column. What has other headers or a
partition of its own (dead letters and replays) doesn't fit there, and is the relay's in either case.

Where several instances share a database, each publishes what it wrote itself, and `presence` sees to what
those leave behind that are gone.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import pydantic_core
from sqlalchemy import BigInteger, Connection, Integer, LargeBinary, bindparam, delete, select
from sqlmodel import Field, SQLModel

from shared.clock import Clock, Millis
from shared.database.port import announce, table_of
from shared.database.prepared import ByKey, Prepared
from shared.messaging.broker import Headers, Message


class OutboxRow(SQLModel, table=True):
    """One message that waits to be published.

    ce_specversion and what follows: the headers of an event that is captured, where an outbox event router
    finds them; `headers` has none then.
    """

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
    ce_specversion: str | None = None
    ce_id: str | None = None
    ce_source: str | None = None
    ce_type: str | None = None
    ce_time: str | None = None
    traceparent: str | None = None
    owner: str = Field(max_length=64, sa_column_kwargs={"server_default": ""})  # whose relay publishes it


EVENT_HEADERS: Final = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "traceparent")
"""The headers of an event, each of which has a column of its name. All but the last are always there."""

OUTBOX = table_of(OutboxRow)
_FILLED = ("topic", "partition", "key", "value", "headers", "created_at")
_INSERT = Prepared(OUTBOX.insert().inline(), (*_FILLED, "owner"))
_INSERT_EVENT = Prepared(OUTBOX.insert().returning(OUTBOX.c.id), (*_FILLED, *EVENT_HEADERS))
_OLDEST = (
    select(
        OUTBOX.c.id,
        OUTBOX.c.topic,
        OUTBOX.c.key,
        OUTBOX.c.value,
        OUTBOX.c.headers,
        OUTBOX.c.partition,
    )
    .where(OUTBOX.c.owner == bindparam("of_owner"))
    .order_by(OUTBOX.c.id)
    .limit(bindparam("most"))
)
_READ_OLDEST = Prepared(_OLDEST)
_OLDEST_ELSEWHERE = _OLDEST.where(OUTBOX.c.topic.not_in(bindparam("without", expanding=True)))
_DELETE = ByKey(delete(OUTBOX), OUTBOX.c.id)


class Outbox:
    """Writes messages into the outbox of the transaction at hand.

    owner: the instance whose relay publishes them; empty where a program has its database to itself;
    captured: whether events are published out of the database's log, and by no relay.
    """

    def __init__(self, clock: Clock, owner: str = "", *, captured: bool = False) -> None:
        self._clock = clock
        self.owner = owner
        self._captured = captured

    def add(self, connection: Connection, messages: Iterable[Message]) -> None:
        """Insert the messages, at the latest before the commit; they are published after it."""
        now = self._clock.now()
        relayed: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []
        for message in messages:
            event = _event(message) if self._captured else None
            if event is None:
                relayed.append(_row(message, message.headers, now) | {"owner": self.owner})
            else:
                events.append(_row(message, (), now) | event)
        if relayed:
            _INSERT.later(connection, relayed)
            announce(connection)
        if events:
            _log(connection, events)


def oldest(
    connection: Connection, most: int, *, without: Collection[str] = (), owner: str = ""
) -> list[tuple[int, Message]]:
    """Return up to `most` rows of an owner in the order they were written. without: topics to leave out."""
    rows: Iterable[Sequence[Any]]
    wanted = {"most": most, "of_owner": owner}
    if without:
        rows = connection.execute(_OLDEST_ELSEWHERE, {**wanted, "without": list(without)})
    else:
        rows = _READ_OLDEST.rows(connection, wanted)
    return [
        (row, Message(topic, key, value, decode_headers(headers), partition))
        for row, topic, key, value, headers, partition in rows
    ]


def remove(connection: Connection, rows: Collection[int]) -> None:
    """Remove rows that nobody has to publish any more."""
    if rows:
        _DELETE.run(connection, rows)


def _row(message: Message, headers: Headers, now: Millis) -> dict[str, Any]:
    return {
        "topic": message.topic,
        "partition": message.partition,
        "key": message.key,
        "value": message.value,
        "headers": encode_headers(headers),
        "created_at": now,
    }


def _event(message: Message) -> dict[str, str | None] | None:
    """Return a message's headers as columns, or None where they, or its partition, have no column."""
    found = dict(message.headers)
    fits = len(found) == len(message.headers) and found.keys() | {"traceparent"} == set(EVENT_HEADERS)
    if not fits or message.partition is not None:
        return None
    columns = {name: value.decode("latin-1") for name, value in message.headers}
    if not all(text.isascii() and text.isprintable() for text in columns.values()):
        return None
    return {"traceparent": None, **columns}


def _log(connection: Connection, events: Iterable[dict[str, Any]]) -> None:
    """Have the database's log tell of the rows, and the table keep none of them."""
    rows = []
    for event in events:
        written = _INSERT_EVENT.row(connection, event)
        assert written is not None, "an INSERT returns the row"
        rows.append(written[0])
    remove(connection, rows)


def encode_headers(headers: Headers) -> bytes:
    """Write headers as JSON, names as they are and values in Latin-1, which keeps any byte."""
    return pydantic_core.to_json([(name, value.decode("latin-1")) for name, value in headers])


def decode_headers(encoded: bytes) -> Headers:
    return tuple((name, value.encode("latin-1")) for name, value in pydantic_core.from_json(encoded))
