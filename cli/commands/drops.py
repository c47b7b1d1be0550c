"""`handfast drops`: limited units, first come, first served, by hand."""

from collections import Counter
from itertools import islice
from typing import Annotated, Final
from urllib.parse import quote

import typer

from cli.api import Api, Json
from cli.console import Console
from cli.options import AsJson, Limit, PortOffset, Wait, Why, load_settings, reasoned
from cli.outcome import CommandError, NothingMatched, Usage
from cli.reissue import Reissued, reissue_all, returned_of

drops = typer.Typer(
    help="Put, show and list drops, claim units, and issue failed claims again.", no_args_is_help=True
)

Code = Annotated[str, typer.Argument(help="The drop's code.")]
Instant = Annotated[
    str | None,
    typer.Option(metavar="INSTANT", help="ISO 8601 with a zone; `none`: no bound.", show_default=False),
]


@drops.command()
def put(
    code: Code,
    quantity: Annotated[int, typer.Option("--quantity", "-q", min=0, help="How many units there are.")],
    per_customer: Annotated[
        int | None, typer.Option(min=1, help="Units for each customer. [default: 1]", show_default=False)
    ] = None,
    opens_at: Instant = None,
    closes_at: Instant = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Create a drop, or change its terms; what is left out stays."""
    given = {"perCustomer": per_customer, "opensAt": opens_at, "closesAt": closes_at}
    body: Json = {"quantity": quantity} | {name: value for name, value in given.items() if value is not None}
    for name in ("opensAt", "closesAt"):
        if body.get(name) == "none":
            body[name] = None
    with Api(load_settings(port_offset)) as api:
        _show(api.send("PUT", "stock", _path(code), body).body or {}, as_json)


@drops.command()
def show(
    code: Code,
    customer: Annotated[
        str | None, typer.Option(help="Show what this customer has claimed.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Show a drop, or a customer's claim of it."""
    path = _path(code) if customer is None else f"{_path(code)}/claims/{quote(customer, safe='')}"
    with Api(load_settings(port_offset)) as api:
        _show(api.get("stock", path), as_json)


@drops.command("list")
def list_drops(
    code: Annotated[str | None, typer.Argument(help="Of this drop, its claims.", show_default=False)] = None,
    state: Annotated[
        str | None, typer.Option(help="Only claims in this state: PENDING, ISSUED or RETURNED.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """List drops, or the claims of one."""
    if code is None and state is not None:
        raise Usage("--state picks claims: say of which drop")
    path = "/drops" if code is None else f"{_path(code)}/claims"
    query = {"state": state and state.upper(), "limit": min(limit, 500)}
    with Api(load_settings(port_offset)) as api:
        found = list(islice(api.items("stock", path, query), limit))
    console = Console()
    if as_json:
        console.json({"items": found})
    elif code is None:
        console.table(list(_DROP), [[drop[name] for name in _DROP.values()] for drop in found])
    else:
        console.table(list(_CLAIM), [[claim.get(name) for name in _CLAIM.values()] for claim in found])
    if not found and state:
        raise NothingMatched("no claim matches")


@drops.command()
def claim(
    code: Code,
    customer: Annotated[str, typer.Option("--customer", "-c", help="Who claims.")],
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Makes a repeat harmless.", show_default=False)
    ] = None,
    wait: Wait = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Claim a unit of a drop."""
    headers = {} if key is None else {"Idempotency-Key": key}
    if wait is not None:
        headers["Prefer"] = f"wait={wait}"
    with Api(load_settings(port_offset)) as api:
        answer = api.send("POST", "stock", f"{_path(code)}/claims", {"customerId": customer}, headers=headers)
    claimed = answer.body or {}
    _show(claimed, as_json)
    if claimed.get("state") == "RETURNED":
        raise CommandError(f"the unit was given back: {claimed.get('reason')}")


@drops.command()
def reissue(
    code: Annotated[str | None, typer.Argument(help="Of this drop.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Of every drop.")] = False,
    why: Why = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Issue claims again that were returned because they could not be issued, as far as units are left.

    Each is decided for itself. Cut short, it is resumed by running it again.
    """
    if (code is None) != everything:
        raise Usage("say which: either the CODE of a drop, or --all")
    console = Console()
    with Api(load_settings(port_offset)) as api:
        codes = [code] if code is not None else [str(drop["code"]) for drop in api.items("stock", "/drops")]
        returned = [claim for one in codes for claim in returned_of(api, one)]
        if not returned:
            raise NothingMatched("no returned claim")
        with console.progress("reissued", len(returned)) as advance:
            results = reissue_all(api, returned, advance, reasoned(why))
    _say(console, results, as_json)
    if failed := [result for result in results if result.failed]:
        raise CommandError(f"{len(failed)} of {len(results)} claims are not issued again")


def _say(console: Console, results: list[Reissued], as_json: bool) -> None:
    counts = Counter(result.result for result in results)
    if as_json:
        console.json({"items": [result.as_json() for result in results], "counts": dict(counts)})
        return
    for result in results:
        detail = f": {result.detail}" if result.detail else ""
        console.line(f"{result.claim_id}  {result.code}  {result.customer_id}  {result.result}{detail}")
    console.line(", ".join(f"{count} {what}" for what, count in counts.items()))


def _path(code: str) -> str:
    return f"/drops/{quote(code, safe='')}"


def _show(thing: Json, as_json: bool) -> None:
    console = Console()
    if as_json:
        console.json(thing)
    else:
        console.pairs([(name, value) for name, value in thing.items() if value is not None])


_DROP: Final = {
    "drop": "code",
    "quantity": "quantity",
    "issued": "issued",
    "pending": "pending",
    "remaining": "remaining",
    "per customer": "perCustomer",
    "opens": "opensAt",
    "closes": "closesAt",
}
_CLAIM: Final = {
    "claim": "claimId",
    "state": "state",
    "customer": "customerId",
    "updated": "updatedAt",
    "reason": "reason",
}
"""The columns of the lists, and the members that they show."""
