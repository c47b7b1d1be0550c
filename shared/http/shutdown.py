"""The server's end, which loses no request.

SIGTERM drains: for a while the program serves on, says that it is not ready, and closes each connection with
its next answer, so that clients go elsewhere by themselves. Then it takes no new connection, requests under
way end, and only connections that nobody used all that time are closed under their clients. SIGINT, or a
second signal, leaves that while out. See shared.drain for what the rest of the program does meanwhile.
"""

import asyncio
import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from shared.drain import Drain

STOP_SECONDS: Final = 1
"""Time that requests under way have to end once the program is to stop; `handfast up` gives it two in all."""
ANSWER_SECONDS: Final = 1
"""Time after that to tell those who still wait."""
TICK_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.01
"""So often connections are looked at, whether they may be closed."""


class DrainingServer(uvicorn.Server):
    """Uvicorn but for its end, which closes idle connections at once: a request just sent would be lost.

    drain_seconds: how long it serves on; owns_port: whether nobody else accepts from the same sockets.
    """

    def __init__(
        self, config: uvicorn.Config, app: FastAPI, drain_seconds: float, *, owns_port: bool
    ) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds
        self._owns_port = owns_port
        self._in_a_hurry = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        # Uvicorn would raise the signal again after its end, so that a clean stop looked like a crash.
        self.force_exit = self._in_a_hurry
        self._in_a_hurry = self.should_exit or sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        drain: Drain = self._app.state.drain
        drain.begin()
        await self._serve_on()
        await self._close_listeners()
        drain.hurry()
        if not await self._let_go(STOP_SECONDS):
            self._end_requests()
            await self._let_go(ANSWER_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if not self.force_exit:
            await self.lifespan.shutdown()

    async def _serve_on(self) -> None:
        """Serve for as long as draining takes, each answer being the last on its connection."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._drain_seconds
        while True:
            await self.on_tick(0)  # Which makes the headers of all answers anew: their date.
            self.server_state.default_headers.append((b"connection", b"close"))
            for connection in self.server_state.connections:
                if _answering(connection):
                    connection.shutdown()
            left = end - loop.time()
            if left <= 0 or self._in_a_hurry:
                return
            await asyncio.sleep(min(left, TICK_SECONDS))

    async def _close_listeners(self) -> None:
        """Take in whoever has connected already, then nobody more."""
        loop = asyncio.get_running_loop()
        listening = [one for server in self.servers for one in server.sockets]
        for one in listening:
            loop.remove_reader(one.fileno())
        # A connection is taken in within three turns of the loop, and lost if its server closes meanwhile.
        for _ in range(3):
            await asyncio.sleep(0)
        queued: list[socket.socket] = []
        if self._owns_port:
            # What is queued when a socket closes is reset: so the queue is emptied in the very moment before.
            queued = [connection for one in listening for connection in _queued(one.fileno())]
        for server in self.servers:
            server.close()
        for connection in queued:
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _let_go(self, seconds: float) -> bool:
        """Close each connection once it is idle and nothing has arrived on it; return whether all are.

        One that has just been made is about to be used: it gets half of the time for its first request.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self.server_state.connections or self.server_state.tasks:
            patient = loop.time() < end - seconds / 2
            for connection in list(self.server_state.connections):
                if _answering(connection) or (_idle(connection) and not (patient and _fresh(connection))):
                    connection.shutdown()  # Closes it if it is idle; if not, after its answer.
            if loop.time() >= end or self.force_exit:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    def _end_requests(self) -> None:
        # Uvicorn would answer 500 to whoever waits too long, and log an error with a stack trace for each.
        self._app.state.stopping = True
        for task in self.server_state.tasks:
            task.cancel()


def _queued(descriptor: int) -> Iterator[socket.socket]:
    """Take the connections that wait at a listening socket."""
    with socket.socket(fileno=os.dup(descriptor)) as listening:
        listening.setblocking(False)
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # As a rule: nobody waits.
                return
            connection.setblocking(False)
            yield connection


def _answering(connection: Any) -> bool:
    """Say whether a request is being answered on a connection of uvicorn's."""
    return connection.cycle is not None and not connection.cycle.response_complete


def _fresh(connection: Any) -> bool:
    """Say whether no request has begun to arrive yet."""
    return connection.scope is None


def _idle(connection: Any) -> bool:
    """Say whether nothing of a further request has arrived, be it read already or not."""
    answered = None if connection.cycle is None else connection.cycle.scope
    return connection.scope is answered and not _unread(connection.transport)


def _unread(transport: asyncio.Transport) -> bool:
    arrived_on = transport.get_extra_info("socket")
    if arrived_on is None or arrived_on.fileno() < 0:
        return False
    arrived = fcntl.ioctl(arrived_on.fileno(), termios.FIONREAD, bytes(4))
    return bool(struct.unpack("i", arrived)[0])
