"""The cases of the crash matrix: for each crash point, who does what, the scene, and the required end."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from tests.crash import acts
from tests.crash.points import SEAMS, Point, Wait, label_of
from tests.crash.scene import Scene
from tests.crash.stage import Stage

Act = Callable[[Stage, str], Coroutine[Any, Any, None]]
Proof = Callable[[Stage, str], Coroutine[Any, Any, list[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kill.

    act: what goes on meanwhile; scene: what must be durable while the process lies dead (tests.crash.scene);
    required: the end in words; end: CONFIRMED or CANCELLED, of all its orders and transactions; orders: how
    many there are; waits: who is made to wait from the start; aftermath: what happens once the process may
    come back; proof: what is looked at in the end, besides the invariants; variant: what tells it from
    another case of the same point; program: that is killed, unless it is the point's first; short: it belongs
    to the short form.
    """

    point: Point
    scene: Scene
    required: str
    act: Act = acts.buy
    end: str = "CONFIRMED"
    orders: int = 1
    waits: tuple[Wait, ...] = ()
    aftermath: Act = acts.let_pass
    proof: Proof = acts.nothing_more
    variant: str = ""
    program: str = ""
    short: bool = False

    @property
    def name(self) -> str:
        """Its name, and that of its (first) order or transaction."""
        return "-".join(filter(None, (self.point.name.lower().replace("_", "-"), self.variant)))

    @property
    def victim(self) -> str:
        """The program that is killed."""
        return self.program or SEAMS[self.point].programs[0]

    @property
    def label(self) -> str:
        """What is armed for it."""
        return label_of(self.point, self.victim)


NOTHING_TRIED: Final[Scene] = {
    "order": "PENDING",
    "order holds": "TRIED",
    "stock holds": None,
    "payment holds": None,
}
ALL_TRIED: Final[Scene] = {"order holds": "TRIED", "stock holds": "TRIED", "payment holds": "TRIED"}

CASES: Final[tuple[Case, ...]] = (
    Case(
        point=Point.ORDER_WRITTEN,
        scene={**NOTHING_TRIED, "transaction": None},
        required="CONFIRMED: the customer's repeat joins the order and begins its transaction",
        short=True,
    ),
    Case(
        point=Point.ORDER_WRITTEN,
        variant="alone",
        act=acts.ask_once,
        scene={**NOTHING_TRIED, "transaction": None},
        required="nobody asks again: CANCELLED by inquiry, its id can't be begun any more",
        end="CANCELLED",
    ),
    Case(
        point=Point.TRYING_COMMITTED,
        scene={**NOTHING_TRIED, "transaction": "TRYING", "stock branch": "TRYING"},
        required="CONFIRMED: recovery sends the Trys",
    ),
    Case(
        point=Point.SOME_TRIES_SENT,
        scene={"transaction": "TRYING", "stock holds": "TRIED", "payment holds": None},
        required="CONFIRMED: one Try is repeated and changes nothing, the other is sent",
        short=True,
    ),
    Case(
        point=Point.ALL_TRIES_DONE,
        scene={**ALL_TRIED, "transaction": "TRYING", "stock branch": "TRYING", "payment branch": "TRYING"},
        required="CONFIRMED: the Trys are repeated and change nothing, then it is decided",
    ),
    Case(
        point=Point.DECIDED_UNPUBLISHED,
        scene={
            **ALL_TRIED,
            "transaction": "CONFIRMING",
            "coordinator outbox": "payment-capture, stock-adjustment",
        },
        required="CONFIRMED: the Confirms leave the outbox after the restart",
        short=True,
    ),
    Case(
        point=Point.PUBLISHED_UNMARKED,
        scene={
            "transaction": "CONFIRMING",
            "coordinator outbox": "payment-capture, stock-adjustment",
            "stock holds": "CONFIRMED",
            "payment holds": "CONFIRMED",
        },
        required="CONFIRMED: published twice, applied once",
    ),
    Case(
        point=Point.SOME_CONFIRMED,
        waits=(Wait.PAYMENT_CONFIRMS,),
        scene={
            "transaction": "CONFIRMING",
            "stock branch": "CONFIRMED",
            "payment branch": "CONFIRMING",
            "order branch": "CONFIRMING",
            "payment holds": "TRIED",
        },
        required="CONFIRMED: the rest is confirmed, the order last",
    ),
    Case(
        point=Point.ALL_ACKNOWLEDGED,
        scene={
            "order": "CONFIRMED",
            "order holds": "CONFIRMED",
            "stock branch": "CONFIRMED",
            "payment branch": "CONFIRMED",
            "order branch": "CONFIRMING",
            "transaction": "CONFIRMING",
        },
        required="CONFIRMED: the last outcome comes again",
    ),
    Case(
        point=Point.TRY_UNANSWERED,
        scene={"transaction": "TRYING", "stock holds": "TRIED", "payment holds": "TRIED"},
        required="CONFIRMED: the Try is repeated and answered as if for the first time",
    ),
    Case(
        point=Point.INSIDE_TRY,
        scene={"transaction": "TRYING", "stock holds": None, "payment holds": "TRIED"},
        required="CONFIRMED: nothing of it stayed, and the repeat does it whole",
        short=True,
    ),
    Case(
        point=Point.TRY_UNANSWERED,
        variant="payment",
        program="payment",
        scene={"transaction": "TRYING", "stock holds": "TRIED", "payment holds": "TRIED"},
        required="CONFIRMED: the Try is repeated and answered as if for the first time",
    ),
    Case(
        point=Point.INSIDE_TRY,
        variant="payment",
        program="payment",
        scene={"transaction": "TRYING", "stock holds": "TRIED", "payment holds": None},
        required="CONFIRMED: nothing of it stayed, and the repeat does it whole",
    ),
    Case(
        point=Point.CONFIRMED_UNSAID,
        scene={
            "transaction": "CONFIRMING",
            "stock holds": "CONFIRMED",
            "stock outbox": "tcc-outcomes",
            "stock branch": "CONFIRMING",
        },
        required="CONFIRMED: the outcome leaves the outbox after the restart",
        short=True,
    ),
    Case(
        point=Point.CONFIRMED_UNSAID,
        variant="order",
        program="order",
        scene={
            "order": "CONFIRMED",
            "order outbox": "tcc-outcomes",
            "order branch": "CONFIRMING",
            "transaction": "CONFIRMING",
        },
        required="CONFIRMED: the last outcome leaves the outbox after the restart",
    ),
    Case(
        point=Point.ENTOMBED,
        act=acts.buy_without_an_account,
        waits=(Wait.STOCK_TRIES,),
        scene={"transaction": "CANCELLING", "stock branch": "CANCELLING", "stock holds": "CANCELLED"},
        required="CANCELLED: the Cancel is repeated, and the late Try is refused",
        end="CANCELLED",
        proof=acts.late_try_is_refused,
    ),
    Case(
        point=Point.INQUIRY_UNANSWERED,
        waits=(Wait.ORDER_ASKS,),
        scene={"transaction": "CANCELLED", "order": "PENDING", "order holds": "TRIED"},
        required="CANCELLED: asked again, answered the same, and the transaction that comes later is refused",
        end="CANCELLED",
        aftermath=acts.let_pass_too_late,
        proof=acts.late_transaction_is_refused,
    ),
    Case(
        point=Point.INQUIRY_UNANSWERED,
        variant="expired",
        act=acts.hold_and_forget,
        waits=(Wait.DRIVER_LOOKS,),
        scene={"transaction": "CANCELLING", "order": "HELD", "stock holds": "TRIED"},
        required="CANCELLED: a hold has expired, the decision that the inquiry made is carried out",
        end="CANCELLED",
    ),
    Case(
        point=Point.EFFECT_UNCOMMITTED,
        scene={"stock holds": "CONFIRMED"},
        required="CONFIRMED: the record comes again and changes nothing",
    ),
    Case(
        point=Point.EFFECT_UNCOMMITTED,
        variant="payment",
        program="payment",
        scene={"payment holds": "CONFIRMED"},
        required="CONFIRMED: the record comes again and changes nothing",
    ),
    Case(
        point=Point.LETTER_UNCOMMITTED,
        act=acts.pay_for_what_is_frozen,
        scene={"transaction": "CONFIRMING", "stock holds": "TRIED", "stock open letters": "1"},
        required="the record comes again into the same letter; replayed: CONFIRMED",
        aftermath=acts.thaw_and_replay_what_came_again,
        proof=acts.one_letter,
    ),
    Case(
        point=Point.LETTER_UNPUBLISHED,
        act=acts.pay_for_what_is_frozen,
        scene={
            "transaction": "CONFIRMING",
            "stock open letters": "1",
            "stock outbox": "dlt-stock-adjustment, tcc-outcomes",
        },
        required="the letter is published after the restart; replayed: CONFIRMED",
        aftermath=acts.thaw_and_replay_what_was_published,
        proof=acts.one_letter,
    ),
    Case(
        point=Point.BRANCH_ADDED,
        act=acts.hold_and_pay,
        scene={
            "order": "HELD",
            "transaction": "TRYING",
            "stock holds": "TRIED",
            "payment branch": "TRYING",
            "payment holds": None,
        },
        required="CONFIRMED: recovery sends the payment's Try, the customer's repeat joins it",
    ),
    Case(
        point=Point.INTENT_COMMITTED,
        act=acts.buy_at_an_effects_participant,
        scene={"transaction": "TRYING", "toy holds": "TRYING"},
        required="CONFIRMED: looked up, not found, done once",
        proof=acts.one_effect_outside,
    ),
    Case(
        point=Point.EFFECT_UNWRITTEN,
        act=acts.buy_at_an_effects_participant,
        scene={"transaction": "TRYING", "toy holds": "TRYING"},
        required="CONFIRMED: looked up, found, not done again",
        proof=acts.one_effect_outside,
    ),
    Case(
        point=Point.REPLAY_CUT_SHORT,
        act=acts.replay_three,
        orders=3,
        scene={"stock open letters": "2"},
        required="run again, the command replays the rest: CONFIRMED, nothing replayed twice",
        aftermath=acts.replay_again,
        proof=acts.one_replay_each,
    ),
    Case(
        point=Point.SWEEPER_ANSWERED,
        act=acts.ask_once,
        waits=(Wait.ORDER_ASKS,),
        scene={"transaction": "CANCELLED", "order holds": "TRIED"},
        required="CANCELLED: the next sweep asks again and applies it",
        end="CANCELLED",
    ),
    # Last, because the member that stays behind needs a while to have its partitions back.
    Case(
        point=Point.REBALANCED,
        act=acts.buy_many_while_members_change,
        orders=acts.MANY,
        scene={"transaction": "CONFIRMING", "stock holds": "TRIED"},
        required="CONFIRMED: whoever gets the partitions next applies the batch, each effect once",
        proof=acts.second_member_leaves,
    ),
)
