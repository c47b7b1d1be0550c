"""Which branches a participant may forget: it asks before it deletes what is past its own retention.

Only the coordinator knows when a transaction ended. It answers by what is durable (`may_be_forgotten`), so an
answer that is lost or late is as good the next time.
"""

from typing import Annotated, Final, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import Connection
from starlette.responses import Response

from coordinator import log
from coordinator.reconciliation import Seen, may_be_forgotten
from coordinator.transaction import Transaction
from shared.database.port import Database
from shared.http.answers import json_answer
from shared.http.lean import LeanRoute
from shared.http.model import Body, View
from shared.identity import Id
from shared.security.roles import Role, open_to
from shared.tcc.protocol import State

MOST: Final = 200


class SettledBranch(Body):
    """A branch as its participant has it, with whom nothing is left to do."""

    transaction_id: Id
    branch_id: Id
    state: Literal["CONFIRMED", "CANCELLED"]


class SettledBranches(Body):
    """The branches to ask about."""

    branches: Annotated[list[SettledBranch], Field(min_length=1, max_length=MOST)]


class ForgettableView(View):
    """Those of the branches that may be forgotten."""

    branch_ids: list[str]


def forgetting_routes(database: Database) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/api/v1", route_class=LeanRoute, tags=["branches"])

    @router.post("/branches/forgettable", response_model=ForgettableView, openapi_extra=open_to(Role.SERVICE))
    async def tell_forgettable(body: SettledBranches) -> Response:
        """Say which of some settled branches their participant needs no more."""
        transaction_ids = {one.transaction_id for one in body.branches}

        def work(connection: Connection) -> dict[str, Transaction]:
            return log.read_bulk(connection, transaction_ids)

        found = await database.read(work)
        return json_answer(
            {
                "branchIds": [
                    one.branch_id
                    for one in body.branches
                    if may_be_forgotten(found.get(one.transaction_id), _seen(one))
                ]
            }
        )

    return router


def _seen(one: SettledBranch) -> Seen:
    return Seen(one.branch_id, one.transaction_id, State(one.state))
