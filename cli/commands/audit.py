"""`handfast audit`: what operators did, in all programs."""

from itertools import islice
from typing import Annotated, Any

import typer

from cli.api import Api, Json
from cli.console import Console
from cli.options import AsJson, Limit, PortOffset, load_settings
from cli.outcome import NothingMatched, OutOfReach
from cli.selection import instant
from shared.settings import PORTS


def audit(
    who: Annotated[str | None, typer.Option(help="Only what this one did: the subject of a token.")] = None,
    act: Annotated[str | None, typer.Option(help="Only acts of this kind, such as retry or purge.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only acts since then: ISO 8601, or 2h for two hours ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only acts before then.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Read the record of what operators did, the newest first.

    Without authentication nothing is recorded: nobody is known. The ledger of dead letters (`dlt history`) is
    kept all the same.
    """
    query = {
        "who": who,
        "act": act,
        "since": instant("--since", since),
        "until": instant("--until", until),
        "limit": min(limit, 500),
    }
    found: list[Json] = []
    away: list[OutOfReach] = []
    with Api(load_settings(port_offset)) as api:
        for program in PORTS:
            try:
                acts = list(islice(api.items(program, "/audit", query), limit))
            except OutOfReach as failure:
                away.append(failure)
            else:
                found += [{"program": program, **one} for one in acts]
    found = sorted(found, key=lambda one: (one["at"], one["actId"]), reverse=True)[:limit]
    console = Console()
    if as_json:
        console.json({"items": found})
    else:
        columns = ("at", "who", "act", "program", "target", "outcome", "reason")
        console.table(columns, [_row(one) for one in found])
    if away:
        raise OutOfReach("\n".join(map(str, away)))
    if not found and (who or act or since or until):
        raise NothingMatched("the record has nothing of that")


def _row(one: Json) -> tuple[Any, ...]:
    outcome = one["outcome"] if one.get("problem") is None else f"{one['outcome']}: {one['problem']}"
    return one["at"], one["who"], one["act"], one["program"], one["target"], outcome, one.get("reason")
