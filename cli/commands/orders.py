"""`handfast orders`: the order service by hand."""

from itertools import islice
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.api import Api, Json
from cli.console import Console
from cli.options import AsJson, Limit, PortOffset, Wait, load_settings
from cli.outcome import CommandError, NothingMatched, Usage

orders = typer.Typer(help="Place, show, list, confirm and cancel orders.", no_args_is_help=True)

OrderId = Annotated[str, typer.Argument(help="The order's id.")]


@orders.command()
def place(
    amount: Annotated[int, typer.Option("--amount", "-a", min=0, help="What is paid, in minor units.")],
    item: Annotated[
        list[str] | None,
        typer.Option("--item", "-i", metavar="PRODUCT[:QTY]", help="What is ordered; may be repeated."),
    ] = None,
    product: Annotated[str | None, typer.Option("--product", "-p", help="The same for one product, ")] = None,
    qty: Annotated[int, typer.Option("--qty", "-q", min=1, help="and how many of it.")] = 1,
    customer: Annotated[
        str | None, typer.Option(help="Who orders. [default: guest]", show_default=False)
    ] = None,
    order_id: Annotated[str | None, typer.Option(help="The order's id; left out: a new one.")] = None,
    hold: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="Hold it, and pay later.")
    ] = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="Makes a repeat harmless.")] = None,
    wait: Wait = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Place an order, for example: handfast orders place --item 1:2 --amount 500"""
    if bool(item) == (product is not None):
        raise Usage(
            "say what is ordered: either --item PRODUCT:QTY, once or more often, or --product and --qty"
        )
    items = [_item(text) for text in item or []] or [{"productId": product, "qty": qty}]
    body: Json = {"items": items, "paymentAmt": amount}
    if customer is not None:
        body["customerId"] = customer
    if order_id is not None:
        body["orderId"] = order_id
    if hold is not None:
        body["hold"] = {"seconds": hold}
    headers = _prefer(wait)
    if key is not None:
        headers["Idempotency-Key"] = key
    with Api(load_settings(port_offset)) as api:
        answer = api.send("POST", "order", "/orders", body, headers=headers)
    _show(answer.body or {}, as_json)
    _insist_on_certainty(answer.status, answer.body or {})


@orders.command()
def show(order_id: OrderId, as_json: AsJson = False, port_offset: PortOffset = None) -> None:
    """Show one order."""
    with Api(load_settings(port_offset)) as api:
        _show(api.get("order", _path(order_id)), as_json)


@orders.command("list")
def list_orders(
    customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those in this status, for example HELD.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """List orders."""
    query = {"customerId": customer, "status": status and status.upper(), "limit": min(limit, 500)}
    with Api(load_settings(port_offset)) as api:
        found = list(islice(api.items("order", "/orders", query), limit))
    console = Console()
    if as_json:
        console.json({"items": found})
    else:
        columns = ("order", "status", "customer", "items", "amount", "updated", "reason")
        console.table(columns, [_row(order) for order in found])
    if not found and (customer or status):
        raise NothingMatched("no order matches")


@orders.command()
def confirm(
    order_id: OrderId, wait: Wait = None, as_json: AsJson = False, port_offset: PortOffset = None
) -> None:
    """Pay for a held order, and confirm it."""
    with Api(load_settings(port_offset)) as api:
        answer = api.send("PUT", "order", _path(order_id), headers=_prefer(wait))
    _show(answer.body or {}, as_json)
    _insist_on_certainty(answer.status, answer.body or {})


@orders.command()
def cancel(
    order_id: OrderId, wait: Wait = None, as_json: AsJson = False, port_offset: PortOffset = None
) -> None:
    """Cancel a held order."""
    with Api(load_settings(port_offset)) as api:
        answer = api.send("DELETE", "order", _path(order_id), headers=_prefer(wait))
        order = answer.body or api.get("order", _path(order_id))
    _show(order, as_json)
    _insist_on_certainty(answer.status, order)


def _item(text: str) -> Json:
    product, colon, count = text.rpartition(":")
    if not colon:
        product, count = text, "1"
    if not product or not count.isdecimal() or int(count) < 1:
        raise Usage(f"--item {text!r}: write PRODUCT or PRODUCT:QTY, for example prd-0001:2")
    return {"productId": product, "qty": int(count)}


def _prefer(wait: int | None) -> dict[str, str]:
    return {} if wait is None else {"Prefer": f"wait={wait}"}


def _path(order_id: str) -> str:
    return f"/orders/{quote(order_id, safe='')}"


def _insist_on_certainty(status: int, order: Json) -> None:
    if status == 202:
        name = order.get("orderId", "ID")
        raise CommandError(f"not certain yet: see `handfast orders show {name}`")


def _show(order: Json, as_json: bool) -> None:
    console = Console()
    if as_json:
        console.json(order)
        return
    shown: list[tuple[str, Any]] = [
        ("order", order.get("orderId")),
        ("status", order.get("status")),
        ("reason", order.get("reason")),
        ("customer", order.get("customerId")),
        ("items", _items(order)),
        ("amount", order.get("paymentAmt")),
        ("transaction", order.get("transactionId")),
        ("expires", order.get("expiresAt")),
        ("created", order.get("createdAt")),
        ("updated", order.get("updatedAt")),
    ]
    console.pairs([(name, value) for name, value in shown if value is not None])


def _items(order: Json) -> str:
    return ", ".join(f"{item['qty']} x {item['productId']}" for item in order.get("items", []))


def _row(order: Json) -> tuple[Any, ...]:
    return (
        order["orderId"],
        order["status"],
        order["customerId"],
        _items(order),
        order["paymentAmt"],
        order["updatedAt"],
        order.get("reason"),
    )
