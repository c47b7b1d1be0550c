"""What is asked of participants for a reconciliation: all their branches, some of them, and their own audits.

A participant made with the kit answers in bulk. One that keeps only the contract's minimum has no list; its
branches are read one by one, and what can't be compared then is counted and told.
"""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import quote

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from coordinator.participants import Participant
from coordinator.reconciliation import Seen
from shared.clock import Millis, from_iso
from shared.errors import Unreachable
from shared.http.caller import Caller, Reply
from shared.http.model import View
from shared.tcc.audit import Verdict
from shared.tcc.protocol import Sort, State, sort_answer

LISTED: Final = 2_000
LOOKED_UP: Final = 500
AT_ONCE: Final = 16
"""Branches that are read one by one at the same time."""
TIMEOUT: Final = 10.0
AUDIT_TIMEOUT: Final = 120.0
"""Seconds. An audit adds up all that a participant has."""
ATTEMPTS: Final = 3
PAUSE: Final = 0.5

_NOT_SERVED: Final = frozenset({404, 405, 501})

# What a participant tells is kept with what was found, in columns that hold so much, and no NUL.
_Name = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00]*$")]
_Sentence = Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00]*$")]


M = TypeVar("M", bound=BaseModel)


class NotServed(Exception):
    """The participant doesn't offer this: it keeps the contract's minimum."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Some of a participant's branches. lag: as it tells it; cursor: where to go on; total: of all."""

    seen: Sequence[Seen]
    lag: int | None
    cursor: str | None = None
    total: int | None = None


class Discrepancy(View):
    """What a participant's audit found."""

    model_config = ConfigDict(extra="ignore")

    auditor: str
    kind: _Name
    subject: _Sentence
    evidence: dict[str, Any] = Field(default_factory=dict)
    verdict: Verdict
    repaired: bool


class _Branch(View):
    model_config = ConfigDict(extra="ignore")

    id: _Name
    transaction_id: _Name | None = None
    state: State
    expires: str | None = None
    updated_at: str | None = None
    letter: bool = False

    def seen(self) -> Seen:
        return Seen(
            self.id,
            self.transaction_id,
            self.state,
            _instant(self.expires),
            _instant(self.updated_at) or 0,
            self.letter,
        )


class _Branches(View):
    model_config = ConfigDict(extra="ignore")

    items: list[_Branch]
    lag: int | None = None
    next_cursor: str | None = None
    total: int | None = None

    def branches(self) -> Branches:
        return Branches([one.seen() for one in self.items], self.lag, self.next_cursor, self.total)


class Audit(View):
    """A page of what a participant's audits found."""

    model_config = ConfigDict(extra="ignore")

    items: list[Discrepancy]
    next_cursor: str | None = None


class Inspector:
    """Reads what participants have; changes nothing but by an audit that repairs."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def page(self, participant: Participant, cursor: str | None) -> Branches:
        """Return a page of all branches. Raises NotServed, or Unreachable where no usable answer comes."""
        query = f"?limit={LISTED}" + ("" if cursor is None else f"&cursor={quote(cursor)}")
        reply = await self._ask("GET", f"{participant.url}/api/v1/branches{query}")
        branches = _read(_Branches, reply).branches()
        _insist_on_progress(cursor, branches.cursor)
        return branches

    async def look_up(self, participant: Participant, branch_ids: Collection[str]) -> Branches:
        """Return some branches; those that are not there are left out. Raises as page does."""
        found: list[Seen] = []
        lag: int | None = 0
        wanted = sorted(branch_ids)
        for start in range(0, len(wanted), LOOKED_UP):
            body = pydantic_core.to_json({"branchIds": wanted[start : start + LOOKED_UP]})
            reply = await self._ask("POST", f"{participant.url}/api/v1/branches/lookups", body)
            some = _read(_Branches, reply).branches()
            found += some.seen
            lag = None if lag is None or some.lag is None else max(lag, some.lag)
        return Branches(found, lag)

    async def read_each(self, participant: Participant, owners: Sequence[tuple[str, str]]) -> list[Seen]:
        """Read branches, each by (transaction id, branch id); what can't be compared is left out."""
        few = asyncio.Semaphore(AT_ONCE)

        async def one(transaction_id: str, branch_id: str) -> Seen | None:
            async with few:
                reply = await self._insist("GET", participant.branch_url(branch_id))
            return _minimal(reply, transaction_id, branch_id)

        try:
            async with asyncio.TaskGroup() as group:
                read = [group.create_task(one(*owner)) for owner in owners]
        except ExceptionGroup as failures:
            # The others are not asked any more: what one of them met is what there is to say.
            raise failures.exceptions[0] from None
        return [seen for task in read if (seen := task.result()) is not None]

    async def audit(self, participant: Participant, cursor: str | None, *, repair: bool) -> Audit:
        """Have a participant check itself, and return a page of what it finds. Raises as page does."""
        query = f"?repair={str(repair).lower()}&limit={LOOKED_UP}"
        query += "" if cursor is None else f"&cursor={quote(cursor)}"
        reply = await self._ask("POST", f"{participant.url}/api/v1/audits{query}", timeout=AUDIT_TIMEOUT)
        audit = _read(Audit, reply)
        _insist_on_progress(cursor, audit.next_cursor)
        return audit

    async def _ask(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - a bound on the exchange, as the caller takes it
    ) -> Reply:
        """Send a request that may be repeated, a few times if need be; return an answer that is a 200."""
        reply = await self._insist(method, url, body, timeout)
        if reply.status in _NOT_SERVED:
            raise NotServed(url)
        if reply.status != 200:
            raise Unreachable(f"{method} {url} answered {reply.status}.")
        return reply

    async def _insist(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - see above
    ) -> Reply:
        """Send it until something certain is answered, a few times at most; return what was answered last."""
        headers = {} if body is None else {"content-type": "application/json"}
        send = partial(self._caller.call, method, url, headers=headers, body=body, timeout=timeout)
        for attempt in range(1, ATTEMPTS):
            with contextlib.suppress(Unreachable):
                reply = await send()
                if sort_answer(reply.status) is not Sort.UNKNOWN or reply.status in _NOT_SERVED:
                    return reply
            await asyncio.sleep(PAUSE * attempt)
        return await send()


def _read(model: type[M], reply: Reply) -> M:
    try:
        return model.model_validate_json(reply.body)
    except ValidationError as error:
        raise Unreachable("What the participant answered can't be read.") from error


def _insist_on_progress(cursor: str | None, next_cursor: str | None) -> None:
    """Raise Unreachable where a list would never end."""
    if cursor is not None and next_cursor == cursor:
        raise Unreachable("The participant's list tells the same page again and again.")


def _instant(text: str | None) -> Millis | None:
    try:
        return None if text is None else from_iso(text)
    except ValueError:
        return None


def _minimal(reply: Reply, transaction_id: str, branch_id: str) -> Seen | None:
    """Read a reservation of which the contract promises hardly more than CONFIRMED, once that is so."""
    try:
        document = reply.json()
        state = State(document["state"])
        owner = document.get("transactionId", transaction_id)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if reply.status != 200:
        return None
    return Seen(branch_id, str(owner), state)
