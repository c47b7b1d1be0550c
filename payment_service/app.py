"""The payment service, wired up: `python -m payment_service.app`."""

from fastapi import FastAPI

from payment_service.api import account_routes
from payment_service.audit import auditors
from payment_service.participant import LEDGER, PaymentGateway, payment_through
from payment_service.refunds import Refunds
from payment_service.settings import PaymentSettings
from payment_service.stripe import StripeApi
from payment_service.stripe_gateway import stripe_gateway
from shared import idempotency
from shared.http.server import run_program
from shared.program import OWN, Program, Surroundings, Until
from shared.tcc.service import host_participant, participant_routes


def create_app(settings: PaymentSettings, surroundings: Surroundings = OWN) -> FastAPI:
    """Return the payment service; what its surroundings lack is made from the settings."""
    program = Program("payment", settings, surroundings)
    gateway = _gateway(program, settings)
    timeout = settings.gateway_timeout_seconds
    host = host_participant(program, payment_through(gateway), effect_timeout=timeout)
    refunds = Refunds(program.database, program.clock, gateway, timeout)
    if gateway.give_back is not None:
        program.run("refunds", lambda: refunds.run(settings.sweep_seconds), until=Until.DRAINING)
    program.retain("idempotency keys", settings.idempotency_retention_ms, idempotency.forget)
    return program.api(
        title="Handfast payment service",
        description="Accounts, and payments from them: money is authorised (Try), captured (Confirm) or "
        "voided (Cancel), and captured money can be refunded.",
        routers=[
            *participant_routes(program, host, auditors(program.database, program.clock)),
            account_routes(program.database, program.clock, program.new_id, refunds),
        ],
    )


def _gateway(program: Program, settings: PaymentSettings) -> PaymentGateway:
    if settings.payment_gateway == "ledger":
        return LEDGER
    api = StripeApi(
        program.caller, settings.stripe_url, settings.stripe_key(), settings.gateway_timeout_seconds
    )
    return stripe_gateway(api, program.database, settings.stripe_currency)


def main() -> None:
    """Run the payment service until it is told to stop."""
    settings = PaymentSettings()
    run_program("payment", settings, lambda: create_app(settings))


if __name__ == "__main__":
    main()
