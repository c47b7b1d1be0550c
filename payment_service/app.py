"""The payment service, wired up: `python -m payment_service.app`."""

import random

from fastapi import FastAPI

from payment_service.api import account_routes
from payment_service.participant import payment
from payment_service.settings import PaymentSettings
from shared.clock import Clock
from shared.database.port import Database
from shared.http.caller import Caller
from shared.http.server import run_program
from shared.identity import NewId
from shared.messaging.broker import Broker
from shared.program import Program
from shared.tcc.service import host_participant, participant_routes


def create_app(
    settings: PaymentSettings,
    *,
    clock: Clock | None = None,
    new_id: NewId | None = None,
    randomness: random.Random | None = None,
    database: Database | None = None,
    broker: Broker | None = None,
    caller: Caller | None = None,
) -> FastAPI:
    """Return the payment service; what is None is made from the settings (see `shared.program`)."""
    program = Program(
        "payment",
        settings,
        clock=clock,
        new_id=new_id,
        randomness=randomness,
        database=database,
        broker=broker,
        caller=caller,
    )
    host = host_participant(program, payment)
    return program.api(
        title="Handfast payment service",
        description="Accounts, and payments from them: money is authorised (Try), captured (Confirm) or "
        "voided (Cancel), and captured money can be refunded.",
        routers=[
            *participant_routes(program, host),
            account_routes(program.database, program.clock, program.new_id),
        ],
    )


def main() -> None:
    """Run the payment service until it is told to stop."""
    settings = PaymentSettings()
    run_program("payment", settings, lambda: create_app(settings))


if __name__ == "__main__":
    main()
