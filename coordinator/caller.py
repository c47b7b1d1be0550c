"""Calling a participant: one request of the protocol, its answer sorted into done, refused or unknown.

A Try is tried again for as long as the transaction can still be decided, at most for one burst; after that,
and for Confirm and Cancel at once, it is the durable log that waits, not a coroutine. So it does for a
participant that answers nobody (breaker.py) or has its share of calls under way already. Whether a
dead-lettered Confirm was applied is read from its reservation.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import pydantic_core
from prometheus_client import CollectorRegistry, Gauge
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_exponential

from coordinator.branch import Answered, Branch
from coordinator.breaker import Breaker
from coordinator.participants import Participant, Registry
from coordinator.transaction import Call, Transaction
from shared.clock import Clock, Millis, iso
from shared.errors import Unreachable
from shared.http.caller import Caller, Reply
from shared.tcc import protocol
from shared.tcc.protocol import Phase, Sort, State

BURST: Final = 10.0
"""How long, in seconds, a coroutine keeps trying before it leaves the rest to the log."""

_METHODS: Final = {Phase.TRY: "POST", Phase.CONFIRM: "PUT", Phase.CANCEL: "DELETE"}
_LONGEST_ERROR: Final = 300


class Attempts:
    """What is noted of each attempt, for the timeline."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.events: list[dict[str, Any]] = []

    def note(self, kind: str, **what: Any) -> None:
        self.events.append({"at": self._clock.now(), "event": kind, **what})

    def take(self) -> list[dict[str, Any]]:
        """Return what was noted since the last time this was asked."""
        events, self.events = self.events, []
        return events


class _Line:
    """The line to one participant. bulkhead: of which a call takes a place; breaker: whether any may go."""

    def __init__(self, participant: Participant) -> None:
        self.bulkhead = asyncio.Semaphore(participant.calls_in_flight)
        self.breaker = Breaker()
        self.free = participant.calls_in_flight


class ParticipantCaller:
    """Sends the protocol's requests, to each participant a limited number at once.

    metrics: where is shown which participants answer nobody.
    """

    def __init__(
        self,
        caller: Caller,
        registry: Registry,
        clock: Clock,
        randomness: random.Random,
        metrics: CollectorRegistry | None = None,
    ) -> None:
        self._caller = caller
        self._registry = registry
        self._clock = clock
        self._randomness = randomness
        self._lines = {one.name: _Line(one) for one in registry}
        self._listeners: list[Callable[[str], None]] = []
        silent = Gauge(
            "handfast_participant_silent",
            "1 while a participant answers nobody, and all but a probe now and then wait for it.",
            ["participant"],
            registry=metrics,
        )
        for name, line in self._lines.items():
            silent.labels(name).set_function(partial(_as_number, line.breaker))

    def on_recovery(self, listener: Callable[[str], None]) -> None:
        """Have a function called with the name of a participant that answers again after a silence."""
        self._listeners.append(listener)

    def silent(self, participant: str) -> bool:
        """Say whether a participant answers nobody just now."""
        return self._lines[participant].breaker.open

    def room(self, participant: str) -> int:
        """Return how many calls to a participant could begin now; while it is silent: a probe or none."""
        line = self._lines[participant]
        if not line.breaker.admits(asyncio.get_running_loop().time()):
            return 0
        return min(line.free, 1) if line.breaker.open else line.free

    async def call(self, transaction: Transaction, call: Call, timeline: Attempts) -> Answered:
        """Make the call; never raises for what the other side does or fails to do."""
        participant = self._registry.find(call.branch.participant)
        seconds = participant.timeout
        if call.phase is Phase.TRY:
            seconds = min(seconds, self._seconds_until(transaction.decidable_until))
        answer = await self._attempt(transaction, call, participant, seconds, timeline)
        if answer.sort is Sort.UNKNOWN and call.phase is Phase.TRY and not answer.silent:
            answer = await self._try_again(transaction, call, participant, timeline, answer)
        return answer

    async def _try_again(
        self,
        transaction: Transaction,
        call: Call,
        participant: Participant,
        timeline: Attempts,
        last: Answered,
    ) -> Answered:
        loop = asyncio.get_running_loop()
        end = loop.time() + min(BURST, self._seconds_until(transaction.decidable_until))
        backing_off = wait_exponential(multiplier=0.05, max=1.0)

        def jittered(state: RetryCallState) -> float:
            return backing_off(state) * self._randomness.uniform(0.5, 1.0)

        async def attempt() -> Answered:
            seconds = min(participant.timeout, self._seconds_until(transaction.decidable_until))
            return await self._attempt(transaction, call, participant, seconds, timeline)

        attempts = last.attempts
        await asyncio.sleep(0.05 * self._randomness.uniform(0.5, 1.0))
        retrying = AsyncRetrying(
            retry=retry_if_result(lambda answer: answer.sort is Sort.UNKNOWN and not answer.silent),
            wait=jittered,
            stop=lambda state: loop.time() + jittered(state) >= end,
            sleep=asyncio.sleep,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else last,
        )
        if loop.time() < end:
            last = await retrying(attempt)
            attempts += int(retrying.statistics.get("attempt_number", 1)) - last.silent
        return last._replace(attempts=attempts, jitter=self._jitter())

    async def _attempt(
        self,
        transaction: Transaction,
        call: Call,
        participant: Participant,
        seconds: float,
        timeline: Attempts,
    ) -> Answered:
        branch = call.branch
        line = self._lines[participant.name]
        if not await self._enter(line, call, seconds):
            return self._silent(call, f"{participant.name} has as many calls under way as it may have.")
        try:
            loop = asyncio.get_running_loop()
            passed = line.breaker.admit(loop.time())
            if passed is None:
                return self._silent(call, f"{participant.name} answers nobody just now.")
            started = self._clock.now()
            try:
                reply = await self._send(transaction, call, participant, seconds)
            except Unreachable as error:
                # A call whose time was short says little about the participant.
                if seconds >= participant.timeout:
                    line.breaker.unanswered(passed, branch.branch_id, loop.time())
                else:
                    line.breaker.abandoned(passed)
                timeline.note("call", **_what(call), answer="none", error=error.detail)
                return Answered(
                    call.phase,
                    branch.branch_id,
                    Sort.UNKNOWN,
                    error=error.detail[:_LONGEST_ERROR],
                    jitter=self._jitter(),
                )
            except BaseException:
                line.breaker.abandoned(passed)
                raise
            if line.breaker.answered():
                for listener in self._listeners:
                    listener(participant.name)
        finally:
            self._leave(line)
        took = self._clock.now() - started
        timeline.note("call", **_what(call), answer=reply.status, milliseconds=took)
        return self._answered(call, reply)

    async def _enter(self, line: _Line, call: Call, seconds: float) -> bool:
        """Take a place on the line; return whether there was one. Only a Try waits, its customer does too."""
        if line.bulkhead.locked():
            if call.phase is not Phase.TRY:
                return False
            try:
                async with asyncio.timeout(seconds):
                    await line.bulkhead.acquire()
            except TimeoutError:
                return False
        else:
            await line.bulkhead.acquire()
        line.free -= 1
        return True

    def _leave(self, line: _Line) -> None:
        line.free += 1
        line.bulkhead.release()

    def _silent(self, call: Call, why: str) -> Answered:
        jitter = self._jitter()
        return Answered(
            call.phase, call.branch.branch_id, Sort.UNKNOWN, None, why, attempts=0, jitter=jitter, silent=True
        )

    async def _send(
        self, transaction: Transaction, call: Call, participant: Participant, seconds: float
    ) -> Reply:
        branch = call.branch
        headers = {protocol.TRANSACTION_ID: transaction.transaction_id, protocol.BRANCH_ID: branch.branch_id}
        if transaction.traceparent is not None:
            headers["traceparent"] = transaction.traceparent
        url, body = participant.branch_url(branch.branch_id), None
        if call.phase is Phase.TRY:
            url = participant.collection
            headers[protocol.DEADLINE] = iso(transaction.deadline)
            headers["content-type"] = "application/json"
            body = pydantic_core.to_json(branch.claim)
        elif call.phase is Phase.CANCEL:
            headers[protocol.REASON] = transaction.reason or "cancelled"
        return await self._caller.call(
            "GET" if call.look else _METHODS[call.phase],
            url,
            headers=headers,
            body=body,
            timeout=max(seconds, 0.001),
        )

    def _answered(self, call: Call, reply: Reply) -> Answered:
        sort = protocol.sort_answer(reply.status)
        branch_id = call.branch.branch_id
        if call.look:
            return Answered(call.phase, branch_id, Sort.DONE if _is_confirmed(reply) else Sort.UNKNOWN)
        if sort is Sort.DONE:
            return Answered(call.phase, branch_id, sort)
        problem = _problem(reply)
        error = f"{reply.status} {problem.get('detail') or problem.get('title') or ''}".strip()
        kept = problem if sort is Sort.REFUSED else None
        return Answered(call.phase, branch_id, sort, kept, error[:_LONGEST_ERROR], jitter=self._jitter())

    def _seconds_until(self, instant: Millis) -> float:
        return max((instant - self._clock.now()) / 1000, 0.0)

    def _jitter(self) -> float:
        return self._randomness.uniform(0.5, 1.0)


def _as_number(breaker: Breaker) -> float:
    return float(breaker.open)


def _what(call: Call) -> dict[str, str]:
    branch: Branch = call.branch
    phase = "look" if call.look else call.phase.value
    return {"phase": phase, "branchId": branch.branch_id, "participant": branch.participant}


def _is_confirmed(reply: Reply) -> bool:
    """Say whether a reservation that was read is confirmed; whatever is no reservation is not."""
    try:
        document = reply.json()
    except ValueError:
        return False
    return reply.status == 200 and isinstance(document, dict) and document.get("state") == State.CONFIRMED


def _problem(reply: Reply) -> Mapping[str, Any]:
    """Return the problem document of an answer, or one that stands for it where it carries none."""
    try:
        document = reply.json()
    except ValueError:
        document = None
    if isinstance(document, dict):
        return {"type": "about:blank", "status": reply.status, **document}
    return {"type": "about:blank", "title": f"HTTP {reply.status}", "status": reply.status}
