"""Hints between the instances of a program, over NOTIFY: something about a key has changed.

They travel on a connection of their own, after the commit whose news they carry and not within it: NOTIFY has
all commits of a database wait in a row. Keys that come together go together. A hint may be lost, for example
with its connection, so nobody may depend on one: who waits also looks now and then.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

GATHER_SECONDS: Final = 0.005
"""Keys of so many seconds share a message."""
MOST_WAITING: Final = 10_000
PAYLOAD: Final = 7_900
"""PostgreSQL takes less than 8,000 bytes."""
PAUSE_SECONDS: Final = 1.0
"""Until a connection that broke is opened anew."""

_log = logging.getLogger(__name__)


class Hints:
    """One program's way to its other instances. channel: theirs alone; connect: raises OSError."""

    def __init__(self, channel: str, connect: Callable[[], Awaitable["asyncpg.Connection[Any]"]]) -> None:
        self._channel = channel
        self._connect = connect
        self._keys: deque[str] = deque(maxlen=MOST_WAITING)
        self._some = asyncio.Event()

    def send(self, key: str) -> None:
        """Have a key told soon, if there is a connection."""
        self._keys.append(key)
        self._some.set()

    async def run(self, heard: Callable[[str], None]) -> None:
        """Send and receive until cancelled."""
        while True:
            try:
                await self._keep(heard)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.info("No hints for a moment: %s", error or type(error).__name__)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _keep(self, heard: Callable[[str], None]) -> None:
        """Send and receive over one connection until it breaks."""
        connection = await self._connect()

        def receive(_connection: Any, sender: int, _channel: str, payload: object) -> None:
            if sender != connection.get_server_pid():
                for key in str(payload).split():
                    heard(key)

        try:
            connection.add_termination_listener(lambda _: self._some.set())
            await connection.add_listener(self._channel, receive)
            # What changed before anybody listened is news to nobody.
            self._keys.clear()
            while not connection.is_closed():
                await self._send_all(connection)
                self._some.clear()
                if not self._keys:
                    await self._some.wait()
                await asyncio.sleep(GATHER_SECONDS)
        finally:
            connection.terminate()

    async def _send_all(self, connection: "asyncpg.Connection[Any]") -> None:
        while self._keys:
            told: dict[str, None] = {}
            length = 0
            while self._keys and (not told or length + len(self._keys[0]) < PAYLOAD):
                key = self._keys.popleft()
                length += len(key) + 1
                told[key] = None
            await connection.execute("SELECT pg_notify($1, $2)", self._channel, " ".join(told))
