"""An act is on record before it is done; what can't be put on record is not done."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from shared.database.inline import InlineDatabase
from shared.errors import DatabaseUnavailable, Refused, Transient
from shared.security.access import PRINCIPAL
from shared.security.acts import ACTS, Act, ActRecord, Outcome, page
from shared.security.roles import Principal, Role
from tests.unit.security.world import Hands

OLGA = Principal("olga", frozenset({Role.OPERATOR}))


class Fragile(InlineDatabase):
    """A database that takes so many more writes."""

    writes = 1_000

    async def write(self, work: Callable[[Connection], Any], **more: Any) -> Any:
        self.writes -= 1
        if self.writes < 0:
            raise DatabaseUnavailable("It is away.")
        return await super().write(work, **more)


class World:
    def __init__(self) -> None:
        self.database = Fragile()
        self.done = 0

    async def start(self) -> "World":
        await self.database.start()
        await self.database.write(lambda connection: ACTS.create(connection))
        return self

    async def act(
        self, ending: Response | BaseException, principal: Principal | None = OLGA, reason: str | None = "why"
    ) -> Response:
        async def work() -> Response:
            self.done += 1
            if isinstance(ending, BaseException):
                raise ending
            return ending

        scope: dict[str, Any] = {"type": "http", "path": "/api/v1/things/t/retries", "headers": []}
        scope |= {} if principal is None else {PRINCIPAL: principal}
        record = ActRecord(self.database, Hands(), iter(map(str, range(100))).__next__)
        return await record.record(Request(scope), "retry", reasoned=True, reason=reason, work=work)

    async def acts(self) -> list[Act]:
        self.database.writes = 1_000
        return await self.database.read(lambda connection: page(connection, limit=100))


@pytest.fixture
async def world() -> World:
    return await World().start()


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (Response(status_code=202), Outcome.DONE),
        (Refused("not-open", "No.", 409), Outcome.REFUSED),
        (Transient("Later."), Outcome.UNKNOWN),
        (RuntimeError("the program died here"), Outcome.UNKNOWN),
    ],
)
async def test_a_row_says_how_an_act_ended(
    world: World, ending: Response | Exception, outcome: Outcome
) -> None:
    if isinstance(ending, Exception):
        with pytest.raises(type(ending)):
            await world.act(ending)
    else:
        await world.act(ending)
    (act,) = await world.acts()
    assert (act.who, act.target, act.reason, act.outcome) == ("olga", "/things/t/retries", "why", outcome)


async def test_what_can_not_be_put_on_record_is_not_done(world: World) -> None:
    world.database.writes = 0
    with pytest.raises(Transient):
        await world.act(Response())
    assert (world.done, await world.acts()) == (0, [])


async def test_an_act_whose_end_can_not_be_written_is_answered_for_and_left_open(world: World) -> None:
    world.database.writes = 1
    assert (await world.act(Response(status_code=202))).status_code == 202
    (act,) = await world.acts()
    assert (world.done, act.outcome, act.ended_at) == (1, Outcome.UNKNOWN, None)


async def test_an_act_without_a_reason_is_neither_done_nor_recorded(world: World) -> None:
    with pytest.raises(Refused) as refused:
        await world.act(Response(), reason=None)
    assert (refused.value.slug, world.done, await world.acts()) == ("reason-required", 0, [])


async def test_without_authentication_nobody_is_recorded_and_no_reason_needed(world: World) -> None:
    await world.act(Response(), principal=None, reason=None)
    await world.act(Response(), Principal("ann", frozenset({Role.CUSTOMER}), "ann"), None)
    assert (world.done, await world.acts()) == (2, [])
