"""Both services are driven from their own descriptions: whatever comes, the answer is a declared one.

They run as processes, and their broker is away: that must not make any answer undeclared.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

import payment_service.app
import stock_service.app
from payment_service.settings import PaymentSettings
from shared.migrations import upgrade
from shared.settings import PORTS
from stock_service.settings import StockSettings
from tests.backing import Backing
from tests.ports import free_port

PRODUCTS = {f"/api/v1/products/{product_id}": {"onHand": 1_000} for product_id in ("0", "1", "p")}
ACCOUNTS = {f"/api/v1/accounts/{customer_id}": {"balance": 10**9} for customer_id in ("0", "guest")}

# Whether the broker is there is what /readyz tells, so it may well answer 503.
stock = schemathesis.openapi.from_dict(stock_service.app.create_app(StockSettings()).openapi()).include(
    path_regex="^/api/"
)
payment = schemathesis.openapi.from_dict(payment_service.app.create_app(PaymentSettings()).openapi()).include(
    path_regex="^/api/"
)
thorough = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module")
def stock_url(backing: Backing, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _running("stock", backing, tmp_path_factory.mktemp("stock"), PRODUCTS) as url:
        yield url


@pytest.fixture(scope="module")
def payment_url(backing: Backing, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _running("payment", backing, tmp_path_factory.mktemp("payment"), ACCOUNTS) as url:
        yield url


@stock.parametrize()
@thorough
def test_the_stock_service_keeps_its_own_description(case: schemathesis.Case[Any], stock_url: str) -> None:
    _call(case, stock_url)


@payment.parametrize()
@thorough
def test_the_payment_service_keeps_its_own_description(
    case: schemathesis.Case[Any], payment_url: str
) -> None:
    _call(case, payment_url)


def _call(case: schemathesis.Case[Any], url: str) -> None:
    case.call_and_validate(
        base_url=url, excluded_checks=[positive_data_acceptance] if _may_be_refused(case) else None
    )


def _may_be_refused(case: schemathesis.Case[Any]) -> bool:
    """Say whether more than a schema can tell decides about the request.

    Which cursor a list gave, which headers go together, which version a product has, what a key was used
    for, whether the product is known and the money there, whether a drop closes after it opens,
    whether a text is base64.
    """
    conditional = ("tcc-", "if-", "idempotency-")
    return (
        "cursor" in case.query
        or any(name.lower().startswith(conditional) for name in case.headers)
        or (case.method == "POST" and case.path in ("/api/v1/stocks", "/api/v1/payments"))
        or case.path.startswith("/api/v1/drops")
        or (case.method == "POST" and case.path.endswith(("/purges", "/edits")))
    )


@contextlib.contextmanager
def _running(program: str, backing: Backing, disk: Path, seeds: dict[str, dict[str, int]]) -> Iterator[str]:
    upgrade(backing.place(program, disk), program)
    offset = free_port() - PORTS[program]
    url = f"http://127.0.0.1:{PORTS[program] + offset}"
    own = {"HANDFAST_DATA_DIR": str(disk), "HANDFAST_PORT_OFFSET": str(offset)}
    environment = {**os.environ, **backing.environment(disk), **own}
    running = subprocess.Popen(
        [sys.executable, "-m", f"{program}_service.app"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        _await(url)
        for path, body in seeds.items():
            assert httpx.put(url + path, json=body).status_code == 201
        yield url
    finally:
        running.terminate()
        running.wait(timeout=15)


def _await(url: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{url}/livez").raise_for_status()
        except httpx.HTTPError:
            assert time.monotonic() < until, "the program does not answer"
            time.sleep(0.05)
        else:
            return
