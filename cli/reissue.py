"""Returned claims, issued again in batches: what was done already is not done twice.

The stock service decides about each claim for itself and says what came of it. A batch that can't be asked
about fails alone; whoever is left over is found by the next run, because it is still returned.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from cli.api import Api, Json
from cli.outcome import CommandError

BATCH: Final = 100
"""Claims in one request: what the service takes at most."""

DONE: Final = frozenset({"reissued", "claim-not-returned"})


@dataclass(frozen=True, slots=True)
class Reissued:
    """What came of one claim. result: reissued, or what speaks against it."""

    code: str
    claim_id: str
    customer_id: str
    result: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.result not in DONE

    def as_json(self) -> Json:
        return {
            "code": self.code,
            "claimId": self.claim_id,
            "customerId": self.customer_id,
            "result": self.result,
            "detail": self.detail,
        }


def returned_of(api: Api, code: str) -> list[Json]:
    """Return the claims of a drop that were returned, the oldest first."""
    return list(api.items("stock", f"/drops/{quote(code, safe='')}/claims", {"state": "RETURNED"}))


def reissue_all(
    api: Api, returned: Sequence[Json], advance: Callable[[], None], reason: Json | None = None
) -> list[Reissued]:
    """Have claims issued again; return what came of each, in their order.

    advance: one more is decided; reason: the part of each request that says why.
    """
    results: list[Reissued] = []
    for batch in _batches(returned):
        for result in _reissue(api, batch, reason or {}):
            results.append(result)
            advance()
    return results


def _batches(returned: Sequence[Json]) -> Iterator[list[Json]]:
    """Yield the claims of one drop at a time, so many as a request takes."""
    batch: list[Json] = []
    for claim in returned:
        if batch and (len(batch) == BATCH or batch[0]["code"] != claim["code"]):
            yield batch
            batch = []
        batch.append(claim)
    if batch:
        yield batch


def _reissue(api: Api, batch: Sequence[Json], reason: Json) -> list[Reissued]:
    code = str(batch[0]["code"])
    body = {"claimIds": [claim["claimId"] for claim in batch], **reason}
    try:
        answer = api.send("POST", "stock", f"/drops/{quote(code, safe='')}/reissues", body)
    except CommandError as failure:
        return [_told(claim, "failed", str(failure)) for claim in batch]
    told = {one["claimId"]: one for one in (answer.body or {})["items"]}
    return [
        _told(claim, told[claim["claimId"]]["result"], told[claim["claimId"]].get("detail", ""))
        for claim in batch
    ]


def _told(claim: Json, result: str, detail: str) -> Reissued:
    return Reissued(claim["code"], claim["claimId"], claim["customerId"], result, detail)
