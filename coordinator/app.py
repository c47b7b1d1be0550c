"""The coordinator, wired up: `python -m coordinator.app`."""

from fastapi import FastAPI

from coordinator.api import listing_routes, manual_routes, transaction_routes
from coordinator.caller import ParticipantCaller
from coordinator.coordinator import Coordinator
from coordinator.driver import Driver
from coordinator.inquiries import Inquiries
from coordinator.outcomes import TOPIC, Outcomes, outcome_listener
from coordinator.participants import Registry
from coordinator.settings import CoordinatorSettings, policy, registrations
from shared.http.server import run_program
from shared.messaging.prospects import ByTopic, Unbound
from shared.messaging.retry import Retry
from shared.program import OWN, Program, Surroundings


def create_app(settings: CoordinatorSettings, surroundings: Surroundings = OWN) -> FastAPI:
    """Return the coordinator; what its surroundings lack is made from the settings."""
    program = Program("coordinator", settings, surroundings)
    registry = Registry(registrations(settings))
    rules = policy(settings, registry.published)
    driver = Driver(
        database=program.database,
        outbox=program.outbox,
        caller=ParticipantCaller(program.caller, registry, program.clock, program.randomness),
        registry=registry,
        policy=rules,
        clock=program.clock,
        bell=program.bell,
        lease=round(settings.lease_seconds * 1000),
    )
    coordinator = Coordinator(
        database=program.database,
        driver=driver,
        registry=registry,
        clock=program.clock,
        new_id=program.new_id,
        bell=program.bell,
    )
    inquiries = Inquiries(database=program.database, driver=driver, clock=program.clock)
    outcomes = Outcomes(
        database=program.database,
        outbox=program.outbox,
        driver=driver,
        policy=rules,
        clock=program.clock,
        bell=program.bell,
    )
    topics = {one.topic for one in registry if one.topic}
    program.exchange(
        [outcome_listener(outcomes, Retry.parse(settings.retry_for(TOPIC)))], publishes=sorted(topics)
    )
    program.run("driver", driver.run)
    return program.api(
        title="Handfast coordinator",
        description="Drives Try, Confirm and Cancel over all participants of a transaction, and owns the "
        "decision.",
        routers=[
            transaction_routes(coordinator, inquiries, round(settings.transaction_timeout_seconds * 1000)),
            manual_routes(coordinator),
            listing_routes(coordinator, registry, program.caller),
            # A participant repeats an outcome whenever it is asked, so none is lost with its letter.
            program.dead_letters(ByTopic({TOPIC: Unbound()})),
        ],
    )


def main() -> None:
    """Run the coordinator until it is told to stop."""
    settings = CoordinatorSettings()
    run_program("coordinator", settings, lambda: create_app(settings))


if __name__ == "__main__":
    main()
