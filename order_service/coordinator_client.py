"""The coordinator as the order service knows it: five calls, and what each answer means.

Every call may be repeated: the coordinator joins a repeat to what it knows under the transaction's id. An
answer is one of the small values below; `Unreachable` is raised for whatever leaves the outcome unknown, so
that only that is ever tried again.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pydantic_core

from shared.clock import Millis, from_iso
from shared.errors import HandfastError, Unreachable
from shared.http.caller import Caller, Reply
from shared.tcc.protocol import REASON, Sort, sort_answer

logger = logging.getLogger(__name__)

_JSON: Final = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Branch:
    """A participant's part in a transaction that is to begin. key: of the Confirm on Kafka.

    branch_id: of our own reservation, which is held already; None: the participant is to be tried.
    """

    participant: str
    claim: Mapping[str, Any]
    key: str | None = None
    branch_id: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The coordinator did as asked. state: the transaction's; deadline: after which it can't be confirmed."""

    state: str
    deadline: Millis | None


@dataclass(frozen=True, slots=True)
class Declined:
    """A participant said no. problem: its own document."""

    problem: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Decided:
    """It is decided otherwise already, or its time has run out. expired: the latter."""

    expired: bool
    problem: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What the coordinator says of a transaction. decision: confirm, cancel or wait."""

    decision: str
    state: str
    deadline: Millis | None
    reason: str | None


class CoordinatorRefused(HandfastError):
    """The coordinator doesn't take the request itself: a mistake of ours or of the installation."""


class CoordinatorClient:
    """Calls the coordinator at a base URL. No call is repeated here: that is for whoever knows how long."""

    def __init__(self, caller: Caller, base_url: str) -> None:
        self._caller = caller
        self._transactions = f"{base_url.rstrip('/')}/api/v1/transactions"

    async def begin(
        self, transaction_id: str, branches: list[Branch], *, hold_seconds: int | None, seconds: float
    ) -> Accepted | Declined:
        """Begin a transaction and return how it was decided; a manual one: once all is tried.

        hold_seconds: how long a manual transaction may stay undecided, None for an automatic one;
        seconds: the bound of this call. Raises Unreachable, CoordinatorRefused.
        """
        document: dict[str, Any] = {
            "transactionId": transaction_id,
            "initiator": "order",
            "branches": [_branch(branch) for branch in branches],
        }
        if hold_seconds is not None:
            document |= {"mode": "manual", "timeoutSeconds": hold_seconds}
        reply = await self._call("POST", self._transactions, document, seconds)
        if sort_answer(reply.status) is Sort.DONE:
            return _accepted(reply)
        if reply.status in (409, 410):
            return Declined(_problem(reply))
        raise _refused(reply)

    async def add_branch(
        self, transaction_id: str, branch: Branch, *, seconds: float
    ) -> Accepted | Declined | Decided:
        """Add a branch to a transaction that is held. Raises Unreachable, CoordinatorRefused."""
        url = f"{self._transaction(transaction_id)}/branches"
        reply = await self._call("POST", url, _branch(branch), seconds)
        if sort_answer(reply.status) is Sort.DONE:
            return _accepted(reply)
        document = _document(reply)
        if reply.status == 409 and isinstance(document.get("branchProblem"), Mapping):
            return Declined(_problem(reply))
        return _decided(reply)

    async def confirm(self, transaction_id: str, *, seconds: float) -> Accepted | Decided:
        """Decide a held transaction: confirm. Raises Unreachable, CoordinatorRefused."""
        reply = await self._call("PUT", self._transaction(transaction_id), None, seconds)
        return _accepted(reply) if sort_answer(reply.status) is Sort.DONE else _decided(reply)

    async def cancel(self, transaction_id: str, reason: str, *, seconds: float) -> Accepted | Decided:
        """Decide a held transaction: cancel, for that reason (a slug). Raises as confirm does."""
        url = self._transaction(transaction_id)
        reply = await self._call("DELETE", url, None, seconds, {REASON: reason})
        return Accepted("CANCELLING", None) if sort_answer(reply.status) is Sort.DONE else _decided(reply)

    async def inquire(self, transaction_id: str, *, seconds: float) -> Inquiry:
        """Ask for the decision; that of an unknown or overdue transaction is made by being asked for."""
        url = f"{self._transaction(transaction_id)}/inquiries"
        reply = await self._call("POST", url, {}, seconds)
        if sort_answer(reply.status) is not Sort.DONE:
            raise _refused(reply)
        document = _document(reply)
        decision = document.get("decision")
        if decision not in ("confirm", "cancel", "wait"):
            raise Unreachable(f"The coordinator's answer to an inquiry makes no sense: {decision!r}.")
        reason = document.get("reason")
        return Inquiry(
            decision,
            str(document.get("state", "")),
            _deadline(document),
            None if reason is None else str(reason),
        )

    def _transaction(self, transaction_id: str) -> str:
        return f"{self._transactions}/{quote(transaction_id, safe='')}"

    async def _call(
        self,
        method: str,
        url: str,
        document: Any,
        seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make a call; raise Unreachable where its answer leaves the outcome unknown."""
        body = None if document is None else pydantic_core.to_json(document)
        headers = headers if body is None else _JSON
        reply = await self._caller.call(method, url, headers=headers, body=body, timeout=max(seconds, 0.001))
        if sort_answer(reply.status) is Sort.UNKNOWN:
            raise Unreachable(f"The coordinator answered {reply.status}: the outcome is not certain yet.")
        return reply


def _branch(branch: Branch) -> dict[str, Any]:
    document: dict[str, Any] = {"participant": branch.participant, "claim": branch.claim}
    if branch.key is not None:
        document["key"] = branch.key
    if branch.branch_id is not None:
        document["branchId"] = branch.branch_id
    return document


def _document(reply: Reply) -> Mapping[str, Any]:
    try:
        document = reply.json()
    except ValueError as error:
        raise Unreachable(f"The coordinator's answer ({reply.status}) is no JSON.") from error
    if not isinstance(document, Mapping):
        raise Unreachable(f"The coordinator's answer ({reply.status}) is no object.")
    return document


def _accepted(reply: Reply) -> Accepted:
    document = _document(reply)
    state = document.get("state")
    if not isinstance(state, str):
        raise Unreachable("The coordinator's answer names no state.")
    return Accepted(state, _deadline(document))


def _deadline(document: Mapping[str, Any]) -> Millis | None:
    deadline = document.get("deadline")
    if deadline is None:
        return None
    try:
        return from_iso(str(deadline))
    except ValueError as error:
        raise Unreachable(f"The coordinator's deadline {deadline!r} is no instant.") from error


def _problem(reply: Reply) -> Mapping[str, Any]:
    """Return the participant's own problem where the answer carries it, else the coordinator's."""
    document = _document(reply)
    inner = document.get("branchProblem")
    return inner if isinstance(inner, Mapping) else document


def _decided(reply: Reply) -> Decided:
    if reply.status in (409, 410):
        return Decided(reply.status == 410, _document(reply))
    raise _refused(reply)


def _refused(reply: Reply) -> CoordinatorRefused:
    told = reply.body[:300].decode("utf-8", "replace")
    logger.error("the coordinator refused a request with %s: %s", reply.status, told)
    return CoordinatorRefused(f"The coordinator refused the request with {reply.status}.")
