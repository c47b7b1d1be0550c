"""A coordinator at the Caller port: it keeps its decisions, can lose its answers and can be away."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pydantic_core

from shared.clock import Clock, Millis, from_iso, iso
from shared.errors import Unreachable
from shared.http.caller import Reply

BASE = "http://coordinator.test"


@dataclass
class Transaction:
    """What the coordinator knows under an id."""

    state: str
    mode: str
    deadline: Millis
    body: Any = None
    reason: str | None = None
    problem: Mapping[str, Any] | None = None
    branches: list[str] = field(default_factory=list)


@dataclass
class Request:
    method: str
    path: str
    document: Any
    reason: str | None = None


class FakeCoordinator:
    """Answers as contract.md says. on_decision: told of each decision (id, confirm?, reason).

    away: answers nothing and does nothing; lose: acts on so many requests without answering them;
    undecided: leaves so many requests undecided (202); refusals: by participant, its problem.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.transactions: dict[str, Transaction] = {}
        self.requests: list[Request] = []
        self.refusals: dict[str, dict[str, Any]] = {}
        self.away = False
        self.lose = 0
        self.undecided = 0
        self.answer_with: Reply | None = None
        self.on_decision: Callable[[str, bool, str | None], None] = lambda *_: None

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - as the port has it
    ) -> Reply:
        assert timeout > 0
        assert url.startswith(f"{BASE}/api/v1/transactions")
        assert body is None or (headers or {}).get("content-type") == "application/json"
        path = url.removeprefix(f"{BASE}/api/v1/transactions")
        document = None if body is None else pydantic_core.from_json(body)
        request = Request(method, path, document, (headers or {}).get("tcc-reason"))
        if self.away:
            raise Unreachable("Nobody answers.")
        self.requests.append(request)
        if self.answer_with is not None:
            return self.answer_with
        if self.undecided:
            self.undecided -= 1
            return _reply(202, {"state": "TRYING"})
        reply = self._serve(request)
        if self.lose:
            self.lose -= 1
            raise Unreachable("The answer was lost.")
        return reply

    async def close(self) -> None:
        """Nothing is open."""

    def asked(self, method: str, ending: str = "") -> list[Request]:
        """Return the requests of a method whose path has this ending."""
        return [one for one in self.requests if one.method == method and one.path.endswith(ending)]

    def settle(self, transaction_id: str) -> None:
        """Mark a decided transaction settled everywhere."""
        found = self.transactions[transaction_id]
        found.state = {"CONFIRMING": "CONFIRMED", "CANCELLING": "CANCELLED"}[found.state]

    def decide(self, transaction_id: str, confirm: bool, reason: str | None = None) -> None:
        """Make the decision, once."""
        found = self.transactions[transaction_id]
        if found.state in ("TRYING", "TRIED"):
            found.state = "CONFIRMING" if confirm else "CANCELLING"
            found.reason = reason
            self.on_decision(transaction_id, confirm, reason)

    def _serve(self, request: Request) -> Reply:
        if request.path == "":
            return self._begin(request.document)
        _, transaction_id, *rest = request.path.split("/")
        if rest == ["inquiries"]:
            return self._inquire(transaction_id)
        found = self.transactions.get(transaction_id)
        if found is None:
            return _problem(404, "unknown-transaction")
        self._expire(transaction_id, found)
        if rest == ["branches"]:
            return self._add(transaction_id, found, request.document)
        return (
            self._confirm(transaction_id, found)
            if request.method == "PUT"
            else self._cancel(transaction_id, request.reason)
        )

    def _begin(self, document: Any) -> Reply:
        transaction_id = document["transactionId"]
        found = self.transactions.get(transaction_id)
        if found is None:
            seconds = document.get("timeoutSeconds", 10)
            mode = document.get("mode", "auto")
            found = Transaction("TRYING", mode, self._clock.now() + seconds * 1_000, document)
            self.transactions[transaction_id] = found
            self._try(transaction_id, found)
        elif found.body is None:
            return _problem(409, "transaction-cancelled")
        elif found.body != document:
            return _problem(422, "transaction-id-reused")
        if found.state in ("CANCELLING", "CANCELLED"):
            return _problem(409, found.reason or "cancelled", found.problem)
        return _reply(201, _shown(transaction_id, found))

    def _try(self, transaction_id: str, found: Transaction) -> None:
        for branch in found.body["branches"]:
            found.branches.append(branch["participant"])
            problem = self.refusals.get(branch["participant"])
            if problem is not None:
                found.problem = problem
                self.decide(transaction_id, False, problem["type"].removeprefix("urn:handfast:problem:"))
                return
        if found.mode == "manual":
            found.state = "TRIED"
        else:
            self.decide(transaction_id, True)

    def _add(self, transaction_id: str, found: Transaction, document: Any) -> Reply:
        if found.state != "TRIED":
            return self._too_late(found)
        participant = document["participant"]
        problem = self.refusals.get(participant)
        if problem is not None:
            return _problem(409, problem["type"].removeprefix("urn:handfast:problem:"), problem)
        if participant in found.branches:
            return _reply(200, _shown(transaction_id, found))
        found.branches.append(participant)
        return _reply(201, _shown(transaction_id, found))

    def _confirm(self, transaction_id: str, found: Transaction) -> Reply:
        if found.state == "TRIED":
            self.decide(transaction_id, True)
        if found.state in ("CONFIRMING", "CONFIRMED"):
            return _reply(200, _shown(transaction_id, found))
        return self._too_late(found)

    def _cancel(self, transaction_id: str, reason: str | None) -> Reply:
        self.decide(transaction_id, False, reason or "cancelled")
        if self.transactions[transaction_id].state in ("CONFIRMING", "CONFIRMED"):
            return _problem(409, "transaction-confirmed")
        return Reply(204)

    def _inquire(self, transaction_id: str) -> Reply:
        found = self.transactions.get(transaction_id)
        if found is None:
            found = Transaction("CANCELLED", "auto", self._clock.now(), reason="transaction-unknown")
            self.transactions[transaction_id] = found
        self._expire(transaction_id, found)
        decision = "wait" if found.state in ("TRYING", "TRIED") else "cancel"
        if found.state in ("CONFIRMING", "CONFIRMED"):
            decision = "confirm"
        ruling = {"decision": decision, "state": found.state, "deadline": iso(found.deadline)}
        return _reply(200, {**ruling, "reason": found.reason} if found.reason else ruling)

    def _expire(self, transaction_id: str, found: Transaction) -> None:
        if found.state in ("TRYING", "TRIED") and self._clock.now() >= found.deadline:
            self.decide(transaction_id, False, "transaction-expired")

    def _too_late(self, found: Transaction) -> Reply:
        if found.reason == "transaction-expired":
            return _problem(410, "transaction-expired")
        return _problem(
            409, "transaction-cancelled" if found.state.startswith("CANC") else "transaction-confirmed"
        )


def declined(slug: str, status: int) -> dict[str, Any]:
    """Return a participant's problem."""
    return {
        "type": f"urn:handfast:problem:{slug}",
        "title": slug,
        "status": status,
        "detail": f"The participant says {slug}.",
    }


def _shown(transaction_id: str, found: Transaction) -> dict[str, Any]:
    deadline = iso(found.deadline)
    assert from_iso(deadline) == found.deadline
    return {"transactionId": transaction_id, "state": found.state, "mode": found.mode, "deadline": deadline}


def _reply(status: int, document: Any) -> Reply:
    return Reply(status, {"content-type": "application/json"}, pydantic_core.to_json(document))


def _problem(status: int, slug: str, inner: Mapping[str, Any] | None = None) -> Reply:
    document: dict[str, Any] = declared_problem(slug, status)
    if inner is not None:
        document = {**document, "type": inner["type"], "branchProblem": inner}
    return _reply(status, document)


def declared_problem(slug: str, status: int) -> dict[str, Any]:
    """Return a problem of the coordinator's own."""
    return {**declined(slug, status), "detail": f"The coordinator says {slug}."}
