"""`handfast tx`: the coordinator's transactions by hand."""

from itertools import islice
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.api import Api, Json
from cli.console import Console
from cli.options import AsJson, Limit, PortOffset, Why, load_settings, reasoned
from cli.outcome import NothingMatched
from cli.timeline import draw

transactions = typer.Typer(help="List and show transactions, and hurry them.", no_args_is_help=True)

TransactionId = Annotated[str, typer.Argument(help="The transaction's id.")]


@transactions.command("list")
def list_transactions(
    state: Annotated[
        str | None, typer.Option(help="Only those in this state, for example CONFIRMING.")
    ] = None,
    attention: Annotated[
        bool | None,
        typer.Option("--attention/--no-attention", help="Only those that need attention, or don't."),
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """List transactions."""
    query = {
        "state": state and state.upper(),
        "attention": None if attention is None else str(attention).lower(),
        "limit": min(limit, 500),
    }
    with Api(load_settings(port_offset)) as api:
        found = list(islice(api.items("coordinator", "/transactions", query), limit))
    console = Console()
    if as_json:
        console.json({"items": found})
    else:
        columns = ("transaction", "state", "branches", "deadline", "attention", "reason")
        console.table(columns, [_row(transaction) for transaction in found])
    if not found and (state is not None or attention is not None):
        raise NothingMatched("no transaction matches")


@transactions.command()
def show(transaction_id: TransactionId, as_json: AsJson = False, port_offset: PortOffset = None) -> None:
    """Show one transaction: its branches, and its timeline."""
    with Api(load_settings(port_offset)) as api:
        transaction = api.get("coordinator", _path(transaction_id))
        events = list(api.get("coordinator", f"{_path(transaction_id)}/events")["items"])
    console = Console()
    if as_json:
        console.json({**transaction, "events": events})
        return
    _describe(console, transaction)
    console.line()
    for line in draw(events):
        console.line(line)


@transactions.command()
def retry(
    transaction_id: TransactionId, why: Why = None, as_json: AsJson = False, port_offset: PortOffset = None
) -> None:
    """Drive one transaction now, instead of at the end of its back-off."""
    with Api(load_settings(port_offset)) as api:
        path = f"{_path(transaction_id)}/retries"
        transaction = api.send("POST", "coordinator", path, reasoned(why) or None).body or {}
    console = Console()
    if as_json:
        console.json(transaction)
    else:
        _describe(console, transaction)


def _path(transaction_id: str) -> str:
    return f"/transactions/{quote(transaction_id, safe='')}"


def _describe(console: Console, transaction: Json) -> None:
    shown: list[tuple[str, Any]] = [
        ("transaction", transaction["transactionId"]),
        ("state", transaction["state"]),
        ("reason", transaction.get("reason")),
        ("mode", transaction.get("mode")),
        ("deadline", transaction.get("deadline")),
        ("attention", transaction.get("attention")),
    ]
    console.pairs([(name, value) for name, value in shown if value is not None])
    console.line()
    columns = ("participant", "branch", "state", "attempts", "last error")
    rows = [
        (
            branch["participant"],
            branch["branchId"],
            branch["state"],
            branch["attempts"],
            branch.get("lastError"),
        )
        for branch in transaction.get("branches", [])
    ]
    console.table(columns, rows)


def _row(transaction: Json) -> tuple[Any, ...]:
    branches = ", ".join(f"{b['participant']} {b['state']}" for b in transaction.get("branches", []))
    return (
        transaction["transactionId"],
        transaction["state"],
        branches,
        transaction.get("deadline"),
        transaction.get("attention"),
        transaction.get("reason"),
    )
