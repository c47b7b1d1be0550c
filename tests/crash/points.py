"""The crash points: every place at which a process is killed, and the seam in the real program where it is.

Their values are what has happened, and what has not, when the process dies. Nothing of this is part of the
programs: whoever runs them runs no line of it (see tests.crash.seams).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from shared.tcc.protocol import Phase, Verdict
from tests.crash.seams import Seam, When


class Point(StrEnum):
    """Where a process is killed."""

    ORDER_WRITTEN = "after the order row, before the transaction row"
    """The order service has committed the order with its own reservation, and asked nobody yet."""

    TRYING_COMMITTED = "TRYING committed, no Try sent"
    """The coordinator has committed the transaction's row."""

    SOME_TRIES_SENT = "k of n Tries sent"
    """One participant has answered its Try; the coordinator has sent no other and written nothing down."""

    ALL_TRIES_DONE = "all done before the decision"
    """Every Try was answered done, and the coordinator has not written it down."""

    DECIDED_UNPUBLISHED = "decision committed, nothing published"
    """The decision and its Confirms lie in the coordinator's database."""

    PUBLISHED_UNMARKED = "published, not marked"
    """The broker has acknowledged the Confirms, and the coordinator's outbox still holds them."""

    SOME_CONFIRMED = "k of n confirmed"
    """The coordinator has written down that one participant confirmed, and waits for the others."""

    ALL_ACKNOWLEDGED = "all acknowledged, not closed"
    """Every participant has confirmed and said so; the coordinator has the last word in hand, unwritten."""

    TRY_UNANSWERED = "Try committed, no answer"
    """A participant has committed its Try and not answered yet."""

    INSIDE_TRY = "inside the Try's transaction"
    """Fence and units are written, and not committed."""

    CONFIRMED_UNSAID = "Confirm committed, no outcome"
    """A participant has committed its Confirm; the outcome lies in its outbox."""

    ENTOMBED = "tombstone then Try"
    """A Cancel came before its Try; its tombstone is committed, unanswered, and the Try is still to come."""

    INQUIRY_UNANSWERED = "inquiry sent, no answer"
    """The coordinator was asked about a transaction it never heard of; it has decided, and not answered."""

    EFFECT_UNCOMMITTED = "effect before offset commit"
    """A participant has applied a Confirm, and not committed its record's offset."""

    LETTER_UNCOMMITTED = "letter row before offset commit"
    """A participant has kept a dead letter, and not committed its record's offset."""

    LETTER_UNPUBLISHED = "letter row before its publication"
    """A participant has kept a dead letter; its dlt- record and its outcome lie in the outbox."""

    BRANCH_ADDED = "branch added, payment not tried"
    """A hold is being paid for: the coordinator has committed the payment's branch, its Try has not left."""

    INTENT_COMMITTED = "intent committed before the external call"
    """A participant with an external effect has committed its intent, and not called outside."""

    EFFECT_UNWRITTEN = "external call answered, answer not written"
    """The same participant has made the call, and not written down what it heard."""

    REBALANCED = "rebalance in the middle of a batch"
    """A participant's partitions are taken away while it has a batch of Confirms at hand."""

    REPLAY_CUT_SHORT = "replay command killed half-way"
    """`handfast dlt replay --all` has had one of several letters published again."""

    SWEEPER_ANSWERED = "sweeper after the answer, before applying it"
    """A participant's sweeper has heard what was decided about an expired reservation, and done nothing."""


class Wait(StrEnum):
    """Where a process is made to wait, so that another one is surely killed at its point."""

    DRIVER_LOOKS = "the coordinator's driver is about to look for what is due"
    ORDER_ASKS = "the order service is about to ask for a transaction"
    STOCK_TRIES = "the stock service has received a Try"
    STOCK_CONFIRMS = "the stock service has a batch of Confirms at hand"
    PAYMENT_CONFIRMS = "the payment service has Confirms at hand"
    COORDINATOR_PUBLISHES = "the coordinator is about to look into its outbox"


def _is_try(_self: Any, _transaction: Any, call: Any, *_: Any) -> bool:
    return bool(call.phase is Phase.TRY)


def _is_added(_self: Any, _transaction: Any, call: Any, *_: Any) -> bool:
    return bool(call.phase is Phase.TRY and call.branch.added)


def _handles(phase: Phase) -> Any:
    return lambda _self, command: command.phase is phase


def _carries(topic: str) -> Any:
    return lambda _self, messages: any(message.topic.startswith(topic) for message in messages)


def _has_orders_own(_self: Any, records: Sequence[Any]) -> bool:
    """Say whether the order's branch, which settles last, is among the outcomes."""
    return any(b'-order"' in record.value for record in records)


def _begins_to_try(_self: Any, held: Any, _look_first: bool) -> bool:
    return bool(held.intent is Phase.TRY)


def _has_batch_at_hand(self_: Any, revoked: frozenset[Any]) -> bool:
    known = self_._states
    states = [known[partition] for partition in revoked if partition in known]
    return any(state.waiting for state in states)


_CALL: Final = "coordinator.caller:ParticipantCaller.call"
_HANDLE: Final = "shared.tcc.participant:ParticipantHost.handle"
_HANDLE_BATCH: Final = "shared.tcc.participant:ParticipantHost.handle_batch"
_PUBLISH: Final = "shared.messaging.kafka_publisher:KafkaPublisher.publish"
_OUTCOMES: Final = "coordinator.outcomes:Outcomes.handle"
_ASK: Final = "order_service.coordinator_client:CoordinatorClient.begin"
_HEAR: Final = "shared.tcc.intents:Intents._hear"
_COMMIT: Final = "shared.messaging.kafka_subscription:KafkaSubscription.commit"

_TRIED: Final = ("stock", "payment")
_CONFIRMING: Final = ("stock", "payment", "order")

SEAMS: Final[Mapping[Point | Wait, Seam]] = {
    Point.ORDER_WRITTEN: Seam(("order",), _ASK),
    Point.TRYING_COMMITTED: Seam(("coordinator",), _CALL, given=_is_try),
    Point.SOME_TRIES_SENT: Seam(("coordinator",), _CALL, When.AMID, given=_is_try),
    Point.ALL_TRIES_DONE: Seam(("coordinator",), "coordinator.driver:Driver._perform", When.AFTER),
    Point.DECIDED_UNPUBLISHED: Seam(("coordinator",), _PUBLISH),
    Point.PUBLISHED_UNMARKED: Seam(
        ("coordinator",), _PUBLISH, When.AFTER, gave=lambda results: set(results) == {None}
    ),
    Point.SOME_CONFIRMED: Seam(("coordinator",), _OUTCOMES, When.AFTER),
    Point.ALL_ACKNOWLEDGED: Seam(("coordinator",), _OUTCOMES, given=_has_orders_own),
    Point.TRY_UNANSWERED: Seam(_TRIED, _HANDLE, When.AFTER, given=_handles(Phase.TRY)),
    Point.INSIDE_TRY: Seam(_TRIED, "shared.tcc.branches:Branches._try", When.AFTER),
    Point.CONFIRMED_UNSAID: Seam(_CONFIRMING, _PUBLISH, given=_carries("tcc-outcomes")),
    Point.ENTOMBED: Seam(
        ("stock",),
        _HANDLE,
        When.AFTER,
        given=_handles(Phase.CANCEL),
        gave=lambda answer: answer.verdict is Verdict.ENTOMB,
    ),
    Point.INQUIRY_UNANSWERED: Seam(("coordinator",), "coordinator.inquiries:Inquiries.inquire", When.AFTER),
    Point.EFFECT_UNCOMMITTED: Seam(_CONFIRMING, _COMMIT),
    Point.LETTER_UNCOMMITTED: Seam(
        ("stock",), "shared.messaging.recovery:Recovery.fail", When.AFTER, gave=lambda letters: letters > 0
    ),
    Point.LETTER_UNPUBLISHED: Seam(("stock",), _PUBLISH, given=_carries("dlt-")),
    Point.BRANCH_ADDED: Seam(("coordinator",), _CALL, given=_is_added),
    Point.INTENT_COMMITTED: Seam(("toy",), _HEAR, given=_begins_to_try),
    Point.EFFECT_UNWRITTEN: Seam(("toy",), _HEAR, When.AFTER, given=_begins_to_try),
    Point.REBALANCED: Seam(
        ("stock",), "shared.messaging.consumer:Consumer._forget", given=_has_batch_at_hand
    ),
    Point.REPLAY_CUT_SHORT: Seam(("command",), "cli.replays:_publish", When.AMID),
    Point.SWEEPER_ANSWERED: Seam(("order",), "shared.tcc.inquiry:Inquirer.ask", When.AFTER),
    Wait.DRIVER_LOOKS: Seam(("coordinator",), "coordinator.driver:Driver._take_due"),
    Wait.ORDER_ASKS: Seam(("order",), _ASK),
    Wait.STOCK_TRIES: Seam(("stock",), _HANDLE, given=_handles(Phase.TRY)),
    Wait.STOCK_CONFIRMS: Seam(("stock",), _HANDLE_BATCH, given=lambda _self, commands: len(commands) > 1),
    Wait.PAYMENT_CONFIRMS: Seam(("payment",), _HANDLE_BATCH),
    Wait.COORDINATOR_PUBLISHES: Seam(("coordinator",), "shared.messaging.relay:Relay._look"),
}
"""Each point's place in the program that dies there. A place that is gone fails the test of this table."""


def label_of(place: Point | Wait, program: str) -> str:
    """Return the name under which a place in a program is armed."""
    return f"{place.name.lower()}.{program}"


def places_in(program: str) -> dict[str, Seam]:
    """Return the seams of one program by their labels."""
    return {label_of(place, program): seam for place, seam in SEAMS.items() if program in seam.programs}
