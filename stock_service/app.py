"""The stock service, wired up: `python -m stock_service.app`."""

import random

from fastapi import FastAPI

from shared.clock import Clock
from shared.database.port import Database
from shared.http.caller import Caller
from shared.http.server import run_program
from shared.identity import NewId
from shared.messaging.broker import Broker
from shared.program import Program
from shared.tcc.service import host_participant, participant_routes
from stock_service.api import product_routes
from stock_service.participant import stock
from stock_service.settings import StockSettings


def create_app(
    settings: StockSettings,
    *,
    clock: Clock | None = None,
    new_id: NewId | None = None,
    randomness: random.Random | None = None,
    database: Database | None = None,
    broker: Broker | None = None,
    caller: Caller | None = None,
) -> FastAPI:
    """Return the stock service; what is None is made from the settings (see `shared.program`)."""
    program = Program(
        "stock",
        settings,
        clock=clock,
        new_id=new_id,
        randomness=randomness,
        database=database,
        broker=broker,
        caller=caller,
    )
    host = host_participant(program, stock)
    return program.api(
        title="Handfast stock service",
        description="Products, and reservations of them: units are held (Try), sold (Confirm) or put back "
        "(Cancel).",
        routers=[
            *participant_routes(program, host),
            product_routes(program.database, program.clock, program.new_id),
        ],
    )


def main() -> None:
    """Run the stock service until it is told to stop."""
    settings = StockSettings()
    run_program("stock", settings, lambda: create_app(settings))


if __name__ == "__main__":
    main()
