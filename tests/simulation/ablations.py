"""Safeguards that can be switched off, here and nowhere else: each must be missed within a few hundred seeds.

A safeguard whose absence nothing notices is not needed, or not tested. Each ablation is a patch of one place
in the real code, described by what the code then does instead.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from sqlalchemy import create_engine

import coordinator.app
import coordinator.driver
import coordinator.inquiries
import coordinator.log
import coordinator.transaction
import order_service.domain
import order_service.orders
import payment_service.participant
import shared.idempotency
import stock_service.holding.atomic
import stock_service.purchases
from shared.database.prepared import OnCursor, Prepared
from shared.messaging.consumer import Consumer
from shared.tcc import protocol
from shared.tcc.branches import Branches
from shared.tcc.protocol import Phase, Verdict
from shared.tcc.protocol import State as Held
from shared.tcc.sweeper import Sweeper
from tests.simulation import unsafe

Patch = Callable[[], AbstractContextManager[Any]]


class Ablation(NamedTuple):
    """A safeguard, what happens without it, and how it is switched off."""

    name: str
    without: str
    patch: Patch


def instead(target: Any, name: str, value: Any) -> Patch:
    """Put something else in an attribute's place."""
    return lambda: patch.object(target, name, value)


def verdict(state: Held, phase: Phase, other: Verdict) -> Patch:
    """Change one entry of the verdict table."""
    return lambda: patch.dict(protocol.VERDICTS, {(state, phase): other})


def respelled(statement: Prepared, condition: str, other: str) -> Patch:
    """Put another condition (by a regular expression) into a prepared statement."""

    @contextmanager
    def patched() -> Iterator[None]:
        with create_engine("sqlite://").connect() as connection:
            form = statement._compile(connection)
        assert isinstance(form, OnCursor)
        changed, count = re.subn(condition, other, form.sql)
        assert count == 1, f"there is no {condition!r} in {form.sql}"
        with patch.object(statement, "_forms", {"sqlite": OnCursor(changed, form.ordered)}):
            yield

    return patched


ABLATIONS: Final = (
    Ablation("fence first", "a repeated Try runs its rule again", lambda: unsafe.fence_unasked()),
    Ablation(
        "tombstone",
        "a Cancel without a Try leaves no trace",
        instead(Branches, "_entomb", unsafe.no_tombstone),
    ),
    Ablation(
        "deadline on Try",
        "a Try is held however late it comes",
        instead(Branches, "_check_deadline", lambda *_: None),
    ),
    Ablation(
        "row before Try",
        "the transaction is written down once its Trys have answered",
        instead(coordinator.driver.Driver, "begin", unsafe.try_before_row),
    ),
    Ablation(
        "compare-and-set",
        "the log is written over whatever is there",
        instead(coordinator.log, "save", unsafe.save_blindly),
    ),
    Ablation(
        "outbox in the same commit",
        "messages stay where the transaction that they belong to is rolled back",
        lambda: unsafe.outbox_apart(),
    ),
    Ablation(
        "inquiry",
        "a participant cancels an expired reservation on its own word",
        instead(Sweeper, "_expire", unsafe.expire_by_oneself),
    ),
    Ablation(
        "durable answer for unknown ids",
        "an inquiry about an unknown id is answered and not written down",
        instead(coordinator.inquiries.Inquiries, "_cancel_unknown", unsafe.answer_and_forget),
    ),
    Ablation(
        "idempotent Confirm",
        "a repeated Confirm is applied again",
        verdict(Held.CONFIRMED, Phase.CONFIRM, Verdict.APPLY),
    ),
    Ablation(
        "idempotent Cancel",
        "a repeated Cancel lets go again",
        verdict(Held.CANCELLED, Phase.CANCEL, Verdict.APPLY),
    ),
    Ablation(
        "a Try after its Cancel is refused",
        "it is held",
        instead(Branches, "_refuse", unsafe.hold_again),
    ),
    Ablation(
        "outcome repeated",
        "a repeated Confirm is not acknowledged again",
        instead(Branches, "_repeat", unsafe.repeat_silently),
    ),
    Ablation(
        "re-publication",
        "a Confirm is published once, and a reconciliation doesn't hurry it",
        lambda: unsafe.published_once(),
    ),
    Ablation(
        "offset after effect",
        "offsets are committed as soon as records are fetched",
        instead(Consumer, "_take", unsafe.commit_at_once),
    ),
    Ablation(
        "initiator settles last",
        "the order is confirmed with the others",
        instead(coordinator.transaction, "_due", unsafe.everybody_due),
    ),
    Ablation(
        "the initiator's inquiry waits for the others",
        "the order's participant is told to confirm before they have",
        instead(coordinator.inquiries, "waits_for_others", lambda *_: False),
    ),
    Ablation(
        "the decision needs every answer",
        "a Try without an answer counts as done",
        instead(coordinator.transaction, "_judge", unsafe.judge_without_answers),
    ),
    Ablation(
        "every branch is cancelled",
        "one whose Try got no answer is left alone",
        instead(coordinator.transaction, "decided", unsafe.cancel_only_what_answered),
    ),
    Ablation(
        "one open branch a participant",
        "a hold that is paid twice at once gets two payments",
        lambda: unsafe.branches_unjoined(),
    ),
    Ablation(
        "a failed command is undone alone",
        "what it wrote stays",
        lambda: unsafe.no_savepoints(),
    ),
    Ablation(
        "stock is held by a condition",
        "more is held than is there",
        respelled(
            stock_service.holding.atomic._HOLD,
            r"on_hand - product\.held >=",
            "on_hand >= 0 * product.held +",
        ),
    ),
    Ablation(
        "money is held by a condition",
        "more is held than is there",
        respelled(
            payment_service.participant._AUTHORISE,
            r"balance - account\.held >=",
            "balance >= 0 * account.held +",
        ),
    ),
    Ablation(
        "the limit counts held units",
        "only what was sold counts",
        respelled(
            stock_service.purchases._count_in("sqlite"),
            r"purchase\.held \+ purchase\.sold \+ \? <=",
            "purchase.sold + ? <=",
        ),
    ),
    Ablation(
        "body compared on a repeat",
        "another order under the same id is answered as the first",
        instead(order_service.domain.Draft, "body_hash", property(lambda _: "")),
    ),
    Ablation(
        "an idempotency key is remembered",
        "a repeated refund is another refund",
        instead(shared.idempotency, "claim", lambda *_: None),
    ),
    Ablation(
        "retention after the end",
        "a branch is forgotten once its deadline has passed, however its transaction stands",
        lambda: unsafe.retention_by_the_deadline(),
    ),
    Ablation(
        "decisions outlive every fence",
        "a transaction goes wholly after its retention",
        instead(coordinator.app, "shrink", unsafe.delete_ended),
    ),
    Ablation(
        "a Try of long ago leaves no trace",
        "it comes back as one that was cancelled",
        instead(Branches, "_check_memory", lambda *_: None),
    ),
    Ablation(
        "what was sold is carried over",
        "it is forgotten with its reservation",
        instead(stock_service.purchases, "keep_sold", lambda *_: None),
    ),
)
