"""Looks on while a simulated system works, and notes what must not be at any moment, healed later or not.

The invariants say what must be true in the end; some promises of the contract are broken in passing only: a
reservation that is made after its Cancel, an order that is said to be CONFIRMED before its goods are sold.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import httpx
import pydantic_core
from sqlalchemy import Connection

from shared.clock import Millis, from_iso
from shared.database.inline import InlineDatabase
from shared.messaging.broker import Record
from shared.tcc.protocol import BRANCH_ID, DEADLINE, TRANSACTION_ID

SKEW_ALLOWANCE: Final[Millis] = 30_000
FINAL_ORDERS: Final = "SELECT transaction_id, status FROM orders WHERE status IN ('CONFIRMED', 'CANCELLED')"
UNSETTLED: Final = (
    "SELECT id, state FROM reservation WHERE transaction_id = ? AND state NOT IN ('CONFIRMED', 'CANCELLED')"
)

APPLIED: Final = "SELECT id, state FROM reservation WHERE id = ? AND state = 'CONFIRMED'"
KEPT: Final = "SELECT id, state FROM letter WHERE topic = ? AND (value = ? OR branch_id = ?)"
PARTICIPANTS: Final = frozenset({"order", "stock", "payment"})


class Watched(Protocol):
    """A program as far as it is watched."""

    @property
    def program(self) -> str: ...

    @property
    def store(self) -> InlineDatabase: ...

    def earliest(self) -> Millis:
        """Return the earliest instant that it may take for now, whichever clock it goes by."""
        ...


class Watch:
    """findings: what was seen. host: a program by its name."""

    def __init__(self, host: Callable[[str], Watched]) -> None:
        self._host = host
        self._held: set[str] = set()
        self._cancelled: set[str] = set()
        self._final: set[str] = set()
        self.findings: list[str] = []

    def before(self, target: str, request: httpx.Request) -> Callable[[int], None]:
        """Take note of a request that arrives; return what takes note of its answer's status."""
        protocol = self._before_call(target, request)

        def answered(status: int) -> None:
            if status == 500:
                self.findings.append(f"[no 500] {target}: {request.method} {request.url.path}")
            protocol(status)

        return answered

    def _before_call(self, target: str, request: httpx.Request) -> Callable[[int], None]:
        branch_id = request.headers.get(BRANCH_ID)
        if branch_id is None or TRANSACTION_ID not in request.headers:
            return lambda _status: None
        if request.method == "DELETE":
            return lambda status: self._cancelled.add(branch_id) if status == 204 else None
        if request.method != "POST":
            return lambda _status: None
        dead = branch_id in self._cancelled
        host, latest = self._host(target), from_iso(request.headers[DEADLINE]) + SKEW_ALLOWANCE
        came_late = host.earliest() > latest

        def answered(status: int) -> None:
            if status != 201:
                return
            # Its clock may be set right in between.
            late = came_late and host.earliest() > latest
            if dead:
                self.findings.append(f"[no Try after its Cancel] {target} held {branch_id}")
            if late and branch_id not in self._held:
                self.findings.append(f"[no Try past its deadline] {target} held {branch_id}")
            self._held.add(branch_id)

        return answered

    def committed(self, name: str) -> None:
        """Look at a program's database after a commit: an order that is final is settled everywhere."""
        if self._host(name).program != "order":
            return
        for transaction_id, status in self._rows(name, FINAL_ORDERS):
            if transaction_id in self._final:
                continue
            self._final.add(transaction_id)
            for participant in ("stock", "payment"):
                for held, state in self._rows(participant, UNSETTLED, transaction_id):
                    self.findings.append(
                        f"[a final order is settled everywhere] the order of {transaction_id} is {status}, "
                        f"and {held} at {participant} is {state}"
                    )

    def passed(self, name: str, records: Sequence[Record]) -> None:
        """Look at records whose offsets were committed: each was applied, or is kept as a letter."""
        for record in records if self._host(name).program in PARTICIPANTS else ():
            branch_id = _branch_of(record)
            applied = self._rows(name, APPLIED, branch_id)
            if not applied and not self._rows(name, KEPT, record.topic, record.value or b"", branch_id):
                self.findings.append(
                    f"[offset after effect] {name} passed over {record.topic}/{record.partition} at "
                    f"{record.offset}, which confirms {branch_id or 'nothing'}"
                )

    def _rows(self, name: str, query: str, *values: str | bytes) -> list[tuple[str, str]]:
        def work(connection: Connection) -> list[tuple[str, str]]:
            return [(row[0], row[1]) for row in connection.exec_driver_sql(query, values)]

        return self._host(name).store.write_now(work)


def _branch_of(record: Record) -> str:
    """Return the reservation that a Confirm names, "" where it names none."""
    try:
        value = pydantic_core.from_json(record.value or b"")
    except ValueError:
        return ""
    named = value.get("reservationId") if isinstance(value, dict) else None
    return named if isinstance(named, str) else ""
