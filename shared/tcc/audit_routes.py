"""A participant's audits over HTTP: what its auditors find, in pages. The same route in every participant."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import Transient
from shared.http.answers import json_answer
from shared.http.model import View
from shared.http.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor, page_of
from shared.security.access import insist_on_coordinator
from shared.security.roles import Role, open_to
from shared.tcc.audit import Auditor, Discrepancy, Verdict

AUDITS_PATH: Final = "/api/v1/audits"
FAILED: Final = "audit-failed"
"""The kind of what is found where a check itself breaks: the others are made all the same."""

Repair = Annotated[bool, Query(description="Whether to count again what follows from other rows.")]

_log = logging.getLogger(__name__)


class DiscrepancyView(View):
    """Two things that should agree and don't."""

    auditor: str
    kind: str
    subject: str
    evidence: dict[str, Any]
    verdict: Verdict = Field(
        description="repairable: it follows from other rows; person: somebody must look."
    )
    repaired: bool


def audit_routes(auditors: Sequence[Auditor]) -> APIRouter:
    """Return the route that runs a program's audits."""
    names = [auditor.name for auditor in auditors]
    if len(set(names)) != len(names):
        raise ValueError(f"Two auditors have the same name: {sorted(names)}.")
    router = APIRouter(tags=["audits"])

    @router.post(AUDITS_PATH, response_model=Page[DiscrepancyView], openapi_extra=open_to(Role.SERVICE))
    async def audit(
        request: Request, repair: Repair = False, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response:
        """Compare what this program counts with the rows that it stands for. For the coordinator alone."""
        insist_on_coordinator(request)
        place = decode_cursor(cursor, int, str)
        first, after = (0, "") if place is None else place
        items: list[dict[str, Any]] = []
        for number, auditor in enumerate(auditors):
            if number < first:
                continue
            full = await _collect(items, auditor, repair=repair, limit=limit, after=after)
            after = ""
            if full is not None:
                return json_answer(page_of(items, encode_cursor(number, full)))
        return json_answer(page_of(items, None))

    return router


async def _collect(
    items: list[dict[str, Any]], auditor: Auditor, *, repair: bool, limit: int, after: str
) -> str | None:
    """Add what one auditor finds; return the place behind which to go on where the page is full.

    What is found at one place is never torn apart, so that a page may have a little more than its limit.
    """
    most = max(limit - len(items), 0)
    places: set[str] = set()
    place = after
    try:
        async for found in auditor.audit(repair=repair, after=after, most=most):
            items.append(_view(auditor, found))
            place = found.place
            places.add(place)
    except Transient:
        raise
    except Exception as error:  # noqa: BLE001 - one check that breaks must not stop the others
        _log.exception("The audit of %s broke.", auditor.name)
        broken = Discrepancy(FAILED, auditor.name, Verdict.PERSON, "", {"error": type(error).__name__})
        items.append(_view(auditor, broken))
        return None
    return place if len(places) >= most else None


def _view(auditor: Auditor, found: Discrepancy) -> dict[str, Any]:
    return {
        "auditor": auditor.name,
        "kind": found.kind,
        "subject": found.subject,
        "evidence": dict(found.evidence),
        "verdict": found.verdict.value,
        "repaired": found.repaired,
    }
