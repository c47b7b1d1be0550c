"""A few connections to a Kafka cluster, and what its brokers last said about topics and their leaders.

aiokafka's producer retries by itself, also across reconnects. That is one retry too many here: a broker that
came back empty answers "stored" for a topic that it no longer has. So the publisher talks to the brokers
itself, over aiokafka's connections and protocol: what is known of a topic is forgotten with the connection
over which it was learned, and nothing is sent to a topic that is not known to be there.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from shared.errors import Unreachable

BROKER_ERRORS: Final = (KafkaError, OSError, TimeoutError, AssertionError)
"""What a broker that is away, going away or confused shows itself as; TimeoutError is asyncio's, too."""

LAYOUT_SECONDS: Final = 300.0
"""How long what is known of the topics holds without being asked about again."""


class Cluster:
    """Connections on demand. request_seconds: the bound on one request and its answer."""

    def __init__(self, bootstrap: str, *, client_id: str, request_seconds: float) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._request_ms = round(request_seconds * 1000)
        self._first: AIOKafkaConnection | None = None
        self._connections: dict[int, AIOKafkaConnection] = {}
        self._addresses: dict[int, tuple[str, int]] = {}
        self._controller = -1
        self._layout: dict[str, tuple[int, ...]] = {}
        self._layout_until = 0.0

    async def learn(self, topics: Iterable[str] | None) -> None:
        """Connect unless connected, and ask about the topics that are not known (None: about all there are).

        Raises one of BROKER_ERRORS.
        """
        now = asyncio.get_running_loop().time()
        if now > self._layout_until:
            self._layout.clear()
            self._layout_until = now + LAYOUT_SECONDS
        first = await self._connect()
        wanted = None if topics is None else sorted(set(topics) - self._layout.keys())
        if wanted is None or wanted:
            answer = await first.send(MetadataRequest(wanted, allow_auto_topic_creation=False))
            self._read(answer)

    def leaders(self, topic: str) -> tuple[int, ...]:
        """Return the leader of each of a topic's partitions; empty where there is no such topic."""
        return self._layout.get(topic, ())

    def topics(self) -> Mapping[str, int]:
        """Return the known topics and their partition counts."""
        return {topic: len(leaders) for topic, leaders in self._layout.items()}

    def forget(self, topic: str) -> None:
        """Ask about a topic again before it is used again."""
        self._layout.pop(topic, None)

    async def ask(self, node: int, request: Any) -> Any:
        """Send a request to a broker and return its answer; raise one of BROKER_ERRORS."""
        connection = await self._connection_to(node)
        return await connection.send(request)

    async def ask_controller(self, request: Any) -> Any:
        """Send a request to the broker that looks after the topics."""
        return await self.ask(self._controller, request)

    def disconnect(self) -> None:
        """Close every connection, and forget what was learned over them."""
        for connection in {id(c): c for c in (self._first, *self._connections.values()) if c}.values():
            connection.close()
        self._first = None
        self._connections.clear()
        self._layout.clear()

    async def _connect(self) -> AIOKafkaConnection:
        """Return the first connection; where any was lost, start over with all of them."""
        open_ones = self._first is not None and self._first.connected()
        if self._first is not None and open_ones and all(c.connected() for c in self._connections.values()):
            return self._first
        self.disconnect()
        failure: BaseException = Unreachable("No broker address is set.")
        for host, port, _ in collect_hosts(self._bootstrap, randomize=False):
            try:
                self._first = await self._open(host, port)
            except BROKER_ERRORS as error:
                failure = error
            else:
                return self._first
        raise KafkaConnectionError(f"No broker answers at {self._bootstrap}: {failure}") from failure

    async def _connection_to(self, node: int) -> AIOKafkaConnection:
        connection = self._connections.get(node)
        if connection is None:
            address = self._addresses.get(node)
            if address is None:
                raise KafkaConnectionError(f"The cluster names no address of broker {node}")
            first = self._first
            same = first is not None and address == (first.host, first.port)
            connection = first if first is not None and same else await self._open(*address)
            self._connections[node] = connection
        return connection

    async def _open(self, host: str, port: int) -> AIOKafkaConnection:
        return await create_conn(host, port, client_id=self._client_id, request_timeout_ms=self._request_ms)

    def _read(self, answer: Any) -> None:
        """Take in a metadata answer: brokers, the controller, and each topic's leaders in partition order."""
        self._addresses = {broker[0]: (broker[1], broker[2]) for broker in answer.brokers}
        self._controller = answer.controller_id
        for topic in answer.topics:
            error, name, partitions = topic[0], topic[1], topic[-1]
            leaders = {partition[1]: partition[2] for partition in partitions}
            complete = sorted(leaders) == list(range(len(leaders))) and -1 not in leaders.values()
            if error == 0 and leaders and complete:
                self._layout[name] = tuple(leaders[number] for number in range(len(leaders)))
            else:
                self._layout.pop(name, None)
