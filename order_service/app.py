"""The order service, wired up: `python -m order_service.app`."""

from fastapi import APIRouter, FastAPI

from order_service.api import ORDERS_PATH, order_routes
from order_service.audit import auditors
from order_service.coordinator_client import CoordinatorClient
from order_service.front_door import FrontDoor
from order_service.holds import Holds
from order_service.participant import OrderClaim, order, try_of
from order_service.patience import Patience
from order_service.progress import Progress
from order_service.settings import OrderSettings
from order_service.sweeper import OrderSweeper
from shared import idempotency
from shared.http.server import run_program
from shared.program import OWN, Program, Surroundings, Until
from shared.tcc.participant import ParticipantHost
from shared.tcc.service import host_participant, participant_routes


def create_app(settings: OrderSettings, surroundings: Surroundings = OWN) -> FastAPI:
    """Return the order service; what its surroundings lack is made from the settings."""
    program = Program("order", settings, surroundings)
    host = host_participant(program, order)
    program.retain("idempotency keys", settings.idempotency_retention_ms, idempotency.forget)
    return program.api(
        title="Handfast order service",
        description="The customers' front door: orders are placed, held, paid for and called off here. An "
        "order that is CONFIRMED or CANCELLED is so at every participant.",
        routers=[
            _front_door(program, settings, host),
            *participant_routes(
                program, host, auditors(program.database, program.clock, settings.transaction_retention_ms)
            ),
        ],
        sheds=[("POST", ORDERS_PATH)],
    )


def main() -> None:
    """Run the order service until it is told to stop."""
    settings = OrderSettings()
    run_program("order", settings, lambda: create_app(settings))


def _front_door(program: Program, settings: OrderSettings, host: ParticipantHost[OrderClaim]) -> APIRouter:
    """Wire up what customers use, and add the sweeper of orders to the program's loops."""
    coordinator = CoordinatorClient(program.peers, settings.url("coordinator"))
    patience = Patience(call_seconds=settings.order_call_seconds, randomness=program.randomness)
    grace_ms = round(settings.order_grace_seconds * 1_000)
    progress = Progress(database=program.database, clock=program.clock, bell=program.bell, grace_ms=grace_ms)
    front_door = FrontDoor(
        database=program.database,
        coordinator=coordinator,
        patience=patience,
        progress=progress,
        hold=lambda connection, placed: host.hold(connection, try_of(placed)),
        clock=program.clock,
        new_id=program.new_id,
        bell=program.bell,
        patience_seconds=settings.order_patience_seconds,
        grace_ms=grace_ms,
    )
    holds = Holds(
        front_door=front_door,
        coordinator=coordinator,
        patience=patience,
        progress=progress,
        patience_seconds=settings.order_patience_seconds,
    )
    sweeper = OrderSweeper(
        database=program.database,
        coordinator=coordinator,
        progress=progress,
        clock=program.clock,
        pause=settings.sweep_seconds,
        call_seconds=settings.order_call_seconds,
    )
    program.run("order sweeper", sweeper.run, until=Until.DRAINING)
    return order_routes(
        front_door=front_door,
        holds=holds,
        database=program.database,
        hold_seconds=settings.hold_seconds,
    )


if __name__ == "__main__":
    main()
