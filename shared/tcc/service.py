"""A participant in a program: its host, its three doors (HTTP, Kafka, sweeper), and what keeps them going."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter

from shared.messaging.listener import Listener
from shared.messaging.prospects import ByTopic, Prospects
from shared.messaging.relay import GivenUp
from shared.messaging.retry import Retry
from shared.program import Program, Until
from shared.tcc.alarms import Alarms
from shared.tcc.audit import Auditor
from shared.tcc.audit_routes import audit_routes
from shared.tcc.branch_routes import branch_routes
from shared.tcc.command import C
from shared.tcc.confirmations import OUTCOMES, confirmation_listener
from shared.tcc.forgetting import Forgetting
from shared.tcc.inquiry import Inquirer
from shared.tcc.leftovers import leftovers
from shared.tcc.participant import Participant, ParticipantHost
from shared.tcc.prospects import ConfirmProspects
from shared.tcc.routes import reservation_routes
from shared.tcc.sweeper import Sweeper


def host_participant(
    program: Program,
    participant: Participant[C],
    *,
    listeners: Sequence[Listener] = (),
    given_up: Mapping[str, GivenUp] | None = None,
    effect_timeout: float = 10.0,
) -> ParticipantHost[C]:
    """Return the host of a participant; its consumer, relay and sweeper become loops of the program.

    listeners: of what else the program consumes; given_up: what follows from messages of its own that can
    never be published (see Relay); effect_timeout: the bound on one exchange of its external effect, in
    seconds.
    """
    settings = program.settings
    republish_ms = round(settings.republish_seconds * 1000)
    host = ParticipantHost(
        participant=participant,
        database=program.database,
        clock=program.clock,
        new_id=program.new_id,
        outbox=program.outbox,
        bell=program.bell,
        source=program.name,
        alarms=Alarms(program.metrics.registry),
        skew_allowance_ms=round(settings.skew_allowance_seconds * 1000),
        republish_ms=republish_ms,
        retention_ms=settings.transaction_retention_ms,
        effect_timeout=effect_timeout,
        registry=program.metrics.registry,
    )
    retry = Retry.parse(settings.retry_for(participant.topic))
    program.exchange(
        [confirmation_listener(host, retry), *listeners], publishes=[OUTCOMES], given_up=given_up
    )
    inquirer = Inquirer(program.peers, settings.url("coordinator"))
    sweeper = Sweeper(
        host,
        inquirer,
        randomness=program.randomness,
        sweep_seconds=settings.sweep_seconds,
        republish_ms=republish_ms,
        republish_max_ms=round(settings.republish_max_seconds * 1000),
        registry=program.metrics.registry,
    )
    program.run("sweeper", sweeper.run, until=Until.DRAINING)
    program.forget("branches", Forgetting(host, inquirer, settings.transaction_retention_ms).sweep)
    return host


def participant_routes(
    program: Program,
    host: ParticipantHost[C],
    auditors: Sequence[Auditor] = (),
    prospects: Mapping[str, Prospects] | None = None,
) -> list[APIRouter]:
    """Return the routes of every participant's program: reservations, dead letters, and what reconciles.

    auditors: what the program checks in its own tables, beside what every participant does; prospects: by
    topic, what letters of its other listeners stand for.
    """
    settings = program.settings
    grace_ms = round(settings.reconcile_grace_seconds * 1000)
    own = leftovers(program.database, program.clock, host.participant.topic, grace_ms)
    confirms = ConfirmProspects(program.database, Inquirer(program.peers, settings.url("coordinator")))
    return [
        reservation_routes(host, base_url=settings.own_url(program.name), hold_seconds=settings.hold_seconds),
        program.dead_letters(ByTopic({host.participant.topic: confirms, **(prospects or {})})),
        branch_routes(program.database, host.participant.topic, program.lag),
        audit_routes([*own, *auditors]),
    ]
