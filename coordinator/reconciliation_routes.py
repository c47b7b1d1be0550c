"""Reconciliations over HTTP: have one run, see how far it is, and what it found."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from coordinator import runs
from coordinator.reconciler import Reconciler
from coordinator.runs import Kept, Phase, Run, RunState
from shared.clock import iso
from shared.database.port import Database
from shared.http.answers import json_answer
from shared.http.lean import LeanRoute
from shared.http.model import Body, Maybe, Text, View
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor, page_of
from shared.http.parameters import PREFER, with_headers
from shared.http.prefer import wait_seconds
from shared.http.problems import declared
from shared.identity import Id
from shared.security.roles import Role, open_to
from shared.tcc.audit import Verdict

PATH = "/api/v1/reconciliations"


class ReconciliationBody(Body):
    """dryRun: find, and repair nothing."""

    dry_run: bool = False
    reason: Text | None = Field(None, description="Why, for the record.")


class CountView(View):
    """What was found of one kind at one participant, and how much of it is right since."""

    participant: str
    kind: str
    verdict: Verdict
    found: int
    repaired: int


class ProblemView(View):
    """Something that could not be done; the rest was done all the same."""

    participant: str
    phase: Phase
    detail: str


class ReconciliationView(View):
    """A run. total and read: rows, as far as the total is known; uncompared: branches by participant."""

    reconciliation_id: str
    state: RunState
    dry_run: bool
    phase: Phase
    total: int
    read: int
    found: int
    repaired: int
    counts: list[CountView]
    problems: list[ProblemView]
    uncompared: dict[str, int]
    started_at: str
    ended_at: Maybe[str] = None


class FindingView(View):
    """Something that a run found. repair: what was done about it; repaired: whether it is right since."""

    finding_id: str
    participant: str
    kind: str
    subject: str
    transaction_id: Maybe[str] = None
    branch_id: Maybe[str] = None
    verdict: Verdict
    evidence: dict[str, Any]
    repair: Maybe[str] = None
    repaired: bool
    found_at: str


def reconciliation_routes(reconciler: Reconciler, database: Database) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["reconciliations"])
    lean = APIRouter(route_class=LeanRoute, tags=["reconciliations"])

    @lean.post(
        PATH,
        status_code=202,
        response_model=ReconciliationView,
        responses=declared(409),
        openapi_extra=open_to(Role.OPERATOR, act="reconcile") | with_headers(PREFER),
    )
    async def reconcile(request: Request, body: ReconciliationBody | None = None) -> Response:
        """Have a reconciliation run, or join the one that is running."""
        run = await reconciler.demand(dry_run=body is not None and body.dry_run)
        run = await reconciler.wait(run.id, wait_seconds(request))
        return json_answer(_view(run), 202, {"location": f"{PATH}/{run.id}"})

    @lean.get(
        PATH + "/{reconciliation_id}",
        response_model=ReconciliationView,
        openapi_extra=open_to(Role.OPERATOR) | with_headers(PREFER),
    )
    async def show_reconciliation(request: Request, reconciliation_id: Id) -> Response:
        return json_answer(_view(await reconciler.wait(reconciliation_id, wait_seconds(request))))

    @router.get(PATH, response_model=Page[ReconciliationView], openapi_extra=open_to(Role.OPERATOR))
    async def list_reconciliations(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
        """List the reconciliations, the newest first."""
        place = decode_cursor(cursor, str)
        before = None if place is None else place[0]
        found = await database.read(lambda connection: runs.page(connection, before=before, most=limit + 1))
        more = encode_cursor(found[limit - 1].id) if len(found) > limit else None
        return json_answer(page_of([_view(run) for run in found[:limit]], more))

    @router.get(
        PATH + "/{reconciliation_id}/findings",
        response_model=Page[FindingView],
        openapi_extra=open_to(Role.OPERATOR),
    )
    async def list_findings(
        reconciliation_id: Id, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response:
        """List what a reconciliation found, in that order."""
        place = decode_cursor(cursor, str)
        after = "" if place is None else place[0]
        await reconciler.find(reconciliation_id)
        found = await database.read(
            lambda connection: runs.findings(connection, reconciliation_id, after=after, most=limit + 1)
        )
        more = encode_cursor(found[limit - 1].id) if len(found) > limit else None
        return json_answer(page_of([_finding_view(one) for one in found[:limit]], more))

    router.include_router(lean)
    return router


def _view(run: Run) -> dict[str, Any]:
    view: dict[str, Any] = {
        "reconciliationId": run.id,
        "state": run.state.value,
        "dryRun": run.dry_run,
        "phase": run.phase.value,
        "total": run.total,
        "read": run.read,
        "found": run.found,
        "repaired": run.repaired,
        "counts": [
            {
                "participant": participant,
                "kind": kind,
                "verdict": verdict,
                "found": found,
                "repaired": repaired,
            }
            for (participant, kind, verdict), (found, repaired) in sorted(run.counts.items())
        ],
        "problems": run.problems,
        "uncompared": run.uncompared,
        "startedAt": iso(run.started_at),
    }
    if run.ended_at is not None:
        view["endedAt"] = iso(run.ended_at)
    return view


def _finding_view(one: Kept) -> dict[str, Any]:
    view: dict[str, Any] = {
        "findingId": one.id,
        "participant": one.participant,
        "kind": one.kind,
        "subject": one.subject,
        "verdict": one.verdict,
        "evidence": one.evidence,
        "repaired": one.repaired,
        "foundAt": iso(one.found_at),
    }
    optional = {"transactionId": one.transaction_id, "branchId": one.branch_id, "repair": one.repair}
    return view | {name: value for name, value in optional.items() if value is not None}
