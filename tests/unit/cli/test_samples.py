"""The sample data of a new data directory: put in over REST, harmless to repeat."""

import json

import httpx
import pytest

from cli.outcome import CommandError
from cli.samples import put_samples


class Shelves:
    """Products and accounts as the services would keep them."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, object]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = f"{request.url.host}{request.url.path}"
        if request.method == "PUT":
            created = path not in self.kept
            self.kept[path] = json.loads(request.content)
            return httpx.Response(201 if created else 200, json=self.kept[path])
        if path in self.kept:
            return httpx.Response(200, json=self.kept[path])
        return httpx.Response(404, json={})


async def test_samples_are_those_of_the_contract() -> None:
    shelves = Shelves()
    async with httpx.AsyncClient(transport=httpx.MockTransport(shelves)) as client:
        await put_samples(client, "http://stock", "http://payment")
    on_hand = {
        path.rpartition("/")[2]: body["onHand"] for path, body in shelves.kept.items() if "onHand" in body
    }
    assert on_hand == {"1": 1000, "2": 1000, "3": 1000, "prd-0001": 10, "prd-0002": 20, "prd-0003": 30}
    balance = shelves.kept["payment/api/v1/accounts/guest"]["balance"]
    assert isinstance(balance, int)
    assert balance >= 10**9


async def test_what_is_there_stays_as_it_is() -> None:
    shelves = Shelves()
    shelves.kept["stock/api/v1/products/1"] = {"onHand": 3}
    async with httpx.AsyncClient(transport=httpx.MockTransport(shelves)) as client:
        await put_samples(client, "http://stock", "http://payment")
        await put_samples(client, "http://stock", "http://payment")
    assert shelves.kept["stock/api/v1/products/1"] == {"onHand": 3}
    assert shelves.kept["stock/api/v1/products/2"]["onHand"] == 1000


async def test_a_service_that_refuses_is_named() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500))) as client:
        with pytest.raises(CommandError, match="http://stock/api/v1/products/1 answered 500"):
            await put_samples(client, "http://stock", "http://payment")
