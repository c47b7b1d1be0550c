"""Each program is driven from its own /openapi.json: whatever comes, the answer is one that it declares.

All four run, wired to each other, and half of the valid requests name things that are there. The choice of
requests is the same in every run.
"""

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckFunction
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from shared.clock import SystemClock
from shared.database.inline import InlineDatabase
from shared.messaging.memory import MemoryBroker
from shared.program import Surroundings
from tests.backing import Backing
from tests.integration.hostile.programs import Programs, running
from tests.integration.hostile.seeds import Ids, instant, plant
from tests.simulation.programs import PROGRAMS

Case = schemathesis.Case[Any]


class Driven:
    """One program's API, and what half of the valid requests are made to name."""

    def __init__(self, url: str, ids: Ids) -> None:
        self.url = url
        # None: as it was generated.
        self._ids = {name: cycle([*known, None, None]) for name, known in ids.items()}
        self._claims = cycle(CLAIMS)
        self._named = {name: cycle([*known, None]) for name, known in NAMED.items()}
        self._bare = cycle([True, True, False])

    def aim(self, case: Case) -> None:
        """Let a valid request name what is there, and mostly without what makes it conditional."""
        if next(self._bare):
            for name in [name for name in case.headers or {} if name.lower().startswith(CONDITIONAL)]:
                del case.headers[name]
        elif "TCC-Deadline" in (case.headers or {}):
            case.headers["TCC-Deadline"] = instant(3_600)
        for name in case.path_parameters or {}:
            case.path_parameters[name] = next(self._ids[name]) or case.path_parameters[name]
        self._aim_body(case.body)

    def _aim_body(self, body: Any) -> None:
        if isinstance(body, list):
            for one in body:
                self._aim_body(one)
        if not isinstance(body, dict):
            return
        for name, value in body.items():
            if name == "claim":
                body[name] = next(self._claims)
            elif name in self._named and isinstance(value, str):
                body[name] = next(self._named[name]) or value
            else:
                self._aim_body(value)


CONDITIONAL: Final = ("tcc-", "if-", "idempotency-")
NAMED: Final = {
    "productId": ["p", "q"],
    "customerId": ["c"],
    "participant": ["stock", "payment", "stock", "order"],
}
CLAIMS: Final = [
    {"productId": "p", "qty": 1},
    {"paymentAmt": 1},
    {"items": [{"productId": "p", "qty": 2}, {"productId": "q", "qty": 1}]},
    {"customerId": "c", "paymentAmt": 0},
    {"orderId": "bought"},
    {},
]


@pytest.fixture(scope="module")
def driven(backing: Backing) -> Iterator[Callable[[str], Driven]]:
    """Gives each of the four programs, with something of everything in them."""
    with running(backing, order_patience_seconds=1, sweep_seconds=0.2) as programs:
        ids = plant(programs)
        apis = {name: Driven(programs.url(name), ids[name]) for name in PROGRAMS}
        for name, schema in SCHEMAS.items():
            told = httpx.get(f"{programs.url(name)}/openapi.json", trust_env=False).json()
            assert told == schema.raw_schema
        yield apis.__getitem__
        _nothing_is_stuck(programs)


def _description(program: str) -> OpenApiSchema:
    create, settings_class, _ = PROGRAMS[program]
    bare = Surroundings(database=InlineDatabase(), broker=MemoryBroker(SystemClock()))
    app = create(settings_class(_env_file=None), bare)
    return schemathesis.openapi.from_dict(app.openapi())


SCHEMAS: Final = {program: _description(program) for program in PROGRAMS}
thorough = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@SCHEMAS["coordinator"].parametrize()
@thorough
def test_the_coordinator_keeps_its_own_description(case: Case, driven: Callable[[str], Driven]) -> None:
    _call(case, driven("coordinator"))


@SCHEMAS["order"].parametrize()
@thorough
def test_the_order_service_keeps_its_own_description(case: Case, driven: Callable[[str], Driven]) -> None:
    _call(case, driven("order"))


@SCHEMAS["stock"].parametrize()
@thorough
def test_the_stock_service_keeps_its_own_description(case: Case, driven: Callable[[str], Driven]) -> None:
    _call(case, driven("stock"))


@SCHEMAS["payment"].parametrize()
@thorough
def test_the_payment_service_keeps_its_own_description(case: Case, driven: Callable[[str], Driven]) -> None:
    _call(case, driven("payment"))


def _call(case: Case, api: Driven) -> None:
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        api.aim(case)
    case.call_and_validate(base_url=api.url, excluded_checks=_undecidable(case))


def _undecidable(case: Case) -> list[CheckFunction] | None:
    """Return the checks that don't hold where more than a schema can tell decides about the request.

    Which cursor a list gave, which headers go together, what a key or an id was used for, whether a product
    is known, the money there, a transaction still open, and whether a drop closes after it opens.
    """
    decides = (
        "cursor" in (case.query or {})
        or any(name.lower().startswith(CONDITIONAL) for name in case.headers or {})
        or (case.method == "PUT" and "/drops/" in case.path)
        or (case.method == "POST" and not case.path.endswith(("/adjustments", "/replays", "/retries")))
    )
    return [positive_data_acceptance] if decides else None


def _nothing_is_stuck(programs: Programs) -> None:
    """After all that, each program is ready, and an order goes through."""
    for program in PROGRAMS:
        ready = programs.send("GET", program, "//readyz")
        assert ready.status == 200, ready
    body = {"orderId": "last", "customerId": "c", "productId": "r", "qty": 1, "paymentAmt": 1}
    placed = programs.send("POST", "order", "/orders", body, {"Prefer": "wait=20"})
    assert placed.json()["status"] == "CONFIRMED"
