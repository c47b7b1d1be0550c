"""Makes a plan come true on a stack and its proxies, and leaves nothing stopped or disturbed behind."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.chaos.plan import DATABASE, ON_LINKS, Kind, Trouble
from tests.chaos.processes import Processes
from tests.chaos.proxy import Proxy
from tests.postgres import Server

Say = Callable[[str], None]
"""Takes a line for the person who watches."""

LONGEST: Final = 10.0
"""So many seconds a trouble waits at most for somebody to strike: a process that is being started again, a
link over which nothing goes because those at its ends are away themselves."""
LOOK: Final = 0.05


class Turmoil:
    """The troubles of one stack. proxies: by link; database: the server with its data, None: it has files;
    struck: what did something, by kind and subject; whole_pauses: how many pauses lasted as long as they
    should, because nobody killed who was paused."""

    def __init__(
        self,
        processes: Processes,
        proxies: Mapping[str, Proxy],
        plan: Sequence[Trouble],
        say: Say,
        database: Server | None = None,
    ) -> None:
        self._processes = processes
        self._proxies = proxies
        self._plan = plan
        self._say = say
        self._database = database
        self._at_the_database = asyncio.Lock()
        self.struck: Counter[tuple[Kind, str]] = Counter()
        self.whole_pauses = 0

    async def run(self) -> None:
        """Let every trouble come and go. When this ends, even by an exception, all goes well again."""
        async with asyncio.TaskGroup() as group:
            for trouble in self._plan:
                group.create_task(self._come(trouble))

    async def _come(self, trouble: Trouble) -> None:
        await asyncio.sleep(trouble.at)
        self._say(str(trouble))
        if trouble.kind in ON_LINKS:
            await self._interfere(trouble)
        elif trouble.subject == DATABASE:
            await self._strike_database(trouble)
        elif trouble.kind is Kind.PAUSE:
            await _until(lambda: self._processes.runs(trouble.subject))
            with self._processes.paused(trouble.subject) as process:
                self._note(trouble, process is not None)
                await asyncio.sleep(trouble.seconds)
                self.whole_pauses += process is not None and process.runs()
        elif trouble.kind is Kind.BLACKOUT:
            killed = [self._processes.end(name, signal.SIGKILL) for name in self._processes.names()]
            if self._database is not None:
                await self._renew_database(self._database, signal.SIGKILL)
            self._note(trouble, any(killed))
        else:
            number = signal.SIGTERM if trouble.kind is Kind.RESTART else signal.SIGKILL
            self._note(trouble, await _until(lambda: self._processes.end(trouble.subject, number)))

    async def _strike_database(self, trouble: Trouble) -> None:
        assert self._database is not None, "the plan is for a stack with a server"
        if trouble.kind is Kind.PAUSE:
            async with self._at_the_database:
                try:
                    self._database.freeze()
                    await asyncio.sleep(trouble.seconds)
                finally:
                    self._database.thaw()
            self.whole_pauses += 1
        else:
            number = signal.SIGINT if trouble.kind is Kind.RESTART else signal.SIGKILL
            await self._renew_database(self._database, number)
        self._note(trouble, True)

    async def _renew_database(self, database: Server, number: signal.Signals) -> None:
        async with self._at_the_database:
            # A thread comes to its end, whoever is cancelled meanwhile: the server is started again.
            await asyncio.to_thread(database.renew, number)

    async def _interfere(self, trouble: Trouble) -> None:
        proxy = self._proxies[trouble.subject]
        before = proxy.struck[trouble.kind]
        with proxy.interfered(trouble.kind):
            await asyncio.sleep(trouble.seconds)
            # A link over which nothing went meanwhile stays disturbed until something does.
            await _until(lambda: proxy.struck[trouble.kind] > before)
        self._note(trouble, proxy.struck[trouble.kind] > before)

    def _note(self, trouble: Trouble, did: bool) -> None:
        if did:
            self.struck[trouble.kind, trouble.subject] += 1


async def _until(strikes: Callable[[], bool]) -> bool:
    """Wait until it does, or LONGEST; return whether it did."""
    for _ in range(round(LONGEST / LOOK)):
        if strikes():
            return True
        await asyncio.sleep(LOOK)
    return strikes()
