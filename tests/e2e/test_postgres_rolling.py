"""A rolling restart of two of every program under load: no request fails, and everything is settled."""

from collections.abc import Callable

from cli.stack import OwnStack, own_stack
from shared.settings import PORTS
from tests.e2e.conftest import FAST, Rest, handfast
from tests.e2e.load import PRODUCT, answers, failures, under_load
from tests.e2e.waiting import eventually
from tests.postgres import Server

RestOf = Callable[[OwnStack], Rest]


def test_two_of_every_program_restart_one_by_one_under_load_and_no_request_fails(
    rest_of: RestOf, postgres: Server
) -> None:
    environment = {
        "HANDFAST_DATABASE_URL": postgres.url,
        "HANDFAST_DATABASE_SCHEMA": postgres.prefix(),
        "HANDFAST_REPUBLISH_SECONDS": "1",
    }
    with own_stack(environment=FAST | environment, instances=2) as stack:
        rest = rest_of(stack)
        rest.send("PUT", f"stock/products/{PRODUCT}", {"onHand": 1_000_000})
        before = {name: process["pid"] for name, process in stack.processes().items()}
        with under_load(stack) as clients:
            ended = handfast("restart", "--data-dir", str(stack.directory.path), seconds=300)
        assert ended.code == 0, ended.err
        assert "restarted 8 processes" in ended.out
        after = {name: process["pid"] for name, process in stack.processes().items()}
        assert [name for name in before if before[name] == after[name]] == ["broker"]
        assert failures(clients) == []
        methods = {route.partition(" ")[0] for route, _ in answers(clients)}
        assert methods == {"GET", "POST", "PUT"}
        for program in PORTS:
            assert rest.ready(program)
        for state in ("TRYING", "TRIED", "CONFIRMING", "CANCELLING"):
            eventually(
                lambda state=state: not rest.get(f"coordinator/transactions?state={state}")["items"],  # type: ignore[misc]
                f"nothing is left {state}",
            )
