"""A TCP proxy on loopback that is transparent until it is told to misbehave.

It stands between whoever calls a program and the program. Troubles come and go while connections last; those
that are open already are struck as well as new ones, each direction by itself.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from tests.chaos.plan import Kind

CHUNK: Final = 65_536
CUT_WITHIN: Final = 1_500
"""Bytes after which a connection is cut at the latest; a request or an answer has a few hundred."""
DELAY_SECONDS: Final = 3.0
"""A chunk is late by up to so much; a Try may take 2 s."""
BACKLOG: Final = 1_024

Address = tuple[str, int]


class Direction(Enum):
    THERE = "there"
    BACK = "back"


HELD: Final = (frozenset({Direction.THERE}), frozenset({Direction.BACK}), frozenset(Direction))
"""What a HOLD may hold: requests, answers, or both."""


@dataclass(eq=False)
class Interference:
    """A trouble that a proxy has just now. holds: what a HOLD holds; over: set when it ends."""

    kind: Kind
    holds: frozenset[Direction] = frozenset()
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Connection:
    """Two streams that belong together. cuts: for each CUT the direction and the bytes left to pass."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    cuts: dict[Interference, tuple[Direction, int]] = field(default_factory=dict)

    def abort(self) -> None:
        for writer in (self.client, self.server):
            reset(writer)

    def close(self) -> None:
        for writer in (self.client, self.server):
            writer.close()


class Proxy:
    """One listening port before one target.

    listener: already listening, so that whoever connects before run() waits in its backlog; target: host and
    port to pass on to. struck: how many connections, or chunks of them, each kind of trouble has struck;
    connections: how many there were.
    """

    def __init__(self, listener: socket.socket, target: Address, randomness: random.Random) -> None:
        self.struck: Counter[Kind] = Counter()
        self.connections = 0
        self._listener = listener
        self._target = target
        self._randomness = randomness
        self._interferences: list[Interference] = []
        self._serving: set[asyncio.Task[None]] = set()

    def is_calm(self) -> bool:
        """Say whether it is transparent just now."""
        return not self._interferences

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Pass connections on for the time of a block; then break those that are left."""
        server = await asyncio.start_server(self._accept, sock=self._listener, limit=CHUNK)
        try:
            yield
        finally:
            server.close()
            self.clear()
            serving = list(self._serving)
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await server.wait_closed()

    @contextmanager
    def interfered(self, kind: Kind) -> Iterator[None]:
        """Misbehave in one way for the time of a block."""
        holds = self._randomness.choice(HELD) if kind is Kind.HOLD else frozenset[Direction]()
        interference = Interference(kind, holds)
        self._interferences.append(interference)
        try:
            yield
        finally:
            if interference in self._interferences:
                self._interferences.remove(interference)
            interference.over.set()

    def clear(self) -> None:
        """Be transparent from now on; what was held goes on."""
        ended, self._interferences = self._interferences, []
        for interference in ended:
            interference.over.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._has(Kind.DROP):
            self.struck[Kind.DROP] += 1
            reset(client)
            return
        try:
            server_reader, server = await asyncio.open_connection(*self._target, limit=CHUNK)
        except OSError:
            # Nobody listens there just now, which a proxy can only tell by breaking the connection.
            reset(client)
            return
        except asyncio.CancelledError:
            reset(client)
            raise
        connection = Connection(client, server)
        for writer in (client, server):
            writer.transport.set_write_buffer_limits(high=0)  # What was written has gone before more is read.
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(connection, Direction.THERE, client_reader, server))
                group.create_task(self._pump(connection, Direction.BACK, server_reader, client))
        except* OSError:
            connection.abort()  # One side broke it, and the other hears of it.
        finally:
            connection.close()

    async def _pump(
        self,
        connection: Connection,
        direction: Direction,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
    ) -> None:
        """Pass on one direction to its end; raise OSError where the connection breaks."""
        while chunk := await source.read(CHUNK):
            await self._delay(direction)
            passed = self._passed(connection, direction, chunk)
            sink.write(passed)
            await sink.drain()
            if len(passed) < len(chunk):
                raise ConnectionAbortedError("cut")
        await self._delay(direction)
        if sink.can_write_eof():
            sink.write_eof()

    async def _delay(self, direction: Direction) -> None:
        """Wait as long as the troubles of now want; what is held waits until they end."""
        waited: set[Interference] = set()
        while fresh := [one for one in self._interferences if one not in waited]:
            waited.update(fresh)
            for one in fresh:
                if one.kind is Kind.DELAY:
                    self.struck[Kind.DELAY] += 1
                    await asyncio.sleep(self._randomness.uniform(0.0, DELAY_SECONDS))
                elif direction in one.holds:
                    self.struck[Kind.HOLD] += 1
                    await one.over.wait()

    def _passed(self, connection: Connection, direction: Direction, chunk: bytes) -> bytes:
        """Return what passes of a chunk, less than all where it is cut; raise OSError where it is dropped."""
        if self._has(Kind.DROP):
            self.struck[Kind.DROP] += 1
            raise ConnectionAbortedError("dropped")
        passes = len(chunk)
        for one in self._interferences:
            if one.kind is Kind.CUT:
                whither, left = connection.cuts.setdefault(one, self._cut())
                if whither is direction:
                    if left < len(chunk):
                        self.struck[Kind.CUT] += 1
                    passes = min(passes, left)
                    connection.cuts[one] = whither, max(0, left - len(chunk))
        return chunk[:passes]

    def _cut(self) -> tuple[Direction, int]:
        return self._randomness.choice(tuple(Direction)), self._randomness.randrange(CUT_WITHIN)

    def _has(self, kind: Kind) -> bool:
        return any(one.kind is kind for one in self._interferences)


@contextmanager
def listeners(names: Sequence[str]) -> Iterator[dict[str, socket.socket]]:
    """Have a listening socket on a free loopback port for each name; all are closed after the block."""
    opened: dict[str, socket.socket] = {}
    try:
        for name in names:
            opened[name] = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        yield opened
    finally:
        for listener in opened.values():
            listener.close()


def address_of(listener: socket.socket) -> Address:
    """Return host and port that a listener is reached under."""
    host, port = listener.getsockname()
    return host, port


def url_of(listener: socket.socket) -> str:
    """Return the base URL that a listener is reached under."""
    return url_at(address_of(listener)[1])


def url_at(port: int) -> str:
    """Return the base URL of a port on loopback."""
    return f"http://127.0.0.1:{port}"


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection: the other side gets a reset, and what it hasn't read yet is lost."""
    transport = writer.transport
    opened: socket.socket | None = writer.get_extra_info("socket")
    if opened is not None and not transport.is_closing():
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""struct linger: close at once, with a reset."""
