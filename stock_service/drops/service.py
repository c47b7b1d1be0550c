"""Drops, put together: what the stock service serves, consumes and keeps going for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from shared.bell import Bell
from shared.clock import Clock
from shared.database.port import Database
from shared.health import Check
from shared.identity import NewId
from shared.messaging.listener import Listener
from shared.messaging.outbox import Outbox
from shared.messaging.relay import GivenUp
from shared.messaging.retry import Retry
from shared.supervision import Loop
from shared.tcc.audit import Auditor
from stock_service.drops.api import drop_routes
from stock_service.drops.audit import GateAudit, counter_audit
from stock_service.drops.desk import Desk
from stock_service.drops.gate import DatabaseGate, Gate
from stock_service.drops.issuing import issuing_listener, return_unpublishable
from stock_service.drops.journal import Journal
from stock_service.drops.messages import TOPIC
from stock_service.drops.outside import OutsideGate
from stock_service.drops.republication import Republication
from stock_service.settings import StockSettings


@dataclass(frozen=True, slots=True)
class Drops:
    """listener: consumes their topic; given_up: what follows from records that can't be published; loops: by
    name, to be kept running, and whether they can do their work."""

    routes: APIRouter
    listener: Listener
    given_up: Mapping[str, GivenUp]
    loops: Mapping[str, tuple[Loop, Check | None]]
    auditors: Sequence[Auditor]


def assemble(
    settings: StockSettings,
    *,
    database: Database,
    clock: Clock,
    new_id: NewId,
    outbox: Outbox,
    bell: Bell,
    registry: CollectorRegistry,
) -> Drops:
    """Return the drops of the stock service."""
    journal = Journal(
        outbox,
        clock,
        source="stock",
        republish_ms=round(settings.republish_seconds * 1000),
        republish_max_ms=round(settings.republish_max_seconds * 1000),
        gate_elsewhere=settings.redis_url is not None,
    )
    loops: dict[str, tuple[Loop, Check | None]] = {
        "drops": (Republication(database, journal, settings.sweep_seconds).run, None)
    }
    auditors = [counter_audit(database, clock)]
    gate: Gate = DatabaseGate(database, journal)
    if settings.redis_url is not None:
        # The client takes a while to import, and most do without it.
        from stock_service.drops.valkey import ValkeyPasses

        passes = ValkeyPasses(settings.redis_url.get_secret_value())
        gate = outside = OutsideGate(passes, database, journal, clock, registry)
        loops["gate"] = (outside.run, outside.health)
        grace_ms = round(settings.reconcile_grace_seconds * 1000)
        auditors.append(GateAudit(outside, passes, database, clock, grace_ms))
    desk = Desk(gate, registry)
    return Drops(
        routes=drop_routes(database=database, clock=clock, new_id=new_id, gate=gate, desk=desk, bell=bell),
        listener=issuing_listener(database, journal, Retry.parse(settings.retry_for(TOPIC)), bell.ring),
        given_up={TOPIC: return_unpublishable(journal)},
        loops=loops,
        auditors=auditors,
    )
