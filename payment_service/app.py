"""The payment service, wired up: `python -m payment_service.app`."""

from fastapi import FastAPI

from payment_service.api import account_routes
from payment_service.audit import auditors
from payment_service.participant import payment
from payment_service.settings import PaymentSettings
from shared.http.server import run_program
from shared.program import OWN, Program, Surroundings
from shared.tcc.service import host_participant, participant_routes


def create_app(settings: PaymentSettings, surroundings: Surroundings = OWN) -> FastAPI:
    """Return the payment service; what its surroundings lack is made from the settings."""
    program = Program("payment", settings, surroundings)
    host = host_participant(program, payment)
    return program.api(
        title="Handfast payment service",
        description="Accounts, and payments from them: money is authorised (Try), captured (Confirm) or "
        "voided (Cancel), and captured money can be refunded.",
        routers=[
            *participant_routes(program, host, auditors(program.database, program.clock)),
            account_routes(program.database, program.clock, program.new_id),
        ],
    )


def main() -> None:
    """Run the payment service until it is told to stop."""
    settings = PaymentSettings()
    run_program("payment", settings, lambda: create_app(settings))


if __name__ == "__main__":
    main()
