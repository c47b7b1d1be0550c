"""What a program is made of, and how it starts and stops: all that an `app.py` wires up but its subject.

What a test or the simulator brings (a database, a broker, a caller) is used as it is and left open; what is
missing is made from the settings, started with the application, and closed with it.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from shared.bell import Bell
from shared.clock import Clock, Millis, SystemClock
from shared.database.port import Database
from shared.database.shared_store import SharedDatabase
from shared.database.sqlite import SqliteDatabase
from shared.drain import Drain
from shared.errors import Transient
from shared.health import Health
from shared.http.aiohttp_caller import AiohttpCaller
from shared.http.application import create_api
from shared.http.caller import Caller
from shared.identity import NewId, ulids
from shared.messaging.broker import Broker
from shared.messaging.capture import CaptureWatch
from shared.messaging.consumer import Consumer, Listener
from shared.messaging.kafka import KafkaBroker
from shared.messaging.kafka_subscription import Membership
from shared.messaging.kafka_topic_shape import TopicShape
from shared.messaging.letter_office import LetterOffice
from shared.messaging.letter_routes import dead_letter_routes
from shared.messaging.letters import prune
from shared.messaging.outbox import Outbox
from shared.messaging.pace import Pace
from shared.messaging.presence import Presence
from shared.messaging.prospects import Prospects
from shared.messaging.redaction import Redactor
from shared.messaging.relay import GivenUp, Relay
from shared.messaging.replayer import Replayer
from shared.messaging.topics import TopicKeeper
from shared.migrations import require_current
from shared.retention import Delete, Retention, Sweep, in_batches
from shared.security.act_routes import act_routes
from shared.security.acts import ActRecord
from shared.security.service import secure
from shared.settings import Settings, database_place
from shared.store_clock import StoreClock
from shared.supervision import Loop, supervised
from shared.telemetry import Metrics

PROBE_SECONDS: Final = 1.0
"""Seconds between two looks at whether the database can be written."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a program stands on. What is None, the program makes from its settings."""

    clock: Clock | None = None
    new_id: NewId | None = None
    randomness: random.Random | None = None
    database: Database | None = None
    broker: Broker | None = None
    caller: Caller | None = None


OWN: Final = Surroundings()
"""A program makes everything itself."""


class Until(Enum):
    """How long a loop runs once its program is to end; those of one line end together."""

    DRAINING = "draining"  # It looks for work that others would find as well: it ends at once.
    ANSWERED = "answered"  # Until requests under way have ended.
    LAST = "last"  # It carries out what all others leave behind.


class Program:
    """One program: its parts, its loops and its API. name: a key of `shared.settings.PORTS`.

    peers: calls the other programs and the participants, as this one; caller: calls anybody else.
    """

    def __init__(self, name: str, settings: Settings, given: Surroundings = OWN) -> None:
        self.name = name
        self.settings = settings
        self._loops: dict[Until, dict[str, Loop]] = {until: {} for until in Until}
        # Identifiers and jitter are no secrets.
        self.randomness = given.randomness or random.Random()  # noqa: S311
        self.database = given.database or _database(settings, name, self.randomness)
        store_clock = StoreClock(given.clock or SystemClock())
        shared = self.database if isinstance(self.database, SharedDatabase) else None
        # Who has its store to itself goes by the machine's own clock, which nobody sets right.
        self.clock: Clock = store_clock
        self.new_id = given.new_id or ulids(self.clock, self.randomness)
        self.broker = given.broker or _kafka(settings, name)
        self.caller = given.caller or AiohttpCaller(max_connections=settings.max_calls_in_flight)
        self.drain = Drain()
        self.health = Health()
        self.metrics = Metrics(CollectorRegistry())
        self._presence = None if shared is None else self._among_others(shared, store_clock)
        owner = self._presence.name if self._presence is not None else ""
        self.outbox = Outbox(self.clock, owner, captured=settings.outbox == "cdc")
        self.bell = Bell() if shared is None else Bell(tell=partial(self._tell_others, shared))
        self.drain.at_hurry(self.bell.hurry)
        if shared is not None:
            self.run("hints", partial(shared.hear, self.bell.heard))
        security = secure(settings, name, self.caller, self.clock, self.randomness)
        self.peers = security.peers
        self._authenticate = security.authenticate
        self._owns_database, self._owns_broker, self._owns_caller = (
            part is None for part in (given.database, given.broker, given.caller)
        )
        self._redactor = Redactor(settings.redact_patterns)
        self._listeners: list[Listener] = []
        self._consumer: Consumer | None = None
        self._at_end: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._sweeps: dict[str, Sweep] = {}
        self.run("database", _DatabaseProbe(self.database, self.health).run)
        for loop_name, (loop, check) in security.loops.items():
            self.run(loop_name, loop, check)

    def run(
        self,
        name: str,
        loop: Loop,
        check: Callable[[], str | None] | None = None,
        until: Until = Until.ANSWERED,
    ) -> None:
        """Have a loop run for as long as the application; check: whether it can do its work."""
        self._loops[until][name] = loop
        if check is not None:
            self.health.add(name, check)

    def forget(self, kind: str, sweep: Sweep) -> None:
        """Have what is past its retention deleted for as long as the application runs. kind: what that is."""
        if not self._sweeps:
            retention = Retention(
                self._sweeps,
                pause_seconds=self.settings.retention_pause_seconds,
                registry=self.metrics.registry,
            )
            self.run("retention", retention.run, until=Until.DRAINING)
        self._sweeps[kind] = sweep

    def retain(self, kind: str, span: Millis, delete: Delete) -> None:
        """Do so with the rows of one kind, which are kept for a span; see `Delete`."""
        self.forget(kind, in_batches(self.database, self.clock, span, delete))

    def at_end(self, stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have something stopped once requests under way have ended, and before what carries messages is."""
        self._at_end.append(stop)

    def exchange(
        self,
        listeners: Sequence[Listener],
        publishes: Collection[str],
        given_up: Mapping[str, GivenUp] | None = None,
    ) -> None:
        """Consume the listeners' topics, publish the outbox, keep those topics and `publishes` in being.

        given_up: see Relay.
        """
        relay = Relay(
            self.database,
            self.outbox,
            self.broker.publisher(),
            given_up=given_up,
            pace=Pace(self._instances),
            registry=self.metrics.registry,
        )
        self.run("relay", relay.run, relay.health, Until.LAST)
        if self.settings.outbox == "cdc":
            watch = CaptureWatch(self.database, self.settings.outbox_slot)
            self.run("capture", watch.run, watch.health)
        self._listeners += listeners
        topics = [listener.topic for listener in listeners]
        keeper = TopicKeeper(self.broker, dict.fromkeys([*topics, *publishes], self.settings.partitions))
        self.run("topics", keeper.run, keeper.health)
        group = f"handfast-{self.name}"
        consumer = self._consumer = Consumer(
            self.broker.subscription(group, topics),
            listeners,
            group=group,
            database=self.database,
            outbox=self.outbox,
            clock=self.clock,
            new_id=self.new_id,
            randomness=self.randomness,
            reset_state_on_recovery_failure=self.settings.reset_state_on_recovery_failure,
            redactor=self._redactor,
            pace=Pace(self._instances),
            registry=self.metrics.registry,
        )
        self.run("consumer", consumer.run, consumer.health)

    def dead_letters(self, prospects: Prospects) -> APIRouter:
        """Return the routes of the dead letters of what `exchange` consumes; replay them if so set.

        prospects: what a letter's record stands for, asked before it is replayed or purged.
        """
        office = LetterOffice(
            database=self.database,
            outbox=self.outbox,
            clock=self.clock,
            new_id=self.new_id,
            listeners=self._listeners,
            prospects=prospects,
            max_replays=self.settings.max_replays,
        )
        self.retain("letters", self.settings.letter_retention_ms, prune)
        if self.settings.replay_schedule_seconds > 0:
            replayer = Replayer(
                office,
                clock=self.clock,
                randomness=self.randomness,
                period_seconds=self.settings.replay_schedule_seconds,
                rate=self.settings.replay_rate,
                its_turn=self._is_first,
                registry=self.metrics.registry,
            )
            self.run("replayer", replayer.run, until=Until.DRAINING)
        return dead_letter_routes(office, self._redactor)

    def lag(self) -> int | None:
        """Return how many records the program's consumers are behind; None where that isn't known."""
        if self._presence is not None:
            return self._presence.lag()
        return None if self._consumer is None else self._consumer.lag()

    def api(
        self,
        *,
        title: str,
        description: str,
        routers: Sequence[APIRouter],
        sheds: Collection[tuple[str, str]] = (),
    ) -> FastAPI:
        """Return the program's API, whose lifespan starts and stops everything; sheds: see create_api."""
        return create_api(
            title=title,
            description=description,
            routers=[*routers, act_routes(self.database)],
            settings=self.settings,
            health=self.health,
            metrics=self.metrics,
            lifespan=self._lifespan,
            sheds=sheds,
            randomness=self.randomness,
            drain=self.drain,
            authenticate=self._authenticate,
            recorder=ActRecord(self.database, self.clock, self.new_id),
        )

    def _among_others(self, database: SharedDatabase, clock: StoreClock) -> Presence:
        """Return this instance's presence at a database that others may share, and keep it up."""

        def own_lag() -> tuple[int, int | None]:
            return (0, None) if self._consumer is None else self._consumer.share()

        presence = Presence(database, clock, self.new_id(), lag=own_lag, registry=self.metrics.registry)
        self.run("presence", presence.run, until=Until.LAST)
        return presence

    def _instances(self) -> int:
        return 1 if self._presence is None else self._presence.instances

    def _is_first(self) -> bool:
        return self._presence is None or self._presence.first

    def _tell_others(self, database: SharedDatabase, key: str) -> None:
        if self._presence is not None and not self._presence.alone:
            database.hint(key)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _api: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            if self._owns_database:
                await asyncio.to_thread(require_current, database_place(self.settings, self.name), self.name)
                await self.database.start()
                stack.push_async_callback(self.database.close)
            if self._presence is not None:
                await self._presence.begin()
            if self._owns_broker:
                stack.push_async_callback(self.broker.close)
            if self._owns_caller:
                stack.push_async_callback(self.caller.close)
            for until in (Until.LAST, Until.ANSWERED):
                await stack.enter_async_context(supervised(self._loops[until], self.health))
            for stop in self._at_end:
                stack.push_async_callback(stop)
            looking = await stack.enter_async_context(supervised(self._loops[Until.DRAINING], self.health))
            self.drain.at_begin(looking.cancel)
            yield


class _DatabaseProbe:
    """Looks now and then whether the database can be written, so that readiness need not ask it."""

    def __init__(self, database: Database, health: Health) -> None:
        self._database = database
        self._problem: str | None = None
        health.add("database", lambda: self._problem)

    async def run(self) -> None:
        while True:
            try:
                await self._database.write(lambda _: None)
            except Transient as error:
                if self._problem is None:
                    _log.warning("The database can't be written: %s", error.detail)
                self._problem = error.detail
            else:
                self._problem = None
            await asyncio.sleep(PROBE_SECONDS)


def _database(settings: Settings, name: str, randomness: random.Random) -> Database:
    place = database_place(settings, name)
    if isinstance(place, Path):
        return SqliteDatabase(place)
    # A driver that SQLite spares.
    from shared.database.postgres import PostgresDatabase
    from shared.database.postgres_session import Limits

    limits = Limits(
        writers=settings.database_writers,
        readers=settings.database_readers,
        connect_seconds=settings.database_connect_seconds,
        statement_seconds=settings.database_statement_seconds,
        lock_seconds=settings.database_lock_seconds,
    )
    return PostgresDatabase(place, limits=limits, randomness=randomness)


def _kafka(settings: Settings, name: str) -> KafkaBroker:
    # The embedded broker lets a joining member wait for half of its session, and keeps a dead one until its
    # session is over; Apache Kafka takes no session of less than 6 s unless it is told to.
    session_seconds = 3.0 if settings.kafka_bootstrap_servers is None else 6.0
    replicas = settings.replication_factor
    return KafkaBroker(
        settings.kafka_access(settings.bootstrap),
        client_id=f"handfast-{name}",
        shape=TopicShape(
            replicas=replicas,
            min_insync_replicas=settings.min_insync_replicas or max(replicas - 1, 1),
            retention_ms=round(settings.topic_retention_hours * 3_600_000),
        ),
        compare_topics=settings.kafka_bootstrap_servers is not None,
        compression=None if settings.kafka_compression == "none" else settings.kafka_compression,
        membership=Membership(fetch_wait_ms=settings.fetch_max_wait_ms, session_seconds=session_seconds),
    )
