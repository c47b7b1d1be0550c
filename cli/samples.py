"""Sample data: what a new data directory gets, put in over REST like anybody's."""

from typing import Any

import httpx

from cli.outcome import CommandError

PRODUCTS: dict[str, dict[str, Any]] = {
    "1": {"name": "Espresso beans", "onHand": 1_000},
    "2": {"name": "Filter papers", "onHand": 1_000},
    "3": {"name": "Milk jug", "onHand": 1_000},
    "prd-0001": {"name": "Hand grinder", "onHand": 10},
    "prd-0002": {"name": "Pour-over kettle", "onHand": 20},
    "prd-0003": {"name": "Kitchen scale", "onHand": 30},
}
ACCOUNTS = {"guest": {"balance": 1_000_000_000_000}}


async def put_samples(client: httpx.AsyncClient, stock_url: str, payment_url: str) -> dict[str, Any]:
    """Create the products and accounts that aren't there yet; return what there should be now.

    What is there stays as it is: an earlier attempt that was cut short may have been used since.
    """
    for product, body in PRODUCTS.items():
        await _create(client, f"{stock_url}/api/v1/products/{product}", body)
    for customer, body in ACCOUNTS.items():
        await _create(client, f"{payment_url}/api/v1/accounts/{customer}", body)
    return {"products": list(PRODUCTS), "accounts": list(ACCOUNTS)}


async def _create(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> None:
    found = await client.get(url)
    if found.status_code == httpx.codes.NOT_FOUND:
        found = await client.put(url, json=body)
    if not found.is_success:
        raise CommandError(f"sample data: {url} answered {found.status_code}: {found.text[:200]}")
