"""The coordinator, wired up: `python -m coordinator.app`."""

from functools import partial

from fastapi import FastAPI

from coordinator.api import listing_routes, manual_routes, transaction_routes
from coordinator.caller import ParticipantCaller
from coordinator.comparison import Comparison
from coordinator.coordinator import Coordinator
from coordinator.driver import Driver
from coordinator.forgetting_routes import forgetting_routes
from coordinator.inquiries import Inquiries
from coordinator.inspection import Inspector
from coordinator.outcomes import TOPIC, Outcomes, outcome_listener
from coordinator.participants import Registry
from coordinator.reconciler import Reconciler
from coordinator.reconciliation_routes import reconciliation_routes
from coordinator.repairs import Repairs
from coordinator.round import Round
from coordinator.settings import CoordinatorSettings, policy, registrations
from coordinator.shrinking import shrink
from shared.http.server import run_program
from shared.messaging.prospects import ByTopic, Unbound
from shared.messaging.retry import Retry
from shared.program import OWN, Program, Surroundings, Until


def create_app(settings: CoordinatorSettings, surroundings: Surroundings = OWN) -> FastAPI:
    """Return the coordinator; what its surroundings lack is made from the settings."""
    program = Program("coordinator", settings, surroundings)
    registry = Registry(registrations(settings))
    rules = policy(settings, registry.published)
    caller = ParticipantCaller(
        program.peers, registry, program.clock, program.randomness, program.metrics.registry
    )
    driver = Driver(
        database=program.database,
        outbox=program.outbox,
        caller=caller,
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
    reconciler = _reconciler(program, settings, registry, driver, inquiries, caller)
    topics = {one.topic for one in registry if one.topic}
    program.exchange(
        [outcome_listener(outcomes, Retry.parse(settings.retry_for(TOPIC)))], publishes=sorted(topics)
    )
    program.run("driver", driver.run, until=Until.DRAINING)
    program.at_end(driver.stop)
    program.run("reconciliation", reconciler.run)
    program.retain(
        "transactions",
        settings.transaction_retention_ms,
        lambda connection, before, most: shrink(connection, before, program.clock.now(), most),
    )
    return program.api(
        title="Handfast coordinator",
        description="Drives Try, Confirm and Cancel over all participants of a transaction, and owns the "
        "decision.",
        routers=[
            transaction_routes(coordinator, inquiries, round(settings.transaction_timeout_seconds * 1000)),
            manual_routes(coordinator),
            listing_routes(coordinator, registry, program.peers),
            reconciliation_routes(reconciler, program.database),
            forgetting_routes(program.database),
            # A participant repeats an outcome whenever it is asked, so none is lost with its letter.
            program.dead_letters(ByTopic({TOPIC: Unbound()})),
        ],
    )


def _reconciler(
    program: Program,
    settings: CoordinatorSettings,
    registry: Registry,
    driver: Driver,
    inquiries: Inquiries,
    caller: ParticipantCaller,
) -> Reconciler:
    """Wire up what compares the log with the participants, and repairs what differs."""
    inspector = Inspector(program.peers)
    comparison = Comparison(
        database=program.database,
        inspector=inspector,
        clock=program.clock,
        grace=round(settings.reconcile_grace_seconds * 1000),
        lag=program.lag,
    )
    repairs = Repairs(
        database=program.database,
        outbox=program.outbox,
        driver=driver,
        inquiries=inquiries,
        caller=caller,
        clock=program.clock,
    )
    return Reconciler(
        partial(
            Round,
            database=program.database,
            registry=registry,
            inspector=inspector,
            comparison=comparison,
            repairs=repairs,
            clock=program.clock,
            new_id=program.new_id,
        ),
        database=program.database,
        clock=program.clock,
        new_id=program.new_id,
        bell=program.bell,
        every=settings.reconcile_seconds,
        metrics=program.metrics.registry,
    )


def main() -> None:
    """Run the coordinator until it is told to stop."""
    settings = CoordinatorSettings()
    run_program("coordinator", settings, lambda: create_app(settings))


if __name__ == "__main__":
    main()
