"""The stock service, wired up: `python -m stock_service.app`."""

from fastapi import FastAPI

from shared import idempotency
from shared.http.server import run_program
from shared.messaging.prospects import Unbound
from shared.program import OWN, Program, Surroundings
from shared.tcc.service import host_participant, participant_routes
from stock_service.api import product_routes
from stock_service.audit import auditors
from stock_service.drops.service import assemble
from stock_service.participant import BY_STRATEGY
from stock_service.settings import StockSettings


def create_app(settings: StockSettings, surroundings: Surroundings = OWN) -> FastAPI:
    """Return the stock service; what its surroundings lack is made from the settings."""
    program = Program("stock", settings, surroundings)
    drops = assemble(
        settings,
        database=program.database,
        clock=program.clock,
        new_id=program.new_id,
        outbox=program.outbox,
        bell=program.bell,
        registry=program.metrics.registry,
    )
    for name, (loop, check) in drops.loops.items():
        program.run(name, loop, check)
    participant = BY_STRATEGY[settings.stock_strategy]
    host = host_participant(program, participant, listeners=[drops.listener], given_up=drops.given_up)
    program.retain("idempotency keys", settings.idempotency_retention_ms, idempotency.forget)
    return program.api(
        title="Handfast stock service",
        description="Products, and reservations of them: units are held (Try), sold (Confirm) or put back "
        "(Cancel). Drops: limited units, first come, first served.",
        routers=[
            *participant_routes(
                program,
                host,
                [*auditors(program.database, program.clock), *drops.auditors],
                # A claim whose record is given up is given back in the commit that keeps the letter.
                prospects={drops.listener.topic: Unbound()},
            ),
            product_routes(program.database, program.clock, program.new_id),
            drops.routes,
        ],
    )


def main() -> None:
    """Run the stock service until it is told to stop."""
    settings = StockSettings()
    run_program("stock", settings, lambda: create_app(settings))


if __name__ == "__main__":
    main()
