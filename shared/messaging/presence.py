"""Presence: which instances of a program share its database, told by a row of each, touched every second.

An instance whose row was not touched for a lease is gone, or stands still. What it left in the outbox is
published by another then; a message that is thereby published twice changes nothing. One that comes back
after so long comes as the youngest, so that nobody is the first in a row of two.

Each touch also sets the program's clock right by the store's (see shared.store_clock).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import BigInteger, Connection, bindparam, delete, select, update
from sqlmodel import Field, SQLModel

from shared.clock import Millis
from shared.database.port import announce, table_of
from shared.database.prepared import Prepared
from shared.database.shared_store import SharedDatabase
from shared.errors import Transient
from shared.messaging.outbox import OUTBOX
from shared.store_clock import StoreClock

LEASE_MS: Final[Millis] = 5_000
"""An instance of which nothing was seen for so long is taken for gone."""
BEAT_SECONDS: Final = 1.0
FORGET_MS: Final[Millis] = 60_000
ADOPTED: Final = 5_000
"""The most messages that are taken over in one transaction."""
STOP_SECONDS: Final = 2.0

Lag = tuple[int, int | None]
"""The partitions that a consumer reads, and how many of their records it is behind; None: it can't tell."""

_log = logging.getLogger(__name__)


class InstanceRow(SQLModel, table=True):
    """An instance that is there, or was until lately. Instants are milliseconds since the epoch."""

    __tablename__ = "instance"

    name: str = Field(primary_key=True, max_length=64)
    joined_at: int = Field(sa_type=BigInteger)
    seen_at: int = Field(sa_type=BigInteger)
    partitions: int  # that its consumer reads
    lag: int | None = Field(default=None, sa_type=BigInteger)  # of them; None: it can't tell


class Neighbour(NamedTuple):
    """An instance that is there, this one among them."""

    name: str
    partitions: int
    lag: int | None


class Presence:
    """This instance among the others. name: its own, which no other has or had."""

    def __init__(
        self,
        database: SharedDatabase,
        clock: StoreClock,
        name: str,
        *,
        lag: Callable[[], Lag],
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.name = name
        self._database = database
        self._clock = clock
        self._lag = lag
        self._there: list[Neighbour] = []
        self._seen_at: Millis = 0
        self._count = Gauge(
            "handfast_instances", "Instances of this program that share its database.", registry=registry
        )
        self._ahead = Gauge(
            "handfast_clock_offset_seconds",
            "How far the database's clock is ahead of this machine's.",
            registry=registry,
        )

    @property
    def instances(self) -> int:
        """How many are there, this one among them, as far as is known."""
        return max(1, len(self._there))

    @property
    def alone(self) -> bool:
        """Whether nobody else is there, as far as is known."""
        return len(self._there) <= 1

    @property
    def first(self) -> bool:
        """Whether this is the one of all who are there that does what only one shall do.

        Who has not touched his row for a lease is not: another may be by now.
        """
        if self._clock.now() - self._seen_at >= LEASE_MS or not self._there:
            return False
        return self._there[0].name == self.name

    def lag(self) -> int | None:
        """Return how many records all consumers together are behind; None where that isn't known."""
        partitions, own = self._lag()
        others = [one for one in self._there if one.name != self.name]
        members = [(partitions, own), *((one.partitions, one.lag) for one in others)]
        # A member to which no partition fell has nothing to tell.
        known = [behind for assigned, behind in members if assigned or behind is None]
        return None if not known or None in known else sum(behind for behind in known if behind is not None)

    async def begin(self) -> None:
        """Be there; raise DatabaseUnavailable where that can't be told anybody."""
        await self._beat()

    async def run(self) -> None:
        """Be there until cancelled, and look after what those leave behind who aren't any more."""
        try:
            while True:
                try:
                    adopted = await self._beat()
                except Transient as error:
                    _log.info("Nobody can be told that this instance is there: %s", error.detail)
                    adopted = 0
                await asyncio.sleep(0 if adopted == ADOPTED else BEAT_SECONDS)
        finally:
            await self._leave()

    async def _beat(self) -> int:
        """Set the clock right, touch the row, see who is there, take over what is left; return how much."""
        asked = self._clock.own()
        told = await self._database.time()
        self._clock.compare(asked, told, self._clock.own())
        self._ahead.set(self._clock.ahead / 1000)
        now, lag = self._clock.now(), self._lag()

        def beat(connection: Connection) -> tuple[list[Neighbour], int]:
            _touch(connection, self.name, now, lag)
            there = [Neighbour(*row) for row in _THERE.rows(connection, {"since": now - LEASE_MS})]
            return there, adopt(connection, self.name, now - LEASE_MS)

        self._there, adopted = await self._database.write(beat)
        self._seen_at = now
        self._count.set(len(self._there))
        if adopted:
            _log.warning("%d messages of instances that are gone are published from here.", adopted)
        return adopted

    async def _leave(self) -> None:
        """Say good-bye, so that nobody waits for a lease before what is left here is taken over."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._database.write(lambda connection: _LEAVE.run(connection, {"own": self.name}))
        except (Transient, TimeoutError) as error:
            _log.info("Nobody could be told that this instance goes: %r", error)


INSTANCE: Final = table_of(InstanceRow)
_OWN = INSTANCE.c.name == bindparam("own")
_TOUCH: Final = Prepared(
    update(INSTANCE)
    .where(_OWN, INSTANCE.c.seen_at >= bindparam("since"))
    .values(seen_at=bindparam("now"), partitions=bindparam("reads"), lag=bindparam("behind"))
)
_LEAVE: Final = Prepared(delete(INSTANCE).where(_OWN))
_FORGET: Final = Prepared(delete(INSTANCE).where(INSTANCE.c.seen_at < bindparam("before")))
_JOIN: Final = Prepared(INSTANCE.insert().inline(), ("name", "joined_at", "seen_at", "partitions", "lag"))
_THERE: Final = Prepared(
    select(INSTANCE.c.name, INSTANCE.c.partitions, INSTANCE.c.lag)
    .where(INSTANCE.c.seen_at >= bindparam("since"))
    .order_by(INSTANCE.c.joined_at, INSTANCE.c.name)
)
_LEFT: Final = (
    select(OUTBOX.c.id)
    .where(
        OUTBOX.c.owner.not_in(select(INSTANCE.c.name).where(INSTANCE.c.seen_at >= bindparam("since"))),
    )
    .order_by(OUTBOX.c.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("left_behind")
)
_ADOPT: Final = Prepared(
    update(OUTBOX).where(OUTBOX.c.id.in_(select(_LEFT.c.id))).values(owner=bindparam("to"))
)


def adopt(connection: Connection, name: str, since: Millis, most: int = ADOPTED) -> int:
    """Take over messages whose instances were not seen since an instant; return how many."""
    adopted = _ADOPT.run(connection, {"to": name, "since": since, "most": most})
    if adopted:
        announce(connection)
    return adopted


def _touch(connection: Connection, name: str, now: Millis, lag: Lag) -> None:
    reads, behind = lag
    row = {"own": name, "since": now - LEASE_MS, "now": now, "reads": reads, "behind": behind}
    if _TOUCH.run(connection, row) == 1:
        return
    _LEAVE.run(connection, {"own": name})
    _JOIN.run(
        connection, {"name": name, "joined_at": now, "seen_at": now, "partitions": reads, "lag": behind}
    )
    _FORGET.run(connection, {"before": now - FORGET_MS})
