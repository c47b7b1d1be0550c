"""The requests of one case: sent, noted, repeated while their answer is unknown, and tidied up after."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx

from cli.conformance.arbiters import RealCoordinator, ServedCoordinator
from cli.conformance.exchange import Exchange, Skipped, Violation
from cli.conformance.target import Json, Names, Target, canonical, filled
from cli.outcome import OutOfReach, Usage
from shared.clock import Clock, Millis, iso
from shared.identity import NewId
from shared.tcc.protocol import Sort

LONG: Final = 120.0
"""Seconds until the deadline of a Try that is not about its expiry."""
TIDY_WITHIN: Final = 3.0
"""Seconds within which what a case holds must be let go of, before it is given up and told."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
UNWATCHED: Final = frozenset({"updatedAt"})
"""Fields of a watched document that say nothing of what is held or kept."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch that a case drives. deadline: of its Try; names: what {name} stands for in its claims;
    begun: somebody else began its transaction."""

    transaction_id: str
    branch_id: str
    claim: Json
    deadline: Millis
    names: Names
    begun: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers of its Try."""
        return {
            "TCC-Transaction-Id": self.transaction_id,
            "TCC-Branch-Id": self.branch_id,
            "TCC-Deadline": iso(self.deadline),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all cases of a run share. served or real: the coordinator that the participant asks, if any."""

    target: Target
    client: httpx.AsyncClient
    clock: Clock
    new_id: NewId
    served: ServedCoordinator | None = None
    real: RealCoordinator | None = None


class Drive:
    """Drives the participant for one case. exchanges: all that was sent and answered, in order."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self.target = around.target
        self.exchanges: list[Exchange] = []
        self._branches: list[Branch] = []

    @property
    def served(self) -> ServedCoordinator:
        """The coordinator that the kit serves; raise Skipped where it serves none."""
        if self._around.served is None:
            raise Skipped(
                "the participant asks nobody whom the kit can speak for: give --serve-coordinator PORT, and "
                "start the participant with that address as its coordinator's"
            )
        return self._around.served

    @property
    def real(self) -> RealCoordinator:
        """The running coordinator that the participant asks; raise Skipped where none is named."""
        if self._around.served is not None:
            raise Skipped("the kit is the coordinator here: the other cases of expiry check more")
        if self._around.real is None:
            raise Skipped("no running coordinator is named: give --coordinator URL, the one it asks")
        return self._around.real

    def now(self) -> Millis:
        return self._around.clock.now()

    def new_id(self) -> str:
        return self._around.new_id()

    async def branch(self, *, seconds: float = LONG, claim: Json = None) -> Branch:
        """Return a new branch of a new transaction; what it may hold is let go of after the case.

        seconds: from now to the deadline of its Try (past: negative); claim: the target's unless given.
        """
        begun = {} if self.target.begin is None else await self._begin()
        transaction_id, branch_id = begun.get("transactionId", self.new_id()), self.new_id()
        names = begun | {"transactionId": transaction_id, "branchId": branch_id}
        branch = Branch(
            transaction_id,
            branch_id,
            filled(self.target.claim if claim is None else claim, names),
            self.now() + round(seconds * 1000),
            names,
            begun=bool(begun),
        )
        self._branches.append(branch)
        return branch

    def other_body(self, branch: Branch) -> Branch:
        """Return the branch with a claim that differs; raise Skipped where there is none."""
        other = filled(self.target.differing_claim, branch.names)
        if other is None or canonical(other) == canonical(branch.claim):
            raise Skipped("the claim has no number to change: give --other-claim, which differs from it")
        return replace(branch, claim=other)

    async def try_(self, branch: Branch, headers: Mapping[str, str] | None = None) -> Exchange:
        """Send its Try once. headers: instead of the protocol's."""
        sent = {**(branch.headers if headers is None else headers), "Content-Type": "application/json"}
        body = json.dumps(branch.claim).encode()
        return await self.send("Try", "POST", self.target.collection, sent, body)

    async def confirm(self, branch: Branch) -> Exchange:
        """Send its Confirm once."""
        headers = {"TCC-Transaction-Id": branch.transaction_id}
        return await self.send("Confirm", "PUT", self.place(branch), headers)

    async def cancel(self, branch: Branch) -> Exchange:
        """Send its Cancel once."""
        headers = {"TCC-Transaction-Id": branch.transaction_id, "TCC-Reason": "conformance"}
        return await self.send("Cancel", "DELETE", self.place(branch), headers)

    async def read(self, branch: Branch) -> Exchange:
        """Read it once, as far as the participant shows its branches."""
        return await self.send("Read", "GET", self.place(branch), {})

    async def tried(self, branch: Branch) -> Exchange:
        """Send its Try until its answer is certain."""
        return await self.certain(lambda: self.try_(branch))

    async def confirmed(self, branch: Branch) -> Exchange:
        """Send its Confirm until its answer is certain."""
        return await self.certain(lambda: self.confirm(branch))

    async def cancelled(self, branch: Branch) -> Exchange:
        """Send its Cancel until its answer is certain."""
        return await self.certain(lambda: self.cancel(branch))

    async def certain(self, call: Callable[[], Awaitable[Exchange]], within: float | None = None) -> Exchange:
        """Repeat a call while its answer is unknown, as a coordinator does.

        Raises Violation where it stays unknown for longer than the target's patience (or `within` seconds).
        """
        seconds = self.target.patience if within is None else within
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + seconds, FIRST_PAUSE
        while (exchange := await call()).sort is Sort.UNKNOWN:
            if loop.time() + pause > end:
                told = f"the answer to {exchange.label} stayed unknown for {seconds:g} s: {exchange.outcome}"
                raise Violation(told, exchange)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return exchange

    async def warm(self, connections: int) -> None:
        """Open so many connections, so that what is sent at once does arrive at once."""
        calls = (self._around.client.get(self.target.collection) for _ in range(connections))
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            # Whether they are answered says nothing; the race itself shows whether anybody is there.
            if isinstance(answer, BaseException) and not isinstance(answer, httpx.RequestError):
                raise answer

    async def watched(self) -> Json | None:
        """Return what the watched document shows of holding and keeping; None where nothing is watched."""
        if self.target.watch is None:
            return None
        answer = await self._fetch("GET", self.target.watch, None)
        return _without(answer, UNWATCHED)

    def place(self, branch: Branch) -> str:
        """Return the URL at which a branch is confirmed and cancelled."""
        return f"{self.target.collection}/{branch.branch_id}"

    async def send(
        self, label: str, method: str, url: str, headers: Mapping[str, Any], body: bytes | None = None
    ) -> Exchange:
        """Send one request and note it; one that gets no answer is noted as that."""
        shown = {name: _text(value) for name, value in headers.items()}
        sent = None if body is None else body.decode("utf-8", "backslashreplace")
        try:
            answer = await self._around.client.request(method, url, headers=dict(headers), content=body)
        except httpx.RequestError as failure:
            why = str(failure) or type(failure).__name__
            exchange = Exchange(label, method, url, shown, sent, None, error=why)
        else:
            exchange = Exchange(
                label, method, url, shown, sent, answer.status_code, dict(answer.headers), answer.text
            )
        self.exchanges.append(exchange)
        return exchange

    async def tidy(self) -> list[str]:
        """Let go of what the case may still hold; say what could not be let go of."""
        noted = len(self.exchanges)
        try:
            return [left for branch in self._branches if (left := await self._tidy(branch)) is not None]
        finally:
            # What a case shows is what it did, not how it was tidied up after.
            del self.exchanges[noted:]

    async def _tidy(self, branch: Branch) -> str | None:
        try:
            last = await self.certain(lambda: self.cancel(branch), TIDY_WITHIN)
        except Violation as violation:
            return f"branch {branch.branch_id} of transaction {branch.transaction_id}: {violation.seen}"
        if branch.begun:
            await self._settle(branch, confirm=last.sort is Sort.REFUSED)
        return None

    async def _settle(self, branch: Branch, *, confirm: bool) -> None:
        """End a transaction that somebody else began as its branch ended, so that nothing dangles."""
        if self._around.real is not None:
            await self._around.real.decide(branch.transaction_id, confirm=confirm)
        if self._around.served is not None:
            self._around.served.rule(branch.transaction_id, "confirm" if confirm else "cancel")
            for own in self._around.served.own_branches(branch.transaction_id):
                held = replace(branch, branch_id=own)
                await self.certain(lambda held=held: self._end(held, confirm), TIDY_WITHIN)  # type: ignore[misc]

    async def _end(self, branch: Branch, confirm: bool) -> Exchange:
        return await (self.confirm(branch) if confirm else self.cancel(branch))

    async def _begin(self) -> dict[str, str]:
        """Have a transaction begun; return what its answer calls by a name."""
        assert self.target.begin is not None
        found = await self._fetch("POST", self.target.begin.url, self.target.begin.body)
        if not isinstance(found, dict) or not isinstance(found.get("transactionId"), str):
            raise Usage(f"{self.target.begin.url} names no transactionId in its answer")
        return {name: str(value) for name, value in found.items() if isinstance(value, str | int)}

    async def _fetch(self, method: str, url: str, body: Json | None) -> Any:
        """Ask something that belongs to the surroundings; return its JSON, or end the run."""
        try:
            answer = await self._around.client.request(method, url, json=body)
        except httpx.RequestError as failure:
            raise OutOfReach(f"{url} can't be reached: {str(failure) or type(failure).__name__}") from failure
        try:
            document = answer.json() if answer.is_success else None
        except ValueError:
            document = None
        if document is None:
            raise Usage(
                f"{method} {url} has to give JSON; it answers {answer.status_code}: {answer.text[:300]}"
            )
        return document


def _without(value: Json, names: frozenset[str]) -> Json:
    if isinstance(value, dict):
        return {key: _without(item, names) for key, item in value.items() if key not in names}
    if isinstance(value, list):
        return [_without(item, names) for item in value]
    return value


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
