"""The record of what operators do: who, what, to what, why, when, and how it ended.

A row is committed before its act is done, and its end after it. A row without an end is one whose program
died in between, or could not write: look at what the act is about. Rows are never deleted.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import BigInteger, Connection, Executable, Index, select
from sqlmodel import Field, SQLModel
from starlette.requests import Request
from starlette.responses import Response

from shared.clock import Clock, Millis
from shared.database.port import Database, table_of
from shared.errors import Refused, Transient
from shared.identity import NewId
from shared.security.access import principal_of
from shared.security.roles import Principal, Role
from shared.telemetry import current_traceparent

MOST_REASON: Final = 500
MOST_TARGET: Final = 300

_log = logging.getLogger(__name__)


class OperatorAct(SQLModel, table=True):
    """One act. Instants are milliseconds since the epoch; target: the path that was called; status: of the
    answer, NULL while it isn't known how the act ended."""

    __tablename__ = "operator_act"
    __table_args__ = (Index("operator_act_by_who", "who", "id"),)

    id: str = Field(primary_key=True, max_length=64)
    at: int = Field(sa_type=BigInteger)
    who: str = Field(max_length=200)
    role: str = Field(max_length=40)
    act: str = Field(max_length=40)
    target: str = Field(max_length=300)
    reason: str | None = Field(default=None, max_length=500)
    trace: str | None = Field(default=None, max_length=32)
    status: int | None = None
    problem: str | None = Field(default=None, max_length=100)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)


ACTS: Final = table_of(OperatorAct)


class Outcome(StrEnum):
    """How an act ended."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Act:
    """An act as read. problem: the slug of what it was refused with."""

    id: str
    at: Millis
    who: str
    role: str
    act: str
    target: str
    reason: str | None
    trace: str | None
    status: int | None
    problem: str | None
    ended_at: Millis | None

    @property
    def outcome(self) -> Outcome:
        if self.status is None or self.status >= 500:
            return Outcome.UNKNOWN
        return Outcome.DONE if self.status < 400 else Outcome.REFUSED


class ActRecord:
    """Puts acts on record in a program's own database."""

    def __init__(self, database: Database, clock: Clock, new_id: NewId) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id

    async def record(
        self,
        request: Request,
        act: str,
        *,
        reasoned: bool,
        reason: str | None,
        work: Callable[[], Awaitable[Response]],
    ) -> Response:
        """Put an operator's act on record and do it; what others do by the same route is their own business.

        Raises Refused (422 `reason-required`) where one is missing, Transient where the act can't be put on
        record: then it isn't done.
        """
        principal = principal_of(request)
        if principal is None or Role.OPERATOR not in principal.roles:
            return await work()
        if reasoned and reason is None:
            raise Refused("reason-required", "Say why: this goes on record with your name.", 422)
        act_id = self._new_id()
        row = self._row(act_id, principal, act, request.url.path, reason)
        await self._write(ACTS.insert().values(row))
        try:
            response = await work()
        except Refused as error:
            await self._end(act_id, error.status, error.slug)
            raise
        except Transient as error:
            await self._end(act_id, error.status, error.slug)
            raise
        await self._end(act_id, response.status_code, None)
        return response

    def _row(
        self, act_id: str, principal: Principal, act: str, path: str, reason: str | None
    ) -> dict[str, object]:
        traceparent = current_traceparent()
        return {
            "id": act_id,
            "at": self._clock.now(),
            "who": principal.subject,
            "role": " ".join(sorted(principal.roles)),
            "act": act,
            "target": path.removeprefix("/api/v1")[:MOST_TARGET],
            "reason": None if reason is None else reason[:MOST_REASON],
            "trace": None if traceparent is None else traceparent[3:35],
        }

    async def _write(self, statement: Executable) -> None:
        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self._database.write(work)

    async def _end(self, act_id: str, status: int, problem: str | None) -> None:
        end = {"status": status, "problem": problem, "ended_at": self._clock.now()}
        try:
            await self._write(ACTS.update().where(ACTS.c.id == act_id).values(end))
        except Transient as error:
            # The act is done and must be answered for as it ended: its row says that this isn't known.
            _log.warning("It can't be written down how act %s ended: %s", act_id, error.detail)


def page(
    connection: Connection,
    *,
    who: str | None = None,
    act: str | None = None,
    since: Millis | None = None,
    until: Millis | None = None,
    before: str | None = None,
    limit: int,
) -> list[Act]:
    """Return acts, the newest first, before an id. since and until: instants, the second left out."""
    statement = select(ACTS).order_by(ACTS.c.id.desc()).limit(limit)
    if who is not None:
        statement = statement.where(ACTS.c.who == who)
    if act is not None:
        statement = statement.where(ACTS.c.act == act)
    if since is not None:
        statement = statement.where(ACTS.c.at >= since)
    if until is not None:
        statement = statement.where(ACTS.c.at < until)
    if before is not None:
        statement = statement.where(ACTS.c.id < before)
    return [Act(*row) for row in connection.execute(statement)]
