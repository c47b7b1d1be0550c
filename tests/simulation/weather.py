"""Makes a plan of troubles come true in a world, and heals everything in the end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from shared.errors import Unreachable
from shared.messaging.broker import Message
from tests.simulation.conditions import Fault, Window
from tests.simulation.plan import AT_SERVER, ON_DISKS, ON_LINKS, Trouble
from tests.simulation.world import World

POISON: Final = (
    b"\x00\xff\xfe no JSON at all",
    b'["a", "list"]',
    b'{"reservationId": 7}',
    b"null",
    b'{"transactionId":"poison","reservationId":"poison","decision":"confirm","decidedAt":"2026-01-01T00:00:00Z"}',
    b'{"transactionId":"poison","branchId":"poison","outcome":"confirmed","at":"2026-01-01T00:00:00Z"}',
)
"""What may lie on a topic that nobody of ours put there."""
CONSUMERS: Final = {
    "stock-adjustment": "stock",
    "payment-capture": "payment",
    "order-confirmation": "order",
    "tcc-outcomes": "coordinator",
}
IN_WINDOWS: Final = frozenset((*ON_LINKS, *ON_DISKS, Fault.SLOW, Fault.BURST, Fault.PRODUCED_UNTOLD))


class Weather:
    """The troubles of one world."""

    def __init__(self, world: World, plan: Sequence[Trouble]) -> None:
        self._world = world
        self._plan = plan
        self._struck = world.conditions.struck
        self._on_topics: list[tuple[str, bytes]] = []

    async def run(self) -> None:
        """Let every trouble come and go; return when the last has gone."""
        async with asyncio.TaskGroup() as group:
            for trouble in self._plan:
                group.create_task(self._come(trouble))

    async def heal(self) -> None:
        """End whatever is still wrong: everybody runs, on true time, on a broker that is there."""
        self._world.conditions.windows.clear()
        self._world.broker.available = True
        self._world.conditions.deaf = False
        for host in self._world.hosts.values():
            host.clock.skew = host.server.clock.skew = 0
            if host.life is None or not host.life.alive:
                await self._world.start(host.name)

    def lost_letters(self) -> list[str]:
        """Return the records that nobody could apply, that no broker forgot, and that are no dead letters."""
        return [
            f"[what can't be applied is kept] {value!r} on {topic} became no letter"
            for topic, value in self._on_topics
            if not self._kept(topic, value)
        ]

    def _kept(self, topic: str, value: bytes) -> bool:
        def work(connection: Connection) -> bool:
            query = "SELECT 1 FROM letter WHERE topic = ? AND value = ?"
            return connection.exec_driver_sql(query, (topic, value)).first() is not None

        return self._world.hosts[CONSUMERS[topic]].store.write_now(work)

    async def _come(self, trouble: Trouble) -> None:
        await asyncio.sleep(trouble.at)
        self._world.trace.note(f"trouble {trouble}")
        if trouble.fault in IN_WINDOWS:
            await self._window(trouble)
        else:
            await _EVENTS[trouble.fault](self, trouble)

    async def _window(self, trouble: Trouble) -> None:
        window = Window(trouble.fault, trouble.subject, trouble.other, trouble.amount)
        windows = self._world.conditions.windows
        windows.append(window)
        await asyncio.sleep(trouble.seconds)
        if window in windows:
            windows.remove(window)

    async def _crash(self, trouble: Trouble) -> None:
        host = self._world.hosts[trouble.subject]
        if host.life is None or not host.life.alive:
            return
        self._struck[trouble.fault] += 1
        await self._world.crash(trouble.subject)
        await asyncio.sleep(trouble.seconds)
        await self._world.start(trouble.subject)

    async def _pause(self, trouble: Trouble) -> None:
        self._struck[trouble.fault] += 1
        await self._world.pause(trouble.subject, trouble.seconds)

    async def _skew(self, trouble: Trouble) -> None:
        self._struck[trouble.fault] += 1
        host = self._world.hosts[trouble.subject]
        clock = host.server.clock if trouble.other == AT_SERVER else host.clock
        clock.skew = int(trouble.amount)
        await asyncio.sleep(trouble.seconds)
        clock.skew = 0

    async def _broker_down(self, trouble: Trouble) -> None:
        self._struck[trouble.fault] += 1
        self._world.broker.available = False
        await asyncio.sleep(trouble.seconds)
        self._world.broker.available = True

    async def _broker_empty(self, trouble: Trouble) -> None:
        """Take records for a while and hand none out; then die, and come back without them."""
        self._struck[trouble.fault] += 1
        self._world.conditions.deaf = True
        await asyncio.sleep(trouble.seconds / 2)
        self._world.broker.available = self._world.conditions.deaf = False
        await asyncio.sleep(trouble.seconds / 2)
        self._world.broker.forget()
        self._on_topics.clear()
        self._world.broker.available = True

    async def _poison(self, trouble: Trouble) -> None:
        value = POISON[int(trouble.amount * len(POISON))]
        try:
            self._world.broker.append(Message(trouble.subject, b"poison", value))
        except Unreachable:
            return  # There is no such topic just now.
        self._struck[trouble.fault] += 1
        self._on_topics.append((trouble.subject, value))

    async def _late_try(self, trouble: Trouble) -> None:
        tries = self._world.network.tries
        if tries:
            self._struck[trouble.fault] += 1
            self._world.network.resend(*tries[int(trouble.amount * len(tries))])


_EVENTS: Final[Mapping[Fault, Callable[[Weather, Trouble], Awaitable[None]]]] = {
    Fault.CRASH: Weather._crash,
    Fault.PAUSE: Weather._pause,
    Fault.SKEW: Weather._skew,
    Fault.BROKER_DOWN: Weather._broker_down,
    Fault.BROKER_EMPTY: Weather._broker_empty,
    Fault.POISON: Weather._poison,
    Fault.LATE_TRY: Weather._late_try,
}
