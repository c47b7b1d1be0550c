"""/openapi.json is the whole truth: every status and every bound, checked by driving the API from it."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.unit.http.shop import Shop

schema = schemathesis.openapi.from_asgi("/openapi.json", Shop().api)


@schema.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_the_api_keeps_its_own_description(case: schemathesis.Case[Any]) -> None:
    # No schema can tell a cursor that some list gave from any other text.
    case.call_and_validate(excluded_checks=[positive_data_acceptance] if "cursor" in case.query else None)


@pytest.fixture
async def described(client: httpx.AsyncClient) -> dict[str, Any]:
    described: dict[str, Any] = (await client.get("/openapi.json")).json()
    return described


async def test_every_route_declares_what_the_guard_answers(described: dict[str, Any]) -> None:
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            expected = {"405", "422", "500", "503"}
            if "{" in path:
                expected.add("404")
            if method in ("post", "put", "delete"):
                expected |= {"413", "415"}
            assert expected <= set(operation["responses"]), (path, method)


async def test_problems_are_declared_as_problems(described: dict[str, Any]) -> None:
    for operations in described["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status[0] in "45":
                    content = response["content"]["application/problem+json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert {"Problem", "FieldError"} <= set(described["components"]["schemas"])
    assert "HTTPValidationError" not in described["components"]["schemas"]


async def test_bodies_are_described_as_exactly_what_is_taken(described: dict[str, Any]) -> None:
    line = described["components"]["schemas"]["Line"]
    assert line["additionalProperties"] is False
    assert set(line["properties"]) == {"productId", "qty"}
    assert line["properties"]["qty"]["maximum"] == 1_000_000_000
    assert line["properties"]["qty"]["minimum"] == 1
    assert line["properties"]["productId"]["pattern"] == "^[A-Za-z0-9._~-]{1,64}$"


async def test_what_a_view_leaves_out_is_not_required(described: dict[str, Any]) -> None:
    order = described["components"]["schemas"]["OrderView"]
    assert "reason" not in order["required"]
    assert "traceparent" in order["required"]


async def test_the_documentation_is_there(client: httpx.AsyncClient) -> None:
    assert "/openapi.json" in (await client.get("/docs")).text
