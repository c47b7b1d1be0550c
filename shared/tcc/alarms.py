"""Alarms: a broken protocol is logged, counted and never a silent success."""

import logging

from prometheus_client import CollectorRegistry, Counter

from shared.errors import Conflict
from shared.tcc.protocol import Phase

_log = logging.getLogger(__name__)


class Alarms:
    """Raises the alarm about conflicts. registry: where they are counted; None: they are logged only."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._conflicts: Counter | None = None
        if registry is not None:
            self._conflicts = Counter(
                "handfast_conflicts",
                "Commands that contradict what a branch has already become.",
                ["participant", "phase"],
                registry=registry,
            )

    def raise_for(self, error: Exception, participant: str, branch_id: str, phase: Phase) -> None:
        """Log and count an error if it is a Conflict; anything else is nobody's alarm."""
        if not isinstance(error, Conflict):
            return
        _log.error("Conflict at %s, %s of branch %s: %s", participant, phase.value, branch_id, error.detail)
        if self._conflicts is not None:
            self._conflicts.labels(participant, phase.value).inc()
