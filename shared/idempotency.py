"""Idempotency keys: a creating request that is sent again has the result that it had.

The key is claimed in the transaction that creates the thing, so that of twenty requests with one key exactly
one creates. A success is remembered by the thing's id and answered with the thing as it is now; a refusal is
remembered as its problem. What is undecided (202) or our own failure (5xx) is not remembered.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import pydantic_core
from pydantic import BaseModel
from sqlalchemy import BigInteger, Connection, Index, LargeBinary, bindparam, delete, select
from sqlmodel import Field, SQLModel
from starlette.requests import Request

from shared.clock import Clock, Millis
from shared.database.port import Database, insert_new, table_of
from shared.errors import Refused
from shared.http.answers import to_json
from shared.http.problems import PROBLEM_JSON, Problem, problem_of
from shared.security.access import confined_to

T = TypeVar("T")

KEY_PATTERN: Final = re.compile(r"[\x21-\x7e]{1,255}")


class IdempotencyRow(SQLModel, table=True):
    """A remembered request. status and body: of its refusal; None where it created `resource`."""

    __tablename__ = "idempotency"
    __table_args__ = (Index("idempotency_by_age", "created_at"),)

    scope: str = Field(primary_key=True, max_length=100)
    key: str = Field(primary_key=True, max_length=255)
    body_hash: str = Field(max_length=64)
    resource: str | None = Field(default=None, max_length=64)
    status: int | None = None
    content_type: str | None = Field(default=None, max_length=100)
    body: bytes | None = Field(default=None, sa_type=LargeBinary)
    created_at: int = Field(sa_type=BigInteger)


IDEMPOTENCY: Final = table_of(IdempotencyRow)


@dataclass(frozen=True, slots=True)
class Intent:
    """What a request with a key is about. scope: what the key is unique within, such as `refunds`."""

    scope: str
    key: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """What came of a creating request. repeated: it was created before, and value is how it is now."""

    value: T
    repeated: bool


def intent_of(request: Request, scope: str, body: BaseModel) -> Intent | None:
    """Read a request's Idempotency-Key; None without one. A customer's keys are his own.

    Raises Refused (422 `invalid-request`) for a key that is none.
    """
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    key = keys[0]
    if len(keys) > 1 or KEY_PATTERN.fullmatch(key) is None:
        detail = "Idempotency-Key must be given once, as 1 to 255 visible ASCII characters."
        raise Refused("invalid-request", detail, 422, errors=[{"field": "Idempotency-Key", "detail": detail}])
    own = confined_to(request)
    if own is not None:
        # Nobody meets another's key, nor can keep him from using it.
        scope = f"{scope}@{hashlib.sha256(own.encode()).hexdigest()[:16]}"
    return Intent(scope, key, body_hash(body))


def body_hash(body: BaseModel) -> str:
    """Hash what a body says, whatever the order and spacing in which it was written."""
    return hashlib.sha256(to_json(body)).hexdigest()


async def create_once(
    database: Database,
    clock: Clock,
    intent: Intent | None,
    create: Callable[[Connection], tuple[str, T]],
    represent: Callable[[Connection, str], T],
) -> Result[T]:
    """Create something in one transaction, or tell what came of the same request before.

    create: creates it and returns its id and representation, or raises Refused; represent: reads it by its
    id. Raises the refusal, fresh or remembered; Refused (422 `idempotency-key-reused`) for another body.
    """

    def work(connection: Connection) -> Result[T]:
        if intent is None:
            return Result(create(connection)[1], repeated=False)
        # The row is inserted before anything is read: that takes the lock, so one request alone creates.
        known = claim(connection, intent, clock.now())
        if known is not None:
            return Result(represent(connection, known), repeated=True)
        resource, value = create(connection)
        settle(connection, intent, resource)
        return Result(value, repeated=False)

    try:
        return await database.write(work)
    except Refused as error:
        if intent is None or isinstance(error, _Remembered) or error.slug == _REUSED:
            raise
        now, refusal = clock.now(), error
        # Had another request with this key been faster, its result would be everybody's.
        known = await database.write(lambda connection: remember(connection, intent, refusal, now))
        if known is None:
            raise
        resource = known
        value = await database.read(lambda connection: represent(connection, resource))
        return Result(value, repeated=True)


def claim(connection: Connection, intent: Intent, now: Millis, resource: str | None = None) -> str | None:
    """Claim a key within the transaction that creates `resource`; None: it is this request's.

    Otherwise returns the id of what the same request created before. Raises its refusal as it was, or Refused
    (422 `idempotency-key-reused`) for another body.
    """
    row = {
        "scope": intent.scope,
        "key": intent.key,
        "body_hash": intent.body_hash,
        "resource": resource,
        "created_at": now,
    }
    return None if insert_new(connection, IDEMPOTENCY, row) else recall(connection, intent)


def recall(connection: Connection, intent: Intent) -> str | None:
    """Return the id of what the same request created, or None where it is not known; raise as claim does."""
    row = connection.execute(_READ, {"in_scope": intent.scope, "of_key": intent.key}).one_or_none()
    if row is None:
        return None
    if row.body_hash != intent.body_hash:
        raise Refused(
            _REUSED, "This Idempotency-Key was used with another body; use a new key for a new request.", 422
        )
    if row.status is not None:
        raise _refusal(row)
    resource: str | None = row.resource
    return resource


def settle(connection: Connection, intent: Intent, resource: str) -> None:
    """Note the id of what was created under a key that was claimed without one."""
    connection.execute(
        IDEMPOTENCY.update()
        .where(IDEMPOTENCY.c.scope == intent.scope, IDEMPOTENCY.c.key == intent.key)
        .values(resource=resource)
    )


def remember(connection: Connection, intent: Intent, refusal: Refused, now: Millis) -> str | None:
    """Remember a refusal after its transaction was undone; None: it is what everybody will be told.

    Otherwise returns or raises what another request with the key has come to meanwhile.
    """
    row = {
        "scope": intent.scope,
        "key": intent.key,
        "body_hash": intent.body_hash,
        "status": refusal.status,
        "content_type": PROBLEM_JSON,
        "body": to_json(problem_of(refusal)),
        "created_at": now,
    }
    return None if insert_new(connection, IDEMPOTENCY, row) else recall(connection, intent)


def forget(connection: Connection, before: Millis, most: int) -> int:
    """Delete up to `most` keys older than an instant, the oldest first; return how many."""
    old = (
        select(IDEMPOTENCY.c.scope, IDEMPOTENCY.c.key)
        .where(IDEMPOTENCY.c.created_at < before)
        .order_by(IDEMPOTENCY.c.created_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    keys = connection.execute(old).all()
    for scope, key in keys:
        connection.execute(_DELETE, {"in_scope": scope, "of_key": key})
    return len(keys)


_REUSED: Final = "idempotency-key-reused"
_THIS = (IDEMPOTENCY.c.scope == bindparam("in_scope")) & (IDEMPOTENCY.c.key == bindparam("of_key"))
_READ: Final = select(IDEMPOTENCY).where(_THIS)
_DELETE: Final = delete(IDEMPOTENCY).where(_THIS)


class _Remembered(Refused):
    """A refusal that was given before."""


def _refusal(row: Any) -> Refused:
    told = Problem.model_validate(pydantic_core.from_json(row.body))
    extra = dict(told.model_extra or {})
    if told.errors is not None:
        extra["errors"] = [each.model_dump() for each in told.errors]
    return _Remembered(told.slug, told.detail, told.status, **extra)
